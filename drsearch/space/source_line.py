"""Names the line of a space file at which its code fails, as it is written there."""

import ast
import itertools
import linecache
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import keras_tuner

from drsearch.errors import DrsearchError, SearchSpaceError
from drsearch.space.hyperparameters import Draws

_KERAS_TUNERS_WORDS = sys.modules[keras_tuner.HyperParameters.__module__].__file__


@contextmanager
def naming_the_line(path: Path) -> Iterator[None]:
    """Turn an error in the code of a space file into a sentence that names its line; other errors pass.

    Args:
        path: The space file.

    Raises:
        SearchSpaceError: With the line; for a call that KerasTuner refuses, with the call to write instead.
    """
    try:
        yield
    except (DrsearchError, MemoryError):  # memory is no matter of a line: the trial fails
        raise
    except (Exception, SystemExit) as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        own = [i for i, frame in enumerate(frames) if frame.f_code.co_filename == str(path)]
        beyond = frames[own[-1] + 1 :] if own else []
        if not own or _is_of_an_answer(beyond):
            raise
        line = traceback.extract_tb(error.__traceback__)[own[-1]]
        # a KeyError puts its text in quotes
        text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        text = " ".join(text.split()).rstrip(".")
        words = [frame for frame in beyond if frame.f_code.co_filename == _KERAS_TUNERS_WORDS]
        if words and isinstance(error, TypeError | ValueError | KeyError) and all(map(_is_of_keras_tuner, beyond)):
            call = _call_at(str(path), (line.lineno, line.end_lineno, line.colno, line.end_colno))
            remedy = _remedy(words[0].f_code.co_name, words[0].f_locals)
            raise SearchSpaceError(f"{path}: {call} is refused: {text}.{remedy}") from error
        raised = f"{type(error).__name__}{': ' if text else ''}{text}"
        raise SearchSpaceError(f"{path}: line {line.lineno}, `{line.line}`, raises {raised}.") from error


def running_call(path: Path) -> str:
    """The call in a space file that is running now: `file: the call as written`."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename != str(path):
        frame = frame.f_back
    if frame is None:
        return f"{path}: "
    return f"{path}: {_call_at(str(path), list(frame.f_code.co_positions())[frame.f_lasti // 2])}"


def is_of_spaces(file: str) -> bool:
    """Whether a source file is drsearch's own code of spaces."""
    return Path(file).parent == Path(__file__).parent


def _is_of_an_answer(frames: Sequence[FrameType]) -> bool:
    """Whether frames below a space's lead through `hp` to whoever answers it: Optuna's database, or drsearch."""
    return any(
        above.f_code.co_qualname.startswith(f"{Draws.__name__}.")
        and not below.f_code.co_qualname.startswith(f"{Draws.__name__}.")
        and "keras_tuner" not in Path(below.f_code.co_filename).parts
        for above, below in itertools.pairwise(frames)
    )


def _is_of_keras_tuner(frame: FrameType) -> bool:
    file = Path(frame.f_code.co_filename)
    return "keras_tuner" in file.parts or file.name == "contextlib.py" or is_of_spaces(str(file))


def _remedy(word: str, given: Mapping[str, Any]) -> str:
    """What to write instead of a call that KerasTuner refuses, from the call's name and arguments."""
    parent = given.get("parent_name")
    if word == "conditional_scope" or (parent and parent not in given["self"].values):
        return f" Draw {parent!r} before the line, outside of other scopes, by this name."
    if word == "Choice" and isinstance(given.get("values"), (list, tuple)):
        values = [value for value in given["values"] if value is not None]
        if values and {type(value) for value in values} == {int, float}:
            values = [float(value) for value in values]
        rule = "Choices are of one type (text, number or truth value), never None."
        if values and len({type(value) for value in values}) == 1:
            return f" {rule} Write hp.Choice({given['name']!r}, {values})."
        return f" {rule}"
    if word == "get":
        return " Draw it before the line, or name a setting."
    return ""


def _call_at(file: str, place: tuple[int | None, int | None, int | None, int | None]) -> str:
    """The call at a place (line, last line, column, last column) of a file, in one line."""
    source = "".join(linecache.getlines(file))
    nodes = list(ast.walk(ast.parse(source)))
    running: list[ast.expr] = [
        node
        for node in nodes
        if isinstance(node, ast.Call) and (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset) == place
    ]
    # entering a scope is no call of its own
    running += [node.items[0].context_expr for node in nodes if isinstance(node, ast.With) and node.lineno == place[0]]
    if running:
        return " ".join((ast.get_source_segment(source, running[0]) or "").split())
    return linecache.getline(file, place[0] or 0).strip()
