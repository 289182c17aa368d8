import contextlib
import json
import socket
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
from mlflow import MlflowClient
from services import HANG_S, free_port

from drsearch.home import Home
from drsearch.tracking.events import Image, Metrics, RunStart, Tags
from drsearch.tracking.mlflow_server import UiError, start_ui
from drsearch.tracking.mlflow_tracker import MlflowTracker
from drsearch.tracking.mlflow_views import chart_link, comparison_link, save_comparison


def test_the_link_names_the_experiment_and_the_saved_view() -> None:
    assert chart_link("http://127.0.0.1:5000/", "7") == (
        "http://127.0.0.1:5000/#/experiments/7/runs"
        "?compareRunsMode=CHART&viewStateShareKey=drsearch-best&workflowType=machine_learning"
    )


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UiError) as wrong:
            start_ui(Home(tmp_path), port)
    assert str(wrong.value) == (
        f"port {port} cannot be had on 127.0.0.1 ([Errno 98] Address already in use); choose another one."
    )


def test_a_server_that_cannot_start_says_where_the_reason_is(tmp_path: Path, warm_children: None) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and MLflow will say so" * 10)
    with start_ui(Home(tmp_path), free_port()) as server, pytest.raises(UiError) as wrong:
        server.await_answer(HANG_S)
    assert str(wrong.value) == f"the MLflow server ended before it answered; {tmp_path / 'ui.log'} has the reason."


def test_the_store_knows_how_full_its_tables_are_before_it_is_served(
    tmp_path: Path, empty_mlflow_db: Path, warm_children: None
) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_mlflow_db.read_bytes())
    home = Home(tmp_path)
    tracker = MlflowTracker(home.local_tracking_uri, home.artifacts)
    run_id = tracker.open(RunStart("first", "first", "study", {}, started_ms=1))
    tracker.send(run_id, [Metrics(1, {"val_auc": 0.5})], tmp_path)
    with start_ui(home, free_port()) as server, contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        server.await_answer(HANG_S)
        assert "latest_metrics" in {table for (table,) in store.execute("SELECT tbl FROM sqlite_stat1")}


def saved_view(uri: str, experiment_id: str) -> dict[str, object]:
    view = json.loads(MlflowClient(uri).get_experiment(experiment_id).tags["mlflow.sharedViewState.drsearch-best"])
    state = json.loads(view["state"])
    assert isinstance(state, dict)
    return state


def test_an_experiment_that_is_not_there_has_no_view(mlflow_uri: str) -> None:
    assert save_comparison(mlflow_uri, "nothing") is None


def test_the_view_has_the_best_trials_and_the_last_step_of_most_pictures(mlflow_uri: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(mlflow_uri, tmp_path / "artifacts")
    assert cv2.imwrite(str(tmp_path / "eye.png"), np.zeros((8, 8, 3), np.uint8))
    primary = {"mlflow.experiment.primaryMetric.name": "best_val_auc"}
    run_ids = []
    for number, (auc, steps) in enumerate([(0.7, (5, 10)), (0.9, (5, 10, 15)), (0.6, (5,)), (0.8, (5, 10, 20))]):
        start = RunStart(str(number), "study", f"trial {number}", {"drsearch.kind": "trial"}, experiment_tags=primary)
        run_ids.append(tracker.open(start))
        tracker.send(run_ids[-1], [Metrics(20, {"best_val_auc": auc})], tmp_path)
        tracker.send(run_ids[-1], [Image("gradcam/eye_1", step, "eye.png") for step in steps], tmp_path)
        tracker.send(run_ids[-1], [Image("roc", 30, "eye.png")], tmp_path)
    tracker.open(RunStart("s", "study", "study", {"drsearch.kind": "study"}))
    experiment_id = save_comparison(mlflow_uri, "study", n_best=3)
    assert experiment_id is not None
    state = saved_view(mlflow_uri, experiment_id)
    best = ", ".join(f"'{run_ids[number]}'" for number in (1, 3, 0))
    assert state["searchFilter"] == f"attributes.run_id IN ({best})"
    charts = state["compareRunCharts"]
    assert isinstance(charts, list)
    [pictures] = [chart for chart in charts if chart["type"] == "IMAGE"]
    assert (pictures["imageKeys"], pictures["step"]) == (["gradcam/eye_1"], 10)


def test_the_view_leaves_out_trials_that_violate_a_constraint(mlflow_uri: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(mlflow_uri, tmp_path / "artifacts")
    name = "best_val_sensitivity_at_specificity_0.9"
    tags = {"mlflow.experiment.primaryMetric.name": name}
    run_ids = []
    for number, value in enumerate([0.7, 0.9, 0.8]):
        start = RunStart(
            f"limits/{number}", "limits", f"trial {number}", {"drsearch.kind": "trial"}, experiment_tags=tags
        )
        run_ids.append(tracker.open(start))
        violates = [Tags({"drsearch.violated": "parameters 300001 > 300000"})] if value == 0.9 else []
        tracker.send(run_ids[-1], [Metrics(20, {name: value}), *violates], tmp_path)
    experiment_id = save_comparison(mlflow_uri, "limits")
    assert experiment_id is not None
    assert saved_view(mlflow_uri, experiment_id)["searchFilter"] == (
        f"attributes.run_id IN ('{run_ids[2]}', '{run_ids[0]}')"
    )


def test_the_table_has_the_ranking_score_first_and_the_settings_that_differ(mlflow_uri: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(mlflow_uri, tmp_path / "artifacts")
    primary = {"mlflow.experiment.primaryMetric.name": "best_val_accuracy"}
    for number in range(3):
        params = {"training.learning_rate": 10.0**-number, "training.seed": number, "training.epochs": 9}
        start = RunStart(
            f"table/{number}", "table", f"trial {number}", {"drsearch.kind": "trial"}, params, experiment_tags=primary
        )
        scores = {"best_val_auc": 0.8, "best_val_accuracy": 0.7, "best_val_accuracy_low": 0.6, "val_loss": 0.1}
        words = {"best_val_accuracy": "0.700 [0.600, 0.800]"}
        tracker.send(tracker.open(start), [Metrics(9, scores), Tags(words)], tmp_path)
    experiment_id = save_comparison(mlflow_uri, "table")
    assert experiment_id is not None
    tags = MlflowClient(mlflow_uri).get_experiment(experiment_id).tags
    state = json.loads(json.loads(tags["mlflow.sharedViewState.drsearch-trials"])["state"])
    assert state["orderByKey"] == "metrics.`best_val_accuracy`"
    assert state["selectedColumns"] == [
        "attributes.`Duration`",
        "tags.`best_val_accuracy`",
        "metrics.`best_val_auc`",
        "params.`training.learning_rate`",
    ]


def test_where_less_is_better_the_view_has_the_least(mlflow_uri: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(mlflow_uri, tmp_path / "artifacts")
    primary = "mlflow.experiment.primaryMetric"
    tags = {f"{primary}.name": "val_loss", f"{primary}.greaterIsBetter": "False"}
    run_ids = []
    for number, loss in enumerate([0.5, 0.3, 0.4]):
        start = RunStart(str(number), "study", f"trial {number}", {"drsearch.kind": "trial"}, experiment_tags=tags)
        run_ids.append(tracker.open(start))
        tracker.send(run_ids[-1], [Metrics(20, {"val_loss": loss})], tmp_path)
    experiment_id = save_comparison(mlflow_uri, "study", n_best=2)
    assert experiment_id is not None
    assert saved_view(mlflow_uri, experiment_id)["searchFilter"] == (
        f"attributes.run_id IN ('{run_ids[1]}', '{run_ids[2]}')"
    )


def test_the_link_leads_to_the_study_begun_last_and_names_the_studies_where_there_is_no_such(
    tmp_path: Path, warm_children: None
) -> None:
    home = Home(tmp_path)
    with start_ui(home, free_port()) as server:
        server.await_answer(HANG_S)
        assert comparison_link(server.url) == f"{server.url}/#/experiments?workflowType=machine_learning"
        tracker = MlflowTracker(home.local_tracking_uri, home.artifacts)
        for at_ms, name in enumerate(("first", "last"), start=1):
            tracker.open(RunStart(name, name, "study", {"drsearch.kind": "study"}, started_ms=at_ms))
        last = MlflowClient(server.url).get_experiment_by_name("last").experiment_id
        assert comparison_link(server.url) == comparison_link(server.url, "last") == chart_link(server.url, last)
        with pytest.raises(UiError) as wrong:
            comparison_link(server.url, "none")
        assert str(wrong.value) == "there is no study 'none'; there is 'last', 'first'."
    assert not server.running
