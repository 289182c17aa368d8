"""Which photograph a label means: by file name or path, with or without ending, in any case."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from drsearch.datasets.listing import PICTURES, plain_name

_MOST_COMPARED = 2_000


class PhotographIndex:
    """Finds photographs by what tables call them.

    Args:
        files: Of the photographs, within the data set's folder, with `/` between.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self._by_key: dict[str, list[str]] = {}
        for file in files:
            name = plain_name(file.rpartition("/")[2])
            for key in dict.fromkeys((name.casefold(), without_ending(name).casefold())):
                self._by_key.setdefault(key, []).append(file)

    def find(self, written: str) -> list[str]:
        """The photographs that a cell may mean; several where it fits more than one file equally well.

        Args:
            written: A name with or without ending, or a path with `/` or `\\` that ends in one.
        """
        *folders, name = re.split(r"[/\\]", plain_name(written))
        fitting = self._by_key.get(name.casefold()) or self._by_key.get(without_ending(name).casefold(), [])
        if folders:
            fitting = [file for file in fitting if _ends_in(file, folders)] or fitting
        for spelling in (_same, without_ending):  # the case of letters decides only between several
            alike = [file for file in fitting if spelling(plain_name(file.rpartition("/")[2])) == spelling(name)]
            fitting = alike or fitting
        return fitting


def _ends_in(file: str, written: Sequence[str]) -> bool:
    """Whether the last folders of a file are those that are written before its name."""
    folders = [plain_name(folder).casefold() for folder in file.split("/")[:-1]]
    wanted = [folder.casefold() for folder in written if folder not in ("", ".")]
    return folders[len(folders) - len(wanted) :] == wanted


def _same(name: str) -> str:
    return name


def without_ending(name: str) -> str:
    """A file name without the ending of a photograph; a dot within it is no ending.

    Example:
        >>> without_ending("985.1.jpg"), without_ending("985.1")
        ('985.1', '985.1')
    """
    stem, dot, ending = name.rpartition(".")
    return stem if dot and f".{ending.lower()}" in PICTURES else name


def why_unmatched(labels: Sequence[str], names: Sequence[str], elsewhere: Mapping[str, str]) -> str:
    """Why labels and photographs may not match, as the end of a sentence; empty where no reason is seen.

    Args:
        labels: Names in tables that no photograph has.
        names: Of the photographs that no table names.
        elsewhere: File by name of the photographs that are not used.
    """
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
