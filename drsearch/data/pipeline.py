"""Order, balance and batches of training images."""

import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from drsearch.data.augmentation import UNCHANGED, Augmenter, Change, Changes, mixed, pasted
from drsearch.data.mapped_images import Images
from drsearch.datasets.boxes import Box
from drsearch.settings import AugmentationSettings, TrainingSettings

# Streams of random numbers that share a seed and an epoch and must not share their numbers.
_ORDER, _CHANGES, _MIXES, _OWN = 0, 1, 3, 4  # 2: views of features

SecondTarget = Callable[[int, Change], NDArray[np.float32]]
"""What a network learns of an image beside its label, by the image's index and its change: float32, of one shape,
at least 0 where it is known. Of three axes it is a map, which lies over the image."""


Augment = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]
"""Returns a changed image, RGB of the same shape; a function of the image and the state of the generator alone."""


class LabelledImages(Protocol):
    """Eyes to train on: images, uint8 `(n, h, w, 3)`, labels 0 or 1, `(n,)`, and what second targets are made of."""

    @property
    def images(self) -> Images:
        """The images, RGB, shape `(n, h, w, 3)`."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels, 1 for referable, 0 for not, shape `(n,)`."""

    @property
    def grades(self) -> NDArray[np.int64]:
        """The grades of retinopathy, 0 to 4, shape `(n,)`; read for a second target."""

    @property
    def boxes(self) -> Sequence[Sequence[Box]]:
        """The boxes around the lesions of each; read where `training.lesions_weight` is set."""

    @property
    def edema(self) -> Sequence[bool | None]:
        """Whether each has macular edema, None where it is unknown; read where `training.edema_weight` is set."""


def epoch_order(labels: NDArray[np.int64], seed: int, epoch: int, balance: str) -> NDArray[np.int64]:
    """The order in which the network sees the images in one epoch.

    Args:
        labels: Class of every training image, shape `(n,)`.
        seed: Seed of the training.
        epoch: Counted from 0.
        balance: `training.balance`. `upsample` repeats images of smaller classes until every class has as many as the
            largest: each image `ratio` times rounded down, the remainder drawn anew every epoch. `draws` takes as many
            images as there are (rounded up to even classes), of each class the same number: those of the larger class
            are drawn anew every epoch. The others take every image once.

    Returns:
        Indices into `labels`, shuffled; a function of the arguments alone.

    Example:
        >>> order = epoch_order(np.array([0, 1, 1, 1, 1]), seed=0, epoch=0, balance="upsample")
        >>> sorted(order.tolist())
        [0, 0, 0, 0, 1, 2, 3, 4]
    """
    rng = np.random.default_rng([seed, epoch, _ORDER])
    order = np.arange(len(labels))
    if n := _per_class(labels, balance):
        order = np.concatenate([_repeated(np.flatnonzero(labels == one), n, rng) for one in np.unique(labels)])
    return rng.permutation(order)


def _per_class(labels: NDArray[np.int64], balance: str) -> int:
    """The number of images of each class in one epoch; 0 if every image is seen once."""
    counts = np.unique(labels, return_counts=True)[1]
    numbers = {"upsample": counts.max(), "draws": math.ceil(len(labels) / len(counts))}
    return int(numbers.get(balance, 0))


def _repeated(members: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    times, rest = divmod(n, len(members))
    return np.concatenate([np.tile(members, times), rng.choice(members, rest, replace=False)])


def epoch_size(labels: NDArray[np.int64], balance: str) -> int:
    """The number of images in one epoch, repeated images counted as often as they are seen."""
    return _per_class(labels, balance) * len(np.unique(labels)) or len(labels)


def steps_per_epoch(labels: NDArray[np.int64], training: TrainingSettings) -> int:
    """The number of batches in one epoch: as few as hold all its images at `training.batch_size`."""
    return math.ceil(epoch_size(labels, training.balance) / training.batch_size)


def training_batches(
    images: Images,
    labels: NDArray[np.int64],
    training: TrainingSettings,
    augmentation: AugmentationSettings,
    first_epoch: int,
    second_targets: Sequence[SecondTarget] = (),
    augment: Augment | None = None,
) -> tf.data.Dataset:
    """Batches of augmented training images, without end, each epoch `steps_per_epoch` of them.

    Batch `k` depends on the seed, `k // steps` and `k % steps` alone: an epoch that begins a resumed
    training equals the one that was lost. Take one iterator for all epochs: a new iterator per epoch
    can wait a second or more for tf.data's autotuner to end.

    Args:
        images: RGB uint8, shape `(n, h, w, 3)`; read where a batch is made of them, not copied.
        labels: 0 or 1, shape `(n,)`.
        training: Seed, batch size, balance.
        augmentation: Limits of the changes.
        first_epoch: Epochs finished already, 0 for a new training.
        second_targets: Further targets of every image.
        augment: A further change of every image, after all others and before it is mixed.

    Returns:
        Tuples of images, uint8 `(b, h, w, 3)`, labels, int64 `(b,)`, and the second targets. With `augmentation.mixup`
        or `augmentation.cutmix` each image is mixed with the next one of the epoch, whose share is the smaller one, and
        labels are float32, the share that is referable. An epoch is dealt evenly:
        where `batch_size` does not divide it, some batches hold one image less, instead of a last
        batch of perhaps a single eye, of which batch normalisation would make little.
    """
    augmenter = Augmenter(augmentation)
    steps = steps_per_epoch(labels, training)

    @functools.lru_cache(maxsize=2)  # two: batches of the next epoch are made while this one trains
    def plan(epoch: int) -> tuple[NDArray[np.int64], Changes, Callable[[NDArray[Any], slice], NDArray[Any]]]:
        order = epoch_order(labels, training.seed, epoch, training.balance)
        changes, mixes = (np.random.default_rng([training.seed, epoch, stream]) for stream in (_CHANGES, _MIXES))
        shares = augmenter.shares(mixes, len(order))
        boxes = augmenter.boxes(mixes, shares, images.shape[1])

        def mixture(values: NDArray[Any], here: slice) -> NDArray[Any]:
            return mixed(values, shares[here]) if boxes is None else pasted(values, boxes[here], images.shape[1])

        return order, augmenter.parameters(changes, len(order)), mixture

    def batch(k: int) -> tuple[NDArray[Any], ...]:
        _give_way()
        epoch, step = divmod(int(k), steps)
        order, changes, mixture = plan(epoch)
        first, end = step * len(order) // steps, (step + 1) * len(order) // steps
        places = [i % len(order) for i in range(first, end + augmenter.mixes)]
        seen = [(order[i], changes[i]) for i in places]
        changed: NDArray[Any] = np.empty((len(seen), *images.shape[1:]), np.uint8)
        for i, into, (index, change) in zip(places, changed, seen, strict=True):
            augmenter.apply(images[index], change, into)
            if augment is not None:
                into[...] = augment(into, np.random.default_rng([training.seed, epoch, _OWN, i]))
        values = [np.stack([target(index, change) for index, change in seen]) for target in second_targets]
        own = labels[[index for index, _ in seen]]
        if not augmenter.mixes:
            return changed, own, *values
        return tuple(mixture(part, slice(first, end)) for part in (changed, own.astype(np.float32), *values))

    shapes = [images.shape[1:], (), *(target(0, UNCHANGED).shape for target in second_targets)]
    kinds = (tf.uint8, tf.float32 if augmenter.mixes else tf.int64, *[tf.float32] * len(second_targets))

    def tensors(k: tf.Tensor) -> tuple[tf.Tensor, ...]:
        parts = tf.numpy_function(batch, [k], kinds, stateful=False)
        return tuple(tf.ensure_shape(part, (None, *shape)) for part, shape in zip(parts, shapes, strict=True))

    # Batches are ready long before they are wanted: a thread more would only take cores from the step.
    threads = training.input_threads or max(1, tf.config.threading.get_inter_op_parallelism_threads() // 2)
    dataset = tf.data.Dataset.counter(start=first_epoch * steps)
    dataset = dataset.map(
        tf.autograph.experimental.do_not_convert(tensors), num_parallel_calls=threads, deterministic=True
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = threads
    return dataset.prefetch(8).with_options(options)


def copied_ahead(batches: tf.data.Dataset, device: str = "") -> Iterator[tuple[tf.Tensor, ...]]:
    """Iterate with the next two batches on the device of the steps already, copied while steps before them run.

    Args:
        batches: Of `training_batches`.
        device: Of the steps, for example `/GPU:0`; empty for the first GPU, and where there is none, for the
            processor, to which nothing needs to be copied.
    """
    device = device or ("/GPU:0" if tf.config.list_logical_devices("GPU") else "/CPU:0")
    with tf.device(device):
        return iter(batches.apply(tf.data.experimental.prefetch_to_device(device, buffer_size=2)))


def _give_way() -> None:
    """Lower the priority of this thread of the dataset, so that the threads of the training step go first.

    An operation waits for the last of its threads, so the thread that the next batch interrupts holds up all: this, and
    no second thread here, shorten the training part of an epoch by some 7 % on two cores.
    """
    if sys.platform == "linux":  # where a thread has a niceness of its own
        ours = os.getpriority(os.PRIO_PROCESS, os.getpid())
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, ours + 10))
