"""The network and its training: labelled images in, a fitted Keras model and its curve out."""

from drsearch.model.prediction import Predictor
from drsearch.model.resnet_v2 import build_resnet
from drsearch.model.training import (
    EpochResult,
    Measures,
    Training,
    build_optimizer,
    learning_rate,
    set_seeds,
    set_threads,
)

__all__ = [
    "EpochResult",
    "Measures",
    "Predictor",
    "Training",
    "build_optimizer",
    "build_resnet",
    "learning_rate",
    "set_seeds",
    "set_threads",
]
