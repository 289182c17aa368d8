"""The eyes that a bootstrap draws: the same for every score and every model that is compared."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_CELLS_AT_ONCE = 2_000_000  # of resamples x eyes, 16 MB per array


def drawn_counts(truth: NDArray[np.int64], resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each eye is drawn, with replacement, within its class.

    Args:
        truth: 0 or 1, shape `(n,)`, with both classes.
        resamples: Number of resamples.
        seed: The same seed gives the same draws.

    Yields:
        Counts, shape `(some resamples, n)`; a row adds up to n.
    """
    draws = np.random.default_rng(seed).spawn(2)  # one per class: the number of rows per step changes nothing
    places = [np.flatnonzero(truth == label) for label in (0, 1)]
    rows_at_once = max(1, _CELLS_AT_ONCE // truth.size)
    for first in range(0, resamples, rows_at_once):
        rows = min(rows_at_once, resamples - first)
        counts = np.zeros((rows, truth.size))
        for draw, members in zip(draws, places, strict=True):
            chosen = members[draw.integers(0, members.size, (rows, members.size))]
            chosen += truth.size * np.arange(rows)[:, None]
            counts += np.bincount(chosen.ravel(), minlength=counts.size).reshape(counts.shape)
        yield counts
