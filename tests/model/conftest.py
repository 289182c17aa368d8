"""Eyes small enough to train on in a test."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class SmallEyes:
    """Images, labels and grades, as training asks for them."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    grades: NDArray[np.int64]


def _eyes(n: int, seed: int) -> SmallEyes:
    """Noise of 32 px; label 1 has a bright spot at a random place."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 > 0).astype(np.int64)
    images = rng.integers(60, 120, (n, 32, 32, 3), np.uint8)
    for image in images[labels == 1]:
        x, y = rng.integers(4, 26, 2)
        image[y : y + 3, x : x + 3] = 230
    return SmallEyes(images, labels, np.where(labels == 1, 2 + np.arange(n) % 3, np.arange(n) % 2))


@pytest.fixture
def train_eyes() -> SmallEyes:
    return _eyes(15, seed=0)


@pytest.fixture
def validation_eyes() -> SmallEyes:
    return _eyes(9, seed=1)


@pytest.fixture
def eight_eyes() -> SmallEyes:
    return _eyes(8, seed=2)
