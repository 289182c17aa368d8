"""A model on photographs that are made worse: are the figures those of `predict`, and are they kept?"""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from tags_page import undocumented_metrics
from untrained import stocked_home

from drsearch.data.corruptions import CORRUPTIONS, opened
from drsearch.data.prepare import prepare
from drsearch.data.records import RecordSet, count_test_evaluations
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.datasets.read import Dataset
from drsearch.errors import DataError
from drsearch.home import Home
from drsearch.measure.calibration import calibration
from drsearch.measure.comparison import compare
from drsearch.measure.scores import scores
from drsearch.release.evaluate import evaluate
from drsearch.release.measured import log_measured
from drsearch.release.registry import Registry
from drsearch.release.stress import Stress, stress
from drsearch.reports.stress_page import corruption_figure, stress_page
from drsearch.serving.answers import Answerer
from drsearch.serving.grader import Grader
from drsearch.settings import Settings
from drsearch.tracking.tags import STRESS_TAG


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Eyes that the model has not seen, large enough to lose something."""
    folder = tmp_path_factory.mktemp("stress") / "others"
    synthesize(folder, 16, seed=7)
    return open_dataset([folder])


@pytest.fixture(scope="module")
def others(dataset: Dataset, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> RecordSet:
    return prepare(dataset, settings, Home(tmp_path_factory.mktemp("prepared"))).records


@pytest.fixture(scope="module")
def stressed(grader: Grader, others: RecordSet, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Stress:
    return stress(grader, others, dataset, "all", Home(tmp_path_factory.mktemp("home")), "a test of drsearch")


def test_photographs_as_they_are_have_the_scores_of_evaluate_and_are_counted(
    grader: Grader, others: RecordSet, stressed: Stress, home: Home
) -> None:
    judged = evaluate(grader, others, "all", home, "a test of drsearch")
    assert (stressed.undamaged.auc, stressed.undamaged.accuracy) == (judged.scores.auc, judged.scores.accuracy)
    assert stressed.undamaged.n == judged.scores.n and stressed.undamaged.refused == 0
    assert stressed.undamaged.auc_change is None
    assert stressed.test_evaluations == 1


@pytest.mark.parametrize("number", range(len(CORRUPTIONS)))
def test_each_condition_is_what_predict_says_of_the_corrupted_photographs(
    grader: Grader, others: RecordSet, dataset: Dataset, stressed: Stress, number: int
) -> None:
    corruption = CORRUPTIONS[number]
    condition, strength = stressed.of(corruption)[-1], corruption.strengths[-1]
    assert (condition.corruption, condition.strength) == (corruption.name, strength)
    files = {photograph.name: photograph.path.read_bytes() for photograph in dataset.photographs}
    listed = others.eyes("train", "validation", "test")
    worse = [corruption.of(*opened(files[eye.name]), strength) for eye in listed]
    answers = Answerer(grader, "a model").answers(worse)
    assert condition.refused == sum(answer.error is not None for answer in answers)
    assert condition.not_gradable == sum(answer.label == "not gradable" for answer in answers)
    assert condition.n == len(listed) - condition.refused
    seen = [i for i, answer in enumerate(answers) if answer.error is None]
    labels = np.array([eye.label for eye in listed])[seen]
    now = grader.probabilities(np.stack([grader.image(worse[i]) for i in seen]))
    before = grader.probabilities(np.stack([grader.image(files[listed[i].name]) for i in seen]))
    measured = scores(labels, now, grader.serving.threshold)
    assert (condition.auc, condition.accuracy) == (measured.auc, measured.accuracy)
    assert condition.ece == calibration(labels, now).ece
    change = compare(labels, now, before)
    assert (condition.auc_change, condition.ece_change) == (change.auc.difference, change.ece)
    assert condition.accuracy_change == change.accuracy
    graded = [
        (answer.label == "RDR") == eye.label
        for eye, answer in zip(listed, answers, strict=True)
        if answer.probability is not None
    ]
    assert condition.accuracy_of_graded == (pytest.approx(np.mean(graded)) if graded else None)


def test_the_figures_are_the_same_every_time(
    grader: Grader, others: RecordSet, dataset: Dataset, stressed: Stress, home: Home
) -> None:
    done: list[tuple[int, int]] = []
    again = stress(grader, others, dataset, "all", home, "a test of drsearch", lambda *progress: done.append(progress))
    assert again == stressed
    assert done == [(i + 1, stressed.undamaged.n) for i in range(stressed.undamaged.n)]


def test_eyes_that_it_was_trained_on_are_refused(grader: Grader, records: RecordSet, eyes: Path, home: Home) -> None:
    with pytest.raises(DataError, match="the model was trained on .* pictures of split 'all'"):
        stress(grader, records, open_dataset([eyes]), "all", home, "a test of drsearch")
    assert count_test_evaluations(records, home) == 0


def test_eyes_of_one_class_and_a_photograph_that_was_changed_are_refused(
    grader: Grader, settings: Settings, home: Home, tmp_path: Path
) -> None:
    synthesize(tmp_path / "others", 20, seed=7, image_px=(268, 178))
    table = tmp_path / "others/labels/train.csv"
    head, *lines = table.read_text().splitlines()
    dataset = open_dataset([tmp_path / "others"])
    records = prepare(dataset, settings, home).records
    (tmp_path / f"others/images/train/{records.eyes('test')[0].name}.jpg").write_bytes(b"another one")
    with pytest.raises(DataError, match="was changed or removed meanwhile; start again"):
        stress(grader, records, dataset, "test", home, "a test of drsearch")
    table.write_text("\n".join([head, *(line for line in lines if line.split(",")[1] in "01")]) + "\n")
    dataset = open_dataset([tmp_path / "others"])
    records = prepare(dataset, settings, home, skip_bad=True, for_training=False).records
    with pytest.raises(DataError, match="the all split has eyes of one class"):
        stress(grader, records, dataset, "all", home, "a test of drsearch")


def test_there_is_a_chart_per_corruption_from_mild_to_severe(stressed: Stress) -> None:
    charts = [corruption_figure(stressed, corruption).data for corruption in CORRUPTIONS]
    areas = [next(trace for trace in traces if trace.name == "AUC") for traces in charts]
    assert [list(trace.x)[:2] for trace in areas[:2]] == [["as it is", "0.1 %"], ["-2 EV", "-1 EV"]]
    for trace, corruption in zip(areas, CORRUPTIONS, strict=True):
        drawn = {stressed.undamaged.auc, *(each.auc for each in stressed.of(corruption))}
        assert {value for value in trace.y if value is not None} == {area.value for area in drawn if area}


def test_a_version_keeps_the_figures(
    stressed: Stress, others: RecordSet, dataset: Dataset, files: dict[str, Path], tmp_path: Path
) -> None:
    home = stocked_home(tmp_path / "home", files)
    registry, client = Registry(home.tracking_uri), MlflowClient(home.tracking_uri, home.tracking_uri)
    version = registry.find("retinopathy@champion")
    log_measured(
        stressed,
        {"stress.html": stress_page(stressed, "retinopathy/1", "others").encode()},
        registry,
        version,
        others,
        dataset,
    )
    run = client.get_run(version.run_id)
    assert undocumented_metrics(set(run.data.metrics)) == set()
    steps = {each.step: each.value for each in client.get_metric_history(version.run_id, "stress_blur_auc")}
    conditions = (stressed.undamaged, *stressed.of(CORRUPTIONS[0]))
    assert steps == {step: each.auc.value for step, each in enumerate(conditions) if each.auc}
    assert registry.find("retinopathy@champion").tags[STRESS_TAG] == f"others, {stressed.text}"
    logged = {metric.key for metric in client.get_logged_model(version.model_id).metrics}
    assert "stress_jpeg_graded" in logged
    folder = f"stress/{others.fingerprint}-all"
    names = {Path(each.path).name for each in client.list_artifacts(version.run_id, folder)}
    assert names == {"stress.json", "stress.html"}
    kept = Path(client.download_artifacts(version.run_id, f"{folder}/stress.json", str(tmp_path)))
    assert json.loads(kept.read_text()) == json.loads(json.dumps(stressed.to_json()))
