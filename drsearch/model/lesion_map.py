"""Lesion boxes as a second target: a map of red and of bright lesions, which the classifier sees too."""

import math
from collections.abc import Sequence

import cv2
import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from drsearch.data.augmentation import Change
from drsearch.data.pipeline import SecondTarget
from drsearch.datasets.boxes import Box
from drsearch.measure.gradcam import ASIDE
from drsearch.measure.lesion_layer import LESION_MAP
from drsearch.model.second_head import SecondHead, feed_classifier, has_classifier, output_shape

COLOURS = ("red", "bright")
"""Channels of the map: haemorrhages and microaneurysms, exudates and cotton wool spots."""

_STRIDES = (8, 16, 32)
_CHANNELS = 32
_UNKNOWN = -1.0
_PRIOR = 0.01  # share of a map that lesions cover at first: Lin et al. (2017), arXiv:1708.02002, section 3.3
_SHIFT = 4  # bits of a fraction of a pixel, as OpenCV takes them


def lesions_head(boxes: Sequence[Sequence[Box]], grades: NDArray[np.int64], image_px: int, weight: float) -> SecondHead:
    """The head that learns where lesions are.

    Args:
        boxes: Of every training image, in fractions of its side.
        grades: Of the same, shape `(n,)`.
        image_px: Side of the images, pixels.
        weight: `training.lesions_weight`.
    """
    return SecondHead(LESION_MAP, weight, lesion_target(boxes, grades, image_px), lesion_loss, _add)


def lesion_target(boxes: Sequence[Sequence[Box]], grades: NDArray[np.int64], image_px: int) -> SecondTarget:
    """The target of the map: for each cell the share that boxes of a colour cover, moved as the image is.

    Returns:
        Gives float32 of shape `(side / 8, side / 8, 2)`: in 0..1, or -1 all over for an eye of which nothing is known.
        That is one with a grade above 0 and no box at all, not even around the optic disc.
    """
    side = _map_side(image_px)

    def target(index: int, change: Change) -> NDArray[np.float32]:
        if not boxes[index] and grades[index] > 0:
            return np.full((side, side, len(COLOURS)), _UNKNOWN, np.float32)
        matrix, canvas = change.matrix(image_px, image_px), np.zeros((len(COLOURS), image_px, image_px), np.uint8)
        for box in boxes[index]:
            if box.colour:
                left, top = box.left * image_px, box.top * image_px
                right, bottom = max(left, box.right * image_px - 1), max(top, box.bottom * image_px - 1)
                corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
                moved = np.round((corners @ matrix[:, :2].T + matrix[:, 2]) * 2**_SHIFT).astype(np.int32)
                cv2.fillConvexPoly(canvas[COLOURS.index(box.colour)], moved, 255, shift=_SHIFT)
        cells = [cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in canvas]
        return np.stack(cells, axis=-1).astype(np.float32) / np.float32(255)

    return target


def lesion_loss(targets: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Twice the mean cross-entropy of the cells, plus the soft dice loss of each colour over the batch.

    Args:
        targets: As `lesion_target` gives them, shape `(n, height, width, 2)`; eyes of -1 do not count.
        outputs: The map, the same shape.

    Returns:
        A scalar; 0 if no eye counts.

    Source:
        Milletari, Navab and Ahmadi (2016), V-Net, arXiv:1606.04797, here with sums instead of squares in the
        denominator and 1 added to both sides, so that it is defined without any lesion.
    """
    known = tf.cast(targets >= 0, tf.float32)
    targets, outputs = targets * known, outputs * known
    entropies = known * keras.ops.binary_crossentropy(targets, outputs)
    entropy = tf.math.divide_no_nan(tf.reduce_sum(entropies), tf.reduce_sum(known))
    shared, total = (tf.reduce_sum(each, axis=(0, 1, 2)) for each in (targets * outputs, targets + outputs))
    return 2 * entropy + tf.reduce_mean(1 - (2 * shared + 1) / (total + 1))


def misfit_for_lesions(model: keras.Model) -> str:
    """Why a network cannot learn a lesion map, in words; empty if it can."""
    side = _map_side(model.inputs[0].shape[1])
    own, wanted = output_shape(model, LESION_MAP), (None, side, side, len(COLOURS))
    if own == wanted or (own is None and has_classifier(model) and _STRIDES[0] in _features(model)):
        return ""
    if own is not None:
        return (
            f"its layer {LESION_MAP!r} returns {own}, and training.lesions_weight is for {wanted}, red and bright "
            "lesions; give the layer another name"
        )
    if not has_classifier(model):
        return (
            "the network does not end in a Dense layer with softmax on a vector, which would see the lesion map of "
            "training.lesions_weight; end in one, or leave it at 0"
        )
    return (
        f"the network has no layer with {side} x {side} places, an eighth of its images, from which "
        "training.lesions_weight could make a lesion map (models nested in it are not looked into); leave it at 0"
    )


def _map_side(image_px: int) -> int:
    return math.ceil(image_px / _STRIDES[0])


def _features(model: keras.Model) -> dict[int, keras.KerasTensor]:
    """By stride, the features with that many pixels per place that are nearest to the output."""
    image_px = model.inputs[0].shape[1]
    graph = getattr(model, "_functional", None) or model  # a Sequential keeps its graph there
    features: dict[int, keras.KerasTensor] = {}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            shape = node.output_tensors[0].shape
            if len(shape) == 4 and 1 < shape[1] == shape[2]:
                features[2 ** round(math.log2(image_px / shape[1]))] = node.output_tensors[0]
    return {stride: features[stride] for stride in _STRIDES if stride in features}


def _enlarged(x: keras.KerasTensor, side: int, stride: int) -> keras.KerasTensor:
    """Features at the size of the map."""
    # No Resizing: its `training` is True by default, and Keras hands that on to every layer behind it.
    times = math.ceil(side / x.shape[1])
    if times > 1:
        x = layers.UpSampling2D(times, interpolation="bilinear", name=f"{ASIDE}enlarged_{stride}")(x)
    beyond = x.shape[1] - side
    return layers.Cropping2D(((0, beyond),) * 2, name=f"{ASIDE}cropped_{stride}")(x) if beyond else x


def _add(model: keras.Model) -> keras.Model:
    """Maps from the features of three strides; the classifier sees their maximum and mean."""
    side = _map_side(model.inputs[0].shape[1])
    each = []
    for stride, features in _features(model).items():
        x = layers.Conv2D(_CHANNELS, 1, use_bias=False, name=f"{ASIDE}from_{stride}")(features)
        each.append(_enlarged(x, side, stride))
    x = layers.Add(name=f"{ASIDE}sum")(each) if len(each) > 1 else each[0]
    x = layers.ReLU(name=f"{ASIDE}relu1")(layers.BatchNormalization(momentum=0.9, name=f"{ASIDE}bn1")(x))
    x = layers.Conv2D(_CHANNELS, 3, padding="same", use_bias=False, name=f"{ASIDE}conv")(x)
    x = layers.ReLU(name=f"{ASIDE}relu2")(layers.BatchNormalization(momentum=0.9, name=f"{ASIDE}bn2")(x))
    start = keras.initializers.Constant(math.log(_PRIOR / (1 - _PRIOR)))
    x = layers.Conv2D(len(COLOURS), 1, activation="sigmoid", bias_initializer=start, dtype="float32", name=LESION_MAP)(
        x
    )
    pooled = [layers.GlobalMaxPooling2D(name=f"{ASIDE}max")(x), layers.GlobalAveragePooling2D(name=f"{ASIDE}mean")(x)]
    return feed_classifier(model, pooled, "features_and_lesions")
