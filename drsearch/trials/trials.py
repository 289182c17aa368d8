"""Which trials has a study, which wait, and whose are they?

A study of N trials has N slots, numbered from 0. Optuna trials are attempts at a slot: the
first one, and one more each time a process died or was interrupted. Totals count slots; a
slot's settings and seed are those of its first attempt. The first attempt is made when a worker
takes the slot: thousands that wait in the database would be read again at every look at it.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from drsearch.errors import StudyError
from drsearch.settings import Value
from drsearch.trials.attributes import CARRIED, DIED, ENQUEUED, FINAL, MAX_RETRIES, REASON, SLOT, WARM_START, WORKER
from drsearch.trials.heartbeat import Storage
from drsearch.trials.retrying import patiently
from drsearch.trials.storage import alone_with

DONE = (TrialState.COMPLETE, TrialState.PRUNED)

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


def attempt_that_counts(attempts: Sequence[FrozenTrial]) -> FrozenTrial:
    """Of a slot's attempts, oldest first, the one that finished, else the newest."""
    done = [trial for trial in attempts if trial.state in DONE]
    return done[0] if done else attempts[-1]


def read_slots(study: optuna.Study) -> list[Slot]:
    """All slots of a study, by number."""
    return patiently(lambda: slots_of(study))


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


def slots_of(study: optuna.Study) -> list[Slot]:
    """All slots of a study, by number, read within a transaction of the caller."""
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
            slots = slots_of(study)
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
            there = {slot.number for slot in slots_of(study)}
            for number in range(n):
                if number not in there:
                    params = dict(points[number]) if points is not None else {}
                    study.enqueue_trial(params, user_attrs={SLOT: number})

    patiently(fill)  # whole, and not its parts: an answer that was lost would make a slot twice
