"""Does an epoch gain as much at other batch sizes, and at 512 pixels?

python -m benchmarks.batches [--rounds 2]
"""

from statistics import median

from benchmarks.epoch import CORES, group, key, prepared, ratios
from benchmarks.rounds import Ratio, Result, Table, ratio_of, run

BATCHES = (2, 16, 32)


def measure(rounds: int) -> Result:
    """The usual way and drsearch, with all cores in an operation and with one."""
    ways = [(way, threads) for way in ("usual", "drsearch") for threads in (CORES, 1)]
    with prepared(256) as records:
        found = {b: group([(way, b, t) for way, t in ways], records.folder, rounds) for b in BATCHES}
    with prepared(512) as records:
        large = group([(way, 4, CORES) for way in ("usual", "drsearch")], records.folder, rounds)
    rows = [_row(found[batch], batch, 256, threads) for batch in BATCHES for threads in (CORES, 1)]
    wide = ratio_of(large, key("usual", 4, CORES), key("drsearch", 4, CORES))
    return Result(
        "Does an epoch gain as much at other batch sizes, and at 512 pixels?",
        (
            Table(
                "Seconds per epoch",
                ("batch", "image, px", "threads of an operation", "the usual way", "drsearch", "ratio"),
                (*rows, _row(large, 4, 512, CORES)),
            ),
        ),
        (
            *(ratio for batch in BATCHES for ratio in ratios(found[batch], batch)),
            Ratio(f"the usual way / drsearch, batch 4, 512 px, {CORES} threads", wide),
        ),
        notes=(
            "Where the usual way takes 5.1 s, each of its epochs waited for tf.data's autotuning (see `epoch`). Its "
            "best threads leave such a row out.",
        ),
    )


def _row(seconds: dict[str, list[float]], batch: int, px: int, threads: int) -> tuple[str, ...]:
    usual, ours = key("usual", batch, threads), key("drsearch", batch, threads)
    times = median(ratio_of(seconds, usual, ours))
    return (
        str(batch),
        str(px),
        str(threads),
        f"{median(seconds[usual]):.2f}",
        f"{median(seconds[ours]):.2f}",
        f"{times:.2f}",
    )


if __name__ == "__main__":
    run("batches", measure, rounds=2)
