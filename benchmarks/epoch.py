"""How long does an epoch take, everything that a trial does included, beside the usual way and its peers?

python -m benchmarks.epoch [--rounds 3]
"""

import functools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.rounds import Ratio, Result, Table, idrid, in_process, in_turn, ratio_of, run
from drsearch.data.prepare import prepare
from drsearch.data.records import RecordSet
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.settings import Settings

CORES = os.cpu_count() or 1
SAID = {
    "usual": "the usual way: TFRecord, `map` with AUTOTUNE, `model.fit`",
    "keras_tuner": "the same inside KerasTuner's loop",
    "keras_layers": "cached pictures, `keras.layers` augmentation, `model.fit`",
    "torch": "torch, channels last, drsearch's OpenCV augmentation",
    "drsearch": "**drsearch: a trial with everything**",
    "training_part": "drsearch, training part alone",
    "floor": "the fused step alone, on one batch",
}
ALONE = ("usual", "drsearch")
"""Ways timed with one thread per operation too: then the cores work on different operations."""


def measure(rounds: int) -> Result:
    """Every way at batch 4, in turn."""
    ways = [(way, 4, CORES) for way in SAID] + [(way, 4, 1) for way in ALONE]
    with prepared(256) as records:
        seconds = group(ways, records.folder, rounds)
        counts = records.counts["train"]
    n = 2 * max(counts["RDR"], counts["NRDR"])
    part = ratio_of(seconds, key("training_part", 4, CORES), key("floor", 4, CORES))
    return Result(
        "How long does an epoch take, with everything that a trial does?",
        (
            Table(
                f"Seconds per epoch at batch 4 ({n} images of 256 px), {CORES} cores",
                ("way", "threads of an operation", "median", "range", "the usual way takes"),
                tuple(_row(way, threads, seconds) for way, _, threads in ways),
            ),
        ),
        (*ratios(seconds, 4), Ratio("training part / fused step alone, batch 4", part, "lower", 1.25)),
        in_process("benchmarks.operations"),
        (
            "A trial with everything: augmentation, train and validation measures, checkpoints every five epochs, the "
            "journal, and the sender that writes to MLflow (SQLite) at its side. The usual way has validation and "
            "accuracy, and nothing else.",
            "With one thread per operation, the cores compute different operations at once (`set_threads`).",
            "Keras by itself would compile the usual way with XLA, which makes it slower on a CPU: it is switched off.",
            "Every figure of a round is the shortest of eight epochs after a first one, without a pause: `fit` waits "
            "for tf.data's autotuning at the end of many epochs (they take 2.55 or 5.11 s then), which is left out in "
            "its favour.",
        ),
    )


@contextmanager
def prepared(image_px: int) -> Iterator[RecordSet]:
    """The photographs of IDRiD as records, for as long as they are measured on."""
    with tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as folder:
        settings = Settings().replace({"images.image_px": image_px})
        yield prepare(open_dataset([idrid()]), settings, Home(Path(folder))).records


def key(way: str, batch: int, threads: int) -> str:
    """What a way is called among the timed ones."""
    return f"{way} batch {batch} threads {threads}"


def group(ways: list[tuple[str, int, int]], records: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds per epoch of every way (its name, batch size and threads), each turn in a process of its own."""

    def seconds(way: str, batch: int, threads: int) -> float:
        options = (way, str(records), "--batch", str(batch), "--threads", str(threads))
        return float(in_process("benchmarks.ways", *options)["seconds"])

    return in_turn({key(*way): functools.partial(seconds, *way) for way in ways}, rounds)


def ratios(seconds: dict[str, list[float]], batch: int) -> tuple[Ratio, ...]:
    """The usual way over drsearch, at the same threads and each at its best."""

    same = ratio_of(seconds, key("usual", batch, CORES), key("drsearch", batch, CORES))
    best = ratio_of(seconds, at_best(seconds, "usual", batch), at_best(seconds, "drsearch", batch))
    return (
        Ratio(f"the usual way / drsearch, batch {batch}, {CORES} threads", same, wanted=1.9),
        Ratio(f"the usual way / drsearch, batch {batch}, each at its best threads", best, wanted=2.3),
    )


def at_best(seconds: dict[str, list[float]], way: str, batch: int) -> str:
    """The key of a way at the number of threads at which it is fastest."""
    return min((key(way, batch, threads) for threads in (CORES, 1)), key=lambda name: median(seconds[name]))


def _row(way: str, threads: int, seconds: dict[str, list[float]]) -> tuple[str, ...]:
    name = key(way, 4, threads)
    times, here = median(ratio_of(seconds, key("usual", 4, CORES), name)), seconds[name]
    span = f"{min(here):.2f} to {max(here):.2f}"
    return SAID[way], str(threads), f"{median(here):.2f}", span, f"{times:.2f} times as long"


if __name__ == "__main__":
    run("epoch", measure, rounds=3)
