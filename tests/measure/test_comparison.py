"""Do paired comparisons say what slow loops say, and do they err as often as they claim?"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drsearch.errors import MetricError
from drsearch.measure.calibration import brier, calibration_error
from drsearch.measure.comparison import compare, delong, mcnemar
from drsearch.measure.scores import auc, scores

Pair = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def two_models(n: int, seed: int, gap: float = 0.0, step: float = 0.0) -> Pair:
    """Labels and two models of the same eyes, alike because the eyes are; the first is better by `gap`."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    eye = rng.normal(labels, 1.0)
    one, other = (1 / (1 + np.exp(-(eye + rng.normal(more * labels, 0.7)))) for more in (gap, 0.0))
    if step:
        one, other = np.round(one / step) * step, np.round(other / step) * step
    return labels, one, other


def test_delong_equals_a_comparison_worked_by_hand() -> None:
    # Three referable eyes, two others. A pair counts 1 in the right order, 1/2 if equal:
    #   first   .9 .6 .4 against .5 .2:  (1 1) (1 1) (0 1)     area 5/6
    #   second  .8 .3 .5 against .5 .1:  (1 1) (0 1) (1/2 1)   area 4.5/6
    # Means by referable eye:  first 1, 1, 1/2       second 1, 1/2, 3/4
    # Means by other eye:      first 2/3, 1          second 1/2, 1
    # Differences: 0, 1/2, -1/4 (mean 1/12, variance 7/48), and 1/6, 0 (mean 1/12, variance 1/72).
    # Variance of their mean: (7/48)/3 + (1/72)/2 = 1/18; z = sqrt(18)/12 = 1/sqrt(8); p = erfc(z/sqrt(2)) = erfc(1/4).
    found = delong([1, 1, 1, 0, 0], [0.9, 0.6, 0.4, 0.5, 0.2], [0.8, 0.3, 0.5, 0.5, 0.1])
    assert found.difference.value == pytest.approx(1 / 12)
    assert found.difference.high - found.difference.value == pytest.approx(1.959964 / np.sqrt(18), rel=1e-6)
    assert found.p == pytest.approx(math.erfc(0.25))


@settings(max_examples=60)
@given(st.integers(4, 40), st.integers(0, 1000), st.sampled_from([0.0, 0.1, 0.5]))
def test_delong_equals_its_definition_by_pairs(n: int, seed: int, step: float) -> None:
    labels, *models = two_models(n, seed, gap=0.5, step=step)
    kernels = []
    for chance in models:
        high, low = chance[labels == 1][:, None], chance[labels == 0][None]
        kernels.append((high > low) + 0.5 * (high == low))
    gap = kernels[0] - kernels[1]
    variance = gap.mean(1).var(ddof=1) / len(gap) + gap.mean(0).var(ddof=1) / len(gap[0])
    found = delong(labels, *models).difference
    assert found.value == pytest.approx(auc(labels, models[0]) - auc(labels, models[1]), abs=1e-12)
    assert found.high == pytest.approx(min(1, found.value + 1.959964 * np.sqrt(variance)), abs=1e-6)
    assert found.low == pytest.approx(max(-1, found.value - 1.959964 * np.sqrt(variance)), abs=1e-6)


def test_delong_agrees_with_the_bootstrap_on_the_same_eyes() -> None:
    found = compare(*two_models(300, seed=5, gap=0.6))
    assert found.auc.difference.value == pytest.approx(found.auc_bootstrap.value, abs=1e-12)
    assert found.auc.difference.low == pytest.approx(found.auc_bootstrap.low, abs=0.006)
    assert found.auc.difference.high == pytest.approx(found.auc_bootstrap.high, abs=0.006)
    assert found.auc.p < 0.01


def test_equal_models_are_told_apart_about_5_times_in_100() -> None:
    times = sum(delong(*two_models(120, seed)).p < 0.05 for seed in range(400))
    assert 8 <= times <= 34  # 20 expected, three standard deviations of 4.4 each way


def test_pairing_says_more_than_two_intervals_beside_each_other() -> None:
    labels, one, other = two_models(200, seed=3)
    alone = scores(labels, one, resamples=500).auc
    paired = delong(labels, one, other).difference
    assert paired.high - paired.low < alone.high - alone.low


@settings(max_examples=25)
@given(st.integers(4, 50), st.integers(0, 1000), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_every_difference_is_that_of_the_two_scores(n: int, seed: int, low: float, high: float) -> None:
    labels, one, other = two_models(n, seed, step=0.05)
    found = compare(labels, one, other, (low, high), resamples=100)
    first, second = scores(labels, one, low, resamples=2), scores(labels, other, high, resamples=2)
    for name in ("accuracy", "sensitivity", "specificity"):
        difference = getattr(found, name)
        assert difference.value == pytest.approx(getattr(first, name).value - getattr(second, name).value, abs=1e-12)
        assert -1 <= difference.low <= difference.high <= 1
    assert found.brier.value == pytest.approx(brier(labels, one) - brier(labels, other), abs=1e-12)
    assert found.ece.value == pytest.approx(calibration_error(labels, one) - calibration_error(labels, other), abs=1e-9)
    mirrored = compare(labels, other, one, (high, low), resamples=100)
    assert mirrored.auc.difference.value == pytest.approx(-found.auc.difference.value, abs=1e-12)
    assert mirrored.mcnemar.p == found.mcnemar.p


def test_a_model_does_not_differ_from_itself() -> None:
    labels, one, _ = two_models(30, seed=1)
    found = compare(labels, one, one, resamples=50)
    assert (found.auc.difference.low, found.auc.difference.high, found.auc.p) == (0, 0, 1)
    assert (found.mcnemar.first_only, found.mcnemar.second_only, found.mcnemar.p) == (0, 0, 1)


def test_mcnemar_counts_disagreements_and_is_exact() -> None:
    labels = np.ones(20, int)
    first = np.array([0] * 9 + [1] * 11)
    second = np.array([1] * 9 + [0] * 1 + [1] * 10)
    found = mcnemar(labels, first, second)
    assert (found.first_only, found.second_only) == (9, 1)
    assert found.p == pytest.approx(2 * (1 + 10) / 2**10)  # at most 1 of 10 heads, both sides


def test_one_eye_of_a_class_is_too_few_to_compare() -> None:
    with pytest.raises(MetricError) as refused:
        delong([0, 0, 1], [0.1, 0.2, 0.9], [0.2, 0.1, 0.8])
    assert str(refused.value) == ("There are 1 RDR and 2 NRDR eyes; two areas are compared from two eyes of each on.")
