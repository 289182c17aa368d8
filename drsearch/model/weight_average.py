"""The moving average of a network's weights: `training.ema_decay`."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf


class WeightAverage:
    """An exponential moving average of weights and batch statistics, which the network holds between epochs.

    After step n the average moves to the new weights by 1 - min(decay, (1 + n) / (10 + n)). Keras's `use_ema` has no
    such warm-up, leaves the batch statistics out, so that they would not belong to the averaged weights, and its
    callback that swaps both rounds.

    Args:
        model: Begins at its present weights.
        optimizer: Counts the steps.
        decay: The share of the average that a step keeps, below 1.

    Attributes:
        last_weights: The weights of the last step, while the network holds their average; and the other way round in
            `training`.

    Source:
        Polyak and Juditsky (1992), SIAM Journal on Control and Optimization 30(4), doi:10.1137/0330046; the warm-up is
        that of `tf.train.ExponentialMovingAverage`.
    """

    def __init__(self, model: keras.Model, optimizer: keras.Optimizer, decay: float) -> None:
        weights = [variable.value for variable in model.variables]
        self._weights = [weight for weight in weights if weight.dtype.is_floating]  # states of random layers are whole
        self._average = tf.train.ExponentialMovingAverage(decay, num_updates=optimizer.iterations.value)
        self._average.apply(self._weights)  # the first call makes the averages
        self.last_weights: list[tf.Variable] = [self._average.average(weight) for weight in self._weights]

    def update(self) -> None:
        """Move the average after a step; it may be called within a graph."""
        self._average.apply(self._weights)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Let the network hold the weights of the last step, and their average again in the end."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for weight, other in zip(self._weights, self.last_weights, strict=True):
            held = weight.numpy()
            weight.assign(other)
            other.assign(held)
