"""The eyes that a bootstrap draws: the same for every score and every model that is compared.

Where photographs belong together, as both eyes of a patient do, it draws patients: eyes of one patient are alike, so
that drawing each by itself gives intervals that are too narrow.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.errors import MetricError

_CELLS_AT_ONCE = 2_000_000  # of resamples x eyes, 16 MB per array


def clusters(groups: ArrayLike | None, n: int) -> NDArray[np.int64] | None:
    """The cluster of each eye, numbered from 0; None where every eye is a cluster of its own.

    Args:
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.
        n: Number of eyes.

    Raises:
        MetricError: If there is not one group per eye.

    Example:
        >>> clusters([7, 3, 7], 3).tolist(), clusters([7, 3, 5], 3)
        ([1, 0, 1], None)
    """
    if groups is None:
        return None
    values = np.asarray(groups)
    if values.shape != (n,):
        raise MetricError(f"Groups of shape {values.shape} do not fit {n} eyes; pass one group per eye.")
    distinct, cluster = np.unique(values, return_inverse=True)
    return None if distinct.size == n else cluster.astype(np.int64)


def drawn_counts(
    truth: NDArray[np.int64],
    resamples: int,
    seed: int,
    cluster: NDArray[np.int64] | None = None,
    cells: int = _CELLS_AT_ONCE,
) -> Iterator[NDArray[np.float64]]:
    """How often each eye is drawn, with replacement, within its class.

    With clusters whole patients are drawn, those with a referable eye and the others each among themselves. If every
    patient has a referable eye, those with another eye and those without are drawn among themselves. So each resample
    has both classes.

    Args:
        truth: 0 or 1, shape `(n,)`.
        resamples: Number of resamples.
        seed: The same seed gives the same draws.
        cluster: The patient of each eye as `clusters` numbers them, shape `(n,)`; None where each eye is drawn alone.
        cells: About how many counts are made at once; changes nothing in them.

    Yields:
        Counts, shape `(some resamples, n)`; without clusters a row adds up to n.

    Source:
        Rutter (2000), Bootstrap estimation of diagnostic accuracy with patient-clustered data, Academic Radiology
        7(6), 413-419.
    """
    stratum = truth if cluster is None else _strata(truth, cluster)
    draws = np.random.default_rng(seed).spawn(2)  # one per stratum: the number of rows per step changes nothing
    places = [np.flatnonzero(stratum == label) for label in (0, 1)]
    rows_at_once = max(1, cells // truth.size)
    for first in range(0, resamples, rows_at_once):
        rows = min(rows_at_once, resamples - first)
        counts = np.zeros((rows, stratum.size))
        for draw, members in zip(draws, places, strict=True):
            if not members.size:
                continue
            chosen = members[draw.integers(0, members.size, (rows, members.size))]
            chosen += stratum.size * np.arange(rows)[:, None]
            counts += np.bincount(chosen.ravel(), minlength=counts.size).reshape(counts.shape)
        yield counts if cluster is None else counts[:, cluster]


def _strata(truth: NDArray[np.int64], cluster: NDArray[np.int64]) -> NDArray[np.int64]:
    """The stratum of each cluster, 0 or 1, shape `(clusters,)`."""
    referable, other = (np.bincount(cluster, weights=truth == label) > 0 for label in (1, 0))
    return (referable if not referable.all() else ~other).astype(np.int64)
