"""How do a study and its trials stand? Read from its database, and from what workers of this machine say."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from drsearch.errors import StudyError
from drsearch.home import Home
from drsearch.processes import is_dead
from drsearch.run_folder import trial_run
from drsearch.settings import Value
from drsearch.study.best_trial import best_trial
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
    """What a worker said last.

    Attributes:
        trial: The trial it runs.
        epoch: Epochs finished.
        epochs: Epochs in all.
        seconds: Of the last epoch; NaN where it is not known.
        value: The objective of the last epoch.
        best: The best so far in this trial.
        worker: Its process, as `this_process` names it.
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
        """Whether its pace is known: the first epoch of a trial builds the graph, and takes several times as long."""
        return self.epoch > 1 and math.isfinite(self.seconds)

    @property
    def left_s(self) -> float:
        """Seconds that this trial has left, at the pace of its last epoch."""
        return (self.epochs - self.epoch) * self.seconds


def place(worker: str) -> str:
    """A process that `this_process` names, for people: its machine and its number.

    Example:
        >>> place("pacs-3:4711:1795527349.15"), place("")
        ('pacs-3:4711', '')
    """
    machine, _, number = worker.rpartition(":")[0].rpartition(":")
    return f"{machine.partition('/')[0]}:{number}" if number else ""


@dataclass(frozen=True)
class Progress:
    """One look at a running study, for the view."""

    name: str
    objective: str
    trials: tuple[Trial, ...]
    n_trials: int
    workers: tuple[WorkerStatus, ...]


@dataclass(frozen=True)
class Standing:
    """One look at a study from outside.

    Attributes:
        progress: Its trials, and the workers that are alive.
        state: running (somebody is at it), complete (all trials are over, or a budget is spent), cancelled, or stopped.
        idle: Living workers of this machine that are at no trial just now, as `this_process` names them.
        abandoned: Trials that dead processes left running; `reconcile_study` puts them right.
        best: The best complete trial.
        left_s: About how long the trials will take with the workers there are; None where nothing tells.
        begun: When its first trial began.
        changed: When a trial of it last began or ended.
        folder: Where its journals and checkpoints lie on this machine.
        definition: What it is.
    """

    progress: Progress
    state: StudyState
    idle: tuple[str, ...]
    abandoned: tuple[int, ...]
    best: "TrialRow | None"
    left_s: float | None
    begun: datetime | None
    changed: datetime | None
    folder: Path
    definition: StudyDefinition

    @property
    def name(self) -> str:
        """Of the study."""
        return self.progress.name

    def counts(self) -> dict[str, int]:
        """Trials by state; one that a dead process left waits."""
        counts = dict.fromkeys(("complete", "pruned", "failed", "waiting", "running"), 0)
        for trial in self.progress.trials:
            counts["waiting" if trial.number in self.abandoned else trial.state] += 1
        counts["waiting"] += self.progress.n_trials - len(self.progress.trials)  # no worker has taken them yet
        return counts

    def to_json(self) -> dict[str, Any]:
        """As `drsearch status --json` prints it."""
        workers: list[dict[str, Any]] = [
            {
                "worker": place(each.worker),
                "trial": each.trial,
                "epoch": each.epoch,
                "epochs": each.epochs,
                "epoch_seconds": _number(each.seconds),
                "value": _number(each.value),
                "best": _number(each.best),
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
            "workers": workers,
            "seconds_left": _number(self.left_s),
            "begun": self.begun.isoformat(timespec="seconds") if self.begun else None,
            "changed": self.changed.isoformat(timespec="seconds") if self.changed else None,
            "abandoned": list(self.abandoned),
        }


@dataclass(frozen=True)
class TrialRow:
    """A trial as the table of trials shows it.

    Attributes:
        number: From 0.
        state: As the study counts it.
        value: The objective at the best epoch; of a running trial, its best checkpoint so far.
        low: Lower end of the 95 % interval of `value`, where there is one.
        high: Upper end.
        best_epoch: The epoch whose weights are kept.
        epochs: Epochs done.
        attempts: How often it was begun.
        seconds: That it ran, over all attempts.
        params: What was drawn, or waits to be.
        run_id: Of its MLflow run.
        worker: Where it runs, or ran last.
        reason: Why it failed, was pruned or was interrupted.
    """

    number: int
    state: str
    value: float | None
    low: float | None
    high: float | None
    best_epoch: int | None
    epochs: int
    attempts: int
    seconds: float
    params: Mapping[str, Value]
    run_id: str
    worker: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it; numbers that are not finite are null."""
        return {
            "trial": self.number,
            "state": self.state,
            "value": _number(self.value),
            "low": _number(self.low),
            "high": _number(self.high),
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "attempts": self.attempts,
            "seconds": round(self.seconds, 3),
            "params": dict(self.params),
            "run_id": self.run_id or None,
            "worker": self.worker or None,
            "reason": self.reason or None,
        }


def study_names(storage: Storage) -> list[str]:
    """The names of the studies in a database, the one begun last first."""
    found = storage.get_all_studies()
    return [each.study_name for each in sorted(found, key=lambda each: -each._study_id)]


def look_at_all(storage: Storage, home: Home) -> list[Standing]:
    """All studies of a database, the one begun last first; what drsearch did not begin is left out."""
    looks = []
    for name in study_names(storage):
        with contextlib.suppress(KeyError):  # deleted meanwhile
            study = optuna.load_study(study_name=name, storage=storage)
            definition = read_definition(study)
            if definition is not None:
                looks.append(look(study, definition, storage, home))
    return looks


def look(study: optuna.Study, definition: StudyDefinition, storage: Storage, home: Home) -> Standing:
    """One study as it stands; nothing is changed."""
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
    objective = str(definition.settings["study.objective"])
    return Standing(
        progress=Progress(study.study_name, objective, tuple(trials), n_trials, tuple(workers)),
        state=_state(study, definition, trials, n_trials, bool(running) or is_launched(folder)),
        idle=tuple(each.worker for each in _worker_statuses(folder) if each.worker not in busy),
        abandoned=abandoned,
        best=_best(trials, definition, folder),
        left_s=study_left_s(trials, n_trials, workers),
        begun=min(begun, default=None),
        changed=max([*begun, *ended], default=None),
        folder=folder,
        definition=definition,
    )


def trial_rows(storage: Storage, name: str, home: Home) -> tuple[list[TrialRow], str, bool]:
    """The trials of a study by number, its objective, and whether less of it is better.

    Raises:
        StudyError: If there is no such study.
    """
    study, definition = load_study(storage, name)
    folder, n_trials = study_folder(home, name, definition.uid), n_trials_of(study)
    said = {each.worker: each for each in _worker_statuses(folder)}
    trials = {trial.number: trial for trial in read_trials(study)}
    rows = [_row(trials[n], folder, said) if n in trials else _untaken(n) for n in range(n_trials)]
    return rows, str(definition.settings["study.objective"]), study.directions[0].name == "MINIMIZE"


def sort_trials(rows: Sequence[TrialRow], by: str, less_is_better: bool) -> list[TrialRow]:
    """Trials in the order of a column: `value` best first, all others rising; what has none comes last.

    Args:
        rows: To sort.
        by: number, state, value, epochs, attempts, seconds, or a parameter, by its name or the last word of it.
        less_is_better: Whether a lower value is the better one.

    Raises:
        StudyError: If there is no such column; those there are are named.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.params))
    found = [name for name in names if by in (name, name.rpartition(".")[2])]
    columns = ("number", "state", "value", "epochs", "attempts", "seconds")
    if by not in columns and len(found) != 1:
        many = f"; write one of {', '.join(found)}" if found else ""
        raise StudyError(f"--sort {by}: no such column{many}. There are {', '.join([*columns, *names])}.")

    def key(row: TrialRow) -> tuple[bool, bool, Any]:
        value: Any = getattr(row, by) if by in columns else row.params.get(found[0])
        missing = value is None or value != value
        if by == "value" and not less_is_better and not missing:
            value = -value
        return missing, isinstance(value, str), 0 if missing else value

    return sorted(rows, key=key)


def study_left_s(trials: Sequence[Trial], n_trials: int, workers: Sequence[WorkerStatus]) -> float | None:
    """Seconds until all trials are over with the workers there are; None where nothing tells.

    Args:
        trials: The trials. One that waits is taken to last as long as the finished ones did in the mean, pruned ones
            among them; before any is, as long as the running ones will.
        n_trials: Trials in all, those that nobody has taken yet included.
        workers: Those that are at a trial.
    """
    finished = [_seconds(trial) for trial in trials if trial.state in ("complete", "pruned")]
    whole = finished or [each.epochs * each.seconds for each in workers if each.has_pace]
    if not workers or not whole:
        return None
    a_trial = sum(whole) / len(whole)
    left = a_trial * (n_trials - sum(trial.is_over or trial.state == "running" for trial in trials))
    for each in workers:
        left += each.left_s if each.has_pace else a_trial * (1 - each.epoch / max(1, each.epochs))
    return left / len(workers)


def _worker_statuses(folder: Path) -> list[WorkerStatus]:
    """What the living workers of this machine said last of the trials that they run or ran."""
    statuses = []
    for file in sorted((folder / "workers").glob("*.json")):
        with contextlib.suppress(FileNotFoundError):  # its worker has ended
            said = json.loads(file.read_text())
            if not is_dead(said["worker"], ran_here=True):
                keys = ("trial", "epoch", "epochs", "seconds", "value", "best", "worker")
                statuses.append(WorkerStatus(**{key: said[key] for key in keys}))
    return statuses


def _is_dead(trial: FrozenTrial) -> bool:
    return WORKER in trial.user_attrs and is_dead(trial.user_attrs[WORKER])


def _state(
    study: optuna.Study, definition: StudyDefinition, trials: Sequence[Trial], n_trials: int, busy: bool
) -> StudyState:
    if busy:
        return "running"
    if 0 < n_trials <= len(trials) and all(trial.is_over for trial in trials) or spent(study, definition.base()):
        return "complete"
    return "cancelled" if is_cancelled(study) else "stopped"


def _best(trials: Sequence[Trial], definition: StudyDefinition, folder: Path) -> TrialRow | None:
    """The trial that is registered, or would be: see `best_trial`."""
    best = best_trial(trials, definition.base())
    return None if best is None else _row(best, folder, {})


def _workers(running: Sequence[Trial], folder: Path, definition: StudyDefinition) -> list[WorkerStatus]:
    """Who runs a trial, and how far it is: by what it says itself, or by what it has reported to the study."""
    said = {each.worker: each for each in _worker_statuses(folder)}
    workers = []
    for trial in running:
        worker = str(trial.last.user_attrs.get(WORKER, ""))
        status = said.get(worker)
        if status is None or status.trial != trial.number:
            reported = trial.last.intermediate_values
            last = max(reported, default=0)
            value = reported.get(last, math.nan)
            epochs = trial.last.params.get("training.epochs", definition.settings["training.epochs"])
            status = WorkerStatus(trial.number, last, int(epochs), math.nan, value, value, worker)
        workers.append(status)
    return workers


def _row(trial: Trial, folder: Path, said: Mapping[str, WorkerStatus]) -> TrialRow:
    last = trial.last
    kept: Mapping[str, Any] = last.user_attrs.get(BEST_EPOCH, {})
    worker = str(last.user_attrs.get(WORKER, ""))
    reported = last.intermediate_values
    value = _value(last)
    if value is None and trial.state in ("running", "waiting", "pruned") and reported:
        value = reported[max(reported)]
    status = said.get(worker)
    epochs = int(kept.get("epochs") or max(reported, default=0))
    if status is not None and status.trial == trial.number and trial.state == "running":
        epochs = status.epoch
    return TrialRow(
        number=trial.number,
        state=trial.state,
        value=value,
        low=kept.get("low"),
        high=kept.get("high"),
        best_epoch=kept.get("epoch"),
        epochs=epochs,
        attempts=sum(attempt.state is not TrialState.WAITING for attempt in trial.attempts),
        seconds=_seconds(trial),
        params={**last.system_attrs.get("fixed_params", {}), **last.params},
        run_id=str(last.user_attrs.get(RUN_ID) or run_id_of(folder / trial_run(trial.number)) or ""),
        worker=place(worker),
        reason=reason_of(trial),
    )


def _untaken(number: int) -> TrialRow:
    """A trial that no worker has taken yet."""
    return TrialRow(number, "waiting", None, None, None, None, 0, 0, 0.0, {}, "", "", "")


def reason_of(trial: Trial) -> str:
    """Why it stands as it does; of a trial that waits again, why its last attempt ended."""
    if trial.reason or trial.state != "waiting" or len(trial.attempts) < 2:
        return trial.reason
    return Trial(trial.number, trial.attempts[:-1], trial.max_retries).reason


def _value(trial: FrozenTrial) -> float | None:
    return trial.values[0] if trial.values else None


def _seconds(trial: Trial) -> float:
    total = 0.0
    for attempt in trial.attempts:
        if attempt.datetime_start is not None and attempt.state is not TrialState.WAITING:
            total += ((attempt.datetime_complete or datetime.now()) - attempt.datetime_start).total_seconds()
    return total


def _number(value: float | None) -> float | None:
    """What JSON can hold."""
    return value if value is not None and math.isfinite(value) else None
