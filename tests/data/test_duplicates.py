from collections import Counter

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from drsearch.data.decode import read_photograph
from drsearch.data.duplicates import SAME_THUMBNAIL, _Thumbnails, picture_groups, same_pictures
from drsearch.data.images import eye_image
from drsearch.settings import ImageSettings


def thumbnail(data: bytes, image_px: int = 64) -> NDArray[np.uint8]:
    return eye_image(data, ImageSettings(image_px=image_px)).thumbnail


def pairs_among(thumbnails: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Every pair that shows the same picture, by comparing all with all."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    apart = np.sqrt(np.mean((flat[:, None] - flat) ** 2, axis=2))
    spread = np.maximum(flat.std(axis=1), 1.0)
    return [
        (int(i), int(j))
        for i, j in zip(*np.nonzero(apart <= SAME_THUMBNAIL * np.minimum.outer(spread, spread)), strict=True)
        if i < j
    ]


def distinct_thumbnails(n: int, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(30, 226, (n, 4, 4), dtype=np.uint8)
    return np.stack([cv2.resize(one, (32, 32), interpolation=cv2.INTER_LINEAR) for one in coarse])


@pytest.mark.parametrize("image_px", [32, 64, 256])
@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("times", [0.75, 1.0, 1.5, 2.0])
def test_a_picture_is_known_again_at_another_quality_and_size(
    image_px: int, quality: int, times: float, photograph: bytes
) -> None:
    picture = read_photograph(photograph)
    again = cv2.resize(picture, None, fx=times, fy=times, interpolation=cv2.INTER_AREA)
    stored = simplejpeg.encode_jpeg(np.ascontiguousarray(again), quality, "RGB", "420")
    assert same_pictures(thumbnail(photograph, image_px)[None], thumbnail(stored, image_px)[None]) == [(0, 0)]


def test_a_dim_picture_is_told_from_another_dim_one() -> None:
    dim = (distinct_thumbnails(50) * 0.05).astype(np.uint8)
    assert pairs_among(dim) == []


def test_a_mirrored_picture_is_another_one(photograph: bytes) -> None:
    mirrored = np.ascontiguousarray(read_photograph(photograph)[:, ::-1])
    assert same_pictures(thumbnail(photograph)[None], thumbnail(simplejpeg.encode_jpeg(mirrored, 95))[None]) == []


def test_pairs_are_found_between_two_sets() -> None:
    thumbnails = distinct_thumbnails(40)
    thumbnails[30] = np.clip(thumbnails[7] + np.int16(1), 0, 255)
    assert pairs_among(thumbnails) == [(7, 30)]
    assert same_pictures(thumbnails[5:10], thumbnails) == [(0, 5), (1, 6), (2, 7), (2, 30), (3, 8), (4, 9)]
    assert same_pictures(thumbnails[:0], thumbnails) == same_pictures(thumbnails, thumbnails[:0]) == []


def groups_of(thumbnails: NDArray[np.uint8]) -> list[int]:
    return picture_groups([f"{i:05}" for i in range(len(thumbnails))], thumbnails).tolist()


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the thumbnails that are compared with another, pixel by pixel."""
    count: Counter[str] = Counter()
    differences = _Thumbnails.differences

    def counted(self: _Thumbnails, thumbnail: NDArray[np.uint8], among: NDArray[np.intp]) -> NDArray[np.float64]:
        count["thumbnails"] += len(among)
        return differences(self, thumbnail, among)

    monkeypatch.setattr(_Thumbnails, "differences", counted)
    return count


def test_twenty_thousand_different_pictures_are_told_apart_with_next_to_no_comparison(compared: Counter[str]) -> None:
    assert len(set(groups_of(distinct_thumbnails(20_000)))) == 20_000
    assert compared["thumbnails"] < 200


def test_thousands_of_pictures_alike_take_a_few_comparisons_each(compared: Counter[str]) -> None:
    draw = np.random.default_rng(1)
    alike = np.repeat(distinct_thumbnails(3), 2000, axis=0)  # three pictures, in two thousand different files each
    alike = np.clip(alike + draw.integers(-2, 3, alike.shape), 0, 255).astype(np.uint8)
    order = draw.permutation(len(alike))
    groups = np.asarray(groups_of(alike[order]))
    assert all(len(set(groups[order // 2000 == picture])) == 1 for picture in range(3))
    assert len(set(groups)) == 3
    assert compared["thumbnails"] < 3 * len(alike)


def test_a_picture_that_changes_little_by_little_is_one() -> None:
    steps = np.clip(distinct_thumbnails(1)[0] * np.linspace(0.5, 1.0, 80)[:, None, None], 0, 255).astype(np.uint8)
    assert (0, 79) not in pairs_among(steps)
    assert set(groups_of(steps)) == {0}


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.2), st.integers(2, 40))
def test_thumbnails_are_one_picture_exactly_if_a_chain_of_pairs_connects_them(seed: int, noise: float, n: int) -> None:
    draw = np.random.default_rng(seed)
    thumbnails = distinct_thumbnails(3, seed)[draw.integers(0, 3, n)]
    change = np.stack([cv2.resize(draw.normal(0, noise, (k, k)), (32, 32)) for k in draw.integers(1, 9, n)])
    thumbnails = np.clip(thumbnails * draw.uniform(0.1, 1.0) * (1 + change), 0, 255).astype(np.uint8)
    ends = np.asarray(pairs_among(thumbnails), dtype=np.int64).reshape(-1, 2).T
    links = coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(n, n))
    assert groups_of(thumbnails) == connected_components(links, directed=False)[1].tolist()


def test_the_same_bytes_and_the_same_thumbnail_are_one_picture() -> None:
    thumbnails = distinct_thumbnails(6)
    thumbnails[4] = thumbnails[1]
    thumbnails[5] = thumbnails[1]
    groups = picture_groups(["a", "b", "c", "a", "b", "d"], thumbnails)
    assert groups[0] == groups[3]
    assert groups[1] == groups[4] == groups[5]
    assert len(set(groups.tolist())) == 3


def test_no_photographs_are_no_pictures() -> None:
    assert picture_groups([], np.zeros((0, 32, 32), np.uint8)).tolist() == []
