"""Real and synthetic eyes keep to the limit; what is no eye lies beyond it."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drsearch.data.images import eye_image
from drsearch.data.synthetic import draw_eye
from drsearch.measure.familiarity import Familiarity, fit_familiarity
from drsearch.settings import ImageSettings

SETTINGS = ImageSettings(image_px=64)


def prepared(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return eye_image(np.ascontiguousarray(picture), SETTINGS).image


def drawn(n: int, seed: int) -> list[NDArray[np.uint8]]:
    return [draw_eye(i % 5, np.random.default_rng([seed, i]), image_px=(268, 178)).image for i in range(n)]


@pytest.fixture(scope="module")
def eyes() -> NDArray[np.uint8]:
    return np.stack([prepared(eye) for eye in drawn(90, 0)])


@pytest.fixture(scope="module")
def familiarity(eyes: NDArray[np.uint8]) -> Familiarity:
    return fit_familiarity(eyes[:50], eyes[50:70])


def test_new_eyes_keep_to_the_limit(familiarity: Familiarity, eyes: NDArray[np.uint8]) -> None:
    assert (familiarity.n_train, familiarity.n_validation, familiarity.n_beyond) == (50, 20, 0)
    assert familiarity.distances(eyes[50:70]).max() == pytest.approx(1 / (1 + 1 / np.sqrt(20)))
    assert np.mean(familiarity.distances(eyes[70:]) > 1) <= 0.05


def strangers() -> dict[str, NDArray[np.uint8]]:
    draw, (height, width) = np.random.default_rng(0), (178, 268)
    noise = draw.integers(0, 256, (height, width, 3), np.uint8)
    clouds = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 12), noise.copy(), 0, 255, cv2.NORM_MINMAX)
    warm = (clouds * np.array([1.0, 0.6, 0.3])).astype(np.uint8)
    field = cv2.circle(np.zeros((height, width), np.uint8), (width // 2, height // 2), 85, 1, cv2.FILLED)[..., None]
    face, (x, y) = np.zeros((height, width, 3), np.uint8), (width // 2, height // 2)
    cv2.circle(face, (x, y), 80, (230, 140, 50), cv2.FILLED)
    for dx in (-30, 30):
        cv2.circle(face, (x + dx, y - 20), 10, (60, 120, 40), cv2.FILLED)
    cv2.ellipse(face, (x, y + 25), (35, 20), 0, 0, 180, (120, 30, 20), 4)
    eye = draw_eye(2, np.random.default_rng(7)).image
    disc = np.where(field, np.array([200, 110, 40]) - np.arange(height)[:, None, None] // 6, 0).astype(np.uint8)
    return {
        "a drawn face": face,
        "warm clouds": warm,
        "warm clouds seen through a round mask": warm * field,
        "a plain disc": disc,
        "a part of a retina": eye[100:260, 190:350],
        "a retina out of focus": cv2.GaussianBlur(eye, (0, 0), 18),
    }


@pytest.mark.parametrize("name", strangers())
def test_what_is_no_eye_lies_beyond_the_limit(familiarity: Familiarity, name: str) -> None:
    assert familiarity.distances(prepared(strangers()[name])[None])[0] > 1


def test_it_reads_back_and_measures_the_same(familiarity: Familiarity, eyes: NDArray[np.uint8]) -> None:
    text = familiarity.to_json()
    assert len(text) < 300_000
    read = Familiarity.from_json(text)
    assert read.distances(eyes).tolist() == familiarity.distances(eyes).tolist()
    assert dataclasses.replace(read, clouds={}) == dataclasses.replace(familiarity, clouds={})


def test_a_distance_does_not_depend_on_the_others_in_the_batch(
    familiarity: Familiarity, eyes: NDArray[np.uint8]
) -> None:
    alone = [familiarity.distances(eye[None])[0] for eye in eyes[70:75]]
    assert familiarity.distances(eyes[70:75]) == pytest.approx(alone)


@pytest.mark.parametrize("side", [16, 33, 300])
def test_every_size_of_picture_and_the_fewest_eyes_give_numbers(side: int) -> None:
    eyes = np.stack([cv2.resize(eye, (side, side)) for eye in drawn(3, 1)])
    for train in (eyes[:2], eyes[:1].repeat(2, axis=0)):
        few = fit_familiarity(train, eyes[2:])
        assert np.isfinite(few.distances(eyes)).all()
        assert np.isfinite(Familiarity.from_json(few.to_json()).distances(np.zeros_like(eyes))).all()


def test_the_limit_is_a_quantile_where_there_are_many_eyes() -> None:
    eyes = np.random.default_rng(0).integers(0, 256, (260, 16, 16, 3), np.uint8)
    few_odd = eyes[60:].copy()
    few_odd[:2] = 0  # two of 200: the 99 % quantile leaves out one
    familiarity = fit_familiarity(eyes[:60], few_odd)
    assert familiarity.n_beyond <= 2
    assert json.loads(familiarity.to_json())["n_beyond"] == familiarity.n_beyond
