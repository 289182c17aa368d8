"""Grad-CAM and its relatives: maps of where in a photograph a model sees a class, and overlays that show them."""

import math
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from drsearch.errors import MetricError

_SMALLEST = {"float32": 1e-30, "float16": 1e-4, "bfloat16": 1e-30}  # before a logarithm; 1 / it is finite in the type

ASIDE = "lesion_"
"""Begins the names of layers that make a map beside the way from features to classifier: it shows by itself what it
finds, and is not explained."""


class GradCam:
    """Explains a model: how much each place of an image speaks for a class.

    The maps are those of the layer nearest to the output that still has places (4-D output with more than one cell), or
    of another one: its channels weighted, summed, and cut at 0. What lies outside the retina is left out before a map
    is enlarged, so that a cell of the black corner does not shine into the retina. The weight of a channel is

    - `gradcam`: the mean gradient of the class score,
    - `gradcam++`: the mean of its positive gradients, weighted by how much each place decides, for the exponential of
      the score; it covers several lesions better than the first of them,
    - `hirescam`: at every place the gradient there. No mean: a place is bright only where the model used it, which
      holds exactly where nothing but pooling and a dense layer follow.

    The score is the logarithm of the odds of the class. For two classes that is the difference of the values before the
    softmax, so a model that is certain is explained as well as one in doubt; the gradient of the probability itself
    would be 0 there.

    A mean of networks (`drsearch.model.mean_network`) has the mean of their maps, each for the class that the mean
    predicts: its log-odds are the mean of theirs. Maps are weighted by their cells, so that networks of finer cells
    count no more than others.

    Args:
        model: Functional or sequential, photographs `(n, height, width, 3)` of 0 to 255 in, softmax `(n, classes)` out.
        batch_size: Photographs at once; memory grows with it.
        method: `gradcam`, `gradcam++` or `hirescam`.
        layer: Name of the layer; empty for the last one with places.

    Raises:
        MetricError: If the model has no layer with places, or none of that name.

    Source:
        Selvaraju et al. (2017), Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
        ICCV, arXiv:1610.02391. Chattopadhay et al. (2018), Grad-CAM++, WACV, arXiv:1710.11063. Draelos and Carin
        (2020), Use HiResCAM instead of Grad-CAM for faithful explanations, arXiv:2011.08891.
    """

    def __init__(self, model: Any, batch_size: int = 16, method: str = "gradcam", layer: str = "") -> None:
        self._model, self._batch_size = model, batch_size
        self._networks = [GradCam(network, batch_size, method, layer) for network in averaged_networks(model)]
        self.layer_name: str
        if self._networks:
            self.layer_name, self._n_cells = self._networks[0].layer_name, 1
            return
        node = _node_with_places(model, layer)
        self._weights = _WEIGHTS[method]
        self.layer_name = node.operation.name
        self._n_cells = math.prod(node.output_tensors[0].shape[1:3])
        self._classifier = dense_softmax(model)
        before = [] if self._classifier is None else [self._classifier.input]
        features, answers = node.output_tensors[0], [model.outputs[0], *before]
        self._head = _model_between(features, answers)
        self._body = keras.Model(model.inputs, [features] if self._head is not None else [features, *answers])
        self._shape = model.inputs[0].shape[1:3]
        # One trace each for batches of any length: the last one is shorter.
        asked = tf.TensorSpec((None,), tf.int32)
        images = tf.TensorSpec((None, *self._shape, 3), tf.float32)
        begun = images if self._head is None else tf.TensorSpec((None, *features.shape[1:]), features.dtype)
        # Where there are filters, always traced. Without a trace TensorFlow computes their gradients too, which nobody
        # asks for, and dies of those of narrow strided 1x1 convolutions (drsearch/model/fused_step.py). Without filters
        # the trace would take ten times as long as the maps of a trial's eyes.
        self._maps_from = self._maps
        if self._head is None or any(len(weight.shape) > 2 for weight in self._head.weights):
            self._maps_from = tf.function(self._maps, input_signature=[begun, asked], autograph=False)
        self._explain_many = tf.function(self._explain, input_signature=[images, asked], autograph=False)

    def maps(
        self, images: NDArray[np.uint8], inside: NDArray[np.bool_], label: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The maps of some eyes, and their probabilities.

        Args:
            images: RGB, uint8, shape `(n, height, width, 3)`, as the model takes them.
            inside: Which pixels show retina, shape `(n, rows, columns)`: the size of the maps, which may be another
                than that of the images.
            label: The class to explain, 1 for RDR; None for the class that each eye is predicted to be.

        Returns:
            Maps of the shape of `inside`: 0 outside, and the strongest place of each 1; all 0 where nothing inside
            speaks for the class. Probabilities of RDR, shape `(n,)`.
        """
        maps, probabilities = self._evidence(images, inside, np.full(len(images), -1 if label is None else label))
        for cam in maps:
            cam[:] = strongest_is_one(cam)
        return maps, probabilities

    def _evidence(
        self, images: NDArray[np.uint8], inside: NDArray[np.bool_], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The maps in units of the odds per cell, and the probabilities; -1 asks for the class that is predicted."""
        if self._networks:
            return self._mean_evidence(images, inside, labels)
        # Tracing all of the network takes the time of two batches without it, which the eyes of a trial are not.
        explain = self._explain_many if len(images) > 2 * self._batch_size else self._explain
        maps = np.zeros(inside.shape, np.float32)
        probabilities = np.zeros(len(images), np.float32)
        for first in range(0, len(images), self._batch_size):
            batch = images[first : first + self._batch_size]
            asked = labels[first : first + self._batch_size].astype(np.int32)
            cams, chances = explain(tf.constant(batch, tf.float32), tf.constant(asked))
            probabilities[first : first + len(batch)] = chances.numpy()
            for i, cam in enumerate(cams.numpy(), start=first):
                maps[i] = enlarged(cam, inside[i])
        return maps, probabilities

    def _mean_evidence(
        self, images: NDArray[np.uint8], inside: NDArray[np.bool_], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        starts = range(0, len(images), self._batch_size)
        batches = [tf.constant(images[first : first + self._batch_size], tf.float32) for first in starts]
        chances = np.concatenate([self._model(batch, training=False).numpy() for batch in batches])
        labels = np.where(labels < 0, chances.argmax(axis=1), labels)
        maps = np.zeros(inside.shape, np.float32)
        for network in self._networks:  # a cell of a finer map has a smaller share of the odds
            maps += network._n_cells / len(self._networks) * network._evidence(images, inside, labels)[0]
        return maps, chances[:, 1].astype(np.float32)

    def _explain(self, images: Any, asked: Any) -> tuple[Any, Any]:
        begun = images if self._head is None else keras.tree.flatten(self._body([images], training=False))[0]
        return self._maps_from(begun, asked)

    def _maps(self, begun: Any, asked: Any) -> tuple[Any, Any]:
        """Maps, a value per cell of the layer, and probabilities.

        From the features, or from the images where the features alone do not decide.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(begun)
            if self._head is None:
                features, chances, *before = self._body([begun], training=False)
            else:
                features, (chances, *before) = begun, keras.tree.flatten(self._head(begun, training=False))
            label = tf.where(asked < 0, tf.argmax(chances, axis=1, output_type=tf.int32), asked)
            odds = class_odds(log_chances(self._classifier, chances, before), label)
        gradient = tf.cast(tape.gradient(odds, features), tf.float32)  # a mixed_float16 model has both in half
        places = tf.cast(features, tf.float32)
        cams = tf.nn.relu(tf.reduce_sum(self._weights(gradient, places) * places, axis=3))
        return cams, tf.cast(chances[:, 1], tf.float32)


def _mean_gradients(gradient: Any, places: Any) -> Any:
    return tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)


def _positive_gradients(gradient: Any, places: Any) -> Any:
    """Of the exponential of the score, whose own value cancels where a map is divided by its strongest place."""
    squared = tf.square(gradient)
    total = tf.reduce_sum(places, axis=(1, 2), keepdims=True)
    shares = tf.math.divide_no_nan(squared, 2 * squared + total * squared * gradient)
    return tf.reduce_sum(shares * tf.nn.relu(gradient), axis=(1, 2), keepdims=True)


def _gradients_themselves(gradient: Any, places: Any) -> Any:
    return gradient


_WEIGHTS = {"gradcam": _mean_gradients, "gradcam++": _positive_gradients, "hirescam": _gradients_themselves}


def enlarged(cam: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A map of few cells at the size of a picture: 0 outside the retina.

    Each pixel is a mean of the cells, weighted by a Gaussian of their distance and by how much of each cell is retina.
    """
    weight = np.asarray(cv2.resize(inside.astype(np.float32), cam.shape[::-1], interpolation=cv2.INTER_AREA))
    down, across = (_blur(*sides) for sides in zip(inside.shape, cam.shape, strict=True))
    total = np.where(inside, down @ weight @ across.T, 0)
    return np.asarray(np.divide(down @ (weight * cam) @ across.T, total, out=np.zeros_like(total), where=total > 0))


def strongest_is_one(cam: NDArray[np.float32]) -> NDArray[np.float32]:
    """A map divided by its largest value; one that is 0 everywhere stays so."""
    return cam / largest if (largest := cam.max()) > 0 else cam


def _blur(n_pixels: int, n_cells: int) -> NDArray[np.float32]:
    """Weights of the cells at each pixel of one axis, shape `(n_pixels, n_cells)`.

    The Gaussian is as wide as a cubic B-spline, so that no cell shows, and narrower where a cell is hardly larger than
    a pixel: a map of the picture's size stays as it is.
    """
    pixels_a_cell = n_pixels / n_cells
    variance = max(1 / 3 * (1 - 1 / pixels_a_cell**2), 1e-6)  # of a cubic B-spline 1/3, in cells
    at = (np.arange(n_pixels) + 0.5) / pixels_a_cell - 0.5
    squared = (at[:, None] - np.arange(n_cells)) ** 2
    weights = np.exp((squared.min(axis=1, keepdims=True) - squared) / (2 * variance))
    return np.asarray(weights, np.float32)


def overlay(image: NDArray[np.uint8], cam: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The photograph with a map laid over it in colour.

    Args:
        image: RGB, uint8, shape `(height, width, 3)`.
        cam: Map in [0, 1], shape `(height, width)`.

    Returns:
        RGB, uint8, the shape of `image`: untouched where the map is 0, and the more colour the stronger the map, from
        violet through green to 60 % yellow where it is 1.
    """
    strength = np.clip(cam, 0, 1).astype(np.float32)
    # Viridis: its brightness rises with the map, for colour-blind readers and on paper too.
    colours = cv2.applyColorMap((255 * strength).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[:, :, ::-1]
    share = 0.6 * np.sqrt(strength)[:, :, None]
    return np.asarray(np.round(image + share * (colours.astype(np.float32) - image)), np.uint8)


def log_chances(classifier: Any, chances: Any, before: list[Any]) -> Any:
    """Logarithms of the probabilities, but for a constant per eye.

    Args:
        classifier: The model's last layer as `dense_softmax` gives it.
        chances: The probabilities, shape `(n, classes)`.
        before: What goes into the classifier; empty without one.
    """
    if classifier is None:
        return tf.math.log(chances + tf.constant(_SMALLEST[chances.dtype.name], chances.dtype))
    # From before the softmax: a probability that has rounded to 0 has no gradient left.
    values = tf.matmul(tf.cast(before[0], tf.float32), tf.cast(classifier.kernel, tf.float32))
    return values if classifier.bias is None else values + tf.cast(classifier.bias, tf.float32)


def class_odds(values: Any, label: Any) -> Any:
    """The logarithm of the odds of a class.

    Args:
        values: From `log_chances`, shape `(n, classes)`.
        label: The class of each eye, shape `(n,)`.

    Returns:
        Shape `(n,)`.
    """
    chosen = tf.one_hot(label, values.shape[1], dtype=values.dtype)
    others = tf.reduce_logsumexp(values - values.dtype.max / 4 * chosen, axis=1)
    return tf.reduce_sum(chosen * values, axis=1) - others


def _model_between(features: Any, answers: list[Any]) -> Any:
    """From the features to the answers; None where they do not decide alone, as with branches that are pooled apart."""
    try:
        return keras.Model(features, answers)
    except ValueError:
        return None


def dense_softmax(model: Any) -> Any:
    """The model's last layer where it is a dense one with softmax, else None."""
    last: Any = model.layers[-1]
    ours = isinstance(last, keras.layers.Dense) and last.activation is keras.activations.softmax
    return last if ours and last.output is model.outputs[0] else None


def averaged_networks(model: Any) -> list[Any]:
    """The networks of which a model is the mean, as `drsearch.model.mean_network` builds it; none for any other."""
    kinds = [type(layer) for layer in model.layers]
    if kinds[-2:] != [keras.layers.Average, keras.layers.Softmax]:
        return []
    networks, shapes = model.layers[1:-2], (model.input_shape, model.output_shape)
    alike = all(isinstance(each, keras.Model) and (each.input_shape, each.output_shape) == shapes for each in networks)
    return list(networks) if alike else []


def _node_with_places(model: Any, layer: str) -> Any:
    """The call nearest to the output whose result is `(n, height, width, channels)` with more than one cell.

    Of a layer, if one is named.

    A call and not a layer: the output of a model nested in this one is a tensor of its own graph, and only the call
    knows the tensor of ours.
    """
    graph = getattr(model, "_functional", None) or model  # a Sequential keeps its graph there
    if not hasattr(graph, "_nodes_by_depth"):
        raise MetricError(f"{model.name}: Grad-CAM needs a functional or sequential Keras model that has been built.")
    nodes = [node for depth in sorted(graph._nodes_by_depth) for node in graph._nodes_by_depth[depth]]
    nodes = [node for node in nodes if not node.is_input and _has_places(node.output_tensors[0].shape)]
    if not nodes:
        raise MetricError(
            f"{model.name}: Grad-CAM needs a layer with output (n, height, width, channels); there is none."
        )
    for node in nodes:
        name = node.operation.name
        if name == layer or not (layer or name.startswith(ASIDE)):
            return node
    last = {node.output_tensors[0].shape[1:3]: node.operation.name for node in reversed(nodes)}
    names = ", ".join(f"{name} ({height} x {width} places)" for (height, width), name in last.items())
    raise MetricError(f"{model.name} has no layer {layer!r} with places; the last ones of each size are {names}.")


def _has_places(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 4 and shape[1:3] != (1, 1)
