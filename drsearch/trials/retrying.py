"""Calls to the study database wait while it does not answer, and are repeated."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import optuna
import sqlalchemy
import sqlalchemy.exc
from absl import logging

from drsearch.errors import StudyError
from drsearch.files import is_full
from drsearch.waiting import growing_pauses, pause

T = TypeVar("T")

_IDLE_IN_TRANSACTION = "25P03"
"""PostgreSQL's code for a process that was stopped within a transaction, when it continues."""

_READ_ONLY = "attempt to write a readonly database"

_NOT_THE_CAUSE = "(raised as a result of "
"""How SQLAlchemy begins where another statement than the requested one met the error."""

_NOT_REPEATED = ("create_new_study", "create_new_trial", "delete_study", "set_trial_state_values")


class StorageAway(StudyError):
    """The study database does not answer, and the process was asked to stop, or the time limit is over."""


class Busy(Exception):
    """Another process holds the lock of a study for longer than a transaction should take."""


def is_away(wrong: BaseException) -> bool:
    """Whether an error means that the database does not answer now; any other error is a bug, which waiting mends not.

    Args:
        wrong: From Optuna's storage, or from SQLAlchemy.

    Example:
        >>> is_away(Busy()), is_away(KeyError("no such study"))
        (True, False)
    """
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
        sqlalchemy.exc.PendingRollbackError,  # Optuna continues where a connection broke
        Busy,
    )
    return isinstance(wrong, away) or is_full(wrong)


def first_line(wrong: BaseException) -> str:
    """The first line of an error's text that names its cause.

    Example:
        >>> first_line(ValueError("server closed the connection\\nunexpectedly"))
        'server closed the connection'
    """
    if isinstance(wrong, optuna.exceptions.StorageInternalError) and wrong.__cause__ is not None:
        wrong = wrong.__cause__  # Optuna's own text speaks of invalid data, whatever happened
    lines = [line for line in str(wrong).strip().splitlines() if not line.startswith(_NOT_THE_CAUSE)]
    return (lines or [type(wrong).__name__])[0]


class Outage:
    """What the threads of a process share about their database: one warning per outage, and how long to wait.

    Attributes:
        stopped: Set to wait no more.
        is_over: Whether to wait no more; asked while waiting.
        limit_s: Seconds to wait per call.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.is_over: Callable[[], bool] = self.stopped.is_set
        self.limit_s = math.inf
        self._away = False
        self._lock = threading.Lock()

    def pause(self, seconds: float) -> bool:
        """Whether to wait no more, after waiting."""
        return pause(seconds, lambda: self.is_over())

    def begins(self, wrong: BaseException) -> None:
        """Log a warning, unless the outage has begun already."""
        with self._lock:
            if not self._away:
                logging.warning("the study database does not answer; waiting (%s)", first_line(wrong))
            self._away = True

    def ends(self) -> None:
        """Log that the database answers, if there was an outage."""
        with self._lock:
            if self._away:
                logging.info("the study database answers again")
            self._away = False


outage = Outage()


class _Thread(threading.local):
    repeats = True


_thread = _Thread()


@contextmanager
def without_retries() -> Iterator[None]:
    """Let calls of this thread fail at once if the database does not answer.

    Yields:
        Nothing.
    """
    before, _thread.repeats = _thread.repeats, False
    try:
        yield
    finally:
        _thread.repeats = before


def with_retries(call: Callable[[], T]) -> T:
    """The result of `call`, repeated as a whole with growing pauses while the database does not answer.

    Calls within it are not repeated by themselves: what one of them relied on may be gone, as a lock is.

    Args:
        call: May have had its effect although it failed: an answer can be lost.

    Raises:
        StorageAway: If the database does not answer, and `stop_retrying` was called, or the condition of
            `stop_retrying_when` holds, or the limit of `limit_retries` is over.
    """
    if not _thread.repeats:
        return call()
    pauses, until = growing_pauses(first_s=0.5), time.monotonic() + outage.limit_s
    while True:
        try:
            with without_retries():
                result = call()
        except Exception as wrong:
            if not is_away(wrong):
                raise
            outage.begins(wrong)
            if time.monotonic() > until or outage.pause(next(pauses)):
                raise StorageAway(f"the study database does not answer ({first_line(wrong)}).") from wrong
        else:
            outage.ends()
            return result


class Storage:
    """The study database: Optuna's storage, each call of which is repeated while the database does not answer.

    A call of Optuna's that may be repeated although an answer was lost writes the same value again. Those of
    `_NOT_REPEATED` may not: a second trial would be made, or an attempt that has just ended would seem to be another
    worker's. Whoever calls them repeats more than the call (`with_retries`, `transaction`), looking at what is there.

    Args:
        optuna: The storage that Optuna made, with its cache and with heartbeats.
    """

    def __init__(self, optuna: Any) -> None:
        self.optuna = optuna

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.optuna, name)
        return partial(self._repeated, value) if callable(value) and name not in _NOT_REPEATED else value

    def forget(self) -> None:
        """Read all trials anew, those too that had ended when they were read."""
        self.optuna = optuna.storages.get_storage(self.optuna._backend)

    def let_go(self) -> None:
        """Close the connections to a server that no thread uses now: it has a hundred for all workers of all studies.

        The next call opens one, which takes milliseconds.
        """
        engine = self._backend.engine
        if engine.dialect.name != "sqlite":  # a file, of which there may be any number
            engine.dispose()

    @staticmethod
    def _repeated(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return with_retries(lambda: call(*arguments, **options))


def stop_retrying() -> None:
    """Let this process wait for its database no more: it was asked to stop."""
    outage.stopped.set()


@contextmanager
def unlimited_retries() -> Iterator[None]:
    """Wait for the database as long as it is away, until `stop_retrying` is called, and whatever was called before.

    Yields:
        Nothing.
    """
    outage.stopped.clear()
    before, outage.limit_s = outage.limit_s, math.inf
    try:
        yield
    finally:
        outage.limit_s = before


def stop_retrying_when(is_over: Callable[[], bool]) -> None:
    """Let this process wait for its database no more as soon as `is_over` is true; it is asked while waiting."""
    outage.is_over = lambda: outage.stopped.is_set() or is_over()


def limit_retries(seconds: float) -> None:
    """Let each call wait for the database only so long: the process runs no trials, and a person waits for it."""
    outage.limit_s = seconds
