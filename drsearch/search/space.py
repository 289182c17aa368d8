"""What may a study draw? A search space: a file in KerasTuner's words, checked before the first trial.

A space file defines `space(hp)`, which draws settings by their names with KerasTuner's
`HyperParameters`, and may define `SETTINGS`, a dict of the settings it is run with.
"""

import ast
import hashlib
import importlib.util
import itertools
import linecache
import math
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds

from drsearch.errors import SearchSpaceError, SettingsError
from drsearch.settings import Settings, Value, nearest, searchable_names, setting_names

_WALKS = 200
"""Random walks through a space when it is checked: enough to enter every branch of any space seen so far."""

Hyperparameter = Any
"""One of KerasTuner's `Choice`, `Int`, `Float`, `Boolean`, `Fixed` objects."""


class Suggests(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of `choices`."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number, ends included."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number, ends included."""


class Draws(keras_tuner.HyperParameters):  # type: ignore[misc]  # untyped library
    """KerasTuner's `HyperParameters` whose values come from `draw`, fixed ones from `fix`; inactive ones have none."""

    def __init__(self, draw: Callable[[Hyperparameter], Value], fix: Callable[[Hyperparameter], Value]) -> None:
        super().__init__()
        self._draw, self._fix = draw, fix
        self.drawn: dict[str, Value] = {}

    def _register(self, hyperparameter: Hyperparameter, overwrite: bool = False) -> Value:
        # The one method through which all kinds, scopes and conditions go (keras-tuner 1.4.8;
        # tests/search/test_space.py fails if a later version goes another way).
        name = hyperparameter.name
        if self.is_active(hyperparameter) and name not in self.values:
            value = (self._fix if isinstance(hyperparameter, kinds.Fixed) else self._draw)(hyperparameter)
            self.values[name] = value
            self.drawn[name] = value
        return super()._register(hyperparameter, overwrite)  # type: ignore[no-any-return]


def suggest(trial: Suggests, hyperparameter: Hyperparameter) -> Value:
    """Draw one hyperparameter from an Optuna trial, meaning what KerasTuner means by it."""
    name = hyperparameter.name
    match hyperparameter:
        case kinds.Choice():
            return trial.suggest_categorical(name, list(hyperparameter.values))  # type: ignore[no-any-return]
        case kinds.Boolean():
            return trial.suggest_categorical(name, [False, True])  # type: ignore[no-any-return]
        case kinds.Int():
            step = 1 if _is_log(hyperparameter) else int(hyperparameter.step or 1)
            return trial.suggest_int(
                name,
                int(hyperparameter.min_value),
                int(hyperparameter.max_value),
                step=step,
                log=_is_log(hyperparameter),
            )
        case kinds.Float():
            return trial.suggest_float(
                name,
                hyperparameter.min_value,
                hyperparameter.max_value,
                step=None if _is_log(hyperparameter) else hyperparameter.step,
                log=_is_log(hyperparameter),
            )
    raise TypeError(f"KerasTuner has a new kind of hyperparameter: {hyperparameter!r}")


def _is_log(hyperparameter: Hyperparameter) -> bool:
    return bool(hyperparameter.sampling == "log")


def _discrete_values(hyperparameter: Hyperparameter) -> list[Value] | None:
    """All values of a hyperparameter in order, each once, or None if it is continuous."""
    match hyperparameter:
        case kinds.Choice():
            return list(dict.fromkeys(hyperparameter.values))
        case kinds.Boolean():
            return [False, True]
        case kinds.Int():
            return list(range(hyperparameter.min_value, hyperparameter.max_value + 1, int(hyperparameter.step or 1)))
        case kinds.Float() if hyperparameter.step is not None:
            n = math.floor((hyperparameter.max_value - hyperparameter.min_value) / hyperparameter.step + 1e-9)
            return [hyperparameter.min_value + i * hyperparameter.step for i in range(n + 1)]
    return None


@dataclass(frozen=True)
class SearchSpace:
    """A checked space file.

    Attributes:
        path: The file, as it was named.
        source: Its text, which the study keeps.
        settings: The settings it is run with, by name.
    """

    path: Path
    source: str
    settings: Mapping[str, Value]
    _module: ModuleType

    @property
    def digest(self) -> str:
        """SHA-256 of the file's text, hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def draw(self, trial: Suggests) -> dict[str, Value]:
        """Draw every active hyperparameter from a trial: values by setting, fixed ones included."""
        return self._walk(lambda hyperparameter: suggest(trial, hyperparameter))

    def grid(self) -> list[dict[str, Value]]:
        """Every distinct point once, the last axis changing fastest; fixed values are left out.

        Raises:
            SearchSpaceError: If an axis is continuous.
        """
        points: list[dict[str, Value]] = []
        prefix: list[int] | None = []
        while prefix is not None:
            point, sizes, taken = self._grid_point(prefix)
            points.append(point)
            prefix = _next_prefix(taken, sizes)
        return points

    def _grid_point(self, prefix: list[int]) -> tuple[dict[str, Value], list[int], list[int]]:
        point: dict[str, Value] = {}
        sizes: list[int] = []
        taken: list[int] = []

        def draw(hyperparameter: Hyperparameter) -> Value:
            values = _discrete_values(hyperparameter)
            if values is None:
                raise SearchSpaceError(
                    f"{self._line()} is continuous, which a grid cannot walk. Write {_choice_of(hyperparameter)}, "
                    'or search with study.sampler = "tpe".'
                )
            position = prefix[len(taken)] if len(taken) < len(prefix) else 0
            taken.append(position)
            sizes.append(len(values))
            point[hyperparameter.name] = values[position]
            return values[position]

        self._walk(draw)
        return point, sizes, taken

    def image_variants(self, base: Settings) -> list[Settings]:
        """The settings of every record set that the space may ask for: `base` with each combination of `images.*`.

        What a branch leaves undrawn stays as it is in `base`, which is then one of the values.

        Raises:
            SearchSpaceError: If an `images.*` axis is continuous: its record sets could not be prepared beforehand.
        """
        axes: dict[str, dict[Value, None]] = {}

        def draw(hyperparameter: Hyperparameter) -> Value:
            values = _discrete_values(hyperparameter)
            if hyperparameter.name.startswith("images."):
                if values is None:
                    raise SearchSpaceError(
                        f"{self._line()} has no end of values, and each needs records of its own. "
                        f"Write {_choice_of(hyperparameter)}."
                    )
                axes.setdefault(hyperparameter.name, {}).update(dict.fromkeys(values))
            return _random_value(hyperparameter, dice)

        dice = random.Random(0)
        walks = [self._walk(draw) for _ in range(_WALKS)]
        for walk in walks:
            for name in walk:
                if name.startswith("images."):
                    axes.setdefault(name, {})[walk[name]] = None
        undrawn = base.flat()
        for name, values in axes.items():
            if not all(name in walk for walk in walks):
                values.setdefault(undrawn[name])
        return [
            base.replace(dict(zip(axes, combination, strict=True))) for combination in itertools.product(*axes.values())
        ]

    def _walk(
        self,
        draw: Callable[[Hyperparameter], Value],
        fix: Callable[[Hyperparameter], Value] = lambda fixed: fixed.value,
    ) -> dict[str, Value]:
        drawing = Draws(draw, fix)
        self._module.space(drawing)
        return drawing.drawn

    def _line(self) -> str:
        """Where the space is being read: `file: the call as written`."""
        return f"{self.path}: {_call_as_written(self._module)}"


def _next_prefix(taken: list[int], sizes: list[int]) -> list[int] | None:
    """The next position of an odometer whose wheels may differ from turn to turn."""
    for wheel in reversed(range(len(taken))):
        if taken[wheel] + 1 < sizes[wheel]:
            return [*taken[:wheel], taken[wheel] + 1]
    return None


def _random_value(hyperparameter: Hyperparameter, dice: random.Random) -> Value:
    values = _discrete_values(hyperparameter)
    if values is None:
        low, high = hyperparameter.min_value, hyperparameter.max_value
        values = [low, high, math.sqrt(low * high) if _is_log(hyperparameter) else (low + high) / 2]
    return dice.choice(values)


def _choice_of(hyperparameter: Hyperparameter) -> str:
    """The `hp.Choice` that stands for a numeric range: its steps, or five values across it."""
    low, high = hyperparameter.min_value, hyperparameter.max_value
    if hyperparameter.step and hyperparameter.sampling in ("log", "reverse_log"):
        values = [low]
        while values[-1] * hyperparameter.step <= high:
            values.append(values[-1] * hyperparameter.step)
    elif hyperparameter.sampling == "log":
        values = [low * (high / low) ** (i / 4) for i in range(5)]
    else:
        values = [low + (high - low) * i / 4 for i in range(5)]
    if isinstance(hyperparameter, kinds.Int):
        values = sorted({round(value) for value in values})
    shown = ", ".join(repr(float(f"{value:.4g}")) if isinstance(value, float) else str(value) for value in values)
    return f"hp.Choice({hyperparameter.name!r}, [{shown}])"


def load_space(path: str | Path) -> SearchSpace:
    """Read a space file and refuse what cannot be drawn, before anything is trained.

    Raises:
        SearchSpaceError: Naming the file, the line as written, and the line to write instead.
    """
    path = Path(path)
    if not path.is_file():
        raise SearchSpaceError(f"{path}: no such search space; write one, or take one of search_spaces/*.py.")
    source = path.read_text(encoding="utf-8")
    module = _import_file(path, source)
    if not callable(getattr(module, "space", None)):
        raise SearchSpaceError(f"{path}: defines no space(hp); begin with `def space(hp):` and draw settings in it.")
    space = SearchSpace(path, source, _space_settings(path, module), module)
    _check(space)
    return space


def _import_file(path: Path, source: str) -> ModuleType:
    try:
        ast.parse(source, filename=str(path))
    except SyntaxError as wrong:
        raise SearchSpaceError(f"{path}: line {wrong.lineno} is not Python: {wrong.msg}.") from wrong
    spec = importlib.util.spec_from_file_location(f"drsearch_space_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    linecache.checkcache(str(path))
    return module


def _space_settings(path: Path, module: ModuleType) -> dict[str, Value]:
    settings = dict(getattr(module, "SETTINGS", {}))
    try:
        Settings().replace(settings)
    except SettingsError as wrong:
        raise SearchSpaceError(f"{path}: SETTINGS: {wrong}") from wrong
    return settings


def _check(space: SearchSpace) -> None:
    """Walk the space at random until every line has been seen, checking each draw."""
    forms: dict[str, str] = {}

    def draw(hyperparameter: Hyperparameter) -> Value:
        _check_drawable(space, hyperparameter, forms)
        return _random_value(hyperparameter, dice)

    def fix(hyperparameter: Hyperparameter) -> Value:
        _check_searchable(space, hyperparameter.name)
        _check_values(space, hyperparameter.name, [hyperparameter.value])
        return hyperparameter.value  # type: ignore[no-any-return]

    dice = random.Random(0)
    n_drawn = 0
    for _ in range(_WALKS):
        with _Explained(space):
            n_drawn = max(n_drawn, len(space._walk(draw, fix)))
    if n_drawn == 0:
        raise SearchSpaceError(
            f"{space.path}: space(hp) draws nothing; write for example "
            "hp.Choice('training.learning_rate', [0.001, 0.0001])."
        )


def _check_drawable(space: SearchSpace, hyperparameter: Hyperparameter, forms: dict[str, str]) -> None:
    name = hyperparameter.name
    _check_searchable(space, name)
    sampling = getattr(hyperparameter, "sampling", None)
    if sampling == "reverse_log":
        raise SearchSpaceError(
            f'{space._line()} asks for sampling="reverse_log", which Optuna cannot draw. '
            f'Write {_choice_of(hyperparameter)}, or sampling="log".'
        )
    if sampling == "log" and _multiplies(hyperparameter):
        raise SearchSpaceError(
            f"{space._line()} asks for steps on a log scale, which Optuna cannot draw. "
            f"Write {_choice_of(hyperparameter)}, or drop `step`."
        )
    form = _form(hyperparameter)
    if (before := forms.setdefault(name, form)) != form:
        raise SearchSpaceError(
            f"{space._line()} draws {name!r} from {form}, and another branch from {before}; Optuna keeps one of them "
            f"a name. Write one hp.Choice({name!r}, ...) with all values before the branches."
        )
    if isinstance(hyperparameter, (kinds.Int, kinds.Float)):
        _check_values(space, name, [hyperparameter.min_value, hyperparameter.max_value])  # ranges have no holes
    else:
        _check_values(space, name, _discrete_values(hyperparameter) or [])


def _form(hyperparameter: Hyperparameter) -> str:
    """What Optuna wants to be the same wherever a name is drawn: choices, or kind and scale (ends may differ)."""
    match hyperparameter:
        case kinds.Choice():
            return f"the choices {list(hyperparameter.values)}"
        case kinds.Boolean():
            return "the choices [False, True]"
        case kinds.Int():
            return "whole numbers" + (" on a log scale" if _is_log(hyperparameter) else "")
    return "numbers" + (" on a log scale" if _is_log(hyperparameter) else "")


def _multiplies(hyperparameter: Hyperparameter) -> bool:
    """Whether a log axis has a step of its own: KerasTuner multiplies by it (an Int's default step of 1 is none)."""
    return bool(hyperparameter.step) and not (isinstance(hyperparameter, kinds.Int) and hyperparameter.step == 1)


def _check_searchable(space: SearchSpace, name: str) -> None:
    if name in searchable_names():
        return
    if name in setting_names():
        raise SearchSpaceError(
            f"{space._line()} draws {name!r}, which is a setting of the whole study and is not searched. "
            f"Put it into SETTINGS, or give it with --set {name}=..."
        )
    raise SearchSpaceError(f"{space._line()} names no setting; did you mean {nearest(name, searchable_names())!r}?")


def _check_values(space: SearchSpace, name: str, values: list[Value]) -> None:
    for value in values:
        try:
            Settings().replace({name: value})
        except SettingsError as wrong:
            raise SearchSpaceError(f"{space._line()}: {wrong}") from wrong


class _Explained:
    """Turns what KerasTuner refuses inside one of its own calls into a sentence; the space's own bugs pass."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, wrong: BaseException | None, traceback: Any) -> None:
        if not isinstance(wrong, (TypeError, ValueError)) or isinstance(wrong, SearchSpaceError):
            return
        frames = []
        while traceback is not None:
            frames.append((traceback.tb_frame, traceback.tb_lineno))
            traceback = traceback.tb_next
        ours = [i for i, (frame, _) in enumerate(frames) if frame.f_code.co_filename == self._space._module.__file__]
        if not ours or ours[-1] == len(frames) - 1 or "keras_tuner" not in frames[ours[-1] + 1][0].f_code.co_filename:
            return
        call = _call_at(self._space._module, frames[ours[-1]][1])
        said = " ".join(str(wrong).split()).rstrip(".")
        rule = " Choices are of one type (text, number or truth value), never None." if ".Choice(" in call else ""
        raise SearchSpaceError(f"{self._space.path}: {call} is refused: {said}.{rule}") from wrong


def _call_as_written(module: ModuleType) -> str:
    """The text of the space's call that is running now."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename != module.__file__:
        frame = frame.f_back  # type: ignore[assignment]  # ends at the space's own frame, which is on the stack
    return _call_at(module, frame.f_lineno) if frame is not None else ""


def _call_at(module: ModuleType, line: int) -> str:
    """The `hp` call at a line of a file, on one line, without what it is assigned to."""
    source = "".join(linecache.getlines(str(module.__file__)))
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and node.lineno <= line <= (node.end_lineno or node.lineno)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("Choice", "Int", "Float", "Boolean", "Fixed")
    ]
    if not calls:
        return linecache.getline(str(module.__file__), line).strip()
    return " ".join((ast.get_source_segment(source, calls[0]) or "").split())
