"""The trials of a study, and the attempts at each.

A trial is one setting tried in a study. What Optuna calls a trial is an attempt here: one process's try at a trial. A
trial has a second attempt when the process of the first one died or was interrupted. Totals count trials; the settings
and the seed of a trial are those of its first attempt. The first attempt is created when a worker takes the trial:
Optuna reads every unfinished attempt in the database again whenever it is asked for trials.
"""

import functools
import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from drsearch.constraints import violated
from drsearch.errors import StudyError
from drsearch.settings import Value
from drsearch.trials.attributes import DIED, ENQUEUED, FINAL, INHERITED, MAX_RETRIES, REASON, TRIAL, WARM_START, WORKER
from drsearch.trials.retrying import Storage
from drsearch.trials.storage import transaction

DONE = (TrialState.COMPLETE, TrialState.PRUNED)

StateName = Literal["waiting", "running", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
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
        """The values of the study's objectives; empty until the trial is complete."""
        return tuple(self.last.values or ())

    @property
    def value(self) -> float | None:
        """The value of `study.objective`; None until the trial is complete."""
        return self.values[0] if self.values else None

    @property
    def was_begun(self) -> bool:
        """Whether a worker ever took it."""
        return self.attempts[0].datetime_start is not None

    @property
    def state(self) -> StateName:
        """The state of the trial; one whose attempt failed but may be repeated is waiting."""
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
    def inherited_from(self) -> Mapping[str, Any] | None:
        """Where the trial was run, if it was taken over from another study: `study`, `uid`, `trial`, `seed`."""
        return self.last.user_attrs.get(INHERITED)  # type: ignore[no-any-return]

    @property
    def deaths(self) -> int:
        """How many attempts failed because their process died, or were failed by others without a reason."""
        failed = [attempt.user_attrs for attempt in self.attempts if attempt.state is TrialState.FAIL]
        return sum(bool(attrs.get(DIED)) or (WORKER in attrs and REASON not in attrs) for attrs in failed)

    @property
    def violated(self) -> str:
        """The constraints that it does not keep, with its values; empty if it keeps all, or there are none."""
        return violated(self.last.constraints)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in ("complete", "pruned", "failed")

    @property
    def reason(self) -> str:
        """Why the last attempt failed or was pruned; empty if it did not."""
        return str(self.last.user_attrs.get(REASON, ""))


def attempt_that_counts(attempts: Sequence[FrozenTrial]) -> FrozenTrial:
    """The attempt of a trial that finished, else the newest.

    Args:
        attempts: All of the trial, oldest first.
    """
    done = [attempt for attempt in attempts if attempt.state in DONE]
    return done[0] if done else attempts[-1]


def read_attempts(study: optuna.Study) -> list[FrozenTrial]:
    """All attempts of a study, oldest first; not to be changed.

    The garbage collector pauses meanwhile. Among the rows of 10,000 attempts it finds nothing, and takes as long
    to look as Optuna takes to read them.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        attempts: list[FrozenTrial] = study.get_trials(deepcopy=False)
        return attempts
    finally:
        if collecting:
            gc.enable()


def read_trials(study: optuna.Study) -> list[Trial]:
    """All trials of a study, by number."""
    attempts: dict[int, list[FrozenTrial]] = {}
    for attempt in read_attempts(study):
        if TRIAL in attempt.user_attrs:
            attempts.setdefault(attempt.user_attrs[TRIAL], []).append(attempt)
    max_retries = study.user_attrs.get(MAX_RETRIES, 0)
    return [Trial(number, tuple(attempts[number]), max_retries) for number in sorted(attempts)]


def inheritors(storage: Storage, uid: str) -> dict[str, int]:
    """The studies that have trials of the study `uid`, and how many; their runs, journals and weights are that study's.

    Args:
        storage: The study database.
        uid: The study that trials were taken from.

    Returns:
        The number of trials by the name of the study that has them now.
    """
    counts: dict[str, int] = {}
    for each in storage.get_all_studies():
        if WARM_START in each.user_attrs:
            trials = read_trials(optuna.load_study(study_name=each.study_name, storage=storage))
            if n := sum(trial.inherited_from is not None and trial.inherited_from["uid"] == uid for trial in trials):
                counts[each.study_name] = n
    return counts


def trials_text(numbers: Sequence[int]) -> str:
    """Trials in a sentence.

    Example:
        >>> trials_text([3]), trials_text([3, 8, 5])
        ('trial 3', 'trials 3, 8 and 5')
    """
    *others, last = map(str, numbers)
    return f"trials {', '.join(others)} and {last}" if others else f"trial {last}"


def all_over(trials: Sequence[Trial], n: int) -> bool:
    """Whether nothing is left to do in the first `n` trials, including those that no worker has taken yet.

    Args:
        trials: The study's, as `read_trials` gives them.
        n: Trials in total.
    """
    return sum(trial.is_over for trial in trials if trial.number < n) == n


def enqueue(study: optuna.Study, storage: Storage, n: int, settings: Sequence[Mapping[str, Value]]) -> None:
    """Let the first trials that no worker has taken draw given values; settings that were enqueued before stay.

    Args:
        study: The study.
        storage: Its database.
        n: Trials in total.
        settings: Values by name, per trial; the sampler chooses what a trial's settings leave out.

    Raises:
        StudyError: If there are fewer trials left than settings.
    """
    marked = {json.dumps(params, sort_keys=True): dict(params) for params in settings}

    def put() -> None:
        trials = read_trials(study)
        enqueued = {trial.attempts[0].user_attrs.get(ENQUEUED) for trial in trials}
        new = {mark: params for mark, params in marked.items() if mark not in enqueued}
        free = sorted(set(range(n)) - {trial.number for trial in trials})
        if len(new) > len(free):
            own = n - sum(bool(trial.inherited_from) for trial in trials)
            raise StudyError(
                f"--enqueue: settings that are new: {len(new)}, trials that the study has left for them: "
                f"{len(free)}; --trials {own - len(free) + len(new)} makes room."
            )
        for number, (mark, params) in zip(free, new.items(), strict=False):
            study.enqueue_trial(params, user_attrs={TRIAL: number, ENQUEUED: mark})

    transaction(storage, study.study_name, put)
