"""Serves MLflow's pages of the local store."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from drsearch.errors import DrsearchError
from drsearch.home import Home

MODEL_TRAINING = "workflowType=machine_learning"
"""Opens MLflow's pages in *Model training*: only the address decides it; without, they open in *GenAI*."""

_HOST = "127.0.0.1"
_LOCKED_S = 2.0


class UiError(DrsearchError, RuntimeError):
    """MLflow's pages cannot be served."""


def first_page(url: str) -> str:
    """Where a browser is to begin on a server: the list of experiments.

    Args:
        url: Of the server.
    """
    return f"{url}/#/experiments?{MODEL_TRAINING}"


class UiServer:
    """An MLflow server, started by `start_ui`; its `with` block ends it.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.url = url
        self._process, self._log = process, log

    def __enter__(self) -> "UiServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def page(self) -> str:
        """Where a browser is to begin: the list of experiments, in *Model training*."""
        return first_page(self.url)

    @property
    def running(self) -> bool:
        """Whether the server runs."""
        return self._process.poll() is None

    def await_answer(self, timeout_s: float = 120.0) -> None:
        """Return when it answers.

        Raises:
            UiError: If it does not, within `timeout_s` seconds.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if not self.running:
                raise UiError(f"the MLflow server ended before it answered; {self._log} has the reason.")
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise UiError(f"the MLflow server did not answer within {timeout_s:.0f} s; {self._log} may have the reason.")

    def wait(self) -> None:
        """Return when the server has ended; SIGTERM, or a closed terminal, raise SystemExit."""
        # The server has a session of its own: without these handlers it would outlive this process and keep the port.
        for sign in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, _leave)
        self._process.wait()

    def stop(self) -> None:
        """End the server and the processes it started."""
        for sign, timeout_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, None)):
            try:
                os.killpg(self._process.pid, sign)
                self._process.wait(timeout_s)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()


def _gather_statistics(database: Path) -> None:
    """Tell SQLite how full its tables are: it then sorts 10,000 runs by a metric in 0.3 seconds instead of 5."""
    # Where it is missing, broken or just written to, the server itself says so, or does without.
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True, timeout=_LOCKED_S)) as connection,
    ):
        connection.execute("PRAGMA analysis_limit = 1000")  # rows of an index that are looked at
        connection.execute("ANALYZE")
        connection.commit()


def start_ui(home: Home, port: int = 5000) -> UiServer:
    """Start MLflow's server on the home's local store, for this machine only.

    Args:
        home: Whose `mlflow.db` and artifacts it serves; its output goes to `ui.log` there.
        port: On 127.0.0.1; 0 picks a free one.

    Returns:
        The server, which answers some seconds later.

    Raises:
        UiError: If the port is taken.
    """
    port = _free_port(port)
    home.artifacts.mkdir(parents=True, exist_ok=True)
    _gather_statistics(home.path / "mlflow.db")
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port)),
        # More than one worker adds about 45 ms to every request.
        *("--workers", "1"),
        *("--backend-store-uri", home.local_tracking_uri, "--artifacts-destination", str(home.artifacts)),
    ]
    environment = {
        **os.environ,
        # MLflow starts its web server by name; it is beside this Python even if no environment is activated.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        # Seven more processes and 1.4 GB, for jobs that drsearch does not have.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    log = home.path / "ui.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=home.path,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return UiServer(f"http://{_HOST}:{port}", process, log)


def _leave(sign: int, _: object) -> None:
    raise SystemExit(128 + sign)


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        # As servers do: a port that was closed just now is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError) as wrong:
            raise UiError(f"port {port} cannot be had on {_HOST} ({wrong}); choose another one.") from wrong
        return int(probe.getsockname()[1])
