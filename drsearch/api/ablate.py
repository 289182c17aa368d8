"""Ablation: what each choice of a study's best setting is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from drsearch.api.access import console_of, open_home, open_studies, storage_url, warn_if_away
from drsearch.api.data import Data, GivenData, dataset_and_settings
from drsearch.errors import Interrupted, SettingsError, StudyError
from drsearch.files import write_whole

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from drsearch.release.ablation import AblationReport


@dataclass(frozen=True, repr=False)
class Ablation:
    """A finished ablation, from `drsearch.ablate`.

    Attributes:
        report: All figures.
    """

    report: AblationReport

    @property
    def table(self) -> pd.DataFrame:
        """One row per choice, the most worth first.

        Columns: best value, default, trial, objective with the default (`value`), and what the choice is worth in the
        objective (`gain`, over folds and seeds) and in the AUC of the out-of-fold predictions (`auc_gain`, over eyes),
        each with `_low` and `_high` of its 95 % interval.
        """
        import pandas as pd

        rows = []
        for row in self.report.rows:
            gain = row.gain.metrics("gain") if row.gain else {}
            auc = row.auc.metrics("auc_gain") if row.auc else {}
            rows.append({**row.to_json(), "gain": None, "auc_gain": None, **gain, **auc})
        return pd.DataFrame(rows).set_index("choice")

    def plot(self) -> go.Figure:
        """A bar per choice: what it is worth, with its interval."""
        from drsearch.reports.ablation_page import ablation_figure

        return ablation_figure(self.report)

    def __repr__(self) -> str:
        return f"<Ablation {self.report.name}: {self.report.about}>"

    def _repr_html_(self) -> str:
        from drsearch.display.html import described_table

        return described_table(repr(self).strip("<>"), self.table.round(4))


def ablate(
    study: str,
    data: GivenData | None = None,
    *,
    folds: int = 5,
    repeats: int = 3,
    workers: int = 1,
    name: str = "",
    storage: str = "",
    skip_bad: bool = False,
    progress: bool | Console = True,
) -> Ablation:
    """What each choice of a study's best setting is worth.

    The best setting, and the same with each of its choices put back to the default, are trained on the same folds of
    the train and validation eyes, and compared fold by fold. They are trials of a study of its own, which the same call
    resumes. The test split is not read, and nothing is registered.

    Args:
        study: The study, whose best trial is looked at.
        data: Its photographs; default: where they lay when it began.
        folds: Folds of the train and validation eyes, at least 2.
        repeats: How often each setting is trained on all folds, with other seeds and other folds.
        workers: Worker processes on this machine; the fastest is one per core.
        name: Of the ablation, and of its MLflow experiment. Default: the study's name and `-ablation`.
        storage: Address of the study database. Default: DRSEARCH_STORAGE, or SQLite in DRSEARCH_HOME.
        skip_bad: Leave out photographs and labels that cannot be used.
        progress: Show a live view; or the Rich console that shows it.

    Returns:
        A table and a figure of what each choice is worth.

    Raises:
        Interrupted: If it was stopped or cancelled; the same call resumes it.
        StudyError: If there is no such study, it has no best trial or one without a choice, its data are others now, or
            the name is that of another ablation.
        DataError: If the folder cannot be used, or has too few eyes of a class for so many folds.

    Example:
        >>> import drsearch
        >>> def pooled(hp):
        ...     hp.Fixed("model.pooling", "mean_max")
        >>> small = {"images.image_px": 64, "model.stages": 1, "training.epochs": 2, "finetune.when": "never"}
        >>> study = drsearch.run_study(pooled, "eyes", trials=1, settings=small, progress=False)
        >>> drsearch.ablate("pooled", folds=2, repeats=1, progress=False).table.index.to_list()
        ['model.pooling']
    """
    if folds < 2 or repeats < 1:
        raise SettingsError(f"--folds {folds} --repeats {repeats}: give at least 2 folds and 1 repeat.")
    home, out = open_home(), console_of(progress)
    url, name = storage_url(storage, home), name or f"{study}-ablation"
    skip_bad = skip_bad or (isinstance(data, Data) and data.skip_bad)
    opened = open_studies(storage, home)

    from drsearch.study.best_trial import best_trial, why_none
    from drsearch.study.definition import check_name, load_study
    from drsearch.tracking.remote_runs import check_experiments
    from drsearch.trials.trials import read_trials

    check_name("--name", name)
    loaded, definition = load_study(opened, study)
    trials = read_trials(loaded)
    best = best_trial(trials, definition.settings)
    if best is None:
        raise StudyError(
            f"study {study!r} has no best trial: {why_none(trials, definition.settings) or 'none is complete'}."
        )
    if warn_if_away(home, out):
        check_experiments(home, name)

    from drsearch.display.output import counting
    from drsearch.display.progress import study_view
    from drsearch.release.ablation import ablation_report, log_ablation
    from drsearch.release.candidate import Candidate
    from drsearch.reports.ablation_page import ablation_page
    from drsearch.space.search_space import read_space
    from drsearch.study.ablation import plan_ablation
    from drsearch.study.preparation import prepare_all
    from drsearch.study.reconcile import launching
    from drsearch.workers.launcher import check_begins, launch_study

    plan = plan_ablation(study, definition, best, folds, repeats)
    path = home.path / "spaces" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, plan.source.encode(), replace=True)
    space = read_space(path, lambda _: plan.settings)
    dataset, _ = dataset_and_settings(data if data is not None else definition.data_given, None, home)
    check_begins(name, space, dataset, url)
    with counting(out, "photographs") as count:
        prepared = prepare_all(dataset, space, home, skip_bad=skip_bad, on_photograph=count, points=plan.points)
    if prepared[0].records.data_fingerprint != definition.data_fingerprint:
        raise StudyError(
            f"study {study!r} was run on data {definition.data_fingerprint[:12]}, and {dataset.place} is "
            f"{prepared[0].records.data_fingerprint[:12]} now; give --data, and --skip-bad if the study had it."
        )
    supervisor = launch_study(name, space, dataset, prepared, home, url, enqueued=plan.points)
    with launching(supervisor.folder):
        with study_view(out) as show:
            result = supervisor.run(workers, show, say_stopping=show.stopping)
        if sum(trial.is_over for trial in result.trials) < result.n_trials:
            raise Interrupted(
                f"ablation {name!r} is not finished ({result.stopped or result.spent}); the same command resumes it."
            )
        judged = [Candidate(result, trial, space, home) for trial in result.trials]
        report = ablation_report(name, plan, judged)
        log_ablation(report, ablation_page(report), supervisor.folder, home)
    return Ablation(report)
