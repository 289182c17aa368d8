"""The layouts in which data sets are distributed, each recognised by what lies in a folder."""

import difflib
import functools
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from drsearch.datasets.boxes import BoxTable
from drsearch.datasets.class_folders import (
    aptos_class_folders,
    class_folders,
    other_classes,
    paraguay,
    pooled_class_folders,
)
from drsearch.datasets.description import SIDES, Description, Part
from drsearch.datasets.flat import TITLES, flat
from drsearch.datasets.folder_tree import FolderTree, cells, is_in, parent, plain, stem
from drsearch.datasets.listing import Listing, readable
from drsearch.datasets.public_sets import (
    IDRID_BOX_KINDS,
    IDRID_BOX_NOTE,
    IDRID_NAMES,
    PUBLIC_SETS,
    PublicSet,
    TablePart,
)
from drsearch.datasets.table_files import plain_title
from drsearch.errors import DataError

_Recogniser = Callable[[FolderTree, str], Iterator[Description]]
_NAMED = 4  # tables or folders that a message names
_TITLES_NAMED = 12


def recognise(listing: Listing) -> list[Description]:
    """Find all layouts that fit a folder, by the names of folders and files and by the titles of tables.

    The folder may be the data set's own, or hold it up to three levels deep. No photograph is opened.

    Returns:
        A description for each layout that fits, with distinct `layout`; its paths are within the listing. Where a
        layout fits, a more general one of the same photographs is left out.

    Raises:
        DataError: If nothing fits, but the folder is nearly of the flat layout and has a fault that can be named, for
            example photographs without a table of grades.
    """
    tree = FolderTree(listing)
    bases = tree.bases()
    fitting: list[tuple[str, Description]] = []
    faults: list[DataError] = []
    for recogniser in (*_PUBLISHED, flat, class_folders):
        found: list[tuple[str, Description]] = []
        for base in bases:
            if any(is_in(base, other) for other, _ in found):
                continue
            try:
                found += [(base, description) for description in recogniser(tree, base)]
            except DataError as fault:
                faults.append(fault)
        if recogniser is class_folders:
            found = [(base, each) for base, each in found if not any(_overlaps(each, other) for other, _ in fitting)]
        fitting += [(base, each) for base, each in found if not any(_is_part_of(each, other) for _, other in fitting)]
    if faults and not fitting:
        raise faults[0]
    return [_with_boxes(tree, description) for description in _distinct(fitting)]


def _with_boxes(tree: FolderTree, description: Description) -> Description:
    """A description with the tables of boxes that lie there: `lesion_boxes_train.csv` and those of the other splits.

    A table whose name ends in a split is about the photographs of that split, any other about all of them.
    """
    tables: list[BoxTable] = []
    notes = description.notes
    for file in tree.tables(".", "**/lesion boxes*"):
        if table := tree.titled(file, BoxTable(file).titles):
            names = cells(table, BoxTable(file).image_column)
            exchanged = bool(names) and all(re.fullmatch(IDRID_NAMES, stem(name)) for name in names)
            notes += (IDRID_BOX_NOTE,) if exchanged and IDRID_BOX_NOTE not in notes else ()
            split = SIDES.get(plain(file).rpartition(".")[0].split(" ")[-1])
            parts = [part for part in description.parts if not split or split == (part.split or "train")]
            folders = dict.fromkeys(folder for part in parts for folder in part.images)
            kinds = IDRID_BOX_KINDS if exchanged else {}
            tables += [BoxTable(file, tuple(folders), kinds=kinds)] if folders else []
    return replace(description, boxes=tuple(tables), notes=notes)


def _overlaps(description: Description, base: str) -> bool:
    """Whether photographs of a description lie in another data set's folder, or that folder lies among them."""
    return any(is_in(image, base) or is_in(base, image) for part in description.parts for image in part.images)


def _is_part_of(description: Description, other: Description) -> bool:
    """Whether all photographs of a description are photographs of another."""
    folders = [folder for part in other.parts for folder in part.images]
    return all(any(is_in(image, folder) for folder in folders) for part in description.parts for image in part.images)


def _distinct(fitting: Sequence[tuple[str, Description]]) -> list[Description]:
    """Tell equal layouts in different folders apart by the folder."""
    count = Counter(description.layout for _, description in fitting)
    return [
        replace(description, layout=f"{description.layout} in {readable(base)}")
        if count[description.layout] > 1
        else description
        for base, description in fitting
    ]


# Sets with tables


def _public_set(public_set: PublicSet, tree: FolderTree, base: str) -> Iterator[Description]:
    choices = [list(_table_parts(tree, base, wanted)) for wanted in public_set.parts]
    described = _with_pairs(public_set, tree, base) if any(choices) else public_set.description
    if len(choices) == 1 and len(choices[0]) > 1:
        for part in choices[0]:
            yield replace(described, layout=f"{described.layout} by {readable(part.labels)}", parts=(part,))
    elif any(choices):
        yield replace(described, parts=tuple(parts[0] for parts in choices if parts))


def _with_pairs(public_set: PublicSet, tree: FolderTree, base: str) -> Description:
    """What is known of a set, with the table of its pairs where it has one."""
    described = public_set.description
    if not public_set.without_pairs:
        return described
    for file in tree.tables(base, "**/*"):
        if tree.titled(file, ("left", "right")):
            return replace(described, pairs=file)
    return replace(described, patients=(), notes=(*described.notes, public_set.without_pairs))


def _table_parts(tree: FolderTree, base: str, wanted: TablePart) -> Iterator[Part]:
    """The part with each table that fits; several where their names fit equally well."""
    for pattern in wanted.tables:
        parts = [part for file in tree.tables(base, pattern) if (part := _table_part(tree, base, wanted, file))]
        if parts:
            yield from parts
            return


def _table_part(tree: FolderTree, base: str, wanted: TablePart, file: str) -> Part | None:
    part = wanted.part
    table = tree.titled(file, wanted.titles) if part.titles else tree.untitled(file)
    names = cells(table, part.image_column) if table else []
    if not table or not any(re.fullmatch(wanted.names, stem(name)) for name in names):
        return None
    images = _images(tree, base, wanted, file, names)
    if not images:
        return None

    def present(title: str) -> str:
        return title if title and table.column(title) is not None else ""

    return replace(
        part,
        images=(images,),
        labels=file,
        patient_column=present(part.patient_column),
        eye_column=present(part.eye_column),
        edema_column=present(part.edema_column),
        split_column=present(part.split_column),
        split="" if present(part.split_column) else part.split,
    )


def _images(tree: FolderTree, base: str, wanted: TablePart, file: str, names: Sequence[str]) -> str:
    """The folder of a table's photographs: that of the usual name, or where those that it names lie."""
    usual = [folder for pattern in wanted.images for folder in tree.folders(base, pattern)]
    for folder in usual:
        if tree.has_any(folder, names):
            return folder
    home = (tree.home(parent(file), names) or tree.home(base, names)) if wanted.elsewhere else ""
    divided = any(part.split for each in class_folders(tree, home) for part in each.parts) if home else False
    return "" if divided else home  # class folders say the same grades, and the splits as well


_PUBLISHED: tuple[_Recogniser, ...] = (
    aptos_class_folders,
    *(functools.partial(_public_set, public_set) for public_set in PUBLIC_SETS),
    pooled_class_folders,
    paraguay,
)

LAYOUTS = (
    *dict.fromkeys(public_set.description.layout for public_set in PUBLIC_SETS),
    "GDRBench",
    "pooled class folders",
    "Paraguay",
    "flat",
    "class folders",
    "binary class folders",
)
"""Names of layouts, as descriptions have them; copies of APTOS 2019 in class folders are named by their folder."""


# What lies in a folder that no layout fits

_WITHOUT_GRADES = {
    "2. all segmentation groundtruths": "the segmentation part of IDRiD",
    "e optha ex": "e-ophtha",
    "e optha ma": "e-ophtha",
    "all mg codes.txt": "STARE",
    "aria d markups": "ARIA",
    "lesion segmentation": "the segmentation part of DDR",
}
_ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".zip.001")
_PAIRS_ONLY = "has the pairs of Messidor-2, whose grades are published apart as messidor_data.csv: put that there, too"


def unrecognised(listing: Listing) -> str:
    """The sentence about a folder that no layout fits: what lies there, what to name, and the nearest layout."""
    tree = FolderTree(listing)
    nearest = _nearest(tree)
    return (
        f"{listing.root} has no layout that drsearch knows: it has {_pictures_there(tree)} and {_tables_there(tree)};"
        f" {_cure(tree)}{f' ({nearest})' if nearest else ''}."
    )


def _cure(tree: FolderTree) -> str:
    archives = [file for file in tree.listing.files if file.lower().endswith(_ARCHIVES)]
    if archives and not tree.listing.pictures:
        return f"unpack {readable(archives[0])} first"
    if not tree.listing.tables:
        return "put a table of the grades there, or put the photographs into folders that are named 0 to 4"
    file, image, grade = tree.listing.tables[0] if len(tree.listing.tables) == 1 else "FILE", "TITLE", "TITLE"
    for table, part in (
        (table, each.part)
        for tables in tree.tables_in.values()
        for table in tables
        for known in PUBLIC_SETS
        for each in known.parts
    ):
        if part.titles and tree.titled(table, (part.image_column, *part.grade_column)):
            file, image, grade = table, part.image_column, part.grade_column[0]
            break
    return (
        f"name its columns with --labels {shlex.quote(readable(file))} --image-column {shlex.quote(image)}"
        f" --grade-column {shlex.quote(grade)}"
    )


def _pictures_there(tree: FolderTree) -> str:
    n = len(tree.listing.pictures)
    folders = sorted({parent(picture) for picture in tree.listing.pictures} - {"."})
    named = ", ".join(map(readable, folders[:_NAMED]))
    more = f" and {len(folders) - _NAMED} other folders" if len(folders) > _NAMED else ""
    photographs = f"{n} photograph{'s' if n > 1 else ''}" if n else "no photographs"
    return f"{photographs} in {named}{more}" if folders else photographs


def _tables_there(tree: FolderTree) -> str:
    tables = tree.listing.tables
    named = "; ".join(f"{readable(file)} ({_first_row(tree, file)})" for file in tables[:_NAMED])
    more = f" and {len(tables) - _NAMED} more" if len(tables) > _NAMED else ""
    if not tables:
        return "no table"
    return f"the table {named}" if len(tables) == 1 else f"the tables {named}{more}"


def _first_row(tree: FolderTree, file: str) -> str:
    try:
        row = tree.listing.table(file).first_row
    except DataError:
        return "which cannot be read"
    more = ", ..." if len(row) > _TITLES_NAMED else ""
    return f"begins with {', '.join(map(repr, row[:_TITLES_NAMED]))}{more}" if row else "empty"


def _nearest(tree: FolderTree) -> str:
    """What cannot be opened, or the layout that is nearest and what it lacks; empty where none is near."""
    if tree.listing.problems:
        return tree.listing.problems[0]
    for path in (*tree.listing.folders, *tree.listing.tables):
        if plain(path) in _WITHOUT_GRADES:
            return f"{readable(path)} is of {_WITHOUT_GRADES[plain(path)]}, which has no grades of retinopathy"
    known = [(part.titles, each.description.layout) for each in PUBLIC_SETS for part in each.parts if part.titles]
    known.append((TITLES, "flat"))
    known.sort(key=lambda each: (-len(each[0]), len(each[1])))  # EyePACS, not its copies
    for file in [file for tables in tree.tables_in.values() for file in tables]:
        if tree.titled(file, ("left", "right")):
            return f"{readable(file)} {_PAIRS_ONLY}"
        complete = [(titles, layout) for titles, layout in known if tree.titled(file, titles)]
        words = (
            [_without_photographs(tree, file, *complete[0])]
            if complete
            else [_lacking(tree, file, *each) for each in known]
        )
        if any(words):
            return next(filter(None, words))
    for base in tree.bases():
        graded, others = other_classes(tree, base)
        if len(graded) == 1 and not others:
            return f"all photographs lie in {readable(graded[0])}: add those of the other grades, each in its folder"
        if len(graded) > 1 and others:
            return (
                f"beside folders that are named as grades, such as {readable(graded[0])}, lies {readable(others[0])},"
                " which is not: take it away or name it as its grade"
            )
    return ""


def _without_photographs(tree: FolderTree, file: str, titles: Sequence[str], layout: str) -> str:
    """What is wrong with the photographs of a table; empty where they are there, so that it need only be named."""
    table = tree.titled(file, titles)
    names = [name for name in cells(table, titles[0]) if name] if table else []
    if tree.home(".", names):
        return ""
    where = "lie in more than one folder: keep one of them" if tree.has_any(".", names) else "are not there"
    example = f", such as {names[0]!r}," if names else ""
    return f"{readable(file)} is a table as of {layout}, but its photographs{example} {where}"


def _lacking(tree: FolderTree, file: str, titles: Sequence[str], layout: str) -> str:
    """The one column that a table lacks for a layout; empty where it lacks more."""
    for lacking in titles if len(titles) > 1 else ():
        table = tree.titled(file, tuple(title for title in titles if title != lacking))
        if table:
            near = difflib.get_close_matches(plain_title(lacking), [plain_title(title) for title in table.titles], n=1)
            if near or len(titles) > 2:
                closest = f"; its column {near[0]!r} is named most like it" if near else ""
                return f"{readable(file)} would be of {layout} if it had a column {lacking!r}{closest}"
    return ""
