"""The mean of several networks, as one network."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-6  # probability; a network that is surer than its odds of a million to one counts as such


def mean_network(networks: Sequence[keras.Model]) -> keras.Model:
    """One network whose log-odds are the mean of those of several networks.

    It is an ordinary functional model, which calls each network on the same image. So it is saved, opened and served as
    any other network. Of log-odds and not of probabilities, since the mean of probabilities is the nearer to 0.5 the
    less the networks agree: a threshold that was chosen for the answers of single networks would not fit it.

    Args:
        networks: RGB images of 0..255 in, shape `(n, h, w, 3)`, the same for all; a softmax over NRDR and RDR out.
            They get names by their place; the mean shares their weights.

    Returns:
        The mean, not compiled, of the same shapes.

    Source:
        Lakshminarayanan et al. (2017), Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles,
        arXiv:1612.01474. Satopaa et al. (2014), Combining multiple probability predictions using a simple logit model,
        International Journal of Forecasting 30(2), doi:10.1016/j.ijforecast.2013.09.009, for the mean of log-odds.
    """
    image = keras.Input(networks[0].inputs[0].shape[1:], name="image")
    for place, network in enumerate(networks, start=1):
        network.name = f"network{place}"  # names of layers are unique in a model
    logs = [keras.ops.log(keras.ops.clip(network(image), _LEAST, 1.0)) for network in networks]
    mean = keras.layers.Softmax(name="softmax")(keras.layers.Average(name="mean")(logs))
    return keras.Model(image, mean, name=f"mean_of_{len(networks)}_networks")


def is_mean(network: keras.Model) -> bool:
    """Whether a network was made by `mean_network`; its name says of how many."""
    return bool(network.name.startswith("mean_of_"))


def network_of(mean: keras.Model, place: int) -> keras.Model:
    """One of the networks of a mean, by its place from 0."""
    return mean.get_layer(f"network{place + 1}")


def networks_of(mean: keras.Model) -> list[keras.Model]:
    """All networks of a mean, in their order."""
    return [layer for layer in mean.layers if isinstance(layer, keras.Model)]


def mean_answers(answers: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The answers of a mean of networks, from those of its networks.

    Args:
        answers: Probabilities of RDR, shape `(networks, n)`.

    Returns:
        Shape `(n,)`, in 0..1.

    Example:
        >>> mean_answers(np.array([[0.5, 0.9], [0.5, 0.1]])).round(3).tolist()
        [0.5, 0.5]
    """
    logs = [np.log(np.clip(np.asarray(side, np.float64), _LEAST, 1.0)).mean(axis=0) for side in (answers, 1 - answers)]
    return np.asarray(1 / (1 + np.exp(logs[1] - logs[0])))


def weights_only(network: keras.Model) -> keras.Model:
    """A network with the same weights and no optimizer, so that its file is about a third in size."""
    return keras.Model(network.inputs[0], network.outputs[0], name=network.name)
