"""Studies: run one, load one, list them; trials, plots and the registered model of each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from drsearch.api.access import (
    Configs,
    GivenSettings,
    console_of,
    merged_settings,
    open_home,
    open_studies,
    storage_url,
    warn_if_away,
)
from drsearch.api.data import Data, GivenData, dataset_and_settings
from drsearch.api.space import Space, space_file
from drsearch.errors import DrsearchError, Interrupted
from drsearch.home import Home
from drsearch.settings import Settings, Value

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from drsearch.api.model import Model
    from drsearch.datasets.read import Dataset
    from drsearch.release.after_search import AfterSearchResult
    from drsearch.space.known_files import Known
    from drsearch.study.delete import Removal
    from drsearch.study.result import StudyResult
    from drsearch.study.status import StudyStatus, TrialRow
    from drsearch.trials.trials import Trial

Callback = Callable[["Study", "TrialRow"], None]
"""Called with the study and the trial that has just ended."""


class Study:
    """A study in its database, from `drsearch.run_study` or `drsearch.load_study`.

    Every attribute is read when it is asked for, so that it is up to date while workers run.

    Args:
        name: The study's name; its MLflow experiment has the same.
        storage: Its opened database.
        home: Where its journals and checkpoints lie.
        results: What the call that ran the study came to; None for a study that was loaded.

    Attributes:
        name: The study's name.
        results: The search and what followed it, of the call that ran the study; else None.

    Raises:
        StudyError: If there is no such study.
    """

    def __init__(
        self, name: str, storage: Any, home: Home, results: tuple[StudyResult, AfterSearchResult] | None = None
    ) -> None:
        from drsearch.study.definition import load_study as load

        self.name, self.results = name, results
        self._storage, self._home = storage, home
        self._optuna, self._definition = load(storage, name)
        self._request_stop: Callable[[], None] | None = None

    @property
    def status(self) -> StudyStatus:
        """State, counts, workers, time left; nothing is changed."""
        from drsearch.study.status import study_status

        return study_status(self._optuna, self._definition, self._storage, self._home)

    @property
    def trials(self) -> pd.DataFrame:
        """One row per trial: state, value with its 95 % interval, best epoch, seconds, run, and every setting drawn.

        With `study.constraints`, also `violated` (the constraints that the trial does not keep, with its values), and
        the value of each constraint under its text.
        """
        import pandas as pd

        rows = [{**row.to_json(), **row.constraints, **row.params} for row in self.trial_rows()]
        inside = ["params", "constraints", *([] if self.settings.study.constraints else ["violated"])]
        return pd.DataFrame(rows).drop(columns=inside).set_index("trial") if rows else pd.DataFrame()

    def trial_rows(self, sort: str = "number") -> list[TrialRow]:
        """The trials as objects.

        Args:
            sort: `number`, `state`, `value` (best first), `epochs`, `attempts`, `seconds`, or a setting.

        Raises:
            StudyError: If there is no such column.
        """
        from drsearch.study.status import sort_trials, trial_rows

        rows, _, less_is_better = trial_rows(self._storage, self.name, self._home)
        return sort_trials(rows, sort, less_is_better)

    @property
    def objective(self) -> str:
        """The number that judges a trial, for example `val_auc`."""
        return self._definition.settings.study.objective

    @property
    def settings(self) -> Settings:
        """What every trial starts from."""
        return self._definition.settings

    @property
    def space(self) -> str:
        """The text of the search space."""
        return self._definition.space_source

    @property
    def best(self) -> TrialRow | None:
        """The trial that is registered: the best one, or with two objectives the picked one.

        None before one ends, and while none keeps all constraints.
        """
        return self.status.best

    @property
    def front(self) -> list[TrialRow]:
        """The Pareto front, best objective first; with one objective the best trial alone."""
        from drsearch.study.best_trial import front

        rows = {row.number: row for row in self.trial_rows()}
        return [rows[trial.number] for trial in front(self._finished(), self.settings)]

    @property
    def model(self) -> Model | None:
        """The newest version that was registered from this study; None before one is."""
        from drsearch.api.access import reach_runs
        from drsearch.api.model import Model
        from drsearch.release.registry import Registry
        from drsearch.tracking.tags import STUDY_ID_TAG

        reach_runs(self._home)
        registry, tags = Registry(self._home.tracking_uri), {STUDY_ID_TAG: self._definition.uid}
        versions = registry.versions(self.settings.registry.model_name, tags)
        return Model(max(versions, key=lambda version: version.version), self._home) if versions else None

    def importances(self) -> dict[str, float]:
        """The share of each setting in what tells the best trials from the rest, the largest first; they sum to 1.

        PED-ANOVA (Watanabe et al., 2023), as in `plot_importances`.

        Raises:
            StudyError: If the complete trials are too few, or all alike.
        """
        bars = self.plot_importances().data[0]
        shares = dict(zip((str(name) for name in bars.y), (float(share) for share in bars.x), strict=True))
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    def plot_history(self) -> go.Figure:
        """The value of every complete trial, and the best value so far.

        Raises:
            StudyError: If no trial is complete.
        """
        return self._plot("history")

    def plot_parallel_coordinates(self) -> go.Figure:
        """A line per complete trial through its value and its settings.

        Raises:
            StudyError: If the complete trials differ in no setting.
        """
        return self._plot("parallel_coordinates")

    def plot_importances(self) -> go.Figure:
        """A bar per setting: its share in what tells the best trials from the rest.

        Raises:
            StudyError: If the complete trials are too few, or all alike.
        """
        return self._plot("importances")

    def plot_heat_map(self) -> go.Figure:
        """The best value of every cell of a grid's first two axes.

        Raises:
            StudyError: If the study is no grid of two axes or more.
        """
        return self._plot("heat_map")

    def plot_pareto_front(self) -> go.Figure:
        """Both objectives of every complete trial, and the Pareto front.

        Raises:
            StudyError: If the study has one objective (`study.second_objective` is `none`).
        """
        return self._plot("pareto")

    def report(self, out: str | Path = "") -> Path:
        """Write the report of the study: one HTML file that opens offline, from MLflow and the study database alone.

        Args:
            out: The file, which is replaced; its name ends in `.html`. Default: `STUDY.html` in the current folder.

        Returns:
            The file.

        Raises:
            OutputError: If it cannot be written there.
            DrsearchError: If MLflow does not answer.
        """
        from drsearch.api.access import reach_runs
        from drsearch.files import OutputError, write_whole

        file = Path(out or f"{self.name}.html").expanduser()
        if file.suffix != ".html":
            raise OutputError(f"--out {file}: a report is an HTML file; write a name that ends in .html.")
        reach_runs(self._home)
        from drsearch.reports.study_report import study_report

        write_whole(file, study_report(self._storage, self.name, self._home).encode(), replace=True)
        return file

    def stop(self) -> None:
        """Start no further trial; those that run come to their end. For callbacks; the same call resumes it later.

        Raises:
            StudyError: If this process does not run the study; `cancel` stops one that runs elsewhere.
        """
        from drsearch.errors import StudyError

        if self._request_stop is None:
            raise StudyError(f"study {self.name!r} is not run by this process; cancel() stops it wherever it runs.")
        self._request_stop()

    def cancel(self, on_stopped: Callable[[Trial], None] = lambda _: None) -> None:
        """Stop the study on every machine, each trial at a checkpoint; return when nothing of it runs.

        Args:
            on_stopped: Called with each trial that ran, when it has stopped.
        """
        from drsearch.study.cancel import cancel

        for trial in cancel(self._storage, self.name, self._home, self.status.folder):
            on_stopped(trial)

    def reconcile(self, say: Callable[[str], None] = lambda _: None) -> StudyStatus:
        """Put right what dead processes left: their trials wait again, and their MLflow runs are closed.

        Without the right to write to the home, or while MLflow does not answer, what can be done is done.

        Args:
            say: Called with a sentence for each thing that was put right, or could not be.

        Returns:
            The status after it.
        """
        from drsearch.study.reconcile import reconcile_study
        from drsearch.tracking.tracker import TrackerUnavailable
        from drsearch.trials.storage import may_write

        before = self.status
        if not may_write(self._storage, self._home):
            say(f"you may not write to {self._home.path}: what crashed processes left is shown as it is")
            return before
        try:
            reconcile_study(self._home, self._storage, self.name)
        except TrackerUnavailable as away:
            say(f"{away}; `drsearch sync` sends later what has not reached it.")
        now = self.status
        for trial in now.progress.trials:
            if trial.number in before.abandoned:
                say(f"trial {trial.number} was left running by a process that is gone; it is {trial.state} now")
        return now

    def delete(self, confirm: Callable[[Removal], bool] = lambda _: True) -> str:
        """Delete the study and its checkpoints; registered versions and their runs stay.

        Args:
            confirm: Called with what goes and what stays; nothing is deleted if it returns False.

        Returns:
            What the study's MLflow experiment is called now; empty if there is none.

        Raises:
            StudyError: If the study runs, or the deletion is not confirmed.
        """
        from drsearch.errors import StudyError
        from drsearch.study.delete import Remover

        remover = Remover(self._storage, self._home)
        removal = remover.plan(self.name)
        if not confirm(removal):
            raise StudyError("nothing was deleted; --yes deletes without asking.")
        return remover.carry_out(removal)

    def __repr__(self) -> str:
        status = self.status
        counts = ", ".join(f"{n} {state}" for state, n in status.counts().items() if n)
        best = f"; best {self.objective} {status.best.value:.4f} (trial {status.best.number})" if status.best else ""
        return f"<Study {self.name}: {status.state}; {counts or 'no'} trials{best}>"

    def _repr_html_(self) -> str:
        from drsearch.display.html import described_table

        return described_table(repr(self).strip("<>"), self.trials)

    def _finished(self) -> list[Trial]:
        return list(self.status.progress.trials)

    def _plot(self, name: str) -> go.Figure:
        from drsearch.errors import StudyError
        from drsearch.study.plots import figures

        makers = figures(self._finished(), self.settings)
        if name not in makers:
            raise StudyError(
                f"study {self.name!r} has no plot {name!r} yet; its complete trials allow: "
                f"{', '.join(makers) or 'none'}."
            )
        return makers[name]()


def run_study(
    space: Space,
    data: GivenData,
    *,
    study: str = "",
    trials: int | None = None,
    workers: int = 1,
    on: str = "",
    cpus_per_worker: float | None = None,
    gpus_per_worker: float | None = None,
    memory_per_worker: float | None = None,
    settings: GivenSettings = None,
    config: Configs = (),
    storage: str = "",
    timeout: float | None = None,
    enqueue: str | Path | Sequence[Mapping[str, Value]] = (),
    warm_start: str = "",
    skip_bad: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: bool | Console = True,
) -> Study:
    """Search, then register, fine-tune and test the best model.

    The same call resumes a study that was interrupted; with more `trials` it adds trials to a finished one. Trials run
    in worker processes; Ctrl-C, or interrupting the kernel, stops them at a checkpoint.

    Args:
        space: A space file, or a function that takes `hp`. The source of a function is kept with the study; it may use
            modules, and nothing else of the session.
        data: The folder of photographs, or a prepared data set.
        study: The study's name. Default: the name of the space's file or function.
        trials: Trials in total, those of earlier calls included.
        workers: Worker processes on this machine, where the fastest is one per core; or on the cluster of `on`.
        on: `ray` for the Ray cluster of RAY_ADDRESS, else for one that is started here; or the address of a cluster,
            `ray://HOST:PORT`. Default: no Ray.
        cpus_per_worker: CPUs that Ray keeps for a worker. Default: 1.
        gpus_per_worker: GPUs that Ray keeps for a worker: 0, 1, or 0.25 for four that share one. Default: 1 where the
            cluster has any.
        memory_per_worker: GB of memory that Ray keeps for a worker. Default: no claim.
        settings: Settings by name, `{"training.epochs": 40}`; they win over files and over the space's own.
        config: Gin files.
        storage: Address of the study database. Default: DRSEARCH_STORAGE, or SQLite in DRSEARCH_HOME.
        timeout: Seconds after which this call stops at a checkpoint.
        enqueue: Settings to try first, one mapping per trial; or a file of them.
        warm_start: Another study, whose finished trials are inherited.
        skip_bad: Leave out photographs and labels that cannot be used.
        callbacks: Functions called in this process with the study and the trial, after every trial that ends.
            `study.stop()` ends the search. An exception stops the study as Ctrl-C does, and is raised.
        progress: Show a live view; or the Rich console that shows it.

    Returns:
        The study, with its trials and registered model.

    Raises:
        Interrupted: If it was stopped or cancelled; the same call resumes it.
        SearchSpaceError: If the space cannot be drawn.
        SettingsError: If a setting is unknown or out of range.
        DataError: If the folder cannot be used.
        StudyError: If a study of this name was begun with another space, data or settings, or no trial is complete.

    Example:
        >>> import drsearch
        >>> def rates(hp):
        ...     hp.Choice("training.learning_rate", [1e-2, 1e-3])
        >>> small = {"images.image_px": 64, "model.stages": 1, "training.epochs": 2, "finetune.when": "never"}
        >>> study = drsearch.run_study(rates, "eyes", settings=small | {"study.sampler": "grid"}, progress=False)
        >>> study.trials["state"].to_list()
        ['complete', 'complete']
    """
    from drsearch.space.source import read_source
    from drsearch.workers.ray_pool import RayPlace

    home, out = open_home(), console_of(progress)
    ray = RayPlace.read(on, cpus_per_worker, gpus_per_worker, memory_per_worker)
    skip_bad = skip_bad or (isinstance(data, Data) and data.skip_bad)
    path = space_file(space, home)
    read_source(path)
    dataset, settings = dataset_and_settings(data, settings, home)
    name, url = study or path.stem, storage_url(storage, home)
    if ray is not None:
        ray.check(url, home.tracking_uri)
    given: dict[str, Value] = dict(settings.flat() if isinstance(settings, Settings) else settings or {})
    if trials is not None:
        given["study.trials"] = trials
    known = _check_without_tensorflow(home, path, dataset, name, given, config, url, enqueue, warm_start)
    if warn_if_away(home, out):
        _check_experiments(home, name, url)

    from drsearch.display.output import counting, working

    with working(out, f"loading TensorFlow, and checking {path.name}"):
        from drsearch.display.data_tables import print_audit, print_counts, print_reading
        from drsearch.display.progress import study_view, training_view
        from drsearch.display.study_tables import print_warm_start
        from drsearch.release.after_search import AfterSearch
        from drsearch.space.check import check_backbone_weights, load_space
        from drsearch.space.known_values import enqueued_params
        from drsearch.study.preparation import prepare_all
        from drsearch.study.reconcile import launching
        from drsearch.study.validation import check_study
        from drsearch.workers.launcher import check_begins, launch_study
        from drsearch.workers.ray_pool import RayPool
        from drsearch.workers.worker_pool import WorkerPool

        read = load_space(path, lambda own: merged_settings(given, config, own))
        check_study(read.settings)
        _check_enqueued(enqueue, read.settings)
        check_backbone_weights(read)
        enqueued = [enqueued_params(read, each) for each in known]
        warm = check_begins(name, read, dataset, url, warm_start)
    print_reading(out, dataset)
    with counting(out, "photographs") as count:
        prepared = prepare_all(dataset, read, home, skip_bad=skip_bad, on_photograph=count)
    print_audit(out, prepared[0].audit, skip_bad)
    print_counts(out, prepared[0])
    print_warm_start(out, warm)
    supervisor = launch_study(name, read, dataset, prepared, home, url, warm_start, enqueued)
    opened = Study(name, open_studies(url, home), home)
    with launching(supervisor.folder):
        with study_view(out) as show:
            result = supervisor.run(
                workers,
                show,
                timeout_s=timeout,
                on_trial=_caller(callbacks, opened, supervisor.request_stop),
                say_stopping=show.stopping,
                make_pool=functools.partial(RayPool, place=ray) if ray is not None else WorkerPool,
            )
        if result.stopped in ("interrupted", "cancelled"):
            raise Interrupted(f"study {name!r} is {result.stopped}; the same command resumes it.")
        with training_view(out) as listener:
            after = AfterSearch(result, read, home, listener, supervisor.cancelled).run()
            _log_report(opened, home, listener.say)
    opened.results = (result, after)
    return opened


def _log_report(study: Study, home: Home, say: Callable[[str], None]) -> None:
    """Log the report to MLflow; if that is away by now, `drsearch report` makes it later."""
    from drsearch.reports.study_log import log_report
    from drsearch.tracking.tracker import TrackerUnavailable

    say("making the report")
    try:
        log_report(study._storage, study.name, home)
    except TrackerUnavailable as away:
        say(f"no report is in MLflow: {away}; `drsearch report {study.name}` makes one")


def _caller(
    callbacks: Sequence[Callback], study: Study, request_stop: Callable[[], None]
) -> Callable[[Trial], None] | None:
    """A function that calls all callbacks with a trial; None where there are none."""
    if not callbacks:
        return None
    study._request_stop = request_stop

    def call(trial: Trial) -> None:
        row = study.trial_rows()[trial.number]
        for callback in callbacks:
            callback(study, row)

    return call


def report(study: str | Study, out: str | Path = "", storage: str = "") -> Path:
    """Write the report of a study: one HTML file that opens offline, from MLflow and the study database alone.

    `run_study` makes it at its end, too, and logs it to the study's run in MLflow. It may hold photographs of patients.

    Args:
        study: The study, or its name.
        out: The file, which is replaced; its name ends in `.html`. Default: `STUDY.html` in the current folder.
        storage: Address of the study database. Default: DRSEARCH_STORAGE, or SQLite in DRSEARCH_HOME.

    Returns:
        The file.

    Raises:
        OutputError: If it cannot be written there.
        StudyError: If there is no such study.

    Example:
        >>> import drsearch
        >>> print(drsearch.report("rates"))
        rates.html
    """
    return (load_study(study, storage) if isinstance(study, str) else study).report(out)


def load_study(name: str, storage: str = "") -> Study:
    """A study that was begun, here or on another machine.

    Args:
        name: The study's name; `drsearch.studies()` lists them.
        storage: Address of the study database. Default: DRSEARCH_STORAGE, or SQLite in DRSEARCH_HOME.

    Returns:
        The study; it is read, not run.

    Raises:
        StudyError: If there is no such study.

    Example:
        >>> import drsearch
        >>> drsearch.load_study("rates")
        <Study rates: complete; 2 complete trials; best val_auc ...>
    """
    home = open_home()
    return Study(name, open_studies(storage, home), home)


def studies(storage: str = "") -> pd.DataFrame:
    """All studies of a database, the newest first.

    Args:
        storage: Address of the study database. Default: DRSEARCH_STORAGE, or SQLite in DRSEARCH_HOME.

    Returns:
        One row per study: state, trials finished and in all, best value, and when something last changed.

    Example:
        >>> import drsearch
        >>> drsearch.studies().loc["rates", "state"]
        'complete'
    """
    import pandas as pd

    rows = [
        {
            "study": status.name,
            "state": status.state,
            "finished": sum(trial.is_over for trial in status.progress.trials),
            "trials": status.progress.n_trials,
            "objective": status.progress.objective,
            "best": status.best.value if status.best else None,
            "changed": status.changed,
        }
        for status in study_statuses(storage)
    ]
    columns = ["study", "state", "finished", "trials", "objective", "best", "changed"]
    return pd.DataFrame(rows, columns=columns).set_index("study")


def study_statuses(storage: str = "") -> list[StudyStatus]:
    """The status of every study of a database, the newest first.

    Args:
        storage: Address of the study database; empty for the default.
    """
    from drsearch.study.status import all_statuses

    home = open_home()
    return all_statuses(open_studies(storage, home, read_only=True), home)


def join_study(name: str, *, workers: int | None = None, storage: str = "", progress: bool | Console = True) -> str:
    """Run trials of a study that was started on another machine, until it is over.

    Search space, settings and records come from the study's database and MLFLOW_TRACKING_URI; records are photographs
    of patients and are kept in DRSEARCH_HOME. Machines may join and leave at any time.

    Args:
        name: The study.
        workers: Worker processes here. Default: one per GPU, at least one.
        storage: Address of the study database. Default: DRSEARCH_STORAGE.
        progress: Show a live view; or the Rich console that shows it.

    Returns:
        Why it ended, in a sentence.

    Raises:
        Interrupted: After Ctrl-C; running trials stop at a checkpoint, and the same call joins again.
        StudyError: If there is no such study, an address means one machine alone, or the code here differs.
    """
    home, out = open_home(), console_of(progress)
    from drsearch.display.progress import study_view
    from drsearch.workers.join import join_study as join

    warn_if_away(home, out)
    joined = join(name, storage_url(storage, home), home)
    with study_view(out) as show:
        result = joined.run(workers, show, say_stopping=show.stopping)
    if result.stopped == "interrupted":
        raise Interrupted(f"left study {name!r}; the same command joins it again.")
    if result.stopped:
        return "the study is cancelled"
    return f"the study is over: {result.spent}" if result.spent else "all trials are over"


def _check_without_tensorflow(
    home: Home,
    space: Path,
    data: Dataset,
    name: str,
    given: Mapping[str, Value],
    config: Configs,
    url: str,
    enqueue: str | Path | Sequence[Mapping[str, Value]],
    warm_start: str,
) -> list[Known]:
    """Refuse at once what can be seen without TensorFlow, which takes seconds to load.

    Returns:
        The settings to try first.
    """
    from drsearch import config as gin_files
    from drsearch.space.known_files import Known, read_known
    from drsearch.space.source import literal_settings, read_source

    source = read_source(space)
    written = literal_settings(space, source)
    settings = merged_settings(given, config, Settings().replace(written or {}))
    if isinstance(enqueue, str | Path):
        known = read_known(Path(enqueue), gin_files.read)
    else:
        known = [Known(f"[{i}]", values, whole=False) for i, values in enumerate(enqueue)]

    from drsearch.study.definition import check_goes_on, check_name, wanted_study
    from drsearch.study.definition import load_study as load
    from drsearch.study.validation import check_study  # from here on Optuna, which takes less time
    from drsearch.trials.storage import may_hold_studies, open_storage

    check_name("--study", name)
    unknown = ["model.hypermodel"]  # only the file itself, when it has run, tells it
    if written is None:  # nor any other, where they are computed
        unknown = list(settings.flat())
    else:
        check_study(settings)
    _check_enqueued(enqueue, settings)
    if may_hold_studies(url):
        opened = open_storage(url)
        check_goes_on(opened, name, wanted_study(space, source, settings, data), unknown)
        if warm_start:
            load(opened, warm_start)
    elif warm_start:
        raise DrsearchError(f"--warm-start {warm_start}: no such study; this database holds none.")
    return known


def _check_enqueued(enqueue: str | Path | Sequence[Mapping[str, Value]], settings: Settings) -> None:
    if enqueue and settings.study.sampler == "grid":
        what = enqueue if isinstance(enqueue, str | Path) else f"{len(enqueue)} settings"
        raise DrsearchError(f"--enqueue {what}: a grid runs each of its points once; give it to another sampler.")


def _check_experiments(home: Home, study: str, url: str) -> None:
    """Refuse MLflow experiments that were deleted, or that this user may not write to."""
    from drsearch.tracking.remote_runs import check_experiments
    from drsearch.workers.remote import RECORDS_EXPERIMENT, is_shared

    check_experiments(home, study, *([RECORDS_EXPERIMENT] if is_shared(url, home.tracking_uri) else []))
