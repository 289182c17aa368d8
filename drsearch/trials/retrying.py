"""What if the study database does not answer? Whoever asks waits, and asks again."""

import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import optuna
import sqlalchemy
import sqlalchemy.event
import sqlalchemy.exc
from absl import logging

from drsearch.errors import StudyError
from drsearch.files import is_full

T = TypeVar("T")

_IDLE_IN_TRANSACTION = "25P03"
"""How PostgreSQL tells such a process so, when it goes on."""

_READ_ONLY = "attempt to write a readonly database"

_NOT_THE_CAUSE = "(raised as a result of "
"""How SQLAlchemy begins where another statement than the one that was asked for met the error."""


class StorageAway(StudyError):
    """The study database does not answer, and whoever waited for it was asked to stop."""


class Busy(Exception):
    """Another process is alone with the study for longer than that should take."""


def is_away(wrong: BaseException) -> bool:
    """Whether an error says that the database does not answer now; anything else is a bug, and waiting mends none."""
    if isinstance(wrong, optuna.exceptions.StorageInternalError) and wrong.__cause__ is not None:
        wrong = wrong.__cause__
    if isinstance(wrong, sqlalchemy.exc.DBAPIError) and (
        wrong.connection_invalidated or getattr(wrong.orig, "sqlstate", None) == _IDLE_IN_TRANSACTION
    ):
        return True
    if _READ_ONLY in str(wrong):
        return False
    away = (
        sqlalchemy.exc.OperationalError,
        sqlalchemy.exc.InterfaceError,
        sqlalchemy.exc.TimeoutError,
        sqlalchemy.exc.PendingRollbackError,  # Optuna asks on where a connection broke
        Busy,
    )
    return isinstance(wrong, away) or is_full(wrong)


def first_line(wrong: BaseException) -> str:
    """?? docstring"""
    if isinstance(wrong, optuna.exceptions.StorageInternalError) and wrong.__cause__ is not None:
        wrong = wrong.__cause__  # its own text speaks of invalid data, whatever happened
    lines = [line for line in str(wrong).strip().splitlines() if not line.startswith(_NOT_THE_CAUSE)]
    return (lines or [type(wrong).__name__])[0]


class _Patience:
    """What the threads of a process know of their database: one warning an outage, whoever meets it first."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.limit_s = math.inf
        self.is_over: Callable[[], bool] = self.over.is_set
        self._away = False
        self._lock = threading.Lock()

    def pause(self, seconds: float) -> bool:
        """Wait; whether waiting is over for good. `Event.wait` would lock out the signal that is to end it."""
        until = time.monotonic() + seconds
        while not self.is_over() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))
        return self.is_over()

    def away(self, wrong: BaseException) -> None:
        with self._lock:
            if not self._away:
                logging.warning("the study database does not answer; waiting (%s)", first_line(wrong))
            self._away = True

    def back(self) -> None:
        with self._lock:
            if self._away:
                logging.info("the study database answers again")
            self._away = False


patience = _Patience()


def end_patience() -> None:
    """Let this process wait for its database no more: it was asked to stop."""
    patience.over.set()


def renew_patience() -> None:
    """Let this process wait for its database again: `end_patience` was meant for an earlier study."""
    patience.over.clear()


def patiently(call: Callable[[], T]) -> T:
    """The result of `call`, asked again with growing pauses while the database is away: one warning, then patience.

    Args:
        call: May have had its effect although it failed: an answer can be lost.

    Raises:
        StorageAway: If the database is away, and `end_patience` was called, or what `end_patience_when` asks is true,
            or the limit of `limit_patience` has passed.
    """
    pause_s, until = 0.5, time.monotonic() + patience.limit_s
    while True:
        try:
            result = call()
        except Exception as wrong:
            if not is_away(wrong):
                raise
            patience.away(wrong)
            if time.monotonic() > until or patience.pause(pause_s):
                raise StorageAway(f"the study database does not answer ({first_line(wrong)}).") from wrong
            pause_s = min(30.0, 2 * pause_s)
        else:
            patience.back()
            return result
