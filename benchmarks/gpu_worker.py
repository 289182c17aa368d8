"""Epochs in several ways, one after the other in one process: it answers with the times at which they were over.

    python -m benchmarks.gpu_worker RECORDS --ways floor drsearch --batches 4 32 --threads 16

On its own `benchmarks.ways` does this for one way; here many share the start of TensorFlow and of the GPU.
"""

import argparse
import json
import os
from pathlib import Path

from benchmarks.rounds import say
from benchmarks.ways import WAYS, epoch_ends, shortest
from drsearch.data.records import open_records
from drsearch.model.fit import set_threads
from drsearch.settings import Settings


def main() -> None:
    """Every way at every batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path)
    parser.add_argument("--ways", nargs="+", choices=WAYS, required=True)
    parser.add_argument("--batches", nargs="+", type=int, required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="that this process computes with")
    parser.add_argument("--epochs", type=int, default=4, help="that count, after a first one")
    parser.add_argument("--at-least-s", type=float, default=0, help="go on as long, in more epochs")
    options = parser.parse_args()
    records = open_records(options.records)
    set_threads(options.threads, options.threads)
    found = {}
    for batch in options.batches:
        values = {"images.image_px": records.images.image_px, "training.batch_size": batch}
        settings = Settings().replace({**values, "training.threads": options.threads})
        for way in options.ways:
            ends = epoch_ends(way, records, settings, options.epochs, options.at_least_s)
            found[f"{way} {batch}"] = ends
            say(f"{records.images.image_px} px, batch {batch}, {way}: {shortest(ends):.3f} s an epoch")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
