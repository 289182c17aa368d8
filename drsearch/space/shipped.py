"""The search spaces that come with drsearch: found by name, and listed with what they are for."""

import ast
import os
import re
from dataclasses import dataclass
from pathlib import Path

from drsearch.errors import SearchSpaceError
from drsearch.settings import near_names
from drsearch.texts import read_text

_PACKAGE = Path(__file__).parents[1]
FOLDER = next(filter(Path.is_dir, (_PACKAGE / "search_spaces", _PACKAGE.parent / "search_spaces")), _PACKAGE)
"""Where they lie: in the package when it was installed from a wheel, beside it in a checkout."""


@dataclass(frozen=True)
class ShippedSpace:
    """A search space that comes with drsearch.

    Attributes:
        name: What `drsearch run-study` takes.
        path: Its file.
        summary: One sentence.
        what_for: What it answers, or shows.
        minutes: How long it takes, and on what.
    """

    name: str
    path: Path
    summary: str
    what_for: str
    minutes: str


def shipped_spaces() -> list[ShippedSpace]:
    """Every shipped space, by name; what is said of each stands in its file's docstring."""
    return [_described(path) for path in sorted(FOLDER.glob("*.py"))]


def find_space(given: str | Path) -> Path:
    """The file of a search space: a path, or the name of a shipped space if there is no such file.

    Args:
        given: `spaces/mine.py`, or `report_grid`.

    Returns:
        The path; where nothing is found, as it was given: `read_source` refuses it.
    """
    path = Path(given).expanduser()
    named = FOLDER / f"{given}.py"
    return named if not os.path.isfile(path) and str(given) in _names() else path


def no_such_space(path: Path) -> str:
    """What to do instead, for a path at which there is nothing."""
    names = _names()
    nearest = near_names(path.stem, names)
    return "no such file; " + (
        f"did you mean {nearest[0]}, which comes with drsearch?"
        if nearest
        else f"the search spaces that come with drsearch are {', '.join(names)}."
    )


def _names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def _described(path: Path) -> ShippedSpace:
    text = ast.get_docstring(ast.parse(read_text(path, SearchSpaceError, "is gone."))) or ""
    said = dict(re.findall(r"^(what for|minutes) +(.*(?:\n {4,}.*)*)", text, re.MULTILINE))
    flowing = {name: " ".join(lines.split()) for name, lines in said.items()}
    return ShippedSpace(
        path.stem, path, text.partition("\n")[0], flowing.get("what for", ""), flowing.get("minutes", "")
    )
