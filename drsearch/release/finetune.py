"""Fine-tuning: whether the best model is underfitting, and the settings to train it on."""

from collections.abc import Sequence

import numpy as np

from drsearch.measure.scores import TRIAL_THRESHOLD
from drsearch.model.fit import EpochResult
from drsearch.settings import Settings

_LAST_EPOCHS = 5
_TAIL = 1 / 3
_ROUNDING = 1e-9  # a level curve has a slope of some 1e-17


def underfits(history: Sequence[EpochResult], below_accuracy: float) -> tuple[bool, str]:
    """Whether a training ended before the network had learned what it could.

    A model is underfitting if the mean train accuracy of the last 5 epochs is under `below_accuracy` and the validation
    AUC was not falling (the least-squares slope over the last third of the epochs is not below zero).

    Args:
        history: Every epoch of the training.
        below_accuracy: `finetune.underfit_below_accuracy`.

    Returns:
        Whether it is underfitting, and the figures in words.

    Example:
        >>> from drsearch.model.fit import EpochResult, Measures
        >>> half = Measures(loss=0.7, accuracy=0.5, auc=0.5)
        >>> underfits([EpochResult(1, 0.001, 1.0, half, half)], below_accuracy=0.95)[0]
        True
    """
    accuracy = float(np.mean([epoch.train.accuracy for epoch in history[-_LAST_EPOCHS:]]))
    tail = history[-max(2, round(len(history) * _TAIL)) :]
    slope = _slope([epoch.validation.auc for epoch in tail])
    is_accurate, falls = accuracy >= below_accuracy, slope < -_ROUNDING
    words = (
        f"train accuracy (threshold {TRIAL_THRESHOLD:g}) {accuracy:.3f} is "
        f"{'at or above' if is_accurate else 'below'} {below_accuracy:g}, and "
        f"validation AUC {'fell' if falls else 'did not fall'} over the last {len(tail)} epochs "
        f"({slope:+.5f} per epoch)"
    )
    return not is_accurate and not falls, words


def _slope(values: Sequence[float]) -> float:
    """Least-squares slope of values at 0, 1, 2, ...; 0 for a single one."""
    if len(values) < 2:
        return 0.0
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])


def finetune_settings(settings: Settings) -> Settings:
    """The settings of the fine-tuning that follows a training with `settings`: Adam, slower, augmented more.

    After a frozen backbone all is trained but its batch normalisation.
    """
    stage = settings.finetune
    strength = min(5.0, settings.augmentation.strength * stage.augmentation_strength)
    return settings.replace(
        {
            "training.optimizer": "adam",
            "training.learning_rate": stage.learning_rate,
            "training.schedule": "constant",
            "training.warmup_epochs": 0,
            "training.weight_decay": 0.0,
            "training.epochs": stage.epochs,
            "training.head_epochs": 0,
            "training.unfrozen_rate": 1.0,
            "model.trainable": "all" if settings.model.trainable == "all" else "two_stage",
            "augmentation.strength": strength,
        }
    )
