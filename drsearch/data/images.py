"""From a photograph to the square that the network sees."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from drsearch.data.decode import Decoded, PhotographData, decode
from drsearch.data.quality import QUALITY_PX, Quality, measure_quality
from drsearch.data.retina import BORDER_PX, LOCAL_MEAN, Retina, check_whole, find_retina, halved, retina_mask
from drsearch.datasets.boxes import Box
from drsearch.settings import ImageSettings

JPEG_QUALITY = 98
"""Of the stored image, with full colour resolution (4:4:4). On IDRiD at 256 px: 40 kB per photograph, mean absolute
error 0.82 of 255 (95: 25 kB and 1.21; 99: 56 kB and 0.58; a 4:2:0 picture of quality 100 has 43 kB and 0.91)."""

THUMBNAIL_PX = 32
"""Side of a thumbnail, by which pictures are compared."""

PICTURE_VERSION = 9
"""Raise it when the same photograph comes out with other pixels, so that older records are not reused."""

_REDUCED_PX = 4 * THUMBNAIL_PX
"""Side of the square whose means are the thumbnail: a smaller square changes with the photograph's size."""

_FIT_PX = 32
"""Side of the picture to which the illumination is fitted: it is smooth."""

_FLOOR = 16.0
"""Levels added to a channel before it is divided by its illumination: blue may have 10 levels, mostly noise."""

_ENLARGED = 0.9  # share of the square's side; a retina that is smaller after a scaled decoding is decoded again


@dataclass(frozen=True)
class EyeImage:
    """One photograph, cropped and resized.

    Attributes:
        stored: The JPEG that goes into the records.
        retina: Borders at which the photograph was cropped.
        height: Of the photograph, pixels.
        width: Of the photograph, pixels.
        thumbnail: uint8 grey, shape (THUMBNAIL_PX, THUMBNAIL_PX), between the borders, not normalised: what
            `same_pictures` compares.
        quality: How well the photograph shows its retina.
    """

    stored: bytes
    retina: Retina
    height: int
    width: int
    thumbnail: NDArray[np.uint8]
    quality: Quality

    @property
    def image(self) -> NDArray[np.uint8]:
        """The square, uint8 RGB, shape (image_px, image_px, 3), decoded from `stored`, so that a prediction from the
        photograph equals a prediction from the records."""
        return decode_stored(self.stored)


def eye_image(photograph: PhotographData, settings: ImageSettings) -> EyeImage:
    """Crop a photograph at the borders of the retina and resize it to a square.

    Args:
        photograph: The file's bytes, or its pixels.
        settings: Side of the square, and how its colours are normalised.

    Returns:
        The square, with its thumbnail.

    Raises:
        PhotographError: If the photograph cannot be read whole or shows no retina that can be graded.
    """
    return eye_of(decode_photograph(photograph, settings), settings)


def decode_photograph(photograph: PhotographData, settings: ImageSettings) -> Decoded:
    """The first half of `eye_image`: nearly all of its time, in which other threads can run.

    Raises:
        PhotographError: If the photograph cannot be read whole.
    """
    return decode(photograph, max(settings.image_px, BORDER_PX))


def eye_of(decoded: Decoded, settings: ImageSettings) -> EyeImage:
    """The second half of `eye_image`: many short steps.

    Raises:
        PhotographError: If the photograph shows no retina that can be graded.
    """
    retina = find_retina(decoded.pixels)
    check_whole(retina, decoded.height, decoded.width)
    height, width = decoded.pixels.shape[:2]
    share = min((retina.bottom - retina.top) * height, (retina.right - retina.left) * width) / min(height, width)
    if height < decoded.height and share * min(height, width) < _ENLARGED * settings.image_px:
        decoded = decode(decoded.photograph, math.ceil(settings.image_px / share))
        retina = find_retina(decoded.pixels)
    square = square_of(retina, decoded.pixels.shape[0], decoded.pixels.shape[1], settings)
    image = cropped(decoded.pixels, retina, settings.image_px, square)
    serves = square == retina and settings.image_px >= _REDUCED_PX
    larger = image if serves else cropped(decoded.pixels, retina, _REDUCED_PX)
    thumbnail = cv2.resize(
        cv2.cvtColor(larger, cv2.COLOR_RGB2GRAY), (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA
    )
    stored = encode_stored(evened(normalised(image, settings), square, retina, settings))
    quality = quality_of(decoded.pixels, retina)
    return EyeImage(stored, retina, decoded.height, decoded.width, _uint8(thumbnail), quality)


def quality_of(picture: NDArray[np.uint8], retina: Retina) -> Quality:
    """The quality of a photograph, nearly the same at whatever scale it was decoded.

    Args:
        picture: The photograph, uint8 RGB, shape (height, width, 3).
        retina: Its borders.
    """
    height, width = picture.shape[:2]
    smaller, _ = halved(picture, min(height, width), BORDER_PX)
    high, wide = (retina.bottom - retina.top) * height, (retina.right - retina.left) * width
    return measure_quality(cropped(smaller, retina, QUALITY_PX), high / wide)


def square_of(retina: Retina, height: int, width: int, settings: ImageSettings) -> Retina:
    """The borders of the square that the network sees, as `images.fit` says.

    Args:
        retina: Its borders.
        height: Of the photograph, pixels.
        width: Of the photograph, pixels.

    Returns:
        The borders of the retina, or with `pad` of the square about its circle: as wide as the retina is at its widest,
        about the middle between its borders, so that it may begin below 0 and end above 1.
    """
    if settings.fit == "squeeze":
        return retina
    high, wide = (retina.bottom - retina.top) * height, (retina.right - retina.left) * width
    down, across = (max(high, wide) - high) / 2 / height, (max(high, wide) - wide) / 2 / width
    return Retina(retina.left - across, retina.right + across, retina.top - down, retina.bottom + down)


def boxes_in_square(boxes: Iterable[Box], square: Retina) -> tuple[Box, ...]:
    """Boxes of a photograph as fractions of the square that the network sees, cut at its borders.

    Args:
        boxes: In fractions of the photograph.
        square: The borders of the square, from `square_of`.

    Returns:
        In the same order; without those that lie outside.

    Example:
        >>> box = Box("hard_exudate", 0.5, 0.0, 0.6, 0.25)
        >>> boxes_in_square([box], Retina(0.25, 0.75, 0.0, 1.0))
        (Box(kind='hard_exudate', left=0.5, top=0.0, right=0.7, bottom=0.25),)
    """
    across, down = square.right - square.left, square.bottom - square.top
    inside = []
    for box in boxes:
        left, right = ((place - square.left) / across for place in (box.left, box.right))
        top, bottom = ((place - square.top) / down for place in (box.top, box.bottom))
        cut = Box(box.kind, *(round(min(max(place, 0.0), 1.0), 6) for place in (left, top, right, bottom)))
        if cut.left < cut.right and cut.top < cut.bottom:
            inside.append(cut)
    return tuple(inside)


def circle(height: int, width: int, settings: ImageSettings) -> NDArray[np.bool_]:
    """The pixels within the circle of `images.mask`: an ellipse in a picture that is no square; all True without mask.

    Args:
        height: Of the picture, pixels.
        width: Of the picture, pixels.
        settings: `images.mask` is used.

    Returns:
        Bool, shape (height, width).
    """
    if settings.mask == 0:
        return np.ones((height, width), bool)
    down, across = ((np.arange(n) + 0.5) / n - 0.5 for n in (height, width))
    return np.asarray(down[:, None] ** 2 + across**2 <= settings.mask**2, bool)


def retina_in_square(image: NDArray[np.uint8], settings: ImageSettings) -> NDArray[np.bool_]:
    """The pixels of a square, as it is stored, that show retina: the circle of `images.mask`, or as `retina_mask` sees.

    Args:
        image: uint8 RGB, shape (image_px, image_px, 3).
        settings: With which it was made.

    Returns:
        Bool, shape (image_px, image_px).
    """
    return circle(image.shape[0], image.shape[1], settings) if settings.mask > 0 else retina_mask(image)


def evened(image: NDArray[np.uint8], square: Retina, retina: Retina, settings: ImageSettings) -> NDArray[np.uint8]:
    """The normalised square, even beyond the retina's borders and outside the circle of `images.mask`.

    Its level there is that which the normalisation gives to an even dark surround: 128 with local_mean, else 0.

    Args:
        image: uint8 RGB, shape (image_px, image_px, 3).
        square: The borders of the square.
        retina: The borders of the retina, within those of the square.
        settings: `images.fit`, `images.mask` and `images.normalisation` are used.
    """
    if settings.fit == "squeeze" and settings.mask == 0:
        return image
    level = LOCAL_MEAN if settings.normalisation == "local_mean" else 0
    rows, columns = _inner(square, retina, image.shape[0])
    seen = np.zeros(image.shape[:2], bool)
    seen[rows, columns] = circle(image.shape[0], image.shape[1], settings)[rows, columns]
    return np.where(seen[..., None], image, np.uint8(level))


def _inner(square: Retina, retina: Retina, side_px: int) -> tuple[slice, slice]:
    """The rows and columns of a square of so many pixels that lie between the borders of the retina."""
    high, wide = square.bottom - square.top, square.right - square.left
    rows = [round((border - square.top) / high * side_px) for border in (retina.top, retina.bottom)]
    columns = [round((border - square.left) / wide * side_px) for border in (retina.left, retina.right)]
    return slice(*rows), slice(*columns)


def cropped(
    picture: NDArray[np.uint8], retina: Retina, side_px: int, square: Retina | None = None
) -> NDArray[np.uint8]:
    """The square between the borders: the picture is halved while enough pixels remain, then read between its pixels.

    cv2.resize alone would cut at whole pixels, which at 1/8 scale moves the picture by up to 4 of the photograph's.
    Beside means over the same areas of whole originals, IDRiD's at 1/8 scale and 256 px are off by 0.39 of 255 levels
    on average, and as sharp; exact means over areas of the scaled picture are off by 0.33, blur, and take longer.

    Args:
        picture: uint8 RGB, shape (height, width, 3).
        retina: Its borders.
        side_px: Side of the square. A picture smaller than it is enlarged.
        square: Borders of the square, where they lie beyond those of the retina, whose edge is repeated there; None:
            those of the retina.

    Returns:
        uint8 RGB, shape (side_px, side_px, 3).
    """
    height, width = picture.shape[:2]
    left, right, top, bottom = retina.left * width, retina.right * width, retina.top * height, retina.bottom * height
    # In steps of 16, so that halving joins the pixels that the decoder joins at smaller scales, and leaves none out.
    first, upper = int(left) // 16 * 16, int(top) // 16 * 16
    inside = picture[upper : math.ceil(bottom / 16) * 16, first : math.ceil(right / 16) * 16]
    if square is not None:
        left, right, top, bottom = (
            square.left * width, square.right * width, square.top * height, square.bottom * height
        )  # fmt: skip
    smaller, times = halved(inside, min(bottom - top, right - left), side_px)
    down, across = (bottom - top) / times / side_px, (right - left) / times / side_px
    # Where in the picture the middle of a pixel of the square lies; the middle of the first pixel of both is 0.
    middle = (left - first) / times + (across - 1) / 2, (top - upper) / times + (down - 1) / 2
    place = np.array([[across, 0, middle[0]], [0, down, middle[1]]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    four = cv2.cvtColor(smaller, cv2.COLOR_RGB2RGBA)  # of four channels it takes half the time of three
    square = cv2.warpAffine(four, place, (side_px, side_px), flags=how, borderMode=cv2.BORDER_REPLICATE)
    return _uint8(cv2.cvtColor(square, cv2.COLOR_RGBA2RGB))


def normalised(square: NDArray[np.uint8], settings: ImageSettings) -> NDArray[np.uint8]:
    """The square with its colours normalised as `images.normalisation` says.

    With `images.mask`, what lies dark beside the retina has no part in a local mean, and is even: a photograph that was
    cut straight and set on black would otherwise have a bright seam along the cut.

    Args:
        square: uint8 RGB, shape (image_px, image_px, 3).
        settings: Names the way.

    Source:
        local_mean: B. Graham (2015), Kaggle diabetic retinopathy detection competition report, who blurs by 1/30 of
        the retina's radius. clahe: on the lightness of LAB, tiles of an eighth of the side, clip limit 2. green: the
        channel in which vessels and lesions stand out most, three times. surface: H. Narasimha-Iyer et al. (2006), IEEE
        Transactions on Biomedical Engineering 53(6), doi:10.1109/TBME.2005.863971, who fit a polynomial to the
        logarithm of a channel, iterated without the pixels that deviate (vessels, lesions, disc), and divide by it.
    """
    if settings.normalisation == "green":
        return _uint8(cv2.cvtColor(np.ascontiguousarray(square[..., 1]), cv2.COLOR_GRAY2RGB))
    if settings.normalisation == "surface":
        return _evenly_lit(square)
    if settings.normalisation == "local_mean":
        sigma = square.shape[0] / 60
        square, seen = _continued(square, sigma) if settings.mask > 0 else (square, np.ones((1, 1, 1), bool))
        differences = cv2.addWeighted(square, 4, cv2.GaussianBlur(square, (0, 0), sigma), -4, LOCAL_MEAN)
        return np.where(seen, _uint8(differences), np.uint8(LOCAL_MEAN))
    if settings.normalisation == "clahe":
        lab = cv2.cvtColor(square, cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(np.ascontiguousarray(lab[..., 0]))
        return _uint8(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))
    return square


def _continued(square: NDArray[np.uint8], sigma: float) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The square, its retina continued into the dark beside it by the mean of what is near; and where it is retina.

    Source:
        H. Knutsson and C.-F. Westin (1993), Normalized and differential convolution, CVPR,
        doi:10.1109/CVPR.1993.341081.
    """
    rim = 2 * round(square.shape[0] / 128) + 1  # its pixels are half dark
    inside = cv2.erode(retina_mask(square).view(np.uint8), np.ones((rim, rim), np.uint8), borderValue=1)[..., None]
    weights = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), sigma)[..., None]
    sums = cv2.GaussianBlur((square * inside).astype(np.float32), (0, 0), sigma)
    return np.where(inside, square, _uint8(np.rint(sums / np.maximum(weights, 1e-6)))), inside > 0


def _evenly_lit(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each channel of the retina divided by its illumination, 128 where both are equal; the surround as it is."""
    inside = retina_mask(square)
    side = min(square.shape[0], _FIT_PX)
    logs = np.log(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA) + _FLOOR)
    seen = cv2.resize(inside.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA).ravel() > 0.99
    powers, fine = (((np.arange(n) + 0.5) / n * 2 - 1)[:, None] ** np.arange(5) for n in (side, square.shape[0]))
    terms = [(i, j) for i in range(5) for j in range(5 - i)]
    design = np.stack([np.outer(powers[:, i], powers[:, j]).ravel() for i, j in terms], axis=1)
    even = square.copy()
    for channel in range(3):
        level, used = logs[..., channel].ravel(), seen
        for _ in range(3):
            chosen = design[used]
            weights = np.linalg.lstsq(chosen.T @ chosen, chosen.T @ level[used], rcond=None)[0]
            off = np.abs(level - design @ weights)
            used = seen & (off <= 2 * np.sqrt(np.mean(off[used] ** 2)))
        coefficients = np.zeros((5, 5))
        coefficients[tuple(np.transpose(terms))] = weights
        light = np.exp(np.clip(fine @ coefficients @ fine.T, level[seen].min(), level[seen].max()))
        shown = np.clip(np.rint(128 * (square[..., channel] + _FLOOR) / light), 0, 255)
        even[..., channel] = np.where(inside, shown, square[..., channel])
    return even


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
    return _uint8(simplejpeg.decode_jpeg(stored, "RGB"))


def _uint8(array: Any) -> NDArray[np.uint8]:
    return np.asarray(array, dtype=np.uint8)
