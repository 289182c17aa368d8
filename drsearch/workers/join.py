"""How does a machine join a study that another one began? With the two addresses, and what it fetches through them."""

import contextlib
import os
import time
from collections.abc import Callable

from absl import logging

from drsearch.home import Home
from drsearch.processes import gpus
from drsearch.signals import Interrupts, write_to_stderr
from drsearch.study.budget import spent
from drsearch.study.cancel import is_cancelled
from drsearch.study.definition import load_study, n_trials_of, study_folder
from drsearch.study.status import Progress
from drsearch.tracking.sender import KeptSender
from drsearch.trials.heartbeat import Storage, Vigil
from drsearch.trials.reconcile import reconcile
from drsearch.trials.retrying import StorageAway, end_patience
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import all_over, read_trials
from drsearch.workers.remote import check_addresses, check_code, fetch_records
from drsearch.workers.worker_pool import STOP_S, Crew

_POLL_S = 1.0
_RECONCILE_S = 5.0


class Joined:
    """This machine's part in a study.

    Args:
        name: The study.
        storage_url: Its database.
        home: Where records, journals and checkpoints lie on this machine.

    Raises:
        StudyError: If there is no such study, an address means one machine alone, or the code here gives other results.
        MlflowException: If the MLflow server does not let this user write to the study's experiment.
    """

    def __init__(self, name: str, storage_url: str, home: Home) -> None:
        from drsearch.tracking.remote_runs import Depot

        check_addresses(storage_url, home.tracking_uri)
        Depot(home.tracking_uri).check_may_write(name)
        self._name, self._url, self._home = name, storage_url, home
        self._storage: Storage = open_storage(storage_url)
        self._study, self._definition = load_study(self._storage, name)
        check_code(self._study)
        self._folder = study_folder(home, name, self._definition.uid)
        self._vigil = Vigil()
        self._sender = KeptSender(home)
        self._stopped = False
        self._why = "all trials are over"
        self._began = time.monotonic()

    def run(
        self,
        n_workers: int | None,
        show: Callable[[Progress], None],
        say_stopping: Callable[[str], None] = write_to_stderr,
    ) -> str:
        """Run trials until the study is over or cancelled, or until this machine is asked to leave.

        Args:
            n_workers: Worker processes at once; None for one a GPU, and one where there is none.
            show: Called now and then with the progress.
            say_stopping: Called with a sentence, in the handler of a signal that asks to stop.

        Returns:
            Why it ended, in a sentence; empty if it was asked to leave before.

        Raises:
            RecordsError: If the records that arrive are not the study's.
            StudyError: If a worker ended with an error that is no trial's own.
        """
        n = n_workers or len(gpus(os.environ)) or 1
        with Interrupts(self._stop, say_stopping):
            if not fetch_records(self._definition, self._home, lambda: self._stopped):
                return ""
            settings = self._definition.base()
            crew = Crew(self._name, self._folder, self._home, self._url, n, settings.training.threads)
            try:
                self._watch(crew, show)
            except StorageAway:
                logging.warning("left while the study database was away; another machine goes on with what was begun")
            finally:
                end_patience()
                crew.stop(self._sender.look_after)
                with contextlib.suppress(StorageAway):  # whoever is at the study does it
                    reconcile(self._study, self._storage, self._vigil.silent)
                if not self._sender.stop(STOP_S):
                    logging.warning("not everything has reached MLflow yet; `drsearch sync` on this machine sends it")
        return "" if self._stopped else self._why

    def _watch(self, crew: Crew, show: Callable[[Progress], None]) -> None:
        reconciled = -_RECONCILE_S
        while not self._stopped:
            self._sender.look_after()
            if crew.ended(lambda: read_trials(self._study)) or time.monotonic() - reconciled > _RECONCILE_S:
                reconcile(self._study, self._storage, self._vigil.silent)
                reconciled = time.monotonic()
            n = n_trials_of(self._study)
            trials = [trial for trial in read_trials(self._study) if trial.number < n]
            objective = str(self._definition.settings["study.objective"])
            elapsed_s = time.monotonic() - self._began
            show(Progress(self._name, objective, tuple(trials), n, tuple(crew.statuses(trials)), elapsed_s))
            if all_over(trials, n):
                return
            over = spent(self._study, self._definition.base())
            if is_cancelled(self._study) or over.startswith("study.hours") or (over and crew.is_idle):
                self._why = "the study is cancelled" if not over else f"the study is over: {over}"
                return
            if not over:
                crew.fill(n - sum(trial.is_over for trial in trials))
            time.sleep(_POLL_S)

    def _stop(self) -> None:
        self._stopped = True
        end_patience()
