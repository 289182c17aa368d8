"""The sampler named by `study.sampler`, seeded so that no two workers draw the same."""

import importlib.util
import math
import random
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial

from drsearch.settings import Settings

if TYPE_CHECKING:
    from drsearch.space.search_space import SearchSpace

_WALKS = 100


def sampler_for(
    settings: Settings, trial: int, seed: int, space: "SearchSpace", drawn: IntersectionSearchSpace
) -> optuna.samplers.BaseSampler:
    """The sampler that chooses the settings of one trial.

    Args:
        settings: The study's; `study.sampler` and the settings of that sampler are used.
        trial: The trial's number.
        seed: The trial's own, a function of the study's seed and the number: two workers with the same seed would draw
            the same points. Sobol's sequence is one for the whole study; the trial takes the point of its number.
        space: The space that is drawn from.
        drawn: The axes that all finished trials have, as far as this process knows: `drawn_so_far()`, one per study.
    """
    study = settings.study
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match study.sampler:
            case "tpe":
                return _Tpe(drawn, seed=seed, n_startup_trials=study.sampler_startup_trials)
            case "qmc":
                return _Sobol(trial, study.seed, axes_of(space), optuna.samplers.RandomSampler(seed=seed))
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed, population_size=study.sampler_population)
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's points are fixed, and nothing is left to draw


def missing_package(sampler: str) -> str:
    """The name of the package that a sampler needs and that is not installed; empty if none is missing."""
    return "cmaes" if sampler == "cmaes" and importlib.util.find_spec("cmaes") is None else ""


def drawn_so_far() -> IntersectionSearchSpace:
    """The axes that all trials have, for a process that has not looked at any trial yet."""
    return IntersectionSearchSpace(include_pruned=True)


class _Tpe(optuna.samplers.TPESampler):  # type: ignore[misc]  # untyped library
    """Optuna's, which remembers from trial to trial which axes all trials have.

    Every trial has a sampler of its own, for its seed; each would look at the axes of thousands of trials again, a
    quarter of the cost of a trial after 10,000 others (benchmarks/scale.py).
    """

    def __init__(self, drawn: IntersectionSearchSpace, **options: Any) -> None:
        super().__init__(**options)
        self._search_space = drawn


class _Sobol(optuna.samplers.QMCSampler):  # type: ignore[misc]  # untyped library
    """Optuna's, with axes from the space, and the place in the sequence from the trial's number.

    Optuna takes both from the existing trials: then the first ones, one per worker, are random, and two workers may
    take the same point of the sequence (its own note in `_find_sample_id`; optuna 5.0, which
    tests/trials/test_samplers.py watches).
    """

    def __init__(
        self, trial: int, seed: int, axes: Mapping[str, BaseDistribution], other: optuna.samplers.BaseSampler
    ) -> None:
        super().__init__(scramble=True, seed=seed, independent_sampler=other, warn_independent_sampling=False)
        self._trial, self._axes = trial, dict(axes)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._axes

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:
        return self._trial


def axes_of(space: "SearchSpace") -> dict[str, BaseDistribution]:
    """The axes that every trial of a space draws, whatever branch it takes, and always from the same range.

    Found by drawing 100 times at random.
    """
    dice = random.Random(0)
    walks = []
    for _ in range(_WALKS):
        walk = _Recorded(dice)
        space.draw(walk)
        walks.append(walk.axes)
    return {name: axis for name, axis in walks[0].items() if all(walk.get(name) == axis for walk in walks)}


class _Recorded:
    """Stands in for a trial: draws at random, and records the axes."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self.axes: dict[str, BaseDistribution] = {}

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.axes[name] = CategoricalDistribution(choices)
        return self._dice.choice(choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.axes[name] = IntDistribution(low, high, log=log, step=step)
        return self._dice.randrange(low, high + 1, step)

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.axes[name] = FloatDistribution(low, high, log=log, step=step)
        if step is None:
            return self._dice.uniform(low, high)
        return low + step * self._dice.randint(0, math.floor((high - low) / step + 1e-9))
