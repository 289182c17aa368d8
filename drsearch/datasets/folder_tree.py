"""Where the photographs and tables of a data set lie, folder by folder."""

import fnmatch
import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from drsearch.datasets.listing import PICTURES, Listing, plain_name, readable
from drsearch.datasets.table_files import Table
from drsearch.errors import DataError

_DEEPEST = 3  # folders between the one that is given and a data set's own
_MOST_FOLDERS = 100  # in one folder: where there are more, each is a patient's
_SUBMISSION = "samplesubmission"  # Kaggle's example of an answer has titles and ids of a table of grades, and zeros
_MOST_TABLES = 50  # of one folder: where there are more, each is about one photograph


class FolderTree:
    """Folders of a listing, with what lies in them; every path is one within the listing.

    Args:
        listing: The files.
    """

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self._titled: dict[tuple[str, ...], Table | None] = {}
        self.n_pictures: Counter[str] = Counter()
        """Photographs in each folder and in all folders in it."""
        for picture in listing.pictures:
            for folder in _upwards(picture):
                self.n_pictures[folder] += 1
        folders_in: dict[str, list[str]] = defaultdict(list)
        tables_in: dict[str, list[str]] = defaultdict(list)
        for folder in listing.folders:
            if folder != ".":
                folders_in[parent(folder)].append(folder)
        for table in listing.tables:
            if not plain(table).replace(" ", "").startswith(_SUBMISSION):
                tables_in[parent(table)].append(table)
        self.folders_in: Mapping[str, list[str]] = folders_in
        """The folders that lie directly in each."""
        self.tables_in: Mapping[str, list[str]] = {
            folder: tables for folder, tables in tables_in.items() if len(tables) <= _MOST_TABLES
        }
        """The tables that lie directly in each; none where there are too many to be tables of a whole set.

        Kaggle's examples of answers (`sample_submission.csv`) are left out.
        """

    def titled(self, file: str, titles: Iterable[str]) -> Table | None:
        """A table that has these titles; None where it has not, or cannot be read."""
        key = (file, *titles)
        if key not in self._titled:
            try:
                self._titled[key] = self.listing.table(file).with_titles(titles)
            except DataError:
                self._titled[key] = None
        return self._titled[key]

    def untitled(self, file: str) -> Table | None:
        """A table without titles whose rows begin with a photograph and its grade; None where it is no such table."""
        try:
            table = self.listing.table(file).without_titles()
        except DataError:
            return None
        graded = len(table.titles) >= 2 and table.rows and re.fullmatch(r"\d+", table.rows[0][1])
        return table if graded else None

    def bases(self) -> list[str]:
        """The folders that may be a data set's own: `.` first, then by depth, three levels deep."""
        found, level = ["."], ["."]
        for _ in range(_DEEPEST):
            level = self._below(level)
            found += [f for f in level if self.folders_in.get(f) or self.tables_in.get(f)]
        return found

    def _below(self, folders: Iterable[str]) -> list[str]:
        """The folders in those that may hold a data set or a part of it."""
        return [
            f
            for folder in folders
            if len(self.folders_in.get(folder, ())) <= _MOST_FOLDERS
            for f in self.folders_in.get(folder, ())
        ]

    def picture_folders(self, base: str) -> list[str]:
        """The folders directly in one that have photographs in them or below."""
        return [folder for folder in self.folders_in.get(base, ()) if self.n_pictures[folder]]

    def folders(self, base: str, pattern: str) -> list[str]:
        """The folders with photographs whose path from `base` fits a pattern of `plain` names; `**` is any folders."""
        return [folder for folder in self._matching(base, pattern.split("/")) if self.n_pictures[folder]]

    def tables(self, base: str, pattern: str) -> list[str]:
        """The tables whose path from `base` fits a pattern of `plain` names; `**` is any folders between."""
        *path, name = pattern.split("/")
        return [
            table
            for folder in self._matching(base, path)
            for table in self.tables_in.get(folder, ())
            if fnmatch.fnmatchcase(plain(table), name)
        ]

    def _matching(self, base: str, path: Iterable[str]) -> list[str]:
        found = [base]
        for pattern in path:
            if pattern == "**":
                level = found
                for _ in range(_DEEPEST):
                    level = self._below(level)
                    found = [*found, *level]
            else:
                below = [f for folder in found for f in self.folders_in.get(folder, ())]
                found = [folder for folder in below if fnmatch.fnmatchcase(plain(folder), pattern)]
        return found

    def home(self, base: str, names: Iterable[str]) -> str:
        """The innermost folder with most photographs of these names; empty where it has fewer than half of them.

        It is empty, too, where two folders have equally many, or where a name has two photographs in it: then it must
        be said which are meant.

        Args:
            base: The folder to look in.
            names: Of photographs, with or without folder and ending.
        """
        n_names, n_found, ambiguous = 0, Counter[str](), set[str]()
        for name in filter(None, names):
            n_names += 1
            of_name = Counter(folder for file in self._by_stem.get(stem(name), ()) for folder in _upwards(file))
            n_found.update(of_name.keys())
            ambiguous |= {folder for folder, n in of_name.items() if n > 1}
        inside = {folder: n for folder, n in n_found.items() if is_in(folder, base) and folder not in ambiguous}
        most = max(inside.values(), default=0)
        best = sorted((folder for folder, n in inside.items() if n == most), key=_depth)
        if not best or 2 * most < n_names or not all(is_in(best[-1], folder) for folder in best):
            return ""
        return best[-1]

    def has_any(self, base: str, names: Iterable[str]) -> bool:
        """Whether one of these names is that of a photograph in a folder."""
        return any(is_in(file, base) for name in names for file in self._by_stem.get(stem(name), ()))

    @functools.cached_property
    def _by_stem(self) -> Mapping[str, list[str]]:
        by_stem: dict[str, list[str]] = defaultdict(list)
        for picture in self.listing.pictures:
            by_stem[stem(picture)].append(picture)
        return by_stem

    def stems(self, folder: str) -> set[str]:
        """The names of the photographs in a folder and in all folders in it."""
        return {stem(picture) for picture in self.listing.pictures_in(folder)}


def cells(table: Table, title: str) -> list[str]:
    """The cells of a column of a table; none without such a column."""
    at = table.column(title)
    return [] if at is None else [row[at] for row in table.rows]


def last_name(path: str) -> str:
    """The last name of a path, as it can be printed and stored."""
    return readable(path.rpartition("/")[2])


def parent(path: str) -> str:
    """The folder that a file or folder of a listing lies in."""
    return path.rpartition("/")[0] or "."


def is_in(path: str, folder: str) -> bool:
    """Whether a path of a listing is a folder or lies in it."""
    return folder in (".", path) or path.startswith(f"{folder}/")


def plain(path: str) -> str:
    """The last name of a path in the form in which names of files and folders are compared.

    Small letters; blanks, hyphens, underscores and plus signs are one blank; `%20` is a blank.

    Example:
        >>> plain("data/B.%20Disease_Grading"), plain("Resized_train-15")
        ('b. disease grading', 'resized train 15')
    """
    return re.sub(r"[\s_\-+]+", " ", unquote(plain_name(path.rpartition("/")[2]))).strip().lower()


def stem(name: str) -> str:
    """The name of a photograph without folder and ending, in small letters."""
    name = plain_name(name.replace("\\", "/").rpartition("/")[2]).lower()
    start, dot, ending = name.rpartition(".")
    return start if dot + ending in PICTURES else name


def _depth(folder: str) -> int:
    return 0 if folder == "." else 1 + folder.count("/")


def _upwards(path: str) -> Iterable[str]:
    while path != ".":
        path = parent(path)
        yield path
