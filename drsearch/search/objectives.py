"""What makes a trial better, and which trial is the best? With two objectives, the picked one of the Pareto front."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from drsearch.search.slots import ERROR, Slot
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


def cost_metric(settings: Settings) -> str:
    """The metric of a run that holds `study.cost`."""
    return {"parameters": "kept_parameters", "latency": "kept_latency_ms"}[settings.study.cost]


def best_slot(slots: Sequence[Slot], settings: Settings) -> Slot | None:
    """The complete trial that is registered: the one with the best objective, of equals the first.

    With two objectives a member of the Pareto front: by `study.pick = "one_standard_error"` the cheapest whose
    objective is within one standard error (that of the best one's value) of the best; else the best. Source of the
    rule: Breiman et al. (1984), Classification and Regression Trees, section 3.4.3.
    """
    complete = [slot for slot in slots if slot.state == "complete"]
    if not complete:
        return None
    members = front(complete, settings)
    best = min(members, key=lambda slot: (_losses(slot, settings), slot.number))
    if settings.study.cost == "none" or settings.study.pick == "best":
        return best
    error = float(best.last.user_attrs.get(ERROR, 0.0))
    limit = _losses(best, settings)[0] + (error if math.isfinite(error) else 0.0)
    near = [slot for slot in members if _losses(slot, settings)[0] <= limit]
    return min(near, key=lambda slot: (_losses(slot, settings)[1], slot.number))


def front(slots: Sequence[Slot], settings: Settings) -> list[Slot]:
    """The complete trials that no other beats in one objective without losing in another; of equals the first.

    With one objective these are the best trials, the first of them alone.
    """
    found: list[Slot] = []
    least = math.inf
    by_losses = sorted(
        (slot for slot in slots if slot.state == "complete"), key=lambda slot: (_losses(slot, settings), slot.number)
    )
    for slot in by_losses:  # best objective first: each further member must cost less
        if not found or (settings.study.cost != "none" and _losses(slot, settings)[1] < least):
            found.append(slot)
            least = _losses(slot, settings)[-1]
    return found


def since_improved(slots: Sequence[Slot], settings: Settings) -> int:
    """Trials that ended, complete or pruned, after the last that was better than all before it.

    With two objectives better means a new member of the Pareto front. Trials count in the order in which they ended.
    """
    ended = [slot for slot in slots if slot.state in ("complete", "pruned")]
    ended.sort(key=lambda slot: (slot.last.datetime_complete is None, slot.last.datetime_complete, slot.number))
    members: list[Slot] = []
    since = 0
    for slot in ended:
        if slot.state == "complete" and not any(_covers(member, slot, settings) for member in members):
            members = [*(member for member in members if not _covers(slot, member, settings)), slot]
            since = 0
        else:
            since += 1
    return since


def pick_rule(settings: Settings) -> str:
    """How the registered member of the front is picked, in words."""
    if settings.study.pick == "best":
        return f"the best {settings.study.objective}"
    return f"the smallest {settings.study.cost} within one standard error of the best {settings.study.objective}"


def _covers(one: Slot, other: Slot, settings: Settings) -> bool:
    """Whether `one` is at least as good in every objective."""
    return all(mine <= theirs for mine, theirs in zip(_losses(one, settings), _losses(other, settings), strict=True))


def _losses(slot: Slot, settings: Settings) -> tuple[float, ...]:
    """The objectives, turned so that less is better."""
    return tuple(each.loss(value) for each, value in zip(objectives_of(settings), slot.values, strict=True))
