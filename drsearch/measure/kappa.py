"""Agreement of predicted grades with the true ones: quadratic weighted kappa."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.errors import MetricError
from drsearch.measure.bootstrap import clusters, drawn_counts
from drsearch.measure.scores import Interval, percentile_intervals


@dataclass(frozen=True)
class Graded:
    """The grades of some eyes, 0 to 4, shape `(n,)` each.

    Attributes:
        grades: The true ones.
        predicted: Those that a network gives.
    """

    grades: NDArray[np.integer[Any]]
    predicted: NDArray[np.integer[Any]]


def quadratic_kappa(graded: Graded) -> float:
    """Cohen's kappa with weights that grow with the square of the distance between two grades.

    Returns:
        1 where all grades agree, 0 for the agreement that chance gives, below 0 for less.

    Raises:
        MetricError: If there is no eye, or all eyes have and get the same grade.

    Example:
        >>> round(quadratic_kappa(Graded(np.array([0, 1, 2, 4]), np.array([0, 2, 2, 3]))), 3)
        0.852

    Source:
        Cohen (1968), Weighted kappa, Psychological Bulletin 70(4), 213-220, doi:10.1037/h0026256.
    """
    value = float(_kappas(graded, np.ones((1, graded.grades.size)))[0])
    if not np.isfinite(value):
        raise MetricError(
            f"Kappa is undefined, since the {graded.grades.size} eyes have one grade and get the same; score eyes of "
            "several grades."
        )
    return value


def kappa_interval(
    labels: ArrayLike, graded: Graded, groups: ArrayLike | None = None, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The quadratic weighted kappa with its 95 % percentile interval, by the same resamples as `scores`.

    Args:
        labels: 0 or 1, shape `(n,)`: eyes are drawn within each class.
        graded: The grades of the same eyes.
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.
        resamples: Number of resamples; those in which kappa is undefined do not count.
        seed: The same seed gives the same interval.

    Raises:
        MetricError: If there is no eye, or all eyes have and get the same grade.
    """
    truth, value = np.asarray(labels, np.int64), quadratic_kappa(graded)
    draws = drawn_counts(truth, resamples, seed, clusters(groups, truth.size))
    drawn = np.concatenate([_kappas(graded, counts) for counts in draws])
    (interval,) = percentile_intervals(np.array([value]), drawn[np.isfinite(drawn)][None])
    return interval


def _kappas(graded: Graded, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kappa of every row of counts `(rows, n)`, shape `(rows,)`; NaN where it is undefined.

    The expected disagreement, the sum of (i - j)^2 over all pairs of a true and a predicted grade, follows from sums
    over eyes.
    """
    true, predicted = (np.asarray(each, np.float64) for each in (graded.grades, graded.predicted))
    observed, sums = counts @ (true - predicted) ** 2, (counts @ true) * (counts @ predicted)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = counts @ (true**2 + predicted**2) - 2 * sums / counts.sum(axis=1)
        return np.where(expected > 0, 1 - observed / expected, np.nan)
