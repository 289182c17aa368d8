"""Are photographs of one session recognised by framing and light, and divided by it?"""

from pathlib import Path

import cv2
import numpy as np
import pytest

from drsearch.data.likeness import likeness_groups, look_of
from drsearch.data.prepare import prepare
from drsearch.data.synthetic import draw_eye, synthesize
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.settings import Settings
from drsearch.training.cross_validation import assign_folds
from drsearch.training.outer_folds import outer_fold


def test_a_look_is_borders_and_colours() -> None:
    eye = draw_eye(0, np.random.default_rng(0)).image
    look = np.array(look_of(eye))
    assert look.shape == (10,)
    darker = np.array(look_of((eye * 0.8).astype(np.uint8)))
    assert darker[:4] == pytest.approx(look[:4], abs=0.01)
    assert darker[4:] == pytest.approx(0.8 * look[4:], rel=0.05, abs=1)
    wider = cv2.copyMakeBorder(eye, 0, 0, 200, 0, cv2.BORDER_CONSTANT)
    assert np.array(look_of(wider))[0] > look[0] + 0.1


def test_sessions_are_told_apart_and_what_belongs_together_is_not() -> None:
    rng = np.random.default_rng(1)
    session = np.repeat([0, 1, 2], 30)
    looks = rng.normal(0, 0.1, (90, 10)) + 5 * session[:, None]
    groups = np.arange(90)
    groups[[89, 45]] = groups[0]  # a picture that is in all three
    alike = likeness_groups(looks, groups)
    assert alike[0] == alike[45] == alike[89]
    others = [i for i in range(90) if i not in (0, 45, 89)]
    for group in np.unique(alike[others]):
        assert len({session[i] for i in others if alike[i] == group}) == 1
    assert np.array_equal(alike, likeness_groups(looks, groups))


def test_each_source_has_groups_of_its_own_and_equal_photographs_are_one_group() -> None:
    looks = np.zeros((12, 10))
    alike = likeness_groups(looks, np.arange(12), ["a"] * 6 + ["b"] * 6)
    assert not set(alike[:6]) & set(alike[6:])
    assert len(set(likeness_groups(looks[:2], np.array([4, 4])))) == 1


def test_a_data_set_is_divided_by_likeness_whatever_the_size_of_its_pictures(tmp_path: Path) -> None:
    synthesize(tmp_path / "eyes", 40, seed=3)
    dataset, ways = open_dataset([tmp_path / "eyes"]), []
    for image_px in (32, 300):
        settings = Settings().replace({"data.split": "likeness", "images.image_px": image_px})
        records = prepare(dataset, settings, Home(tmp_path / "home")).records
        entries = records.eyes("train", "validation", "test")
        ways.append([(eye.name, eye.split, eye.alike) for eye in entries])
        assert "alike" in records.manifest["split"]["test"]
    assert ways[0] == ways[1]
    sides = {alike: {side for _, side, other in ways[0] if other == alike} for _, _, alike in ways[0]}
    assert len(sides) >= 4 and sum(len(each) == 1 for each in sides.values()) >= len(sides) - 2
    held = settings.replace({"search.folds": 3, "search.repeats": 2}).search
    first, second = assign_folds(entries, settings.data, held)
    assert set(first) == set(second) == {0, 1, 2}
    outer = outer_fold(
        entries, settings.data, settings.replace({"search.outer_folds": 3, "search.outer_fold": 2}).search
    )
    assert (outer.judged | outer.train | outer.validation).all()
