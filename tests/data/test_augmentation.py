import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from drsearch.data.augmentation import UNCHANGED, Augmenter, Change
from drsearch.errors import SettingsError
from drsearch.settings import AugmentationSettings, Settings

SIDE = 65  # odd: the centre is a pixel


def _dot(x: int, y: int) -> NDArray[np.uint8]:
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[y - 1 : y + 2, x - 1 : x + 2] = 90
    image[y, x] = 255
    return image


def _brightest(image: NDArray[np.uint8]) -> tuple[int, int]:
    y, x = np.unravel_index(np.argmax(image[..., 1]), image.shape[:2])
    return int(x), int(y)


def _noise() -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)


def _apply(image: NDArray[np.uint8], change: Change) -> NDArray[np.uint8]:
    batch = np.zeros((2, *image.shape), np.uint8)
    Augmenter(AugmentationSettings()).apply(image, change, batch[1])
    assert not batch[0].any()
    return batch[1]


@pytest.mark.parametrize(
    ("change", "x", "y"),
    [
        (Change(rotation_deg=90.0), 32, 12),  # counter-clockwise: what was right is above
        (Change(shift_x=5 / SIDE), 57, 32),
        (Change(shift_y=5 / SIDE), 52, 37),
        (Change(zoom=1.5), 62, 32),
        (Change(zoom=0.5), 42, 32),
        (Change(flip_x=True), 12, 32),
        (Change(flip_y=True), 52, 32),
    ],
)
def test_a_dot_twenty_pixels_right_of_the_centre_lands_where_the_change_says(change: Change, x: int, y: int) -> None:
    assert _brightest(_apply(_dot(52, 32), change)) == (x, y)


def test_every_channel_is_moved_alike() -> None:
    change = Change(True, False, 1.05, 4.0, -17.0, 0.03, -0.04)
    image, (height, width) = _noise(), _noise().shape[:2]
    moved = [
        cv2.warpAffine(channel, change.matrix(height, width), (width, height), borderMode=cv2.BORDER_REPLICATE)
        for channel in cv2.split(image)
    ]
    np.testing.assert_array_equal(_apply(image, change), np.dstack(moved))


def test_shear_moves_the_lower_half_left_and_the_upper_half_right() -> None:
    change = Change(shear_deg=45.0)
    assert _brightest(_apply(_dot(32, 42), change)) == (22, 42)
    assert _brightest(_apply(_dot(32, 22), change)) == (42, 22)


def test_a_dot_lands_where_the_matrix_of_many_changes_at_once_says() -> None:
    augmenter = Augmenter(AugmentationSettings())
    for change in augmenter.parameters(np.random.default_rng(0), 50):
        x, y = change.matrix(SIDE, SIDE) @ [40.0, 26.0, 1.0]
        seen_x, seen_y = _brightest(_apply(_dot(40, 26), change))
        assert abs(seen_x - x) <= 1 and abs(seen_y - y) <= 1, change


def test_brightness_is_added_in_fractions_of_full_scale_and_clipped() -> None:
    image = np.array([[[0, 100, 250]]], np.uint8)
    assert _apply(image, Change(brightness=0.1)).tolist() == [[[26, 126, 255]]]
    assert _apply(image, Change(brightness=-0.1)).tolist() == [[[0, 74, 224]]]


def test_contrast_stretches_levels_about_their_mean_and_clips() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2], image[2:] = 60, 100
    assert np.unique(_apply(image, Change(contrast=1.2))).tolist() == [56, 104]
    assert np.unique(_apply(image, Change(contrast=0.5, brightness=0.1))).tolist() == [96, 116]
    image[2:] = 250
    assert _apply(image, Change(contrast=1.9)).min() == 0 and _apply(image, Change(contrast=1.9)).max() == 255


@given(contrast=st.floats(0.1, 1.9), seed=st.integers(0, 1000))
def test_contrast_keeps_the_order_of_levels(contrast: float, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    changed = _apply(image, Change(contrast=contrast)).astype(int)
    order = np.argsort(image, axis=None, kind="stable")
    assert (np.diff(changed.ravel()[order]) >= 0).all()


def test_contrast_reaches_its_limit_and_changes_no_other_number() -> None:
    plain, other = (AugmentationSettings(contrast_fraction=limit) for limit in (0.0, 0.2))
    drawn, changed = (Augmenter(each).parameters(np.random.default_rng(0), 500) for each in (plain, other))
    assert {change.contrast for change in drawn} == {1.0}
    assert [dataclasses.replace(change, contrast=1.0) for change in changed] == list(drawn)
    contrasts = [change.contrast for change in changed]
    assert 0.8 <= min(contrasts) < 0.81 and 1.19 < max(contrasts) <= 1.2


def test_an_image_four_pixels_high_is_brightened_in_every_row() -> None:
    image = np.full((4, 6, 3), 100, np.uint8)  # OpenCV takes four numbers for four channels or for four rows
    assert np.all(_apply(image, Change(brightness=0.1)) == 126)


def test_strength_zero_leaves_every_image_as_it_is_to_the_bit() -> None:
    augmenter = Augmenter(AugmentationSettings(strength=0.0))
    changes = augmenter.parameters(np.random.default_rng(0), 20)
    assert all(change == UNCHANGED for change in changes)
    assert np.array_equal(_apply(_noise(), changes[0]), _noise())


def test_flips_alone_only_move_pixels() -> None:
    assert np.array_equal(_apply(_noise(), Change(flip_x=True)), _noise()[:, ::-1])
    assert np.array_equal(_apply(_noise(), Change(flip_x=True, flip_y=True)), _noise()[::-1, ::-1])


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_changes_reach_their_limits_times_strength_and_keep_them(strength: float) -> None:
    settings = AugmentationSettings(strength=strength)
    changes = Augmenter(settings).parameters(np.random.default_rng(0), 4000)
    for drawn, limit in [
        ([change.rotation_deg for change in changes], settings.rotation_deg),
        ([change.shift_x for change in changes], settings.shift_fraction),
        ([change.shift_y for change in changes], settings.shift_fraction),
        ([change.zoom - 1 for change in changes], settings.zoom_fraction),
        ([change.shear_deg for change in changes], settings.shear_deg),
        ([change.brightness for change in changes], settings.brightness_fraction),
    ]:
        assert 0.99 * strength * limit < max(drawn) <= strength * limit + 1e-9
        assert -0.99 * strength * limit > min(drawn) >= -strength * limit - 1e-9


def test_no_strength_pushes_a_limit_beyond_the_range_of_its_setting() -> None:
    settings = AugmentationSettings(zoom_fraction=0.9, shear_deg=45.0, shift_fraction=0.5, strength=5.0)
    changes = Augmenter(settings).parameters(np.random.default_rng(0), 2000)
    assert min(change.zoom for change in changes) > 0.09
    assert max(abs(change.shear_deg) for change in changes) <= 45.0
    assert max(abs(change.shift_x) for change in changes) <= 0.5


def test_images_are_mixed_in_one_way() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings().replace({"augmentation.mixup": 0.2, "augmentation.cutmix": 1.0})
    assert str(refused.value) == (
        "augmentation.mixup = 0.2 and augmentation.cutmix = 1.0: an image is mixed in one way; set one of the two to 0."
    )


def test_half_of_the_images_are_mirrored_along_each_axis_and_none_when_flip_is_off() -> None:
    changes = Augmenter(AugmentationSettings()).parameters(np.random.default_rng(0), 4000)
    assert abs(np.mean([change.flip_x for change in changes]) - 0.5) < 0.03
    assert abs(np.mean([change.flip_y for change in changes]) - 0.5) < 0.03
    assert abs(np.mean([change.flip_x == change.flip_y for change in changes]) - 0.5) < 0.03
    unflipped = Augmenter(AugmentationSettings(flip=False)).parameters(np.random.default_rng(0), 100)
    assert not any(change.flip_x or change.flip_y for change in unflipped)


def test_strengths_at_one_seed_differ_in_size_only() -> None:
    weak = Augmenter(AugmentationSettings(strength=0.5)).parameters(np.random.default_rng(5), 10)
    strong = Augmenter(AugmentationSettings(strength=1.0)).parameters(np.random.default_rng(5), 10)
    for one, other in zip(weak, strong, strict=True):
        assert one.flip_x == other.flip_x
        assert other.rotation_deg == pytest.approx(2 * one.rotation_deg)
        assert other.brightness == pytest.approx(2 * one.brightness)


def test_what_comes_in_from_outside_repeats_the_border() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    assert np.all(_apply(grey, Change(rotation_deg=30.0, zoom=0.7, shift_x=0.2)) == 128)
