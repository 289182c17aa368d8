from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from drawn import drawn_eye
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.borders import changes, move
from drsearch.data.decode import read_photograph
from drsearch.data.images import eye_image
from drsearch.data.retina import Retina, check_whole, find_retina, retina_mask
from drsearch.errors import PhotographError
from drsearch.settings import ImageSettings

EYE = drawn_eye((0, 0, 0))
CLEAN = find_retina(EYE)


@pytest.mark.parametrize("background", [(0, 0, 0), (6, 4, 5), (70, 70, 70), (128, 128, 128), (250, 250, 250)])
def test_the_border_is_where_the_disc_begins_on_dark_and_bright_backgrounds(background: tuple[int, int, int]) -> None:
    found = find_retina(drawn_eye(background))
    # Within two pixels of 1072: the border is told from a picture a quarter the size.
    assert found.left * 1072 == pytest.approx(100.25, abs=2)
    assert found.right * 1072 == pytest.approx(900.25, abs=2)


def test_a_dim_eye_has_the_border_of_a_bright_one() -> None:
    bright = EYE
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
    assert find_retina(EYE[200:500, 300:700]) == Retina(0.0, 1.0)


@pytest.mark.parametrize("first", [300, 301])
def test_a_retina_cut_on_one_side_is_cropped_on_the_other(first: int) -> None:
    cut = np.ascontiguousarray(EYE[:, first:])
    found = find_retina(cut)
    assert found.left == 0.0
    assert found.right * (1072 - first) == pytest.approx(900.25 - first, abs=2)
    mirrored = find_retina(np.ascontiguousarray(cut[:, ::-1]))
    assert mirrored.right == 1.0
    assert mirrored.left * (1072 - first) == pytest.approx(1072 - 900.25, abs=2)


def test_writing_beside_the_retina_does_not_move_its_border() -> None:
    eye = EYE.copy()
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
    ("nothing", "found"),
    [
        (np.zeros((300, 400, 3), np.uint8), "nothing stands out from the background"),
        (np.full((300, 400, 3), 128, np.uint8), "nothing stands out from the background"),
        (np.full((300, 400, 3), (180, 80, 30), np.uint8), "it is of one colour"),
        (grey_noise(1424, 2144), "nothing stands out from the background"),
        (warm_noise(712, 1072), "it is noise"),
        (warm_noise(64, 96), "there is no large round patch"),
        (
            np.pad(np.full((500, 700, 3), 250, np.uint8), ((90, 90), (90, 90), (0, 0))),
            "nothing stands out from the background",
        ),
        (EYE[..., ::-1], "its colours are not those of one (red 39, green 85, blue 178)"),
        (np.zeros((20, 20, 3), np.uint8), "it is 20 x 20 pixels"),
        (np.zeros((100, 800, 3), np.uint8), "it is more than four times as long as wide"),
    ],
    ids=["black", "grey", "red", "fine noise", "warm noise", "small noise", "page", "blue for red", "tiny", "strip"],
)
def test_what_is_no_retina_is_refused(nothing: NDArray[np.uint8], found: str) -> None:
    with pytest.raises(PhotographError) as refused:
        find_retina(nothing)
    assert str(refused.value) == f"shows no retina: {found}; give a colour photograph of the fundus"


GREY = "grey, as a red-free picture or an angiogram is"
WHITE = "white, as a page is, or a retina that is burnt out"


@pytest.mark.parametrize(
    ("colourless", "what"),
    [
        (np.repeat(EYE[..., 1:2], 3, axis=2), GREY),
        (np.repeat(EYE[..., :1], 3, axis=2) // np.uint8(2), GREY),
        (grey_noise(178, 268), GREY),
        (text_page(), GREY),
        (np.clip(20 * EYE.astype(int), 0, 255).astype(np.uint8), WHITE),
    ],
    ids=["red-free", "angiogram", "noise", "text", "burnt out"],
)
def test_a_picture_without_colour_is_refused_as_such(colourless: NDArray[np.uint8], what: str) -> None:
    with pytest.raises(PhotographError) as refused:
        find_retina(colourless)
    assert str(refused.value) == (
        f"shows no retina in colour: what stands out is {what}; give a colour photograph of the fundus"
    )


def brighter(times: float) -> NDArray[np.uint8]:
    return np.asarray(np.clip(times * EYE.astype(float), 0, 255), np.uint8)


def test_a_dark_and_a_burnt_out_retina_are_refused_as_such() -> None:
    for times in (0.2, 1, 1.2):
        find_retina(brighter(times))
    with pytest.raises(PhotographError) as dark:
        find_retina(brighter(0.08))
    assert str(dark.value) == (
        "shows a retina that is too dark: it differs from its background by 14 of 255 levels; take it again with more"
        " light"
    )
    with pytest.raises(PhotographError) as bright:
        find_retina(brighter(3))
    assert str(bright.value) == (
        "shows a retina that is burnt out: 100% of it has the highest level; take it again with less light"
    )


def two(first: NDArray[np.uint8], second: NDArray[np.uint8], gap: int = 0) -> NDArray[np.uint8]:
    return np.hstack([first, np.zeros((len(first), gap, 3), np.uint8), second])


@pytest.mark.parametrize(
    "both",
    [
        two(EYE, EYE[:, ::-1]),
        two(EYE, EYE, gap=500),
        np.pad(two(EYE, EYE), ((800, 800), (400, 400), (0, 0))),
        np.vstack([EYE, np.zeros((60, 1072, 3), np.uint8), EYE]),
    ],
    ids=["side by side", "apart", "in a wide frame", "one above the other"],
)
def test_two_retinas_in_one_picture_are_refused(both: NDArray[np.uint8]) -> None:
    with pytest.raises(PhotographError) as refused:
        find_retina(both)
    assert str(refused.value) == "shows two retinas; save each as a photograph of its own"


def test_a_light_panel_beside_the_retina_is_no_second_one() -> None:
    eye = EYE.copy()
    panel = np.pad(np.full((600, 400, 3), 210, np.uint8), ((56, 56), (30, 30), (0, 0)))
    assert find_retina(np.hstack([eye, panel])).right * 1532 == pytest.approx(900.25, abs=3)


PORTRAIT = (
    "shows no upright retina: what stands out is {} pixels wide and {} high, as a retina on its side, a part of one, or"
    " two above each other are; save one whole retina, upright"
)


@pytest.mark.parametrize(
    ("retina", "height", "width", "sentence"),
    [
        (Retina(0.1, 0.9), 1072, 712, PORTRAIT.format(570, 1072)),
        (Retina(0.0, 0.4), 712, 1072, PORTRAIT.format(429, 712)),
        (Retina(0.1, 0.9), 300, 1000,
         "shows no whole retina: what stands out is 800 pixels wide and 300 high; save the whole of it"),
        (Retina(0.1, 0.9), 120, 180,
         "shows a retina of 144 x 120 pixels, at least 128 x 128 are needed; give the photograph as the camera wrote"
         " it"),
    ],
    ids=["on its side", "left half", "strip", "thumbnail"],
)  # fmt: skip
def test_a_retina_that_is_not_whole_is_refused(retina: Retina, height: int, width: int, sentence: str) -> None:
    with pytest.raises(PhotographError) as refused:
        check_whole(retina, height, width)
    assert str(refused.value) == sentence


def test_a_whole_disc_passes_in_a_portrait_picture() -> None:
    check_whole(Retina(0.1, 0.9, 0.2, 0.75), 1000, 700)


@pytest.mark.parametrize("colour", [(205, 205, 205), (255, 255, 255), (30, 30, 30), (40, 80, 160)])
@pytest.mark.parametrize(
    "widths",
    [
        (60, 60, 0, 0),
        (90, 0, 0, 0),
        (0, 100, 0, 0),
        (40, 40, 40, 40),
        (400, 400, 400, 400),
        (4, 4, 4, 4),
        (0, 0, 300, 0),
    ],
    ids=["bars", "header", "footer", "frame", "wide frame", "thin frame", "panel"],
)
def test_bars_and_frames_leave_the_borders_where_they_are(
    widths: tuple[int, int, int, int], colour: tuple[int, int, int]
) -> None:
    assert_same_borders(EYE, widths, colour)


@pytest.mark.parametrize("share", [0.1, 0.4, 1.0, 1.5])
def test_a_black_frame_of_any_width_leaves_the_borders_where_they_are(share: float) -> None:
    width = round(share * 712)
    assert_same_borders(EYE, (width, width, width, width), (0, 0, 0))


def test_frames_within_frames_are_taken_off_one_by_one() -> None:
    framed = framed_by(framed_by(EYE, (20, 20, 20, 20), (255, 255, 255)), (60, 60, 60, 60), (0, 0, 0))
    assert_same_borders(framed, (30, 30, 30, 30), (128, 128, 128), inner=80)


def test_lettering_in_a_bar_does_not_move_the_border() -> None:
    framed = framed_by(EYE, (90, 60, 0, 0), (235, 235, 235))
    cv2.putText(framed, "Patient 0815   OD   2026-11-28   macula centred", (20, 60), 0, 1.2, (20, 20, 20), 2)
    cv2.putText(framed, "Department of Ophthalmology", (500, 712 + 90 + 40), 0, 1, (20, 20, 20), 2)
    found = find_retina(framed)
    assert (found.left, found.right) == pytest.approx((CLEAN.left, CLEAN.right), abs=0.003)
    assert (found.top * 862, found.bottom * 862) == pytest.approx((90, 802), abs=9)


@given(
    widths=st.tuples(*[st.integers(0, 200)] * 4),
    level=st.integers(0, 255),
    tint=st.tuples(*[st.integers(-20, 20)] * 3),
)
@settings(max_examples=30)
def test_the_borders_stay_or_the_picture_is_refused_whatever_the_frame(
    widths: tuple[int, int, int, int], level: int, tint: tuple[int, int, int]
) -> None:
    colour = tuple(int(np.clip(level + more, 0, 255)) for more in tint)
    assert_same_borders(EYE, widths, (colour[0], colour[1], colour[2]), or_refused=True)


def framed_by(
    eye: NDArray[np.uint8], widths: tuple[int, int, int, int], colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """With so many pixels more above, below, left and right."""
    return np.asarray(cv2.copyMakeBorder(eye, *widths, cv2.BORDER_CONSTANT, value=colour), np.uint8)


def assert_same_borders(
    eye: NDArray[np.uint8],
    widths: tuple[int, int, int, int],
    colour: tuple[int, int, int],
    *,
    inner: int = 0,
    or_refused: bool = False,
) -> None:
    """As those of the eye within, to 0.5 % of its width and 1.5 % of its height."""
    framed = framed_by(eye, widths, colour)
    try:
        found = find_retina(framed)
    except PhotographError:
        assert or_refused
        return
    height, width = framed.shape[:2]
    left, right = ((border * width - widths[2] - inner) / 1072 for border in (found.left, found.right))
    top, bottom = ((border * height - widths[0] - inner) / 712 for border in (found.top, found.bottom))
    assert (left, right) == pytest.approx((CLEAN.left, CLEAN.right), abs=0.005)
    assert (top, bottom) == pytest.approx((0, 1), abs=0.015)


def test_a_coloured_surround_is_no_retina() -> None:
    for colour in ((40, 60, 140), (20, 140, 30), (0, 0, 255)):
        found = find_retina(drawn_eye(colour))
        assert (found.left * 1072, found.right * 1072) == pytest.approx((100.25, 900.25), abs=4), colour


@pytest.mark.parametrize("mirrored", [False, True])
def test_stray_light_and_an_uneven_background_are_no_retina(mirrored: bool) -> None:
    rows, columns = np.mgrid[:712, :1072]
    corner = np.clip(90 - 300 * np.hypot(rows, columns) / 712, 0, 90)
    for light in (corner, np.full((712, 1), 1) * np.linspace(0, 45, 1072)):
        eye = np.where(disc()[..., None], EYE, light[..., None].astype(np.uint8))
        found = find_retina(np.ascontiguousarray(eye[:, ::-1] if mirrored else eye))
        borders = (1 - found.right, 1 - found.left) if mirrored else (found.left, found.right)
        assert (borders[0] * 1072, borders[1] * 1072) == pytest.approx((100.25, 900.25), abs=10)
        assert (found.top, found.bottom) == (0, 1)


@given(
    light=st.floats(0.2, 1.2),
    surround=st.sampled_from([0, 8, 60, 128, 205, 255, "noise 4", "noise 12"]),
    text=st.sampled_from([None, (230, 20, 20), (255, 255, 255), (0, 255, 0)]),
    mark=st.sampled_from([None, "triangle", "tab", "label"]),
    cut=st.tuples(st.integers(0, 80), st.integers(0, 120), st.integers(0, 180), st.integers(0, 260)),
    frame=st.sampled_from([(0, 0), (180, 0), (540, 0), (100, 100), (200, 300)]),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_the_crop_is_that_of_the_clean_picture_or_the_picture_is_refused(
    light: float,
    surround: int | str,
    text: tuple[int, int, int] | None,
    mark: str | None,
    cut: tuple[int, int, int, int],
    frame: tuple[int, int],
    seed: int,
) -> None:
    """To 1 % of the width and of the height, whatever surrounds the eye, marks it, dims it or cuts it off.

    An eye with less than half of its light in strong noise is left out: its border can be 2 % off.
    """
    assume(surround != "noise 12" or light >= 0.5)
    dim = (np.asarray(EYE) * light).clip(0, 255).astype(np.uint8)
    outside, random = np.full(EYE.shape, 0, np.float64), np.random.default_rng(seed)
    if isinstance(surround, str):
        mean = float(surround.split()[1])
        outside = np.abs(random.normal(mean, 0.7 * mean, EYE.shape))
    else:
        outside += surround
    eye = np.where(disc()[..., None], dim, outside.clip(0, 255).astype(np.uint8))
    if mark == "triangle":
        cv2.fillPoly(eye, [np.array([(896, 340), (930, 356), (896, 372)])], (200, 200, 200))
    elif mark == "tab":
        cv2.rectangle(eye, (896, 330), (950, 380), (160, 90, 50), cv2.FILLED)
    elif mark == "label":
        cv2.rectangle(eye, (0, 0), (130, 40), (240, 240, 240), cv2.FILLED)
    if text is not None:
        for place in ((5, 30), (930, 60), (940, 690), (5, 680)):
            cv2.putText(eye, "OD 07", place, cv2.FONT_HERSHEY_SIMPLEX, 0.9, text, 2)
    top, bottom, left, right = cut
    eye = np.ascontiguousarray(eye[top : 712 - bottom, left : 1072 - right])
    level = surround if isinstance(surround, int) else 0
    height, width = eye.shape[:2]
    widths = (frame[0], frame[0], frame[1], frame[1])
    eye = framed_by(eye, widths, (level, level, level))
    try:
        found = find_retina(eye)
    except PhotographError:
        return
    tall, wide = eye.shape[:2]
    across = [(border * wide - frame[1]) / 1072 for border in (found.left, found.right)]
    along = [(border * tall - frame[0]) / 712 for border in (found.top, found.bottom)]
    assert across == pytest.approx([max(0, 100.25 - left) / 1072, min(width, 900.25 - left) / 1072], abs=0.01)
    assert along == pytest.approx([0, height / 712], abs=0.012)


@pytest.mark.parametrize("levels", [20, 40, 60])
@pytest.mark.parametrize("reach", [0.02, 0.05])
def test_a_glow_around_the_retina_does_not_move_its_border(levels: int, reach: float) -> None:
    away = cv2.distanceTransform((~disc()).astype(np.uint8), cv2.DIST_L2, 5)
    glow = levels * np.exp(-away / (reach * 1072))
    eye = np.where(disc()[..., None], EYE, glow[..., None].astype(np.uint8))
    found = find_retina(eye)
    assert (found.left * 1072, found.right * 1072) == pytest.approx((100.25, 900.25), abs=0.01 * 1072)


def test_a_whole_disc_has_borders_above_and_below() -> None:
    rows, columns = np.mgrid[:800, :1200] + 0.5
    inside = np.hypot(rows - 390.25, columns - 600) < 300
    eye = np.asarray(inside[..., None] * np.stack([120 + rows / 8, 60 + columns / 30, 20 + rows / 40], 2), np.uint8)
    found = find_retina(eye)
    assert (found.left * 1200, found.right * 1200) == pytest.approx((300, 900), abs=2)
    assert (found.top * 800, found.bottom * 800) == pytest.approx((90.25, 690.25), abs=2)


def disc() -> NDArray[np.bool_]:
    """Where `drawn_eye` has retina."""
    rows, columns = np.mgrid[:712, :1072] + 0.5
    return np.asarray(np.hypot(rows - 356, columns - 500.25) < 400)


@pytest.mark.parametrize("background", [(0, 0, 0), (6, 4, 5), (70, 70, 70), (128, 128, 128), (250, 250, 250)])
@pytest.mark.parametrize("brightness", [0.2, 1.0])
def test_the_mask_of_the_retina_is_the_disc(background: tuple[int, int, int], brightness: float) -> None:
    eye = (EYE * brightness).astype(np.uint8)
    eye[~disc()] = background
    cv2.putText(eye, "OD 1", (950, 100), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 2)
    mask = retina_mask(eye)
    assert mask.shape == (712, 1072) and mask.dtype == bool
    # Within four pixels of 1072: the mask is told from a picture half the size.
    near_the_edge = cv2.morphologyEx(disc().astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((9, 9), np.uint8))
    assert not (mask != disc())[near_the_edge == 0].any()


@pytest.mark.parametrize("normalisation", ["none", "local_mean", "clahe", "green", "surface"])
@pytest.mark.parametrize("side_px", [128, 256])
def test_the_mask_of_what_a_network_sees_is_that_of_the_photograph(normalisation: str, side_px: int) -> None:
    eye = cv2.imencode(".png", EYE[..., ::-1])[1].tobytes()
    square = eye_image(eye, ImageSettings(image_px=side_px, normalisation=normalisation)).image
    expected = cv2.resize(disc()[:, 100:900].astype(np.float32), (side_px, side_px), interpolation=cv2.INTER_AREA)
    mask = retina_mask(square)
    assert (mask != (expected > 0.5)).mean() < 0.02
    assert not mask[:3, :3].any() and not mask[-3:, -3:].any() and mask[side_px // 2].mean() > 0.97


def test_where_the_retina_fills_the_picture_all_of_it_is_retina() -> None:
    assert retina_mask(EYE[200:500, 300:700]).all()
    assert retina_mask(np.zeros((64, 64, 3), np.uint8)).all(), "nothing to be told apart"


def test_the_borders_of_real_eyes_are_found_at_every_scale(idrid: Path) -> None:
    for path in sorted((idrid / "images/train").glob("*.jpg"))[::40]:
        data = path.read_bytes()
        whole, small = find_retina(read_photograph(data)), find_retina(read_photograph(data, 256))
        assert 0.05 < whole.left < 0.1 and 0.84 < whole.right < 0.88, path.name
        assert abs(small.left - whole.left) < 2e-4 and abs(small.right - whole.right) < 2e-4, path.name


def test_no_real_eye_is_refused_and_none_is_cut_above_or_below(idrid: Path) -> None:
    for path in sorted((idrid / "images/train").glob("*.jpg"))[::10]:
        found = find_retina(read_photograph(path.read_bytes(), 256))
        assert (found.top, found.bottom) == (0, 1), path.name
        check_whole(found, 712, 1072)


def test_bars_and_frames_leave_the_borders_of_real_eyes_where_they_are(idrid: Path) -> None:
    for path in sorted((idrid / "images/train").glob("*.jpg"))[::40]:
        eye = read_photograph(path.read_bytes())
        clean = find_retina(eye)
        for widths, colour in (((40, 30, 0, 0), 205), ((36, 36, 36, 36), 230), ((500, 500, 500, 500), 0)):
            framed = framed_by(eye, widths, (colour, colour, colour))
            found = find_retina(framed)
            sides = [(border * framed.shape[1] - widths[2]) / 1072 for border in (found.left, found.right)]
            assert sides == pytest.approx([clean.left, clean.right], abs=0.005), path.name


def test_the_masks_of_real_eyes_leave_out_the_black_corners(idrid: Path) -> None:
    for path in sorted((idrid / "images/train").glob("*.jpg"))[::40]:
        picture = read_photograph(path.read_bytes())
        mask = retina_mask(picture)
        assert 0.68 < mask.mean() < 0.70, path.name
        assert picture[~mask].max(axis=1).mean() < 10 < np.quantile(picture[mask].max(axis=1), 0.02), path.name


def test_real_eyes_in_other_surrounds_keep_their_borders_or_are_refused(idrid: Path) -> None:
    for path in sorted((idrid / "images/train").glob("*.jpg"))[::200]:
        eye = read_photograph(path.read_bytes(), 400)
        clean = find_retina(eye)
        n_refused = 0
        for name, changed, offset in changes(eye, clean):
            moved = move(eye, clean, changed, offset)
            n_refused += moved is None
            assert moved is None or moved <= 0.01, (path.name, name)
        assert n_refused <= 3, "much too dark or burnt out"
