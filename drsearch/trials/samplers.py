"""Who chooses a trial's settings? The sampler named by `study.sampler`, seeded so that no two workers draw the same."""

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
        settings: The study's; `study.sampler` and its own settings are used.
        trial: The trial's number.
        seed: The trial's own, of the study's seed and the number alone: two workers with one seed would draw the same
            points. Sobol's sequence alone is one for the whole study, of which the trial takes the point of its number.
        space: What is drawn.
        drawn: What this process knows of the axes that all finished trials have: `drawn_so_far()`, one a study.
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
    """The package that a sampler needs and that is not installed; empty if nothing is missing."""
    return "cmaes" if sampler == "cmaes" and importlib.util.find_spec("cmaes") is None else ""


def drawn_so_far() -> IntersectionSearchSpace:
    """What a process that has looked at no trial knows of the axes that all have."""
    return IntersectionSearchSpace(include_pruned=True)


class _Tpe(optuna.samplers.TPESampler):  # type: ignore[misc]  # untyped library
    """Optuna's, which knows from trial to trial which axes all have.

    Every trial has a sampler of its own, for its seed; each would look at the axes of thousands of trials again, a
    quarter of what a trial costs with 10,000 behind it (benchmarks/scale.py).
    """

    def __init__(self, drawn: IntersectionSearchSpace, **options: Any) -> None:
        super().__init__(**options)
        self._search_space = drawn


class _Sobol(optuna.samplers.QMCSampler):  # type: ignore[misc]  # untyped library
    """Optuna's, whose axes and place in the sequence come from the space and the trial's number.

    Optuna takes both from the trials there are: the first ones, as many as there are workers, are random then, and two
    workers may take one point of the sequence (its own note in `_find_sample_id`; optuna 5.0, which
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
    """The axes that every trial of a space draws, whatever branch it takes, and always from the same range."""
    dice = random.Random(0)
    walks = []
    for _ in range(_WALKS):
        walk = _Recorded(dice)
        space.draw(walk)
        walks.append(walk.axes)
    return {name: axis for name, axis in walks[0].items() if all(walk.get(name) == axis for walk in walks)}


class _Recorded:
    """Stands for a trial: draws at random, and notes from what."""

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
