"""What becomes of a study when its workers, its launcher or its sender die, or stand still? Real signals."""

import os
import signal
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from harness import RATES, Bench, RunningStudy, kill, space_of
from services import HANG_S, when

from drsearch.study.reconcile import reconcile_study
from drsearch.trials import heartbeat as heartbeat_module
from drsearch.trials.heartbeat import HeartbeatMonitor
from drsearch.trials.reconcile import reconcile
from drsearch.trials.trials import read_trials

pytestmark = pytest.mark.faults

IN_A_TRIAL = """
import traceback


def in_a_trial():
    return any(frame.f_code.co_name == "_run_trial" for frame, _ in traceback.walk_stack(None))
"""

TROUBLES = """
import os
import resource

import psutil

SETTINGS = {settings}


def space(hp):
    rate = hp.Choice("training.learning_rate", [3e-3, 2e-3, 10.0, 1e-4])
    if rate == 10.0:  # grows past every number in an epoch or two
        hp.Fixed("training.optimizer", "sgd")
        hp.Fixed("training.weight_decay", 1.0)
    if rate == 1e-4:
        hp.Fixed("model.width", 1024)
        hp.Fixed("model.stages", 6)
    if in_a_trial():
        if rate == 2e-3:
            os.kill(os.getpid(), 9)
        room = psutil.Process().memory_info().vms + 400 * 2**20 if rate == 1e-4 else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
"""

A_BUG = """
SETTINGS = {settings}


def space(hp):
    rate = hp.Choice("training.learning_rate", [3e-3, 1e-3, 3e-4])
    if rate == 1e-3 and in_a_trial():
        rate["no such thing"]
"""

DEADLY = """
import os
import sys

SETTINGS = {settings}


def space(hp):
    hp.Choice("training.learning_rate", [3e-3, 1e-3])
    if sys.argv[0].endswith("worker.py"):
        os.kill(os.getpid(), 9)
"""


def test_a_killed_workers_trial_goes_on_from_its_checkpoint_in_the_same_run(bench: Bench, peace: Any) -> None:
    study = bench.study("killed", space_of(RATES))
    launcher = study.start_held((0, 4))
    when(lambda: study.has_run(0), "the first trial in MLflow", launcher)
    run_id = study.runs()["0"].info.run_id
    kill(study.sender(launcher))
    kill(study.worker_of(0))
    study.release()
    told = study.end(launcher)
    assert told == peace["told"]
    assert study.curves() == peace["curves"]
    assert study.runs()["0"].info.run_id == run_id
    study.accounted_for()
    study.nothing_runs()
    assert "the process that sends to MLflow was killed; another goes on" in study.said.read_text()
    trial = read_trials(study.optuna())[0]
    assert [attempt.user_attrs.get("drsearch.reason") for attempt in trial.attempts] == ["its process died", None]
    assert "resumes after epoch 4" in study.logs()


def test_a_worker_that_was_slow_and_comes_back_stops_and_writes_nothing(
    bench: Bench, postgresql: Any, peace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.storage_url = postgresql.database()  # SQLite's one lock would keep all waiting, were it stopped within
    study = bench.study("slow", space_of(RATES))
    launcher = study.start_held((0, 4))
    slow = study.worker_of(0)
    os.kill(slow.pid, signal.SIGSTOP)
    study.release()
    give_away(study, 0, monkeypatch)
    ended = study.trial_folder(0) / "outcome.json"
    passing = ("checkpoint", "staging")  # what the end of a trial takes away, after it is written
    when(lambda: ended.exists() and not any((ended.parent / each).exists() for each in passing),
         "another worker to end the trial")  # fmt: skip
    before = contents(study.trial_folder(0))
    os.kill(slow.pid, signal.SIGCONT)
    when(lambda: "trial 0 was given to another worker; this one lets it go" in study.logs(), "the slow one to let go")
    assert contents(study.trial_folder(0)) == before
    assert study.end(launcher) == peace["told"]
    assert study.curves() == peace["curves"]
    study.accounted_for()
    study.nothing_runs()


def give_away(study: RunningStudy, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the two minutes pass in which a trial gives no sign of life, for this trial alone."""
    monkeypatch.setattr(heartbeat_module, "GRACE_S", 1.0)
    known, monitor = study.optuna(), HeartbeatMonitor()
    trial_id = read_trials(known)[number].last._trial_id

    def silent(beats: dict[int, str]) -> set[int]:
        return monitor.silent({each: beat for each, beat in beats.items() if each == trial_id})

    when(lambda: len(reconcile(known, known._storage, silent)[number].attempts) == 2, "the trial to be given away")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name != "sent.json"}  # fmt: skip


def test_trials_that_cannot_be_run_fail_with_their_reason_and_the_study_goes_on(bench: Bench) -> None:
    study = bench.study("troubles", IN_A_TRIAL + TROUBLES.format(settings=settings()))
    told = study.run(workers=2)
    states = {number: (attempt["state"], attempt["reason"]) for number, attempt in told["trials"].items()}
    assert {number: state for number, (state, _) in states.items()} == {
        "0": "complete",
        "1": "failed",
        "2": "failed",
        "3": "failed",
    }
    assert states["1"][1] == "its process died 3 times, perhaps because memory ran out"
    assert states["2"][1].startswith("the loss is ") and states["2"][1].endswith(
        "; a smaller training.learning_rate than 10.0 may help"
    )
    assert states["3"][1] == "memory does not suffice for the model; a smaller one may fit"
    trials = read_trials(study.optuna())
    assert len(trials[1].attempts) == 3
    runs = study.runs()
    for number, (state, reason) in states.items():
        tags = runs[number].data.tags
        assert (tags["drsearch.outcome"], tags["drsearch.reason"]) == (state, reason)
        assert runs[number].info.status == ("FINISHED" if state == "complete" else "FAILED")
        assert trials[int(number)].last.user_attrs.get("drsearch.reason", "") == reason
    study.accounted_for()
    study.nothing_runs()


def settings() -> dict[str, Any]:
    scope: dict[str, Any] = {}
    exec(space_of(RATES), scope)
    return dict(scope["SETTINGS"])


def test_an_error_in_the_spaces_code_stops_the_study_and_its_line_is_named(bench: Bench) -> None:
    study = bench.study("bug", IN_A_TRIAL + A_BUG.format(settings=settings()))
    launcher = study.start(workers=1)
    launcher.communicate(timeout=HANG_S)
    assert launcher.returncode == 2
    text = study.said.read_text().splitlines()[-1]
    assert text.startswith("drsearch: a worker of study 'bug' ended, so the study stops: ")
    assert text.endswith("""`rate["no such thing"]`, raises TypeError: 'float' object is not subscriptable.""")
    assert [trial.state for trial in read_trials(study.optuna())] == [
        "complete",
        "waiting",
    ]  # nobody has taken the third
    study.nothing_runs()


def test_a_fault_of_the_file_system_in_a_worker_stops_the_study_with_one_sentence(bench: Bench) -> None:
    study = bench.study("in_the_way", space_of(RATES, {"training.epochs": 4}))
    launcher = study.start(workers=1)
    when(lambda: study.epochs(0) >= 1, "an epoch of the first trial")
    study.trial_folder(2).write_text("a file where its folder must be")
    launcher.communicate(timeout=200)
    assert launcher.returncode == 2
    said = study.said.read_text().splitlines()[-1]
    assert said.startswith(
        f"drsearch: a worker of study 'in_the_way' ended, so the study stops: {study.trial_folder(2)}"
    )
    assert "a file where a folder must be" in said
    assert "Traceback" not in study.logs() + study.said.read_text()
    study.trial_folder(2).unlink()
    assert [trial["state"] for trial in study.run(workers=1)["trials"].values()] == ["complete"] * 3


def test_workers_that_die_before_they_take_a_trial_stop_the_study(bench: Bench) -> None:
    study = bench.study("deadly", DEADLY.format(settings=settings()))
    launcher = study.start(workers=1)
    launcher.communicate(timeout=HANG_S)
    assert launcher.returncode == 2
    said = study.said.read_text().splitlines()[-1]
    assert said.startswith(
        "drsearch: 3 workers of study 'deadly' in a row were killed (SIGKILL) before they took a trial"
    )
    study.nothing_runs()


def test_a_killed_launcher_leaves_nothing_running_once_asked_and_a_study_that_goes_on(bench: Bench, peace: Any) -> None:
    study = bench.study("orphaned", space_of(RATES))
    launcher = study.start_held((0, 4), (1, 2))
    when(lambda: study.has_run(0), "the first trial in MLflow", launcher)
    workers, sender = study.workers(launcher), study.sender(launcher)
    for process in (sender, *workers, psutil.Process(launcher.pid)):  # a machine that goes down
        kill(process)
    launcher.communicate()
    study.release()
    psutil.wait_procs([*workers, sender], timeout=HANG_S)
    assert "RUNNING" in {run.info.status for run in study.runs().values()}

    trials = reconcile_study(bench.home, study.optuna()._storage, "orphaned")
    assert {trial.state for trial in trials} == {"waiting"}
    study.nothing_runs()
    runs = study.runs()
    assert (runs["study"].info.status, runs["study"].data.tags["drsearch.reason"]) == ("KILLED", "its launcher died")
    assert (runs["0"].info.status, runs["0"].data.tags["drsearch.outcome"]) == ("KILLED", "interrupted")
    assert optuna.trial.TrialState.RUNNING not in {attempt.state for attempt in study.optuna().trials}

    assert study.run(workers=1) == peace["told"]
    assert study.curves() == peace["curves"]
    assert {run.info.status for run in study.runs().values()} == {"FINISHED"}
    study.accounted_for()
