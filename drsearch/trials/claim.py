"""Takes the next trial for one worker, and for no other."""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from drsearch.processes import this_process
from drsearch.settings import Value
from drsearch.trials.attributes import TOKEN, TRIAL, WORKER
from drsearch.trials.retrying import Storage
from drsearch.trials.storage import transaction
from drsearch.trials.trials import DONE, read_attempts


def claim(
    study: optuna.Study,
    storage: Storage,
    n: int,
    points: Sequence[Mapping[str, Value]] | None = None,
    is_spent: Callable[[], bool] = lambda: False,
) -> tuple[int, FrozenTrial] | None:
    """Take the next trial for this process alone: the first that waits, else one that no worker has taken yet.

    Args:
        study: The study.
        storage: Its database.
        n: Trials in total.
        points: All points of a grid; a new trial takes the first one that no trial has. None if the sampler chooses.
        is_spent: Whether a budget is spent, so that no trial begins; asked in the transaction that takes the trial.

    Returns:
        The number of the trial and its attempt, now running with its first heartbeat; None if no trial waits or begins.
    """
    token = uuid.uuid4().hex
    claimed = transaction(storage, study.study_name, lambda: _claim(study, storage, n, points, token, is_spent))
    if claimed is not None:
        storage.record_heartbeat(claimed[1]._trial_id)
    return claimed


def _claim(
    study: optuna.Study,
    storage: Storage,
    n: int,
    points: Sequence[Mapping[str, Value]] | None,
    token: str,
    is_spent: Callable[[], bool],
) -> tuple[int, FrozenTrial] | None:
    """The claimed trial. A process that lost the database's answer recognises the trial it took by its token."""
    # Not `read_trials`: thousands of lists that are thrown away again take Python's collector a tenth of a second.
    lasts = _attempts_that_count(study)
    for number, last in lasts.items():
        if last.user_attrs.get(TOKEN) == token:
            return number, last
    if is_spent():
        return None
    for number in sorted(number for number, last in lasts.items() if last.state is TrialState.WAITING):
        trial_id = lasts[number]._trial_id
        if number < n and _take(storage, trial_id, token):
            return number, storage.get_trial(trial_id)
    params = {} if points is None else _next_point(lasts.values(), points)
    number = next(number for number in range(len(lasts) + 1) if number not in lasts)
    if number >= n or params is None:
        return None
    # Created RUNNING with its worker's name in one write, so that a crash never leaves a trial without an owner.
    attempt = optuna.create_trial(
        state=TrialState.RUNNING,
        user_attrs={TRIAL: number, WORKER: this_process(), TOKEN: token},
        system_attrs={"fixed_params": dict(params)} if params else {},
    )
    return number, storage.get_trial(storage.create_new_trial(study._study_id, attempt))


def _attempts_that_count(study: optuna.Study) -> dict[int, FrozenTrial]:
    """The attempt that counts per trial, as `attempt_that_counts` says."""
    lasts: dict[int, FrozenTrial] = {}
    for trial in read_attempts(study):
        if TRIAL in trial.user_attrs:
            last = lasts.get(number := trial.user_attrs[TRIAL])
            if last is None or last.state not in DONE:
                lasts[number] = trial
    return lasts


def _next_point(lasts: Iterable[FrozenTrial], points: Sequence[Mapping[str, Value]]) -> Mapping[str, Value] | None:
    """The first point of a grid that no trial has."""
    taken = {_point_key(last.system_attrs.get("fixed_params") or last.params) for last in lasts}
    return next((point for point in points if _point_key(point) not in taken), None)


def _point_key(point: Mapping[str, Value]) -> frozenset[tuple[str, str, Value]]:
    return frozenset((name, type(value).__name__, value) for name, value in point.items())  # True is not 1 here


def _take(storage: Storage, trial_id: int, token: str) -> bool:
    """Whether this process has taken a waiting trial. If it dies before it signs, the trial will wait again."""
    try:
        if not storage.set_trial_state_values(trial_id, state=TrialState.RUNNING):
            return False
        storage.set_trial_user_attr(trial_id, WORKER, this_process())
        storage.set_trial_user_attr(trial_id, TOKEN, token)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
    return True
