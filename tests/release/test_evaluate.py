import copy
import dataclasses
import shutil
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from tags_page import undocumented_metrics

from drsearch.data.prepare import prepare
from drsearch.data.records import RecordSet, count_test_evaluations
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.errors import DataError
from drsearch.home import Home
from drsearch.measure.blind_baseline import BesideBlind
from drsearch.measure.kappa import Graded, quadratic_kappa
from drsearch.measure.patients import patient_groups, patient_scores
from drsearch.measure.scores import scores
from drsearch.model.grade_levels import levels_head
from drsearch.model.second_targets import add_heads
from drsearch.release.blind_scores import model_beside_blind
from drsearch.release.evaluate import evaluate
from drsearch.serving.grader import Grader
from drsearch.settings import Settings


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """Another set of eyes."""
    synthesize(tmp_path / "others", 20, seed=7, image_px=(268, 178))
    return tmp_path / "others"


def test_the_scores_are_those_of_the_models_probabilities(grader: Grader, records: RecordSet, home: Home) -> None:
    judged = evaluate(grader, records, "test", home, "a test of drsearch")
    assert len(judged.eyes.names) == records.counts["test"]["n"]
    assert judged.scores == scores(judged.eyes.labels, grader.probabilities(judged.eyes.images), 0.5)


def test_the_grades_of_a_model_that_knows_them_are_judged_by_kappa(
    grader: Grader, records: RecordSet, home: Home
) -> None:
    plain = evaluate(grader, records, "test", home, "a test of drsearch")
    assert plain.kappa is None and plain.to_json()["kappa"] is None
    graded = copy.copy(grader)
    training = Settings().replace({"training.levels_weight": 0.5}).training
    graded.model = add_heads(
        keras.models.clone_model(grader.model), [levels_head(plain.eyes.grades, training)], training
    )
    judged = evaluate(graded, records, "test", home, "a test of drsearch")
    predicted = graded.grades(judged.eyes.images)
    assert predicted is not None and judged.kappa is not None
    assert judged.kappa.value == quadratic_kappa(Graded(judged.eyes.grades, predicted))
    assert judged.to_json()["kappa"] == judged.kappa.to_json()
    assert judged.for_card("eyes", "0123").kappa == judged.kappa


def test_the_lesion_blind_baseline_stands_beside_the_model(grader: Grader, records: RecordSet, home: Home) -> None:
    judged = evaluate(grader, records, "test", home, "a test of drsearch")
    assert judged.blind == model_beside_blind(records, judged.eyes, grader.probabilities(judged.eyes.images))
    assert isinstance(judged.blind, BesideBlind)
    assert judged.to_json()["blind"]["auc_difference"] == judged.blind.auc.difference.to_json()
    assert judged.blind.auc.difference.value == pytest.approx(judged.scores.auc.value - judged.blind.scores.auc.value)
    assert judged.test_evaluations == 1


def test_every_test_evaluation_is_counted_and_no_other(grader: Grader, records: RecordSet, home: Home) -> None:
    assert [evaluate(grader, records, "test", home, "a test of drsearch").test_evaluations for _ in range(2)] == [1, 2]
    assert evaluate(grader, records, "validation", home, "a test of drsearch").test_evaluations == 0
    assert count_test_evaluations(records, home) == 2


def test_the_train_split_is_refused(grader: Grader, records: RecordSet, home: Home) -> None:
    names = sorted(eye.name for eye in records.eyes("train"))
    with pytest.raises(DataError) as refused:
        evaluate(grader, records, "train", home, "a test of drsearch")
    assert str(refused.value) == (
        f"the model was trained on {len(names)} of the {len(names)} pictures of split 'train' "
        f"({', '.join(names[:5])} and {len(names) - 5} more); evaluate it on eyes that it has not seen."
    )


def test_the_whole_set_it_was_trained_on_is_refused_before_its_test_split_is_looked_at(
    grader: Grader, records: RecordSet, home: Home
) -> None:
    with pytest.raises(DataError, match="the model was trained on .* pictures of split 'all'"):
        evaluate(grader, records, "all", home, "a test of drsearch")
    assert count_test_evaluations(records, home) == 0


def test_another_set_can_be_judged_whole(grader: Grader, others: Path, settings: Settings, home: Home) -> None:
    records = prepare(open_dataset([others]), settings, home).records
    judged = evaluate(grader, records, "all", home, "a test of drsearch")
    assert judged.scores.n == len(set(judged.eyes.names)) == 20
    assert judged.test_evaluations == 1
    assert judged.to_json()["blind"]["scores"] is None
    assert "fitted on the train split, which is among these eyes" in judged.to_json()["blind"]["text"]


@pytest.mark.parametrize(("kept", "missing", "label"), [("01", "sensitivity", 0), ("234", "specificity", 1)])
def test_a_set_of_one_class_has_the_share_that_is_right_and_no_auc(
    grader: Grader, others: Path, settings: Settings, home: Home, kept: str, missing: str, label: int
) -> None:
    table = others / "labels/train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line for line in lines[1:] if line.split(",")[1] in kept)]) + "\n")
    records = prepare(open_dataset([others]), settings, home, skip_bad=True, for_training=False).records
    judged = evaluate(grader, records, "all", home, "a test of drsearch")
    called = grader.probabilities(judged.eyes.images) >= grader.serving.threshold
    assert set(judged.eyes.labels) == {label} and judged.scores.n == len(called)
    told = judged.scores.to_json()
    assert told["auc"] is None and told[missing] is None
    assert told["accuracy"]["value"] == np.mean(called == label)
    assert told["accuracy"] == told[{"sensitivity": "specificity", "specificity": "sensitivity"}[missing]]


def test_a_set_with_few_of_one_class_is_judged_whole(
    grader: Grader, others: Path, settings: Settings, home: Home
) -> None:
    table = others / "labels/train.csv"
    lines = table.read_text().splitlines()
    healthy = [line for line in lines[1:] if line.split(",")[1] in "01"]
    ill = [line for line in lines[1:] if line.split(",")[1] in "234"]
    table.write_text("\n".join([lines[0], *healthy, ill[0]]) + "\n")
    records = prepare(open_dataset([others]), settings, home, skip_bad=True, for_training=False).records
    judged = evaluate(grader, records, "all", home, "a test of drsearch")
    assert judged.scores.n == len(healthy) + 1 and judged.scores.auc is not None


def test_a_split_without_photographs_is_refused(grader: Grader, others: Path, settings: Settings, home: Home) -> None:
    table = others / "labels/train.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:3]) + "\n")
    records = prepare(open_dataset([others]), settings, home, skip_bad=True, for_training=False).records
    with pytest.raises(DataError) as refused:
        evaluate(grader, records, "test", home, "a test of drsearch")
    assert str(refused.value) == "the test split has no photograph: add some, or evaluate with --split all."


@pytest.mark.parametrize("encoded_again", [False, True])
def test_a_trained_on_picture_is_told_in_another_set_by_its_content(
    grader: Grader, records: RecordSet, eyes: Path, others: Path, settings: Settings, home: Home, encoded_again: bool
) -> None:
    seen = eyes / f"images/train/{records.eyes('train')[0].name}.jpg"
    hidden = others / "images/train/SYN_020.jpg"
    if encoded_again:
        picture = cv2.imread(str(seen))
        assert picture is not None
        cv2.imwrite(str(hidden), cv2.resize(picture, None, fx=1.5, fy=1.5), [cv2.IMWRITE_JPEG_QUALITY, 80])
    else:
        shutil.copy(seen, hidden)
    with pytest.raises(DataError) as refused:
        evaluate(grader, prepare(open_dataset([others]), settings, home).records, "all", home, "a test of drsearch")
    assert str(refused.value) == (
        "the model was trained on 1 of the 20 pictures of split 'all' (SYN_020); "
        "evaluate it on eyes that it has not seen."
    )


@pytest.fixture
def pairs(others: Path) -> Path:
    """Twenty photographs of ten patients."""
    table = others / "labels/train.csv"
    text = table.read_text()
    for i, file in enumerate(sorted((others / "images/train").iterdir())):
        name = f"{1 + i // 2}_{('left', 'right')[i % 2]}"
        file.rename(file.with_stem(name))
        text = text.replace(file.stem, name)
    table.write_text(text)
    return others


def test_patients_are_scored_beside_eyes_and_intervals_are_theirs(
    grader: Grader, pairs: Path, settings: Settings, home: Home
) -> None:
    judged = evaluate(grader, prepare(open_dataset([pairs]), settings, home).records, "all", home, "a test of drsearch")
    labels, said, patients = judged.eyes.labels, grader.probabilities(judged.eyes.images), judged.eyes.patients
    assert len(set(patients)) == 10
    assert judged.scores == scores(labels, said, 0.5, groups=patient_groups(patients)) != scores(labels, said, 0.5)
    assert judged.patients == patient_scores(labels, said, patients, 0.5)
    assert judged.to_json()["patients"]["n"] == 10
    assert judged.to_json()["patients"]["unit"] == "patients"


def test_without_patients_that_is_said(grader: Grader, records: RecordSet, home: Home) -> None:
    judged = evaluate(grader, records, "test", home, "a test of drsearch")
    assert judged.patients is None and judged.to_json()["patients"] is None


def test_the_other_eyes_of_seen_patients_are_named(grader: Grader, pairs: Path, settings: Settings, home: Home) -> None:
    everything = prepare(open_dataset([pairs]), settings, home).records
    seen = copy.copy(grader)
    seen.trained_on = tuple(
        dataclasses.replace(eye, patient="") for eye in everything.eyes("test") if eye.name.endswith("left")
    )
    names = sorted(eye.name for eye in seen.trained_on)
    others = [name.replace("left", "right") for name in names]
    other_seed = prepare(
        open_dataset([pairs]), settings.replace({"data.split": "random", "data.seed": 3}), home
    ).records
    with pytest.raises(DataError) as refused:
        evaluate(seen, other_seed, "all", home, "a test of drsearch")
    assert str(refused.value) == (
        f"the model was trained on {len(names)} of the 20 pictures of split 'all' ({', '.join(names)}) and on the "
        f"patients of {len(others)} more ({', '.join(sorted(others))}); evaluate it on eyes that it has not seen."
    )


def test_a_patient_is_known_by_a_photograph_that_the_set_leaves_out(
    grader: Grader, pairs: Path, settings: Settings, home: Home
) -> None:
    whole = prepare(open_dataset([pairs]), settings, home).records.eyes("train", "validation", "test")
    seen = copy.copy(grader)
    seen.trained_on = tuple(eye for eye in whole if eye.name == "1_left")
    table = pairs / "labels/train.csv"
    head, *lines = table.read_text().splitlines()
    published = [f"{line},{'test' if line.startswith(('1_right', '9_')) else 'train'}" for line in lines]
    table.write_text("\n".join([f"{head},split", *published]) + "\n")
    records = prepare(open_dataset([pairs]), settings, home, for_training=False).records
    assert [eye.name for eye in records.left_out()] == ["1_left"]
    with pytest.raises(DataError) as refused:
        evaluate(seen, records, "test", home, "a test of drsearch")
    assert str(refused.value) == (
        "the model was trained on the patients of 1 of the 3 pictures of split 'test' (1_right); evaluate it on eyes "
        "that it has not seen."
    )


def test_eyes_are_scored_by_thirds_of_quality_and_those_that_get_no_grade_are_counted(
    grader: Grader, others: Path, settings: Settings, home: Home
) -> None:
    for number in range(1, 7):
        path = others / f"images/train/SYN_00{number}.jpg"
        picture = cv2.imread(str(path))
        assert picture is not None
        cv2.imwrite(str(path), cv2.GaussianBlur(picture, (0, 0), 6 if number <= 3 else 2))
    records = prepare(open_dataset([others]), settings, home).records
    judged = evaluate(grader, records, "all", home, "a test of drsearch")
    probabilities = dict(zip(judged.eyes.names, grader.probabilities(judged.eyes.images), strict=True))
    by_quality = sorted(records.eyes("train", "validation", "test"), key=lambda eye: eye.quality.score)
    assert [judged.qualities[third].n for third in ("low", "middle", "high")] == [7, 7, 6]
    low = judged.qualities["low"]
    called = [probabilities[eye.name] >= grader.serving.threshold for eye in by_quality[:7]]
    assert low.accuracy.value == pytest.approx(np.mean(np.array(called) == [eye.label for eye in by_quality[:7]]))
    assert judged.quality_ranges["low"] == (by_quality[0].quality.score, by_quality[6].quality.score)
    assert 14 <= judged.n_gradable <= 17 and judged.imageability == judged.n_gradable / 20
    told = judged.to_json()
    assert told["imageability"] == {"graded": judged.n_gradable, "n": 20, "share": judged.imageability}
    assert told["qualities"]["high"]["n"] == 6 and told["qualities"]["high"]["to"] == by_quality[-1].quality.score
    metrics = judged.quality_metrics("test_")
    assert metrics["test_imageability"] == judged.imageability
    assert undocumented_metrics(set(metrics)) == set()
