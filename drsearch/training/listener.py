"""Who is told how the steps after a search, or a single training, go? The command line, or nobody."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class TrainingProgress:
    """How far a training in this process is.

    Attributes:
        what: `fine-tuning`, `refit` or `training`.
        epoch: Epochs finished; 0 before the first.
        epochs: Epochs in all.
        seconds: Of the last epoch.
        split: `val`, or `train` where no eyes are left for validation.
        auc: On that split.
        accuracy: On that split, at 0.5.
    """

    what: str
    epoch: int
    epochs: int
    seconds: float = 0.0
    split: str = "val"
    auc: float = 0.0
    accuracy: float = 0.0


class Listener(Protocol):
    """Told in the process, and in the thread, that does the work."""

    def say(self, text: str) -> None:
        """A sentence on what is done now."""

    def trained(self, progress: TrainingProgress) -> None:
        """A training begins, or has finished an epoch."""

    def stopping(self, text: str) -> None:
        """A signal asked the training to stop; called by its handler, which must not wait for a lock."""


class Nobody:
    """A listener that does nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def trained(self, progress: TrainingProgress) -> None:
        """Nothing."""

    def stopping(self, text: str) -> None:
        """Nothing."""


NOBODY = Nobody()
