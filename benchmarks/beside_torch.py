"""Is an epoch, with everything that a trial does, as fast as torch's, which does nothing beside it?

python -m benchmarks.beside_torch [--rounds 3]
"""

from statistics import median

from benchmarks.epoch import CORES, at_best, group, key, prepared
from benchmarks.rounds import Ratio, Result, Table, ratio_of, run

BATCHES = (4, 16, 32)
WAYS = ("torch", "drsearch")


def measure(rounds: int) -> Result:
    """Both at every batch size, with all cores in an operation and with one."""
    with prepared(256) as records:
        ways = [(way, batch, threads) for batch in BATCHES for threads in (CORES, 1) for way in WAYS]
        seconds = group(ways, records.folder, rounds)
    rows = tuple(
        (str(batch), str(threads), *(f"{median(seconds[key(way, batch, threads)]):.2f}" for way in WAYS))
        for batch in BATCHES
        for threads in (CORES, 1)
    )
    return Result(
        "Is an epoch, with everything that a trial does, as fast as torch's, which does nothing beside it?",
        (Table("Seconds per epoch (256 px)", ("batch", "threads of an operation", *WAYS), rows),),
        tuple(
            Ratio(
                f"drsearch / torch, batch {batch}, each at its best threads",
                ratio_of(seconds, at_best(seconds, "drsearch", batch), at_best(seconds, "torch", batch)),
                "lower",
                1.0,
            )
            for batch in BATCHES
        ),
        notes=(
            "torch: the same network and augmentation, channels last, float32, the loss of validation eyes and nothing "
            "else. drsearch: augmentation, train and validation measures, checkpoints every five epochs, the journal, "
            "and the sender that writes to MLflow (SQLite) at its side. Shortest of eight epochs, as in `epoch`.",
        ),
    )


if __name__ == "__main__":
    run("beside_torch", measure, rounds=3)
