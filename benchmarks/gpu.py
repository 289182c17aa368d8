"""Do mixed precision or XLA pay on this GPU?

    python -m benchmarks.gpu [--rounds 5]

Needs a GPU that TensorFlow sees, and says so where there is none. The step of `drsearch.model.fused_step` in float32,
in bfloat16 (`mixed_bfloat16`, which needs no scaling of the loss), and Keras's own compiled by XLA, each on one batch.
"""

import statistics
import sys
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.rounds import Ratio, Result, Table, in_turn, ratio_of, run
from drsearch.model.fit import build_optimizer
from drsearch.model.fused_step import compiled_fit
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import Settings

STEPS = 100
BATCHES = (4, 16, 32)


def measure(rounds: int) -> Result:
    """Every way at every batch size, in turn."""
    if not tf.config.list_physical_devices("GPU"):
        sys.exit("TensorFlow sees no GPU here: nothing was measured.")
    rows, ratios = [], []
    for batch in BATCHES:
        ways = {
            "float32": _fused(batch, "float32"),
            "mixed_bfloat16": _fused(batch, "mixed_bfloat16"),
            "float32, XLA": _xla(batch, "float32"),
            "mixed_bfloat16, XLA": _xla(batch, "mixed_bfloat16"),
        }
        seconds = in_turn(ways, rounds)
        rows += [(batch, name, f"{1000 * statistics.median(found) / STEPS:.2f}") for name, found in seconds.items()]
        ratios += [
            Ratio(f"float32 / {name}, batch {batch}", ratio_of(seconds, "float32", name)) for name in list(ways)[1:]
        ]
    table = Table("Milliseconds a step at 256 px", ("batch", "way", "median"), tuple(rows))
    return Result("Do mixed precision or XLA pay on this GPU?", (table,), tuple(ratios))


def _network(policy: str) -> tuple[keras.Model, keras.Optimizer]:
    settings = Settings()
    keras.config.set_dtype_policy(policy)
    try:
        model = build_resnet(settings.model, settings.images.image_px)
    finally:
        keras.config.set_dtype_policy("float32")
    optimizer = build_optimizer(settings.training)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def _data(batch: int) -> tf.data.Dataset:
    images = np.random.default_rng(0).integers(0, 256, (batch, 256, 256, 3), np.uint8)
    return tf.data.Dataset.from_tensors((images, np.arange(batch) % 2)).cache().repeat()


def _fused(batch: int, policy: str) -> Callable[[], float]:
    fit, batches = compiled_fit(*_network(policy)), iter(_data(batch))

    def once() -> float:
        started = time.perf_counter()
        fit(batches, tf.constant(STEPS))[0].numpy()
        return time.perf_counter() - started

    once()
    return once


def _xla(batch: int, policy: str) -> Callable[[], float]:
    model, optimizer = _network(policy)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=True)
    data = _data(batch).map(lambda images, labels: (tf.cast(images, tf.float32), labels))

    def once() -> float:
        started = time.perf_counter()
        model.fit(data, steps_per_epoch=STEPS, verbose=0)
        return time.perf_counter() - started

    once()
    return once


if __name__ == "__main__":
    run("gpu", measure, rounds=5)
