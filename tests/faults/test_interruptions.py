"""What becomes of the whole command, registering and testing included, when it is interrupted?"""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from services import HANG_S, when

pytestmark = pytest.mark.faults

EPOCHS = "8"


def long_study(desk: Any, workers: int = 2) -> list[str]:
    # One thread, whatever the number of workers: the last digits depend on it.
    settings = (f"training.epochs={EPOCHS}", "training.threads=1", "finetune.when=never")
    return desk.study("--workers", str(workers), *(word for each in settings for word in ("--set", each)), "--json")


def curves(desk: Any) -> dict[str, list[tuple[int, float]]]:
    """Validation loss of every trial by epoch, as MLflow has it."""
    client = MlflowClient(desk.tracking_uri)
    experiment = client.get_experiment_by_name("two_rates")
    assert experiment is not None
    found = {}
    for run in client.search_runs([experiment.experiment_id], "tags.`drsearch.kind` = 'trial'"):
        points = client.get_metric_history(run.info.run_id, "val_loss")
        found[run.data.tags["drsearch.trial"]] = [(point.step, point.value) for point in points]
    return found


def statuses(desk: Any) -> set[str]:
    client = MlflowClient(desk.tracking_uri)
    experiment = client.get_experiment_by_name("two_rates")
    assert experiment is not None
    return {run.info.status for run in client.search_runs([experiment.experiment_id])}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, fresh_desk: Callable[[Path], Any]) -> Any:
    """The same study left in peace: its curves, and what it told."""
    desk = fresh_desk(tmp_path_factory.mktemp("peace"))
    done = desk.run(*long_study(desk, workers=1))
    assert done.returncode == 0, done.stderr
    return {"curves": curves(desk), "told": json.loads(done.stdout)}


def test_ctrl_c_ends_cleanly_and_the_same_command_goes_on(
    tmp_path: Path, fresh_desk: Callable[[Path], Any], undisturbed: Any
) -> None:
    desk = fresh_desk(tmp_path)
    desk.hold((0, 2))
    process = desk.start(*long_study(desk))
    when(lambda: desk.holds.reached((0, 2)), "a checkpoint of the first trial", process)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, complained
    assert said == ""
    assert complained.splitlines()[-1] == ("drsearch: study 'two_rates' is interrupted; the same command resumes it.")
    assert "RUNNING" not in statuses(desk)
    trials = optuna.load_study(study_name="two_rates", storage=f"sqlite:///{desk.home / 'studies.db'}").trials
    assert optuna.trial.TrialState.RUNNING not in {trial.state for trial in trials}

    desk.holds.release()
    again = desk.run(*long_study(desk))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["trials"] == undisturbed["told"]["trials"]
    assert curves(desk) == undisturbed["curves"]
    assert json.loads(again.stdout)["test"] == undisturbed["told"]["test"]
    assert statuses(desk) == {"FINISHED"}
