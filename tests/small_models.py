"""Two small sets of synthetic eyes and a model that was never trained: what it says is of no interest, only how."""

import os
from pathlib import Path

import pytest
from untrained import untrained_files

from drsearch.data.prepare import prepare
from drsearch.data.records import RecordSet
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.serving.grader import Grader
from drsearch.settings import Settings

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

SMALL = Settings().replace(
    {"images.image_px": 32, "model.width": 4, "model.stages": 1, "training.epochs": 4, "training.batch_size": 8,
     "training.checkpoint_every_epochs": 2, "training.threads": 1, "study.gradcam_eyes": 2}
)  # fmt: skip


@pytest.fixture(scope="session")
def settings() -> Settings:
    return SMALL


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="session")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("release") / "eyes"
    synthesize(out, 30, seed=0, image_px=(268, 178))
    return out


@pytest.fixture(scope="session")
def photograph(eyes: Path) -> bytes:
    return (eyes / "images/train/SYN_001.jpg").read_bytes()


@pytest.fixture(scope="session")
def records(eyes: Path, tmp_path_factory: pytest.TempPathFactory) -> RecordSet:
    return prepare(open_dataset([eyes]), SMALL, Home(tmp_path_factory.mktemp("prepared"))).records


@pytest.fixture(scope="session")
def files(records: RecordSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return untrained_files(tmp_path_factory.mktemp("model"), records, SMALL)


@pytest.fixture(scope="session")
def grader(files: dict[str, Path]) -> Grader:
    return Grader(files["model.keras"].parent)
