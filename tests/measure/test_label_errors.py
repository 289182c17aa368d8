"""Are labels listed that all networks contradict with confidence, and no others?"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from drsearch.measure.label_errors import contradicted
from drsearch.measure.out_of_fold import Repeat


def predicted(labels: NDArray[np.int64], seed: int, n_folds: int = 3) -> Repeat:
    """Out-of-fold predictions of networks that mostly agree with these labels, and with each other about hard eyes."""
    hard = np.random.default_rng(77).normal(0, 0.15, labels.size)
    chances = np.clip(np.random.default_rng(seed).normal(0.2 + 0.6 * labels + hard, 0.03), 0.01, 0.99)
    return Repeat(np.arange(labels.size) // 2 % n_folds, chances, chances >= 0.5)


def test_flipped_labels_are_found_and_right_ones_hardly_ever() -> None:
    truth = np.arange(300) % 2
    labels = truth.copy()
    flipped = np.random.default_rng(0).choice(300, 15, replace=False)
    labels[flipped] = 1 - labels[flipped]
    found = np.flatnonzero(contradicted(labels, [predicted(truth, seed) for seed in range(3)]))
    assert len(set(found) & set(flipped)) >= 5
    assert len(set(found) - set(flipped)) == 0


@given(st.integers(0, 1000))
def test_another_repeat_only_takes_eyes_off_the_list(seed: int) -> None:
    labels = np.arange(60) % 2
    one, two = predicted(labels, seed), predicted(labels, seed + 1)
    fewer, more = contradicted(labels, [one, two]), contradicted(labels, [one])
    assert not (fewer & ~more).any()
    probability = np.where(labels == 1, one.probabilities, 1 - one.probabilities)
    assert (probability[more] < 0.5).all()
