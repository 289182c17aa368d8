"""Is every layout searched, from a drawn folder to a tested model? One here; all of them by `make layouts`."""

from collections import Counter
from typing import Any

import pytest

from drsearch.datasets.mockups import LAYOUTS, mockup

SPACE = '''
"""One setting, the smallest network, two epochs."""

SETTINGS = {
    "study.sampler": "grid",
    "study.gradcam_eyes": 1,
    "images.image_px": 32,
    "model.width": 4,
    "model.stages": 1,
    "training.epochs": 2,
    "training.batch_size": 8,
    "finetune.when": "never",
}


def space(hp):
    hp.Choice("training.learning_rate", [3e-3])
'''

ALWAYS = "messidor2"  # two tables, patients by pairs, names in another case, ungradable eyes
READ_AS = {"eyepacs-resized": "EyePACS, resized"}
"""The layout that is meant, where a mock-up can be read in two ways."""


@pytest.mark.parametrize(
    "layout", [ALWAYS, *(pytest.param(each, marks=pytest.mark.slow) for each in LAYOUTS if each != ALWAYS)]
)
def test_a_layout_is_searched_for_two_epochs_and_tested(bare_desk: Any, layout: str) -> None:
    desk, folder = bare_desk, bare_desk.folder / "mock"
    desk.space.write_text(SPACE)
    read_as = ["--layout", READ_AS[layout]] if layout in READ_AS else []
    drawn = desk.json("synthesize", str(folder), "--layout", layout, "--images", "48", "--seed", "2")
    described = desk.run("describe", str(folder), *read_as)
    assert described.returncode == 0, described.stderr
    data = desk.folder / "data.toml"
    data.write_text(described.stdout)
    splits = desk.json("prepare", str(data), "--set", "images.image_px=32")["counts"]
    told = desk.json("run-study", str(desk.space), "--data", str(data))
    assert told["trials"]["complete"] == 1
    n_eyes = Counter(isinstance(each.grade, int) for each in mockup(layout, 48, 2).photographs)[True]
    assert sum(drawn["grades"].values()) == n_eyes
    assert sum(counts["n"] for counts in splits.values()) == n_eyes
    assert told["test"]["n"] == splits["test"]["n"]
