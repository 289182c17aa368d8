"""Refuses settings of a study that do not go together, before anything is prepared."""

from drsearch.errors import StudyError
from drsearch.settings import Settings
from drsearch.training.cross_validation import folds_or_repeats, n_trainings
from drsearch.trials.pruners import pruner_name
from drsearch.trials.samplers import missing_package


def check_study(settings: Settings) -> None:
    """Refuse a study whose sampler, pruner, objectives and folds do not go together.

    Raises:
        StudyError: With the setting to write instead.
    """
    study, search = settings.study, settings.search
    second = study.second_objective
    if search.outer_folds > 1 or search.outer_fold:
        raise StudyError(
            f"search.outer_folds = {search.outer_folds} and search.outer_fold = {search.outer_fold} keep eyes away to "
            "judge a cross-validation; leave both out, or give `drsearch cross-validate`."
        )
    if package := missing_package(study.sampler):
        raise StudyError(
            f"study.sampler = {study.sampler!r} needs the package {package}: "
            f"pip install 'drsearch[{package}]', or write study.sampler = 'tpe'."
        )
    pruner = pruner_name(settings)
    if second == study.objective:
        raise StudyError(
            f"study.second_objective = {second!r} is the first objective too; write another one, or "
            "study.second_objective = 'none'."
        )
    if second != "none" and pruner != "none":
        raise StudyError(
            f"study.pruner = {pruner!r} judges by one number, and study.second_objective = {second!r} asks for two; "
            "write study.pruner = 'none'."
        )
    if second != "none" and study.sampler == "cmaes":
        raise StudyError(
            f"study.sampler = 'cmaes' knows one objective, and study.second_objective = {second!r} asks for two; "
            "write study.sampler = 'tpe' or 'nsga2'."
        )
    if study.constraints and study.sampler == "cmaes":
        raise StudyError(
            f"study.sampler = 'cmaes' knows no constraints, and study.constraints = {study.constraints!r}; "
            "write study.sampler = 'tpe' or 'nsga2'."
        )
    if study.constraints and pruner not in ("none", "wilcoxon"):
        raise StudyError(
            f"study.pruner = {pruner!r} knows no constraints, and would prune trials that keep study.constraints = "
            f"{study.constraints!r} for others that do not; write study.pruner = 'none'."
        )
    if settings.registry.networks == "folds" and n_trainings(search) == 1:
        raise StudyError(
            "registry.networks = 'folds' registers the mean of a trial's networks, and it has one; "
            "write search.folds = 5, or registry.networks = 'one'."
        )
    if settings.registry.networks == "trials" and second != "none":
        raise StudyError(
            "registry.networks = 'trials' registers the mean of the trials with the best objective, and "
            f"study.second_objective = {second!r} asks for two; write registry.networks = 'one'."
        )
    parts = f"search.{folds_or_repeats(search)} = {search.folds if search.folds > 1 else search.repeats}"
    if n_trainings(search) == 1 and pruner == "wilcoxon":
        raise StudyError(
            "study.pruner = 'wilcoxon' compares trials fold by fold, and they have one; "
            "write search.folds = 5, or study.pruner = 'median'."
        )
    if n_trainings(search) > 1 and pruner not in ("none", "wilcoxon"):
        raise StudyError(
            f"study.pruner = {pruner!r} judges trials by their epochs, and with {parts} they are judged by "
            f"{folds_or_repeats(search)}; write study.pruner = 'wilcoxon' or 'none'."
        )
