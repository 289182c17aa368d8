"""What the run of a study itself begins with."""

from pathlib import Path

import pytest

from drsearch.run_folder import STUDY_RUN
from drsearch.settings import Settings
from drsearch.study.definition import StudyDefinition
from drsearch.study.study_run import StudyRun
from drsearch.tracking.events import Artifact
from drsearch.tracking.journal import Journal


@pytest.fixture
def run(tmp_path: Path) -> StudyRun:
    definition = StudyDefinition("u" * 32, "s.py", "", Settings(), "eyes", "/eyes", "d", {}, {})
    (tmp_path / "audit.json").write_text("{}")
    page = tmp_path / "contact-sheet.html"
    return StudyRun("s", definition, Settings(), tmp_path / "study", [tmp_path / "audit.json"], page, "")


def logged(folder: Path) -> list[str]:
    """The artifacts of data in the run's journal."""
    events, _ = Journal(folder / STUDY_RUN).read()
    return [event.file for event in events if isinstance(event, Artifact) and event.folder == "data"]


def test_photographs_go_to_mlflow_only_if_their_page_was_asked_for_and_once(run: StudyRun, tmp_path: Path) -> None:
    run.begin()
    assert logged(tmp_path / "study") == ["audit.json"]
    (tmp_path / "contact-sheet.html").write_text("<html></html>")
    run.begin()
    run.begin()
    assert logged(tmp_path / "study") == ["audit.json", "crops.html"]
