"""Metrics of the ROC curve at stated levels, and any metric by its name.

Labels are 0 (NRDR) or 1 (RDR) and probabilities those of RDR, both of shape `(n,)`.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.errors import MetricError
from drsearch.measure.bootstrap import clusters, drawn_counts
from drsearch.measure.calibration import brier, calibration
from drsearch.measure.kappa import Graded, kappa_interval, quadratic_kappa
from drsearch.measure.scores import (
    _CELLS_AT_ONCE,
    SCORE_NAMES,
    Interval,
    TallyTerms,
    _both_classes,
    _checked,
    _independent,
    _with_width,
    accuracy,
    auc,
    confusion_matrix,
    percentile_intervals,
)
from drsearch.metrics import Metric

OwnMetric = Callable[[NDArray[np.int64], NDArray[np.float32]], float]
"""A metric of a space file: of labels, 0 or 1, and the probabilities of RDR, `(n,)` both; more is better."""

_ROUNDING = 1e-12  # a share of 9 in 10 reaches the level 0.9


def metric_value(
    metric: Metric,
    labels: ArrayLike,
    probabilities: ArrayLike,
    own: OwnMetric | None = None,
    graded: Graded | None = None,
) -> float:
    """The value of a metric other than the loss; what needs a threshold has that of trials, 0.5.

    `sensitivity_at_specificity` is the highest sensitivity of all thresholds at which the specificity is at least the
    metric's level, `specificity_at_sensitivity` the reverse. `partial_auc_at_specificity` is the area under the ROC
    curve between two specificities, scaled so that 0.5 is chance and 1 is perfect; 0 at the least.

    Args:
        metric: What to measure.
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.
        own: Measures `own`, which nothing else can.
        graded: The grades of the eyes, which `kappa` is of.

    Raises:
        MetricError: If a class is missing, the arrays are no labels and probabilities of the same eyes, or `own`
            returns no number.

    Example:
        >>> metric = Metric("", "sensitivity_at_specificity", (0.9,))
        >>> metric_value(metric, [0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.4, 0.8, 0.9])
        0.6666666666666666

    Source:
        As `keras.metrics.SensitivityAtSpecificity`, over all thresholds instead of 200. McClish (1989), Analyzing a
        portion of the ROC curve, Medical Decision Making 9(3), 190-195.
    """
    match metric.kind:
        case "own":
            truth, chance = _checked(labels, probabilities)
            value = _of_space(own, truth, chance)
            if not math.isfinite(value):
                raise MetricError(f"objective(labels, probabilities) of the space file returned {value}")
            return value
        case "auc":
            return auc(labels, probabilities)
        case "accuracy":
            return accuracy(labels, probabilities)
        case "brier":
            return brier(labels, probabilities)
        case "kappa":
            assert graded is not None, "a study of val_kappa without grades is refused"
            return quadratic_kappa(graded)
        case "sensitivity" | "specificity":
            counts = confusion_matrix(labels, probabilities)[int(metric.kind == "sensitivity")]
            return float(counts[int(metric.kind == "sensitivity")] / counts.sum())
    truth, of_counts = _terms(metric, labels, probabilities)
    return float(of_counts(np.ones((1, truth.size)))[0])


def metric_interval(
    metric: Metric,
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
    own: OwnMetric | None = None,
    graded: Graded | None = None,
) -> Interval | None:
    """A metric that `Scores` lacks, with its 95 % interval by the bootstrap of `scores`.

    Args:
        metric: What to measure.
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.
        resamples: Number of resamples.
        seed: The same seed gives the same interval.
        own: Measures `own`, which nothing else can.
        graded: The grades of the eyes, which `kappa` is of.

    Returns:
        None for the loss, and for what `Scores` has.

    Raises:
        MetricError: If a class is missing, the arrays are no labels and probabilities of the same eyes, or `own`
            returns no number.
    """
    if metric.kind in ("loss", *SCORE_NAMES):
        return None
    if metric.kind == "brier":
        return calibration(labels, probabilities, resamples, seed, groups).brier
    if metric.kind == "kappa":
        assert graded is not None, "a study of val_kappa without grades is refused"
        return kappa_interval(labels, graded, groups, resamples, seed)
    truth, of_counts = _terms(metric, labels, probabilities, own)
    cluster = clusters(groups, truth.size)
    drawn = [of_counts(counts) for counts in drawn_counts(truth, resamples, seed, cluster, _CELLS_AT_ONCE)]
    values = np.concatenate(drawn)
    values = values[np.isfinite(values)]  # a metric of a space may be undefined for some draws
    (interval,) = percentile_intervals(of_counts(np.ones((1, truth.size))), values[None])
    if metric.kind in ("partial_auc_at_specificity", "own"):
        return interval  # no share of eyes
    counted = truth == int(metric.kind == "sensitivity_at_specificity")
    return _with_width(interval, _independent(counted, cluster))


def _of_space(own: OwnMetric | None, truth: NDArray[np.int64], chance: NDArray[np.float64]) -> float:
    assert own is not None, "a study of val_own without a function is refused"
    return float(own(truth, chance.astype(np.float32)))


def _terms(
    metric: Metric, labels: ArrayLike, probabilities: ArrayLike, own: OwnMetric | None = None
) -> tuple[NDArray[np.int64], Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
    """The labels, and the metric of each row of counts `(rows, n)`, shape `(rows,)`."""
    truth, chance = _checked(labels, probabilities)
    _both_classes(truth)
    if metric.kind == "own":

        def of_draws(counts: NDArray[np.float64]) -> NDArray[np.float64]:
            draws = (np.repeat(np.arange(truth.size), row.astype(int)) for row in counts)
            return np.array([_of_space(own, truth[drawn], chance[drawn]) for drawn in draws])

        return truth, of_draws
    _, place = np.unique(chance, return_inverse=True)
    tallies = TallyTerms(truth, place)
    return truth, lambda counts: _of_curve(metric, *_curve(*tallies.of(counts)))


def _curve(
    negatives: NDArray[np.int64], positives: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sensitivity and specificity of every row at every threshold, rising, shape `(rows, values + 1)` each."""
    below = [np.cumsum(np.pad(tallies, ((0, 0), (1, 0))), axis=1) for tallies in (negatives, positives)]
    left, missed = below
    return (missed[:, -1:] - missed) / missed[:, -1:], left / left[:, -1:]


def _of_curve(
    metric: Metric, sensitivity: NDArray[np.float64], specificity: NDArray[np.float64]
) -> NDArray[np.float64]:
    if metric.kind == "sensitivity_at_specificity":
        return _best_at(sensitivity, specificity, metric.levels[0])
    if metric.kind == "specificity_at_sensitivity":
        return _best_at(specificity, sensitivity, metric.levels[0])
    return _area(sensitivity[:, ::-1], 1 - specificity[:, ::-1], *metric.levels)


def _best_at(score: NDArray[np.float64], other: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    best: NDArray[np.float64] = np.where(other >= level - _ROUNDING, score, 0.0).max(1)
    return best


def _area(y: NDArray[np.float64], x: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """McClish's standardised area under lines through the points (x, y), x rising, between 1 - high and 1 - low."""
    first, last = 1 - high, 1 - low
    run, rise = np.diff(x, axis=1), np.diff(y, axis=1)
    left, right = (np.clip(side, first, last) for side in (x[:, :-1], x[:, 1:]))
    slope = np.divide(rise, run, out=np.zeros_like(rise), where=run > 0)
    middle = y[:, :-1] + slope * ((left + right) / 2 - x[:, :-1])
    area = ((right - left) * middle).sum(1)
    chance, perfect = (last**2 - first**2) / 2, last - first
    standardised: NDArray[np.float64] = 0.5 * (1 + (area - chance) / (perfect - chance))
    return standardised
