"""Reads DICOM photographs: one picture, uncompressed or as baseline JPEG.

Needs `drsearch[dicom]`. Source: DICOM PS3.3 C.7.6.3 (image pixel), C.11.2 (VOI LUT), PS3.5 A (transfer syntaxes).
"""

import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.data.formats import SAVE_AS, check_size, eight_bits, not_whole, several_pictures, too_many_bits, uint8
from drsearch.data.jpeg import decode_jpeg
from drsearch.errors import PhotographError

_IMPLICIT, _EXPLICIT, _JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
_CHANNELS = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3}
_META_START = 128 + 4
_LENGTH_END = _META_START + 12  # of the element that gives the length of the meta information


def is_dicom(data: bytes) -> bool:
    """Whether a file is DICOM."""
    return data[128:_META_START] == b"DICM"


def read_dicom(data: bytes, at_least_px: int | None = None) -> tuple[NDArray[np.uint8], int, int]:
    """The pixels of a DICOM photograph.

    Args:
        data: The file's bytes.
        at_least_px: Pixels that the shorter side must keep; None: all.

    Returns:
        The pixels, uint8 RGB, with the height and the width of the whole photograph.

    Raises:
        PhotographError: If pydicom is not installed; or the file is damaged or cut short, too large, holds several
            pictures or none, or has a transfer syntax or colours that are not read.
    """
    try:
        import pydicom
    except ImportError as missing:
        raise PhotographError(f"is DICOM; install drsearch[dicom], or {SAVE_AS}") from missing
    try:
        # The meta information alone: with some transfer syntaxes, reading more unpacks the whole file.
        end = _LENGTH_END + int.from_bytes(data[_LENGTH_END - 4 : _LENGTH_END], "little")
        if data[end : end + 2] == b"\x02\x00":
            raise not_whole("the length of its meta information is wrong")
        syntax = pydicom.dcmread(io.BytesIO(data[:end])).file_meta.TransferSyntaxUID
        if syntax not in (_IMPLICIT, _EXPLICIT, _JPEG):
            raise PhotographError(f"is DICOM with the transfer syntax {syntax.name}; {SAVE_AS}")
        return _pixels(pydicom.dcmread(io.BytesIO(data)), syntax == _JPEG, at_least_px)
    except PhotographError:
        raise
    except AttributeError as wrong:
        raise not_whole(f"it has no element {wrong.name}") from wrong
    except Exception as wrong:  # pydicom raises whatever its parsing of damaged bytes ends in
        raise not_whole(wrong) from wrong


def _pixels(photograph: Any, is_jpeg: bool, at_least_px: int | None) -> tuple[NDArray[np.uint8], int, int]:
    if "PixelData" not in photograph:
        raise PhotographError(f"is DICOM without a picture; {SAVE_AS}")
    height, width, colours = photograph.Rows, photograph.Columns, photograph.PhotometricInterpretation
    check_size(height, width)
    if int(photograph.get("NumberOfFrames") or 1) > 1:
        raise several_pictures()
    if _CHANNELS.get(colours) != photograph.SamplesPerPixel:
        raise PhotographError(f"is DICOM with {colours} colours; {SAVE_AS}")
    if photograph.BitsAllocated not in (8, 16):
        raise too_many_bits(photograph.BitsAllocated)
    if photograph.get("PixelRepresentation"):
        raise PhotographError(f"is DICOM whose levels have a sign; {SAVE_AS}")
    if "ModalityLUTSequence" in photograph or "VOILUTSequence" in photograph:
        raise PhotographError(f"is DICOM with a lookup table of levels; {SAVE_AS}")
    if is_jpeg:
        return _from_jpeg(photograph, colours, at_least_px)
    levels = _levels(photograph, colours)
    white = (1 << photograph.BitsStored) - 1
    if colours == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        levels = apply_color_lut(levels[..., 0], photograph)
        white = (1 << photograph.RedPaletteColorLookupTableDescriptor[2]) - 1
    elif colours.startswith("MONOCHROME"):
        return _grey(levels, photograph), height, width
    pixels = eight_bits(levels.astype(np.uint16), white)
    if colours.startswith("YBR"):
        pixels = uint8(cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB))
    return pixels, height, width


def _from_jpeg(photograph: Any, colours: str, at_least_px: int | None) -> tuple[NDArray[np.uint8], int, int]:
    from pydicom.encaps import generate_frames

    frame = next(iter(generate_frames(photograph.PixelData, number_of_frames=1)))
    pixels, height, width = decode_jpeg(frame, at_least_px, turned=False, stored_as_rgb=colours == "RGB")
    if (height, width) != (photograph.Rows, photograph.Columns):
        raise not_whole(f"it has {width} x {height} pixels, and says {photograph.Columns} x {photograph.Rows}")
    if colours == "PALETTE COLOR":
        raise PhotographError(f"is DICOM with a palette in a JPEG; {SAVE_AS}")
    if colours.startswith("MONOCHROME"):
        pixels = _grey(pixels[..., :1], photograph)
    return pixels, height, width


def _levels(photograph: Any, colours: str) -> NDArray[Any]:
    """As stored, without what stands beside the bits that are used; shape (height, width, channels)."""
    height, width, channels = photograph.Rows, photograph.Columns, photograph.SamplesPerPixel
    is_subsampled = colours == "YBR_FULL_422"
    kind = np.dtype("<u2" if photograph.BitsAllocated == 16 else np.uint8)
    n = height * (width // 2 * 4 if is_subsampled else width * channels)
    data = photograph.PixelData
    if len(data) < n * kind.itemsize:
        raise not_whole("it is cut short")
    levels: NDArray[Any] = np.frombuffer(data, kind, n)
    levels = levels >> (photograph.HighBit + 1 - photograph.BitsStored) & ((1 << photograph.BitsStored) - 1)
    if is_subsampled:
        pairs = levels.reshape(height, width // 2, 4)
        colour = np.repeat(pairs[..., 2:], 2, axis=1)
        return np.concatenate([pairs[..., :2].reshape(height, width, 1), colour], axis=2)
    if channels == 3 and photograph.PlanarConfiguration == 1:
        return levels.reshape(3, height, width).transpose(1, 2, 0)
    return levels.reshape(height, width, channels)


def _grey(levels: NDArray[Any], photograph: Any) -> NDArray[np.uint8]:
    """Grey levels of one channel as the window of the photograph shows them (linear, PS3.3 C.11.2.1.2), as RGB."""
    if photograph.get("WindowWidth") is None:
        pixels = eight_bits(levels.astype(np.uint16), (1 << photograph.BitsStored) - 1)
    else:
        center, width = (_first(photograph[name].value) for name in ("WindowCenter", "WindowWidth"))
        shape = photograph.get("VOILUTFunction") or "LINEAR"
        if shape != "LINEAR" or width < 1:
            raise PhotographError(f"is DICOM with a window of the shape {shape} and the width {width:g}; {SAVE_AS}")
        scaled = levels * float(photograph.get("RescaleSlope") or 1) + float(photograph.get("RescaleIntercept") or 0)
        share = (scaled - (center - 0.5)) / max(width - 1, 1e-9) + 0.5
        pixels = uint8((np.clip(share, 0, 1) * 255).round())
    if photograph.PhotometricInterpretation == "MONOCHROME1":
        pixels = uint8(cv2.bitwise_not(pixels)).reshape(pixels.shape)
    return np.repeat(pixels, 3, axis=2)


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, list | tuple) or hasattr(value, "append") else value)
