"""The fused step learns what Keras's own `fit` learns, from the same weights, batches and augmentation."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import warm
from keras import layers
from numpy.typing import NDArray

from benchmarks.operations import operations
from drsearch.data.pipeline import steps_per_epoch, training_batches
from drsearch.model.fit import Training, build_optimizer, set_seeds
from drsearch.model.fused_step import _apply, _apply_fused, compiled_fit
from drsearch.model.losses import build_loss
from drsearch.model.resnet_v2 import build_resnet
from drsearch.model.weight_average import WeightAverage
from drsearch.settings import Settings

Eyes = Any
PX = 32
SETTINGS = Settings().replace(
    {
        "images.image_px": PX,
        "model.width": 16,
        "model.stages": 2,
        "training.batch_size": 4,
        "training.learning_rate": 3e-4,
    }
)
RELATIVE = 1e-3
"""Of a loss within five epochs: kernels round in another order, and training makes the difference grow."""


def _resnet() -> keras.Model:
    set_seeds(5)
    return build_resnet(SETTINGS.model, PX)


def _losses_of_keras_fit(model: keras.Model, eyes: Eyes, settings: Settings, epochs: int) -> list[float]:
    """Plain Keras: compile and fit, on the very batches that drsearch trains on."""
    dataset = training_batches(eyes.images, eyes.labels, settings.training, settings.augmentation, 0)
    model.compile(build_optimizer(settings.training), "sparse_categorical_crossentropy")
    steps = steps_per_epoch(eyes.labels, settings.training)
    return [
        float(loss)
        for loss in model.fit(dataset, epochs=epochs, steps_per_epoch=steps, verbose=0, shuffle=False).history["loss"]
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training.optimizer": "adamw", "training.weight_decay": 0.05},
        {"training.optimizer": "sgd", "training.learning_rate": 1e-3},
        {"training.clip_norm": 0.1},
    ],
    ids=["adam", "adamw", "sgd", "clipped"],
)
def test_the_loss_is_that_of_keras_fit_epoch_by_epoch_for_five_epochs(
    train_eyes: Eyes, validation_eyes: Eyes, changes: dict[str, Any]
) -> None:
    settings = SETTINGS.replace(changes)
    training = Training(_resnet(), train_eyes, validation_eyes, settings)
    ours = [training.run_epoch().train.loss for _ in range(5)]
    theirs = _losses_of_keras_fit(_resnet(), train_eyes, settings, 5)
    assert ours == pytest.approx(theirs, rel=RELATIVE)
    assert ours[-1] != ours[0]


def test_class_weights_are_those_of_keras_fit(train_eyes: Eyes, validation_eyes: Eyes) -> None:
    settings = SETTINGS.replace({"training.balance": "weights", "training.optimizer": "sgd"})
    ours, theirs = _resnet(), _resnet()
    measured = Training(ours, train_eyes, validation_eyes, settings).run_epoch().train.loss
    dataset = training_batches(train_eyes.images, train_eyes.labels, settings.training, settings.augmentation, 0)
    theirs.compile(build_optimizer(settings.training), "sparse_categorical_crossentropy")
    # 5 of the 15 eyes are not referable, 10 are
    theirs.fit(dataset, steps_per_epoch=4, class_weight={0: 1.5, 1: 0.75}, verbose=0, shuffle=False)
    for mine, other in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-5)
    plain = SETTINGS.replace({"training.balance": "none", "training.optimizer": "sgd"})
    assert measured == pytest.approx(
        Training(_resnet(), train_eyes, validation_eyes, plain).run_epoch().train.loss, rel=0.05
    )


@pytest.mark.parametrize("changes", [{}, {"training.loss": "squared_error"}])
def test_mixed_labels_teach_as_those_of_keras_fit(changes: dict[str, Any]) -> None:
    settings = SETTINGS.replace({"training.optimizer": "sgd", **changes})
    rng = np.random.default_rng(0)
    images, shares = rng.integers(0, 256, (4, PX, PX, 3), np.uint8), np.array([0.0, 0.7, 1.0, 0.2], np.float32)
    ours, theirs, optimizer = _resnet(), _resnet(), build_optimizer(settings.training)
    optimizer.build(ours.trainable_variables)
    batches = iter(tf.data.Dataset.from_tensors((images, shares)).repeat())
    fit = compiled_fit(ours, optimizer, loss=build_loss(settings.training, np.array([0, 1])))
    _, labels, _ = fit(batches, tf.constant(3))
    assert labels.numpy().tolist() == [0, 1, 1, 0] * 3
    loss = "categorical_crossentropy" if not changes else "mean_squared_error"
    theirs.compile(build_optimizer(settings.training), loss)
    for _ in range(3):
        theirs.train_on_batch(images, np.stack([1 - shares, shares], axis=1))
    for mine, other in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-5)


def _after(model: keras.Model, fused: bool, steps: int = 5) -> list[NDArray[np.float32]]:
    """All variables of model and optimizer after some steps on one batch."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (4, PX, PX, 3), np.uint8), np.array([0, 1, 1, 0])
    # not Adam: a weight whose gradient is 0 but for rounding moves by the sign of the rounding there
    optimizer = build_optimizer(SETTINGS.replace({"training.optimizer": "sgd"}).training)
    optimizer.build(model.trainable_variables)
    batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
    compiled_fit(model, optimizer, fused)(batches, tf.constant(steps))
    return [np.asarray(variable) for variable in (*model.variables, *optimizer.variables)]


def _resnet_with_other_parts() -> keras.Model:
    set_seeds(5)
    parts = {"normalisation": "group", "squeeze_excitation": True, "drop_path": 0.3, "pooling": "attention"}
    return build_resnet(dataclasses.replace(SETTINGS.model, **parts), PX)


def _resnet_with_a_soft_maximum() -> keras.Model:
    set_seeds(5)
    return build_resnet(dataclasses.replace(SETTINGS.model, pooling="log_sum_exp"), PX)


def _with_a_layer_called_for_inference() -> keras.Model:
    set_seeds(1)
    images = keras.Input((PX, PX, 3))
    x = layers.Conv2D(4, 3)(images)
    x = layers.BatchNormalization(name="still")(x, training=False)
    x = layers.BatchNormalization()(x)
    return keras.Model(images, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def _with_a_frozen_layer() -> keras.Model:
    model = _with_a_layer_called_for_inference()
    model.layers[3].trainable = False
    return model


def _with_what_the_kernel_cannot() -> keras.Model:
    set_seeds(2)
    return keras.Sequential(
        [
            keras.Input((PX, PX, 3)),
            layers.Conv2D(4, 3, kernel_constraint="unit_norm", kernel_regularizer="l2"),
            layers.BatchNormalization(scale=False),
            layers.BatchNormalization(axis=1),
            layers.GlobalAveragePooling2D(),
            layers.BatchNormalization(),
            layers.Dense(2, activation="softmax"),
        ]
    )


def _with_a_model_within() -> keras.Model:
    set_seeds(4)
    inner = keras.Sequential(
        [
            keras.Input((PX, PX, 16)),
            layers.Conv2D(16, 1, strides=(2, 3), activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(8, 1, strides=2, use_bias=False),
        ]
    )
    images = keras.Input((PX, PX, 3))
    x = layers.GlobalAveragePooling2D()(inner(layers.Conv2D(16, 3, padding="same")(images)))
    return keras.Model(images, layers.Dense(2, activation="softmax")(x))


class _OfItsOwnClass(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = layers.Conv2D(4, 3), layers.BatchNormalization()
        self.three, self.four = layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")

    def call(self, x: Any, training: bool | None = None) -> Any:
        return self.four(self.three(self.two(self.one(x), training=training)))


def _of_its_own_class() -> keras.Model:
    set_seeds(3)
    model = _OfItsOwnClass()
    model(np.zeros((1, PX, PX, 3), np.float32))
    return model


@pytest.mark.parametrize(
    "build",
    [
        _resnet,
        _resnet_with_other_parts,
        _resnet_with_a_soft_maximum,
        _with_a_layer_called_for_inference,
        _with_a_frozen_layer,
        _with_what_the_kernel_cannot,
        _with_a_model_within,
        _of_its_own_class,
    ],
)
def test_weights_and_averages_are_those_of_the_plain_step(build: Callable[[], keras.Model]) -> None:
    for fused, plain in zip(_after(build(), True), _after(build(), False), strict=True):
        np.testing.assert_allclose(fused, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training.optimizer": "adamw", "training.weight_decay": 0.1},
        {"training.clip_norm": 1.0, "training.weight_decay": 0.1},
    ],
)
def test_a_step_of_the_fused_adam_is_that_of_keras(changes: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    ends = []
    for apply in (_apply, _apply_fused):
        model = _resnet()
        optimizer = build_optimizer(SETTINGS.replace(changes).training)
        optimizer.build(model.trainable_variables)
        rng = np.random.default_rng(0)
        for _ in range(4):
            gradients = [tf.constant(rng.normal(size=weight.shape), tf.float32) for weight in model.trainable_variables]
            apply(optimizer, gradients, model.trainable_variables)
        ends.append([np.asarray(variable) for variable in (*model.trainable_variables, *optimizer.variables)])
    for plain, fused in zip(*ends, strict=True):
        np.testing.assert_allclose(fused, plain, rtol=1e-5, atol=1e-7)


def test_a_step_that_xla_compiles_learns_the_same(train_eyes: Eyes, validation_eyes: Eyes) -> None:
    """Clipped gradients, decay, an average and two targets; without random layers, which XLA draws otherwise."""
    changes = {
        **{"model.width": 4, "model.stages": 1, "training.optimizer": "adamw", "training.weight_decay": 0.01},
        **{"training.clip_norm": 1.0, "training.ema_decay": 0.9, "training.levels_weight": 0.5},
    }
    losses, compiled = {}, {}
    for xla in ("auto", "on"):
        settings = SETTINGS.replace({**changes, "training.xla": xla})
        set_seeds(5)
        training = Training(build_resnet(settings.model, PX), train_eyes, validation_eyes, settings)
        epochs = [training.run_epoch() for _ in range(3)]
        losses[xla] = [(each.train.loss, each.validation.loss) for each in epochs]
        compiled[xla] = any(node.attr["_XlaMustCompile"].b for node in _nodes(training))
    np.testing.assert_allclose(losses["on"], losses["auto"], rtol=RELATIVE)
    assert compiled == {"auto": False, "on": True}


def _nodes(training: Training) -> list[Any]:
    """The operations of the graph of an epoch, within its loop too."""
    assert training._data is not None
    fit: Any = training._state.fit
    graph = fit.get_concrete_function(training._data.batches, tf.constant(1)).graph.as_graph_def()
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


@pytest.mark.parametrize("fused", [True, False])
def test_the_average_of_weights_follows_every_step_and_more_slowly_the_longer_it_lasts(fused: bool) -> None:
    model = _resnet()
    optimizer = build_optimizer(SETTINGS.training)
    optimizer.build(model.trainable_variables)
    average = WeightAverage(model, optimizer, 0.3)
    fit = compiled_fit(model, optimizer, fused, average=average)
    expected = [np.asarray(variable) for variable in model.variables]
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (4, PX, PX, 3), np.uint8), np.array([0, 1, 1, 0])
    batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
    for kept in (2 / 11, 3 / 12, 0.3, 0.3):
        with average.training():
            fit(batches, tf.constant(1))
            now = [np.asarray(variable) for variable in model.variables]
        expected = [kept * old + (1 - kept) * new for old, new in zip(expected, now, strict=True)]
        for mine, other in zip(model.variables, expected, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-7)


def run(program: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that sets its threads."""
    return warm.run([sys.executable, "-c", program], os.environ)


DIES = """
import numpy as np, tensorflow as tf
from drsearch.model.fit import build_optimizer, set_threads
from drsearch.model.resnet_v2 import build_resnet
from drsearch.model.fused_step import compiled_fit
from drsearch.settings import Settings
set_threads(2, 2)
settings = Settings().replace({"model.width": 8})
model, optimizer = build_resnet(settings.model, 256), build_optimizer(settings.training)
optimizer.build(model.trainable_variables)
images = np.random.default_rng(0).integers(0, 256, (8, 256, 256, 3), np.uint8)
batches = iter(tf.data.Dataset.from_tensors((images, np.arange(8) % 2)).repeat())
compiled_fit(model, optimizer, fused=FUSED)(batches, tf.constant(60))
"""


def test_a_narrow_network_trains_on_several_threads_without_harm_to_memory() -> None:
    """With Keras's own strided projections this process dies (TensorFlow 2.21 with oneDNN, AVX-512)."""
    done = run(DIES.replace("FUSED", "True"))
    assert done.returncode == 0, done.stderr[-2000:]


FITS = """
import sys
import numpy as np, tensorflow as tf
from drsearch.model.fit import build_optimizer, set_seeds, set_threads
from drsearch.model.resnet_v2 import build_resnet
from drsearch.model.fused_step import compiled_fit
from drsearch.settings import Settings
set_threads(1, CORES)
set_seeds(0)
settings = Settings()
model, optimizer = build_resnet(settings.model, 64), build_optimizer(settings.training)
optimizer.build(model.trainable_variables)
images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
batches = iter(tf.data.Dataset.from_tensors((images, np.arange(4) % 2)).repeat())
losses, _, _ = compiled_fit(model, optimizer)(batches, tf.constant(40))
print(losses.numpy().tobytes().hex())
print([name for name in sys.modules if "autograph_generated" in name])
"""


@pytest.fixture(scope="module")
def fits() -> list[list[str]]:
    """What a training on one core and one on two print: losses, and modules that AutoGraph wrote."""
    return [run(FITS.replace("CORES", cores)).stdout.splitlines() for cores in ("1", "2")]


def test_no_digit_depends_on_the_cores_that_compute_at_once(fits: list[list[str]]) -> None:
    assert len(fits[0][0]) >= 8 * 4 * 40
    assert fits[0][0] == fits[1][0]


def test_no_source_is_rewritten_before_the_first_step(fits: list[list[str]]) -> None:
    assert fits[0][1] == "[]"


def _config(model: keras.Model) -> str:
    return json.dumps(model.get_config(), default=str)


def test_the_model_that_is_saved_is_the_one_that_was_given(
    train_eyes: Eyes, validation_eyes: Eyes, tmp_path: Path
) -> None:
    model = _resnet()
    before = _config(model)
    training = Training(model, train_eyes, validation_eyes, SETTINGS)
    training.run_epoch()
    assert training.model is model
    assert _config(model) == before
    model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert _config(opened) == before
    assert {type(layer).__module__.partition(".")[0] for layer in opened.layers} == {"keras"}


def test_the_fused_step_takes_less_than_half_of_the_operations() -> None:
    assert operations(fused=True) < operations(fused=False) / 2
