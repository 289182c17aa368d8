"""Does a backup that is made while everybody works bring back all that it refers to?"""

import itertools
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
import psycopg
import pytest
from mlflow import MlflowClient
from services import PostgresServer, postgresql_binaries
from shipped import POSTGRES_PASSWORD, SECRETS, ShippedServer
from sqlalchemy.pool import NullPool


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShippedServer]:
    """A server of this test's own, since it is destroyed; signed in as admin."""
    binaries = postgresql_binaries()
    if binaries is None or not (binaries / "pg_dump").exists():
        pytest.skip("no PostgreSQL with pg_dump on this machine")
    postgresql = PostgresServer(binaries, POSTGRES_PASSWORD)
    server = ShippedServer(tmp_path_factory.mktemp("destroyed"), postgresql)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"])
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        patch.setenv("PGPASSWORD", SECRETS["OPTUNA_DATABASE_PASSWORD"])
        try:
            server.make_databases()
            server.start()
            yield server
        finally:
            server.stop()
            postgresql.close()


def studies(server: ShippedServer) -> optuna.storages.RDBStorage:
    """The study database; connections are not kept."""
    return optuna.storages.RDBStorage(server.storage, engine_kwargs={"poolclass": NullPool})


class Load(threading.Thread):
    """Somebody who logs runs, registers their models, replaces artifacts and begins trials, until told to stop."""

    def __init__(self, server: ShippedServer, number: int) -> None:
        super().__init__()
        self._client = MlflowClient(server.url)
        self._artifacts = server.artifacts
        self._file = server.folder / f"model-{number}.keras"
        self._name = f"model-{number}"
        self._study = optuna.create_study(storage=studies(server), study_name=self._name)
        self._experiment = self._client.create_experiment(self._name)
        self._client.create_registered_model(self._name)
        self.over = threading.Event()
        self.registered: list[int] = []
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                self._once(len(self.registered) + 1)
        except BaseException as wrong:
            self.failed = wrong

    def _once(self, number: int) -> None:
        run_id = self._client.create_run(self._experiment).info.run_id
        trial = self._study.ask()
        trial.set_user_attr("run", run_id)
        self._file.write_bytes(os.urandom(50_000) + str(number).encode())
        self._client.log_artifact(run_id, str(self._file), "checkpoints")
        model = self._client.create_logged_model(self._experiment, name=self._name, source_run_id=run_id)
        self._client.log_model_artifact(model.model_id, str(self._file))
        self._client.finalize_logged_model(model.model_id, "READY")
        version = self._client.create_model_version(
            self._name, f"models:/{model.model_id}", run_id=run_id, model_id=model.model_id, await_creation_for=0
        )
        self.registered.append(int(version.version))
        shutil.rmtree(next(self._artifacts.rglob(f"{run_id}/artifacts/checkpoints")))  # as a trial drops its checkpoint
        self._study.tell(trial, 0.5)
        self._client.set_terminated(run_id)


def check_whole(server: ShippedServer, name: str, folder: Path, known: int) -> int:
    """Every version that the registry has has the file that belongs to it; how many there are."""
    client = MlflowClient(server.url)
    versions = client.search_model_versions(f"name = '{name}'", max_results=10_000)
    numbers = sorted(int(version.version) for version in versions)
    assert numbers == list(range(1, len(numbers) + 1)), "the versions are the first so many"
    assert len(numbers) >= known, "all that was registered before the backup began is there"
    for version in versions:
        location = client.get_model_version_download_uri(name, version.version).removeprefix("mlflow-artifacts:/")
        (file,) = (server.artifacts / location).iterdir()
        assert file.read_bytes()[50_000:] == version.version.encode(), f"version {version.version} has its own file"
        assert client.get_run(str(version.run_id)).info.run_id == version.run_id
    return len(numbers)


def test_what_a_backup_under_load_refers_to_comes_back(server: ShippedServer, tmp_path: Path) -> None:
    loads = [Load(server, number) for number in range(2)]
    for load in loads:
        load.start()
    while not all(len(load.registered) >= 3 or load.failed for load in loads):
        threading.Event().wait(0.05)
    for attempt in itertools.count():  # on a busy disk a backup may be done sooner than a model is registered
        backups = tmp_path / f"backups-{attempt}"
        backups.mkdir()
        before = [len(load.registered) for load in loads]
        done = server.run("backup.py", "backup", str(backups))
        registered_meanwhile = [len(load.registered) for load in loads] != before
        if done.returncode != 0 or registered_meanwhile or any(load.failed for load in loads):
            break
    for load in loads:
        load.over.set()
    for load in loads:
        load.join()
        assert load.failed is None, load.failed
    assert done.returncode == 0, done.stderr
    (made,) = backups.iterdir()
    assert done.stdout.startswith(f"{made} is whole: ")
    assert made.stat().st_mode & 0o077 == 0, "others may not look into it"

    refused = server.run("backup.py", "restore", str(made))
    assert refused.returncode == 2
    assert "is in use by" in refused.stderr and "Nothing was changed." in refused.stderr

    server.stop()
    shutil.rmtree(server.artifacts)
    server.destroy_databases()
    server.make_databases()
    restored = server.run("backup.py", "restore", str(made))
    assert (restored.returncode, restored.stderr) == (0, "")
    server.start()
    found = [check_whole(server, f"model-{number}", tmp_path, before[number]) for number in range(2)]
    assert f": {sum(found)} models" in restored.stdout or sum(found) <= int(restored.stdout.split(": ")[1].split()[0])

    client = MlflowClient(server.url)
    for number in range(2):
        study = optuna.load_study(storage=studies(server), study_name=f"model-{number}")
        runs = [trial.user_attrs["run"] for trial in study.trials if "run" in trial.user_attrs]
        assert len(runs) >= before[number]
        for run_id in runs:
            assert client.get_run(run_id).info.run_id == run_id, "a trial's run is there"
    client.create_registered_model("goes-on")


def test_a_backup_replaces_what_came_after_it(server: ShippedServer, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    client = MlflowClient(server.url)
    client.create_experiment("before")
    optuna.create_study(storage=studies(server), study_name="before")
    done = server.run("backup.py", "backup", str(tmp_path / "backups"))
    assert done.returncode == 0, done.stderr
    client.create_experiment("after")
    server.stop()
    (made,) = (tmp_path / "backups").iterdir()

    cut = tmp_path / "cut"
    shutil.copytree(made, cut)
    dump = (cut / "mlflow.dump").read_bytes()
    (cut / "mlflow.dump").write_bytes(dump[: len(dump) // 2])
    failed = server.run("backup.py", "restore", str(cut))
    assert failed.returncode == 2
    assert failed.stderr.endswith(f"{cut}/mlflow.dump could not be loaded; database mlflow is as it was.\n")
    (cut / "optuna.dump").unlink()
    assert "is no whole backup, it has no optuna.dump" in server.run("backup.py", "restore", str(cut)).stderr

    restored = server.run("backup.py", "restore", str(made))
    assert (restored.returncode, restored.stderr) == (0, "")
    with psycopg.connect(
        host="127.0.0.1", port=server.database_variables()["PGPORT"], user="mlflow", dbname="mlflow",
        password=SECRETS["MLFLOW_DATABASE_PASSWORD"],
    ) as connection:  # fmt: skip
        names = {name for (name,) in connection.execute("SELECT name FROM experiments").fetchall()}
    assert "before" in names and "after" not in names
    assert "before" in optuna.get_all_study_names(studies(server))
