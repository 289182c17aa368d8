"""Names of processes, which of them are dead, the cores and GPUs that a process may use, and work in threads."""

import contextlib
import functools
import math
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import psutil

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


def in_threads(work: Callable[[Given], Done], items: Iterable[Given], n_threads: int) -> Iterator[Done]:
    """The work on each item, in order, a few ahead of the caller: what decodes pictures releases the GIL.

    What has not begun when the caller stops is never done.

    Args:
        work: Called in several threads.
        items: As many as there may be.
        n_threads: Of these threads.
    """
    ahead: deque[Future[Done]] = deque()
    with ThreadPoolExecutor(n_threads) as threads:
        try:
            for item in items:
                ahead.append(threads.submit(work, item))
                if len(ahead) > 4 * n_threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
