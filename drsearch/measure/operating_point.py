"""The threshold from which an eye is called referable, chosen on eyes that did not train the model."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from drsearch.measure.scores import _both_classes, _checked

Rule = Literal["youden", "sensitivity", "half"]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and its scores on the eyes that it was chosen on.

    Attributes:
        threshold: An eye is called RDR from this probability on.
        sensitivity: Share of referable eyes called RDR.
        specificity: Share of the other eyes called NRDR.
        n: Number of eyes that it was chosen on.
    """

    threshold: float
    sensitivity: float
    specificity: float
    n: int


def operating_point(
    labels: ArrayLike, probabilities: ArrayLike, rule: Rule = "youden", sensitivity: float = 0.9
) -> OperatingPoint:
    """Choose a threshold half way between two neighbouring probabilities of these eyes, or 0.5.

    Args:
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.
        rule: `youden`: the highest sensitivity + specificity - 1, of equals the one that finds more referable eyes;
            `sensitivity`: the highest threshold that finds at least the share `sensitivity` of them; `half`: 0.5,
            which few eyes cannot mislead.
        sensitivity: In 0..1, for the second rule.

    Returns:
        The threshold with its sensitivity and specificity.

    Raises:
        MetricError: If a class is missing, or the arrays are no labels and probabilities of the same eyes.

    Example:
        >>> operating_point([0, 0, 1, 1], [0.1, 0.3, 0.7, 0.9])
        OperatingPoint(threshold=0.5, sensitivity=1.0, specificity=1.0, n=4)

    Source:
        Youden (1950), Cancer 3(1), 32-35.
    """
    truth, chance = _checked(labels, probabilities)
    _both_classes(truth)
    values = np.unique(chance)
    thresholds = np.concatenate([[0.0], (values[:-1] + values[1:]) / 2])  # rising; the first calls every eye RDR
    if rule == "half":
        thresholds = np.array([0.5])
    called = chance >= thresholds[:, None]
    sensitivities, specificities = called[:, truth == 1].mean(1), (~called[:, truth == 0]).mean(1)
    if rule != "sensitivity":
        best = int(np.argmax(np.round(sensitivities + specificities, 12)))  # of equals the lowest threshold
    else:
        best = int(np.flatnonzero(sensitivities >= sensitivity - 1e-12)[-1])
    return OperatingPoint(float(thresholds[best]), float(sensitivities[best]), float(specificities[best]), truth.size)
