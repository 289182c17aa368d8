"""How fast do originals become records, beside the usual way and decoding alone, and what grows with their number?

    python -m benchmarks.prepare [--rounds N]

The twelve originals (4288 x 2848) become 120, 1,200 and 12,000 photographs: copies under a seeded, smoothly varying
light, kept in the system's folder for temporary files (5 GB, made once; remove it when done).
"""

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg

from benchmarks.rounds import Ratio, Result, Table, idrid, in_process, in_turn, ratio_of, run, say, timed
from drsearch.data.duplicates import picture_groups
from drsearch.data.prepare import prepare
from drsearch.data.splits import split
from drsearch.datasets.given import open_dataset
from drsearch.datasets.read import Photograph
from drsearch.home import Home
from drsearch.settings import Settings

TIMES = (10, 100, 1000)
CACHE = Path(tempfile.gettempdir()) / "drsearch-benchmark-photographs"
SEED = 0
IMAGE_PX = Settings().images.image_px
QUALITY = 30  # gives the copies the bytes of the originals, and so the time that decoding them takes
GAIN = 0.3  # brightness goes up or down by as much at 4 x 4 points, and smoothly between them


def main() -> None:
    """Measure one size if asked by the benchmark itself, else run it."""
    if sys.argv[1:2] == ["--size"]:
        print(json.dumps(measure_size(CACHE / sys.argv[2])))
    else:
        run("prepare", measure, rounds=5)


def measure(rounds: int) -> Result:
    """Every way in turn, then the three sizes, each in a process of its own."""
    folders = [make_copies(idrid("_original"), times) for times in TIMES]
    small, middle = (open_dataset([folder]).photographs for folder in folders[:2])
    import tensorflow  # noqa: F401  # its import is no part of what is measured: both ways need it

    seconds = in_turn(
        {
            "naive": lambda: timed(lambda: naive_records(small)),
            "drsearch": lambda: prepare_seconds(folders[0]),
            "drsearch, 1,200": lambda: prepare_seconds(folders[1]),
            "decoding alone, 1,200": lambda: timed(lambda: decode_all(middle)),
        },
        rounds,
    )
    sizes = [in_process("benchmarks.prepare", "--size", folder.name) for folder in folders]
    n = {
        "naive": len(small),
        "drsearch": len(small),
        "drsearch, 1,200": len(middle),
        "decoding alone, 1,200": len(middle),
    }
    ways = Table(
        f"From originals to records of {IMAGE_PX} px, medians of {rounds} rounds on {os.cpu_count()} cores",
        ("way", "photographs", "seconds", "photographs per second"),
        tuple(
            (
                way.removesuffix(", 1,200"),
                n[way],
                round(float(np.median(took)), 2),
                round(n[way] / float(np.median(took)), 1),
            )
            for way, took in seconds.items()
        ),
    )
    growth = Table(
        "What grows with the number of photographs, each size in a process of its own",
        (
            "photographs", "seconds", "ms per photograph", "peak memory, MB", "same pictures, s", "split, s",
            "pictures found in several files",
        ),
        tuple(
            (
                size["photographs"], round(size["seconds"], 2), round(1e3 * size["seconds"] / size["photographs"], 2),
                round(size["peak_bytes"] / 1e6), round(size["same_pictures_seconds"], 4),
                round(size["split_seconds"], 4), size["duplicates"],
            )
            for size in sizes
        ),
    )  # fmt: skip
    largest, before = sizes[-1], sizes[-2]
    more = largest["photographs"] - before["photographs"]
    exponents = Table(
        "The last step, ten times as many photographs: seconds grow as their number to the power of",
        ("preparing", "finding same pictures", "splitting", "bytes of peak memory per further photograph"),
        (
            (
                *(exponent(before, largest, f"{what}seconds") for what in ("", "same_pictures_", "split_")),
                round((largest["peak_bytes"] - before["peak_bytes"]) / more),
            ),
        ),
    )
    return Result(
        "How fast do originals become records, and what grows with their number?",
        (ways, growth, exponents),
        (
            Ratio("naive / drsearch, 120 originals to records", ratio_of(seconds, "naive", "drsearch"), "higher", 15.0),
            Ratio(
                "drsearch / decoding alone, 1,200 originals",
                ratio_of(seconds, "drsearch, 1,200", "decoding alone, 1,200"),
                "lower",
                1.25,
            ),
            Ratio(
                "peak memory at 12,000 / at 1,200 originals",
                (largest["peak_bytes"] / before["peak_bytes"],),
                "lower",
                1.1,
            ),
        ),
        notes=(
            "naive: cv2.imread, a threshold on the grey picture for the border, resize, JPEG of quality 95, TFRecord,"
            " one after another. decoding alone: simplejpeg at 1/8, strict, in as many threads as there are cores, the"
            " pixels thrown away. drsearch: read, checksum, decode, crop, audit, split, write, sync to disk.",
            "Importing libraries counts for no way.",
            "Photographs are copies of twelve originals under a smoothly varying light (4 x 4 points, +- 30 %), seeded;"
            " their files have the bytes of the originals and lie in the system's file cache.",
        ),
    )


# The ways


def naive_records(photographs: Sequence[Photograph]) -> None:
    """The usual way, as tutorials have it: every photograph whole, one after another."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as scratch, tf.io.TFRecordWriter(f"{scratch}/eyes.tfrecord") as writer:
        for photograph in photographs:
            image = cv2.imread(str(photograph.path))
            grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            _, bright = cv2.threshold(grey, 20, 255, cv2.THRESH_BINARY)
            columns = np.flatnonzero(bright.any(axis=0))
            image = image[:, columns[0] : columns[-1] + 1]
            image = cv2.resize(image, (IMAGE_PX, IMAGE_PX), interpolation=cv2.INTER_AREA)
            _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[jpeg.tobytes()])),
                "grade": tf.train.Feature(int64_list=tf.train.Int64List(value=[photograph.grade])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def decode_all(photographs: Sequence[Photograph]) -> None:
    """Read and decode at 1/8, strictly, in as many threads as there are cores: what no way can do without."""

    def decode(photograph: Photograph) -> None:
        data = photograph.path.read_bytes()
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        simplejpeg.decode_jpeg(data, "RGB", min_height=height // 8, min_width=width // 8)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(decode, photographs):
            pass


def prepare_seconds(folder: Path) -> float:
    """Of `prepare` into an empty home."""
    with tempfile.TemporaryDirectory() as scratch:
        return timed(lambda: prepare(open_dataset([folder]), Settings(), Home(Path(scratch))))


# Growth


def measure_size(folder: Path) -> dict[str, Any]:
    """Prepare one folder in this process, and take the time of the steps that could grow faster than it."""
    with tempfile.TemporaryDirectory() as scratch:
        prepared = prepare(open_dataset([folder]), Settings(), Home(Path(scratch)))
        peak = peak_bytes()
        eyes = prepared.records.eyes("train", "validation", "test")
    hashes, thumbnails = [eye.sha256 for eye in eyes], np.stack([eye.thumbnail for eye in eyes])
    grades, labels, groups = [eye.grade for eye in eyes], [eye.label for eye in eyes], np.arange(len(eyes))
    return {
        "photographs": prepared.audit.n_photographs,
        "seconds": prepared.seconds,
        "peak_bytes": peak,
        "same_pictures_seconds": shortest(lambda: picture_groups(hashes, thumbnails)),
        "split_seconds": shortest(lambda: split(grades, labels, groups, ["train"] * len(eyes), Settings().data)),
        "duplicates": len(prepared.audit.duplicates),
    }


def peak_bytes() -> int:
    """The most memory that this process ever had; `ru_maxrss` would be that of the process it was forked from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def shortest(work: Callable[[], Any]) -> float:
    """Seconds of the fastest of three: what other processes take is not growth."""
    return min(timed(work) for _ in range(3))


def exponent(smaller: dict[str, Any], larger: dict[str, Any], of: str) -> float:
    """The power of the number of photographs by which something grows."""
    return round(math.log(larger[of] / smaller[of]) / math.log(larger["photographs"] / smaller["photographs"]), 2)


# Photographs


def make_copies(originals: Path, times: int) -> Path:
    """A data set of `times` copies of every original, each under a light of its own; what is there is kept."""
    folder = open_dataset([originals])
    name = f"{times}-times-seed-{SEED}"
    images, labels = CACHE / name / "images/train", CACHE / name / "labels/train.csv"
    if labels.is_file():
        return CACHE / name
    images.mkdir(parents=True, exist_ok=True)
    labels.parent.mkdir(exist_ok=True)
    smaller = [CACHE / f"{fewer}-times-seed-{SEED}/images/train" for fewer in TIMES if fewer < times]
    say(f"making {times * len(folder.photographs)} photographs in {images}")
    started = time.perf_counter()

    def copy(number: int, planes: tuple[np.ndarray, np.ndarray, np.ndarray], copied: int) -> None:
        file = images / f"{folder.photographs[number].name}_{copied:04}.jpg"
        known = next((path / file.name for path in smaller if (path / file.name).is_file()), None)
        if known is not None and not file.exists():
            os.link(known, file)
        if not file.exists():
            whole = file.with_suffix(".part")
            whole.write_bytes(under_other_light(planes, np.random.default_rng([SEED, number, copied])))
            whole.rename(file)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for number, photograph in enumerate(folder.photographs):
            planes = yuv_planes(photograph.path.read_bytes())
            for _ in threads.map(lambda copied: copy(number, planes, copied), range(times)):  # noqa: B023  # awaited here
                pass
            say(f"{(number + 1) * times} of them after {time.perf_counter() - started:.0f} s")
    rows = [f"{p.name}_{copied:04},{p.grade}" for p in folder.photographs for copied in range(times)]
    labels.write_text("\n".join(["Image name,Retinopathy grade", *rows]) + "\n")
    return CACHE / name


def yuv_planes(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Brightness at full size and the two colour planes at half, as JPEG stores them."""
    rgb = simplejpeg.decode_jpeg(data, "RGB")
    height, width, _ = rgb.shape
    luma, cr, cb = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb))
    half = (width // 2, height // 2)
    return luma, *(cv2.resize(plane, half, interpolation=cv2.INTER_AREA) for plane in (cb, cr))


def under_other_light(planes: tuple[np.ndarray, np.ndarray, np.ndarray], draw: np.random.Generator) -> bytes:
    """A photograph of the same eye, its brightness multiplied by a smooth random field."""
    luma, cb, cr = planes
    points = np.rint(128 * draw.uniform(1 - GAIN, 1 + GAIN, (4, 4))).astype(np.uint8)
    gain = cv2.resize(points, luma.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return bytes(simplejpeg.encode_jpeg_yuv_planes(cv2.multiply(luma, gain, scale=1 / 128), cb, cr, QUALITY))


if __name__ == "__main__":
    main()
