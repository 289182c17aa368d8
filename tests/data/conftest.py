"""A small set of synthetic eyes, made once."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from drsearch.data.mockups import synthesize_layout
from drsearch.data.synthetic import synthesize
from drsearch.datasets.mockups import Mockup
from drsearch.home import Home

MOCKUP_IMAGES = 24


@pytest.fixture(scope="session")
def eyes_made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eyes") / "set"
    synthesize(out, 30, seed=0, image_px=(268, 178))
    return out


@pytest.fixture
def eyes(eyes_made_once: Path, tmp_path: Path) -> Path:
    """Thirty labelled synthetic photographs in the flat layout, free to be spoilt."""
    return Path(shutil.copytree(eyes_made_once, tmp_path / "eyes"))


@pytest.fixture
def photograph(eyes_made_once: Path) -> bytes:
    return (eyes_made_once / "images/train/SYN_001.jpg").read_bytes()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def relabel(eyes: Path) -> Callable[[Callable[[list[str]], list[str]]], None]:
    """Change the lines of the table of labels."""

    def change(edit: Callable[[list[str]], list[str]]) -> None:
        table = eyes / "labels/train.csv"
        table.write_text("\n".join(edit(table.read_text().splitlines())) + "\n")

    return change


@pytest.fixture(scope="session")
def mockup_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Mockup]]:
    """A small mock-up of a layout, drawn when it is first asked for, not to be changed; and the truth about it."""
    root = tmp_path_factory.mktemp("mockups")

    @functools.cache
    def drawn(layout: str) -> tuple[Path, Mockup]:
        return root / layout, synthesize_layout(root / layout, layout, MOCKUP_IMAGES, seed=0, image_px=(206, 137))

    return drawn
