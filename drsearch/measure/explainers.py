"""The ways in which a model is explained, by name."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drsearch.errors import MetricError
from drsearch.measure.gradcam import GradCam
from drsearch.measure.lesion_layer import LESION_MAP, LesionLayer, has_lesion_map
from drsearch.measure.occlusion import Occlusion

METHODS = ("gradcam", "gradcam++", "hirescam", "occlusion")
"""Of any network; one that has learned a map of lesions also has `lesion_map`."""


class Explainer(Protocol):
    """Makes maps of where in an image a model sees a class. The weights may change between calls."""

    def maps(
        self, images: NDArray[np.uint8], inside: NDArray[np.bool_], label: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The maps of some eyes, and their probabilities: as `GradCam.maps`."""


def own_method(model: Any, layer: str = "") -> str:
    """The method that explains a model where none is named: its map of lesions if it has learned one, else Grad-CAM.

    The classifier of a network with a map of lesions is told of lesions by that map, beside the layer that Grad-CAM
    explains (docs/explanations.md has the figures).

    Args:
        model: As for `GradCam`.
        layer: The layer whose places are explained; a map of lesions has no other.
    """
    return LESION_MAP if not layer and has_lesion_map(model) else "gradcam"


def explainer(model: Any, method: str = "gradcam", layer: str = "") -> Explainer:
    """What explains a model.

    Args:
        model: As for `GradCam`.
        method: One of `METHODS`, or `lesion_map`.
        layer: Of the network, whose places are explained; empty for the last one with places. Not for `occlusion` and
            `lesion_map`.

    Raises:
        MetricError: If there is no such method or layer.
    """
    if method not in (*METHODS, LESION_MAP):
        raise MetricError(f"--method {method}: write one of {', '.join((*METHODS, LESION_MAP))}.")
    if method not in ("occlusion", LESION_MAP):
        return GradCam(model, method=method, layer=layer)
    if layer and method == LESION_MAP:
        raise MetricError(f"--layer {layer}: {LESION_MAP} is a layer itself; leave --layer out.")
    if layer:
        raise MetricError(f"--layer {layer}: occlusion covers the image itself and has no layer; leave --layer out.")
    return LesionLayer(model) if method == LESION_MAP else Occlusion(model)
