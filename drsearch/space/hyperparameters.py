"""Turns hyperparameters of KerasTuner into values that Optuna draws."""

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from drsearch.settings import Value, near_names
from drsearch.space.build_model import PREFIX

Hyperparameter = Any
"""One of KerasTuner's `Choice`, `Int`, `Float`, `Boolean`, `Fixed` objects."""


class Suggests(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """Return one of `choices`."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Return a whole number.

        Args:
            name: The parameter.
            low: The least number, included.
            high: The greatest, included.
            step: Distance of neighbouring numbers.
            log: Whether to draw on a log scale.
        """

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Return a number.

        Args:
            name: The parameter.
            low: The least number, included.
            high: The greatest, included.
            step: Distance of neighbouring numbers; None for any number.
            log: Whether to draw on a log scale.
        """


Draw = Callable[[str, Hyperparameter], Value]
"""Gives the value of a hyperparameter, by the name that a trial keeps it by."""


def value_of_fixed(_name: str, fixed: Hyperparameter) -> Value:
    """The value of a `Fixed`."""
    return fixed.value  # type: ignore[no-any-return]


class Draws(keras_tuner.HyperParameters):  # type: ignore[misc]  # untyped library
    """KerasTuner's `HyperParameters` whose values come from `draw`, fixed ones from `fix`; inactive ones have none.

    Args:
        draw: Gives the value of a hyperparameter that is searched.
        fix: Gives the value of a fixed one.
        settings: Values that `get` returns for settings that were not drawn.
        mention: Called with every hyperparameter of `space(hp)`, as often as the space names it.
    """

    def __init__(
        self,
        draw: Draw,
        fix: Draw = value_of_fixed,
        settings: Mapping[str, Value] | None = None,
        mention: Callable[[str, Hyperparameter], None] = lambda _name, _hyperparameter: None,
    ) -> None:
        super().__init__()
        self._draw, self._fix, self._mention = draw, fix, mention
        self._settings = settings or {}
        self.in_hypermodel = False
        self.drawn: dict[str, Value] = {}

    def __getattr__(self, name: str) -> Any:
        words = [word for word in dir(keras_tuner.HyperParameters) if not word.startswith("_")]
        near = near_names(name, words)
        raise AttributeError(f"hp has no {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))

    def get(self, name: str) -> Value:
        """The value drawn for a name, or the setting of that name.

        Raises:
            KeyError: If there is neither.
        """
        try:
            return super().get(name)  # type: ignore[no-any-return]
        except KeyError:
            if name not in self._settings:
                raise
            return self._settings[name]

    def _get_name(self, name: str, name_scopes: list[str] | None = None) -> str:
        # A name scope of a space is the section of a setting; inside a hypermodel names are KerasTuner's own.
        if self.in_hypermodel:
            return super()._get_name(name, name_scopes)  # type: ignore[no-any-return]
        return ".".join([*(self._name_scopes if name_scopes is None else name_scopes), str(name)])

    def _retrieve(self, hp: Hyperparameter) -> Value:
        if not self.in_hypermodel:
            self._mention(hp.name, hp)
        return super()._retrieve(hp)  # type: ignore[no-any-return]

    def _register(self, hyperparameter: Hyperparameter, overwrite: bool = False) -> Value:
        # The one method through which all kinds, scopes and conditions go (keras-tuner 1.4.8;
        # tests/space/test_search_space.py fails if a later version goes another way).
        name = hyperparameter.name
        if self.is_active(hyperparameter) and name not in self.values:
            kept_as = PREFIX + name if self.in_hypermodel else name
            answer = self._fix if isinstance(hyperparameter, kinds.Fixed) else self._draw
            self.values[name] = self.drawn[kept_as] = answer(kept_as, hyperparameter)
        return super()._register(hyperparameter, overwrite)  # type: ignore[no-any-return]


def suggest(trial: Suggests, name: str, hyperparameter: Hyperparameter) -> Value:
    """The value of a hyperparameter, drawn from an Optuna trial with KerasTuner's meaning.

    Args:
        trial: The trial.
        name: The name that it keeps the value by.
        hyperparameter: Any but a `Fixed`.
    """
    match distribution_of(hyperparameter):
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, list(choices))  # type: ignore[no-any-return]
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(name, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(name, low, high, step=step, log=log)
    raise AssertionError("distribution_of knows three kinds")


def distribution_of(hyperparameter: Hyperparameter) -> BaseDistribution:
    """The Optuna distribution of a hyperparameter.

    Raises:
        TypeError: If KerasTuner has a kind of hyperparameter that drsearch does not know.
    """
    match hyperparameter:
        case kinds.Choice():
            return CategoricalDistribution(tuple(hyperparameter.values))
        case kinds.Boolean():
            return CategoricalDistribution((False, True))
        case kinds.Int():
            log = is_log(hyperparameter)
            low, high = int(hyperparameter.min_value), int(hyperparameter.max_value)
            return IntDistribution(low, high, log=log, step=1 if log else int(hyperparameter.step or 1))
        case kinds.Float():
            log = is_log(hyperparameter)
            low, high = hyperparameter.min_value, hyperparameter.max_value
            return FloatDistribution(low, high, log=log, step=None if log else hyperparameter.step)
    raise TypeError(f"KerasTuner has a new kind of hyperparameter: {hyperparameter!r}")


def is_log(hyperparameter: Hyperparameter) -> bool:
    """Whether a hyperparameter is drawn on a log scale."""
    return bool(hyperparameter.sampling == "log")


def discrete_values(hyperparameter: Hyperparameter) -> list[Value] | None:
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


def random_value(hyperparameter: Hyperparameter, dice: random.Random) -> Value:
    """A random value of a hyperparameter; of a continuous one, an end or the middle."""
    values = discrete_values(hyperparameter)
    return dice.choice(  # type: ignore[no-any-return]
        values or [hyperparameter.min_value, hyperparameter.max_value, middle(hyperparameter)]
    )


def middle(hyperparameter: Hyperparameter) -> float:
    """The middle of a range, on its own scale.

    Example:
        >>> middle(kinds.Float("rate", 1e-4, 1e-2, sampling="log"))
        0.001
    """
    low, high = hyperparameter.min_value, hyperparameter.max_value
    return math.sqrt(low * high) if is_log(hyperparameter) else (low + high) / 2


def choice_of(hyperparameter: Hyperparameter) -> str:
    """The `hp.Choice` that replaces a numeric range: its steps, or five values across it.

    Example:
        >>> choice_of(kinds.Float("rate", 1e-4, 1e-2, sampling="log"))
        "hp.Choice('rate', [0.0001, 0.0003162, 0.001, 0.003162, 0.01])"
    """
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
