"""The help of the program and of its commands."""

import re

import pytest
import typer
from typer import rich_utils
from typer.testing import CliRunner

from drsearch.cli import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
WIDTH = 80


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rich_utils, "MAX_WIDTH", WIDTH)


def help_of(*command: str) -> str:
    done = CliRunner().invoke(app, [*command, "-h"])
    assert done.exit_code == 0
    assert done.output == CliRunner().invoke(app, [*command, "--help"]).output
    return done.output


def test_help_lists_every_command_once_in_a_group_with_a_summary_of_one_line() -> None:
    panels: dict[str, list[str]] = {}
    for line in help_of().splitlines():
        if head := re.match(r"╭─ (\w+) ─", line):
            panels[head[1]] = []
        elif row := re.match(r"│ ([a-z-]+)  +\S.*│", line):
            panels[list(panels)[-1]].append(row[1])
    del panels["Options"]
    assert set(panels) == {"Data", "Studies", "Models", "Champion", "MLflow"}
    assert sorted(sum(panels.values(), [])) == sorted(COMMANDS)
    n_lines = sum(line.startswith("│") for line in help_of().splitlines()) - 7  # the options before a command
    assert n_lines == len(COMMANDS), "a summary is longer than a line of 80 columns"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_command_says_what_it_does_and_names_its_values(name: str) -> None:
    text = help_of(name)
    assert not re.search(r"<\w", text), "a Python type instead of FILE, N, NAME=VALUE ..."
    assert re.search(rf"^ Example: *\n     drsearch {name}\b", text, re.MULTILINE)
    for line in text.splitlines():
        assert len(line) <= WIDTH
    for param in COMMANDS[name].params:
        assert param.help, f"{param.name} has no explanation"


def test_an_option_without_a_value_shows_none() -> None:
    assert re.search(r"--skip-bad +Leave out", help_of("prepare"))
    assert re.search(r"--help +-h +Show", help_of("prepare"))


def test_a_terminal_of_80_columns_breaks_no_paragraph_twice() -> None:
    """The lines of a docstring are joined before they are wrapped."""
    paragraph = re.search(r"Challenger and.*?\n *\n", help_of("promote"), re.DOTALL)
    assert paragraph is not None
    lines = paragraph[0].strip().splitlines()
    assert all(len(line.rstrip()) > 60 for line in lines[:-1])
