"""What do samplers and pruners see of a study? One trial a slot, numbered by it, however many attempts it took.

Optuna's own view has every attempt. A dead one would stand in a rung of successive halving beside the attempt that
took it up, and count twice; Hyperband's bracket, a function of the trial's number, would change with every retry.
"""

import bisect
import copy
from collections.abc import Container
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from drsearch.trials.attributes import SLOT
from drsearch.trials.heartbeat import Storage
from drsearch.trials.trials import attempt_that_counts


class OneTrialASlot:
    """A study's storage whose trials are its slots: of each the attempt that counts, with the slot's number."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._over: dict[int, _Over] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The slots, by number."""
        trials = self._storage.get_all_trials(study_id, deepcopy=False)
        over = self._over.setdefault(study_id, _Over())
        over.extend(trials)
        attempts: dict[int, list[FrozenTrial]] = {}
        for trial in trials[over.n_trials :]:
            if SLOT in trial.user_attrs:
                attempts.setdefault(trial.user_attrs[SLOT], []).append(trial)
        counting = over.counting
        if attempts:
            numbers, counting = list(over.numbers), list(over.counting)
            for slot, some in attempts.items():
                _put(numbers, counting, slot, over.attempts.get(slot, []) + some)
        found = [trial for trial in counting if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One attempt, with its slot's number."""
        trial = self._storage.get_trial(trial_id)
        return _numbered(trial, trial.user_attrs.get(SLOT, trial.number))


class _Over:
    """The trials that a study begins with and that are over, by slot: they change no more, and are looked at once.

    A pruner asks for all trials at every epoch, and there may be thousands.
    """

    def __init__(self) -> None:
        self.n_trials = 0
        self.attempts: dict[int, list[FrozenTrial]] = {}
        self.numbers: list[int] = []
        self.counting: list[FrozenTrial] = []

    def extend(self, trials: list[FrozenTrial]) -> None:
        """Take in those that came to their end since, up to the first that has not."""
        while self.n_trials < len(trials) and trials[self.n_trials].state.is_finished():
            trial = trials[self.n_trials]
            if SLOT in trial.user_attrs:
                slot = trial.user_attrs[SLOT]
                attempts = self.attempts.setdefault(slot, [])
                attempts.append(trial)
                _put(self.numbers, self.counting, slot, attempts)
            self.n_trials += 1


def _put(numbers: list[int], counting: list[FrozenTrial], slot: int, attempts: list[FrozenTrial]) -> None:
    """Have a slot's attempt that counts in its place among the slots `numbers`, which are sorted."""
    at = bisect.bisect_left(numbers, slot)
    if at == len(numbers) or numbers[at] != slot:
        numbers.insert(at, slot)
        counting.insert(at, attempts[-1])
    counting[at] = _numbered(attempt_that_counts(attempts), slot)


def _numbered(trial: FrozenTrial, number: int) -> FrozenTrial:
    if trial.number == number:
        return trial
    same = copy.copy(trial)  # the storage keeps its own
    same.number = number
    return same
