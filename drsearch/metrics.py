"""The metrics that judge a trial, by name.

A metric has the same name in settings (`study.objective`), as the MLflow metric of every epoch, and in tables.
"""

import re
from dataclasses import dataclass

from drsearch.errors import SettingsError

COSTS = ("parameters", "latency")
"""What a network costs: number of weights, and milliseconds per eye on the cores of the worker."""

OWN = "val_own"
"""What `objective` of a space file measures; more is better."""

KAPPA = "val_kappa"
"""Quadratic weighted kappa of the five grades, of networks that know these."""

_LEVEL = r"0\.\d*[1-9]"
_KNOWN = re.compile(
    r"(?P<plain>loss|accuracy|auc|sensitivity|specificity|brier|kappa|own)"
    rf"|(?P<at>sensitivity_at_specificity|specificity_at_sensitivity)_(?P<level>{_LEVEL})"
    rf"|(?P<area>partial_auc_at_specificity)_(?P<low>0|{_LEVEL})_to_(?P<high>1|{_LEVEL})"
)
EXAMPLES = (
    "val_auc",
    "val_accuracy",
    "val_loss",
    "val_brier",
    "val_sensitivity",
    "val_specificity",
    KAPPA,
    OWN,
    "val_sensitivity_at_specificity_0.9",
    "val_specificity_at_sensitivity_0.9",
    "val_partial_auc_at_specificity_0.8_to_1",
)
"""Every kind of metric of an epoch; levels are examples."""


@dataclass(frozen=True)
class Metric:
    """A metric of the predictions of one epoch.

    Attributes:
        name: Without `val_`, for example `sensitivity_at_specificity_0.9`.
        kind: The name without levels, for example `sensitivity_at_specificity`.
        levels: The stated levels, in the order of the name; none for most kinds.
    """

    name: str
    kind: str
    levels: tuple[float, ...] = ()


def epoch_metric(name: str) -> Metric | None:
    """The metric of a name; None if the name is no metric of an epoch.

    Args:
        name: With `val_`. A level is a number between 0 and 1 without trailing zeros.

    Example:
        >>> epoch_metric("val_sensitivity_at_specificity_0.9")
        Metric(name='sensitivity_at_specificity_0.9', kind='sensitivity_at_specificity', levels=(0.9,))
        >>> epoch_metric("val_sensitivity_at_specificity_90") is None
        True
    """
    match = _KNOWN.fullmatch(name.removeprefix("val_")) if name.startswith("val_") else None
    if match is None:
        return None
    levels = tuple(float(match[group]) for group in ("level", "low", "high") if match[group])
    if list(levels) != sorted(set(levels)):
        return None
    return Metric(match[0], match["plain"] or match["at"] or match["area"], levels)


def check_metric(setting: str, value: str, others: tuple[str, ...] = ()) -> None:
    """Refuse the value of a setting that names no metric.

    Args:
        setting: For example `study.objective`.
        value: Its value.
        others: What else the setting may be.

    Raises:
        SettingsError: With all that it may be.
    """
    if value not in others and epoch_metric(value) is None:
        *names, last = (repr(name) for name in (*others, *EXAMPLES))
        raise SettingsError(
            f"{setting} = {value!r}: expected {', '.join(names)} or {last} (with any levels between 0 and 1), "
            f"for example {setting} = {(others or EXAMPLES)[0]!r}."
        )
