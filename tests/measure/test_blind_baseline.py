"""The lesion-blind baseline: what it finds, what it cannot find, and what is said of a model beside it."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drsearch.errors import MetricError
from drsearch.measure.blind_baseline import beside_blind, blind_features, blind_scores, fit_blind_baseline

N, SIDE = 240, 64


def eyes(seed: int, reddening: float = 0.0, with_lesions: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Round mottled eyes of random colours; referable ones are redder by some levels, or have dark dots, or neither."""
    drawn = np.random.default_rng(seed)
    labels = np.arange(N) % 2
    images = np.zeros((N, SIDE, SIDE, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        colour = drawn.normal((150 + reddening * label, 80, 40), 10).clip(0, 255)
        cv2.circle(image, (SIDE // 2, SIDE // 2), SIDE // 2 - 1, colour.tolist(), cv2.FILLED)
        mottling = cv2.resize(drawn.normal(0, drawn.uniform(5, 25), (7, 7)), (SIDE, SIDE))[..., None]
        image[:] = (image + mottling + drawn.normal(0, 4, image.shape)).clip(0, 255)
        for _ in range(3 if with_lesions and label else 0):
            x, y = drawn.integers(16, 48, 2)
            image[y : y + 2, x : x + 2] = (60, 10, 10)
    return images, labels


def fitted(images: NDArray[np.uint8], labels: NDArray[np.int64]):  # type: ignore[no-untyped-def]
    return fit_blind_baseline(blind_features(images), labels)


def test_a_camera_that_tells_the_label_is_found() -> None:
    train, labels = eyes(1, reddening=25)
    others, truth = eyes(2, reddening=25)
    assert blind_scores(fitted(train, labels), blind_features(others), truth).auc.low > 0.85


def test_labels_that_have_nothing_to_do_with_colour_are_not_predicted() -> None:
    train, labels = eyes(1, reddening=25)
    others, truth = eyes(2, reddening=25)
    shuffled, other_shuffled = (
        np.random.default_rng(seed).permutation(these) for seed, these in ((3, labels), (4, truth))
    )
    auc = blind_scores(fitted(train, shuffled), blind_features(others), other_shuffled).auc
    assert auc.low <= 0.5 <= auc.high


def test_small_lesions_are_not_seen() -> None:
    train, labels = eyes(1, with_lesions=True)
    others, truth = eyes(2, with_lesions=True)
    auc = blind_scores(fitted(train, labels), blind_features(others), truth).auc
    assert auc.value < 0.7


def test_the_same_eyes_give_the_same_baseline() -> None:
    images, labels = eyes(1, reddening=10)
    first, second = (fitted(images, labels).probabilities(blind_features(images)) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("side", [16, 32, 33, 384])
def test_features_do_not_depend_on_the_side_much(side: int) -> None:
    image = np.full((SIDE, SIDE, 3), (150, 80, 40), np.uint8)
    image[: SIDE // 2] //= 2
    large = blind_features(image[None])
    other = blind_features(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)[None])
    assert large.shape == other.shape == (1, 213)
    assert np.median(np.abs(large - other)) < 2


def test_no_eyes_have_no_features() -> None:
    assert blind_features(np.zeros((0, 32, 32, 3), np.uint8)).shape == (0, 213)


def test_a_model_is_compared_on_the_same_eyes() -> None:
    train, labels = eyes(1, reddening=25)
    others, truth = eyes(2, reddening=25)
    baseline, features = fitted(train, labels), blind_features(others)
    drawn = np.random.default_rng(5)
    good = beside_blind(baseline, features, truth, 0.2 + 0.6 * truth)
    assert good.auc.difference.value == pytest.approx(1 - good.scores.auc.value)
    poor = beside_blind(baseline, features, truth, drawn.random(N))
    assert poor.auc.difference.high < 0
    assert "learned the camera" in poor.caution
    assert poor.to_json()["caution"] == poor.caution
    same = beside_blind(baseline, features, truth, baseline.probabilities(features))
    assert same.auc.difference.value == 0
    assert same.caution


def test_a_model_that_is_shown_to_be_better_gets_no_caution() -> None:
    train, labels = eyes(1)
    others, truth = eyes(2)
    seen = beside_blind(fitted(train, labels), blind_features(others), truth, 0.2 + 0.6 * truth)
    assert seen.caution == ""
    assert seen.metrics("test_").keys() >= {"test_blind_auc", "test_blind_auc_low", "test_auc_over_blind_high"}


def test_eyes_of_one_class_are_refused() -> None:
    images, labels = eyes(1)
    with pytest.raises(MetricError, match="not of both classes"):
        fitted(images[labels == 1], labels[labels == 1])
