"""Macular edema as a second target: what is learned, what the saved model keeps, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from drsearch.errors import TrialFailed
from drsearch.model.edema import edema_head
from drsearch.model.fit import Training, set_seeds
from drsearch.model.predictor import Predictor
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import Settings

Eyes = Any

PX = 32
SMALL = Settings().replace(
    {
        "images.image_px": PX,
        "model.width": 8,
        "model.stages": 1,
        "training.learning_rate": 0.01,
        "training.edema_weight": 0.5,
        "augmentation.strength": 0.0,
    }
)


def _training(eyes: Eyes, network: keras.Model | None = None) -> Training:
    set_seeds(0)
    return Training(network or build_resnet(SMALL.model, PX), eyes, eyes, SMALL)


def test_it_is_learned_beside_the_classes_and_stays_in_the_saved_model(eight_eyes: Eyes, tmp_path: Path) -> None:
    training = _training(eight_eyes)
    for _ in range(80):
        result = training.run_epoch()
    assert result.train.accuracy == result.validation.accuracy == 1.0
    training.model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert opened.output_shape == (None, 2)
    assert np.array_equal(Predictor(opened)(eight_eyes.images), training.seen)
    network = keras.Model(opened.inputs[0], opened.get_layer("edema").output)
    edema = np.asarray(network(eight_eyes.images.astype(np.float32), training=False))[:, 0]
    known = [place for place, each in enumerate(eight_eyes.edema) if each is not None]
    assert len(known) == 7 and (edema[known] > 0.5).tolist() == [eight_eyes.edema[place] for place in known]
    assert _training(eight_eyes, opened).model is opened


def test_eyes_of_which_it_is_unknown_do_not_count() -> None:
    head, outputs = edema_head([True, None, False], 0.5), tf.constant([[0.8], [0.1], [0.3]])
    targets = np.stack([head.target(place, None) for place in range(3)])  # type: ignore[arg-type]
    assert float(head.loss(tf.constant(targets), outputs)) == pytest.approx(-(np.log(0.8) + np.log(0.7)) / 2)
    assert float(head.loss(tf.constant(targets[1:2]), outputs[1:2])) == 0.0


def test_what_cannot_be_learned_is_refused(train_eyes: Eyes) -> None:
    for edema, sentence in (
        (None, "no label of a train eye says whether it has macular edema; name its column with --edema-column"),
        (True, "every train eye has macular edema; leave it at 0"),
    ):
        with pytest.raises(TrialFailed, match=f"training.edema_weight = 0.5: {sentence}"):
            _training(replace(train_eyes, edema=(edema,) * 15))
    images = keras.Input((PX, PX, 3))
    pooled = layers.GlobalAveragePooling2D()(images)
    for network, sentence in (
        (keras.Model(images, layers.Softmax()(layers.Dense(2)(pooled))), "the network does not end in a Dense layer"),
        (
            keras.Model(images, layers.Dense(2, "softmax")(layers.Dense(7, name="edema")(pooled))),
            "its layer 'edema' re",
        ),
    ):
        with pytest.raises(TrialFailed, match=sentence):
            _training(train_eyes, network)
