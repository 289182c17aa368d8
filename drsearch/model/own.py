"""What a space file may bring to a training beside its network: a loss, an augmentation, a metric."""

from collections.abc import Callable
from dataclasses import dataclass

from drsearch.data.pipeline import Augment
from drsearch.measure.curve_metrics import OwnMetric
from drsearch.metrics import OWN
from drsearch.model.losses import Loss
from drsearch.settings import Settings


@dataclass(frozen=True)
class Own:
    """The functions of a space file.

    Attributes:
        build_loss: Makes the loss of `training.loss = "own"`; None if the file has none.
        augment: The change of `augmentation.own`; None if the file has none.
        objective: The metric `val_own`; None if the file has none.
    """

    build_loss: Callable[[Settings], Loss] | None = None
    augment: Augment | None = None
    objective: OwnMetric | None = None


NOTHING = Own()


def missing_function(settings: Settings, own: Own) -> str:
    """The function of a space file that settings name and that is not there, in words; empty if none is missing.

    Example:
        >>> missing_function(Settings().replace({"training.loss": "own"}), NOTHING)
        "training.loss = 'own' is build_loss(settings) of a space file"
    """
    if settings.training.loss == "own" and own.build_loss is None:
        return "training.loss = 'own' is build_loss(settings) of a space file"
    if settings.augmentation.own and own.augment is None:
        return "augmentation.own = True is augment(image, rng) of a space file"
    if OWN in settings.study.judged_by and own.objective is None:
        return "val_own is objective(labels, probabilities) of a space file"
    return ""
