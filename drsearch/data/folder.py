"""Which photographs does a folder hold, and what grade has each?"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drsearch.errors import DataError
from drsearch.grades import GRADES

PublishedSplit = Literal["train", "test"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm")
"""Endings of files that are photographs, whatever their case."""

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
_FLAT: dict[PublishedSplit, tuple[str, str]] = {
    "train": ("images/train", "labels/train.csv"),
    "test": ("images/test", "labels/test.csv"),
}
_NAME_COLUMN, _GRADE_COLUMN = "image name", "retinopathy grade"


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph of a data set.

    Attributes:
        name: Without extension. IDRiD as published uses the same names in its train and test set.
        path: Where it lies.
        grade: 0 to 4; None where there is no label or no valid grade.
        published_split: The side on which it was published.
    """

    name: str
    path: Path
    grade: int | None
    published_split: PublishedSplit


@dataclass(frozen=True)
class Folder:
    """What a folder holds.

    Attributes:
        path: The folder.
        photographs: All of them, train before test, in the order of their names.
        unlabelled: Those of which no label speaks.
        invalid_grades: Those whose grade is none of the five, with the text found.
        labels_without_photograph: Names, each with the file that speaks of it: `labels/train.csv: IDRiD_007`.
    """

    path: Path
    photographs: tuple[Photograph, ...]
    unlabelled: tuple[Photograph, ...]
    invalid_grades: tuple[tuple[Photograph, str], ...]
    labels_without_photograph: tuple[str, ...]

    def file(self, photograph: Photograph) -> str:
        """The name of a photograph's file within the folder, as messages and the audit give it."""
        return photograph.path.relative_to(self.path).as_posix()


def read_folder(path: Path) -> Folder:
    """List the photographs of a data set and their grades; no photograph is opened.

    Two layouts are known: IDRiD as its publisher gives it (the folder `B. Disease Grading`, or the one that holds it),
    and flat (`images/train`, `labels/train.csv`, and perhaps `images/test`, `labels/test.csv`).

    Args:
        path: The folder.

    Raises:
        DataError: If the folder is neither, or its tables cannot be read.
    """
    root, layout = _layout(path)
    photographs: list[Photograph] = []
    unlabelled: list[Photograph] = []
    invalid: list[tuple[Photograph, str]] = []
    missing: list[str] = []
    for split, (images, labels) in layout.items():
        texts = _read_labels(root / labels) if (root / labels).is_file() else {}
        for name, file in _photographs(root / images).items():
            text = texts.pop(name, None)
            photograph = Photograph(name, file, _grade(text), split)
            photographs.append(photograph)
            if text is None:
                unlabelled.append(photograph)
            elif photograph.grade is None:
                invalid.append((photograph, text))
        missing += [f"{(root / labels).relative_to(path).as_posix()}: {name}" for name in texts]
    if not photographs:
        raise DataError(f"{path} holds no photographs: {root / layout['train'][0]} is empty.")
    return Folder(path, tuple(photographs), tuple(unlabelled), tuple(invalid), tuple(missing))


def _layout(path: Path) -> tuple[Path, dict[PublishedSplit, tuple[str, str]]]:
    for root, layout in ((path, _FLAT), (path, _PUBLISHED), (path / _LEVEL, _PUBLISHED)):
        images, labels = layout["train"]
        if (root / images).is_dir():
            if not (root / labels).is_file():
                raise DataError(f"{root} has {images} but no {labels}: the grades of its photographs are missing.")
            return root, layout
    if not path.is_dir():
        raise DataError(f"{path} is no folder.")
    raise DataError(
        f"{path} is no data set that drsearch knows: it has neither images/train and labels/train.csv"
        f" nor {_PUBLISHED['train'][0]} (IDRiD as published, with or without the folder {_LEVEL})."
    )


def _photographs(folder: Path) -> dict[str, Path]:
    """The photographs of one folder by name, in the order of names."""
    found: dict[str, Path] = {}
    files = sorted(folder.iterdir(), key=lambda file: (file.stem, file.suffix)) if folder.is_dir() else []
    for file in files:
        if file.suffix.lower() not in SUFFIXES or file.name.startswith(".") or file.is_dir():
            continue
        if file.stem in found:
            raise DataError(
                f"{folder} has {found[file.stem].name} and {file.name}: which one is {file.stem}? Keep one."
            )
        found[file.stem] = file
    return found


def _read_labels(path: Path) -> dict[str, str]:
    """The text of the grade by the name of the photograph; two that differ are joined, and so are no grade."""
    rows = _rows(path)
    header = [title.strip().lower() for title in next(rows, [])]
    for title in (_NAME_COLUMN, _GRADE_COLUMN):
        if title not in header:
            raise DataError(f"{path} has no column {title.capitalize()!r}: its first line is {', '.join(header)!r}.")
    name_at, grade_at = header.index(_NAME_COLUMN), header.index(_GRADE_COLUMN)
    found: dict[str, str] = {}
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        cells = [cell.strip() for cell in row] + [""] * len(header)
        name, text = _without_suffix(cells[name_at]), cells[grade_at]
        found[name] = text if found.get(name, text) == text else f"{found[name]} and {text}"
    return found


def _rows(path: Path) -> Iterator[list[str]]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")  # a table saved by a spreadsheet on Windows
    return csv.reader(io.StringIO(text, newline=""))


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in SUFFIXES else name


def _grade(text: str | None) -> int | None:
    """The grade that a text means; spreadsheets write 2 as 2.0 where a column has gaps."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return int(value) if value in GRADES else None
