"""Draws the photographs of a mock-up, and writes it as a folder."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.data.synthetic import SyntheticEye, check_request, draw_eye, filled_at_once, write_photograph
from drsearch.datasets.mockups import MockPhotograph, Mockup, mockup

_RETINA = ((0.065, 0.86), (0.0, 1.0))  # where a drawn retina lies: shares of width and height
_DARK_AND_BLURRED = (0.4, 0.06)  # share of the light that is left; blur, share of the width


def synthesize_layout(
    out: Path,
    layout: str,
    n_images: int,
    seed: int,
    *,
    image_px: tuple[int, int] = (536, 356),
    on_photograph: Callable[[int, int], None] | None = None,
) -> Mockup:
    """Draw a folder that lies on disk as a public data set does.

    All of it appears at the end: it is drawn in a hidden folder inside `out`, which is removed if drawing is
    interrupted. The eyes of one person have one colour and one camera; a photograph that cannot be graded is dark and
    blurred.

    Args:
        out: New folder, or one that is empty.
        layout: One of `drsearch.datasets.mockups.LAYOUTS`.
        n_images: Number of photographs, those without a grade among them.
        seed: The same seed draws the same bytes.
        image_px: Width and height of a photograph, pixels; what was published as squares gets the width.
        on_photograph: Called with the number of photographs that are drawn and that of all.

    Returns:
        What was drawn: every photograph with the truth about it.

    Raises:
        DataError: If `out` holds anything or is no folder, if there is no such layout, or if a number makes no
            photograph or too few.
    """
    check_request(out, n_images, seed, image_px)
    data_set = mockup(layout, n_images, seed)
    with filled_at_once(out) as drawing:
        for file, data in data_set.files.items():
            _place(drawing, file).write_bytes(data)
        for number, photograph in enumerate(data_set.photographs, start=1):
            _draw(drawing, photograph, [seed, number], [seed, 0, photograph.person], image_px)
            if on_photograph is not None:
                on_photograph(number, len(data_set.photographs))
    return data_set


def _place(folder: Path, file: str) -> Path:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _draw(
    folder: Path, photograph: MockPhotograph, seed: list[int], seed_of_person: list[int], image_px: tuple[int, int]
) -> None:
    eye = draw_eye(
        photograph.lesions_of,
        np.random.default_rng(seed),
        image_px=(image_px[0], image_px[0]) if photograph.is_square else image_px,
        side=photograph.eye,
        edema_risk=photograph.edema_risk,
        colours=np.random.default_rng(seed_of_person),
    )
    image = _spoilt(eye.image) if photograph.grade == "ungradable" else eye.image
    write_photograph(_place(folder, photograph.file), image)
    if photograph.cropped:
        height, width = image.shape[:2]
        (left, right), (top, bottom) = _RETINA
        rows, columns = slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width))
        write_photograph(_place(folder, photograph.cropped), image[rows, columns])
    for file, shown in photograph.masks.items():
        write_photograph(_place(folder, file), _mask(eye, shown))


def _spoilt(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    light, blur = _DARK_AND_BLURRED
    spoilt: NDArray[np.uint8] = cv2.convertScaleAbs(cv2.GaussianBlur(image, (0, 0), blur * image.shape[1]), alpha=light)
    return spoilt


def _mask(eye: SyntheticEye, shown: str) -> NDArray[np.uint8]:
    """White where the retina, or the lesions of one kind, lie: ellipses in their boxes."""
    height, width = eye.image.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    if shown == "retina":
        (left, right), _ = _RETINA
        centre, radius = (int((left + right) / 2 * width), height // 2), int((right - left) / 2 * width)
        cv2.circle(mask, centre, radius, 255, cv2.FILLED)
    for box in eye.boxes:
        if box.lesion == shown:
            centre = int(box.cx * width), int(box.cy * height)
            half = max(1, round(box.w * width / 2)), max(1, round(box.h * height / 2))
            cv2.ellipse(mask, centre, half, 0, 0, 360, 255, cv2.FILLED)
    return mask
