"""From a folder of photographs to records: whole or not at all, once, and every bad file by name."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from drsearch.data.prepare import prepare
from drsearch.data.records import read_eyes
from drsearch.data.synthetic import synthesize
from drsearch.errors import DataError
from drsearch.home import Home
from drsearch.settings import Settings

SMALL = Settings().replace({"images.image_px": 32})


def file_of(eyes: Path, number: int) -> Path:
    return eyes / "images" / "train" / f"SYN_{number:03d}.jpg"


def set_grade(eyes: Path, name: str, grade: str | None) -> None:
    file = eyes / "labels" / "train.csv"
    rows = [row for row in file.read_text().splitlines() if not row.startswith(f"{name},")]
    file.write_text("\n".join([*rows, *([f"{name},{grade},0"] if grade is not None else [])]) + "\n")


def test_a_second_run_finds_the_records_of_the_first(eyes: Path, tmp_path: Path) -> None:
    first = prepare(eyes, SMALL, Home(tmp_path))
    again = prepare(eyes, SMALL, Home(tmp_path))
    assert (first.reused, again.reused) == (False, True)
    assert again.records.fingerprint == first.records.fingerprint
    assert again.audit == first.audit


def test_other_images_are_other_records_of_the_same_data(eyes: Path, tmp_path: Path) -> None:
    small = prepare(eyes, SMALL, Home(tmp_path)).records
    large = prepare(eyes, SMALL.replace({"images.image_px": 48}), Home(tmp_path)).records
    assert small.fingerprint != large.fingerprint
    assert small.data_fingerprint == large.data_fingerprint
    assert read_eyes(small, "train").names == read_eyes(large, "train").names


def test_a_changed_grade_is_other_data(eyes: Path, tmp_path: Path) -> None:
    before = prepare(eyes, SMALL, Home(tmp_path)).records
    set_grade(eyes, "SYN_003", "4" if before.eyes("train", "validation", "test")[2].grade != 4 else "3")
    assert prepare(eyes, SMALL, Home(tmp_path)).records.data_fingerprint != before.data_fingerprint


def test_bad_photographs_stop_it_and_leave_no_records(eyes: Path, tmp_path: Path) -> None:
    file_of(eyes, 2).write_bytes(file_of(eyes, 2).read_bytes()[:4000])
    cv2.imwrite(str(file_of(eyes, 5)), np.zeros((178, 268, 3), np.uint8))
    set_grade(eyes, "SYN_007", "7")
    set_grade(eyes, "SYN_099", "1")
    with pytest.raises(DataError) as refused:
        prepare(eyes, SMALL, Home(tmp_path))
    assert "4" in str(refused.value) and "--skip-bad" in str(refused.value)
    assert "SYN_002.jpg" in str(refused.value)
    assert not [path for path in (tmp_path / "records").iterdir() if not path.name.startswith(".")]

    made = prepare(eyes, SMALL, Home(tmp_path), skip_bad=True)
    assert sum(counts["n"] for counts in made.records.counts.values()) == 27
    audit = json.loads(made.records.audit_path.read_text())
    assert [found["file"] for found in audit["unreadable"]] == ["images/train/SYN_002.jpg"]
    assert [found["file"] for found in audit["no_retina"]] == ["images/train/SYN_005.jpg"]
    assert len(audit["invalid_grade"]) == len(audit["label_without_photograph"]) == 1


def test_the_same_picture_encoded_again_is_a_warning_and_stays_on_one_side(eyes: Path, tmp_path: Path) -> None:
    picture = cv2.imread(str(file_of(eyes, 1)))
    cv2.imwrite(str(file_of(eyes, 30)), picture, [cv2.IMWRITE_JPEG_QUALITY, 60])
    made = prepare(eyes, SMALL, Home(tmp_path))
    (same,) = made.audit.duplicates
    assert [Path(file).stem for file in same.files] == ["SYN_001", "SYN_030"]
    assert same.how == "pixels"
    sides = {eye.name: eye.split for eye in made.records.eyes("train", "validation", "test")}
    assert sides["SYN_001"] == sides["SYN_030"]


def test_a_photograph_without_label_is_a_warning(eyes: Path, tmp_path: Path) -> None:
    set_grade(eyes, "SYN_004", None)
    made = prepare(eyes, SMALL, Home(tmp_path))
    assert [Path(file).stem for file in made.audit.unlabelled] == ["SYN_004"]
    assert "SYN_004" not in {eye.name for eye in made.records.eyes("train", "validation", "test")}


def test_data_of_another_fingerprint_is_refused(eyes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        prepare(eyes, SMALL.replace({"data.fingerprint": "0123456789abcdef"}), Home(tmp_path))
    assert "0123456789abcdef" in str(refused.value)


@pytest.mark.faults
def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    synthesize(tmp_path / "eyes", 150, seed=1)
    command = [sys.executable, "-m", "drsearch", "prepare", str(tmp_path / "eyes")]
    process = subprocess.Popen(command, env={**os.environ, "DRSEARCH_HOME": str(tmp_path)}, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("records/*partial*")):
        assert process.poll() is None, "it was over before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("records/*/manifest.json"))
    made = prepare(tmp_path / "eyes", Settings(), Home(tmp_path))
    assert not made.reused
    assert not list(tmp_path.glob("records/*partial*")), "the dead run's folder was not removed"


def test_idrid_is_split_as_promised_in_little_room(idrid: Path, tmp_path: Path) -> None:
    made = prepare(idrid, Settings(), Home(tmp_path))
    assert {side: counts["n"] for side, counts in made.records.counts.items()} == {
        "train": 264,
        "validation": 66,
        "test": 83,
    }
    assert len(made.audit.duplicates) == 5
    assert made.records.record_bytes / 413 < 42_000
