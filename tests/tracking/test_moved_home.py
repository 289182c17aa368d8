"""Do artifacts stay found when a home is moved?"""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from drsearch.home import Home
from drsearch.tracking.events import Artifact, RunEnd, RunStart
from drsearch.tracking.mlflow_tracker import MlflowTracker
from drsearch.tracking.moved_home import follow_move
from drsearch.tracking.sender import sender_lock


@pytest.fixture
def home(tmp_path: Path, empty_mlflow_db: Path) -> Home:
    """A home with one run that has a file."""
    home = Home(tmp_path / "a home")
    home.path.mkdir()
    shutil.copy(empty_mlflow_db, home.path / "mlflow.db")
    (home.path / "note.txt").write_text("kept")
    tracker = MlflowTracker(home.tracking_uri, home.artifacts)
    run_id = tracker.open(RunStart("key", "study", "run"))
    tracker.send(run_id, [Artifact("note.txt"), RunEnd("FINISHED")], home.path)
    return home


def note(home: Home, into: Path) -> str:
    """The file of the home's run, as MLflow finds it."""
    client = MlflowClient(home.tracking_uri)
    experiment = client.get_experiment_by_name("study")
    (run,) = client.search_runs([experiment.experiment_id])
    into.mkdir()
    return Path(client.download_artifacts(run.info.run_id, "note.txt", str(into))).read_text()


def places(home: Home) -> set[str]:
    client = MlflowClient(home.tracking_uri)
    experiment = client.get_experiment_by_name("study")
    (run,) = client.search_runs([experiment.experiment_id])
    return {experiment.artifact_location.split("/artifacts/")[0], run.info.artifact_uri.split("/artifacts/")[0]}


def test_a_moved_home_finds_its_artifacts_and_new_runs_go_there(home: Home, tmp_path: Path) -> None:
    moved = Home(home.path.rename(tmp_path / "elsewhere"))
    assert places(moved) == {home.path.as_uri()}
    follow_move(moved)
    assert places(moved) == {moved.path.as_uri()}
    assert note(moved, tmp_path / "fetched") == "kept"
    follow_move(moved)  # nothing is left to do
    tracker = MlflowTracker(moved.tracking_uri, moved.artifacts)
    tracker.send(tracker.open(RunStart("other", "study", "other")), [Artifact("note.txt")], moved.path)
    assert not home.path.exists(), "nothing goes to the former place"


def test_a_copy_beside_the_original_is_left_alone(home: Home, tmp_path: Path) -> None:
    copy = Home(Path(shutil.copytree(home.path, tmp_path / "copy")))
    follow_move(copy)
    assert places(copy) == {home.path.as_uri()}


def test_paths_do_not_change_under_a_sender(home: Home, tmp_path: Path) -> None:
    moved = Home(home.path.rename(tmp_path / "elsewhere"))
    with sender_lock(moved):
        follow_move(moved)
    assert places(moved) == {home.path.as_uri()}


def test_another_store_and_a_home_without_one_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow_move(Home(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "mlflow.db").write_text("no database")
    follow_move(Home(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    follow_move(Home(tmp_path))
