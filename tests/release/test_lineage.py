from typing import Any

import pytest
from mlflow import MlflowClient

from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.release.lineage import Lineage, Node


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study whose first version was fine-tuned to a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = Home(tmp_path_factory.mktemp("lineage"))
        client = MlflowClient(home.tracking_uri, home.tracking_uri)
        experiment = client.create_experiment("nights", (home.path / "artifacts").as_uri())
        study = client.create_run(experiment, tags={"drsearch.kind": "study"}).info.run_id
        (home.path / "audit.json").write_text("{}")
        client.log_artifact(study, str(home.path / "audit.json"), "data")
        client.create_registered_model("retinopathy")
        runs = []
        for kind, more in (("trial", {}), ("finetune", {"drsearch.parent_version": "1"})):
            tags = {"drsearch.kind": kind, "drsearch.study": "nights", "drsearch.trial": "4",
                    "mlflow.source.git.commit": "abc", "drsearch.data_fingerprint": "d" * 16}  # fmt: skip
            runs.append(client.create_run(experiment, tags=tags, run_name=f"the {kind}").info.run_id)
            client.create_model_version("retinopathy", f"runs:/{runs[-1]}/model", runs[-1], tags={**tags, **more})
        client.set_registered_model_alias("retinopathy", "champion", "2")
        yield home, client, study, runs


@pytest.fixture(autouse=True)
def local_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def by_kind(node: Node) -> dict[str, Node]:
    return {part.kind: part for part in node.parts}


@pytest.mark.parametrize("named", ["retinopathy@champion", "models:/retinopathy/2", "retinopathy/2"])
def test_a_fine_tuned_version_leads_back_to_its_parent_and_to_what_both_come_from(made: Any, named: str) -> None:
    home, _, study, (trial, tuned) = made
    node = Lineage(home).of(named)
    assert (node.kind, node.name, node.facts["aliases"]) == ("version", "retinopathy/2", "champion")
    parts = by_kind(node)
    assert parts["run"].facts["run"] == tuned
    assert (parts["study"].name, parts["study"].facts["run"]) == ("nights", study)
    assert [part.name for part in parts["study"].parts] == ["data/audit.json"]
    assert parts["data"].facts["photographs, grades and split"] == "d" * 16
    assert parts["code"].facts["commit"] == "abc"
    parent = parts["version"]
    assert parent.name == "retinopathy/1"
    assert by_kind(parent)["trial"].facts["run"] == trial


def test_a_study_a_model_and_a_run_lead_to_their_versions(made: Any) -> None:
    home, _, _, (trial, tuned) = made
    for named in ("nights", "retinopathy", "models:/retinopathy"):
        assert [part.name for part in Lineage(home).of(named).parts] == ["retinopathy/1", "retinopathy/2"]
    for run_id, name in ((trial, "retinopathy/1"), (tuned, "retinopathy/2")):
        assert [part.name for part in Lineage(home).of(run_id).parts] == [name]


def test_a_parent_or_a_run_that_was_deleted_is_said_to_be(made: Any) -> None:
    home, client, _, (_, tuned) = made
    client.delete_model_version("retinopathy", "1")
    assert by_kind(Lineage(home).of("retinopathy/2"))["version"].facts == {"state": "deleted in MLflow"}


@pytest.mark.parametrize("named", ["days", "glaucoma", "retinopathy@nobody", "retinopathy/9", "0" * 32])
def test_what_is_not_there_gets_one_sentence(made: Any, named: str) -> None:
    with pytest.raises(RegistryError) as refused:
        Lineage(made[0]).of(named)
    assert len(str(refused.value).splitlines()) == 1
