"""Occlusion: what a model loses where a patch of a photograph is covered."""

from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from drsearch.measure.gradcam import class_odds, dense_softmax, enlarged, log_chances, strongest_is_one

_CELLS = 16  # steps of the patch along each side
_PATCH = 2  # side of the patch, in steps


class Occlusion:
    """Explains a model by its answers alone: how much less a place speaks for a class once it is covered.

    A square patch, an eighth of the side wide, moves over the image by half its width; it has the mean colour of the
    eye's retina. The map is the fall of the logarithm of the odds of the class, cut at 0. It needs 256 answers per eye.

    Args:
        model: As for `GradCam`, of any form.
        batch_size: Images at once; memory grows with it.

    Source:
        Zeiler and Fergus (2014), Visualizing and Understanding Convolutional Networks, ECCV, arXiv:1311.2901, whose
        patch is grey.
    """

    def __init__(self, model: Any, batch_size: int = 32) -> None:
        self._classifier = dense_softmax(model)
        before = [] if self._classifier is None else [self._classifier.input]
        answers = keras.Model(model.inputs, [model.outputs[0], *before])
        self._batch_size = batch_size

        def odds(images: Any, label: Any) -> tuple[Any, Any]:
            chances, *features = keras.tree.flatten(answers([tf.cast(images, tf.float32)], training=False))
            label = tf.where(label < 0, tf.argmax(chances, axis=1, output_type=tf.int32), label)
            return class_odds(log_chances(self._classifier, chances, features), label), chances

        images = tf.TensorSpec((None, *model.inputs[0].shape[1:3], 3), tf.uint8)
        asked = tf.TensorSpec((None,), tf.int32)
        self._odds = tf.function(odds, input_signature=[images, asked], autograph=False)

    def maps(
        self, images: NDArray[np.uint8], inside: NDArray[np.bool_], label: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The maps of some eyes, and their probabilities: as `GradCam.maps`."""
        maps, probabilities = np.zeros(inside.shape, np.float32), np.zeros(len(images), np.float32)
        for i, image in enumerate(images):
            seen = cv2.resize(inside[i].astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_AREA) > 0.5
            filling = np.round(image[seen].mean(axis=0) if seen.any() else image.mean(axis=(0, 1)))
            odds, chances = self._odds(image[None], np.array([-1 if label is None else label], np.int32))
            probabilities[i] = chances.numpy()[0, 1]
            asked = int(chances.numpy()[0].argmax()) if label is None else label
            covered = self._covered_odds(image, filling.astype(np.uint8), asked)
            maps[i] = strongest_is_one(enlarged(np.maximum(odds.numpy()[0] - covered, 0), inside[i]))
        return maps, probabilities

    def _covered_odds(self, image: NDArray[np.uint8], filling: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
        """The odds with the patch about each of the cells, shape `(_CELLS, _CELLS)`."""
        height, width = image.shape[:2]
        odds: list[NDArray[np.float32]] = []
        cells = [(row, column) for row in range(_CELLS) for column in range(_CELLS)]
        for first in range(0, len(cells), self._batch_size):
            some = cells[first : first + self._batch_size]
            batch = np.repeat(image[None], len(some), axis=0)
            for covered, (row, column) in zip(batch, some, strict=True):
                rows, columns = (_patch(at, side) for at, side in ((row, height), (column, width)))
                covered[rows, columns] = filling
            odds.append(self._odds(batch, np.full(len(some), label, np.int32))[0].numpy())
        return np.concatenate(odds).astype(np.float32).reshape(_CELLS, _CELLS)


def _patch(cell: int, side: int) -> slice:
    """The pixels of a patch about the middle of a cell."""
    middle, half = (cell + 0.5) * side / _CELLS, _PATCH / 2 * side / _CELLS
    return slice(max(round(middle - half), 0), round(middle + half))
