"""Photographs that are alike in what is no sign of the disease: framing, light and place among the files.

Photographs of one session and camera are. Where some of them train a network and others judge it, it can look good by
knowing the session. `data.split = "likeness"` keeps groups of them on one side.

Source:
    Roberts et al. (2017), Cross-validation strategies for data with temporal, spatial, hierarchical, or phylogenetic
    structure, Ecography 40(8), 913-929.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.data.decode import PhotographData
from drsearch.data.images import decode_photograph, eye_of
from drsearch.data.retina import BORDER_PX
from drsearch.data.splits import each_source
from drsearch.settings import ImageSettings

_SMALLEST = ImageSettings(image_px=BORDER_PX)
_FIELD = 0.45  # radius of the round field, sides
_WEIGHTS = np.array([1.0] * 4 + [0.8] * 6 + [3.0])  # of borders, of means and spreads of colours, of the place


def look_of(photograph: PhotographData) -> tuple[float, ...]:
    """Framing and light of a photograph, the same whatever `images.*` is.

    Args:
        photograph: The file's bytes, or its pixels.

    Returns:
        Ten numbers: the four borders of the retina as shares of the photograph, then mean and standard deviation of
        red, green and blue in the round field, in levels.

    Raises:
        PhotographError: If it cannot be read whole or shows no retina.
    """
    eye = eye_of(decode_photograph(photograph, _SMALLEST), _SMALLEST)
    side = _SMALLEST.image_px
    field = cv2.circle(np.zeros((side, side), np.uint8), (side // 2, side // 2), int(_FIELD * side), 1, cv2.FILLED)
    colours = np.concatenate(cv2.meanStdDev(eye.image, mask=field))
    return (*astuple(eye.retina), *colours.ravel().tolist())


def likeness_groups(
    looks: Sequence[Sequence[float]], groups: NDArray[np.int64], sources: Sequence[str] = ()
) -> NDArray[np.int64]:
    """Groups of photographs that are alike, by k-means; as many as the square root of the photographs of a source.

    Args:
        looks: Of every photograph, see `look_of`, n of them, in the order of their names.
        groups: A number that is equal for photographs which belong together, see `kept_together`: they are alike.
        sources: The data set of each photograph in a pooled set, each of which has groups of its own.

    Returns:
        int64, shape `(n,)`; the same for the same photographs.
    """
    from sklearn.cluster import KMeans

    alike, values = np.empty(len(groups), np.int64), np.asarray(looks, np.float64)
    n_before = 0
    for source in each_source(sources, groups):
        _, group = np.unique(groups[source], return_inverse=True)
        features = np.column_stack([values[source], np.arange(len(source))])
        means = np.stack([np.bincount(group, column) / np.bincount(group) for column in features.T], axis=1)
        spread = means.std(axis=0)
        points = _WEIGHTS * (means - means.mean(axis=0)) / np.where(spread > 0, spread, 1)
        k = min(max(2, round(math.sqrt(len(points)))), len(np.unique(points, axis=0)))
        alike[source] = n_before + KMeans(k, n_init=10, random_state=0).fit_predict(points)[group]
        n_before += k
    return alike
