import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium as the system has it; a test that needs it is skipped, and says so, where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine: the MLflow pages were not looked at (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: install drsearch[test]")
    with sync_api.sync_playwright() as playwright:
        # Chromium has no sandbox for root, which is who runs the tests in a container.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures of the pages are left: `DRSEARCH_SCREENSHOTS`, or the test's own folder."""
    folder = Path(os.environ.get("DRSEARCH_SCREENSHOTS") or tmp_path / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
