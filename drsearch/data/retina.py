"""Where the retina lies on a photograph, and whether it can be graded.

The figures beside the limits were measured on the 413 photographs of IDRiD, its 12 originals and 120 synthetic eyes;
none of them is refused.
"""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.errors import PhotographError

BORDER_PX = 176
"""The border of the retina is found on a picture whose shorter side has at least this many pixels, and fewer than twice
as many; the patch that is retina, on a picture half as large."""

LOCAL_MEAN = 128
"""Level of even areas where colours are normalised by local_mean."""

SMALLEST_RETINA_PX = 128
"""A retina that is lower or narrower than this, in the photograph's own pixels, is refused: it shows no lesion."""

_SMALLEST_SIDE = 32  # pixels of the picture that a border is looked for on
_DARK, _NEUTRAL, _FLAT = 40, 26, 12  # levels: a background is dark, or grey and even
_LEAST_CONTRAST = 20.0  # levels between retina and background; the dimmest of IDRiD has 61
_DIM = 80.0  # levels; a dimmer retina is one only if its outline is round: noise around it can pass for a part of it
_NOTHING = 6.0  # levels; smaller differences are noise
_EVERY = 16  # one in so many pixels of a row is compared
_FULL_ROW = 0.9  # share of a row that has the frame's colour: its lettering covers less, the retina's surround more
_APART = 0.8  # share of the pixels just inside a frame that differ from it; beside a round retina fewer than half do
_SMALL = 0.5  # share of a picture's area; a retina whose box has less is looked for again, around that box
_SMALLEST_SHARE = 0.2  # of both sides: of a smaller one too few pixels are left to find a border
_ROUND_SHARE = 0.9  # of its convex hull; IDRiD has 0.990 and more
_RECTANGLE_SHARE = 0.97  # of its box; IDRiD has 0.88 at most
_SECOND_SHARE = 0.3  # of the largest patch; beside the retinas of IDRiD there is none
_TALL, _WIDE = 1.1, 2.0  # height over width and its inverse; IDRiD has 0.82 to 0.85, a retina with its whole border 1
_GREENEST = 0.9  # red over green, on average; IDRiD has 1.54 and more
_GREY = 12.0  # levels between red and blue, on average; IDRiD has 50 and more
_HOLLOW_SHARE = 0.1  # of dark pixels within the border; IDRiD has 0.013 at most
_BURNT, _WHITE = 250, 230  # levels
_BURNT_SHARE = 0.25  # of pixels whose red and green are burnt out; IDRiD has 0.019 at most
_BURNT_RED_SHARE = 0.98  # of pixels whose red is; IDRiD has 0.26 at most, and its green still shows the vessels
_EDGE_ROWS = 0.9  # quantile over rows: text or a reflection beside the retina covers fewer than a tenth of them
_FLARE = (
    0.06  # of the radius: between the circle and the edge of the photograph; less is a retina that is not quite round
)
_STEEPER = 2.0  # times as a glow at its edge: the border within it
_ON_CIRCLE = 0.6  # of an outline's points
_FUNDUS = "give a colour photograph of the fundus"

_Box = tuple[slice, slice]


@dataclass(frozen=True)
class Retina:
    """Where the retina begins and ends: fractions of the photograph's width and height, 0 to 1.

    Attributes:
        left: Left border.
        right: Right border, above `left`.
        top: Upper border; 0 where the photograph cuts the retina, as many cameras do.
        bottom: Lower border, above `top`.
    """

    left: float
    right: float
    top: float = 0.0
    bottom: float = 1.0


def find_retina(rgb: NDArray[np.uint8]) -> Retina:
    """The borders of the retina.

    A coarse picture tells which patch is retina; strips of a finer picture tell where its border lies, between their
    pixels. Both are halved from the photograph, as a decoder does it, so that the border stays the same when the
    photograph is decoded at another scale. A retina that fills the frame has its borders at 0 and 1. A frame or bars
    around the photograph are taken off first. A retina that is small in its surround is searched for again with less
    of it, so that its borders are those of the photograph without its surround.

    Args:
        rgb: Photograph, uint8, shape (height, width, 3).

    Raises:
        PhotographError: If there is no retina, that is, no large, warm-coloured, smooth and not quite even patch; or if
            it is too dark, burnt out, grey, or one of two.
    """
    _check_shape(*rgb.shape[:2])
    fine, times = halved(rgb, min(rgb.shape[:2]), BORDER_PX)
    coarse, times_coarser = halved(fine, min(fine.shape[:2]), BORDER_PX // 2)
    step = times * times_coarser
    inside = _within_thin_bars(rgb, 3 * step)
    if inside is not None:
        return _within(rgb, inside)
    corners, even = _corners(coarse)
    framed = _in_frame(coarse, corners)
    if framed is not None:
        return _within(rgb, _enlarged(framed, step, coarse, rgb))
    background = _background(corners, even)
    if background is None:
        _check_looks_like_retina(coarse, np.ones(coarse.shape[:2], np.uint8))
        return Retina(0.0, 1.0)
    distance = _distance(coarse, background)
    contrast = _contrast(distance)
    threshold = max(0.2 * contrast, _NOTHING) if contrast >= _LEAST_CONTRAST else _NOTHING
    patch, box = _largest_patch(coarse, distance, threshold)
    if contrast < _LEAST_CONTRAST or _share(box, coarse) < _SMALL:
        return _within(rgb, _enlarged(_around(box, distance), step, coarse, rgb))
    if _is_rectangle(patch, box) and _share(box, coarse) < 1:
        return _within(rgb, _enlarged(box, step, coarse, rgb))
    _check_round(patch, box, contrast)
    if contrast < _DIM and _circle(patch) is None:
        raise _too_dark(contrast)
    _check_looks_like_retina(coarse, patch)
    finer = tuple(slice(side.start * times_coarser, side.stop * times_coarser) for side in box)
    before, behind = _borders(fine, (finer[0], finer[1]), background, threshold)
    height, width = (side / times for side in rgb.shape[:2])  # `fine` leaves out what does not make a whole pixel
    retina = Retina(
        before[1] / width,
        (fine.shape[1] - behind[1]) / width if behind[1] else 1.0,
        before[0] / height,
        (fine.shape[0] - behind[0]) / height if behind[0] else 1.0,
    )
    return _without_flare(retina, patch, (height / times_coarser, width / times_coarser))


def retina_mask(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The pixels that show retina, by the background in the corners.

    Works on a photograph, on the square that a network sees, and on one that is normalised.

    Args:
        picture: uint8 RGB, shape (height, width, 3).

    Returns:
        Bool, shape (height, width); all True where the retina fills the picture, or no background is seen.
    """
    fine, _ = halved(picture, min(picture.shape[:2]), 2 * BORDER_PX)
    background = _background(*_corners(fine))
    if background is None:
        return np.ones(picture.shape[:2], bool)
    distance = _distance(fine, background)
    # local_mean leaves of a retina its bright rim and its vessels, on grey, and draws a dark seam outside the rim.
    has_rim_alone = np.abs(fine.mean(axis=(0, 1)) - LOCAL_MEAN).max() < 8 and np.ptp([*background, LOCAL_MEAN]) < 24
    if has_rim_alone:
        apart = cv2.subtract(fine, (*background.tolist(), 0)).max(axis=2) > 4 * _NOTHING
    else:
        apart = distance > max(0.2 * float(np.quantile(distance, 0.7)), _NOTHING)
    apart = cv2.morphologyEx(apart.view(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    outlines, _ = cv2.findContours(apart, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return np.ones(picture.shape[:2], bool)
    # The largest patch: text stands apart.
    around = cv2.convexHull(np.concatenate(outlines)) if has_rim_alone else max(outlines, key=cv2.contourArea)
    mask = cv2.drawContours(np.zeros(apart.shape, np.float32), [around], -1, 1, cv2.FILLED)
    large = cv2.resize(mask, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(large > 0.5, bool)


def check_whole(retina: Retina, height: int, width: int) -> None:
    """Refuse a retina that is too small to show lesions, lies on its side, or is only a part of a retina.

    Args:
        retina: Its borders.
        height: Of the photograph, pixels.
        width: Of the photograph, pixels.

    Raises:
        PhotographError: With the reason.
    """
    high, wide = round((retina.bottom - retina.top) * height), round((retina.right - retina.left) * width)
    if min(high, wide) < SMALLEST_RETINA_PX:
        raise PhotographError(
            f"shows a retina of {wide} x {high} pixels, at least {SMALLEST_RETINA_PX} x {SMALLEST_RETINA_PX} are"
            " needed; give the photograph as the camera wrote it"
        )
    if high > _TALL * wide:
        raise PhotographError(
            f"shows no upright retina: what stands out is {wide} pixels wide and {high} high, as a retina on its side,"
            " a part of one, or two above each other are; save one whole retina, upright"
        )
    if wide > _WIDE * high:
        raise PhotographError(
            f"shows no whole retina: what stands out is {wide} pixels wide and {high} high; save the whole of it"
        )


def _check_shape(height: int, width: int) -> None:
    if min(height, width) < _SMALLEST_SIDE:
        raise PhotographError(f"shows no retina: it is {width} x {height} pixels; {_FUNDUS}")
    if max(height, width) > 4 * min(height, width):
        raise PhotographError(f"shows no retina: it is more than four times as long as wide; {_FUNDUS}")


def halved(rgb: NDArray[np.uint8], side_px: float, least_px: int) -> tuple[NDArray[np.uint8], int]:
    """The picture, halved as often as a side keeps enough pixels.

    Args:
        rgb: Picture, uint8, shape (height, width, 3).
        side_px: The side, in pixels of the picture.
        least_px: Pixels that the side keeps.

    Returns:
        The smaller picture, and how many pixels of a row are one now.
    """
    times = 1
    while side_px >= 2 * least_px * times:
        height, width = (side // 2 for side in rgb.shape[:2])
        rgb = _uint8(cv2.resize(rgb[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA))
        times *= 2
    return rgb, times


def _within_thin_bars(rgb: NDArray[np.uint8], widest: int) -> _Box | None:
    """What lies inside bars of at most `widest` pixels; None where there are none. The coarse picture hides them."""
    by_columns = rgb.transpose(1, 0, 2)
    top, bottom, left, right = (_bar_px(rows[: widest + 2]) for rows in (rgb, rgb[::-1], by_columns, by_columns[::-1]))
    if not top + bottom + left + right:
        return None
    return slice(top, rgb.shape[0] - bottom), slice(left, rgb.shape[1] - right)


def _bar_px(rows: NDArray[np.uint8]) -> int:
    """Rows of a bar of one colour that begins with the first row and ends before the last; 0 where there is none."""
    first, last = rows[0, ::_EVERY], rows[-1, ::_EVERY]
    if np.count_nonzero((cv2.absdiff(first, last) > _FLAT).any(axis=1)) < len(first) // 2:
        return 0  # as in most photographs; a few pixels are quick to compare
    mean, spread = (levels.ravel() for levels in cv2.meanStdDev(rows[:1]))
    if spread.max() >= _FLAT:
        return 0
    shares = np.mean(_distance(rows, _uint8(mean.round())) <= _FLAT, axis=1)
    n = int(np.argmin(shares >= _FULL_ROW))
    # One further in: the row behind the bar can be half of it.
    return n + 1 if n and n + 1 < len(rows) and shares[n + 1] <= 1 - _APART else 0


def _in_frame(picture: NDArray[np.uint8], corners: NDArray[np.int32]) -> _Box | None:
    """What lies inside a frame or bars of one colour; None where there are none.

    Just inside a frame nearly all pixels differ from it, which they do not in the surround of a round retina.
    """
    seen: list[NDArray[np.uint8]] = []
    for colour in corners.astype(np.uint8):
        if any(np.abs(colour.astype(int) - other).max() <= _FLAT for other in seen):
            continue
        seen.append(colour)
        same = _distance(picture, colour) <= _FLAT
        is_frame = [np.count_nonzero(same, axis=axis) >= _FULL_ROW * same.shape[axis] for axis in (1, 0)]
        for through_lettering in (False, True):
            rows, columns = (_without_ends(side, through_lettering) for side in is_frame)
            if _is_frame_around(rows, columns, same):
                return rows, columns
    return None


def _without_ends(is_frame: NDArray[np.bool_], through_lettering: bool) -> slice:
    """The rows that are left when those of the frame are taken off at both ends."""
    half = len(is_frame) // 2
    first, last = is_frame[:half], is_frame[: half - 1 : -1]
    if through_lettering:
        n_first, n_last = (len(side) - int(np.argmax(side[::-1])) if side.any() else 0 for side in (first, last))
    else:
        n_first, n_last = (int(np.argmin(np.append(side, False))) for side in (first, last))
    return slice(n_first, len(is_frame) - n_last)


def _is_frame_around(rows: slice, columns: slice, same: NDArray[np.bool_]) -> bool:
    """Whether the pixels just inside the rows and columns that are taken off differ from them."""
    inner = ~same[rows, columns]
    if inner.shape == same.shape or min(inner.shape) < _SMALLEST_SIDE // 2:
        return False
    # One further in: where the frame ends, a pixel is half of it.
    edges = (
        (rows.start > 0, inner[1]),
        (rows.stop < same.shape[0], inner[-2]),
        (columns.start > 0, inner[:, 1]),
        (columns.stop < same.shape[1], inner[:, -2]),
    )
    return all(edge.mean() >= _APART for is_cut, edge in edges if is_cut)


def _around(box: _Box, distance: NDArray[np.uint8]) -> _Box:
    """A small retina's box with some of its surround.

    Raises:
        PhotographError: If there is no retina in it, or too small a one.
    """
    inside = distance[box]
    contrast = _contrast(inside)
    shares = [n / of for n, of in zip(inside.shape, distance.shape, strict=True)]
    if contrast < _LEAST_CONTRAST:
        if _share(box, distance) < _SMALL:
            raise _nothing()
        raise _too_dark(contrast)
    if max(shares) < _SMALLEST_SHARE:
        raise PhotographError(
            f"shows no retina: what stands out fills {shares[1]:.0%} of its width and {shares[0]:.0%} of its height;"
            " cut off what surrounds the retina"
        )
    rows, columns = (
        slice(max(0, side.start - margin), side.stop + margin)
        for side, margin in ((side, max(2, (side.stop - side.start) // 10)) for side in box)
    )
    if _share((rows, columns), distance) > 0.8:
        raise _no_patch() if contrast > 2 * _LEAST_CONTRAST else _too_dark(contrast)
    return rows, columns


def _enlarged(box: _Box, step: int, small: NDArray[np.uint8], large: NDArray[np.uint8]) -> _Box:
    """The box of a picture that is `step` times smaller, in the large one, whose last pixels the small one leaves out.

    What it holds of a frame is a thin bar.
    """
    rows, columns = (
        slice(side.start * step, side.stop * step if side.stop < n else of)
        for side, n, of in zip(box, small.shape, large.shape, strict=False)
    )
    return rows, columns


def _within(rgb: NDArray[np.uint8], box: _Box) -> Retina:
    """The retina that lies within a box of the photograph."""
    rows, columns = box
    height, width = rgb.shape[:2]
    inside = rgb[rows, columns]
    retina = find_retina(inside)

    def place(fraction: float, side: slice, n: int, of: int) -> float:
        return float((side.start + fraction * n) / of)

    return Retina(
        place(retina.left, columns, inside.shape[1], width),
        place(retina.right, columns, inside.shape[1], width),
        place(retina.top, rows, inside.shape[0], height),
        place(retina.bottom, rows, inside.shape[0], height),
    )


def _share(box: _Box, of: NDArray[np.uint8]) -> float:
    """Of the picture's area, that within a box."""
    rows, columns = (min(side.stop, n) - side.start for side, n in zip(box, of.shape, strict=False))
    return float(rows * columns / (of.shape[0] * of.shape[1]))


def _corners(picture: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The median colour of each corner, shape (4, 3), and whether it is even, shape (4,)."""
    side = 3  # odd, so the median of a corner is one of its levels
    corners = [picture[rows, columns] for rows in (slice(side), slice(-side, None))
               for columns in (slice(side), slice(-side, None))]  # fmt: skip
    colours = np.sort(np.reshape(corners, (4, -1, 3)), axis=1)[:, side * side // 2].astype(np.int32)
    return colours, np.array([cv2.meanStdDev(corner)[1].max() < _FLAT for corner in corners])


def _background(colours: NDArray[np.int32], even: NDArray[np.bool_]) -> NDArray[np.uint8] | None:
    """The colour around the retina; None where the retina fills the frame.

    It is dark, grey, or of a colour that no retina has. With fewer than two corners of background the retina reaches
    both sides anyway.
    """
    dark = colours.max(axis=1) < _DARK
    neutral = colours.max(axis=1) - colours.min(axis=1) < _NEUTRAL
    cold = colours[:, 1:].max(axis=1) > colours[:, 0] + _FLAT
    colours = colours[neutral & (dark | even) | cold & even]
    if len(colours) < 2:
        return None
    # The corner darkest of all: a reflection or a label brightens a corner, nothing darkens it.
    return _uint8(min(colours, key=lambda colour: float(colour.sum())))


def _distance(picture: NDArray[np.uint8], background: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Levels between each pixel and the background, in the channel that differs most."""
    red, green, blue = cv2.split(cv2.absdiff(picture, (*background.tolist(), 0)))
    return _uint8(cv2.max(cv2.max(red, green), blue))


def _contrast(distance: NDArray[np.uint8]) -> float:
    """Levels between the background and a retina that fills at least three tenths of the picture."""
    levels = distance.ravel()
    at = int(0.7 * len(levels))
    return float(np.partition(levels, at)[at])


def _largest_patch(
    picture: NDArray[np.uint8], distance: NDArray[np.uint8], threshold: float
) -> tuple[NDArray[np.uint8], _Box]:
    """The largest patch that stands out, as a mask, and the rows and columns that it reaches over."""
    apart = cv2.morphologyEx((distance > threshold).view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    outlines, _ = cv2.findContours(apart, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)  # faster than labelling each pixel
    if not outlines:
        raise _nothing()
    *others, largest = sorted(outlines, key=cv2.contourArea)
    if others and cv2.contourArea(others[-1]) > _SECOND_SHARE * cv2.contourArea(largest):
        red, green, blue, _ = cv2.mean(picture, mask=_filled(others[-1], apart))
        if red > max(green, 1.05 * blue):
            raise PhotographError("shows two retinas; save each as a photograph of its own")
    left, top, width, height = cv2.boundingRect(largest)
    return _filled(largest, apart), (slice(top, top + height), slice(left, left + width))


def _filled(outline: Any, apart: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The patch within an outline, as a mask; its holes stay open."""
    return _uint8(cv2.drawContours(np.zeros_like(apart), [outline], -1, 1, cv2.FILLED) & apart)


def _is_rectangle(patch: NDArray[np.uint8], box: _Box) -> bool:
    """Whether a patch fills its box, as a photograph in an uneven frame does, and a retina does not."""
    (outline, *_), _ = cv2.findContours(patch, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rows, columns = box
    # An outline goes through the middle of the outermost pixels.
    whole = (rows.stop - rows.start - 1) * (columns.stop - columns.start - 1)
    return bool(cv2.contourArea(outline) > _RECTANGLE_SHARE * whole)


def _check_round(patch: NDArray[np.uint8], box: _Box, contrast: float) -> None:
    (outline, *_), _ = cv2.findContours(patch, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    area = cv2.countNonZero(patch)
    # A disc covers 0.79 of its box, more when it is cut at the top and the bottom.
    is_large = area > 0.15 * patch.size and area > 0.6 * _share(box, patch) * patch.size
    if not is_large or cv2.contourArea(outline) < _ROUND_SHARE * cv2.contourArea(cv2.convexHull(outline)):
        raise _no_patch() if contrast > 2 * _LEAST_CONTRAST else _too_dark(contrast)


def _check_looks_like_retina(picture: NDArray[np.uint8], patch: NDArray[np.uint8]) -> None:
    mask = cv2.erode(patch, np.ones((5, 5), np.uint8))  # without the edge, which is never even
    mean, spread = (numbers.ravel() for numbers in cv2.meanStdDev(picture, mask=mask))
    red, green, blue = cv2.split(picture)
    n = max(1, cv2.countNonZero(mask))
    if max(cv2.mean(cv2.absdiff(red, other), mask=mask)[0] for other in (green, blue)) < _GREY:
        what = "white, as a page is, or a retina that is burnt out"
        if min(mean) < _WHITE:
            what = "grey, as a red-free picture or an angiogram is"
        raise PhotographError(f"shows no retina in colour: what stands out is {what}; {_FUNDUS}")
    for channels, highest_share in ((red, _BURNT_RED_SHARE), (cv2.min(red, green), _BURNT_SHARE)):
        burnt = cv2.countNonZero(((channels >= _BURNT) & mask).view(np.uint8)) / n
        if burnt > highest_share:
            raise PhotographError(
                f"shows a retina that is burnt out: {burnt:.0%} of it has the highest level; take it again with less"
                " light"
            )
    highest = cv2.max(cv2.max(red, green), blue)
    dark = cv2.countNonZero(((highest < 0.15 * cv2.mean(highest, mask=mask)[0]) & (mask > 0)).view(np.uint8)) / n
    if dark > _HOLLOW_SHARE:
        raise PhotographError(
            f"shows no retina with a border: {dark:.0%} of what stands out is dark; cut off what surrounds the retina"
        )
    if mean[0] < max(_GREENEST * mean[1], 1.05 * mean[2]):
        levels = ", ".join(f"{name} {level:.0f}" for name, level in zip(("red", "green", "blue"), mean, strict=True))
        raise PhotographError(f"shows no retina: its colours are not those of one ({levels}); {_FUNDUS}")
    if spread.max() < 1.5:
        raise PhotographError(f"shows no retina: it is of one colour; {_FUNDUS}")
    grain = np.mean(cv2.mean(cv2.absdiff(picture, cv2.blur(picture, (3, 3))), mask=mask)[:3])
    if grain > 0.35 * spread.max():
        raise PhotographError(f"shows no retina: it is noise; {_FUNDUS}")


def _too_dark(contrast: float) -> PhotographError:
    return PhotographError(
        f"shows a retina that is too dark: it differs from its background by {contrast:.0f} of 255 levels;"
        " take it again with more light"
    )


def _nothing() -> PhotographError:
    return PhotographError(f"shows no retina: nothing stands out from the background; {_FUNDUS}")


def _no_patch() -> PhotographError:
    return PhotographError(f"shows no retina: there is no large round patch; {_FUNDUS}")


def _borders(
    picture: NDArray[np.uint8], box: _Box, background: NDArray[np.uint8], threshold: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Pixels before a retina and behind it, each by rows and by columns; 0 where it reaches the picture's edge."""
    rows, columns = box
    down, across = ((side.stop - side.start) // 10 for side in box)
    strips = (
        _distance(picture[: rows.start + down, columns], background).T,
        _distance(picture[rows, : columns.start + across], background),
        _distance(picture[rows.stop - down :, columns], background)[::-1].T,
        _distance(picture[rows, columns.stop - across :], background)[:, ::-1],
    )
    top, left, bottom, right = (_border(strip, threshold) for strip in strips)
    return (top, left), (bottom, right)


def _border(side: NDArray[np.uint8], threshold: float) -> float:
    """Where, going left from the last column, the retina ends; pixels, between pixels.

    Where the distance falls to the threshold; or, if that is in a glow around the retina, where it falls most steeply.
    """
    row = int(_EDGE_ROWS * (len(side) - 1))
    profile = np.partition(side, row, axis=0)[row].astype(np.float32)
    border = _crossing(profile, threshold)
    here = max(0, round(border) - 1)
    steps = profile[here + 3 :] - profile[here:-3]  # over three pixels
    if border == 0 or not len(steps):
        return border
    steepest = int(np.argmax(steps))
    if steps[steepest] < max(threshold, _STEEPER * steps[:2].max()):
        return border
    edge = here + steepest
    return _crossing(profile[: edge + 4], float(profile[edge] + profile[edge + 3]) / 2)


def _crossing(profile: NDArray[np.float32], threshold: float) -> float:
    """Where, going left from the last pixel, the profile falls to the threshold; pixels, between pixels."""
    below = np.flatnonzero(profile <= threshold)
    if not below.size:
        return 0.0
    last = min(int(below[-1]), len(profile) - 2)
    rise = float(profile[last + 1] - profile[last])
    return last + 0.5 + (float(threshold - profile[last]) / rise if rise > 0 else 0.0)


def _without_flare(retina: Retina, patch: NDArray[np.uint8], size: tuple[float, float]) -> Retina:
    """The borders without what lies between a round retina and the edge of its photograph, where both are lit.

    Stray light or an uneven background reaches the edge as if the photograph cut the retina there. It is told by the
    rest of the outline, which lies on a circle that ends well before.

    Args:
        retina: Its borders; only those at an edge of the photograph change.
        patch: What stands out, as a mask.
        size: Of the whole photograph, in pixels of the mask.
    """
    if retina.left > 0 and retina.right < 1 and (retina.top > 0) == (retina.bottom < 1):
        return retina
    circle = _circle(patch)
    if circle is None:
        return retina
    x, y, radius = circle
    height, width = size
    gaps = {
        "left": (x - radius) / width, "right": 1 - (x + radius + 1) / width,
        "top": (y - radius) / height, "bottom": 1 - (y + radius + 1) / height,
    }  # fmt: skip
    changed = {}
    for side, gap in gaps.items():
        edge = float(side in ("right", "bottom"))
        if getattr(retina, side) == edge and gap * (width if side in ("left", "right") else height) > _FLARE * radius:
            changed[side] = abs(edge - gap)
    return replace(retina, **changed)


def _circle(patch: NDArray[np.uint8]) -> tuple[float, float, float] | None:
    """The circle on which most of an outline lies: column, row and radius, in pixels; None where there is none.

    The edge of the picture is left out. Circles through three points of the outline are tried, and the one with most
    points near it is fitted to these (least squares).
    """
    (outline, *_), _ = cv2.findContours(patch, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = outline[:, 0].astype(np.float64)
    points = points[((points > 1) & (points < np.array(patch.shape[::-1]) - 2)).all(axis=1)]
    some = points[:: max(1, len(points) // 60)]
    if len(some) < 20:
        return None
    tried = np.concatenate([np.stack([some, np.roll(some, n, axis=0), np.roll(some, 2 * n, axis=0)], axis=1)
                            for n in (len(some) // 8, len(some) // 4, len(some) // 3)])  # fmt: skip
    circles = np.stack([solution for three in tried if (solution := _through(three)) is not None])
    off = np.abs(np.hypot(*(some[None] - circles[:, None, :2]).transpose(2, 0, 1)) - circles[:, 2:])
    best = int(np.argmax(np.count_nonzero(off < 1 + 0.01 * circles[:, 2:], axis=1)))
    near = points[np.abs(np.hypot(*(points - circles[best, :2]).T) - circles[best, 2]) < 1 + 0.01 * circles[best, 2]]
    if len(near) < _ON_CIRCLE * len(points):
        return None
    x, y, radius = _through(near) or circles[best]
    return float(x), float(y), float(radius)


def _through(points: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """The circle through points, by least squares (Kasa 1976); None where they lie on a line."""
    terms = np.column_stack([2 * points, np.ones(len(points))])
    (x, y, rest), _, rank, _ = np.linalg.lstsq(terms, (points**2).sum(axis=1))
    return (float(x), float(y), float(np.sqrt(max(0.0, rest + x * x + y * y)))) if rank == 3 else None


def _uint8(array: Any) -> NDArray[np.uint8]:
    return np.asarray(array, dtype=np.uint8)
