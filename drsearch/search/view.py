"""What do samplers and pruners see of a study? One trial a slot, numbered by it, however many attempts it took.

Optuna's own view has every attempt. A dead one would stand in a rung of successive halving beside the attempt that
took it up, and count twice; Hyperband's bracket, a function of the trial's number, would change with every retry.
"""

import copy
from collections.abc import Container
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from drsearch.search.slots import SLOT, attempt_that_counts
from drsearch.search.storage import Storage


class OneTrialASlot:
    """A study's storage whose trials are its slots: of each the attempt that counts, with the slot's number."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The slots, by number."""
        attempts: dict[int, list[FrozenTrial]] = {}
        for trial in self._storage.get_all_trials(study_id, deepcopy=False):
            if SLOT in trial.user_attrs:
                attempts.setdefault(trial.user_attrs[SLOT], []).append(trial)
        counting = [_numbered(attempt_that_counts(attempts[slot]), slot) for slot in sorted(attempts)]
        found = [trial for trial in counting if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One attempt, with its slot's number."""
        trial = self._storage.get_trial(trial_id)
        return _numbered(trial, trial.user_attrs.get(SLOT, trial.number))


def _numbered(trial: FrozenTrial, number: int) -> FrozenTrial:
    if trial.number == number:
        return trial
    same = copy.copy(trial)  # the storage keeps its own
    same.number = number
    return same
