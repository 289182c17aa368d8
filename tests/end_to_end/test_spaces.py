"""A network of the space's own through the whole main job, and a grid that grows, through the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

SPACE = '''
"""KerasTuner's Xception, as small as it gets."""

import keras
from keras_tuner.applications import HyperXception

SETTINGS = {
    "study.sampler": "grid",
    "study.gradcam_eyes": 1,
    "images.image_px": 32,
    "training.epochs": 2,
    "training.batch_size": 8,
    "training.checkpoint_every_epochs": 1,
    "finetune.when": "always",
    "finetune.epochs": 1,
}


def space(hp):
    hp.Choice("training.learning_rate", [3e-3])


def build_model(hp, image_px, n_classes):
    for name, value in (("activation", "relu"), ("conv2d_num_filters", 16), ("kernel_size", 3), ("pooling", "avg"),
                        ("initial_strides", 2), ("num_residual_blocks", 1)):
        hp.Fixed(name, value)
    hp.Choice("sep_num_filters", [16, 24])
    images = keras.Input((image_px, image_px, 3))
    body = HyperXception(include_top=False, input_shape=(image_px, image_px, 3)).build(hp)
    x = body(keras.layers.Rescaling(1 / 255)(images))
    return keras.Model(images, keras.layers.Dense(n_classes, activation="softmax")(x))
'''


@pytest.fixture(scope="module")
def own(fresh_desk: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    desk = fresh_desk(tmp_path_factory.mktemp("own"))
    desk.space.write_text(SPACE)
    return desk


@pytest.fixture(scope="module")
def searched(own: Any) -> Any:
    return own.json(*own.study("--study", "small"))


@pytest.fixture(scope="module")
def grown(own: Any, searched: Any) -> Any:
    own.space.write_text(SPACE.replace("[16, 24]", "[16, 20, 24]"))
    return own.json(*own.study("--study", "grown", "--warm-start", "small", "--set", "finetune.when=never"))


def test_any_hypermodel_is_searched_registered_fine_tuned_tested_and_asked(own: Any, searched: Any) -> None:
    assert searched["trials"]["complete"] == 2
    assert searched["best"]["params"]["hypermodel.sep_num_filters"] in (16, 24)
    assert searched["finetune"]["ran"]
    assert searched["test"]["n"] > 0
    client = MlflowClient(own.tracking_uri, own.tracking_uri)
    params = client.get_run(searched["best"]["run_id"]).data.params
    assert params["hypermodel.sep_num_filters"] == str(searched["best"]["params"]["hypermodel.sep_num_filters"])
    assert json.loads(params["model.hypermodel"])["num_residual_blocks"] == 1
    eye, drawn = own.eyes / "images" / "train" / "SYN_001.jpg", own.folder / "cam.png"
    said = own.json("predict", f"models:/retinopathy/{searched['model']['version']}", str(eye), "--explain", str(drawn))
    assert said["predictions"][0]["label"] in ("NRDR", "RDR")
    assert drawn.stat().st_size > 10_000


def test_a_grid_that_grows_runs_its_new_points_and_counts_the_old(own: Any, searched: Any, grown: Any) -> None:
    assert grown["trials"] == {"complete": 1, "pruned": 0, "failed": 0, "waiting": 0, "running": 0, "inherited": 2}
    assert grown["best"]["value"] >= searched["best"]["value"]
    client = MlflowClient(own.tracking_uri, own.tracking_uri)
    experiment = client.get_experiment_by_name("grown")
    assert experiment is not None
    trials = client.search_runs([experiment.experiment_id], "tags.`drsearch.kind` = 'trial'")
    assert [run.data.params["hypermodel.sep_num_filters"] for run in trials] == ["20"]


def test_choices_that_changed_under_one_name_are_refused_with_the_command_to_give(own: Any, grown: Any) -> None:
    done = own.run(*own.study("--study", "small"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "drsearch: study 'small' was begun with another text of two_rates.py, in which 'sep_num_filters' has the "
        "choices [16, 24] (now [16, 20, 24]), and Optuna does not let the choices of a stored study change; give it as "
        "it was, --study OTHER to begin a new one, or --warm-start small --study OTHER to begin one that has its "
        "finished trials already."
    )


def test_the_settings_file_of_such_a_trial_repeats_its_curve_with_the_space(own: Any, searched: Any) -> None:
    client = MlflowClient(own.tracking_uri, own.tracking_uri)
    run_id = searched["best"]["run_id"]
    file = client.download_artifacts(run_id, "settings.gin", str(own.folder))
    again = own.json("train", "--data", str(own.eyes), "--config", file, "--space", str(own.space))
    first = [point.value for point in client.get_metric_history(run_id, "val_loss")]
    assert [epoch["validation"]["loss"] for epoch in again["history"]] == first


def test_a_space_is_printed_and_nothing_is_made(fresh_desk: Callable[[Path], Any], tmp_path: Path) -> None:
    desk = fresh_desk(tmp_path)
    told = desk.json("space", str(desk.space))
    assert [axis["name"] for axis in told["axes"]] == ["training.learning_rate"]
    assert (told["grid_points"], len(told["samples"])) == (2, 10)
    assert not desk.home.exists()
