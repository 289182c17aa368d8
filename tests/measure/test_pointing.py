"""Hits, shares of heat, chance and tests: are they what they say?"""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import spearmanr
from spotted import PX, everywhere, eye_with_spots, spot_finder

from drsearch.errors import MetricError
from drsearch.measure.deletion import STEPS, curves
from drsearch.measure.explainers import explainer
from drsearch.measure.pointing import mean, paired, point, point_at_others, rank_correlation
from drsearch.measure.randomised import randomised_weights
from drsearch.model.predictor import Predictor
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import ModelSettings


def boxes(*places: tuple[int, int, int, int], px: int = 8) -> np.ndarray:
    """One region per eye: rows from, to, columns from, to."""
    regions = np.zeros((len(places), px, px), bool)
    for region, (top, bottom, left, right) in zip(regions, places, strict=True):
        region[top:bottom, left:right] = True
    return regions


def test_a_peak_in_the_box_is_a_hit_and_shares_are_of_heat_and_of_retina() -> None:
    regions, inside = boxes((0, 2, 0, 2), (0, 4, 0, 8), (0, 1, 0, 1)), np.ones((3, 8, 8), bool)
    inside[1, :2] = False  # of the second region half is no retina
    maps = np.zeros((3, 8, 8), np.float32)
    maps[0, 1, 1], maps[0, 5, 5] = 1.0, 0.25
    maps[1, 6, 6], maps[1, 2, 0] = 1.0, 1 / 3
    looked = point(maps, regions, inside)
    assert looked.hit.tolist() == [1, 0, 0]  # the third map has no heat
    assert looked.heat == pytest.approx([0.8, 0.25, 0])
    assert looked.area == pytest.approx([4 / 64, 16 / 48, 1 / 64])
    assert looked.density == pytest.approx([0.8 * 16, 0.75, 0])
    with pytest.raises(MetricError, match="covers no retina"):
        point(maps, np.zeros_like(regions), inside)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_even_heat_has_the_share_of_the_area_and_random_peaks_hit_as_often(seed: int) -> None:
    dice = np.random.default_rng(seed)
    regions = dice.random((200, 6, 6)) < 0.3
    regions[:, 0, 0] = True
    inside = np.ones_like(regions)
    even = point(np.ones(regions.shape, np.float32), regions, inside)
    np.testing.assert_allclose(even.heat, even.area)
    random = point(dice.random(regions.shape).astype(np.float32), regions, inside)
    assert abs(random.hit.mean() - random.area.mean()) < 5 * np.sqrt(0.25 / 200)


def test_shuffled_pairs_are_the_mean_over_the_boxes_of_other_patients() -> None:
    dice = np.random.default_rng(0)
    maps, regions = dice.random((5, 8, 8)).astype(np.float32), dice.random((5, 8, 8)) < 0.4
    who = np.array([0, 0, 1, 2, 3])
    hit, heat = point_at_others(maps, regions, who)
    inside = np.ones_like(regions)
    for i in range(5):
        others = [j for j in range(5) if who[j] != who[i]]
        each = [point(maps[i : i + 1], regions[j : j + 1], inside[:1]) for j in others]
        assert hit[i] == pytest.approx(np.mean([one.hit for one in each]))
        assert heat[i] == pytest.approx(np.mean([one.heat for one in each]), rel=1e-5)
    with pytest.raises(MetricError, match="one patient"):
        point_at_others(maps, regions, np.zeros(5))


def test_intervals_draw_patients_and_a_share_that_never_varies_has_wilsons() -> None:
    values = np.repeat(np.random.default_rng(0).random(30), 2)  # both eyes of a patient are alike
    eyes, patients = mean(values), mean(values, np.repeat(np.arange(30), 2))
    assert eyes.value == patients.value == pytest.approx(values.mean())
    assert (patients.high - patients.low) / (eyes.high - eyes.low) == pytest.approx(np.sqrt(2), rel=0.15)
    none = mean(np.zeros(20))
    assert none.low == 0 and 0.1 < none.high < 0.2


def test_a_paired_difference_is_tested_by_random_signs() -> None:
    dice = np.random.default_rng(1)
    first = dice.random(40)
    alike = [paired(first, first + dice.normal(0, 0.1, 40)).p for _ in range(60)]
    assert 0.01 <= np.mean(np.array(alike) < 0.05) <= 0.15
    apart = paired(first + 0.2, first + dice.normal(0, 0.1, 40))
    assert apart.p == 1e-4 and apart.difference.low > 0.1 and apart.difference.high < 0.3
    assert paired(np.ones(4), np.zeros(4)).p == pytest.approx(2 / 16, abs=0.02)  # two of sixteen signs are as far
    assert paired(np.ones(8), np.zeros(8), np.repeat(np.arange(4), 2)).p == pytest.approx(2 / 16, abs=0.02)


@given(arrays.arrays(np.float32, (2, 1, 5, 5), elements=st.floats(0, 1, width=32)))
def test_rank_correlation_is_spearmans(both: np.ndarray) -> None:
    inside = np.ones((1, 5, 5), bool)
    inside[0, 0] = False
    correlation = rank_correlation(both[0], both[1], inside)[0]
    one, other = both[0][inside], both[1][inside]
    if np.ptp(one) and np.ptp(other):
        assert correlation == pytest.approx(spearmanr(one, other).statistic, abs=1e-6)
    else:
        assert correlation == 0


def test_curves_fall_and_rise_first_where_the_evidence_is() -> None:
    images = np.stack([eye_with_spots((4, 4), (20, 20))] * 2)
    inside = everywhere(images)
    inside[:, :2] = False
    model, right, wrong = spot_finder(200.0), np.zeros((2, PX, PX), np.float32), np.zeros((2, PX, PX), np.float32)
    right[:, 4:10, 4:10], wrong[:, 20:26, 4:10] = 1, 1
    predict = Predictor(model)
    good, bad = curves(predict, images, right, inside), curves(predict, images, wrong, inside)
    assert good.deletion.shape == (2, STEPS + 1)
    np.testing.assert_allclose(good.deletion[:, 0], predict(images))
    np.testing.assert_allclose(good.insertion[:, -1], predict(images))
    assert (good.deletion[:, 1] < good.deletion[:, 0]).all() and (good.insertion[:, 1] > good.insertion[:, 0]).all()
    assert (good.deletion_area < bad.deletion_area).all() and (good.insertion_area > bad.insertion_area).all()


def test_random_weights_begin_at_the_output_and_are_taken_back_even_after_an_error() -> None:
    keras.utils.set_random_seed(0)
    model = build_resnet(ModelSettings(width=4, stages=2), PX)
    trained = [weight.numpy() for weight in model.weights]
    images = np.random.default_rng(0).integers(0, 256, (1, PX, PX, 3), dtype=np.uint8)
    maker = explainer(model)
    before, _ = maker.maps(images, everywhere(images), 1)

    def changed(share: float, seed: int = 0) -> list[str]:
        with randomised_weights(model, share, seed):
            return [w.path for w, old in zip(model.weights, trained, strict=True) if (w.numpy() != old).any()]

    assert changed(0) == []
    assert changed(1e-9) == ["probabilities/kernel"]  # its bias was 0 before
    assert set(changed(0.5)) < set(changed(1)) and len(changed(1)) >= sum(value.ndim > 1 for value in trained)
    with pytest.raises(KeyError), randomised_weights(model, 1, 1):
        raise KeyError
    assert all((weight.numpy() == old).all() for weight, old in zip(model.weights, trained, strict=True))
    np.testing.assert_array_equal(maker.maps(images, everywhere(images), 1)[0], before)
    with randomised_weights(model, 1, 1):
        assert (maker.maps(images, everywhere(images), 1)[0] != before).any()
