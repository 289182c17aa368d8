import dataclasses
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import keras
import numpy as np
import pytest
import warm
from keras import layers
from numpy.typing import NDArray

from drsearch.data.mapped_images import MappedImages
from drsearch.data.pipeline import steps_per_epoch
from drsearch.datasets.boxes import Box
from drsearch.errors import TrialFailed
from drsearch.measure.scores import accuracy, auc
from drsearch.model import fit as fit_module
from drsearch.model.fit import EpochResult, Training, build_optimizer, learning_rate, set_seeds
from drsearch.model.predictor import Predictor
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import Settings, TrainingSettings

SMALL = Settings().replace(
    {"images.image_px": 32, "model.width": 4, "model.stages": 1, "training.batch_size": 4, "training.epochs": 4}
)


class Eyes(Protocol):
    @property
    def images(self) -> NDArray[np.uint8]: ...
    @property
    def labels(self) -> NDArray[np.int64]: ...
    @property
    def grades(self) -> NDArray[np.int64]: ...
    @property
    def boxes(self) -> tuple[tuple[Box, ...], ...]: ...


def _training(
    train: Eyes, validation: Eyes, changes: Mapping[str, Any] | None = None, model: keras.Model | None = None
) -> Training:
    settings = SMALL.replace(changes or {})
    set_seeds(settings.training.seed)
    return Training(model or build_resnet(settings.model, 32), train, validation, settings)


def _without_time(results: tuple[EpochResult, ...]) -> list[EpochResult]:
    return [dataclasses.replace(result, seconds=0.0) for result in results]


def _state(training: Training) -> list[NDArray[Any]]:
    return [variable.numpy() for variable in training._variables().values()]


def _run(training: Training, epochs: int) -> Training:
    for _ in range(epochs):
        training.run_epoch()
    return training


def test_it_overfits_eight_eyes(eight_eyes: Eyes) -> None:
    changes = {"augmentation.strength": 0.0, "training.learning_rate": 0.01, "model.width": 8}
    training = _training(eight_eyes, eight_eyes, changes)
    first = training.run_epoch()
    _run(training, 79)
    last = training.history[-1]
    assert last.train.loss < 0.05 < first.train.loss
    assert last.train.accuracy == 1.0
    assert last.validation.accuracy == 1.0 and last.validation.loss < 0.1  # moving averages have caught up
    assert last.validation.auc == 1.0


def test_an_epoch_in_several_calls_equals_one_in_a_single_call_to_the_bit(
    train_eyes: Eyes, validation_eyes: Eyes, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _run(_training(train_eyes, validation_eyes), 2)
    monkeypatch.setattr(fit_module, "_STEPS_A_CALL", 2)  # the last call of an epoch is a shorter one
    steps = steps_per_epoch(train_eyes.labels, SMALL.training)
    parts = _run(_training(train_eyes, validation_eyes), 2)
    assert steps > 2 and steps % 2
    assert _without_time(parts.history) == _without_time(whole.history)
    assert all(np.array_equal(a, b) for a, b in zip(_state(parts), _state(whole), strict=True))


def test_batches_that_are_copied_ahead_train_as_others_do_before_and_after_a_resume(
    train_eyes: Eyes, validation_eyes: Eyes, tmp_path: Path
) -> None:
    usual = _run(_training(train_eyes, validation_eyes), 3)
    ahead = _run(_training(train_eyes, validation_eyes, {"training.copy_ahead": "on"}), 1)
    ahead.save(tmp_path / "checkpoint.npz", {})
    resumed = _training(train_eyes, validation_eyes, {"training.copy_ahead": "on"})
    resumed.restore(tmp_path / "checkpoint.npz")
    _run(resumed, 2)
    assert _without_time(resumed.history) == _without_time(usual.history)
    assert all(np.array_equal(one, other) for one, other in zip(_state(resumed), _state(usual), strict=True))


def test_one_seed_gives_one_curve_and_another_seed_another(train_eyes: Eyes, validation_eyes: Eyes) -> None:
    def curve(seed: int) -> list[EpochResult]:
        changes = {"training.seed": seed, "model.dropout": 0.5}
        return _without_time(_run(_training(train_eyes, validation_eyes, changes), 2).history)

    assert curve(3) == curve(3)
    assert curve(3) != curve(4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training.optimizer": "sgd", "training.schedule": "cosine", "training.warmup_epochs": 1},
        {"training.optimizer": "adamw", "training.weight_decay": 0.01, "model.dropout": 0.5},
        {"training.optimizer": "rmsprop", "training.batch_size": 3, "training.balance": "none"},
        {"training.ema_decay": 0.9, "training.clip_norm": 0.5, "training.label_smoothing": 0.1},
        {"training.balance": "draws", "augmentation.mixup": 0.3, "augmentation.contrast_fraction": 0.2},
        {"training.levels_weight": 0.5, "training.ema_decay": 0.9, "model.dropout": 0.5},
        {
            "training.lesions_weight": 1.0,
            "training.levels_weight": 0.5,
            "training.edema_weight": 0.5,
            "augmentation.cutmix": 1.0,
        },
    ],
)
def test_resumed_equals_uninterrupted_to_the_bit(
    train_eyes: Eyes, validation_eyes: Eyes, tmp_path: Path, changes: Mapping[str, Any]
) -> None:
    whole = _training(train_eyes, validation_eyes, changes)
    _run(whole, 2)
    whole.save(tmp_path / "checkpoint.npz", {"journal": 17})
    _run(whole, 2)

    resumed = _training(train_eyes, validation_eyes, changes)
    _run(resumed, 1)  # a process that was further on, or elsewhere, when it took the trial up
    assert resumed.restore(tmp_path / "checkpoint.npz") == {"journal": 17}
    assert resumed.epoch == 2
    _run(resumed, 2)

    assert _without_time(resumed.history) == _without_time(whole.history)
    for mine, other in zip(_state(resumed), _state(whole), strict=True):
        assert np.array_equal(mine, other)


def test_a_model_of_any_make_with_states_and_losses_of_its_own_resumes_too(
    train_eyes: Eyes, validation_eyes: Eyes, tmp_path: Path
) -> None:
    def model() -> keras.Model:
        set_seeds(0)
        return keras.Sequential(
            [
                keras.Input((32, 32, 3)),
                layers.Rescaling(1 / 255),
                layers.RandomFlip(),
                layers.GaussianNoise(0.1),
                layers.Conv2D(4, 3, strides=4, activation="relu", kernel_regularizer="l2"),
                layers.SpatialDropout2D(0.3),
                layers.GlobalMaxPooling2D(),
                layers.Dense(2, activation="softmax"),
            ]
        )

    whole = _run(_training(train_eyes, validation_eyes, model=model()), 1)
    whole.save(tmp_path / "checkpoint.npz", {})
    resumed = _training(train_eyes, validation_eyes, model=model())
    resumed.restore(tmp_path / "checkpoint.npz")
    assert _without_time((whole.run_epoch(),)) == _without_time((resumed.run_epoch(),))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_every_optimizer_steps_at_the_rate_of_the_schedule(
    train_eyes: Eyes, validation_eyes: Eyes, optimizer: str
) -> None:
    training = _training(train_eyes, validation_eyes, {"training.optimizer": optimizer, "training.warmup_epochs": 1})
    before = [np.asarray(weight) for weight in training.model.trainable_variables]
    result = training.run_epoch()
    assert all(
        not np.array_equal(weight, old) for weight, old in zip(training.model.trainable_variables, before, strict=True)
    )
    assert int(training.model.optimizer.iterations) == 5  # 20 images, upsampled, by 4
    assert result.learning_rate == 0.0005
    assert float(training.model.optimizer.learning_rate) == pytest.approx(0.0005)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_weight_decay_shrinks_kernels_apart_from_the_gradient_and_nothing_else(optimizer: str) -> None:
    layer = layers.Dense(2, bias_initializer="ones")
    layer.build((None, 3))
    before = np.asarray(layer.kernel)
    built = build_optimizer(TrainingSettings(optimizer=optimizer, weight_decay=0.1, learning_rate=0.5))
    built.build(layer.trainable_variables)
    built.apply([np.zeros((3, 2), np.float32), np.zeros(2, np.float32)], layer.trainable_variables)
    assert np.asarray(layer.kernel) == pytest.approx(before * (1 - 0.5 * 0.1))
    assert np.asarray(layer.bias).tolist() == [1.0, 1.0]


def test_a_long_gradient_is_cut_as_a_whole_and_a_short_one_stays() -> None:
    layer = layers.Dense(2)
    layer.build((None, 2))
    layer.kernel.assign(np.zeros((2, 2), np.float32))
    built = build_optimizer(TrainingSettings(optimizer="sgd", clip_norm=1.0, learning_rate=1.0))
    built.build(layer.trainable_variables)
    rate = 1 + 0.9  # of the first step with Nesterov's momentum
    for gradient, length in (([[3.0, 0.0], [0.0, 0.0]], 5.0), ([[0.3, 0.0], [0.0, 0.0]], 1.0)):
        for variable in (layer.kernel, layer.bias, *built.variables[2:]):
            variable.assign(np.zeros(variable.shape, np.float32))
        bias = np.array([4.0, 0.0]) if length > 1 else np.zeros(2)
        built.apply([np.array(gradient, np.float32), bias.astype(np.float32)], layer.trainable_variables)
        assert np.asarray(layer.kernel) == pytest.approx(-rate * np.array(gradient) / length)
        assert np.asarray(layer.bias) == pytest.approx(-rate * bias / length)


def test_smoothed_labels_keep_a_network_from_certainty_and_leave_the_measures_of_its_loss(eight_eyes: Eyes) -> None:
    """At 0.5 the lowest loss of a separable eye is at a probability of 0.75."""
    changes = {"augmentation.strength": 0.0, "training.learning_rate": 0.01, "model.width": 8}
    training = _training(eight_eyes, eight_eyes, {**changes, "training.label_smoothing": 0.5})
    _run(training, 60)
    last = training.history[-1]
    assert last.train.accuracy == 1.0
    assert last.train.loss == pytest.approx(-math.log(0.75), abs=0.05)
    assert last.validation.loss == pytest.approx(-math.log(0.75), abs=0.1)


def test_train_measures_come_from_the_predictions_made_while_training(eight_eyes: Eyes) -> None:
    # a rate too small to change a float32: every prediction is that of the first weights
    changes = {"training.learning_rate": 1e-30, "training.optimizer": "sgd", "augmentation.strength": 0.0}
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Rescaling(1 / 255),
            layers.GlobalMaxPooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    training = _training(eight_eyes, eight_eyes, {**changes, "training.balance": "none"}, model)
    result = training.run_epoch()
    probabilities = Predictor(model)(eight_eyes.images)
    of_label = np.where(eight_eyes.labels == 1, probabilities, 1 - probabilities)
    for measures in (result.train, result.validation):
        assert measures.loss == pytest.approx(float(-np.log(of_label).mean()), rel=1e-5)
        assert measures.accuracy == accuracy(eight_eyes.labels, probabilities)
        assert measures.auc == pytest.approx(auc(eight_eyes.labels, probabilities))


def test_validation_measures_are_those_of_predict_after_the_epoch(train_eyes: Eyes, validation_eyes: Eyes) -> None:
    training = _training(train_eyes, validation_eyes)
    result = training.run_epoch()
    probabilities = Predictor(training.model)(validation_eyes.images)
    assert result.validation.auc == auc(validation_eyes.labels, probabilities)
    assert result.epoch == training.epoch == 1
    assert training.history == (result,)


def test_an_average_of_weights_is_judged_and_saved_and_the_training_goes_on_from_the_last_weights(
    train_eyes: Eyes, validation_eyes: Eyes, tmp_path: Path
) -> None:
    plain = _run(_training(train_eyes, validation_eyes), 2)
    averaged = _run(_training(train_eyes, validation_eyes, {"training.ema_decay": 0.9}), 2)
    assert [result.train for result in averaged.history] == [result.train for result in plain.history]
    arrays = averaged._variables()
    last = [array.numpy() for name, array in arrays.items() if name.startswith("last/")]
    assert all(np.array_equal(mine, other) for mine, other in zip(last, plain.model.variables, strict=True))

    averaged.model.save(tmp_path / "model.keras")
    seen = Predictor(keras.saving.load_model(tmp_path / "model.keras"))(validation_eyes.images)
    assert np.array_equal(seen, averaged.seen) and not np.array_equal(seen, plain.seen)
    assert averaged.history[-1].validation.auc == auc(validation_eyes.labels, seen)


def test_predictions_do_not_depend_on_how_many_images_are_taken_at_once(validation_eyes: Eyes) -> None:
    model = build_resnet(SMALL.model, 32)
    expected = np.asarray(model(validation_eyes.images.astype(np.float32), training=False))[:, 1]
    for batch in (1, 4, 32):
        assert Predictor(model, batch)(validation_eyes.images) == pytest.approx(expected, abs=1e-6)
    assert Predictor(model)(validation_eyes.images[:0]).shape == (0,)


def test_a_loss_that_is_not_finite_fails_the_trial_with_the_epoch_and_the_rate(
    train_eyes: Eyes, validation_eyes: Eyes
) -> None:
    training = _training(train_eyes, validation_eyes, {"training.learning_rate": 0.01})
    _run(training, 2)
    training.model.get_layer("probabilities").bias.assign([math.nan, 0.0])
    with pytest.raises(TrialFailed) as failed:
        training.run_epoch()
    assert str(failed.value) == "the loss is nan in epoch 3; a smaller training.learning_rate than 0.01 may help"
    assert training.epoch == 2 and len(training.history) == 2


def test_a_rate_far_too_high_fails_the_trial_by_itself(train_eyes: Eyes, validation_eyes: Eyes) -> None:
    training = _training(train_eyes, validation_eyes, {"training.optimizer": "sgd", "training.learning_rate": 10.0})
    training.model.get_layer("probabilities").kernel.assign(np.full((4, 2), 1e38, np.float32))
    with pytest.raises(TrialFailed, match="a smaller training.learning_rate than 10.0 may help"):
        _run(training, 3)


def test_a_batch_too_large_for_memory_fails_the_trial_with_its_size(train_eyes: Eyes, validation_eyes: Eyes) -> None:
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.ZeroPadding2D(10**6),  # 48 TB an image, which no machine grants
            layers.GlobalMaxPooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    training = _training(train_eyes, validation_eyes, {"training.batch_size": 1}, model)
    with pytest.raises(TrialFailed) as failed:
        training.run_epoch()
    assert str(failed.value) == (
        "memory does not suffice in epoch 1 for training.batch_size = 1; not even a step of one image fits, so a "
        "smaller network may"
    )


LITTLE_MEMORY = """
import resource
from types import SimpleNamespace
import keras, numpy as np, psutil
from keras import layers
from drsearch.errors import TrialFailed
from drsearch.model.fit import Training, set_threads
from drsearch.settings import Settings

set_threads(1, 1)
eyes = SimpleNamespace(images=np.zeros((8, 32, 32, 3), np.uint8), labels=np.arange(8) % 2)
few = SimpleNamespace(images=eyes.images[:2], labels=eyes.labels[:2])

def training(batch_size, padding_px=2400):  # 280 MB an image
    large = layers.ZeroPadding2D(padding_px)
    end = [layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")]
    values = {"images.image_px": 32, "training.batch_size": batch_size}
    return Training(keras.Sequential([keras.Input((32, 32, 3)), large, *end]), eyes, few, Settings().replace(values))

training(8, 1).run_epoch()  # loads what a first step loads
room = psutil.Process().memory_info().vms + 1800 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    training(8).run_epoch()
except TrialFailed as failed:
    print(failed)
    training(int(str(failed).split()[-2])).run_epoch()
    print("it does")
"""


def test_a_batch_too_large_for_memory_fails_the_trial_with_a_size_that_fits() -> None:
    done = warm.run([sys.executable, "-c", LITTLE_MEMORY], os.environ)
    assert done.stdout.splitlines() == [
        "memory does not suffice in epoch 1 for training.batch_size = 8; a step of 4 fits",
        "it does",
    ], done.stderr[-2000:]


def test_a_checkpoint_that_is_cut_short_is_refused_and_changes_nothing(
    train_eyes: Eyes, validation_eyes: Eyes, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.npz"
    training = _run(_training(train_eyes, validation_eyes), 1)
    training.save(path, {})
    whole = path.read_bytes()
    before = _state(training)
    middle = len(whole) // 2
    altered = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for torn in (whole[:middle], whole[:-1], b"", altered):
        path.write_bytes(torn)
        with pytest.raises(TrialFailed) as failed:
            training.restore(path)
        assert str(failed.value) == f"{path} is no whole checkpoint; delete it to train from the first epoch"
    assert all(np.array_equal(mine, old) for mine, old in zip(_state(training), before, strict=True))


def test_a_checkpoint_of_another_network_or_optimizer_is_refused(
    train_eyes: Eyes, validation_eyes: Eyes, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.npz"
    _training(train_eyes, validation_eyes).save(path, {})
    for changes in ({"model.width": 8}, {"training.optimizer": "sgd"}):
        with pytest.raises(TrialFailed) as failed:
            _training(train_eyes, validation_eyes, changes).restore(path)
        assert str(failed.value) == (
            f"{path} is a checkpoint of another model or optimizer; delete it to train from the first epoch"
        )


def test_saving_replaces_the_checkpoint_whole_and_leaves_nothing_beside_it(
    train_eyes: Eyes, validation_eyes: Eyes, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.npz"
    training = _training(train_eyes, validation_eyes)
    training.save(path, {"at": 0})
    with pytest.raises(TypeError):
        training.save(path, {"at": object()})
    training.run_epoch()
    training.save(path, {"at": 1, "best": None, "names": ["é"]})
    assert os.listdir(tmp_path) == ["checkpoint.npz"]
    assert training.restore(path) == {"at": 1, "best": None, "names": ["é"]}


def test_a_checkpoint_holds_no_pickle(train_eyes: Eyes, validation_eyes: Eyes, tmp_path: Path) -> None:
    _training(train_eyes, validation_eyes).save(tmp_path / "checkpoint.npz", {"at": 0})
    with np.load(tmp_path / "checkpoint.npz", allow_pickle=False) as file:
        assert json.loads(str(file["about"])) == {"epoch": 0, "history": [], "extra": {"at": 0}}


def test_the_saved_model_brings_its_optimizer(train_eyes: Eyes, validation_eyes: Eyes, tmp_path: Path) -> None:
    training = _run(_training(train_eyes, validation_eyes), 1)
    training.model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras")
    assert int(opened.optimizer.iterations) == 5
    mine, theirs = training.model.optimizer.variables, opened.optimizer.variables
    assert all(np.array_equal(one, other) for one, other in zip(mine, theirs, strict=True))
    assert np.array_equal(Predictor(opened)(validation_eyes.images), Predictor(training.model)(validation_eyes.images))


def test_a_trained_model_is_trained_on_with_a_fresh_optimizer(train_eyes: Eyes, validation_eyes: Eyes) -> None:
    first = _run(_training(train_eyes, validation_eyes), 1)
    before = Predictor(first.model)(validation_eyes.images)
    second = _training(train_eyes, validation_eyes, {"training.learning_rate": 1e-5}, first.model)
    assert second.epoch == 0 and int(second.model.optimizer.iterations) == 0
    assert np.array_equal(Predictor(second.model)(validation_eyes.images), before)
    assert second.run_epoch().learning_rate == 1e-5


def test_cosine_falls_from_the_learning_rate_to_one_percent_of_it_in_the_last_epoch() -> None:
    training = TrainingSettings(epochs=11, learning_rate=0.1, schedule="cosine")
    rates = [learning_rate(epoch, training) for epoch in range(1, 12)]
    assert rates[0] == 0.1 and rates[-1] == pytest.approx(0.001)
    assert rates[5] == pytest.approx(0.0505)
    assert rates == sorted(rates, reverse=True)


def test_warm_up_rises_evenly_to_the_learning_rate_even_when_there_is_nothing_after_it() -> None:
    training = TrainingSettings(epochs=5, learning_rate=0.4, warmup_epochs=3)
    assert [learning_rate(epoch, training) for epoch in range(1, 6)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    single = TrainingSettings(epochs=1, learning_rate=0.4, schedule="cosine")
    assert learning_rate(1, single) == 0.4


def test_mapped_images_train_as_an_array_does(train_eyes: Eyes, validation_eyes: Eyes) -> None:
    mapped = MappedImages([train_eyes.images[:7], train_eyes.images[7:]])
    eyes = SimpleNamespace(images=mapped, labels=train_eyes.labels, grades=train_eyes.grades, boxes=train_eyes.boxes)
    one, other = (_run(_training(each, validation_eyes), 2) for each in (train_eyes, eyes))
    assert _without_time(one.history) == _without_time(other.history)
    assert all(np.array_equal(a, b) for a, b in zip(_state(one), _state(other), strict=True))
