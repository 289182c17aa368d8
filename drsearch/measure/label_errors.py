"""Labels that out-of-fold predictions contradict with confidence: for a person to look at."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.measure.out_of_fold import Repeat


def contradicted(labels: ArrayLike, repeats: Sequence[Repeat]) -> NDArray[np.bool_]:
    """Which eyes every repeat gives confidently to the other class (confident learning).

    A network is confident of a class from the mean probability on that it gives to the eyes that are labelled so; the
    mean is taken over the eyes that the network judges, and the probability must be the larger of both.

    Args:
        labels: 0 or 1, shape `(n,)`.
        repeats: The out-of-fold predictions, at least one repeat.

    Returns:
        Shape `(n,)`.

    Example:
        >>> chances = np.array([0.1, 0.2, 0.9, 0.8, 0.9, 0.1])
        >>> contradicted([0, 0, 0, 1, 1, 1], [Repeat(np.zeros(6, int), chances, chances >= 0.5)]).tolist()
        [False, False, True, False, False, True]

    Source:
        The off-diagonal of the confident joint: Northcutt, Jiang and Chuang (2021), Confident learning: estimating
        uncertainty in dataset labels, Journal of Artificial Intelligence Research 70, 1373-1411, arXiv:1911.00068.
    """
    truth = np.asarray(labels)
    everywhere = np.ones(truth.size, np.bool_)
    for repeat in repeats:
        of_class = np.stack([1 - repeat.probabilities, repeat.probabilities])
        other = of_class[1 - truth, np.arange(truth.size)]
        for fold in np.unique(repeat.fold):
            judged = repeat.fold == fold
            confident = np.array([of_class[label][judged & (truth == label)].mean() for label in (0, 1)])
            everywhere[judged] &= (other[judged] >= confident[1 - truth[judged]]) & (other[judged] > 0.5)
    return everywhere
