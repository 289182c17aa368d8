"""Fifty very short trials in one worker: what `benchmarks/memory.py` runs."""

from keras_tuner import HyperParameters

SETTINGS = {
    "study.sampler": "grid",
    "images.image_px": 128,
    "training.epochs": 3,
    "training.checkpoint_every_epochs": 1,  # so that trials go back to an earlier epoch, as real ones do
    "finetune.when": "never",
}


def space(hp: HyperParameters) -> None:
    """Fifty learning rates."""
    hp.Choice("training.learning_rate", [1e-4 * (1 + i) for i in range(50)])
