"""How does one worker, and only one, take the next trial?"""

import uuid
from collections.abc import Iterable, Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from drsearch.processes import this_process
from drsearch.settings import Value
from drsearch.trials.attributes import TOKEN, TRIAL, WORKER
from drsearch.trials.heartbeat import Storage
from drsearch.trials.retrying import patiently
from drsearch.trials.storage import alone_with
from drsearch.trials.trials import DONE


def claim(
    study: optuna.Study, storage: Storage, n: int, points: Sequence[Mapping[str, Value]] | None = None
) -> tuple[int, FrozenTrial] | None:
    """Take the first waiting trial of `n`, for this process alone; one that nobody took yet comes last.

    Args:
        study: Of which.
        storage: Its database.
        n: Trials in total.
        points: What the sampler must not choose: all points of a grid; the first that no trial has is taken.

    Returns:
        The number of the trial and its attempt, now running with its first heartbeat; None if none waits.
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
        # Not `trials_of`: thousands of lists that are thrown away again take Python's collector a tenth of a second.
        lasts = _lasts(study)
        for number, last in lasts.items():
            if last.user_attrs.get(TOKEN) == token:
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
            user_attrs={TRIAL: number, WORKER: this_process(), TOKEN: token},
            system_attrs={"fixed_params": dict(params)} if params else {},
        )
        trial_id = storage.create_new_trial(study._study_id, born)
        return number, storage.get_trial(trial_id)


def _lasts(study: optuna.Study) -> dict[int, FrozenTrial]:
    """Of every trial the attempt that counts, as `attempt_that_counts` says."""
    lasts: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        if TRIAL in trial.user_attrs:
            last = lasts.get(number := trial.user_attrs[TRIAL])
            if last is None or last.state not in DONE:
                lasts[number] = trial
    return lasts


def _next_point(lasts: Iterable[FrozenTrial], points: Sequence[Mapping[str, Value]]) -> Mapping[str, Value] | None:
    """The first point of a grid that no trial has."""
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
        storage.set_trial_user_attr(trial_id, TOKEN, token)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
    return True
