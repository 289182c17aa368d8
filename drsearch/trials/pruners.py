"""The pruner named by `study.pruner`, which ends trials that promise nothing.

A plain trial reports its best value so far at every checkpoint, by epoch; one with folds or repeats reports the value
of each when that ends, by its number.
"""

import math
import warnings

import optuna
from optuna.trial import FrozenTrial

from drsearch.settings import Settings
from drsearch.training.cross_validation import folds_or_repeats, n_trainings
from drsearch.training.objective import Objective


def pruner_name(settings: Settings) -> str:
    """The name of the pruner: `study.pruner`, with `auto` resolved."""
    if settings.study.pruner != "auto":
        return settings.study.pruner
    return "wilcoxon" if n_trainings(settings.search) > 1 and settings.study.second_objective == "none" else "none"


def pruner_for(settings: Settings) -> optuna.pruners.BasePruner:
    """The pruner of a study; it must see the study through a `TrialView`."""
    study = settings.study
    name = pruner_name(settings)
    first_rung = max(1, study.pruner_warmup_epochs)
    common = {"n_startup_trials": study.pruner_startup_trials, "n_warmup_steps": study.pruner_warmup_epochs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "median":
                return optuna.pruners.MedianPruner(**common)
            case "percentile":
                return optuna.pruners.PercentilePruner(study.pruner_percentile, **common)
            case "successive_halving":
                return optuna.pruners.SuccessiveHalvingPruner(
                    min_resource=first_rung, reduction_factor=study.pruner_reduction_factor
                )
            case "hyperband":
                return optuna.pruners.HyperbandPruner(
                    min_resource=first_rung,
                    max_resource=max(first_rung, settings.training.epochs),
                    reduction_factor=study.pruner_reduction_factor,
                )
            case "patient":
                median = optuna.pruners.MedianPruner(**common)
                return _Patient(median, study.pruner_patience_epochs, Objective(study.objective))
            case "wilcoxon":
                return optuna.pruners.WilcoxonPruner(p_threshold=study.pruner_p_threshold)
        return optuna.pruners.NopPruner()


def may_prune(settings: Settings, step: int) -> bool:
    """Whether the pruner may end a trial at this report; where it may not, the study database need not be asked.

    Args:
        settings: The study's.
        step: The epoch of the report, or the number of the fold.

    Example:
        >>> median = Settings().replace({"study.pruner": "median", "study.pruner_warmup_epochs": 10})
        >>> may_prune(median, 5), may_prune(median, 10), may_prune(Settings(), 10)
        (False, True, False)
    """
    match pruner_name(settings):
        case "none":
            return False
        case "median" | "percentile" | "patient":
            return step >= settings.study.pruner_warmup_epochs
    return True


def why_pruned(settings: Settings, value: float, step: int) -> str:
    """The reason of a pruned trial, in a sentence.

    Args:
        settings: The study's.
        value: The trial's last report.
        step: The epoch of that report, or the number of the fold.
    """
    head = f"the {pruner_name(settings)} pruner: {settings.study.objective} {value:.3f}"
    match pruner_name(settings):
        case "wilcoxon":
            done = f"{step} of {n_trainings(settings.search)} {folds_or_repeats(settings.search)}"
            return f"{head} after {done}, in which the best trial was better"
        case "patient":
            return (
                f"{head} has stood still for {settings.study.pruner_patience_epochs} epochs, "
                f"and after {step} is not better than most trials' so far"
            )
        case "percentile":
            return f"{head} after {step} epochs is not in the best {settings.study.pruner_percentile:g} % of trials"
        case "successive_halving" | "hyperband":
            return (
                f"{head} after {step} epochs is not among the best "
                f"1 in {settings.study.pruner_reduction_factor} at its rung"
            )
    return f"{head} after {step} epochs is not better than most trials' so far"


class _Patient(optuna.pruners.BasePruner):  # type: ignore[misc]  # untyped library
    """Prunes as another pruner, but only trials without a new best value for some epochs.

    Optuna's `PatientPruner` waits for a fall, and the best value so far, which trials report here, never falls.
    """

    def __init__(self, other: optuna.pruners.BasePruner, epochs: int, objective: Objective) -> None:
        self._other, self._epochs, self._objective = other, epochs, objective

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if trial.last_step is None or trial.last_step - self._last_rise(trial) < self._epochs:
            return False
        return bool(self._other.prune(study, trial))

    def _last_rise(self, trial: FrozenTrial) -> int:
        best, at = math.nan, 0
        for step, value in sorted(trial.intermediate_values.items()):
            if self._objective.is_better(value, best):
                best, at = value, step
        return at
