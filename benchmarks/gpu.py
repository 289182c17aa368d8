"""What pays on a GPU: an epoch beside the usual way and torch, what waits, and how many workers share it?

    python -m benchmarks.gpu [--rounds 1]

Needs a GPU that TensorFlow sees, and says so where there is none; and torch (`.[bench]`), built for a GPU. Sized for
eight minutes at most.
"""

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from benchmarks.rounds import Ratio, Result, Table, in_process, ratio_of, run, say
from benchmarks.ways import shortest
from drsearch.data.prepare import prepare
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.settings import Settings

SIZES_PX = (256, 512)
BATCHES = (4, 32, 128)
WORKERS = (1, 2, 4, 8)
EYES = 413
CORES = os.cpu_count() or 1
TOGETHER_S = 12.0
TENSORFLOW = ("floor", "training_part", "training_part_ahead", "drsearch", "usual")
STEPS = {
    "floor": "fused step, float32",
    "floor_bfloat16": "the same, `mixed_bfloat16`",
    "step_of_keras": "Keras's step, float32",
    "step_of_keras_xla": "the same, compiled by XLA",
}
SHARED = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}  # as every worker of a study has it
INPUT_WAITS = 1.1  # a training part that takes longer than so many times its steps waits for batches

Seconds = dict[tuple[str, int, int], list[float]]
"""Of an epoch in every round, by way, pixels and batch size."""


def measure(rounds: int) -> Result:
    """Every way at every size, in turn; then several workers at once."""
    if not (card := _card()):
        sys.exit("TensorFlow sees no GPU here: nothing was measured.")
    seconds: Seconds = {}
    rates: dict[int, list[float]] = {n: [] for n in WORKERS}
    with _records() as folders:
        for number in range(rounds):
            say(f"round {number + 1}/{rounds}")
            for px, folder in folders.items():
                for ways in (TENSORFLOW, ("torch",)):
                    _note(seconds, px, _ends(folder, ways, BATCHES))
            _note(seconds, min(SIZES_PX), _ends(folders[min(SIZES_PX)], tuple(STEPS)[1:], BATCHES))
            for n in WORKERS:
                rates[n].append(_epochs_a_second(folders[min(SIZES_PX)], n))
                say(f"{n} workers: {rates[n][-1]:.2f} epochs a second together")
    return Result(
        f"What pays on a GPU ({card})?",
        (
            Table(
                "Seconds an epoch of synthetic eyes, balanced by upsampling",
                (
                    "px",
                    "batch",
                    "drsearch, everything",
                    "its training part",
                    "the same, `training.copy_ahead`",
                    "its steps alone",
                    "the usual way",
                    "torch",
                    "what waits",
                ),
                tuple(_row(seconds, px, batch) for px in SIZES_PX for batch in BATCHES),
            ),
            Table(
                f"Seconds an epoch at {min(SIZES_PX)} px, steps alone, on one batch over and over",
                ("batch", *STEPS.values()),
                tuple(
                    (batch, *(f"{median(seconds[way, min(SIZES_PX), batch]):.3f}" for way in STEPS))
                    for batch in BATCHES
                ),
            ),
            Table(
                f"Workers that share the GPU and {CORES} cores, {min(SIZES_PX)} px, batch {min(BATCHES)}",
                ("workers", "epochs a second, all together", "times one worker's"),
                tuple((n, f"{median(rates[n]):.2f}", f"{median(_times(rates, n)):.2f}") for n in WORKERS),
            ),
        ),
        (
            *(
                Ratio(f"{way} / drsearch, {px} px, batch {batch}", _over(seconds, way, "drsearch", px, batch), wanted=1)
                for way in ("usual", "torch")
                for px in SIZES_PX
                for batch in BATCHES
            ),
            *(
                Ratio(
                    f"training part / with batches copied ahead, {px} px, batch {batch}",
                    _over(seconds, "training_part", "training_part_ahead", px, batch),
                )
                for px in SIZES_PX
                for batch in BATCHES
            ),
            *(
                Ratio(f"{slow} / {fast}, batch {batch}", _over(seconds, slow, fast, min(SIZES_PX), batch))
                for slow, fast in (("floor", "floor_bfloat16"), ("step_of_keras", "step_of_keras_xla"))
                for batch in BATCHES
            ),
            *(Ratio(f"{n} workers / one, epochs a second", tuple(_times(rates, n))) for n in WORKERS[1:]),
        ),
        notes=(
            "Everything: augmentation, train and validation measures, checkpoints, the journal, and the sender that "
            "writes to MLflow (SQLite) at its side; the usual way and torch as in `epoch`, torch with the picture "
            "changes of drsearch and no measures but predictions of the validation eyes. Shortest of four epochs.",
            "Input waits for the step, or the step for input: where the training part takes more than "
            f"{INPUT_WAITS:g} times as long as its steps on one batch, these wait for batches.",
        ),
    )


def _card() -> str:
    """The name of the first GPU that TensorFlow sees; empty where it sees none."""
    code = (
        "import tensorflow as tf; gpus = tf.config.list_physical_devices('GPU'); "
        "print(tf.config.experimental.get_device_details(gpus[0])['device_name'] if gpus else '')"
    )
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return done.stdout.strip()


@contextmanager
def _records() -> Iterator[dict[int, Path]]:
    """Record sets of every size, as long as they are measured on."""
    with tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as name:
        folder = Path(name)
        synthesize(folder / "eyes", EYES, seed=1, image_px=(1072, 712))
        data, home = open_dataset([folder / "eyes"]), Home(folder / "home")
        yield {px: prepare(data, Settings().replace({"images.image_px": px}), home).records.folder for px in SIZES_PX}


def _ends(
    folder: Path, ways: Sequence[str], batches: Sequence[int], threads: int = CORES, at_least_s: float = 0
) -> dict[str, list[float]]:
    return in_process(
        "benchmarks.gpu_worker",
        *(str(folder), "--ways", *ways, "--batches", *map(str, batches)),
        *("--threads", str(threads), "--at-least-s", str(at_least_s)),
        environment=SHARED,
    )


def _note(seconds: Seconds, px: int, ends: Mapping[str, list[float]]) -> None:
    for name, times in ends.items():
        way, batch = name.split()
        seconds.setdefault((way, px, int(batch)), []).append(shortest(times))


def _epochs_a_second(folder: Path, n_workers: int) -> float:
    """Of so many trainings together, counted while all of them train."""
    with ThreadPoolExecutor(n_workers) as at_once:
        works = [
            at_once.submit(_ends, folder, ("drsearch",), (min(BATCHES),), max(1, CORES // n_workers), TOGETHER_S)
            for _ in range(n_workers)
        ]
        times = [ends for work in works for ends in work.result().values()]
    begin, end = max(ends[0] for ends in times), min(ends[-1] for ends in times)
    if end <= begin:
        raise RuntimeError(f"{n_workers} workers never trained at once: TOGETHER_S is too short here")
    # Whole epochs within the window, each weighed by the share of it that lies in it.
    shares = [
        max(0.0, min(stop, end) - max(start, begin)) / (stop - start)
        for ends in times
        for start, stop in itertools.pairwise(ends)
    ]
    return sum(shares) / (end - begin)


def _times(rates: Mapping[int, list[float]], n: int) -> list[float]:
    return [many / one for many, one in zip(rates[n], rates[1], strict=True)]


def _over(seconds: Seconds, slow: str, fast: str, px: int, batch: int) -> tuple[float, ...]:
    return ratio_of({slow: seconds[slow, px, batch], fast: seconds[fast, px, batch]}, slow, fast)


def _row(seconds: Seconds, px: int, batch: int) -> tuple[str, ...]:
    ways = ("drsearch", "training_part", "training_part_ahead", "floor", "usual", "torch")
    of = {way: median(seconds[way, px, batch]) for way in ways}
    waits = "the step, for input" if of["training_part"] > INPUT_WAITS * of["floor"] else "input, for the step"
    return str(px), str(batch), *(f"{of[way]:.3f}" for way in ways), waits


if __name__ == "__main__":
    run("gpu", measure, rounds=1)
