"""Twelve short trials of a fixed length: what `benchmarks/study.py` runs in three systems."""

from keras_tuner import HyperParameters

SETTINGS = {"study.sampler": "grid", "training.epochs": 6, "finetune.when": "never"}
RATES = [1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5]
BATCHES = [4, 16]


def space(hp: HyperParameters) -> None:
    """Learning rate x batch size."""
    hp.Choice("training.learning_rate", RATES)
    hp.Choice("training.batch_size", BATCHES)
