"""Random changes of training images: turned, moved, zoomed, sheared, mirrored, in other light, mixed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.settings import AugmentationSettings


@dataclass(frozen=True)
class Change:
    """One drawn change of one image. The geometry happens about the centre, in the order of the fields.

    Attributes:
        flip_x: Mirror left and right.
        flip_y: Mirror top and bottom.
        zoom: Factor of the size; above 1 shows less, larger.
        shear_deg: Lean of vertical lines, degrees; positive moves the lower half left.
        rotation_deg: Counter-clockwise as seen, degrees.
        shift_x: To the right, fractions of the width.
        shift_y: Downwards, fractions of the height.
        brightness: Added to every channel, fractions of full scale; the result is clipped.
        contrast: Factor of the distance from the mean level of the image, before the brightness; the result is clipped.
    """

    flip_x: bool = False
    flip_y: bool = False
    zoom: float = 1.0
    shear_deg: float = 0.0
    rotation_deg: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    brightness: float = 0.0
    contrast: float = 1.0

    def matrix(self, height: int, width: int) -> NDArray[np.float64]:
        """Where a pixel goes: `(x, y)` of the image to `(x, y)` of the changed one, shape `(2, 3)`, pixels."""
        angle, lean = math.radians(self.rotation_deg), math.tan(math.radians(self.shear_deg))
        rotation = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        shear = np.array([[1.0, -lean], [0.0, 1.0]])
        mirror = np.diag([-1.0 if self.flip_x else 1.0, -1.0 if self.flip_y else 1.0])
        linear = rotation @ shear @ mirror * self.zoom
        # pixel centres are whole numbers: the middle of 256 pixels is 127.5
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        offset = centre - linear @ centre + [self.shift_x * width, self.shift_y * height]
        return np.column_stack([linear, offset])


UNCHANGED = Change()


class Changes:
    """Drawn changes, as arrays: a `Change` is made when it is asked for, since those of many eyes take much memory.

    Args:
        flips: Left and right, top and bottom: boolean, shape `(n, 2)`.
        amounts: zoom - 1, shear_deg, rotation_deg, shift_x, shift_y, brightness: shape `(n, 6)`.
        contrasts: Shape `(n,)`.
    """

    def __init__(self, flips: NDArray[np.bool_], amounts: NDArray[np.float64], contrasts: NDArray[np.float64]) -> None:
        self._flips, self._amounts, self._contrasts = flips, amounts, contrasts

    def __len__(self) -> int:
        return len(self._contrasts)

    def __getitem__(self, index: int) -> Change:
        (flip_x, flip_y), contrast = self._flips[index].tolist(), float(self._contrasts[index])
        zoom, shear, rotation, shift_x, shift_y, brightness = self._amounts[index].tolist()
        return Change(flip_x, flip_y, 1.0 + zoom, shear, rotation, shift_x, shift_y, brightness, contrast)

    def __iter__(self) -> Iterator[Change]:
        return map(self.__getitem__, range(len(self)))


class Augmenter:
    """Draws changes within the limits of the settings, and applies them.

    Args:
        settings: Limits, and the strength that multiplies them. A strength that would push a limit
            beyond the range of its setting stops there.
    """

    def __init__(self, settings: AugmentationSettings) -> None:
        highest = {item.name: item.metadata["high"] for item in fields(settings)}

        def limit(name: str) -> float:
            return float(min(getattr(settings, name) * settings.strength, highest[name]))

        self._flip = settings.flip and settings.strength > 0
        self._alpha = max(settings.mixup, settings.cutmix) if settings.strength > 0 else 0.0  # one of them is 0
        self._cuts = settings.cutmix > 0
        self._contrast = limit("contrast_fraction")
        # the order of the columns of `Changes.amounts`
        self._limits = np.array(
            [
                limit("zoom_fraction"),
                limit("shear_deg"),
                limit("rotation_deg"),
                limit("shift_fraction"),
                limit("shift_fraction"),
                limit("brightness_fraction"),
            ]
        )

    def parameters(self, rng: np.random.Generator, n: int) -> Changes:
        """Draw changes for `n` images.

        Returns:
            A function of the state of `rng` alone. The same numbers are drawn whatever the limits, so that two
            strengths at one seed differ in size only.
        """
        amounts = rng.uniform(-1.0, 1.0, (n, len(self._limits))) * self._limits
        flips = (rng.random((n, 2)) < 0.5) & self._flip
        return Changes(flips, amounts, 1.0 + rng.uniform(-1.0, 1.0, n) * self._contrast)

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, in either way."""
        return self._alpha > 0

    def shares(self, rng: np.random.Generator, n: int) -> NDArray[np.float32]:
        """Draw the share of itself that each of `n` images keeps when it is mixed with another one.

        Returns:
            In 0.5..1, shape `(n,)`; all 1 where nothing is mixed.

        Source:
            Zhang, Cisse, Dauphin and Lopez-Paz (2018), mixup, arXiv:1710.09412: beta-distributed. Of an image and its
            partner the one with the larger share counts as the image.
        """
        shares = rng.beta(self._alpha, self._alpha, n) if self.mixes else np.ones(n)
        return np.asarray(np.maximum(shares, 1 - shares), np.float32)

    def boxes(self, rng: np.random.Generator, shares: NDArray[np.float32], image_px: int) -> NDArray[np.int64] | None:
        """Draw the box of each image that another one covers; None where none is pasted.

        Args:
            rng: Gave the shares.
            shares: Of itself that each image keeps, at the least: a box that reaches over the border is cut there.
            image_px: Side of the images, pixels.

        Returns:
            Left, top, right and bottom of squares about centres anywhere, pixels, shape `(n, 4)`.

        Source:
            Yun et al. (2019), CutMix, arXiv:1905.04899, section 3.1.
        """
        if not (self._cuts and self.mixes):
            return None
        halves = np.sqrt(1 - shares)[:, None] / 2
        centres = rng.random((len(shares), 2))
        corners = np.concatenate([centres - halves, centres + halves], axis=1)
        return np.asarray(np.rint(np.clip(corners, 0, 1) * image_px), np.int64)

    def apply(self, image: NDArray[np.uint8], change: Change, into: NDArray[np.uint8]) -> None:
        """Write the changed image, resampled once (bilinear); what comes in from outside repeats the border.

        Args:
            image: RGB, shape `(h, w, 3)`.
            change: One of `parameters`.
            into: Array for the result: uint8, the image's shape, contiguous. To write into its place in a batch saves a
                fifth of the time, which new memory per image costs.
        """
        if change == UNCHANGED:
            into[...] = image
            return
        height, width = image.shape[:2]
        matrix = change.matrix(height, width)
        # Repeated border, not black (as seen on IDRiD): the retina is cut flat at top and bottom, and goes on
        # smoothly; black would draw hard edges there, and wedges on the grey of a local mean subtracted.
        # A fourth channel, filled and dropped again: the same pixels in less than half the time, 0.27 ms instead of
        # 0.61 for 256 px, for OpenCV 5 warps four channels three times as fast as three.
        moved = cv2.warpAffine(
            cv2.cvtColor(image, cv2.COLOR_RGB2RGBA),
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB, dst=into)
        if change.contrast != 1.0:
            mean = float(into.mean())
            levels = np.rint(np.clip((np.arange(256) - mean) * change.contrast + mean, 0, 255))
            cv2.LUT(into, levels.astype(np.uint8), dst=into)
        if change.brightness != 0.0:
            cv2.add(into, (round(change.brightness * 255),) * 3 + (0,), dst=into)


def mixed(values: NDArray[Any], shares: NDArray[np.float32]) -> NDArray[Any]:
    """Each value but the last one, mixed with the next.

    Args:
        values: Of `n + 1` images in order: their pixels, labels or other targets, of any shape; uint8 or float32.
            Negative ones are unknown, and so is a mixture with one.
        shares: The share of itself that each value keeps, in 0..1, shape `(n,)`.

    Returns:
        `n` values, of the same type.

    Example:
        >>> mixed(np.array([0, 1, 1], np.float32), np.array([0.75, 0.5], np.float32)).tolist()
        [0.25, 1.0]
    """
    mixture = _mixture(values, shares.reshape(-1, *[1] * (values.ndim - 1)))
    return np.where(np.minimum(values[:-1], values[1:]) < 0, -1, mixture) if values.dtype != np.uint8 else mixture


def pasted(values: NDArray[Any], boxes: NDArray[np.int64], image_px: int) -> NDArray[Any]:
    """Each value but the last one, with what lies in a box of the next one pasted into it.

    Args:
        values: Of `n + 1` images in order: their pixels or a map, which lies over the whole image, shape
            `(n + 1, h, w, channels)`; or labels or other targets of fewer axes, which are mixed by area. uint8 or
            float32; negative ones are unknown, and so is a mixture with one.
        boxes: Left, top, right and bottom of each image but the last one, pixels, shape `(n, 4)`.
        image_px: Side of the images, pixels.

    Returns:
        `n` values, of the same type.

    Example:
        >>> pasted(np.array([0, 1], np.float32), np.array([[0, 0, 4, 2]]), 8).tolist()
        [0.125]
    """
    left, top, right, bottom = boxes.T
    if values.ndim == 4:
        down, across = (
            _covered(top, bottom, values.shape[1], image_px),
            _covered(left, right, values.shape[2], image_px),
        )
        covered = (down[:, :, None] * across[:, None, :])[..., None]
    else:
        area = (right - left) * (bottom - top) / image_px**2
        covered = area.reshape(-1, *[1] * (values.ndim - 1))
    mixture = _mixture(values, np.asarray(1 - covered, np.float32))
    unknown = ((covered < 1) & (values[:-1] < 0)) | ((covered > 0) & (values[1:] < 0))
    return np.where(unknown, -1, mixture) if values.dtype != np.uint8 else mixture


def _covered(start: NDArray[np.int64], stop: NDArray[np.int64], places: int, image_px: int) -> NDArray[np.float64]:
    """The share of each place along an axis that lies between two pixels, shape `(n, places)`."""
    first = np.arange(places) * image_px  # in pixels times places: whole numbers, so that nothing is rounded
    inside = np.minimum(stop[:, None] * places, first + image_px) - np.maximum(start[:, None] * places, first)
    return np.asarray(np.maximum(inside, 0) / image_px)


def _mixture(values: NDArray[Any], kept: NDArray[np.float32]) -> NDArray[Any]:
    """Each value but the last one in its share, and the next one in the rest; of the same type."""
    mixture = kept * values[:-1] + (1 - kept) * values[1:]
    return np.asarray(np.rint(mixture) if values.dtype == np.uint8 else mixture, values.dtype)
