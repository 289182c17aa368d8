"""The contract of a tracking backend: open a run, and take its events."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from drsearch.errors import DrsearchError
from drsearch.tracking.events import Event, RunStart


class TrackerUnavailable(DrsearchError, ConnectionError):
    """The tracking backend does not answer; the sender tries again later."""


class TrackerRefused(DrsearchError, ValueError):
    """The tracking backend answers and refuses an event; trying again is of no use."""


class Tracker(Protocol):
    """A tracking backend, used by one thread of one process.

    Every method may be called twice with the same arguments, and has its effect once: a sender may die between sending
    events and noting that it sent them.
    """

    def open(self, start: RunStart) -> str:
        """Create the run with `start.key`, and its experiment, unless they exist.

        Returns:
            The run's id.

        Raises:
            TrackerUnavailable: If the backend does not answer.
            TrackerRefused: If the backend refuses the run.
        """
        ...

    def send(self, run_id: str, events: Sequence[Event], folder: Path) -> None:
        """Write events of a run, in their order.

        Ignores a `RunStart`, which `open` has written, and leaves out a file that does not exist any more, with a
        warning.

        Args:
            run_id: From `open`.
            events: New events of the run.
            folder: The paths of files in the events are relative to it.

        Raises:
            TrackerUnavailable: If the backend does not answer; it may have taken some of the events.
            TrackerRefused: If the run does not exist any more.
        """
        ...
