"""Trainings of a frozen backbone as runs: interrupted, resumed, and saved as a whole network."""

from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from drsearch.data.records import Eyes
from drsearch.model.fit import EpochResult
from drsearch.model.predictor import Predictor
from drsearch.model.resnet_v2 import classifier
from drsearch.settings import Settings
from drsearch.tracking.events import RunStart
from drsearch.training.outcome import Outcome
from drsearch.training.plan import Plan, Watch
from drsearch.training.resumable import run_training

SETTINGS = Settings().replace(
    {"images.image_px": 32, "training.epochs": 4, "training.head_epochs": 2, "training.learning_rate": 0.01,
     "training.checkpoint_every_epochs": 1, "study.gradcam_eyes": 2}
)  # fmt: skip


def eyes(n: int, seed: int) -> Eyes:
    labels = np.arange(n) % 2
    images = np.random.default_rng(seed).integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)
    images[labels == 1, :12, :12, 0] = 255
    names = tuple(f"eye{i:02d}" for i in range(n))
    return Eyes(names, images, labels * 3, labels, ("",) * n, ("",) * n)


VALIDATION = eyes(8, 1)


class StopAfter(Watch):
    """Stops a training after an epoch; 0: before the first one, -1: never."""

    def __init__(self, epoch: int) -> None:
        self._last, self._now = epoch, 0

    def epoch(self, result: EpochResult) -> None:
        self._now = result.epoch

    def stop_asked(self) -> bool:
        return self._now == self._last


def network() -> keras.Model:
    images = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, strides=4)(layers.Rescaling(1 / 255)(images))
    return keras.Model(images, classifier(layers.ReLU()(layers.BatchNormalization()(x)), SETTINGS.model, 2))


def run(folder: Path, trainable: str, stop_after: int = -1) -> Outcome:
    plan = Plan(
        folder=folder,
        start=RunStart(key=str(folder), experiment="e", name="trial"),
        settings=SETTINGS.replace({"model.backbone": "MobileNet", "model.trainable": trainable}),
        build=network,
        owner="mine",
        features=folder.parent / "features",
    )
    return run_training(plan, eyes(12, 0), VALIDATION, StopAfter(stop_after))


@pytest.mark.parametrize(("trainable", "stop_after"), [("head", 1), ("two_stage", 3)])
def test_an_interrupted_training_goes_on_and_its_file_is_the_whole_network(
    trainable: str, stop_after: int, tmp_path: Path
) -> None:
    whole = run(tmp_path / "whole", trainable)
    assert run(tmp_path / "broken", trainable, stop_after).state == "interrupted"
    resumed = run(tmp_path / "broken", trainable)
    assert whole.state == resumed.state == "complete"
    curves = [[asdict(each.validation) for each in outcome.history] for outcome in (whole, resumed)]
    assert [each["loss"] for each in curves[1]] == pytest.approx([each["loss"] for each in curves[0]], rel=1e-5)
    assert resumed.model is not None and resumed.predictions is not None
    opened = keras.saving.load_model(resumed.model, safe_mode=True)
    answers = Predictor(opened)(VALIDATION.images)
    np.testing.assert_allclose(answers, resumed.predictions.probabilities, atol=1e-5)


@pytest.mark.parametrize("trainable", ["head", "two_stage"])
def test_one_that_is_stopped_while_features_are_computed_goes_on(trainable: str, tmp_path: Path) -> None:
    stopped = run(tmp_path / "run", trainable, 0)
    assert (stopped.state, stopped.reason) == ("interrupted", "stopped while the features of eyes were computed")
    assert not list((tmp_path / "features").rglob("*.npz"))
    assert run(tmp_path / "run", trainable).state == "complete"
