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
        batch_size: Images per batch; memory grows with it.
    """

    def __init__(self, model: keras.Model, batch_size: int = 32) -> None:
        def of_batch(images: tf.Tensor) -> tf.Tensor:
            return model(tf.cast(images, tf.float32), training=False)[:, RDR]

        signature = [tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.uint8)]
        self._of_batch = tf.function(of_batch, input_signature=signature)
        self._batch_size = batch_size

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
