import dataclasses
import io
from pathlib import Path
from typing import Any

import cv2
import hypothesis
import numpy as np
import pytest
from drawn import drawn_eye
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from drsearch.data.decode import read_photograph
from drsearch.data.images import (
    THUMBNAIL_PX,
    circle,
    cropped,
    decode_stored,
    encode_stored,
    eye_image,
    normalised,
    retina_in_square,
)
from drsearch.data.retina import Retina, find_retina
from drsearch.data.synthetic import draw_eye
from drsearch.errors import PhotographError
from drsearch.settings import ImageSettings


@pytest.fixture
def picture(photograph: bytes) -> NDArray[np.uint8]:
    return read_photograph(photograph)


def test_an_eye_is_a_square_between_its_borders() -> None:
    data = cv2.imencode(".png", drawn_eye((0, 0, 0))[..., ::-1])[1].tobytes()
    eye = eye_image(data, ImageSettings(image_px=96))
    assert eye.image.shape == (96, 96, 3)
    assert eye.thumbnail.shape == (THUMBNAIL_PX, THUMBNAIL_PX)
    assert (eye.height, eye.width) == (712, 1072)
    row = eye.image[48].max(axis=1)
    assert row[0] > 100 and row[-1] > 100  # the retina touches both sides
    # An area average of each cell of the original, cut at the border found.
    left, right = eye.retina.left * 1072, eye.retina.right * 1072
    plain = cv2.resize(drawn_eye((0, 0, 0))[:, round(left) : round(right)], (96, 96), interpolation=cv2.INTER_AREA)
    assert np.abs(eye.image.astype(float) - plain).mean() < 2


def cut_disc(*bars: int) -> NDArray[np.uint8]:
    """A disc of 600 pixels, cut at 60 above and below; red rises by 0.2 a pixel to the right and green downwards."""
    rows, columns = np.mgrid[:480, :800] + 0.5
    inside = np.hypot(rows - 240, columns - 400) < 300
    levels = np.stack([80 + (columns - 100) * 0.2, 40 + rows * 0.2, np.full(rows.shape, 20)], 2)
    return np.pad(np.asarray(inside[..., None] * levels, np.uint8), [*[(bar, bar) for bar in bars], (0, 0)])


@pytest.mark.parametrize("bars", [(), (150, 80)], ids=["alone", "in a wide surround"])
def test_a_cut_retina_is_padded_to_the_square_about_its_circle(bars: tuple[int, ...]) -> None:
    picture = cut_disc(*bars) if bars else cut_disc(0, 0)
    image = eye_image(picture, ImageSettings(image_px=120, fit="pad")).image.astype(float)
    beyond = 120 * 60 // 600
    assert image[: beyond - 1].max() < 12 and image[-beyond + 1 :].max() < 12, "the photograph ends there"
    assert image[beyond + 1, 60, 0] > 100 and image[60, 1, 0] > 60 and image[60, -2, 0] > 60
    # One pixel is 5 of the photograph both across and down.
    across, down = (
        np.polyfit(np.arange(90), image[60, 15:105, 0], 1)[0],
        np.polyfit(np.arange(80), image[20:100, 60, 1], 1)[0],
    )
    assert across == pytest.approx(5 * 0.2, rel=0.03) and down == pytest.approx(5 * 0.2, rel=0.03)
    squeezed = eye_image(picture, ImageSettings(image_px=120)).image.astype(float)
    assert np.polyfit(np.arange(80), squeezed[20:100, 60, 1], 1)[0] == pytest.approx(4 * 0.2, rel=0.03)


@pytest.mark.parametrize(("normalisation", "level"), [("none", 0), ("local_mean", 128), ("clahe", 0), ("surface", 0)])
def test_all_is_even_outside_the_circle_and_unchanged_within(photograph: bytes, normalisation: str, level: int) -> None:
    settings = ImageSettings(image_px=128, normalisation=normalisation)
    masked = ImageSettings(image_px=128, normalisation=normalisation, mask=0.4)
    plain, even = (eye_image(photograph, each).image.astype(int) for each in (settings, masked))
    within = circle(128, 128, masked)
    assert within.mean() == pytest.approx(np.pi * 0.4**2, rel=0.01)
    assert np.array_equal(retina_in_square(eye_image(photograph, masked).image, masked), within)
    # A block of a JPEG is 8 pixels wide: a change shows up to there.
    near = cv2.dilate(within.astype(np.uint8), np.ones((17, 17))) > cv2.erode(
        within.astype(np.uint8), np.ones((17, 17))
    )
    assert np.array_equal(even[within & ~near], plain[within & ~near])
    assert np.abs(even[~within & ~near] - level).max() <= 1
    assert np.abs(even - np.where(within[..., None], plain, level))[near].mean() < 5


@pytest.mark.parametrize("degrees", [0, 20])
def test_a_photograph_cut_straight_and_set_on_black_has_no_seam_within_the_circle(degrees: int) -> None:
    rows, columns = np.mgrid[:800, :1200] + 0.5
    inside = (np.hypot(rows - 400, columns - 600) < 300) & (rows > 160)
    smooth = np.stack([120 + rows / 8, 60 + columns / 30, 20 + rows / 40], 2)
    turn = cv2.getRotationMatrix2D((600, 400), degrees, 1)
    eye = np.asarray(cv2.warpAffine(inside[..., None] * smooth, turn, (1200, 800)), np.uint8)
    settings = ImageSettings(image_px=384, normalisation="local_mean", fit="pad", mask=0.48)
    found = [eye_image(eye, dataclasses.replace(settings, mask=mask)).image.astype(int) for mask in (0.0, 0.48)]
    assert np.abs(found[0] - 128).max() > 120
    assert np.abs(found[1] - 128).max() < 32


def test_an_even_surround_has_the_level_of_the_mask(picture: NDArray[np.uint8]) -> None:
    for normalisation, level in (("none", 0), ("local_mean", 128)):
        square = np.zeros((64, 64, 3), np.uint8)
        even = normalised(square, ImageSettings(image_px=64, normalisation=normalisation))
        assert (even == level).all()


def test_the_thumbnail_does_not_depend_on_how_the_square_is_made(photograph: bytes) -> None:
    eyes = [eye_image(photograph, ImageSettings(image_px=64, fit=fit)) for fit in ("squeeze", "pad")]
    assert np.array_equal(eyes[0].thumbnail, eyes[1].thumbnail)
    assert eyes[0].quality == eyes[1].quality and eyes[0].stored != eyes[1].stored


def in_format(picture: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("image_px", [96, 256])
def test_the_network_sees_a_photograph_in_a_wide_frame_as_it_sees_it_alone(image_px: int) -> None:
    """As sharp, too: a JPEG is decoded again where its retina is small in its surround."""
    settings = ImageSettings(image_px=image_px)
    eye = cv2.resize(draw_eye(3, np.random.default_rng(3)).image, (2144, 1424), interpolation=cv2.INTER_CUBIC)
    framed = np.pad(np.asarray(eye, np.uint8), ((1500, 1500), (1800, 1800), (0, 0)))
    alone, within = (eye_image(in_format(one, "JPEG", quality=98), settings) for one in (eye, framed))
    assert (within.height, within.width) == framed.shape[:2]
    assert np.abs(alone.image.astype(float) - within.image).mean() < 3
    fine = [np.abs(one.image.astype(float) - cv2.blur(one.image, (3, 3)))[4:-4].mean() for one in (alone, within)]
    assert fine[1] == pytest.approx(fine[0], rel=0.1)


def test_a_whole_disc_fills_the_square() -> None:
    rows, columns = np.mgrid[:800, :1200] + 0.5
    inside = np.hypot(rows - 390, columns - 600) < 300
    eye = np.asarray(inside[..., None] * np.stack([120 + rows / 8, 60 + columns / 30, 20 + rows / 40], 2), np.uint8)
    image = eye_image(eye, ImageSettings(image_px=64)).image
    assert min(image[0, 32, 0], image[-1, 32, 0], image[32, 0, 0], image[32, -1, 0]) > 60
    assert image[0, 0].max() < 20


@pytest.mark.parametrize("turns", [1, 3])
def test_a_photograph_on_its_side_is_refused_with_its_own_pixels(turns: int) -> None:
    eye = cv2.resize(drawn_eye((0, 0, 0)), (4288, 2848))
    with pytest.raises(PhotographError, match=r"^shows no upright retina: .* is 2848 pixels wide and 320\d high"):
        eye_image(in_format(np.rot90(eye, turns), "JPEG"), ImageSettings(image_px=64))


def test_a_thumbnail_is_refused() -> None:
    small = np.asarray(cv2.resize(drawn_eye((0, 0, 0)), (160, 106), interpolation=cv2.INTER_AREA), np.uint8)
    with pytest.raises(PhotographError, match="^shows a retina of 1.. x 106 pixels, at least 128 x 128 are"):
        eye_image(small, ImageSettings(image_px=64))


def wave(at: NDArray[np.float64], period: float) -> NDArray[np.float64]:
    return 60 * np.sin(2 * np.pi * at / period)


@given(
    side=st.integers(24, 100),
    height=st.floats(1, 9),
    width=st.floats(1, 9),
    cut=st.tuples(st.floats(0, 40), st.floats(0, 40)),
)
def test_each_pixel_of_the_square_shows_the_place_where_it_lies(
    side: int, height: float, width: float, cut: tuple[float, float]
) -> None:
    """Whatever the fractions of pixels at its edges; levels change by up to 16 from pixel to pixel of the square."""
    n_rows, n_columns = int(np.ceil(side * height)), int(np.ceil(sum(cut) + side * width))
    retina = Retina(cut[0] / n_columns, 1 - cut[1] / n_columns)
    steps = n_rows / side, (retina.right - retina.left) * n_columns / side
    periods = 24 * steps[0], 24 * steps[1]
    down, across = (np.arange(n) + 0.5 for n in (n_rows, n_columns))
    picture = 127.5 + wave(down, periods[0])[:, None] + wave(across, periods[1])
    middles = np.arange(side) + 0.5
    expected = 127.5 + wave(middles * steps[0], periods[0])[:, None] + wave(cut[0] + middles * steps[1], periods[1])
    found = cropped(np.repeat(np.rint(picture).astype(np.uint8)[..., None], 3, axis=2), retina, side)
    # At the picture's own edge a row or column may lie beyond the middle of the last one.
    inner = slice(-1), slice(None if cut[1] >= 16 else -1)
    assert np.abs(found[inner] - expected[inner][..., None]).max() < 4


def test_a_square_is_the_same_from_a_whole_photograph_and_a_scaled_one(idrid: Path) -> None:
    path = min((idrid / "images/train").glob("*.jpg"))
    data = path.read_bytes()
    whole, scaled = read_photograph(data), read_photograph(data, 256)
    assert whole.shape != scaled.shape
    retina = find_retina(scaled)
    apart = np.abs(cropped(whole, retina, 256).astype(float) - cropped(scaled, retina, 256))
    assert apart.mean() < 0.5  # storing costs more


def test_a_picture_smaller_than_the_square_is_interpolated() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    plain = cv2.resize(picture, (96, 96), interpolation=cv2.INTER_LINEAR)
    assert np.abs(cropped(picture, Retina(0.0, 1.0), 96).astype(int) - plain).max() <= 1


def test_what_is_stored_is_what_the_network_sees(photograph: bytes) -> None:
    eye = eye_image(photograph, ImageSettings(image_px=64))
    assert np.array_equal(decode_stored(eye.stored), eye.image)


def test_storing_costs_about_a_level(picture: NDArray[np.uint8]) -> None:
    square = np.ascontiguousarray(picture[:, 45:223])
    error = np.abs(decode_stored(encode_stored(square)).astype(float) - square)
    assert error.mean() < 1.5


def test_no_normalisation_changes_nothing(picture: NDArray[np.uint8]) -> None:
    assert np.array_equal(normalised(picture, ImageSettings()), picture)


def test_the_local_mean_is_four_times_the_difference_from_the_blur(picture: NDArray[np.uint8]) -> None:
    square = cv2.resize(picture, (120, 120))
    expected = 4.0 * square - 4.0 * cv2.GaussianBlur(square.astype(np.float64), (0, 0), 2.0) + 128
    found = normalised(square, ImageSettings(image_px=120, normalisation="local_mean"))
    # The blur is rounded to levels before it is multiplied by four.
    assert np.abs(found - np.clip(expected, 0, 255)).max() <= 4
    assert found.reshape(-1, 3).mean(axis=0) == pytest.approx([128] * 3, abs=4)


def test_clahe_raises_contrast_and_keeps_the_shape(picture: NDArray[np.uint8]) -> None:
    square = cv2.resize(picture, (120, 120))
    found = normalised(square, ImageSettings(image_px=120, normalisation="clahe"))
    assert found.shape == square.shape and found.dtype == np.uint8
    fine = [np.abs(image.astype(float) - cv2.blur(image, (9, 9))).mean() for image in (square, found)]
    assert fine[1] > 1.2 * fine[0]


def test_green_is_the_green_channel_three_times(picture: NDArray[np.uint8]) -> None:
    square = cv2.resize(picture, (120, 120))
    even = normalised(square, ImageSettings(image_px=120, normalisation="green"))
    assert even.shape == square.shape and all(np.array_equal(even[..., i], square[..., 1]) for i in range(3))


def lit(px: int, lamps: tuple[float, ...], spots: bool = True) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A retina in a black surround with two dark and two bright spots, and uneven light; also where it is."""
    y, x = (np.mgrid[:px, :px] + 0.5) / px * 2 - 1
    inside = np.hypot(x, y) < 0.97
    reflectance = np.ones((px, px))
    for cx, cy, share in ((-0.4, 0.1, 0.6), (0.3, 0.5, 0.7), (0.5, -0.3, 1.3), (0, -0.6, 1.2)) if spots else ():
        reflectance[np.hypot(x - cx, y - cy) < 0.06] = share
    light = np.exp(lamps[0] * x + lamps[1] * y + lamps[2] * x * y + lamps[3] * (x**2 + y**2))
    levels = np.array([110, 70, 30]) * (reflectance * light)[..., None]
    return np.asarray(np.clip(np.rint(levels * inside[..., None]), 0, 255), np.uint8), inside


@hypothesis.settings(max_examples=20)
@given(lamps=st.tuples(*[st.floats(-0.25, 0.25)] * 4))
def test_the_same_retina_comes_out_alike_whatever_light_falls_on_it(lamps: tuple[float, ...]) -> None:
    """Spots keep the share of light that they reflect, but for the 16 levels that keep a dark channel from noise."""
    settings = ImageSettings(image_px=96, normalisation="surface")
    (square, inside), (even_light, _) = lit(96, lamps), lit(96, (0, 0, 0, 0))
    within = cv2.erode(inside.astype(np.uint8), np.ones((5, 5))) > 0
    even, expected = (normalised(one, settings).astype(int) for one in (square, even_light))
    assert np.abs(even - expected)[within].mean() < 3
    assert np.median(even[within], axis=0) == pytest.approx([128] * 3, abs=3)
    for row, column, share in ((52, 28, 0.6), (33, 71, 1.3)):
        assert even[row, column, 0] == pytest.approx((110 * share + 16) / (110 + 16) * 128, abs=8)
    assert np.array_equal(even[~inside & ~within][:50], square[~inside & ~within][:50]), (
        "the surround is black as it was"
    )


def test_the_light_of_a_picture_without_any_is_even() -> None:
    settings = ImageSettings(image_px=32, normalisation="surface")
    for level in (0, 128, 255):
        even = normalised(np.full((32, 32, 3), level, np.uint8), settings)
        assert (even == 128).all()


def test_a_stored_real_eye_has_under_42_kb_on_average(idrid: Path) -> None:
    eyes = [eye_image(p.read_bytes(), ImageSettings()) for p in sorted((idrid / "images/train").glob("*.jpg"))[::20]]
    assert sum(len(eye.stored) for eye in eyes) / len(eyes) < 42_000
