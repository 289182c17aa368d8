import builtins
import io
import struct
import time
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from picture_files import LOSSLESS, LOSSY, cmyk_jpeg, deep, dicom, in_format, netpbm, png, tiff
from PIL import Image, ImageOps

from drsearch.data.decode import decode, read_photograph
from drsearch.data.formats import eight_bits
from drsearch.data.images import eye_image
from drsearch.errors import PhotographError
from drsearch.settings import ImageSettings


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


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_picture_is_the_same_in_every_format_that_keeps_it(kind: str, picture: NDArray[np.uint8]) -> None:
    data = LOSSLESS[kind](picture)
    assert np.array_equal(read_photograph(data), picture)
    eye, plain = (eye_image(one, ImageSettings(image_px=64)) for one in (data, picture))
    assert (eye.stored, eye.retina, eye.height, eye.width) == (plain.stored, plain.retina, plain.height, plain.width)


@pytest.mark.parametrize("kind", LOSSY)
def test_a_picture_is_nearly_the_same_in_every_other_format(kind: str, picture: NDArray[np.uint8]) -> None:
    data = LOSSY[kind](picture)
    assert np.abs(read_photograph(data).astype(int) - picture).mean() < 1.5
    eye, plain = (eye_image(one, ImageSettings(image_px=64)) for one in (data, picture))
    assert (eye.height, eye.width) == (plain.height, plain.width)
    borders = [(one.retina.left, one.retina.right, one.retina.top, one.retina.bottom) for one in (eye, plain)]
    assert borders[0] == pytest.approx(borders[1], abs=0.003)
    assert np.abs(eye.image.astype(int) - plain.image).mean() < 2


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
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        assert np.array_equal(read_photograph(in_format(stored, kind, exif=exif, **options)), expected), kind
    block = exif.tobytes()[6:]
    for data in (png(deep(stored, 16), [(b"eXIf", block)]), tiff(deep(stored, 16), tags={0x0112: orientation})):
        stored_highest = stored.max() >= 64  # a single dark pixel does not tell its bits
        assert not stored_highest or np.array_equal(read_photograph(data), expected)
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


@given(
    bits=st.sampled_from([10, 12, 14, 16]),
    highest=st.floats(0.3, 1),
    stated=st.booleans(),
    seed=st.integers(0, 99),
)
def test_deep_levels_keep_their_light_and_are_never_darker(bits: int, highest: float, stated: bool, seed: int) -> None:
    most = (1 << bits) - 1
    levels = np.random.default_rng(seed).integers(0, most, (20, 3), endpoint=True).astype(np.uint16)
    levels[0, 0] = most
    dimmed = (levels * highest).astype(np.uint16)
    assert np.array_equal(eight_bits(dimmed, most if stated else None), dimmed >> (bits - 8))
    dark = dimmed // 16
    assert (eight_bits(dark) >= dark >> (bits - 8)).all(), "as bright as it is, or brighter"
    if stated and bits < 16:
        assert np.array_equal(eight_bits(dark, most), dark >> (bits - 8))


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_lettering_at_the_top_of_16_bits_makes_no_photograph_darker(bits: int, picture: NDArray[np.uint8]) -> None:
    levels = deep(picture, bits) if bits > 8 else picture.astype(np.uint16)
    levels[5:9, 5:40] = 0xFFFF
    for data in (png(levels), tiff(levels), netpbm(levels, 0xFFFF), dicom(levels)):
        with pytest.raises(PhotographError, match=r"^has 16 bits per channel in 0\.3% of its pixels and fewer"):
            read_photograph(data)


def test_what_is_no_whole_number_of_up_to_16_bits_is_refused(photograph: bytes, picture: NDArray[np.uint8]) -> None:
    grey = picture[..., 0]
    for kind in (np.float32, np.int32):
        sentence = "has 32 bits per channel; save it with 8 or 16 bits per channel"
        assert_refused(in_format(Image.fromarray(grey.astype(kind)), "TIFF"), sentence)
    signed = tiff(picture[..., :1].astype(np.uint16), tags={339: 2})
    assert_refused(signed, "has levels with a sign; save it as JPEG, PNG, TIFF or BMP")
    frame = photograph.index(b"\xff\xc0")
    assert_refused(
        photograph[: frame + 4] + b"\x0c" + photograph[frame + 5 :],
        "is a JPEG with 12 bits per channel; save it with 8 bits per channel",
    )


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_grey_levels_are_read_with_all_their_bits(bits: int, picture: NDArray[np.uint8]) -> None:
    grey = np.ascontiguousarray(picture[..., :1])
    levels = deep(grey, bits) if bits > 8 else grey
    for data in (png(levels), tiff(levels), tiff(levels, big_endian=True), netpbm(levels, (1 << bits) - 1),
                 dicom(levels, PhotometricInterpretation="MONOCHROME2", BitsStored=bits)):  # fmt: skip
        assert np.array_equal(read_photograph(data), np.repeat(grey, 3, axis=2))
    inverted = dicom(levels.max() - levels if bits == 8 else (1 << bits) - 1 - levels, BitsStored=bits,
                     PhotometricInterpretation="MONOCHROME1")  # fmt: skip
    if bits > 8:
        assert np.array_equal(read_photograph(inverted), np.repeat(grey, 3, axis=2))


def test_the_window_of_a_dicom_is_what_it_shows() -> None:
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64, 1)
    data = dicom(levels, PhotometricInterpretation="MONOCHROME2", BitsStored=12, WindowCenter=1000, WindowWidth=401)
    shown = read_photograph(data)[..., 0].ravel()
    assert (shown[:800] == 0).all() and (shown[1200:] == 255).all()
    assert shown[1000] == pytest.approx(128, abs=1) and shown[900] == pytest.approx(64, abs=1)


def test_the_palette_of_a_dicom_gives_its_colours(picture: NDArray[np.uint8]) -> None:
    held = Image.fromarray(picture).quantize(64)
    colours = np.asarray(held.getpalette("RGB"), np.uint8).reshape(-1, 3)
    table = {
        f"{name}PaletteColorLookupTable{what}": value
        for name, levels in zip(("Red", "Green", "Blue"), colours.T, strict=True)
        for what, value in (
            ("Descriptor", [len(colours), 0, 16]), ("Data", (levels.astype("<u2") * 257).tobytes()))
    }  # fmt: skip
    data = dicom(np.asarray(held)[..., None], PhotometricInterpretation="PALETTE COLOR", **table)
    assert np.array_equal(read_photograph(data), np.asarray(held.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_what_is_transparent_is_black_in_every_format(kind: str, picture: NDArray[np.uint8]) -> None:
    opacity = np.zeros(picture.shape[:2], np.uint8)
    opacity[20:100] = 255
    opacity[100:120] = 51
    below = np.where(opacity[..., None] > 0, picture, np.uint8(255))
    layered = Image.fromarray(below).convert("RGBA")
    layered.putalpha(Image.fromarray(opacity))
    expected = picture * (opacity[..., None] / 255)
    kept = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert np.abs(read_photograph(in_format(layered, kind, **kept)) - expected).max() <= 0.5
    layered.putalpha(0)
    assert_refused(in_format(layered, kind, **kept), "is transparent everywhere; save it without transparency")


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


def test_what_is_transparent_is_black_with_16_bits_too(picture: NDArray[np.uint8]) -> None:
    opacity = np.where(np.arange(picture.shape[1]) < 100, np.uint16(0), np.uint16(0xFFFF))
    layered = np.dstack([deep(picture, 16), np.broadcast_to(opacity, picture.shape[:2])])
    expected = np.where(opacity[:, None] > 0, picture, 0)
    assert np.array_equal(read_photograph(png(layered)), expected)
    assert np.array_equal(read_photograph(tiff(layered)), expected)
    grey = np.ascontiguousarray(layered[..., [0, 3]])
    assert np.array_equal(read_photograph(png(grey))[..., 2], expected[..., 0])
    colour = deep(picture, 16)[:1, :1].astype(">u2").tobytes()
    keyed = read_photograph(png(deep(picture, 16), [(b"tRNS", colour)]))
    same = (picture == picture[0, 0]).all(axis=2, keepdims=True)
    assert np.array_equal(keyed, np.where(same, 0, picture))


def test_inks_read_the_wrong_way_round_are_no_retina(picture: NDArray[np.uint8]) -> None:
    data = cmyk_jpeg(picture)
    adobe = data.index(b"Adobe")
    with pytest.raises(PhotographError, match="^shows "):
        eye_image(data[:adobe] + b"adobe" + data[adobe + 5 :], ImageSettings(image_px=64))


def test_colours_of_laboratories_are_refused(picture: NDArray[np.uint8]) -> None:
    data = in_format(Image.fromarray(picture).convert("LAB"), "TIFF")
    assert_refused(data, "has LAB colours; save it with RGB colours")


TWO = "holds several pictures; save the photograph as a file of its own"


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_several_pictures_in_one_file_are_refused(kind: str, picture: NDArray[np.uint8]) -> None:
    other = Image.fromarray(np.ascontiguousarray(picture[::-1]))
    assert_refused(in_format(picture, kind, save_all=True, append_images=[other]), TWO)


def test_several_pictures_are_refused_in_netpbm_and_dicom_too(picture: NDArray[np.uint8]) -> None:
    for in_letters in (False, True):
        assert_refused(2 * netpbm(picture, in_letters=in_letters), TWO)
    both = np.concatenate([picture, picture])
    assert_refused(dicom(both, Rows=len(picture), NumberOfFrames=2), TWO)


def test_of_a_jpeg_with_further_pictures_behind_it_the_first_is_read(picture: NDArray[np.uint8]) -> None:
    other = Image.fromarray(np.ascontiguousarray(picture[::-1]))
    several = in_format(picture, "MPO", save_all=True, append_images=[other], quality=90)
    assert np.abs(read_photograph(several).astype(int) - picture).mean() < 3


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (None, "GIF"), (None, "JPEG2000"), (None, "AVIF"), (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"%PDF-1.7\n", "PDF"), (b"P7\nWIDTH 3\n", "PAM"), (b"P4\n3 3\n", "PBM, black and white"),
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


def dicom_with(**elements: Any) -> bytes:
    return dicom(np.zeros((4, 4, 3), np.uint8), **elements)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (lambda: LOSSY["DICOM, JPEG"](SMALL).replace(b"1.2.4.50", b"1.2.4.90"),
         "is DICOM with the transfer syntax JPEG 2000 Image Compression (Lossless Only); {}"),
        (lambda: dicom_with(PhotometricInterpretation="YBR_ICT"), "is DICOM with YBR_ICT colours; {}"),
        (lambda: dicom_with(PixelRepresentation=1), "is DICOM whose levels have a sign; {}"),
        (lambda: dicom_with(Rows=9), "cannot be read whole: it is cut short"),
        (lambda: dicom_with().partition(b"\xe0\x7f\x10\0")[0], "is DICOM without a picture; {}"),
        (lambda: bytes(128) + b"DICM" + bytes(200), "cannot be read whole: it has no element TransferSyntaxUID"),
        (lambda: netpbm(np.zeros((4, 4, 3), np.uint8)) + b"more", "cannot be read whole: it holds 4 bytes more than its"
         " header says"),
        (lambda: b"P3 1 1 255\n1 2 3 4\n", "cannot be read whole: it holds 4 levels, and says 3"),
        (lambda: b"P3 1 1 99\n1 2 100\n",
         "cannot be read whole: it has a level of 100, and its header gives 99 as the highest"),
        (lambda: b"P3 1 1 255\n1 2 x\n", "cannot be read whole: it holds what is no number"),
        (lambda: b"P6 1 1 0\nabc", "cannot be read whole: its header gives 0 as the highest level"),
        (lambda: b"P6 0 1 255\n", "cannot be read whole: it has 0 x 1 pixels"),
        (lambda: b"P6 one\n", "cannot be read whole: its header is damaged"),
        (lambda: tiff(np.zeros((4, 4, 2), np.uint16), tags={338: 2}),
         "is a TIFF that is damaged, or of a kind that drsearch does not read; {}"),
        (lambda: tiff(np.zeros((4, 4, 2), np.uint8), planar=True, deflated=True, tags={338: 2}),
         "is a TIFF whose transparency lies in a plane of its own; {}"),
        (lambda: tiff(np.zeros((4, 4, 1), np.uint16), tags={262: 0}),
         "is a TIFF of 16 bits whose highest level is black; {}"),
    ],
)  # fmt: skip
def test_what_is_not_read_rightly_is_refused_by_its_name(data: Any, sentence: str) -> None:
    assert_refused(data(), sentence.format("save it as JPEG, PNG, TIFF or BMP"))


def test_without_pydicom_dicom_is_refused_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, picture: NDArray[np.uint8]
) -> None:
    data, found = dicom(picture), builtins.__import__

    def without_pydicom(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "pydicom":
            raise ImportError(name)
        return found(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without_pydicom)
    assert_refused(data, "is DICOM; install drsearch[dicom], or save it as JPEG, PNG, TIFF or BMP")


SMALL = np.random.default_rng(0).integers(40, 200, (24, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_a_file_that_is_cut_short_is_refused_or_has_all_its_pixels(kind: str) -> None:
    data = (LOSSLESS | LOSSY)[kind](SMALL)
    whole, n_refused = read_photograph(data), 0
    cuts = sorted({*range(0, len(data), max(1, len(data) // 40)), *range(max(0, len(data) - 12), len(data))})
    for cut in cuts:
        try:
            read = read_photograph(data[:cut])
        except PhotographError:
            n_refused += 1
        else:
            is_last_digit = "letters" in kind and np.count_nonzero(read != whole) == 1
            assert is_last_digit or np.array_equal(read, whole), f"cut after {cut} of {len(data)} bytes"
    assert n_refused > 0.7 * len(cuts)


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY])
def test_damaged_bytes_end_in_a_picture_or_in_one_sentence(kind: str) -> None:
    data, random = (LOSSLESS | LOSSY)[kind](SMALL), np.random.default_rng(0)
    for n_bytes in (1, 1, 1, 2, 3, 5, 8) * 4:
        damaged = bytearray(data)
        for place in random.integers(0, len(data) if n_bytes % 2 else min(200, len(data)), n_bytes):
            damaged[place] = random.integers(0, 256)
        try:
            read = read_photograph(bytes(damaged))
        except PhotographError as refused:
            assert str(refused) and "\n" not in str(refused)
        else:
            assert read.dtype == np.uint8 and read.ndim == 3 and read.shape[2] == 3


def webp(kind: bytes, body: bytes) -> bytes:
    chunk = kind + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def deflated_dicom() -> bytes:
    data = dicom_with()
    end = 144 + int.from_bytes(data[140:144], "little")
    old, new = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"
    meta = data[:end].replace(struct.pack("<H", len(old)) + old, struct.pack("<H", len(new)) + new)
    meta = patched(meta, 140, struct.pack("<I", len(meta) - 144))
    packer = zlib.compressobj(9, wbits=-15)
    return meta + b"".join(packer.compress(bytes(1 << 24)) for _ in range(16)) + packer.flush()


def many_pages(n: int) -> bytes:
    """Each of no pixels, each naming the next."""
    return b"II*\0" + struct.pack("<I", 8) + b"".join(struct.pack("<HI", 0, 14 + 6 * page) for page in range(n))


BOMBS = {
    "PNG": lambda: patched(in_format(SMALL, "PNG"), 16, struct.pack(">II", 60000, 60000)),
    "PNG, header alone": lambda: png(np.zeros((1, 1, 3), np.uint8))[:16] + struct.pack(">IIBBBBB", 9999, 9999, 8, 2, 0,
                                                                                    0, 0) + bytes(4),
    "BMP": lambda: patched(in_format(SMALL, "BMP"), 18, struct.pack("<ii", 60000, 60000)),
    "TIFF": lambda: tiff(SMALL, tags={256: 60000, 257: 60000}),
    "TIFF, one huge tile": lambda: tiff(SMALL, tile_px=16, deflated=True, tags={322: 1 << 20, 323: 1 << 20}),
    "TIFF, pages without end": lambda: many_pages(100_000),
    "WebP, canvas": lambda: webp(b"VP8X", bytes(4) + b"\xff\x3f\0\xff\x3f\0" + bytes(20)),
    "WebP, lossless": lambda: webp(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(20)),
    "WebP, lossy": lambda: webp(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(20)),
    "PPM": lambda: b"P6\n60000 60000\n255\n" + bytes(100),
    "PPM in letters": lambda: b"P3\n7000 7000\n255\n" + b"0 " * 100,
    "PPM, no end of blanks": lambda: b"P6" + b" " * 1_000_000 + b"1 1 255\n",
    "PPM, no end of comments": lambda: b"P6\n" + b"#\n" * 500_000,
    "DICOM": lambda: dicom_with(Rows=60000, Columns=60000),
    "DICOM, deflated": deflated_dicom,
    "JPEG": lambda: patched(in_format(SMALL, "JPEG"), in_format(SMALL, "JPEG").index(b"\xff\xc0") + 5, b"\xff" * 4),
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_what_would_not_fit_into_memory_is_refused_at_once(kind: str) -> None:
    data = BOMBS[kind]()
    begin = time.process_time()
    with pytest.raises(PhotographError):
        read_photograph(data)
    assert time.process_time() - begin < 1


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
