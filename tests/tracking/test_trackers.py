"""What every tracker must do: the fixtures `tracker` and `see` make each test run on all of them (conftest.py)."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from drsearch.tracking.events import Artifact, DatasetInput, Event, Image, Metrics, Resumed, RunEnd, RunStart, Tags
from drsearch.tracking.tracker import Tracker, TrackerRefused

START = RunStart(
    key="study 1/trial-3",
    experiment="study 1",
    name="trial 3",
    tags={"drsearch.kind": "trial"},
    params={"training.learning_rate": 0.01, "augmentation.flip": True, "study.trials": None},
    started_ms=1_700_000_000_000,
    dataset=DatasetInput("idrid", "0123456789abcdef", "/data/idrid", "training"),
    experiment_tags={"mlflow.note.content": "eight cells"},
)
EVERYTHING: list[Event] = [
    START,
    Metrics(1, {"train_loss": 0.7, "val_auc": 0.5}, 1_700_000_001_000),
    Metrics(2, {"train_loss": 0.6, "val_auc": 0.625}, 1_700_000_002_000),
    Image("gradcam/eye_1", 2, "eye.png", 1_700_000_002_000),
    Artifact("notes.txt", "figures"),
    Artifact("notes.txt"),
    Tags({"drsearch.best_epoch": "2"}),
    RunEnd("FINISHED", 1_700_000_003_000, {"drsearch.ended": "complete"}),
]


def picture(path: Path, shade: int = 90) -> None:
    image = np.full((24, 32, 3), shade, np.uint8)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    picture(folder / "eye.png")
    (folder / "notes.txt").write_bytes(b"as seen")
    return folder


def test_a_whole_run_reads_back(tracker: Tracker, see: Callable[[str], Any], folder: Path) -> None:
    run_id = tracker.open(START)
    tracker.send(run_id, EVERYTHING, folder)
    seen = see(run_id)
    assert (seen.experiment, seen.name, seen.started_ms) == ("study 1", "trial 3", 1_700_000_000_000)
    assert seen.experiment_tags["mlflow.note.content"] == "eight cells"
    assert (seen.status, seen.ended_ms) == ("FINISHED", 1_700_000_003_000)
    assert seen.params == {
        "training.learning_rate": "0.01",
        "augmentation.flip": "True",
        "study.trials": "None",
    }
    assert seen.tags["drsearch.key"] == "study 1/trial-3"
    assert seen.tags["drsearch.kind"] == "trial"
    assert seen.tags["drsearch.best_epoch"] == "2"
    assert seen.tags["drsearch.ended"] == "complete"
    assert seen.datasets == [("idrid", "0123456789abcdef")]
    assert seen.points == {
        "train_loss": [(1, 0.7, 1_700_000_001_000), (2, 0.6, 1_700_000_002_000)],
        "val_auc": [(1, 0.5, 1_700_000_001_000), (2, 0.625, 1_700_000_002_000)],
    }
    assert seen.images == [("gradcam/eye_1", 2)]
    assert seen.artifacts == {"figures/notes.txt": b"as seen", "notes.txt": b"as seen"}


def test_a_run_that_began_is_running(tracker: Tracker, see: Callable[[str], Any]) -> None:
    seen = see(tracker.open(START))
    assert (seen.status, seen.ended_ms) == ("RUNNING", None)


def test_a_key_opened_twice_is_one_run(tracker: Tracker) -> None:
    assert tracker.open(START) == tracker.open(START)


def test_runs_of_one_name_stay_apart(tracker: Tracker, see: Callable[[str], Any], folder: Path) -> None:
    first = tracker.open(START)
    second = tracker.open(dataclasses.replace(START, key="study 1/trial-4"))
    tracker.send(second, [Metrics(1, {"val_auc": 0.5})], folder)
    assert first != second
    assert see(first).points == {}


def test_everything_sent_twice_changes_nothing(tracker: Tracker, see: Callable[[str], Any], folder: Path) -> None:
    run_id = tracker.open(START)
    tracker.send(run_id, EVERYTHING, folder)
    once = see(run_id)
    assert tracker.open(START) == run_id
    tracker.send(run_id, EVERYTHING, folder)
    assert see(run_id) == once


def test_entries_in_parts_are_the_same_as_at_once(tracker: Tracker, see: Callable[[str], Any], folder: Path) -> None:
    at_once = tracker.open(START)
    in_parts = tracker.open(dataclasses.replace(START, key="parts"))
    tracker.send(at_once, EVERYTHING, folder)
    for event in EVERYTHING:
        tracker.send(in_parts, [event], folder)
    seen = see(in_parts)
    assert seen.tags.pop("drsearch.key") == "parts"
    wanted = see(at_once)
    wanted.tags.pop("drsearch.key")
    assert seen == wanted


def test_a_resumed_run_is_running_and_then_ends_as_it_ends(
    tracker: Tracker, see: Callable[[str], Any], folder: Path
) -> None:
    run_id = tracker.open(START)
    tracker.send(run_id, [RunEnd("KILLED", 5, {"drsearch.ended": "interrupted"})], folder)
    assert see(run_id).status == "KILLED"
    tracker.send(run_id, [Resumed(6)], folder)
    assert see(run_id).status == "RUNNING"
    tracker.send(run_id, [Metrics(3, {"val_auc": 0.75}, 7), RunEnd("FAILED", 8, {})], folder)
    assert see(run_id).status == "FAILED"
    tracker.send(run_id, [Resumed(9), RunEnd("FINISHED", 10, {"drsearch.ended": "complete"})], folder)
    seen = see(run_id)
    assert (seen.status, seen.ended_ms, seen.tags["drsearch.ended"]) == ("FINISHED", 10, "complete")


def test_a_loss_that_is_no_number_is_kept_as_such(tracker: Tracker, see: Callable[[str], Any], folder: Path) -> None:
    run_id = tracker.open(START)
    tracker.send(run_id, [Metrics(1, {"loss": math.nan, "gap": math.inf}, 1)], folder)
    seen = see(run_id)
    assert math.isnan(seen.points["loss"][0][1])
    assert seen.points["gap"][0][1] > 1e300


def test_a_file_that_is_gone_is_left_out(tracker: Tracker, see: Callable[[str], Any], folder: Path) -> None:
    run_id = tracker.open(START)
    tracker.send(run_id, [Artifact("gone.txt"), Image("gradcam/eye_2", 1, "gone.png"), *EVERYTHING], folder)
    assert see(run_id).status == "FINISHED"
    assert see(run_id).images == [("gradcam/eye_1", 2)]


def test_pictures_of_many_steps_and_eyes_stay_apart(tracker: Tracker, see: Callable[[str], Any], folder: Path) -> None:
    run_id = tracker.open(START)
    pictures = [Image(f"gradcam/eye_{eye}", step, "eye.png") for eye in (1, 10) for step in (5, 50)]
    tracker.send(run_id, pictures, folder)
    assert see(run_id).images == sorted((picture.key, picture.step) for picture in pictures)


def test_a_run_that_is_not_there_is_refused(tracker: Tracker, folder: Path) -> None:
    with pytest.raises(TrackerRefused):
        tracker.send("0123456789abcdef0123456789abcdef", [Metrics(1, {"val_auc": 0.5})], folder)
