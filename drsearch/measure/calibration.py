"""Is an eye called RDR with probability 0.8 referable 8 times in 10? Brier score, calibration error, temperature.

Labels are 0 (NRDR) or 1 (RDR) and probabilities those of RDR, both of shape `(n,)`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.measure.bootstrap import drawn_counts
from drsearch.measure.scores import CONFIDENCE, Interval, _both_classes, _checked

BINS = 10
"""Of equal width over 0..1, in which the expected calibration error compares probability and share."""

TEMPERATURES = (0.25, 4.0)
"""What a fitted temperature is held between: beyond, a few eyes decide."""

_CLIPPED = 1e-7  # as Keras clips: log-odds of a rounded 0 or 1 stay finite


@dataclass(frozen=True)
class Calibration:
    """How far probabilities can be taken at their word.

    Attributes:
        brier: Mean squared distance between probability and label: 0 is perfect, 0.25 is what 0.5 for every eye gets.
        ece: Expected calibration error over 10 bins of equal width.
    """

    brier: Interval
    ece: Interval


def calibration(labels: ArrayLike, probabilities: ArrayLike, resamples: int = 2000, seed: int = 0) -> Calibration:
    """Brier score and expected calibration error with 95 % percentile bootstrap intervals, drawn within each class.

    The calibration error of few eyes is too high (an empty gap can only widen), and so is its interval: compare it
    between models on the same eyes, not between sets.

    Raises:
        MetricError: If a class is missing, or the arrays are no labels and probabilities of the same eyes.

    Source:
        Brier (1950), Monthly Weather Review 78(1), 1-3. Calibration error: Naeini et al. (2015), AAAI, 2901-2907, for
        the probability of the positive class.
    """
    truth, chance = _checked(labels, probabilities)
    _both_classes(truth)
    errors = calibration_terms(truth, chance)
    drawn = np.concatenate([errors.of(counts) for counts in drawn_counts(truth, resamples, seed)], axis=1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=1)
    point = errors.of(np.ones((1, truth.size)))[:, 0]
    brier, ece = (Interval(*map(float, one)) for one in zip(point, low, high, strict=True))
    return Calibration(brier, ece)


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
        """Brier score and calibration error of resampled eyes, shape `(2, rows)`, from counts `(rows, n)`."""
        n = self.squares.size
        result: NDArray[np.float64] = np.stack([counts @ self.squares, np.abs(counts @ self.gaps).sum(1)]) / n
        return result


def calibration_terms(truth: NDArray[np.int64], chance: NDArray[np.float64]) -> CalibrationTerms:
    """The terms of eyes whose labels and probabilities were checked."""
    gaps = np.zeros((truth.size, BINS))
    gaps[np.arange(truth.size), _bins(chance)] = chance - truth
    return CalibrationTerms((chance - truth) ** 2, gaps)


def reliability(labels: ArrayLike, probabilities: ArrayLike) -> list[tuple[float, float, int]]:
    """Mean probability, share of RDR and number of eyes of every bin that has any.

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
    """Probabilities whose log-odds are divided by a temperature: above 1 they become less sure, 1 changes nothing.

    Args:
        probabilities: In 0..1, any shape.
        temperature: Above 0.

    Source:
        Guo et al. (2017), On Calibration of Modern Neural Networks, ICML. For two classes dividing the logits before
        the softmax and dividing the log-odds are the same.
    """
    from scipy.special import expit, logit

    raw = np.clip(np.asarray(probabilities, np.float64), _CLIPPED, 1 - _CLIPPED)
    return np.asarray(expit(logit(raw) / temperature))


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, str]:
    """The temperature at which probabilities say best what these eyes are, by their likelihood.

    Eyes that the probabilities separate without an error are ever better explained the surer one is: the likelihood has
    no best temperature then, and 1 is kept. Elsewhere it is held within 0.25..4.

    Returns:
        The temperature, and what there is to know of it: empty where the likelihood has its best inside the bounds.

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
    found = minimize_scalar(lambda log_t: -log_expit(odds / np.exp(log_t)).mean(), bounds=(low, high), method="bounded")
    fitted = float(np.exp(found.x))
    for bound in TEMPERATURES:
        if np.isclose(fitted, bound, rtol=1e-3):
            return bound, f"held at its bound of {bound:g}"
    return fitted, ""
