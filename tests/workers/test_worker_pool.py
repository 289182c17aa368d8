"""What does a machine give its workers?"""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from drsearch.errors import StudyError
from drsearch.home import Home
from drsearch.processes import cores, gpus
from drsearch.workers.worker_pool import WorkerPool, worker_environment


def test_workers_take_turns_on_the_gpus_and_their_memory_grows() -> None:
    given = [worker_environment({"A": "b", "CUDA_VISIBLE_DEVICES": "4,5"}, ["4", "5"], i) for i in range(3)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in given] == ["4", "5", "4"]
    assert {one["TF_FORCE_GPU_ALLOW_GROWTH"] for one in given} == {"true"}
    assert {one["A"] for one in given} == {"b"}


def test_without_a_gpu_the_environment_is_left_alone() -> None:
    assert worker_environment({"A": "b"}, [], 0) == {"A": "b"}


@pytest.mark.parametrize(
    ("visible", "found"),
    [("0,1", ["0", "1"]), ("", []), ("-1", []), ("NoDevFiles", []), ("GPU-8f2a,MIG-1", ["GPU-8f2a", "MIG-1"])],
)
def test_only_visible_gpus_count(visible: str, found: list[str]) -> None:
    assert gpus({"CUDA_VISIBLE_DEVICES": visible}) == found


@pytest.mark.parametrize(("limit", "n"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 64), ("", 64)])
def test_a_containers_share_of_the_cores_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, n: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "cpu.max").write_text(limit)
    assert cores(tmp_path) == n
    assert cores(tmp_path / "nowhere") == 64


def test_cores_are_divided_among_the_workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("drsearch.workers.worker_pool.cores", lambda: 8)

    def given(n: int, asked: int | None = None) -> Any:
        pool = WorkerPool("s", tmp_path, Home(tmp_path), "", n, asked)
        return pool._threads, pool._cores

    assert (given(3), given(20), given(3, 5)) == ((2, 2), (1, 1), (5, 2))


def test_workers_that_all_die_before_they_take_a_trial_stop_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = WorkerPool("s", tmp_path, Home(tmp_path), "", 1, 1)
    monkeypatch.setattr(pool, "_start", lambda _: subprocess.Popen(["sh", "-c", "kill -9 $$"]))

    def die() -> bool:
        pool.fill(1)
        pool._workers[0].wait()
        return pool.ended(lambda: [])

    assert die() and die()
    with pytest.raises(StudyError) as stopped:
        die()
    assert str(stopped.value) == (
        "3 workers of study 's' in a row were killed (SIGKILL) before they took a trial, so the study stops; "
        f"a lack of memory does that, and {tmp_path / 'workers' / '0.log'} may tell."
    )
    pool.stop(lambda: None)


def test_two_crews_of_one_home_give_their_workers_other_numbers(tmp_path: Path) -> None:
    first, second = (WorkerPool("s", tmp_path, Home(tmp_path), "", 2, 1) for _ in range(2))
    assert (first._numbers(), second._numbers()) == ([0, 1], [2, 3])
    first.stop(lambda: None)
    third = WorkerPool("s", tmp_path, Home(tmp_path), "", 1, 1)
    assert third._numbers() == [0]
    for pool in (second, third):
        pool.stop(lambda: None)
