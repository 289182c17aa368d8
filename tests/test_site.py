"""The documentation site: it builds strictly, and its reference says what the code says."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
import typer.main

from drsearch.cli import app
from drsearch.settings import setting_names

ROOT = Path(__file__).parents[1]


def build(folder: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    pytest.importorskip("mkdocs", reason="the site needs pip install 'drsearch[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder), *more]
    own = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


def text(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def test_every_setting_command_and_option_is_in_the_reference(site: Path) -> None:
    settings, commands = (text(site / "reference" / f"{name}.html") for name in ("settings", "commands"))
    assert [name for name in setting_names() if name not in settings] == []
    options = {
        f"{name} {option}"
        for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]  # it is a group
        for param in command.params
        for option in param.opts
        if param.param_type_name == "option"
    }
    assert len(options) > 100
    sections = dict(re.findall(r"^([a-z-]+)¶$(.*?)(?=^[a-z-]+¶$|\Z)", commands, re.MULTILINE | re.DOTALL))
    assert {each for each in options if each.split()[1] not in sections[each.split()[0]]} == set()


def test_pages_load_nothing_from_other_machines(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"?(https?:[^\" >]+)", page.read_text())
        assert loaded == [], page


def test_tables_and_lists_are_not_run_into_a_paragraph(site: Path) -> None:
    """Where GitHub needs no blank line before them, and the site does."""
    wrong = [
        (page.name, paragraph[:80])
        for page in site.rglob("*.html")
        for paragraph in re.findall(r"<p>(.*?)</p>", page.read_text(), re.DOTALL)
        if re.search(r"^\|?[-|]{3,}$|^\s*[-*] |^\s*\d\. ", paragraph, re.MULTILINE)
    ]
    assert wrong == []


def test_a_broken_link_is_refused(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.md").write_text("# A\n\n[b](b.md), [c](#c), [code](../drsearch/gone.py)\n")
    config = re.sub(r"^nav:\n(?s:.*)", "nav: [index.md]\n", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    config = config.replace("docs_dir: docs", f"docs_dir: {pages}").replace(
        "[docs/hooks.py]", f"[{ROOT}/docs/hooks.py]"
    )
    (tmp_path / "mkdocs.yml").write_text(config.replace("extra_css: [site.css]\n", ""))
    done = build(tmp_path / "site", "--config-file", str(tmp_path / "mkdocs.yml"))
    assert done.returncode == 1
    for target in ("'b.md'", "'#c'", "drsearch/gone.py"):
        assert target in done.stderr, target
