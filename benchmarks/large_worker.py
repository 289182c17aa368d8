"""A training on a record set: a process that answers with its pace and its memory; or how fast its file is read.

python -m benchmarks.large_worker RECORDS --epochs 3 [--held]
python -m benchmarks.large_worker RECORDS --cold
"""

import argparse
import json
import os
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.rounds import timed
from drsearch.data.pipeline import epoch_order, epoch_size
from drsearch.data.records import RecordSet, map_eyes, open_records
from drsearch.home import Home
from drsearch.model.fit import EpochResult, set_threads
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import Settings
from drsearch.tracking.events import RunStart
from drsearch.tracking.sender import start_sender
from drsearch.training.outer_folds import training_eyes
from drsearch.training.plan import Plan, Watch
from drsearch.training.resumable import run_training

READS = 2_000
NETWORK = {"model.width": 4, "model.stages": 2, "training.batch_size": 16}


class Memory(threading.Thread):
    """The highest memory of this process, megabytes: its own, and what is resident of the files that it maps."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous_mb = self.file_mb = 0.0
        self.start()

    def run(self) -> None:
        """Look ten times a second."""
        while True:
            status = Path("/proc/self/status").read_text()
            own, mapped = (int(status.partition(f"{key}:")[2].split()[0]) / 1024 for key in ("RssAnon", "RssFile"))
            self.anonymous_mb, self.file_mb = max(self.anonymous_mb, own), max(self.file_mb, mapped)
            time.sleep(0.1)


class Pace(Watch):
    """When each epoch was over: by the clock, and by the processor."""

    def __init__(self) -> None:
        self.times = [(time.perf_counter(), time.process_time())]

    def epoch(self, result: EpochResult) -> None:
        """Note the times."""
        self.times.append((time.perf_counter(), time.process_time()))

    def medians(self) -> tuple[float, float]:
        """Seconds of an epoch, without the first."""
        epochs = zip(self.times[1:], self.times[2:], strict=False)
        clock, processor = zip(*((end[0] - begin[0], end[1] - begin[1]) for begin, end in epochs), strict=True)
        return median(clock), median(processor)


def trained(records: RecordSet, epochs: int, held: bool) -> dict[str, float]:
    """Pace and memory of a trial with everything: validation, measures, checkpoints, journal, sender, pictures.

    Args:
        records: Its eyes.
        epochs: Of the training.
        held: Whether the images are an array of this process, instead of the file that all workers map.
    """
    memory, pace = Memory(), Pace()
    settings = Settings().replace({**NETWORK, "training.epochs": epochs})
    set_threads(os.cpu_count() or 1, os.cpu_count() or 1)
    eyes = training_eyes(records, Home(records.folder.parents[1]), settings.search)[:2]
    if held:
        eyes = tuple(
            replace(split, images=np.stack([split.images[i] for i in range(len(split.images))])) for split in eyes
        )
    with tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as folder:
        home = Home(Path(folder))
        plan = Plan(
            folder=home.runs / "benchmark" / "large",
            start=RunStart("benchmark/large", "benchmark", "large", params=settings.flat()),
            settings=settings,
            build=lambda: build_resnet(settings.model, settings.images.image_px),
            owner="benchmark",
        )
        sender = start_sender(home)
        try:
            outcome = run_training(plan, *eyes, pace)
        finally:
            sender.stop()
    assert outcome.state == "complete", outcome
    clock, processor = (seconds / epoch_size(eyes[0].labels, settings.training.balance) for seconds in pace.medians())
    return {"clock": clock, "processor": processor, "anonymous_mb": memory.anonymous_mb, "file_mb": memory.file_mb}


def cold(records: RecordSet) -> dict[str, float]:
    """Seconds per image of reading a split in the order of an epoch, after the system has forgotten its file."""
    home = Home(records.folder.parents[1])
    for path in home.decoded.glob(f"{records.fingerprint}/train-*.npy"):  # before this process maps it
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    eyes = map_eyes(records, home, "train")
    order = epoch_order(eyes.labels, 0, 0, "none")[:READS].tolist()
    return {"seconds": timed(lambda: [eyes.images[i].copy() for i in order]) / len(order)}


def main() -> None:
    """Answer with JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--held", action="store_true", help="hold the images in an array of the process")
    parser.add_argument("--cold", action="store_true", help="only read, with nothing in the page cache")
    options = parser.parse_args()
    records = open_records(options.records)
    print(json.dumps(cold(records) if options.cold else trained(records, options.epochs, options.held)))


if __name__ == "__main__":
    main()
