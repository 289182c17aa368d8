"""Does a run's folder reach another machine as it was at its checkpoint, and only from the one that may say so?"""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from services import Bucket, MlflowServer

from drsearch.home import Home
from drsearch.tracking.checkpoint_bundle import BUNDLE_FILE, SUPERSEDED_FILE, pack, read_info, unpack
from drsearch.tracking.events import Artifact, Metrics, Resumed, RunEnd, RunStart, to_line
from drsearch.tracking.journal import Journal
from drsearch.tracking.mlflow_tracker import MlflowTracker
from drsearch.tracking.remote_runs import RemoteRuns, RunTaken
from drsearch.tracking.sender import JournalSender
from drsearch.tracking.sent import run_id_of, unsent
from drsearch.tracking.tracker import TrackerUnavailable


@pytest.fixture
def key() -> str:
    return f"{uuid.uuid4().hex}/trial-0000"


def begin(home: Home, key: str, attempt: int = 3) -> Path:
    """A run that is open, with its settings."""
    folder = home.runs / "study" / "trial-0000"
    Journal(folder).append([RunStart(key, f"study-{key[:8]}", "trial 0", started_ms=1), Artifact("settings.gin")])
    (folder / "settings.gin").write_text("training.epochs = 9\n")
    (folder / "owner").write_text("me")
    pack(folder, attempt)
    return folder


def checkpoint(folder: Path, attempt: int, epochs: range, at_ms: int = 0) -> None:
    """Epochs and a checkpoint that holds them, in the order in which a training writes them."""
    events = [Metrics(epoch, {"val_auc": epoch / 100}, at_ms + epoch) for epoch in epochs]
    (folder / "checkpoint").mkdir(exist_ok=True)
    (folder / "checkpoint" / "latest.npz").write_bytes(f"weights of epoch {epochs[-1]}".encode())
    pack(folder, attempt, [to_line(event) for event in events])
    Journal(folder).append(events)


def test_a_bundle_holds_what_the_journal_is_about_to_say_and_puts_it_elsewhere(tmp_path: Path) -> None:
    here, there = begin(Home(tmp_path / "a"), "k"), tmp_path / "b" / "trial-0000"
    checkpoint(here, 3, range(1, 6))
    there.mkdir(parents=True)
    (there / "stale").touch()
    (there / "owner").write_text("you")
    told = read_info(here / BUNDLE_FILE)
    assert (told.attempt, told.model) == (3, False)
    assert told.journal_bytes == Journal(here).size()
    assert told.is_contained_in(here) and not told.is_contained_in(there)
    unpack(here / BUNDLE_FILE, there, None, 4)
    assert sorted(path.name for path in there.rglob("*")) == [
        "bundle.zip", "checkpoint", "journal.jsonl", "latest.npz", "owner", "settings.gin",
    ]  # fmt: skip
    assert (there / "owner").read_text() == "you"
    assert Journal(there).read() == Journal(here).read()
    assert told.is_contained_in(there)
    assert read_info(there / BUNDLE_FILE).attempt == 4


def test_of_a_training_that_ended_no_checkpoint_is_handed_over(tmp_path: Path) -> None:
    folder = begin(Home(tmp_path), "k")
    checkpoint(folder, 3, range(1, 6))
    (folder / "outcome.json").write_text("{}")
    (folder / "model.keras").write_bytes(b"network")
    (folder / "roc.png").write_bytes(b"picture")
    pack(folder, 3)
    assert read_info(folder / BUNDLE_FILE).model
    unpack(folder / BUNDLE_FILE, tmp_path / "b" / "t", folder / "model.keras", None)
    found = {path.name for path in (tmp_path / "b" / "t").rglob("*") if path.is_file()}
    assert found == {"journal.jsonl", "model.keras", "outcome.json", "roc.png", "settings.gin"}


@pytest.mark.parametrize("text", [b"", b"PK\x03\x04 cut"])
def test_a_torn_bundle_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / BUNDLE_FILE).write_bytes(text)
    with pytest.raises(ValueError, match="is not a complete bundle"):
        read_info(tmp_path / BUNDLE_FILE)


class TestThroughMlflow:
    """Two homes stand for two machines, one real server between them."""

    @pytest.fixture
    def remote(self, mlflow_server: MlflowServer) -> Iterator[RemoteRuns]:
        yield RemoteRuns(mlflow_server.url)

    @pytest.fixture
    def send(self, mlflow_server: MlflowServer, remote: RemoteRuns) -> Any:
        return lambda home: JournalSender(home, MlflowTracker(mlflow_server.url), remote).send_new()

    def steps(self, server: MlflowServer, run_id: str) -> list[tuple[int, int]]:
        points = MlflowClient(server.url).get_metric_history(run_id, "val_auc")
        return sorted((point.step, point.timestamp) for point in points)

    def test_a_dead_machines_run_goes_on_elsewhere_with_no_gap_and_no_doubled_step(
        self, tmp_path: Path, key: str, remote: RemoteRuns, send: Any, mlflow_server: MlflowServer
    ) -> None:
        first, second = Home(tmp_path / "first"), Home(tmp_path / "second")
        here = begin(first, key)
        checkpoint(here, 3, range(1, 6))
        send(first)
        checkpoint(here, 3, range(6, 11), at_ms=100)  # the machine dies before this is sent
        there = second.runs / "study" / "trial-0000"
        assert remote.fetch_run(f"study-{key[:8]}", key, there, attempt=7)
        assert (there / "checkpoint" / "latest.npz").read_bytes() == b"weights of epoch 5"
        Journal(there).append([Resumed()])
        pack(there, 7)
        checkpoint(there, 7, range(6, 10), at_ms=200)
        Journal(there).append([RunEnd("FINISHED")])
        send(second)
        run_id = run_id_of(here)
        assert run_id is not None and run_id_of(there) == run_id
        wanted = [(epoch, epoch) for epoch in range(1, 6)] + [(epoch, 200 + epoch) for epoch in range(6, 10)]
        assert self.steps(mlflow_server, run_id) == wanted

        send(first)  # the dead machine is back
        assert (here / SUPERSEDED_FILE).exists()
        assert unsent(first) == []
        assert self.steps(mlflow_server, run_id) == wanted
        assert MlflowClient(mlflow_server.url).get_run(run_id).info.status == "FINISHED"

    def test_what_a_dead_machine_had_not_sent_of_its_last_checkpoint_is_sent_by_another(
        self, tmp_path: Path, key: str, remote: RemoteRuns, send: Any, mlflow_server: MlflowServer
    ) -> None:
        first, second = Home(tmp_path / "first"), Home(tmp_path / "second")
        here = begin(first, key)
        send(first)
        run_id = run_id_of(here)
        assert run_id is not None
        checkpoint(here, 3, range(1, 6))
        remote.upload_bundle(here, run_id)  # the sender dies between this and the points
        assert self.steps(mlflow_server, run_id) == []
        assert remote.fetch_run(f"study-{key[:8]}", key, second.runs / "study" / "trial-0000", attempt=4)
        send(second)
        assert self.steps(mlflow_server, run_id) == [(epoch, epoch) for epoch in range(1, 6)]

    def test_a_machine_that_is_as_far_or_further_keeps_what_it_has(
        self, tmp_path: Path, key: str, remote: RemoteRuns, send: Any
    ) -> None:
        home = Home(tmp_path)
        folder = begin(home, key)
        checkpoint(folder, 3, range(1, 6))
        send(home)
        checkpoint(folder, 3, range(6, 11))
        assert not remote.fetch_run(f"study-{key[:8]}", key, folder, attempt=4)
        assert (folder / "checkpoint" / "latest.npz").read_bytes() == b"weights of epoch 10"

    def test_the_next_attempt_in_the_same_folder_is_sent_whatever_the_sender_took_it_for(
        self, tmp_path: Path, key: str, remote: RemoteRuns, mlflow_server: MlflowServer
    ) -> None:
        home, client = Home(tmp_path), MlflowClient(mlflow_server.url)
        folder = begin(home, key)
        sender = JournalSender(home, MlflowTracker(mlflow_server.url), remote)
        sender.send_new()
        checkpoint(folder, 3, range(1, 6))
        Journal(folder).append([RunEnd("FINISHED")])  # and the process dies before the study is told
        run_id = run_id_of(folder)
        assert run_id is not None
        client.set_tag(run_id, "drsearch.attempt", "4")  # the next attempt, before it can say more
        sender.send_new()
        assert (folder / SUPERSEDED_FILE).exists() and self.steps(mlflow_server, run_id) == []
        assert not remote.fetch_run(f"study-{key[:8]}", key, folder, attempt=4)
        sender.send_new()
        assert self.steps(mlflow_server, run_id) == [(epoch, epoch) for epoch in range(1, 6)]
        assert client.get_run(run_id).info.status == "FINISHED"

    def test_an_earlier_attempt_is_refused_and_only_the_last_checkpoint_is_kept(
        self, tmp_path: Path, key: str, remote: RemoteRuns, send: Any, mlflow_server: MlflowServer
    ) -> None:
        home = Home(tmp_path)
        folder = begin(home, key)
        for last in (6, 11, 16):
            checkpoint(folder, 3, range(last - 5, last))
            send(home)
        run_id = run_id_of(folder)
        assert run_id is not None
        client = MlflowClient(mlflow_server.url)
        kept = [file.path for file in client.list_artifacts(run_id, "checkpoint")]
        tag = json.loads(client.get_run(run_id).data.tags["drsearch.bundle"])
        assert kept == [f"checkpoint/{tag['file']}"]
        with pytest.raises(RunTaken) as refused:
            remote.fetch_run(f"study-{key[:8]}", key, tmp_path / "else", attempt=2)
        assert str(refused.value) == "attempt 3 goes on with it elsewhere, this is attempt 2."

    def test_a_file_that_is_just_being_replaced_is_asked_for_again(
        self, tmp_path: Path, key: str, remote: RemoteRuns, send: Any, mlflow_server: MlflowServer
    ) -> None:
        home, client = Home(tmp_path / "here"), MlflowClient(mlflow_server.url)
        checkpoint(begin(home, key), 3, range(1, 6))
        send(home)
        run_id = run_id_of(home.runs / "study" / "trial-0000")
        assert run_id is not None
        there = tmp_path / "there" / "trial-0000"
        tag = client.get_run(run_id).data.tags["drsearch.bundle"]
        client.set_tag(run_id, "drsearch.bundle", json.dumps({"file": "000003-replaced.zip", "sha256": ""}))
        with pytest.raises(TrackerUnavailable, match="000003-replaced.zip of run .* is not there"):
            remote.fetch_run(f"study-{key[:8]}", key, there, attempt=4)
        client.set_tag(run_id, "drsearch.bundle", tag)
        assert remote.fetch_run(f"study-{key[:8]}", key, there, attempt=4)

    def test_a_run_that_nobody_opened_has_nothing_to_fetch(self, tmp_path: Path, key: str, remote: RemoteRuns) -> None:
        assert not remote.fetch_run("no such experiment", key, tmp_path / "x", attempt=1)
        assert not (tmp_path / "x").exists()

    def test_a_folder_is_kept_once_and_fetched_whole(self, tmp_path: Path, remote: RemoteRuns, key: str) -> None:
        (tmp_path / "records").mkdir()
        (tmp_path / "records" / "a").write_bytes(b"1")
        (tmp_path / "records" / ".of-this-machine").write_bytes(b"2")
        experiment = f"records-{key[:8]}"
        assert not remote.fetch_folder(experiment, "f", tmp_path / "there")
        assert remote.upload_folder(experiment, "f", tmp_path / "records", "note")
        assert not remote.upload_folder(experiment, "f", tmp_path / "records", "note")
        assert remote.fetch_folder(experiment, "f", tmp_path / "there")
        assert {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir()} == {"a": b"1"}

    def test_a_server_that_is_away_is_said_to_be(self, tmp_path: Path, key: str) -> None:
        with pytest.raises(TrackerUnavailable):
            RemoteRuns("http://127.0.0.1:1").fetch_run("e", key, tmp_path / "x")


def test_a_folder_without_a_bundle_is_left_alone(tmp_path: Path) -> None:
    RemoteRuns("http://127.0.0.1:1").upload_bundle(tmp_path, "run")  # not even asked
    shutil.rmtree(tmp_path)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    bucket = Bucket(tmp_path)
    yield bucket
    bucket.close()


class TestThroughObjectStorage:
    """The server puts artifacts into a bucket; it alone has a key."""

    def test_files_and_checkpoints_lie_in_the_bucket_and_reach_another_machine(
        self, tmp_path: Path, key: str, bucket: Bucket
    ) -> None:
        secret, bucket.environment["AWS_SECRET_ACCESS_KEY"] = bucket.environment["AWS_SECRET_ACCESS_KEY"], "wrong"
        server = MlflowServer(tmp_path, bucket)
        try:
            remote = RemoteRuns(server.url)
            first, second = Home(tmp_path / "first"), Home(tmp_path / "second")
            here, there = begin(first, key), second.runs / "study" / "trial-0000"
            with pytest.raises(TrackerUnavailable, match="an error of the server, which its log explains|was cut"):
                JournalSender(first, MlflowTracker(server.url), remote).send_new()

            server.stop()
            bucket.environment["AWS_SECRET_ACCESS_KEY"] = secret
            assert not bucket.keys()
            server.start()
            for epochs in (range(1, 6), range(6, 11)):
                checkpoint(here, 3, epochs)
                JournalSender(first, MlflowTracker(server.url), remote).send_new()
            names = [name.rpartition("/artifacts/")[2] for name in bucket.keys()]
            assert sorted(names) == [f"checkpoint/{read_info(here / BUNDLE_FILE).name}", "settings.gin"]
            assert all(name.startswith("mlflow/") for name in bucket.keys())
            assert remote.fetch_run(f"study-{key[:8]}", key, there, attempt=7)
            assert (there / "checkpoint" / "latest.npz").read_bytes() == b"weights of epoch 10"
        finally:
            server.stop()
