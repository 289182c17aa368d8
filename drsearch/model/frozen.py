"""Trainings of a frozen backbone: its classifier alone, or first the classifier and then all (`model.trainable`).

Source:
    Keras's guide to transfer learning and fine-tuning, https://keras.io/guides/transfer_learning/.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from drsearch.data.pipeline import LabelledImages, epoch_order, steps_per_epoch
from drsearch.model.features import FeatureStore, never
from drsearch.model.fit import EpochResult, Training, read_checkpoint, result_from
from drsearch.model.own import NOTHING, Own
from drsearch.model.predictor import RDR
from drsearch.model.resnet_v2 import every_pooling
from drsearch.settings import Settings, TrainingSettings

_VIEWS = 2
"""Stream of random numbers beside those of `drsearch.data.pipeline`."""


@dataclass(frozen=True)
class _Features:
    """Eyes with their features in the place of their images."""

    images: NDArray[Any]
    labels: NDArray[np.int64]
    grades: NDArray[np.int64]
    boxes: Sequence[Sequence[Any]]
    edema: Sequence[bool | None]


class HeadTraining(Training):
    """Trains the classifier of a network on the features of its frozen backbone, as `Training` does all of it.

    An image that is augmented is one of the eight symmetries of the square, drawn anew in every epoch: their features
    are computed once. The other changes of `augmentation` would need the backbone at every step.

    Args:
        model: As `build_network` makes it; its backbone is frozen here.
        train: Eyes to fit; balanced here.
        validation: Eyes that measure every epoch.
        settings: `training` is used, and whether `augmentation` mirrors.
        folder: Keeps the features; None: they are computed for this training alone.
        own: The functions of a space file; its loss is used on features, its augmentation on images.
        stop_asked: Whether to stop while features are computed.

    Raises:
        FeaturesStopped: If it says so.
    """

    def __init__(
        self,
        model: keras.Model,
        train: LabelledImages,
        validation: LabelledImages,
        settings: Settings,
        folder: Path | None,
        own: Own = NOTHING,
        stop_asked: Callable[[], bool] = never,
    ) -> None:
        backbone = _backbone(model)
        augmentation = settings.augmentation
        network, own_pooling = every_pooling(model, settings.model.pooling)
        n_views = 8 if augmentation.flip and augmentation.strength > 0 else 1
        store = FeatureStore(network, n_views, folder, stop_asked)
        self._features = store.features(train.images)[..., own_pooling]
        seen = store.features(validation.images)[:, 0, own_pooling]
        for layer in backbone.layers:
            layer.trainable = False
        head = keras.Model(backbone.output, model.output)
        eyes = _Features(seen, validation.labels, validation.grades, validation.boxes, validation.edema)
        super().__init__(head, train, eyes, settings, own)
        predict = tf.function(
            lambda features: head(features, training=False)[:, RDR], reduce_retracing=True, autograph=False
        )
        self._state.predict = lambda features: np.asarray(predict(tf.constant(features)).numpy())
        self._whole = model
        self.freeze()

    def freeze(self) -> None:
        """Make the network's backbone constant, and this training's optimizer that of the saved `.keras`."""
        for layer in _backbone(self._whole).layers:
            layer.trainable = False
        self._whole.compile(optimizer=self._state.optimizer, loss="sparse_categorical_crossentropy")

    @property
    def model(self) -> keras.Model:
        """The whole network, with the weights reached so far."""
        return self._whole

    def _batches(self, first_epoch: int, training: TrainingSettings) -> tf.data.Dataset:
        return feature_batches(self._features, self._train.labels, training, first_epoch)


def feature_batches(
    features: NDArray[np.float32], labels: NDArray[np.int64], training: TrainingSettings, first_epoch: int
) -> tf.data.Dataset:
    """Batches of features, as `training_batches` makes those of images.

    Args:
        features: Of each eye in all its views, shape `(n, views, channels)`.
        labels: 0 or 1, shape `(n,)`.
        training: Seed, batch size, balance.
        first_epoch: Epochs finished already.

    Returns:
        Pairs of features, float32 `(b, channels)`, and labels, int64 `(b,)`.
    """
    steps = steps_per_epoch(labels, training)

    @functools.lru_cache(maxsize=2)
    def drawn(epoch: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        order = epoch_order(labels, training.seed, epoch, training.balance)
        views = np.random.default_rng([training.seed, epoch, _VIEWS]).integers(features.shape[1], size=len(order))
        return features[order, views], labels[order]

    def batch(k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        epoch, step = divmod(int(k), steps)
        some_features, some_labels = drawn(epoch)
        here = slice(step * len(some_labels) // steps, (step + 1) * len(some_labels) // steps)
        return some_features[here], some_labels[here]

    def tensors(k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        some_features, some_labels = tf.numpy_function(batch, [k], (tf.float32, tf.int64), stateful=False)
        return tf.ensure_shape(some_features, (None, features.shape[2])), tf.ensure_shape(some_labels, (None,))

    return (
        tf.data.Dataset.counter(start=first_epoch * steps)
        .map(tf.autograph.experimental.do_not_convert(tensors))
        .prefetch(8)
    )


class TwoStageTraining:
    """Trains the classifier on features for `training.head_epochs`, then all weights at a lower rate.

    In the second stage batch normalisation stays as it is: its layers are frozen, and so use the statistics that they
    started with. That stage has an optimizer of its own, and `training.schedule` begins anew. The methods are those of
    `Training`.

    Args:
        model: As `build_network` makes it.
        train: Eyes to fit; balanced and augmented here.
        validation: Eyes that measure every epoch.
        settings: `training` and `augmentation` are used.
        folder: Keeps the features; None: they are computed for this training alone.
        own: The functions of a space file; its loss is used on features, its augmentation on images.
        stop_asked: Whether to stop while features are computed.

    Raises:
        FeaturesStopped: If it says so.
    """

    def __init__(
        self,
        model: keras.Model,
        train: LabelledImages,
        validation: LabelledImages,
        settings: Settings,
        folder: Path | None,
        own: Own = NOTHING,
        stop_asked: Callable[[], bool] = never,
    ) -> None:
        self._head_epochs = settings.training.head_epochs
        of_head = settings.replace({"training.epochs": self._head_epochs})
        self._first = HeadTraining(model, train, validation, of_head, folder, own, stop_asked)
        self._second = functools.partial(_unfrozen, model, train, validation, settings, own)
        self._now: Training = self._first
        self._before: tuple[EpochResult, ...] = ()  # the first stage, once the second has begun
        self._start: list[NDArray[Any]] = []

    @property
    def model(self) -> keras.Model:
        """The network, with the weights reached so far."""
        return self._first.model

    @property
    def epoch(self) -> int:
        """The number of finished epochs of both stages."""
        return len(self._before) + self._now.epoch

    @property
    def seen(self) -> NDArray[np.float32]:
        """The probabilities of RDR that measured the last epoch run here, shape `(validation eyes,)`."""
        return self._now.seen

    @property
    def history(self) -> tuple[EpochResult, ...]:
        """Every finished epoch of both stages."""
        return (*self._before, *map(self._counted_on, self._now.history))

    def run_epoch(self) -> EpochResult:
        """Train one more epoch and measure it.

        Raises:
            TrialFailed: If the loss is not finite, or memory does not suffice.
        """
        if self._now is self._first and self.epoch == self._head_epochs:
            history = self.history
            self._begin_second()
            self._before = history
        return self._counted_on(self._now.run_epoch())

    def save(self, path: Path, extra: Mapping[str, Any]) -> None:
        """Write all that the next epoch depends on.

        Args:
            path: The checkpoint; an old one is replaced.
            extra: More values to save with it, as JSON can hold them.
        """
        before = [dataclasses.asdict(result) for result in self._before]
        self._now.save(path, {"before": before, "extra": dict(extra)})

    def restore(self, path: Path) -> dict[str, Any]:
        """Go to a checkpoint of either stage.

        Returns:
            The `extra` that it was saved with.

        Raises:
            TrialFailed: If the file is damaged, or belongs to another model or optimizer.
        """
        before = tuple(map(result_from, read_checkpoint(path)[0]["extra"]["before"]))
        if before and self._now is self._first:
            self._begin_second()
        elif not before and self._now is not self._first:
            self._return_to_first()
        extra = self._now.restore(path)["extra"]
        self._before = before
        return dict(extra)

    def _begin_second(self) -> None:
        self._start = [weight.numpy() for weight in _backbone(self.model).weights]
        self._now = self._second()

    def _return_to_first(self) -> None:
        for weight, value in zip(_backbone(self.model).weights, self._start, strict=True):
            weight.assign(value)
        self._now = self._first
        self._first.freeze()

    def _counted_on(self, result: EpochResult) -> EpochResult:
        return dataclasses.replace(result, epoch=len(self._before) + result.epoch)


def training_of(
    model: keras.Model,
    train: LabelledImages,
    validation: LabelledImages,
    settings: Settings,
    folder: Path | None,
    own: Own = NOTHING,
    stop_asked: Callable[[], bool] = never,
) -> Training | TwoStageTraining:
    """The training of a network that `model.trainable` asks for.

    Args:
        model: Training starts from its present weights.
        train: Eyes to fit.
        validation: Eyes that measure every epoch.
        settings: All of them.
        folder: Keeps the features of frozen backbones; None: none are kept.
        own: The functions of a space file.
        stop_asked: Whether to stop while features are computed.

    Raises:
        FeaturesStopped: If it says so.
    """
    if settings.model.trainable == "head":
        return HeadTraining(model, train, validation, settings, folder, own, stop_asked)
    if settings.model.trainable == "two_stage":
        if settings.training.head_epochs == 0:
            return _unfrozen(model, train, validation, settings, own)
        return TwoStageTraining(model, train, validation, settings, folder, own, stop_asked)
    return Training(model, train, validation, settings, own)


def _unfrozen(
    model: keras.Model, train: LabelledImages, validation: LabelledImages, settings: Settings, own: Own
) -> Training:
    """The second stage: all of a network but its batch normalisation."""
    for layer in _backbone(model).layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    training = settings.training
    second = {
        "training.epochs": training.epochs - training.head_epochs,
        "training.learning_rate": training.learning_rate * training.unfrozen_rate,
    }
    return Training(model, train, validation, settings.replace(second), own)


def _backbone(model: keras.Model) -> keras.Model:
    """A network of `build_network` up to its features, which its classifier weighs."""
    names = {layer.name for layer in model.layers}
    features = model.get_layer("dropout" if "dropout" in names else "probabilities").input
    return keras.Model(model.input, features, name=model.name)
