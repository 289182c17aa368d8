"""Do intervals and tests take patients, not eyes, for what was drawn from the population?"""

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drsearch.errors import MetricError
from drsearch.measure.bootstrap import clusters, drawn_counts
from drsearch.measure.calibration import calibration
from drsearch.measure.comparison import compare, delong, mcnemar
from drsearch.measure.patients import by_patient, patient_groups, patient_scores
from drsearch.measure.scores import Scores, auc, one_class_scores, scores, scores_of_json

THRESHOLD = 0.5


def two_eyes_each(
    n: int, seed: int, shared: float = 0.9
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Labels, two models' probabilities and patients of n patients, whose two eyes are alike."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n), 2)
    ill = rng.random(n) < 0.5
    labels = (ill[patient] ^ (rng.random(2 * n) < 0.15)).astype(np.int64)

    def model() -> NDArray[np.float64]:
        noise = np.sqrt(shared) * rng.normal(size=n)[patient] + np.sqrt(1 - shared) * rng.normal(size=2 * n)
        return np.asarray(1 / (1 + np.exp(0.5 - labels - noise)))

    return labels, model(), model(), patient


@settings(max_examples=40)
@given(st.integers(2, 30), st.integers(0, 1000))
def test_every_resample_holds_whole_patients_and_both_classes(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    patient = rng.integers(0, n, 3 * n)
    truth = rng.integers(0, 2, 3 * n)
    truth[:2] = 0, 1
    cluster = clusters(patient, len(patient))
    assert cluster is not None
    for counts in drawn_counts(truth, 50, seed, cluster):
        for one in np.unique(patient):
            assert (np.ptp(counts[:, patient == one], axis=1) == 0).all()
        assert (counts[:, truth == 1].sum(1) > 0).all() and (counts[:, truth == 0].sum(1) > 0).all()


def test_patients_of_one_eye_change_no_digit() -> None:
    labels, one, other, _ = two_eyes_each(40, seed=3)
    alone = np.random.default_rng(0).permutation(len(labels))
    assert scores(labels, one, groups=alone) == scores(labels, one)
    assert calibration(labels, one, groups=alone) == calibration(labels, one)
    assert compare(labels, one, other, groups=alone) == compare(labels, one, other)
    assert one_class_scores(np.ones(80, int), one, groups=alone) == one_class_scores(np.ones(80, int), one)


def test_without_patients_the_intervals_are_those_of_earlier_versions() -> None:
    labels = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    one = [0.1, 0.2, 0.2, 0.4, 0.6, 0.7, 0.3, 0.6, 0.8, 0.9, 0.95]
    other = [0.3, 0.1, 0.2, 0.5, 0.4, 0.8, 0.2, 0.7, 0.6, 0.9, 0.85]
    compared = compare(labels, one, other)
    found = [scores(labels, one).auc, scores(labels, one).accuracy, calibration(labels, one).ece]
    found += [compared.auc.difference, compared.brier, compared.sensitivity]
    expected = [
        0.5666666666666667,
        0.45454545454545453,
        0.1590909090909091,
        -0.08759189306474946,
        -0.08636363636363639,
        0,
    ]
    assert [each.low for each in found] == pytest.approx(expected, abs=1e-12)
    expected = [1.0, 1.0, 0.4454545454545455, 0.22092522639808254, 0.0336363636363636, 0]
    assert [each.high for each in found] == pytest.approx(expected, abs=1e-12)
    assert compared.mcnemar.p == 1.0


def test_areas_and_errors_of_clusters_of_one_are_delongs_and_mcnemars() -> None:
    # The clustered formulas themselves, past the short cut for patients of one eye: a lone pair hardly changes them.
    labels, one, other, patient = two_eyes_each(300, seed=1)
    nearly = np.arange(len(labels))
    nearly[1] = nearly[0]
    assert delong(labels, one, other, nearly).p == pytest.approx(delong(labels, one, other).p, rel=0.02)
    called = one >= THRESHOLD, other >= THRESHOLD
    assert mcnemar(labels, *called, nearly).p == pytest.approx(mcnemar(labels, *called).p, rel=0.1)
    assert mcnemar(labels, *called, patient).p > mcnemar(labels, *called).p


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans(), st.booleans()), min_size=2, max_size=14))
def test_errors_by_patient_are_tested_as_all_signs_would_say(eyes: list[tuple[int, bool, bool, bool]]) -> None:
    patient, truth, first, second = map(np.array, zip(*eyes, strict=True))
    gaps = [
        int(((first != truth) & at).sum()) - int(((second != truth) & at).sum())
        for at in (patient == one for one in np.unique(patient))
    ]
    sums = [
        abs(sum(sign * gap for sign, gap in zip(signs, gaps, strict=True)))
        for signs in product((-1, 1), repeat=len(gaps))
    ]
    expected = float(np.mean(np.array(sums) >= abs(sum(gaps))))
    assert mcnemar(truth, first, second, patient).p == pytest.approx(expected)


def test_the_clustered_area_has_the_variance_of_the_bootstrap_by_patients() -> None:
    labels, one, other, patient = two_eyes_each(200, seed=4)
    found = compare(labels, one, other, groups=patient)
    assert found.auc.difference.value == pytest.approx(auc(labels, one) - auc(labels, other))
    assert found.auc.difference.low == pytest.approx(found.auc_bootstrap.low, abs=0.01)
    assert found.auc.difference.high == pytest.approx(found.auc_bootstrap.high, abs=0.01)
    assert found.auc.p > delong(labels, one, other).p


def test_intervals_by_patient_cover_where_those_by_eye_do_not() -> None:
    truths = 0.5 + 0.5 * np.array([0.5205, 0.3829])  # AUC of a step of 1: Phi(1 / sqrt 2); sensitivity Phi(1/2)
    covered = {"patients": np.zeros(2), "eyes": np.zeros(2)}
    times = 200
    for seed in range(times):
        labels, one, _, patient = two_eyes_each(60, seed)
        for unit, groups in (("patients", patient), ("eyes", None)):
            found = scores(labels, one, THRESHOLD, 300, seed, groups)
            covered[unit] += [
                each.low <= truth <= each.high
                for each, truth in zip((found.auc, found.sensitivity), truths, strict=True)
            ]
    assert (covered["patients"] >= 179).all() and (covered["patients"] <= 198).all(), covered
    assert (covered["eyes"] <= 178).all(), covered


def test_equal_models_are_told_apart_about_5_times_in_100_patients() -> None:
    times = np.zeros(2)
    for seed in range(300):
        labels, one, other, patient = two_eyes_each(60, seed)
        times += delong(labels, one, other, patient).p < 0.05, delong(labels, one, other).p < 0.05
    assert 5 <= times[0] <= 27, times  # 15 expected, three standard deviations of 3.8 each way
    assert times[1] > 27, times


def test_no_error_on_few_patients_has_the_doubt_of_patients() -> None:
    labels, patient = np.tile([0, 1], 8), np.arange(16) // 4
    found = scores(labels, labels * 0.8, groups=patient)
    assert found.sensitivity.low == found.specificity.low == pytest.approx(4 / (4 + 1.959964**2), abs=1e-6)
    assert found.accuracy.low == pytest.approx(4 / (4 + 1.959964**2), abs=1e-6)
    all_ill = one_class_scores([1] * 8, [0.9] * 8, groups=np.arange(8) // 2)
    assert all_ill.accuracy.low == pytest.approx(4 / (4 + 1.959964**2), abs=1e-6)


def test_a_patient_is_referable_if_an_eye_is_and_as_probable_as_the_likelier_eye() -> None:
    labels, probabilities = by_patient([0, 0, 1, 0, 0], [0.1, 0.7, 0.4, 0.9, 0.2], ["B", "A", "A", "", "B"])
    assert (labels.tolist(), probabilities.tolist()) == ([0, 1], [0.2, 0.7])
    found = patient_scores([0, 0, 1, 0, 0], [0.1, 0.7, 0.4, 0.9, 0.2], ["B", "A", "A", "", "B"])
    assert isinstance(found, Scores)
    assert (found.n, found.unit, found.confusion, found.auc.value) == (2, "patients", ((1, 0), (0, 1)), 1.0)
    assert patient_scores([0, 1], [0.1, 0.9], ["", ""]) is None
    healthy = patient_scores([0, 0], [0.1, 0.9], ["A", "A"])
    assert healthy is not None and healthy.auc is None and healthy.n == 1
    for each in (found, healthy):
        assert scores_of_json(json.loads(json.dumps(each.to_json()))) == each


def test_unknown_patients_are_groups_of_one() -> None:
    groups = patient_groups(["A", "", "", "A", "7"])
    assert groups is not None and groups.tolist() == [0, 1, 2, 0, 3]
    assert patient_groups(["", ""]) is None


def test_groups_of_other_eyes_are_refused() -> None:
    with pytest.raises(MetricError) as refused:
        scores([0, 1], [0.1, 0.9], groups=[1, 1, 2])
    assert str(refused.value) == "Groups of shape (3,) do not fit 2 eyes; pass one group per eye."
    with pytest.raises(MetricError) as refused:
        delong([0, 0, 1, 1], [0.1, 0.2, 0.9, 0.8], [0.1, 0.2, 0.9, 0.8], [0, 1, 2, 2])
    assert str(refused.value) == (
        "The eyes of one class are of one patient; two areas are compared from two patients of each."
    )
