import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from drsearch.data.images import (
    LOOK_PX,
    Retina,
    cropped,
    decode_stored,
    encode_stored,
    eye_image,
    find_retina,
    normalised,
    read_photograph,
    retina_mask,
)
from drsearch.errors import PhotographError
from drsearch.settings import ImageSettings

NO_BACKGROUND = "shows no retina: nothing stands out from the background"
NO_PATCH = "shows no retina: there is no large round patch"
NO_COLOUR = "shows no retina: its colours are not those of one"


@pytest.fixture
def picture(photograph: bytes) -> NDArray[np.uint8]:
    return read_photograph(photograph)


def drawn_eye(background: tuple[int, int, int], width: int = 1072, height: int = 712) -> NDArray[np.uint8]:
    """A disc from x = 100.25 to x = 900.25 of 1072, uneven inside."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    away = np.hypot(rows - height / 2, columns - 500.25)
    share = np.clip(400 - away + 0.5, 0, 1)[..., None]
    inside = np.stack([150 + 60 * columns / width, 60 + 50 * rows / height, 30 + 20 * columns / width], axis=-1)
    return np.asarray(np.rint(share * inside + (1 - share) * np.array(background)), dtype=np.uint8)


@pytest.mark.parametrize("background", [(0, 0, 0), (6, 4, 5), (70, 70, 70), (128, 128, 128), (250, 250, 250)])
def test_the_border_is_where_the_disc_begins_on_dark_and_bright_backgrounds(background: tuple[int, int, int]) -> None:
    found = find_retina(drawn_eye(background))
    # Within two pixels of 1072: the border is told from a picture a quarter the size.
    assert found.left * 1072 == pytest.approx(100.25, abs=2)
    assert found.right * 1072 == pytest.approx(900.25, abs=2)


def test_a_dim_eye_has_the_border_of_a_bright_one() -> None:
    bright = drawn_eye((0, 0, 0))
    dim = find_retina((bright * 0.2).astype(np.uint8))
    assert dim.left == pytest.approx(find_retina(bright).left, abs=0.002)
    assert dim.right == pytest.approx(find_retina(bright).right, abs=0.002)


@pytest.mark.parametrize("size", [(4288, 2848), (4303, 2863)], ids=["whole at every scale", "halves left over"])
@pytest.mark.parametrize("times", [1, 2, 4])
def test_the_border_stays_when_the_photograph_is_decoded_smaller(times: int, size: tuple[int, int]) -> None:
    data = simplejpeg.encode_jpeg(cv2.resize(drawn_eye((3, 3, 3)), size), 92)
    whole, small = find_retina(read_photograph(data)), find_retina(read_photograph(data, 2848 // (2 * times)))
    assert small.left * 4288 == pytest.approx(whole.left * 4288, abs=3)
    assert small.right * 4288 == pytest.approx(whole.right * 4288, abs=3)


def test_a_retina_that_fills_the_frame_is_not_cropped() -> None:
    assert find_retina(drawn_eye((0, 0, 0))[200:500, 300:700]) == Retina(0.0, 1.0)


@pytest.mark.parametrize("first", [300, 301])
def test_a_retina_cut_on_one_side_is_cropped_on_the_other(first: int) -> None:
    cut = np.ascontiguousarray(drawn_eye((0, 0, 0))[:, first:])
    found = find_retina(cut)
    assert found.left == 0.0
    assert found.right * (1072 - first) == pytest.approx(900.25 - first, abs=2)
    mirrored = find_retina(np.ascontiguousarray(cut[:, ::-1]))
    assert mirrored.right == 1.0
    assert mirrored.left * (1072 - first) == pytest.approx(1072 - 900.25, abs=2)


def test_writing_beside_the_retina_does_not_move_its_border() -> None:
    eye = drawn_eye((0, 0, 0))
    plain = find_retina(eye)
    cv2.putText(eye, "OD 1", (950, 100), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 2)
    assert find_retina(eye).right == pytest.approx(plain.right, abs=0.002)


def text_page() -> NDArray[np.uint8]:
    page = np.full((712, 1072, 3), 245, np.uint8)
    for y in range(30, 712, 28):
        cv2.putText(page, "the quick brown fox jumps over the lazy dog", (5, y), 0, 1.3, (20, 20, 20), 2)
    return page


def grey_noise(height: int, width: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return np.repeat(noise[..., None], 3, axis=2)


def warm_noise(height: int, width: int) -> NDArray[np.uint8]:
    """A disc on black in the colours of a retina, and nothing but noise in it."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    inside = np.hypot(rows - height / 2, columns - width / 2) < 0.56 * height
    return np.asarray(inside[..., None] * grey_noise(height, width) * [1, 0.5, 0.3], dtype=np.uint8)


@pytest.mark.parametrize(
    ("nothing", "sentence"),
    [
        (np.zeros((300, 400, 3), np.uint8), NO_BACKGROUND),
        (np.full((300, 400, 3), 128, np.uint8), NO_BACKGROUND),
        (np.full((300, 400, 3), (180, 80, 30), np.uint8), "shows no retina: it is of one colour"),
        (grey_noise(178, 268), NO_COLOUR),
        (grey_noise(1424, 2144), NO_BACKGROUND),
        (warm_noise(712, 1072), "shows no retina: it is noise"),
        (warm_noise(64, 96), "shows no retina: it is noise"),
        (text_page(), NO_PATCH),
        (np.pad(np.full((500, 700, 3), 250, np.uint8), ((90, 90), (90, 90), (0, 0))), NO_COLOUR),
        (np.zeros((20, 20, 3), np.uint8), "shows no retina: it is 20 x 20 pixels"),
        (np.zeros((100, 800, 3), np.uint8), "shows no retina: it is 800 x 100 pixels"),
    ],
    ids=["black", "grey", "red", "noise", "fine noise", "warm noise", "small noise", "text", "page", "tiny", "strip"],
)
def test_what_is_no_retina_is_refused(nothing: NDArray[np.uint8], sentence: str) -> None:
    with pytest.raises(PhotographError) as refused:
        find_retina(nothing)
    assert str(refused.value) == sentence


def test_a_jpeg_is_decoded_smaller_as_long_as_enough_is_left() -> None:
    data = simplejpeg.encode_jpeg(cv2.resize(drawn_eye((0, 0, 0)), (2144, 1424)), 90)
    assert read_photograph(data).shape == (1424, 2144, 3)
    assert read_photograph(data, 713).shape == (1424, 2144, 3)
    assert read_photograph(data, 712).shape == (712, 1072, 3)
    assert read_photograph(data, 256).shape == (356, 536, 3)
    assert read_photograph(data, 16).shape == (178, 268, 3)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp"])
def test_other_formats_read_as_they_were_written(suffix: str, picture: NDArray[np.uint8]) -> None:
    data = cv2.imencode(suffix, picture[..., ::-1])[1].tobytes()
    assert np.array_equal(read_photograph(data), picture)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_orientation_tag_is_ignored_by_both_decoders(kind: str, picture: NDArray[np.uint8]) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(picture).save(file, kind, exif=exif)
    assert read_photograph(file.getvalue()).shape == picture.shape


@pytest.mark.parametrize("keep", [1000, -1, -2, -500])
def test_a_jpeg_cut_short_is_refused(keep: int, photograph: bytes) -> None:
    with pytest.raises(PhotographError) as refused:
        read_photograph(photograph[:keep])
    assert str(refused.value) == "cannot be read whole: Premature end of JPEG file"


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_other_formats_cut_short_are_refused(suffix: str, share: float, picture: NDArray[np.uint8]) -> None:
    data = cv2.imencode(suffix, picture)[1].tobytes()
    with pytest.raises(PhotographError):
        read_photograph(data[: int(len(data) * share)])


def test_a_damaged_jpeg_is_refused(photograph: bytes) -> None:
    half = len(photograph) // 2
    with pytest.raises(PhotographError, match="^cannot be read whole: Corrupt JPEG data: "):
        read_photograph(photograph[:half] + bytes(500) + photograph[half + 700 :])


def test_fill_bytes_before_the_end_marker_are_no_damage(photograph: bytes) -> None:
    padded = photograph[:-2] + bytes(8) + photograph[-2:]
    assert np.array_equal(read_photograph(padded), read_photograph(photograph))
    with pytest.raises(PhotographError, match="extraneous bytes before marker 0xd9$"):
        read_photograph(photograph[:-2] + b"abcdefgh" + photograph[-2:])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"", "is empty"), (b"Image name,Retinopathy grade\n", "is no picture"), (bytes(4000), "is no picture")],
)
def test_what_is_no_picture_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(PhotographError) as refused:
        read_photograph(data)
    assert str(refused.value) == sentence


def test_an_eye_is_a_square_between_its_borders() -> None:
    data = cv2.imencode(".png", drawn_eye((0, 0, 0))[..., ::-1])[1].tobytes()
    eye = eye_image(data, ImageSettings(image_px=96))
    assert eye.image.shape == (96, 96, 3)
    assert eye.look.shape == (LOOK_PX, LOOK_PX)
    assert (eye.height, eye.width) == (712, 1072)
    row = eye.image[48].max(axis=1)
    assert row[0] > 100 and row[-1] > 100  # the retina touches both sides
    # An area average of each cell of the original, cut at the border found.
    left, right = eye.retina.left * 1072, eye.retina.right * 1072
    plain = cv2.resize(drawn_eye((0, 0, 0))[:, round(left) : round(right)], (96, 96), interpolation=cv2.INTER_AREA)
    assert np.abs(eye.image.astype(float) - plain).mean() < 2


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


def disc() -> NDArray[np.bool_]:
    """Where `drawn_eye` has retina."""
    rows, columns = np.mgrid[:712, :1072] + 0.5
    return np.asarray(np.hypot(rows - 356, columns - 500.25) < 400)


@pytest.mark.parametrize("background", [(0, 0, 0), (6, 4, 5), (70, 70, 70), (128, 128, 128), (250, 250, 250)])
@pytest.mark.parametrize("brightness", [0.2, 1.0])
def test_the_mask_of_the_retina_is_the_disc(background: tuple[int, int, int], brightness: float) -> None:
    eye = (drawn_eye((0, 0, 0)) * brightness).astype(np.uint8)
    eye[~disc()] = background
    cv2.putText(eye, "OD 1", (950, 100), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 2)
    mask = retina_mask(eye)
    assert mask.shape == (712, 1072) and mask.dtype == bool
    # Within four pixels of 1072: the mask is told from a picture half the size.
    near_the_edge = cv2.morphologyEx(disc().astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8))
    assert not (mask != disc())[near_the_edge == 0].any()


@pytest.mark.parametrize("normalisation", ["none", "local_mean", "clahe"])
@pytest.mark.parametrize("side_px", [128, 256])
def test_the_mask_of_what_a_network_sees_is_that_of_the_photograph(normalisation: str, side_px: int) -> None:
    eye = cv2.imencode(".png", drawn_eye((0, 0, 0))[..., ::-1])[1].tobytes()
    square = eye_image(eye, ImageSettings(image_px=side_px, normalisation=normalisation)).image
    expected = cv2.resize(disc()[:, 100:900].astype(np.float32), (side_px, side_px), interpolation=cv2.INTER_AREA)
    mask = retina_mask(square)
    assert (mask != (expected > 0.5)).mean() < 0.02
    assert not mask[:3, :3].any() and not mask[-3:, -3:].any() and mask[side_px // 2].mean() > 0.97


def test_where_the_retina_fills_the_picture_all_of_it_is_retina() -> None:
    assert retina_mask(drawn_eye((0, 0, 0))[200:500, 300:700]).all()
    assert retina_mask(np.zeros((64, 64, 3), np.uint8)).all(), "nothing to be told apart"


def test_the_borders_of_real_eyes_are_found_at_every_scale(idrid: Path) -> None:
    for path in sorted((idrid / "images/train").glob("*.jpg"))[::40]:
        data = path.read_bytes()
        whole, small = find_retina(read_photograph(data)), find_retina(read_photograph(data, 256))
        assert 0.05 < whole.left < 0.1 and 0.84 < whole.right < 0.88, path.name
        assert abs(small.left - whole.left) < 2e-4 and abs(small.right - whole.right) < 2e-4, path.name


def test_the_masks_of_real_eyes_leave_out_the_black_corners(idrid: Path) -> None:
    for path in sorted((idrid / "images/train").glob("*.jpg"))[::40]:
        picture = read_photograph(path.read_bytes())
        mask = retina_mask(picture)
        assert 0.68 < mask.mean() < 0.70, path.name
        assert picture[~mask].max(axis=1).mean() < 10 < np.quantile(picture[mask].max(axis=1), 0.02), path.name


def test_a_stored_real_eye_has_under_42_kb_on_average(idrid: Path) -> None:
    eyes = [eye_image(p.read_bytes(), ImageSettings()) for p in sorted((idrid / "images/train").glob("*.jpg"))[::20]]
    assert sum(len(eye.stored) for eye in eyes) / len(eyes) < 42_000
