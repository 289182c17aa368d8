"""Checks the loss, the augmentation and the metric that a space file brings, before a study starts."""

import math
from numbers import Real
from typing import Any

import numpy as np
import tensorflow as tf

from drsearch.data.pipeline import Augment
from drsearch.measure.curve_metrics import OwnMetric

_PROBABILITIES = np.array([0.0, 0.1, 0.5, 0.9, 1.0], np.float32)
_SEEDS = 8
"""Of random numbers with which an augmentation is tried."""


def what_is_wrong_with_loss(loss: Any) -> str | None:
    """Why a function cannot be the loss of a training, in a few words; None if it can.

    It is tried, within a graph, on certain and on mixed labels and on all kinds of probabilities, 0 and 1 too: a
    softmax rounds to them.

    Args:
        loss: What `build_loss(settings)` returned: of labels and probabilities, float32 `(n, 2)`, the loss per image,
            float32 `(n,)`.
    """
    if not callable(loss):
        return f"returns {type(loss).__name__}, and not a function loss(labels, probabilities)"
    p = np.concatenate([_PROBABILITIES] * 3)
    y = np.repeat(np.array([0.0, 0.3, 1.0], np.float32), len(_PROBABILITIES))
    labels, probabilities = (tf.constant(np.stack([1 - rdr, rdr], axis=1)) for rdr in (y, p))
    both = [tf.TensorSpec((None, 2), tf.float32)] * 2

    def with_gradient(labels: tf.Tensor, probabilities: tf.Tensor) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(probabilities)
            losses = loss(labels, probabilities)
            if fault := _what_is_wrong_with_losses(losses, labels):
                raise _Refused(fault)
            total = tf.reduce_sum(losses)
        return losses, tape.gradient(total, probabilities)

    try:
        traced = tf.function(with_gradient, input_signature=both, autograph=False)
        (losses, gradients), (again, _) = traced(labels, probabilities), traced(labels, probabilities)
    except _Refused as refused:
        return str(refused)
    except Exception as wrong:  # whatever the code of a space may raise
        return f"returns a loss that fails: {type(wrong).__name__}: {' '.join(str(wrong).split())[:300].rstrip('.')}"
    if losses.shape != (len(p),):
        return f"returns a loss of shape {losses.shape} for {len(p)} images, and one number for each is expected"
    if gradients is None:
        return "returns a loss that cannot be differentiated: it has no gradient with respect to the probabilities"
    values, slopes = losses.numpy(), gradients.numpy()
    for what, numbers in (("", values), ("a gradient of ", np.abs(slopes).sum(axis=1))):
        if not np.isfinite(numbers).all():
            worst = int(np.flatnonzero(~np.isfinite(numbers))[0])
            return (
                f"returns a loss with {what}{numbers[worst]:g} where the label is {y[worst]:g} and the probability of "
                f"RDR is {p[worst]:g}; a softmax may round to that, so clip it"
            )
    if not slopes.any():
        return "returns a loss that does not depend on the probabilities"
    if not np.array_equal(values, again.numpy()):
        return "returns a loss that differs from call to call"
    wrong_way = [int(y[i]) for i in (1, 11) if (values[i] - values[i + 2]) * (1 if y[i] else -1) <= 0]
    if wrong_way:
        return f"returns a loss that is no lower where label {wrong_way[0]} is probable than where it is not"
    return None


class _Refused(Exception):
    """Why a loss is refused. Control flow, no error."""


def _what_is_wrong_with_losses(losses: Any, labels: tf.Tensor) -> str:
    if not tf.is_tensor(losses):
        return f"returns a loss that is no tensor but {type(losses).__name__}"
    if losses.dtype != tf.float32:
        return f"returns a loss of type {losses.dtype.name}, and float32 is expected"
    if losses.shape.rank not in (1, None):
        return f"returns a loss of shape {losses.shape} for {labels.shape[0] or 'n'} images, and (n,) is expected"
    return ""


def what_is_wrong_with_augment(augment: Augment, image_px: int) -> str | None:
    """Why a function cannot be the augmentation of a training, in a few words; None if it can.

    Args:
        augment: Of an image, uint8 RGB, shape `(image_px, image_px, 3)`, and a random generator, the changed image.
        image_px: Side of the images.

    Raises:
        SearchSpaceError: If it fails, naming its line.
    """
    dice = np.random.default_rng(0)
    y, x = np.mgrid[:image_px, :image_px]
    disc = np.hypot(y - image_px / 2, x - image_px / 2) < 0.48 * image_px
    noise = [dice.integers(low, 230, (image_px, image_px, 3), np.uint8) for low in (20, 90)]
    images = [np.where(disc[..., None], one, np.uint8(0)) for one in noise]
    for seed in range(_SEEDS):
        changed: list[Any] = [augment(image.copy(), np.random.default_rng(seed)) for image in (*images, images[0])]
        for image in changed:
            if not isinstance(image, np.ndarray):
                return f"returns {type(image).__name__}, and not the changed image"
            if (image.shape, image.dtype) != (images[0].shape, np.uint8):
                return f"returns {image.dtype} {image.shape} of an image that is uint8 {images[0].shape}"
        if not np.array_equal(changed[0], changed[2]):
            return "gives one image and one state of rng two results; draw every random number from rng"
        if np.array_equal(changed[0], changed[1]):
            return "returns the same for different images"
    return None


def what_is_wrong_with_objective(objective: OwnMetric) -> str | None:
    """Why a function cannot be the metric `val_own`, in a few words; None if it can.

    Args:
        objective: Of labels, int64 0 or 1, shape `(n,)`, and the probabilities of RDR, float32, the same shape.

    Raises:
        SearchSpaceError: If it fails, naming its line.
    """
    labels, right = np.array([0, 0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.8, 0.9], np.float32)
    values: list[Any] = [objective(labels.copy(), chance.copy()) for chance in (right, 1 - right, right)]
    for value in values:
        if not isinstance(value, Real):
            return f"returns {type(value).__name__}, and not a number"
    good, bad, again = map(float, values)
    if not math.isfinite(good):
        return f"returns {good} for five eyes that are all told apart"
    if good != again:
        return "gives the same eyes two results"
    if not good > bad:
        return f"returns {good:g} for eyes that are all told apart and {bad:g} for the reverse; more must be better"
    return None
