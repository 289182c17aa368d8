"""The lock of a run's folder: one attempt at a time owns it, and an earlier owner writes nothing more."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from absl import logging

from drsearch.files import lock, write_whole
from drsearch.processes import is_dead, this_machine
from drsearch.run_folder import OWNER_FILE, OWNER_LOCK

_HELD_S = 20.0
"""Seconds after which a former owner that still holds the lock counts as stopped, and is killed."""

_BRIEFLY_S = 0.5


class NotTheOwner(Exception):
    """Another attempt owns the folder."""


class RunLock:
    """Who may write into a run's folder: the attempt that its file `owner` names.

    The name is read, and the files are written, under one lock. Otherwise a process that was stopped between the two
    could still write after another attempt took the folder.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / OWNER_FILE

    @contextmanager
    def hold(self, owner: str) -> Iterator[None]:
        """Hold the lock as the folder's owner.

        Yields:
            Nothing; while it is held, no other attempt can take the folder.

        Raises:
            NotTheOwner: If another attempt owns the folder, or the folder is gone.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self._locked(lambda: False))
            except FileNotFoundError:
                raise NotTheOwner from None
            if self._owner() != owner:
                raise NotTheOwner
            yield

    @contextmanager
    def take(self, owner: str) -> Iterator[None]:
        """Take ownership, and hold the lock. A former owner that holds it for 20 s was stopped, and is killed.

        Yields:
            Nothing; while the lock is held, no other attempt can take the folder.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()

        def too_long() -> bool:
            if time.monotonic() - began > _HELD_S:
                self._kill(self._owner())
            return False

        with self._locked(too_long):
            self._name(owner)
            yield

    @contextmanager
    def take_if(self, may_take: Callable[[str], bool], owner: str) -> Iterator[bool]:
        """Take ownership if `may_take(current_owner)` allows it; yields whether it did. Gives up after 0.5 s.

        Args:
            may_take: Whether ownership may be taken from the current owner; empty if there is none.
            owner: The new owner.

        Yields:
            Whether it owns the folder now; if so, the lock is held.
        """
        began = time.monotonic()
        with ExitStack() as stack:
            try:
                stack.enter_context(self._locked(lambda: time.monotonic() - began > _BRIEFLY_S))
            except (FileNotFoundError, TimeoutError):
                yield False
                return
            taken = may_take(self._owner())
            if taken:
                self._name(owner)
            yield taken

    def _owner(self) -> str:
        return self._file.read_text() if self._file.exists() else ""

    def _name(self, owner: str) -> None:
        write_whole(self._file, owner.encode(), replace=True, durable=False)

    @contextmanager
    def _locked(self, give_up: Callable[[], bool]) -> Iterator[None]:
        with open(self._folder / OWNER_LOCK, "a") as file:
            lock(file, give_up=give_up)
            yield

    def _kill(self, owner: str) -> None:
        process = process_of(owner)
        if not process.startswith(f"{this_machine()}:") or is_dead(process):
            return
        pid = int(process.rsplit(":", 2)[1])
        if pid == os.getpid():
            return
        logging.warning(
            "process %d was stopped while it wrote to %s, which belongs to another attempt now; it is killed",
            pid,
            self._folder,
        )
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def process_of(owner: str) -> str:
    """The process of an owner, as `this_process` names it.

    Example:
        >>> process_of("17@gauss:4711:1.00"), process_of("gauss:4711:1.00")
        ('gauss:4711:1.00', 'gauss:4711:1.00')
    """
    return owner.rpartition("@")[2]


def attempt_of(owner: str) -> int | None:
    """The number of the attempt (Optuna's trial number) that owns a folder; None if no attempt does.

    Example:
        >>> attempt_of("17@gauss:4711:1.00"), attempt_of("nobody")
        (17, None)
    """
    number = owner.partition("@")[0]
    return int(number) if "@" in owner and number.isdigit() else None
