"""Accuracy, AUC, sensitivity and specificity of predictions, with their intervals.

Labels are 0 (NRDR) or 1 (RDR) and probabilities those of RDR, both of shape `(n,)`, everywhere in this room.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.errors import MetricError
from drsearch.grades import CLASS_NAMES
from drsearch.measure.bootstrap import clusters, drawn_counts

CONFIDENCE = 0.95
"""Nominal coverage of the intervals."""

TRIAL_THRESHOLD = 0.5
"""The threshold at which trials and their epochs are scored; a registered version has its own."""

_CELLS_AT_ONCE = 100_000  # of resamples x eyes: 0.8 MB per array, which stays in the cache of a core

CHANCE = 0.5
"""The AUC of a model that guesses."""

SCORE_NAMES = ("accuracy", "auc", "sensitivity", "specificity")
"""The scores of `Scores` that have an interval."""


@dataclass(frozen=True, repr=False)
class Interval:
    """A value and the 95 % interval around it.

    Example:
        >>> print(Interval(0.93, 0.88, 0.97))
        0.930 [0.880, 0.970]
        >>> f"{Interval(-0.01, -0.05, 0.03):+.2f}"
        '-0.01 [-0.05, +0.03]'
        >>> Interval.from_metrics(Interval(0.93, 0.88, 0.97).metrics("test_auc"), "test_auc")
        0.930 [0.880, 0.970]
    """

    value: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        value, low, high = (format(number, spec or ".3f") for number in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"

    def __str__(self) -> str:
        return format(self)

    __repr__ = __str__

    def metrics(self, name: str) -> dict[str, float]:
        """The three numbers as a run's metrics: `name`, `name_low` and `name_high`."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

    @classmethod
    def from_metrics(cls, values: Mapping[str, float | str], name: str) -> "Interval | None":
        """The interval of the three numbers that `metrics` wrote, as numbers or texts; None if one is missing."""
        names = (name, f"{name}_low", f"{name}_high")
        return cls(*(float(values[each]) for each in names)) if all(each in values for each in names) else None

    def to_json(self) -> dict[str, float]:
        """The three numbers by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Scores:
    """The scores of a set of predictions, each with its interval.

    Attributes:
        accuracy: Share of eyes in their true class.
        auc: Probability that a referable eye scores higher than one that is not.
        sensitivity: Share of referable eyes called RDR.
        specificity: Share of the other eyes called NRDR.
        confusion: Counts, rows the true and columns the predicted class, each NRDR then RDR.
        n: Eyes.
        threshold: An eye is called RDR from this probability on. All scores but the AUC depend on it.
        unit: What is counted: `eyes` or `patients`.
    """

    accuracy: Interval
    auc: Interval
    sensitivity: Interval
    specificity: Interval
    confusion: tuple[tuple[int, int], tuple[int, int]]
    n: int
    threshold: float
    unit: str = "eyes"

    @property
    def labelled(self) -> tuple[tuple[str, Interval], ...]:
        """The scores with the names that people see, such as `accuracy at 0.5`."""
        values = (self.auc, self.accuracy, self.sensitivity, self.specificity)
        return tuple(zip(_labels(self.threshold), values, strict=True))

    @property
    def is_constant(self) -> bool:
        """Whether the model answered the same for every eye: an AUC of 0.5 without width."""
        return self.auc.low == self.auc.high == CHANCE

    @property
    def caution(self) -> str:
        """Why these scores do not show that the model tells eyes apart, one sentence; empty where they do."""
        if self.is_constant:
            return f"The model answers the same for each of the {self.n} {self.unit}, so it cannot tell them apart."
        if self.auc.low <= CHANCE:
            return (
                f"The AUC {self.auc} is not shown to be better than chance ({CHANCE:g}) on these {self.n} {self.unit}."
            )
        return ""

    def metrics(self, prefix: str, score_prefix: str) -> dict[str, float]:
        """All figures as a run's metrics: scores with their intervals, the confusion matrix and the threshold.

        Args:
            prefix: Begins the names of counts and threshold: `best_` gives `best_true_rdr`.
            score_prefix: Begins the names of scores: `best_val_` gives `best_val_auc` and `best_val_auc_low`.

        Returns:
            The figures by name.
        """
        (tn, fp), (fn, tp) = self.confusion
        counts = {"true_nrdr": tn, "false_rdr": fp, "false_nrdr": fn, "true_rdr": tp}
        numbers = {f"{prefix}{name}": float(count) for name, count in counts.items()}
        numbers[f"{prefix}threshold"] = self.threshold
        for name in SCORE_NAMES:
            numbers |= getattr(self, name).metrics(f"{score_prefix}{name}")
        return numbers

    def to_json(self) -> dict[str, Any]:
        """The scores as numbers, texts, lists and dicts, as `--json` prints them."""
        return {
            **{name: getattr(self, name).to_json() for name in SCORE_NAMES},
            "confusion": [list(row) for row in self.confusion],
            "n": self.n,
            "threshold": self.threshold,
            "unit": self.unit,
            "caution": self.caution,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Scores":
        """The scores that `to_json` wrote.

        Raises:
            MetricError: If they have no threshold: an older drsearch wrote them.
        """
        if "threshold" not in values:
            raise MetricError("These scores were stored by an older drsearch, without their threshold; train anew.")
        intervals: dict[str, Any] = {name: Interval(**values[name]) for name in SCORE_NAMES}
        return cls(
            **intervals,
            confusion=_both_rows(values["confusion"]),
            n=values["n"],
            threshold=values["threshold"],
            unit=values.get("unit", "eyes"),
        )


@dataclass(frozen=True)
class OneClassScores:
    """The scores of predictions on eyes that are all of one class: an area under a curve needs both.

    Attributes:
        label: The class of all eyes, 1 for RDR.
        accuracy: Share of eyes in their true class.
        confusion: Counts, rows the true and columns the predicted class, each NRDR then RDR.
        n: Eyes.
        threshold: An eye is called RDR from this probability on.
        unit: What is counted: `eyes` or `patients`.
    """

    label: int
    accuracy: Interval
    confusion: tuple[tuple[int, int], tuple[int, int]]
    n: int
    threshold: float
    unit: str = "eyes"
    auc: None = None
    caution: str = ""

    @property
    def labelled(self) -> tuple[tuple[str, Interval | None], ...]:
        """The scores as in `Scores.labelled`, with None for undefined ones."""
        values = (self.auc, self.accuracy, self.sensitivity, self.specificity)
        return tuple(zip(_labels(self.threshold), values, strict=True))

    @property
    def sensitivity(self) -> Interval | None:
        """The share of referable eyes called RDR; None without referable eyes."""
        return self.accuracy if self.label == 1 else None

    @property
    def specificity(self) -> Interval | None:
        """The share of other eyes called NRDR; None without other eyes."""
        return self.accuracy if self.label == 0 else None

    def to_json(self) -> dict[str, Any]:
        """The scores as in `Scores.to_json`, with None for undefined ones."""
        share = self.accuracy.to_json()
        return {
            "accuracy": share,
            "auc": None,
            "sensitivity": share if self.label == 1 else None,
            "specificity": share if self.label == 0 else None,
            "confusion": [list(row) for row in self.confusion],
            "n": self.n,
            "threshold": self.threshold,
            "unit": self.unit,
            "caution": self.caution,
        }


def scores_of_json(values: dict[str, Any]) -> Scores | OneClassScores:
    """The scores that `to_json` of either kind wrote.

    Raises:
        MetricError: If they have no threshold: an older drsearch wrote them.
    """
    if values["auc"] is not None:
        return Scores.from_json(values)
    label = int(values["sensitivity"] is not None)
    return OneClassScores(
        label,
        Interval(**values["accuracy"]),
        _both_rows(values["confusion"]),
        values["n"],
        values["threshold"],
        values["unit"],
    )


def _both_rows(confusion: Sequence[Sequence[int]]) -> tuple[tuple[int, int], tuple[int, int]]:
    (tn, fp), (fn, tp) = confusion
    return (tn, fp), (fn, tp)


def _labels(threshold: float) -> tuple[str, ...]:
    """The names of AUC, accuracy, sensitivity and specificity, with the threshold of those that have one."""
    return ("AUC", *(f"{name} at {threshold:.4g}" for name in ("accuracy", "sensitivity", "specificity")))


def scores(
    labels: ArrayLike,
    probabilities: ArrayLike,
    threshold: float = TRIAL_THRESHOLD,
    resamples: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Scores:
    """Every score of a set of predictions, with 95 % percentile bootstrap intervals.

    The bootstrap draws eyes with replacement within each class, so that every resample has as many referable eyes as
    the set, and all scores see the same resamples. With groups it draws whole patients, see `drawn_counts`. A share
    that is the same in every resample has Wilson's interval instead of one of width 0: sensitivity and specificity of
    exactly 0 or 1, and the accuracy where both are. With groups that interval counts patients instead of eyes, as if
    the eyes of a patient always agreed: it errs on the wide side. An area that is the same in every resample keeps
    width 0, since an area is no share of independent trials: 1 is to be read with the number of eyes, and 0.5 is the
    area of a model that answers the same for every eye.

    Args:
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.
        threshold: An eye is called RDR from this probability on.
        resamples: Number of resamples.
        seed: The same seed gives the same intervals.
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.

    Raises:
        MetricError: If a class is missing, or the arrays are no labels and probabilities of the same eyes.

    Example:
        >>> three = scores([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.4, 0.8, 0.9])
        >>> three.accuracy.value, three.auc.value, three.confusion
        (0.6666666666666666, 0.8888888888888888, ((2, 1), (1, 2)))

    Source:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13 (percentile intervals). Wilson
        (1927), Journal of the American Statistical Association 22(158), 209-212.
    """
    truth, chance = _checked(labels, probabilities)
    _both_classes(truth)
    cluster = clusters(groups, truth.size)
    values, place = np.unique(chance, return_inverse=True)
    tallies, positive = TallyTerms(truth, place), values >= threshold
    of_counts = lambda counts: _scores_of(*tallies.of(counts), positive)  # noqa: E731
    (accuracy, area, sensitivity, specificity), _ = bootstrapped(truth, of_counts, resamples, seed, cluster)
    n_other, n_referable = (_independent(truth == label, cluster) for label in (0, 1))
    if _is_constant(sensitivity) and _is_constant(specificity):
        accuracy = _wilson(accuracy, truth.size if cluster is None else int(cluster.max()) + 1)
    return Scores(
        accuracy,
        area,
        _with_width(sensitivity, n_referable),
        _with_width(specificity, n_other),
        _confusion(truth, chance, threshold),
        truth.size,
        float(threshold),
    )


def one_class_scores(
    labels: ArrayLike,
    probabilities: ArrayLike,
    threshold: float = TRIAL_THRESHOLD,
    resamples: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> OneClassScores:
    """The scores of predictions on eyes of one class, with the intervals that `scores` would give.

    Args:
        labels: All 0 or all 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.
        threshold: An eye is called RDR from this probability on.
        resamples: Number of resamples.
        seed: The same seed gives the same intervals.
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.

    Raises:
        MetricError: If there are two classes, or the arrays are no labels and probabilities of the same eyes.

    Example:
        >>> healthy = one_class_scores([0, 0, 0, 0], [0.1, 0.2, 0.6, 0.4])
        >>> healthy.specificity.value, healthy.sensitivity, healthy.auc
        (0.75, None, None)
    """
    truth, chance = _checked(labels, probabilities)
    if len(np.unique(truth)) > 1:
        raise MetricError("The eyes are of both classes; `scores` scores them.")
    right = (chance >= threshold) == truth
    share, cluster = float(np.mean(right)), clusters(groups, truth.size)
    if cluster is None:  # as many right as when the eyes are drawn with replacement
        drawn = np.random.default_rng(seed).binomial(truth.size, share, resamples) / truth.size
    else:
        drawn = np.concatenate(
            [counts @ right / counts.sum(1) for counts in drawn_counts(truth, resamples, seed, cluster)]
        )
    (interval,) = percentile_intervals(np.array([share]), drawn[None])
    interval = _with_width(interval, _independent(np.ones(truth.size, bool), cluster))
    return OneClassScores(int(truth[0]), interval, _confusion(truth, chance, threshold), truth.size, float(threshold))


def bootstrapped(
    truth: NDArray[np.int64],
    scores_of: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    resamples: int,
    seed: int,
    cluster: NDArray[np.int64] | None,
) -> tuple[list[Interval], NDArray[np.float64]]:
    """The 95 % percentile intervals of some scores, and the scores of every resample.

    Args:
        truth: 0 or 1, shape `(n,)`.
        scores_of: The scores, shape `(scores, rows)`, from how often each eye counts, shape `(rows, n)`.
        resamples: Number of resamples.
        seed: The same seed gives the same draws.
        cluster: As `clusters` gives it.

    Returns:
        One interval per score; and shape `(scores, resamples)`.
    """
    draws = drawn_counts(truth, resamples, seed, cluster, _CELLS_AT_ONCE)
    drawn = np.concatenate([scores_of(counts) for counts in draws], axis=1)
    return percentile_intervals(scores_of(np.ones((1, truth.size)))[:, 0], drawn), drawn


def percentile_intervals(points: NDArray[np.float64], drawn: NDArray[np.float64]) -> list[Interval]:
    """The 95 % percentile intervals of some scores.

    Args:
        points: The scores of the eyes themselves, shape `(scores,)`.
        drawn: The scores of every resample, shape `(scores, resamples)`.

    Returns:
        One interval per score.
    """
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=1)
    return [Interval(*map(float, one)) for one in zip(points, low, high, strict=True)]


def _confusion(
    truth: NDArray[np.int64], chance: NDArray[np.float64], threshold: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    return _both_rows(confusion_matrix(truth, chance, threshold).tolist())


def _is_constant(score: Interval) -> bool:
    """Whether a score is the same in every resample."""
    return score.high - score.low <= 1e-12


def _independent(eyes: NDArray[np.bool_], cluster: NDArray[np.int64] | None) -> int:
    """The number of patients that have some of these eyes; of eyes without clusters."""
    return int(eyes.sum()) if cluster is None else np.unique(cluster[eyes]).size


def _with_width(share: Interval, n: int) -> Interval:
    """Wilson's interval for a share that did not vary over resamples; any other is left as it is."""
    return _wilson(share, n) if _is_constant(share) else share


def _wilson(share: Interval, n: int) -> Interval:
    """Wilson's interval for a share of n eyes or patients."""
    from scipy.stats import binomtest  # here: it takes half a second to import, and few scores need it

    wilson = binomtest(round(share.value * n), n).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(share.value, float(wilson.low), float(wilson.high))


def accuracy(labels: ArrayLike, probabilities: ArrayLike, threshold: float = TRIAL_THRESHOLD) -> float:
    """The share of eyes in their true class, in [0, 1].

    Args:
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.
        threshold: An eye is called RDR from this probability on.

    Raises:
        MetricError: If the arrays are no labels and probabilities of the same eyes.
    """
    truth, chance = _checked(labels, probabilities)
    return float(np.mean((chance >= threshold) == truth))


def auc(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a referable eye scores higher than one that is not, ties half.

    Returns:
        In [0, 1]: 1 separates the classes, 0.5 is chance.

    Raises:
        MetricError: If a class is missing, or the arrays are no labels and probabilities of the same eyes.

    Example:
        >>> auc([0, 1, 0, 1], [0.2, 0.2, 0.1, 0.9])
        0.875

    Source:
        Hanley and McNeil (1982), Radiology 143(1), 29-36, doi:10.1148/radiology.143.1.7063747.
    """
    truth, chance = _checked(labels, probabilities)
    _both_classes(truth)
    _, place = np.unique(chance, return_inverse=True)
    return float(_auc_of(*TallyTerms(truth, place).of(np.ones((1, truth.size))))[0])


def confusion_matrix(
    labels: ArrayLike, probabilities: ArrayLike, threshold: float = TRIAL_THRESHOLD
) -> NDArray[np.int64]:
    """The counts of eyes, shape `(2, 2)`, rows the true and columns the predicted class, each NRDR then RDR.

    Args:
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.
        threshold: An eye is called RDR from this probability on.

    Raises:
        MetricError: If the arrays are no labels and probabilities of the same eyes.
    """
    truth, chance = _checked(labels, probabilities)
    return np.bincount(2 * truth + (chance >= threshold), minlength=4).reshape(2, 2).astype(np.int64)


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    truth, chance = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != chance.shape or not truth.size:
        raise MetricError(
            f"Labels of shape {truth.shape} and probabilities of shape {chance.shape} cannot be scored; "
            "pass one label and the probability of RDR for each of at least one eye."
        )
    if not np.isin(truth, (0, 1)).all():
        wrong = truth[~np.isin(truth, (0, 1))][0]
        raise MetricError(f"A label is {wrong}; labels are 0 (NRDR) or 1 (RDR).")
    if not np.isfinite(chance).all():
        n_wrong = int((~np.isfinite(chance)).sum())
        raise MetricError(
            f"{n_wrong} of {chance.size} probabilities are not finite; the model that gave them is broken."
        )
    return truth.astype(np.int64), chance


def _both_classes(truth: NDArray[np.int64]) -> None:
    for label, name in enumerate(CLASS_NAMES):
        if not (truth == label).any():
            raise MetricError(
                f"None of the {truth.size} eyes is {name}, so AUC, sensitivity and specificity are undefined; "
                "score a set with both classes."
            )


class TallyTerms:
    """What each eye adds to the tallies of its class: how many of its eyes have each distinct probability.

    A resample is then a row of counts, and every score a sum over rows, with no sorting inside the bootstrap.

    Args:
        truth: 0 or 1, shape `(n,)`.
        place: The place of each eye's probability among the distinct ones, rising, shape `(n,)`.
    """

    def __init__(self, truth: NDArray[np.int64], place: NDArray[np.intp]) -> None:
        self._n_values = int(place.max()) + 1
        self._classes = []
        for label in (0, 1):
            eyes = np.flatnonzero(truth == label)
            eyes = eyes[np.argsort(place[eyes], kind="stable")]
            values, starts = np.unique(place[eyes], return_index=True)
            self._classes.append((eyes, values, starts))

    def of(self, counts: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The tallies of class 0 and 1, shape `(rows, values)` each, from counts `(rows, n)`."""
        negatives, positives = np.zeros((2, len(counts), self._n_values), np.int64)
        for tallies, (eyes, values, starts) in zip((negatives, positives), self._classes, strict=True):
            tallies[:, values] = np.add.reduceat(counts[:, eyes], starts, axis=1)
        return negatives, positives


def _scores_of(
    negatives: NDArray[np.int64], positives: NDArray[np.int64], positive: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Accuracy, AUC, sensitivity and specificity of every row, shape `(4, rows)`."""
    n_negative, n_positive = negatives.sum(1), positives.sum(1)
    found, left = positives[:, positive].sum(1), negatives[:, ~positive].sum(1)
    right = (found + left) / (n_negative + n_positive)
    return np.stack([right, _auc_of(negatives, positives), found / n_positive, left / n_negative])


def _auc_of(negatives: NDArray[np.int64], positives: NDArray[np.int64]) -> NDArray[np.float64]:
    """Pairs in the right order, ties half, over all pairs, of every row."""
    right, pairs = pairs_doubled(negatives, positives)
    return np.asarray(right / pairs)


def pairs_doubled(
    negatives: NDArray[np.int64], positives: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Twice the pairs in the right order, ties half, and twice all pairs, of every row of tallies; shape `(rows,)`."""
    below_doubled = 2 * np.cumsum(negatives, axis=1) - negatives
    return (positives * below_doubled).sum(1), 2 * negatives.sum(1) * positives.sum(1)
