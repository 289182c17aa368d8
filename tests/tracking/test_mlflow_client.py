"""Does deleting many runs leave what MLflow leaves when it deletes one?"""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from drsearch.tracking.mlflow_client import delete_runs, open_client


@pytest.fixture(params=["database", "server"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> MlflowClient:
    if request.param == "server":
        return open_client(request.getfixturevalue("mlflow_server").url)
    return open_client(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def runs(client: MlflowClient, tmp_path: Path) -> list[Run]:
    experiment_id = client.create_experiment(tmp_path.name)
    made = [client.create_run(experiment_id) for _ in range(4)]
    for run in made:
        client.log_metric(run.info.run_id, "val_auc", 0.5)
        client.set_terminated(run.info.run_id)
    return [client.get_run(run.info.run_id) for run in made]


def told(run: Run) -> dict[str, Any]:
    """All that MLflow tells of a run, but what names it."""
    return {**dict(run.info), "data": run.data.to_dictionary()["metrics"]} | dict.fromkeys(
        ("run_id", "run_uuid", "run_name", "artifact_uri", "start_time", "end_time")
    )


def test_runs_are_as_mlflow_leaves_one_and_all_others_stay(client: MlflowClient, runs: list[Run]) -> None:
    by_us, by_mlflow, kept = [run.info.run_id for run in runs[:2]], runs[2].info.run_id, runs[3].info.run_id
    client.delete_run(by_mlflow)
    delete_runs(client, by_us)
    assert [told(client.get_run(run_id)) for run_id in by_us] == 2 * [told(client.get_run(by_mlflow))]
    assert client.get_run(kept).info.lifecycle_stage == "active"
    experiment_ids = [runs[0].info.experiment_id]
    assert [run.info.run_id for run in client.search_runs(experiment_ids)] == [kept]
    gone = {run.info.run_id for run in client.search_runs(experiment_ids, run_view_type=ViewType.DELETED_ONLY)}
    assert gone == {*by_us, by_mlflow}


def test_a_deleted_run_can_be_restored(client: MlflowClient, runs: list[Run]) -> None:
    first = runs[0].info.run_id
    delete_runs(client, [first])
    client.restore_run(first)
    assert client.get_run(first).to_dictionary() == runs[0].to_dictionary()


def test_a_run_that_is_gone_already_is_passed_over(client: MlflowClient, runs: list[Run]) -> None:
    first, missing = runs[0].info.run_id, "0" * 32
    delete_runs(client, [missing, first])
    assert client.get_run(first).info.lifecycle_stage == "deleted"
    with pytest.raises(MlflowException):
        client.get_run(missing)


def test_the_time_of_deletion_is_noted_by_which_mlflow_gc_goes(tmp_path: Path) -> None:
    client = open_client(f"sqlite:///{tmp_path}/mlflow.db")
    run_id = client.create_run(client.create_experiment("e")).info.run_id
    delete_runs(client, [run_id])
    store = client._tracking_client.store
    assert store._get_deleted_runs(older_than=0) == [run_id]
    assert store._get_deleted_runs(older_than=60_000) == []
