"""Whether the heat of explanations lies where lesions are: the pointing game and shares of heat, against chance."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.errors import MetricError
from drsearch.measure.bootstrap import clusters, drawn_counts
from drsearch.measure.scores import Interval, _with_width, percentile_intervals

_FLIPS = 9999


@dataclass(frozen=True)
class Pointing:
    """Heat and regions of some eyes; every attribute has the shape `(n,)`.

    Attributes:
        hit: 1 where the strongest place of the map lies in the region, else 0; 0 without heat.
        heat: Share of the map's sum that lies in the region; 0 without heat.
        area: Share of the retina that the region covers: what both would be by chance.
    """

    hit: NDArray[np.float64]
    heat: NDArray[np.float64]
    area: NDArray[np.float64]

    @property
    def density(self) -> NDArray[np.float64]:
        """Heat per area: 1 is that of the whole retina."""
        return self.heat / self.area


@dataclass(frozen=True)
class Paired:
    """The mean of paired differences.

    Attributes:
        difference: With its 95 % interval, by a bootstrap of eyes, or of patients where they are known.
        p: Two-sided, that differences are as often positive as negative, by random signs (Fisher 1935) of eyes or
            patients; 0.0001 at least.
    """

    difference: Interval
    p: float

    def to_json(self) -> dict[str, Any]:
        """Numbers and dicts only."""
        return {**self.difference.to_json(), "p": self.p}


def point(maps: NDArray[np.float32], regions: NDArray[np.bool_], inside: NDArray[np.bool_]) -> Pointing:
    """How the heat of each eye lies to its region.

    Args:
        maps: At least 0, and 0 outside the retina, shape `(n, height, width)`.
        regions: The pixels within boxes, of the same shape; each covers some retina.
        inside: The pixels that show retina, of the same shape.

    Raises:
        MetricError: If a region covers no retina.

    Source:
        Zhang et al. (2018), Top-down neural attention by excitation backprop, IJCV 126, 1084-1102: the pointing game,
        here without tolerance.
    """
    n = len(maps)
    within = (regions & inside).reshape(n, -1)
    if not within.any(axis=1).all():
        raise MetricError("A region covers no retina; leave out eyes without one.")
    flat = maps.reshape(n, -1).astype(np.float64)
    total = flat.sum(axis=1)
    hit = within[np.arange(n), flat.argmax(axis=1)] & (total > 0)
    return Pointing(
        hit.astype(np.float64),
        np.divide((flat * within).sum(axis=1), total, out=np.zeros(n), where=total > 0),
        within.sum(axis=1) / inside.reshape(n, -1).sum(axis=1),
    )


def point_at_others(
    maps: NDArray[np.float32], regions: NDArray[np.bool_], groups: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hit and share of heat of each eye's map in the regions of the other eyes, on average: chance that knows where
    lesions and heat usually lie.

    Args:
        maps: As for `point`; at least two eyes.
        regions: As for `point`.
        groups: A value per eye that is equal for eyes of one patient, whose regions are not used; None: unknown.

    Returns:
        Both of shape `(n,)`.

    Raises:
        MetricError: If there is no other eye, or none of another patient.
    """
    n = len(maps)
    flat, within = maps.reshape(n, -1), regions.reshape(n, -1)
    total = flat.sum(axis=1, dtype=np.float64)
    hits = within[:, flat.argmax(axis=1)].T & (total > 0)[:, None]
    heat = (flat @ within.astype(np.float32).T).astype(np.float64)
    heat = np.divide(heat, total[:, None], out=np.zeros((n, n)), where=total[:, None] > 0)
    who = np.arange(n) if groups is None else np.asarray(groups)
    other = who[:, None] != who
    if not other.any(axis=1).all():
        raise MetricError("All eyes are of one patient; shuffled pairs need another one.")
    return (hits * other).sum(axis=1) / other.sum(axis=1), (heat * other).sum(axis=1) / other.sum(axis=1)


def mean(values: ArrayLike, groups: ArrayLike | None = None, resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean with its 95 % interval, by a bootstrap of eyes, or of patients where `groups` tells them.

    A share that is the same in every resample, such as 0 of 20 hits, has Wilson's interval.

    Args:
        values: Shape `(n,)`, at least one.
        groups: A value per eye that is equal for eyes of one patient; None without patients.
        resamples: Number of resamples.
        seed: The same seed gives the same interval.
    """
    numbers = np.asarray(values, np.float64)
    interval = _bootstrapped(numbers, groups, resamples, seed)
    if set(numbers) <= {0.0, 1.0}:
        cluster = clusters(groups, numbers.size)
        return _with_width(interval, numbers.size if cluster is None else int(cluster.max()) + 1)
    return interval


def _bootstrapped(numbers: NDArray[np.float64], groups: ArrayLike | None, resamples: int, seed: int) -> Interval:
    cluster = clusters(groups, numbers.size)
    counts = drawn_counts(np.ones(numbers.size, np.int64), resamples, seed, cluster)
    drawn = np.concatenate([some @ numbers / some.sum(axis=1) for some in counts])
    return percentile_intervals(np.array([numbers.mean()]), drawn[None])[0]


def paired(first: ArrayLike, second: ArrayLike, groups: ArrayLike | None = None, seed: int = 0) -> Paired:
    """The mean of the first minus the second, with its interval and a test.

    Args:
        first: Shape `(n,)`, at least one.
        second: Of the same eyes.
        groups: As for `mean`.
        seed: The same seed gives the same numbers.

    Example:
        >>> paired([0.2, 0.4, 0.3], [0.2, 0.4, 0.3]).p
        1.0
    """
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    cluster = clusters(groups, differences.size)
    sums = differences if cluster is None else np.bincount(cluster, weights=differences)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (_FLIPS, sums.size))
    as_far = np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9
    interval = _bootstrapped(differences, groups, 2000, seed)
    return Paired(interval, float((1 + as_far.sum()) / (1 + _FLIPS)))


def rank_correlation(
    first: NDArray[np.float32], second: NDArray[np.float32], inside: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Spearman's correlation of two maps of each eye over its retina; 0 where one of them is even.

    Args:
        first: Shape `(n, height, width)`.
        second: Of the same shape.
        inside: The pixels that show retina, of the same shape.

    Returns:
        Shape `(n,)`, -1 to 1.
    """
    from scipy.stats import rankdata

    correlations = np.zeros(len(first))
    for i, mask in enumerate(inside):
        one, other = (rankdata(each[i][mask]) for each in (first, second))
        if one.size and np.ptp(one) and np.ptp(other):
            correlations[i] = np.corrcoef(one, other)[0, 1]
    return correlations
