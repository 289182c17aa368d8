"""Ends the runs that dead processes left open, and lets their trials wait again."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from drsearch.files import lock
from drsearch.home import Home
from drsearch.processes import is_dead
from drsearch.run_folder import STUDY_RUN, closed_run, run_kind, trial_run
from drsearch.study.definition import StudyDefinition, load_study, study_folder
from drsearch.tracking.events import Resumed, RunEnd, RunStart
from drsearch.tracking.journal import JOURNAL_FILE, Journal
from drsearch.tracking.sender import sync
from drsearch.tracking.sent import unsent
from drsearch.tracking.tags import KIND_TAG, STUDY_TAG, TRIAL_TAG, outcome_tags
from drsearch.training.run_lock import RunLock, attempt_of, process_of
from drsearch.trials.attributes import REASON, RUN_ID
from drsearch.trials.reconcile import look_twice, reconcile
from drsearch.trials.retrying import Storage
from drsearch.trials.trials import Trial

_NOBODY = "nobody"
_LAUNCHERS = "launcher.lock"
_MOMENT_S = 0.05
"""Seconds for which a process that looks for launchers, too, may hold their lock."""


@contextmanager
def launching(folder: Path) -> Iterator[None]:
    """Hold the lock of a study's launchers: its run stays open as long as one of them holds it.

    Args:
        folder: The study's folder.
    """
    (folder / STUDY_RUN).mkdir(parents=True, exist_ok=True)
    with open(folder / STUDY_RUN / _LAUNCHERS, "a") as file:
        lock(file, exclusive=False)
        yield


def is_launched(folder: Path) -> bool:
    """Whether a launcher of this machine runs the study with this folder, or fine-tunes its model."""
    deadline = time.monotonic() + _MOMENT_S
    try:
        with open(folder / STUDY_RUN / _LAUNCHERS, "rb") as file:  # who may only read asks too
            lock(file, give_up=lambda: time.monotonic() > deadline)
    except FileNotFoundError:
        return False
    except TimeoutError:
        return True
    return False


class RunCloser:
    """Ends, in their journals, the runs of a study whose processes are dead.

    Args:
        folder: The study's folder.
        study_name: Its name.
        definition: Its definition.
    """

    def __init__(self, folder: Path, study_name: str, definition: StudyDefinition) -> None:
        self._folder, self._name, self._definition = folder, study_name, definition
        self._settled: set[tuple[int, int]] = set()  # trials, and how many of their attempts had failed

    def close(self, trials: Sequence[Trial]) -> None:
        """End every open run whose process is dead; call it after `reconcile`, with its trials."""
        for trial in trials:
            failed = [attempt for attempt in trial.attempts if attempt.state is TrialState.FAIL]
            if failed and trial.state in ("waiting", "failed") and (trial.number, len(failed)) not in self._settled:
                self._close_trial(trial, failed)
        for journal in self._folder.glob(f"*/{JOURNAL_FILE}"):
            if run_kind(journal.parent.name) not in ("trial", "study", "closed"):
                self._close_if_dead(journal.parent)
        self._close_study()

    def _close_trial(self, trial: Trial, failed: Sequence[FrozenTrial]) -> None:
        over = trial.state == "failed"
        reason = trial.reason if over else str(failed[-1].user_attrs.get(REASON, "its process died"))
        end = RunEnd(
            "FAILED" if over else "KILLED",
            tags=outcome_tags("failed" if over else "interrupted", reason),
        )
        folder = self._folder / trial_run(trial.number)
        if not Journal(folder).size():
            self._close_from_here(trial, end, failed[-1].number)
        else:
            numbers = {attempt.number for attempt in failed}
            may = lambda owner: owner == _NOBODY or attempt_of(owner) in numbers  # noqa: E731
            with RunLock(folder).take_if(may, _NOBODY) as taken:
                if not taken:
                    return  # a successor is at it, or somebody writes: look again
                _append_end(folder, end)
        self._settled.add((trial.number, len(failed)))

    def _close_from_here(self, trial: Trial, end: RunEnd, attempt: int) -> None:
        """End a run whose journal lies on another machine, or that never began: with a journal of its own."""
        if end.status == "KILLED" and RUN_ID not in trial.last.user_attrs:
            return
        folder = self._folder / closed_run(trial.number, attempt)
        if Journal(folder).size():
            return
        start = RunStart(
            key=self._definition.trial_key(trial.number),
            experiment=self._name,
            name=f"trial {trial.number:02d}",
            tags={KIND_TAG: "trial", STUDY_TAG: self._name, TRIAL_TAG: str(trial.number)},
        )
        Journal(folder).append([start, end])

    def _close_if_dead(self, folder: Path) -> None:
        if _is_open(folder):
            with RunLock(folder).take_if(_is_gone, _NOBODY) as taken:
                if taken:
                    _append_end(folder, _interrupted("its process died"))

    def _close_study(self) -> None:
        folder = self._folder / STUDY_RUN
        if not _is_open(folder):
            return
        with open(folder / _LAUNCHERS, "a") as file:
            try:
                lock(file, give_up=lambda: True)
            except TimeoutError:
                return  # a launcher is at it
            _append_end(folder, RunEnd("KILLED", tags=outcome_tags("stopped", "its launcher died")))


def reconcile_study(home: Home, storage: Storage, name: str) -> list[Trial]:
    """Reconcile a study after crashes: its trials, its runs, and MLflow.

    Trials of dead processes wait again, or fail for good; their runs are ended, and sent to MLflow. A trial on another
    machine that seems dead is watched for some seconds.

    Args:
        home: The home of this machine.
        storage: The study database.
        name: The study's name.

    Returns:
        All trials of the study, as they are afterwards.

    Raises:
        StudyError: If there is no such study.
        TrackerUnavailable: If MLflow does not answer; the study itself is reconciled.
    """
    study, definition = load_study(storage, name)
    trials = reconcile(study, storage, look_twice(study, storage))
    folder = study_folder(home, name, definition.uid)
    RunCloser(folder, name, definition).close(trials)
    if unsent(home) and not is_launched(folder):  # who is at it has a sender
        sync(home)
    return trials


def _is_gone(owner: str) -> bool:
    process = process_of(owner)
    return process.count(":") < 2 or is_dead(process, ran_here=True)


def _interrupted(reason: str) -> RunEnd:
    return RunEnd("KILLED", tags=outcome_tags("interrupted", reason))


def _is_open(folder: Path) -> bool:
    end = _last_state(folder)
    return end is not None and not isinstance(end, RunEnd)


def _append_end(folder: Path, end: RunEnd) -> None:
    last = _last_state(folder)
    if not isinstance(last, RunEnd) or last.status != end.status:
        Journal(folder).append([end])


def _last_state(folder: Path) -> RunStart | Resumed | RunEnd | None:
    entries, _ = Journal(folder).read()
    states = [entry for entry in entries if isinstance(entry, RunStart | Resumed | RunEnd)]
    return states[-1] if states else None
