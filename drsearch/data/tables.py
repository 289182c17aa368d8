"""Tables of labels, as spreadsheets save them: the grade, patient and split of each photograph."""

import csv
import io
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drsearch.data import patients
from drsearch.errors import DataError
from drsearch.files import read_file

PublishedSplit = Literal["train", "validation", "test"]

SIDES: Mapping[str, PublishedSplit] = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""The published split by its names in folders, tables and cells."""

PICTURES = tuple(
    (
        ".jpg .jpeg .jpe .jfif .png .tif .tiff .bmp .webp .gif .ppm .pgm .pnm .pbm .jp2 .j2k .jpx .dcm .dicom .heic"
        " .heif .avif .jxl"
    ).split()
)
"""Endings of files that are photographs, whatever their case; `decode` says which formats are read."""

_NAME, _GRADE = "image name", "retinopathy grade"
_SPLIT_COLUMNS = ("split", "set", "subset", "partition")
_DELIMITERS = ",;\t|"
_JOINTS = str.maketrans("", "", "_-.")
_FIRST_LINES = 5  # among which the titles are looked for: spreadsheets put `sep=;`, blank lines or a heading before
_BINARY = {b"PK\x03\x04": "an Excel workbook", b"\xd0\xcf\x11\xe0": "an Excel workbook"}


@dataclass(frozen=True)
class Label:
    """The row of a table about one photograph.

    Attributes:
        grade: As it is written; two different grades are joined by `and`, which is no valid grade.
        patient: As it is written; empty where the table has none.
        split: The published split; None where the table has none.
    """

    grade: str
    patient: str
    split: PublishedSplit | None


@dataclass(frozen=True)
class Labels:
    """The contents of a table.

    Attributes:
        by_name: By the name of the photograph, as `plain_name` gives it.
        nameless: Lines that have a grade and no name.
        patient_column: The title of the column that names the patient; empty without such a column.
        not_used: The titles of other columns that are not empty.
    """

    by_name: Mapping[str, Label]
    nameless: tuple[int, ...] = ()
    patient_column: str = ""
    not_used: tuple[str, ...] = ()


def plain_name(name: str) -> str:
    """A name of a photograph in the form in which names are compared: composed letters, no blanks around it.

    macOS decomposes the letters of file names (e and an accent), spreadsheets compose them.
    """
    return unicodedata.normalize("NFC", name).strip()


def read_labels(path: Path) -> Labels:
    """Read a CSV file with the columns `Image name` and `Retinopathy grade`.

    Separators are commas, semicolons, tabs or bars; the encoding is UTF-8, UTF-16 or that of Windows. A column
    `patient` (or `patient_id`, `subject`) and a column `split` (or `set`, `subset`, `partition`) are read too.

    Returns:
        The labels by the names of the photographs.

    Raises:
        DataError: If the table cannot be read or understood.
    """
    try:
        rows, lines = _rows(path, _text(path))
    except csv.Error as wrong:
        raise DataError(f"{path} is no CSV table ({wrong}); save it as CSV, UTF-8.") from wrong
    titles = [" ".join(title.split()) for title in rows[0]]
    plain = [title.lower() for title in titles]
    for title in (_NAME, _GRADE):
        if plain.count(title) > 1:
            raise DataError(f"{path} has {plain.count(title)} columns {title.capitalize()!r}; keep one.")
    name_at, grade_at = plain.index(_NAME), plain.index(_GRADE)
    patient_at = _column(path, titles, lambda title: "".join(title.split()).translate(_JOINTS) in patients.COLUMNS)
    split_at = _column(path, titles, lambda title: title in _SPLIT_COLUMNS)
    by_name: dict[str, Label] = {}
    nameless, written = [], set()
    for line, row in zip(lines[1:], rows[1:], strict=True):
        cells = [cell.strip() for cell in row] + [""] * len(titles)
        if any(cells[len(titles) :]):
            raise DataError(
                f"{path}, line {line}, has {len(row)} cells for {len(titles)} columns: {', '.join(row)!r};"
                " put a cell with a separator in it in quotes, and give every column a title."
            )
        written |= {at for at in range(len(titles)) if cells[at]}
        name = plain_name(_without_suffix(cells[name_at]))
        if not name:
            nameless += [line] if cells[grade_at] else []
            continue
        label = Label(
            cells[grade_at],
            cells[patient_at] if patient_at is not None else "",
            _split(path, line, titles[split_at], cells[split_at]) if split_at is not None else None,
        )
        by_name[name] = _joined(path, name, by_name[name], label) if name in by_name else label
    used = {name_at, grade_at, patient_at, split_at}
    return Labels(
        by_name,
        tuple(nameless),
        titles[patient_at] if patient_at is not None else "",
        tuple(titles[at] or f"number {at + 1}" for at in sorted(written - used)),
    )


def _text(path: Path) -> str:
    try:
        data = read_file(path)
    except OSError as wrong:
        raise DataError(f"{path} cannot be read: {wrong.strerror}; put the table of labels there.") from wrong
    if what := _BINARY.get(data[:4]):
        raise DataError(f"{path} is {what}, whatever its name says; save it as CSV.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if data[1:2] == b"\0" or data[:1] == b"\0":
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")  # saved by a spreadsheet on Windows


def _rows(path: Path, text: str) -> tuple[list[list[str]], list[int]]:
    """The rows that are not blank, from that with the titles on, and the line in which each ends."""
    first: list[list[str]] = []
    for delimiter in _DELIMITERS:
        rows, lines = [], []
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(reader.line_num)
        for at, row in enumerate(rows[:_FIRST_LINES]):
            titles = [" ".join(title.split()).lower() for title in row]
            if _NAME in titles and _GRADE in titles:
                return rows[at:], lines[at:]
        if rows and (not first or len(rows[0]) > len(first[0])):
            first = rows[:1]
    if not first:
        raise DataError(f"{path} is empty: the grades of the photographs are missing.")
    titles = [title.strip() for title in first[0]]
    lacking = [title for title in (_NAME, _GRADE) if title not in [title.lower() for title in titles]]
    raise DataError(
        f"{path} has no column {' and no column '.join(repr(title.capitalize()) for title in lacking)}:"
        f" its first line is {', '.join(titles)!r}; give its columns these titles."
    )


def _column(path: Path, titles: list[str], is_it: Callable[[str], bool]) -> int | None:
    """The place of an optional column; None without it."""
    at = [i for i, title in enumerate(titles) if is_it(title.lower())]
    if len(at) > 1:
        raise DataError(f"{path} has the columns {titles[at[0]]!r} and {titles[at[1]]!r}: which one counts? Keep one.")
    return at[0] if at else None


def _split(path: Path, line: int, title: str, cell: str) -> PublishedSplit | None:
    if cell and cell.lower() not in SIDES:
        raise DataError(
            f"{path}, line {line}, has {cell!r} in its column {title!r}: write train, validation or test,"
            " or give the column another title if it is something else."
        )
    return SIDES[cell.lower()] if cell else None


def _joined(path: Path, name: str, first: Label, second: Label) -> Label:
    """The label of a photograph that has two rows."""
    if (first.patient, first.split) != (second.patient, second.split):
        raise DataError(f"{path} has two rows for {name} that differ in its patient or split; keep one.")
    grades = [first.grade] if first.grade == second.grade else [first.grade, second.grade]
    return Label(" and ".join(grades), first.patient, first.split)


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in PICTURES else name
