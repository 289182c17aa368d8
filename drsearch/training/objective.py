"""Which number judges a trial, and which way is better?"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from drsearch.settings import Settings

COST_UNITS = {"parameters": "weights", "latency": "ms an eye"}


@dataclass(frozen=True)
class Objective:
    """A number that judges trials. Nothing else in drsearch knows which way is better.

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
        """`minimize` or `maximize`, as Optuna says it."""
        return "minimize" if self.less_is_better else "maximize"

    def loss(self, value: float) -> float:
        """The value, with its sign changed where more is better: the smaller loss is always the better one."""
        return value if self.less_is_better else -value

    def is_better(self, value: float, than: float) -> bool:
        """Whether a value beats another; every number beats NaN, nothing beats its equal."""
        if math.isnan(than):
            return not math.isnan(value)
        return self.loss(value) < self.loss(than)

    def best(self, values: Iterable[float]) -> float | None:
        """The best of some values; None without any."""
        return min(values, key=self.loss, default=None)


def objectives_of(settings: Settings) -> tuple[Objective, ...]:
    """The objectives of a study, in the order of a trial's values: `study.objective`, then `study.cost` if any."""
    names = [settings.study.objective, settings.study.cost]
    return tuple(Objective(name) for name in names if name != "none")
