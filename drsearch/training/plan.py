"""The plan of one training, and the watch that follows it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras

from drsearch.errors import DrsearchError
from drsearch.model.fit import EpochResult
from drsearch.model.own import NOTHING, Own
from drsearch.settings import Settings
from drsearch.tracking.events import RunStart

State = Literal["complete", "pruned", "failed", "interrupted"]


class Pruned(Exception):
    """Raised by a watch to end a training that promises nothing. Control flow, no error."""


class GivenAway(DrsearchError):
    """Another attempt has taken this training over; the attempt that gets this error writes nothing more."""


class Stopped(DrsearchError):
    """Raised by a watch that was asked to stop while it waited; the training can be resumed."""


class Watch:
    """Follows a training, and may end it. All methods are called in the thread that trains.

    Override the methods that matter, as in a `keras.callbacks.Callback`.
    """

    def epoch(self, result: EpochResult) -> None:
        """Hear of a finished epoch."""

    def judged(self, epoch: int, value: float) -> None:
        """Judge the training after a checkpoint.

        Args:
            epoch: The epoch that was checkpointed, counted from 1.
            value: The best objective of the checkpointed epochs so far.

        Raises:
            Pruned: To end the training here.
            GivenAway: If another attempt has taken the training over.
            Stopped: To interrupt the training here, as when `stop_asked` is true.
        """

    def stop_asked(self) -> bool:
        """Whether to interrupt the training after this epoch; it can be resumed."""
        return False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One training, and the run that logs it.

    Attributes:
        folder: The run's: its journal, files and checkpoints.
        start: The first event of the run.
        settings: All of them; `training.seed` is this training's own.
        build: Builds the network, after the seeds are set.
        build_fold: Builds the network of a fold or repeat by its place, from 0, where each starts from another one;
            None: `build` does.
        own: The functions of a space file, which the settings may name.
        owner: Names this attempt; a later attempt on the same folder takes over.
        head: Lines of comment for the run's settings file.
        files: Files that are copied into the run.
        until: The last epoch of a refit, which is also its best one. A refit trains on the validation eyes too, so it
            logs nothing about them. None for any other training.
        features: Keeps the features of frozen backbones; None: they are computed for this training alone.
        shared_as: Number of this attempt where other machines may resume it; None where none can.
    """

    folder: Path
    start: RunStart
    settings: Settings
    build: Callable[[], keras.Model]
    owner: str
    build_fold: Callable[[int], keras.Model] | None = None
    own: Own = NOTHING
    head: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    until: int | None = None
    features: Path | None = None
    shared_as: int | None = None

    @property
    def is_refit(self) -> bool:
        """Whether the training is a refit: it trains on the validation eyes too, and nothing validates it."""
        return self.until is not None

    @property
    def last_epoch(self) -> int:
        """The last epoch of the training."""
        return self.until or self.settings.training.epochs
