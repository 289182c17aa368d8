"""What is asked of one training, and who watches it?"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import keras

from drsearch.errors import DrsearchError
from drsearch.model.training import EpochResult
from drsearch.settings import Settings
from drsearch.tracking.events import RunStart

State = Literal["complete", "pruned", "failed", "interrupted"]


class Pruned(Exception):
    """Raised by a watch: this training is not worth going on with. Control flow, no error."""


class GivenAway(DrsearchError):
    """This training was given to another process meanwhile; the one that hears it writes nothing more."""


class Stopped(DrsearchError):
    """Raised by a watch: it was asked to stop while it waited for something; the training goes on some other time."""


class Watch(Protocol):
    """Who looks on while a training runs, and may end it."""

    def epoch(self, result: EpochResult) -> None:
        """An epoch is over."""

    def judged(self, epoch: int, value: float) -> None:
        """A checkpointed epoch is over, and `value` is the best of them so far.

        Raises:
            Pruned: To end the training here.
            GivenAway: If it is another's by now.
            Stopped: To stop here, as if `stop_asked` had said so.
        """

    def stop_asked(self) -> bool:
        """Whether to stop at this epoch, to go on some other time."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One training to record.

    Attributes:
        folder: Where its journal, files and checkpoints lie.
        start: How its run begins.
        settings: All of them; `training.seed` is this training's own.
        build: Makes the network, after the seeds are set.
        head: Lines of comment for the settings file of the run.
        owner: Names this attempt; a later attempt on the same folder takes over.
        until: The epoch that is this training's last and is kept, whatever `training.epochs` says: a refit, which
            trains on the eyes that would validate it too, so that nothing is told of them. None for any other.
        shared_as: Number of this attempt where other machines may go on with it; None where none can.
    """

    folder: Path
    start: RunStart
    settings: Settings
    build: Callable[[], keras.Model]
    owner: str
    head: tuple[str, ...] = ()
    until: int | None = None
    shared_as: int | None = None

    @property
    def is_refit(self) -> bool:
        """Whether no eyes are left to validate."""
        return self.until is not None

    @property
    def last_epoch(self) -> int:
        """The epoch with which it ends."""
        return self.until or self.settings.training.epochs
