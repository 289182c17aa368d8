import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from mlflow import MlflowClient

from drsearch.tracking.events import Artifact, DatasetInput, Event, Image, Metrics, RunEnd, RunStart, Tags
from drsearch.tracking.markdown import pictures
from drsearch.tracking.mlflow_tracker import MlflowTracker
from drsearch.tracking.tracker import TrackerRefused, TrackerUnavailable

START = RunStart(key="study/0", experiment="study", name="trial 0", started_ms=1)


@pytest.fixture
def mlflow_tracker(mlflow_uri: str, tmp_path: Path) -> MlflowTracker:
    return MlflowTracker(mlflow_uri, tmp_path / "artifacts")


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(mlflow_uri)


def test_pictures_are_named_as_mlflow_names_them(
    mlflow_tracker: MlflowTracker, client: MlflowClient, tmp_path: Path
) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "eye.png"), pixels)
    run_id = mlflow_tracker.open(START)
    mlflow_tracker.send(run_id, [Image("gradcam/eye 1", 5, "eye.png", 77)], tmp_path)
    ours = {file.path for file in client.list_artifacts(run_id, "images")}
    client.log_image(run_id, pixels, key="gradcam/eye 1", step=5, timestamp=77, synchronous=True)
    theirs = {file.path for file in client.list_artifacts(run_id, "images")} - ours
    uuid = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
    assert {uuid.sub("UUID", name) for name in ours} == {uuid.sub("UUID", name) for name in theirs}
    assert client.get_run(run_id).data.tags["mlflow.loggedImages"] == "True"


def test_pictures_in_a_note_are_those_of_its_run(
    mlflow_tracker: MlflowTracker, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = mlflow_tracker.open(START)
    mlflow_tracker.send(run_id, [Tags({"mlflow.note.content": pictures("validation/roc.png")})], tmp_path)
    assert client.get_run(run_id).data.tags["mlflow.note.content"] == (
        f"![validation/roc.png](get-artifact?path=validation/roc.png&run_uuid={run_id})"
    )


def test_a_picture_whose_small_copy_is_missing_is_completed_under_its_name(
    mlflow_tracker: MlflowTracker, client: MlflowClient, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "eye.png"), np.zeros((8, 8, 3), np.uint8))
    run_id = mlflow_tracker.open(START)
    mlflow_tracker.send(run_id, [Image("eye", 5, "eye.png", 77)], tmp_path)
    names = {file.path for file in client.list_artifacts(run_id, "images")}
    [small] = (tmp_path / "artifacts").rglob("*compressed.webp")
    small.unlink()
    mlflow_tracker.send(run_id, [Image("eye", 5, "eye.png", 99)], tmp_path)
    assert {file.path for file in client.list_artifacts(run_id, "images")} == names


def test_a_jpeg_becomes_a_png_and_what_is_no_picture_is_left_out(
    mlflow_tracker: MlflowTracker, client: MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cv2.imwrite(str(tmp_path / "eye.jpg"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "text.png").write_text("not a picture")
    run_id = mlflow_tracker.open(START)
    mlflow_tracker.send(run_id, [Image("text", 1, "text.png"), Image("eye", 1, "eye.jpg")], tmp_path)
    [png] = (tmp_path / "artifacts").rglob("*.png")
    pixels = cv2.imread(str(png))
    assert pixels is not None
    assert pixels.shape == (8, 8, 3)
    [warning] = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert warning.startswith(f"{tmp_path / 'text.png'} is not a readable image and is left out of its run (")


@pytest.mark.parametrize("folder", ["images", "images/eyes"])
def test_an_artifact_among_the_pictures_is_refused(folder: str) -> None:
    with pytest.raises(ValueError) as wrong:
        Artifact("table.csv", folder)
    assert str(wrong.value) == (
        f"artifact folder {folder!r}: one file there hides every picture of the run in MLflow; choose another name."
    )


def test_what_is_longer_or_written_otherwise_than_mlflow_takes_is_cut_and_never_raises(
    mlflow_tracker: MlflowTracker, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = mlflow_tracker.open(
        RunStart(
            key='it\'s "long"'.replace('"', ""),
            experiment="a/b: ü " + "x" * 200,
            name="n" * 300,
            tags={"t" * 20: "x" * 9000},
            params={**{f"section.field_{i}": i for i in range(250)}, "long": "x" * 7000, "ä=b,c": 1, "k" * 300: 1},
            experiment_tags={"mlflow.note.content": "x" * 30_000},
            dataset=DatasetInput("d" * 900, "f" * 64, "/eyes"),
        )
    )
    events: list[Event] = [
        Metrics(1, {"val auc (%)": 0.5, "../up": 1.0, "//": 2.0}),
        Tags({"reason": "y" * 9000, "w,w": "1"}),
        *(Metrics(step, {f"m{i}": float(i) for i in range(6)}) for step in range(400)),
        RunEnd("FAILED", 9, {"drsearch.reason": "z" * 9000}),
    ]
    mlflow_tracker.send(run_id, events, tmp_path)
    run = client.get_run(run_id)
    assert len(run.data.params) == 253
    assert len(run.data.params["long"]) == 6000
    assert {"val auc ___", "up", "_"} < set(run.data.metrics)
    assert len(client.get_metric_history(run_id, "m5")) == 400
    assert run.inputs.dataset_inputs[0].dataset.digest == "f" * 36
    assert run.info.status == "FAILED"


def test_the_dataset_tells_where_it_lies(mlflow_tracker: MlflowTracker, client: MlflowClient) -> None:
    from mlflow.data import get_source

    start = RunStart("key", "study", "trial", dataset=DatasetInput("idrid", "01", "/eyes"))
    [given] = client.get_run(mlflow_tracker.open(start)).inputs.dataset_inputs
    assert get_source(given).uri == "/eyes"
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


def test_an_experiment_that_was_deleted_is_named_with_its_remedy(
    mlflow_tracker: MlflowTracker, client: MlflowClient
) -> None:
    client.delete_experiment(client.get_run(mlflow_tracker.open(START)).info.experiment_id)
    with pytest.raises(TrackerRefused) as wrong:
        mlflow_tracker.open(START)
    assert str(wrong.value) == (
        "experiment 'study' was deleted in MLflow; restore it with "
        f"`MLFLOW_TRACKING_URI={client.tracking_uri} mlflow experiments restore --experiment-id 1`."
    )


def test_a_run_that_was_deleted_is_refused(mlflow_tracker: MlflowTracker, client: MlflowClient, tmp_path: Path) -> None:
    run_id = mlflow_tracker.open(START)
    client.delete_run(run_id)
    with pytest.raises(TrackerRefused):
        mlflow_tracker.send(run_id, [Metrics(1, {"loss": 1.0})], tmp_path)


def test_a_server_that_is_not_there_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackerUnavailable) as wrong:
        MlflowTracker("http://127.0.0.1:9").open(START)
    assert str(wrong.value) == "MLflow at http://127.0.0.1:9 does not answer: connection refused"
