"""A small set of synthetic eyes, made once, and the real one where it lies."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from drsearch.data.synthetic import synthesize
from drsearch.home import Home

CHECKOUT = Path(__file__).parents[2]


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


@pytest.fixture(scope="session")
def idrid() -> Path:
    path = Path(os.environ.get("DRSEARCH_IDRID") or CHECKOUT / "../shared/idrid").resolve()
    if not path.is_dir():
        pytest.skip(f"the real photographs are not at {path}; DRSEARCH_IDRID names another place")
    return path


@pytest.fixture
def relabel(eyes: Path) -> Callable[[Callable[[list[str]], list[str]]], None]:
    """Change the lines of the table of labels."""

    def change(edit: Callable[[list[str]], list[str]]) -> None:
        table = eyes / "labels/train.csv"
        table.write_text("\n".join(edit(table.read_text().splitlines())) + "\n")

    return change
