import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from drsearch.data.images import THUMBNAIL_PX, decode_stored, eye_image
from drsearch.data.prepare import prepare
from drsearch.data.quality import Quality
from drsearch.data.records import (
    MANIFEST,
    SCHEMA_VERSION,
    EyeEntry,
    RecordSet,
    count_test_evaluations,
    open_records,
    read_eyes,
    read_test_eyes,
    shard_entry,
    write_shard,
)
from drsearch.datasets.given import open_dataset
from drsearch.errors import RecordsError
from drsearch.home import Home
from drsearch.settings import ImageSettings, Settings

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = Settings().replace({"images.image_px": 48})

FINE = Quality(0.9, 1, 1, 0.8, "is pale")


@pytest.fixture
def records(eyes: Path, home: Home) -> RecordSet:
    return prepare(open_dataset([eyes]), SMALL, home).records


def test_records_read_back_what_the_photographs_give(eyes: Path, records: RecordSet, home: Home) -> None:
    splits = {
        "train": read_eyes(records, "train"),
        "validation": read_eyes(records, "validation"),
        "test": read_test_eyes(records, home, "a test of drsearch"),
    }
    grades = dict(line.split(",")[:2] for line in (eyes / "labels/train.csv").read_text().splitlines()[1:])
    names = [name for found in splits.values() for name in found.names]
    assert sorted(names) == sorted(grades)
    for side, found in splits.items():
        assert len(found.names) == records.counts[side]["n"] == len(found.images)
        assert found.images.dtype == np.uint8 and found.images.shape[1:] == (48, 48, 3)
        assert found.grades.dtype == found.labels.dtype == np.int64
        for name, image, grade, label in zip(found.names, found.images, found.grades, found.labels, strict=True):
            photograph = (eyes / f"images/train/{name}.jpg").read_bytes()
            # Bit for bit: TensorFlow's decoder and ours agree, so a prediction is the same from either.
            assert np.array_equal(image, eye_image(photograph, ImageSettings(image_px=48)).image)
            assert grade == int(grades[name]) and label == int(int(grade) >= 2)


def test_the_manifest_tells_eyes_by_content(eyes: Path, records: RecordSet) -> None:
    found = records.eyes("train", "validation")
    assert {eye.split for eye in found} == {"train", "validation"}
    photograph = (eyes / f"images/train/{found[0].name}.jpg").read_bytes()
    assert found[0].sha256 == hashlib.sha256(photograph).hexdigest()
    assert np.array_equal(found[0].thumbnail, eye_image(photograph, ImageSettings(image_px=48)).thumbnail)


def test_the_same_eyes_make_the_same_bytes_in_every_run(tmp_path: Path) -> None:
    thumbnails = np.arange(3 * THUMBNAIL_PX * THUMBNAIL_PX, dtype=np.uint8).reshape(3, THUMBNAIL_PX, THUMBNAIL_PX)
    eyes = [
        (bytes(range(100 + i)), EyeEntry(f"eye {i}", "train", i, int(i >= 2), "0" * 64, thumbnails[i], FINE))
        for i in range(3)
    ]
    write_shard(tmp_path / "shard", eyes)
    assert shard_entry(tmp_path / "shard", "train", 3)["sha256"] == (
        "41f6740d1e0d2a30e7040cd67092d5276162fa25db5e73c0bc29fc367a6e185e"
    )


def test_an_entry_reads_back_from_json() -> None:
    thumbnail = (
        np.arange(THUMBNAIL_PX * THUMBNAIL_PX, dtype=np.int64).astype(np.uint8).reshape(THUMBNAIL_PX, THUMBNAIL_PX)
    )
    eye = EyeEntry("a", "test", 3, 1, "00ff", thumbnail, FINE, "7", "left", "aptos")
    again = EyeEntry.from_json(json.loads(json.dumps(eye.to_json())))
    assert again.to_json() == eye.to_json() and again.quality == eye.quality
    assert np.array_equal(again.thumbnail, thumbnail)


def test_the_test_split_cannot_be_named_by_a_trial(records: RecordSet) -> None:
    with pytest.raises(ValueError, match="^'test' is neither 'train' nor 'validation'"):
        read_eyes(records, "test")  # type: ignore[arg-type]
    shards = {shard["split"] for shard in records.manifest["shards"] if shard["file"].startswith("test")}
    assert shards == {"test"}


def test_every_test_evaluation_is_counted_whatever_the_image_size(eyes: Path, records: RecordSet, home: Home) -> None:
    assert count_test_evaluations(records, home) == 0
    read_test_eyes(records, home, "the final evaluation")
    larger = prepare(open_dataset([eyes]), Settings().replace({"images.image_px": 64}), home).records
    read_test_eyes(larger, home, "the gate")
    assert count_test_evaluations(records, home) == count_test_evaluations(larger, home) == 2
    lines = (home.test_evaluations / f"{records.test_fingerprint}.jsonl").read_text().splitlines()
    assert [json.loads(line)["why"] for line in lines] == ["the final evaluation", "the gate"]
    assert set(json.loads(lines[0])) == {"when", "why", "process"}


def shard_of(records: RecordSet, split: str) -> Path:
    return records.folder / str(next(shard["file"] for shard in records.manifest["shards"] if shard["split"] == split))


def test_a_torn_shard_is_named(records: RecordSet) -> None:
    shard = shard_of(records, "train")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    with pytest.raises(RecordsError) as refused:
        open_records(records.folder)
    assert str(refused.value) == (
        f"{shard} is torn: it has {len(whole) - 10} of {len(whole)} bytes; run `drsearch prepare` again."
    )


def test_an_altered_shard_is_named_when_it_is_read(records: RecordSet) -> None:
    shard = shard_of(records, "validation")
    whole = bytearray(shard.read_bytes())
    whole[len(whole) // 2] ^= 1
    shard.write_bytes(whole)
    again = open_records(records.folder)
    read_eyes(again, "train")
    with pytest.raises(RecordsError) as refused:
        read_eyes(again, "validation")
    assert str(refused.value) == (
        f"{shard} is altered: its checksum is not that of its manifest; run `drsearch prepare` again."
    )


def test_a_missing_shard_is_named(records: RecordSet) -> None:
    shard_of(records, "test").unlink()
    with pytest.raises(RecordsError) as refused:
        open_records(records.folder)
    assert str(refused.value) == f"{shard_of(records, 'test')} is missing; run `drsearch prepare` again."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "{folder} holds no records: it has no manifest.json; run `drsearch prepare` again."),
        ('{"schema_version": 1, "sha', "{folder}/manifest.json is torn or altered; run `drsearch prepare` again."),
        ('{"schema_version": 99}', "{folder}/manifest.json has schema version 99, this drsearch reads 4;"
                                   " run `drsearch prepare` again."),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_used_is_refused(text: str | None, sentence: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(RecordsError) as refused:
        open_records(tmp_path)
    assert str(refused.value) == sentence.format(folder=tmp_path)


def test_records_written_by_an_earlier_drsearch_of_this_schema_still_read() -> None:
    folder = GOLDEN / f"records_v{SCHEMA_VERSION}"
    records = open_records(folder)
    records.check()
    expected = json.loads((folder / "expected.json").read_text())
    eyes = {"train": read_eyes(records, "train"), "validation": read_eyes(records, "validation")}
    for side, found in eyes.items():
        assert list(found.names) == expected[side]["names"]
        assert found.grades.tolist() == expected[side]["grades"]
        # JPEG decoders may differ by rounding, a level at most.
        assert found.images.mean(axis=(1, 2, 3)) == pytest.approx(expected[side]["mean_levels"], abs=0.5)
        assert [eye.name for eye in records.eyes(side)] == expected[side]["names"]  # type: ignore[arg-type]
    assert records.fingerprint == expected["fingerprint"]


def test_altered_eyes_are_named_when_they_are_read(records: RecordSet) -> None:
    listed = records.folder / "eyes.jsonl"
    listed.write_bytes(listed.read_bytes().replace(b'"train"', b'"tarin"', 1))
    again = open_records(records.folder)
    with pytest.raises(RecordsError) as refused:
        again.eyes("train")
    assert str(refused.value) == (
        f"{listed} is altered: its checksum is not that of its manifest; run `drsearch prepare` again."
    )
    listed.unlink()
    with pytest.raises(RecordsError) as missing:
        open_records(records.folder)
    assert str(missing.value) == f"{listed} is missing; run `drsearch prepare` again."


def test_a_stored_image_decodes_as_tensorflow_decodes_it(photograph: bytes) -> None:
    import tensorflow as tf

    stored = eye_image(photograph, ImageSettings()).stored
    theirs = tf.io.decode_jpeg(stored, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    assert np.array_equal(theirs, decode_stored(stored))
