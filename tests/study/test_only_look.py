"""Can a study be looked at by who may not write, and while somebody else writes?"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rights import as_reader

from drsearch.study.status import trial_rows
from drsearch.trials.storage import open_storage

PROGRAM = (
    "import sys; from drsearch.cli import main\n"
    "for command in (['status'], ['status', 'mine'], ['trials', 'mine']):\n"
    "    sys.argv = ['drsearch', *command]\n"
    "    try: main()\n"
    "    except SystemExit as ended: assert not ended.code, ended.code"
)


def test_who_may_only_read_a_home_can_look(begin: Callable[..., Any]) -> None:
    mine = begin(n_trials=1)
    mine.complete(0, 0.75, 0.5, 0.9)
    mine.storage._backend.engine.dispose()
    (mine.folder / "study").mkdir(parents=True)
    (mine.folder / "study" / "launcher.lock").touch()
    paths = [mine.home.path, *mine.home.path.rglob("*")]
    before = {path: path.stat().st_mtime_ns for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = subprocess.run(
            [*as_reader(), sys.executable, "-c", PROGRAM],
            env={**os.environ, "DRSEARCH_HOME": str(mine.home.path)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 0, done.stderr
    assert f"you may not write to {mine.home.path}: what crashed processes left is shown as it is" in done.stdout
    assert done.stdout.count("0.75") == 3
    assert {path: path.stat().st_mtime_ns for path in mine.home.path.rglob("*")} | before == before


def test_looking_does_not_wait_for_who_writes(begin: Callable[..., Any]) -> None:
    mine = begin(n_trials=2)
    mine.complete(0, 0.75, 0.5, 0.9)
    writer = sqlite3.connect(mine.home.path / "studies.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")  # as a worker that was stopped within a transaction
    try:
        looking = open_storage(mine.home.storage_url, read_only=True)
        rows, _, _ = trial_rows(looking, "mine", mine.home)
        assert [row.value for row in rows] == [0.75, None]
    finally:
        writer.close()


def test_looking_makes_no_database(tmp_path: Path) -> None:
    (tmp_path / "studies.db").touch()
    with pytest.raises(Exception, match="no study database there"):
        open_storage(f"sqlite:///{tmp_path / 'studies.db'}", read_only=True)
    assert (tmp_path / "studies.db").stat().st_size == 0
