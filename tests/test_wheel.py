"""Does the wheel, made from the sdist as an installer makes it, work without the repository?"""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

import pytest

import drsearch
from drsearch.config import load
from drsearch.provenance import source_digest

ROOT = Path(__file__).parents[1]


def build(kind: str, source: Path, into: Path) -> Path:
    hook = f"import hatchling.build, sys; print(hatchling.build.build_{kind}(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", hook, str(into)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return into / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", ROOT, folder)) as packed:
        packed.extractall(folder, filter="data")
    return folder / f"drsearch-{drsearch.__version__}"


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(build("wheel", sdist, tmp_path_factory.mktemp("wheel"))) as packed:
        yield packed


def files(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_sdist_holds_what_a_fork_needs(sdist: Path) -> None:
    names = {path.name for path in sdist.iterdir()}
    assert {"drsearch", "search_spaces", "tests", "docs", "LICENSE", "README.md", "CHANGELOG.md"} <= names
    assert not {".venv", ".git", "drsearch-home", "sample-eyes"} & names


def test_the_wheel_holds_the_package_and_the_search_spaces_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    expected = {f"drsearch/{name}": content for name, content in files(ROOT / "drsearch").items()}
    spaces = files(ROOT / "search_spaces", "*.py")
    expected |= {f"drsearch/search_spaces/{name}": content for name, content in spaces.items()}
    about = f"drsearch-{drsearch.__version__}.dist-info/"
    assert {name: wheel.read(name) for name in wheel.namelist() if not name.startswith(about)} == expected
    assert len(spaces) >= 7
    assert wheel.read(f"{about}licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    metadata = message_from_string(wheel.read(f"{about}METADATA").decode())
    assert metadata["Version"] == drsearch.__version__
    assert {"cpu", "gpu"} <= set(metadata.get_all("Provides-Extra") or ())


def test_the_wheel_finds_its_spaces_configurations_and_version_without_the_repository(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    wheel.extractall(site)
    own = {**os.environ, "PYTHONPATH": str(site), "DRSEARCH_HOME": str(tmp_path / "home")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=own, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-m", "drsearch", "--version") == f"drsearch {drsearch.__version__}\n"
    spaces = json.loads(run("-m", "drsearch", "spaces", "--json"))["spaces"]
    assert [space["name"] for space in spaces] == sorted(path.stem for path in (ROOT / "search_spaces").glob("*.py"))
    for space in spaces:
        assert Path(space["path"]).parent == site / "drsearch/search_spaces"
        assert space["summary"].endswith(".") and space["what_for"] and space["minutes"]
    program = (
        "from drsearch.api.space import space_file\n"
        "from drsearch.config import load\n"
        "from drsearch.provenance import source_digest\n"
        "print(space_file('report_grid', None), load(['small.gin']).images.image_px, source_digest())"
    )
    assert run("-c", program).split() == [
        str(site / "drsearch/search_spaces/report_grid.py"), str(load(["small.gin"]).images.image_px), source_digest()
    ]  # fmt: skip


def test_the_citation_names_the_version() -> None:
    assert f"\nversion: {drsearch.__version__}\n" in (ROOT / "CITATION.cff").read_text()
