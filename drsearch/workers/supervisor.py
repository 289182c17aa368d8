"""Runs the trials of one study with worker processes, from the first worker to the last."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import optuna
from absl import logging

from drsearch.files import when_space
from drsearch.home import Home
from drsearch.processes import gpus
from drsearch.signals import Interrupts, write_to_stderr
from drsearch.study.budget import Budget, LaunchersBudget
from drsearch.study.cancel import is_cancelled, let_go_on
from drsearch.study.definition import StudyDefinition, study_folder
from drsearch.study.reconcile import RunCloser, launching
from drsearch.study.result import StudyResult
from drsearch.study.status import Progress
from drsearch.tracking.events import Status
from drsearch.tracking.sender import SenderProcess
from drsearch.tracking.sent import unsent
from drsearch.trials.heartbeat import HeartbeatMonitor
from drsearch.trials.reconcile import reconcile
from drsearch.trials.retrying import Storage, StorageAway, stop_retrying, unlimited_retries
from drsearch.trials.storage import transaction
from drsearch.trials.trials import Trial, read_trials
from drsearch.workers.remote import fetch_records, is_shared, start_upload
from drsearch.workers.worker_pool import STOP_S, Pool, WorkerPool

if TYPE_CHECKING:
    from drsearch.study.study_run import StudyRun

T = TypeVar("T")

MakePool = Callable[[str, Path, Home, str, int, int | None], Pool]
"""Makes the pool of a study; the arguments are the first six of `WorkerPool`."""

MLFLOW_AWAY_S = 60.0
"""How long the end of a study waits for an MLflow that is away."""

_LOOK_S = 0.5
_RECONCILE_S = 5.0
# A thousand workers are on a hundred machines that joined, and one that launched: most of what PostgreSQL is asked.
_JOINED_READ_S, _JOINED_RECONCILE_S = 3.0, 10.0
_SAY_AFTER_S = 3.0
_BY_CALLBACK = "stopped by a callback"


class Supervisor:
    """Starts the workers of one study, here or on a Ray cluster, watches them, and stops them at the end.

    `launcher.launch_study` and `join.join_study` make one: a study has one launcher or more, which keep its budgets
    and its MLflow run, and any number of machines that joined.

    Args:
        study: The study.
        definition: Its definition.
        storage: Its database.
        storage_url: The database's address, for the workers.
        home: Where records, journals and checkpoints lie on this machine.
        budget: The study's budgets: `LaunchersBudget` makes this the launcher, `Budget` a machine that joined.
        run: The study's own MLflow run; None on a machine that joined.
    """

    def __init__(
        self,
        study: optuna.Study,
        definition: StudyDefinition,
        storage: Storage,
        storage_url: str,
        home: Home,
        budget: Budget,
        run: "StudyRun | None" = None,
    ) -> None:
        self._study, self._definition, self._storage, self._url = study, definition, storage, storage_url
        self._home, self._budget, self._run = home, budget, run
        self._folder = study_folder(home, study.study_name, definition.uid)
        self._closer = RunCloser(self._folder, study.study_name, definition)
        self._heartbeats, self._sender = HeartbeatMonitor(), SenderProcess(home)
        self._trials: list[Trial] = []
        self._over: set[int] = set()  # trials that were over before, or that `on_trial` was called with
        self._stopped = ""
        self._show: Callable[[Progress], None] = lambda _progress: None
        self._on_trial: Callable[[Trial], None] | None = None
        self._error: BaseException | None = None

    @property
    def folder(self) -> Path:
        """The folder of the study's journals and checkpoints on this machine."""
        return self._folder

    def cancelled(self) -> bool:
        """Whether somebody asked the study to stop since it runs."""
        return is_cancelled(self._study)

    def request_stop(self) -> None:
        """Let running trials come to their end and start no further one, as when a budget is spent.

        The same command resumes the study later. Callbacks and other threads may call this, as often as they like. A
        machine that joined leaves at the next checkpoint instead, and another machine resumes its trials.
        """
        if isinstance(self._budget, LaunchersBudget):
            self._budget.stop(_BY_CALLBACK)
        else:
            self._stopped = self._stopped or _BY_CALLBACK

    def run(
        self,
        n_workers: int | None,
        show: Callable[[Progress], None] = lambda _progress: None,
        *,
        timeout_s: float | None = None,
        on_trial: Callable[[Trial], None] | None = None,
        say_stopping: Callable[[str], None] = write_to_stderr,
        make_pool: MakePool = WorkerPool,
    ) -> StudyResult:
        """Run trials until all are over, a budget is spent, or the study is stopped; call it once.

        Signals are heard where this runs in the main thread.

        Args:
            n_workers: Worker processes at once; None for one per GPU, and one where there is none.
            show: Called twice a second with the progress, and once more when the workers have ended.
            timeout_s: Seconds after which running trials stop at a checkpoint; None for no limit.
            on_trial: Called in this thread with each trial that is over (complete, pruned or failed) since this call
                began, once, in the order seen; inherited trials are not. An error in it stops the study as Ctrl-C
                does, and is then raised here.
            say_stopping: Called with a sentence, in the handler of a signal that asks to stop.
            make_pool: Makes the worker processes: by default on this machine.

        Returns:
            The study as it is at the end.

        Raises:
            RecordsError: On a machine that joins, if the records that arrive are not the study's.
            StudyError: If a worker ended with an error that is no trial's own.
        """
        self._show, self._on_trial = show, on_trial
        with unlimited_retries():
            if self._run is None:
                with Interrupts(self._interrupt, say_stopping):
                    if not fetch_records(self._definition, self._home, lambda: bool(self._stopped)):
                        return self._result()
                self._supervise(n_workers, timeout_s, say_stopping, make_pool)
            else:
                let_go_on(self._study)
                with launching(self._folder):
                    self._with_space(self._run.begin)
                    if is_shared(self._url, self._home.tracking_uri):
                        start_upload(self._definition, self._home)
                    self._supervise(n_workers, timeout_s, say_stopping, make_pool)
        if self._error is not None:
            raise self._error
        return self._result()

    def _supervise(
        self,
        n_workers: int | None,
        timeout_s: float | None,
        say_stopping: Callable[[str], None],
        make_pool: MakePool,
    ) -> None:
        self._over = {trial.number for trial in self._read() if trial.is_over}
        threads = self._definition.settings.training.threads
        n = n_workers or len(gpus(os.environ)) or 1
        pool = make_pool(self._study.study_name, self._folder, self._home, self._url, n, threads)
        status: Status = "FAILED"
        reason = "the launcher ended unexpectedly"
        try:
            with Interrupts(self._interrupt, say_stopping):
                self._watch(pool, timeout_s)
            status, reason = "FINISHED", ""
        except StorageAway as away:
            status, reason = "KILLED", f"{self._stopped}; {away}"
            logging.warning("the study database was away at the end; what was begun goes on later, or elsewhere")
        except BaseException as wrong:
            reason = f"{type(wrong).__name__}: {wrong}"
            stop_retrying()
            raise
        finally:
            pool.stop(self._sender.ensure_running)
            with contextlib.suppress(StorageAway):  # another launcher, or `drsearch status`, does it
                self._reconcile()
                self._budget.close()
                self._read()
            self._report()
            self._show(self._progress(pool))
            if status == "FINISHED" and self._stopped:
                status = "KILLED"
            if self._run is not None:
                self._with_space(lambda: self._end_run(status, reason or self._stopped or self._budget.spent))
                if status == "FINISHED":
                    self._await_mlflow()
            if not self._sender.stop(STOP_S):
                logging.warning("not everything has reached MLflow yet; `drsearch sync` on this machine sends it")

    def _watch(self, pool: Pool, timeout_s: float | None) -> None:
        read_s, reconcile_s = (0.0, _RECONCILE_S) if self._run is not None else (_JOINED_READ_S, _JOINED_RECONCILE_S)
        began, read, reconciled = time.monotonic(), -read_s, -reconcile_s
        while True:
            self._sender.ensure_running()
            has_ended = pool.ended(self._read)
            if has_ended or time.monotonic() - reconciled > reconcile_s:
                self._with_space(self._reconcile)
                reconciled = time.monotonic()
            if has_ended or time.monotonic() - read > read_s:
                self._read()
                self._report()
                self._update_budget(pool)
                if self.cancelled():
                    self._stopped = self._stopped or "cancelled"
                read = time.monotonic()
            self._show(self._progress(pool))
            if timeout_s is not None and time.monotonic() - began > timeout_s and not self._stopped:
                self._stopped = f"its {timeout_s:g} seconds were over"
                stop_retrying()
            n_left = self._budget.n_trials - sum(trial.is_over for trial in self._counted())
            if not n_left or self._stopped or self._is_over(pool):
                return
            if not self._budget.spent:
                self._with_space(lambda n=n_left: pool.fill(n))  # type: ignore[misc]
            time.sleep(_LOOK_S)

    def _update_budget(self, pool: Pool) -> None:
        was_spent = self._budget.spent
        self._budget.update(self._trials, pool.size)
        if self._budget.spent and not was_spent:
            # A worker looks for this and takes a trial in one transaction: no trial begins that is not read here.
            transaction(self._storage, self._study.study_name, self._read)

    def _is_over(self, pool: Pool) -> bool:
        """Whether a budget is spent and nothing runs on: trials that run come to their end, unless time is up."""
        if not self._budget.spent or self._budget.spent.startswith("study.hours"):
            return bool(self._budget.spent)
        return pool.is_idle if self._run is None else not any(trial.state == "running" for trial in self._counted())

    def _report(self) -> None:
        """Call `on_trial` with the trials that are over since the last time."""
        for trial in self._trials:
            if trial.is_over and trial.number not in self._over and self._error is None:
                self._over.add(trial.number)
                try:
                    if self._on_trial is not None:
                        self._on_trial(trial)
                except BaseException as error:
                    self._error, self._stopped = error, f"on_trial raised {type(error).__name__}: {error}"
                    stop_retrying()

    def _await_mlflow(self) -> None:
        """Wait until the runs of the study are in MLflow, which registering needs; for `MLFLOW_AWAY_S` at most."""
        began, is_said = time.monotonic(), False
        while unsent(self._home) and (waited_s := time.monotonic() - began) < MLFLOW_AWAY_S:
            if waited_s > _SAY_AFTER_S and not is_said:
                logging.info("waiting up to %.0f s until the runs of the study are in MLflow", MLFLOW_AWAY_S)
                is_said = True
            self._sender.ensure_running()
            time.sleep(_LOOK_S)

    def _end_run(self, status: Status, reason: str) -> None:
        assert self._run is not None
        self._run.end(self._result(), status, reason)

    def _reconcile(self) -> None:
        trials = reconcile(self._study, self._storage, self._heartbeats.silent)
        if self._run is not None:
            self._closer.close(trials)

    def _interrupt(self) -> None:
        self._stopped = "interrupted"
        stop_retrying()

    def _with_space(self, write: Callable[[], T]) -> T:
        return when_space(write, self._home.path, lambda: bool(self._stopped))

    def _read(self) -> list[Trial]:
        self._trials = read_trials(self._study)
        return self._trials

    def _counted(self) -> list[Trial]:
        return [trial for trial in self._trials if trial.number < self._budget.n_trials]

    def _progress(self, pool: Pool) -> Progress:
        trials, objective = self._counted(), self._definition.settings.study.objective
        workers = tuple(pool.statuses(trials))
        return Progress(self._study.study_name, objective, tuple(trials), self._budget.n_trials, workers)

    def _result(self) -> StudyResult:
        return StudyResult(
            name=self._study.study_name,
            definition=self._definition,
            folder=self._folder,
            trials=tuple(self._counted()),
            n_trials=self._budget.n_trials,
            stopped=self._stopped,
            spent=self._budget.spent,
        )
