import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from drsearch.measure.calibration import brier
from drsearch.model.losses import LOSSES, build_loss, class_weights
from drsearch.settings import Settings, TrainingSettings

LABELS = np.array([0, 1, 1, 1])


def _losses(training: TrainingSettings, labels: NDArray[np.int64], p: NDArray[np.float32]) -> NDArray[np.float32]:
    """The losses of eyes with these labels and probabilities of RDR."""
    loss = build_loss(training, labels)
    assert loss is not None
    both = tf.constant(np.stack([1 - p, p], axis=1), tf.float32)
    return np.asarray(loss(tf.one_hot(labels, 2), both))


def test_every_loss_that_a_setting_may_name_is_there() -> None:
    for name in LOSSES:
        assert Settings().replace({"training.loss": name}).training.loss == name


def test_the_default_loss_is_the_cross_entropy_that_is_measured() -> None:
    assert build_loss(TrainingSettings(), LABELS) is None
    assert build_loss(TrainingSettings(balance="none"), LABELS) is None


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(1 / 64, 63 / 64, width=32)), min_size=1, max_size=20))
def test_the_losses_by_name_are_those_of_their_papers(eyes: list[tuple[int, float]]) -> None:
    labels, p = np.array([label for label, _ in eyes]), np.array([p for _, p in eyes], np.float32)
    of_label = np.where(labels == 1, p, 1 - p)
    focal = _losses(TrainingSettings(loss="focal"), labels, p)
    np.testing.assert_allclose(focal, -((1 - of_label) ** 2) * np.log(of_label), rtol=1e-4, atol=1e-6)
    squared = _losses(TrainingSettings(loss="squared_error"), labels, p)
    assert squared.mean() == pytest.approx(brier(labels, p), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_falls_with_the_probability_of_the_label_and_teaches(name: str) -> None:
    p = np.linspace(0.05, 0.95, 10, dtype=np.float32)
    training = TrainingSettings(loss=name, balance="weights", label_smoothing=0.0)
    for label, order in ((1, p), (0, p[::-1])):
        losses = _losses(training, np.append(np.full(10, label), 1 - label), np.append(order, 0.5))[:10]
        assert losses.shape == (10,) and (np.diff(losses) < 0).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_smoothed_labels_move_the_lowest_loss_away_from_certainty(name: str) -> None:
    p = np.linspace(0.01, 0.99, 99, dtype=np.float32)
    losses = _losses(TrainingSettings(loss=name, label_smoothing=0.4), np.ones(99, np.int64), p)
    assert 0.6 <= p[losses.argmin()] <= 0.81  # labels of 0.8; the focal loss leans towards the middle


@given(st.lists(st.integers(0, 1), min_size=1, max_size=50))
def test_weighted_classes_count_alike_and_an_image_counts_1_on_average(labels: list[int]) -> None:
    weights = class_weights(np.array(labels))[labels]
    assert weights.mean() == pytest.approx(1)
    sums = [weights[np.array(labels) == label].sum() for label in set(labels)]
    assert sums == pytest.approx([sums[0]] * len(sums))
