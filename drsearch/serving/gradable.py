"""Which photographs a model does not answer, because their quality lies below what it was trained on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drsearch.data.quality import MEASURES, Quality

NOT_GRADABLE = "not gradable"
"""The label of such a photograph in an answer."""

MOST = 0.3
"""Of every limit: a photograph that is better than this by every measure is gradable, whatever the training eyes."""

SHARE_BELOW = 0.01
"""Share of training eyes that may lie below the limits, all measures together, before the margin is taken off."""

_WORDS = {
    "sharpness": "is out of focus, or blurred",
    "exposure": "is too dark, too bright, or unevenly lit",
    "field": "shows only a part of the retina",
    "contrast": "is pale or noisy",
}


@dataclass(frozen=True)
class QualityLimits:
    """The lowest quality that a model answers.

    Attributes:
        limits: Of each measure, in the order of `MEASURES`, 0 to `MOST`.
        n: Training eyes that chose them; without any, every photograph is gradable.
    """

    limits: tuple[float, ...]
    n: int

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "QualityLimits":
        """The limits of the values that `dataclasses.asdict` returned.

        Raises:
            ValueError, TypeError, KeyError: If they are others.
        """
        limits, n = tuple(values["limits"]), values["n"]
        if len(limits) != len(MEASURES) or not all(0 <= limit <= MOST for limit in limits) or type(n) is not int:
            raise ValueError("limits of quality out of range")
        return cls(limits, n)

    def reason(self, quality: Quality) -> str | None:
        """Why a photograph is not gradable, one sentence; None where it is.

        Args:
            quality: Of the photograph.
        """
        values = zip(MEASURES, quality.values, self.limits, strict=True)
        short, name, value, limit = max((limit - value, name, value, limit) for name, value, limit in values)
        if short <= 0:
            return None
        words = quality.reason if value == quality.score else _WORDS[name]
        return (
            f"the photograph {words}: its {name} is {value:.2f}, below the limit of {limit:.2f} by the {self.n} eyes"
            " that the model was trained on; take it again"
        )


def quality_limits(training: Sequence[Quality]) -> QualityLimits:
    """The limits by the eyes that a model was trained on.

    The limit of a measure is the lowest value of the training eyes, or of many eyes the one that 0.25 % lie below, less
    a margin: the distance from it to their median, times 2/sqrt(n), because the lowest of few eyes says little about
    the next eye.

    Args:
        training: Quality of each training eye.

    Example:
        >>> same = [Quality(0.2 + i / 100, 0.9, 1.0, 0.1, "") for i in range(25)]
        >>> [round(limit, 3) for limit in quality_limits(same).limits]
        [0.152, 0.3, 0.3, 0.1]
    """
    n = len(training)
    if not n:
        return QualityLimits((0.0,) * len(MEASURES), 0)
    values = np.sort(np.array([quality.values for quality in training]), axis=0)
    lowest = values[int(SHARE_BELOW / len(MEASURES) * n)]
    limits = lowest - (np.median(values, axis=0) - lowest) * 2 / math.sqrt(n)
    return QualityLimits(tuple(float(limit) for limit in np.clip(limits, 0.0, MOST)), n)
