"""What did dead processes leave in the database? Their trials fail, and wait again."""

import contextlib
import time
from collections.abc import Callable

import optuna
from optuna.trial import FrozenTrial, TrialState

from drsearch.masking import masked
from drsearch.processes import is_dead
from drsearch.trials.attributes import DIED, DRAWN, FINAL, REASON, RUN_ID, TRIAL, WORKER
from drsearch.trials.heartbeat import HEARTBEAT_S, Storage, heartbeats
from drsearch.trials.retrying import patiently
from drsearch.trials.storage import alone_with
from drsearch.trials.trials import Trial, trials_of

Silent = Callable[[dict[int, str]], set[int]]
"""Of running trials and their last heartbeats, those that give no sign of life: `Vigil.silent`, or one look."""


def give_up(storage: Storage, trial_id: int, reason: str, *, final: bool) -> bool:
    """End an attempt as failed.

    Args:
        storage: Where the trial is.
        trial_id: A running one.
        reason: One sentence.
        final: Whether its trial is over; else it waits for another attempt.

    Returns:
        False if it had ended meanwhile.
    """
    try:
        storage.set_trial_user_attr(trial_id, REASON, masked(reason))
        storage.set_trial_user_attr(trial_id, FINAL, final)
        return bool(storage.set_trial_state_values(trial_id, state=TrialState.FAIL))
    except optuna.exceptions.UpdateFinishedTrialError:
        return False


def reconcile(study: optuna.Study, storage: Storage, silent: Silent) -> list[Trial]:
    """Put right what dead processes left: their running trials fail, and every trial that is not over waits again.

    Repeating this, or dying in the middle of it, does no harm: what to do is read from the trials' states. Of
    several processes one at a time is at it.

    Args:
        study: Whose trials.
        storage: Its database.
        silent: Tells trials that give no sign of life; those of this machine's dead processes need none.

    Returns:
        All trials, as they are now.
    """
    return patiently(lambda: _reconcile(study, storage, silent))


def _reconcile(study: optuna.Study, storage: Storage, silent: Silent) -> list[Trial]:
    with alone_with(storage, study.study_name):
        trials = trials_of(study)
        running = {
            attempt._trial_id: (trial, attempt)
            for trial in trials
            for attempt in trial.attempts
            if attempt.state is TrialState.RUNNING
        }
        gone = silent(heartbeats(storage, running)) | {
            trial_id for trial_id, (_, attempt) in running.items() if is_dead(attempt.user_attrs.get(WORKER, "?:0:0"))
        }
        for trial_id in gone:
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # it came to its end meanwhile
                _bury(storage, *running[trial_id])
        for trial in trials_of(study) if gone else trials:
            if trial.last.state is TrialState.FAIL and not trial.is_over:
                _requeue(study, trial)
        return trials_of(study)


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


def _bury(storage: Storage, trial: Trial, attempt: FrozenTrial) -> None:
    """End an attempt whose process is gone; its trial too, if that happened too often."""
    trial_id = attempt._trial_id
    if WORKER in attempt.user_attrs:  # else nobody had begun with it
        deaths = trial.deaths + 1
        if deaths > trial.max_retries:
            storage.set_trial_user_attr(trial_id, FINAL, True)
        reason = (
            f"its process died {deaths} times, as a lack of memory makes it"
            if deaths > trial.max_retries
            else "its process died"
        )
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
