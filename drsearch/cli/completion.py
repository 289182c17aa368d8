"""What a shell completes: settings, gin files, search spaces, studies, models, and words of which there are few.

It answers at once: nothing heavy is loaded, and databases are asked only where they are files of this machine.
"""

import contextlib
import glob
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from drsearch.api.access import storage_url
from drsearch.home import Home
from drsearch.settings import setting_choices, setting_names
from drsearch.space.shipped import FOLDER

_CONFIGS = Path(__file__).parents[1] / "configs"
_LOCKED_S = 0.5

Completion = Callable[[str], list[str]]


def among(*words: str) -> Completion:
    """Completes to one of these words."""
    return lambda incomplete: _beginning(incomplete, words)


def settings(incomplete: str) -> list[str]:
    """`section.field=`; behind it the values, where there are few."""
    name, equals, value = incomplete.partition("=")
    if not equals:
        return _beginning(incomplete, (f"{each}=" for each in setting_names()))
    return [f"{name}={choice}" for choice in setting_choices(name) if choice.startswith(value)]


def gin_files(incomplete: str) -> list[str]:
    """Shipped files by name, and files of the folder."""
    return [
        *_beginning(incomplete, (path.name for path in sorted(_CONFIGS.glob("*.gin")))),
        *_files(incomplete, ".gin"),
    ]


def space_files(incomplete: str) -> list[str]:
    """Shipped search spaces by name, and files of the folder."""
    return [*_beginning(incomplete, (path.stem for path in sorted(FOLDER.glob("*.py")))), *_files(incomplete, ".py")]


def _files(incomplete: str, ending: str) -> list[str]:
    places = [f"{path}/" if Path(path).is_dir() else path for path in sorted(glob.glob(f"{incomplete}*"))]
    return [path for path in places if path.endswith(("/", ending))]


def studies(context: typer.Context, incomplete: str) -> list[str]:
    """The studies of the database of `--storage`, if it is a file."""
    address = storage_url(context.params.get("storage") or "", Home.from_environment())
    return _beginning(incomplete, (name for (name,) in _rows(address, "SELECT study_name FROM studies ORDER BY 1")))


def models(incomplete: str) -> list[str]:
    """Aliases and versions of the registered models of the home: `retinopathy@champion`, `retinopathy/3`."""
    uri = Home.from_environment().tracking_uri
    aliases = _rows(uri, "SELECT name, alias FROM registered_model_aliases ORDER BY 1, 2")
    versions = _rows(
        uri, "SELECT name, version FROM model_versions WHERE current_stage <> 'Deleted_Internal' ORDER BY 1, 2 DESC"
    )
    words = [f"{name}@{alias}" for name, alias in aliases] + [f"{name}/{number}" for name, number in versions]
    return _beginning(incomplete, words)


def model_names(incomplete: str) -> list[str]:
    """The registered models of the home."""
    rows = _rows(Home.from_environment().tracking_uri, "SELECT name FROM registered_models ORDER BY 1")
    return _beginning(incomplete, (name for (name,) in rows))


def _beginning(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _rows(address: str, query: str) -> list[tuple[str, ...]]:
    """The answer of a SQLite file; empty for every other database, and where the file does not answer at once."""
    file = Path(address.removeprefix("sqlite:///"))
    if not address.startswith("sqlite:///") or not file.is_file():
        return []
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(
            sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_LOCKED_S)
        ) as database,
    ):
        return database.execute(query).fetchall()
    return []
