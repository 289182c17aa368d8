"""What must a tracking backend be able to do? Two things: open a run, and take events."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from drsearch.errors import DrsearchError
from drsearch.tracking.events import Event, RunStart


class TrackerUnavailable(DrsearchError, ConnectionError):
    """The tracking backend does not answer; it is asked again later."""


class TrackerRefused(DrsearchError, ValueError):
    """The tracking backend answers, and will not take what it was given."""


class Tracker(Protocol):
    """One tracking backend, used by one process.

    Whatever is given twice is kept once: a sender may die between sending and noting that it sent.
    """

    def open(self, start: RunStart) -> str:
        """The id of the run with `start.key`, made now unless it is there; its experiment too.

        Raises:
            TrackerUnavailable: If the backend does not answer.
            TrackerRefused: If it does not want this run.
        """
        ...

    def send(self, run_id: str, events: Sequence[Event], folder: Path) -> None:
        """Write events of a run, in their order; files are relative to `folder`.

        A `RunStart` among them changes nothing: it was given to `open`. A file that is no longer there
        is left out with a warning.

        Raises:
            TrackerUnavailable: If the backend does not answer; part of the events may have been taken.
            TrackerRefused: If the run is gone.
        """
        ...
