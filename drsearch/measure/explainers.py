"""The ways in which a model is explained, by name."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drsearch.errors import MetricError
from drsearch.measure.gradcam import GradCam
from drsearch.measure.occlusion import Occlusion

METHODS = ("gradcam", "gradcam++", "hirescam", "occlusion")


class Explainer(Protocol):
    """Makes maps of where in an image a model sees a class. The weights may change between calls."""

    def maps(
        self, images: NDArray[np.uint8], inside: NDArray[np.bool_], label: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The maps of some eyes, and their probabilities: as `GradCam.maps`."""


def explainer(model: Any, method: str = "gradcam", layer: str = "") -> Explainer:
    """What explains a model.

    Args:
        model: As for `GradCam`.
        method: One of `METHODS`.
        layer: Of the network, whose places are explained; empty for the last one with places. Not for `occlusion`.

    Raises:
        MetricError: If there is no such method or layer.
    """
    if method not in METHODS:
        raise MetricError(f"--method {method}: write one of {', '.join(METHODS)}.")
    if method != "occlusion":
        return GradCam(model, method=method, layer=layer)
    if layer:
        raise MetricError(f"--layer {layer}: occlusion covers the image itself and has no layer; leave --layer out.")
    return Occlusion(model)
