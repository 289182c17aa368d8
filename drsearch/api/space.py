"""Search spaces: a file, or a Python function whose source is written into one."""

from __future__ import annotations

import ast
import dis
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from drsearch.api.access import open_home
from drsearch.errors import SearchSpaceError
from drsearch.files import write_whole
from drsearch.home import Home
from drsearch.space.shipped import ShippedSpace, find_space, shipped_spaces

if TYPE_CHECKING:
    from drsearch.space.describe import Overview

Space = str | Path | Callable[..., Any]
"""A space file, the name of a space that comes with drsearch (`drsearch.spaces`), or a function `space(hp)`."""


def spaces() -> list[ShippedSpace]:
    """The search spaces that come with drsearch, by name.

    Returns:
        Each with its name, which `run_study` takes, its file, one sentence, what it is for, and its minutes.

    Example:
        >>> import drsearch
        >>> drsearch.spaces()[0].name
        'backbone'
    """
    return shipped_spaces()


def describe_space(space: Space) -> Overview:
    """Check a search space, and read from it its axes, the size of its grid, and ten random draws.

    Nothing is trained, and no study is touched.

    Args:
        space: A space file, the name of one that comes with drsearch, or a function that takes `hp`.

    Returns:
        Axes, the points of its grid, and draws.

    Raises:
        SearchSpaceError: If it is no search space.

    Example:
        >>> import drsearch
        >>> def rates(hp):
        ...     hp.Choice("training.learning_rate", [1e-2, 1e-3, 1e-4])
        >>> drsearch.describe_space(rates).grid_points
        3
    """
    from drsearch.space.source import read_source

    path = space_file(space, open_home())
    read_source(path)  # without TensorFlow, which the next lines load
    from drsearch.space.check import load_space
    from drsearch.space.describe import overview

    return overview(load_space(path))


def space_file(space: Space, home: Home) -> Path:
    """The file of a search space.

    Args:
        space: A path, a name, or a function; its source is written to `spaces/<name>.py` in the home.
        home: Where to.

    Raises:
        SearchSpaceError: If a function has no source, or uses what its source does not hold.
    """
    if isinstance(space, str | Path):
        return find_space(space)
    if not isinstance(space, FunctionType) or space.__name__ == "<lambda>":
        raise SearchSpaceError(f"space: {space!r} is no path and no function; write `def space(hp): ...`.")
    text = source_of(space)
    path = home.path / "spaces" / f"{space.__name__}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text.encode(), replace=True)
    return path


def source_of(function: FunctionType) -> str:
    """The text of a space file that holds a function alone, with the imports that it needs.

    Args:
        function: Takes `hp`; modules, and what is imported from modules, may be used in it.

    Returns:
        Python source; the function is called `space` in it.

    Raises:
        SearchSpaceError: If the source is not there, or the function uses a variable of this session: workers are
            other processes, perhaps on other machines, and do not have it.
    """
    name = function.__name__
    try:
        text = textwrap.dedent(inspect.getsource(function))
        definition = ast.parse(text).body[0]
    except (OSError, SyntaxError, IndexError) as error:
        raise SearchSpaceError(
            f"space: the source of function {name} cannot be read; write it into a file, and give its path."
        ) from error
    if not isinstance(definition, ast.FunctionDef):
        raise SearchSpaceError(f"space: {name} is not written as `def {name}(hp): ...`; write it so.")
    if variables := function.__code__.co_freevars:
        raise _uses(name, variables[0], "a variable of the function around it")
    imports = [_import(name, used, function) for used in sorted(_globals_used(function, definition))]
    parts = ["from __future__ import annotations", *filter(None, imports)]
    alias = "" if name == "space" else f"\n\nspace = {name}\n"
    return "\n".join(parts) + f"\n\n\n{text.rstrip()}\n{alias}"


def _globals_used(function: FunctionType, definition: ast.FunctionDef) -> set[str]:
    """Names that a function takes from around it; not those of annotations, which nothing evaluates."""
    names = set(_global_names(function.__code__))
    for node in (*definition.decorator_list, *definition.args.defaults, *filter(None, definition.args.kw_defaults)):
        names |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return names


def _global_names(code: CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _import(function_name: str, used: str, function: FunctionType) -> str:
    """The line that imports a name; empty for Python's own names and for the function itself."""
    builtins = vars(importlib.import_module("builtins"))
    if used not in function.__globals__:
        if used in builtins:
            return ""
        raise _uses(function_name, used, "which is not defined")
    value = function.__globals__[used]
    if value is function:
        return ""
    if isinstance(value, ModuleType) and value.__name__ != "__main__":
        return f"import {value.__name__}" if value.__name__ == used else f"import {value.__name__} as {used}"
    module, attribute = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(attribute, str) and module != "__main__" and "." not in attribute:
        try:
            is_importable = getattr(importlib.import_module(module), attribute, None) is value
        except ImportError:
            is_importable = False
        if is_importable:
            return f"from {module} import {attribute}" + (f" as {used}" if used != attribute else "")
    raise _uses(function_name, used, "a variable of this session")


def _uses(function: str, name: str, what: str) -> SearchSpaceError:
    return SearchSpaceError(
        f"space: function {function} uses {name}, {what}, which the worker processes do not have; write its value "
        "into the function, or give the path of a space file."
    )
