"""Starts, watches and stops the worker processes of a study on this machine."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from absl import logging

from drsearch.errors import StudyError
from drsearch.files import lock
from drsearch.home import Home
from drsearch.processes import cores, gpus, this_machine
from drsearch.study.status import WorkerStatus, worker_statuses
from drsearch.trials.attributes import WORKER
from drsearch.trials.trials import Trial

STORAGE_VARIABLE = "DRSEARCH_STORAGE"
"""The environment variable with the database's address, whose password a command line would show."""

FORESEEN = 2
"""Exit status of a worker that ended with a sentence in its log."""

STOP_S = 120.0
"""How long a worker may take to end its epoch before it is killed."""

_TAIL = 100_000  # characters of a log in which the last error is looked for


class Pool(Protocol):
    """The workers of one study: what a supervisor asks of whatever starts them, here or on a cluster."""

    @property
    def size(self) -> int:
        """The number of workers at once."""

    @property
    def is_idle(self) -> bool:
        """Whether no worker is alive."""

    def fill(self, wanted: int) -> None:
        """Start workers until `wanted` are alive, or as many as the pool may have."""

    def ended(self, trials: Callable[[], Sequence[Trial]]) -> bool:
        """Remove workers that ended from the pool.

        Args:
            trials: Reads the study's trials.

        Returns:
            Whether a worker ended.

        Raises:
            StudyError: If a worker ended with an error: with its sentence, or with the traceback of a bug; or if all
                are killed before they take a trial.
        """

    def stop(self, meanwhile: Callable[[], None]) -> None:
        """Ask all workers to stop at the end of their epoch, and wait; after `STOP_S` they are killed.

        Args:
            meanwhile: Called while waiting; keeps the sender alive, for which a worker may wait.
        """

    def statuses(self, trials: Sequence[Trial]) -> list[WorkerStatus]:
        """The last reports of the pool's living workers about running trials."""


@dataclass(frozen=True)
class Exit:
    """How a worker process ended.

    Attributes:
        process: Its machine and process id, as `this_process` begins.
        status: Its exit status, or minus the number of the signal that killed it.
        log: Where its log lies.
        text: The end of its log; empty if it ended well.
    """

    process: str
    status: int
    log: str
    text: str = ""


class Exits:
    """Judges how the workers of one pool end.

    Args:
        study: The study's name.
        n: Workers at once.
    """

    def __init__(self, study: str, n: int) -> None:
        self._study, self._n, self._stillborn = study, n, 0

    def judge(self, end: Exit, trials: Callable[[], Sequence[Trial]]) -> None:
        """Go on, or refuse to; arguments and errors are those of `Pool.ended`."""
        if end.status == FORESEEN and (text := _last_error(end.text)):
            raise StudyError(f"a worker of study {self._study!r} ended, so the study stops: {text}")
        if end.status > 0:
            raise StudyError(
                f"a worker of study {self._study!r} ended with an error, so the study stops; from "
                f"{end.log}:\n{_tail(end.text)}"
            )
        if end.status < 0:
            self._note_killed(end, signal.Signals(-end.status).name, trials())

    def _note_killed(self, end: Exit, by: str, trials: Sequence[Trial]) -> None:
        """Log that a worker was killed; refuse to go on if all are killed before they take a trial."""
        names = [str(attempt.user_attrs.get(WORKER, "")) for trial in trials for attempt in trial.attempts]
        took_one = any(name.startswith(f"{end.process}:") for name in names)
        self._stillborn = 0 if took_one else self._stillborn + 1
        if self._stillborn > 2 * self._n:
            raise StudyError(
                f"{self._stillborn} workers of study {self._study!r} in a row were killed ({by}) before they took a "
                f"trial, so the study stops; a lack of memory does that, and {end.log} may tell."
            )
        logging.warning("a worker was killed (%s); another goes on", by)


class WorkerPool:
    """The workers of one study on this machine; a `Pool`.

    Args:
        study: The study's name.
        folder: The study's folder on this machine.
        home: The home of this machine.
        storage_url: The study's database.
        n: Workers at once; they share the cores.
        threads: Threads per operation; None for as many as a worker has cores.
        n_cores: The cores that they share; None for all that this process may use.
    """

    def __init__(
        self,
        study: str,
        folder: Path,
        home: Home,
        storage_url: str,
        n: int,
        threads: int | None = None,
        n_cores: int | None = None,
    ) -> None:
        self._study, self._home, self._url, self._n = study, home, storage_url, n
        self._study_folder, self._folder = folder, folder / "workers"
        self._cores = max(1, (n_cores or cores()) // n)
        self._threads = threads or self._cores
        self._gpus = gpus(os.environ)
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._places: dict[int, TextIO] = {}
        self._exits = Exits(study, n)

    @property
    def size(self) -> int:
        """The number of workers at once."""
        return self._n

    @property
    def is_idle(self) -> bool:
        """Whether no worker is alive."""
        return not self._workers

    @property
    def logs(self) -> dict[int, Path]:
        """The logs of the living workers, by the worker's number."""
        return {index: self._log(index) for index in self._workers}

    def fill(self, wanted: int) -> None:
        """Start workers until `wanted` are alive, or as many as the pool may have."""
        for index in self._numbers()[:wanted]:
            if index not in self._workers:
                self._workers[index] = self._start(index)

    def _numbers(self) -> list[int]:
        """The numbers of this pool's workers; no other pool of this home has them while this process lives."""
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while len(self._places) < self._n:
            file = open(self._folder / f"{number}.lock", "w")
            try:
                lock(file, give_up=lambda: True)
                self._places[number] = file
            except TimeoutError:
                file.close()
            number += 1
        return list(self._places)

    def ended(self, trials: Callable[[], Sequence[Trial]]) -> bool:
        """Remove workers that ended from the pool; see `Pool.ended`."""
        ends = self.exits()
        for end in ends:
            self._exits.judge(end, trials)
        return bool(ends)

    def exits(self) -> list[Exit]:
        """Remove workers that ended from the pool, and say how each ended."""
        ended = {index: process for index, process in self._workers.items() if process.poll() is not None}
        for index in ended:
            del self._workers[index]
        return [
            Exit(
                f"{this_machine()}:{process.pid}",
                process.returncode,
                str(self._log(index)),
                self._log(index).read_text(errors="replace")[-_TAIL:] if process.returncode > 0 else "",
            )
            for index, process in ended.items()
        ]

    def stop(self, meanwhile: Callable[[], None]) -> None:
        """Ask all workers to stop at the end of their epoch; see `Pool.stop`."""
        for process in self._workers.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while any(process.poll() is None for process in self._workers.values()) and time.monotonic() < deadline:
            meanwhile()
            time.sleep(0.05)
        for process in self._workers.values():
            process.kill()  # does nothing to one that has ended
            process.wait()
        self._workers.clear()
        for file in self._places.values():
            file.close()
        self._places.clear()

    def statuses(self, trials: Sequence[Trial]) -> list[WorkerStatus]:
        """The last reports of this machine's living workers about running trials."""
        running = {trial.number for trial in trials if trial.state == "running"}
        return [status for status in worker_statuses(self._study_folder) if status.trial in running]

    def _start(self, index: int) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", "drsearch.workers.worker", "--study", self._study]
        command += ["--home", str(self._home.path), "--index", str(index), "--threads", str(self._threads)]
        command += ["--cores", str(self._cores), "--launcher", str(os.getpid())]
        environment = worker_environment(os.environ, self._gpus, index) | {STORAGE_VARIABLE: self._url}
        for report in self._folder.glob(f"{index}-*.json"):  # of a worker that was killed
            report.unlink(missing_ok=True)
        with open(self._log(index), "ab") as output:
            # A session of its own: Ctrl-C reaches the launcher alone, which asks the workers to stop.
            return subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
            )

    def _log(self, index: int) -> Path:
        return self._folder / f"{index}.log"


def worker_environment(environment: Mapping[str, str], gpus: Sequence[str], index: int) -> dict[str, str]:
    """The environment of a worker: with one GPU, where there are any, and GPU memory that grows.

    Args:
        environment: The environment of the launcher.
        gpus: The GPUs of this machine.
        index: The worker's number.

    Example:
        >>> worker_environment({}, ["0", "1"], 3)["CUDA_VISIBLE_DEVICES"]
        '1'
    """
    own = dict(environment)
    if gpus:
        # Without growth the first worker on a GPU would take all of its memory, whatever its model needs.
        own |= {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)], "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    return own


def _last_error(log: str) -> str:
    """The text of the last error in a worker's log."""
    errors = re.findall(r"^E\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] (.+)$", log, re.MULTILINE)
    return str(errors[-1]) if errors else ""


def _tail(log: str, n_lines: int = 40) -> str:
    return "\n".join(log.splitlines()[-n_lines:])
