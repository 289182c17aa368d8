"""Photographs as worse light, another camera or a careless hand would have left them, at stated strengths.

Strengths are physical, so that they mean the same on photographs of any size: shares of the retina's diameter, stops,
degrees. Nothing is drawn at random.

Source:
    Hendrycks and Dietterich (2019), Benchmarking neural network robustness to common corruptions and perturbations,
    ICLR, arXiv:1903.12261. Light is linear under the transfer function of sRGB, IEC 61966-2-1:1999.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from drsearch.data.decode import PhotographData, read_photograph
from drsearch.data.retina import Retina, find_retina

Picture = NDArray[np.uint8]

_SIGMA_PX = 4  # of the picture that is blurred, at least


@dataclass(frozen=True)
class Corruption:
    """A way in which photographs are worse.

    Attributes:
        name: In tables, charts and metrics.
        meaning: What the strength is.
        unit: Of the strength, after the number.
        strengths: From mild to severe.
        of: Makes the photograph of pixels, the borders of the retina, and the strength.
    """

    name: str
    meaning: str
    unit: str
    strengths: tuple[float, ...]
    of: Callable[[Picture, Retina, float], PhotographData]

    def label(self, strength: float) -> str:
        """The corruption with a strength: `blur 0.5 %`."""
        sign = "+" if min(self.strengths) < 0 else ""
        return f"{self.name} {strength:{sign}g}{self.unit}"


def opened(photograph: PhotographData) -> tuple[Picture, Retina]:
    """All pixels of a photograph, uint8 RGB, shape `(height, width, 3)`, and the borders of its retina.

    Raises:
        PhotographError: If it cannot be read or shows no retina.
    """
    pixels = read_photograph(photograph)
    return pixels, find_retina(pixels)


def diameter_px(picture: Picture, retina: Retina) -> float:
    """The retina's diameter, pixels: the longer of its width and height, as a photograph may cut it."""
    height, width = picture.shape[:2]
    return float(max((retina.right - retina.left) * width, (retina.bottom - retina.top) * height))


def _blurred(picture: Picture, retina: Retina, percent: float) -> Picture:
    """Blurred by a Gaussian; a wide one at a smaller size, as a photograph of 12 megapixels would take 2 s otherwise.

    On IDRiD's originals the result is off by 0.1 of 255 levels on average.
    """
    sigma = percent / 100 * diameter_px(picture, retina)
    times = int(sigma / _SIGMA_PX)
    if times < 2:
        return _uint8(cv2.GaussianBlur(picture, (0, 0), sigma))
    height, width = picture.shape[:2]
    smaller = cv2.resize(picture, (round(width / times), round(height / times)), interpolation=cv2.INTER_AREA)
    # both changes of size blur, too: by a variance of 1/12 and about 1/6 of a pixel squared
    blurred = cv2.GaussianBlur(smaller, (0, 0), math.sqrt((sigma / times) ** 2 - 1 / 4))
    return _uint8(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR))


def _exposed(picture: Picture, retina: Retina, stops: float) -> Picture:
    return _under_light(picture, (stops, stops, stops))


def _cast(picture: Picture, retina: Retina, stops: float) -> Picture:
    return _under_light(picture, (stops / 2, 0.0, -stops / 2))


def _under_light(picture: Picture, stops: tuple[float, float, float]) -> Picture:
    """The picture with the light of each channel times 2 to the power of its stops."""
    share = np.arange(256) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    light = np.clip(linear[:, None] * 2.0 ** np.array(stops), 0, 1)
    levels = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return _uint8(cv2.LUT(picture, np.round(255 * levels).astype(np.uint8)[None]))


def _compressed(picture: Picture, retina: Retina, quality: float) -> bytes:
    pixels = np.ascontiguousarray(picture)
    return bytes(simplejpeg.encode_jpeg(pixels, int(quality), colorspace="RGB", colorsubsampling="420"))


def _rotated(picture: Picture, retina: Retina, degrees: float) -> Picture:
    """Turned anticlockwise; the picture grows so that nothing is cut off, and is black where it shows nothing."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    across, down = np.abs(turn[:, :2]) @ (width, height)
    size = round(across), round(down)
    turn[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    four = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)  # of four channels it takes half the time of three
    return _uint8(cv2.cvtColor(cv2.warpAffine(four, turn, size, flags=cv2.INTER_LINEAR), cv2.COLOR_RGBA2RGB))


def _cut(picture: Picture, retina: Retina, percent: float) -> Picture:
    height, width = picture.shape[:2]
    off = percent / 100 * diameter_px(picture, retina)
    rows = slice(round(retina.top * height + off), round(retina.bottom * height - off))
    columns = slice(round(retina.left * width + off), round(retina.right * width - off))
    return np.ascontiguousarray(picture[rows, columns])


def _coarse(picture: Picture, retina: Retina, wanted_px: float) -> Picture:
    """Scaled down until the retina has the wanted diameter; a picture that has less already stays as it is."""
    scale = wanted_px / diameter_px(picture, retina)
    if scale >= 1:
        return picture
    size = round(scale * picture.shape[1]), round(scale * picture.shape[0])
    return _uint8(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _uint8(array: object) -> Picture:
    return np.asarray(array, np.uint8)


CORRUPTIONS = (
    Corruption("blur", "sigma of a Gaussian, of the retina's diameter", " %", (0.1, 0.25, 0.5, 1), _blurred),
    Corruption("exposure", "light of all channels, exposure values (stops)", " EV", (-1, 1, -2, 2), _exposed),
    Corruption("cast", "light of red over light of blue, exposure values", " EV", (-0.5, 0.5, -1, 1), _cast),
    Corruption("JPEG", "quality of libjpeg, 4:2:0", "", (70, 40, 20, 10), _compressed),
    Corruption("rotation", "degrees about the middle", "°", (5, 15, 30, 45), _rotated),
    Corruption("crop", "cut off each side of the retina, of its diameter", " %", (2, 5, 10, 15), _cut),
    Corruption("resolution", "the retina's diameter", " px", (512, 256, 192, 160), _coarse),
)
"""All corruptions, each from mild to severe."""
