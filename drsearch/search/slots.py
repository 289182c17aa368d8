"""Which trials has a study, which wait, and whose are they?

A study of N trials has N slots, numbered from 0. Optuna trials are attempts at a slot: the
first one, and one more each time a process died or was interrupted. Totals count slots; a
slot's settings and seed are those of its first attempt. The first attempt is made when a worker
takes the slot: thousands that wait in the database would be read again at every look at it.
"""

import contextlib
import functools
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from drsearch.errors import StudyError
from drsearch.masking import masked
from drsearch.search.storage import HEARTBEAT_S, Storage, alone_with, heartbeats, patiently
from drsearch.settings import Value

SLOT = "drsearch.slot"
WORKER = "drsearch.worker"
REASON = "drsearch.reason"
FINAL = "drsearch.final"
RUN_ID = "drsearch.run_id"
KEPT = "drsearch.kept"
"""Of a trial: its kept epoch, its epochs, and the interval of its objective."""
ERROR = "drsearch.error"
"""Standard error of a trial's objective."""
CARRIED = "drsearch.carried"
WARM_START = "drsearch.warm_start"
"""Of a study: which trials of which study it carries."""
ENQUEUED = "drsearch.enqueued"
_DONE = (TrialState.COMPLETE, TrialState.PRUNED)
MAX_RETRIES = "drsearch.max_retries"
_TOKEN = "drsearch.token"
DIED = "drsearch.died"
"""On an attempt whose process is gone."""
DRAWN = "drsearch.drawn"
"""On an attempt that has all its settings; one that died before draws them all anew, as if nothing had been."""

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

    @functools.cached_property
    def last(self) -> FrozenTrial:
        """The attempt that counts: the one that finished, else the newest."""
        return attempt_that_counts(self.attempts)

    @property
    def values(self) -> tuple[float, ...]:
        """What `study.objective` came to, and `study.cost` after it where one is asked for; empty before."""
        return tuple(self.last.values or ())

    @property
    def value(self) -> float | None:
        """What `study.objective` came to."""
        return self.values[0] if self.values else None

    @property
    def was_begun(self) -> bool:
        """Whether a worker ever took it."""
        return self.attempts[0].datetime_start is not None

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
    def carried(self) -> Mapping[str, Any] | None:
        """Where the trial was run, if it was carried from another study: `study`, `uid`, `trial`, `seed`."""
        return self.last.user_attrs.get(CARRIED)  # type: ignore[no-any-return]

    @property
    def deaths(self) -> int:
        """Attempts whose process died, or that somebody else failed without a word."""
        failed = [trial.user_attrs for trial in self.attempts if trial.state is TrialState.FAIL]
        return sum(bool(told.get(DIED)) or (WORKER in told and REASON not in told) for told in failed)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("complete", "pruned", "failed")

    @property
    def reason(self) -> str:
        """Why the last attempt failed or was pruned; empty if it did not."""
        return str(self.last.user_attrs.get(REASON, ""))


Silent = Callable[[dict[int, str]], set[int]]
"""Of running trials and their last heartbeats, those that give no sign of life: `Vigil.silent`, or one look."""


def attempt_that_counts(attempts: Sequence[FrozenTrial]) -> FrozenTrial:
    """Of a slot's attempts, oldest first, the one that finished, else the newest."""
    done = [trial for trial in attempts if trial.state in _DONE]
    return done[0] if done else attempts[-1]


def read_slots(study: optuna.Study) -> list[Slot]:
    """All slots of a study, by number."""
    return patiently(lambda: _slots(study))


def carriers(storage: Storage, uid: str) -> dict[str, int]:
    """Which studies carry trials that were run in the study `uid`, and how many.

    Their runs, journals and weights are still that study's.
    """
    found: dict[str, int] = {}
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        if WARM_START in summary.user_attrs:
            slots = read_slots(optuna.load_study(study_name=summary.study_name, storage=storage))
            if n := sum(slot.carried is not None and slot.carried["uid"] == uid for slot in slots):
                found[summary.study_name] = n
    return found


def _slots(study: optuna.Study) -> list[Slot]:
    attempts: dict[int, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        if SLOT in trial.user_attrs:
            attempts.setdefault(trial.user_attrs[SLOT], []).append(trial)
    max_retries = study.user_attrs.get(MAX_RETRIES, 0)
    return [Slot(number, tuple(attempts[number]), max_retries) for number in sorted(attempts)]


def all_over(slots: Sequence[Slot], n: int) -> bool:
    """Whether nothing is left to do in the first `n` slots, those that no worker has taken yet included."""
    return sum(slot.is_over for slot in slots if slot.number < n) == n


def enqueue(study: optuna.Study, storage: Storage, n: int, settings: Sequence[Mapping[str, Value]]) -> None:
    """Let the first slots that are not made yet draw given values; settings that were enqueued before stay as they are.

    Args:
        study: Where to.
        storage: Its database.
        n: Slots in total.
        settings: Each with values by name; what it leaves out, the sampler chooses.

    Raises:
        StudyError: If there are fewer slots left than settings.
    """
    marked = {json.dumps(params, sort_keys=True): dict(params) for params in settings}

    def put() -> None:
        with alone_with(storage, study.study_name):
            slots = _slots(study)
            there = {slot.attempts[0].user_attrs.get(ENQUEUED) for slot in slots}
            new = {mark: params for mark, params in marked.items() if mark not in there}
            free = sorted(set(range(n)) - {slot.number for slot in slots})
            if len(new) > len(free):
                own = n - sum(bool(slot.carried) for slot in slots)
                raise StudyError(
                    f"--enqueue: settings that are new: {len(new)}, trials that the study has left for them: "
                    f"{len(free)}; --trials {own - len(free) + len(new)} makes room."
                )
            for number, (mark, params) in zip(free, new.items(), strict=False):
                study.enqueue_trial(params, user_attrs={SLOT: number, ENQUEUED: mark})

    patiently(put)


def fill_slots(study: optuna.Study, storage: Storage, n: int, points: Sequence[Mapping[str, Value]] | None) -> None:
    """Make the study's slots up to `n`, each with a waiting trial; what is there already stays.

    Args:
        study: Where to.
        storage: Its database.
        n: Slots in total.
        points: What the sampler must not choose: the point of every slot (a grid), or None.
    """

    def fill() -> None:
        with alone_with(storage, study.study_name):
            there = {slot.number for slot in _slots(study)}
            for number in range(n):
                if number not in there:
                    params = dict(points[number]) if points is not None else {}
                    study.enqueue_trial(params, user_attrs={SLOT: number})

    patiently(fill)  # whole, and not its parts: an answer that was lost would make a slot twice


@functools.cache
def this_machine() -> str:
    """Names this machine, since when it runs, and which of its sets of process numbers this process sees."""
    name = socket.gethostname().replace(":", "-")
    with contextlib.suppress(OSError):  # elsewhere than on Linux, the name must do
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return f"{name}/{boot}-{os.readlink('/proc/self/ns/pid').strip('pid:[]')}"
    return name


def _started(process: psutil.Process) -> str:
    """When a process began, in a way that setting the machine's clock does not change."""
    with contextlib.suppress(OSError, IndexError):
        # After the name, which may hold blanks and brackets: clock ticks since the machine began.
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{process.create_time():.0f}"


def this_process() -> str:
    """Names this process for as long as it lives: machine, id, and its start, since ids are used again."""
    return f"{this_machine()}:{os.getpid()}:{_started(psutil.Process())}"


def is_dead(worker: str, *, ran_here: bool = False) -> bool:
    """Whether a process named by `this_process` is known to be gone; one on another machine never is.

    Args:
        worker: The process.
        ran_here: It wrote into a folder of this machine, and is gone if the machine was started again since.
    """
    machine, pid, started = worker.rsplit(":", 2)
    if machine != this_machine():
        return ran_here and machine.partition("/")[0] == this_machine().partition("/")[0]
    try:
        process = psutil.Process(int(pid))
        return _started(process) != started or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def claim(
    study: optuna.Study, storage: Storage, n: int, points: Sequence[Mapping[str, Value]] | None = None
) -> tuple[int, FrozenTrial] | None:
    """Take the first waiting trial among the first `n` slots, for this process alone; a slot nobody took yet, last.

    Args:
        study: Of which.
        storage: Its database.
        n: Slots in total.
        points: What the sampler must not choose: all points of a grid; the first that no slot has is taken.

    Returns:
        The slot and the trial, now running with its first heartbeat; None if none waits.
    """
    token = uuid.uuid4().hex
    claimed = patiently(lambda: _claim(study, storage, n, points, token))
    if claimed is not None:
        patiently(lambda: storage.record_heartbeat(claimed[1]._trial_id))
    return claimed


def _claim(
    study: optuna.Study, storage: Storage, n: int, points: Sequence[Mapping[str, Value]] | None, token: str
) -> tuple[int, FrozenTrial] | None:
    """One process at a time looks and takes. One whose answer was lost knows what it took by its token."""
    with alone_with(storage, study.study_name):
        # Not `_slots`: thousands of lists that are thrown away again take Python's collector a tenth of a second.
        lasts = _lasts(study)
        for number, last in lasts.items():
            if last.user_attrs.get(_TOKEN) == token:
                return number, last
        for number in sorted(number for number, last in lasts.items() if last.state is TrialState.WAITING):
            trial_id = lasts[number]._trial_id
            if number < n and _take(storage, trial_id, token):
                return number, storage.get_trial(trial_id)
        params = {} if points is None else _next_point(lasts.values(), points)
        number = next(number for number in range(len(lasts) + 1) if number not in lasts)
        if number >= n or params is None:
            return None
        # Born running and with its worker's name, so that no death leaves it unknown.
        born = optuna.create_trial(
            state=TrialState.RUNNING,
            user_attrs={SLOT: number, WORKER: this_process(), _TOKEN: token},
            system_attrs={"fixed_params": dict(params)} if params else {},
        )
        trial_id = storage.create_new_trial(study._study_id, born)
        return number, storage.get_trial(trial_id)


def _lasts(study: optuna.Study) -> dict[int, FrozenTrial]:
    """Of every slot the attempt that counts, as `attempt_that_counts` says."""
    lasts: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        if SLOT in trial.user_attrs:
            last = lasts.get(number := trial.user_attrs[SLOT])
            if last is None or last.state not in _DONE:
                lasts[number] = trial
    return lasts


def _next_point(lasts: Iterable[FrozenTrial], points: Sequence[Mapping[str, Value]]) -> Mapping[str, Value] | None:
    """The first point of a grid that no slot has."""
    there = {_point_key(last.system_attrs.get("fixed_params") or last.params) for last in lasts}
    return next((point for point in points if _point_key(point) not in there), None)


def _point_key(point: Mapping[str, Value]) -> frozenset[tuple[str, str, Value]]:
    return frozenset((name, type(value).__name__, value) for name, value in point.items())  # True is not 1 here


def _take(storage: Storage, trial_id: int, token: str) -> bool:
    """Whether the trial is this process's now. One that it dies over before it signs is nobody's, and waits again."""
    try:
        if not storage.set_trial_state_values(trial_id, state=TrialState.RUNNING):
            return False
        storage.set_trial_user_attr(trial_id, WORKER, this_process())
        storage.set_trial_user_attr(trial_id, _TOKEN, token)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
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
        storage.set_trial_user_attr(trial_id, REASON, masked(reason))
        storage.set_trial_user_attr(trial_id, FINAL, final)
        return bool(storage.set_trial_state_values(trial_id, state=TrialState.FAIL))
    except optuna.exceptions.UpdateFinishedTrialError:
        return False


def reconcile(study: optuna.Study, storage: Storage, silent: Silent) -> list[Slot]:
    """Put right what dead processes left: their running trials fail, and every slot that is not over waits again.

    Repeating this, or dying in the middle of it, does no harm: what to do is read from the trials' states. Of
    several processes one at a time is at it.

    Args:
        study: Whose trials.
        storage: Its database.
        silent: Tells trials that give no sign of life; those of this machine's dead processes need none.

    Returns:
        All slots, as they are now.
    """
    return patiently(lambda: _reconcile(study, storage, silent))


def _reconcile(study: optuna.Study, storage: Storage, silent: Silent) -> list[Slot]:
    with alone_with(storage, study.study_name):
        slots = _slots(study)
        running = {
            attempt._trial_id: (slot, attempt)
            for slot in slots
            for attempt in slot.attempts
            if attempt.state is TrialState.RUNNING
        }
        gone = silent(heartbeats(storage, running)) | {
            trial_id for trial_id, (_, attempt) in running.items() if is_dead(attempt.user_attrs.get(WORKER, "?:0:0"))
        }
        for trial_id in gone:
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # it came to its end meanwhile
                _bury(storage, *running[trial_id])
        for slot in _slots(study) if gone else slots:
            if slot.last.state is TrialState.FAIL and not slot.is_over:
                _requeue(study, slot)
        return _slots(study)


def one_look(study: optuna.Study, storage: Storage) -> Silent:
    """Which trials are silent, for who does not stay to watch: by the database's clock, and by a second look.

    It takes some seconds where a trial seems silent, and none otherwise.
    """
    stale: list[int] = patiently(lambda: storage._get_stale_trial_ids(study._study_id))
    if not stale:
        return lambda _: set()
    before = patiently(lambda: heartbeats(storage, stale))
    time.sleep(1.5 * HEARTBEAT_S)
    return lambda now: {trial_id for trial_id in stale if now.get(trial_id) == before[trial_id]}


def _bury(storage: Storage, slot: Slot, attempt: FrozenTrial) -> None:
    """End an attempt whose process is gone; its slot too, if that happened too often."""
    trial_id = attempt._trial_id
    if WORKER in attempt.user_attrs:  # else nobody had begun with it
        deaths = slot.deaths + 1
        if deaths > slot.max_retries:
            storage.set_trial_user_attr(trial_id, FINAL, True)
        reason = (
            f"its process died {deaths} times, as a lack of memory makes it"
            if deaths > slot.max_retries
            else "its process died"
        )
        storage.set_trial_user_attr(trial_id, REASON, masked(reason))
        storage.set_trial_user_attr(trial_id, DIED, True)
    storage.set_trial_state_values(trial_id, state=TrialState.FAIL)


def _requeue(study: optuna.Study, slot: Slot) -> None:
    """Let a slot wait again, with what its last attempt had drawn and reported."""
    last = slot.last
    drawn = DRAWN in last.user_attrs
    again = optuna.create_trial(
        state=TrialState.WAITING,
        params=last.params if drawn else {},
        distributions=last.distributions if drawn else {},
        user_attrs={key: value for key, value in last.user_attrs.items() if key in (SLOT, RUN_ID, DRAWN)},
        # a pruner's rungs and a sampler's generation, besides the fixed point of a grid
        system_attrs={key: value for key, value in last.system_attrs.items() if drawn or key == "fixed_params"},
        intermediate_values=last.intermediate_values if drawn else {},
    )
    study.add_trial(again)
