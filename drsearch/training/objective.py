"""The number that judges a trial, and which of two values is the better one."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drsearch.settings import Settings

if TYPE_CHECKING:
    from drsearch.measure.scores import Interval, Scores
    from drsearch.model.fit import EpochResult

COST_UNITS = {"parameters": "weights", "latency": "ms an eye"}


@dataclass(frozen=True)
class Objective:
    """A number that judges trials. Nothing else in drsearch knows its direction.

    Attributes:
        name: A value of `study.objective` or `study.cost`.

    Example:
        >>> Objective("val_auc").best([0.7, 0.9]), Objective("val_loss").best([0.7, 0.9])
        (0.9, 0.7)
    """

    name: str

    @property
    def less_is_better(self) -> bool:
        """Whether the smaller of two values is the better one."""
        return self.name == "val_loss" or self.name in COST_UNITS

    @property
    def direction(self) -> str:
        """The direction in Optuna's words: `minimize` or `maximize`."""
        return "minimize" if self.less_is_better else "maximize"

    def loss(self, value: float) -> float:
        """The value, with its sign changed where more is better: the smaller loss is always the better one."""
        return value if self.less_is_better else -value

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value beats another; every number beats NaN, nothing beats its equal.

        Example:
            >>> Objective("val_loss").is_better(0.3, 0.4), Objective("val_auc").is_better(0.8, 0.8)
            (True, False)
        """
        if math.isnan(than):
            return not math.isnan(value)
        return self.loss(value) < self.loss(than)

    def best(self, values: Iterable[float]) -> float | None:
        """The best of some values; None without any."""
        return min(values, key=self.loss, default=None)

    def value_of(self, result: "EpochResult") -> float:
        """The value of `val_auc`, `val_accuracy` or `val_loss` in an epoch."""
        return float(getattr(result.validation, self.name.removeprefix("val_")))

    def interval_of(self, scores: "Scores") -> "Interval | None":
        """The score that this objective is, with its interval; None for the loss, which has none."""
        return getattr(scores, self.name.removeprefix("val_"), None)


def objectives_of(settings: Settings) -> tuple[Objective, ...]:
    """The objectives of a study, in the order of a trial's values: `study.objective`, then `study.cost` if any."""
    names = [settings.study.objective, settings.study.cost]
    return tuple(Objective(name) for name in names if name != "none")
