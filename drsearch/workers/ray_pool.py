"""Workers on a Ray cluster: Ray places, isolates, restarts and moves them; the study's database hands out trials."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from drsearch.errors import DrsearchError, StudyError
from drsearch.home import Home
from drsearch.processes import this_machine
from drsearch.study.status import WorkerStatus
from drsearch.trials.trials import Trial
from drsearch.waiting import growing_pauses
from drsearch.workers.remote import check_addresses
from drsearch.workers.worker_pool import STOP_S, Exit, Exits

_ADDRESS = "ray://"
_CARRIED = ("MLFLOW_", "PG")
_PLACED_S = 60.0
_CONNECT_S = 5.0
_LAST_LINES_S = 5.0
_TRIES = 5
"""How often to start or reach a cluster before the study is given up: Ray waits 30 s, too little on a busy machine, and
its server for `ray://` fails by chance (https://github.com/ray-project/ray/issues/63202)."""


@dataclasses.dataclass(frozen=True)
class RayPlace:
    """A Ray cluster, and what it keeps for each worker.

    Attributes:
        address: `ray://HOST:PORT`; empty for the cluster of RAY_ADDRESS, or else for one that is started here.
        cpus: CPUs per worker, which are its threads.
        gpus: GPUs per worker: 0, 1, or a fraction to share one; None for one where the cluster has any.
        memory_gb: GB of memory per worker; 0 for no claim.
    """

    address: str = ""
    cpus: float = 1.0
    gpus: float | None = None
    memory_gb: float = 0.0

    @classmethod
    def read(cls, on: str, cpus: float | None, gpus: float | None, memory_gb: float | None) -> "RayPlace | None":
        """The place of `--on` and its options; None where there is no `--on`.

        Raises:
            DrsearchError: If `on` is neither `ray` nor an address of it, or options of it come without it, or Ray is
                not installed, or nothing listens at the address.
        """
        if not on:
            given = {"--cpus-per-worker": cpus, "--gpus-per-worker": gpus, "--memory-per-worker": memory_gb}
            if without := [name for name, value in given.items() if value is not None]:
                raise DrsearchError(f"{without[0]}: only a Ray cluster is told it; add --on ray.")
            return None
        if on != "ray" and not re.fullmatch(rf"{_ADDRESS}[^/]+:\d+", on):
            raise DrsearchError(f"--on {on}: write ray, or the address of a cluster, for example ray://head:10001.")
        if gpus is not None and gpus > 1:
            raise DrsearchError(f"--gpus-per-worker {gpus:g}: a worker computes on one GPU; write at most 1.")
        if importlib.util.find_spec("ray") is None:
            raise DrsearchError(f"--on {on}: Ray is not installed: pip install 'drsearch[ray]'.")
        address = on.removeprefix("ray") and on
        _check_answers(address or os.environ.get("RAY_ADDRESS", ""), "--on" if address else "RAY_ADDRESS")
        return cls(address, cpus or 1.0, gpus, memory_gb or 0.0)

    def check(self, storage_url: str, tracking_uri: str) -> None:
        """Refuse addresses of the study that the nodes of another cluster cannot reach.

        Raises:
            StudyError: With the address, and what to write instead.
        """
        if self.address:  # of a cluster without an address, a node that is elsewhere says it
            check_addresses(storage_url, tracking_uri)


def _check_answers(address: str, name: str) -> None:
    """Refuse an address at which nothing listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix(_ADDRESS).rpartition(":")
    if not port.isdecimal():
        return  # empty, or `auto`: Ray finds it
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except OSError as wrong:
        raise DrsearchError(
            f"{name} {address}: no Ray cluster answers there ({wrong}); start its head with "
            "`ray start --head --ray-client-server-port 10001`."
        ) from wrong


class RayPool:
    """The workers of one study on a Ray cluster; a `Pool`.

    Args:
        study: The study's name.
        folder: The study's folder on this machine; logs of workers come back to it.
        home: The home of this machine.
        storage_url: The study's database.
        n: Workers at once.
        threads: Not used: a node reads it from the study, else a worker has as many as it has CPUs.
        place: The cluster, and what it keeps for a worker.
    """

    def __init__(
        self,
        study: str,
        folder: Path,
        home: Home,
        storage_url: str,
        n: int,
        threads: int | None = None,
        *,
        place: RayPlace,
    ) -> None:
        self._study, self._folder, self._n, self._place = study, folder / "workers", n, place
        carried = {name: value for name, value in os.environ.items() if name.startswith(_CARRIED)}
        cores = max(1, int(place.cpus))
        self._order = {"study": study, "storage_url": storage_url, "home": str(home.path), "machine": this_machine(),
                       "cores": cores, "environment": carried}  # fmt: skip
        self._exits = Exits(study, n)
        self._driver: subprocess.Popen[str] | None = None
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._alive: set[int] = set()
        self._placed: set[int] = set()
        self._statuses: dict[int, list[WorkerStatus]] = {}
        self._pauses, self._start_at, self._filled = growing_pauses(), 0.0, 0.0
        self._was_connected = self._said_waiting = False
        self._n_tries = 0
        self._lost = ""

    @property
    def size(self) -> int:
        """The number of workers at once."""
        return self._n

    @property
    def is_idle(self) -> bool:
        """Whether no worker is alive, or waits for a place."""
        return not self._alive

    def fill(self, wanted: int) -> None:
        """Ask Ray for workers until `wanted` are alive; while Ray is away, try to reach it again."""
        if self._driver is None:
            if time.monotonic() < self._start_at:
                return
            self._start()
        for number in range(min(wanted, self._n)):
            if number not in self._alive:
                self._alive.add(number)
                self._write(str(number))
        self._say_waiting()

    def ended(self, trials: Callable[[], Sequence[Trial]]) -> bool:
        """Remove workers that ended from the pool, and those that Ray started anew elsewhere; see `Pool.ended`.

        Raises:
            StudyError: Also if there is no such cluster when the study begins.
        """
        is_lost = self._driver is not None and self._driver.poll() is not None
        n_before, restarted = len(self._alive), False
        if is_lost:
            self._reader.join(_LAST_LINES_S)
        while not self._told.empty():
            restarted |= self._hear(self._told.get(), trials)
        if is_lost:
            self._lose()
        return restarted or len(self._alive) < n_before

    def stop(self, meanwhile: Callable[[], None]) -> None:
        """Ask all workers to stop at the end of their epoch; see `Pool.stop`."""
        if self._driver is None:
            return
        assert self._driver.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._driver.stdin.close()
        deadline = time.monotonic() + 2 * STOP_S + _PLACED_S
        while self._driver.poll() is None and time.monotonic() < deadline:
            meanwhile()
            time.sleep(0.05)
        self._driver.kill()
        self._forget_driver()
        while not self._told.empty():  # how workers ended that were asked to does not matter
            self._keep_log(self._told.get())

    def statuses(self, trials: Sequence[Trial]) -> list[WorkerStatus]:
        """The last reports of the living workers about running trials."""
        running = {trial.number for trial in trials if trial.state == "running"}
        return [status for each in self._statuses.values() for status in each if status.trial in running]

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-m", "drsearch.workers.ray_driver"]
        with open(self._folder / "ray.log", "ab") as output:
            self._driver = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True, start_new_session=True
            )
        self._n_tries += 1
        self._told = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read, args=(self._driver.stdout, self._told), daemon=True)
        self._reader.start()
        self._lost, self._filled = "", time.monotonic()
        place = self._place
        resources = {"num_cpus": place.cpus, "num_gpus": place.gpus, "memory": int(place.memory_gb * 1e9)}
        first = {"address": place.address, "resources": resources, "order": self._order}
        self._write(json.dumps(first))

    def _forget_driver(self) -> None:
        """Forget the driver, which has ended, and all workers with it."""
        assert self._driver is not None and self._driver.stdin is not None and self._driver.stdout is not None
        self._driver.wait()
        self._reader.join(_LAST_LINES_S)
        with contextlib.suppress(BrokenPipeError):
            self._driver.stdin.close()
        if not self._reader.is_alive():
            self._driver.stdout.close()
        self._driver = None
        self._alive.clear()
        self._placed.clear()
        self._statuses.clear()

    def _write(self, line: str) -> None:
        assert self._driver is not None and self._driver.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `ended` sees
            self._driver.stdin.write(f"{line}\n")
            self._driver.stdin.flush()

    def _hear(self, message: Mapping[str, Any], trials: Callable[[], Sequence[Trial]]) -> bool:
        """Take in one line of the driver; whether it says that Ray started a worker anew."""
        if message.get("connected"):
            self._was_connected, self._pauses = True, growing_pauses()
        self._lost = message.get("lost", self._lost)
        if (number := message.get("worker")) is None:
            return False
        self._keep_log(message)
        if "exit" in message:
            self._alive.discard(number)
            self._placed.discard(number)
            self._statuses.pop(number, None)
            if message["error"]:
                raise StudyError(f"a worker of study {self._study!r} ended, so the study stops: {message['error']}")
            if message["exit"] is not None:
                self._exits.judge(Exit(**message["exit"]), trials)
            return False
        self._placed.add(number)
        self._statuses[number] = [WorkerStatus(**status) for status in message["statuses"]]
        if message["restarted"]:
            logging.warning("Ray started worker %d anew, on %s", number, message["node"])
        return bool(message["restarted"])

    def _keep_log(self, message: Mapping[str, Any]) -> None:
        if text := message.get("log"):
            with open(self._folder / f"ray-{message['worker']}.log", "a") as file:
                file.write(text)

    def _lose(self) -> None:
        """Go on without the driver until Ray is back; the trials of its workers wait meanwhile."""
        self._forget_driver()
        why = self._lost or f"the process that speaks to it ended; {self._folder / 'ray.log'} may tell"
        where = self._place.address or os.environ.get("RAY_ADDRESS") or "this machine"
        if not self._was_connected and self._n_tries == _TRIES:
            raise StudyError(f"--on ray: no Ray cluster at {where}: {why}")
        pause_s = next(self._pauses)
        self._start_at = time.monotonic() + pause_s
        logging.warning("Ray at %s is away (%s); trying again in %.0f s", where, why, pause_s)

    def _say_waiting(self) -> None:
        """Say once how many workers Ray has not started in a while: the cluster may have no room for them."""
        waiting = len(self._alive - self._placed)
        if self._was_connected and waiting and not self._said_waiting and time.monotonic() - self._filled > _PLACED_S:
            self._said_waiting = True
            place = self._place
            needs = f"{place.cpus:g} CPUs" + (f", {place.gpus:g} GPUs" if place.gpus else "")
            needs += f", {place.memory_gb:g} GB" if place.memory_gb else ""
            logging.warning("Ray has started %d of %d workers so far; each needs %s", len(self._placed), self._n, needs)


def _read(lines: Any, told: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Read the driver's lines; what Ray itself prints among them is left out."""
    for line in lines:
        if line.startswith("{"):
            told.put(json.loads(line))
