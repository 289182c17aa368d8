"""Limits that a trial must keep: `study.constraints = "sensitivity >= 0.9, parameters <= 300000"`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from drsearch.errors import SettingsError
from drsearch.metrics import COSTS, EXAMPLES, epoch_metric

_EXAMPLE = "sensitivity >= 0.9, parameters <= 300000"


@dataclass(frozen=True)
class Constraint:
    """A limit of one metric.

    Attributes:
        name: The metric, as an objective would name it: `val_sensitivity`, `parameters`.
        is_least: Whether the limit is the least value allowed; else the most.
        limit: Above 0.

    Example:
        >>> sensitivity = Constraint("val_sensitivity", is_least=True, limit=0.9)
        >>> sensitivity.text, sensitivity.violation(0.81), sensitivity.violation(0.9)
        ('sensitivity >= 0.9', 0.1, 0.0)
    """

    name: str
    is_least: bool
    limit: float

    @property
    def text(self) -> str:
        """The constraint as it is written in settings."""
        return f"{self.name.removeprefix('val_')} {'>=' if self.is_least else '<='} {self.limit:.10g}"

    def violation(self, value: float) -> float:
        """How far a value lies beyond the limit, as a share of the limit; 0 or less if it keeps the limit.

        Samplers add the violations of several constraints up, whatever the unit of each is.
        """
        beyond = self.limit - value if self.is_least else value - self.limit
        return round(beyond / self.limit, 12)  # means over folds are not exact

    def value(self, violation: float) -> float:
        """The value of which `violation` gave this."""
        return self.limit * (1 - violation if self.is_least else 1 + violation)

    def excess(self, violation: float) -> str:
        """The value beside the limit that it does not keep.

        Example:
            >>> Constraint("parameters", is_least=False, limit=300_000).excess(0.1)
            'parameters 330000 > 300000'
        """
        value, limit = self.value(violation), f"{self.limit:.10g}"
        shown = f"{value:.4f}".rstrip("0").rstrip(".")
        return (
            f"{self.name.removeprefix('val_')} {shown if shown != limit else f'{value:.10g}'} "
            f"{'<' if self.is_least else '>'} {limit}"
        )


def parse_constraints(text: str, setting: str = "study.constraints") -> tuple[Constraint, ...]:
    """The constraints of a text.

    Args:
        text: Limits with commas between them; empty for none. Metrics may have their `val_` or not.
        setting: The setting that a message names.

    Raises:
        SettingsError: If it is no such text, names no metric, or has a limit that no trial can keep.

    Example:
        >>> [each.text for each in parse_constraints("val_sensitivity >= 0.90, parameters <= 3e5")]
        ['sensitivity >= 0.9', 'parameters <= 300000']
    """
    constraints = tuple(_parse(part.strip(), text, setting) for part in text.split(",")) if text.strip() else ()
    for constraint in constraints:
        if sum(each.name == constraint.name and each.is_least == constraint.is_least for each in constraints) > 1:
            raise SettingsError(f"{setting} = {text!r} limits {constraint.name!r} twice; write the stricter limit.")
    return constraints


def violated(violations: Mapping[str, float]) -> str:
    """The constraints that a trial does not keep, with its values; empty if it keeps all.

    Args:
        violations: By the texts of the constraints.

    Example:
        >>> violated({"sensitivity >= 0.9": 0.1, "parameters <= 300000": -0.5})
        'sensitivity 0.81 < 0.9'
    """
    beyond = {text: violation for text, violation in violations.items() if violation > 0}
    return ", ".join(parse_constraints(text)[0].excess(violation) for text, violation in beyond.items())


def _parse(part: str, text: str, setting: str) -> Constraint:
    match = re.fullmatch(r"([\w.]+)\s*(>=|<=)\s*([\d.e+_-]+)", part)
    try:
        limit = float(match[3]) if match else 0.0
    except ValueError:
        limit = 0.0
    if match is None or limit <= 0:
        raise SettingsError(
            f"{setting} = {text!r}: {part!r} is no limit; expected a metric, '>=' or '<=' and a number above 0, "
            f"for example {setting} = {_EXAMPLE!r}."
        )
    name = match[1] if match[1] in COSTS else f"val_{match[1].removeprefix('val_')}"
    metric = epoch_metric(name)
    if metric is None and name not in COSTS:
        known = ", ".join([*(example.removeprefix("val_") for example in EXAMPLES), *COSTS])
        raise SettingsError(f"{setting} = {text!r}: {match[1]!r} is no metric; there are {known} (with any levels).")
    if metric is not None and metric.kind != "loss" and limit > 1:
        raise SettingsError(
            f"{setting} = {text!r}: {match[1]!r} is a share of at most 1, so {part!r} says nothing; "
            f"for example {setting} = {_EXAMPLE!r}."
        )
    return Constraint(name, match[2] == ">=", limit)
