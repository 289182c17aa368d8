"""A trial for every line on standard input: `bare`, with none of its logging, or with all of it.

    python -m benchmarks.trial RECORDS --server http://localhost:5000 --epochs 30

`sqlite` writes to a database in a folder of its own, `server` to the one that is named. One process does all three,
so that how lucky a process is with its memory and its cores is in no ratio.
"""

import argparse
import functools
import json
import sys
import tempfile
import time
import uuid
from pathlib import Path

import keras

from drsearch.data.records import Eyes, open_records, read_eyes
from drsearch.home import Home
from drsearch.model.fit import EpochResult, Training, set_seeds, set_threads
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import Settings
from drsearch.tracking.events import RunStart
from drsearch.tracking.sender import start_sender
from drsearch.training.plan import Plan
from drsearch.training.resumable import run_training


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
    plan = Plan(folder=home.runs / "benchmark" / name, start=start, settings=settings, build=build, owner="benchmark")
    assert run_training(plan, train, validation, watch).state == "complete"


def main() -> None:
    """Answer every line with the seconds of a whole trial of this kind, and with those of its epochs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path)
    parser.add_argument("--server", required=True, metavar="URL")
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    set_threads(2, 2)
    records = open_records(options.records)
    train, validation = read_eyes(records, "train"), read_eyes(records, "validation")
    settings = Settings().replace({"training.epochs": options.epochs})

    with tempfile.TemporaryDirectory() as folder:
        own, served = (Home(Path(folder) / kind) for kind in ("sqlite", "server"))
        senders = [start_sender(own, own.tracking_uri), start_sender(served, options.server)]
        ways = {
            "bare": bare,
            "sqlite": functools.partial(tracked, home=own),
            "server": functools.partial(tracked, home=served),
        }

        def once(way: str, settings: Settings) -> dict[str, float]:
            started, watch = time.perf_counter(), _Stopwatch()
            ways[way](train, validation, settings, watch)
            seconds = time.perf_counter() - started
            keras.utils.clear_session()
            return {"seconds": seconds, "epochs": watch.seconds}

        for way in ways:
            once(way, settings.replace({"training.epochs": 2}))
        print(json.dumps("warm"), flush=True)
        for line in sys.stdin:
            print(json.dumps(once(line.strip(), settings)), flush=True)
        for sender in senders:
            assert sender.stop(), "not everything was sent"


if __name__ == "__main__":
    main()
