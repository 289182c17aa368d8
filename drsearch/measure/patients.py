"""Scores of patients instead of eyes: a patient is referable if an eye is."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.measure.bootstrap import clusters
from drsearch.measure.scores import (
    TRIAL_THRESHOLD,
    OneClassScores,
    Scores,
    _checked,
    one_class_scores,
    scores,
)

PATIENT_SCORES = ("auc", "sensitivity", "specificity")
"""The scores of patients that are shown and logged; the accuracy of patients says no more."""


def patient_groups(patients: Sequence[str]) -> NDArray[np.int64] | None:
    """A number per eye that is equal for eyes of one patient; eyes of unknown patients have numbers of their own.

    Args:
        patients: The patient of each of n eyes; empty where it is unknown.

    Returns:
        Shape `(n,)`, as the scores take it for `groups`; None if no patient is known.

    Example:
        >>> patient_groups(["A", "", "A", ""]).tolist(), patient_groups(["", ""])
        ([0, 1, 0, 2], None)
    """
    if not any(patients):
        return None
    numbers: dict[object, int] = {}
    keys = (patient or place for place, patient in enumerate(patients))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def by_patient(
    labels: ArrayLike, probabilities: ArrayLike, patients: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The labels and probabilities of patients: of each the largest of its eyes.

    Args:
        labels: Of the eyes, 0 or 1, shape `(n,)`.
        probabilities: Of RDR, of the eyes, shape `(n,)`.
        patients: The patient of each eye; eyes of unknown patients, empty here, are left out.

    Returns:
        Labels and probabilities, of shape `(patients,)` each, in the order of the patients' first eyes.

    Raises:
        MetricError: If the arrays are no labels and probabilities of the same eyes.

    Example:
        >>> labels, probabilities = by_patient([0, 1, 0], [0.2, 0.9, 0.4], ["A", "A", "B"])
        >>> labels.tolist(), probabilities.tolist()
        ([1, 0], [0.9, 0.4])
    """
    truth, chance = _checked(labels, probabilities)
    numbers: dict[str, int] = {}
    known = [i for i, patient in enumerate(patients) if patient]
    patient = np.array([numbers.setdefault(patients[i], len(numbers)) for i in known], dtype=np.int64)
    label, probability = np.zeros(len(numbers), np.int64), np.full(len(numbers), -np.inf)
    np.maximum.at(label, patient, truth[known])
    np.maximum.at(probability, patient, chance[known])
    return label, probability


def patient_scores(
    labels: ArrayLike, probabilities: ArrayLike, patients: Sequence[str], threshold: float = TRIAL_THRESHOLD
) -> Scores | OneClassScores | None:
    """The scores of patients, see `by_patient`, with 95 % intervals.

    Args:
        labels: Of the eyes, 0 or 1, shape `(n,)`.
        probabilities: Of RDR, of the eyes, shape `(n,)`.
        patients: The patient of each eye; eyes of unknown patients, empty here, are left out.
        threshold: A patient is called RDR if an eye has at least this probability.

    Returns:
        The scores, where `n` is the number of patients; None if no patient is known.

    Raises:
        MetricError: If the arrays are no labels and probabilities of the same eyes.
    """
    if not any(patients):
        return None
    label, probability = by_patient(labels, probabilities, patients)
    score = scores if np.unique(label).size == 2 else one_class_scores
    return dataclasses.replace(score(label, probability, threshold), unit="patients")


def patient_metrics(patients: Scores | OneClassScores, prefix: str) -> dict[str, float]:
    """The scores of patients with their intervals as a run's metrics, such as `test_patient_auc_low`.

    Args:
        patients: Of patients, see `patient_scores`.
        prefix: Begins the names: `test_`.

    Returns:
        The defined scores by name.
    """
    intervals = {name: getattr(patients, name) for name in PATIENT_SCORES}
    return {
        name: value
        for score, interval in intervals.items()
        if interval is not None
        for name, value in interval.metrics(f"{prefix}patient_{score}").items()
    }


def error_of_mean(values: NDArray[np.float64], groups: ArrayLike | None = None) -> float:
    """The standard error of the mean of a value of eyes.

    Args:
        values: Shape `(n,)`.
        groups: A value per eye that is equal for eyes of one patient, shape `(n,)`; None without patients.

    Returns:
        The error; 0 for a single eye or patient.

    Raises:
        MetricError: If there is not one group per eye.

    Example:
        >>> values = np.array([0.0, 0.0, 1.0, 1.0])
        >>> round(error_of_mean(values), 4), round(error_of_mean(values, [7, 7, 8, 8]), 4)
        (0.2887, 0.5)

    Source:
        The variance of a mean over clusters of unequal sizes, a ratio: Cochran (1977), Sampling Techniques, third
        edition, chapter 6.
    """
    n, cluster = values.size, clusters(groups, values.size)
    if cluster is None:
        return float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    sums = np.bincount(cluster, values - values.mean())
    return math.sqrt(sums.size / (sums.size - 1) * float((sums**2).sum())) / n if sums.size > 1 else 0.0
