"""Ends the attempts of dead processes in the database, and lets their trials wait again."""

import contextlib
import time
from collections.abc import Callable

import optuna
from optuna.trial import FrozenTrial, TrialState

from drsearch.masking import masked
from drsearch.processes import is_dead
from drsearch.trials.attributes import DIED, DRAWN, FINAL, REASON, RUN_ID, TRIAL, WORKER
from drsearch.trials.heartbeat import HEARTBEAT_S, heartbeats
from drsearch.trials.retrying import Storage, with_retries
from drsearch.trials.storage import transaction
from drsearch.trials.trials import Trial, read_trials

Silent = Callable[[dict[int, str]], set[int]]
"""Maps {trial id: last heartbeat} to the ids whose heartbeat has stopped: `HeartbeatMonitor.silent` or `look_twice`."""


def fail_attempt(storage: Storage, trial_id: int, reason: str, *, final: bool) -> bool:
    """End an attempt as failed.

    Args:
        storage: The study database.
        trial_id: The running attempt.
        reason: One sentence.
        final: Whether the trial fails for good; else it waits for another attempt.

    Returns:
        False if the attempt had ended already.
    """

    def fail() -> bool:
        try:
            storage.set_trial_user_attr(trial_id, REASON, masked(reason))
            storage.set_trial_user_attr(trial_id, FINAL, final)
            return bool(storage.set_trial_state_values(trial_id, state=TrialState.FAIL))
        except optuna.exceptions.UpdateFinishedTrialError:
            return False

    return with_retries(fail)


def reconcile(study: optuna.Study, storage: Storage, silent: Silent) -> list[Trial]:
    """Fail the attempts of dead processes and those that do not count, and let every trial wait again that is not over.

    Repeating this, or dying in the middle of it, does no harm: what to do is read from the trials' states. One process
    at a time does it.

    Args:
        study: The study.
        storage: Its database.
        silent: Finds the attempts whose heartbeat has stopped; dead processes of this machine are found without it.

    Returns:
        All trials, as they are now.
    """
    return transaction(storage, study.study_name, lambda: _reconcile(study, storage, silent))


def _reconcile(study: optuna.Study, storage: Storage, silent: Silent) -> list[Trial]:
    trials = read_trials(study)
    running = {
        attempt._trial_id: (trial, attempt)
        for trial in trials
        for attempt in trial.attempts
        if attempt.state is TrialState.RUNNING
    }
    dead = silent(heartbeats(storage, running)) | {
        trial_id for trial_id, (_, attempt) in running.items() if is_dead(attempt.user_attrs.get(WORKER, "?:0:0"))
    }
    for trial_id in dead:
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # it has ended meanwhile
            _fail_dead(storage, *running[trial_id])
    changed = bool(dead)
    for trial in read_trials(study) if dead else trials:
        for attempt in trial.attempts:
            if attempt is not trial.last and not attempt.state.is_finished():
                # Perhaps of a process that was stopped while it took a trial, until the lock was another's.
                fail_attempt(storage, attempt._trial_id, "another attempt at this trial counts", final=False)
                changed = True
        if trial.last.state is TrialState.FAIL and not trial.is_over:
            _requeue(study, trial)
            changed = True
    return read_trials(study) if changed else trials


def look_twice(study: optuna.Study, storage: Storage) -> Silent:
    """Find silent trials without staying to watch them: by the database's clock, and by a second look.

    It takes some seconds if a trial seems silent, and none otherwise.

    Returns:
        A function for `reconcile`.
    """
    stale: list[int] = storage._get_stale_trial_ids(study._study_id)
    if not stale:
        return lambda _: set()
    before = heartbeats(storage, stale)
    time.sleep(1.5 * HEARTBEAT_S)
    return lambda now: {trial_id for trial_id in stale if now.get(trial_id) == before[trial_id]}


def _fail_dead(storage: Storage, trial: Trial, attempt: FrozenTrial) -> None:
    """End the attempt of a dead process; its trial too, if that happened too often."""
    trial_id = attempt._trial_id
    if WORKER in attempt.user_attrs:  # else its process died before it signed, and had trained nothing
        deaths = trial.deaths + 1
        reason = "its process died"
        if deaths > trial.max_retries:
            storage.set_trial_user_attr(trial_id, FINAL, True)
            reason = f"its process died {deaths} times, perhaps because memory ran out"
        storage.set_trial_user_attr(trial_id, REASON, masked(reason))
        storage.set_trial_user_attr(trial_id, DIED, True)
    storage.set_trial_state_values(trial_id, state=TrialState.FAIL)


def _requeue(study: optuna.Study, trial: Trial) -> None:
    """Let a trial wait again, with what its last attempt had drawn and reported."""
    last = trial.last
    drawn = DRAWN in last.user_attrs
    again = optuna.create_trial(
        state=TrialState.WAITING,
        params=last.params if drawn else {},
        distributions=last.distributions if drawn else {},
        user_attrs={key: value for key, value in last.user_attrs.items() if key in (TRIAL, RUN_ID, DRAWN)},
        # a pruner's rungs and a sampler's generation, besides the fixed point of a grid
        system_attrs={key: value for key, value in last.system_attrs.items() if drawn or key == "fixed_params"},
        intermediate_values=last.intermediate_values if drawn else {},
    )
    study.add_trial(again)
