"""What the readers of all formats share: the size limit, their refusals, and how deep levels become 8 bits."""

from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.errors import PhotographError

MOST_PIXELS = 64_000_000
"""A photograph with more is refused before it is decoded; fundus cameras have some 12 million."""

SAVE_AS = "save it as JPEG, PNG, TIFF or BMP"

Level = TypeVar("Level", np.uint8, np.uint16)

_BITS = (8, 10, 12, 14, 16)  # that sensors and files have
_WIDEST = 0xFFFF
_FEW = (
    0.01  # of the pixels; on IDRiD, 38 % of those that are not black lie above a quarter of the highest level, or more
)

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


def eight_bits(levels: NDArray[np.uint16], white: int | None = None) -> NDArray[np.uint8]:
    """The highest 8 of the bits that the levels use.

    Cameras put 10, 12 or 14 bits into 16, and most files do not say how many. The bits are then the fewest of 8, 10,
    12, 14 and 16 that hold the highest level of the photograph. If only a few pixels need that many, as lettering does
    that a program wrote at the highest level of 16 bits, the bits cannot be told, and the photograph is refused. So no
    photograph comes out darker than it is, unless such a label covers more. One whose every level lies below a quarter
    of its range would come out lighter: the darkest highest level on 425 photographs of IDRiD is 181 of 255, and a
    quarter is 64. A file that states 16 bits states nothing: programs that do not know the bits write 16. The other
    bits are cut off, so that 8 bits that were widened by repetition or by zeros come back as they were.

    Args:
        levels: uint16, shape (height, width, channels) or any that ends in channels.
        white: The highest level there can be, as the file states it.

    Returns:
        uint8, same shape.

    Raises:
        PhotographError: If the bits cannot be told.
    """
    highest = int(levels.max(initial=0))
    if white is None or white >= _WIDEST or highest > white:
        white = white_of(highest)
        if white > 255:
            _check_share(levels, white)
    if white < 255:
        return np.asarray((levels.astype(np.uint32) * 255 + white // 2) // white, np.uint8)
    if white & (white + 1) == 0:
        return np.asarray(levels >> (white.bit_length() - 8), np.uint8)
    return np.asarray(levels.astype(np.uint32) * 256 // (white + 1), np.uint8)


def _check_share(levels: NDArray[np.uint16], white: int) -> None:
    share = np.count_nonzero(levels.max(axis=-1) > white // 4) / (levels.size // levels.shape[-1])
    if share < _FEW:
        raise PhotographError(
            f"has {white.bit_length()} bits per channel in {share:.1%} of its pixels and fewer in the rest, so that its"
            " light cannot be told; save it with 8 bits per channel"
        )


def white_of(level: int) -> int:
    """The highest level of the fewest bits that cameras and files have, and that hold a level."""
    return next((1 << bits) - 1 for bits in _BITS if level < 1 << bits)


def upright(pixels: NDArray[Level], orientation: int) -> NDArray[Level]:
    """The pixels turned as EXIF's orientation says.

    Args:
        pixels: As stored, shape (height, width, channels).
        orientation: 1 to 8; any other number counts as 1.
    """
    flip, rotation = _TURNS.get(orientation, (None, None))
    if flip is not None:
        pixels = np.asarray(cv2.flip(pixels, flip)).reshape(pixels.shape)
    if rotation is None:
        return pixels
    turned = np.asarray(cv2.rotate(pixels, rotation))
    return turned.reshape(*turned.shape[:2], pixels.shape[2])


def check_size(height: int, width: int) -> None:
    """Refuse a picture with no pixels, or with more than `MOST_PIXELS`."""
    if height * width > MOST_PIXELS:
        raise PhotographError(
            f"is too large: {width} x {height} pixels, at most {MOST_PIXELS // 10**6} million are read; save it smaller"
        )
    if height < 1 or width < 1:
        raise not_whole(f"it has {width} x {height} pixels")


def not_whole(wrong: object) -> PhotographError:
    """Of a photograph that is damaged or cut short."""
    return PhotographError(f"cannot be read whole: {wrong}")


def several_pictures() -> PhotographError:
    """Of a file with more than one picture."""
    return PhotographError("holds several pictures; save the photograph as a file of its own")


def too_many_bits(bits: int) -> PhotographError:
    """Of levels that are no whole numbers of up to 16 bits."""
    return PhotographError(f"has {bits} bits per channel; save it with 8 or 16 bits per channel")


def uint8(array: Any) -> NDArray[np.uint8]:
    """The array, as of that type."""
    return np.asarray(array, dtype=np.uint8)
