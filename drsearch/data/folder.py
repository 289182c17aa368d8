"""The photographs of a folder, with the grade, published split and patient of each."""

import difflib
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drsearch.data.patients import patients_of
from drsearch.data.tables import PICTURES, SIDES, Label, Labels, PublishedSplit, plain_name, read_labels
from drsearch.errors import DataError
from drsearch.grades import GRADES

_LEVEL = "B. Disease Grading"
_PUBLISHED: dict[PublishedSplit, tuple[str, str]] = {
    "train": (
        "1. Original Images/a. Training Set",
        "2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv",
    ),
    "test": (
        "1. Original Images/b. Testing Set",
        "2. Groundtruths/b. IDRiD_Disease Grading_Testing Labels.csv",
    ),
}
_TABLES = (".csv", ".tsv", ".txt", ".xls", ".xlsx", ".ods", ".parquet", ".json", ".xml")
_ABOUT = (
    "readme",
    "license",
    "licence",
    "copying",
    "changelog",
    "citation",
    "cc-",
    "cc0",
)  # so begin files that are no tables
_SYSTEM = ("thumbs.db", "desktop.ini", "__macosx")
_NAMED = 4  # files of one folder that are named each; more are counted
_MOST_LISTED = 100_000
_MOST_COMPARED = 2_000


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph of a data set.

    Attributes:
        name: Without extension, as `plain_name` gives it. IDRiD as published uses the same names in its train and test
            set.
        path: Where it lies.
        grade: 0 to 4; None where there is no label or no valid grade.
        published_split: The split for which it was published.
        patient: Whose eye it is, by the patient column or by its name; empty where neither tells.
        label: The text of the grade in the table; None where the table does not name the photograph.
    """

    name: str
    path: Path
    grade: int | None
    published_split: PublishedSplit
    patient: str = ""
    label: str | None = None
    edema: bool = False
    eye: str = ""
    source: str = ""

    @property
    def has_invalid_grade(self) -> bool:
        """Whether the table has a grade that is none of the five."""
        return self.grade is None and self.label is not None


@dataclass(frozen=True)
class Folder:
    """The photographs and labels of a folder.

    Attributes:
        path: The folder.
        photographs: All of them, folder by folder, in the order of their names.
        labels_without_photograph: Names, each with the table that has it: `labels/train.csv: IDRiD_007`.
        not_used: Files that look like photographs or tables and are not read, and columns that are not read, each in a
            few words. A folder of which nothing is used is named once.
        patients_by: What names the patients: a column, or file names; empty without patients.
        hint: Why labels and photographs may not match; empty where they match or no reason is seen.
    """

    path: Path
    photographs: tuple[Photograph, ...]
    labels_without_photograph: tuple[str, ...]
    not_used: tuple[str, ...]
    patients_by: str
    hint: str

    @property
    def unlabelled(self) -> tuple[Photograph, ...]:
        """The photographs that no table names."""
        return tuple(photograph for photograph in self.photographs if photograph.label is None)

    @property
    def invalid_grades(self) -> tuple[tuple[Photograph, str], ...]:
        """The photographs whose grade is none of the five, with its text."""
        return tuple((p, p.label or "") for p in self.photographs if p.has_invalid_grade)

    def file(self, photograph: Photograph) -> str:
        """The name of a photograph's file within the folder, as messages and the audit give it."""
        return _within(self.path, photograph.path)


@dataclass(frozen=True)
class _Side:
    """One published split: where its photographs and its table lie."""

    split: PublishedSplit
    images: Path
    table: Path


def read_folder(path: Path, besides: Path | None = None) -> Folder:
    """List the photographs of a data set and their grades; no photograph is opened.

    Two layouts are known: IDRiD as its publisher gives it (the folder `B. Disease Grading`, or the one that holds it),
    and flat (`images/train`, `labels/train.csv`, and perhaps the same of `valid` and `test`). A column `split` in a
    table counts for more than the folder.

    Args:
        path: The folder.
        besides: A folder within it that is no part of the data set and is left out.

    Returns:
        The photographs and labels.

    Raises:
        DataError: If the folder has neither layout, or it or its tables cannot be read or understood.
    """
    try:
        return _read_folder(path, besides)
    except OSError as wrong:
        raise DataError(
            f"{wrong.filename} cannot be read: {wrong.strerror}; mend it or name another folder."
        ) from wrong


def _read_folder(path: Path, besides: Path | None) -> Folder:
    sides = _sides(path)
    listed: list[tuple[str, Path, Label | None, PublishedSplit]] = []
    missing: list[tuple[Path, str]] = []
    read: dict[Path, Labels] = {}
    for side in sides:
        labels = read[side.table] = read_labels(side.table) if os.path.lexists(side.table) else Labels({})
        left = dict(labels.by_name)
        for name, file in _photographs(side.images).items():
            label = left.pop(name, None)
            listed.append((name, file, label, _published(side, label, name)))
        missing += [(side.table, name) for name in left]
        missing += [(side.table, f"line {line}, which has no name") for line in labels.nameless]
    boxes = {side.table.with_name(f"lesion_boxes_{side.table.name}") for side in sides}  # as IDRiD's and synthetic eyes
    listing = _Listing(path, {side.images for side in sides}, set(read) | boxes, besides)
    not_used = listing.not_used()
    if not listed:
        more = f", but there are pictures elsewhere: {'; '.join(not_used[:_NAMED])}" if listing.elsewhere else ""
        raise DataError(f"{path} holds no photographs: {sides[0].images} is empty{more}.")
    columns = [f"{_within(path, table)}, column {column!r}" for table, of in read.items() for column in of.not_used]
    cells = [label.patient if label else "" for _, _, label, _ in listed]
    patients = patients_of([name for name, _, _, _ in listed], cells)
    photographs = tuple(
        Photograph(name, file, _grade(label), published, patient, label.grade if label else None)
        for (name, file, label, published), patient in zip(listed, patients, strict=True)
    )
    return Folder(
        path,
        photographs,
        tuple(f"{_within(path, table)}: {name}" for table, name in missing),
        (*not_used, *columns),
        _patients_by(read, cells, patients),
        _hint([name for _, name in missing], [p.name for p in photographs if p.label is None], listing.elsewhere),
    )


def _patients_by(tables: Mapping[Path, Labels], cells: Sequence[str], patients: Sequence[str]) -> str:
    columns = sorted({labels.patient_column for labels in tables.values() if labels.patient_column})
    ways = [f"column {column!r}" for column in columns if any(cells)]
    if any(patient and not cell for patient, cell in zip(patients, cells, strict=True)):
        ways.append("names such as 12_left and 12_right")
    return " and ".join(ways)


def _published(side: _Side, label: Label | None, name: str) -> PublishedSplit:
    """The published split of a photograph; only the training set may be divided by a column."""
    named = label.split if label else None
    if named in (None, side.split):
        return side.split
    if side.split != "train":
        raise DataError(
            f"{side.table} says that {name} is in the {named} split, but it lies in {side.images}: mend one of them."
        )
    assert named is not None
    return named


# Layouts


def _sides(path: Path) -> list[_Side]:
    if not path.is_dir():
        raise DataError(f"{path} is no folder.")
    for root in (path, path / _LEVEL):
        sides = _flat(path) if root == path else []
        if not sides and (root / _PUBLISHED["train"][0]).is_dir():
            sides = [_Side(split, root / images, root / table) for split, (images, table) in _PUBLISHED.items()]
        if sides:
            for side in sides:
                _check_table(root, side)
            return sides
    raise DataError(
        f"{path} is no data set that drsearch knows: it has neither images/train and labels/train.csv"
        f" nor {_PUBLISHED['train'][0]} (IDRiD as published, with or without the folder {_LEVEL})."
    )


def _flat(root: Path) -> list[_Side]:
    """The sides of the flat layout; none where no folder of photographs has the name of a side."""
    images = _by_side(root / "images", folders=True)
    tables = _by_side(root / "labels", folders=False)
    if not images:
        return []
    sides: list[_Side] = []
    for split in dict.fromkeys(SIDES.values()):
        if split in images or split in tables:
            folder = images.get(split, root / "images" / (tables[split].stem if split in tables else split))
            sides.append(_Side(split, folder, tables.get(split, root / "labels" / f"{folder.name}.csv")))
    return sides


def _by_side(folder: Path, *, folders: bool) -> dict[PublishedSplit, Path]:
    """The folders, or the CSV files, that are named as the splits are."""
    by_side: dict[PublishedSplit, Path] = {}
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        named = entry.name if folders else entry.stem if entry.suffix.lower() == ".csv" else ""
        split = SIDES.get(named.lower())
        if split is None or (folders and not entry.is_dir()):
            continue
        if split in by_side:
            raise DataError(f"{folder} has {by_side[split].name} and {entry.name}: which one is meant? Keep one.")
        by_side[split] = entry
    return by_side


def _check_table(root: Path, side: _Side) -> None:
    if os.path.lexists(side.table) or not side.images.is_dir():
        return
    if side.split != "train" and not _photographs(side.images):
        return
    beside = sorted(side.table.parent.iterdir()) if side.table.parent.is_dir() else []
    others = [
        file.name for file in beside if _is_table(file.name) and SIDES.get(file.stem.lower()) in (None, side.split)
    ]
    tables = f" ({side.table.parent.name} has {', '.join(others[:_NAMED])})" if others else ""
    raise DataError(
        f"{root} has {_within(root, side.images)} but no {_within(root, side.table)}: the grades of its photographs"
        f" are missing{tables}."
    )


def _photographs(folder: Path) -> dict[str, Path]:
    """The photographs of one folder by name, in the order of names."""
    by_name: dict[str, Path] = {}
    files = sorted(folder.iterdir(), key=lambda file: (file.stem, file.suffix)) if folder.is_dir() else []
    for file in files:
        if not _is_picture(file.name):
            continue
        name = plain_name(_readable(file.stem))
        if name in by_name:
            raise DataError(f"{folder} has {by_name[name].name} and {file.name}: which one is {name}? Keep one.")
        by_name[name] = file
    return by_name


def _is_picture(name: str) -> bool:
    return name[0] != "." and name.lower().endswith(PICTURES)


def _is_table(name: str) -> bool:
    return name.lower().endswith(_TABLES) and not name.lower().startswith(_ABOUT)


def _readable(name: str) -> str:
    """A name as it can be printed and stored; bytes that are no UTF-8 become `\\xfc`."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def _within(folder: Path, path: Path) -> str:
    return _readable(path.relative_to(folder).as_posix())


def _grade(label: Label | None) -> int | None:
    """The grade that a text means; spreadsheets write 2 as 2.0 or 2,0 where a column has gaps."""
    try:
        value = float(label.grade.replace(",", ".")) if label else None
    except ValueError:
        return None
    return int(value) if value is not None and value in GRADES else None


# What is not used


@dataclass
class _Listing:
    """Goes through a data set for files that look like photographs or tables and are not used.

    Attributes:
        root: The folder of the data set.
        images: Folders whose photographs are used.
        tables: Files that are used.
        besides: A folder that is no part of the data set.
        elsewhere: File by name of the pictures that are not used, filled by `not_used`.
    """

    root: Path
    images: set[Path]
    tables: set[Path]
    besides: Path | None
    elsewhere: dict[str, str] = field(default_factory=dict)
    n_listed: int = 0
    visited: set[tuple[int, int]] = field(default_factory=set)

    def not_used(self) -> list[str]:
        """Every such file, or the folder of many, in a few words."""
        lines, _, rest = self._folder(self.root)
        lines += _words(self.root, self.root, rest)
        if self.n_listed > _MOST_LISTED:
            lines.append(f"more than {_MOST_LISTED} files, of which not all were looked at")
        return lines

    def _folder(self, folder: Path) -> tuple[list[str], bool, list[Path]]:
        """The lines about a folder, whether anything in it is used, and its unused files that no line names yet."""
        lines: list[str] = []
        used = folder in self.images
        loose: list[Path] = []
        unused_folders: list[tuple[Path, list[Path]]] = []
        for entry in self._entries(folder, lines):
            if folder in self.images and _is_picture(entry.name):
                continue
            path = Path(entry.path)
            if entry.is_dir():
                below, used_below, rest = self._folder(path)
                lines += below
                if used_below:
                    used = True
                    lines += _words(self.root, path, rest)
                elif rest:
                    unused_folders.append((path, rest))
            elif path in self.tables:
                used = True
            elif self._counts(path, folder):
                loose.append(path)
        if not used:
            return lines, False, [*loose, *(path for _, rest in unused_folders for path in rest)]
        for path, rest in unused_folders:
            lines += _words(self.root, path, rest)
        return lines, True, loose

    def _entries(self, folder: Path, lines: list[str]) -> Iterator[os.DirEntry[str]]:
        if self.n_listed > _MOST_LISTED:
            return
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in self.visited:  # links can lead round in circles
                return
            self.visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as wrong:
            lines.append(f"{_within(self.root, folder)} (cannot be opened: {wrong.strerror})")
            return
        for entry in listed:
            if entry.name[0] == "." or entry.name.lower() in _SYSTEM:
                continue
            if (
                self.besides is not None
                and entry.name == self.besides.name
                and self.besides == Path(entry.path).resolve()
            ):
                continue
            yield entry

    def _counts(self, path: Path, folder: Path) -> bool:
        """Whether to name a file: it looks like a photograph or a table, or lies among photographs."""
        self.n_listed += 1
        if _is_picture(path.name):
            self.elsewhere.setdefault(plain_name(_readable(path.stem)), _within(self.root, path))
            return True
        return folder in self.images or _is_table(path.name)


def _words(root: Path, folder: Path, files: Sequence[Path]) -> list[str]:
    """The files by name where they are few and lie in the folder itself, else the folder with their number."""
    if len(files) <= _NAMED and all(file.parent == folder for file in files):
        return [_within(root, file) for file in files]
    pictures, tables = (sum(of_kind(file.name) for file in files) for of_kind in (_is_picture, _is_table))
    counts = [(pictures, "picture"), (tables, "table"), (len(files) - pictures - tables, "other file")]
    numbers = " and ".join(f"{n} {what}{'s' if n != 1 else ''}" for n, what in counts if n)
    return [f"{_within(root, folder)} ({numbers}, e.g. {_readable(files[0].name)})"]


# Why names may not match


def _hint(labels: Sequence[str], names: Sequence[str], elsewhere: Mapping[str, str]) -> str:
    for label in labels:
        if label in elsewhere:
            return f"a photograph of the name {label} lies at {elsewhere[label]}, which is not read"
    if not labels or not names:
        return ""
    loose = {_loosely(name): name for name in names}
    for label in labels:
        if name := loose.get(_loosely(label)):
            return f"the label {label!r} and the photograph {name!r} are nearly equal: give them the same name"
    near = difflib.get_close_matches(labels[0], names[:_MOST_COMPARED], n=1)
    if near:
        return f"of the photographs without label {near[0]!r} is named most like the label {labels[0]!r}"
    return f"labels are named like {labels[0]!r}, photographs without label like {names[0]!r}"


def _loosely(name: str) -> str:
    """A name without what spreadsheets, scripts and people change in one."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFKC", name).casefold())[-1]
    return re.sub(r"[\W_]+", "", re.sub(r"0+(?=\d)", "", last))
