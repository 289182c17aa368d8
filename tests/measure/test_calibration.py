"""Do probabilities mean what they say, and does the temperature mend them?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from drsearch.measure.calibration import (
    TEMPERATURES,
    brier,
    calibration,
    calibration_error,
    fit_temperature,
    reliability,
    tempered,
)
from drsearch.measure.operating_point import operating_point


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_brier_and_calibration_error_equal_plain_loops(eyes: list[tuple[int, float]]) -> None:
    labels, chance = zip(*eyes, strict=True)
    assert brier(labels, chance) == pytest.approx(brier_score_loss(labels, chance, pos_label=1))
    gap = 0.0
    for i in range(10):
        inside = [(k, p) for k, p in eyes if i / 10 <= p < (i + 1) / 10 or (i == 9 and p == 1)]
        gap += abs(sum(p - k for k, p in inside))
    assert calibration_error(labels, chance) == pytest.approx(gap / len(eyes), abs=1e-9)
    assert sum(n for _, _, n in reliability(labels, chance)) == len(eyes)


def test_the_intervals_hold_the_values_and_repeat_by_seed() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(size=200)
    labels = (rng.uniform(size=200) < chance).astype(int)
    found = calibration(labels, chance, seed=1)
    assert found == calibration(labels, chance, seed=1) != calibration(labels, chance, seed=2)
    assert found.brier.value == pytest.approx(brier(labels, chance))
    assert found.brier.low < found.brier.value < found.brier.high
    assert found.ece.value == pytest.approx(calibration_error(labels, chance))


@settings(max_examples=20)
@given(st.floats(0.4, 3.0), st.integers(0, 100))
def test_a_temperature_that_was_put_in_is_found_again(true: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    honest = 1 / (1 + np.exp(-rng.normal(0, 2, 4000)))
    labels = (rng.uniform(size=4000) < honest).astype(int)
    found, said = fit_temperature(labels, tempered(honest, 1 / true))
    assert found == pytest.approx(true, rel=0.12)
    assert said == ""


def test_a_temperature_lowers_the_loss_of_the_eyes_it_was_fitted_on_and_changes_no_order() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 2
    sure = 1 / (1 + np.exp(-rng.normal(5 * (labels - 0.5), 4.0)))
    found, _ = fit_temperature(labels, sure)
    assert found > 1
    assert log_loss(labels, tempered(sure, found)) < log_loss(labels, sure)
    assert np.array_equal(np.argsort(tempered(sure, found)), np.argsort(sure))


def test_eyes_without_an_error_fit_no_temperature() -> None:
    assert fit_temperature([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.9]) == (
        1.0,
        "all 4 eyes lie on their side of one half, which fits no temperature; 1 is kept",
    )


def test_a_temperature_stays_within_its_bounds() -> None:
    nearly = [0.49, *[0.499] * 20, *[0.501] * 20, 0.4999]
    labels = [0, *[0] * 20, *[1] * 20, 1]
    assert fit_temperature(labels, nearly) == (TEMPERATURES[0], "at its limit of 0.25")
    assert fit_temperature([0, 1, 0, 1], [0.999, 0.001, 0.01, 0.99])[0] == TEMPERATURES[1]


@settings(max_examples=60)
@given(st.integers(2, 40), st.integers(0, 1000), st.floats(0.5, 1.0), st.sampled_from([0.0, 0.1]))
def test_the_operating_point_is_the_best_that_any_threshold_gives(
    n: int, seed: int, wanted: float, step: float
) -> None:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    chance = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
    chance = np.round(chance / step) * step if step else chance
    by_hand = []
    for threshold in [*np.unique(chance), 2.0]:
        called = chance >= threshold
        by_hand.append((called[labels == 1].mean(), (~called[labels == 0]).mean()))
    youden = operating_point(labels, chance)
    assert youden.sensitivity + youden.specificity == pytest.approx(max(map(sum, by_hand)))
    screening = operating_point(labels, chance, "sensitivity", wanted)
    assert screening.sensitivity >= wanted - 1e-9
    assert screening.specificity == pytest.approx(max(left for found, left in by_hand if found >= wanted - 1e-9))
    half = operating_point(labels, chance, "half")
    assert half.threshold == 0.5
    for point in (youden, screening, half):
        called = chance >= point.threshold
        assert point.sensitivity == pytest.approx(called[labels == 1].mean())
        assert point.specificity == pytest.approx((~called[labels == 0]).mean())
