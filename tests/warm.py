"""Commands of drsearch as processes of their own that need not import TensorFlow, Keras and MLflow first.

`Command` is what `subprocess.Popen` would be. Its process is forked from one that has imported everything and run
nothing (`python warm.py`, one per process of tests): 0.1 s of CPU per command and not 5. So are the workers, the
sender and the MLflow server that a command starts: they have its number as parent, the command line, environment,
session, open files and held back signals that it gave them, and it waits for them as ever. `COLD` in the environment
of a command lets them start as for a user.
"""

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import inspect
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import new_stores
from services import HANG_S

_WORDS = 2**17  # bytes of a request at most: the command line and the environment
_ALSO = (
    "alembic.command",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "optuna.storages._rdb.models",
    "scipy.stats",
    "sklearn.metrics",
    "sqlalchemy.dialects.sqlite",
    "uvicorn",
)
"""What drsearch, or MLflow on its behalf, imports while a command runs."""

_SERVER = ("mlflow.server.fastapi_app", "mlflow.server")
"""What takes settings from the environment when it is imported: imported once for all that it imports, then again."""

COLD = "COLD_WORKERS"
"""Set in the environment of a command whose workers and sender are to be processes of a new Python."""

_CHILDLESS = ("drsearch.workers.worker", "drsearch.tracking.sender", "uvicorn")
_STARTED = (*_CHILDLESS, "drsearch", "ipykernel_launcher", "mlflow")
_PR_SET_CHILD_SUBREAPER = 36
_NURSERY = b"nursery"
_SHOWN = 2000  # bytes of a command line that the system shows


class Command:
    """A process that runs Python; its standard input is empty.

    Args:
        arguments: As for `subprocess.Popen`: Python, then a script, `-m` and a module, or `-c` and a program, then
            what it is given.
        env: Its whole environment.
        cwd: Its working directory; None for this process's.
        stderr: Where standard error is appended; None to have it from `communicate`.
        session: Whether it gets a session of its own, with the same number.

    Attributes:
        pid: Its number.
        returncode: Its exit status, or minus the number of the signal that ended it; None as long as nobody asked.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cwd: Path | None = None,
        stderr: Path | None = None,
        *,
        session: bool = False,
    ) -> None:
        self._out, self._err = (os.memfd_create(name) for name in ("stdout", "stderr"))
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        what = {"arguments": arguments[1:], "env": dict(env), "cwd": str(cwd or Path.cwd()), "session": session}
        with contextlib.ExitStack() as files:
            files.callback(theirs.close)
            error = files.enter_context(open(stderr, "ab")).fileno() if stderr else self._err
            socket.send_fds(_forker(), [json.dumps(what).encode()], [theirs.fileno(), self._out, error])
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

    def said(self) -> str:
        """Its standard output so far."""
        return _text(self._out)

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
    """The way to the process that forks. Each process of tests has its own: it is the parent of what is forked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, __file__, str(theirs.fileno()), " " * _SHOWN]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _import_everything() -> None:
    import sqlalchemy.orm

    import drsearch
    from drsearch.tracking.availability import set_up_client

    set_up_client()  # as commands do before they import MLflow
    for module in pkgutil.walk_packages(drsearch.__path__, "drsearch."):
        if not module.name.endswith(("__main__", "ray_driver")):  # it starts cold, and alone imports Ray
            importlib.import_module(module.name)
    with warnings.catch_warnings(action="ignore"):
        for name in (*_ALSO, *_SERVER):
            importlib.import_module(name)
    for name in _SERVER:
        del sys.modules[name]
    if new_stores.FILE in os.environ:
        new_stores.make_by_statements()
    sqlalchemy.orm.configure_mappers()  # of MLflow's tables and Optuna's, as their first query does
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
            if request == _NURSERY:
                return _bear(line)
            pid = os.fork()
            if pid == 0:
                line.close()
                return _become(json.loads(request), os.open(os.devnull, os.O_RDONLY), *files[1:])
            for file in files[1:]:
                os.close(file)
            _watch(pid, line)
        for file in files:
            os.close(file)


def _become(request: dict[str, Any], *files: int) -> list[str]:
    """Be a process that was started with these arguments and files; returns what it, or a child of it, is to run."""
    if request.get("session"):
        os.setsid()
    arguments: list[str] = request["arguments"]
    if COLD not in request["env"] and not set(_CHILDLESS) & set(arguments) and (of_child := _keep_nursery()):
        return of_child
    _show(arguments)
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    os.chdir(request["cwd"])
    kept = {"TF_CPP_MIN_LOG_LEVEL": os.environ["TF_CPP_MIN_LOG_LEVEL"]}
    os.environ.clear()
    os.environ.update(kept | request["env"])
    path = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    if arguments[0] == "-P":
        arguments = arguments[1:]
    else:
        path.insert(0, request["cwd"] if arguments[0] in ("-m", "-c") else str(Path(arguments[0]).parent))
    sys.path[:1] = path
    return arguments


def _show(arguments: Sequence[str]) -> None:
    """Let the system show these as the arguments of this process, in the room that its own first ones took."""
    start, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    text = "\0".join([sys.executable, *arguments]).encode()
    ctypes.memmove(start, text[: end - start - 1].ljust(end - start, b"\0"), end - start)


class _Popen(subprocess.Popen):  # type: ignore[type-arg]
    """Lets the nursery fork what would be a module of `_STARTED`; starts everything else as ever."""

    nursery: socket.socket

    def _execute_child(self, args: Any, *how: Any) -> None:
        words = [word for word in args[1:] if word != "-P"] if isinstance(args, list) else []
        if not (words[:1] == ["-m"] and words[1] in _STARTED):
            super()._execute_child(args, *how)  # type: ignore[misc]
            return
        names = list(inspect.signature(super()._execute_child).parameters)[1:]  # type: ignore[misc]
        given = dict(zip(names, how, strict=True))
        request = {"arguments": args[1:], "env": given["env"], "session": given["start_new_session"]}
        request["cwd"] = str(given["cwd"] or Path.cwd())
        request["held_back"] = list(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        files = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        files = [number if file == -1 else file for number, file in enumerate(files)]
        socket.send_fds(self.nursery, [json.dumps(request).encode()], files)
        self.pid = int(self.nursery.recv(64))
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pipes))  # type: ignore[attr-defined]


@contextlib.contextmanager
def warm_children() -> Iterator[None]:
    """Let what this process starts meanwhile be forked, too: workers, senders, MLflow servers, kernels, commands."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    socket.send_fds(_forker(), [_NURSERY], [theirs.fileno()])
    theirs.close()
    usual = subprocess.Popen
    _use_nursery(ours)
    try:
        yield
    finally:
        subprocess.Popen = usual  # type: ignore[misc]
        _adopt_orphans(False)
        ours.close()


def _keep_nursery() -> list[str]:
    """Fork a process that stays as it is now, and from which the children of this process are forked.

    Returns:
        In each of these: what it is to run. Nothing in this process.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        return _bear(theirs)
    theirs.close()
    _use_nursery(ours)
    return []


def _use_nursery(nursery: socket.socket) -> None:
    _Popen.nursery = nursery
    _adopt_orphans(True)
    subprocess.Popen = _Popen  # type: ignore[misc]


def _adopt_orphans(wanted: bool) -> None:
    """Whether orphans of a nursery become children of this process, which waits for them like for its own."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def _bear(requests: socket.socket) -> list[str]:
    """Fork for each request, until the process that asks is gone; returns in the new process."""
    meant_for_command = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.signal(number, signal.SIG_IGN) for number in meant_for_command]
    while True:
        request, files, *_ = socket.recv_fds(requests, _WORDS, 3)
        if not request:
            os._exit(0)
        if (middle := os.fork()) == 0:
            middle = os.getpid()
            if os.fork() != 0:
                os._exit(0)
            asked = json.loads(request)
            signal.pthread_sigmask(signal.SIG_SETMASK, asked["held_back"])
            for number, handler in zip(meant_for_command, before, strict=True):
                signal.signal(number, handler)
            while os.getppid() == middle:
                time.sleep(0.001)
            if asked.pop("session"):
                os.setsid()  # first: who has its number may ask for its group
            requests.send(str(os.getpid()).encode())  # not before it is a child of the process that will wait for it
            requests.close()
            return _become(asked, *files)
        os.waitpid(middle, 0)
        for file in files:
            os.close(file)


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
                if not hasattr(sys.modules.get(module), "__path__"):
                    sys.modules.pop(module, None)  # it is run, not imported
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
