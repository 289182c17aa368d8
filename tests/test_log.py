"""What log lines look like: sentences on a terminal, with time and place in a file."""

import os
import pty
import re
import subprocess
import sys

import pytest

PROGRAM = "from drsearch.log import start_logging; from absl import logging; start_logging({}); "
PROGRAM += "logging.debug('d'); logging.info('%d runs wait', 2); logging.warning('no space')"


def on_a_terminal(arguments: str) -> list[str]:
    terminal, end = pty.openpty()
    subprocess.run([sys.executable, "-c", PROGRAM.format(arguments)], stderr=end, check=True)
    os.close(end)
    with open(terminal, "rb", buffering=0) as screen:
        return screen.read(10_000).decode().splitlines()


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [("", ["2 runs wait", "warning: no space"]), ("quiet=True", ["warning: no space"])],
)
def test_a_terminal_shows_sentences(arguments: str, shown: list[str]) -> None:
    assert on_a_terminal(arguments) == shown


def test_a_file_and_verbose_have_level_time_and_place() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format("")], capture_output=True, text=True, check=True)
    assert [re.match(r"[IW]\d{4} \d\d:\d\d:", line) is not None for line in done.stderr.splitlines()] == [True, True]
    assert len(on_a_terminal("verbose=True")) == 3
