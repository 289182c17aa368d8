"""Record sets on disk: shards, manifest and the entries of the eyes."""

import base64
import hashlib
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from absl import logging
from numpy.typing import NDArray

from drsearch.data.images import THUMBNAIL_PX
from drsearch.data.mapped_images import Images, MappedImages, map_images, on_this_machine
from drsearch.data.quality import Quality
from drsearch.datasets.boxes import Box, PackedBoxes
from drsearch.errors import RecordsError
from drsearch.files import full_place, is_full, sentence
from drsearch.home import Home
from drsearch.settings import DataSettings, ImageSettings, TaskSettings

SCHEMA_VERSION = 4
"""Of the manifest and of the records; raise it also when photographs are divided in another way.

Before 3 the eyes of a patient could lie in two splits; before 4 records had neither patient nor source.
"""

SHARD_EYES = 64
"""Photographs per shard: 2.4 MB at 256 pixels."""

MANIFEST, AUDIT, EYES, DESCRIPTION = "manifest.json", "audit.json", "eyes.jsonl", "data.toml"

Split = Literal["train", "validation", "test"]

_AGAIN = "run `drsearch prepare` again"


@dataclass(frozen=True)
class Eyes:
    """The eyes of one split, in the order of the records.

    Attributes:
        names: Names of the photographs, without extension.
        images: uint8 RGB, shape (n, image_px, image_px, 3): an array, or `MappedImages` of `map_eyes`.
        grades: Grade of retinopathy 0 to 4, int64, shape (n,).
        labels: 1 for referable (RDR), 0 for not (NRDR), int64, shape (n,).
        patients: A number for the patient of each, as text, within the record set; empty where the patient is unknown.
        sources: Name of the data set that each comes from; empty where none are pooled.
        boxes: Around the lesions of each, in fractions of the image's side; empty where none are known.
        edema: Whether each has macular edema; None where that is unknown.
    """

    names: tuple[str, ...]
    images: Images
    grades: NDArray[np.int64]
    labels: NDArray[np.int64]
    patients: tuple[str, ...]
    sources: tuple[str, ...]
    boxes: Sequence[Sequence[Box]] = ()
    edema: tuple[bool | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.boxes:
            object.__setattr__(self, "boxes", ((),) * len(self.names))
        if not self.edema:
            object.__setattr__(self, "edema", (None,) * len(self.names))

    def some(self, which: NDArray[Any]) -> "Eyes":
        """The eyes at some indices, or where a mask is true."""
        places = np.arange(len(self.names))[which]
        names, patients, sources = (
            tuple(texts[place] for place in places) for texts in (self.names, self.patients, self.sources)
        )
        boxes = PackedBoxes(self.boxes[place] for place in places)
        edema = tuple(self.edema[place] for place in places)
        images = self.images.some(which) if isinstance(self.images, MappedImages) else self.images[which]
        return Eyes(names, images, self.grades[which], self.labels[which], patients, sources, boxes, edema)


def joined(*parts: Eyes) -> Eyes:
    """The eyes of several splits as one, in their order."""
    images = [part.images for part in parts]
    return Eyes(
        tuple(name for part in parts for name in part.names),
        MappedImages.joined(images)
        if isinstance(images[0], MappedImages)
        else np.concatenate([np.asarray(each) for each in images]),
        np.concatenate([part.grades for part in parts]),
        np.concatenate([part.labels for part in parts]),
        tuple(patient for part in parts for patient in part.patients),
        tuple(source for part in parts for source in part.sources),
        PackedBoxes(boxes for part in parts for boxes in part.boxes),
        tuple(edema for part in parts for edema in part.edema),
    )


@dataclass(frozen=True)
class EyeEntry:
    """The line of `eyes.jsonl` about one eye, by which it is recognised without its image.

    Attributes:
        name: Of the photograph, without extension.
        split: The split in whose shards it lies; empty for a photograph that is left out of all.
        grade: 0 to 4.
        label: 1 for referable (RDR), 0 for not (NRDR), by the settings `task.*` of the record set.
        sha256: Of the photograph's file, hexadecimal.
        thumbnail: uint8 grey, shape (THUMBNAIL_PX, THUMBNAIL_PX), see `same_pictures`.
        quality: How well the photograph shows its retina.
        patient: A number for the patient within this record set; empty where the patient is unknown.
        eye: `left` or `right`; empty where it is unknown.
        source: Name of the data set that it comes from; empty where none are pooled.
        boxes: Around its lesions, in fractions of the image's side; empty where none are known.
        alike: With `data.split = "likeness"`, the group of photographs that are alike, see `likeness_groups`; else 0.
        edema: Whether it has macular edema; None where that is unknown.
    """

    name: str
    split: Split | Literal[""]
    grade: int
    label: int
    sha256: str
    thumbnail: NDArray[np.uint8]
    quality: Quality
    patient: str = ""
    eye: str = ""
    source: str = ""
    boxes: tuple[Box, ...] = ()
    alike: int = 0
    edema: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON values."""
        thumbnail = base64.b64encode(self.thumbnail.tobytes()).decode()
        left_out = {
            "boxes": not self.boxes,
            "alike": not self.alike,
            "edema": self.edema is None,
        }  # of data without them
        values = {item.name: getattr(self, item.name) for item in fields(self) if not left_out.get(item.name)}
        return {**values, "thumbnail": thumbnail, "quality": self.quality.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "EyeEntry":
        """The entry of the values that `to_json` returned."""
        pixels = np.frombuffer(base64.b64decode(values["thumbnail"]), np.uint8)
        thumbnail, quality = pixels.reshape(THUMBNAIL_PX, THUMBNAIL_PX), Quality.from_json(values["quality"])
        boxes = tuple(Box(*box) for box in values.get("boxes", ()))  # records of data without boxes have no such key
        return cls(**{**values, "thumbnail": thumbnail, "quality": quality, "boxes": boxes})


@dataclass(frozen=True)
class RecordSet:
    """A record set on disk.

    Attributes:
        folder: Holds the shards, `manifest.json`, `eyes.jsonl`, `audit.json`, and how the set was read: `data.toml`.
        manifest: The manifest's JSON values.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """The fingerprint of photographs, grades and the settings `images.*`, `data.*` and `task.*`: 16 hex digits."""
        return str(self.manifest["fingerprint"])

    @property
    def data_fingerprint(self) -> str:
        """The fingerprint of photographs, grades and split, to which `data.fingerprint` is compared."""
        return str(self.manifest["data_fingerprint"])

    @property
    def test_fingerprint(self) -> str:
        """The fingerprint of the photographs of the test split."""
        return str(self.manifest["test_fingerprint"])

    @property
    def images(self) -> ImageSettings:
        """The image settings that the records were made with."""
        return ImageSettings(**self.manifest["settings"]["images"])

    @property
    def data(self) -> DataSettings:
        """The data settings that the records were made with."""
        return DataSettings(**self.manifest["settings"]["data"])

    @property
    def task(self) -> TaskSettings:
        """Which eyes of these records are referable."""
        return TaskSettings(**self.manifest["settings"]["task"])

    @property
    def counts(self) -> dict[str, dict[str, Any]]:
        """The numbers of photographs per split: `n`, by class (`NRDR`, `RDR`) and by grade (`grades`)."""
        return dict(self.manifest["counts"])

    @property
    def sources(self) -> dict[str, dict[str, Any]]:
        """The counts of each data set that is pooled here, by split; empty where there is one."""
        return dict(self.manifest["sources"])

    @property
    def outer_splits(self) -> tuple[Split, ...]:
        """The splits whose eyes a cross-validation deals into outer folds: all, but no test split that was published.

        A published test split is for comparison with others; what has chosen a setting cannot judge it.
        """
        published = self.manifest["split"]["test"] == "as published"
        return ("train", "validation") if published else ("train", "validation", "test")

    @property
    def n_ungradable(self) -> int:
        """Photographs that their data set says cannot be graded; they are not in the records."""
        return int(self.manifest["ungradable"])

    @property
    def source_bytes(self) -> int:
        """Bytes of the photographs that were recorded."""
        return int(self.manifest["source_bytes"])

    @property
    def record_bytes(self) -> int:
        """Bytes of the shards."""
        return int(self.manifest["record_bytes"])

    @property
    def description_path(self) -> Path:
        """How the data set was read, a file that `drsearch prepare` takes again."""
        return self.folder / DESCRIPTION

    @property
    def audit_path(self) -> Path:
        """The audit that was written with the records."""
        return self.folder / AUDIT

    @property
    def manifest_path(self) -> Path:
        """The file of the manifest."""
        return self.folder / MANIFEST

    def eyes(self, *splits: Split) -> tuple[EyeEntry, ...]:
        """The entries of the eyes of some splits, in the order of the records.

        Raises:
            RecordsError: If `eyes.jsonl` is missing, torn or altered.
        """
        return tuple(EyeEntry.from_json(eye) for eye in self.lines() if eye["split"] in splits)

    def left_out(self) -> tuple[EyeEntry, ...]:
        """The entries of photographs of known patients that are in no split, though they have a grade.

        A model that was trained on such a photograph has seen the patient, whose other photographs may test it.

        Raises:
            RecordsError: If `eyes.jsonl` is missing, torn or altered.
        """
        return tuple(EyeEntry.from_json(eye) for eye in self.lines() if not eye["split"])

    def lines(self) -> Iterator[Mapping[str, Any]]:
        """The lines of `eyes.jsonl` as JSON values, in the order of the records.

        Raises:
            RecordsError: If the file is missing, torn or altered.
        """
        listed = self.manifest["eyes"]
        _check_file(self.folder, listed)
        with (self.folder / listed["file"]).open() as lines:
            yield from map(json.loads, lines)

    def check(self) -> None:
        """Compare every file with the manifest's checksum.

        Raises:
            RecordsError: Naming the first file that is missing, torn or altered.
        """
        for listed in _files(self.manifest):
            _check_file(self.folder, listed)


def open_records(folder: Path) -> RecordSet:
    """The record set in a folder.

    Only sizes are compared here; checksums are when a split is read.

    Raises:
        RecordsError: If there is none, it is of another schema version, or a shard is missing or torn.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        version = manifest["schema_version"]
    except FileNotFoundError as wrong:
        raise RecordsError(f"{folder} holds no records: it has no {MANIFEST}; {_AGAIN}.") from wrong
    except (ValueError, KeyError, TypeError) as wrong:
        raise RecordsError(f"{path} is torn or altered; {_AGAIN}.") from wrong
    if version != SCHEMA_VERSION:
        raise RecordsError(f"{path} has schema version {version}, this drsearch reads {SCHEMA_VERSION}; {_AGAIN}.")
    for listed in _files(manifest):
        _check_size(folder, listed)
    return RecordSet(folder, manifest)


def _files(manifest: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The manifest's entries of the files beside it: `file`, `bytes`, `sha256`."""
    yield from manifest["shards"]
    yield manifest["eyes"]


def _check_size(folder: Path, listed: Mapping[str, Any]) -> None:
    path = folder / listed["file"]
    if not path.is_file():
        raise RecordsError(f"{path} is missing; {_AGAIN}.")
    if path.stat().st_size != listed["bytes"]:
        raise RecordsError(f"{path} is torn: it has {path.stat().st_size} of {listed['bytes']} bytes; {_AGAIN}.")


def _check_file(folder: Path, listed: Mapping[str, Any]) -> None:
    _check_size(folder, listed)
    path = folder / listed["file"]
    if file_sha256(path) != listed["sha256"]:
        raise RecordsError(f"{path} is altered: its checksum is not that of its manifest; {_AGAIN}.")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_eyes(records: RecordSet, split: Literal["train", "validation"]) -> Eyes:
    """The eyes of a split that a trial may see.

    Raises:
        RecordsError: If a shard is missing, torn or altered.
        ValueError: For another split; `read_test_eyes` reads the test split.
    """
    if split not in ("train", "validation"):
        raise ValueError(f"{split!r} is neither 'train' nor 'validation'; the test split is read by read_test_eyes")
    return _read(records, split)


def map_eyes(records: RecordSet, home: Home, split: Literal["train", "validation"]) -> Eyes:
    """The eyes of a split that a trial may see, their images in a file that all processes of this machine share.

    Args:
        records: The record set.
        home: Keeps the file; where that is on a network disk, the folder for temporary files does.
        split: `train` or `validation`.

    Returns:
        The same as `read_eyes`, with `MappedImages`: a process holds none of them. Where the file cannot be written, as
        on a full disk, a warning says so, and the images are in memory.

    Raises:
        RecordsError: If a shard or `eyes.jsonl` is missing, torn or altered.
    """
    return _map(records, home, split)


def map_outer_eyes(records: RecordSet, home: Home) -> Eyes:
    """The eyes that a cross-validation deals into outer folds, in the order of `records.eyes(*records.outer_splits)`.

    They include a test split that drsearch itself carved out; `count_test_evaluation` counts that once, by its caller.
    Their images are mapped as those of `map_eyes`.

    Raises:
        RecordsError: If a shard or `eyes.jsonl` is missing, torn or altered.
    """
    return joined(*(_map(records, home, split) for split in records.outer_splits))


def _map(records: RecordSet, home: Home, split: Split) -> Eyes:
    shards, side = _shards(records, split), records.images.image_px
    if not shards:
        return _read(records, split)
    checksums = hashlib.sha256("".join(shard["sha256"] for shard in shards).encode()).hexdigest()[:16]
    shape = sum(shard["n"] for shard in shards), side, side, 3
    try:
        path = on_this_machine(home.decoded) / records.fingerprint / f"{split}-{checksums}.npy"
        images = map_images(path, shape, lambda: (image for image, *_ in _decoded(records, shards)))
    except OSError as wrong:
        reason = sentence(full_place(wrong, home.path)) if is_full(wrong) else str(wrong)
        logging.warning("the images are not shared with other workers, each holds its own: %s", reason)
        return _read(records, split)
    return _with_images(records, split, MappedImages([images]))


def _with_images(records: RecordSet, split: Split, images: Images) -> Eyes:
    """The eyes of a split, by their lines in `eyes.jsonl`."""
    keys = ("name", "grade", "label", "patient", "source", "edema")
    rows = []

    def boxes_of_rows() -> Iterator[Iterable[Box]]:
        """Those of each eye, while its line is read: the lines of all would take many times the memory."""
        for eye in records.lines():
            if eye["split"] == split:
                rows.append(tuple(eye.get(key) for key in keys))
                yield (Box(*box) for box in eye.get("boxes") or ())

    boxes = PackedBoxes(boxes_of_rows())
    names, grades, labels, patients, sources, edema = zip(*rows, strict=True)
    numbers = np.array(grades, np.int64), np.array(labels, np.int64)
    return Eyes(names, images, *numbers, patients, sources, boxes, edema)


def read_in_pieces(records: RecordSet, split: Literal["train", "validation"], most: int) -> Iterator[Eyes]:
    """Some eyes of a split that a trial may see, a shard at a time; shards are chosen evenly where there are more.

    Args:
        records: The record set.
        split: `train` or `validation`.
        most: About how many eyes, at least those of one shard.

    Yields:
        The eyes of one shard.

    Raises:
        RecordsError: If a shard is missing, torn or altered.
    """
    shards = _shards(records, split)
    n_shards = max(1, min(len(shards), most // SHARD_EYES))
    for place in range(n_shards if shards else 0):
        yield _read_shards(records, [shards[place * len(shards) // n_shards]])


def read_test_eyes(records: RecordSet, home: Home, why: str) -> Eyes:
    """The eyes of the test split. Every call is counted as a test evaluation, under the test split's own fingerprint.

    Args:
        records: The record set.
        home: Where test evaluations are counted.
        why: What the evaluation is for, in a few words; it is written down with the time and the process.

    Raises:
        RecordsError: If a shard is missing, torn or altered.
    """
    (eyes,) = read_same_test_eyes([records], home, why)
    return eyes


def read_same_test_eyes(sets: Sequence[RecordSet], home: Home, why: str) -> list[Eyes]:
    """The eyes of one test split as several record sets hold them, each at its own `images.*`: one test evaluation.

    Args:
        sets: At least one; all hold the same test photographs.
        home: Where test evaluations are counted.
        why: What the evaluation is for, in a few words; it is written down with the time and the process.

    Raises:
        RecordsError: If a shard is missing, torn or altered, or the sets hold other photographs.
    """
    records = sets[0]
    for other in sets[1:]:
        if other.test_fingerprint != records.test_fingerprint:
            raise RecordsError(f"{other.folder} and {records.folder} hold other test photographs; give one data set.")
    eyes = [_read(each, "test") for each in sets]
    count_test_evaluation(records, home, why)
    assert all(each.names == eyes[0].names for each in eyes), "one listing, one order"
    return eyes


def count_test_evaluation(records: RecordSet, home: Home, why: str) -> None:
    """Write down that the test split of a record set is read.

    Args:
        records: The record set.
        home: Where test evaluations are counted.
        why: What the evaluation is for, in a few words.
    """
    evaluation = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "why": why,
        "process": f"{socket.gethostname()}:{os.getpid()}",
    }
    path = _test_evaluations_path(records, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:  # one write of one line: those of several processes do not mix
        file.write(json.dumps(evaluation) + "\n")


def count_test_evaluations(records: RecordSet, home: Home) -> int:
    """The number of test evaluations of this test split, by whatever record set holds it."""
    path = _test_evaluations_path(records, home)
    return len(path.read_text().splitlines()) if path.is_file() else 0


def _test_evaluations_path(records: RecordSet, home: Home) -> Path:
    return home.test_evaluations / f"{records.test_fingerprint}.jsonl"


def _read(records: RecordSet, split: Split) -> Eyes:
    return _read_shards(records, _shards(records, split))


def _shards(records: RecordSet, split: Split) -> list[Mapping[str, Any]]:
    return [shard for shard in records.manifest["shards"] if shard["split"] == split]


def _read_shards(records: RecordSet, shards: Sequence[Mapping[str, Any]]) -> Eyes:
    """Read and decode some shards, in parallel."""
    n, side = sum(shard["n"] for shard in shards), records.images.image_px
    images, grades, labels = np.empty((n, side, side, 3), np.uint8), np.empty(n, np.int64), np.empty(n, np.int64)
    texts: list[tuple[str, ...]] = []
    edema: list[bool | None] = []
    if not shards:
        return Eyes((), images, grades, labels, (), ())
    for image, grade, label, has_edema, *words in _decoded(records, shards):
        at = len(texts)
        images[at], grades[at], labels[at] = image, grade, label
        texts.append(tuple(word.decode() for word in words))
        edema.append(None if has_edema < 0 else bool(has_edema))
    names, patients, sources, boxes = zip(*texts, strict=True)
    eye_boxes = PackedBoxes([Box(*box) for box in json.loads(of_eye or "[]")] for of_eye in boxes)
    return Eyes(names, images, grades, labels, patients, sources, eye_boxes, tuple(edema))


def _decoded(records: RecordSet, shards: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """What `_parse` returns of each record of some shards, in order, decoded in parallel."""
    import tensorflow as tf

    for shard in shards:
        _check_file(records.folder, shard)
    data = tf.data.TFRecordDataset([str(records.folder / shard["file"]) for shard in shards])
    parse = tf.autograph.experimental.do_not_convert(_parse)
    yield from data.map(parse, num_parallel_calls=os.cpu_count()).as_numpy_iterator()


def _parse(example: Any) -> tuple[Any, ...]:
    """Image, grade, label, edema, name, patient, source and boxes (JSON) of one record, as tensors."""
    import tensorflow as tf

    words = ("name", "patient", "source", "boxes")
    kinds = {"image": tf.string, "grade": tf.int64, "label": tf.int64, **dict.fromkeys(words, tf.string)}
    features = {key: tf.io.FixedLenFeature([], kind) for key, kind in kinds.items()}
    features["boxes"] = tf.io.FixedLenFeature([], tf.string, default_value="")  # only eyes with boxes have the feature
    features["edema"] = tf.io.FixedLenFeature([], tf.int64, default_value=-1)  # and only those of which it is known
    record = tf.io.parse_single_example(example, features)
    # The accurate transform gives the pixels of `decode_stored`; TensorFlow's default is off by one here and there.
    image = tf.io.decode_jpeg(record["image"], channels=3, dct_method="INTEGER_ACCURATE")
    return image, record["grade"], record["label"], record["edema"], *(record[word] for word in words)


def stored_images(records: RecordSet) -> Iterator[tuple[str, bytes]]:
    """The SHA-256 of each photograph of a record set, and the JPEG that is stored of it, in the order of the records.

    Raises:
        RecordsError: If a shard is missing, torn or altered.
    """
    import tensorflow as tf

    for split in get_args(Split):
        shards = _shards(records, split)
        for shard in shards:
            _check_file(records.folder, shard)
        examples = tf.data.TFRecordDataset([str(records.folder / shard["file"]) for shard in shards])
        for example, eye in zip(examples.as_numpy_iterator(), records.eyes(split), strict=True):
            yield eye.sha256, tf.train.Example.FromString(example).features.feature["image"].bytes_list.value[0]


def write_shard(path: Path, eyes: Iterable[tuple[bytes, EyeEntry]]) -> None:
    """Write one shard.

    Args:
        path: The new file.
        eyes: Stored JPEG and entry of each eye, all of one split.
    """
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for stored, eye in eyes:
            writer.write(_example(stored, eye))


def shard_entry(path: Path, split: Split, n: int) -> dict[str, Any]:
    """The entry of a shard in the manifest.

    Args:
        path: The shard.
        split: The split whose eyes it holds.
        n: How many eyes it holds.
    """
    return {"file": path.name, "split": split, "n": n, "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def write_eyes(folder: Path, eyes: Iterable[EyeEntry]) -> dict[str, Any]:
    """Write `eyes.jsonl`, one line per eye in the order of the records.

    Returns:
        The entry of the file in the manifest.
    """
    path, n = folder / EYES, 0
    with path.open("w") as file:
        for eye in eyes:
            file.write(json.dumps(eye.to_json()) + "\n")
            n += 1
    return {"file": EYES, "n": n, "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _example(stored: bytes, eye: EyeEntry) -> bytes:
    import tensorflow as tf

    example = tf.train.Example()
    features = example.features.feature
    features["image"].bytes_list.value.append(stored)
    for key in ("name", "sha256", "patient", "eye", "source"):
        features[key].bytes_list.value.append(getattr(eye, key).encode())
    if eye.boxes:
        features["boxes"].bytes_list.value.append(json.dumps(eye.boxes).encode())
    if eye.edema is not None:
        features["edema"].int64_list.value.append(int(eye.edema))
    for key, number in {"grade": eye.grade, "label": eye.label}.items():
        features[key].int64_list.value.append(number)
    return bytes(example.SerializeToString(deterministic=True))  # else the order of features differs from run to run
