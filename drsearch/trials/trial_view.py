"""What do samplers and pruners see of a study? One Optuna trial per trial, whatever number of attempts it took.

Optuna's own view has every attempt. A dead one would stand in a rung of successive halving beside the attempt that
took it up, and count twice; Hyperband's bracket, a function of the trial's number, would change with every retry.
"""

import bisect
import copy
from collections.abc import Container
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from drsearch.trials.attributes import TRIAL
from drsearch.trials.heartbeat import Storage
from drsearch.trials.trials import attempt_that_counts


class OneTrialATrial:
    """A study's storage that shows of each trial the attempt that counts, under the number of the trial."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._over: dict[int, _Over] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials, by number."""
        every = self._storage.get_all_trials(study_id, deepcopy=False)
        over = self._over.setdefault(study_id, _Over())
        over.extend(every)
        attempts: dict[int, list[FrozenTrial]] = {}
        for attempt in every[over.n_trials :]:
            if TRIAL in attempt.user_attrs:
                attempts.setdefault(attempt.user_attrs[TRIAL], []).append(attempt)
        counting = over.counting
        if attempts:
            numbers, counting = list(over.numbers), list(over.counting)
            for trial, some in attempts.items():
                _put(numbers, counting, trial, over.attempts.get(trial, []) + some)
        found = [attempt for attempt in counting if states is None or attempt.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One attempt, with its trial's number."""
        trial = self._storage.get_trial(trial_id)
        return _numbered(trial, trial.user_attrs.get(TRIAL, trial.number))


class _Over:
    """The trials that a study begins with and that are over, by trial: they change no more, and are looked at once.

    A pruner asks for all trials at every epoch, and there may be thousands.
    """

    def __init__(self) -> None:
        self.n_trials = 0
        self.attempts: dict[int, list[FrozenTrial]] = {}
        self.numbers: list[int] = []
        self.counting: list[FrozenTrial] = []

    def extend(self, attempts: list[FrozenTrial]) -> None:
        """Take in those that came to their end since, up to the first that has not."""
        while self.n_trials < len(attempts) and attempts[self.n_trials].state.is_finished():
            attempt = attempts[self.n_trials]
            if TRIAL in attempt.user_attrs:
                trial = attempt.user_attrs[TRIAL]
                attempts = self.attempts.setdefault(trial, [])
                attempts.append(attempt)
                _put(self.numbers, self.counting, trial, attempts)
            self.n_trials += 1


def _put(numbers: list[int], counting: list[FrozenTrial], trial: int, attempts: list[FrozenTrial]) -> None:
    """Have a trial's attempt that counts in its place among the trials `numbers`, which are sorted."""
    at = bisect.bisect_left(numbers, trial)
    if at == len(numbers) or numbers[at] != trial:
        numbers.insert(at, trial)
        counting.insert(at, attempts[-1])
    counting[at] = _numbered(attempt_that_counts(attempts), trial)


def _numbered(trial: FrozenTrial, number: int) -> FrozenTrial:
    if trial.number == number:
        return trial
    same = copy.copy(trial)  # the storage keeps its own
    same.number = number
    return same
