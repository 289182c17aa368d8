"""Opens the study database, and runs transactions that no other process may disturb."""

import contextlib
import hashlib
import os
import random
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
import sqlalchemy.event
import sqlalchemy.exc
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel

from drsearch.errors import StudyError
from drsearch.files import fault, lock
from drsearch.home import Home
from drsearch.masking import hide
from drsearch.trials.heartbeat import GRACE_S, HEARTBEAT_S
from drsearch.trials.retrying import Busy, Storage, first_line, is_away, with_retries

T = TypeVar("T")

_LOCK_S = 30
"""Seconds to wait for another process that holds the lock of a study."""

_LET_GO = "-c idle_in_transaction_session_timeout=60s -c lock_timeout=30s"
"""Options for PostgreSQL: a process that was stopped within a transaction loses it, and with it its locks."""

_CONNECT_S = 10
"""Seconds to wait for the first answer of a PostgreSQL server; the operating system waits for minutes."""

_OPENINGS = 20
"""How often an empty database is opened anew while other processes create its tables at the same moment."""


def open_storage(url: str, *, wait: bool = False, read_only: bool = False) -> Storage:
    """Open the study database, and create its tables if it has none.

    A SQLite file that this user may not write is opened read-only.

    Args:
        url: As SQLAlchemy writes it, e.g. `sqlite:////home/me/studies.db` or `postgresql://host/optuna`.
        wait: Wait if it does not answer: it did when this process was started.
        read_only: Write nothing: a SQLite file is opened read-only, and does not wait for writes of other processes.

    Returns:
        The database, each call of which is repeated while it does not answer.

    Raises:
        StudyError: If there is no such database, or its driver is not installed.
    """
    if wait:
        return with_retries(lambda: _open(url, read_only))
    try:
        return _open(url, read_only)
    except Exception as wrong:
        if not is_away(wrong):
            raise
        raise _no_database(url, wrong) from wrong


_IN_MEMORY = ("sqlite://", "sqlite:///", "sqlite:///:memory:")


def may_hold_studies(url: str) -> bool:
    """Whether a database may hold studies: a SQLite file that does not exist holds none, and is not created here.

    Example:
        >>> may_hold_studies("sqlite:////no/such/folder/studies.db"), may_hold_studies("postgresql://host/optuna")
        (False, True)
    """
    file = _sqlite_file(url)
    return not file or url in _IN_MEMORY or os.path.exists(file)


def may_write(storage: Storage, home: Home) -> bool:
    """Whether this user may write both the database and the home, as `reconcile` does."""
    engine = storage._backend.engine
    file = engine.url.database if engine.dialect.name == "sqlite" else ""
    return _is_writable(file or "") and (not home.path.exists() or os.access(home.path, os.W_OK))


def _is_writable(file: str) -> bool:
    """Whether a SQLite file can be written, which takes a writable folder too; a missing file can be created."""
    return not os.path.exists(file) or (os.access(file, os.W_OK) and os.access(os.path.dirname(file) or ".", os.W_OK))


def _open(url: str, read_only: bool) -> Storage:
    hide(url)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options: dict[str, Any] = {}
    file = _sqlite_file(url)
    if url in _IN_MEMORY:
        raise StudyError(
            f"--storage {url}: a database in the memory of this process, which workers do not see; "
            "write for example sqlite:////home/me/studies.db."
        )
    read_only = bool(file) and os.path.exists(file) and (read_only or not _is_writable(file))
    if read_only:
        options = {"creator": lambda: _connect_read_only(file)}
    elif file:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        options = {"connect_args": {"timeout": 60}}  # seconds to wait for another process's write
    else:
        options = {"pool_size": 1}  # a server has a hundred for all; what threads open beside it is closed again
        if url.startswith("postgresql"):
            options["connect_args"] = _of_postgresql(url)
    for opening in range(1, _OPENINGS + 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                storage = RDBStorage(
                    url,
                    engine_kwargs=options,
                    heartbeat_interval=HEARTBEAT_S,
                    grace_period=GRACE_S,
                    skip_table_creation=read_only,
                )
            break
        except ModuleNotFoundError as wrong:
            raise _no_driver(url, wrong) from wrong
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as wrong:
            # Optuna looks for its tables before it creates them: of several processes that find none, one creates them.
            if not _made_by_another(wrong) or opening == _OPENINGS:
                if is_away(wrong):
                    raise
                raise _no_database(url, wrong) from wrong
            time.sleep(random.uniform(0.05, 0.5))
        except (ValueError, ImportError) as wrong:
            raise _no_database(url, wrong) from wrong
    if file and not read_only:
        _set_up_sqlite(storage.engine)
    # Optuna's `get_storage` adds the cache, without which every trial is read each time.
    return Storage(optuna.storages.get_storage(storage))


def _of_postgresql(url: str) -> dict[str, Any]:
    """How psycopg connects."""
    options: dict[str, Any] = {} if "options=" in url else {"options": _LET_GO, "connect_timeout": _CONNECT_S}
    with contextlib.suppress(sqlalchemy.exc.ArgumentError, ValueError):  # no address, which is said when it is opened
        if sqlalchemy.make_url(url).get_driver_name() == "psycopg":
            # A pooler gives each transaction to any of its connections, which do not know what another one prepared.
            options["prepare_threshold"] = None  # without, asking takes 5 % longer
    return options


def _connect_read_only(file: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{Path(file).resolve().as_uri()}?mode=ro", 10, uri=True, check_same_thread=False)


def _made_by_another(wrong: BaseException) -> bool:
    text = f"{wrong} {wrong.__cause__}"
    return isinstance(wrong, sqlalchemy.exc.IntegrityError) or "already exists" in text or "duplicate key" in text


def database_time(url: str) -> float | None:
    """Connect to a study database, and ask for its time; nothing is created or written.

    Args:
        url: As SQLAlchemy writes it.

    Returns:
        The time of its server, seconds since 1970; None where the database is a file, or tells no time.

    Raises:
        StudyError: If there is no such database, or its driver is not installed.
    """
    hide(url)
    if not may_hold_studies(url):
        raise StudyError(f"--storage {url}: there is no such file; `drsearch run-study` makes one.")
    options = {"connect_timeout": _CONNECT_S} if url.startswith("postgresql") else {}
    try:
        engine = sqlalchemy.create_engine(url, connect_args=options, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                return float(connection.exec_driver_sql("SELECT extract(epoch FROM now())").scalar_one())
            connection.exec_driver_sql("SELECT 1")
        return None
    except ModuleNotFoundError as wrong:
        raise _no_driver(url, wrong) from wrong
    except (sqlalchemy.exc.SQLAlchemyError, ValueError, ImportError) as wrong:
        raise _no_database(url, wrong) from wrong


def _no_driver(url: str, wrong: ModuleNotFoundError) -> StudyError:
    return StudyError(
        f"--storage {url}: the driver {wrong.name} is not installed; "
        "for PostgreSQL: pip install 'drsearch[postgresql]'."
    )


def _no_database(url: str, wrong: BaseException) -> StudyError:
    if text := _why_no_file(_sqlite_file(url)):
        return StudyError(f"the study database cannot be opened: {text}")
    return StudyError(
        f"--storage {url}: no study database there ({first_line(wrong)}); "
        "write for example sqlite:////home/me/studies.db or postgresql://user@host/optuna."
    )


def _why_no_file(path: str) -> str:
    """The operating system's error for a database file that SQLite could not open; empty if there is none."""
    if not path:
        return ""
    is_new = not os.path.lexists(path)
    try:
        with open(path, "ab"):
            pass
        if is_new:
            os.unlink(path)
    except OSError as wrong:
        return fault(wrong)
    return ""


def _sqlite_file(url: str) -> str:
    """The file of a SQLite database; empty for any other database."""
    return url.removeprefix("sqlite:///").partition("?")[0] if url.startswith("sqlite:///") else ""


def _set_up_sqlite(engine: sqlalchemy.Engine) -> None:
    """Let a transaction on SQLite begin before its first read and hold the database to its end, at little cost.

    Python's driver begins one only at the first write. Two workers that look for a waiting trial would both read that
    it waits, and both take it: SQLite has no `SELECT ... FOR UPDATE`, with which Optuna prevents that elsewhere.
    Source: SQLAlchemy's manual on the SQLite dialect, "Serializable isolation / Savepoints / Transactional DDL".

    The rollback journal is overwritten, not deleted after every write: as safe, without creating and deleting a file
    each time. On ext4 the writes of a trial took 81 ms instead of 110, those of a process that only writes a sixth.
    Source: SQLite's manual, "PRAGMA journal_mode".
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = PERSIST").fetchall()

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections made before


def transaction(storage: Storage, study_name: str, body: Callable[[], T]) -> T:
    """Run `body` while no other process, on whatever machine, runs a transaction of the same study.

    Args:
        storage: The study database.
        study_name: The study.
        body: Repeated as a whole while the database does not answer. It must look at what an earlier try has written,
            since the answer to a write can be lost. On PostgreSQL, what it writes is there at its end, or not at all.

    Returns:
        The result of `body`.

    Raises:
        StorageAway: As `with_retries`.
    """

    def locked() -> T:
        with _study_lock(storage, study_name):
            return body()

    return with_retries(locked)


def delete_trials(storage: Storage, study_id: int) -> None:
    """Delete all trials of a study in one transaction; Optuna reads all that belongs to each of them first."""
    trials = TrialModel.__table__
    of_study = sqlalchemy.select(trials.c.trial_id).where(trials.c.study_id == study_id)
    with storage._backend.engine.begin() as connection:
        for table in reversed(TrialModel.metadata.sorted_tables):  # what refers to a trial before the trial
            if "trial_id" in table.c:
                connection.execute(sqlalchemy.delete(table).where(table.c.trial_id.in_(of_study)))


@contextmanager
def _all_on(connection: sqlalchemy.Connection, storage: Storage) -> Iterator[None]:
    """Let what this thread reads and writes belong to a transaction that has begun, whose end commits all of it.

    With a second connection beside that of the lock, workers that hold all connections of a server, and wait for the
    lock, would wait for ever: whoever has the lock could not write.
    """
    sessions = storage._backend.scoped_session
    sessions.remove()
    sessions(bind=connection, join_transaction_mode="create_savepoint")  # Optuna takes this thread's
    try:
        yield
    finally:
        sessions.remove()


@contextmanager
def _study_lock(storage: Storage, study_name: str) -> Iterator[None]:
    """Hold the lock of a study, which one process at a time can have; it goes with the process, however that ends.

    Raises:
        Exception: One for which `is_away` is true, if another process does not release the lock.
    """
    engine = storage._backend.engine
    if engine.dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(f"drsearch {study_name}".encode()).digest()[:8], "big", signed=True)
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_S}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({key})")
                with _all_on(connection, storage):
                    yield
        except BaseException:
            storage.forget()  # what was read of its own writes, which are undone
            raise
    elif engine.dialect.name == "sqlite" and engine.url.database:
        with open(f"{engine.url.database}.lock", "a") as file:
            deadline = time.monotonic() + _LOCK_S
            try:
                lock(file, give_up=lambda: time.monotonic() > deadline)
            except TimeoutError as wrong:
                raise Busy(f"{wrong}; is one of them stopped?") from None
            yield
    else:
        yield
