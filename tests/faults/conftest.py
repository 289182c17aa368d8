"""Eyes and records once for all faults; every test has a home of its own, or shares one where studies do not meet."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import RATES, Bench, bench_at, space_of


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A home with records and an empty MLflow store, to be copied."""
    bench = Bench(tmp_path_factory.mktemp("prepared"))
    done = bench.command("synthesize", str(bench.eyes), "--images", "24", "--seed", "3")
    assert done.returncode == 0, done.stderr
    bench.home.path.mkdir()
    bench.client().search_experiments()
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def peace(prepared: Bench) -> Any:
    """A study that nobody disturbs: what others are compared with."""
    study = prepared.study("grid", space_of(RATES))
    told = study.run(workers=1)
    assert {trial["state"] for trial in told["trials"].values()} == {"complete"}
    study.nothing_runs()
    return {"told": told, "curves": study.curves()}


@pytest.fixture
def bench(prepared: Bench, peace: Any, tmp_path: Path) -> Iterator[Bench]:
    """A home of this test's own, with the records made."""
    made = bench_at(prepared, tmp_path)
    yield made
    made.close()


@pytest.fixture
def make_bench(prepared: Bench, peace: Any, tmp_path: Path) -> Iterator[Callable[[Path], Bench]]:
    """Makes homes at places of the test's choice."""
    made: list[Bench] = []

    def make(folder: Path) -> Bench:
        made.append(bench_at(prepared, folder))
        made[-1].stderr_in = tmp_path
        return made[-1]

    yield make
    for each in made:
        each.close()
