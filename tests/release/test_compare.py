"""Versions on the same test eyes: figures as the gate has them, and a page with the eyes on which they disagree."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from untrained import stocked_home

from drsearch.data.records import RecordSet, count_test_evaluations
from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.measure.comparison import compare
from drsearch.model.fit import set_seeds
from drsearch.model.resnet_v2 import build_resnet
from drsearch.release.compare import Versions, compare_versions
from drsearch.release.registry import ModelVersion, Registry
from drsearch.release.same_eyes import SCORES
from drsearch.reports.compare_page import compare_page
from drsearch.settings import Settings


@pytest.fixture(scope="module")
def shelf(
    files: dict[str, Path], records: RecordSet, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Home, list[ModelVersion]]:
    """A home with the records, and three versions: two networks of random weights, and one that saw the test eyes."""
    folder = tmp_path_factory.mktemp("compare")
    home = stocked_home(folder / "home", files)
    home.records.mkdir(parents=True, exist_ok=True)
    (home.records / records.fingerprint).symlink_to(records.folder)
    registry, client = Registry(home.tracking_uri), MlflowClient(home.tracking_uri, home.tracking_uri)
    run = client.create_run(client.get_experiment_by_name("a study").experiment_id).info.run_id
    set_seeds(5)
    build_resnet(settings.model, settings.images.image_px).save(folder / "model.keras")
    other = {**files, "model.keras": folder / "model.keras"}
    registry.register("retinopathy", run, other, {}, "another network")
    seen = folder / "trained_on.json"
    seen.write_text(json.dumps([eye.to_json() for eye in records.eyes("test")]))
    registry.register("retinopathy", run, {**files, "trained_on.json": seen}, {}, "it saw the test eyes")
    return home, registry.versions("retinopathy")


@pytest.fixture(scope="module")
def compared(shelf: tuple[Home, list[ModelVersion]]) -> Versions:
    home, (first, second, _) = shelf
    return compare_versions(Registry(home.tracking_uri), [first, second], home)


def test_differences_are_those_of_the_gate_paired_by_eye(compared: Versions, records: RecordSet) -> None:
    first, second = compared.scored
    assert len(compared.eyes.names) == records.counts["test"]["n"] and compared.test_evaluations == 1
    cuts = second.serving.threshold, first.serving.threshold
    assert compared.differences == (compare(compared.eyes.labels, second.probabilities, first.probabilities, cuts),)
    for name in SCORES:
        difference = second.interval(name).value - first.interval(name).value
        assert compared.difference(0, name).value == pytest.approx(difference)


def test_they_disagree_where_their_classes_differ(compared: Versions) -> None:
    first, second = compared.scored
    differ = (first.probabilities >= first.serving.threshold) != (second.probabilities >= second.serving.threshold)
    assert sorted(compared.disagreeing) == np.flatnonzero(differ).tolist()
    spread = np.abs(first.probabilities - second.probabilities)[compared.disagreeing]
    assert (np.diff(spread) <= 0).all()
    told = compared.to_json()
    assert [each["eye"] for each in told["disagreeing"]] == [compared.eyes.names[i] for i in compared.disagreeing]
    assert json.loads(json.dumps(told)) == told


def test_the_page_shows_each_of_them_and_both_curves(compared: Versions) -> None:
    page = compare_page(compared)
    assert page.count("<img ") == len(compared.disagreeing) > 0
    for place in compared.disagreeing:
        assert f"Photograph of eye {compared.eyes.names[place]}," in page
    for name in compared.names:
        assert name in page
    assert f"{compared.difference(0, 'auc'):+.3f}" in page
    charts = [
        json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    ]
    curves = {trace.get("name") for chart in charts for trace in chart.get("data", ())}
    assert {*compared.names, "lesion-blind baseline", "chance"} <= curves


def test_a_version_that_saw_the_eyes_is_refused_before_they_are_read(
    shelf: tuple[Home, list[ModelVersion]], records: RecordSet
) -> None:
    home, (first, _, third) = shelf
    before = count_test_evaluations(records, home)
    with pytest.raises(RegistryError, match=r"models:/retinopathy/3 was trained on \d+ of the \d+ test eyes"):
        compare_versions(Registry(home.tracking_uri), [first, third], home)
    assert count_test_evaluations(records, home) == before
