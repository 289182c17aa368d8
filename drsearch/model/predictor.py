"""Probabilities of images."""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from drsearch.data.mapped_images import Images

RDR = 1
"""The column of a prediction that holds the probability of referable retinopathy."""


class Predictor:
    """Computes a network's probabilities, traced once for batches of any length; the weights may change between calls.

    Args:
        model: RGB images of 0..255 in, shape `(n, h, w, 3)`, a softmax over NRDR and RDR out.
        batch_size: Images per batch, views counted; memory grows with it.
        symmetries: Views of an image over which its probability is averaged: 1, or 8, the symmetries of the square.
        column: Of the output, whose value is returned.
    """

    def __init__(self, model: keras.Model, batch_size: int = 32, symmetries: int = 1, column: int = RDR) -> None:
        def of_batch(images: tf.Tensor) -> tf.Tensor:
            return tf.cast(model(tf.cast(images, tf.float32), training=False)[:, column], tf.float32)

        signature = [tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.uint8)]
        self._of_batch = tf.function(of_batch, input_signature=signature, autograph=False)
        self._batch_size = max(1, batch_size // symmetries)
        self._symmetries = symmetries

    def __call__(self, images: Images) -> NDArray[np.float32]:
        """The probability of RDR of every image.

        Args:
            images: RGB, shape `(n, h, w, 3)`.

        Returns:
            Shape `(n,)`, in 0..1.
        """
        starts = range(0, len(images), self._batch_size)
        parts = [self._mean_over_views(images[first : first + self._batch_size]) for first in starts]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def _mean_over_views(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self._symmetries == 1:
            return self._probabilities(images)
        # in NumPy: TensorFlow would log an error, which is none, when it turns uint8 on processors without AVX-512
        probabilities = self._probabilities(np.concatenate(eight_views(images)))
        return np.asarray(probabilities.reshape(self._symmetries, -1).mean(axis=0))

    def _probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(self._of_batch(tf.constant(images)).numpy())


def eight_views(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Images in all quarter turns, each mirrored and not; the first ones are as they are.

    Args:
        images: Shape `(n, side, side, 3)`.

    Returns:
        Eight arrays of that shape.
    """
    return [np.rot90(either, turns, (1, 2)) for either in (images, images[:, :, ::-1]) for turns in range(4)]
