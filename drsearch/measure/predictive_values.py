"""What a positive and a negative answer mean where another share of the eyes is referable than in the test split."""

from dataclasses import dataclass

import numpy as np

from drsearch.errors import MetricError
from drsearch.measure.scores import Interval

_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class PredictiveValues:
    """The predictive values at a prevalence.

    Attributes:
        prevalence: Share of referable eyes, above 0 and below 1.
        positive: PPV, the share of referable eyes among those called RDR.
        negative: NPV, the share of eyes that are not referable among those called NRDR.
    """

    prevalence: float
    positive: Interval
    negative: Interval


def predictive_values(confusion: tuple[tuple[int, int], tuple[int, int]], prevalence: float) -> PredictiveValues:
    """The predictive values at a prevalence, with 95 % intervals on the scale of log-odds.

    They count each eye as independent. Where sensitivity or specificity is 0 or 1, all intervals are of the adjusted
    shares, with half the square of 1.96 added to hits and misses.

    Args:
        confusion: Counts, rows the true and columns the predicted class, each NRDR then RDR.
        prevalence: Share of referable eyes where the model is to be used, above 0 and below 1.

    Raises:
        MetricError: If a class is missing, or the prevalence is out of range.

    Example:
        >>> at = predictive_values(((90, 10), (5, 45)), 0.1)
        >>> print(at.positive), print(at.negative)
        0.500 [0.355, 0.645]
        0.988 [0.972, 0.995]
        (None, None)

    Source:
        Mercaldo, Lau and Zhou (2007), Confidence intervals for predictive values with an emphasis to case-control
        studies, Statistics in Medicine 26(10), 2170-2183.
    """
    (tn, fp), (fn, tp) = confusion
    if not 0 < prevalence < 1 or not tn + fp or not fn + tp:
        raise MetricError("Predictive values need eyes of both classes, and a prevalence above 0 and below 1.")
    sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
    positive, negative = _values(sensitivity, specificity, prevalence)
    counts = np.array([tp, fn, tn, fp], float)
    if not counts.all():
        counts += _Z**2 / 2
    found, missed, cleared, alarmed = counts
    errors = (
        missed / found / (found + missed) + cleared / alarmed / (cleared + alarmed),
        found / missed / (found + missed) + alarmed / cleared / (cleared + alarmed),
    )
    middles = _values(found / (found + missed), cleared / (cleared + alarmed), prevalence)
    return PredictiveValues(
        prevalence,
        *(
            _around(value, middle, float(np.sqrt(error)))
            for value, middle, error in zip((positive, negative), middles, errors, strict=True)
        ),
    )


def _values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """PPV and NPV; 0 where no eye is called so."""
    found, alarmed = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    missed, cleared = prevalence - found, (1 - prevalence) - alarmed
    return found / (found + alarmed) if found + alarmed else 0.0, cleared / (
        cleared + missed
    ) if cleared + missed else 0.0


def _around(value: float, middle: float, error: float) -> Interval:
    """The interval of log-odds around a middle."""
    odds = np.log(middle / (1 - middle))
    low, high = (1 / (1 + np.exp(-(odds + sign * _Z * error))) for sign in (-1, 1))
    return Interval(value, min(float(low), value), max(float(high), value))
