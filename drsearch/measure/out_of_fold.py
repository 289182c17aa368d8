"""Scores of predictions that each eye got from a network that had not seen it, and how much the inner scores flatter.

Networks of different folds have probabilities that cannot be compared, so the AUC counts pairs of eyes of one fold
only. Accuracy, sensitivity and specificity count decisions, each at its own network's threshold. With repeats every
score is the mean over the repeats: to average an eye's probabilities first would judge an ensemble.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.errors import MetricError
from drsearch.measure.bootstrap import clusters
from drsearch.measure.patients import patient_groups
from drsearch.measure.scores import (
    CHANCE,
    CONFIDENCE,
    SCORE_NAMES,
    Interval,
    TallyTerms,
    _both_classes,
    _checked,
    _independent,
    _with_width,
    bootstrapped,
    pairs_doubled,
    percentile_intervals,
)

RUN_LENGTH = 10
"""Neighbouring photographs of unknown patients that a bootstrap draws together."""


@dataclass(frozen=True)
class Repeat:
    """The predictions of one repeat: one per eye, each by the network of the fold that kept the eye away.

    Attributes:
        fold: The fold of each eye, int64, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.
        called: Whether the eye is called RDR, at the threshold of its network, bool, shape `(n,)`.
    """

    fold: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    called: NDArray[np.bool_]


@dataclass(frozen=True)
class OutOfFoldScores:
    """Scores of one repeat or the mean over several, with 95 % intervals.

    Attributes:
        accuracy: Share of eyes called rightly.
        auc: Share of pairs of eyes of one fold in the right order, ties half.
        sensitivity: Share of referable eyes called RDR.
        specificity: Share of the other eyes called NRDR.
        n: Eyes.
        n_groups: Groups of eyes that the bootstrap draws.
        resamples: The scores of every resample, in the order of `SCORE_NAMES`, shape `(4, resamples)`.
    """

    accuracy: Interval
    auc: Interval
    sensitivity: Interval
    specificity: Interval
    n: int
    n_groups: int
    resamples: NDArray[np.float64]

    @property
    def intervals(self) -> dict[str, Interval]:
        """The scores by name."""
        return {name: getattr(self, name) for name in SCORE_NAMES}

    def minus(self, other: "OutOfFoldScores", name: str) -> Interval:
        """The paired difference from other scores of the same eyes, groups and seed, with its 95 % interval."""
        place = SCORE_NAMES.index(name)
        point = getattr(self, name).value - getattr(other, name).value
        return percentile_intervals(np.array([point]), self.resamples[[place]] - other.resamples[[place]])[0]

    def to_json(self) -> dict[str, Any]:
        """Numbers and dicts only, as `--json` prints them."""
        return {**{name: each.to_json() for name, each in self.intervals.items()}, "n": self.n, "groups": self.n_groups}


def drawn_together(names: Sequence[str], patients: Sequence[str], sources: Sequence[str]) -> NDArray[np.int64]:
    """The group of every eye that a bootstrap draws together: its patient, or a run of neighbouring photographs.

    A run is `RUN_LENGTH` photographs whose names follow each other, of one data set: neighbours are often of one
    session, and of one patient of whom nobody knows.

    Args:
        names: Names of the photographs, n of them.
        patients: The patient of each, empty where it is unknown.
        sources: The data set of each; all empty where there is one.

    Returns:
        int64, shape `(n,)`.

    Example:
        >>> drawn_together([f"eye{i:02}" for i in range(12)], ["A", "A", *10 * [""]], 12 * [""]).tolist()
        [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]

    Source:
        Carlstein (1986), The use of subseries values for estimating the variance of a general statistic from a
        stationary sequence, The Annals of Statistics 14(3), 1171-1179.
    """
    keys, n_unknown = list(patients), 0
    last_source = None
    for i in sorted(range(len(names)), key=lambda i: (sources[i], names[i])):
        if sources[i] != last_source:
            n_unknown, last_source = math.ceil(n_unknown / RUN_LENGTH) * RUN_LENGTH, sources[i]
        if not patients[i]:
            keys[i] = f"\0run {n_unknown // RUN_LENGTH}"
            n_unknown += 1
    groups = patient_groups(keys)
    assert groups is not None or not keys
    return np.zeros(0, np.int64) if groups is None else groups


def out_of_fold_scores(
    labels: ArrayLike,
    repeats: Sequence[Repeat],
    groups: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> OutOfFoldScores:
    """The scores of out-of-fold predictions, with 95 % percentile bootstrap intervals.

    The bootstrap draws groups of eyes, the same in all folds and repeats. It tells what other eyes would have changed,
    not what other training eyes would have: the spread over folds and repeats shows some of that.

    Args:
        labels: 0 or 1, shape `(n,)`.
        repeats: At least one; every fold has eyes of both classes.
        groups: A value per eye that is equal for eyes drawn together, shape `(n,)`; None: each eye by itself.
        resamples: Number of resamples.
        seed: The same seed gives the same draws.

    Raises:
        MetricError: If a class is missing, or the arrays are no labels and probabilities of the same eyes.

    Example:
        >>> folds, chances = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.7, 0.9])
        >>> one = out_of_fold_scores([0, 1, 0, 1], [Repeat(folds, chances, chances >= 0.8)])
        >>> one.auc.value, one.accuracy.value  # in each fold the referable eye scores higher
        (1.0, 0.75)

    Source:
        AUC within folds: Forman and Scholz (2010), Apples-to-apples in cross-validation studies, SIGKDD Explorations
        12(1), 49-57. What the interval leaves out: Bates, Hastie and Tibshirani (2024), Cross-validation: what does it
        estimate and how well does it do it?, Journal of the American Statistical Association 119(546), 1434-1445.
    """
    truth = np.asarray(labels)
    for repeat in repeats:
        truth, _ = _checked(truth, repeat.probabilities)
    _both_classes(truth)
    cluster = clusters(groups, truth.size)
    terms = [_FoldTerms(truth, repeat) for repeat in repeats]

    def of(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.mean([each.scores(counts) for each in terms], axis=0))

    (accuracy, area, sensitivity, specificity), drawn = bootstrapped(truth, of, resamples, seed, cluster)
    every, referable = np.ones(truth.size, np.bool_), truth == 1
    return OutOfFoldScores(
        _with_width(accuracy, _independent(every, cluster)),
        area,
        _with_width(sensitivity, _independent(referable, cluster)),
        _with_width(specificity, _independent(~referable, cluster)),
        truth.size,
        _independent(every, cluster),
        drawn,
    )


def repeat_scores(labels: ArrayLike, repeat: Repeat) -> dict[str, float]:
    """The scores of one repeat by name, as `out_of_fold_scores` counts them, without intervals."""
    truth, _ = _checked(labels, repeat.probabilities)
    values = _FoldTerms(truth, repeat).scores(np.ones((1, truth.size)))[:, 0]
    return dict(zip(SCORE_NAMES, values.tolist(), strict=True))


class _FoldTerms:
    """What each eye adds to the scores of a repeat."""

    def __init__(self, truth: NDArray[np.int64], repeat: Repeat) -> None:
        self._truth, self._right = truth, repeat.called == (truth == 1)
        self._folds = []
        for fold in np.unique(repeat.fold):
            members = np.flatnonzero(repeat.fold == fold)
            if np.unique(truth[members]).size < 2:
                raise MetricError(f"Fold {fold} has eyes of one class only, and no area; pass folds with both.")
            _, place = np.unique(repeat.probabilities[members], return_inverse=True)
            self._folds.append((members, TallyTerms(truth[members], place)))

    def scores(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Accuracy, AUC, sensitivity and specificity of every row of counts, shape `(4, rows)`."""
        right, pairs = np.sum([pairs_doubled(*terms.of(counts[:, eyes])) for eyes, terms in self._folds], axis=0)
        shares = [_share(counts, eyes, self._right) for eyes in (self._truth >= 0, self._truth == 1, self._truth == 0)]
        area = np.where(pairs > 0, right / np.maximum(pairs, 1), CHANCE)  # of few eyes a draw may have no pair
        return np.stack([shares[0], area, *shares[1:]])


def _share(counts: NDArray[np.float64], eyes: NDArray[np.bool_], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of these eyes that are right, of every row."""
    return np.asarray(counts[:, eyes & right].sum(1) / counts[:, eyes].sum(1))


def mean_difference(differences: Sequence[float], folds: int) -> Interval:
    """The mean of what two ways differ by in each fold and repeat, with a 95 % interval (Student's t).

    The folds share most of their training eyes, so their differences are alike: the variance of their mean is larger
    than that of independent ones, by the share of judging eyes to training eyes.

    Args:
        differences: One per fold and repeat.
        folds: Folds per repeat, at least 2.

    Returns:
        The mean with its interval, which has no width where all differences are equal; a single one has no interval.

    Example:
        >>> print(mean_difference([0.05, 0.02, 0.03, 0.06, 0.04], 5))
        0.040 [0.011, 0.069]

    Source:
        Nadeau and Bengio (2003), Inference for the generalization error, Machine Learning 52(3), 239-281.
    """
    from scipy.stats import t  # here: it takes half a second to import

    values = np.asarray(differences, np.float64)
    mean, n = float(values.mean()), values.size
    if n < 2:
        return Interval(mean, -math.inf, math.inf)
    half = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1) * math.sqrt((1 / n + 1 / (folds - 1)) * values.var(ddof=1)))
    return Interval(mean, mean - half, mean + half)
