"""How should the cores of a machine be divided: one process on all, or one a core; and does it pay to pin them?

python -m benchmarks.workers [--rounds 3]
"""

import os
from concurrent.futures import ThreadPoolExecutor
from statistics import mean, median

from benchmarks.epoch import CORES, prepared
from benchmarks.rounds import Ratio, Result, Table, in_process, in_turn, ratio_of, run

BATCH = 4
ONE, EACH, PINNED = "one process on all cores", "one process per core", "one process per core, pinned to it"


def measure(rounds: int) -> Result:
    """Every division of the cores in turn."""
    with prepared(256) as records:
        options = ("drsearch", str(records.folder), "--batch", str(BATCH))

        def alone(*more: str) -> float:
            return float(in_process("benchmarks.ways", *options, *more)["seconds"])

        def one_a_core(pinned: bool) -> float:
            """Seconds that an epoch of work takes where each core trains a network of its own."""
            single = ("--threads", "1", "--cores", "1")
            with ThreadPoolExecutor(CORES) as at_once:
                places = [(*single, "--pinned-to", str(core)) if pinned else single for core in _cores()]
                return mean(at_once.map(lambda place: alone(*place), places)) / CORES

        seconds = in_turn(
            {ONE: alone, EACH: lambda: one_a_core(False), PINNED: lambda: one_a_core(True)},
            rounds,
        )
    return Result(
        "How should the cores of a machine be divided among workers?",
        (
            Table(
                f"Seconds for each epoch at batch {BATCH}, everything that a trial does included, {CORES} cores",
                ("division", "median", "range"),
                tuple((name, f"{median(s):.2f}", f"{min(s):.2f} to {max(s):.2f}") for name, s in seconds.items()),
            ),
        ),
        (
            Ratio("one process on all cores / one process per core", ratio_of(seconds, ONE, EACH)),
            Ratio("one process per core / the same, pinned", ratio_of(seconds, EACH, PINNED)),
        ),
        notes=(
            "Processes train at once, each a network of its own: the seconds of an epoch in one are divided by their "
            "number. drsearch divides the cores among its workers, one per core if `--workers` is the number of cores, "
            "and pins none.",
        ),
    )


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))[:CORES]


if __name__ == "__main__":
    run("workers", measure, rounds=3)
