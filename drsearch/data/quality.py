"""How well a photograph shows its retina, from its pixels alone: no network, no training.

Four measures, each mapped to 0..1 between two anchors; the score is the worst of them, because whatever hides lesions
hides them alone. All are taken on a picture of the retina at one size (`QUALITY_PX`), so that the camera's resolution
does not count, within the round field:

- sharpness: energy of the finest structures of the green channel, relative to those that are four times as large. Blur
  takes the finer ones first.
- exposure: mean level, share of burnt-out pixels, and the darkest ninth of the picture relative to the brightest; the
  worst of the three.
- field: share of the retina's whole disc that is seen and lit.
- contrast: how much darker than its surround the darkest twentieth of the green channel is, which is vessels, relative
  to the mean level; and noise relative to that. The worse of the two.

The anchors were measured on IDRiD (413 photographs, graded by experts, so all of them can be) and on degraded copies:
1 is what the better of its eyes reach, 0 is where its vessels can hardly be followed. `python -m benchmarks.quality`
prints both. It is no grader's opinion: on no data set with graded quality were the anchors fitted or tested.

Source:
    Energy of a band of structures for sharpness: Pech-Pacheco et al. (2000), Diatom autofocusing in brightfield
    microscopy, ICPR 3, 314-317 (variance of the Laplacian), here relative to the next band. Noise: Immerkaer (1996),
    Fast Noise Variance Estimation, Computer Vision and Image Understanding 64(2), 300-302, with the median instead of
    the mean, since vessels are few. Sharpness, illumination and contrast as what makes a fundus photograph gradable:
    Dias et al. (2014), Retinal image quality assessment using generic image quality indicators, Information Fusion 19,
    73-90; vessels as the structure to look at: Koehler et al. (2013), Automatic no-reference quality assessment for
    retinal fundus images using vessel segmentation, CBMS, 95-100.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

QUALITY_PX = 128
"""Side of the square of a retina that is measured."""

LOW = 0.35
"""A score below which the audit says what is worst; 5 % of the photographs of IDRiD have less."""

MEASURES = ("sharpness", "exposure", "field", "contrast")

# Anchors: the value that maps to 0, and the one that maps to 1.
_SHARPNESS = 0.1, 0.95
_LEVEL = 35.0, 90.0
_BURNT = 0.95, 0.05
_EVENNESS = 0.15, 0.65
_FIELD = 0.6, 0.92
_CONTRAST = 0.02, 0.12
_NOISE = 0.7, 0.15

_INNER = 0.88  # of the radius: the border of the retina is no structure
_DISC = 0.96  # of the radius: of what lies within, the share that is seen counts
_LIT = 0.25  # of the mean level
_HIGHEST = 250  # levels
_DARKEST = 0.05  # share of pixels that are vessels
_BINS, _REACH = 512, 64.0  # of histograms; levels
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
_MEDIAN_TO_SIGMA = 1 / 0.6745
_BLURRED, _CUT = "is out of focus, or blurred", "shows only a part of the retina; the rest is cut off or dark"


@dataclass(frozen=True)
class Quality:
    """Technical quality of a photograph; every measure from 0 to 1.

    Attributes:
        sharpness: Fine structure.
        exposure: Light: enough, not too much, everywhere.
        field: The part of the retina's disc that is seen.
        contrast: Vessels against the retina around them, and against noise.
        reason: What is worst, in words that follow "the photograph".
    """

    sharpness: float
    exposure: float
    field: float
    contrast: float
    reason: str

    @property
    def score(self) -> float:
        """The worst of the measures, 0 to 1."""
        return min(self.values)

    @property
    def values(self) -> tuple[float, ...]:
        """The measures, in the order of `MEASURES`."""
        return self.sharpness, self.exposure, self.field, self.contrast

    def to_json(self) -> dict[str, Any]:
        """Measures, to three decimals, and reason."""
        return {name: round(value, 3) if name in MEASURES else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Quality":
        """The quality of the values that `to_json` returned.

        Raises:
            TypeError, ValueError: If they are other values.
        """
        quality = cls(**values)
        if not all(type(value) in (int, float) and 0 <= value <= 1 for value in quality.values):
            raise ValueError("a measure of quality is out of range")
        return quality


def measure_quality(square: NDArray[np.uint8], height_over_width: float = 1.0) -> Quality:
    """The quality of a photograph.

    Args:
        square: Its retina between the borders, stretched to a square: uint8 RGB, shape (QUALITY_PX, QUALITY_PX, 3), not
            normalised.
        height_over_width: Of the retina on the photograph; below 1 where the photograph cuts it above and below.
    """
    red, green = (_uint8(cv2.extractChannel(square, channel)) for channel in (0, 1))
    light = _uint8(cv2.addWeighted(red, 0.5, green, 0.5, 0))
    inner, disc = (_ellipse(radius, height_over_width) for radius in (_INNER, _DISC))
    mean_light = cv2.mean(light, mask=inner)[0]
    lit = cv2.compare(light, _LIT * mean_light, cv2.CMP_GT)
    field = cv2.countNonZero(cv2.bitwise_and(lit, disc)) / _area(_DISC, height_over_width)
    seen = _uint8(cv2.bitwise_and(lit, inner))
    n = max(1, cv2.countNonZero(seen))

    level = green.astype(np.float32)
    quarter = _shrunk(level, 4)
    around = cv2.resize(cv2.GaussianBlur(quarter, (3, 3), 0.8), green.shape, interpolation=cv2.INTER_LINEAR)
    darker = _quantile(np.maximum(around - cv2.GaussianBlur(level, (3, 3), 0.8), 0), seen, n, 1 - _DARKEST)
    grain = np.abs(cv2.filter2D(level, -1, _NOISE_KERNEL))
    noise = _quantile(grain, seen, n, 0.5) * _MEDIAN_TO_SIGMA
    # Noise is fine structure, too, of which a blur of one pixel takes three quarters.
    fine = math.sqrt(max(_structure(level, seen) ** 2 - 0.75 * noise**2, 0.0))
    coarse = _structure(quarter, _uint8(_shrunk(seen, 4)))
    burnt = cv2.countNonZero(cv2.bitwise_and(cv2.compare(red, _HIGHEST, cv2.CMP_GE), seen)) / n
    exposure = {
        "is too dark": _between(_LEVEL, mean_light),
        "is too bright": _between(_BURNT, burnt),
        "is dark in a part of the retina": _between(_EVENNESS, _evenness(light, inner)),
    }
    contrast = {
        "is pale: vessels hardly stand out": _between(_CONTRAST, darker / max(cv2.mean(green, mask=seen)[0], 1.0)),
        "is noisy: grain covers the vessels": _between(_NOISE, noise / max(darker, 1e-3)),
    }
    sharpness, whole = _between(_SHARPNESS, fine / max(coarse, 1e-3)), _between(_FIELD, field)
    values = {_BLURRED: sharpness, **exposure, _CUT: whole, **contrast}
    reason = min(values, key=lambda words: values[words])
    return Quality(sharpness, min(exposure.values()), whole, min(contrast.values()), reason)


def _ellipse(radius: float, height_over_width: float) -> NDArray[np.uint8]:
    """255 within a share of the disc's radius, as the square shows the disc: higher than the square where it is cut."""
    mask, middle = np.zeros((QUALITY_PX, QUALITY_PX), np.uint8), QUALITY_PX // 2
    axes = [round(radius * middle * longer) for longer in _stretch(height_over_width)]
    return _uint8(cv2.ellipse(mask, (middle, middle), axes, 0, 0, 360, 255, cv2.FILLED))


def _area(radius: float, height_over_width: float) -> float:
    across, down = (radius * QUALITY_PX / 2 * longer for longer in _stretch(height_over_width))
    return math.pi * across * down


def _stretch(height_over_width: float) -> tuple[float, float]:
    """The disc's width and height, in sides of the square."""
    return max(1.0, height_over_width), max(1.0, 1 / height_over_width)


def _shrunk(values: Any, times: int) -> Any:
    side = QUALITY_PX // times
    return cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA)


def _structure(level: NDArray[np.float32], mask: NDArray[np.uint8]) -> float:
    """Root mean square of what a blur of one pixel takes away."""
    mask = _uint8(cv2.compare(mask, 254, cv2.CMP_GT))
    residue = cv2.norm(level, cv2.GaussianBlur(level, (5, 5), 1), cv2.NORM_L2, mask)
    return float(residue / math.sqrt(max(1, cv2.countNonZero(mask))))


def _evenness(light: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float:
    """The mean level of the darkest ninth over that of the brightest."""
    whole = slice(QUALITY_PX % 3 // 2, QUALITY_PX - QUALITY_PX % 3 + QUALITY_PX % 3 // 2)  # a multiple of 3 is fast
    light, mask = light[whole, whole], mask[whole, whole]
    sums = cv2.resize(cv2.bitwise_and(light, mask).astype(np.float32), (3, 3), interpolation=cv2.INTER_AREA)
    shares = cv2.resize(mask.astype(np.float32), (3, 3), interpolation=cv2.INTER_AREA)
    levels = sums / np.maximum(shares, 1)
    return float(levels.min() / max(levels.max(), 1e-3))


def _quantile(values: NDArray[np.float32], mask: NDArray[np.uint8], n: int, share: float) -> float:
    """Of n values within the mask, none below 0: by a histogram, between the edges of its bins."""
    counts = cv2.calcHist([values], [0], mask, [_BINS], [0.0, _REACH]).ravel()
    below = np.cumsum(counts)
    at = int(np.searchsorted(below, share * n))
    if at >= _BINS:
        return _REACH
    return float((at + 1 - (below[at] - share * n) / max(counts[at], 1.0)) * _REACH / _BINS)


def _between(anchors: tuple[float, float], value: float) -> float:
    """The value's place between the anchors, 0 to 1."""
    worst, best = anchors
    return min(1.0, max(0.0, float((value - worst) / (best - worst))))


def _uint8(array: Any) -> NDArray[np.uint8]:
    return np.asarray(array, dtype=np.uint8)
