"""Predictive values at a prevalence, and what they cannot be computed of."""

import pytest

from drsearch.errors import MetricError
from drsearch.measure.predictive_values import predictive_values

Counts = tuple[tuple[int, int], tuple[int, int]]


def test_at_the_prevalence_of_the_test_eyes_they_are_the_shares_of_the_confusion_matrix() -> None:
    at = predictive_values(((40, 10), (20, 30)), 0.5)
    assert at.positive.value == pytest.approx(30 / 40)
    assert at.negative.value == pytest.approx(40 / 60)
    assert at.positive.low < 0.75 < at.positive.high


def test_the_rarer_the_disease_the_less_a_referral_says_and_the_more_an_all_clear() -> None:
    rare, common = (predictive_values(((40, 10), (20, 30)), prevalence) for prevalence in (0.02, 0.4))
    assert rare.positive.value < common.positive.value and rare.negative.value > common.negative.value


@pytest.mark.parametrize("confusion", [((9, 0), (0, 7)), ((0, 9), (0, 7)), ((9, 0), (7, 0))])
def test_a_perfect_or_one_sided_model_has_intervals_with_width(
    confusion: Counts,
) -> None:
    at = predictive_values(confusion, 0.1)
    for interval in (at.positive, at.negative):
        assert 0 <= interval.low <= interval.value <= interval.high <= 1 and interval.low < interval.high


@pytest.mark.parametrize(("confusion", "prevalence"), [(((0, 0), (1, 2)), 0.5), (((1, 2), (3, 4)), 0.0)])
def test_a_missing_class_or_no_prevalence_is_refused(confusion: Counts, prevalence: float) -> None:
    with pytest.raises(MetricError, match="both classes, and a prevalence"):
        predictive_values(confusion, prevalence)
