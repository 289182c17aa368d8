"""Reads PPM and PGM, binary and in letters.

Source: the pages ppm(5) and pgm(5) of Netpbm.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsearch.data.formats import SAVE_AS, check_size, eight_bits, not_whole, several_pictures, uint8
from drsearch.errors import PhotographError

_START = re.compile(rb"P[1-7][\s#]")
_BLANK = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"P[1-7]" + 3 * (_BLANK + rb"(\d{1,9})") + rb"\s")
_COMMENT = re.compile(rb"#[^\n]*")
_LETTERS, _GREY = b"23", b"25"


def is_netpbm(data: bytes) -> bool:
    """Whether a file begins as one of Netpbm's formats."""
    return _START.match(data) is not None


def read_netpbm(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PPM or PGM.

    Args:
        data: The file's bytes.

    Returns:
        uint8 RGB, shape (height, width, 3).

    Raises:
        PhotographError: If the file is damaged or cut short, too large, holds several pictures, or is no PPM or PGM.
    """
    kind = data[1:2]
    if kind not in b"2356":
        raise PhotographError(f"is {'PAM' if kind == b'7' else 'PBM, black and white'}; {SAVE_AS}")
    header = _HEADER.match(data[:10_000])
    if header is None:
        raise not_whole("its header is damaged")
    width, height, white = (int(number) for number in header.groups())
    check_size(height, width)
    if not 0 < white < 1 << 16:
        raise not_whole(f"its header gives {white} as the highest level")
    channels = 1 if kind in _GREY else 3
    read = _numbers if kind in _LETTERS else _binary
    levels = read(data, header.end(), height * width * channels, white)
    if int(levels.max()) > white:
        raise not_whole(f"it has a level of {levels.max()}, and its header gives {white} as the highest")
    levels = levels.reshape(height, width, channels)
    pixels = uint8(levels) if white == 255 else eight_bits(levels.astype(np.uint16), white)
    return pixels if channels == 3 else np.repeat(pixels, 3, axis=2)


def _binary(data: bytes, start: int, n: int, white: int) -> NDArray[Any]:
    kind = np.dtype(">u2" if white > 255 else np.uint8)
    end = start + n * kind.itemsize
    if len(data) < end:
        raise not_whole("it is cut short")
    rest = data[end:]
    if _START.match(rest.lstrip()):
        raise several_pictures()
    if rest.strip(b"\0 \t\r\n"):
        raise not_whole(f"it holds {len(rest)} bytes more than its header says")
    return np.frombuffer(data, kind, n, start)


def _numbers(data: bytes, start: int, n: int, white: int) -> NDArray[Any]:
    text = _COMMENT.sub(b"", data[start:])
    if _START.search(text):
        raise several_pictures()
    if text.translate(None, b"0123456789 \t\r\n\v\f"):
        raise not_whole("it holds what is no number")
    is_short = len(text) < 2 * n - 1  # a digit and a blank per number
    levels = np.empty(0) if is_short else np.fromstring(text.decode(), np.float64, sep=" ")
    if len(levels) != n:
        raise not_whole("it is cut short" if len(levels) < n else f"it holds {len(levels)} levels, and says {n}")
    return np.minimum(levels, 1 << 16).astype(np.uint32)
