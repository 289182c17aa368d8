"""Commands of drsearch as processes of their own that need not import TensorFlow, Keras and MLflow first.

`Command` is what `subprocess.Popen` would be. Its process is forked from one that has imported everything and run
nothing (`python warm.py`, one per process of tests): 0.1 s of CPU per command and not 5. What the command starts,
workers and senders, starts as for a user.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from services import HANG_S

_WORDS = 2**17  # bytes of a request at most: the command line and the environment
_ALSO = ("mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store", "scipy.stats", "sklearn.metrics")
"""What drsearch, or MLflow on its behalf, imports while a command runs."""


class Command:
    """A process that runs Python; its standard input is empty.

    Args:
        arguments: As for `subprocess.Popen`: Python, then a script, `-m` and a module, or `-c` and a program, then
            what it is given.
        env: Its whole environment.
        cwd: Its working directory; None for this process's.
        stderr: Where standard error is appended; None to have it from `communicate`.

    Attributes:
        pid: Its number.
        returncode: Its exit status, or minus the number of the signal that ended it; None as long as nobody asked.
    """

    def __init__(
        self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path | None = None, stderr: Path | None = None
    ) -> None:
        self._out, self._err = (os.memfd_create(name) for name in ("stdout", "stderr"))
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = json.dumps({"arguments": arguments[1:], "env": dict(env), "cwd": str(cwd or Path.cwd())}).encode()
        with contextlib.ExitStack() as files:
            files.callback(theirs.close)
            error = files.enter_context(open(stderr, "ab")).fileno() if stderr else self._err
            socket.send_fds(_forker(), [request], [theirs.fileno(), self._out, error])
        self.args = list(arguments)
        self.pid = int(self._line.recv(64))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, or None as long as it runs."""
        with contextlib.suppress(TimeoutError, BlockingIOError):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, when it has ended.

        Raises:
            TimeoutError: If it runs for `timeout` seconds more; BlockingIOError if that is 0.
        """
        if self.returncode is None:
            self._line.settimeout(timeout)
            self.returncode = int(self._line.recv(64))
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; standard output and standard error."""
        self.wait(timeout)
        return _text(self._out), _text(self._err)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it runs."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        os.close(self._out)
        os.close(self._err)
        self._line.close()


def run(
    arguments: Sequence[str], env: Mapping[str, str], cwd: Path | None = None, timeout: float = HANG_S
) -> "subprocess.CompletedProcess[str]":
    """Run a `Command` to its end."""
    command = Command(arguments, env, cwd)
    try:
        out, err = command.communicate(timeout)
    finally:
        command.kill()
    return subprocess.CompletedProcess(command.args, command.wait(), out, err)


def _text(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode()


@functools.cache
def _forker() -> socket.socket:
    """The way to the process that forks."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, __file__, str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _import_everything() -> None:
    import drsearch
    from drsearch.tracking.availability import set_up_client

    set_up_client()  # as commands do before they import MLflow
    for module in pkgutil.walk_packages(drsearch.__path__, "drsearch."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in _ALSO:
        importlib.import_module(name)
    gc.freeze()  # a collection in a command would copy all that was imported


def _serve(requests: socket.socket) -> list[str]:
    """Fork for each request; returns in the new process: what it is to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that watch over commands are not waited for
    while True:
        request, files, *_ = socket.recv_fds(requests, _WORDS, 3)
        if not request:
            sys.exit()
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            line = socket.socket(fileno=files[0])
            pid = os.fork()
            if pid == 0:
                line.close()
                command = json.loads(request)
                _become(command, *files[1:])
                return list(command["arguments"])
            for file in files[1:]:
                os.close(file)
            _watch(pid, line)
        for file in files:
            os.close(file)


def _become(request: dict[str, Any], out: int, err: int) -> None:
    """Be a process that was started with these arguments."""
    for file, number in ((out, 1), (err, 2)):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["cwd"])
    kept = {"TF_CPP_MIN_LOG_LEVEL": os.environ["TF_CPP_MIN_LOG_LEVEL"]}
    os.environ.clear()
    os.environ.update(kept | request["env"])
    how = request["arguments"][0]
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [request["cwd"] if how in ("-m", "-c") else str(Path(how).parent), *filter(None, path)]


def _watch(pid: int, line: socket.socket) -> NoReturn:
    """Tell of a command's number and its end; kill it if nobody listens any more."""
    line.send(str(pid).encode())
    end = os.pidfd_open(pid)
    if end not in select.select([end, line], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    with contextlib.suppress(OSError):
        line.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run(arguments: list[str]) -> None:
    """Do what Python does with these arguments."""
    status = 1
    try:
        match arguments:
            case ["-m", module, *_]:
                sys.argv = arguments[1:]
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            case ["-c", program, *rest]:
                sys.argv = ["-c", *rest]
                exec(program, {"__name__": "__main__"})
            case [script, *_]:
                sys.argv = arguments
                runpy.run_path(script, run_name="__main__")
        status = 0
    except KeyboardInterrupt:
        status = -signal.SIGINT
        raise
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        _statuses.append(status)


_statuses: list[int] = []


def _leave() -> None:
    """End without taking apart a million objects, which would copy them first. The last of what Python does at exit."""
    for status in _statuses:
        sys.stdout.flush()
        if status == -signal.SIGINT:  # as Python ends after a Ctrl-C that nobody caught
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(status)


if __name__ == "__main__":
    atexit.register(_leave)
    _import_everything()
    _run(_serve(socket.socket(fileno=int(sys.argv[1]))))
