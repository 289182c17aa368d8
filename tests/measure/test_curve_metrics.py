"""Metrics of the ROC curve at stated levels: as scikit-learn and by counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score, roc_curve

from drsearch.errors import MetricError
from drsearch.measure.calibration import brier
from drsearch.measure.curve_metrics import _terms, metric_interval, metric_value
from drsearch.measure.kappa import Graded
from drsearch.measure.scores import auc, scores
from drsearch.metrics import EXAMPLES, Metric, epoch_metric

LEVELS = st.sampled_from([0.05, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95])
EYES = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 0.5001, 0.7, 0.9, 1.0])),
    min_size=2,
    max_size=25,
).filter(lambda eyes: len({label for label, _ in eyes}) == 2)


def named(name: str) -> Metric:
    metric = epoch_metric(name)
    assert metric is not None
    return metric


@given(EYES, LEVELS)
def test_the_best_threshold_that_reaches_a_level_counts(eyes: list[tuple[int, float]], level: float) -> None:
    labels, probabilities = zip(*eyes, strict=True)
    false, true, _ = roc_curve(labels, probabilities, drop_intermediate=False)
    reached = true[1 - false >= level - 1e-12].max()
    assert metric_value(Metric("", "sensitivity_at_specificity", (level,)), labels, probabilities) == pytest.approx(
        reached
    )
    reached = (1 - false)[true >= level - 1e-12].max()
    assert metric_value(Metric("", "specificity_at_sensitivity", (level,)), labels, probabilities) == pytest.approx(
        reached
    )


def partial_auc(labels: ArrayLike, probabilities: ArrayLike, low: float, high: float) -> float:
    return metric_value(Metric("", "partial_auc_at_specificity", (low, high)), labels, probabilities)


@given(EYES, LEVELS)
def test_the_partial_area_is_that_of_scikit_learn(eyes: list[tuple[int, float]], level: float) -> None:
    labels, probabilities = zip(*eyes, strict=True)
    area = partial_auc(labels, probabilities, level, 1)
    assert area == pytest.approx(roc_auc_score(labels, probabilities, max_fpr=1 - level))
    assert partial_auc(labels, probabilities, 0, 1) == pytest.approx(auc(labels, probabilities))


def test_a_partial_area_is_one_where_the_model_is_perfect_and_a_half_where_it_guesses() -> None:
    labels, guess = [0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]
    assert partial_auc(labels, [0.1, 0.2, 0.8, 0.9], 0.6, 0.9) == pytest.approx(1.0)
    assert partial_auc(labels, guess, 0.6, 0.9) == pytest.approx(0.5)


@given(EYES, st.data())
def test_a_resample_has_the_metric_of_the_eyes_that_it_drew(eyes: list[tuple[int, float]], data: st.DataObject) -> None:
    labels, probabilities = map(np.array, zip(*eyes, strict=True))
    counts = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(eyes), max_size=len(eyes))))
    drawn = np.repeat(np.arange(len(eyes)), counts)
    if len(set(labels[drawn])) < 2:
        return
    for name in EXAMPLES[-3:]:
        _, of_counts = _terms(named(name), labels, probabilities)
        expected = metric_value(named(name), labels[drawn], probabilities[drawn])
        assert of_counts(counts[None].astype(float))[0] == pytest.approx(expected)


def test_every_metric_has_a_value_and_those_that_scores_lack_an_interval_around_it() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 80)
    probabilities = np.clip(0.5 * labels + random.uniform(0, 0.6, 80), 0, 1)
    known = scores(labels, probabilities)
    graded = Graded(2 * labels, np.rint(4 * probabilities).astype(int))
    for name in set(EXAMPLES) - {"val_loss"}:
        value = metric_value(named(name), labels, probabilities, auc, graded)
        interval = metric_interval(named(name), labels, probabilities, own=auc, graded=graded)
        if hasattr(known, name.removeprefix("val_")):
            assert interval is None and getattr(known, name.removeprefix("val_")).value == pytest.approx(value)
        else:
            assert interval is not None and interval.value == pytest.approx(value)
            assert 0 <= interval.low < value < interval.high <= 1
    assert metric_value(named("val_brier"), labels, probabilities) == brier(labels, probabilities)


def test_the_interval_is_wider_where_the_eyes_of_a_patient_are_alike() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat(random.integers(0, 2, 40), 2)
    probabilities = np.repeat(np.clip(0.4 * labels[::2] + random.uniform(0, 0.6, 40), 0, 1), 2)
    metric = named("val_sensitivity_at_specificity_0.8")
    by_eyes = metric_interval(metric, labels, probabilities)
    by_patients = metric_interval(metric, labels, probabilities, groups=np.arange(80) // 2)
    assert by_eyes is not None and by_patients is not None
    assert by_patients.high - by_patients.low > by_eyes.high - by_eyes.low


def test_a_perfect_sensitivity_has_an_interval_of_some_width() -> None:
    interval = metric_interval(named("val_sensitivity_at_specificity_0.9"), [0] * 9 + [1] * 9, [0.1] * 9 + [0.9] * 9)
    assert interval is not None and interval.value == interval.high == 1 and 0.6 < interval.low < 0.8


def test_eyes_of_one_class_have_no_curve() -> None:
    with pytest.raises(MetricError, match="None of the 2 eyes is RDR"):
        metric_value(named("val_sensitivity_at_specificity_0.9"), [0, 0], [0.1, 0.2])
