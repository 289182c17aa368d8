"""From the bytes of a photograph's file to its pixels.

One rule for every format, so that one picture is one input:

- Bits: 8 per channel. Of more, up to 16, the highest 8 of those that the photograph uses (`formats.eight_bits`).
- Transparency: what is transparent is black, as the surround of a retina is.
- Orientation (EXIF): applied, so that the network sees what a viewer shows.
- Colour: RGB, palettes, grey and CMYK are read; laboratory colours (LAB) are refused. Colour profiles are not applied.
- Several pictures (TIFF pages, animated PNG and WebP, DICOM frames): refused. Of a JPEG with further ones behind it
  (MPO), the first is read.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drsearch.data.dicom import is_dicom, read_dicom
from drsearch.data.formats import SAVE_AS, check_size
from drsearch.data.jpeg import JPEG_START, decode_jpeg
from drsearch.data.netpbm import is_netpbm, read_netpbm
from drsearch.data.pillow_formats import format_of, read_with_pillow
from drsearch.errors import PhotographError

PhotographData = bytes | NDArray[np.uint8]
"""A photograph as a file's bytes, or as RGB pixels, uint8, shape (height, width, 3).

Files are JPEG, PNG, TIFF, BMP, WebP, PPM, PGM, or DICOM (with `drsearch[dicom]`)."""

_OTHER_FORMATS = {
    "GIF": rb"GIF8",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "AVIF": rb"....ftypavi",
    "HEIC": rb"....ftyp(hei|hev|mif1|msf1)",
    "Photoshop": rb"8BPS",
    "PDF": rb"%PDF",
}


@dataclass(frozen=True)
class Decoded:
    """A photograph after reading.

    Attributes:
        photograph: The bytes or pixels that were decoded.
        pixels: uint8 RGB, shape (height, width, 3) or a half, a quarter or an eighth of it.
        height: Of the photograph, pixels.
        width: Of the photograph, pixels.
    """

    photograph: PhotographData
    pixels: NDArray[np.uint8]
    height: int
    width: int


def read_photograph(photograph: PhotographData, at_least_px: int | None = None) -> NDArray[np.uint8]:
    """The pixels of `decode`.

    Args:
        photograph: The file's bytes, or its pixels.
        at_least_px: Pixels that the shorter side must keep; None: all.

    Raises:
        PhotographError: As `decode` does.
    """
    return decode(photograph, at_least_px).pixels


def decode(photograph: PhotographData, at_least_px: int | None = None) -> Decoded:
    """Decode a photograph, and refuse one that is damaged, cut short or cannot be read rightly.

    A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves enough pixels: eight times as fast, at a third of the error
    that storing the result costs.

    Args:
        photograph: The file's bytes, or its pixels, which are returned.
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
    if photograph.startswith(JPEG_START):
        return Decoded(photograph, *decode_jpeg(photograph, at_least_px))
    if is_dicom(photograph):
        return Decoded(photograph, *read_dicom(photograph, at_least_px))
    if format_of(photograph):
        pixels = read_with_pillow(photograph)
    elif is_netpbm(photograph):
        pixels = read_netpbm(photograph)
    else:
        raise PhotographError(_unknown(photograph))
    return Decoded(photograph, pixels, *pixels.shape[:2])


def _array(pixels: NDArray[np.uint8]) -> Decoded:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        shape = f"shape {pixels.shape} and type {pixels.dtype}"
        raise PhotographError(f"is no picture: an array has shape (height, width, 3) and type uint8, not {shape}")
    check_size(*pixels.shape[:2])
    return Decoded(pixels, pixels, *pixels.shape[:2])


def _unknown(data: bytes) -> str:
    for name, start in _OTHER_FORMATS.items():
        if re.match(start, data, re.DOTALL):
            return f"is {name}; {SAVE_AS}"
    return f"is no picture that drsearch reads; {SAVE_AS}"
