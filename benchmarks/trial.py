"""A trial once for every line on standard input: with none of its logging, or with all of it.

    python -m benchmarks.trial bare|tracked RECORDS --epochs 30

`tracked` writes to `MLFLOW_TRACKING_URI`, or to SQLite in a folder of its own.
"""

import argparse
import json
import sys
import tempfile
import time
import uuid
from pathlib import Path

import keras

from drsearch.data.records import Eyes, open_records, read_eyes
from drsearch.home import Home
from drsearch.model.resnet_v2 import build_resnet
from drsearch.model.training import EpochResult, Training, set_seeds, set_threads
from drsearch.search.recorded import Plan, record_training
from drsearch.settings import Settings
from drsearch.tracking.entries import RunStart
from drsearch.tracking.sender import start_sender


class _Stopwatch:
    """Looks on at a trial, and adds up the seconds of its epochs."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def epoch(self, result: EpochResult) -> None:
        self.seconds += result.seconds

    def judged(self, epoch: int, value: float) -> None:
        pass

    def stop_asked(self) -> bool:
        return False


def bare(train: Eyes, validation: Eyes, settings: Settings, watch: _Stopwatch) -> None:
    """Epochs, each measured on the validation split; no checkpoint, no journal, no picture."""
    set_seeds(0)
    training = Training(build_resnet(settings.model, settings.images.image_px), train, validation, settings)
    for _ in range(settings.training.epochs):
        watch.epoch(training.run_epoch())


def tracked(train: Eyes, validation: Eyes, settings: Settings, watch: _Stopwatch, home: Home) -> None:
    """The same, recorded as a trial is."""
    name = uuid.uuid4().hex
    start = RunStart(f"benchmark/{name}", "benchmark", name, params=settings.flat())
    build = lambda: build_resnet(settings.model, settings.images.image_px)  # noqa: E731
    plan = Plan(home.runs / "benchmark" / name, start, settings, build, (), "benchmark")
    assert record_training(plan, train, validation, watch).state == "complete"


def main() -> None:
    """Answer every line with the seconds of a whole trial, and with those of its epochs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=("bare", "tracked"))
    parser.add_argument("records", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    set_threads(2, 2)
    records = open_records(options.records)
    train, validation = read_eyes(records, "train"), read_eyes(records, "validation")
    settings = Settings().replace({"training.epochs": options.epochs})

    def once(settings: Settings) -> dict[str, float]:
        started, watch = time.perf_counter(), _Stopwatch()
        if options.way == "bare":
            bare(train, validation, settings, watch)
        else:
            tracked(train, validation, settings, watch, home)
        seconds = time.perf_counter() - started
        keras.utils.clear_session()
        return {"seconds": seconds, "epochs": watch.seconds}

    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        sender = start_sender(home, home.tracking_uri) if options.way == "tracked" else None
        once(settings.replace({"training.epochs": 2}))
        print(json.dumps("warm"), flush=True)
        for _ in sys.stdin:
            print(json.dumps(once(settings)), flush=True)
        if sender is not None:
            assert sender.stop(), "not everything was sent"


if __name__ == "__main__":
    main()
