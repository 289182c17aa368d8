"""What a model looks at: are the figures those of its maps and of the boxes, and are they kept?"""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mlflow import MlflowClient
from tags_page import undocumented_metrics
from untrained import stocked_home

from drsearch.data.images import retina_in_square
from drsearch.data.prepare import prepare
from drsearch.data.records import RecordSet, count_test_evaluations, joined, read_eyes, read_test_eyes
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.datasets.read import Dataset
from drsearch.errors import DataError, MetricError
from drsearch.home import Home
from drsearch.measure.figures import png
from drsearch.release.card_figures import CHART, SHEET
from drsearch.release.explain import Explanation, explain, figure
from drsearch.release.explained_eyes import explained_eyes
from drsearch.release.measured import log_measured
from drsearch.release.registry import Registry
from drsearch.serving.grader import Grader
from drsearch.settings import Settings
from drsearch.tracking.tags import EXPLAIN_TAG

WHY = "a test of drsearch"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eyes that the model has not seen, with boxes."""
    folder = tmp_path_factory.mktemp("explain") / "others"
    synthesize(folder, 16, seed=7)
    return open_dataset([folder])


@pytest.fixture(scope="module")
def others(dataset: Dataset, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> RecordSet:
    return prepare(dataset, settings, Home(tmp_path_factory.mktemp("prepared"))).records


@pytest.fixture(scope="module")
def explained(grader: Grader, others: RecordSet, tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    return explain(grader, others, "all", Home(tmp_path_factory.mktemp("home")), WHY)


def test_hits_and_heat_are_those_of_the_maps_in_the_boxes_of_referable_eyes(
    grader: Grader, others: RecordSet, explained: Explanation, home: Home
) -> None:
    eyes = joined(read_eyes(others, "train"), read_eyes(others, "validation"), read_test_eyes(others, home, WHY))
    hits: dict[str, list[float]] = {}
    heats: dict[str, list[float]] = {}
    for image, label, boxes in zip(eyes.images, eyes.labels, eyes.boxes, strict=True):
        if label == 0:
            continue
        inside = retina_in_square(image, grader.serving.images)
        (cam,), _ = grader.explainer().maps(image[None], inside[None], 1)
        row, column = np.unravel_index(cam.argmax(), cam.shape)
        side = len(cam)
        for name in ("lesion", "red", "bright"):
            mask = np.zeros(cam.shape, bool)
            for box in boxes:
                if box.colour and name in ("lesion", box.colour):
                    left, top, right, bottom = (place * side for place in box[1:])
                    mask[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
            if (mask & inside).any():
                hits.setdefault(name, []).append(float(cam.max() > 0 and mask[row, column]))
                heats.setdefault(name, []).append(float(cam[mask].sum() / cam.sum()) if cam.sum() else 0.0)
    regions = {each.name: each for each in explained.regions}
    for name in hits:
        assert regions[name].n == len(hits[name])
        assert regions[name].hit.value == pytest.approx(np.mean(hits[name]))
        assert regions[name].heat.value == pytest.approx(np.mean(heats[name]), rel=1e-4)
        assert 0 < regions[name].area.value < 0.5
    assert regions["optic_disc"].n <= explained.n_referable == int(eyes.labels.sum())
    assert sum(each.n for name, each in regions.items() if name.startswith("grade")) == explained.n
    assert [each.name.split()[0] for each in explained.against] == ["chance", "untrained", "shuffled"]
    assert explained.test_evaluations == 1


def test_an_untrained_network_is_no_better_than_untrained_networks_and_keeps_its_weights(
    grader: Grader, others: RecordSet, explained: Explanation, home: Home
) -> None:
    before = [weight.numpy() for weight in grader.model.weights]
    done: list[tuple[int, int]] = []
    again = explain(grader, others, "all", home, WHY, on_step=lambda *progress: done.append(progress))
    assert again == explained
    assert done == [(i + 1, 9) for i in range(9)]
    assert all((weight.numpy() == old).all() for weight, old in zip(grader.model.weights, before, strict=True))
    untrained = explained.against[1]
    assert untrained.heat_difference.difference.low < 0.1
    assert explained.randomised[-1][1].high < 0.9


@pytest.mark.parametrize("options", [{"method": "occlusion"}, {"method": "hirescam", "layer": "stem_pool"}])
def test_other_ways_give_other_figures(
    grader: Grader, others: RecordSet, explained: Explanation, home: Home, options: dict[str, str]
) -> None:
    other = explain(grader, others, "all", home, WHY, **options)
    assert (other.n, other.regions[0].area) == (explained.n, explained.regions[0].area)
    assert other.regions[0].heat != explained.regions[0].heat


def test_eyes_that_it_was_trained_on_are_refused_unless_asked_for(
    grader: Grader, records: RecordSet, home: Home
) -> None:
    with pytest.raises(DataError, match="the model was trained on .* pictures of split 'train'"):
        explain(grader, records, "train", home, WHY)
    assert explain(grader, records, "train", home, WHY, allow_seen=True).n > 0
    with pytest.raises(MetricError, match="--method lime"):
        explain(grader, records, "test", home, WHY, method="lime")
    assert count_test_evaluations(records, home) == 0


def test_without_boxes_it_is_refused_before_the_test_split_is_read(
    grader: Grader, settings: Settings, home: Home, tmp_path: Path
) -> None:
    synthesize(tmp_path / "others", 20, seed=7, image_px=(268, 178))
    (tmp_path / "others/labels/lesion_boxes_train.csv").unlink()
    records = prepare(open_dataset([tmp_path / "others"]), settings, home).records
    with pytest.raises(DataError, match="0 of the 20 eyes of split 'all' are referable and have boxes"):
        explain(grader, records, "all", home, WHY)
    assert count_test_evaluations(records, home) == 0


def test_some_eyes_are_shown_at_their_own_resolution_with_the_map_alone_beside(
    grader: Grader, others: RecordSet, dataset: Dataset, explained: Explanation
) -> None:
    files = explained_eyes(grader, others, dataset, explained)
    names = {name.removeprefix("eyes/").removesuffix("-map.png") for name in files if name.endswith("-map.png")}
    grades = {eye.name: eye.grade for eye in others.eyes("train", "validation", "test") if eye.name in names}
    assert len(names) == min(6, explained.n) and min(grades.values()) >= 2
    assert set(files) == {SHEET} | {f"eyes/{name}{end}" for name in names for end in (".jpg", "-map.png")}
    for photograph in dataset.photographs:
        if photograph.name not in names:
            continue
        original = cv2.imread(str(photograph.path), cv2.IMREAD_COLOR_RGB)
        heat = grader.explain(photograph.path.read_bytes(), label=1)
        picture, grey = (
            cv2.imdecode(np.frombuffer(files[f"eyes/{photograph.name}{end}"], np.uint8), how)
            for end, how in ((".jpg", cv2.IMREAD_COLOR_RGB), ("-map.png", cv2.IMREAD_UNCHANGED))
        )
        np.testing.assert_array_equal(grey, heat.grey)
        assert grey.shape == original.shape[:2] and picture.shape[1] == original.shape[1]
        assert np.abs(picture.astype(float) - heat.picture).mean() < 6, "but for JPEG"
    sheet = cv2.imdecode(np.frombuffer(files[SHEET], np.uint8), cv2.IMREAD_COLOR_RGB)
    assert sheet.shape[1] == 3 * 420


def test_a_version_keeps_the_figures(
    explained: Explanation, others: RecordSet, dataset: Dataset, files: dict[str, Path], tmp_path: Path
) -> None:
    home = stocked_home(tmp_path / "home", files)
    registry, client = Registry(home.tracking_uri), MlflowClient(home.tracking_uri, home.tracking_uri)
    version = registry.find("retinopathy@champion")
    log_measured(explained, {CHART: png(figure(explained))}, registry, version, others, dataset)
    logged = client.get_run(version.run_id).data.metrics
    assert logged["explain_lesion_hit"] == explained.regions[0].hit.value
    assert logged["explain_shuffled_heat"] == explained.against[2].heat.value
    assert undocumented_metrics(set(logged)) == set()
    assert registry.find("retinopathy@champion").tags[EXPLAIN_TAG] == f"{dataset.name}, {explained.text}"
    folder = client.download_artifacts(version.run_id, "explain", str(tmp_path))
    (kept,) = Path(folder).glob("*/explain.json")
    assert json.loads(kept.read_text()) == json.loads(json.dumps(explained.to_json()))
    chart = cv2.imread(str(kept.with_name("explain.png")))[..., ::-1]
    assert np.array_equal(chart, figure(explained)) and chart.std() > 10
    assert registry.holds_photographs(version)
    client.log_param(version.run_id, "study.gradcam_eyes", 0)
    assert not registry.holds_photographs(version), "the study kept them out of MLflow"
