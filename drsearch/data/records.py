"""Which eyes does a record set hold, and are they whole?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Eyes:
    """The eyes of one split, in the order of the records.

    Attributes:
        names: Names of the photographs, without extension.
        images: uint8 RGB, shape (n, image_px, image_px, 3).
        grades: Grade of retinopathy 0 to 4, int64, shape (n,).
        labels: 1 for referable (RDR), 0 for not (NRDR), int64, shape (n,).
    """

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    grades: NDArray[np.int64]
    labels: NDArray[np.int64]
