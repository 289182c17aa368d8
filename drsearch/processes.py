"""Names of processes, which of them are dead, the cores and GPUs that a process may use, and work in threads."""

import contextlib
import functools
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import psutil

_WORTH_DOUBLING = 1.4  # times as much done a second
_JUDGED_AFTER_S = 0.5  # at least

Given = TypeVar("Given")
Done = TypeVar("Done")


@functools.cache
def this_machine() -> str:
    """The name of this machine, with the id of its last boot and of the process-id namespace of this process."""
    name = socket.gethostname().replace(":", "-")
    with contextlib.suppress(OSError):  # not on Linux: only the name
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return f"{name}/{boot}-{os.readlink('/proc/self/ns/pid').strip('pid:[]')}"
    return name


def _started(process: psutil.Process) -> str:
    """The start time of a process; setting the machine's clock does not change it."""
    with contextlib.suppress(OSError, IndexError):
        # After the name, which may contain blanks and brackets: clock ticks since boot.
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{process.create_time():.0f}"


def this_process() -> str:
    """The name of this process, unique for all time: machine, process id, and start time, since ids are reused."""
    return f"{this_machine()}:{os.getpid()}:{_started(psutil.Process())}"


def is_dead(worker: str, *, ran_here: bool = False) -> bool:
    """Whether a process is certainly dead; of a process on another machine that is never certain.

    Args:
        worker: Its name, from `this_process`.
        ran_here: Whether it wrote into a folder of this machine, so that it is dead if the machine was rebooted since.
    """
    machine, pid, started = worker.rsplit(":", 2)
    if machine != this_machine():
        return ran_here and machine.partition("/")[0] == this_machine().partition("/")[0]
    try:
        process = psutil.Process(int(pid))
        return _started(process) != started or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs that processes with this environment may use, by CUDA's names.

    Example:
        >>> gpus({"CUDA_VISIBLE_DEVICES": "2,3"}), gpus({"CUDA_VISIBLE_DEVICES": ""})
        (['2', '3'], [])
    """
    if (visible := environment.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name not in ("", "-1", "NoDevFiles")]
    try:
        import pynvml

        pynvml.nvmlInit()
        return [str(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # without driver or library, TensorFlow has no GPU either
        return []


def cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The number of cores that this process may use: limited by its affinity (Slurm) and its container's share."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no limit
        quota, period = (cgroup / "cpu.max").read_text().split()
        n = min(n, math.ceil(int(quota) / int(period)))
    return max(1, n)


def in_threads(
    work: Callable[[Given], Done], items: Iterable[Given], n_threads: int, most: int | None = None
) -> Iterator[Done]:
    """The work on each item, in order, a few ahead of the caller: what decodes pictures releases the GIL.

    What has not begun when the caller stops is never done.

    Args:
        work: Called in several threads.
        items: As many as there may be.
        n_threads: Of these threads, to begin with.
        most: As many are tried where the work may wait for a slow disk; None for no more than to begin with.
    """
    ahead: deque[Future[Done]] = deque()
    number = _NumberOfThreads(n_threads, most or n_threads)
    with contextlib.ExitStack() as pools:
        threads = pools.enter_context(ThreadPoolExecutor(n_threads))
        try:
            for item in items:
                ahead.append(threads.submit(work, item))
                if len(ahead) >= max(4 * n_threads, number.n):  # what waits in memory
                    if number.changes():
                        threads = pools.enter_context(ThreadPoolExecutor(number.n))
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


class _NumberOfThreads:
    """Finds how many threads help: twice as many, until they are hardly faster than half of them were.

    Threads that wait do twice as much if there are twice as many, until cores, disk or network give no more.

    Attributes:
        n: As many help, by what is known so far.
    """

    def __init__(self, n: int, most: int) -> None:
        self.n, self._most = n, most
        self._rate_of_half = 0.0
        self._taken, self._began = 0, math.inf

    def changes(self) -> bool:
        """Count an item; whether the number changes with it."""
        self._taken += 1
        if self._taken == 4 * self.n:  # those before are of fewer threads, or of threads that begin
            self._began = time.monotonic()
        seconds = time.monotonic() - self._began
        if self._taken < 12 * self.n or seconds < _JUDGED_AFTER_S or (self.n == self._most and not self._rate_of_half):
            return False
        rate = (self._taken - 4 * self.n) / seconds
        before = self.n
        if rate < _WORTH_DOUBLING * self._rate_of_half:
            self.n = self._most = self.n // 2
        else:
            self.n = min(2 * self.n, self._most)
        self._rate_of_half = rate if self.n > before else 0.0
        self._taken, self._began = 0, math.inf
        return self.n != before
