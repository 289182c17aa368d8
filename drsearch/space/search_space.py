"""A search space: a Python file that says in KerasTuner's language what a study may draw.

A space file defines `space(hp)`, which draws settings by their names with KerasTuner's
`HyperParameters`, and may define `SETTINGS`, a dict of the settings it is run with, and
`build_model(hp, image_px, n_classes)`, which makes the network in the ResNet's place, `build_loss(settings)`,
`augment(image, rng)` and `objective(labels, probabilities)`, which settings name by `own`.
"""

import dataclasses
import hashlib
import importlib.util
import itertools
import linecache
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import tensorflow as tf

from drsearch.errors import SearchSpaceError, SettingsError, TrialFailed
from drsearch.model.backbones import NO_WEIGHTS, build_network, check_weights_file
from drsearch.model.own import Own
from drsearch.settings import Settings, Value
from drsearch.space.build_model import N_CLASSES, PREFIX, from_setting
from drsearch.space.explorer import Explorer
from drsearch.space.hyperparameters import (
    Draw,
    Draws,
    Hyperparameter,
    Suggests,
    choice_of,
    discrete_values,
    suggest,
    value_of_fixed,
)
from drsearch.space.source import check_settings, read_source
from drsearch.space.source_line import is_of_spaces, naming_the_line, running_call

_WALKS = 200
"""Random walks that show which record sets a space may ask for."""


@dataclass(frozen=True)
class SearchSpace:
    """A checked space file.

    Attributes:
        path: The file.
        source: Its text, which the study keeps.
        settings: The settings that trials start from.
    """

    path: Path
    source: str
    settings: Settings
    _module: ModuleType
    _grids: dict[int | None, list[dict[str, Value]]] = field(default_factory=dict, compare=False)

    @property
    def digest(self) -> str:
        """The SHA-256 of the file's text, hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def has_hypermodel(self) -> bool:
        """Whether `build_model` makes the network."""
        return callable(getattr(self._module, "build_model", None))

    @property
    def own(self) -> Own:
        """The functions that the file brings beside its network; an error in one names its line."""
        return Own(*map(self._function, ("build_loss", "augment", "objective")))

    def _function(self, name: str) -> Callable[..., Any] | None:
        function = getattr(self._module, name, None)
        if not callable(function):
            return None

        def call(*arguments: Any) -> Any:
            with naming_the_line(self.path):
                return function(*arguments)

        return call

    def on(self, settings: Settings) -> "SearchSpace":
        """The same space on other settings.

        Raises:
            SearchSpaceError: If `model.weights` is no file.
        """
        try:
            check_weights_file(settings.model)
        except SettingsError as wrong:
            raise SearchSpaceError(f"{self.path}: {wrong}") from wrong
        hypermodel = "{}" if self.has_hypermodel else ""
        return dataclasses.replace(self, settings=settings.replace({"model.hypermodel": hypermodel}), _grids={})

    def draw(self, trial: Suggests) -> dict[str, Value]:
        """The value of every active hyperparameter by name, drawn from a trial; fixed ones included."""
        return self.walk(lambda name, hyperparameter: suggest(trial, name, hyperparameter))

    def build(self, settings: Settings) -> keras.Model:
        """The network of a trial with these settings, with fresh weights; `set_seeds` decides which.

        Raises:
            TrialFailed: If it cannot be built.
            SettingsError: If `model.hypermodel` is not of this space.
            SearchSpaceError: If the space's own code raises something.
        """
        if not self.has_hypermodel:
            return build_network(settings.model, settings.images.image_px, N_CLASSES)
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
                    f"{running_call(self.path)} is continuous, which a grid cannot walk. "
                    f"Write {choice_of(hyperparameter)}, "
                    'or search with study.sampler = "tpe".'
                )
            position = prefix[len(taken)] if len(taken) < len(prefix) else 0
            taken.append(position)
            sizes.append(len(values))
            point[name] = values[position]
            return values[position]

        self.walk(draw)
        return point, sizes, taken

    def image_variants(self) -> list[Settings]:
        """The settings of every record set that the space may ask for: its own with each combination of `images.*`.

        What a branch leaves undrawn stays as it is in the space's settings, which is then one of the values.

        Raises:
            SearchSpaceError: If an `images.*` axis is continuous: its record sets could not be prepared beforehand.
        """

        def draw(name: str, hyperparameter: Hyperparameter) -> Value:
            if name.startswith("images.") and discrete_values(hyperparameter) is None:
                raise SearchSpaceError(
                    f"{running_call(self.path)} has no end of values, and each needs records of its own. "
                    f"Write {choice_of(hyperparameter)}."
                )
            return explorer.draw(name, hyperparameter)

        explorer, own = Explorer(), self.settings.flat()
        for _ in range(_WALKS):
            explorer.walk(lambda _draw, fix: self._walk_settings(Draws(draw, fix, own)))
        axes: dict[str, dict[Value, None]] = {}
        for name, forms in explorer.forms.items():
            if name.startswith("images."):
                axes[name] = {value: None for form in forms for value in discrete_values(form) or [form.value]}
                if not all(name in walk for walk in explorer.walks):
                    axes[name].setdefault(own[name])
        return [
            self.settings.replace(dict(zip(axes, combination, strict=True)))
            for combination in itertools.product(*axes.values())
        ]

    def walk(
        self,
        draw: Draw,
        fix: Draw = value_of_fixed,
        mention: Callable[[str, Hyperparameter], None] = lambda _name, _hyperparameter: None,
        built: Callable[[keras.Model | TrialFailed, int], None] = lambda _model, _image_px: None,
    ) -> dict[str, Value]:
        """Run the space once, and build its network, if it has one, with random weights.

        Args:
            draw: Gives the value of a hyperparameter that is searched.
            fix: Gives the value of a fixed one.
            mention: Called with every hyperparameter of `space(hp)`, as often as the space names it.
            built: Called with the network, or with the reason that it cannot be built, and the side of its images.

        Returns:
            All values drawn, by name; if the network cannot be built, those drawn until then.
        """
        # A dry walk loads no weights, whatever the setting says: what is drawn does not depend on them.
        drawing = Draws(draw, fix, self.settings.flat() | {"model.weights": NO_WEIGHTS}, mention)
        self._walk_settings(drawing)
        if self.has_hypermodel:
            drawing.in_hypermodel = True
            drawing.values["model.weights"] = NO_WEIGHTS
            image_px: Any = drawing.get("images.image_px")
            try:
                model = self._built(drawing, image_px)
            except TrialFailed as failure:
                built(failure, image_px)
            else:
                built(model, image_px)
        return drawing.drawn

    def _walk_settings(self, drawing: Draws) -> dict[str, Value]:
        with naming_the_line(self.path):
            self._module.space(drawing)
        return drawing.drawn

    def _built(self, drawing: Draws, image_px: Any) -> keras.Model:
        with naming_the_line(self.path), self._failing_trial():
            return self._module.build_model(drawing, image_px, N_CLASSES)

    @contextmanager
    def _failing_trial(self) -> Iterator[None]:
        """Turn errors of Keras and TensorFlow into the end of a trial; bugs of the space pass."""
        try:
            yield
        except (ValueError, tf.errors.OpError, OSError) as error:
            files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
            below = files[files.index(str(self.path)) + 1 :] if str(self.path) in files else []
            of_drawing = any(
                is_of_spaces(file) or "keras_tuner" in file and "hyperparameters" in file for file in below
            )
            if of_drawing or files[-1] == str(self.path) or isinstance(error, SettingsError):
                raise
            text = " ".join(str(error).split()).rstrip(".")
            raise TrialFailed(f"the network of {self.path.name} cannot be built: {text}") from error


def _next_prefix(taken: list[int], sizes: list[int]) -> list[int] | None:
    """The next position of an odometer whose wheels may change from turn to turn; None after the last."""
    for wheel in reversed(range(len(taken))):
        if taken[wheel] + 1 < sizes[wheel]:
            return [*taken[:wheel], taken[wheel] + 1]
    return None


def read_space(path: str | Path, over: Callable[[Settings], Settings] = lambda own: own) -> SearchSpace:
    """Read a space file that was checked before, such as a study's own copy.

    Args:
        path: The file.
        over: Makes the settings that trials start from, of those in the file.

    Returns:
        The space on these settings.

    Raises:
        SearchSpaceError: If it is no such file.
    """
    path = Path(path)
    source = read_source(path)
    module = _run_file(path, source)
    if not callable(getattr(module, "space", None)):
        raise SearchSpaceError(f"{path}: space is no function; begin with `def space(hp):` and draw settings in it.")
    own = Settings().replace(check_settings(path, getattr(module, "SETTINGS", {})))
    return SearchSpace(path, source, own, module).on(over(own))


def _run_file(path: Path, source: str) -> ModuleType:
    """The module of a space file, made of the text that was checked."""
    spec = importlib.util.spec_from_file_location(f"drsearch_space_{path.stem}", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    linecache.cache[str(path)] = len(source), None, source.splitlines(keepends=True), str(path)
    with naming_the_line(path):
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    return module
