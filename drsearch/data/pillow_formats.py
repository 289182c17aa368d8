"""Reads PNG, TIFF, BMP and WebP, of 8 and of up to 16 bits per channel."""

import io
import sys
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from drsearch.data.formats import (
    MOST_PIXELS,
    SAVE_AS,
    check_size,
    eight_bits,
    not_whole,
    several_pictures,
    too_many_bits,
    uint8,
    upright,
    white_of,
)
from drsearch.errors import PhotographError

# Not what else Pillow opens: its reader of EPS starts a program.
_FORMATS = {b"\x89PNG": "PNG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF", b"BM": "BMP",
            b"RIFF": "WEBP"}  # fmt: skip
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "YCbCr", "CMYK")
_DEEP_MODES = ("I;16", "I;16B", "RGB", "RGBX", "RGBA", "CMYK")
_ORIENTATION = 0x0112
# Tags of TIFF, and values of them.
_BITS, _PHOTOMETRIC, _MOST_LEVEL, _PLANES, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA = 258, 262, 281, 284, 322, 323, 338
_WHITE_IS_ZERO, _APART, _ON_BLACK = 0, 2, 1
_KINDS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def format_of(data: bytes) -> str | None:
    """The format that a file begins as, if it is one of this module."""
    name = next((name for start, name in _FORMATS.items() if data.startswith(start)), None)
    return None if name == "WEBP" and data[8:12] != b"WEBP" else name


def read_with_pillow(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG, TIFF, BMP or WebP.

    Args:
        data: The file's bytes.

    Returns:
        uint8 RGB, upright, what is transparent black; shape (height, width, 3).

    Raises:
        PhotographError: If the file is damaged or cut short, too large, holds several pictures, has more than 16 bits
            or colours of a laboratory, or is transparent everywhere.
    """
    name = format_of(data)
    assert name is not None
    try:
        if name == "WEBP":
            _check_webp(data)
        with Image.open(io.BytesIO(data), formats=(name,)) as picture:
            check_size(picture.height, picture.width)
            bits = _check_kind(picture, data)
            _forget_xmp(picture)
            picture.load()  # turns a TIFF upright by itself
            _forget_xmp(picture)
            shown = _deep(picture, data) if bits > 8 else ImageOps.exif_transpose(picture)
            return uint8(_on_black(shown))
    except PhotographError:
        raise
    except UnidentifiedImageError as wrong:
        raise PhotographError(
            f"is a {name} that is damaged, or of a kind that drsearch does not read; {SAVE_AS}"
        ) from wrong
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as wrong:
        raise PhotographError(
            f"is too large: at most {MOST_PIXELS // 10**6} million pixels are read; save it smaller"
        ) from wrong
    except Exception as wrong:  # Pillow's readers raise whatever their parsing of damaged bytes ends in
        raise not_whole(wrong) from wrong


def _check_webp(data: bytes) -> None:
    """Pillow makes room for the whole canvas as soon as it opens a WebP."""
    if len(data) < 30 or len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise not_whole("it is cut short")
    kind, at = data[12:16], 20
    if kind == b"VP8X":
        if data[at] & 2:
            raise several_pictures()
        width, height = (1 + int.from_bytes(data[first : first + 3], "little") for first in (at + 4, at + 7))
    elif kind == b"VP8L":
        sides = int.from_bytes(data[at + 1 : at + 5], "little")
        width, height = 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(data[first : first + 2], "little") & 0x3FFF for first in (at + 6, at + 8))
    check_size(height, width)


def _check_kind(picture: Image.Image, data: bytes) -> int:
    """Refuse what is not read rightly; the bits per channel as the file has them, which Pillow reduces to 8."""
    bits = 8
    if picture.format == "PNG":
        bits = data[24]
    elif isinstance(picture, TiffImagePlugin.TiffImageFile):
        tags = picture.tag_v2
        bits = int(max(tags.get(_BITS, (8,))))
        check_size(tags.get(_TILE_HEIGHT, 1), tags.get(_TILE_WIDTH, 1))
        if _has_more(picture):
            raise several_pictures()
        if bits > 8 and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            raise PhotographError(f"is a TIFF of {bits} bits whose highest level is black; {SAVE_AS}")
        if tags.get(_PLANES) == _APART and picture.mode in ("LA", "La", "PA"):
            raise PhotographError(f"is a TIFF whose transparency lies in a plane of its own; {SAVE_AS}")
    if picture.mode in ("I", "F") or bits > 16:
        raise too_many_bits(bits) if bits > 16 else PhotographError(f"has levels with a sign; {SAVE_AS}")
    if picture.mode not in (_DEEP_MODES if bits > 8 else _MODES):
        raise PhotographError(f"has {picture.mode} colours; save it with RGB colours")
    if picture.format != "TIFF" and getattr(picture, "is_animated", False):
        raise several_pictures()
    return bits


def _has_more(picture: Image.Image) -> bool:
    try:
        picture.seek(1)
    except EOFError:
        return False
    finally:
        picture.seek(0)
    return True


def _forget_xmp(picture: Image.Image) -> None:
    """Pillow would take an orientation from there, too, where EXIF gives none."""
    for name in ("xmp", "XML:com.adobe.xmp"):
        picture.info.pop(name, None)


def _deep(picture: Image.Image, data: bytes) -> Image.Image:
    """A loaded picture with the highest 8 of the bits that it uses, upright."""
    levels, white = (
        _tiff_levels(picture, data)
        if isinstance(picture, TiffImagePlugin.TiffImageFile)
        else _png_levels(picture, data)
    )
    if picture.mode == "CMYK":
        return Image.frombytes("CMYK", levels.shape[1::-1], eight_bits(levels, white).tobytes())
    n = levels.shape[2] - (levels.shape[2] in (2, 4))
    parts = [eight_bits(levels[..., :n], white), eight_bits(levels[..., n:])]
    pixels = np.ascontiguousarray(np.concatenate(parts, axis=2))
    return Image.frombytes(_KINDS[pixels.shape[2]], pixels.shape[1::-1], pixels.tobytes())


def _png_levels(picture: Image.Image, data: bytes) -> tuple[NDArray[np.uint16], int | None]:
    """Levels of a PNG and the highest one that its chunk sBIT allows; OpenCV would not tell that it is cut short."""
    levels: NDArray[np.uint16] = np.asarray(
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), np.uint16
    )
    if levels.ndim == 2:
        transparent = picture.info.get("transparency")
        levels = levels[..., None]
        if transparent is not None:
            opaque = np.where(levels == transparent, 0, 0xFFFF)
            levels = np.concatenate([levels, opaque.astype(np.uint16)], axis=2)
    else:
        levels = levels[..., [2, 1, 0, 3][: levels.shape[2]]]
    orientation = picture.getexif().get(_ORIENTATION, 1)
    bits = max((max(chunk) for name, chunk in _chunks(data) if name == b"sBIT" and chunk), default=16)
    return upright(levels, orientation), (1 << bits) - 1 if 8 < bits < 16 else None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Those before the pixels of a PNG."""
    at = 8
    while at + 12 <= len(data) and data[at + 4 : at + 8] != b"IDAT":
        length = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def _tiff_levels(picture: TiffImagePlugin.TiffImageFile, data: bytes) -> tuple[NDArray[np.uint16], int]:
    """Levels of a loaded TIFF and the highest one that its tags allow."""
    tags = picture.tag_v2
    if picture.mode.startswith("I;16"):
        levels = np.asarray(picture).astype(np.uint16)[..., None]
    else:
        high, low = (_bytes(data, is_high) for is_high in (True, False))
        levels = np.asarray(high.astype(np.uint16) << 8 | low, np.uint16)
        if tags.get(_EXTRA) == (_ON_BLACK,):
            levels = levels[..., :3]
    most = tags.get(_MOST_LEVEL, 0xFFFF)  # some write the highest level that there is
    most = white_of(min(0xFFFF, int(max(most) if isinstance(most, tuple) else most)))
    return levels, min(most, (1 << int(max(tags[_BITS]))) - 1)


def _bytes(data: bytes, is_high: bool) -> NDArray[np.uint8]:
    """The high or the low bytes of colours of 16 bits.

    Pillow reads the high bytes alone; told that bytes are the other way round, it reads the low ones.
    """
    of_file = "L" if data[:2] == b"II" else "B"
    of_machine = "L" if sys.byteorder == "little" else "B"  # in which libtiff hands them over
    with Image.open(io.BytesIO(data), formats=("TIFF",)) as picture:
        tiles = []
        for tile in picture.tile:
            assert isinstance(tile.args, tuple)
            order = of_machine if tile.codec_name == "libtiff" else of_file
            order = order if is_high else {"L": "B", "B": "L"}[order]
            kind = tile.args[0].partition(";")[0].replace("RGBa", "RGBA")
            tiles.append(tile._replace(args=(f"{kind};16{order}", *tile.args[1:])))
        picture.tile = tiles
        picture.load()
        return uint8(picture)


def _on_black(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    colours = picture.convert("RGBA")
    opacity = colours.getchannel("A")
    if not opacity.getbbox():
        raise PhotographError("is transparent everywhere; save it without transparency")
    black = Image.new("RGB", colours.size)
    black.paste(colours.convert("RGB"), mask=opacity)
    return black
