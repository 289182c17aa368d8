"""Reads files of settings that a study starts from (`--enqueue`)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from drsearch.errors import SettingsError
from drsearch.settings import Value, searchable_names
from drsearch.space.build_model import from_setting
from drsearch.texts import read_text


@dataclass(frozen=True)
class Known:
    """Settings to start from.

    Attributes:
        where: The file, and the line where it has several.
        values: Values by the names that a space draws them by: `hypermodel.<name>` for `build_model`'s.
        whole: Whether these are all settings of a run, some of which a space may draw; else the space must draw each.
    """

    where: str
    values: Mapping[str, Value]
    whole: bool


def read_known(file: Path, read_gin: Callable[[Path], Mapping[str, Value]]) -> list[Known]:
    """The settings in a file: a gin file by its ending, else one JSON object per line.

    Args:
        file: The file.
        read_gin: Reads a gin file into values by name.

    Raises:
        SettingsError: If the file cannot be read, or something in it is wrong.
    """
    return [known_settings(file, read_gin(file))] if file.suffix == ".gin" else known_lines(file)


def known_lines(file: Path) -> list[Known]:
    """The settings in a file with one JSON object of `"name": value` per line.

    Raises:
        SettingsError: If the file cannot be read, or a line is something else.
    """
    text = read_text(
        file,
        SettingsError,
        "cannot be read; name a .gin file, or a text file with a JSON object a line.",
        f"--enqueue {file}",
    )
    sets = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file} line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        simple = isinstance(values, dict) and all(isinstance(each, (bool, int, float, str)) for each in values.values())
        if not simple or not values:
            raise SettingsError(
                f'--enqueue {where}: write one object, for example {{"training.learning_rate": 0.001}}.'
            )
        sets.append(Known(where, values, whole=False))
    if not sets:
        raise SettingsError(f"--enqueue {file}: holds no settings; write a JSON object a line.")
    return sets


def known_settings(file: Path, values: Mapping[str, Value]) -> Known:
    """The settings in a gin file, such as the settings.gin of a run.

    Args:
        file: The file.
        values: Its values by name.
    """
    own = {name: value for name, value in values.items() if name in searchable_names()}
    return Known(str(file), own | from_setting(str(values.get("model.hypermodel", ""))), whole=True)
