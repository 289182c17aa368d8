"""What does a network say of images?"""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

RDR = 1
"""The column of a prediction that holds the probability of referable retinopathy."""


class Predictor:
    """Asks a network, traced once for batches of any length; the network may learn between two questions.

    Args:
        model: RGB images of 0..255 in, shape `(n, h, w, 3)`, a softmax over NRDR and RDR out.
        batch_size: Images at once; memory grows with it.
    """

    def __init__(self, model: keras.Model, batch_size: int = 32) -> None:
        def ask(images: tf.Tensor) -> tf.Tensor:
            return model(tf.cast(images, tf.float32), training=False)[:, RDR]

        signature = [tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.uint8)]
        self._ask = tf.function(ask, input_signature=signature)
        self._batch_size = batch_size

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The probability of RDR of every image.

        Args:
            images: RGB, shape `(n, h, w, 3)`.

        Returns:
            Shape `(n,)`, in 0..1.
        """
        starts = range(0, len(images), self._batch_size)
        parts = [self._ask(tf.constant(images[first : first + self._batch_size])).numpy() for first in starts]
        return np.concatenate([np.empty(0, np.float32), *parts])
