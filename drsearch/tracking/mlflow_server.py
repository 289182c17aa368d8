"""Where can a study be looked at? On MLflow's own pages: their server, and the link that compares the best trials.

MLflow's chart view shows every picture at step 0 until its slider is moved, all runs at once, and pictures one card a
key. What is asked for, the best trials' curves and Grad-CAM pictures side by side, is one of its saved views: a tag
of the experiment, `mlflow.sharedViewState.<key>`, that a link names (`viewStateShareKey=<key>`). MLflow documents
neither; `tests/browser` opens the link in a browser and so tells when a new MLflow reads them otherwise.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from drsearch.errors import DrsearchError
from drsearch.home import Home

_HOST = "127.0.0.1"


class UiError(DrsearchError, RuntimeError):
    """MLflow's pages cannot be shown."""


class UiServer:
    """A running MLflow server, made by `serve_ui`; leaving its `with` block ends it."""

    def __init__(self, url: str, process: "subprocess.Popen[bytes]") -> None:
        self.url = url
        self._process = process

    def __enter__(self) -> "UiServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server lives."""
        return self._process.poll() is None

    def wait(self) -> None:
        """Return when the server has ended; SIGTERM, or a terminal that is closed, leave by SystemExit."""
        # The server has a session of its own: without this it would outlive this process, and keep the port.
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


def serve_ui(home: Home, port: int = 5000, timeout_s: float = 120.0) -> UiServer:
    """Serve MLflow's pages on the home's local store, for this machine only, and wait until they answer.

    Args:
        home: Whose `mlflow.db` and artifacts are shown; what the server says goes to its `ui.log`.
        port: On 127.0.0.1; 0 takes any that is free.
        timeout_s: How long to wait for it.

    Raises:
        UiError: If the port is taken, or the server does not come up.
    """
    port = _free_port(port)
    home.artifacts.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port)),
        # More than one worker costs some 45 ms on every request.
        *("--workers", "1"),
        *("--backend-store-uri", home.local_tracking_uri, "--artifacts-destination", str(home.artifacts)),
    ]
    environment = {
        **os.environ,
        # MLflow starts its web server by name; ours is beside this Python even where no environment is activated.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        # Seven more processes and 1.4 GB, for jobs we have none of.
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
    server = UiServer(f"http://{_HOST}:{port}", process)
    try:
        _await_health(server, log, timeout_s)
    except BaseException:
        server.stop()
        raise
    return server


def _leave(sign: int, _: object) -> None:
    raise SystemExit(128 + sign)


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        # As a server does it: a port that its last user has just left is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError) as wrong:
            raise UiError(f"port {port} cannot be had on {_HOST} ({wrong}); choose another one.") from wrong
        return int(probe.getsockname()[1])


def _await_health(server: UiServer, log: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not server.running:
            raise UiError(f"the MLflow server ended before it answered; {log} says why.")
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise UiError(f"the MLflow server did not answer within {timeout_s:.0f} s; {log} may say why.")
