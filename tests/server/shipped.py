"""The shipped server as a team has it: PostgreSQL with passwords, the start script, the users; without Docker."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import requests
import warm
from services import HANG_S, PostgresServer, free_port, when_healthy

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "mlflow_server"
SECRETS = {
    "MLFLOW_DATABASE_PASSWORD": "database/word:of@mlflow",  # what a URL would need escaped
    "OPTUNA_DATABASE_PASSWORD": "database 'word' of optuna",
    "MLFLOW_AUTH_ADMIN_PASSWORD": "the-first-of-all-words",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": "what-signs-the-forms",
}
POSTGRES_PASSWORD = "word of postgres"


class ShippedServer:
    """`mlflow_server/start.sh` on databases made by `mlflow_server/databases.sh`.

    Args:
        folder: For artifacts and the log.
        postgresql: Where the databases `mlflow` and `optuna` are made; it must have neither.
        changes: Texts of the start script and what stands in their place, for benchmarks of other settings.
    """

    def __init__(self, folder: Path, postgresql: PostgresServer, changes: Mapping[str, str] | None = None) -> None:
        self._scripts = SCRIPTS
        if changes:
            self._scripts = Path(shutil.copytree(SCRIPTS, folder / "mlflow_server"))
            script = self._scripts / "start.sh"
            for text, other in changes.items():
                assert text in script.read_text(), text
                script.write_text(script.read_text().replace(text, other))
        self.folder = folder
        self.artifacts = folder / "artifacts"
        self.log = folder / "server.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.passwords = {"admin": SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"]}
        self.postgresql = postgresql
        self._process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        """The variables that the compose file gives the service `mlflow`."""
        return {
            "PATH": self._path(),
            "HOME": str(self.folder),
            "MLFLOW_BACKEND_STORE_URI": f"postgresql://mlflow@127.0.0.1:{self.postgresql.port}/mlflow",
            "PGPASSWORD": SECRETS["MLFLOW_DATABASE_PASSWORD"],
            "MLFLOW_AUTH_ADMIN_PASSWORD": SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": SECRETS["MLFLOW_FLASK_SERVER_SECRET_KEY"],
            "MLFLOW_ARTIFACTS_DESTINATION": str(self.artifacts),
            "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{self.port}",
            "MLFLOW_HOST": "127.0.0.1",
            "MLFLOW_PORT": str(self.port),
        }

    def make_databases(self) -> None:
        """Run the script that PostgreSQL's image runs on new data."""
        own = {**self.database_variables(), "PGPASSWORD": POSTGRES_PASSWORD, "PATH": self._path()}
        subprocess.run(["sh", str(SCRIPTS / "databases.sh")], env=own, check=True, capture_output=True)

    def destroy_databases(self) -> None:
        """Remove the databases and their users."""
        told = {"host": "127.0.0.1", "port": self.postgresql.port, "user": "postgres", "password": POSTGRES_PASSWORD}
        with psycopg.connect(**told, autocommit=True) as connection:
            for name in ("mlflow", "optuna"):
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
                connection.execute(f"DROP ROLE {name}")

    def start(self) -> None:
        """Start it, and return when it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["sh", str(self._scripts / "start.sh")],
                env=self.environment(), cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        when_healthy(self.url, self._process, self.log)

    @property
    def group(self) -> int:
        """The process group of all its processes."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """End it with all its processes."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def run(self, script: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a script of `mlflow_server` as a container of this server does."""
        own = {**self.environment(), **self.database_variables(), **variables}
        return subprocess.run(
            [sys.executable, str(SCRIPTS / script), *arguments], env=own, capture_output=True, text=True, timeout=HANG_S
        )

    def drsearch(self, *arguments: str, user: str = "admin", **variables: str) -> "subprocess.CompletedProcess[str]":
        """The command line, signed in as a user."""
        signed = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": self.passwords.get(user, "")}
        own = {**os.environ, "MLFLOW_TRACKING_URI": self.url, **signed, **variables}
        command = [sys.executable, "-m", "drsearch", *arguments]
        return warm.run(command, own, self.folder)

    def drsearch_json(self, *arguments: str, **options: str) -> Any:
        """What a command tells by --json."""
        done = self.drsearch(*arguments, **options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ask(
        self, method: str, path: str, user: str | None, *, auth: tuple[str, str] | None = None, **options: Any
    ) -> requests.Response:
        """One request as a user, as somebody else (`auth`), or as nobody."""
        if user is not None:
            auth = (user, self.passwords[user])
        return requests.request(method, f"{self.url}{path}", auth=auth, timeout=HANG_S, **options)

    @property
    def storage(self) -> str:
        """The study database, without its password: PGPASSWORD holds it."""
        return f"postgresql://optuna@127.0.0.1:{self.postgresql.port}/optuna"

    def database_variables(self) -> Mapping[str, str]:
        """What `backup.py` reaches the databases by."""
        return {"PGHOST": "127.0.0.1", "PGPORT": str(self.postgresql.port), **SECRETS}

    def _path(self) -> str:
        programs = [Path(sys.executable).parent, self.postgresql.binaries]
        return os.pathsep.join([*map(str, programs), os.environ["PATH"]])
