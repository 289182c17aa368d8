import io
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from drsearch.data.decode import decode, read_photograph
from drsearch.errors import PhotographError


@pytest.fixture
def picture(photograph: bytes) -> NDArray[np.uint8]:
    return read_photograph(photograph)


def test_a_jpeg_is_decoded_smaller_as_long_as_enough_is_left(picture: NDArray[np.uint8]) -> None:
    data = simplejpeg.encode_jpeg(cv2.resize(picture, (2144, 1424)), 90)
    assert read_photograph(data).shape == (1424, 2144, 3)
    assert read_photograph(data, 713).shape == (1424, 2144, 3)
    assert read_photograph(data, 712).shape == (712, 1072, 3)
    assert read_photograph(data, 256).shape == (356, 536, 3)
    assert read_photograph(data, 16).shape == (178, 268, 3)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp"])
def test_other_formats_read_as_they_were_written(suffix: str, picture: NDArray[np.uint8]) -> None:
    data = cv2.imencode(suffix, picture[..., ::-1])[1].tobytes()
    assert np.array_equal(read_photograph(data), picture)


def in_format(picture: NDArray[np.uint8] | Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def assert_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(PhotographError) as refused:
        read_photograph(data)
    assert str(refused.value) == sentence


@given(orientation=st.integers(0, 9), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_every_format_is_turned_upright_as_a_viewer_turns_it(orientation: int, size: tuple[int, int]) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = Image.fromarray(stored)
    shown.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(shown))
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(read_photograph(in_format(stored, kind, exif=exif)), expected), kind
    jpeg = {"quality": 100, "subsampling": 0}
    turned = read_photograph(in_format(stored, "JPEG", exif=exif, **jpeg))
    plain = Image.open(io.BytesIO(in_format(stored, "JPEG", **jpeg)))
    plain.getexif()[0x0112] = orientation
    difference = turned.astype(int) - np.asarray(ImageOps.exif_transpose(plain))
    assert turned.shape == expected.shape and np.abs(difference).max() <= 2


def test_a_turned_photograph_has_the_height_and_width_of_what_is_shown(picture: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    large = np.asarray(cv2.resize(picture, (1072, 712)), np.uint8)
    decoded = decode(in_format(large, "JPEG", exif=exif), 170)
    assert (decoded.height, decoded.width) == (1072, 712)
    assert decoded.pixels.shape == (268, 178, 3)


@pytest.mark.parametrize(
    "block", [b"", b"II*\0", b"MM\0*\0\0\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"nonsense", bytes(60)]
)
def test_a_broken_exif_block_turns_nothing(block: bytes, photograph: bytes) -> None:
    segment = b"\xff\xe1" + (len(block) + 8).to_bytes(2, "big") + b"Exif\0\0" + block
    read = read_photograph(photograph[:2] + segment + photograph[2:])
    assert np.array_equal(read, read_photograph(photograph))


@pytest.mark.parametrize("scale", [257, 64, 16])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_more_than_eight_bits_per_channel_are_refused(suffix: str, scale: int, picture: NDArray[np.uint8]) -> None:
    deep = picture[..., ::-1].astype(np.uint16) * scale
    for pixels in (deep, deep[..., 0]):
        assert_refused(
            cv2.imencode(suffix, pixels)[1].tobytes(),
            "has 16 bits per channel, and the file does not say how many of them the camera uses; save it with 8 bits"
            " per channel",
        )


def test_floating_point_and_12_bit_pixels_are_refused(photograph: bytes, picture: NDArray[np.uint8]) -> None:
    with pytest.raises(PhotographError, match="^has 32 bits per channel, "):
        read_photograph(in_format(Image.fromarray(picture[..., 0].astype(np.float32)), "TIFF"))
    frame = photograph.index(b"\xff\xc0")
    with pytest.raises(PhotographError, match="^has 12 bits per channel, "):
        read_photograph(photograph[: frame + 4] + b"\x0c" + photograph[frame + 5 :])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_what_is_transparent_is_black_in_every_format(kind: str, picture: NDArray[np.uint8]) -> None:
    opacity = np.zeros(picture.shape[:2], np.uint8)
    opacity[20:100] = 255
    opacity[100:120] = 51
    below = np.where(opacity[..., None] > 0, picture, np.uint8(255))
    layered = Image.fromarray(below).convert("RGBA")
    layered.putalpha(Image.fromarray(opacity))
    expected = picture * (opacity[..., None] / 255)
    assert np.abs(read_photograph(in_format(layered, kind)) - expected).max() <= 0.5
    layered.putalpha(0)
    assert_refused(in_format(layered, kind), "is transparent everywhere; save it without transparency")


def test_transparency_is_read_from_palettes_and_grey_too(picture: NDArray[np.uint8]) -> None:
    grey = Image.fromarray(picture).convert("L")
    grey.putalpha(Image.fromarray(np.full(picture.shape[:2], 51, np.uint8)))
    expected = np.asarray(grey)[..., :1] * (51 / 255)
    assert np.abs(read_photograph(in_format(grey, "PNG")) - expected).max() <= 0.5
    palette = Image.fromarray(picture).quantize(8)
    transparent = palette.getpixel((134, 89))
    read = read_photograph(in_format(palette, "PNG", transparency=transparent))
    opaque = np.asarray(palette) != transparent
    assert np.array_equal(read, np.where(opaque[..., None], np.asarray(palette.convert("RGB")), 0))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [(mode, kind) for mode in ("P", "L", "1", "RGBA") for kind in ("PNG", "TIFF", "BMP")] + [("RGBX", "TIFF")],
)
def test_one_picture_is_the_same_in_every_mode_that_can_hold_it(
    mode: str, kind: str, picture: NDArray[np.uint8]
) -> None:
    held = Image.fromarray(picture).convert(mode)
    assert np.array_equal(read_photograph(in_format(held, kind)), np.asarray(held.convert("RGB")))


@pytest.mark.parametrize(
    ("mode", "kind", "colours"), [("CMYK", "JPEG", "CMYK"), ("CMYK", "TIFF", "CMYK"), ("LAB", "TIFF", "LAB")]
)
def test_colours_of_printers_are_refused(mode: str, kind: str, colours: str, picture: NDArray[np.uint8]) -> None:
    data = in_format(Image.fromarray(picture).convert(mode), kind)
    assert_refused(data, f"has {colours} colours; save it with RGB colours")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_several_pictures_in_one_file_are_refused(kind: str, picture: NDArray[np.uint8]) -> None:
    other = Image.fromarray(np.ascontiguousarray(picture[::-1]))
    data = in_format(picture, kind, save_all=True, append_images=[other])
    assert_refused(data, "holds several pictures; save the photograph as a file of its own")


def test_of_a_jpeg_with_further_pictures_behind_it_the_first_is_read(picture: NDArray[np.uint8]) -> None:
    other = Image.fromarray(np.ascontiguousarray(picture[::-1]))
    several = in_format(picture, "MPO", save_all=True, append_images=[other], quality=90)
    assert np.abs(read_photograph(several).astype(int) - picture).mean() < 3


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (None, "WebP"), (None, "GIF"), (None, "PPM"), (None, "JPEG2000"), (None, "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"), (bytes(128) + b"DICM", "DICOM"), (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\0\x01", "Photoshop"), (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_another_format_is_refused_by_its_name(start: bytes | None, name: str, picture: NDArray[np.uint8]) -> None:
    data = in_format(picture, name) if start is None else start + bytes(200)
    name = {"JPEG2000": "JPEG 2000"}.get(name, name)
    assert_refused(data, f"is {name}; save it as JPEG, PNG, TIFF or BMP")


def test_pixels_are_handed_back_and_must_be_rgb(picture: NDArray[np.uint8]) -> None:
    assert read_photograph(picture) is picture
    for other in (picture[..., 0], picture.astype(np.uint16), np.dstack([picture, picture[..., :1]])):
        with pytest.raises(PhotographError, match="^is no picture: an array has shape"):
            read_photograph(other)  # type: ignore[arg-type]  # as a caller without types does


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
    [
        (b"", "is empty; copy the file again"),
        (b"Image name,Retinopathy grade\n", "is no picture that drsearch reads; save it as JPEG, PNG, TIFF or BMP"),
        (bytes(4000), "is no picture that drsearch reads; save it as JPEG, PNG, TIFF or BMP"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, sentence: str) -> None:
    assert_refused(data, sentence)
