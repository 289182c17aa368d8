"""The flat layout: `images/train` with `labels/train.csv`, and perhaps the same of `valid` and `test`."""

import re
from collections.abc import Iterable, Iterator, Mapping

from drsearch.datasets.description import SIDES, Description, Part, PublishedSplit
from drsearch.datasets.folder_tree import FolderTree, last_name, parent, plain
from drsearch.datasets.listing import readable
from drsearch.datasets.table_files import plain_title
from drsearch.errors import DataError

TITLES = ("Image name", "Retinopathy grade")
"""Of the columns that a table of the flat layout must have."""

_EDEMA = "Risk of macular edema"
_SPLITS = ("split", "set", "subset", "partition")
_PATIENTS = frozenset(
    f"{who}{what}"
    for who in ("patient", "subject", "participant", "person")
    for what in ("", "id", "no", "nr", "number", "code", "name", "uid")
)
_NAMED = 4  # files of a folder that a message names


def flat(tree: FolderTree, base: str) -> Iterator[Description]:
    """Recognise the flat layout by the names of its folders.

    Raises:
        DataError: If it is laid out so, but a table is missing or lacks a column, or two folders, tables or columns
            mean the same.
    """
    images = by_split(tree, [f for folder in tree.folders(base, "images") for f in tree.picture_folders(folder)])
    tables = by_split(tree, tree.tables(base, "labels/*"))
    if images:
        yield Description(
            layout="flat",
            name=name_of(tree, base),
            parts=tuple(_part(tree, base, split, folder, tables.get(split)) for split, folder in images.items()),
            edema=("2",),
        )


def _part(tree: FolderTree, base: str, split: PublishedSplit, folder: str, file: str | None) -> Part:
    if file is None:
        inside = "" if base == "." else f"{readable(base)}/"
        beside = [last_name(table) for table in tree.tables(base, "labels/*") if _side(table) is None]
        others = f" (labels has {', '.join(beside[:_NAMED])})" if beside else ""
        raise DataError(
            f"{tree.listing.root} has {readable(folder)} but no {inside}labels/{last_name(folder)}.csv: the grades of"
            f" its photographs are missing{others}."
        )
    table = tree.listing.table(file).with_titles(TITLES)
    if table is None:
        raise DataError(_lacking(tree, file))
    edema = [title for title in table.titles if plain_title(title) == plain_title(_EDEMA)]
    return Part(
        images=(folder,),
        labels=file,
        image_column=TITLES[0],
        grade_column=TITLES[1:],
        patient_column=_only(tree, file, (title for title in table.titles if _plain(title) in _PATIENTS)),
        edema_column=edema[0] if edema else "",
        split_column=_only(tree, file, (title for title in table.titles if plain_title(title) in _SPLITS)),
        split=split,
    )


def _lacking(tree: FolderTree, file: str) -> str:
    path, titles = tree.listing.root / file, tree.listing.table(file).first_row
    if not titles:
        return f"{path} is empty: the grades of the photographs are missing."
    absent = [repr(title) for title in TITLES if plain_title(title) not in map(plain_title, titles)]
    return (
        f"{path} has no column {' and no column '.join(absent)}: its first line is {', '.join(titles)!r}; give its"
        f" columns these titles, or name them: --labels {readable(file)} --image-column TITLE --grade-column TITLE."
    )


def _plain(title: str) -> str:
    return re.sub(r"[\s_\-.]", "", title).lower()


def _only(tree: FolderTree, file: str, titles: Iterable[str]) -> str:
    first, second, *_ = [*titles, "", ""]
    if second:
        raise DataError(
            f"{tree.listing.root / file} has the columns {first!r} and {second!r}: which one counts? Keep one."
        )
    return first


def by_split(tree: FolderTree, paths: Iterable[str]) -> Mapping[PublishedSplit, str]:
    """The folders or tables that are named as the splits are: train, validation, test.

    Raises:
        DataError: If two of them mean the same split.
    """
    named: dict[PublishedSplit, str] = {}
    for path in paths:
        split = _side(path)
        if split and split in named:
            folder = tree.listing.root / parent(path)
            raise DataError(
                f"{folder} has {last_name(named[split])} and {last_name(path)}: which one is meant? Keep one."
            )
        if split:
            named[split] = path
    return {split: named[split] for split in dict.fromkeys(SIDES.values()) if split in named}


def _side(path: str) -> PublishedSplit | None:
    """The split that a folder or table is named as."""
    return SIDES.get(re.sub(r"\.(csv|tsv|txt|xlsx?)$", "", plain(path)))


def name_of(tree: FolderTree, base: str) -> str:
    """The name of a data set that has none of its own: that of its folder, in small letters."""
    folder = (tree.listing.root / base).resolve().name
    return re.sub(r"[^a-z0-9]+", "-", plain(folder)).strip("-") or "data"
