"""Pictures of a retina whose borders are known to a quarter of a pixel."""

import numpy as np
from numpy.typing import NDArray


def drawn_eye(background: tuple[int, int, int], width: int = 1072, height: int = 712) -> NDArray[np.uint8]:
    """A disc from x = 100.25 to x = 900.25 of 1072, uneven inside."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    away = np.hypot(rows - height / 2, columns - 500.25)
    share = np.clip(400 - away + 0.5, 0, 1)[..., None]
    inside = np.stack([150 + 60 * columns / width, 60 + 50 * rows / height, 30 + 20 * columns / width], axis=-1)
    return np.asarray(np.rint(share * inside + (1 - share) * np.array(background)), dtype=np.uint8)
