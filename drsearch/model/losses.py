"""The loss of an image that a training step lowers."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from drsearch.settings import TrainingSettings

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""`loss(labels, probabilities)` returns the loss per image, shape `(b,)`. Both are probabilities of NRDR and RDR,
float32 `(b, 2)`; a label is `[1, 0]` or `[0, 1]`, or between them for mixed images."""


def _focal(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    # Lin et al. (2017), arXiv:1708.02002, equation 4; their best gamma. Their alpha is training.balance = "weights".
    return keras.losses.categorical_focal_crossentropy(labels, probabilities, alpha=1.0, gamma=2.0)


LOSSES: dict[str, Loss] = {
    "cross_entropy": keras.losses.categorical_crossentropy,
    "focal": _focal,
    # Brier (1950), Monthly Weather Review 78(1); as a loss: Hui and Belkin (2021), arXiv:2006.07322.
    "squared_error": keras.losses.mean_squared_error,
}
"""The values of `training.loss`, but for a space's own."""


def build_loss(training: TrainingSettings, labels: NDArray[np.int64], own: Loss | None = None) -> Loss | None:
    """The loss by `training.loss`, `training.label_smoothing` and `training.balance`.

    Args:
        training: Its settings.
        labels: Of all training images, 0 or 1, shape `(n,)`.
        own: The loss of `training.loss = "own"`.

    Returns:
        The loss; None if it is the cross-entropy of the labels, which is measured in any case.
    """
    weights = class_weights(labels) if training.balance == "weights" else None
    smoothing, of_labels = training.label_smoothing, own or LOSSES[training.loss]
    if training.loss == "cross_entropy" and smoothing == 0 and weights is None:
        return None

    def loss(labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        losses = of_labels(labels * (1 - smoothing) + smoothing / 2, probabilities)
        return losses if weights is None else losses * tf.linalg.matvec(labels, weights)

    return loss


def class_weights(labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """The weight of a class in the loss: inverse to its share, so that the classes count alike and the mean is 1.

    Args:
        labels: Of all training images, 0 or 1, shape `(n,)`.

    Returns:
        Of NRDR and RDR, shape `(2,)`; 0 for a class that has no images.

    Source:
        King and Zeng (2001), Logistic Regression in Rare Events Data, Political Analysis 9(2), section 4.2, for a
        population of even classes.

    Example:
        >>> class_weights(np.array([0, 1, 1, 1])).tolist()
        [2.0, 0.6666666865348816]
    """
    counts = np.bincount(labels, minlength=2)
    even = len(labels) / np.count_nonzero(counts)
    return np.divide(even, counts, out=np.zeros(2, np.float32), where=counts > 0, casting="unsafe")
