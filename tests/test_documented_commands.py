"""Every command of README, CONTRIBUTING and the pages: it exists with its options and files, and the short ones run."""

import itertools
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer.main
import yaml

import drsearch
from drsearch.cli import app
from drsearch.config import assignments, load
from drsearch.errors import DrsearchError

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAM: Any = typer.main.get_command(app)

NOT_RUN = {
    "ablate": "trains: tests/end_to_end/test_cross_validation.py, tests/api/test_ablate.py",
    "compare": "needs two versions that saw none of the eyes: tests/release/test_compare.py",
    "cancel": "needs a study that runs: tests/faults",
    "cross-validate": "trains: tests/end_to_end/test_cross_validation.py",
    "delete": "deletes the study that these tests share: tests/study",
    "explain": "half a minute: tests/release/test_explain.py",
    "password": "needs a server with users: tests/server",
    "promote": "changes the champion, asks: tests/release/test_decisions.py",
    "rollback": "the same",
    "run-study": "trains: the study that these tests share, tests/end_to_end",
    "serve": "stays: tests/serving/test_http_service.py",
    "stress": "half a minute: tests/release/test_stress.py",
    "synthesize": "makes the photographs that the others read",
    "train": "trains: tests/end_to_end/test_study.py",
    "ui": "stays: tests/browser",
    "users": "needs a server with users: tests/server",
    "worker": "trains: tests/workers",
}
"""Commands that are only parsed here, with the reason, and where they run."""

BROUGHT = {
    "FOLDER", "clinic", "clinic/grades.xlsx", "grades.xlsx", "eye.jpg", "photographs", "eyes", "settings.gin",
    "grid.py", "idrid", "sample-eyes", "xception.py",
}  # fmt: skip
"""What the reader has: photographs, a table, a settings file of a run, a space, and what `make study` draws."""

REPLACED = {"FOLDER": "eyes", "batch_size": "learning_rate"} | dict.fromkeys(
    ("report_grid", "long", "two", "sample", "my_space", "best"), "two_rates"
)
"""Words of the pages that a command is run with something else for: the study that these tests share."""

_OTHERS = {
    ".", ".venv/bin/python", "base64", "chmod", "curl", "docker", "export", "find", "git", "grep", "kubectl", "make",
    "mkdir", "mlflow", "pip", "printf", "python", "rm", "sbatch", "ssh", "sudo", "while",
}  # fmt: skip
"""Other programs with which a line of the pages begins."""


@dataclass(frozen=True)
class Line:
    """One command of a page, its continuation lines joined, without comment and redirection."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)

    def of_drsearch(self) -> tuple[str, list[str]] | None:
        """A command of drsearch and its arguments; None for any other line."""
        words = self.words
        if words[0] != "drsearch":
            return None
        end = next((place for place, word in enumerate(words) if word in (">", "&", "|", "&&")), len(words))
        return words[1], words[2:end]


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """Fenced blocks in one of the languages, and, for "", blocks that are indented."""
    text = page.read_text(encoding="utf-8")
    fences = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    yield from (body for language, body in fences.findall(text) if language in languages)
    if "" in languages:
        yield from re.findall(r"(?:(?<=\n\n)|\A)((?: {4,}\S.*\n(?:\n(?= {4}))?)+)", fences.sub("", text + "\n"))


def lines(page: Path) -> list[Line]:
    """The commands of a page: what follows a `$`, else the lines of a block that begins with a command."""
    found = []
    for block in blocks(page, "", "sh", "bash", "console"):
        flat = re.sub(r"\\\n\s*", " ", block)
        stripped = [line.strip() for line in flat.splitlines()]
        with_prompt = [line[2:] for line in stripped if line.startswith("$ ")]
        first = stripped[0].split()[0] if stripped and stripped[0] else ""
        if with_prompt:
            found += with_prompt
        elif first == "drsearch" or first in _OTHERS or re.match(r"[A-Z_]+=", first):
            found += [line for line in stripped if re.match(r"(drsearch|[a-z./]+|[A-Z_]+=\S+) ", line)]
    return [Line(page.relative_to(ROOT).as_posix(), text) for text in found]


def spaces(page: Path) -> dict[str, str]:
    """The files of Python that a page shows, by the name that the paragraph before says."""
    shown = re.compile(r"`(\w+\.py)`(?:(?!\n\n).)*\n\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return dict(shown.findall(page.read_text(encoding="utf-8")))


LINES = {page.relative_to(ROOT).as_posix(): found for page in PAGES if (found := lines(page))}


def test_there_are_commands_to_check() -> None:
    assert sum(map(len, LINES.values())) > 100
    assert {"README.md", "CONTRIBUTING.md"} < LINES.keys()


@pytest.mark.parametrize("page", LINES)
def test_drsearch_understands_every_command(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options, and the settings that it names, as the command itself reads them."""
    monkeypatch.setenv("DRSEARCH_STORAGE", "sqlite:///studies.db")
    for line in LINES[page]:
        if command := line.of_drsearch():
            name, arguments = command
            context = PROGRAM.commands[name].make_context(name, arguments)
            try:
                files = [each for each in context.params.get("config") or [] if each not in BROUGHT]
                load(files, assignments(context.params.get("set_") or []))
            except DrsearchError as wrong:
                pytest.fail(f"{line.text}: {wrong}")
            context.close()


@pytest.mark.parametrize("page", LINES)
def test_files_of_commands_are_there_or_made_by_an_earlier_line(page: str) -> None:
    """In the repository, in the reader's home (`~`), among what the reader brings, or written by the page itself."""
    written = BROUGHT | spaces(ROOT / page).keys() | {space.stem for space in (ROOT / "search_spaces").glob("*.py")}
    for line in LINES[page]:
        words = line.words
        if command := line.of_drsearch():
            name, arguments = command
            context = PROGRAM.commands[name].make_context(name, arguments)
            given = context.params
            read = [given.get(key) for key in ("space", "known", "labels")]
            for key in ("data", "images"):
                read += given[key] if isinstance(given.get(key), (list, tuple)) else []
            written.add(str(given.get("out_folder")))
            for path in map(str, filter(None, read)):
                assert path.startswith("~/") or path in written or (ROOT / path).exists(), f"{line.text}: {path}"
            context.close()
        written |= {words[place + 1] for place, word in enumerate(words[:-1]) if word in (">", "-o", "--out")}
        for word in words:
            if re.fullmatch(r"(docs|tests|drsearch|search_spaces|mlflow_server)/\S+", word):
                assert (ROOT / word).exists(), f"{line.text}: {word}"


def test_other_programs_get_what_they_know() -> None:
    """Targets of make, modules of benchmarks, services of the compose file, extras of the package."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    services = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
    extras = re.findall(r"^([a-z]+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for line in (line for found in LINES.values() for line in found):
        for words in (part.split() for part in re.split(r"&&|;", line.text.partition(" #")[0])):
            match words:
                case ["make", target, *_]:
                    assert target in targets, line
                case ["python", "-m", module, *options] if module.startswith("benchmarks."):
                    source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
                    shared = (ROOT / "benchmarks" / "rounds.py").read_text()
                    assert [word for word in options if word.startswith("--") and word not in source + shared] == [], (
                        line
                    )
                case ["docker", "compose", *rest] if "-f" not in rest:
                    named = [word for word in rest if not word.startswith("-")]
                    if named[0] in ("run", "stop", "exec"):
                        first = named[1:] if named[0] == "stop" else named[1:2]
                        assert set(first) <= services, line
                case ["pip", "install", *rest]:
                    named = ",".join(re.findall(r"\[([a-z,]+)\]", " ".join(rest)))
                    assert set(filter(None, named.split(","))) <= set(extras), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_of_the_pages_is_python_and_names_what_is_public(page: Path) -> None:
    indented = [block for block in blocks(page, "") if re.match(r"    (import|from|def|data =|study =) ?", block)]
    for block in [*blocks(page, "python"), *(re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in indented)]:
        compile(block, page.name, "exec")
        assert set(re.findall(r"\bdrsearch\.([a-z_A-Z]+)\b(?=\()", block)) <= set(drsearch.__all__)


@pytest.fixture(scope="module")
def reader(desk: Any, told: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The folder of a reader, with what the pages name: photographs, tables, a finished study, a champion."""
    folder = tmp_path_factory.mktemp("reader")
    reader = desk.copied(folder)
    champion = reader.run("promote", "retinopathy", "--version", "1", "--yes", "--force", "--reason", "first")
    assert champion.returncode == 0, champion.stderr
    (folder / "search_spaces").symlink_to(ROOT / "search_spaces")
    for page in PAGES:
        for name, text in spaces(page).items():
            (folder / name).write_text(text)
    for name, layout in {"aptos2019": "aptos", "messidor2": "messidor2", "mbrset": "mbrset"}.items():
        reader.json("synthesize", str(folder / name), "--layout", layout, "--images", "24")
    reader.json("synthesize", str(folder / "other-eyes"), "--images", "24", "--seed", "9")
    for name in ("IDRiD", "eyes", "sample-eyes"):
        (folder / name).symlink_to(desk.eyes)
    (folder / "mock-messidor2").symlink_to(folder / "messidor2")
    (folder / "mbrset.toml").write_text(reader.run("describe", str(folder / "mbrset")).stdout)
    photographs = sorted(desk.eyes.glob("images/*/*.jpg"))
    shutil.copy(photographs[0], folder / "eye.jpg")
    (folder / "photographs").mkdir()
    for photograph in photographs[:2]:
        shutil.copy(photograph, folder / "photographs")
    shutil.copytree(desk.eyes / "images", folder / "clinic" / "2024")
    tables = pd.concat(pd.read_csv(table) for table in sorted(desk.eyes.glob("labels/[tv]*.csv")))
    clinic = tables.rename(columns={"Image name": "File", "Retinopathy grade": "ICDR"})[["File", "ICDR"]]
    clinic = clinic.assign(Patient=range(len(clinic)), DME="no", Use="train")
    clinic.loc[clinic.index[::3], "Use"] = "test"
    for place in ("clinic/grades.xlsx", "grades.xlsx"):
        clinic.to_excel(folder / place, index=False)
    return reader


def run_lines() -> list[Line]:
    """One of the lines that have the same command and options."""
    different = {}
    for line in (line for found in LINES.values() for line in found):
        if (command := line.of_drsearch()) and command[0] not in NOT_RUN:
            options = sorted(word.partition("=")[0] for word in command[1] if word.startswith("--"))
            different.setdefault((command[0], len(command[1]) - len(options), *options), line)
    return list(different.values())


@pytest.mark.parametrize("line", run_lines(), ids=lambda line: line.text.partition("  ")[0])
def test_it_runs_as_it_stands(line: Line, reader: Any) -> None:
    command = line.of_drsearch()
    assert command is not None
    given = [re.sub(r"^~", str(reader.folder), REPLACED.get(word, word)) for word in command[1]]
    words = [
        each
        for word in given
        for each in (map(str, reader.folder.glob(word)) if word[:1] != "/" and "*" in word else [word])
    ]
    for option, place in itertools.pairwise(words):
        if option in ("--explain", "--out"):
            (reader.folder / place).unlink(missing_ok=True)
    done = reader.run(command[0], *words, HOME=str(reader.folder))
    assert done.returncode == 0, done.stderr
    if ">" in line.words:
        (reader.folder / line.words[line.words.index(">") + 1]).write_text(done.stdout)


def test_every_command_that_is_not_run_is_on_a_page() -> None:
    documented = {made[0] for found in LINES.values() for line in found if (made := line.of_drsearch())}
    assert documented >= NOT_RUN.keys() - {"users"}
