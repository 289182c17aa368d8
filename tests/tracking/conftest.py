import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from memory_tracker import MemoryTracker

from drsearch.tracking.tracker import Tracker

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@dataclass
class Seen:
    """One run as its backend tells it; `points` by name: (step, value, time) in rising step."""

    experiment: str
    experiment_tags: dict[str, str]
    name: str
    started_ms: int
    status: str
    ended_ms: int | None
    tags: dict[str, str]
    params: dict[str, str]
    datasets: list[tuple[str, str]]
    points: dict[str, list[tuple[int, float, int]]]
    images: list[tuple[str, int]]
    artifacts: dict[str, bytes]


def seen_in_memory(tracker: MemoryTracker, run_id: str) -> Seen:
    run = tracker.runs[run_id]
    return Seen(
        run.experiment,
        tracker.experiment_tags[run.experiment],
        run.name,
        run.started_ms,
        run.status,
        run.ended_ms,
        dict(run.tags),
        dict(run.params),
        [(run.dataset.name, run.dataset.digest)] if run.dataset else [],
        {
            name: [(step, value, at_ms) for (step, at_ms), value in sorted(points.items())]
            for name, points in run.points.items()
        },
        sorted(run.images),
        dict(run.artifacts),
    )


def seen_in_mlflow(tracking_uri: str, run_id: str) -> Seen:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri)
    run = client.get_run(run_id)
    experiment = client.get_experiment(run.info.experiment_id)
    root = Path(run.info.artifact_uri.removeprefix("file://"))
    files = sorted(path for path in root.rglob("*") if path.is_file())
    pictures = [path.name for path in files if path.parent.name == "images"]
    # Every picture stands there whole and small, under one stem.
    stems = [name.removesuffix(".png") for name in pictures if name.endswith(".png")]
    assert sorted(pictures) == sorted(stem + end for stem in stems for end in (".png", "+compressed.webp"))
    # A run that was ended and resumed keeps its old end in MLflow.
    return Seen(
        experiment.name,
        experiment.tags,
        run.info.run_name,
        run.info.start_time,
        run.info.status,
        run.info.end_time,
        dict(run.data.tags),
        dict(run.data.params),
        [(each.dataset.name, each.dataset.digest) for each in run.inputs.dataset_inputs],
        {
            name: [(point.step, point.value, point.timestamp) for point in client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        },
        sorted((stem.split("+")[0].replace("~", "/"), int(stem.split("+")[2])) for stem in stems),
        {str(path.relative_to(root)): path.read_bytes() for path in files if path.parent.name != "images"},
    )


@pytest.fixture(scope="session")
def empty_mlflow_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose tables are made once: it takes MLflow some seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_uri(tmp_path: Path, empty_mlflow_db: Path) -> str:
    shutil.copy(empty_mlflow_db, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(params=["memory", "mlflow"])
def tracker_and_see(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Tracker, Callable[[str], Seen]]]:
    if request.param == "memory":
        memory = MemoryTracker()
        yield memory, lambda run_id: seen_in_memory(memory, run_id)
        return
    from drsearch.tracking.mlflow_tracker import MlflowTracker

    uri = request.getfixturevalue("mlflow_uri")
    yield MlflowTracker(uri, tmp_path / "artifacts"), lambda run_id: seen_in_mlflow(uri, run_id)


@pytest.fixture
def tracker(tracker_and_see: tuple[Tracker, Callable[[str], Seen]]) -> Tracker:
    return tracker_and_see[0]


@pytest.fixture
def see(tracker_and_see: tuple[Tracker, Callable[[str], Seen]]) -> Callable[[str], Seen]:
    return tracker_and_see[1]
