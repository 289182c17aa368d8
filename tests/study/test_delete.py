"""What goes with a study, and what stays?"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient

from drsearch.data.records import RecordSet
from drsearch.errors import StudyError
from drsearch.home import Home
from drsearch.settings import Settings
from drsearch.study.definition import StudyDefinition, delete_study, images_key, load_study, open_study, study_folder
from drsearch.study.delete import Remover
from drsearch.study.reconcile import launching
from drsearch.tracking.events import RunEnd, RunStart
from drsearch.tracking.journal import Journal
from drsearch.tracking.sender import sync
from drsearch.tracking.sent import run_id_of
from drsearch.trials.attributes import INHERITED, RUN_ID, TRIAL
from drsearch.trials.retrying import Storage
from drsearch.trials.storage import open_storage

UIDS = {"kept": "a" * 32, "gone": "b" * 32}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow sets it whenever its fluent API is given an address
        yield Home(tmp_path_factory.mktemp("removal") / "home")


@pytest.fixture(scope="module")
def storage(home: Home) -> Storage:
    return open_storage(home.storage_url)


@pytest.fixture(scope="module")
def client(home: Home, storage: Storage, records: RecordSet, settings: Settings) -> MlflowClient:
    """Two studies with two trials each; of the first, trial 1 is registered, fine-tuned, and registered again."""
    for name, uid in UIDS.items():
        made = StudyDefinition(
            uid, "space.py", "", settings, "eyes", "/eyes", "0" * 64, {images_key(settings.images): "1" * 16}, {}
        )
        open_study(storage, name, made, 2)
        for kind in ("study", "trial-0000", "trial-0001", *(["finetune-0001"] if name == "kept" else [])):
            folder = study_folder(home, name, uid) / kind
            tags = {"drsearch.kind": kind.partition("-")[0]}
            folder.mkdir(parents=True)
            (folder / "model.keras").write_bytes(b"weights")
            Journal(folder).append([RunStart(f"{uid}/{kind}", name, kind, tags), RunEnd("FINISHED")])
    sync(home)
    client = MlflowClient(home.local_tracking_uri, home.local_tracking_uri)
    client.create_registered_model("retinopathy")
    for kind in ("trial-0001", "finetune-0001"):
        run_id = run_id_of(study_folder(home, "kept", UIDS["kept"]) / kind)
        client.create_model_version("retinopathy", f"runs:/{run_id}/model", run_id)
    return client


@pytest.fixture(autouse=True)
def local_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def names(client: MlflowClient, experiment_id: str) -> set[str]:
    return {run.info.run_name for run in client.search_runs([experiment_id])}


def called_by(client: MlflowClient, run_ids: Sequence[str]) -> set[str]:
    return {client.get_run(run_id).info.run_name for run_id in run_ids}


def test_a_running_study_is_not_deleted(home: Home, storage: Storage, client: MlflowClient) -> None:
    with launching(study_folder(home, "gone", UIDS["gone"])), pytest.raises(StudyError) as refused:
        Remover(storage, home).plan("gone")
    assert str(refused.value) == "study 'gone' is running; end it first: drsearch cancel gone"


def test_a_study_whose_trials_another_study_carries_is_not_deleted(
    home: Home, storage: Storage, settings: Settings
) -> None:
    for name, uid in (("source", "d" * 32), ("heir", "e" * 32)):
        made = StudyDefinition(uid, "space.py", "", settings, "eyes", "/eyes", "0" * 64, {}, {})
        open_study(storage, name, made, 1)
    study, _ = load_study(storage, "heir")
    carry_one_trial(study, uid="d" * 32)
    with pytest.raises(StudyError) as refused:
        Remover(storage, home).plan("source")
    assert str(refused.value) == (
        "study 'source' stays: study 'heir' inherited 1 of its trials, whose runs and weights lie here; delete that "
        "one first: drsearch delete heir"
    )
    for name in ("heir", "source"):
        delete_study(storage, name)


def carry_one_trial(study: optuna.Study, uid: str, run_id: str | None = None) -> None:
    origin = {"study": "source", "uid": uid, "trial": 0, "seed": 1}
    study.set_user_attr("drsearch.warm_start", {"study": "source", "trials": {"0": 0}})
    study.add_trial(optuna.create_trial(value=0.9, user_attrs={INHERITED: origin, TRIAL: 0, RUN_ID: run_id}))


def test_runs_that_versions_come_from_stay_with_the_studys_own_and_all_else_goes(
    home: Home, storage: Storage, client: MlflowClient
) -> None:
    remover = Remover(storage, home)
    removal = remover.plan("kept")
    assert called_by(client, removal.runs) == {"trial-0000"}
    assert called_by(client, removal.kept_runs) == {"study", "trial-0001", "finetune-0001"}
    assert removal.versions == ("retinopathy version 1", "retinopathy version 2")
    assert removal.n_bytes > 4 * len("weights")

    called = remover.carry_out(removal)

    assert not study_folder(home, "kept", UIDS["kept"]).exists()
    with pytest.raises(StudyError):
        load_study(storage, "kept")
    assert client.get_experiment_by_name("kept") is None, "the name is free"
    assert called.startswith("kept (deleted ")
    assert names(client, client.get_experiment_by_name(called).experiment_id) == {
        "study", "trial-0001", "finetune-0001"
    }  # fmt: skip
    for number in ("1", "2"):
        run_id = client.get_model_version("retinopathy", number).run_id
        assert client.get_run(run_id).info.lifecycle_stage == "active"


def test_without_a_registered_version_the_whole_experiment_goes_and_mlflow_can_bring_it_back(
    home: Home, storage: Storage, client: MlflowClient
) -> None:
    experiment_id = client.get_experiment_by_name("gone").experiment_id
    remover = Remover(storage, home)
    removal = remover.plan("gone")
    assert (len(removal.runs), removal.kept_runs, removal.versions) == (3, (), ())
    remover.carry_out(removal)
    assert client.get_experiment(experiment_id).lifecycle_stage == "deleted"
    assert [study.study_name for study in optuna.get_all_study_summaries(storage)] == []
    client.restore_experiment(experiment_id)
    assert client.get_experiment(experiment_id).name.startswith("gone (deleted ")


def begun(home: Home, storage: Storage, name: str, uid: str, settings: Settings) -> MlflowClient:
    """A study with two runs of trials in MLflow."""
    open_study(storage, name, StudyDefinition(uid, "space.py", "", settings, "eyes", "/eyes", "0" * 64, {}, {}), 2)
    for kind in ("study", "trial-0000", "trial-0001"):
        folder = study_folder(home, name, uid) / kind
        folder.mkdir(parents=True)
        Journal(folder).append([RunStart(f"{uid}/{kind}", name, kind, {"drsearch.kind": kind.partition("-")[0]})])
    sync(home)
    return MlflowClient(home.local_tracking_uri, home.local_tracking_uri)


def test_runs_that_mlflow_alone_knows_go_and_what_is_no_studys_stays_with_the_experiment(
    tmp_path: Path, settings: Settings
) -> None:
    home, uid = Home(tmp_path / "home"), "f" * 32
    storage = open_storage(home.storage_url)
    client = begun(home, storage, "mixed", uid, settings)
    shutil.rmtree(study_folder(home, "mixed", uid) / "trial-0001")  # as on a machine that is gone
    experiment_id = client.get_experiment_by_name("mixed").experiment_id
    client.create_run(experiment_id, run_name="somebody's own")
    remover = Remover(storage, home)
    remover.carry_out(remover.plan("mixed"))
    assert client.get_experiment_by_name("mixed").lifecycle_stage == "active"
    assert names(client, experiment_id) == {"somebody's own"}


def test_the_run_of_a_version_stays_where_version_and_mlflow_alone_know_it(tmp_path: Path, settings: Settings) -> None:
    home, uid = Home(tmp_path / "home"), "f" * 32
    storage = open_storage(home.storage_url)
    client = begun(home, storage, "there", uid, settings)
    run_id = run_id_of(study_folder(home, "there", uid) / "trial-0001")
    client.create_registered_model("retinopathy")
    client.create_model_version("retinopathy", f"runs:/{run_id}/model", run_id, {"drsearch.study_id": uid})
    shutil.rmtree(study_folder(home, "there", uid) / "trial-0001")
    remover = Remover(storage, home)
    called = remover.carry_out(remover.plan("there"))
    assert names(client, client.get_experiment_by_name(called).experiment_id) == {"study", "trial-0001"}


def test_runs_of_trials_that_were_inherited_stay_with_the_study_that_ran_them(
    tmp_path: Path, settings: Settings
) -> None:
    home = Home(tmp_path / "home")
    storage = open_storage(home.storage_url)
    client = begun(home, storage, "source", "d" * 32, settings)
    begun(home, storage, "heir", "e" * 32, settings)
    run_id = run_id_of(study_folder(home, "source", "d" * 32) / "trial-0000")
    study, _ = load_study(storage, "heir")
    carry_one_trial(study, uid="d" * 32, run_id=run_id)
    client.create_run(client.get_experiment_by_name("heir").experiment_id)  # so that runs go one by one
    remover = Remover(storage, home)
    removal = remover.plan("heir")
    assert run_id not in removal.runs
    remover.carry_out(removal)
    assert client.get_run(run_id).info.lifecycle_stage == "active"
    assert len(removal.runs) == 3


@pytest.mark.parametrize("unsent", [True, False])
def test_a_study_whose_mlflow_does_not_answer_stays(
    tmp_path: Path, unsent: bool, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    home = Home(tmp_path / "home")
    storage = open_storage(home.storage_url)
    made = StudyDefinition("c" * 32, "space.py", "", settings, "eyes", "/eyes", "0" * 64, {}, {})
    open_study(storage, "away", made, 2)
    if unsent:
        Journal(study_folder(home, "away", "c" * 32) / "study").append([RunStart("c/study", "away", "study")])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(StudyError) as refused:
        Remover(storage, home).plan("away")
    assert str(refused.value) == (
        "study 'away' stays, since MLflow alone knows which of its runs registered versions need: "
        "MLflow at http://127.0.0.1:1 does not answer: connection refused"
    )
    assert load_study(storage, "away")
