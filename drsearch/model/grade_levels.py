"""The grade as a second target: four levels, P(grade >= k)."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from drsearch.data.mapped_images import Images
from drsearch.grades import GRADES
from drsearch.model.mean_network import is_mean, networks_of
from drsearch.model.predictor import Predictor
from drsearch.model.second_head import SecondHead, feed_classifier, has_classifier, output_shape
from drsearch.settings import TrainingSettings

LEVELS = "levels"
"""Name of the layer of P(grade >= k), k = 1 to 4, shape `(n, 4)`."""


def levels_head(grades: NDArray[np.int64], training: TrainingSettings) -> SecondHead:
    """The head that learns the levels.

    Args:
        grades: Of the training images, 0 to 4, shape `(n,)`.
        training: `levels_weight` and `levels_loss` are used.
    """
    levels = grade_levels(grades)
    loss = {"cross_entropy": _cross_entropy, "squared_error": _squared_error}[training.levels_loss]
    return SecondHead(LEVELS, training.levels_weight, lambda index, _: levels[index], loss, _add)


def grade_levels(grades: NDArray[np.int64]) -> NDArray[np.float32]:
    """Whether each grade is at least 1, 2, 3 and 4.

    Args:
        grades: 0 to 4, shape `(n,)`.

    Returns:
        0 or 1, shape `(n, 4)`.

    Source:
        Frank and Hall (2001), A Simple Approach to Ordinal Classification, ECML, doi:10.1007/3-540-44795-4_13.

    Example:
        >>> grade_levels(np.array([0, 2])).tolist()
        [[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]
    """
    return (grades[:, None] >= np.array(GRADES[1:])).astype(np.float32)


def misfit_for_levels(model: keras.Model) -> str:
    """Why a network cannot learn levels, in words; empty if it can."""
    own, wanted = output_shape(model, LEVELS), (None, len(GRADES) - 1)
    if own == wanted or (own is None and has_classifier(model)):
        return ""
    if own is not None:
        return (
            f"its layer {LEVELS!r} returns {own}, and training.levels_weight is for {wanted}, P(grade >= k) for k = 1 "
            "to 4; give the layer another name"
        )
    return (
        "the network does not end in a Dense layer with softmax on a vector, beside which the levels of "
        "training.levels_weight would stand; end in one, or leave it at 0"
    )


class GradePredictor:
    """Computes the grade that a network gives, beside its answer: the sum of its levels, rounded.

    The levels of a mean of networks, and those of several views of an image, are averaged before.

    Args:
        model: Has learned levels, see `knows_grades`.
        symmetries: Views of an image: 1, or 8, the symmetries of the square.

    Source:
        The rounded mean has the least expected squared error of all grades, which quadratic kappa weighs.
    """

    def __init__(self, model: keras.Model, symmetries: int = 1) -> None:
        self._expected = Predictor(_expected_grade(model), symmetries=symmetries, column=0)

    def __call__(self, images: Images) -> NDArray[np.int64]:
        """The grade of every image, 0 to 4.

        Args:
            images: RGB, shape `(n, h, w, 3)`.

        Returns:
            Shape `(n,)`.
        """
        return np.asarray(np.floor(self._expected(images) + 0.5), np.int64)


def knows_grades(model: keras.Model) -> bool:
    """Whether a network, or each network of a mean, has learned levels."""
    networks = networks_of(model) if is_mean(model) else [model]
    return all(output_shape(network, LEVELS) == (None, len(GRADES) - 1) for network in networks)


def _expected_grade(model: keras.Model) -> keras.Model:
    """A network that returns the sum of the levels of another, shape `(n, 1)`."""
    if is_mean(model):
        each = [_expected_grade(network)(model.inputs[0]) for network in networks_of(model)]
        return keras.Model(model.inputs[0], layers.Average()(each))
    return keras.Model(model.inputs[0], keras.ops.sum(model.get_layer(LEVELS).output, axis=1, keepdims=True))


def _add(model: keras.Model) -> keras.Model:
    """The levels see what the classifier sees, and the classifier sees the levels too."""
    head = layers.Dense(len(GRADES) - 1, activation="sigmoid", dtype="float32", name=LEVELS)
    return feed_classifier(model, [head(model.layers[-1].input)], "features_and_levels")


def _cross_entropy(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(keras.losses.binary_crossentropy(targets, outputs))


def _squared_error(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.square(tf.reduce_sum(outputs - targets, axis=1)))
