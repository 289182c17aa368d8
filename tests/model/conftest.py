"""Eyes small enough to train on in a test."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from drsearch.datasets.boxes import Box


@dataclass(frozen=True)
class SmallEyes:
    """Images, labels, grades, boxes around lesions and macular edema, as training asks for them."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    grades: NDArray[np.int64]
    boxes: tuple[tuple[Box, ...], ...]
    edema: tuple[bool | None, ...]


def _eyes(n: int, seed: int) -> SmallEyes:
    """Noise of 32 px; label 1 has a bright spot at a random place, and some of them edema."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 > 0).astype(np.int64)
    images = rng.integers(60, 120, (n, 32, 32, 3), np.uint8)
    boxes: list[tuple[Box, ...]] = [()] * n
    edema: list[bool | None] = [False] * n
    for i in np.flatnonzero(labels == 1):
        x, y = rng.integers(4, 26, 2)
        edema[i] = bool(i % 2)
        images[i, y : y + 3, x : x + 3] = 230
        boxes[i] = (Box("hard_exudate", x / 32, y / 32, (x + 3) / 32, (y + 3) / 32),)
    edema[0] = None
    grades = np.where(labels == 1, 2 + np.arange(n) % 3, np.arange(n) % 2)
    return SmallEyes(images, labels, grades, tuple(boxes), tuple(edema))


@pytest.fixture
def train_eyes() -> SmallEyes:
    return _eyes(15, seed=0)


@pytest.fixture
def validation_eyes() -> SmallEyes:
    return _eyes(9, seed=1)


@pytest.fixture
def eight_eyes() -> SmallEyes:
    return _eyes(8, seed=2)
