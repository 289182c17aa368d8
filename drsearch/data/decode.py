"""From the bytes of a photograph's file to its pixels.

One rule for every format, so that one picture is one input:

- Bits: 8 per channel. A file with more is refused: 12 of 16 bits cannot be told from a dark photograph.
- Transparency: what is transparent is black, as the surround of a retina is.
- Orientation (EXIF): applied, so that the network sees what a viewer shows.
- Colour: RGB, palettes and grey are read; printing and laboratory colours (CMYK, LAB) are refused. Colour profiles are
  not applied.
- Several pictures (TIFF pages, animated PNG): refused. Of a JPEG with further ones behind it (MPO), the first is read.
"""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from drsearch.errors import PhotographError

MOST_PIXELS = 64_000_000
"""A photograph with more is refused before it is decoded; fundus cameras have some 12 million."""

PhotographData = bytes | NDArray[np.uint8]
"""A photograph as a file's bytes (JPEG, PNG, TIFF, BMP), or as RGB pixels, uint8, shape (height, width, 3)."""

_SAVE_AS = "save it as JPEG, PNG, TIFF or BMP"
_SCALES = (8, 4, 2)
_JPEG_START = b"\xff\xd8\xff"
_EXIF, _EXIF_START, _ORIENTATION = 0xE1, b"Exif\0\0", 0x0112
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
# Each scan goes over the whole picture: a few bytes can take seconds. Progressive JPEGs have some ten.
_MOST_SCANS, _SCAN_START = 100, np.frombuffer(b"\xff\xda", np.uint16)
# Not what else Pillow opens: its reader of EPS starts a program.
_READ_BY_PILLOW = ("PNG", "TIFF", "BMP")
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBX", "RGBA", "YCbCr")
_TIFF_BITS = 258
_OTHER_FORMATS = {
    "GIF": rb"GIF8",
    "WebP": rb"RIFF....WEBP",
    "PPM": rb"P[1-7]\s",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "AVIF": rb"....ftypavi",
    "HEIC": rb"....ftyp(hei|hev|mif1|msf1)",
    "DICOM": rb".{128}DICM",
    "Photoshop": rb"8BPS",
    "PDF": rb"%PDF",
}
# The orientations that EXIF numbers from 2, by what turns the stored picture upright.
_TURNS: dict[int, tuple[int | None, int | None]] = {  # flip code, rotation after it
    2: (1, None),
    3: (None, cv2.ROTATE_180),
    4: (0, None),
    5: (1, cv2.ROTATE_90_COUNTERCLOCKWISE),
    6: (None, cv2.ROTATE_90_CLOCKWISE),
    7: (1, cv2.ROTATE_90_CLOCKWISE),
    8: (None, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


@dataclass(frozen=True)
class Decoded:
    """A photograph after reading.

    Attributes:
        photograph: The bytes or pixels that were decoded.
        height: Of the photograph, pixels.
        width: Of the photograph, pixels.
        pixels: uint8 RGB, shape (height, width, 3) or a half, a quarter or an eighth of it.
    """

    photograph: PhotographData
    height: int
    width: int
    pixels: NDArray[np.uint8]


def read_photograph(photograph: PhotographData, at_least_px: int | None = None) -> NDArray[np.uint8]:
    """The pixels of `decode`.

    Args:
        photograph: The file's bytes (JPEG, PNG, TIFF or BMP), or its pixels.
        at_least_px: Pixels that the shorter side must keep; None: all.

    Raises:
        PhotographError: As `decode` does.
    """
    return decode(photograph, at_least_px).pixels


def decode(photograph: PhotographData, at_least_px: int | None = None) -> Decoded:
    """Decode a photograph, and refuse one that is damaged, cut short or not 8-bit colour.

    A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves enough pixels: eight times as fast, at a third of the error
    that storing the result costs.

    Args:
        photograph: The file's bytes (JPEG, PNG, TIFF or BMP), or its pixels, which are returned.
        at_least_px: Pixels that the shorter side must keep; None: all.

    Returns:
        The pixels, upright, with the size of the whole photograph.

    Raises:
        PhotographError: If the photograph is no picture, damaged, cut short, has more than `MOST_PIXELS`, or breaks a
            rule of this module.
    """
    if isinstance(photograph, np.ndarray):
        return _array(photograph)
    if not photograph:
        raise PhotographError("is empty; copy the file again")
    if not photograph.startswith(_JPEG_START):
        pixels = _decode_with_pillow(photograph)
        return Decoded(photograph, pixels.shape[0], pixels.shape[1], pixels)
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(photograph)
        _check_size(height, width)
        _check_scans(photograph)
        orientation, bits = _jpeg_header(photograph)
        _check_bits(bits)
        if colours in ("CMYK", "YCCK"):
            raise _other_colours(colours)
        pixels = upright(_decode_jpeg(photograph, _smallest(height, width, at_least_px)), orientation)
    except PhotographError:
        raise
    except ValueError as wrong:
        raise _not_whole(wrong) from wrong
    height, width = (height, width) if orientation < 5 else (width, height)
    return Decoded(photograph, height, width, pixels)


def _array(pixels: NDArray[np.uint8]) -> Decoded:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        shape = f"shape {pixels.shape} and type {pixels.dtype}"
        raise PhotographError(f"is no picture: an array has shape (height, width, 3) and type uint8, not {shape}")
    _check_size(*pixels.shape[:2])
    return Decoded(pixels, pixels.shape[0], pixels.shape[1], pixels)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The pixels turned as EXIF's orientation says.

    Args:
        pixels: As stored, uint8 RGB, shape (height, width, 3).
        orientation: 1 to 8; any other number counts as 1.
    """
    flip, rotation = _TURNS.get(orientation, (None, None))
    if flip is not None:
        pixels = _uint8(cv2.flip(pixels, flip))
    return pixels if rotation is None else _uint8(cv2.rotate(pixels, rotation))


def _check_size(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise PhotographError(
            f"is too large: {width} x {height} pixels, at most {MOST_PIXELS // 10**6} million are read; save it smaller"
        )


def _check_bits(bits: int) -> None:
    if bits > 8:
        raise PhotographError(
            f"has {bits} bits per channel, and the file does not say how many of them the camera uses; save it with 8"
            " bits per channel"
        )


def _other_colours(name: str) -> PhotographError:
    return PhotographError(f"has {name} colours; save it with RGB colours")


def _check_scans(data: bytes) -> None:
    """Count the marker of a scan's start; eight times as fast as `bytes.count`."""
    pairs = (np.frombuffer(data, np.uint16, (len(data) - at) // 2, at) for at in (0, 1))
    n_scans = sum(int(np.count_nonzero(pair == _SCAN_START)) for pair in pairs)
    if n_scans > _MOST_SCANS:
        raise PhotographError(f"has {n_scans} scans, at most {_MOST_SCANS} are read; save it as a JPEG of one scan")


def _not_whole(wrong: Exception) -> PhotographError:
    return PhotographError(f"cannot be read whole: {wrong}")


def _jpeg_header(data: bytes) -> tuple[int, int]:
    """A JPEG's orientation (1 where none is given) and its bits per channel, read from what precedes its first scan."""
    orientation, bits = 1, 8
    for marker, segment in _segments(data):
        if marker == _EXIF and segment.startswith(_EXIF_START):
            orientation = _orientation(segment[len(_EXIF_START) :])
        elif marker in _FRAME_HEADERS and segment:
            bits = segment[0]
    return orientation, bits


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SCAN:
        if data[at + 1] == 0xFF:  # fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], data[at + 4 : at + 2 + length]
        at += 2 + length


def _orientation(tiff: bytes) -> int:
    """Of an EXIF block, without a library: Pillow takes 0.2 ms, which is 3 % of preparing a photograph."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (n,) = struct.unpack_from(f"{order}H", tiff, start)
        for number in range(n):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * number)
            if tag == _ORIENTATION:
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass  # cut short: cameras write broken blocks, and viewers ignore them
    return 1


def _smallest(height: int, width: int, at_least_px: int | None) -> dict[str, int]:
    for scale in _SCALES:
        if at_least_px is not None and min(height, width) // scale >= at_least_px:
            return {"min_height": height // scale, "min_width": width // scale}
    return {}


def _decode_jpeg(data: bytes, smallest: dict[str, int]) -> NDArray[np.uint8]:
    try:
        return _uint8(simplejpeg.decode_jpeg(data, "RGB", **smallest))
    except ValueError as wrong:
        if not _is_padding(data, str(wrong)):
            raise
    return _uint8(simplejpeg.decode_jpeg(data, "RGB", strict=False, **smallest))


def _is_padding(data: bytes, warning: str) -> bool:
    """Whether the decoder only stumbled over fill bytes before the end marker, which some cameras write.

    A damaged stream can end early too, and then leaves picture data behind: that is not all one byte.
    """
    if "extraneous bytes before marker 0xd9" not in warning:
        return False
    n_bytes = int(warning.split("data:")[1].split()[0])
    end = data.rfind(b"\xff\xd9")
    return len(set(data[end - n_bytes : end])) == 1


def _decode_with_pillow(data: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data), formats=_READ_BY_PILLOW) as picture:
            _check_size(picture.height, picture.width)
            _check_bits(_bits(picture, data))
            if picture.mode not in _MODES:
                raise _other_colours(picture.mode)
            if getattr(picture, "is_animated", False):
                raise PhotographError("holds several pictures; save the photograph as a file of its own")
            _forget_xmp(picture)
            picture.load()  # turns a TIFF upright by itself
            _forget_xmp(picture)
            return _uint8(_on_black(ImageOps.exif_transpose(picture)))
    except PhotographError:
        raise
    except UnidentifiedImageError as wrong:
        raise PhotographError(_unknown(data)) from wrong
    except Image.DecompressionBombError as wrong:
        raise PhotographError(
            f"is too large: at most {MOST_PIXELS // 10**6} million pixels are read; save it smaller"
        ) from wrong
    except Exception as wrong:  # Pillow's readers raise whatever their parsing of damaged bytes ends in
        raise _not_whole(wrong) from wrong


def _forget_xmp(picture: Image.Image) -> None:
    """Pillow would take an orientation from there, too, where EXIF gives none."""
    for name in ("xmp", "XML:com.adobe.xmp"):
        picture.info.pop(name, None)


def _bits(picture: Image.Image, data: bytes) -> int:
    """Bits per channel as the file has them: Pillow drops what is above 8 and says nothing."""
    if picture.format == "PNG":
        return data[24]
    return int(max(getattr(picture, "tag_v2", {}).get(_TIFF_BITS, (8,))))


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


def _unknown(data: bytes) -> str:
    for name, start in _OTHER_FORMATS.items():
        if re.match(start, data, re.DOTALL):
            return f"is {name}; {_SAVE_AS}"
    return f"is no picture that drsearch reads; {_SAVE_AS}"


def _uint8(array: Any) -> NDArray[np.uint8]:
    return np.asarray(array, dtype=np.uint8)
