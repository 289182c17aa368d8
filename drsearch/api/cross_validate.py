"""Cross-validation: what a setting, or a search for one, is worth on eyes that chose nothing of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from drsearch.api.access import (
    Configs,
    GivenSettings,
    console_of,
    merged_settings,
    open_home,
    storage_url,
    warn_if_away,
)
from drsearch.api.data import Data, GivenData, dataset_and_settings
from drsearch.api.space import space_file
from drsearch.errors import Interrupted, SettingsError, StudyError
from drsearch.settings import Settings, Value

if TYPE_CHECKING:
    import pandas as pd

    from drsearch.measure.out_of_fold import OutOfFoldScores
    from drsearch.release.out_of_fold_report import OutOfFoldReport
    from drsearch.study.result import StudyResult

_GIVEN = {"study.sampler": "random", "study.pruner": "none", "study.second_objective": "none", "study.hours": None,
          "study.epochs": None, "study.patience_trials": None, "search.outer_fold": 0}  # fmt: skip
"""Settings of a cross-validation that searches nothing: its trials are the outer folds."""


def one_setting(hp: Any) -> None:
    """Draw nothing: every trial trains the same setting, each on the eyes of its own outer fold."""


@dataclass(frozen=True, repr=False)
class CrossValidation:
    """A finished cross-validation, from `drsearch.cross_validate`.

    Attributes:
        report: All figures.
        run_id: Its MLflow run; None if MLflow has not answered yet.
    """

    report: OutOfFoldReport
    run_id: str | None

    @property
    def scores(self) -> OutOfFoldScores:
        """Out-of-fold AUC, accuracy, sensitivity and specificity, with 95 % intervals."""
        return self.report.scores

    @property
    def folds(self) -> pd.DataFrame:
        """One row per outer fold: best epoch, threshold, its scores, and the inner scores beside."""
        import pandas as pd

        return pd.DataFrame(self.report.fold_rows()).set_index("fold")

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per eye and repeat: name, grade, label, patient, repeat, fold, probability, called (RDR or not)."""
        import pandas as pd

        return pd.DataFrame(self.report.predictions())

    def __repr__(self) -> str:
        return f"<CrossValidation {self.report.name}: AUC {self.scores.auc}, accuracy {self.scores.accuracy}>"

    def _repr_html_(self) -> str:
        from drsearch.display.html import described_table

        return described_table(repr(self).strip("<>"), self.folds.round(4), f"MLflow run {self.run_id}")


def cross_validate(
    data: GivenData,
    settings: GivenSettings = None,
    *,
    config: Configs = (),
    folds: int = 5,
    repeats: int = 3,
    workers: int = 1,
    study: str = "",
    storage: str = "",
    skip_bad: bool = False,
    progress: bool | Console = True,
) -> CrossValidation:
    """Judge a setting on eyes that chose nothing of it, neither epoch nor threshold nor temperature.

    All eyes are dealt into outer folds, those of a published test split excepted. One network per fold and repeat is
    trained on the other eyes, some of which validate. The folds are trials of a study: the same call resumes them, and
    with more `repeats` it adds some.

    Args:
        data: The folder of photographs, or a prepared data set.
        settings: Settings by name.
        config: Gin files.
        folds: Outer folds, at least 2.
        repeats: How often all eyes are dealt.
        workers: Worker processes on this machine; the fastest is one per core.
        study: Its name, and that of its MLflow experiment. Default: `cross-validation-` and the name of the last gin
            file.
        storage: Address of the study database. Default: DRSEARCH_STORAGE, or SQLite in DRSEARCH_HOME.
        skip_bad: Leave out photographs and labels that cannot be used.
        progress: Show a live view; or the Rich console that shows it.

    Returns:
        Out-of-fold scores, the folds, and the predictions.

    Raises:
        Interrupted: If it was stopped or cancelled; the same call resumes it.
        SettingsError: If a setting is unknown, out of range, or none of a cross-validation.
        DataError: If the folder cannot be used, or has too few eyes of a class for so many folds.
        StudyError: If a study of this name was begun with other settings or data, or the training of a fold failed.

    Example:
        >>> import drsearch
        >>> small = {"training.epochs": 2, "images.image_px": 64}
        >>> judged = drsearch.cross_validate("eyes", small, folds=2, repeats=1, study="judged", progress=False)
        >>> judged.predictions.groupby("name").size().unique().tolist()
        [1]
    """
    home, out = open_home(), console_of(progress)
    skip_bad = skip_bad or (isinstance(data, Data) and data.skip_bad)
    dataset, settings = dataset_and_settings(data, settings, home)
    given: dict[str, Value] = dict(settings.flat() if isinstance(settings, Settings) else settings or {})
    chosen = _settings(given, config, folds, repeats)
    path, url = space_file(one_setting, home), storage_url(storage, home)
    name = study or _name(config)

    from drsearch.study.definition import check_name
    from drsearch.tracking.remote_runs import check_experiments
    from drsearch.training.single import check_network

    check_name("--study", name)
    check_network(chosen, None)
    if warn_if_away(home, out):
        check_experiments(home, name)

    from drsearch.data.records import count_test_evaluation
    from drsearch.display.data_tables import print_audit, print_counts, print_reading
    from drsearch.display.output import counting
    from drsearch.display.progress import study_view
    from drsearch.release.candidate import Candidate
    from drsearch.release.out_of_fold_report import log_report, out_of_fold_report
    from drsearch.space.search_space import read_space
    from drsearch.study.preparation import prepare_all
    from drsearch.study.reconcile import launching
    from drsearch.training.outer_folds import check_outer_folds
    from drsearch.workers.launcher import check_begins, launch_study

    space = read_space(path, lambda _: chosen)
    check_begins(name, space, dataset, url)
    print_reading(out, dataset)
    with counting(out, "photographs") as count:
        prepared = prepare_all(dataset, space, home, skip_bad=skip_bad, on_photograph=count)
    print_audit(out, prepared[0].audit, skip_bad)
    print_counts(out, prepared[0])
    check_outer_folds(prepared[0].records, chosen.search, repeats)
    supervisor = launch_study(name, space, dataset, prepared, home, url)
    if "test" in prepared[0].records.outer_splits and not supervisor.folder.exists():
        count_test_evaluation(prepared[0].records, home, f"cross-validation {name}")
    with launching(supervisor.folder):
        with study_view(out) as show:
            result = supervisor.run(workers, show, say_stopping=show.stopping)
        _check_finished(result)
        judges = [Candidate(result, trial, space, home) for trial in result.trials]
        report = out_of_fold_report(name, judges)
        return CrossValidation(report, log_report(report, judges[0], supervisor.folder))


def _settings(given: dict[str, Value], config: Configs, folds: int, repeats: int) -> Settings:
    """The settings of every fold.

    Raises:
        SettingsError: If they ask for inner folds, or for fewer than two outer ones.
    """
    if folds < 2 or repeats < 1:
        raise SettingsError(f"--folds {folds} --repeats {repeats}: give at least 2 folds and 1 repeat.")
    search = merged_settings(given, config).search
    if search.folds > 1 or search.repeats > 1:
        raise SettingsError(
            f"search.folds = {search.folds} and search.repeats = {search.repeats}: an outer fold is judged by one "
            "network, which has one validation split; leave both at 1, and give --folds and --repeats."
        )
    own: dict[str, Any] = {**_GIVEN, "search.outer_folds": folds, "study.trials": folds * repeats}
    return merged_settings(given, config).replace(own)


def _name(config: Configs) -> str:
    """The name of a cross-validation that was given none."""
    files = [config] if isinstance(config, str | Path) else list(config)
    return "-".join(["cross-validation", *(Path(file).stem for file in files[-1:])])


def _check_finished(result: StudyResult) -> None:
    """Refuse to report on folds that are not all trained."""
    if failed := [trial for trial in result.trials if trial.state == "failed"]:
        raise StudyError(
            f"cross-validation {result.name!r} has no scores, because the training of fold {failed[0].number + 1} "
            f"failed: {failed[0].reason.rstrip('.')}; mend that setting, and give another --study."
        )
    if sum(trial.is_over for trial in result.trials) < result.n_trials:
        why = result.stopped or result.spent
        raise Interrupted(f"cross-validation {result.name!r} is not finished ({why}); the same command resumes it.")
