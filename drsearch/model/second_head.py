"""A head of a network that learns a second target beside the two classes, and feeds the classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras import layers

from drsearch.data.pipeline import SecondTarget


@dataclass(frozen=True)
class SecondHead:
    """A layer of a network that learns a second target; the classifier sees its output too.

    Attributes:
        layer: Its name.
        weight: Of its loss, beside the loss of the two classes.
        target: What it learns of an image.
        loss: Of the targets and the outputs of a batch, a scalar.
        add: Returns a network with this head, of one without.
    """

    layer: str
    weight: float
    target: SecondTarget
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    add: Callable[[keras.Model], keras.Model]


def with_outputs(model: keras.Model, heads: Sequence[SecondHead]) -> keras.Model:
    """A network that also returns what its heads do, after the probabilities; without heads the network itself."""
    if not heads:
        return model
    return keras.Model(model.inputs[0], [model.outputs[0], *(model.get_layer(head.layer).output for head in heads)])


def output_shape(model: keras.Model, layer: str) -> tuple[int | None, ...] | None:
    """The shape of what a layer returns; None if the network has no layer of that name."""
    return next((each.output.shape for each in model.layers if each.name == layer), None)


def has_classifier(model: keras.Model) -> bool:
    """Whether a network ends in a `Dense` layer with softmax on a vector, beside which a head can stand."""
    last = model.layers[-1]
    is_classifier = isinstance(last, layers.Dense) and last.activation is keras.activations.softmax
    return is_classifier and last.output is model.outputs[0] and len(last.input.shape) == 2


def feed_classifier(model: keras.Model, outputs: Sequence[keras.KerasTensor], name: str) -> keras.Model:
    """The network with a fresh classifier that sees more.

    Args:
        model: Has a classifier.
        outputs: Vectors within the network, shape `(n, any)`.
        name: Of the layer that lays all side by side.
    """
    classifier = model.layers[-1]
    # float32 whatever the policy, as the probabilities
    seen = layers.Concatenate(dtype="float32", name=name)([classifier.input, *outputs])
    return keras.Model(model.inputs[0], layers.Dense.from_config(classifier.get_config())(seen), name=model.name)
