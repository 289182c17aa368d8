"""Photographs that show the same picture: by their bytes, or by their thumbnails where they were encoded again."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from drsearch.data.images import THUMBNAIL_PX

SAME_THUMBNAIL = 0.075
"""Root mean square difference of two thumbnails up to which they show the same picture, in units of the spread of the
duller one, so that dim photographs are told apart as well as bright ones.

On IDRiD's 413 photographs the same picture stored again (JPEG of quality 50, half and one and a half times the size,
PNG, cropped to 4 pixels beside the retina) is at most 0.052 from the first at 256 px and 0.058 at 32, and of two
different photographs the closest are 0.159 apart: neighbours, the same eye photographed again.
"""

_BLOCK = 8  # a thumbnail's means over blocks of 8 x 8: 16 numbers to search among
_HORIZON = 2.1  # reaches; two of them and what the spread of two thumbnails of the same picture differs by
_AT_ONCE = 256


class _Thumbnails:
    """Thumbnails that can be searched for those near one of them.

    Candidates come from a search tree over the means of blocks and the contrast within blocks. These lie no further
    apart than the thumbnails themselves, so none is missed, and no time is spent on all pairs.
    """

    def __init__(self, thumbnails: NDArray[np.uint8]) -> None:
        self.flat = thumbnails.reshape(len(thumbnails), -1)
        blocks = thumbnails.reshape(-1, THUMBNAIL_PX // _BLOCK, _BLOCK, THUMBNAIL_PX // _BLOCK, _BLOCK)
        means = blocks.mean(axis=(2, 4), dtype=np.float64).reshape(len(thumbnails), -1)
        squares = np.einsum("ij,ij->i", self.flat, self.flat, dtype=np.int64) / self.flat.shape[1]
        variance = np.maximum(squares - means.mean(axis=1) ** 2, 0)
        within = np.sqrt(np.maximum(variance - means.var(axis=1), 0))
        # So that distances are root mean squares, as of thumbnails.
        self.points = np.column_stack([means / np.sqrt(means.shape[1]), within])
        # Levels beyond which nothing shows the same picture.
        self.reach = SAME_THUMBNAIL * np.maximum(np.sqrt(variance), 1.0)

    def tree(self) -> cKDTree:
        """Over `points`; not balanced, because thumbnails that are equal would be told apart at great cost."""
        return cKDTree(self.points, balanced_tree=False)

    def differences(self, thumbnail: NDArray[np.uint8], among: NDArray[np.intp]) -> NDArray[np.float64]:
        """Root mean square differences, in levels, of a thumbnail and some of these; few at a time, to save memory."""
        differences = np.empty(len(among))
        for start in range(0, len(among), _AT_ONCE):
            apart = self.flat[among[start : start + _AT_ONCE]].astype(np.int32) - thumbnail
            squares = np.einsum("ij,ij->i", apart, apart)  # exact, and many times faster than floating point
            differences[start : start + _AT_ONCE] = np.sqrt(squares / apart.shape[1])
        return differences


def same_pictures(thumbnails: NDArray[np.uint8], others: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Pairs of photographs of two sets that show the same picture, even re-encoded or resized.

    Args:
        thumbnails: `EyeImage.thumbnail` of every photograph, uint8, shape (n, THUMBNAIL_PX, THUMBNAIL_PX).
        others: Those of the other set, shape (m, THUMBNAIL_PX, THUMBNAIL_PX).

    Returns:
        Pairs (index in `thumbnails`, index in `others`), in rising order.
    """
    if not len(thumbnails) or not len(others):
        return []
    these, those = _Thumbnails(thumbnails), _Thumbnails(others)
    tree = those.tree()
    pairs = []
    for i in range(len(thumbnails)):
        near = np.sort(np.asarray(tree.query_ball_point(these.points[i], these.reach[i]), dtype=np.intp))
        same = those.differences(these.flat[i], near) <= np.minimum(these.reach[i], those.reach[near])
        pairs += [(i, int(j)) for j in near[same]]
    return pairs


def _pictures(thumbnails: _Thumbnails) -> NDArray[np.int64]:
    """The picture of every thumbnail: the number of the first thumbnail that shows it, directly or through others.

    Thumbnails of one picture are not compared again. Where many are alike, one answers for its neighbours: those around
    which (by the triangle inequality) no other picture lies within reach. A thousand alike take a few thousand
    comparisons.
    """
    picture = np.arange(len(thumbnails.points))
    n_near = thumbnails.tree().query_ball_point(thumbnails.points, thumbnails.reach, return_length=True)
    crowd = np.flatnonzero(n_near > 1)  # the others are near themselves only
    if not len(crowd):
        return picture
    tree = cKDTree(thumbnails.points[crowd], balanced_tree=False)
    answered_for = np.zeros(len(picture), np.bool_)
    for i in crowd:
        if answered_for[i]:
            continue
        horizon = _HORIZON * thumbnails.reach[i]
        near = crowd[tree.query_ball_point(thumbnails.points[i], horizon)]
        near = near[picture[near] != picture[i]]
        apart = thumbnails.differences(thumbnails.flat[i], near)
        same = apart <= np.minimum(thumbnails.reach[i], thumbnails.reach[near])
        joined = np.append(picture[near[same]], picture[i])
        picture[crowd[np.isin(picture[crowd], joined)]] = joined.min()
        ours = picture[near] == picture[i]
        gap = apart[~ours].min(initial=horizon)
        answered_for[near[ours & (apart + thumbnails.reach[near] < gap)]] = True
    return picture


def picture_groups(hashes: Sequence[str], thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The number of the picture that each photograph shows: equal for the same bytes or the same thumbnail.

    Args:
        hashes: Hash of every file's bytes, n of them.
        thumbnails: Their thumbnails, uint8, shape (n, THUMBNAIL_PX, THUMBNAIL_PX).

    Returns:
        int64, shape (n,), numbered from 0.
    """
    _, first, kind = np.unique(np.asarray(hashes, dtype=np.bytes_), return_index=True, return_inverse=True)
    if not len(first):
        return np.zeros(0, np.int64)
    pictures = _pictures(_Thumbnails(thumbnails[first]))  # identical files are one before thumbnails are compared
    return np.asarray(np.unique(pictures, return_inverse=True)[1][kind], dtype=np.int64)
