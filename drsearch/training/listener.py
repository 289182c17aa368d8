"""What the command line hears of a training, and of the steps after a search."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of a training in this process.

    Attributes:
        what: `fine-tuning`, `refit` or `training`.
        epoch: Epochs finished; 0 before the first.
        epochs: Epochs in total.
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


class Listener:
    """Hears of the steps in the process, and in the thread, that does the work; by default it does nothing.

    Override the methods that matter, as in a `keras.callbacks.Callback`.
    """

    def say(self, text: str) -> None:
        """Hear a sentence on the step that begins now."""

    def trained(self, progress: TrainingProgress) -> None:
        """Hear that a training begins, or has finished an epoch."""

    def stopping(self, text: str) -> None:
        """Hear that a signal asked the training to stop; its handler calls this, which must not wait for a lock."""


SILENT = Listener()
"""The listener of a call that shows nothing."""
