"""Deletion and insertion curves: how fast an answer falls or rises with the pixels that a map calls important."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

STEPS = 16
"""Steps of a curve."""

_BLUR = 1 / 24  # of the side: lesions of the usual sizes are gone


@dataclass(frozen=True)
class Curves:
    """Probabilities while pixels of the retina are taken away, or put back, the most important ones first.

    Attributes:
        deletion: Shape `(n, STEPS + 1)`, from the whole image to one of the retina's mean colour.
        insertion: The same from a blurred image to the whole one.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]

    @property
    def deletion_area(self) -> NDArray[np.float64]:
        """Area under each eye's curve, shape `(n,)`; less is better."""
        return np.asarray(np.trapezoid(self.deletion, dx=1 / STEPS, axis=1))

    @property
    def insertion_area(self) -> NDArray[np.float64]:
        """Likewise; more is better."""
        return np.asarray(np.trapezoid(self.insertion, dx=1 / STEPS, axis=1))


def curves(
    predict: Callable[[NDArray[np.uint8]], NDArray[np.floating]],
    images: NDArray[np.uint8],
    maps: NDArray[np.float32],
    inside: NDArray[np.bool_],
) -> Curves:
    """The curves of some eyes.

    Args:
        predict: Gives the probability of each image.
        images: RGB, uint8, shape `(n, height, width, 3)`.
        maps: Shape `(n, height, width)`.
        inside: The pixels that show retina, of the shape of `maps`; the others stay as they are.

    Source:
        Petsiuk et al. (2018), RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC,
        arXiv:1806.07421.
    """
    deletion, insertion = np.zeros((2, len(images), STEPS + 1))
    rng = np.random.default_rng(0)
    for i, (image, cam, mask) in enumerate(zip(images, maps, inside, strict=True)):
        rows, columns = np.nonzero(mask)
        order = np.lexsort((rng.random(rows.size), -cam[mask]))  # places of one strength in random order
        even = np.where(mask[..., None], np.round(image[mask].mean(axis=0)) if rows.size else 0, image).astype(np.uint8)
        blurred = np.where(mask[..., None], cv2.GaussianBlur(image, (0, 0), _BLUR * image.shape[0]), image)
        without, within = (np.repeat(each[None], STEPS + 1, axis=0) for each in (image, blurred))
        for step in range(1, STEPS + 1):
            some = order[: round(rows.size * step / STEPS)]
            without[step, rows[some], columns[some]] = even[rows[some], columns[some]]
            within[step, rows[some], columns[some]] = image[rows[some], columns[some]]
        deletion[i], insertion[i] = predict(without), predict(within)
    return Curves(deletion, insertion)
