"""Paired differences of two models on the same eyes, with their intervals.

Labels are 0 (NRDR) or 1 (RDR), probabilities those of RDR, all of shape `(n,)` and of the same eyes in the same order.
Differences are the first model's value minus the second's.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.errors import MetricError
from drsearch.measure.bootstrap import clusters, drawn_counts
from drsearch.measure.calibration import CalibrationTerms, calibration_terms
from drsearch.measure.scores import (
    CONFIDENCE,
    Interval,
    TallyTerms,
    _auc_of,
    _both_classes,
    _checked,
    percentile_intervals,
)


@dataclass(frozen=True)
class AucDifference:
    """The comparison of two areas by their asymptotic variance.

    Attributes:
        difference: First minus second, with its 95 % interval.
        p: Two-sided, that the areas are equal.
    """

    difference: Interval
    p: float


@dataclass(frozen=True)
class McNemar:
    """Eyes on which two models disagree.

    Attributes:
        first_only: Eyes that only the first model calls wrong.
        second_only: Eyes that only the second model calls wrong.
        p: Two-sided and exact, that both make as many errors; by patients where they are known.
    """

    first_only: int
    second_only: int
    p: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same eyes, the first minus the second.

    Attributes:
        auc: By DeLong, or by Obuchowski where patients are known.
        auc_bootstrap: The same by the bootstrap.
        accuracy: And the following by the bootstrap.
        sensitivity: Each model at its own threshold.
        specificity: Likewise.
        brier: Below 0: the first is better.
        ece: Below 0: the first is better.
        mcnemar: On the errors.
        by_patients: Whether some patient has several eyes, so that patients were drawn.
    """

    auc: AucDifference
    auc_bootstrap: Interval
    accuracy: Interval
    sensitivity: Interval
    specificity: Interval
    brier: Interval
    ece: Interval
    mcnemar: McNemar
    by_patients: bool = False

    def to_json(self) -> dict[str, Any]:
        """The comparison as numbers and dicts, as `--json` prints it."""
        return asdict(self)


def compare(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    thresholds: tuple[float, float] = (0.5, 0.5),
    resamples: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Comparison:
    """Compare two models on the same eyes.

    Bootstrap intervals are 95 % percentiles; each resample draws eyes within their class, or patients where `groups`
    tells them, the same for both models.

    Args:
        labels: 0 or 1.
        first: Probabilities of one model.
        second: Of the other.
        thresholds: From which probability on each calls an eye RDR.
        resamples: Number of resamples.
        seed: The same seed gives the same intervals.
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.

    Returns:
        Every difference with its interval, and McNemar's test.

    Raises:
        MetricError: If a class has fewer than two eyes or patients, or the arrays are not of the same eyes.
    """
    area = delong(labels, first, second, groups)
    truth, one = _checked(labels, first)
    _, other = _checked(labels, second)
    models = [_Terms(truth, chance, cut) for chance, cut in zip((one, other), thresholds, strict=True)]
    point = _difference(models, np.ones((1, truth.size)))[:, 0]
    cluster = clusters(groups, truth.size)
    draws = drawn_counts(truth, resamples, seed, cluster)
    drawn = np.concatenate([_difference(models, counts) for counts in draws], axis=1)
    errors = mcnemar(truth, one >= thresholds[0], other >= thresholds[1], groups)
    auc, *rest = percentile_intervals(point, drawn)
    differences = dict(zip(_COMPARED, rest, strict=True))
    return Comparison(area, auc, **differences, mcnemar=errors, by_patients=cluster is not None)


def delong(labels: ArrayLike, first: ArrayLike, second: ArrayLike, groups: ArrayLike | None = None) -> AucDifference:
    """The difference of two areas under the ROC curve on the same eyes, by DeLong's variance.

    With groups the variance is Obuchowski's, which adds what eyes of one patient have in common, and is DeLong's where
    every patient has one eye.

    Where no draw of the eyes can change the difference (neither model puts a pair in the wrong order, say), the
    variance is 0 and so is the interval's width: such eyes tell nothing about others.

    Args:
        labels: 0 or 1, shape `(n,)`.
        first: Probabilities of RDR of one model, shape `(n,)`.
        second: Of the other.
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.

    Raises:
        MetricError: If a class has fewer than two eyes or patients, or the arrays are not of the same eyes.

    Source:
        DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44(3), 837-845; by midranks after Sun and Xu (2014), IEEE
        Signal Processing Letters 21(11), 1389-1393, in O(n log n). With groups: Obuchowski (1997), Nonparametric
        analysis of clustered ROC curve data, Biometrics 53(2), 567-578.
    """
    from scipy.stats import norm, rankdata

    truth, one = _checked(labels, first)
    _, other = _checked(labels, second)
    _both_classes(truth)
    positive = truth == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if min(n_positive, n_negative) < 2:
        raise MetricError(
            f"There are {n_positive} RDR and {n_negative} NRDR eyes; two areas are compared from two eyes of each on."
        )
    cluster = clusters(groups, truth.size)
    if cluster is not None and min(np.unique(cluster[truth == label]).size for label in (0, 1)) < 2:
        raise MetricError("The eyes of one class are of one patient; two areas are compared from two patients of each.")
    both = np.stack([one, other])
    ranks = rankdata(both, axis=1)
    of_positives = (ranks[:, positive] - rankdata(both[:, positive], axis=1)) / n_negative
    of_negatives = 1 - (ranks[:, ~positive] - rankdata(both[:, ~positive], axis=1)) / n_positive
    if cluster is None:
        covariance = np.cov(of_positives) / n_positive + np.cov(of_negatives) / n_negative
    else:
        covariance = _clustered_covariance(of_positives, of_negatives, cluster[positive], cluster[~positive])
    areas = of_positives.mean(1)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = float(np.sqrt(variance)) if variance > 1e-14 else 0.0  # rounding leaves some 1e-17 of nothing
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * error
    if error:
        p = float(2 * norm.sf(abs(difference) / error))
    else:
        p = float(abs(difference) < 1e-9)
    return AucDifference(Interval(difference, max(-1.0, difference - half), min(1.0, difference + half)), p)


def _clustered_covariance(
    of_positives: NDArray[np.float64],
    of_negatives: NDArray[np.float64],
    positive_cluster: NDArray[np.int64],
    negative_cluster: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The covariance of the areas of several models, shape `(models, models)`, after Obuchowski (1997).

    Args:
        of_positives: Share of the other eyes below each referable eye, shape `(models, referable eyes)`.
        of_negatives: Share of referable eyes above each other eye, shape `(models, other eyes)`.
        positive_cluster: The patient of each referable eye.
        negative_cluster: The patient of each other eye.
    """
    n = 1 + int(max(positive_cluster.max(), negative_cluster.max()))

    def per_patient(components: NDArray[np.float64], cluster: NDArray[np.int64]) -> NDArray[np.float64]:
        deviations = components - components.mean(1, keepdims=True)
        return np.stack([np.bincount(cluster, row, n) for row in deviations]) / len(cluster)

    positives, negatives = per_patient(of_positives, positive_cluster), per_patient(of_negatives, negative_cluster)
    n_positive, n_negative = np.unique(positive_cluster).size, np.unique(negative_cluster).size
    between = positives @ negatives.T * n / (n - 1)
    within = positives @ positives.T * n_positive / (n_positive - 1)
    within += negatives @ negatives.T * n_negative / (n_negative - 1)
    covariance: NDArray[np.float64] = within + between + between.T
    return covariance


def mcnemar(labels: ArrayLike, first: ArrayLike, second: ArrayLike, groups: ArrayLike | None = None) -> McNemar:
    """McNemar's exact test: whether both models make as many errors that the other does not make.

    With groups it is the exact randomisation test by patients: if the models err alike, the difference of their errors
    on a patient has either sign with the same probability, independently of other patients. Where every patient has one
    eye, this is McNemar's test.

    Args:
        labels: 0 or 1, shape `(n,)`.
        first: The class that one model gives each eye, 0 or 1, shape `(n,)`.
        second: That of the other.
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.

    Returns:
        The counts of eyes on which one model alone is wrong, and the p-value.

    Raises:
        MetricError: If there is not one group per eye.

    Example:
        >>> mcnemar([1, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 0])
        McNemar(first_only=2, second_only=0, p=0.5)
        >>> mcnemar([1, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 0], groups=[8, 8, 9, 9]).p
        1.0

    Source:
        McNemar (1947), Psychometrika 12(2), 153-157; exact by the binomial distribution. By patients: Fisher (1935),
        The Design of Experiments, section 21 (randomisation of the signs of paired differences).
    """
    from scipy.stats import binomtest

    truth = np.asarray(labels, bool)
    wrong, other_wrong = np.asarray(first, bool) != truth, np.asarray(second, bool) != truth
    first_only, second_only = int((wrong & ~other_wrong).sum()), int((other_wrong & ~wrong).sum())
    n = first_only + second_only
    cluster = clusters(groups, truth.size)
    if cluster is not None:
        differences = np.bincount(cluster, wrong.astype(float) - other_wrong.astype(float))
        return McNemar(first_only, second_only, _randomised_p(differences.astype(np.int64)))
    return McNemar(first_only, second_only, float(binomtest(first_only, n).pvalue) if n else 1.0)


def _randomised_p(differences: NDArray[np.int64]) -> float:
    """The two-sided p-value of a sum of whole numbers if each could as well have the other sign, exactly."""
    from scipy.stats import binom

    probabilities = np.ones(1)  # of every second whole number from minus the largest sum on
    for size, n in enumerate(np.bincount(np.abs(differences))):
        if size and n:
            of_size = np.zeros(size * n + 1)
            of_size[::size] = binom.pmf(np.arange(n + 1), n, 0.5)
            probabilities = np.convolve(probabilities, of_size)
    sums = 2 * np.arange(probabilities.size) - (probabilities.size - 1)
    return min(1.0, float(probabilities[np.abs(sums) >= abs(int(differences.sum()))].sum()))


_COMPARED = ("accuracy", "sensitivity", "specificity", "brier", "ece")


class _Terms:
    """What each eye adds to one model's scores, so that a resample is a product with its counts."""

    def __init__(self, truth: NDArray[np.int64], chance: NDArray[np.float64], threshold: float) -> None:
        _, place = np.unique(chance, return_inverse=True)
        self._tallies = TallyTerms(truth, place)
        self._positive = truth == 1
        self._right = ((chance >= threshold) == self._positive).astype(np.float64)
        self._calibration: CalibrationTerms = calibration_terms(truth, chance)

    def scores(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """AUC, accuracy, sensitivity, specificity, Brier score and calibration error, shape `(6, rows)`."""
        right = counts * self._right
        found, left = right[:, self._positive].sum(1), right[:, ~self._positive].sum(1)
        n_positive, n_negative = counts[:, self._positive].sum(1), counts[:, ~self._positive].sum(1)
        shares = [(found + left) / (n_positive + n_negative), found / n_positive, left / n_negative]
        areas = _auc_of(*self._tallies.of(counts))
        return np.concatenate([np.stack([areas, *shares]), self._calibration.of(counts)])


def _difference(models: list[_Terms], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    first, second = (model.scores(counts) for model in models)
    return first - second
