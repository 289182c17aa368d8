"""How a network is fitted: one epoch after another, each repeatable from a checkpoint, for trials and fine-tuning alike."""

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from drsearch.data.pipeline import LabelledImages, steps_per_epoch, training_batches
from drsearch.errors import TrialFailed
from drsearch.measure.scores import accuracy, auc
from drsearch.settings import Settings, TrainingSettings

RDR = 1
"""The column of a prediction that holds the probability of referable retinopathy."""


@dataclass(frozen=True)
class Measures:
    """How good predictions of one epoch are.

    Attributes:
        loss: Mean cross-entropy an image, natural logarithm, without what layers add to it.
        accuracy: Share of images on the right side of one half.
        auc: Area under the ROC curve of the probability of RDR.
    """

    loss: float
    accuracy: float
    auc: float


@dataclass(frozen=True)
class EpochResult:
    """One finished epoch.

    Attributes:
        epoch: Counted from 1.
        learning_rate: The one that the schedule gave for the whole epoch.
        seconds: Wall clock, training and validation together.
        train: From the predictions made while training: augmented images, weights as they were
            at each step, batch normalisation over the batch.
        validation: With the weights at the end of the epoch.
    """

    epoch: int
    learning_rate: float
    seconds: float
    train: Measures
    validation: Measures


class Training:
    """A network, its optimizer and its data, trained an epoch at a time.

    Any Keras model that takes images of 0..255 and ends in a softmax over NRDR and RDR can
    be trained. It is compiled with the optimizer, so that the saved `.keras` holds both.

    Args:
        model: Its present weights are where training starts.
        train: Eyes to fit; upsampled and augmented here, never the validation eyes.
        validation: Eyes that measure every epoch.
        settings: `training` and `augmentation` are used.
    """

    def __init__(
        self, model: keras.Model, train: LabelledImages, validation: LabelledImages, settings: Settings
    ) -> None: ...

    @property
    def model(self) -> keras.Model:
        """The network, with the weights reached so far."""

    @property
    def epoch(self) -> int:
        """Epochs finished."""

    @property
    def history(self) -> tuple[EpochResult, ...]:
        """Every finished epoch, those before a checkpoint was restored too."""

    def run_epoch(self) -> EpochResult:
        """Train one epoch more and measure it.

        Raises:
            TrialFailed: If the loss is not finite, or memory does not suffice.
        """

    def save(self, path: Path, extra: Mapping[str, Any]) -> None:
        """Write everything that the next epoch depends on to one `.npz` file, whole or not at all.

        Args:
            path: The checkpoint; an old one is replaced.
            extra: What else belongs to this moment, as JSON can hold it.
        """

    def restore(self, path: Path) -> dict[str, Any]:
        """Go back, or on, to a checkpoint; the epochs after it equal those of the run that saved it.

        Returns:
            The `extra` it was saved with.

        Raises:
            TrialFailed: If the file is damaged or belongs to another model or optimizer.
        """


def predict(model: keras.Model, images: NDArray[np.uint8], batch: int = 32) -> NDArray[np.float32]:
    """The probability of RDR of every image.

    Args:
        model: Ends in a softmax over NRDR and RDR.
        images: RGB, shape `(n, h, w, 3)`.
        batch: Images at once.

    Returns:
        Shape `(n,)`, in 0..1.
    """


def build_optimizer(training: TrainingSettings) -> keras.Optimizer:
    """The optimizer named by `training.optimizer`, at the peak learning rate."""


def learning_rate(epoch: int, training: TrainingSettings) -> float:
    """The learning rate of an epoch, counted from 1, by `training.schedule` and `training.warmup_epochs`."""


def set_seeds(seed: int) -> None:
    """Make the weights of models built from now on, and their dropout, a function of `seed`."""


def set_threads(n: int) -> None:
    """Let this process compute on `n` cores; call it before TensorFlow computes anything."""
