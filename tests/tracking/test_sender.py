import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import warm
from memory_tracker import MemoryTracker
from services import HANG_S, when

from drsearch.home import Home
from drsearch.tracking.events import DatasetInput, Event, Metrics, RunEnd, RunStart
from drsearch.tracking.journal import Journal
from drsearch.tracking.mlflow_tracker import MlflowTracker
from drsearch.tracking.sender import JournalSender, sender_lock, start_sender
from drsearch.tracking.sender import sync as send_to_mlflow
from drsearch.tracking.sent import run_id_of, unsent, why_unsent
from drsearch.tracking.tracker import Tracker, TrackerUnavailable

See = Callable[[str], Any]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def journal_of(home: Home, run: str = "trial-0") -> Journal:
    return Journal(home.runs / "study" / run)


def start(run: str = "trial-0") -> RunStart:
    return RunStart(
        key=f"study/{run}",
        experiment="study",
        name=run,
        params={"training.seed": 0},
        started_ms=1,
        dataset=DatasetInput("eyes", "0123", "/eyes"),
    )


def epochs(first: int, last: int, at_ms: int = 0) -> list[Event]:
    return [Metrics(epoch, {"loss": 1 / epoch}, at_ms + epoch) for epoch in range(first, last + 1)]


def sent_run(home: Home, see: See, run: str = "trial-0") -> Any:
    run_id = run_id_of(journal_of(home, run).folder)
    assert run_id is not None
    return see(run_id)


def test_a_journal_arrives_as_it_grows(home: Home, tracker: Tracker, see: See) -> None:
    journal = journal_of(home)
    assert JournalSender(home, tracker).send_new() == 0
    journal.append([start(), *epochs(1, 2)])
    assert run_id_of(journal.folder) is None
    assert JournalSender(home, tracker).send_new() == 3
    journal.append([*epochs(3, 3), RunEnd("FINISHED", 9)])
    assert JournalSender(home, tracker).send_new() == 2
    assert JournalSender(home, tracker).send_new() == 0
    seen = sent_run(home, see)
    assert [step for step, _, _ in seen.points["loss"]] == [1, 2, 3]
    assert seen.status == "FINISHED"
    assert unsent(home) == []


def test_one_sender_sends_many_runs_and_each_entry_once(home: Home, tracker: Tracker, see: See) -> None:
    sender = JournalSender(home, tracker)
    for epoch in range(1, 4):
        for run in ("trial-0", "trial-1"):
            journal = journal_of(home, run)
            journal.append([start(run)] if epoch == 1 else [])
            journal.append(epochs(epoch, epoch))
        assert sender.send_new() == (4 if epoch == 1 else 2)
    assert sent_run(home, see, "trial-0").points == sent_run(home, see, "trial-1").points


def test_a_lost_note_of_what_was_sent_doubles_nothing(home: Home, tracker: Tracker, see: See) -> None:
    journal = journal_of(home)
    journal.append([start(), *epochs(1, 3), RunEnd("FINISHED", 9)])
    JournalSender(home, tracker).send_new()
    once, run_id = sent_run(home, see), run_id_of(journal.folder)
    (journal.folder / "sent.json").unlink()
    JournalSender(home, tracker).send_new()
    assert run_id_of(journal.folder) == run_id
    assert sent_run(home, see) == once


@pytest.mark.parametrize("drained_while_short", [True, False])
def test_a_journal_that_lost_lines_and_has_them_again_doubles_no_point(
    home: Home, tracker: Tracker, see: See, drained_while_short: bool
) -> None:
    journal = journal_of(home)
    journal.append([start(), *epochs(1, 2)])
    before = journal.size()
    journal.append(epochs(3, 4))
    JournalSender(home, tracker).send_new()
    os.truncate(journal.path, before)
    assert unsent(home) == [journal.folder]
    if drained_while_short:
        JournalSender(home, tracker).send_new()
    journal.append([*epochs(3, 6), RunEnd("FINISHED", 200_000)])
    assert unsent(home) == [journal.folder]
    JournalSender(home, tracker).send_new()
    seen = sent_run(home, see)
    assert seen.points["loss"] == [(e, 1 / e, e) for e in range(1, 7)]
    assert seen.status == "FINISHED"
    assert unsent(home) == []


@pytest.mark.parametrize("reason", ["", "x" * 5000], ids=["shorter", "longer"])
def test_the_end_of_a_run_arrives_though_it_stands_in_place_of_lines_that_were_sent(
    home: Home, tracker: Tracker, see: See, reason: str
) -> None:
    journal = journal_of(home)
    journal.append([start(), *epochs(1, 1)])
    before = journal.size()
    journal.append(epochs(2, 40))
    JournalSender(home, tracker).send_new()
    os.truncate(journal.path, before)
    journal.append([RunEnd("KILLED", 9, {"drsearch.ended": f"interrupted {reason}"})])
    JournalSender(home, tracker).send_new()
    seen = sent_run(home, see)
    assert seen.status == "KILLED"
    assert [step for step, _, _ in seen.points["loss"]] == list(range(1, 41))


def test_a_torn_last_line_waits_for_its_writer(home: Home, tracker: Tracker, see: See) -> None:
    journal = journal_of(home)
    journal.append([start(), *epochs(1, 1)])
    with open(journal.path, "ab") as file:
        file.write(b'{"event": "Metr')
    assert JournalSender(home, tracker).send_new() == 2
    assert unsent(home) == []
    journal.append(epochs(2, 2))
    assert JournalSender(home, tracker).send_new() == 1


def test_a_journal_that_cannot_be_read_is_named_and_keeps_no_other_waiting(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = journal_of(home, "a"), journal_of(home, "b")
    bad.append(epochs(1, 1))
    good.append([start("b")])
    sender = JournalSender(home, MemoryTracker())
    assert sender.send_new() == 1
    assert sender.send_new() == 0
    assert [record.getMessage() for record in caplog.records] == [
        f"{bad.folder} stays unsent: {bad.path} does not begin with a RunStart."
    ]


class TrackerWithOutages(MemoryTracker):
    """Away while `away`; a batch that it began to take may be half there."""

    away = False

    def send(self, run_id: str, events: Sequence[Event], folder: Path) -> None:
        if self.away:
            super().send(run_id, events[: len(events) // 2], folder)
            raise TrackerUnavailable("MLflow does not take it: no connection")
        super().send(run_id, events, folder)


def test_nothing_is_lost_or_doubled_when_the_tracker_goes_away_in_the_middle(home: Home) -> None:
    tracker = TrackerWithOutages()
    journal = journal_of(home)
    journal.append([start(), *epochs(1, 2)])
    sender = JournalSender(home, tracker)
    sender.send_new()
    tracker.away = True
    journal.append(epochs(3, 8))
    with pytest.raises(TrackerUnavailable):
        sender.send_new()
    assert unsent(home) == [journal.folder]
    tracker.away = False
    assert sender.send_new() == 6
    assert list(tracker.runs["run-0"].points["loss"]) == [(epoch, epoch) for epoch in range(1, 9)]


def test_what_mlflow_refuses_is_told_with_its_reason_until_it_is_taken(
    home: Home, tmp_path: Path, mlflow_uri: str
) -> None:
    from mlflow import MlflowClient

    client, tracker = MlflowClient(mlflow_uri), MlflowTracker(mlflow_uri, tmp_path / "artifacts")
    experiment_id = client.create_experiment("study")
    client.delete_experiment(experiment_id)
    journal = journal_of(home)
    journal.append([start()])
    assert JournalSender(home, tracker).send_new() == 0
    reason = "experiment 'study' was deleted in MLflow; restore it with `"
    assert why_unsent(journal.folder).startswith(reason)
    done = sync(home, mlflow_uri)
    assert (done.returncode, json.loads(done.stdout)["unsent"][0]["run"]) == (2, "study/trial-0")
    assert done.stderr.splitlines()[-1].startswith(f"drsearch: 1 run is not wholly in MLflow. 1 of them: {reason}")
    client.restore_experiment(experiment_id)
    assert JournalSender(home, tracker).send_new() == 1
    assert why_unsent(journal.folder) == ""
    assert sync(home, mlflow_uri).returncode == 0


def sync(home: Home, mlflow_uri: str) -> "subprocess.CompletedProcess[str]":
    """What `drsearch sync --json` says."""
    environment = {**os.environ, "DRSEARCH_HOME": str(home.path), "MLFLOW_TRACKING_URI": mlflow_uri}
    return warm.run([sys.executable, "-m", "drsearch", "sync", "--json"], environment)


def test_while_another_process_sends_nothing_is_sent_here(
    home: Home, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    journal_of(home).append([start()])
    with sender_lock(home) as mine:
        assert mine
        assert send_to_mlflow(home) == 0
    assert send_to_mlflow(home) == 1


def test_the_process_sends_while_runs_go_on_and_the_rest_when_it_is_stopped(home: Home, mlflow_uri: str) -> None:
    from mlflow import MlflowClient

    journal = journal_of(home)
    journal.append([start(), *epochs(1, 2)])
    sender = start_sender(home, mlflow_uri)
    try:
        when(lambda: not unsent(home), "all to be sent")
        ours, its = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (os.getpid(), sender._process.pid))
        assert its == min(19, ours + 10), "training goes first"
        os.kill(sender._process.pid, signal.SIGINT)
        journal.append([*epochs(3, 4), RunEnd("FINISHED", 9)])
        assert sender.running
    finally:
        assert sender.stop(HANG_S)
    assert sender._process.returncode == 0
    run_id = run_id_of(journal.folder)
    assert run_id is not None
    client = MlflowClient(mlflow_uri)
    assert client.get_run(run_id).info.status == "FINISHED"
    assert client.get_run(run_id).info.artifact_uri.startswith((home.artifacts / "study-").as_uri())
    assert [point.step for point in client.get_metric_history(run_id, "loss")] == [1, 2, 3, 4]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_its_first_moment_does_not_keep_the_process_from_sending(
    home: Home, mlflow_uri: str, number: int
) -> None:
    journal_of(home).append([start(), RunEnd("FINISHED", 9)])
    sender = start_sender(home, mlflow_uri)
    sender._process.send_signal(number)  # it has not even loaded Python yet
    assert sender.stop(HANG_S)
    assert sender._process.returncode == 0


def test_a_process_that_was_killed_just_before_the_end_is_followed_by_one_that_sends(
    home: Home, mlflow_uri: str
) -> None:
    sender = start_sender(home, mlflow_uri)
    sender._process.kill()
    sender._process.wait()
    journal_of(home).append([start(), RunEnd("FINISHED", 9)])
    assert sender.stop(HANG_S)


def test_the_process_ends_when_its_parent_is_gone_and_sends_what_is_left(home: Home, mlflow_uri: str) -> None:
    journal_of(home).append([start(), RunEnd("KILLED", 9)])
    launcher = (
        "import sys; from pathlib import Path; from drsearch.home import Home;"
        "from drsearch.tracking.sender import start_sender;"
        "print(start_sender(Home(Path(sys.argv[1])), sys.argv[2])._process.pid)"
    )
    done = warm.run([sys.executable, "-c", launcher, str(home.path), mlflow_uri], os.environ)
    assert done.returncode == 0, done.stderr
    when(lambda: not unsent(home), "all to be sent")
    when(lambda: not is_alive(int(done.stdout)), "the sender to end")


def test_an_outage_is_warned_of_once_and_its_end_told(
    home: Home, tmp_path: Path, empty_mlflow_db: Path, warm_children: None, capfd: pytest.CaptureFixture[str]
) -> None:
    # A file where the store's folder should be: SQLite cannot open it, until it is moved away.
    in_the_way = tmp_path / "store"
    in_the_way.write_text("")
    journal = journal_of(home)
    journal.append([start()])
    told: list[str] = []

    def tells(words: str) -> bool:
        told.extend(line for line in capfd.readouterr().err.splitlines() if "sender.py" in line)
        return any(line.endswith(words) for line in told)

    sender = start_sender(home, f"sqlite:///{in_the_way}/mlflow.db")
    try:
        when(lambda: tells("; runs go on, and are sent when it is back."), "a warning")
        time.sleep(2)  # long enough for a second try, which says nothing
        in_the_way.unlink()
        in_the_way.mkdir()
        (in_the_way / "mlflow.db").write_bytes(empty_mlflow_db.read_bytes())
        journal.append(epochs(1, 3))
        when(lambda: tells("MLflow is back; 4 events sent."), "the end of the outage")
    finally:
        assert sender.stop(HANG_S)
    tells("")
    assert len(told) == 2


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
