"""What may a reader, a researcher and a registrar do on the shipped server? Asked of a real one, route by route."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from services import HANG_S
from shipped import ShippedServer


class Signed:
    """MLflow's client, signed in as one user at a time."""

    def __init__(self, server: ShippedServer) -> None:
        self._server = server

    def as_(self, user: str) -> MlflowClient:
        os.environ["MLFLOW_TRACKING_USERNAME"] = user
        os.environ["MLFLOW_TRACKING_PASSWORD"] = self._server.passwords[user]
        return MlflowClient(self._server.url)


@dataclass(frozen=True)
class Study:
    """What alice has: an experiment with a run and a model, registered as version 1, the champion."""

    experiment_id: str
    run_id: str
    model_id: str
    name: str

    @property
    def files(self) -> str:
        """Of the champion, below the server's artifacts."""
        return f"workspaces/default/{self.experiment_id}/models/{self.model_id}/artifacts"


@pytest.fixture(scope="module")
def signed(shipped: ShippedServer) -> Iterator[Signed]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", "")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", "")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        yield Signed(shipped)


@pytest.fixture(scope="module")
def study(signed: Signed, tmp_path_factory: pytest.TempPathFactory) -> Study:
    file = tmp_path_factory.mktemp("files") / "model.keras"
    file.write_text("what alice trained")
    alice = signed.as_("alice")
    experiment_id = alice.create_experiment("alice's study")
    run_id = alice.create_run(experiment_id).info.run_id
    alice.log_artifact(run_id, str(file))
    model = alice.create_logged_model(experiment_id, name="retinopathy", source_run_id=run_id)
    alice.log_model_artifact(model.model_id, str(file))
    alice.finalize_logged_model(model.model_id, "READY")
    alice.create_registered_model("retinopathy")
    _add_version(alice, "retinopathy", run_id, model.model_id)
    signed.as_("regina").set_registered_model_alias("retinopathy", "champion", "1")
    return Study(experiment_id, run_id, model.model_id, "retinopathy")


def _add_version(client: MlflowClient, name: str, run_id: str, model_id: str) -> Any:
    return client.create_model_version(
        name, f"models:/{model_id}", run_id=run_id, model_id=model_id, await_creation_for=0
    )


def _refused(call: Callable[[], object]) -> str:
    with pytest.raises((MlflowException, requests.HTTPError)) as wrong:
        call()
    assert "403" in str(wrong.value), wrong.value
    return str(wrong.value)


WRITES: dict[str, Callable[[MlflowClient, Study, str], object]] = {
    "begin a run in it": lambda client, study, file: client.create_run(study.experiment_id),
    "log a metric": lambda client, study, file: client.log_metric(study.run_id, "val_auc", 1.0),
    "log a batch": lambda client, study, file: client.log_batch(study.run_id, tags=[RunTag("a", "b")]),
    "set a tag": lambda client, study, file: client.set_tag(study.run_id, "drsearch.kind", "other"),
    "end a run": lambda client, study, file: client.set_terminated(study.run_id),
    "write an artifact": lambda client, study, file: client.log_artifact(study.run_id, file),
    "write into a model": lambda client, study, file: client.log_model_artifact(study.model_id, file),
    "add a model": lambda client, study, file: client.create_logged_model(study.experiment_id, name="m"),
    "delete a run": lambda client, study, file: client.delete_run(study.run_id),
    "delete the experiment": lambda client, study, file: client.delete_experiment(study.experiment_id),
    "rename the experiment": lambda client, study, file: client.rename_experiment(study.experiment_id, "mine"),
    "tag the experiment": lambda client, study, file: client.set_experiment_tag(study.experiment_id, "a", "b"),
}
ON_REGISTRY: dict[str, Callable[[MlflowClient, Study], object]] = {
    "add a version": lambda client, study: _add_version(client, study.name, study.run_id, study.model_id),
    "set search-best": lambda client, study: client.set_registered_model_alias(study.name, "search-best", "1"),
    "tag a version": lambda client, study: client.set_model_version_tag(study.name, "1", "test_auc", "0.9"),
    "describe a version": lambda client, study: client.update_model_version(study.name, "1", "mine"),
}
ON_CHAMPION: dict[str, Callable[[MlflowClient, Study], object]] = {
    "set champion": lambda client, study: client.set_registered_model_alias(study.name, "champion", "1"),
    "take champion away": lambda client, study: client.delete_registered_model_alias(study.name, "champion"),
    "rename its model": lambda client, study: client.rename_registered_model(study.name, "other"),
    "delete its model": lambda client, study: client.delete_registered_model(study.name),
    "delete its version": lambda client, study: client.delete_model_version(study.name, "1"),
    "delete what it is made of": lambda client, study: client.delete_logged_model(study.model_id),
    "tag what it is made of": lambda client, study: client.set_logged_model_tags(study.model_id, {"a": "b"}),
    "claim the first decision on it": lambda client, study: client.create_experiment(
        f"drsearch-decisions/{study.name}"
    ),
    "call what it is made of failed": lambda client, study: client.finalize_logged_model(study.model_id, "FAILED"),
}


@pytest.mark.parametrize("user", ["rita", "alice", "bob", "regina"])
def test_everyone_reads_everything(signed: Signed, study: Study, user: str, tmp_path: Path) -> None:
    client = signed.as_(user)
    assert client.get_run(study.run_id).info.experiment_id == study.experiment_id
    assert study.run_id in [run.info.run_id for run in client.search_runs([study.experiment_id])]
    assert client.get_model_version_by_alias(study.name, "champion").version == "1"
    fetched = client.download_artifacts(study.run_id, "model.keras", str(tmp_path))
    assert Path(fetched).read_text() == "what alice trained"


@pytest.mark.parametrize("user", ["rita", "bob", "regina"])
@pytest.mark.parametrize("write", WRITES)
def test_nobody_writes_to_an_experiment_of_another(
    signed: Signed, study: Study, user: str, write: str, tmp_path: Path
) -> None:
    file = tmp_path / "model.keras"
    file.write_text("what somebody else made")
    _refused(lambda: WRITES[write](signed.as_(user), study, str(file)))


def test_a_reader_makes_nothing(signed: Signed, study: Study) -> None:
    rita = signed.as_("rita")
    _refused(lambda: rita.create_experiment("rita's"))
    _refused(lambda: rita.create_registered_model("ritas"))
    for write in (*ON_REGISTRY.values(), *ON_CHAMPION.values()):
        _refused(lambda write=write: write(rita, study))  # type: ignore[misc]


def test_a_researcher_writes_to_experiments_of_their_own_and_to_the_shared_ones(
    signed: Signed, study: Study, tmp_path: Path
) -> None:
    file = tmp_path / "records.txt"
    file.write_text("records")
    for user in ("bob", "regina"):
        client = signed.as_(user)
        own = client.create_experiment(f"{user}'s study")
        shared = [client.get_experiment_by_name(name).experiment_id for name in ("drsearch-records", "trainings")]
        for experiment_id in (own, *shared):
            run = client.create_run(experiment_id)
            client.log_metric(run.info.run_id, "val_auc", 0.9)
            client.log_artifact(run.info.run_id, str(file))
            client.set_terminated(run.info.run_id)
        client.delete_experiment(own)


def test_only_a_registrar_writes_down_decisions(signed: Signed, study: Study) -> None:
    decisions = signed.as_("regina").get_experiment_by_name("drsearch-decisions").experiment_id
    run = signed.as_("regina").create_run(decisions)
    for user in ("rita", "alice", "bob"):
        _refused(lambda user=user: signed.as_(user).create_run(decisions))  # type: ignore[misc]
        _refused(lambda user=user: signed.as_(user).set_tag(run.info.run_id, "a", "b"))  # type: ignore[misc]


@pytest.mark.parametrize("write", ON_REGISTRY)
def test_a_researcher_adds_versions_to_a_model_that_another_registered(
    signed: Signed, study: Study, write: str
) -> None:
    ON_REGISTRY[write](signed.as_("bob"), study)


@pytest.mark.parametrize("user", ["alice", "bob"])
@pytest.mark.parametrize("write", ON_CHAMPION)
def test_only_a_registrar_changes_what_champion_stands_for(signed: Signed, study: Study, user: str, write: str) -> None:
    # alice registered the model and trained it: MLflow alone would let her.
    _refused(lambda: ON_CHAMPION[write](signed.as_(user), study))


def test_a_refusal_says_who_may(shipped: ShippedServer, study: Study) -> None:
    said = {"name": study.name, "alias": "champion", "version": "1"}
    told = shipped.ask("POST", "/api/2.0/mlflow/registered-models/alias", "alice", json=said)
    assert (told.status_code, told.text) == (
        403,
        "Only a registrar may change what `champion` stands for; ask one, or an admin for the role.\n",
    )


@pytest.mark.parametrize("api", ["api", "ajax-api"])
@pytest.mark.parametrize("way", ["body", "body within a string", "query", "no content type"])
def test_champion_cannot_be_set_by_saying_it_otherwise(
    shipped: ShippedServer, study: Study, api: str, way: str
) -> None:
    said = {"name": study.name, "alias": "champion", "version": "1"}
    text = json.dumps(said)
    options: dict[str, Any] = {
        "body": {"json": said},
        "body within a string": {"json": text},
        "query": {"params": said},
        "no content type": {"data": text},
    }[way]
    told = shipped.ask("POST", f"/{api}/2.0/mlflow/registered-models/alias", "alice", **options)
    assert told.status_code == 403, told.text


@pytest.mark.parametrize(
    "path",
    [
        "{files}/model.keras",
        "{files}/sub/../model.keras",
        "{files}//model.keras",
        "./{files}/model.keras",
        "{files}/%6dodel.keras",
        "{files}/%256dodel.keras",
        "workspaces/default/{experiment}/models/x/../{model}/artifacts/model.keras",
        "workspaces/default/{experiment}/%6dodels/{model}/artifacts/model.keras",
        "workspaces//default/{experiment}/models/{model}/artifacts/model.keras",
        "workspaces%2fdefault/{experiment}/models/{model}/artifacts/model.keras",
    ],
)
def test_the_files_of_a_champion_cannot_be_written(shipped: ShippedServer, study: Study, path: str) -> None:
    asked = path.format(files=study.files, experiment=study.experiment_id, model=study.model_id)
    for method in ("PUT", "DELETE"):
        for api in ("api", "ajax-api"):
            # Prepared by hand: a client resolves `..` itself.
            request = requests.Request(
                method, shipped.url, data=b"x", auth=("alice", shipped.passwords["alice"])
            ).prepare()
            request.url = f"{shipped.url}/{api}/2.0/mlflow-artifacts/artifacts/{asked}"
            with requests.Session() as session:
                told = session.send(request, timeout=HANG_S)
            assert told.status_code in (400, 403, 404), (method, asked, told.status_code, told.text)
    kept = shipped.artifacts / study.files / "model.keras"
    assert kept.read_text() == "what alice trained"


@pytest.mark.parametrize(
    "path", ["{files}", "workspaces/default/{experiment}/models/{model}", "workspaces/default/{experiment}/models",
             "workspaces/default/{experiment}", "workspaces/default", "workspaces", ".", ""]
)  # fmt: skip
def test_no_folder_that_holds_a_champion_can_be_removed(shipped: ShippedServer, study: Study, path: str) -> None:
    asked = path.format(files=study.files, experiment=study.experiment_id, model=study.model_id)
    told = shipped.ask("DELETE", f"/api/2.0/mlflow-artifacts/artifacts/{asked}", "alice")
    assert told.status_code in (400, 403, 404, 405), told.text
    assert (shipped.artifacts / study.files / "model.keras").is_file()


def test_a_registrar_sets_champion_and_takes_it_away(signed: Signed, study: Study) -> None:
    regina = signed.as_("regina")
    regina.delete_registered_model_alias(study.name, "champion")
    regina.set_registered_model_alias(study.name, "champion", "1")
    assert regina.get_registered_model(study.name).aliases["champion"] == "1"


def test_only_an_admin_makes_users_roles_and_webhooks(shipped: ShippedServer, signed: Signed, study: Study) -> None:
    for user in ("rita", "alice", "regina"):
        for path, said in {
            "/api/2.0/mlflow/users/create": {"username": "eve", "password": "a-word-of-eve-s"},
            "/api/3.0/mlflow/roles/create": {"workspace": "default", "name": "registrar-too"},
            "/api/3.0/mlflow/roles/assign": {"username": user, "role_id": 3},
            "/api/2.0/mlflow/webhooks": {"name": "w", "url": "https://example.org", "events": []},
        }.items():
            assert shipped.ask("POST", path, user, json=said).status_code == 403, (user, path)
        admin = shipped.ask(
            "PATCH", "/api/2.0/mlflow/users/update-admin", user, json={"username": user, "is_admin": True}
        )
        assert admin.status_code == 403


def test_a_researcher_cannot_take_registrar_by_a_grant_of_their_own(shipped: ShippedServer, study: Study) -> None:
    # alice manages the model that she registered, and may share it; that gives nobody the alias.
    grant = {"username": "bob", "resource_type": "registered_model", "resource_id": study.name, "permission": "MANAGE"}
    assert shipped.ask("POST", "/api/3.0/mlflow/users/permissions/grant", "alice", json=grant).status_code == 200
    said = {"name": study.name, "alias": "champion", "version": "1"}
    assert shipped.ask("POST", "/api/2.0/mlflow/registered-models/alias", "bob", json=said).status_code == 403
