"""A network's own map of lesions, where it has learned one (`training.lesions_weight`)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from drsearch.errors import MetricError
from drsearch.measure.gradcam import ASIDE, averaged_networks, enlarged

LESION_MAP = f"{ASIDE}map"
"""Name of the layer: the probability of red and of bright lesions in each cell, shape `(n, height, width, 2)`."""


class LesionLayer:
    """Shows where a network itself sees lesions, of whatever colour. The maps are the same for both classes.

    A mean of networks (`drsearch.model.mean_network`) has the mean of their maps.

    Args:
        model: As for `GradCam`, with a layer `lesion_map`.
        batch_size: Photographs at once; memory grows with it.

    Raises:
        MetricError: If it has none.
    """

    def __init__(self, model: Any, batch_size: int = 32) -> None:
        if not has_lesion_map(model):
            raise MetricError(
                f"{model.name} has no map of lesions: train it with training.lesions_weight = 1 on data with boxes, or "
                "write another --method."
            )
        mapped = keras.Model(model.inputs[0], [_lesion_map(model), model.outputs[0]])
        images = tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32)
        self._answers = tf.function(
            lambda batch: mapped(batch, training=False), input_signature=[images], autograph=False
        )
        self._batch_size = batch_size

    def maps(
        self, images: NDArray[np.uint8], inside: NDArray[np.bool_], label: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The maps of some eyes, and their probabilities: as `GradCam.maps`, but a place is a probability in 0..1."""
        maps, probabilities = np.zeros(inside.shape, np.float32), np.zeros(len(images), np.float32)
        for first in range(0, len(images), self._batch_size):
            some = slice(first, first + self._batch_size)
            cells, chances = self._answers(tf.constant(images[some], tf.float32))
            probabilities[some] = chances.numpy()[:, 1]
            for i, each in enumerate(cells.numpy().max(axis=3), start=first):
                maps[i] = enlarged(each, inside[i])
        return maps, probabilities


def has_lesion_map(model: Any) -> bool:
    """Whether a network, or every network of a mean, has learned a map of lesions."""
    return all(
        any(layer.name == LESION_MAP for layer in network.layers) for network in averaged_networks(model) or [model]
    )


def _lesion_map(model: Any) -> Any:
    if not (networks := averaged_networks(model)):
        return model.get_layer(LESION_MAP).output
    maps = [keras.Model(each.inputs[0], each.get_layer(LESION_MAP).output)(model.inputs[0]) for each in networks]
    return keras.layers.Average()(maps)
