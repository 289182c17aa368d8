"""Heat maps on their photographs, with the answer and the scale of the colours in words."""

import functools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from drsearch.grades import CLASS_NAMES
from drsearch.measure.gradcam import overlay
from drsearch.measure.lesion_layer import LESION_MAP

_LEAST_PX = 256  # a picture with words is at least so wide
_INK = (17, 17, 17)


def heat_map_figure(
    photograph: NDArray[np.uint8],
    cam: NDArray[np.float32],
    probability: float,
    threshold: float,
    method: str = "gradcam",
    label: int | None = None,
    beside: bool = False,
) -> NDArray[np.uint8]:
    """A photograph under a heat map, and below it what the model answers and the scale of the colours.

    Args:
        photograph: RGB, uint8, shape `(height, width, 3)`. One that is narrower than 256 pixels is enlarged, so that
            the words can be read.
        cam: Map in [0, 1], shape `(height, width)`, 0 outside the retina.
        probability: Of RDR.
        threshold: The eye is called RDR from this probability on.
        method: How the map was made: a place of `lesion_map` is a probability, of all others a share of the strongest.
        label: The class that the map explains; None for the class that the eye is called.
        beside: Show the photograph as it is, too, to the left.

    Returns:
        RGB, uint8: the photograph as `overlay` colours it, and below it a strip of the same width.
    """
    if (width := photograph.shape[1]) < _LEAST_PX:
        size = (_LEAST_PX, round(photograph.shape[0] * _LEAST_PX / width))
        photograph = np.asarray(cv2.resize(photograph, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        cam = np.asarray(np.clip(cv2.resize(cam, size, interpolation=cv2.INTER_CUBIC), 0, 1), np.float32)
    called = int(probability >= threshold)
    explained = CLASS_NAMES[called if label is None else label]
    scale = "lesion map: probability of a lesion" if method == LESION_MAP else f"{method}: evidence for {explained}"
    words = f"{CLASS_NAMES[called]}: probability of RDR {probability:.3f}, threshold {threshold:.3g}"
    picture = overlay(photograph, cam)
    if beside:
        picture = np.concatenate([photograph, picture], axis=1)
    return np.concatenate([picture, _legend(picture.shape[1], photograph, cam, words, scale)])


def _legend(
    width: int, photograph: NDArray[np.uint8], cam: NDArray[np.float32], words: str, scale: str
) -> NDArray[np.uint8]:
    """The strip below a heat map; its colours are those that the map gives to the mean colour below it."""
    line = max(12, width // 40)
    strip = Image.new("RGB", (width, 4 * line), _INK)
    draw, font = ImageDraw.Draw(strip), _font(line)
    draw.text((line // 2, line // 3), words, "white", _fitting(words, line, width))
    if not cam.any():
        draw.text((line // 2, 2 * line), f"no {scale}", "white", font)
        return np.array(strip)
    left, right = round(draw.textlength(f"{scale}  0", font)) + line, width - 3 * line // 2
    draw.text((line // 2, 2 * line), f"{scale}  0", "white", font)
    draw.text((right + line // 2, 2 * line), "1", "white", font)
    ramp = np.tile(np.linspace(0, 1, right - left, dtype=np.float32), (line, 1))
    below = np.broadcast_to(photograph[cam > 0].mean(axis=0).astype(np.uint8), (*ramp.shape, 3))
    strip.paste(Image.fromarray(overlay(below, ramp)), (left, 2 * line + line // 6))
    return np.array(strip)


def heat_map_rows(
    photographs: Sequence[NDArray[np.uint8]],
    heat_maps: Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    columns: int = 6,
) -> NDArray[np.uint8]:
    """Eyes beside each other: names, photographs, and below them their heat maps.

    Args:
        photographs: RGB, uint8; at least one.
        heat_maps: Of each, from `heat_map_figure`, all of one width.
        names: One per eye.
        columns: Eyes in a row.
    """
    eyes, width = [], heat_maps[0].shape[1]
    for photograph, heat_map, name in zip(photographs, heat_maps, names, strict=True):
        size = (width, round(photograph.shape[0] * width / photograph.shape[1]))
        eyes.append(np.concatenate([_caption(width, name), cv2.resize(photograph, size), heat_map]))
    columns, height = min(columns, len(eyes)), max(map(len, eyes))
    sheet = np.full((-(-len(eyes) // columns) * height, columns * width, 3), _INK[0], np.uint8)
    for place, eye in enumerate(eyes):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + len(eye), left : left + width] = eye
    return sheet


def _caption(width: int, name: str) -> NDArray[np.uint8]:
    """White text on black."""
    line = max(12, width // 40)
    strip = Image.new("RGB", (width, 2 * line), _INK)
    ImageDraw.Draw(strip).text((line // 2, line // 2), name, "white", _fitting(name, line, width))
    return np.array(strip)


def _fitting(words: str, line: int, width: int) -> Any:
    """The font of a line's height, or the smaller one with which the words fit."""
    length = _font(line).getlength(words)
    return _font(line if length <= width - line else int(line * (width - line) / length))


@functools.lru_cache(maxsize=32)
def _font(size: int) -> Any:
    return ImageFont.load_default(size)  # 10 ms
