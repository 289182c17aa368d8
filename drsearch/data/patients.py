"""Photographs that stay together in every split: of one picture, or of one patient."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def kept_together(pictures: NDArray[np.int64], patients: Sequence[str]) -> NDArray[np.int64]:
    """The group of every photograph: photographs of one picture or patient have the same number.

    Groups are joined through others, as where a picture is stored again under another patient's name.

    Args:
        pictures: The number of the picture that each of n photographs shows, see `picture_groups`, shape (n,).
        patients: The patient of each; empty where it is unknown.

    Returns:
        int64, shape (n,).

    Example:
        >>> kept_together(np.array([0, 1, 2, 2, 3]), ["A", "A", "B", "", ""]).tolist()
        [0, 0, 1, 1, 2]
    """
    _, picture = np.unique(pictures, return_inverse=True)
    n = int(picture.max(initial=-1)) + 1
    number = {patient: n + i for i, patient in enumerate(sorted({patient for patient in patients if patient}))}
    if not number:
        return np.asarray(picture, dtype=np.int64)
    edges = [(int(picture[i]), number[patient]) for i, patient in enumerate(patients) if patient]
    size = n + len(number)
    graph = coo_array((np.ones(len(edges)), tuple(np.transpose(edges))), (size, size))
    _, component = connected_components(graph, directed=False)
    return np.asarray(component[picture], dtype=np.int64)
