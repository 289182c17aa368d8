"""Are the points of the ROC curve those of the thresholds?"""

import numpy as np
import pytest

from drsearch.errors import MetricError
from drsearch.measure.curves import roc_curve
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
