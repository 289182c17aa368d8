"""The status of studies and trials: read from their database, and from status files of this machine's workers."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from drsearch.constraints import parse_constraints
from drsearch.errors import StudyError
from drsearch.home import Home
from drsearch.processes import is_dead
from drsearch.run_folder import trial_run
from drsearch.settings import Value
from drsearch.study.best_trial import best_trial, why_none
from drsearch.study.budget import n_trials_of, spent
from drsearch.study.cancel import is_cancelled
from drsearch.study.definition import StudyDefinition, load_study, read_definition, study_folder
from drsearch.study.reconcile import is_launched
from drsearch.tracking.sent import run_id_of
from drsearch.trials.attributes import BEST_EPOCH, RUN_ID, WORKER
from drsearch.trials.retrying import Storage
from drsearch.trials.trials import Trial, read_trials

StudyState = Literal["running", "stopped", "cancelled", "complete"]


@dataclass(frozen=True)
class WorkerStatus:
    """The last report of a worker about the trial that it runs.

    Attributes:
        trial: The trial's number.
        epoch: Epochs finished.
        epochs: Epochs in all.
        seconds: Duration of the shorter of the last two epochs, since the first of a fold takes longer; NaN where it
            is not known.
        value: The objective of the last epoch.
        best: The best objective so far in this trial.
        worker: The worker's process, as `this_process` names it.
    """

    trial: int
    epoch: int
    epochs: int
    seconds: float
    value: float
    best: float
    worker: str = ""

    @property
    def has_pace(self) -> bool:
        """Whether its pace is known: the first epoch builds the graph, which takes several times as long."""
        return self.epoch > 1 and math.isfinite(self.seconds)

    @property
    def left_s(self) -> float:
        """How many seconds the trial has left, at the pace of its last epochs."""
        return (self.epochs - self.epoch) * self.seconds


def place(worker: str) -> str:
    """The machine and the number of a process, of the name that `this_process` gives it.

    Example:
        >>> place("pacs-3:4711:1795527349.15"), place("")
        ('pacs-3:4711', '')
    """
    machine, _, number = worker.rpartition(":")[0].rpartition(":")
    return f"{machine.partition('/')[0]}:{number}" if number else ""


@dataclass(frozen=True)
class Progress:
    """A study's trials and workers at one moment.

    Attributes:
        name: The study's name.
        objective: The name of its objective.
        trials: Its trials that a worker has taken, by number.
        n_trials: Trials in total.
        workers: Workers that run a trial.
    """

    name: str
    objective: str
    trials: tuple[Trial, ...]
    n_trials: int
    workers: tuple[WorkerStatus, ...]


@dataclass(frozen=True)
class StudyStatus:
    """The status of a study, as a process that does not run it reads it.

    Attributes:
        progress: Its trials and its living workers.
        state: running (a process runs it), complete (all trials are over, or a budget is spent), cancelled, or stopped.
        idle: Living workers of this machine that run no trial, as `this_process` names them.
        abandoned: Trials that dead processes left running; `reconcile_study` lets them wait again.
        best: The best complete trial that keeps all constraints.
        why_no_best: That no complete trial keeps all constraints, and by how much; else empty.
        left_s: Estimated seconds until all trials are over with the present workers; None where it cannot be estimated.
        begun: When the first trial began.
        changed: When a trial last began or ended.
        folder: The study's folder of journals and checkpoints on this machine.
        definition: The study's definition.
    """

    progress: Progress
    state: StudyState
    idle: tuple[str, ...]
    abandoned: tuple[int, ...]
    best: "TrialRow | None"
    why_no_best: str
    left_s: float | None
    begun: datetime | None
    changed: datetime | None
    folder: Path
    definition: StudyDefinition

    @property
    def name(self) -> str:
        """The study's name."""
        return self.progress.name

    def counts(self) -> dict[str, int]:
        """Number of trials per state; an abandoned trial counts as waiting."""
        counts = dict.fromkeys(("complete", "pruned", "failed", "waiting", "running"), 0)
        for trial in self.progress.trials:
            counts["waiting" if trial.number in self.abandoned else trial.state] += 1
        counts["waiting"] += self.progress.n_trials - len(self.progress.trials)  # no worker has taken them yet
        return counts

    def to_json(self) -> dict[str, Any]:
        """The status as `drsearch status --json` prints it."""
        workers: list[dict[str, Any]] = [
            {
                "worker": place(each.worker),
                "trial": each.trial,
                "epoch": each.epoch,
                "epochs": each.epochs,
                "epoch_seconds": _json_value(each.seconds),
                "value": _json_value(each.value),
                "best": _json_value(each.best),
            }
            for each in self.progress.workers
        ]
        workers += [{"worker": place(worker), "trial": None} for worker in self.idle]
        return {
            "study": self.name,
            "state": self.state,
            "trials": self.counts(),
            "n_trials": self.progress.n_trials,
            "objective": self.progress.objective,
            "best": self.best.to_json() if self.best else None,
            "why_no_best": _json_value(self.why_no_best),
            "workers": workers,
            "seconds_left": _json_value(self.left_s),
            "begun": self.begun.isoformat(timespec="seconds") if self.begun else None,
            "changed": self.changed.isoformat(timespec="seconds") if self.changed else None,
            "abandoned": list(self.abandoned),
        }


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One row of the table of trials.

    Attributes:
        number: From 0.
        state: The trial's state.
        value: The objective at the best epoch; of a running trial, at its best checkpoint so far.
        low: Lower end of the 95 % interval of `value`, where there is one.
        high: Upper end of that interval.
        best_epoch: The epoch whose weights are saved.
        epochs: Epochs finished.
        attempts: How often the trial was begun.
        seconds: Its duration, over all attempts.
        params: Hyperparameters drawn, or enqueued for it.
        run_id: Its MLflow run.
        worker: The process that runs it or ran it last, as `place` shows it.
        reason: Why it failed, was pruned or was interrupted.
        constraints: What the study's constraints limit, by their texts: `{"sensitivity >= 0.9": 0.86}`.
        violated: The constraints that it does not keep, with its values.
    """

    number: int
    state: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    attempts: int = 0
    seconds: float = 0.0
    params: Mapping[str, Value] = field(default_factory=dict)
    run_id: str = ""
    worker: str = ""
    reason: str = ""
    constraints: Mapping[str, float] = field(default_factory=dict)
    violated: str = ""

    def to_json(self) -> dict[str, Any]:
        """The row as `--json` prints it: null for empty texts, and for numbers that are not finite."""
        values = {name: _json_value(value) for name, value in asdict(self).items()}
        return {"trial": values.pop("number"), **values, "seconds": round(self.seconds, 3)}


def study_names(storage: Storage) -> list[str]:
    """The names of the studies in a database, the latest first."""
    return [each.study_name for each in sorted(storage.get_all_studies(), key=lambda each: -each._study_id)]


def all_statuses(storage: Storage, home: Home) -> list[StudyStatus]:
    """The status of every study in a database, the latest first; studies that drsearch did not begin are left out."""
    statuses = []
    for name in study_names(storage):
        with contextlib.suppress(KeyError):  # deleted meanwhile
            study = optuna.load_study(study_name=name, storage=storage)
            definition = read_definition(study)
            if definition is not None:
                statuses.append(study_status(study, definition, storage, home))
    return statuses


def study_status(study: optuna.Study, definition: StudyDefinition, storage: Storage, home: Home) -> StudyStatus:
    """The status of one study; nothing is changed.

    Args:
        study: The study.
        definition: Its definition.
        storage: Its database.
        home: The home of this machine.
    """
    folder = study_folder(home, study.study_name, definition.uid)
    n_trials = n_trials_of(study)
    trials = [trial for trial in read_trials(study) if trial.number < n_trials]
    stale = set(storage._get_stale_trial_ids(study._study_id))
    abandoned = tuple(
        trial.number
        for trial in trials
        if trial.state == "running" and (_is_dead(trial.last) or trial.last._trial_id in stale)
    )
    running = [trial for trial in trials if trial.state == "running" and trial.number not in abandoned]
    workers = _workers(running, folder, definition)
    busy = {each.worker for each in workers}
    begun = [attempt.datetime_start for trial in trials for attempt in trial.attempts if attempt.datetime_start]
    ended = [attempt.datetime_complete for trial in trials for attempt in trial.attempts if attempt.datetime_complete]
    objective = definition.settings.study.objective
    return StudyStatus(
        progress=Progress(study.study_name, objective, tuple(trials), n_trials, tuple(workers)),
        state=_state(study, definition, trials, n_trials, bool(running) or is_launched(folder)),
        idle=tuple(each.worker for each in worker_statuses(folder) if each.worker not in busy),
        abandoned=abandoned,
        best=_best(trials, definition, folder),
        why_no_best=why_none(trials, definition.settings),
        left_s=study_left_s(trials, n_trials, workers),
        begun=min(begun, default=None),
        changed=max([*begun, *ended], default=None),
        folder=folder,
        definition=definition,
    )


def trial_rows(storage: Storage, name: str, home: Home) -> tuple[list[TrialRow], str, bool]:
    """The rows of all trials of a study, by number.

    Args:
        storage: The study database.
        name: The study's name.
        home: The home of this machine.

    Returns:
        The rows, the name of the objective, and whether a lower value is better.

    Raises:
        StudyError: If there is no such study.
    """
    study, definition = load_study(storage, name)
    folder, n_trials = study_folder(home, name, definition.uid), n_trials_of(study)
    statuses = {status.worker: status for status in worker_statuses(folder)}
    trials = {trial.number: trial for trial in read_trials(study)}
    rows = [
        _row(trials[n], folder, statuses) if n in trials else TrialRow(number=n, state="waiting")
        for n in range(n_trials)
    ]
    return rows, definition.settings.study.objective, study.directions[0].name == "MINIMIZE"


def sort_trials(rows: Sequence[TrialRow], by: str, less_is_better: bool) -> list[TrialRow]:
    """Rows sorted by a column: `value` best first, any other column ascending; rows without a value come last.

    Args:
        rows: The rows.
        by: number, state, value, epochs, attempts, seconds, or a parameter: its name or the last word of it.
        less_is_better: Whether a lower value is better.

    Raises:
        StudyError: If there is no such column; the message names those that exist.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.params))
    matches = [name for name in names if by in (name, name.rpartition(".")[2])]
    columns = ("number", "state", "value", "epochs", "attempts", "seconds")
    if by not in columns and len(matches) != 1:
        many = f"; write one of {', '.join(matches)}" if matches else ""
        raise StudyError(f"--sort {by}: no such column{many}. There are {', '.join([*columns, *names])}.")

    def key(row: TrialRow) -> tuple[bool, bool, Any]:
        value: Any = getattr(row, by) if by in columns else row.params.get(matches[0])
        missing = value is None or value != value
        if by == "value" and not less_is_better and not missing:
            value = -value
        return missing, isinstance(value, str), 0 if missing else value

    return sorted(rows, key=key)


def study_left_s(trials: Sequence[Trial], n_trials: int, workers: Sequence[WorkerStatus]) -> float | None:
    """Estimated seconds until all trials are over with the present workers.

    A waiting trial is taken to last as long as the mean finished trial, pruned ones included; before any has finished,
    as long as the running ones will.

    Args:
        trials: The trials that a worker has taken.
        n_trials: Trials in total.
        workers: The workers that run a trial.

    Returns:
        None where no worker runs, or none has finished two epochs yet.
    """
    finished = [_seconds(trial) for trial in trials if trial.state in ("complete", "pruned")]
    whole = finished or [each.epochs * each.seconds for each in workers if each.has_pace]
    if not workers or not whole:
        return None
    per_trial = sum(whole) / len(whole)
    left = per_trial * (n_trials - sum(trial.is_over or trial.state == "running" for trial in trials))
    for each in workers:
        left += each.left_s if each.has_pace else per_trial * (1 - each.epoch / max(1, each.epochs))
    return left / len(workers)


def worker_statuses(folder: Path, number: str = "*") -> list[WorkerStatus]:
    """The last reports of this machine's living workers.

    Args:
        folder: The study's folder.
        number: Only those of the worker with this number.
    """
    statuses = []
    for file in sorted((folder / "workers").glob(f"{number}-*.json")):
        with contextlib.suppress(FileNotFoundError):  # its worker has ended
            report = json.loads(file.read_text())
            if not is_dead(report["worker"], ran_here=True):
                statuses.append(WorkerStatus(**{item.name: report[item.name] for item in fields(WorkerStatus)}))
    return statuses


def _is_dead(trial: FrozenTrial) -> bool:
    return WORKER in trial.user_attrs and is_dead(trial.user_attrs[WORKER])


def _state(
    study: optuna.Study, definition: StudyDefinition, trials: Sequence[Trial], n_trials: int, busy: bool
) -> StudyState:
    if busy:
        return "running"
    if 0 < n_trials <= len(trials) and all(trial.is_over for trial in trials) or spent(study, definition.settings):
        return "complete"
    return "cancelled" if is_cancelled(study) else "stopped"


def _best(trials: Sequence[Trial], definition: StudyDefinition, folder: Path) -> TrialRow | None:
    best = best_trial(trials, definition.settings)
    return None if best is None else _row(best, folder, {})


def _workers(running: Sequence[Trial], folder: Path, definition: StudyDefinition) -> list[WorkerStatus]:
    """The workers that run a trial, here by their own reports, elsewhere by what they reported to the study."""
    statuses = {status.worker: status for status in worker_statuses(folder)}
    workers = []
    for trial in running:
        worker = str(trial.last.user_attrs.get(WORKER, ""))
        status = statuses.get(worker)
        if status is None or status.trial != trial.number:
            reported = trial.last.intermediate_values
            last = max(reported, default=0)
            value = reported.get(last, math.nan)
            epochs = trial.last.params.get("training.epochs", definition.settings.training.epochs)
            status = WorkerStatus(trial.number, last, int(epochs), math.nan, value, value, worker)
        workers.append(status)
    return workers


def _row(trial: Trial, folder: Path, statuses: Mapping[str, WorkerStatus]) -> TrialRow:
    last = trial.last
    best: Mapping[str, Any] = last.user_attrs.get(BEST_EPOCH, {})
    worker = str(last.user_attrs.get(WORKER, ""))
    reported = last.intermediate_values
    value = trial.value
    if value is None and trial.state in ("running", "waiting", "pruned") and reported:
        value = reported[max(reported)]
    status = statuses.get(worker)
    epochs = int(best.get("epochs") or max(reported, default=0))
    if status is not None and status.trial == trial.number and trial.state == "running":
        epochs = status.epoch
    return TrialRow(
        number=trial.number,
        state=trial.state,
        value=value,
        low=best.get("low"),
        high=best.get("high"),
        best_epoch=best.get("epoch"),
        epochs=epochs,
        attempts=sum(attempt.state is not TrialState.WAITING for attempt in trial.attempts),
        seconds=_seconds(trial),
        params={**last.system_attrs.get("fixed_params", {}), **last.params},
        run_id=str(last.user_attrs.get(RUN_ID) or run_id_of(folder / trial_run(trial.number)) or ""),
        worker=place(worker),
        reason=reason_of(trial),
        constraints={text: parse_constraints(text)[0].value(beyond) for text, beyond in last.constraints.items()},
        violated=trial.violated,
    )


def reason_of(trial: Trial) -> str:
    """Why a trial is in its state; of a trial that waits again, why its last attempt ended."""
    if trial.reason or trial.state != "waiting" or len(trial.attempts) < 2:
        return trial.reason
    return Trial(trial.number, trial.attempts[:-1], trial.max_retries).reason


def _seconds(trial: Trial) -> float:
    total = 0.0
    for attempt in trial.attempts:
        if attempt.datetime_start is not None and attempt.state is not TrialState.WAITING:
            total += ((attempt.datetime_complete or datetime.now()) - attempt.datetime_start).total_seconds()
    return total


def _json_value(value: Any) -> Any:
    """The value as JSON holds it: null for an empty text, and for a number that is not finite."""
    return None if value == "" or isinstance(value, float) and not math.isfinite(value) else value
