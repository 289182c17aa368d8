"""Are the points of the ROC curve those of the thresholds?"""

import numpy as np
import pytest

from drsearch.errors import MetricError
from drsearch.measure.curves import curve_bands, roc_curve
from drsearch.measure.scores import confusion_matrix


def test_every_point_is_the_confusion_matrix_at_its_threshold() -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = np.arange(60) % 2, np.round(rng.uniform(size=60), 1)
    curve = roc_curve(labels, probabilities)
    for x, y, threshold in zip(curve.false_positive_rate, curve.true_positive_rate, curve.thresholds, strict=True):
        counts = confusion_matrix(labels, probabilities, threshold)
        assert (x, y) == pytest.approx(tuple(counts[:, 1] / counts.sum(axis=1)))


def test_the_area_is_that_under_the_points() -> None:
    rng = np.random.default_rng(1)
    labels, probabilities = np.arange(80) % 2, np.round(rng.uniform(size=80), 1)
    curve = roc_curve(labels, probabilities)
    assert curve.auc == pytest.approx(np.trapezoid(curve.true_positive_rate, curve.false_positive_rate))


def test_a_missing_class_has_no_curve() -> None:
    with pytest.raises(MetricError) as refused:
        roc_curve([1, 1, 1], [0.1, 0.2, 0.3])
    assert str(refused.value) == (
        "None of the 3 eyes is NRDR, so AUC, sensitivity and specificity are undefined; score a set with both classes."
    )


def test_bands_lie_around_their_curves_and_agree_with_the_scores() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 40])
    probabilities = np.clip(0.3 * labels + random.normal(0.4, 0.2, 100), 0, 1)
    roc, recall = curve_bands(labels, probabilities)
    for band in (roc, recall):
        assert (band.low <= band.y + 1e-9).mean() > 0.95 and (band.y <= band.high + 1e-9).mean() > 0.95
    called = probabilities > np.sort(probabilities[labels == 0])[-13]  # 12 of 60 others: specificity 0.8
    assert roc.y[20] == called[labels == 1].mean()
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(roc_curve(labels, probabilities).auc, abs=0.02)
    assert recall.y[100] == pytest.approx(40 / (probabilities >= probabilities[labels == 1].min()).sum())


def test_whole_patients_give_wider_bands_than_their_eyes() -> None:
    random = np.random.default_rng(1)
    labels, groups = np.repeat([0, 1], 40), np.repeat(np.arange(20), 4)
    probabilities = np.repeat(random.random(20), 4)
    (alone, _), (together, _) = curve_bands(labels, probabilities), curve_bands(labels, probabilities, groups)
    assert (together.high - together.low).mean() > 1.3 * (alone.high - alone.low).mean()
