"""A network with random weights, for a while: does an explanation depend on what was learned?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def randomised_weights(model: Any, share: float, seed: int) -> Iterator[None]:
    """A model whose layers nearest to the output have random weights, as an untrained network has; restored at the end.

    Kernels are drawn as before a training; scales of normalisations become 1, what is subtracted and added 0.

    Args:
        model: A Keras model. Nobody else may use it meanwhile.
        share: Of the layers that have weights, 0 to 1: of the least share above 0 only the last layer, of 1 all.
        seed: The same seed draws the same weights.

    Source:
        Adebayo et al. (2018), Sanity Checks for Saliency Maps, NeurIPS, arXiv:1810.03292: cascading randomisation. He
        et al. (2015), arXiv:1502.01852, for the scale of the kernels.
    """
    layers: dict[str, list[Any]] = {}
    for weight in model.weights:
        if "float" in str(weight.dtype):
            layers.setdefault(weight.path.rpartition("/")[0], []).append(weight)
    chosen = list(layers)[len(layers) - int(np.ceil(share * len(layers))) :]
    kept = [(weight, weight.numpy()) for name in chosen for weight in layers[name]]
    dice = np.random.default_rng(seed)
    try:
        for weight, value in kept:
            weight.assign(_drawn(weight.name, value.shape, dice))
        yield
    finally:
        for weight, value in kept:
            weight.assign(value)


def _drawn(name: str, shape: tuple[int, ...], dice: np.random.Generator) -> Any:
    if len(shape) >= 2:
        return dice.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype(np.float32)
    return np.full(shape, float(name in ("gamma", "moving_variance")), np.float32)
