"""What becomes of a study on two machines when one dies? A real database, a real MLflow server, two hosts' worth."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import warm
from mlflow import MlflowClient
from services import HANG_S, MlflowServer, PostgresServer, when
from warm import Command

from drsearch.tracking.checkpoint_bundle import read_info

pytestmark = pytest.mark.faults

EPOCHS = 24
DIES_AT = 16
"""The epoch after which the second machine dies."""
QUICK = "import drsearch.trials.heartbeat as h; h.GRACE_S = 20; import drsearch.cli; drsearch.cli.main()"
"""The command with a shorter patience than two minutes for a machine that is gone; its workers beat as ever."""

ELSEWHERE = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
"""Another host as far as a process can tell: its own name and process numbers; killed, it is gone as a whole."""


@dataclass(frozen=True)
class Fleet:
    """A data set, and the two addresses that machines share; each machine has a home of its own."""

    folder: Path
    desk: Any
    storage: str
    tracking: str

    def environment(self, home: str) -> dict[str, str]:
        own = {"DRSEARCH_HOME": str(self.folder / home), "MLFLOW_TRACKING_URI": self.tracking}
        return {**self.desk.environment(), **own, "MLFLOW_DISABLE_TELEMETRY": "true"}

    def study(self) -> list[str]:
        more = ["--study", "fleet", "--storage", self.storage, "--json"]
        more += ["--set", f"training.epochs={EPOCHS}", "--set", "training.threads=1", "--set", "finetune.when=never"]
        more += ["--set", "training.checkpoint_every_epochs=8"]
        return [sys.executable, "-c", QUICK, *self.desk.study(*more)]

    def start(self, home: str) -> Command:
        """Start the study on a machine that is this one."""
        return Command(self.study(), self.environment(home), self.folder)

    def join_elsewhere(self, home: str) -> "subprocess.Popen[str]":
        """Let a machine of its own join the study."""
        command = [*ELSEWHERE, "sh", "-c", 'hostname second && exec "$@"', "sh", *self.join()]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, env=self.environment(home), cwd=self.folder, stdout=pipe, stderr=pipe, text=True
        )

    def join(self) -> list[str]:
        return self.desk.command("worker", "--study", "fleet", "--storage", self.storage)  # type: ignore[no-any-return]

    def ask_database(self, question: str) -> list[Any]:
        with psycopg.connect(self.storage) as connection:
            return connection.execute(question.encode()).fetchall()

    def has_records(self) -> bool:
        client = MlflowClient(self.tracking)
        experiment = client.get_experiment_by_name("drsearch-records")
        wanted = {path.name for path in (self.folder / "first" / "records").glob("[!.]*")}
        runs = client.search_runs([experiment.experiment_id]) if experiment is not None else []
        return bool(wanted & {run.info.run_name for run in runs if run.info.status == "FINISHED"})

    def second_has_sent_its_checkpoint(self, trial: int) -> bool:
        (file,) = (self.folder / "second").glob(f"runs/fleet-*/trial-{trial:04d}/bundle.zip")
        sent = [run.data.tags.get("drsearch.bundle", "{}") for run in self.trial_runs()]
        return read_info(file).name in {json.loads(each).get("file") for each in sent}

    def trial_runs(self) -> list[Any]:
        client = MlflowClient(self.tracking)
        experiment = client.get_experiment_by_name("fleet")
        if experiment is None:
            return []
        return list(client.search_runs([experiment.experiment_id], "tags.`drsearch.kind` = 'trial'"))


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory,
    fresh_desk: Callable[[Path], Any],
    postgresql_server: PostgresServer,
    mlflow_process: MlflowServer,
) -> Fleet:
    if subprocess.run([*ELSEWHERE, "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody make a second host (unshare --uts --pid)")
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "desk").mkdir()
    return Fleet(folder, fresh_desk(folder / "desk"), postgresql_server.database(), mlflow_process.url)


@pytest.fixture(scope="module")
def after_a_death(fleet: Fleet) -> Any:
    """A study whose second machine dies in the midst of a trial: what the first one told and wrote."""
    holds = fleet.desk.holds
    fleet.desk.hold((0, 8))
    begun = fleet.start("first")
    when(lambda: holds.reached((0, 8)) and fleet.has_records(), "the records in MLflow", begun)
    begun.send_signal(signal.SIGINT)  # so that the second machine has a trial of its own, however slow it is to join
    _, complained = begun.communicate(timeout=HANG_S)
    holds.release()
    assert begun.returncode == 130, complained

    fleet.desk.hold((0, DIES_AT))
    second = fleet.join_elsewhere("second")
    when(lambda: holds.reached((0, DIES_AT)), "the second machine to train", second)
    when(lambda: fleet.second_has_sent_its_checkpoint(0), "its checkpoint in MLflow", second)
    os.kill(second.pid, signal.SIGKILL)
    second.communicate()
    holds.release()

    launcher = fleet.start("first")
    said, complained_again = launcher.communicate(timeout=HANG_S)
    assert launcher.returncode == 0, complained_again
    return json.loads(said), complained + complained_again


def test_a_dead_machines_trial_goes_on_elsewhere_from_its_checkpoint(fleet: Fleet, after_a_death: Any) -> None:
    told, complained = after_a_death
    assert told["trials"] == {"complete": 2, "pruned": 0, "failed": 0, "waiting": 0, "running": 0}
    client = MlflowClient(fleet.tracking)
    runs = fleet.trial_runs()
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    for run in runs:
        points = client.get_metric_history(run.info.run_id, "val_loss")
        assert sorted(point.step for point in points) == list(range(1, EPOCHS + 1)), "a gap or a doubled step"
    told_by = fleet.ask_database("SELECT value_json FROM trial_user_attributes WHERE key = 'drsearch.worker'")
    assert {json.loads(worker).partition("/")[0] for (worker,) in told_by} == {socket.gethostname(), "second"}
    log = "".join(path.read_text() for path in (fleet.folder / "first").glob("runs/fleet-*/workers/*.log"))
    assert f"resumes after epoch {DIES_AT}" in log
    assert "resumes after epoch 0" not in log


def test_uploading_photographs_of_patients_is_said(fleet: Fleet, after_a_death: Any) -> None:
    _, complained = after_a_death
    assert complained.count("it holds photographs of patients, and whoever may read that server can read them") == 1


def test_a_machine_that_trained_nothing_ends_the_study_with_the_version_there_is(
    fleet: Fleet, after_a_death: Any
) -> None:
    told, _ = after_a_death
    done = fleet.start("third")
    said, complained = done.communicate(timeout=HANG_S)
    assert done.returncode == 0, complained
    again = json.loads(said)
    assert again["best"] == told["best"]
    assert again["model"] == told["model"]
    assert {key: value for key, value in again["test"].items() if key != "test_evaluations"} == {
        key: value for key, value in told["test"].items() if key != "test_evaluations"
    }


def test_a_machine_that_was_dead_and_is_back_says_nothing_more(fleet: Fleet, after_a_death: Any) -> None:
    before = {run.info.run_id: dict(run.data.metrics) for run in fleet.trial_runs()}
    back = warm.run(fleet.desk.command("sync", "--json"), fleet.environment("second"), fleet.folder)
    assert back.returncode == 0, back.stderr
    assert {run.info.run_id: dict(run.data.metrics) for run in fleet.trial_runs()} == before
