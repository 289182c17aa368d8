"""The points of the ROC curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.measure.scores import auc


@dataclass(frozen=True)
class RocCurve:
    """The ROC curve, from calling no eye referable to calling every eye so.

    Attributes:
        false_positive_rate: 1 - specificity, rising from 0 to 1, shape `(points,)`.
        true_positive_rate: Sensitivity, rising from 0 to 1, shape `(points,)`.
        thresholds: An eye is called RDR from this probability on, falling from infinity, shape `(points,)`.
        auc: The area under it.
    """

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    auc: float


def roc_curve(labels: ArrayLike, probabilities: ArrayLike) -> RocCurve:
    """The ROC curve of a set of predictions; points inside a straight piece are left out.

    Args:
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.

    Raises:
        MetricError: If a class is missing, or the arrays are no labels and probabilities of the same eyes.

    Example:
        >>> curve = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        >>> curve.false_positive_rate.tolist(), curve.true_positive_rate.tolist()
        ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    from sklearn import metrics  # here: it takes a second to import, and most users of this room want scores only

    area = auc(labels, probabilities)  # first: it raises where there is no curve
    false_positive, true_positive, thresholds = metrics.roc_curve(np.asarray(labels), np.asarray(probabilities))
    return RocCurve(false_positive, true_positive, thresholds.astype(np.float64), area)
