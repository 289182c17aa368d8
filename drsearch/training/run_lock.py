"""Whose is the folder of a run? One attempt's at a time; another may take it, and the first writes nothing more."""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from absl import logging

from drsearch.processes import is_dead, this_machine
from drsearch.run_folder import OWNER_FILE, OWNER_LOCK

_HELD_S = 20.0
"""Seconds after which a process that holds a folder which was given to another is taken to be stopped, and is ended."""

_BRIEFLY_S = 0.5


class NotTheOwner(Exception):
    """The folder is another attempt's by now."""


class Ownership:
    """Who may write into a folder: the attempt that is named in its file `owner`.

    The name is read, and what follows is written, under one lock. A process that was stopped in between, and comes
    back after its folder was given away, would write else.

    Args:
        folder: Of one run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / OWNER_FILE

    @contextmanager
    def kept(self, owner: str) -> Iterator[None]:
        """Hold the folder as its owner.

        Raises:
            NotTheOwner: If it has another, or is gone.
        """
        try:
            lock = self._locked(lambda: False)
        except FileNotFoundError:
            raise NotTheOwner from None
        try:
            if self._owner() != owner:
                raise NotTheOwner
            yield
        finally:
            os.close(lock)

    @contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """Become the owner, and hold the folder; an earlier one that does not let go was stopped, and is ended."""
        self._folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()

        def too_long() -> bool:
            if time.monotonic() - began > _HELD_S:
                self._end(self._owner())
            return False

        lock = self._locked(too_long)
        try:
            self._name(owner)
            yield
        finally:
            os.close(lock)

    @contextmanager
    def taken_from(self, whom: Callable[[str], bool], owner: str) -> Iterator[bool]:
        """Become the owner if the present one is to lose it; whether that came to pass. Nobody is waited for long."""
        began = time.monotonic()
        try:
            lock = self._locked(lambda: time.monotonic() - began > _BRIEFLY_S)
        except (FileNotFoundError, TimeoutError):
            yield False
            return
        try:
            may = whom(self._owner())
            if may:
                self._name(owner)
            yield may
        finally:
            os.close(lock)

    def _owner(self) -> str:
        return self._file.read_text() if self._file.exists() else ""

    def _name(self, owner: str) -> None:
        part = self._file.with_suffix(f".{os.getpid()}")
        part.write_text(owner)
        os.replace(part, self._file)

    def _locked(self, give_up: Callable[[], bool]) -> int:
        lock = os.open(self._folder / OWNER_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return lock
                if give_up():
                    raise TimeoutError
                time.sleep(0.02)
        except BaseException:
            os.close(lock)
            raise

    def _end(self, owner: str) -> None:
        process = process_of(owner)
        if not process.startswith(f"{this_machine()}:") or is_dead(process):
            return
        pid = int(process.rsplit(":", 2)[1])
        if pid == os.getpid():
            return
        logging.warning("process %d was stopped while it wrote to %s, which is another's by now; it is ended", pid,
                        self._folder)  # fmt: skip
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def process_of(owner: str) -> str:
    """The process of an owner, as `this_process` names it."""
    return owner.rpartition("@")[2]


def attempt_of(owner: str) -> int | None:
    """The number of the Optuna trial that owns the folder, if one does."""
    number = owner.partition("@")[0]
    return int(number) if "@" in owner and number.isdigit() else None
