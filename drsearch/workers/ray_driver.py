"""The process of a launcher that speaks to Ray: `python -m drsearch.workers.ray_driver`.

It places one actor per worker, and tells the launcher what becomes of them, one line of JSON each. When Ray is gone,
this process ends, and not the launcher. What it reads: one line with the `Order` and the resources of a worker, then
the number of a worker per line to start; the end of its input stops all workers at a checkpoint.
"""

import json
import logging as python_logging
import os
import queue
import signal
import sys
import threading
import time
from typing import Any

# Before Ray is imported; each is Ray's default otherwise. A cluster that runs already keeps its own settings.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers
os.environ.setdefault("RAY_worker_niceness", "0")  # 15: workers here have the priority that they have without Ray
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # NodeWorker does it; else Ray warns

import ray  # noqa: E402

from drsearch.processes import cores  # noqa: E402
from drsearch.workers.node_worker import NodeWorker, Order  # noqa: E402
from drsearch.workers.worker_pool import STOP_S  # noqa: E402

OBJECT_STORE_BYTES = 100 * 2**20
"""Shared memory of a cluster that is started here. Nothing large goes through it; Ray's default is 30 % of memory."""

_LOOK_S = 0.5
_STOP_AGAIN_S = 2.0
_NOT_MADE = "creation task"  # in Ray's sentence about an actor that could not be made, for example without drsearch


class Driver:
    """The workers of one launcher on a Ray cluster.

    Args:
        order: What each node is told.
        resources: Of each worker, as options of a Ray actor.
    """

    def __init__(self, order: Order, resources: dict[str, float]) -> None:
        # Ray starts an actor again, on whatever node, if its process or node dies; and `run` with it.
        self._actor: Any = ray.remote(NodeWorker).options(
            max_restarts=-1, max_concurrency=3, **{name: value for name, value in resources.items() if value}
        )
        self._order = order
        self._actors: dict[int, Any] = {}
        self._runs: dict[Any, int] = {}
        self._reports: dict[Any, int] = {}
        self._placed: dict[int, int] = {}

    @property
    def is_idle(self) -> bool:
        """Whether no worker is left."""
        return not self._actors

    def start(self, number: int) -> None:
        """Ask Ray for a worker."""
        actor = self._actors[number] = self._actor.remote(self._order)
        self._runs[actor.run.options(max_task_retries=-1).remote()] = number
        self._reports[actor.report.remote()] = number

    def stop(self) -> None:
        """Ask all workers to stop at a checkpoint; those that Ray has not placed are given up. Repeat it."""
        for number, actor in list(self._actors.items()):
            if number in self._placed:
                actor.stop.remote()  # again and again: Ray may have started it anew
            else:
                self._forget(number)
                tell(worker=number, exit=None, error="")

    def look(self) -> None:
        """Wait half a second, and tell of all workers of which there is something new."""
        began = time.monotonic()
        done, _ = ray.wait([*self._runs], num_returns=len(self._runs), timeout=_LOOK_S) if self._runs else ([], [])
        for each in done:
            number = self._runs[each]
            tell(worker=number, **self._result(each))
            self._forget(number)
        reported, _ = (
            ray.wait([*self._reports], num_returns=len(self._reports), timeout=0) if self._reports else ([], [])
        )
        for each in reported:
            number = self._reports.pop(each)
            try:
                report = ray.get(each)
            except ray.exceptions.RayError:  # it is started anew
                report = None
            if report is not None:
                is_new = self._placed.get(number) not in (None, report["process"])
                self._placed[number] = report["process"]
                tell(worker=number, restarted=is_new, **report)
            self._reports[self._actors[number].report.remote()] = number
        time.sleep(max(0.0, began + _LOOK_S - time.monotonic()))

    def _result(self, run: Any) -> dict[str, Any]:
        try:
            return dict(ray.get(run))
        except ray.exceptions.RayTaskError as wrong:  # a bug on the node
            return {"exit": None, "error": str(wrong)}
        except ray.exceptions.RayActorError as wrong:
            if _NOT_MADE not in str(wrong):  # Ray starts an actor anew as long as there is a cluster
                raise ConnectionError("the head, or this machine's node, is gone") from wrong
            return {"exit": None, "error": f"Ray could not start it: {str(wrong).strip()}"}

    def _forget(self, number: int) -> None:
        ray.kill(self._actors.pop(number))
        self._placed.pop(number, None)
        for tasks in (self._runs, self._reports):
            for task in [task for task, of in tasks.items() if of == number]:
                del tasks[task]


def tell(**what: Any) -> None:
    """Write a line to the launcher."""
    print(json.dumps(what), flush=True)


def connect(address: str) -> None:
    """Connect to a cluster: to that of an address, else to that of RAY_ADDRESS, else start one here.

    Raises:
        Exception: Of many kinds, if none answers at the address, or none can be started.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": python_logging.ERROR}
    if address or os.environ.get("RAY_ADDRESS"):
        ray.init(address or None, **quiet)
    else:
        own = {"num_cpus": cores(), "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        ray.init("local", **own, **quiet)


def main() -> int:
    """Place and watch workers until the input ends.

    Returns:
        The exit status: 1 if there is no cluster (any more).
    """
    for meant_for_launcher in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(meant_for_launcher, signal.SIG_IGN)
    first = json.loads(sys.stdin.readline())
    numbers: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            numbers.put(int(line))
        numbers.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        try:
            connect(first["address"])
        except Exception as wrong:  # Ray has no one class for it
            raise ConnectionError(str(wrong)) from wrong
        resources = first["resources"]
        if resources["num_gpus"] is None:
            resources["num_gpus"] = 1.0 if ray.cluster_resources().get("GPU") else 0.0
        driver = Driver(Order(**first["order"], has_gpu=bool(resources["num_gpus"])), resources)
        tell(connected=True)
        _watch(driver, numbers)
    except (ConnectionError, ray.exceptions.RaySystemError) as wrong:
        tell(lost=(str(wrong).strip() or type(wrong).__name__).splitlines()[0])
        return 1
    return 0


def _watch(driver: Driver, numbers: "queue.SimpleQueue[int | None]") -> None:
    deadline, asked = float("inf"), 0.0
    while not (driver.is_idle and deadline < float("inf")) and time.monotonic() < deadline:
        while not numbers.empty():
            if (number := numbers.get()) is None:
                deadline = time.monotonic() + 2 * STOP_S  # the worker's checkpoint, and then its sender
            else:
                driver.start(number)
        if deadline < float("inf") and time.monotonic() - asked > _STOP_AGAIN_S:
            driver.stop()
            asked = time.monotonic()
        driver.look()


if __name__ == "__main__":
    sys.exit(main())
