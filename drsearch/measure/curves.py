"""The points of the ROC curve, and bands around it and around the precision-recall curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.measure.bootstrap import clusters, drawn_counts
from drsearch.measure.scores import CONFIDENCE, _both_classes, _checked, auc

_RESAMPLES = 1000
_GRID = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class RocCurve:
    """The ROC curve, from calling no eye referable to calling every eye so.

    Attributes:
        false_positive_rate: 1 - specificity, rising from 0 to 1, shape `(points,)`.
        true_positive_rate: Sensitivity, rising from 0 to 1, shape `(points,)`.
        thresholds: An eye is called RDR from this probability on, falling from infinity, shape `(points,)`.
        auc: The area under it.
    """

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    auc: float


def roc_curve(labels: ArrayLike, probabilities: ArrayLike) -> RocCurve:
    """The ROC curve of a set of predictions; points inside a straight piece are left out.

    Args:
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.

    Raises:
        MetricError: If a class is missing, or the arrays are no labels and probabilities of the same eyes.

    Example:
        >>> curve = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        >>> curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist()
        ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    from sklearn import metrics  # here: it takes a second to import, and most users of this room want scores only

    area = auc(labels, probabilities)  # first: it raises where there is no curve
    false_positive, true_positive, thresholds = metrics.roc_curve(np.asarray(labels), np.asarray(probabilities))
    return RocCurve(false_positive, true_positive, thresholds.astype(np.float64), area)


@dataclass(frozen=True)
class Band:
    """A curve with its 95 % band, at each place by itself.

    Attributes:
        x: From 0 to 1, shape `(101,)`.
        y: The curve.
        low: Lower edge of the band.
        high: Upper edge.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def curve_bands(labels: ArrayLike, probabilities: ArrayLike, groups: ArrayLike | None = None) -> tuple[Band, Band]:
    """The ROC and the precision-recall curve, with the bands of one bootstrap of eyes within each class.

    Args:
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.
        groups: As for `scores`: whole patients are drawn.

    Returns:
        The sensitivity at each 1 - specificity; and the precision (positive predictive value among these eyes) at each
        sensitivity.

    Raises:
        MetricError: If a class is missing, or the arrays are no labels and probabilities of the same eyes.

    Source:
        Vertical averaging: Fawcett (2006), An introduction to ROC analysis, Pattern Recognition Letters 27, 861-874.

    Example:
        >>> roc, recall = curve_bands([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        >>> roc.y[[0, 49, 50, 100]].tolist(), recall.y[[50, 100]].round(3).tolist()
        ([0.5, 0.5, 1.0, 1.0], [1.0, 0.667])
    """
    truth, chance = _checked(labels, probabilities)
    _both_classes(truth)
    falling = np.argsort(-chance, kind="stable")
    last = np.flatnonzero(np.diff(chance[falling], append=-1.0))  # of equal probabilities

    def curves(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        ordered, referable = counts[falling], truth[falling] == 1
        true, false = (np.cumsum(ordered * of_class)[last] for of_class in (referable, ~referable))
        return np.stack([_sensitivity(true, false), _precision(true, false)])

    drawn = [
        curves(row) for counts in drawn_counts(truth, _RESAMPLES, 0, clusters(groups, truth.size)) for row in counts
    ]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    roc, recall = (Band(_GRID, *band) for band in zip(curves(np.ones(truth.size)), low, high, strict=True))
    return roc, recall


def _sensitivity(true: NDArray[np.float64], false: NDArray[np.float64]) -> NDArray[np.float64]:
    """At each 1 - specificity, from the numbers of eyes called rightly and wrongly at each threshold."""
    places = np.searchsorted(false / false[-1], _GRID + 1e-12, side="right") - 1  # the most that its cost allows
    return np.where(places >= 0, (true / true[-1])[places], 0.0)


def _precision(true: NDArray[np.float64], false: NDArray[np.float64]) -> NDArray[np.float64]:
    """At each sensitivity."""
    places = np.searchsorted(true / true[-1], _GRID - 1e-12)  # the highest threshold that finds that many
    called = true + false
    return (true / np.maximum(called, 1e-12))[np.maximum(places, np.argmax(called > 0))]
