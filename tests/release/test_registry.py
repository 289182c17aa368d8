from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.models import get_model_info

from drsearch.errors import RegistryError
from drsearch.release.registry import CHAMPION, SEARCH_BEST, ModelVersion, Registry
from drsearch.serving.grader import Grader
from drsearch.tracking.tags import STUDY_TAG, TRIAL_TAG


@dataclass(frozen=True)
class Shelf:
    """A registry on a local store, its client, and two versions that were registered."""

    registry: Registry
    client: MlflowClient
    first: ModelVersion
    second: ModelVersion


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Path]) -> Shelf:
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    registry, client = Registry(uri), MlflowClient(uri, uri)
    experiment = client.create_experiment("a study", (folder / "artifacts").as_uri())
    made = []
    for number in (1, 2):
        run_id = client.create_run(experiment).info.run_id
        client.log_param(run_id, "training.epochs", 4)
        tags = {"drsearch.study": "a study", "drsearch.trial": str(number)}
        made.append(registry.register("retinopathy", run_id, files, tags, f"number {number}"))
    return Shelf(registry, client, *made)


def test_versions_count_on_and_lead_back_to_their_run(shelf: Shelf) -> None:
    assert (shelf.first.version, shelf.second.version) == (1, 2)
    assert shelf.first.uri == "models:/retinopathy/1"
    assert shelf.first.tags["drsearch.trial"] == "1" and shelf.second.tags["drsearch.trial"] == "2"
    for version in (shelf.first, shelf.second):
        run = shelf.client.get_run(version.run_id)
        assert [output.model_id for output in run.outputs.model_outputs] == [version.model_id]
        logged = shelf.client.get_logged_model(version.model_id)
        assert logged.source_run_id == version.run_id
        assert logged.params["training.epochs"] == "4"


def test_a_version_says_what_goes_in_and_comes_out_and_what_it_needs(shelf: Shelf) -> None:
    signature = get_model_info(shelf.first.uri).signature
    assert signature is not None and signature.inputs is not None and signature.outputs is not None
    assert [(column.name, column.type.name) for column in signature.inputs] == [("photograph", "binary")]
    assert [(column.name, column.type.name) for column in signature.outputs] == [
        ("label", "string"),
        ("probability", "double"),
        ("confidence", "double"),
        ("threshold", "double"),
        ("distance", "double"),
        ("warning", "string"),
        ("quality", "double"),
        ("reason", "string"),
        ("error", "string"),
        ("model", "string"),
        ("explanation", "binary"),
    ]
    assert signature.params is not None
    assert [(param.name, param.dtype.name, param.default) for param in signature.params] == [
        ("explain", "boolean", False)
    ]


def test_what_is_fetched_is_what_was_registered(shelf: Shelf, grader: Grader, tmp_path: Path) -> None:
    shelf.registry.set_alias(shelf.second, SEARCH_BEST)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    for i, uri in enumerate(("models:/retinopathy/1", "retinopathy/1", f"retinopathy@{SEARCH_BEST}")):
        fetched = Grader(shelf.registry.download(uri, tmp_path / str(i)))
        assert np.array_equal(fetched.probabilities(images), grader.probabilities(images))
        assert [eye.sha256 for eye in fetched.trained_on] == [eye.sha256 for eye in grader.trained_on]


def test_versions_are_found_by_what_made_them(shelf: Shelf) -> None:
    found = shelf.registry.versions("retinopathy", {STUDY_TAG: "a study", TRIAL_TAG: "2"})
    assert [each.version for each in found] == [2]
    assert [each.version for each in shelf.registry.versions(tags={STUDY_TAG: "a study"})] == [1, 2]
    assert shelf.registry.versions("retinopathy", {STUDY_TAG: "another study"}) == []


def test_an_alias_points_to_one_version(shelf: Shelf) -> None:
    assert shelf.registry.with_alias("retinopathy", CHAMPION) is None
    for version in (shelf.first, shelf.second):
        shelf.registry.set_alias(version, CHAMPION)
        found = shelf.registry.with_alias("retinopathy", CHAMPION)
        assert found is not None and found.version == version.version
    assert CHAMPION not in shelf.registry.version("retinopathy", 1).aliases
    assert CHAMPION in shelf.registry.version("retinopathy", 2).aliases
    shelf.client.delete_registered_model_alias("retinopathy", CHAMPION)


def test_a_version_that_is_not_there_is_answered_with_those_that_are(shelf: Shelf, tmp_path: Path) -> None:
    shelf.registry.set_alias(shelf.second, SEARCH_BEST)
    there = "retinopathy has versions 1, 2 and @search-best (version 2)."
    with pytest.raises(RegistryError) as refused:
        shelf.registry.version("retinopathy", 9)
    assert str(refused.value) == f"retinopathy has no version 9; {there}"
    for uri in ("models:/retinopathy/9", "models:/retinopathy@nobody"):
        with pytest.raises(RegistryError) as refused:
            shelf.registry.download(uri, tmp_path)
        assert str(refused.value) == f"{uri}: no such model; {there}"
    with pytest.raises(RegistryError) as refused:
        shelf.registry.download("glaucoma/1", tmp_path)
    assert str(refused.value) == "models:/glaucoma/1: no such model; registered models: retinopathy."


def test_test_scores_stand_on_the_version_its_run_and_its_model(shelf: Shelf) -> None:
    numbers = {"test_auc": 0.87654, "test_auc_low": 0.5}
    shelf.registry.log_scores(shelf.first, numbers, {"drsearch.test_caution": "chance"}, {"scores.json": b"{}"})
    version = shelf.client.get_model_version("retinopathy", "1")
    assert (version.tags["test_auc"], version.tags["test_auc_low"]) == ("0.8765", "0.5000")
    assert version.tags["drsearch.test_caution"] == "chance"
    assert shelf.client.get_run(shelf.first.run_id).data.metrics == numbers
    logged = {metric.key: metric.value for metric in shelf.client.get_logged_model(shelf.first.model_id).metrics}
    assert logged == numbers
    assert [file.path for file in shelf.client.list_artifacts(shelf.first.run_id, "test")] == ["test/scores.json"]


def test_a_run_that_started_from_a_model_says_so(shelf: Shelf) -> None:
    shelf.registry.log_parent(shelf.second.run_id, shelf.first)
    inputs = shelf.client.get_run(shelf.second.run_id).inputs.model_inputs
    assert [model.model_id for model in inputs] == [shelf.first.model_id]
