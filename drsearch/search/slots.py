"""Which trials has a study, which wait, and whose are they?

A study of N trials has N slots, numbered from 0. Optuna trials are attempts at a slot: the
first one, and one more each time a process died or was interrupted. Totals count slots; a
slot's settings and seed are those of its first attempt.
"""

import contextlib
import os
import socket
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import optuna
import psutil
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from drsearch.search.storage import GRACE_S, Storage, patiently
from drsearch.settings import Value

SLOT = "drsearch.slot"
WORKER = "drsearch.worker"
REASON = "drsearch.reason"
FINAL = "drsearch.final"
RUN_ID = "drsearch.run_id"
MAX_RETRIES = "drsearch.max_retries"

SlotState = Literal["waiting", "running", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class Slot:
    """One of a study's trials, with all attempts at it.

    Attributes:
        number: From 0.
        attempts: Oldest first; at least one.
        max_retries: How often a process may die over it before it fails for good.
    """

    number: int
    attempts: tuple[FrozenTrial, ...]
    max_retries: int

    @property
    def last(self) -> FrozenTrial:
        """The attempt that counts: the one that finished, else the newest."""
        done = [trial for trial in self.attempts if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        return done[0] if done else self.attempts[-1]

    @property
    def state(self) -> SlotState:
        """What the study says of this trial; an attempt that failed but may be repeated counts as waiting."""
        match self.last.state:
            case TrialState.COMPLETE:
                return "complete"
            case TrialState.PRUNED:
                return "pruned"
            case TrialState.RUNNING:
                return "running"
            case TrialState.FAIL if self.last.user_attrs.get(FINAL) or self.deaths > self.max_retries:
                return "failed"
        return "waiting"

    @property
    def deaths(self) -> int:
        """Attempts whose process died: they failed and nobody could say why."""
        return sum(trial.state is TrialState.FAIL and not trial.user_attrs.get(REASON) for trial in self.attempts)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("complete", "pruned", "failed")

    @property
    def reason(self) -> str:
        """Why the last attempt failed or was pruned; empty if it did not."""
        if self.state == "failed" and REASON not in self.last.user_attrs:
            return f"its process died {self.deaths} times"
        return str(self.last.user_attrs.get(REASON, ""))


def read_slots(study: optuna.Study) -> list[Slot]:
    """All slots of a study, by number."""
    attempts: dict[int, list[FrozenTrial]] = {}
    for trial in patiently(lambda: study.get_trials(deepcopy=False)):
        if SLOT in trial.user_attrs:
            attempts.setdefault(trial.user_attrs[SLOT], []).append(trial)
    max_retries = patiently(lambda: study.user_attrs).get(MAX_RETRIES, 0)
    return [Slot(number, tuple(attempts[number]), max_retries) for number in sorted(attempts)]


def fill_slots(study: optuna.Study, n: int, points: Sequence[Mapping[str, Value]] | None) -> None:
    """Make the study's slots up to `n`, each with a waiting trial; what is there already stays.

    Args:
        study: Where to.
        n: Slots in total.
        points: What the sampler must not choose: the point of every slot (a grid), or None.
    """
    there = {slot.number for slot in read_slots(study)}
    for number in range(n):
        if number not in there:
            params = dict(points[number]) if points is not None else {}
            patiently(lambda p=params, s=number: study.enqueue_trial(p, user_attrs={SLOT: s}))  # type: ignore[misc]


def this_process() -> str:
    """Names this process for as long as it lives: host, id, and start time, since ids are used again."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def is_dead(worker: str) -> bool:
    """Whether a process named by `this_process` is known to be gone; one on another host never is."""
    host, pid, started = worker.rsplit(":", 2)
    if host != socket.gethostname():
        return False
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) > 1.0
    except psutil.NoSuchProcess:
        return True


def claim(study: optuna.Study, storage: Storage, n: int) -> tuple[int, FrozenTrial] | None:
    """Take the first waiting trial among the first `n` slots, for this process alone.

    Returns:
        The slot and the trial, now running with its first heartbeat; None if none waits.
    """
    for slot in read_slots(study):
        if slot.number >= n or slot.is_over or slot.last.state is not TrialState.WAITING:
            continue
        trial_id = slot.last._trial_id
        if patiently(lambda i=trial_id: _take(storage, i)):  # type: ignore[misc]
            return slot.number, storage.get_trial(trial_id)
    return None


def _take(storage: Storage, trial_id: int) -> bool:
    try:
        if not storage.set_trial_state_values(trial_id, state=TrialState.RUNNING):
            return False
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
    storage.set_trial_user_attr(trial_id, WORKER, this_process())
    storage.record_heartbeat(trial_id)
    return True


def give_up(storage: Storage, trial_id: int, reason: str, *, final: bool) -> bool:
    """End an attempt as failed.

    Args:
        storage: Where the trial is.
        trial_id: A running one.
        reason: One sentence.
        final: Whether its slot is over; else it waits for another attempt.

    Returns:
        False if it had ended meanwhile.
    """
    try:
        storage.set_trial_user_attr(trial_id, REASON, reason)
        storage.set_trial_user_attr(trial_id, FINAL, final)
        return bool(storage.set_trial_state_values(trial_id, state=TrialState.FAIL))
    except optuna.exceptions.UpdateFinishedTrialError:
        return False


def reconcile(study: optuna.Study, storage: Storage) -> list[Slot]:
    """Put right what dead processes left: their running trials fail, and every slot that is not over waits again.

    Repeating this, or dying in the middle of it, does no harm: what to do is read from the trials' states.

    Returns:
        All slots, as they are now.
    """
    for slot in read_slots(study):
        if slot.state == "running" and _is_abandoned(slot.last):
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                storage.set_trial_state_values(slot.last._trial_id, state=TrialState.FAIL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        fail_stale_trials(study)
    for slot in read_slots(study):
        if slot.last.state is TrialState.FAIL and not slot.is_over:
            _requeue(study, slot)
    return read_slots(study)


def _is_abandoned(trial: FrozenTrial) -> bool:
    """Whether its process is known to be dead, or died before it could name itself: no heartbeat tells of that one."""
    worker = trial.user_attrs.get(WORKER)
    if worker is not None:
        return is_dead(worker)
    return trial.datetime_start is not None and (datetime.now() - trial.datetime_start).total_seconds() > GRACE_S


def _requeue(study: optuna.Study, slot: Slot) -> None:
    """Let a slot wait again, with what its last attempt had drawn and reported."""
    last = slot.last
    again = optuna.create_trial(
        state=TrialState.WAITING,
        params=last.params,
        distributions=last.distributions,
        user_attrs={key: value for key, value in last.user_attrs.items() if key in (SLOT, RUN_ID)},
        system_attrs={key: value for key, value in last.system_attrs.items() if key == "fixed_params"},
        intermediate_values=last.intermediate_values,
    )
    study.add_trial(again)
