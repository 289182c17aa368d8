"""The number that judges a trial, and which of two values is the better one."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drsearch.metrics import COSTS
from drsearch.settings import Settings
from drsearch.tracking.metric_names import best_metric

if TYPE_CHECKING:
    from drsearch.model.fit import EpochResult

_OF_COSTS = {"parameters": ("model_parameters", "weights"), "latency": ("model_latency_ms", "ms an eye")}


@dataclass(frozen=True)
class Objective:
    """A number that judges trials. Nothing else in drsearch knows its direction.

    Attributes:
        name: A value of `study.objective` or `study.second_objective`.

    Example:
        >>> Objective("val_auc").best([0.7, 0.9]), Objective("val_loss").best([0.7, 0.9])
        (0.9, 0.7)
    """

    name: str

    @property
    def less_is_better(self) -> bool:
        """Whether the smaller of two values is the better one."""
        return self.name in ("val_loss", "val_brier", *COSTS)

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
        """The value in an epoch; not of what a network costs."""
        return result.validation.by_name()[self.name.removeprefix("val_")]

    @property
    def metric(self) -> str:
        """The MLflow metric that holds the value of a trial.

        Example:
            >>> Objective("val_auc").metric, Objective("parameters").metric
            ('best_val_auc', 'model_parameters')
        """
        return _OF_COSTS[self.name][0] if self.name in COSTS else best_metric(self.name)

    @property
    def label(self) -> str:
        """The name with the unit, if the value has one, as charts show it."""
        return f"{self.name} ({_OF_COSTS[self.name][1]})" if self.name in COSTS else self.name


def violations(metrics: Mapping[str, float], settings: Settings) -> dict[str, float]:
    """How far a trial lies beyond each constraint of its study, see `Constraint.violation`.

    Args:
        metrics: Of its best epoch, by name.
        settings: The study's.

    Returns:
        By the texts of the constraints.
    """
    return {limit.text: limit.violation(metrics[Objective(limit.name).metric]) for limit in settings.study.limits}


def objectives_of(settings: Settings) -> tuple[Objective, ...]:
    """The objectives of a study, in the order of a trial's values."""
    return tuple(map(Objective, settings.study.objectives))
