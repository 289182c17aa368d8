"""Does a study keep its head when its database is away, locked, or wrong?"""

import re
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
import sqlalchemy.exc
from absl import logging
from optuna.trial import TrialState
from services import DEBIANS_POOLER, HANG_S, Pooler, PostgresServer, when

from drsearch.errors import StudyError
from drsearch.trials import heartbeat as heartbeat_module
from drsearch.trials import retrying
from drsearch.trials.claim import claim
from drsearch.trials.heartbeat import Heartbeat, HeartbeatMonitor
from drsearch.trials.retrying import Storage, StorageAway, is_away, with_retries, without_retries
from drsearch.trials.storage import delete_trials, open_storage, transaction


@pytest.fixture
def logged_warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: texts.append(text % values))
    monkeypatch.setattr(retrying, "outage", retrying.Outage())  # which warns once an outage
    return texts


def test_a_new_database_is_made_with_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "studies.db"
    study = optuna.create_study(storage=open_storage(f"sqlite:///{file}"), study_name="s")
    study.enqueue_trial({"x": 1})
    again = optuna.load_study(storage=open_storage(f"sqlite:///{file}"), study_name="s")
    assert [trial.state.name for trial in again.trials] == ["WAITING"]


def test_another_process_that_writes_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "studies.db"
    study = optuna.create_study(storage=open_storage(f"sqlite:///{file}"), study_name="s")
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    done: list[str] = []

    def commit() -> None:
        done.append("the other process")
        other.execute("COMMIT")

    release = threading.Timer(1.0, commit)
    release.start()
    study.set_user_attr("a", 1)
    done.append("we")
    assert done == ["the other process", "we"]
    assert study.user_attrs == {"a": 1}
    release.join()
    other.close()


def test_a_database_that_is_away_is_asked_again_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, logged_warnings: list[str]
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(retrying.outage, "pause", lambda pause: pauses.append(pause))
    answers: list[Any] = [sqlalchemy.exc.OperationalError("SELECT", {}, Exception("server closed"))] * 8 + ["there"]

    def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    assert with_retries(ask) == "there"
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert logged_warnings == [
        "the study database does not answer; waiting ((builtins.Exception) server closed)",
    ]


def test_who_only_asks_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch, logged_warnings: list[str]) -> None:
    now = [0.0]
    monkeypatch.setattr(retrying.outage, "pause", lambda pause: now.__setitem__(0, now[0] + pause))
    monkeypatch.setattr(retrying.outage, "limit_s", 30.0)
    monkeypatch.setattr(heartbeat_module.time, "monotonic", lambda: now[0])

    def ask() -> None:
        raise sqlalchemy.exc.OperationalError("SELECT", {}, Exception("server closed"))

    with pytest.raises(StorageAway, match="the study database does not answer .*server closed"):
        with_retries(ask)
    assert len(logged_warnings) == 1


def test_a_database_that_may_not_be_written_is_not_waited_for() -> None:
    denied = sqlite3.OperationalError("attempt to write a readonly database")
    assert not is_away(sqlalchemy.exc.OperationalError("UPDATE", {}, denied))


def test_the_warning_names_the_cause_and_not_how_sqlalchemy_came_to_it(
    monkeypatch: pytest.MonkeyPatch, logged_warnings: list[str]
) -> None:
    monkeypatch.setattr(retrying.outage, "pause", lambda _: False)
    full = sqlalchemy.exc.OperationalError("INSERT", {}, Exception("database or disk is full"))
    full.add_detail("raised as a result of Query-invoked autoflush; consider using a session.no_autoflush block")
    answers: list[Any] = [full, "there"]

    def ask() -> str:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return str(answer)

    assert with_retries(ask) == "there"
    assert logged_warnings == [
        "the study database does not answer; waiting ((builtins.Exception) database or disk is full)",
    ]


def test_an_error_that_waiting_does_not_mend_is_raised_at_once() -> None:
    def ask() -> None:
        raise KeyError("no such study")

    with pytest.raises(KeyError, match="no such study"):
        with_retries(ask)


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch, logged_warnings: list[str]) -> Callable[[str, Any], list[int]]:
    """Lets the first answer of a call be lost after the call had its effect; counts the calls."""
    monkeypatch.setattr(retrying.outage, "pause", lambda _: False)

    def lose_an_answer(name: str, storage: Any) -> list[int]:
        call, calls = getattr(storage.optuna, name), []

        def lossy(*arguments: Any) -> Any:
            calls.append(len(calls))
            result = call(*arguments)
            if len(calls) == 1:
                raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("connection lost"))
            return result

        monkeypatch.setattr(storage.optuna, name, lossy)
        return calls

    return lose_an_answer


def test_what_a_trial_draws_and_reports_outlives_lost_answers(tmp_path: Path, flaky: Any) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    study = optuna.create_study(storage=storage, study_name="s", sampler=optuna.samplers.RandomSampler(seed=1))
    calls = [
        flaky(name, storage) for name in ("set_trial_param", "set_trial_user_attr", "set_trial_intermediate_value")
    ]
    trial = study.ask()
    drawn = {"x": trial.suggest_float("x", 0, 1), "y": trial.suggest_int("y", 0, 9)}
    trial.set_user_attr("a", 1)
    trial.report(0.5, 3)
    (stored,) = optuna.load_study(storage=open_storage(f"sqlite:///{tmp_path / 'studies.db'}"), study_name="s").trials
    assert (stored.params, stored.user_attrs, stored.intermediate_values) == (drawn, {"a": 1}, {3: 0.5})
    assert list(map(len, calls)) == [3, 2, 2]
    again = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()
    assert {"x": again.suggest_float("x", 0, 1), "y": again.suggest_int("y", 0, 9)} == drawn, "drawn as in peace"


def test_a_transaction_is_repeated_as_a_whole_and_its_calls_are_not(tmp_path: Path, flaky: Any) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    study = optuna.create_study(storage=storage, study_name="s")
    calls, begun = flaky("set_study_user_attr", storage), []

    def body() -> None:
        begun.append(study.user_attrs)
        study.set_user_attr("a", 1)

    transaction(storage, "s", body)
    assert begun == [{}, {"a": 1}] and len(calls) == 2


@pytest.mark.parametrize("name", ["create_new_trial", "set_trial_state_values"])
def test_a_call_that_a_lost_answer_makes_ambiguous_is_not_repeated(tmp_path: Path, flaky: Any, name: str) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    study = optuna.create_study(storage=storage, study_name="s")
    trial = study.ask()
    calls = flaky(name, storage)
    with pytest.raises(sqlalchemy.exc.OperationalError):
        study.ask() if name == "create_new_trial" else study.tell(trial, 0.5)
    assert len(calls) == 1
    if name == "set_trial_state_values":
        with_retries(lambda: study.tell(trial, 0.5, skip_if_finished=True))
        assert study.trials[0].value == 0.5


def test_a_call_may_ask_not_to_wait(tmp_path: Path, flaky: Any, logged_warnings: list[str]) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    study = optuna.create_study(storage=storage, study_name="s")
    calls = flaky("get_study_user_attrs", storage)
    with pytest.raises(sqlalchemy.exc.OperationalError), without_retries():
        _ = study.user_attrs
    assert len(calls) == 1 and not logged_warnings


def test_a_heartbeat_goes_on_after_a_database_error_and_ends_with_its_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        """A database that does not answer the first beat."""

        def __init__(self) -> None:
            self.beats: list[int] = []
            self.three = threading.Event()

        def record_heartbeat(self, trial_id: int) -> None:
            self.beats.append(trial_id)
            if len(self.beats) == 1:
                raise sqlalchemy.exc.OperationalError("INSERT", {}, Exception("away"))
            if len(self.beats) == 3:
                self.three.set()

    monkeypatch.setattr(heartbeat_module, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(logging, "log_every_n_seconds", lambda *_: None)
    database = Away()
    with Heartbeat(database, 7):
        assert database.three.wait(HANG_S)
    n_beats = len(database.beats)
    time.sleep(0.05)
    assert set(database.beats) == {7} and len(database.beats) == n_beats


def test_a_heartbeat_is_seen_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat_module, "HEARTBEAT_S", 0.05)
    storage = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    study = optuna.create_study(storage=storage, study_name="s")
    study.enqueue_trial({})
    trial = study.get_trials()[0]

    def last_beat() -> str | None:
        with sqlite3.connect(tmp_path / "studies.db") as database:
            rows = database.execute("SELECT heartbeat FROM trial_heartbeats").fetchall()
        database.close()
        return rows[0][0] if rows else None

    with Heartbeat(storage, trial._trial_id):
        when(last_beat, "a heartbeat")


def test_a_bug_that_optuna_wraps_as_its_own_is_no_outage() -> None:
    away, bug = (optuna.exceptions.StorageInternalError("An exception is raised during the commit.") for _ in range(2))
    away.__cause__ = sqlalchemy.exc.OperationalError("SELECT", {}, Exception("server closed"))
    bug.__cause__ = sqlalchemy.exc.DataError("INSERT", {}, Exception("value too long"))
    assert is_away(away)
    assert not is_away(bug)


def test_a_trial_is_silent_by_seconds_of_looking_whatever_clocks_say(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(heartbeat_module.time, "monotonic", lambda: now[0])
    monitor = HeartbeatMonitor()

    def look(seconds: float, beat: str) -> bool:
        now[0] += seconds
        return 1 in monitor.silent({1: beat})

    assert not look(5, "12:00:00")
    assert not look(5, "13:00:00"), "the database's clock was set forward"
    assert not look(5, "11:00:00"), "and back"
    assert not look(100_000, "11:00:00"), "this machine slept, or the database was away"
    assert [look(5, "11:00:00") for _ in range(23)] == [False] * 22 + [True]
    assert not look(5, "11:00:10"), "a sign of life"


def test_one_process_at_a_time_runs_a_transaction_of_a_study(tmp_path: Path) -> None:
    storages = [open_storage(f"sqlite:///{tmp_path / 'studies.db'}") for _ in range(2)]
    inside: list[int] = []

    def enter(number: int) -> None:
        def alone() -> None:
            inside.append(number)
            time.sleep(0.002)
            assert inside.pop() == number and not inside

        for _ in range(20):
            transaction(storages[number], "s", alone)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not inside


def test_a_process_that_was_stopped_within_a_transaction_keeps_nobody_waiting(postgresql: Any) -> None:
    storage = open_storage(postgresql.database())
    study = optuna.create_study(storage=storage, study_name="s")
    study.enqueue_trial({})
    engine = storage._backend.engine
    with engine.connect() as stopped:
        assert stopped.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "1min"
        stopped.exec_driver_sql("SET idle_in_transaction_session_timeout = '1s'")
        stopped.exec_driver_sql("SELECT * FROM trials FOR UPDATE")
        assert storage.set_trial_state_values(study.trials[0]._trial_id, state=optuna.trial.TrialState.RUNNING)
        with pytest.raises(sqlalchemy.exc.DBAPIError) as lost:
            stopped.exec_driver_sql("SELECT 1")
        assert is_away(lost.value)
        stopped.invalidate()
    engine.dispose()


def run_trials(storage: Storage, n: int) -> list[int]:
    """Take trials of the study `s` and end them until none is left; their numbers."""
    study, numbers = optuna.load_study(study_name="s", storage=storage), []
    while claimed := claim(study, storage, n):
        with_retries(lambda trial=claimed[1]: study.tell(trial.number, 0.5))  # type: ignore[misc]
        numbers.append(claimed[0])
    return numbers


def test_workers_that_have_all_connections_of_a_server_do_not_wait_for_each_other_for_ever(
    postgresql: PostgresServer,
) -> None:
    url, n = postgresql.database(), 4
    role = f"w{uuid.uuid4().hex}"
    server = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
        connection.exec_driver_sql(f"ALTER SCHEMA public OWNER TO {role}")
        storages = [open_storage(url.replace("postgres@", f"{role}@")) for _ in range(n)]  # each keeps its connection
        connection.exec_driver_sql(f"ALTER ROLE {role} CONNECTION LIMIT {n}")
    optuna.create_study(storage=storages[0], study_name="s")
    with ThreadPoolExecutor(n) as workers:
        numbers = [
            number for found in workers.map(lambda storage: run_trials(storage, 12), storages) for number in found
        ]
    assert sorted(numbers) == list(range(12))
    for storage in storages:
        storage._backend.engine.dispose()


def test_a_transaction_whose_connection_dies_is_repeated_as_a_whole(postgresql: PostgresServer) -> None:
    url = postgresql.database()
    storage, tries = open_storage(url), []
    study = optuna.create_study(storage=storage, study_name="s")

    def body() -> int:
        trial_id: int = storage.create_new_trial(study._study_id)
        tries.append(trial_id)
        if len(tries) == 1:
            end_connections(url)
        storage.set_trial_user_attr(trial_id, "a", 1)
        return trial_id

    assert transaction(storage, "s", body) == tries[1]
    assert [(trial._trial_id, trial.user_attrs) for trial in study.trials] == [(tries[1], {"a": 1})]
    storage._backend.engine.dispose()


def test_what_was_read_in_a_transaction_that_was_undone_is_read_again(postgresql: PostgresServer) -> None:
    url = postgresql.database()
    storage, states = open_storage(url), []
    study = optuna.create_study(storage=storage, study_name="s")
    trial_id = study.ask()._trial_id

    def body() -> None:
        states.append(study.trials[0].state)
        storage.set_trial_state_values(trial_id, state=TrialState.FAIL)
        assert study.trials[0].state is TrialState.FAIL  # Optuna keeps trials that have ended
        if len(states) == 1:
            end_connections(url)

    transaction(storage, "s", body)
    assert states == [TrialState.RUNNING] * 2
    storage.forget()
    assert study.trials[0].state is TrialState.FAIL
    storage._backend.engine.dispose()


def end_connections(url: str) -> None:
    """Kill the only connection to a database."""
    server = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
        assert connection.exec_driver_sql(f"SELECT pg_terminate_backend(pid) {others}").scalars().all() == [True]


def test_a_worker_that_trains_holds_no_connection(postgresql: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat_module, "HEARTBEAT_S", 0.1)
    url = postgresql.database()
    storage = open_storage(url)
    study = optuna.create_study(storage=storage, study_name="s")
    trial_id = study.ask()._trial_id
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, Heartbeat(storage, trial_id):
        asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
        when(lambda: connection.exec_driver_sql(asked).scalar_one() == 0, "its connections to be closed")
    assert heartbeat_module.heartbeats(storage, [trial_id])[trial_id]
    engine.dispose()
    storage._backend.engine.dispose()


@pytest.mark.parametrize("url", ["postgresql:/optuna", "postgresql://host:port/optuna", "postgresql+nosuch://h/optuna"])
def test_what_is_no_address_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(
        StudyError, match=rf"^--storage {re.escape(url)}: no study database there \(.*\); write for exam"
    ):
        open_storage(url)


@pytest.fixture
def pooler(postgresql: PostgresServer) -> Iterator[Pooler]:
    if shutil.which("pgbouncer") is None and not Path(DEBIANS_POOLER).exists():
        pytest.skip("no PgBouncer on this machine: no study was tried through a pooler (apt-get install pgbouncer)")
    pooler = Pooler(postgresql, 2)
    yield pooler
    pooler.close()


def test_a_pooler_may_give_every_transaction_to_another_connection(postgresql: PostgresServer, pooler: Pooler) -> None:
    url = pooler.url(postgresql.database())
    storages = [open_storage(url) for _ in range(3)]
    optuna.create_study(storage=storages[0], study_name="s")
    with ThreadPoolExecutor(3) as workers:
        numbers = [
            number for found in workers.map(lambda storage: run_trials(storage, 30), storages) for number in found
        ]
    assert sorted(numbers) == list(range(30))
    for storage in storages:
        storage._backend.engine.dispose()


def test_a_command_that_begins_while_its_database_is_away_ends_at_once() -> None:
    with pytest.raises(StudyError, match=r"^--storage postgresql://ann@127.0.0.1:1/optuna: no study database there \("):
        open_storage("postgresql://ann@127.0.0.1:1/optuna")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/studies.db"
    return str(request.getfixturevalue("postgresql").database())


def test_deleting_the_trials_of_a_study_leaves_nothing_of_them_and_all_of_other_studies(url: str) -> None:
    storage = open_storage(url)
    for name in ("gone", "kept"):
        study = optuna.create_study(storage=storage, study_name=name)
        for _ in range(2):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            trial.report(0.5, 1)
            trial.set_user_attr("a", 1)
            storage.record_heartbeat(trial._trial_id)
            study.tell(trial, 0.5)
    engine = storage._backend.engine
    before = rows_by_table(engine)
    delete_trials(storage, storage.get_study_id_from_name("gone"))
    of_trials = {table for table in before if table == "trials" or table.startswith("trial_")}
    assert {table for table, n in before.items() if n} >= of_trials - {"trial_system_attributes"}
    halved = {table: n // 2 if table in of_trials else n for table, n in before.items()}
    assert rows_by_table(engine) == halved
    engine.dispose()
    again = open_storage(url)
    assert [trial.params for trial in optuna.load_study(study_name="gone", storage=again).trials] == []
    kept = optuna.load_study(study_name="kept", storage=again).trials
    assert [(set(trial.params), trial.value, trial.user_attrs) for trial in kept] == 2 * [({"x"}, 0.5, {"a": 1})]
    again._backend.engine.dispose()


def rows_by_table(engine: sqlalchemy.Engine) -> dict[str, int]:
    with engine.connect() as connection:
        names = sqlalchemy.inspect(connection).get_table_names()
        return {name: connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one() for name in names}
