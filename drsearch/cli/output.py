"""What commands share: the console, JSON, questions, and how the program is called."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from drsearch.display.output import terminal

_quiet = False


def be_quiet(quiet: bool) -> None:
    """Whether commands from now on show their results alone."""
    global _quiet
    _quiet = quiet


def progress_on(out: Console) -> Console:
    """Where progress goes: to the console of the results, or with `--quiet` nowhere."""
    return terminal(quiet=True) if _quiet else out


def console(as_json: bool) -> Console:
    """Where people read: standard output, or standard error when the JSON has the former."""
    return terminal(stderr=as_json)


def print_json(as_json: bool, values: dict[str, Any]) -> None:
    """Print one JSON object on standard output, if it was asked for."""
    if as_json:
        print(json.dumps(values), flush=True)  # a command that goes on may be read through a pipe


def confirmed(out: Console, question: str) -> bool:
    """Whether the person at the terminal says yes; False where nobody can be asked."""
    if not sys.stdin.isatty():
        return False
    return out.input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def command_name() -> str:
    """How this program is called from here, for the commands that it names."""
    if shutil.which("drsearch"):
        return "drsearch"
    if Path(sys.argv[0]).name == "__main__.py":  # python -m drsearch
        return f"{sys.executable} -m drsearch"
    return os.path.relpath(sys.argv[0])
