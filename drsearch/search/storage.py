"""How does a study reach its database, and keep its head when the database is away?"""

import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
import sqlalchemy.event
import sqlalchemy.exc
from absl import logging
from optuna.storages import RDBStorage

from drsearch.errors import StudyError

HEARTBEAT_S = 10
"""Seconds between the signs of life of a running trial."""

GRACE_S = 120
"""Seconds without one after which a trial is another's to take."""

AWAY = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, optuna.exceptions.StorageInternalError)
"""What Optuna raises when its database does not answer."""

Storage = Any
"""Optuna's cached `RDBStorage`, with heartbeats."""

T = TypeVar("T")


def open_storage(url: str) -> Storage:
    """Open the study database, making its tables if it has none.

    Args:
        url: As SQLAlchemy writes it, e.g. `sqlite:////home/me/studies.db` or `postgresql://host/optuna`.

    Raises:
        StudyError: If there is no such database, or its driver is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options: dict[str, Any] = {}
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        options = {"connect_args": {"timeout": 60}}  # seconds to wait for another process's write
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = RDBStorage(url, engine_kwargs=options, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S)
            if url.startswith("sqlite:///"):
                _begin_before_reading(storage.engine)
            return optuna.storages.get_storage(storage)  # adds the cache, without which every trial is read each time
    except ModuleNotFoundError as wrong:
        raise StudyError(
            f"--storage {_shown(url)}: the driver {wrong.name} is not installed; "
            "for PostgreSQL: pip install 'drsearch[postgresql]'."
        ) from wrong
    except (*AWAY, sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, ValueError, ImportError) as wrong:
        said = str(wrong).strip().splitlines()[0]
        raise StudyError(
            f"--storage {_shown(url)}: no study database there ({said}); "
            "write for example sqlite:////home/me/studies.db or postgresql://user@host/optuna."
        ) from wrong


def _begin_before_reading(engine: sqlalchemy.Engine) -> None:
    """Let a transaction on SQLite begin before its first read, and hold the database to its end.

    Python's driver begins one only at the first write. Two workers that look for a waiting trial would both read that
    it waits, and both take it: SQLite knows no `SELECT ... FOR UPDATE`, by which Optuna guards that elsewhere.
    Source: SQLAlchemy's manual on the SQLite dialect, "Serializable isolation / Savepoints / Transactional DDL".
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def leave_transactions_to_us(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before


def _shown(url: str) -> str:
    """The URL without its password."""
    try:
        return sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url


def patiently(call: Callable[[], T]) -> T:
    """The result of `call`, asked again with growing pauses while the database is away: one warning, then patience."""
    pause_s = 0.5
    while True:
        try:
            result = call()
        except AWAY as wrong:
            if pause_s == 0.5:
                logging.warning("the study database does not answer; waiting (%s)", str(wrong).splitlines()[0])
            time.sleep(pause_s)
            pause_s = min(30.0, 2 * pause_s)
        else:
            if pause_s > 0.5:
                logging.info("the study database answers again")
            return result


class Heartbeat:
    """Signs of life for one trial, from a thread that an error of the database does not end.

    Optuna's own thread beats only inside `study.optimize`, and dies of the first database error.
    """

    def __init__(self, storage: Storage, trial_id: int) -> None:
        self._storage, self._trial_id = storage, trial_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT_S):
            try:
                self._storage.record_heartbeat(self._trial_id)
            except Exception as wrong:  # whatever it is, the next beat may reach the database again
                logging.log_every_n_seconds(logging.WARNING, "a heartbeat was lost: %s", 60, wrong)
