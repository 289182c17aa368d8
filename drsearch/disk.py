"""What if the disk is full? Whoever writes waits, says so once, and goes on when there is space."""

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from absl import logging

from drsearch.errors import DrsearchError

T = TypeVar("T")

_SAID = ("No space left on device", "Disk quota exceeded", "database or disk is full")
_LOOK_EVERY_S = 0.5
_LONGEST_PAUSE_S = 30.0


class DiskFull(DrsearchError, OSError):
    """The disk is full, and whoever waited for space was asked to stop."""


def is_full(wrong: BaseException) -> bool:
    """Whether an error, or one that it came from, says that no space is left: HDF5 and SQLite have words of their own.

    Example:
        >>> is_full(OSError(errno.ENOSPC, "No space left on device")), is_full(ValueError("full of hope"))
        (True, False)
    """
    found: BaseException | None = wrong
    while found is not None:
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(found) for words in _SAID):
            return True
        found = found.__cause__ or found.__context__
    return False


def sentence(where: Path | str) -> str:
    """What is said of a full disk."""
    return f"the disk that holds {where} is full"


def when_space(write: Callable[[], T], where: Path, stop_asked: Callable[[], bool]) -> T:
    """The result of `write`, tried again with growing pauses while the disk is full: one warning, then patience.

    Args:
        write: Leaves nothing half-written behind that a second call would not put right.
        where: What it writes into.
        stop_asked: Whether to give up waiting; asked twice a second.

    Raises:
        DiskFull: If it was asked to stop while the disk was full.
    """
    pause_s = 1.0
    while True:
        try:
            result = write()
        except Exception as wrong:
            if not is_full(wrong):
                raise
            if pause_s == 1.0:
                logging.warning("%s; waiting for space", sentence(where))
            until = time.monotonic() + pause_s
            while time.monotonic() < until:
                if stop_asked():
                    raise DiskFull(f"{sentence(where)}; make space, and the same command goes on.") from wrong
                time.sleep(_LOOK_EVERY_S)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
        else:
            if pause_s > 1.0:
                logging.info("there is space again in %s", where)
            return result
