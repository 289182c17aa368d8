"""Second targets, learned beside the two classes from the same eyes: the levels of the grade."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from drsearch.data.pipeline import LabelledImages, SecondTarget
from drsearch.errors import TrialFailed
from drsearch.grades import GRADES
from drsearch.settings import TrainingSettings

LEVELS = "levels"
"""Name of the layer of P(grade >= k), k = 1 to 4, shape `(n, 4)`."""


@dataclass(frozen=True)
class SecondHead:
    """A layer of a network that learns a second target; the classifier sees its output too.

    Attributes:
        layer: Its name.
        weight: Of its loss, beside the cross-entropy of the two classes.
        target: What it learns of an image.
        loss: Of the targets and the outputs of a batch, a scalar.
        add: Returns a network with this head, of one without.
    """

    layer: str
    weight: float
    target: SecondTarget
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    add: Callable[[keras.Model], keras.Model]


def second_heads(eyes: LabelledImages, training: TrainingSettings) -> tuple[SecondHead, ...]:
    """The heads that the settings ask for.

    Args:
        eyes: Train the network.
        training: `levels_weight` is used.

    Raises:
        TrialFailed: If the eyes do not have the target.
    """
    if training.levels_weight == 0:
        return ()
    if misfit := misfit_of_grades(training, eyes.grades):
        raise TrialFailed(misfit)
    levels = grade_levels(eyes.grades)
    return (SecondHead(LEVELS, training.levels_weight, lambda i, _: levels[i], _mean_cross_entropy, _add_levels),)


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


def misfit_of_grades(training: TrainingSettings, grades: Iterable[int]) -> str:
    """Why the levels that the settings ask for cannot be learned of these grades, in words; empty if they can.

    Example:
        >>> misfit_of_grades(TrainingSettings(levels_weight=0.5), [0, 2, 2]).partition(",")[0]
        'training.levels_weight = 0.5: the train eyes have no grade but 0 and 2'
    """
    different = sorted({int(grade) for grade in grades})
    if training.levels_weight == 0 or len(different) > 2:
        return ""
    return (
        f"training.levels_weight = {training.levels_weight}: the train eyes have no grade but "
        f"{' and '.join(map(str, different))}, so levels say no more than the label; leave it at 0"
    )


def add_heads(model: keras.Model, heads: Sequence[SecondHead]) -> keras.Model:
    """A network on the same weights that has these heads, where it does not yet; without heads the network itself.

    Raises:
        TrialFailed: If its answer is not that of a dense layer with softmax on a vector.
    """
    for head in heads:
        if misfit := misfit_of_network(model):
            raise TrialFailed(misfit)
        if all(layer.name != head.layer for layer in model.layers):
            model = head.add(model)
    return model


def with_outputs(model: keras.Model, heads: Sequence[SecondHead]) -> keras.Model:
    """A network that also returns what its heads do, after the probabilities; without heads the network itself."""
    if not heads:
        return model
    return keras.Model(model.inputs[0], [model.outputs[0], *(model.get_layer(head.layer).output for head in heads)])


def misfit_of_network(model: keras.Model) -> str:
    """Why `training.levels_weight` cannot be set for a network, in words; empty if it can."""
    own = next((layer.output.shape for layer in model.layers if layer.name == LEVELS), None)
    wanted = (None, len(GRADES) - 1)
    if own == wanted:
        return ""
    if own is not None:
        return (
            f"its layer {LEVELS!r} returns {own}, and training.levels_weight is for {wanted}, P(grade >= k) for k = 1 "
            "to 4; give the layer another name"
        )
    last = model.layers[-1]
    is_classifier = isinstance(last, layers.Dense) and last.activation is keras.activations.softmax
    if is_classifier and last.output is model.outputs[0] and len(last.input.shape) == 2:
        return ""
    return (
        "the network does not end in a Dense layer with softmax on a vector, beside which the levels of "
        "training.levels_weight would stand; end in one, or leave it at 0"
    )


def _add_levels(model: keras.Model) -> keras.Model:
    """The levels see what the classifier sees, and the classifier sees the levels too."""
    classifier = model.layers[-1]
    # float32 whatever the policy, as the probabilities
    levels = layers.Dense(len(GRADES) - 1, activation="sigmoid", dtype="float32", name=LEVELS)(classifier.input)
    both = layers.Concatenate(dtype="float32", name="features_and_levels")([classifier.input, levels])
    probabilities = layers.Dense.from_config(classifier.get_config())(both)
    return keras.Model(model.inputs[0], probabilities, name=model.name)


def _mean_cross_entropy(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(keras.losses.binary_crossentropy(targets, outputs))
