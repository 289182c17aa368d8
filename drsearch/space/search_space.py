"""What may a study draw? A search space: a file in KerasTuner's words, checked before the first trial.

A space file defines `space(hp)`, which draws settings by their names with KerasTuner's
`HyperParameters`, and may define `SETTINGS`, a dict of the settings it is run with, and
`build_model(hp, image_px, n_classes)`, which makes the network in the ResNet's place.
"""

import ast
import dataclasses
import hashlib
import importlib.util
import itertools
import linecache
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any

import keras
import keras_tuner
import tensorflow as tf
from keras_tuner.engine import hyperparameters as kinds

from drsearch.errors import DrsearchError, SearchSpaceError, SettingsError, TrialFailed
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import (
    SEARCHED_SECTIONS,
    Settings,
    Value,
    name_to_write,
    near_names,
    searchable_names,
    setting_names,
)
from drsearch.space import hyperparameters
from drsearch.space.build_model import N_CLASSES, PREFIX, from_setting, what_is_wrong_with
from drsearch.space.hyperparameters import (
    Draw,
    Draws,
    Hyperparameter,
    Suggests,
    choice_of,
    discrete_values,
    is_log,
    middle,
    random_value,
    suggest,
    value_of_fixed,
)
from drsearch.space.source import check_settings, read_source

_WALKS = 200
"""Random walks through a space that may show nothing new, in a row, before it counts as known."""

_BUILDS = 3
"""The same where every walk builds a network, which takes up to a second; walks go first where none has been."""

_PROBES = 24
"""Of an axis with more values than this, a walk tries the ends and the middle."""

_NO_WEIGHTS = "none"

_NAME = re.compile(r"[\w.\- /:]{1,200}")
"""What MLflow takes as the name of a parameter."""


@dataclass(frozen=True)
class SearchSpace:
    """A checked space file.

    Attributes:
        path: The file, as it was named.
        source: Its text, which the study keeps.
        settings: The settings it is run with, by name.
        base: All settings that a trial starts from.
    """

    path: Path
    source: str
    settings: Mapping[str, Value]
    base: Settings
    _module: ModuleType
    _grids: dict[int | None, list[dict[str, Value]]] = field(default_factory=dict, compare=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the file's text, hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def has_hypermodel(self) -> bool:
        """Whether `build_model` makes the network."""
        return callable(getattr(self._module, "build_model", None))

    def on(self, base: Settings) -> "SearchSpace":
        """The same space on other settings.

        Raises:
            SearchSpaceError: If they are for another kind of space.
        """
        if not self.has_hypermodel and base.model.weights != _NO_WEIGHTS:
            raise SearchSpaceError(
                f"{self.path}: model.weights = {base.model.weights!r} is for a space that defines build_model; "
                f"the ResNet starts at random. Leave it at {_NO_WEIGHTS!r}."
            )
        if base.model.weights not in (_NO_WEIGHTS, "imagenet") and not Path(base.model.weights).is_file():
            raise SearchSpaceError(
                f"{self.path}: model.weights = {base.model.weights!r} is no file here; give none, imagenet, or "
                "the path of a file of weights that every worker can read."
            )
        hypermodel = "{}" if self.has_hypermodel else ""
        return dataclasses.replace(self, base=base.replace({"model.hypermodel": hypermodel}), _grids={})

    def draw(self, trial: Suggests) -> dict[str, Value]:
        """Draw every active hyperparameter from a trial: values by name, fixed ones included."""
        return self.walk(lambda name, hyperparameter: suggest(trial, name, hyperparameter))

    def build(self, settings: Settings) -> keras.Model:
        """The network of a trial with these settings, with fresh weights; `set_seeds` decides which.

        Raises:
            TrialFailed: If it cannot be built.
            SettingsError: If `model.hypermodel` is not of this space.
            SearchSpaceError: If the space's own code raises something.
        """
        if not self.has_hypermodel:
            return build_resnet(settings.model, settings.images.image_px, N_CLASSES)
        given = settings.flat() | from_setting(settings.model.hypermodel)

        def draw(name: str, hyperparameter: Hyperparameter) -> Value:
            if name not in given:
                raise SettingsError(
                    f"model.hypermodel = {settings.model.hypermodel!r} says nothing of "
                    f"{name.removeprefix(PREFIX)!r}, which {self.path} draws in build_model; give the file and the "
                    "settings of one trial."
                )
            return given[name]

        drawing = Draws(draw, settings=settings.flat())
        self._walk_settings(drawing)
        drawing.in_hypermodel = True
        return self._built(drawing, settings.images.image_px)

    def grid(self, at_most: int | None = None) -> list[dict[str, Value]]:
        """Every distinct point once, the last axis changing fastest; fixed values are left out.

        Args:
            at_most: Stop after so many.

        Raises:
            SearchSpaceError: If an axis is continuous.
        """
        if at_most not in self._grids:
            points: list[dict[str, Value]] = []
            prefix: list[int] | None = []
            while prefix is not None and len(points) != at_most:
                point, sizes, taken = self._grid_point(prefix)
                points.append(point)
                prefix = _next_prefix(taken, sizes)
            self._grids[at_most] = points
        return self._grids[at_most]

    def _grid_point(self, prefix: list[int]) -> tuple[dict[str, Value], list[int], list[int]]:
        point: dict[str, Value] = {}
        sizes: list[int] = []
        taken: list[int] = []

        def draw(name: str, hyperparameter: Hyperparameter) -> Value:
            values = discrete_values(hyperparameter)
            if values is None:
                raise SearchSpaceError(
                    f"{self._line()} is continuous, which a grid cannot walk. Write {choice_of(hyperparameter)}, "
                    'or search with study.sampler = "tpe".'
                )
            position = prefix[len(taken)] if len(taken) < len(prefix) else 0
            taken.append(position)
            sizes.append(len(values))
            point[name] = values[position]
            return values[position]

        self.walk(draw)
        return point, sizes, taken

    def image_variants(self, base: Settings) -> list[Settings]:
        """The settings of every record set that the space may ask for: `base` with each combination of `images.*`.

        What a branch leaves undrawn stays as it is in `base`, which is then one of the values.

        Raises:
            SearchSpaceError: If an `images.*` axis is continuous: its record sets could not be prepared beforehand.
        """
        axes: dict[str, dict[Value, None]] = {}

        def draw(name: str, hyperparameter: Hyperparameter) -> Value:
            values = discrete_values(hyperparameter)
            if name.startswith("images."):
                if values is None:
                    raise SearchSpaceError(
                        f"{self._line()} has no end of values, and each needs records of its own. "
                        f"Write {choice_of(hyperparameter)}."
                    )
                axes.setdefault(name, {}).update(dict.fromkeys(values))
            return random_value(hyperparameter, dice)

        dice = random.Random(0)
        walks = [self._walk_settings(Draws(draw, settings=base.flat())) for _ in range(_WALKS)]
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

    def walk(
        self,
        draw: Draw,
        fix: Draw = value_of_fixed,
        mention: Callable[[str, Hyperparameter], None] = lambda _name, _hyperparameter: None,
        built: Callable[[keras.Model | TrialFailed], None] = lambda _model: None,
    ) -> dict[str, Value]:
        """Go through the space once, its network included, which starts at random.

        Args:
            draw: Answers what is searched.
            fix: Answers what is fixed.
            mention: Told of every hyperparameter of `space(hp)`, as often as it is named.
            built: Given the network if the space makes one, or why it cannot be built.

        Returns:
            What was drawn; as far as it came, if the network cannot be built of it: its trial will say why.
        """
        # A dry walk loads no weights, whatever the setting says: what is drawn does not depend on them.
        drawing = Draws(draw, fix, self.base.flat() | {"model.weights": _NO_WEIGHTS}, mention)
        self._walk_settings(drawing)
        if self.has_hypermodel:
            drawing.in_hypermodel = True
            drawing.values["model.weights"] = _NO_WEIGHTS
            image_px = drawing.get("images.image_px")
            try:
                model = self._built(drawing, image_px)
            except TrialFailed as failure:
                built(failure)
            else:
                built(model)
        return drawing.drawn

    def _walk_settings(self, drawing: Draws) -> dict[str, Value]:
        with _naming_the_line(self.path):
            self._module.space(drawing)
        return drawing.drawn

    def _built(self, drawing: Draws, image_px: Any) -> keras.Model:
        with _naming_the_line(self.path), self._failing_trial():
            return self._module.build_model(drawing, image_px, N_CLASSES)

    @contextmanager
    def _failing_trial(self) -> Iterator[None]:
        """Turns what Keras and TensorFlow refuse to build into the end of a trial; the space's own bugs pass."""
        try:
            yield
        except (ValueError, tf.errors.OpError, OSError) as wrong:
            files = [frame.f_code.co_filename for frame, _ in _frames(wrong.__traceback__)]
            below = files[files.index(str(self.path)) + 1 :] if str(self.path) in files else []
            of_drawing = _OURS & set(below) or any(
                "keras_tuner" in file and "hyperparameters" in file for file in below
            )
            if of_drawing or files[-1] == str(self.path) or isinstance(wrong, SettingsError):
                raise
            said = " ".join(str(wrong).split()).rstrip(".")
            raise TrialFailed(f"the network of {self.path.name} cannot be built: {said}") from wrong

    def _line(self) -> str:
        """Where the space is being read: `file: the call as written`."""
        return f"{self.path}: {_call_as_written(self.path)}"


def _next_prefix(taken: list[int], sizes: list[int]) -> list[int] | None:
    """The next position of an odometer whose wheels may differ from turn to turn."""
    for wheel in reversed(range(len(taken))):
        if taken[wheel] + 1 < sizes[wheel]:
            return [*taken[:wheel], taken[wheel] + 1]
    return None


def load_space(path: str | Path, over: Callable[[Settings], Settings] = lambda own: own) -> SearchSpace:
    """Read a space file and refuse what cannot be drawn, before anything is trained.

    Args:
        path: The file.
        over: Makes the settings that trials start from, of those that the space is run with.

    Raises:
        SearchSpaceError: Naming the file, the line as written, and the line to write instead.
    """
    space = read_space(path, over)
    _check(space)
    return space


def read_space(path: str | Path, over: Callable[[Settings], Settings] = lambda own: own) -> SearchSpace:
    """Read a space file that was checked before, such as a study's own copy.

    Raises:
        SearchSpaceError: If it is no such file.
    """
    path = Path(path)
    source = read_source(path)
    module = _run_file(path, source)
    if not callable(getattr(module, "space", None)):
        raise SearchSpaceError(f"{path}: space is no function; begin with `def space(hp):` and draw settings in it.")
    settings = check_settings(path, getattr(module, "SETTINGS", {}))
    own = Settings().replace(settings)
    return SearchSpace(path, source, settings, own, module).on(over(own))


def _run_file(path: Path, source: str) -> ModuleType:
    """The module of a space file, made of the text that was checked."""
    spec = importlib.util.spec_from_file_location(f"drsearch_space_{path.stem}", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    linecache.cache[str(path)] = len(source), None, source.splitlines(keepends=True), str(path)
    with _naming_the_line(path):
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    return module


def _check(space: SearchSpace) -> None:
    """Walk the space until every line has been seen, checking what it may draw, and its networks."""
    forms: dict[str, str] = {}
    failures: list[TrialFailed] = []
    n_drawn = n_built = 0

    def mention(name: str, hyperparameter: Hyperparameter) -> None:
        _check_searchable(space, name)
        _check_drawable(space, name, hyperparameter, forms)
        _check_values(space, name, hyperparameter)

    def draw(name: str, hyperparameter: Hyperparameter) -> Value:
        if name.startswith(PREFIX):
            _check_hypermodel_name(space, name)
            _check_drawable(space, name, hyperparameter, forms)
        return explorer.value(name, hyperparameter)

    def fix(name: str, hyperparameter: Hyperparameter) -> Value:
        if name.startswith(PREFIX):
            _check_hypermodel_name(space, name)
        return value_of_fixed(name, hyperparameter)

    def built(model: keras.Model | TrialFailed) -> None:
        nonlocal n_built
        if isinstance(model, TrialFailed):
            failures.append(model)
            return
        n_built += 1
        if wrong := what_is_wrong_with(model, explorer.image_px(space.base)):
            raise SearchSpaceError(f"{space.path}: build_model {wrong}.")

    explorer = _Explorer()
    while explorer.n_idle < (_BUILDS if space.has_hypermodel else _WALKS):
        explorer.begin()
        n_drawn = max(n_drawn, len(space.walk(draw, fix, mention, built)))
    if n_drawn == 0:
        raise SearchSpaceError(
            f"{space.path}: space(hp) draws nothing; write for example "
            "hp.Choice('training.learning_rate', [0.001, 0.0001])."
        )
    if failures and not n_built:
        raise SearchSpaceError(
            f"{space.path}: build_model built no network in {len(failures)} tries at "
            f"images.image_px = {space.base.images.image_px}; {failures[0]}."
        )


class _Explorer:
    """Chooses values for walks through a space: those that no walk has had first, then any."""

    def __init__(self) -> None:
        self.n_idle = 0
        self._dice = random.Random(0)
        self._known: dict[str, set[Value]] = {}
        self._walk: dict[str, Value] = {}

    def begin(self) -> None:
        """Begin a walk."""
        self.n_idle += 1
        self._walk = {}

    def value(self, name: str, hyperparameter: Hyperparameter) -> Value:
        """A value of an axis."""
        values = discrete_values(hyperparameter)
        if values is None or (len(values) > _PROBES and not isinstance(hyperparameter, kinds.Choice)):
            low, high = hyperparameter.min_value, hyperparameter.max_value
            values = [low, high, values[len(values) // 2] if values else middle(hyperparameter)]
        known = self._known.setdefault(name, set())
        value = self._dice.choice([each for each in values if each not in known] or values)
        if value not in known:
            known.add(value)
            self.n_idle = 0
        self._walk[name] = value
        return value

    def image_px(self, base: Settings) -> int:
        """The size of the images in the present walk."""
        px = self._walk.get("images.image_px", base.images.image_px)
        assert isinstance(px, int)
        return px


def _check_drawable(space: SearchSpace, name: str, hyperparameter: Hyperparameter, forms: dict[str, str]) -> None:
    if isinstance(hyperparameter, kinds.Fixed):
        return
    sampling = getattr(hyperparameter, "sampling", None)
    if sampling == "reverse_log":
        raise SearchSpaceError(
            f'{space._line()} asks for sampling="reverse_log", which Optuna cannot draw. '
            f'Write {choice_of(hyperparameter)}, or sampling="log".'
        )
    if sampling == "log" and _multiplies(hyperparameter):
        raise SearchSpaceError(
            f"{space._line()} asks for steps on a log scale, which Optuna cannot draw. "
            f"Write {choice_of(hyperparameter)}, or drop `step`."
        )
    form = _form(hyperparameter)
    if (before := forms.setdefault(name, form)) != form:
        shown = name.removeprefix(PREFIX)
        raise SearchSpaceError(
            f"{space._line()} draws {shown!r} from {form}, and another branch from {before}; Optuna keeps one of them "
            f"a name. Write one hp.Choice({shown!r}, ...) with all values before the branches."
        )


def _form(hyperparameter: Hyperparameter) -> str:
    """What Optuna wants to be the same wherever a name is drawn: choices, or kind and scale (ends may differ)."""
    match hyperparameter:
        case kinds.Choice():
            return f"the choices {list(hyperparameter.values)}"
        case kinds.Boolean():
            return "the choices [False, True]"
        case kinds.Int():
            return "whole numbers" + (" on a log scale" if is_log(hyperparameter) else "")
    return "numbers" + (" on a log scale" if is_log(hyperparameter) else "")


def _multiplies(hyperparameter: Hyperparameter) -> bool:
    """Whether a log axis has a step of its own: KerasTuner multiplies by it (an Int's default step of 1 is none)."""
    return bool(hyperparameter.step) and not (isinstance(hyperparameter, kinds.Int) and hyperparameter.step == 1)


def _check_searchable(space: SearchSpace, name: str) -> None:
    if name.startswith("model.") and space.has_hypermodel and name != "model.weights":
        raise SearchSpaceError(
            f"{space._line()} draws {name!r}, which is a setting of the ResNet, and build_model makes the network "
            "here. Draw the network's own in build_model."
        )
    if name in searchable_names():
        return
    if name in setting_names():
        raise SearchSpaceError(
            f"{space._line()} draws {name!r}, which is a setting of the whole study and is not searched. "
            f"Put it into SETTINGS, or give it with --set {name}=..."
        )
    if name in space._line():
        raise SearchSpaceError(f"{space._line()} names no setting; {name_to_write(name, searchable_names())}")
    near = near_names(name, searchable_names())
    section, _, key = near[0].partition(".") if near else (SEARCHED_SECTIONS[0], "", "...")
    outside = f", or {near[0]!r} outside of any" if near else ""
    raise SearchSpaceError(
        f"{space._line()} is {name!r} within its hp.name_scope, which is no setting. A name scope is the section of a "
        f"setting: write hp.name_scope({section!r}) and in it {key!r}{outside}."
    )


def _check_hypermodel_name(space: SearchSpace, name: str) -> None:
    shown = name.removeprefix(PREFIX)
    if shown in setting_names():
        raise SearchSpaceError(
            f"{space._line()} draws the setting {shown!r} in build_model. Draw it in space(hp); "
            f"build_model reads it with hp.get({shown!r})."
        )
    if not _NAME.fullmatch(name):
        raise SearchSpaceError(
            f"{space._line()} draws {shown!r}, which MLflow does not take as a name; "
            "use up to 180 letters, digits, '_', '-', '.', ':', '/' and blanks."
        )


def _check_values(space: SearchSpace, name: str, hyperparameter: Hyperparameter) -> None:
    if isinstance(hyperparameter, kinds.Fixed):
        values = [hyperparameter.value]
    elif isinstance(hyperparameter, (kinds.Int, kinds.Float)):
        values = [hyperparameter.min_value, hyperparameter.max_value]  # ranges have no holes
    else:
        values = discrete_values(hyperparameter) or []
    for value in values:
        try:
            Settings().replace({name: value})
        except SettingsError as wrong:
            if set(values) == {0, 1} and isinstance(hyperparameter, kinds.Choice):  # KerasTuner makes numbers of them
                raise SearchSpaceError(
                    f"{space._line()}: KerasTuner's Choice makes 1 and 0 of True and False. Write hp.Boolean({name!r})."
                ) from wrong
            raise SearchSpaceError(f"{space._line()}: {wrong}") from wrong


@contextmanager
def _naming_the_line(path: Path) -> Iterator[None]:
    """Turns what the code of a space file raises into a sentence that names its line; other errors pass."""
    try:
        yield
    except (DrsearchError, MemoryError):  # memory is no matter of a line: the trial fails
        raise
    except (Exception, SystemExit) as wrong:
        frames = _frames(wrong.__traceback__)
        own = [i for i, (frame, _) in enumerate(frames) if frame.f_code.co_filename == str(path)]
        beyond = [frame for frame, _ in frames[own[-1] + 1 :]] if own else []
        if not own or _is_of_an_answer(beyond):
            raise
        frame, instruction = frames[own[-1]]
        # a KeyError puts its text in quotes
        said = " ".join(str(wrong.args[0] if isinstance(wrong, KeyError) and wrong.args else wrong).split()).rstrip(".")
        words = [each for each in beyond if each.f_code.co_filename == _KERAS_TUNERS_WORDS]
        if words and isinstance(wrong, TypeError | ValueError | KeyError) and all(map(_is_of_keras_tuner, beyond)):
            call, remedy = _call_at(frame.f_code, instruction), _remedy(words[0].f_code.co_name, words[0].f_locals)
            raise SearchSpaceError(f"{path}: {call} is refused: {said}.{remedy}") from wrong
        line = list(frame.f_code.co_positions())[instruction // 2][0] or 0
        raised = f"{type(wrong).__name__}{': ' if said else ''}{said}"
        text = linecache.getline(str(path), line).strip()
        raise SearchSpaceError(f"{path}: line {line}, `{text}`, raises {raised}.") from wrong


def _is_of_an_answer(frames: Sequence[FrameType]) -> bool:
    """Whether frames below a space's lead through `hp` to whoever answers it: Optuna's database, or drsearch."""
    return any(
        above.f_code.co_qualname.startswith(f"{Draws.__name__}.")
        and not below.f_code.co_qualname.startswith(f"{Draws.__name__}.")
        and "keras_tuner" not in Path(below.f_code.co_filename).parts
        for above, below in itertools.pairwise(frames)
    )


_OURS = {__file__, hyperparameters.__file__}
_KERAS_TUNERS_WORDS = sys.modules[keras_tuner.HyperParameters.__module__].__file__


def _frames(traceback: TracebackType | None) -> list[tuple[Any, int]]:
    """The frames of a traceback, each with its instruction, outermost first."""
    frames = []
    while traceback is not None:
        frames.append((traceback.tb_frame, traceback.tb_lasti))
        traceback = traceback.tb_next
    return frames


def _is_of_keras_tuner(frame: Any) -> bool:
    file = Path(frame.f_code.co_filename)
    return "keras_tuner" in file.parts or file.name == "contextlib.py" or str(file) in _OURS


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


def _call_as_written(path: Path) -> str:
    """The text of the space's call that is running now."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename != str(path):
        frame = frame.f_back  # type: ignore[assignment]  # ends at the space's own frame, which is on the stack
    return _call_at(frame.f_code, frame.f_lasti) if frame is not None else ""


def _call_at(code: CodeType, instruction: int) -> str:
    """The call at an instruction of a file, on one line, without what it is assigned to."""
    line, end_line, column, end_column = list(code.co_positions())[instruction // 2]
    source = "".join(linecache.getlines(code.co_filename))
    nodes = list(ast.walk(ast.parse(source)))
    place = (line, end_line, column, end_column)
    running: list[ast.expr] = [
        node
        for node in nodes
        if isinstance(node, ast.Call) and (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset) == place
    ]
    # entering a scope is no call of its own
    running += [node.items[0].context_expr for node in nodes if isinstance(node, ast.With) and node.lineno == line]
    if running:
        return " ".join((ast.get_source_segment(source, running[0]) or "").split())
    return linecache.getline(code.co_filename, line or 0).strip()
