"""Gin files and `--set` in, frozen settings out; the only file that imports gin.

Gin's registry is global and its configuration is locked after parsing, so a file is resolved
once, here, and everything else is passed values.
"""

import ast
import importlib.util  # noqa: F401  # gin 0.5 reports a missing file as an AttributeError unless this came first
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gin

from drsearch.errors import SettingsError
from drsearch.settings import SECTIONS, Settings, Value, check_name
from drsearch.texts import read_text

SHIPPED = Path(__file__).parent / "configs"
"""The gin files that come with drsearch; `--config report.gin` finds them by name."""


_registered = [gin.external_configurable(kind, section, module="drsearch") for section, kind in SECTIONS.items()]


def load(
    files: Sequence[str], values: Mapping[str, Value] = MappingProxyType({}), base: Settings | None = None
) -> Settings:
    """Settings from gin files, later ones winning, then single settings on top.

    Args:
        files: Paths, or names of shipped files (`report.gin`).
        values: Single settings by name.
        base: The settings to start from; None: the defaults.

    Returns:
        The settings, checked.

    Raises:
        SettingsError: If a file cannot be read or a name or value is wrong.
    """
    settings = base or Settings()
    for name in files:
        settings = settings.replace(read(_find(name)))
    return settings.replace(values)


def assignments(texts: Sequence[str]) -> dict[str, Value]:
    """The settings of `--set section.field=value`; a value is a Python literal, or a bare word for a text.

    Raises:
        SettingsError: If a text is not of this form, or names no setting.
    """
    return dict(map(_assignment, texts))


def _find(name: str) -> Path:
    for path in (Path(name), SHIPPED / name):
        if os.path.exists(path):  # unlike Path.exists, False too where a name is too long
            return path
    shipped = ", ".join(sorted(path.name for path in SHIPPED.glob("*.gin")))
    raise SettingsError(f"{name}: no such gin file here, nor among those that come with drsearch ({shipped}).")


def read(path: Path) -> dict[str, Value]:
    """The settings that a gin file gives, by name.

    Raises:
        SettingsError: If it cannot be read or a name or value is wrong.
    """
    text = read_text(path, SettingsError, "no such gin file.")
    gin.clear_config()
    logging.disable(logging.ERROR)  # of a file that is missing, gin tells the log too
    try:
        gin.parse_config_files_and_bindings([], text, skip_unknown=False, print_includes_and_imports=False)
        given = {
            f"{section}.{key}": value
            for section in SECTIONS
            for key, value in gin.get_bindings(f"drsearch.{section}").items()
        }
        if scoped := re.search(r"^[\w/.]+/([\w.]+) =", gin.config_str(), re.MULTILINE):
            raise SettingsError(f"{path}: {scoped[0]} ... has a scope, and there are none here; leave it out.")
    except SettingsError:
        raise
    except Exception as wrong:  # gin's are of many kinds, and a file may import and include others
        raise SettingsError(f"{path}: {_explained(wrong)}") from wrong
    finally:
        logging.disable(logging.NOTSET)
        gin.clear_config()
    try:
        Settings().replace(given)
    except SettingsError as wrong:
        raise SettingsError(f"{path}: {wrong}") from wrong
    return given


def _explained(wrong: Exception) -> str:
    """Gin's message on one line; for an unknown setting, the names of its section."""
    text = str(wrong)
    if place := re.search(r"\n\s*In .*\bline (\d+)\n\s*([\w.]+) *=", text):
        line, name = place.groups()
        try:
            check_name(name)
        except SettingsError as unknown:
            return f"line {line}: {unknown}"
    return " ".join(text.split()) or type(wrong).__name__


def _assignment(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"--set {text}: write section.field=value, for example training.epochs=40.")
    name = name.strip()
    check_name(name)
    try:
        return name, ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return name, value.strip()
