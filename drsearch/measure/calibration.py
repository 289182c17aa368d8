"""Whether probabilities mean what they say: Brier score, calibration error, temperature.

Labels are 0 (NRDR) or 1 (RDR) and probabilities those of RDR, both of shape `(n,)`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.measure.bootstrap import clusters, drawn_counts
from drsearch.measure.scores import Interval, _both_classes, _checked, percentile_intervals

BINS = 10
"""Number of bins of equal width over 0..1 in which the calibration error compares probability and share of RDR."""

TEMPERATURES = (0.25, 4.0)
"""The bounds of a fitted temperature: beyond them, a few eyes decide."""

_CLIPPED = 1e-7  # as Keras clips: log-odds of a rounded 0 or 1 stay finite


@dataclass(frozen=True)
class Calibration:
    """How far probabilities mean what they say.

    Attributes:
        brier: Mean squared distance between probability and label: 0 is perfect, 0.25 is what 0.5 for every eye gets.
        ece: Expected calibration error over 10 bins of equal width.
    """

    brier: Interval
    ece: Interval


def calibration(
    labels: ArrayLike,
    probabilities: ArrayLike,
    resamples: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Calibration:
    """The Brier score and the expected calibration error, with 95 % bootstrap intervals, see `drawn_counts`.

    The calibration error of few eyes is too high (an empty gap can only widen), and so is its interval: compare it
    between models on the same eyes, not between sets.

    Args:
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.
        resamples: Number of resamples.
        seed: The same seed gives the same intervals.
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.

    Raises:
        MetricError: If a class is missing, or the arrays are no labels and probabilities of the same eyes.

    Source:
        Brier (1950), Monthly Weather Review 78(1), 1-3. Calibration error: Naeini et al. (2015), AAAI, 2901-2907, for
        the probability of the positive class.
    """
    truth, chance = _checked(labels, probabilities)
    _both_classes(truth)
    errors, cluster = calibration_terms(truth, chance), clusters(groups, truth.size)
    drawn = np.concatenate([errors.of(counts) for counts in drawn_counts(truth, resamples, seed, cluster)], axis=1)
    return Calibration(*percentile_intervals(errors.of(np.ones((1, truth.size)))[:, 0], drawn))


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The mean squared distance between probability and label, in 0..1.

    Raises:
        MetricError: If the arrays are no labels and probabilities of the same eyes.

    Example:
        >>> brier([0, 1], [0.5, 1.0])
        0.125
    """
    truth, chance = _checked(labels, probabilities)
    return float(np.mean((chance - truth) ** 2))


def calibration_error(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The expected calibration error: mean gap between probability and share of RDR over 10 bins, by their eyes.

    Bins are of equal width over 0..1, closed below; the last one holds 1.

    Raises:
        MetricError: If the arrays are no labels and probabilities of the same eyes.

    Example:
        >>> round(calibration_error([0, 1, 1, 1], [0.75, 0.75, 0.75, 0.75]), 6)
        0.0
    """
    truth, chance = _checked(labels, probabilities)
    return float(calibration_terms(truth, chance).of(np.ones((1, truth.size)))[1, 0])


@dataclass(frozen=True)
class CalibrationTerms:
    """What each eye adds to both calibration scores.

    Attributes:
        squares: Squared distances, shape `(n,)`.
        gaps: Probability minus label in the eye's bin, 0 in the others, shape `(n, BINS)`.
    """

    squares: NDArray[np.float64]
    gaps: NDArray[np.float64]

    def of(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The Brier score and calibration error of resampled eyes, shape `(2, rows)`, from counts `(rows, n)`."""
        sums = np.stack([counts @ self.squares, np.abs(counts @ self.gaps).sum(1)])
        result: NDArray[np.float64] = sums / counts.sum(1)
        return result


def calibration_terms(truth: NDArray[np.int64], chance: NDArray[np.float64]) -> CalibrationTerms:
    """The terms of eyes whose labels and probabilities were checked."""
    gaps = np.zeros((truth.size, BINS))
    gaps[np.arange(truth.size), _bins(chance)] = chance - truth
    return CalibrationTerms((chance - truth) ** 2, gaps)


def reliability(labels: ArrayLike, probabilities: ArrayLike) -> list[tuple[float, float, int]]:
    """The mean probability, share of RDR and number of eyes of every bin that has any.

    Raises:
        MetricError: If the arrays are no labels and probabilities of the same eyes.
    """
    truth, chance = _checked(labels, probabilities)
    bins = _bins(chance)
    return [
        (float(chance[bins == i].mean()), float(truth[bins == i].mean()), int((bins == i).sum()))
        for i in np.unique(bins)
    ]


def _bins(chance: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.clip((chance * BINS).astype(np.int64), 0, BINS - 1)


def tempered(probabilities: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """The probabilities with their log-odds divided by a temperature: above 1 they become less sure, 1 changes nothing.

    Args:
        probabilities: In 0..1, any shape.
        temperature: Above 0.

    Example:
        >>> tempered([0.1, 0.5, 0.9], 2.0).round(2).tolist()
        [0.25, 0.5, 0.75]

    Source:
        Guo et al. (2017), On Calibration of Modern Neural Networks, ICML. For two classes dividing the logits before
        the softmax and dividing the log-odds are the same.
    """
    from scipy.special import expit, logit

    raw = np.clip(np.asarray(probabilities, np.float64), _CLIPPED, 1 - _CLIPPED)
    return np.asarray(expit(logit(raw) / temperature))


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, str]:
    """The temperature that maximises the likelihood of these labels, within 0.25..4.

    If every eye lies on its side of one half, the likelihood rises for ever as the temperature falls; 1 is kept then.

    Args:
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.

    Returns:
        The temperature, and a remark: empty where the likelihood has its maximum within the bounds.

    Raises:
        MetricError: If a class is missing, or the arrays are no labels and probabilities of the same eyes.

    Source:
        Guo et al. (2017), On Calibration of Modern Neural Networks, ICML.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_expit, logit

    truth, chance = _checked(labels, probabilities)
    _both_classes(truth)
    odds = logit(np.clip(chance, _CLIPPED, 1 - _CLIPPED)) * np.where(truth == 1, 1.0, -1.0)  # above 0: right
    if (odds > 0).all():
        return 1.0, f"all {truth.size} eyes lie on their side of one half, which fits no temperature; 1 is kept"
    low, high = np.log(TEMPERATURES)
    optimum = minimize_scalar(
        lambda log_t: -log_expit(odds / np.exp(log_t)).mean(), bounds=(low, high), method="bounded"
    )
    fitted = float(np.exp(optimum.x))
    for bound in TEMPERATURES:
        if np.isclose(fitted, bound, rtol=1e-3):
            return bound, f"at its limit of {bound:g}"
    return fitted, ""
