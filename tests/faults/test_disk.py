"""What becomes of a study while the disk is full? A real file system, of some megabytes, that is filled."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import RATES, Bench, space_of
from services import when

pytestmark = pytest.mark.faults


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_waited_for_and_corrupts_nothing(
    small_disk: Path, make_bench: Callable[[Path], Bench], peace: Any
) -> None:
    bench = make_bench(small_disk)
    study = bench.study("full", space_of(RATES))
    launcher = study.start_held((0, 4), (1, 4))
    for log in (study.folder / "workers").glob("*.log"):
        with log.open("a") as file:
            file.write("from here on, a block of this disk is kept for this log\n")
    fill(small_disk / "filling")
    study.release()
    for number in (0, 1):
        words = f"the disk that holds {study.trial_folder(number)} is full; waiting for space\n"
        when(lambda words=words: words in study.logs(), f"the worker of trial {number} to notice", launcher)
    study.workers(launcher)[0].kill()
    # Its launcher cannot note in the database that it is dead, and perhaps has not asked for the process yet.
    when(lambda: "disk is full" in study.said.read_text(), "the launcher to say that the disk is full", launcher)
    (small_disk / "filling").unlink()
    assert study.end(launcher) == peace["told"]
    assert "a worker was killed" in study.said.read_text()
    assert study.curves() == peace["curves"]
    _, traceback, rest = (study.logs() + study.said.read_text()).partition("Traceback")
    assert not traceback, rest[:3000]
    study.accounted_for()
    study.nothing_runs()


def test_preparing_on_a_full_disk_ends_with_a_sentence_and_goes_on_after_space_is_made(
    small_disk: Path, prepared: Bench
) -> None:
    bench = Bench(small_disk)
    bench.eyes.symlink_to(prepared.eyes)
    bench.home.path.mkdir()
    fill(small_disk / "filling")
    done = bench.command("prepare", str(bench.eyes))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"drsearch: the disk that holds {bench.home.path} is full; make space, and give the same command again."
    )
    assert not [path for path in bench.home.records.rglob("*") if path.is_file()], "nothing half-written is left"
    (small_disk / "filling").unlink()
    assert bench.command("prepare", str(bench.eyes)).returncode == 0


def fill(file: Path) -> None:
    """Leave not a byte free."""
    with open(file, "wb", buffering=0) as filling:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    filling.write(os.urandom(size) if size > 1 else b"x")
            except OSError:
                continue
