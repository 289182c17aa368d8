"""Macular edema as a second target: one probability beside the two classes."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from drsearch.model.second_head import SecondHead, feed_classifier, has_classifier, output_shape

EDEMA = "edema"
"""Name of the layer of P(macular edema), shape `(n, 1)`."""

_UNKNOWN = -1.0


def edema_head(edema: Sequence[bool | None], weight: float) -> SecondHead:
    """The head that learns whether an eye has macular edema.

    Args:
        edema: Of every training image; None where it is unknown, which then does not count.
        weight: `training.edema_weight`.
    """
    targets = np.array([[_UNKNOWN if each is None else float(each)] for each in edema], np.float32)
    return SecondHead(EDEMA, weight, lambda index, _: targets[index], _cross_entropy, _add)


def misfit_for_edema(model: keras.Model) -> str:
    """Why a network cannot learn edema, in words; empty if it can."""
    own, wanted = output_shape(model, EDEMA), (None, 1)
    if own == wanted or (own is None and has_classifier(model)):
        return ""
    if own is not None:
        return (
            f"its layer {EDEMA!r} returns {own}, and training.edema_weight is for {wanted}, P(macular edema); give the "
            "layer another name"
        )
    return (
        "the network does not end in a Dense layer with softmax on a vector, beside which the macular edema of "
        "training.edema_weight would stand; end in one, or leave it at 0"
    )


def _add(model: keras.Model) -> keras.Model:
    """Edema sees what the classifier sees, and the classifier sees edema too."""
    head = layers.Dense(1, activation="sigmoid", dtype="float32", name=EDEMA)
    return feed_classifier(model, [head(model.layers[-1].input)], "features_and_edema")


def _cross_entropy(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    known = tf.cast(targets >= 0, tf.float32)
    entropies = known * keras.ops.binary_crossentropy(targets * known, outputs)
    return tf.math.divide_no_nan(tf.reduce_sum(entropies), tf.reduce_sum(known))
