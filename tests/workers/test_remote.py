"""Who may join a study? Machines that reach both addresses, and whose code gives the same results."""

import dataclasses
import fcntl
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import optuna
import pytest
from absl import logging
from services import MlflowServer, when

from drsearch.data.prepare import prepare
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.errors import RecordsError, StudyError
from drsearch.home import Home
from drsearch.settings import Settings
from drsearch.study.definition import CODE, StudyDefinition, code_now
from drsearch.tracking.remote_runs import RemoteRuns
from drsearch.workers.remote import check_addresses, check_code, fetch_records, is_shared, put_records, start_upload


@pytest.fixture
def warnings_said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    return said


def study_with(**code: str) -> optuna.Study:
    study = optuna.create_study(study_name="s")
    study.set_user_attr(CODE, {**code_now(), **code})
    return study


@pytest.mark.parametrize(
    ("storage", "tracking", "shared"),
    [
        ("postgresql://db/optuna", "http://mlflow:5000", True),
        ("postgresql://db/optuna", "sqlite:////home/me/mlflow.db", False),
        ("sqlite:////home/me/studies.db", "https://mlflow", False),
    ],
)
def test_a_study_is_shared_when_others_reach_both_addresses(storage: str, tracking: str, shared: bool) -> None:
    assert is_shared(storage, tracking) == shared


@pytest.mark.parametrize(
    ("storage", "tracking", "said"),
    [
        (
            "sqlite:///studies.db",
            "http://mlflow:5000",
            "--storage sqlite:///studies.db: a file of one machine, which others cannot join; "
            "give both commands a database that all machines reach, for example postgresql://user@host/optuna.",
        ),
        (
            "postgresql://db/optuna",
            "sqlite:///mlflow.db",
            "MLFLOW_TRACKING_URI is sqlite:///mlflow.db: a worker fetches records and checkpoints through an MLflow "
            "server; set it to the one of the study, for example http://host:5000.",
        ),
    ],
)
def test_an_address_of_one_machine_is_refused(storage: str, tracking: str, said: str) -> None:
    with pytest.raises(StudyError) as refused:
        check_addresses(storage, tracking)
    assert str(refused.value) == said


def test_the_same_code_may_join(warnings_said: list[str]) -> None:
    check_code(study_with())
    assert warnings_said == []


def test_another_version_that_changes_results_is_refused_in_a_sentence() -> None:
    here = code_now()
    with pytest.raises(StudyError) as refused:
        check_code(study_with(keras="2.0", numpy="1.0"))
    assert str(refused.value) == (
        f"study 's' runs with keras 2.0 (here {here['keras']}), numpy 1.0 (here {here['numpy']}): "
        "its results would not be comparable; install here what runs there."
    )


def test_other_source_is_refused_with_both_commits() -> None:
    here = code_now()
    shown = f"{here['drsearch']} (commit {here['commit'][:12]}{here['commit'][40:]}, source {here['source']})"
    if not here["commit"]:
        shown = f"{here['drsearch']} (source {here['source']})"
    with pytest.raises(StudyError) as refused:
        check_code(study_with(source="0123", commit="a" * 40 + "+changes", drsearch="9"))
    assert str(refused.value) == (
        f"study 's' runs with drsearch 9 (commit aaaaaaaaaaaa+changes, source 0123) (here {shown}): "
        "its results would not be comparable; install here what runs there."
    )


def test_a_library_that_is_not_here_is_refused() -> None:
    study = study_with()
    study.set_user_attr(CODE, {key: value for key, value in code_now().items() if key != "scipy"})
    with pytest.raises(StudyError, match=r"scipy none \(here "):
        check_code(study)


def test_tensorflow_for_a_processor_and_for_a_gpu_are_one_version(warnings_said: list[str]) -> None:
    here = code_now()
    number = here.get("tensorflow-cpu") or here["tensorflow"]
    study = study_with()
    code = {key: value for key, value in here.items() if not key.startswith("tensorflow")}
    study.set_user_attr(CODE, code | {"tensorflow": number})
    check_code(study)
    study.set_user_attr(CODE, code | {"tensorflow": "1.0"})
    with pytest.raises(StudyError, match="tensorflow 1.0"):
        check_code(study)


def test_another_python_only_warns(warnings_said: list[str]) -> None:
    check_code(study_with(python="3.99.1"))
    here = code_now()["python"]
    assert warnings_said == [
        f"study s runs with python 3.99.1 there and {here} here; results do not depend on it",
    ]


class TestRecords:
    """A record set goes to a machine that has none, through a real server."""

    SETTINGS = Settings().replace({"images.image_px": 32})

    @pytest.fixture
    def shared(self, tmp_path: Path, mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
        synthesize(tmp_path / "eyes", 30, uuid.uuid4().int % 2**32)  # not those of another test: the server keeps them
        home = Home(tmp_path / "first")
        records = prepare(open_dataset([tmp_path / "eyes"]), self.SETTINGS, home).records
        definition = StudyDefinition(
            "u", "s.py", "", Settings(), "eyes", "/eyes", records.data_fingerprint, {"{}": records.fingerprint}, {}
        )
        return definition, home, records

    def test_they_are_uploaded_once_saying_what_they_are_and_fetched_whole(
        self, tmp_path: Path, shared: Any, warnings_said: list[str]
    ) -> None:
        definition, home, records = shared
        assert put_records(definition, home) and put_records(definition, home)
        (said,) = warnings_said
        assert said == (
            f"record set {records.fingerprint} was uploaded to {home.tracking_uri} (experiment drsearch-records) for "
            "the machines that join: it holds photographs of patients, and whoever may read that server can read them"
        )
        second = Home(tmp_path / "second")
        assert fetch_records(definition, second, lambda: False)
        there = second.records / records.fingerprint
        assert {path.name: path.read_bytes() for path in there.iterdir()} == {
            path.name: path.read_bytes() for path in records.folder.glob("[!.]*")
        }
        (there / "manifest.json").write_text("torn")
        assert fetch_records(definition, second, lambda: False)
        assert (there / "manifest.json").read_bytes() == (records.folder / "manifest.json").read_bytes()

    def test_a_set_under_anothers_fingerprint_is_refused_and_nothing_is_left(
        self, tmp_path: Path, shared: Any, mlflow_server: MlflowServer
    ) -> None:
        definition, _, records = shared
        RemoteRuns(mlflow_server.url).upload_folder(
            "drsearch-records", f"not-{records.fingerprint}", records.folder, ""
        )
        other = dataclasses.replace(definition, records={"{}": f"not-{records.fingerprint}"})
        second = Home(tmp_path / "second")
        with pytest.raises(RecordsError) as refused:
            fetch_records(other, second, lambda: False)
        assert str(refused.value) == (
            f"{mlflow_server.url} gave record set {records.fingerprint} as not-{records.fingerprint}; "
            "delete its run in the experiment drsearch-records, and give `drsearch run-study` again."
        )
        assert [path.name for path in second.records.iterdir()] == ["fetch.lock"]

    def test_a_machine_waits_for_records_that_are_not_there_yet(
        self, tmp_path: Path, shared: Any, warnings_said: list[str]
    ) -> None:
        definition, home, records = shared
        second = Home(tmp_path / "second")

        def upload() -> None:
            when(lambda: warnings_said, "the machine to look in vain")
            start_upload(definition, home)

        uploading = threading.Thread(target=upload)
        uploading.start()
        assert fetch_records(definition, second, lambda: False)
        uploading.join()
        assert (second.records / records.fingerprint / "manifest.json").exists()
        assert warnings_said[0] == f"record set {records.fingerprint} is not at {home.tracking_uri} yet; waiting"

    def test_of_several_workers_one_fetches(self, tmp_path: Path, shared: Any) -> None:
        definition, home, _ = shared
        put_records(definition, home)
        second = Home(tmp_path / "second")
        second.records.mkdir(parents=True)
        with open(second.records / "fetch.lock", "w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            waiting = threading.Thread(target=fetch_records, args=(definition, second, lambda: False))
            waiting.start()
            time.sleep(0.3)
            assert [path.name for path in second.records.iterdir()] == ["fetch.lock"], "it waits for the lock"
        waiting.join()
        assert (second.records / next(iter(definition.records.values())) / "manifest.json").exists()


def test_a_machine_that_is_asked_to_leave_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    definition = StudyDefinition("u", "s.py", "", Settings(), "eyes", "/eyes", "d", {"{}": "f"}, {})
    assert not fetch_records(definition, Home(tmp_path), lambda: True)
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["fetch.lock"]
