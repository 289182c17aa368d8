"""Are photographs as much worse as their corruption says?"""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drsearch.data.corruptions import CORRUPTIONS, Corruption, diameter_px, opened
from drsearch.data.decode import read_photograph
from drsearch.data.retina import Retina
from drsearch.data.synthetic import draw_eye

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}
WHOLE = Retina(0, 1)


@pytest.fixture(scope="module")
def eye() -> NDArray[np.uint8]:
    return draw_eye(3, np.random.default_rng(0), image_px=(804, 534)).image


@pytest.mark.parametrize(
    ("corruption", "strength"), [(each, strength) for each in CORRUPTIONS for strength in each.strengths]
)
def test_a_corruption_is_the_same_every_time_and_leaves_the_photograph_alone(
    corruption: Corruption, strength: float, eye: NDArray[np.uint8]
) -> None:
    picture, retina = opened(eye.copy())
    first, again = (read_photograph(corruption.of(picture, retina, strength)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(picture, eye)
    assert first.shape != eye.shape or (first != eye).any(), "something is worse"


@pytest.mark.parametrize("name", ["blur", "JPEG"])
def test_strengths_go_from_mild_to_severe(name: str, eye: NDArray[np.uint8]) -> None:
    picture, retina = opened(eye)
    worse = [read_photograph(BY_NAME[name].of(picture, retina, each)) for each in BY_NAME[name].strengths]
    distances = [float(np.abs(each.astype(int) - eye).mean()) for each in worse]
    assert distances == sorted(distances) and distances[0] > 0


@pytest.mark.parametrize("percent", [0.5, 1])
def test_blur_has_its_sigma_as_a_share_of_the_diameter(percent: float) -> None:
    point = np.zeros((601, 801, 3), np.uint8)
    point[300, 400] = 255
    spread = np.asarray(BY_NAME["blur"].of(point, WHOLE, percent), float)[:, :, 0]
    sharp = np.zeros_like(spread)
    sharp[300, 400] = 255
    expected = cv2.GaussianBlur(sharp, (0, 0), percent / 100 * 801)
    assert np.abs(spread - expected).max() <= 1


def test_a_wide_blur_at_a_smaller_size_is_that_at_full_size() -> None:
    picture = draw_eye(3, np.random.default_rng(0), image_px=(1607, 1067)).image
    at_full_size = cv2.GaussianBlur(picture, (0, 0), 1607 / 100)
    off = np.abs(np.asarray(BY_NAME["blur"].of(picture, WHOLE, 1), float) - at_full_size)
    assert off.mean() < 0.25 and np.quantile(off, 0.999) <= 2


def test_one_exposure_value_doubles_the_light_and_a_cast_shifts_red_against_blue() -> None:
    grey = np.full((4, 4, 3), 128, np.uint8)  # 0.2159 of the light, by sRGB
    assert np.unique(BY_NAME["exposure"].of(grey, WHOLE, 1)).tolist() == [176]  # 0.4317
    assert np.unique(BY_NAME["exposure"].of(grey, WHOLE, -1)).tolist() == [92]  # 0.1079
    assert np.unique(BY_NAME["exposure"].of(grey, WHOLE, 3)).tolist() == [255]
    assert BY_NAME["cast"].of(grey, WHOLE, 2)[0, 0].tolist() == [176, 128, 92]  # type: ignore[index]


def test_a_turned_photograph_keeps_all_of_the_retina(eye: NDArray[np.uint8]) -> None:
    picture, retina = opened(eye)
    turned = read_photograph(BY_NAME["rotation"].of(picture, retina, 30))
    assert turned.shape[0] > eye.shape[0] and turned.shape[1] > eye.shape[1]
    before, after = (np.count_nonzero(each.max(axis=2) > 20) for each in (eye, turned))
    assert after == pytest.approx(before, rel=0.01)


def test_a_tight_crop_cuts_its_share_off_each_side(eye: NDArray[np.uint8]) -> None:
    picture, retina = opened(eye)
    diameter = diameter_px(picture, retina)
    cut = read_photograph(BY_NAME["crop"].of(picture, retina, 10))
    width, height = (retina.right - retina.left) * eye.shape[1], (retina.bottom - retina.top) * eye.shape[0]
    assert cut.shape[1] == pytest.approx(width - 0.2 * diameter, abs=1)
    assert cut.shape[0] == pytest.approx(height - 0.2 * diameter, abs=1)


def test_a_coarse_camera_has_its_pixels_across_the_retina_and_a_coarser_one_stays(eye: NDArray[np.uint8]) -> None:
    picture, retina = opened(eye)
    coarse = opened(BY_NAME["resolution"].of(picture, retina, 192))
    assert diameter_px(*coarse) == pytest.approx(192, abs=2)
    np.testing.assert_array_equal(BY_NAME["resolution"].of(picture, retina, 5000), eye)
