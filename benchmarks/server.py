"""What does the shipped tracking server take, in memory and in time?

python -m benchmarks.server [--rounds 3]
"""

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import requests

from benchmarks.rounds import Ratio, Result, Table, run

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("tests", "tests/server")]
from services import PostgresServer, postgresql_binaries  # noqa: E402
from shipped import POSTGRES_PASSWORD, ShippedServer  # noqa: E402

API = "/api/2.0/mlflow"
REQUESTS = 60
WAYS = {
    "as shipped": {},
    "two workers": {"--workers 1": "--workers 2"},
    "jobs on": {"JOB_EXECUTION=false": "JOB_EXECUTION=true"},
}


@contextlib.contextmanager
def serving(changes: dict[str, str]) -> Iterator[ShippedServer]:
    """The shipped server on a new PostgreSQL, its start script changed by replacing texts."""
    binaries = postgresql_binaries()
    if binaries is None:
        sys.exit("no PostgreSQL on this machine; nothing was measured.")
    with tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as folder:
        postgresql = PostgresServer(binaries, POSTGRES_PASSWORD)
        server = ShippedServer(Path(folder), postgresql, changes)
        try:
            server.make_databases()
            server.start()
            yield server
        finally:
            server.stop()
            postgresql.close()


def memory_mb(server: ShippedServer) -> float:
    """PSS of all of its processes, in MB: shared pages are counted once."""
    process = psutil.Process(server.group)
    found = [process, *process.children(recursive=True)]
    return sum(child.memory_full_info().pss for child in found if child.is_running()) / 1e6


def milliseconds(ask: Callable[[], requests.Response]) -> float:
    """The median of many requests on one connection."""
    taken = []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        ask().raise_for_status()
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def look(changes: dict[str, str]) -> tuple[float, float, float, int]:
    """MB, ms to read a run, ms to log a batch of 100 points, processes."""
    with serving(changes) as server, requests.Session() as session:
        session.auth = ("admin", server.passwords["admin"])

        def post(path: str, **said: object) -> requests.Response:
            return session.post(f"{server.url}{API}/{path}", json=said, timeout=60)

        made = post("runs/create", experiment_id="0", start_time=1).json()["run"]["info"]["run_id"]
        read = milliseconds(lambda: session.get(f"{server.url}{API}/runs/get?run_id={made}", timeout=60))
        steps = iter(range(1_000_000))

        def batch() -> requests.Response:
            points = [{"key": "val_auc", "value": 0.5, "timestamp": 1, "step": next(steps)} for _ in range(100)]
            return post("runs/log-batch", run_id=made, metrics=points)

        logged = milliseconds(batch)
        n = 1 + len(psutil.Process(server.group).children(recursive=True))
        return memory_mb(server), read, logged, n


def measure(rounds: int) -> Result:
    """Each way in turn, on a server and databases of its own."""
    found: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, changes in WAYS.items():
            found[name].append(look(changes))

    def middle(name: str, column: int) -> float:
        return statistics.median(row[column] for row in found[name])

    def over(name: str, column: int) -> tuple[float, ...]:
        return tuple(a[column] / b[column] for a, b in zip(found[name], found["as shipped"], strict=True))

    return Result(
        "What does the shipped tracking server take, in memory and in time?",
        (
            Table(
                "mlflow_server/start.sh on PostgreSQL, basic authentication on",
                ("", "memory (PSS), MB", "read a run, ms", "log 100 points, ms", "processes"),
                tuple(
                    (
                        name,
                        f"{middle(name, 0):.0f}",
                        f"{middle(name, 1):.1f}",
                        f"{middle(name, 2):.1f}",
                        str(found[name][0][3]),
                    )
                    for name in WAYS
                ),
            ),
        ),
        (
            Ratio("memory, jobs on / as shipped", over("jobs on", 0), "higher", 2.0, 0.3),
            Ratio("reading a run, two workers / as shipped", over("two workers", 1), "higher"),
        ),
        notes=(
            f"Medians of {REQUESTS} requests on one connection, then of {rounds} rounds. PostgreSQL is on the same "
            "machine and not counted. Passwords are checked once in five minutes (auth_cache_ttl_seconds).",
        ),
    )


if __name__ == "__main__":
    run("server", measure, rounds=3)
