"""The files of a data set's folder, listed once."""

import functools
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drsearch.datasets.table_files import TABLES, TableFile
from drsearch.errors import DataError

PICTURES = tuple(
    (
        ".jpg .jpeg .jpe .jfif .png .tif .tiff .bmp .webp .gif .ppm .pgm .pnm .pbm .jp2 .j2k .jpx .dcm .dicom .heic"
        " .heif .avif .jxl"
    ).split()
)
"""Endings of files that are photographs, whatever their case; `decode` says which formats are read."""

_ABOUT = (
    "readme",
    "license",
    "licence",
    "copying",
    "changelog",
    "citation",
    "cc-",
    "cc0",
)  # begin files that are no tables
_NOT_PRINTED = ("Cc", "Zl", "Zp")  # categories of Unicode: control characters, ends of lines and paragraphs
_SYSTEM = ("thumbs.db", "desktop.ini", "__macosx")


@dataclass(frozen=True)
class Listing:
    """The files of a folder and of all folders in it; hidden files and those of operating systems are left out.

    Attributes:
        root: The folder.
        files: Their paths within it, with `/` between, sorted; bytes that are no UTF-8 are kept as Python keeps them.
        problems: Folders that cannot be opened, each with the reason.
    """

    root: Path
    files: tuple[str, ...]
    problems: tuple[str, ...] = ()

    @functools.cached_property
    def pictures(self) -> tuple[str, ...]:
        """The files that are photographs by their ending."""
        return tuple(file for file in self.files if file.lower().endswith(PICTURES))

    @functools.cached_property
    def tables(self) -> tuple[str, ...]:
        """The files that are tables by their ending; not those about the data set, such as `README.txt`."""
        return tuple(file for file in self.files if is_table(file))

    @functools.cached_property
    def folders(self) -> tuple[str, ...]:
        """Every folder that has a file in it or below, sorted; `.` for the root."""
        folders = {"."}
        for file in self.files:
            parts = file.split("/")[:-1]
            folders |= {"/".join(parts[:n]) for n in range(1, len(parts) + 1)}
        return tuple(sorted(folders))

    def pictures_in(self, folder: str) -> tuple[str, ...]:
        """The photographs in a folder of the listing and in all folders in it."""
        return self.pictures if folder == "." else tuple(p for p in self.pictures if p.startswith(f"{folder}/"))

    def table(self, file: str) -> TableFile:
        """A table of the listing; the same object whenever it is asked for."""
        return self._tables.setdefault(file, TableFile(self.root / file))

    @functools.cached_property
    def _tables(self) -> dict[str, TableFile]:
        return {}


def is_table(file: str) -> bool:
    """Whether a file is a table by its name."""
    name = file.rpartition("/")[2].lower()
    return name.endswith(TABLES) and not name.startswith(_ABOUT)


def list_folder(root: Path, besides: Path | None = None) -> Listing:
    """List a folder; nothing is opened.

    Args:
        root: The folder.
        besides: A folder within it that is no part of the data set, and is left out.

    Raises:
        DataError: If it is no folder, or cannot be opened.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder.")
    problems: list[str] = []
    files = sorted(_walk(root, "", besides, set(), problems))
    if problems and not files:
        raise DataError(f"{root} cannot be read: {problems[0]}; mend it or name another folder.")
    return Listing(root, tuple(files), tuple(problems))


def _walk(
    folder: Path, within: str, besides: Path | None, visited: set[tuple[int, int]], problems: list[str]
) -> Iterator[str]:
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:  # links can lead round in circles
            return
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            listed = list(entries)
    except OSError as wrong:
        problems.append(f"{readable(within.rstrip('/') or '.')} cannot be opened: {wrong.strerror}")
        return
    for entry in listed:
        if entry.name[0] == "." or entry.name.lower() in _SYSTEM:
            continue
        if besides is not None and entry.name == besides.name and besides == Path(entry.path).resolve():
            continue
        try:
            is_folder = entry.is_dir() and not entry.name.lower().endswith(PICTURES)  # such a folder is unreadable
        except OSError:  # a link that leads to itself: a file that cannot be opened
            is_folder = False
        if is_folder:
            yield from _walk(Path(entry.path), f"{within}{entry.name}/", besides, visited, problems)
        else:
            yield within + entry.name


def readable(name: str) -> str:
    """A name as it can be printed and stored on one line; bytes that are no UTF-8 become `\\xfc`, line ends `\\n`.

    Example:
        >>> readable("a\\nb"), readable("\\udcfc.jpg"), readable("Müller")
        ('a\\\\nb', '\\\\xfc.jpg', 'Müller')
    """
    text = name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        letter.encode("unicode_escape").decode() if unicodedata.category(letter) in _NOT_PRINTED else letter
        for letter in text
    )


def plain_name(name: str) -> str:
    """A name of a photograph in the form in which names are compared: composed letters, no blanks around it.

    macOS decomposes the letters of file names (e and an accent), spreadsheets compose them.
    """
    return unicodedata.normalize("NFC", readable(name.strip()))
