"""Do processes that do the same thing at once lose or double a trial? Two launchers, many openers, clocks that jump."""

import fcntl
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from harness import RATES, Bench, space_of
from services import HANG_S, when
from warm import Command

from drsearch.trials.storage import open_storage
from drsearch.trials.trials import read_trials

pytestmark = pytest.mark.faults

OPEN_AND_CLAIM = """
import fcntl
import sys
import optuna
from drsearch.trials.claim import claim
from drsearch.trials.storage import open_storage

fcntl.flock(open(sys.argv[2]), fcntl.LOCK_SH)  # all at once
storage = open_storage(sys.argv[1])
study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
while (claimed := claim(study, storage, 12)) is not None:
    print(claimed[0], flush=True)
    study.tell(claimed[1].number, 0.5)
"""


def test_two_launchers_and_a_clock_that_jumps_lose_and_double_no_trial(
    bench: Bench, postgresql: Any, peace: Any
) -> None:
    bench.storage_url = postgresql.database()
    study = bench.study("two", space_of(RATES))
    bench.holds.hold((0, 2), (1, 2))
    launchers = [study.start(workers=1), study.start(workers=1)]
    when(lambda: bench.holds.reached((0, 2), (1, 2)), "both to train")
    engine = sqlalchemy.create_engine(bench.storage_url)
    for way in ("-", "+"):  # as if the database's clock had been set by an hour
        with engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE trial_heartbeats SET heartbeat = heartbeat {way} interval '1 hour'")
    engine.dispose()
    study.release()
    assert [study.end(launcher) for launcher in launchers] == [peace["told"], peace["told"]]
    assert study.curves() == peace["curves"]
    assert [len(trial.attempts) for trial in read_trials(study.optuna())] == [1, 1, 1]
    study.accounted_for()
    study.nothing_runs()


def test_two_launchers_that_end_at_once_register_one_version_and_evaluate_on_the_test_split_once(bench: Bench) -> None:
    bench.folder.joinpath("both.py").write_text(space_of(RATES[:1], {"training.epochs": 6}))
    launchers = [bench.start("run-study", "both.py", "--data", str(bench.eyes), "--json") for _ in range(2)]
    ended = [(*launcher.communicate(timeout=HANG_S), launcher.returncode) for launcher in launchers]
    assert [code for *_, code in ended] == [0, 0], [said for _, said, _ in ended]
    models = [json.loads(told)["model"] for told, *_ in ended]
    assert models[0] == models[1]
    assert [int(version.version) for version in bench.client().search_model_versions()] == [1]
    (evaluations,) = bench.home.test_evaluations.glob("*.jsonl")
    assert len(evaluations.read_text().splitlines()) == 1


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_empty_database_that_many_open_at_once_gets_every_trial_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    if kind == "postgresql":
        url = request.getfixturevalue("postgresql").database()
    with open(tmp_path / "gate", "w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        program = [sys.executable, "-c", OPEN_AND_CLAIM, url, gate.name]
        openers = [Command(program, os.environ, tmp_path) for _ in range(6)]
    ended = [(opener.communicate(timeout=HANG_S), opener.returncode) for opener in openers]
    assert [code for _, code in ended] == [0] * 6, [said for (_, said), _ in ended]
    claimed = [int(number) for (told, _), _ in ended for number in told.split()]
    assert sorted(claimed) == list(range(12))
    storage = open_storage(url)
    assert len(optuna.load_study(study_name="s", storage=storage).trials) == 12
    storage._backend.engine.dispose()


def test_a_process_holds_one_connection_to_a_server_however_many_of_its_threads_asked(postgresql: Any) -> None:
    url = postgresql.database()
    storage = open_storage(url)
    study = optuna.create_study(storage=storage, study_name="s")
    together = threading.Barrier(4)

    def ask() -> None:
        with storage._backend.engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
            together.wait(HANG_S)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    study.ask()
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
        when(lambda: connection.exec_driver_sql(asked).scalar_one() == 1, "the others to be closed")
    storage._backend.engine.dispose()
