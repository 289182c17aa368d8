import json
import time

import cv2
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray

from drsearch.data.audit import Audit, Finding, SamePicture, picture_groups, same_picture_findings, same_pictures
from drsearch.data.images import eye_image, read_photograph
from drsearch.settings import ImageSettings


def look(data: bytes) -> NDArray[np.uint8]:
    return eye_image(data, ImageSettings(image_px=64)).look


def distinct_looks(n: int, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(30, 226, (n, 4, 4), dtype=np.uint8)
    return np.stack([cv2.resize(one, (32, 32), interpolation=cv2.INTER_LINEAR) for one in coarse])


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("times", [0.75, 1.0, 2.0])
def test_a_picture_is_known_again_at_another_quality_and_size(quality: int, times: float, photograph: bytes) -> None:
    picture = read_photograph(photograph)
    again = cv2.resize(picture, None, fx=times, fy=times, interpolation=cv2.INTER_AREA)
    stored = simplejpeg.encode_jpeg(np.ascontiguousarray(again), quality, "RGB", "420")
    assert same_pictures(look(photograph)[None], look(stored)[None]) == [(0, 0)]


def test_a_dim_picture_is_told_from_another_dim_one() -> None:
    dim = (distinct_looks(50) * 0.05).astype(np.uint8)
    assert same_pictures(dim) == []


def test_a_mirrored_picture_is_another_one(photograph: bytes) -> None:
    mirrored = np.ascontiguousarray(read_photograph(photograph)[:, ::-1])
    assert same_pictures(look(photograph)[None], look(simplejpeg.encode_jpeg(mirrored, 95))[None]) == []


def test_pairs_are_found_among_themselves_and_between_two_sets() -> None:
    looks = distinct_looks(40)
    looks[30] = np.clip(looks[7] + np.int16(1), 0, 255)
    assert same_pictures(looks) == [(7, 30)]
    assert same_pictures(looks[5:10], looks) == [(0, 5), (1, 6), (2, 7), (2, 30), (3, 8), (4, 9)]
    assert same_pictures(looks[:0], looks) == same_pictures(looks, looks[:0]) == same_pictures(looks[:0]) == []


def test_twenty_thousand_pictures_are_compared_in_seconds() -> None:
    looks = distinct_looks(20_000)
    start = time.monotonic()
    assert same_pictures(looks) == []
    assert time.monotonic() - start < 20


def test_the_same_bytes_and_the_same_look_are_one_picture() -> None:
    looks = distinct_looks(6)
    looks[4] = looks[1]
    looks[5] = looks[1]
    groups = picture_groups(["a", "b", "c", "a", "b", "d"], looks)
    assert groups[0] == groups[3]
    assert groups[1] == groups[4] == groups[5]
    assert len(set(groups.tolist())) == 3


def test_no_photographs_are_no_pictures() -> None:
    assert picture_groups([], np.zeros((0, 32, 32), np.uint8)).tolist() == []


def test_findings_say_how_they_are_the_same_and_whether_grades_agree() -> None:
    files, groups = ["a", "b", "c", "d", "e"], np.array([0, 1, 0, 1, 2])
    found = same_picture_findings(files, [1, 3, 2, 4, 0], ["x", "y", "x", "z", "w"], groups)
    assert found == (SamePicture(("a", "c"), (1, 2), "bytes"), SamePicture(("b", "d"), (3, 4), "pixels"))
    assert [picture.contradicts_itself for picture in found] == [True, True]
    assert [picture.contradicts_itself_in_class for picture in found] == [True, False]
    assert not SamePicture(("a", "b"), (2, None), "bytes").contradicts_itself


def test_an_audit_reads_back_from_json() -> None:
    twice = SamePicture(("c.jpg", "d.jpg"), (1, 2), "pixels")
    audit = Audit(
        9, 5, (Finding("a.jpg", "is no picture"),), (Finding("b.jpg", "shows no retina"),), (Finding("e.jpg", "7"),),
        ("labels/train.csv: f",), ("g.jpg",), (twice,), (twice,),
    )  # fmt: skip
    written = json.loads(json.dumps(audit.to_json()))
    assert Audit.from_json(written) == audit
    assert written["counts"]["contradicting"] == 1
    assert written["contradicting"][0]["files"] == ["c.jpg", "d.jpg"]
    assert audit.bad == (
        "a.jpg (is no picture)", "b.jpg (shows no retina)", "e.jpg (grade '7')",
        "labels/train.csv: f (label without photograph)",
    )  # fmt: skip
