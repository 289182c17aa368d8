"""Probabilities of images."""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

RDR = 1
"""The column of a prediction that holds the probability of referable retinopathy."""


class Predictor:
    """Computes a network's probabilities, traced once for batches of any length; the weights may change between calls.

    Args:
        model: RGB images of 0..255 in, shape `(n, h, w, 3)`, a softmax over NRDR and RDR out.
        batch_size: Images per batch, views counted; memory grows with it.
        symmetries: Views of an image over which its probability is averaged: 1, or 8, the symmetries of the square.
    """

    def __init__(self, model: keras.Model, batch_size: int = 32, symmetries: int = 1) -> None:
        def of_batch(images: tf.Tensor) -> tf.Tensor:
            if symmetries == 1:
                return model(tf.cast(images, tf.float32), training=False)[:, RDR]
            views = tf.concat(_eight_views(images), axis=0)
            probabilities = model(tf.cast(views, tf.float32), training=False)[:, RDR]
            return tf.reduce_mean(tf.reshape(probabilities, (symmetries, -1)), axis=0)

        signature = [tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.uint8)]
        self._of_batch = tf.function(of_batch, input_signature=signature)
        self._batch_size = max(1, batch_size // symmetries)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probability of RDR of every image.

        Args:
            images: RGB, shape `(n, h, w, 3)`.

        Returns:
            Shape `(n,)`, in 0..1.
        """
        starts = range(0, len(images), self._batch_size)
        parts = [self._of_batch(tf.constant(images[first : first + self._batch_size])).numpy() for first in starts]
        return np.concatenate([np.empty(0, np.float32), *parts])


def _eight_views(images: tf.Tensor) -> list[tf.Tensor]:
    """Images in all quarter turns, each mirrored and not."""
    mirrored_at_the_diagonal = tf.transpose(images, (0, 2, 1, 3))
    axes: list[list[int]] = [[], [1], [2], [1, 2]]
    return [tf.reverse(either, flipped) for either in (images, mirrored_at_the_diagonal) for flipped in axes]
