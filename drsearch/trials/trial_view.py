"""What samplers and pruners see of a study: one Optuna trial per trial, however many attempts it took.

Optuna's own view has every attempt. A dead attempt would stand in a rung of successive halving beside the next one and
count twice; Hyperband's bracket, a function of the trial's number, would change with every retry.
"""

import bisect
import copy
from collections.abc import Container
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from drsearch.trials.attributes import TRIAL
from drsearch.trials.retrying import Storage
from drsearch.trials.trials import attempt_that_counts


class TrialView:
    """A study's storage that shows, per trial, the attempt that counts, under the number of the trial.

    Args:
        storage: The study database.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._finished: dict[int, _Finished] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The attempt that counts of every trial, by number.

        Args:
            study_id: Optuna's id of the study.
            deepcopy: Whether the caller may change what is returned.
            states: Only attempts in these states; None for all.
        """
        every = self._storage.get_all_trials(study_id, deepcopy=False)
        finished = self._finished.setdefault(study_id, _Finished())
        finished.extend(every)
        attempts: dict[int, list[FrozenTrial]] = {}
        for attempt in every[finished.n_attempts :]:
            if TRIAL in attempt.user_attrs:
                attempts.setdefault(attempt.user_attrs[TRIAL], []).append(attempt)
        counting = finished.counting
        if attempts:
            numbers, counting = list(finished.numbers), list(finished.counting)
            for trial, newer in attempts.items():
                _put(numbers, counting, trial, finished.attempts.get(trial, []) + newer)
        trials = [attempt for attempt in counting if states is None or attempt.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The attempt with an id of Optuna's, under the number of its trial."""
        trial = self._storage.get_trial(trial_id)
        return _numbered(trial, trial.user_attrs.get(TRIAL, trial.number))


class _Finished:
    """The finished attempts at the beginning of a study's list, by trial: they change no more, and are read once.

    A pruner asks for all trials at every epoch, and there may be thousands.
    """

    def __init__(self) -> None:
        self.n_attempts = 0
        self.attempts: dict[int, list[FrozenTrial]] = {}
        self.numbers: list[int] = []
        self.counting: list[FrozenTrial] = []

    def extend(self, every: list[FrozenTrial]) -> None:
        """Absorb newly finished attempts, up to the first unfinished one."""
        while self.n_attempts < len(every) and every[self.n_attempts].state.is_finished():
            attempt = every[self.n_attempts]
            if TRIAL in attempt.user_attrs:
                trial = attempt.user_attrs[TRIAL]
                attempts = self.attempts.setdefault(trial, [])
                attempts.append(attempt)
                _put(self.numbers, self.counting, trial, attempts)
            self.n_attempts += 1


def _put(numbers: list[int], counting: list[FrozenTrial], trial: int, attempts: list[FrozenTrial]) -> None:
    """Put the attempt that counts of a trial in its place among the trials `numbers`, which are sorted."""
    at = bisect.bisect_left(numbers, trial)
    if at == len(numbers) or numbers[at] != trial:
        numbers.insert(at, trial)
        counting.insert(at, attempts[-1])
    counting[at] = _numbered(attempt_that_counts(attempts), trial)


def _numbered(trial: FrozenTrial, number: int) -> FrozenTrial:
    if trial.number == number:
        return trial
    numbered = copy.copy(trial)  # the storage keeps its own
    numbered.number = number
    return numbered
