import dataclasses
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from drsearch.data.records import RecordSet, write_eyes
from drsearch.datasets.given import open_dataset
from drsearch.errors import Interrupted, SettingsError
from drsearch.home import Home
from drsearch.settings import Settings
from drsearch.training.listener import Listener, TrainingProgress
from drsearch.training.single import TrainingResult, check_network, check_targets, train

Train = Callable[[str, Listener], TrainingResult]


class CtrlC(Listener):
    """Presses it after the first epoch."""

    def trained(self, progress: TrainingProgress) -> None:
        if progress.epoch == 1:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("trainings"))


@pytest.fixture(scope="module")
def run(home: Home, records: RecordSet, eyes: Path, settings: Settings, warm_children: None) -> Train:
    return lambda name, listener: train(name, records, open_dataset([eyes]), settings, home, listener)


@pytest.fixture(scope="module")
def finished(run: Train) -> TrainingResult:
    return run("peace", Listener())


def _curve(result: TrainingResult) -> list[Any]:
    return [dataclasses.replace(epoch, seconds=0.0) for epoch in result.outcome.history]


def test_a_training_is_a_run_of_its_own_with_all_its_settings(
    finished: TrainingResult, home: Home, records: RecordSet, settings: Settings
) -> None:
    assert finished.outcome.state == "complete" and finished.run_id is not None
    assert re.fullmatch("peace-[0-9a-f]{8}", finished.name)
    client = MlflowClient(home.tracking_uri)
    run = client.get_run(finished.run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == finished.name
    wanted = settings.replace({"data.fingerprint": records.data_fingerprint}).flat()
    assert run.data.params == {name: str(value) for name, value in wanted.items()}
    losses = client.get_metric_history(finished.run_id, "val_loss")
    assert [(point.step, point.value) for point in losses] == [
        (epoch.epoch, epoch.validation.loss) for epoch in finished.outcome.history
    ]


def test_a_finished_training_is_repeated_as_another_run_with_the_same_curve(
    run: Train, finished: TrainingResult
) -> None:
    again = run("peace", Listener())
    assert again.name == f"{finished.name}-2"
    assert again.run_id != finished.run_id
    assert _curve(again) == _curve(finished)


def test_an_interrupted_training_goes_on_to_the_same_curve_in_the_same_run(
    run: Train, finished: TrainingResult, home: Home
) -> None:
    with pytest.raises(Interrupted) as stopped:
        run("war", CtrlC())
    assert re.fullmatch("war-[0-9a-f]{8} stopped at epoch 1 of 4; the same command resumes it.", str(stopped.value))
    client = MlflowClient(home.tracking_uri)
    experiment = client.get_experiment_by_name("trainings")
    assert experiment is not None

    def wars() -> list[Any]:
        return [
            each for each in client.search_runs([experiment.experiment_id]) if each.info.run_name.startswith("war-")
        ]

    (left,) = wars()
    assert left.info.status == "KILLED" and left.data.tags["drsearch.outcome"] == "interrupted"
    result = run("war", Listener())
    assert _curve(result) == _curve(finished)
    (whole,) = wars()
    assert whole.info.run_id == left.info.run_id == result.run_id
    assert whole.info.status == "FINISHED" and whole.data.tags["drsearch.outcome"] == "complete"
    assert [point.step for point in client.get_metric_history(whole.info.run_id, "val_auc")] == [1, 2, 3, 4]


def test_a_lesion_map_of_data_without_boxes_is_refused_before_anything_is_trained(
    records: RecordSet, tmp_path: Path
) -> None:
    lesions = Settings().replace({"training.lesions_weight": 1.0})
    entries = [dataclasses.replace(entry, boxes=()) for entry in records.eyes("train")]
    without = RecordSet(tmp_path, {**records.manifest, "eyes": write_eyes(tmp_path, entries)})
    check_targets(Settings(), without)
    check_targets(lesions, records)
    with pytest.raises(SettingsError, match=r"^training.lesions_weight = 1.0: no train eye has a box around a red or"):
        check_targets(lesions, without)


def test_edema_that_no_label_has_or_that_the_label_has_already_is_refused_before_anything_is_trained(
    records: RecordSet, tmp_path: Path
) -> None:
    edema = Settings().replace({"training.edema_weight": 0.5})
    entries = [dataclasses.replace(entry, edema=None) for entry in records.eyes("train")]
    without = RecordSet(tmp_path, {**records.manifest, "eyes": write_eyes(tmp_path, entries)})
    check_targets(edema, records)
    check_network(edema, None)
    with pytest.raises(SettingsError, match=r"^training.edema_weight = 0.5: no label of a train eye says whether it"):
        check_targets(edema, without)
    with pytest.raises(SettingsError, match=r"^training.edema_weight = 0.5: with task.edema = True the label of an"):
        check_network(edema.replace({"task.edema": True}), None)


def test_levels_of_data_that_say_yes_or_no_are_refused_before_anything_is_trained(records: RecordSet) -> None:
    levels = Settings().replace({"training.levels_weight": 0.5})
    yes_or_no = RecordSet(records.folder, {"counts": {"train": {"grades": {"0": 12, "1": 0, "2": 9, "3": 0, "4": 0}}}})
    check_targets(Settings(), yes_or_no)
    check_targets(levels, records)
    with pytest.raises(SettingsError, match=r"^training.levels_weight = 0.5: the train eyes have no grade but 0 and 2"):
        check_targets(levels, yes_or_no)
