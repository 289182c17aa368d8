"""Quality of synthetic eyes that are spoilt more and more; `python -m benchmarks.quality` does it with real ones."""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drsearch.data.images import eye_image
from drsearch.data.quality import MEASURES, QUALITY_PX, Quality, measure_quality
from drsearch.data.synthetic import draw_eye
from drsearch.errors import PhotographError
from drsearch.settings import ImageSettings

Picture = NDArray[np.uint8]
# More light, or less of it on one side, changes the other measures a little before it is itself the worst.
_GAIN = {"brightened": 0.1, "shaded": 0.1}


@cache
def drawn(seed: int) -> Picture:
    return np.asarray(draw_eye(seed % 5, np.random.default_rng(seed), image_px=(536, 356)).image, np.uint8)


def quality(picture: Picture, image_px: int = 256) -> Quality:
    return eye_image(picture, ImageSettings(image_px=image_px)).quality


def blurred(picture: Picture, amount: float) -> Picture:
    sigma = 0.015 * amount * picture.shape[1]
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8) if amount else picture


def darkened(picture: Picture, amount: float) -> Picture:
    return np.asarray((1 - 0.7 * amount) * picture, np.uint8)


def brightened(picture: Picture, amount: float) -> Picture:
    return np.asarray(np.clip((1 + 1.3 * amount) * picture.astype(float), 0, 255), np.uint8)


def hazed(picture: Picture, amount: float) -> Picture:
    inside = picture.max(axis=2, keepdims=True) > 40
    veil = 0.8 * amount
    return np.asarray(np.where(inside, (1 - veil) * picture + veil * np.array([190, 130, 90]), picture), np.uint8)


def shaded(picture: Picture, amount: float) -> Picture:
    """The left half gets dark."""
    place = np.linspace(0, 1, picture.shape[1])[None, :, None]
    return np.asarray(picture * (1 - 0.8 * amount / (1 + np.exp(20 * (place - 0.5)))), np.uint8)


def noisy(picture: Picture, amount: float) -> Picture:
    grain = np.random.default_rng(0).normal(0, 40 * amount, picture.shape) if amount else 0
    return np.asarray(np.clip(picture + grain, 0, 255), np.uint8)


WAYS: dict[str, tuple[Callable[[Picture, float], Picture], str]] = {
    "blurred": (blurred, "sharpness"),
    "darkened": (darkened, "exposure"),
    "brightened": (brightened, "exposure"),
    "hazed": (hazed, "contrast"),
    "shaded": (shaded, "exposure"),
    "noisy": (noisy, "contrast"),
}


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=8)
@given(seed=st.integers(0, 7), less=st.floats(0.05, 0.6), more=st.floats(0.2, 0.4))
def test_what_is_spoilt_more_is_worse(way: str, seed: int, less: float, more: float) -> None:
    spoil, _ = WAYS[way]
    picture = drawn(seed)
    scores = []
    for amount in (0.0, less, less + more):
        try:
            scores.append(quality(spoil(picture, amount)).score)
        except PhotographError:
            scores.append(0.0)
    gain = _GAIN.get(way, 0.02)
    assert scores[0] + gain >= scores[1] and scores[1] + gain >= scores[2]


@pytest.mark.parametrize("way", WAYS)
def test_a_spoilt_eye_is_much_worse_by_the_measure_that_names_it(way: str) -> None:
    spoil, measure = WAYS[way]
    before, after = quality(drawn(2)), quality(spoil(drawn(2), 0.9))
    assert after.score < 0.3 and after.score < before.score - 0.2
    assert getattr(after, measure) == after.score


def test_the_lower_half_black_is_a_part_of_the_retina_that_is_not_seen() -> None:
    square = np.full((QUALITY_PX, QUALITY_PX, 3), (160, 80, 40), np.uint8)
    square[QUALITY_PX // 2 :] = 5
    half = measure_quality(square)
    assert half.field == 0 and measure_quality(np.full_like(square, 90)).field == 1


@pytest.mark.parametrize("image_px", [16, 64, 512])
def test_the_quality_is_that_of_the_photograph_whatever_the_network_sees(image_px: int) -> None:
    jpeg = cv2.imencode(".jpg", cv2.resize(drawn(3), (2144, 1424), interpolation=cv2.INTER_CUBIC)[..., ::-1])[
        1
    ].tobytes()
    one, other = (
        eye_image(jpeg, ImageSettings(image_px=side, normalisation=how)).quality
        for side, how in ((256, "none"), (image_px, "local_mean"))
    )
    assert one.values == pytest.approx(other.values, abs=0.04)


def test_a_larger_photograph_of_the_same_sharpness_is_no_better() -> None:
    large = cv2.resize(drawn(4), (2144, 1424), interpolation=cv2.INTER_AREA)
    assert quality(np.asarray(large, np.uint8)).values == pytest.approx(quality(drawn(4)).values, abs=0.05)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_the_score_is_the_worst_measure_and_reads_back(values: list[float]) -> None:
    each = Quality(*values, "is pale")
    again = Quality.from_json(each.to_json())
    assert each.score == min(values)
    assert again.values == pytest.approx(values, abs=6e-4) and again.reason == "is pale"


@pytest.mark.parametrize("value", [-0.1, 1.5, "0.5", True, None, float("nan")])
def test_a_measure_out_of_range_is_not_read(value: object) -> None:
    with pytest.raises(ValueError, match="^a measure of quality is out of range$"):
        Quality.from_json(dict.fromkeys(MEASURES, 0.5) | {"field": value, "reason": ""})
