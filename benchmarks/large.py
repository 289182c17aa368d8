"""Do memory and pace of a training stay the same from 400 to 40,000 eyes?

    python -m benchmarks.large [--rounds 1]

Writes 12 GB below the folder for temporary files, and removes them.
"""

import dataclasses
import functools
import hashlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import tensorflow as tf

from benchmarks.rounds import Ratio, Result, Table, in_process, in_turn, ratio_of, run, say
from drsearch.data.prepare import prepare
from drsearch.data.records import (
    MANIFEST,
    SHARD_EYES,
    EyeEntry,
    RecordSet,
    Split,
    map_eyes,
    open_records,
    shard_entry,
    write_eyes,
    write_shard,
)
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.settings import Settings

EPOCHS = {400: 21, 4_000: 6, 40_000: 3}
"""Of a training, by its number of train eyes; the first epoch traces, and is not counted."""

DRAWN = 320
HELD_TURNS = 3
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SHOWN = {
    "ms per image": ("clock", 1e3, ".2f"),
    "of the processor, ms per image": ("processor", 1e3, ".2f"),
    "a worker's own memory, MB": ("anonymous_mb", 1, ",.0f"),
    "mapped files in memory, MB": ("file_mb", 1, ",.0f"),
}


def measure(rounds: int) -> Result:
    """Every size in turn, each training in a process of its own."""
    fewest = min(EPOCHS)
    with tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as name:
        folder = Path(name)
        synthesize(folder / "eyes", DRAWN, seed=1)
        home = Home(folder / "home")
        few = prepare(open_dataset([folder / "eyes"]), Settings(), home).records
        sets = {n: copied(few, {"train": n, "validation": n // 4, "test": DRAWN // 4}, home) for n in EPOCHS}
        for records in sets.values():
            map_eyes(records, home, "train")  # decoded once, as before the first trial of a study
            map_eyes(records, home, "validation")
        turns = []
        for number in range(rounds):
            turns.append({n: _trained(sets[n], n) for n in EPOCHS})
            say(f"round {number + 1}/{rounds}  {turns[-1]}")
        smallest = functools.partial(_trained, sets[fewest], fewest)
        held = in_turn({"mapped": lambda: smallest()["clock"], "held": lambda: smallest("--held")["clock"]}, HELD_TURNS)
        most = sets[max(EPOCHS)]
        cold_s = in_process("benchmarks.large_worker", str(most.folder), "--cold")["seconds"]
    image_mb = 3 * few.images.image_px**2 / 1e6
    rows = [
        (f"{n:,}", f"{n // 4:,}", f"{1.25 * n * image_mb:,.0f}", *(_median(turns, n, *how) for how in SHOWN.values()))
        for n in EPOCHS
    ]
    seconds = median(turn[max(EPOCHS)]["clock"] for turn in turns)
    return Result(
        "Do memory and pace of a training stay the same from 400 to 40,000 eyes?",
        (
            Table(
                f"Trials at {few.images.image_px} px and batch 16, with everything that a trial does",
                ("train eyes", "validation eyes", "decoded, MB", *SHOWN),
                tuple(rows),
            ),
            Table(
                f"{max(EPOCHS):,} eyes, nothing of their file in the page cache",
                ("read in the order of an epoch, MB/s", "images read per second", "images trained per second"),
                ((f"{image_mb / cold_s:,.0f}", f"{1 / cold_s:,.0f}", f"{1 / seconds:,.0f}"),),
            ),
        ),
        (
            *(
                Ratio(f"{what}, {n:,} / {fewest} eyes", tuple(t[n][key] / t[fewest][key] for t in turns), "lower", 1.1)
                for n in EPOCHS
                if n != fewest
                for what, (key, *_) in list(SHOWN.items())[:3]
            ),
            Ratio(
                f"ms per image, mapped / held in an array, {fewest} eyes",
                ratio_of(held, "mapped", "held"),
                "lower",
                1.02,
            ),
        ),
        notes=(
            f"Eyes are {DRAWN} synthetic ones, copied under other names. Each split is decoded before, once per "
            "machine, into the file that all workers map. A worker's own memory is anonymous memory at its highest "
            "(`RssAnon`), to the end of the trial. What is resident of mapped files (`RssFile`) is the page cache: "
            "shared by all workers, and given up where memory is wanted.",
            "The network is small (two stages, four channels), so that reading and augmentation weigh more and the "
            "benchmark takes minutes. An epoch has validation and measures; the median of all but the first counts.",
        ),
    )


def _median(turns: list[dict[int, dict[str, float]]], n: int, key: str, scale: float, form: str) -> str:
    return format(scale * median(turn[n][key] for turn in turns), form)


def _trained(records: RecordSet, n: int, *how: str) -> dict[str, float]:
    return in_process("benchmarks.large_worker", str(records.folder), "--epochs", str(EPOCHS[n]), *how)


def copied(records: RecordSet, numbers: dict[Split, int], home: Home) -> RecordSet:
    """A record set with the eyes of each split of another one over and over, as many as `numbers` says."""
    folder = home.records / hashlib.sha256(f"{records.fingerprint} {numbers}".encode()).hexdigest()[:16]
    folder.mkdir(parents=True)
    shards, entries, counts = [], [], {}
    for split, n in numbers.items():
        few = list(zip(_stored(records, split), records.eyes(split), strict=True))
        eyes = [(few[i % len(few)][0], _renamed(few[i % len(few)][1], i)) for i in range(n)]
        for first in range(0, n, SHARD_EYES):
            path = folder / f"{split}-{first // SHARD_EYES:05}.tfrecord"
            some = eyes[first : first + SHARD_EYES]
            write_shard(path, some)
            shards.append(shard_entry(path, split, len(some)))
        entries += [eye for _, eye in eyes]
        labels, grades = [eye.label for _, eye in eyes], [eye.grade for _, eye in eyes]
        by_grade = {str(grade): grades.count(grade) for grade in range(5)}
        counts[split] = {"n": n, "NRDR": labels.count(0), "RDR": labels.count(1), "grades": by_grade}
    changed = {"fingerprint": folder.name, "shards": shards, "eyes": write_eyes(folder, entries), "counts": counts}
    (folder / MANIFEST).write_text(json.dumps({**records.manifest, **changed}))
    return open_records(folder)


def _renamed(eye: EyeEntry, number: int) -> EyeEntry:
    return dataclasses.replace(eye, name=f"{eye.name}-{number}", sha256=f"{number:064x}")


def _stored(records: RecordSet, split: Split) -> Iterator[bytes]:
    """The stored JPEGs of a split."""
    shards = [str(records.folder / each["file"]) for each in records.manifest["shards"] if each["split"] == split]
    for record in tf.data.TFRecordDataset(shards).as_numpy_iterator():
        yield tf.train.Example.FromString(record).features.feature["image"].bytes_list.value[0]


if __name__ == "__main__":
    run("large", measure, rounds=1)
