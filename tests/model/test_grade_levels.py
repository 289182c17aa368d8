"""The grade as a second target: what is learned, what the saved model keeps, and what is refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from drsearch.errors import TrialFailed
from drsearch.measure.gradcam import GradCam
from drsearch.measure.kappa import Graded, quadratic_kappa
from drsearch.model.fit import Training, build_optimizer, set_seeds
from drsearch.model.fused_step import compiled_fit
from drsearch.model.grade_levels import GradePredictor, grade_levels, knows_grades, levels_head
from drsearch.model.mean_network import mean_network, weights_only
from drsearch.model.predictor import Predictor
from drsearch.model.resnet_v2 import build_resnet
from drsearch.model.second_head import with_outputs
from drsearch.model.second_targets import add_heads, second_heads
from drsearch.settings import Settings

Eyes = Any

PX = 32
SMALL = Settings().replace(
    {
        "images.image_px": PX,
        "model.width": 8,
        "model.stages": 1,
        "training.epochs": 4,
        "training.learning_rate": 0.01,
        "training.levels_weight": 0.5,
        "augmentation.strength": 0.0,
    }
)


def _resnet(changes: Mapping[str, Any] | None = None) -> keras.Model:
    set_seeds(0)
    return build_resnet(SMALL.replace(changes or {}).model, PX)


def _levels(model: keras.Model, eyes: Eyes) -> Any:
    images = eyes.images.astype(np.float32)
    return np.asarray(keras.Model(model.inputs[0], model.get_layer("levels").output)(images, training=False))


@given(st.lists(st.integers(0, 4), min_size=1))
def test_levels_are_a_grade_in_four_steps(grades: list[int]) -> None:
    levels = grade_levels(np.array(grades))
    assert levels.sum(axis=1).tolist() == grades
    assert np.all(np.diff(levels, axis=1) <= 0)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_it_learns_every_grade_beside_the_classes(eight_eyes: Eyes, loss: str) -> None:
    training = Training(_resnet(), eight_eyes, eight_eyes, SMALL.replace({"training.levels_loss": loss}))
    for _ in range(120):
        result = training.run_epoch()
    assert result.train.accuracy == result.validation.accuracy == 1.0
    assert np.round(_levels(training.model, eight_eyes).sum(axis=1)).tolist() == eight_eyes.grades.tolist()
    assert GradePredictor(training.model)(eight_eyes.images).tolist() == eight_eyes.grades.tolist()


def test_a_mean_of_networks_gives_the_mean_of_their_grades_and_so_do_eight_views(eight_eyes: Eyes) -> None:
    networks = []
    for bias in (-3.0, 0.2):
        network = add_heads(_resnet(), second_heads(eight_eyes, SMALL.training), SMALL.training)
        network.get_layer("levels").bias.assign([bias] * 4)
        networks.append(weights_only(network))
    sums = np.stack([_levels(network, eight_eyes).sum(axis=1) for network in networks])
    mean = mean_network(networks)
    assert knows_grades(mean) and not knows_grades(mean_network([_resnet(), networks[0]]))
    assert GradePredictor(mean)(eight_eyes.images).tolist() == np.round(sums.mean(axis=0)).tolist()
    turned = eight_eyes.images[:, ::-1].swapaxes(1, 2)
    for views in (eight_eyes.images, turned):
        assert np.array_equal(GradePredictor(mean, 8)(views), GradePredictor(mean, 8)(eight_eyes.images))


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_a_step_returns_the_grade_of_the_larger_share_and_what_the_levels_gave_before(
    eight_eyes: Eyes, share: float
) -> None:
    heads = second_heads(eight_eyes, SMALL.training)
    model = add_heads(_resnet(), heads, SMALL.training)
    _, outputs = with_outputs(model, heads)(eight_eyes.images.astype(np.float32), training=True)
    levels = grade_levels(eight_eyes.grades)
    levels = np.float32(share) * levels + np.float32(1 - share) * levels[::-1]
    optimizer = build_optimizer(SMALL.training)
    optimizer.build(model.trainable_variables)
    batches = iter(tf.data.Dataset.from_tensors((eight_eyes.images, eight_eyes.labels, levels)))
    *_, grades, predicted = compiled_fit(model, optimizer, second_heads=heads, with_grades=True)(
        batches, tf.constant(1)
    )
    assert grades.numpy().tolist() == eight_eyes.grades.tolist()
    assert predicted.numpy().tolist() == np.round(np.sum(outputs, axis=1)).tolist()


def test_kappa_judges_an_epoch_by_the_grades_of_the_validation_eyes(train_eyes: Eyes, validation_eyes: Eyes) -> None:
    settings = SMALL.replace({"study.objective": "val_kappa", "training.ema_decay": 0.5})
    training = Training(_resnet(), train_eyes, validation_eyes, settings)
    for _ in range(3):
        result = training.run_epoch()
    predicted = GradePredictor(training.model)(validation_eyes.images)
    value = quadratic_kappa(Graded(validation_eyes.grades, predicted))
    assert result.validation.others == {"kappa": pytest.approx(value)} and -1 <= result.train.others["kappa"] <= 1
    with pytest.raises(TrialFailed, match=r"val_kappa is of grades, which a network does not know with training.level"):
        Training(_resnet(), train_eyes, validation_eyes, settings.replace({"training.levels_weight": 0.0}))


@given(st.lists(st.tuples(st.integers(0, 4), st.tuples(*[st.floats(0, 1, width=32)] * 4)), min_size=1, max_size=5))
def test_the_squared_error_is_that_of_the_grade(eyes: list[tuple[int, tuple[float, ...]]]) -> None:
    grades, outputs = np.array([grade for grade, _ in eyes]), np.array([levels for _, levels in eyes], np.float32)
    head = levels_head(grades, SMALL.replace({"training.levels_loss": "squared_error"}).training)
    error = head.loss(tf.constant(grade_levels(grades)), tf.constant(outputs))
    assert float(error) == pytest.approx(np.mean((outputs.sum(axis=1) - grades) ** 2), rel=1e-5, abs=1e-6)


def test_without_the_setting_the_network_is_the_given_one_and_grades_are_not_read(eight_eyes: Eyes) -> None:
    class Ungraded:
        images, labels = eight_eyes.images, eight_eyes.labels

    model = _resnet()
    training = Training(model, Ungraded(), Ungraded(), SMALL.replace({"training.levels_weight": 0.0}))
    training.run_epoch()
    assert training.model is model


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_is_that_of_keras_with_two_losses(eight_eyes: Eyes, fused: bool) -> None:
    """Also of dropout: the levels see what the classifier sees."""
    heads = second_heads(eight_eyes, SMALL.training)
    targets = grade_levels(eight_eyes.grades)
    sgd = SMALL.replace({"training.optimizer": "sgd"}).training

    ours = add_heads(_resnet(), heads, SMALL.training)
    theirs = with_outputs(add_heads(_resnet(), heads, SMALL.training), heads)
    for mine, other in zip(ours.variables, theirs.variables, strict=True):
        other.assign(mine)

    optimizer = build_optimizer(sgd)
    optimizer.build(ours.trainable_variables)
    batches = tf.data.Dataset.from_tensors((eight_eyes.images, eight_eyes.labels, targets))
    losses, labels, _ = compiled_fit(ours, optimizer, fused, second_heads=heads)(iter(batches.repeat()), tf.constant(3))
    assert labels.numpy().tolist() == eight_eyes.labels.tolist() * 3

    theirs.compile(build_optimizer(sgd), ["sparse_categorical_crossentropy", "binary_crossentropy"], [1.0, 0.5])
    images = eight_eyes.images.astype(np.float32)
    for step in range(3):
        _, of_classes, _ = theirs.train_on_batch(images, [eight_eyes.labels, targets], return_dict=False)
        assert losses.numpy()[8 * step : 8 * step + 8].mean() == pytest.approx(of_classes, rel=1e-3)
    for mine, other in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(other), rtol=1e-3, atol=1e-5)


def test_the_saved_model_answers_as_any_other_and_is_trained_on_with_its_levels(
    train_eyes: Eyes, validation_eyes: Eyes, tmp_path: Path
) -> None:
    training = Training(_resnet({"model.dropout": 0.2}), train_eyes, validation_eyes, SMALL)
    training.run_epoch()
    training.model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert opened.output_shape == (None, 2)
    assert np.array_equal(Predictor(opened)(validation_eyes.images), training.seen)
    assert int(opened.optimizer.iterations) == int(training.model.optimizer.iterations)

    inside = np.ones((9, PX, PX), bool)
    camera = GradCam(opened)
    assert camera.layer_name == "post_relu"
    assert camera.maps(validation_eyes.images, inside)[1] == pytest.approx(training.seen, abs=1e-5)

    before = _levels(opened, validation_eyes)
    on = Training(opened, train_eyes, validation_eyes, SMALL)
    assert on.model is opened
    on.run_epoch()
    assert not np.array_equal(_levels(opened, validation_eyes), before)


def _backbone() -> keras.Model:
    inner = keras.Sequential([keras.Input((PX, PX, 3)), layers.Conv2D(4, 3, strides=2, activation="relu")])
    return keras.Sequential(
        [keras.Input((PX, PX, 3)), inner, layers.GlobalMaxPooling2D(), layers.Dense(2, activation="softmax")]
    )


def test_any_network_that_ends_in_a_dense_layer_with_softmax_gets_them(train_eyes: Eyes) -> None:
    training = Training(_backbone(), train_eyes, train_eyes, SMALL)
    training.run_epoch()
    assert _levels(training.model, train_eyes).shape == (15, 4)


def _with_softmax_apart() -> keras.Model:
    images = keras.Input((PX, PX, 3))
    return keras.Model(images, layers.Softmax()(layers.Dense(2)(layers.GlobalAveragePooling2D()(images))))


def _with_levels_of_its_own() -> keras.Model:
    images = keras.Input((PX, PX, 3))
    x = layers.Dense(7, name="levels")(layers.GlobalAveragePooling2D()(images))
    return keras.Model(images, layers.Dense(2, activation="softmax")(x))


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (_with_softmax_apart, "the network does not end in a Dense layer with softmax on a vector"),
        (_with_levels_of_its_own, r"its layer 'levels' returns \(None, 7\)"),
    ],
)
def test_another_network_is_refused(train_eyes: Eyes, network: Any, sentence: str) -> None:
    with pytest.raises(TrialFailed, match=sentence):
        Training(network(), train_eyes, train_eyes, SMALL)


def test_eyes_that_are_graded_yes_or_no_are_refused(train_eyes: Eyes) -> None:
    class Graded:
        images, labels, grades = train_eyes.images, train_eyes.labels, 2 * train_eyes.labels

    with pytest.raises(TrialFailed) as failed:
        Training(_resnet(), Graded(), train_eyes, SMALL)
    assert str(failed.value) == (
        "training.levels_weight = 0.5: the train eyes have no grade but 0 and 2, so levels say no more than the label; "
        "leave it at 0"
    )
