"""What does the network see of one photograph?"""

import io
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from drsearch.errors import PhotographError
from drsearch.settings import ImageSettings

JPEG_QUALITY = 98
"""Of the stored image, with full colour resolution (4:4:4). On IDRiD at 256 px: 40 kB a photograph, mean absolute error
0.82 of 255 (95: 25 kB and 1.21; 99: 56 kB and 0.58; a 4:2:0 picture of quality 100 has 43 kB and 0.91)."""

LOOK_PX = 32
"""Side of a `look`, the thumbnail by which pictures are compared."""

PICTURE_VERSION = 4
"""Raised when the same photograph comes out with other pixels: records made before are not taken for the same."""

BORDER_PX = 176
"""The border of the retina is found on a picture whose shorter side has at least as many pixels, and fewer than twice
as many; what is retina at all, on one half as large."""

MOST_PIXELS = 64_000_000
"""A photograph with more is refused before it is decoded; fundus cameras have some 12 million."""

_JPEG_START = b"\xff\xd8\xff"
# Each goes over the whole picture: a few bytes can take seconds. Progressive JPEGs have some ten.
_MOST_SCANS, _SCAN_START = 100, np.frombuffer(b"\xff\xda", np.uint16)
# Not what else Pillow opens: its reader of EPS starts a program.
_OTHER_FORMATS = ("PNG", "TIFF", "BMP")
_SCALES = (8, 4, 2)
_DARK, _NEUTRAL, _FLAT = 40, 26, 12  # levels: a background is dark, or grey and even
_LOCAL_MEAN = 128  # level of what is even, after local_mean
_LEAST_CONTRAST = 12.0  # levels between retina and background; the dimmest eye of IDRiD has 40
_LOOKED_AT_PX = 4 * LOOK_PX  # a look is made of means; a square as small as it is changes with the photograph's size
_NO_PATCH = "shows no retina: there is no large round patch"
_EDGE_ROWS = 0.9  # quantile over rows: text or a reflection beside the retina covers fewer than a tenth of them


Photograph = bytes | NDArray[np.uint8]
"""A photograph as a file's bytes (JPEG, PNG, TIFF, BMP), or as RGB pixels, uint8, shape (height, width, 3)."""


@dataclass(frozen=True)
class Retina:
    """Where the retina begins and ends.

    Attributes:
        left: Left border, fraction of the photograph's width, 0 to 1.
        right: Right border, fraction of the photograph's width, above `left`.
    """

    left: float
    right: float


@dataclass(frozen=True)
class Decoded:
    """A photograph after reading.

    Attributes:
        height: Of the photograph, pixels.
        width: Of the photograph, pixels.
        pixels: uint8 RGB, shape (height, width, 3) or a half, a quarter or an eighth of it.
    """

    height: int
    width: int
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class EyeImage:
    """One photograph, cropped and resized.

    Attributes:
        stored: The JPEG that goes into the records.
        retina: Where the photograph was cropped.
        height: Of the photograph, pixels.
        width: Of the photograph, pixels.
        look: uint8 grey, shape (LOOK_PX, LOOK_PX), between the borders, not normalised: what `same_pictures` compares.
    """

    stored: bytes
    retina: Retina
    height: int
    width: int
    look: NDArray[np.uint8]

    @property
    def image(self) -> NDArray[np.uint8]:
        """uint8 RGB, shape (image_px, image_px, 3), decoded from `stored`: so a prediction from the photograph equals
        one from the records."""
        return decode_stored(self.stored)


def eye_image(photograph: Photograph, settings: ImageSettings) -> EyeImage:
    """Crop a photograph at the left and right border of the retina and resize it to a square.

    Args:
        photograph: The file's bytes, or its pixels.
        settings: Side of the square, and how its colours are normalised.

    Raises:
        PhotographError: If the photograph cannot be read whole or shows no retina.
    """
    return eye_of(decode_photograph(photograph, settings), settings)


def decode_photograph(photograph: Photograph, settings: ImageSettings) -> Decoded:
    """The first half of `eye_image`, which nearly all of its time goes into and which leaves other threads alone.

    Raises:
        PhotographError: If the photograph cannot be read whole.
    """
    return _read(photograph, max(settings.image_px, BORDER_PX))


def eye_of(decoded: Decoded, settings: ImageSettings) -> EyeImage:
    """The second half of `eye_image`: many short steps.

    Raises:
        PhotographError: If the photograph shows no retina.
    """
    retina = find_retina(decoded.pixels)
    square = cropped(decoded.pixels, retina, settings.image_px)
    larger = square if settings.image_px >= _LOOKED_AT_PX else cropped(decoded.pixels, retina, _LOOKED_AT_PX)
    look = cv2.resize(cv2.cvtColor(larger, cv2.COLOR_RGB2GRAY), (LOOK_PX, LOOK_PX), interpolation=cv2.INTER_AREA)
    stored = encode_stored(normalised(square, settings))
    return EyeImage(stored, retina, decoded.height, decoded.width, _pixels(look))


def read_photograph(photograph: Photograph, at_least_px: int | None = None) -> NDArray[np.uint8]:
    """Decode a photograph, and refuse one that is damaged or cut short.

    A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves enough pixels: eight times as fast, at a third of the error
    that storing the result costs. The EXIF orientation is not applied: fundus cameras do not set it, and lesion boxes
    refer to the pixels as they are stored.

    Args:
        photograph: The file's bytes (JPEG, PNG, TIFF or BMP), or its pixels, which are handed back.
        at_least_px: Pixels that the shorter side must keep; None: all.

    Returns:
        uint8 RGB, shape (height, width, 3).

    Raises:
        PhotographError: If the photograph is no picture, damaged, cut short, or has more than `MOST_PIXELS`.
    """
    return _read(photograph, at_least_px).pixels


def _read(data: Photograph, at_least_px: int | None) -> Decoded:
    if isinstance(data, np.ndarray):
        if data.dtype != np.uint8 or data.ndim != 3 or data.shape[2] != 3:
            found = f"shape {data.shape} and type {data.dtype}"
            raise PhotographError(f"is no picture: an array has shape (height, width, 3) and type uint8, not {found}")
        _check_size(*data.shape[:2])
        return Decoded(data.shape[0], data.shape[1], data)
    if not data:
        raise PhotographError("is empty")
    if not data.startswith(_JPEG_START):
        pixels = _decode_other(data)
        return Decoded(pixels.shape[0], pixels.shape[1], pixels)
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        _check_size(height, width)
        if (scans := _n_scans(data)) > _MOST_SCANS:
            raise PhotographError(f"has {scans} scans, at most {_MOST_SCANS} are read; save it as a JPEG of one scan")
        return Decoded(height, width, _decode_jpeg(data, _smallest(height, width, at_least_px)))
    except PhotographError:
        raise
    except ValueError as wrong:
        raise PhotographError(f"cannot be read whole: {wrong}") from wrong


def _n_scans(data: bytes) -> int:
    """As often as the marker of a scan's start stands there; eight times as fast as `bytes.count`."""
    pairs = (np.frombuffer(data, np.uint16, (len(data) - at) // 2, at) for at in (0, 1))
    return sum(int(np.count_nonzero(pair == _SCAN_START)) for pair in pairs)


def _check_size(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise PhotographError(
            f"is too large: {width} x {height} pixels, at most {MOST_PIXELS // 10**6} million are read"
        )


def _smallest(height: int, width: int, at_least_px: int | None) -> dict[str, int]:
    for scale in _SCALES:
        if at_least_px is not None and min(height, width) // scale >= at_least_px:
            return {"min_height": height // scale, "min_width": width // scale}
    return {}


def _decode_jpeg(data: bytes, smallest: dict[str, int]) -> NDArray[np.uint8]:
    try:
        return _pixels(simplejpeg.decode_jpeg(data, "RGB", **smallest))
    except ValueError as wrong:
        if not _is_padding(data, str(wrong)):
            raise
    return _pixels(simplejpeg.decode_jpeg(data, "RGB", strict=False, **smallest))


def _is_padding(data: bytes, warning: str) -> bool:
    """Whether the decoder only stumbled over fill bytes before the end marker, which some cameras write.

    A damaged stream can end early too, and then leaves picture data behind: that is not all one byte.
    """
    if "extraneous bytes before marker 0xd9" not in warning:
        return False
    n_bytes = int(warning.split("data:")[1].split()[0])
    end = data.rfind(b"\xff\xd9")
    return len(set(data[end - n_bytes : end])) == 1


def _decode_other(data: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data), formats=_OTHER_FORMATS) as picture:
            _check_size(picture.height, picture.width)
            picture.load()  # OpenCV fills what is missing with grey and says nothing
    except PhotographError:
        raise
    except Exception as wrong:  # Pillow's readers raise whatever their parsing of damaged bytes ends in
        unknown = isinstance(wrong, UnidentifiedImageError)
        raise PhotographError("is no picture" if unknown else f"cannot be read whole: {wrong}") from wrong
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise PhotographError("is in a format that OpenCV does not read; save it as JPEG or PNG")
    return _pixels(pixels)


def _pixels(array: Any) -> NDArray[np.uint8]:
    return np.asarray(array, dtype=np.uint8)


def find_retina(rgb: NDArray[np.uint8]) -> Retina:
    """Where the retina's left and right border lie.

    What is retina is told from a coarse picture, where its border lies from strips of a finer one, between its pixels.
    Both are halved from the photograph, as its decoder does it, so that the border stays where it is when the same
    photograph is decoded at another scale. A retina that fills the frame has its borders at 0 and 1.

    Args:
        rgb: Photograph, uint8, shape (height, width, 3).

    Raises:
        PhotographError: If nothing like a retina is seen: a large, warm-coloured, smooth and not quite even patch.
    """
    if min(rgb.shape[:2]) < LOOK_PX or max(rgb.shape[:2]) > 4 * min(rgb.shape[:2]):
        raise PhotographError(f"shows no retina: it is {rgb.shape[1]} x {rgb.shape[0]} pixels")
    fine, times = _halved(rgb, BORDER_PX)
    coarse, times_coarser = _halved(fine, BORDER_PX // 2)
    background = _background(coarse)
    if background is None:
        _check_looks_like_retina(coarse, np.ones(coarse.shape[:2], np.uint8))
        return Retina(0.0, 1.0)
    distance = _distance(coarse, background)
    threshold = _threshold(distance)
    patch, box = _largest_patch(distance, threshold)
    _check_looks_like_retina(coarse, patch)
    rows, columns = (slice(side.start * times_coarser, side.stop * times_coarser) for side in box)
    inset = (columns.stop - columns.start) // 10
    left = _crossing(_distance(fine[rows, : columns.start + inset], background), threshold)
    beside = _crossing(_distance(fine[rows, columns.stop - inset :], background)[:, ::-1], threshold)
    width = rgb.shape[1] / times  # more than that of `fine`, which leaves out what does not make a whole pixel
    return Retina(left / width, (fine.shape[1] - beside) / width if beside else 1.0)


def _halved(rgb: NDArray[np.uint8], least_px: int) -> tuple[NDArray[np.uint8], int]:
    """The picture, halved as often as its shorter side keeps `least_px`; how many pixels of a row are one now."""
    times = 1
    while min(rgb.shape[:2]) >= 2 * least_px:
        height, width = (side // 2 for side in rgb.shape[:2])
        rgb = _pixels(cv2.resize(rgb[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA))
        times *= 2
    return rgb, times


def _background(picture: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """The colour around the retina; None where the retina fills the frame.

    With fewer than two corners of background the retina reaches both sides anyway.
    """
    side = 3  # odd, so the median of a corner is one of its levels
    corners = [picture[rows, columns] for rows in (slice(side), slice(-side, None))
               for columns in (slice(side), slice(-side, None))]  # fmt: skip
    colours = np.sort(np.reshape(corners, (4, -1, 3)), axis=1)[:, side * side // 2].astype(np.int32)  # medians
    dark = colours.max(axis=1) < _DARK
    neutral = colours.max(axis=1) - colours.min(axis=1) < _NEUTRAL
    even = np.array([cv2.meanStdDev(corner)[1].max() < _FLAT for corner in corners])
    colours = colours[neutral & (dark | even)]
    if len(colours) < 2:
        return None
    # The corner darkest of all: a reflection or a label brightens a corner, nothing darkens it.
    return _pixels(min(colours, key=lambda colour: float(colour.sum())))


def _distance(picture: NDArray[np.uint8], background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Levels between each pixel and the background, in the channel that differs most."""
    red, green, blue = cv2.split(cv2.absdiff(picture, (*background.tolist(), 0)))
    return _pixels(cv2.max(cv2.max(red, green), blue))


def _threshold(distance: NDArray[np.uint8]) -> float:
    """Levels from the background at which the retina begins: a fifth of its own, so that dim eyes have a border too."""
    levels = distance.ravel()
    at = int(0.7 * len(levels))
    level = float(np.partition(levels, at)[at])
    if level < _LEAST_CONTRAST:
        raise PhotographError("shows no retina: nothing stands out from the background")
    return max(0.2 * level, 0.5 * _LEAST_CONTRAST)


def _largest_patch(distance: NDArray[np.uint8], threshold: float) -> tuple[NDArray[np.uint8], tuple[slice, slice]]:
    """The largest patch that stands out, as a mask, and the rows and columns that it reaches over."""
    apart = cv2.morphologyEx((distance > threshold).view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    outlines, _ = cv2.findContours(apart, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)  # faster than labelling each pixel
    if not outlines:
        raise PhotographError(_NO_PATCH)
    largest = max(outlines, key=cv2.contourArea)
    left, top, width, height = cv2.boundingRect(largest)
    patch = cv2.drawContours(np.zeros_like(apart), [largest], -1, 1, cv2.FILLED) & apart  # holes stay open
    area = cv2.countNonZero(patch)
    # A disc covers 0.79 of its box, more when it is cut at the top and the bottom.
    if area < 0.15 * distance.size or area < 0.6 * width * height:
        raise PhotographError(_NO_PATCH)
    return _pixels(patch), (slice(top, top + height), slice(left, left + width))


def _check_looks_like_retina(picture: NDArray[np.uint8], patch: NDArray[np.uint8]) -> None:
    mask = cv2.erode(patch, np.ones((5, 5), np.uint8))  # without the edge, which is never even
    mean, spread = (numbers.ravel() for numbers in cv2.meanStdDev(picture, mask=mask))
    if mean[0] < 1.05 * mean[2]:
        raise PhotographError("shows no retina: its colours are not those of one")
    if spread.max() < 1.5:
        raise PhotographError("shows no retina: it is of one colour")
    grain = np.mean(cv2.mean(cv2.absdiff(picture, cv2.blur(picture, (3, 3))), mask=mask)[:3])
    if grain > 0.35 * spread.max():
        raise PhotographError("shows no retina: it is noise")


def _crossing(side: NDArray[np.uint8], threshold: float) -> float:
    """Where, going left from the last column, the distance falls to the threshold; pixels, between pixels."""
    row = int(_EDGE_ROWS * (len(side) - 1))
    profile = np.partition(side, row, axis=0)[row].astype(np.float32)
    below = np.flatnonzero(profile <= threshold)
    if not below.size:
        return 0.0
    last = min(int(below[-1]), len(profile) - 2)
    rise = float(profile[last + 1] - profile[last])
    return last + 0.5 + (float(threshold - profile[last]) / rise if rise > 0 else 0.0)


def cropped(picture: NDArray[np.uint8], retina: Retina, side_px: int) -> NDArray[np.uint8]:
    """The square between the borders: the picture is halved as often as enough is left, then read between its pixels.

    cv2.resize alone would cut at whole pixels, which at 1/8 scale moves the picture by up to 4 of the photograph's.
    Beside means over the same areas of whole originals, IDRiD's at 1/8 scale and 256 px are off by 0.39 of 255 levels
    on average, and as sharp; exact means over areas of the scaled picture are off by 0.33, blur, and take longer.

    Args:
        picture: uint8 RGB, shape (height, width, 3).
        retina: Where its borders are; every row is kept.
        side_px: Side of the square. A picture smaller than it is enlarged.

    Returns:
        uint8 RGB, shape (side_px, side_px, 3).
    """
    height, width = picture.shape[:2]
    left, right = retina.left * width, retina.right * width
    # In steps of 16, so that halving joins the pixels that the decoder joins at smaller scales, and leaves none out.
    first, last = int(left) // 16 * 16, math.ceil(right / 16) * 16
    halved, times = _halved(picture[:, first:last], side_px)
    down, across = height / times / side_px, (right - left) / times / side_px
    # Where in the picture the middle of a pixel of the square lies; the middle of the first pixel of both is 0.
    place = np.array([[across, 0, (left - first) / times + (across - 1) / 2], [0, down, (down - 1) / 2]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    four = cv2.cvtColor(halved, cv2.COLOR_RGB2RGBA)  # of four channels it takes half the time of three
    square = cv2.warpAffine(four, place, (side_px, side_px), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return _pixels(cv2.cvtColor(square, cv2.COLOR_RGBA2RGB))


def retina_mask(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels show retina, told by the background in the corners.

    Works on a photograph, on the square that a network sees, and on one that is normalised.

    Args:
        picture: uint8 RGB, shape (height, width, 3).

    Returns:
        Shape (height, width); all True where the retina fills the picture, or no background is seen.
    """
    fine, _ = _halved(picture, 2 * BORDER_PX)
    background = _background(fine)
    if background is None:
        return np.ones(picture.shape[:2], bool)
    distance = _distance(fine, background)
    # local_mean leaves of a retina its bright rim and its vessels, on grey, and draws a dark seam outside the rim.
    has_rim_alone = np.abs(fine.mean(axis=(0, 1)) - _LOCAL_MEAN).max() < 8 and np.ptp([*background, _LOCAL_MEAN]) < 24
    if has_rim_alone:
        apart = cv2.subtract(fine, (*background.tolist(), 0)).max(axis=2) > 2 * _LEAST_CONTRAST
    else:
        apart = distance > max(0.2 * float(np.quantile(distance, 0.7)), 0.5 * _LEAST_CONTRAST)
    apart = cv2.morphologyEx(apart.view(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    outlines, _ = cv2.findContours(apart, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return np.ones(picture.shape[:2], bool)
    # The largest patch: text stands apart.
    around = cv2.convexHull(np.concatenate(outlines)) if has_rim_alone else max(outlines, key=cv2.contourArea)
    mask = cv2.drawContours(np.zeros(apart.shape, np.float32), [around], -1, 1, cv2.FILLED)
    large = cv2.resize(mask, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(large > 0.5, bool)


def normalised(square: NDArray[np.uint8], settings: ImageSettings) -> NDArray[np.uint8]:
    """The square with its colours normalised as `images.normalisation` says.

    Args:
        square: uint8 RGB, shape (image_px, image_px, 3).
        settings: Says how.

    Source:
        local_mean: B. Graham (2015), Kaggle diabetic retinopathy detection competition report, who blurs by 1/30 of
        the retina's radius. clahe: on the lightness of LAB, tiles of an eighth of the side, clip limit 2.
    """
    if settings.normalisation == "local_mean":
        blurred = cv2.GaussianBlur(square, (0, 0), square.shape[0] / 60)
        return _pixels(cv2.addWeighted(square, 4, blurred, -4, _LOCAL_MEAN))
    if settings.normalisation == "clahe":
        lab = cv2.cvtColor(square, cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(np.ascontiguousarray(lab[..., 0]))
        return _pixels(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))
    return square


def encode_stored(image: NDArray[np.uint8]) -> bytes:
    """The JPEG that goes into the records.

    Args:
        image: uint8 RGB, shape (height, width, 3).
    """
    # Huffman tables fitted to the image would save 4 % of the bytes at the same pixels and take three times as long.
    return bytes(simplejpeg.encode_jpeg(image, JPEG_QUALITY, "RGB", "444", fastdct=False))


def decode_stored(stored: bytes) -> NDArray[np.uint8]:
    """The image in a record: uint8 RGB, shape (image_px, image_px, 3).

    Bit for bit what `tf.io.decode_jpeg(dct_method="INTEGER_ACCURATE")` gives.
    """
    return _pixels(simplejpeg.decode_jpeg(stored, "RGB"))
