"""The rule of promotion: what a challenger's test scores must show before it becomes the champion."""

from dataclasses import dataclass

from drsearch.measure.comparison import Comparison
from drsearch.measure.scores import Interval, Scores
from drsearch.settings import GateSettings

_ROUNDING = 1e-9  # 11/12 - 10/12 against a margin of 1/12


@dataclass(frozen=True)
class Check:
    """One condition of the rule.

    Attributes:
        passed: Whether it holds.
        text: The condition with its figures, one sentence; without `; `, which separates conditions in a tag.
    """

    passed: bool
    text: str

    @property
    def verdict(self) -> str:
        """`holds` or `fails`."""
        return "holds" if self.passed else "fails"


def rule(
    challenger: Scores, champion: Scores | None, comparison: Comparison | None, gate: GateSettings
) -> tuple[Check, ...]:
    """Check a challenger's test scores against the rule of promotion.

    A challenger of a champion passes if its sensitivity is at most `gate.sensitivity_margin` lower (counted on these
    eyes, each version at its own threshold) and its AUC is not worse (non-inferiority: the lower end of the two-sided
    95 % interval of the difference, see `delong`, lies above `-gate.auc_margin`). The first champion passes if the
    lower end of its AUC's interval lies above `gate.first_auc` and its sensitivity reaches `gate.first_sensitivity`. A
    challenger that answers the same for every eye never passes.

    Args:
        challenger: Scores on the test eyes.
        champion: Scores on the same eyes; None if there is no champion to compare with.
        comparison: Challenger minus champion; None without a champion.
        gate: Margins and minima.

    Returns:
        The conditions; all must hold.
    """
    if challenger.is_constant:
        return (Check(False, f"the model answers the same for all {challenger.n} eyes: it cannot tell them apart"),)
    if champion is None or comparison is None:
        return _first_champion(challenger, gate)
    lost = comparison.sensitivity.value
    difference = comparison.auc.difference
    return (
        Check(
            lost >= -gate.sensitivity_margin - _ROUNDING,
            f"sensitivity {challenger.sensitivity.value:.3f} at threshold {challenger.threshold:.4g}, champion "
            f"{champion.sensitivity.value:.3f} at {champion.threshold:.4g}: {lost:+.3f} (limit "
            f"{-gate.sensitivity_margin:+g})",
        ),
        Check(
            difference.low > -gate.auc_margin,
            f"AUC difference {difference:+.3f}, the interval must lie above {-gate.auc_margin:+g}"
            + _no_width(difference, challenger.n),
        ),
    )


def _first_champion(scores: Scores, gate: GateSettings) -> tuple[Check, ...]:
    auc, sensitivity = scores.auc, scores.sensitivity
    text = f"AUC {auc}, the interval must lie above {gate.first_auc:g}{_no_width(auc, scores.n)}"
    checks = [Check(auc.low > gate.first_auc, text)]
    if least := gate.first_sensitivity:
        text = f"sensitivity {sensitivity} at threshold {scores.threshold:.4g}, it must reach {least:g}"
        checks.append(Check(sensitivity.value >= least, text))
    return tuple(checks)


def _no_width(interval: Interval, n: int) -> str:
    if interval.high > interval.low:
        return ""
    return f" (the interval has no width: nothing varies on these {n} eyes, which says little about others)"
