"""Which process is this, is that one dead, and which cores and GPUs may it use?"""

import contextlib
import functools
import math
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil


@functools.cache
def this_machine() -> str:
    """Names this machine, since when it runs, and which of its sets of process numbers this process sees."""
    name = socket.gethostname().replace(":", "-")
    with contextlib.suppress(OSError):  # elsewhere than on Linux, the name must do
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        return f"{name}/{boot}-{os.readlink('/proc/self/ns/pid').strip('pid:[]')}"
    return name


def _started(process: psutil.Process) -> str:
    """When a process began, in a way that setting the machine's clock does not change."""
    with contextlib.suppress(OSError, IndexError):
        # After the name, which may hold blanks and brackets: clock ticks since the machine began.
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{process.create_time():.0f}"


def this_process() -> str:
    """Names this process for as long as it lives: machine, id, and its start, since ids are used again."""
    return f"{this_machine()}:{os.getpid()}:{_started(psutil.Process())}"


def is_dead(worker: str, *, ran_here: bool = False) -> bool:
    """Whether a process named by `this_process` is known to be gone; one on another machine never is.

    Args:
        worker: The process.
        ran_here: It wrote into a folder of this machine, and is gone if the machine was started again since.
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
    """The GPUs that processes of this environment may use, as CUDA names them.

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
    except Exception:  # no driver, no library: no GPU that TensorFlow could use either
        return []


def cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: of the machine, its affinity (Slurm) and its container's share."""
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max": no limit
        quota, period = (cgroup / "cpu.max").read_text().split()
        n = min(n, math.ceil(int(quota) / int(period)))
    return max(1, n)
