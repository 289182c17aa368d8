"""What becomes of a study while its database or MLflow is away? Real servers that stop, and start again."""

import signal
import sqlite3
import time
from collections import Counter
from typing import Any

import pytest
from harness import RATES, Bench, children, kill, space_of
from services import HANG_S, when

from drsearch.trials.trials import read_trials

pytestmark = pytest.mark.faults

PLANTED = "pl4nted-Secret"
"""A password that nothing may show."""

AWAY = "the study database does not answer; waiting"
MLFLOW_AWAY = "runs go on, and are sent when it is back"


def test_a_database_that_is_away_is_waited_for_by_workers_and_launcher(
    bench: Bench, postgresql: Any, peace: Any
) -> None:
    bench.storage_url = postgresql.database()
    study = bench.study("database", space_of(RATES))
    launcher = study.start_held((0, 4), (1, 2))
    postgresql.stop("immediate")
    study.release()
    when(lambda: AWAY in study.said.read_text() and AWAY in study.logs(), "launcher and workers to notice", launcher)
    time.sleep(2)  # they ask again meanwhile, and say nothing more
    assert launcher.poll() is None
    postgresql.start()
    assert study.end(launcher) == peace["told"]
    assert study.curves() == peace["curves"]
    study.accounted_for()
    study.nothing_runs()
    assert study.said.read_text().count(AWAY) == 1
    assert study.logs().count(AWAY) <= 2  # one a worker
    assert not any(trial.deaths for trial in read_trials(study.optuna()))


def test_a_database_that_is_away_does_not_keep_ctrl_c_waiting(bench: Bench, postgresql: Any, peace: Any) -> None:
    bench.storage_url = postgresql.database()
    study = bench.study("unheard", space_of(RATES))
    launcher = study.start_held((0, 2), workers=1)
    postgresql.stop()
    study.release()
    when(lambda: AWAY in study.said.read_text(), "the launcher to notice", launcher)
    launcher.send_signal(2)
    told, _ = launcher.communicate(timeout=HANG_S)
    assert '"stopped": "interrupted"' in told
    postgresql.start()
    assert study.run(workers=1) == peace["told"]
    assert study.curves() == peace["curves"]
    study.nothing_runs()


def test_a_sender_that_dies_as_workers_stop_does_not_keep_a_closed_terminal_waiting(
    bench: Bench, postgresql: Any, mlflow_server: Any, peace: Any
) -> None:
    bench.storage_url = postgresql.database().replace("postgres@", f"postgres:{PLANTED}@")  # it takes everyone in,
    bench.tracking_uri = mlflow_server.url.replace("://", f"://ann:{PLANTED}@")  # and so does this
    study = bench.study("unsent", space_of(RATES))
    launcher = study.start_held((0, 2), workers=1)
    when(lambda: study.has_run(0), "the trial in MLflow", launcher)
    for sender in children(launcher, "drsearch.tracking.sender"):
        kill(sender)
    launcher.send_signal(signal.SIGHUP)  # a terminal that is closed, and its shell, each send one
    launcher.send_signal(signal.SIGHUP)
    told, _ = launcher.communicate(timeout=HANG_S)
    study.release()
    assert '"stopped": "interrupted"' in told
    logs = "".join(path.read_text() for path in bench.home.runs.glob("unsent-*/workers/*.log"))
    assert "has not reached MLflow" not in logs, "it waited for a sender until its patience was over"
    assert study.run(workers=1) == peace["told"]
    assert study.curves() == peace["curves"]
    study.nothing_runs()
    kept = [path for path in bench.folder.rglob("*") if path.is_file() and PLANTED.encode() in path.read_bytes()]
    assert not kept, "a file shows the password of an address"
    assert PLANTED.encode() not in mlflow_server.database.read_bytes()
    optuna = study.optuna()
    assert PLANTED not in f"{optuna.user_attrs} {[(trial.user_attrs, trial.params) for trial in optuna.trials]}"


def test_mlflow_that_is_away_is_sent_everything_exactly_once(bench: Bench, mlflow_server: Any, peace: Any) -> None:
    bench.tracking_uri = mlflow_server.url
    study = bench.study("outage", space_of(RATES))
    bench.holds.hold((0, 6))
    launcher = study.start_held((0, 2))
    when(lambda: study.has_run(0), "the first trial in MLflow", launcher)
    mlflow_server.stop()
    bench.holds.release((0, 2))
    when(lambda: MLFLOW_AWAY in study.said.read_text(), "the sender to notice", launcher)
    when(lambda: bench.holds.reached((0, 6)), "the training to go on", launcher)
    mlflow_server.start(wait=False)
    time.sleep(1)
    mlflow_server.stop()  # while it starts, or while it is sent to
    study.release()
    told = study.end(launcher)
    assert told == peace["told"]
    said = study.said.read_text()
    assert said.count(MLFLOW_AWAY) == 1 + said.count("MLflow is back")
    assert said.splitlines()[-1].endswith(
        "not everything has reached MLflow yet; `drsearch sync` on this machine sends it"
    )
    assert "Traceback" not in said

    away = bench.command("sync")
    assert away.returncode == 2 and "Traceback" not in away.stderr
    assert away.stderr.splitlines()[-1] == (
        f"drsearch: MLflow at {mlflow_server.url} does not answer: connection refused; "
        "start it, or set MLFLOW_TRACKING_URI to the address of another."
    )
    mlflow_server.start()
    done = bench.command("sync")
    assert done.returncode == 0, done.stderr
    assert bench.command("sync").stdout == f"0 events sent to {mlflow_server.url}\n"
    assert study.curves() == peace["curves"]
    assert {run.info.status for run in study.runs().values()} == {"FINISHED"}
    points = sqlite3.connect(mlflow_server.database)
    found = points.execute("SELECT run_uuid, key, step FROM metrics WHERE run_uuid IN "
                           "(SELECT run_uuid FROM runs r JOIN experiments e ON e.experiment_id = r.experiment_id "
                           "WHERE e.name = 'outage')").fetchall()  # fmt: skip
    points.close()
    assert set(Counter(found).values()) == {1}
