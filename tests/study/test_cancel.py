"""Does a study stop when it is asked to, whoever is at it?"""

import threading
import time
from collections.abc import Callable
from typing import Any

import optuna

from drsearch.processes import this_process
from drsearch.study.cancel import ask_to_stop, cancel, is_cancelled, let_go_on
from drsearch.study.reconcile import is_launched, launching
from drsearch.trials.reconcile import fail_attempt
from drsearch.trials.storage import open_storage

Begin = Callable[..., Any]


def test_a_mark_is_seen_by_every_process_until_the_study_is_run_again(begin: Begin) -> None:
    mine = begin()
    elsewhere = optuna.load_study(study_name="mine", storage=open_storage(mine.home.storage_url))
    assert not is_cancelled(elsewhere)
    ask_to_stop(mine.study)
    assert is_cancelled(elsewhere)
    let_go_on(elsewhere)
    assert not is_cancelled(mine.study)


def test_cancelling_waits_until_nothing_runs_and_names_what_stopped(begin: Begin) -> None:
    mine = begin()
    attempts = [mine.running(trial, this_process()) for trial in range(2)]

    def work() -> None:
        """Two workers, of which one ends its trial and the other stops, and their launcher."""
        storage = open_storage(mine.home.storage_url)
        study = optuna.load_study(study_name="mine", storage=storage)
        with launching(mine.folder):
            ready.set()
            while not is_cancelled(study):
                time.sleep(0.02)
            study.tell(attempts[0].number, 0.75)
            fail_attempt(storage, attempts[1]._trial_id, "stopped at epoch 5 of 8", final=False)

    ready = threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    ready.wait()
    stopped = list(cancel(mine.storage, "mine", mine.home, mine.folder))
    worker.join()
    assert sorted((trial.number, trial.state) for trial in stopped) == [(0, "complete"), (1, "waiting")]
    assert not is_launched(mine.folder)


def test_a_process_is_at_a_study_until_it_ends(begin: Begin) -> None:
    mine = begin()
    assert not is_launched(mine.folder)
    with launching(mine.folder), launching(mine.folder):
        assert is_launched(mine.folder)
    assert not is_launched(mine.folder)
