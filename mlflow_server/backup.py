"""Keep what the server holds, and bring it back: both databases and the artifacts, consistent with each other.

    python backup.py backup /backups            while everything runs; makes /backups/<time>
    python backup.py restore /backups/<time>    while nothing runs but PostgreSQL

A row may refer to files, never the other way round, and files are written before the rows that refer to them. So the
databases come first and the files after them. Files that are removed in between would be missing; therefore they are
copied once before the databases too. Optuna's trials refer to MLflow's runs: its database comes before MLflow's.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg

DATABASES = ("optuna", "mlflow")
_REFERRED = """
    SELECT storage_location FROM model_versions WHERE storage_location LIKE 'mlflow-artifacts:%'
    UNION SELECT artifact_location FROM logged_models
    WHERE artifact_location LIKE 'mlflow-artifacts:%' AND lifecycle_stage = 'active' AND status = 2"""  # 2: READY
# As PostgreSQL makes it, so that a dump says nothing about it.
_EMPTY = """
    SET client_min_messages = warning;
    DROP SCHEMA public CASCADE;
    CREATE SCHEMA public AUTHORIZATION pg_database_owner;
"""


def backup(folder: Path) -> None:
    """Make a new backup in `folder`; it has its name only when it is whole."""
    os.umask(0o077)  # photographs of patients, and hashes of passwords
    name = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
    if (folder / name).exists():
        _leave(f"{folder / name} is there already; give the command again.")
    part = folder / f"{name}.part"
    try:
        part.mkdir()
    except OSError as wrong:
        _leave(f"{part} cannot be made ({wrong.strerror}); name a folder that user {os.getuid()} may write to.")
    artifacts = _artifacts()
    if artifacts is not None:
        _copy(artifacts, part / "artifacts")
    for database in DATABASES:
        with psycopg.connect(dbname=database, user=database, password=_password(database)) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            (snapshot,) = connection.execute("SELECT pg_export_snapshot()").fetchone() or ("",)
            referred = _referred(connection) if database == "mlflow" else []
            dumped = ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"]
            _call([*dumped, f"--file={part / database}.dump"], database)
    if artifacts is not None:
        _copy(artifacts, part / "artifacts")
        _check(referred, part / "artifacts")
    part.rename(folder / name)
    elsewhere = "" if artifacts is not None else f"; the artifacts lie in {_destination()}, and are not in it"
    print(f"{folder / name} is whole: {len(referred)} models, all their files{elsewhere}")


def restore(folder: Path) -> None:
    """Bring back what a backup holds, in place of what is there."""
    for database in DATABASES:
        if not (folder / f"{database}.dump").is_file():
            _leave(f"{folder} is no whole backup, it has no {database}.dump; nothing was changed.")
    for database in DATABASES:
        with psycopg.connect(dbname=database, user=database, password=_password(database)) as connection:
            others = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
            (n,) = connection.execute(others, (database,)).fetchone() or (0,)
        if n:
            _leave(f"database {database} is in use by {n} connections; stop all but PostgreSQL. Nothing was changed.")
    artifacts = _artifacts()
    if artifacts is not None and (folder / "artifacts").is_dir():
        _copy(folder / "artifacts", artifacts)
    for database in DATABASES:
        _load(folder / f"{database}.dump", database)
    with psycopg.connect(dbname="mlflow", user="mlflow", password=_password("mlflow")) as connection:
        referred = _referred(connection)
    if artifacts is not None:
        _check(referred, artifacts)
    print(f"{folder} is restored: {len(referred)} models" + (", all their files" if artifacts is not None else ""))


def _load(dump: Path, database: str) -> None:
    """Replace a database by a dump, in one transaction: it is as it was, or as the dump says."""
    psql = ["psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--username={database}", f"--dbname={database}"]
    read, reading = ["pg_restore", "--no-owner", "--no-privileges"], None
    own = {**os.environ, "PGPASSWORD": _password(database)}
    with subprocess.Popen(psql, env=own, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as loading:
        assert loading.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # psql ended early, and has said why
            loading.stdin.write(f"BEGIN;\n{_EMPTY}".encode())
            loading.stdin.flush()
            reading = subprocess.run([*read, "--file=-", dump], stdout=loading.stdin)
            if reading.returncode == 0:
                loading.stdin.write(b"COMMIT;\n")
            loading.stdin.close()
    if reading is None or reading.returncode or loading.returncode:
        _leave(f"{dump} could not be loaded; database {database} is as it was.")


def _copy(source: Path, into: Path) -> None:
    """Copy what is new or has changed; what vanishes meanwhile is left out."""
    for file in _files(source):
        copy = into / file.relative_to(source)
        try:
            there, wanted = copy.stat() if copy.exists() else None, file.stat()
            if there and (there.st_size, there.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns):
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, copy)
        except FileNotFoundError:
            continue


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        for name in names:
            yield Path(place, name)


def _referred(connection: "psycopg.Connection[tuple[str]]") -> list[str]:
    """Where the files of every registered or finished model lie, below the artifacts' folder."""
    found = connection.execute(_REFERRED).fetchall()
    return [unquote(urlsplit(location).path).strip("/") for (location,) in found]


def _check(referred: list[str], artifacts: Path) -> None:
    lost = [place for place in referred if not next(_files(artifacts / place), None)]
    if lost:
        _leave(f"{len(lost)} models have no files in {artifacts}, for example {lost[0]}; this is not whole.")


def _artifacts() -> Path | None:
    """The folder of artifacts; None where they are not in one."""
    destination = _destination()
    if "://" in destination:
        return None
    path = Path(destination)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _destination() -> str:
    return _variable("MLFLOW_ARTIFACTS_DESTINATION", "where artifacts go, as the server has it")


def _password(database: str) -> str:
    return _variable(f"{database.upper()}_DATABASE_PASSWORD", f"the password of the database user {database}")


def _variable(name: str, what: str) -> str:
    if not (value := os.environ.get(name, "")):
        _leave(f"{name} is not set: {what}.")
    return value


def _call(command: list[str], database: str) -> None:
    own = {**os.environ, "PGPASSWORD": _password(database)}
    if subprocess.run([*command, f"--username={database}", f"--dbname={database}"], env=own).returncode:
        _leave(f"{command[0]} of database {database} failed; this backup is not whole.")


def _leave(sentence: str) -> None:
    print(f"backup.py: {sentence}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("backup", "restore"))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    {"backup": backup, "restore": restore}[options.what](options.folder)
