"""Stops a study by a mark in its database, which every machine sees.

Launchers look at the mark twice a second, workers before every trial and at every checkpoint. It stands until the
study is run again, so that a worker that joins later stays out.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import optuna

from drsearch.home import Home
from drsearch.processes import this_process
from drsearch.study.definition import load_study
from drsearch.study.reconcile import is_launched, reconcile_study
from drsearch.trials.retrying import Storage, is_away, without_retries
from drsearch.trials.trials import Trial, read_trials

CANCELLED = "drsearch.cancelled"

_POLL_S = 0.5
_RECONCILE_S = 5.0


def ask_to_stop(study: optuna.Study) -> None:
    """Mark a study as cancelled: all workers stop their trials at a checkpoint, and the trials wait."""
    mark = {"at": datetime.now().astimezone().isoformat(timespec="seconds"), "by": this_process()}
    study.set_user_attr(CANCELLED, mark)


def is_cancelled(study: optuna.Study) -> bool:
    """Whether the study was asked to stop and has not been run again since; no, while its database does not answer."""
    try:
        with without_retries():
            return study.user_attrs.get(CANCELLED) is not None
    except Exception as wrong:
        if not is_away(wrong):
            raise
        return False


def let_go_on(study: optuna.Study) -> None:
    """Remove the mark: the study is run again."""
    if study.user_attrs.get(CANCELLED) is not None:
        study.set_user_attr(CANCELLED, None)


def cancel(storage: Storage, name: str, home: Home, folder: Path) -> Iterator[Trial]:
    """Stop all workers of a study, on any machine, and wait until none runs.

    Args:
        storage: The study database.
        name: The study's name.
        home: The home of this machine.
        folder: The study's folder there.

    Yields:
        Every trial that ran, once it has stopped or ended.
    """
    study, _ = load_study(storage, name)
    running = {trial.number for trial in read_trials(study) if trial.state == "running"}
    ask_to_stop(study)
    reconciled = time.monotonic()
    while True:
        if time.monotonic() - reconciled > _RECONCILE_S:
            reconcile_study(home, storage, name)
            reconciled = time.monotonic()
        trials = read_trials(study)
        now = {trial.number for trial in trials if trial.state == "running"}
        yield from (trial for trial in trials if trial.number in running - now)
        running = now
        if not running and not is_launched(folder):
            return
        time.sleep(_POLL_S)
