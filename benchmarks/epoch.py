"""How long does an epoch take, everything that a trial does included, beside the usual way and its peers?

python -m benchmarks.epoch [--rounds 5]
"""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.rounds import Ratio, Result, Standing, Table, idrid, in_process, in_turn, ratio_of, run
from drsearch.data.prepare import prepare
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


def measure(rounds: int) -> Result:
    """All groups, one after another; within a group in turn."""
    with tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as folder:
        home = Home(Path(folder))
        records = {px: prepare(idrid(), _settings(px), home).records for px in (256, 512)}
        counts = records[256].counts["train"]
        n = 2 * max(counts["RDR"], counts["NRDR"])
        main = [(way, 4, CORES) for way in SAID] + [("usual", 4, 1), ("drsearch", 4, 1)]
        others = {b: [(way, b, t) for way in ("usual", "drsearch") for t in (CORES, 1)] for b in (2, 16, 32)}
        at_4 = _group(main, records[256].folder, rounds)
        by_batch = {4: at_4} | {b: _group(ways, records[256].folder, rounds) for b, ways in others.items()}
        large = _group([("usual", 4, CORES), ("drsearch", 4, CORES)], records[512].folder, max(2, rounds // 2))
    tables = (
        Table(
            f"Seconds an epoch at batch 4 ({n} images of 256 px), {CORES} threads",
            ("way", "median", "range", "the usual way takes"),
            tuple(_row(SAID[way], at_4, _key(way, 4, CORES), _key("usual", 4, CORES)) for way in SAID),
        ),
        Table(
            "Seconds an epoch by batch size and threads",
            ("batch", "image, px", "threads", "the usual way", "drsearch", "ratio"),
            tuple(
                _pair(seconds, batch, 256, threads)
                for batch, seconds in sorted(by_batch.items())
                for threads in (CORES, 1)
            )
            + (_pair(large, 4, 512, CORES),),
        ),
    )
    return Result(
        "How long does an epoch take, with everything that a trial does?",
        tables,
        tuple(_ratios(by_batch, large)),
        in_process("benchmarks.operations"),
        notes=(
            "A trial with everything: augmentation, train and validation measures, checkpoints every five epochs, the "
            "journal, and the sender that writes to MLflow (SQLite) at its side. The usual way has validation and "
            "accuracy, and nothing else.",
            "Keras by itself would compile the usual way with XLA, which makes it slower on a CPU: it is switched off.",
        ),
    )


def _settings(px: int) -> Settings:
    return Settings().replace({"images.image_px": px})


def _key(way: str, batch: int, threads: int) -> str:
    return f"{way} batch {batch} threads {threads}"


def _group(ways: list[tuple[str, int, int]], records: Path, rounds: int) -> dict[str, list[float]]:
    with ExitStack() as stack:
        standing = {
            _key(way, batch, threads): stack.enter_context(
                Standing("benchmarks.ways", way, str(records), "--batch", str(batch), "--threads", str(threads))
            )
            for way, batch, threads in ways
        }
        return in_turn(standing, rounds)


def _median(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]


def _row(said: str, seconds: dict[str, list[float]], key: str, beside: str) -> tuple[str, str, str, str]:
    times = Ratio("", ratio_of(seconds, beside, key)).median
    here = seconds[key]
    return said, f"{_median(here):.2f}", f"{min(here):.2f} to {max(here):.2f}", f"{times:.2f} times as long"


def _pair(seconds: dict[str, list[float]], batch: int, px: int, threads: int) -> tuple[str, ...]:
    usual, ours = _key("usual", batch, threads), _key("drsearch", batch, threads)
    times = Ratio("", ratio_of(seconds, usual, ours)).median
    return (
        str(batch),
        str(px),
        str(threads),
        f"{_median(seconds[usual]):.2f}",
        f"{_median(seconds[ours]):.2f}",
        f"{times:.2f}",
    )


def _ratios(by_batch: dict[int, dict[str, list[float]]], large: dict[str, list[float]]) -> list[Ratio]:
    def same(batch: int, seconds: dict[str, list[float]], threads: int) -> tuple[float, ...]:
        return ratio_of(seconds, _key("usual", batch, threads), _key("drsearch", batch, threads))

    def best(seconds: dict[str, list[float]], way: str, batch: int) -> str:
        return min((_key(way, batch, t) for t in (CORES, 1)), key=lambda key: _median(seconds[key]))

    ratios = []
    for batch, seconds in sorted(by_batch.items()):
        at_best = ratio_of(seconds, best(seconds, "usual", batch), best(seconds, "drsearch", batch))
        ratios += [
            Ratio(f"the usual way / drsearch, batch {batch}, {CORES} threads", same(batch, seconds, CORES), wanted=1.9),
            Ratio(f"the usual way / drsearch, batch {batch}, each at its best threads", at_best, wanted=2.3),
        ]
    ratios.append(Ratio(f"the usual way / drsearch, batch 4, 512 px, {CORES} threads", same(4, large, CORES)))
    part = ratio_of(by_batch[4], _key("training_part", 4, CORES), _key("floor", 4, CORES))
    ratios.append(Ratio("training part / fused step alone, batch 4", part, "lower", 1.25))
    return ratios


if __name__ == "__main__":
    run("epoch", measure, rounds=5)
