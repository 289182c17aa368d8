"""The sampler named by `study.sampler`, seeded so that no two workers draw the same."""

import functools
import importlib.util
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial

from drsearch.settings import Settings

if TYPE_CHECKING:
    from drsearch.space.search_space import SearchSpace

_DRAWS = 100


class Samplers:
    """The samplers of a study's trials; a worker keeps one object for all trials, which remembers what they share.

    Args:
        settings: The study's; `study.sampler` and the settings of that sampler are used.
        space: The space that is drawn from.
    """

    def __init__(self, settings: Settings, space: "SearchSpace") -> None:
        self._settings, self._space = settings.study, space
        self._seen = IntersectionSearchSpace(include_pruned=True)

    def sampler(self, trial: int, seed: int) -> optuna.samplers.BaseSampler:
        """The sampler that chooses the settings of one trial.

        Args:
            trial: The trial's number.
            seed: The trial's own, a function of the study's seed and the number: two workers with the same seed would
                draw the same points. Sobol's sequence is one for the whole study; the trial takes the point of its
                number.
        """
        study = self._settings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            match study.sampler:
                case "tpe":
                    return _Tpe(self._seen, seed=seed, n_startup_trials=study.sampler_startup_trials)
                case "qmc":
                    return _Sobol(trial, study.seed, self._axes, optuna.samplers.RandomSampler(seed=seed))
                case "nsga2":
                    return optuna.samplers.NSGAIISampler(seed=seed, population_size=study.sampler_population)
                case "cmaes":
                    return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        return optuna.samplers.RandomSampler(seed=seed)  # a grid's points are fixed, and nothing is left to draw

    @functools.cached_property
    def _axes(self) -> dict[str, BaseDistribution]:
        return axes_of(self._space)


def missing_package(sampler: str) -> str:
    """The name of the package that a sampler needs and that is not installed; empty if none is missing."""
    return "cmaes" if sampler == "cmaes" and importlib.util.find_spec("cmaes") is None else ""


class _Tpe(optuna.samplers.TPESampler):  # type: ignore[misc]  # untyped library
    """Optuna's, which remembers from trial to trial which axes all trials have.

    Every trial has a sampler of its own, for its seed; each would look at the axes of thousands of trials again, a
    quarter of the cost of a trial after 10,000 others (benchmarks/scale.py).
    """

    def __init__(self, seen: IntersectionSearchSpace, **options: Any) -> None:
        super().__init__(**options)
        self._search_space = seen


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

    They are those that 100 random draws have in common.
    """
    draws = []
    for seed in range(_DRAWS):
        # A study each: Optuna refuses a name whose choices differ from trial to trial.
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed)).ask()
        space.draw(trial)
        draws.append(trial.distributions)
    return {name: axis for name, axis in draws[0].items() if all(each.get(name) == axis for each in draws)}
