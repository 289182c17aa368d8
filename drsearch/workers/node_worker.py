"""One worker on a node of a Ray cluster: a Ray actor that brings the node what a worker needs, and starts it.

The worker is a process of its own, `drsearch.workers.worker`, as on every machine: Ray's process would hear no
signals, and would keep what TensorFlow leaves behind.
"""

import dataclasses
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from drsearch.errors import DrsearchError
from drsearch.files import fault
from drsearch.home import Home
from drsearch.log import start_logging
from drsearch.processes import this_machine
from drsearch.study.definition import load_study, study_folder
from drsearch.study.status import worker_statuses
from drsearch.tracking.sender import SenderProcess
from drsearch.trials.storage import open_storage
from drsearch.workers.remote import check_addresses, check_code, fetch_records
from drsearch.workers.worker_pool import STOP_S, Exit, WorkerPool

_LOOK_S = 0.2
_KILLED_S = 5.0
"""How long what a killed worker logged is sent, before another worker takes its place."""

_LOG_BYTES = 2**18


@dataclasses.dataclass(frozen=True)
class Order:
    """What a node is told: the study, and where everything is.

    Attributes:
        study: The study's name.
        storage_url: Its database.
        home: The launcher's home; the node's own is DRSEARCH_HOME there, or else the same path.
        machine: The launcher's machine, as `this_machine` names it.
        cores: Cores of a worker.
        has_gpu: Whether Ray gives it a GPU, or a part of one.
        environment: Addresses and credentials of MLflow and PostgreSQL.
    """

    study: str
    storage_url: str
    home: str
    machine: str
    cores: int
    has_gpu: bool
    environment: Mapping[str, str]


class NodeWorker:
    """One worker of a study on this node, with a sender; `ray_driver` makes a Ray actor of it.

    `run` takes as long as the worker does; meanwhile other threads call `report` and `stop`.

    Args:
        order: What this node is told.
    """

    def __init__(self, order: Order) -> None:
        os.environ.update(order.environment)
        if not order.has_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # which Ray leaves alone then
        start_logging()
        self._order, self._stop = order, False
        self._home = Home(Path(os.environ.get("DRSEARCH_HOME") or order.home).resolve())
        self._at_launcher = this_machine() == order.machine and str(self._home.path) == order.home
        self._folder: Path | None = None
        self._log: Path | None = None
        self._logged = 0

    def run(self) -> dict[str, Any]:
        """Run the worker to its end.

        Returns:
            `exit`: how it ended, as the fields of `Exit`, or None if it was stopped; `error`: why it did not begin, or
            empty; and what `report` returns.
        """
        end, error = None, ""
        try:
            end = self._run()
        except DrsearchError as wrong:
            error = f"{socket.gethostname()}: {wrong}"
        except OSError as wrong:
            if not (text := fault(wrong, self._home.path)):
                raise
            error = f"{socket.gethostname()}: {text}"
        return {**self.report(), "exit": dataclasses.asdict(end) if end else None, "error": error}

    def stop(self) -> None:
        """Stop the worker at the end of its epoch, with a checkpoint."""
        self._stop = True

    def report(self) -> dict[str, Any]:
        """What is new: `node` and `process`, `statuses` as fields of `WorkerStatus`, and new lines of the `log`."""
        statuses, lines = [], ""
        if self._folder is not None and self._log is not None:
            statuses = [dataclasses.asdict(each) for each in worker_statuses(self._folder, self._log.stem)]
            if not self._at_launcher:  # on the launcher's own disk the log is where it belongs
                lines = self._new_lines(self._log)
        return {"node": socket.gethostname(), "process": os.getpid(), "statuses": statuses, "log": lines}

    def _new_lines(self, log: Path) -> str:
        with open(log, "rb") as file:
            file.seek(self._logged)
            new = file.read(_LOG_BYTES)
        self._logged += len(new)
        return new.decode(errors="replace")

    def _run(self) -> Exit | None:
        order = self._order
        storage = open_storage(order.storage_url, wait=True)
        study, definition = load_study(storage, order.study)
        if not self._at_launcher:
            check_addresses(order.storage_url, self._home.tracking_uri)
            check_code(study)
        storage._backend.engine.dispose()  # the worker has its own connections
        if not (self._at_launcher or fetch_records(definition, self._home, lambda: self._stop)) or self._stop:
            return None
        self._folder = study_folder(self._home, order.study, definition.uid)
        threads = definition.settings.training.threads
        pool = WorkerPool(order.study, self._folder, self._home, order.storage_url, 1, threads, order.cores)
        sender = None if self._at_launcher else SenderProcess(self._home)
        end: Exit | None = None
        try:
            pool.fill(1)
            (log,) = pool.logs.values()
            self._log, self._logged = log, log.stat().st_size  # what earlier workers wrote has been brought
            while not (self._stop or end):
                if sender is not None:
                    sender.ensure_running()
                time.sleep(_LOOK_S)
                end = next(iter(pool.exits()), None)
        finally:
            pool.stop(sender.ensure_running if sender is not None else lambda: None)
            is_killed = end is not None and end.status < 0
            if sender is not None and not sender.stop(_KILLED_S if is_killed else STOP_S):
                logging.warning("not everything on %s has reached MLflow", socket.gethostname())
        if end is not None and not self._at_launcher:
            end = dataclasses.replace(end, log=f"{socket.gethostname()}:{end.log}")
        return end
