"""Epochs of the same training, in several ways: a process that answers with the seconds of the shortest of eight.

    python -m benchmarks.ways WAY RECORDS --batch 4 --threads 2

All train the same network on the same record set, with the same kinds of augmentation, upsampled alike, and measure
the validation split after every epoch, unless a way says otherwise. The first epoch, which traces, is not counted.
"""

import argparse
import functools
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from drsearch.data.augmentation import Augmenter
from drsearch.data.pipeline import copied_ahead, epoch_order, epoch_size, steps_per_epoch, training_batches
from drsearch.data.records import Eyes, RecordSet, map_eyes, open_records, read_eyes
from drsearch.home import Home
from drsearch.model.fit import EpochResult, build_optimizer, set_seeds, set_threads
from drsearch.model.fused_step import compiled_fit
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import Settings
from drsearch.tracking.events import RunStart
from drsearch.tracking.sender import start_sender
from drsearch.training.outer_folds import training_eyes
from drsearch.training.plan import Plan
from drsearch.training.resumable import run_training

AUTOTUNE = tf.data.AUTOTUNE
ENDLESS = 100_000  # epochs
COUNTED = 8  # one or two of them end in a checkpoint


class Over(SystemExit):
    """Enough epochs were counted; `ends` are the seconds of the clock at the end of the first one and of each after."""

    def __init__(self, ends: list[float]) -> None:
        super().__init__()
        self.ends = ends


class Gate:
    """Counts the epochs that follow the first one without a pause, and ends the training.

    A pause would be unfair to `fit`, which makes an iterator an epoch: its autotuning sleeps longer after idling.
    So would a median: an epoch of `fit` that takes 2.55 or 5.11 seconds has waited for that sleep to end, as happens
    now and then in any training, and most often here.
    """

    def begin(self, counted: int, at_least_s: float) -> None:
        """Count anew: so many epochs, and more of them until so much time is over."""
        self._ends: list[float] = []
        self._counted, self._at_least_s = counted, at_least_s

    def epoch_over(self) -> None:
        """Note an epoch; raise `Over` after the last one."""
        self._ends.append(time.perf_counter())
        if len(self._ends) > self._counted and self._ends[-1] - self._ends[0] >= self._at_least_s:
            raise Over(self._ends)


GATE = Gate()  # one a process: KerasTuner copies the callbacks that it is given


class GateCallback(keras.callbacks.Callback):
    """The gate, for `model.fit`."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """An epoch is over, validation included."""
        GATE.epoch_over()


# The usual way


def usual_batches(records: RecordSet, batch: int) -> tf.data.Dataset:
    """What tutorials write: parse, decode and augment picture by picture, one operation a change, all on AUTOTUNE."""
    counts = records.counts["train"]
    majority = int(counts["RDR"] >= counts["NRDR"])
    eyes = _decoded(records, "train")
    most = eyes.filter(lambda _, label: label == majority)
    fewer = eyes.filter(lambda _, label: label != majority)
    n = max(counts["RDR"], counts["NRDR"])
    even = most.concatenate(fewer.repeat().take(n))
    return even.shuffle(2 * n).map(_augmented, AUTOTUNE).batch(batch).prefetch(AUTOTUNE)


def _decoded(records: RecordSet, split: str) -> tf.data.Dataset:
    kinds = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    px = records.images.image_px

    def decoded(example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        found = tf.io.parse_single_example(example, kinds)
        image = tf.ensure_shape(tf.io.decode_jpeg(found["image"], channels=3), (px, px, 3))
        return tf.cast(image, tf.float32), found["label"]

    shards = [str(records.folder / s["file"]) for s in records.manifest["shards"] if s["split"] == split]
    return tf.data.TFRecordDataset(shards).map(decoded, AUTOTUNE)


def _augmented(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    px = tf.cast(tf.shape(image)[0], tf.float32)

    def drawn(limit: float) -> tf.Tensor:
        return tf.random.uniform([], -limit, limit)

    angle = drawn(np.pi / 9)
    cos, sin, half = tf.cos(angle), tf.sin(angle), (px - 1) / 2
    image = _warped(image, [cos, -sin, half * (1 - cos + sin), sin, cos, half * (1 - sin - cos)])
    image = _warped(image, [1.0, 0.0, drawn(0.05) * px, 0.0, 1.0, drawn(0.05) * px])
    zoom = 1 + drawn(0.1)
    image = _warped(image, [zoom, 0.0, half * (1 - zoom), 0.0, zoom, half * (1 - zoom)])
    lean = drawn(np.tan(np.pi / 36))
    image = _warped(image, [1.0, lean, -half * lean, 0.0, 1.0, 0.0])
    image = tf.image.random_flip_up_down(tf.image.random_flip_left_right(image))
    return tf.clip_by_value(image + 255 * drawn(0.1), 0, 255), label


def _warped(image: tf.Tensor, rows: list[Any]) -> tf.Tensor:
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack([*rows, 0.0, 0.0])[None],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
    return tf.ensure_shape(moved[0], image.shape)


def compiled_as_usual(model: keras.Model, learning_rate: float = 1e-3, eager: bool = False) -> keras.Model:
    """`compile` as everybody calls it; without XLA, which costs this network more than half of its speed on a CPU."""
    loss = "sparse_categorical_crossentropy"
    adam = keras.optimizers.Adam(learning_rate)
    model.compile(adam, loss, metrics=["accuracy"], jit_compile=False, run_eagerly=eager)
    return model


def usual_validation(records: RecordSet) -> tf.data.Dataset:
    """The validation split, decoded once."""
    return _decoded(records, "validation").batch(32).cache().prefetch(AUTOTUNE)


def usual(records: RecordSet, settings: Settings, eager: bool = False) -> None:
    """TFRecords, `Dataset.map` with AUTOTUNE, `model.fit`; eager: each operation of a step by itself, no graph."""
    model = compiled_as_usual(build_resnet(settings.model, settings.images.image_px), eager=eager)
    model.fit(
        usual_batches(records, settings.training.batch_size),
        validation_data=usual_validation(records),
        epochs=ENDLESS,
        verbose=0,
        callbacks=[GateCallback()],
    )


def keras_layers(records: RecordSet, settings: Settings) -> None:
    """`keras.layers` augment batches of decoded, cached pictures; `model.fit`."""
    change = keras.Sequential(
        [
            keras.layers.RandomFlip(),
            keras.layers.RandomRotation(20 / 360, fill_mode="nearest"),
            keras.layers.RandomTranslation(0.05, 0.05, fill_mode="nearest"),
            keras.layers.RandomZoom(0.1, fill_mode="nearest"),
            keras.layers.RandomShear(0.09, 0.0, fill_mode="nearest"),
            keras.layers.RandomBrightness(0.1),
        ]
    )
    labels = read_eyes(records, "train").labels
    n = int(np.bincount(labels).max())
    majority = int(np.bincount(labels).argmax())
    eyes = _decoded(records, "train").cache()
    most = eyes.filter(lambda _, label: label == majority)
    fewer = eyes.filter(lambda _, label: label != majority).repeat().take(n)
    batches = most.concatenate(fewer).shuffle(2 * n).batch(settings.training.batch_size)
    batches = batches.map(lambda images, some: (change(images, training=True), some), AUTOTUNE).prefetch(AUTOTUNE)
    model = compiled_as_usual(build_resnet(settings.model, settings.images.image_px))
    validation = usual_validation(records)
    model.fit(batches, validation_data=validation, epochs=ENDLESS, verbose=0, callbacks=[GateCallback()])


def keras_tuner(records: RecordSet, settings: Settings) -> None:
    """The usual way inside KerasTuner's own loop, which saves the best epoch of a trial."""
    import keras_tuner

    def build(hp: keras_tuner.HyperParameters) -> keras.Model:
        rate = hp.Choice("learning_rate", [1e-3])
        return compiled_as_usual(build_resnet(settings.model, settings.images.image_px), rate)

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.GridSearch(build, objective="val_accuracy", directory=folder, project_name="one")
        tuner.search(
            usual_batches(records, settings.training.batch_size),
            validation_data=usual_validation(records),
            epochs=ENDLESS,
            verbose=0,
            callbacks=[GateCallback()],
        )


# drsearch


class _GateWatch:
    """The gate, for a recorded training."""

    def epoch(self, result: EpochResult) -> None:
        GATE.epoch_over()

    def judged(self, epoch: int, value: float) -> None:
        pass

    def stop_asked(self) -> bool:
        return False


def drsearch(records: RecordSet, settings: Settings) -> None:
    """A trial as it is: augmentation, metrics, validation, checkpoints, journal, and the sender at its side."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        start = RunStart("benchmark/epoch", "benchmark", "epoch", params=settings.flat())
        build = lambda: build_resnet(settings.model, settings.images.image_px)  # noqa: E731
        plan = Plan(
            folder=home.runs / "benchmark" / "epoch", start=start, settings=settings, build=build, owner="benchmark"
        )
        sender = start_sender(home)
        try:
            run_training(plan, *training_eyes(records, home, settings.search)[:2], _GateWatch())
        finally:
            sender.stop()


def training_part(records: RecordSet, settings: Settings, ahead: bool = False) -> None:
    """drsearch's batches and steps alone: no validation, no metrics, no tracking."""
    eyes = map_eyes(records, Home(records.folder.parents[1]), "train")
    batches = training_batches(eyes.images, eyes.labels, settings.training, settings.augmentation, 0)
    n_steps = steps_per_epoch(eyes.labels, settings.training)
    _steps(settings, copied_ahead(batches) if ahead else iter(batches), n_steps)


def floor(records: RecordSet, settings: Settings) -> None:
    """The fused step alone, on one batch for ever."""
    batches, n_steps = _one_batch(records, settings)
    _steps(settings, iter(batches), n_steps)


def floor_bfloat16(records: RecordSet, settings: Settings) -> None:
    """The same step with `mixed_bfloat16`, which needs no scaling of the loss; Keras's operations are not replaced."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        floor(records, settings)
    finally:
        keras.config.set_dtype_policy("float32")


def step_of_keras(records: RecordSet, settings: Settings, xla: bool = False) -> None:
    """Keras's own step alone, an epoch of steps in a call, on one batch for ever; or the same compiled by XLA."""
    batches, n_steps = _one_batch(records, settings)
    model = build_resnet(settings.model, settings.images.image_px)
    loss = "sparse_categorical_crossentropy"
    model.compile(build_optimizer(settings.training), loss, jit_compile=xla, steps_per_execution=n_steps)
    as_floats = batches.map(lambda images, labels: (tf.cast(images, tf.float32), labels))
    model.fit(as_floats, steps_per_epoch=n_steps, epochs=ENDLESS, verbose=0, callbacks=[GateCallback()])


def _one_batch(records: RecordSet, settings: Settings) -> tuple[tf.data.Dataset, int]:
    """The first batch over and over, and the steps of an epoch."""
    eyes, batch = read_eyes(records, "train"), settings.training.batch_size
    batches = tf.data.Dataset.from_tensors((eyes.images[:batch], eyes.labels[:batch])).cache().repeat()
    return batches, steps_per_epoch(eyes.labels, settings.training)


def _steps(settings: Settings, batches: Iterator[Any], n_steps: int) -> None:
    model = build_resnet(settings.model, settings.images.image_px)
    optimizer = build_optimizer(settings.training)
    optimizer.build(model.trainable_variables)
    fit = compiled_fit(model, optimizer)
    while True:
        fit(batches, tf.constant(n_steps, tf.int32))
        GATE.epoch_over()


# torch


def torch(records: RecordSet, settings: Settings) -> None:
    """The same network in torch (channels last, float32), with drsearch's augmentation; on a GPU if there is one."""
    import torch as t

    from benchmarks.torch_resnet import build

    t.set_num_threads(settings.training.threads or 1)
    train, validation = read_eyes(records, "train"), read_eyes(records, "validation")
    device = t.device("cuda" if t.cuda.is_available() else "cpu")
    model = build(settings.model).to(device, memory_format=t.channels_last)
    optimizer = t.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)
    loss_of = t.nn.CrossEntropyLoss()

    def on_device(images: Any) -> Any:
        return t.from_numpy(images).to(device).permute(0, 3, 1, 2).float().div_(255)

    for epoch in range(ENDLESS):
        model.train()
        for images, labels in _ahead(train, settings, epoch):
            optimizer.zero_grad(set_to_none=True)
            loss_of(model(on_device(images)), t.from_numpy(labels).to(device)).backward()
            optimizer.step()
        model.eval()
        with t.no_grad():
            for first in range(0, len(validation.labels), 32):
                model(on_device(validation.images[first : first + 32])).softmax(1).cpu()
        GATE.epoch_over()


def _ahead(train: Eyes, settings: Settings, epoch: int) -> Iterator[tuple[Any, Any]]:
    """The batches of an epoch, made a few ahead in a thread."""
    augmenter, batch = Augmenter(settings.augmentation), settings.training.batch_size
    order = epoch_order(train.labels, settings.training.seed, epoch, settings.training.balance)
    changes = augmenter.parameters(np.random.default_rng([0, epoch, 1]), len(order))

    def made(first: int) -> tuple[Any, Any]:
        seen = order[first : first + batch]
        images = np.empty((len(seen), *train.images.shape[1:]), np.uint8)
        for place, (into, index) in enumerate(zip(images, seen, strict=True), start=first):
            augmenter.apply(train.images[index], changes[place], into)
        return images, train.labels[seen]

    with ThreadPoolExecutor(1) as thread:
        yield from thread.map(made, range(0, epoch_size(train.labels, settings.training.balance), batch))


WAYS: dict[str, Callable[[RecordSet, Settings], None]] = {
    "usual": usual,
    "usual_eager": functools.partial(usual, eager=True),
    "keras_layers": keras_layers,
    "keras_tuner": keras_tuner,
    "drsearch": drsearch,
    "training_part": training_part,
    "training_part_ahead": functools.partial(training_part, ahead=True),
    "floor": floor,
    "floor_bfloat16": floor_bfloat16,
    "step_of_keras": step_of_keras,
    "step_of_keras_xla": functools.partial(step_of_keras, xla=True),
    "torch": torch,
}


def epoch_ends(
    way: str, records: RecordSet, settings: Settings, counted: int = COUNTED, at_least_s: float = 0
) -> list[float]:
    """Train in one of the ways, and say when each epoch was over, by the clock that all processes of a machine share.

    Args:
        way: Of `WAYS`.
        records: What to train on.
        settings: Of the training; its number of epochs does not count.
        counted: Epochs after the first one, which traces.
        at_least_s: Go on as long, in more epochs.
    """
    GATE.begin(counted, at_least_s)
    set_seeds(0)
    try:
        WAYS[way](records, settings.replace({"training.epochs": ENDLESS}))
    except Over as over:
        return over.ends
    raise AssertionError("the training came to its end")


def shortest(ends: Sequence[float]) -> float:
    """Seconds of the shortest epoch."""
    return min(end - begin for begin, end in itertools.pairwise(ends))


def main() -> None:
    """Train in one way until the gate has counted enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("records", type=Path)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="that one operation computes with")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="operations that are computed at once")
    parser.add_argument("--pinned-to", type=int, help="the only core that may be used")
    options = parser.parse_args()
    if options.pinned_to is not None:
        os.sched_setaffinity(0, {options.pinned_to})
    records = open_records(options.records)
    values = {
        "images.image_px": records.images.image_px,
        "training.batch_size": options.batch,
        "training.threads": options.threads,
    }
    if options.way != "torch":
        set_threads(options.threads, options.cores)
    print(json.dumps({"seconds": shortest(epoch_ends(options.way, records, Settings().replace(values)))}))


if __name__ == "__main__":
    main()
