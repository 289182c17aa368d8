import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from services import when

from drsearch.data import prepare as prepare_module
from drsearch.data.audit import Audit
from drsearch.data.decode import Decoded, read_photograph
from drsearch.data.images import EyeImage, eye_image
from drsearch.data.prepare import Prepared, UnusableData
from drsearch.data.records import open_records, read_eyes
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.errors import DataError
from drsearch.home import Home
from drsearch.settings import ImageSettings, Settings

SMALL = Settings().replace({"images.image_px": 32})
Relabel = Callable[[Callable[[list[str]], list[str]]], None]


def prepare(path: Path, settings: Settings, home: Home, **choices: Any) -> Prepared:
    return prepare_module.prepare(open_dataset([path], besides=home.path), settings, home, **choices)


def made(home: Home) -> list[str]:
    """Whatever lies among the records, half-written folders too."""
    return sorted(path.name for path in home.records.iterdir())


def grade_line(name: str, grade: object) -> Callable[[list[str]], list[str]]:
    return lambda lines: [f"{name},{grade},0" if line.startswith(f"{name},") else line for line in lines]


def test_a_folder_becomes_records_with_their_audit_beside_them(eyes: Path, home: Home) -> None:
    done: list[tuple[int, int]] = []
    prepared = prepare(eyes, SMALL, home, on_photograph=lambda n, total: done.append((n, total)))
    assert not prepared.reused
    assert done == [(n, 30) for n in range(1, 31)]
    records = prepared.records
    assert made(home) == [records.fingerprint]
    assert {side: found["n"] for side, found in records.counts.items()} == {"train": 19, "validation": 5, "test": 6}
    assert records.source_bytes == sum(path.stat().st_size for path in (eyes / "images/train").iterdir())
    assert records.record_bytes == sum(path.stat().st_size for path in records.folder.glob("*.tfrecord"))
    assert Audit.from_json(json.loads(records.audit_path.read_text())) == prepared.audit
    assert prepared.audit.bad == () and prepared.audit.n_usable == 30


def test_ten_synthetic_eyes_have_both_classes_on_every_side(tmp_path: Path, home: Home) -> None:
    synthesize(tmp_path / "ten", 10, seed=0, image_px=(268, 178))
    counts = prepare(tmp_path / "ten", SMALL, home).records.counts
    assert all(found["NRDR"] and found["RDR"] for found in counts.values())


def test_the_same_photographs_and_settings_are_reused_without_decoding(
    eyes: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(eyes, SMALL, home)
    monkeypatch.setattr(prepare_module, "decode_photograph", None)
    second = prepare(eyes, SMALL.replace({"training.seed": 7}), home)
    assert second.reused
    assert second.records == first.records and second.audit == first.audit


@pytest.mark.parametrize(
    ("setting", "value"), [("images.image_px", 48), ("images.normalisation", "clahe"), ("data.split", "random")]
)
def test_settings_that_shape_the_records_make_new_ones(eyes: Path, home: Home, setting: str, value: object) -> None:
    first = prepare(eyes, SMALL, home).records
    second = prepare(eyes, SMALL.replace({setting: value}), home)
    assert not second.reused
    assert second.records.fingerprint != first.fingerprint
    assert (second.records.data_fingerprint == first.data_fingerprint) == setting.startswith("images.")
    assert (second.records.test_fingerprint == first.test_fingerprint) == setting.startswith("images.")


def test_a_changed_grade_and_a_changed_photograph_make_new_records(eyes: Path, home: Home, relabel: Relabel) -> None:
    first = prepare(eyes, SMALL, home).records
    photograph = eyes / "images/train/SYN_004.jpg"
    changed = bytearray(photograph.read_bytes())
    changed[-2:-2] = b"\xff\xfe\x00\x04ab"  # a comment
    photograph.write_bytes(changed)
    second = prepare(eyes, SMALL, home)
    photograph.write_bytes(changed[:-3] + b"c" + changed[-2:])  # as many bytes, others
    third = prepare(eyes, SMALL, home)
    relabel(grade_line("SYN_005", 4))
    relabel(grade_line("SYN_006", 0))
    fourth = prepare(eyes, SMALL, home)
    assert not (second.reused or third.reused or fourth.reused)
    prints = {first.data_fingerprint} | {p.records.data_fingerprint for p in (second, third, fourth)}
    assert len(prints) == 4


def test_a_torn_shard_is_made_again(eyes: Path, home: Home) -> None:
    first = prepare(eyes, SMALL, home).records
    shard = next(first.folder.glob("train-*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + b"!")
    again = prepare(eyes, SMALL, home)
    assert not again.reused
    assert shard.read_bytes() == whole
    assert made(home) == [first.fingerprint]


def spoil(eyes: Path, relabel: Relabel) -> None:
    photographs = eyes / "images/train"
    short = photographs / "SYN_003.jpg"
    short.write_bytes(short.read_bytes()[:-200])
    (photographs / "SYN_007.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((200, 300, 3), np.uint8))[1].tobytes())
    (photographs / "SYN_009.jpg").unlink()
    relabel(grade_line("SYN_011", 7))


def test_bad_photographs_stop_it_in_one_sentence_and_leave_nothing(eyes: Path, home: Home, relabel: Relabel) -> None:
    spoil(eyes, relabel)
    with pytest.raises(UnusableData) as refused:
        prepare(eyes, SMALL, home)
    assert str(refused.value) == (
        f"4 of the photographs and labels in {eyes} cannot be used: images/train/SYN_003.jpg (cannot be read whole:"
        " Premature end of JPEG file), images/train/SYN_007.jpg (shows no retina: nothing stands out from the"
        " background; give a colour photograph of the fundus), images/train/SYN_011.jpg (grade '7') and 1 more; mend or"
        f" remove them, or go on without them with --skip-bad; all are named in {refused.value.audit_path}."
    )
    assert made(home) == []


def test_the_audit_of_a_refusal_is_kept_until_the_set_is_mended(eyes: Path, home: Home, relabel: Relabel) -> None:
    relabel(lambda lines: [line for line in lines if not line.startswith(("SYN_008", "SYN_013"))])
    with pytest.raises(UnusableData) as refused:
        prepare(eyes, SMALL, home)
    path = refused.value.audit_path
    assert path.parent == home.audits and path.name.startswith("eyes-")
    assert Audit.from_json(json.loads(path.read_text())) == refused.value.audit
    assert refused.value.audit.unlabelled == ("images/train/SYN_008.jpg", "images/train/SYN_013.jpg")
    records = prepare(eyes, SMALL, home, skip_bad=True).records
    assert not path.exists()
    with pytest.raises(UnusableData) as again:
        prepare(eyes, SMALL, home)
    assert again.value.audit_path == records.audit_path


def test_names_that_nearly_match_are_told_in_the_refusal(eyes: Path, home: Home, relabel: Relabel) -> None:
    relabel(lambda lines: [line.replace("SYN_00", "syn_") for line in lines])
    with pytest.raises(
        DataError,
        match=r"^18 of .* \(the label 'syn_1' and the photograph 'SYN_001' are nearly equal: give them the same name\)",
    ):
        prepare(eyes, SMALL, home)


def test_bad_photographs_can_be_left_out_and_are_named_in_the_audit(eyes: Path, home: Home, relabel: Relabel) -> None:
    spoil(eyes, relabel)
    prepared = prepare(eyes, SMALL, home, skip_bad=True)
    audit = prepared.audit
    assert [finding.file for finding in audit.unreadable] == ["images/train/SYN_003.jpg"]
    assert [finding.file for finding in audit.no_retina] == ["images/train/SYN_007.jpg"]
    assert audit.invalid_grade == (("images/train/SYN_011.jpg", "7"),)
    assert audit.label_without_photograph == ("labels/train.csv: SYN_009",)
    assert sum(found["n"] for found in prepared.records.counts.values()) == audit.n_usable == 26
    assert prepare(eyes, SMALL, home, skip_bad=True).reused
    with pytest.raises(DataError, match="^4 of the photographs and labels in "):
        prepare(eyes, SMALL, home)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: b"not a picture at all", "is no picture"),
        (lambda data: data[:100], "cannot be read whole: tjDecompressHeader3(): "),
        (lambda data: cv2.imencode(".png", read_photograph(data))[1].tobytes()[:-5000], "cannot be read whole: "),
    ],
    ids=["empty", "text", "header only", "short PNG under another name"],
)
def test_damage_of_every_kind_is_found(damage: Callable[[bytes], bytes], reason: str, eyes: Path, home: Home) -> None:
    photograph = eyes / "images/train/SYN_002.jpg"
    photograph.write_bytes(damage(photograph.read_bytes()))
    (finding,) = prepare(eyes, SMALL, home, skip_bad=True).audit.unreadable
    assert finding.file == "images/train/SYN_002.jpg"
    assert finding.found.startswith(reason)


def test_a_photograph_that_cannot_be_opened_is_unreadable(eyes: Path, home: Home) -> None:
    photograph = eyes / "images/train/SYN_002.jpg"
    photograph.unlink()
    photograph.symlink_to("nowhere.jpg")
    (finding,) = prepare(eyes, SMALL, home, skip_bad=True).audit.unreadable
    assert finding == ("images/train/SYN_002.jpg", "cannot be opened: No such file or directory")


def test_what_is_no_file_is_named_and_not_waited_for(eyes: Path, home: Home) -> None:
    photographs = eyes / "images/train"
    for name in ("SYN_002", "SYN_003"):
        (photographs / f"{name}.jpg").unlink()
    os.mkfifo(photographs / "SYN_002.jpg")
    (photographs / "SYN_003.jpg").mkdir()
    assert prepare(eyes, SMALL, home, skip_bad=True).audit.unreadable == (
        ("images/train/SYN_002.jpg", "cannot be opened: it is a named pipe, not a file"),
        ("images/train/SYN_003.jpg", "cannot be opened: it is a folder, not a file"),
    )


def test_pictures_of_formats_that_are_not_read_are_named_with_the_cure(
    eyes: Path, home: Home, relabel: Relabel
) -> None:
    picture = Image.fromarray(read_photograph((eyes / "images/train/SYN_002.jpg").read_bytes())[:, ::-1])
    for kind in ("webp", "ppm", "gif", "jp2"):
        picture.save(eyes / f"images/train/other{kind}.{kind}")
    relabel(lambda lines: [*lines, *(f"other{kind},0,0" for kind in ("webp", "ppm", "gif", "jp2"))])
    prepared = prepare(eyes, SMALL, home, skip_bad=True)
    assert prepared.audit.unreadable == (
        ("images/train/othergif.gif", "is GIF; save it as JPEG, PNG, TIFF or BMP"),
        ("images/train/otherjp2.jp2", "is JPEG 2000; save it as JPEG, PNG, TIFF or BMP"),
    )
    prepared_images: dict[str, np.ndarray] = {}
    for split in ("train", "validation"):
        read = read_eyes(prepared.records, split)
        prepared_images |= dict(zip(read.names, read.images, strict=True))
    others = {"otherwebp", "otherppm"} & set(prepared_images)
    assert others, "both are in the test split: choose other grades"
    for name in others:
        file = eyes / f"images/train/{name}.{name.removeprefix('other')}"
        assert np.array_equal(prepared_images[name], eye_image(file.read_bytes(), SMALL.images).image)
    assert {"otherwebp", "otherppm"} <= {eye.name for eye in prepared.records.eyes("train", "validation", "test")}


def test_photographs_without_label_are_bad(eyes: Path, home: Home, relabel: Relabel) -> None:
    relabel(lambda lines: [line for line in lines if not line.startswith("SYN_008,")])
    with pytest.raises(DataError, match=r"cannot be used: images/train/SYN_008.jpg \(photograph without label\);"):
        prepare(eyes, SMALL, home)
    prepared = prepare(eyes, SMALL, home, skip_bad=True)
    assert prepared.audit.unlabelled == ("images/train/SYN_008.jpg",)
    assert "SYN_008" not in [eye.name for eye in prepared.records.eyes("train", "validation", "test")]


def test_what_is_not_used_is_in_the_audit_also_where_it_came_after_the_records(eyes: Path, home: Home) -> None:
    first = prepare(eyes, SMALL, home)
    assert first.audit.not_used == ()  # the table of lesion boxes is used
    shutil.copy(eyes / "images/train/SYN_002.jpg", eyes / "images/late.jpg")
    second = prepare(eyes, SMALL, home)
    assert second.reused and second.audit.not_used == ("images/late.jpg",)
    assert Audit.from_json(json.loads(second.records.audit_path.read_text())) == second.audit


@pytest.mark.parametrize("way", ["blocks", "random"])
@pytest.mark.parametrize("by", ["names", "column"])
def test_both_eyes_of_a_patient_are_on_one_side(way: str, by: str, eyes: Path, home: Home, relabel: Relabel) -> None:
    names = {}
    for i, file in enumerate(sorted((eyes / "images/train").iterdir())):
        patient, side = i // 2, ("left", "right")[i % 2]
        names[file.stem] = f"{patient}_{side}" if by == "names" else file.stem, f"P{patient}"
        file.rename(file.with_name(f"{names[file.stem][0]}.jpg"))

    def rename(lines: list[str]) -> list[str]:
        rows = [line.split(",") for line in lines[1:]]
        title = "Patient_ID" if by == "column" else "Eye"
        return [f"Image name,Retinopathy grade,{title}", *(f"{names[n][0]},{g},{names[n][1]}" for n, g, _ in rows)]

    relabel(rename)
    prepared = prepare(eyes, SMALL.replace({"data.split": way}), home)
    sides: dict[str, set[str]] = {}
    for eye in prepared.records.eyes("train", "validation", "test"):
        sides.setdefault(eye.patient, set()).add(eye.split)
    assert len(sides) == 15 and all(len(of_patient) == 1 for of_patient in sides.values())
    assert set(sides) == {str(number) for number in range(1, 16)}  # what stands in the table stays there
    assert prepared.audit.patients == 15
    told = {"names": "names such as 12_left and 12_right", "column": "column 'Patient_ID'"}
    assert prepared.audit.patients_by == told[by]


def test_pooled_sets_are_divided_one_by_one_and_their_patients_are_others(tmp_path: Path, home: Home) -> None:
    for seed, name in enumerate(("one", "two")):
        synthesize(tmp_path / name, 24, seed=seed, image_px=(268, 178))
        table = tmp_path / name / "labels/train.csv"
        text = table.read_text()
        for i, file in enumerate(sorted((tmp_path / name / "images/train").iterdir())):
            text = text.replace(file.stem, patient := f"{i // 2}_{('left', 'right')[i % 2]}")
            file.rename(file.with_stem(patient))
        table.write_text(text)
    prepared = prepare_module.prepare(open_dataset([tmp_path / "one", tmp_path / "two"]), SMALL, home)
    eyes = prepared.records.eyes("train", "validation", "test")
    assert prepared.audit.patients == len({eye.patient for eye in eyes}) == 24
    assert prepared.audit.patients_by == "names such as 12_left and 12_right"
    assert all(len({(eye.source, eye.split) for eye in eyes if eye.patient == each.patient}) == 1 for each in eyes)
    assert Counter((eye.source, eye.split) for eye in eyes if eye.split == "test") == {
        ("one", "test"): 4, ("two", "test"): 4,
    }  # fmt: skip


def test_a_patient_who_is_published_for_testing_leaves_training(eyes: Path, home: Home, relabel: Relabel) -> None:
    relabel(
        lambda lines: [
            "Image name,Retinopathy grade,patient,split",
            *(
                f"{name},{grade},{'P' if name in ('SYN_001', 'SYN_030') else i},{'test' if i >= 22 else ''}"
                for i, (name, grade, _) in enumerate(line.split(",") for line in lines[1:])
            ),
        ]
    )
    prepared = prepare(eyes, SMALL, home)
    assert prepared.records.counts["test"]["n"] == 8
    assert prepared.audit.left_out == (("images/train/SYN_001.jpg", "its patient is published for another split"),)
    assert prepared.audit.n_usable == sum(found["n"] for found in prepared.records.counts.values()) == 29


def test_the_same_picture_twice_is_found_and_shares_a_split(eyes: Path, home: Home, relabel: Relabel) -> None:
    photographs = eyes / "images/train"
    picture = read_photograph((photographs / "SYN_001.jpg").read_bytes())
    smaller = cv2.resize(picture, (230, 153), interpolation=cv2.INTER_AREA)[..., ::-1]
    (photographs / "SYN_031.png").write_bytes(cv2.imencode(".png", smaller)[1].tobytes())
    shutil.copy(photographs / "SYN_010.jpg", photographs / "SYN_032.jpg")
    table = (eyes / "labels/train.csv").read_text().splitlines()
    grade = dict(line.split(",")[:2] for line in table[1:])
    other = "4" if grade["SYN_010"] in "01" else "0"
    relabel(lambda lines: [*lines, f"SYN_031,{grade['SYN_001']},0", f"SYN_032,{other},0"])
    prepared = prepare(eyes, SMALL, home)
    by_how = {picture.how: picture for picture in prepared.audit.duplicates}
    assert len(prepared.audit.duplicates) == 2
    assert by_how["pixels"].files == ("images/train/SYN_001.jpg", "images/train/SYN_031.png")
    assert by_how["bytes"].files == ("images/train/SYN_010.jpg", "images/train/SYN_032.jpg")
    assert prepared.audit.contradicting == (by_how["bytes"],)
    assert by_how["bytes"].contradicts_itself_in_class
    side = {eye.name: eye.split for eye in prepared.records.eyes("train", "validation", "test")}
    assert side["SYN_001"] == side["SYN_031"]
    # Graded on both sides of the line: nobody knows which is true.
    assert "SYN_010" not in side and "SYN_032" not in side
    grades = " and ".join(sorted([grade["SYN_010"], other]))
    assert prepared.audit.left_out == (
        ("images/train/SYN_010.jpg", f"the same picture is graded {grades}"),
        ("images/train/SYN_032.jpg", f"the same picture is graded {grades}"),
    )
    assert prepared.audit.n_usable == len(side) == 30


def test_a_published_test_set_is_kept_and_a_picture_in_both_leaves_training(
    eyes: Path, eyes_made_once: Path, home: Home, relabel: Relabel
) -> None:
    tests = eyes / "images/test"
    tests.mkdir()
    lines = (eyes / "labels/train.csv").read_text().splitlines()
    moved = [line.split(",")[0] for line in lines[-8:]]
    for name in moved:
        (eyes / f"images/train/{name}.jpg").rename(tests / f"{name}.jpg")
    # The published sets use the same names for different photographs.
    shutil.copy(eyes / "images/train/SYN_005.jpg", tests / "SYN_001.jpg")
    (eyes / "labels/test.csv").write_text("\n".join([lines[0], *lines[-8:], "SYN_001,2,0"]) + "\n")
    relabel(lambda lines: lines[:-8])
    prepared = prepare(eyes, SMALL, home)
    assert prepared.audit.left_out == (
        ("images/train/SYN_005.jpg", "the same picture is published for the test split"),
    )
    assert prepared.records.counts["test"]["n"] == 9
    assert "SYN_005" not in [eye.name for eye in prepared.records.eyes("train", "validation")]
    assert {"SYN_001"} <= {eye.name for eye in prepared.records.eyes("train", "validation")}


def test_data_other_than_the_settings_ask_for_is_refused_before_and_after_records_exist(eyes: Path, home: Home) -> None:
    asked = SMALL.replace({"data.fingerprint": "0123456789abcdef"})
    with pytest.raises(DataError) as first:
        prepare(eyes, asked, home)
    assert made(home) == []
    records = prepare(eyes, SMALL, home).records
    with pytest.raises(DataError) as second:
        prepare(eyes, asked, home)
    assert (
        str(first.value)
        == str(second.value)
        == (
            f"{eyes} is other data than these settings were run on: its fingerprint is {records.data_fingerprint},"
            " data.fingerprint asks for 0123456789abcdef; give that data, or leave data.fingerprint empty."
        )
    )
    assert prepare(eyes, SMALL.replace({"data.fingerprint": records.data_fingerprint}), home).reused


def test_a_set_of_one_class_is_refused_and_leaves_nothing(eyes: Path, home: Home, relabel: Relabel) -> None:
    relabel(lambda lines: [lines[0], *(f"{line.split(',')[0]},0,0" for line in lines[1:])])
    with pytest.raises(DataError, match="^none of the 30 photographs is RDR: "):
        prepare(eyes, SMALL, home)
    assert made(home) == []
    assert prepare(eyes, SMALL, home, for_training=False).records.counts["train"]["RDR"] == 0
    with pytest.raises(DataError, match="^none of the 30 photographs is RDR: "):
        prepare(eyes, SMALL, home)


def test_records_do_not_depend_on_where_the_folder_lies(eyes: Path, home: Home, tmp_path: Path) -> None:
    first = prepare(eyes, SMALL, home)
    root = tmp_path / "as published"
    images, tables = root / "1. Original Images", root / "2. Groundtruths"
    images.mkdir(parents=True)
    tables.mkdir()
    (images / "a. Training Set").symlink_to(eyes / "images/train")
    shutil.copy(eyes / "labels/train.csv", tables / "a. IDRiD_Disease Grading_Training Labels.csv")
    shutil.copy(eyes / "labels/lesion_boxes_train.csv", tables)
    assert prepare(root, SMALL, home).records == first.records


def test_a_slow_caller_has_the_threads_look_and_changes_no_record(
    eyes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookers: list[threading.Thread] = []
    eye_of = prepare_module.eye_of

    def watched(decoded: Decoded, settings: ImageSettings) -> EyeImage:
        lookers.append(threading.current_thread())
        return eye_of(decoded, settings)

    monkeypatch.setattr(prepare_module, "_THREADS", 2)  # with many, 30 photographs make nobody wait
    monkeypatch.setattr(prepare_module, "eye_of", watched)

    def wait(n: int, total: int) -> None:
        if n == 1:
            when(lambda: len(set(lookers)) > 1, "another thread to look")

    slow = prepare(eyes, SMALL, Home(tmp_path / "slow"), on_photograph=wait).records
    assert 0 < lookers.count(threading.main_thread()) < len(lookers) == 30
    quick = prepare(eyes, SMALL, Home(tmp_path / "quick")).records
    assert slow.manifest == quick.manifest


@pytest.mark.faults
def test_a_killed_preparation_leaves_nothing_that_looks_finished(eyes: Path, home: Home) -> None:
    script = (
        "import sys; from pathlib import Path; from drsearch.data.prepare import prepare;"
        "from drsearch.datasets.given import open_dataset;"
        "from drsearch.home import Home; from drsearch.settings import Settings;"
        "wait = lambda n, total: (print(n, flush=True), sys.stdin.read());"
        "prepare(open_dataset([Path(sys.argv[1])]), Settings(), Home(Path(sys.argv[2])), on_photograph=wait)"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", script, str(eyes), str(home.path)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGKILL)
    (left,) = made(home)
    assert left.startswith(".partial-")
    prepared = prepare(eyes, Settings(), home)
    assert not prepared.reused
    assert made(home) == [prepared.records.fingerprint]


HELD_IN_THE_MIDDLE = """
import itertools
import sys

from drsearch.cli import main
from drsearch.data import prepare

eye_of, calls = prepare.eye_of, itertools.count(1)


def held(*arguments):
    if next(calls) == 20:
        print("the 20th photograph", flush=True)
        sys.stdin.read()
    return eye_of(*arguments)


prepare.eye_of = held
main()
"""


@pytest.mark.faults
def test_a_killed_command_leaves_nothing_that_looks_finished_and_goes_on_with_the_next_photograph(
    eyes: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", HELD_IN_THE_MIDDLE, "prepare", str(eyes)]
    environment, pipe = {**os.environ, "DRSEARCH_HOME": str(home.path)}, subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert "the 20th photograph\n" in iter(process.stdout.readline, "")
        process.send_signal(signal.SIGKILL)
    assert made(home) and not list(home.records.glob("*/manifest.json"))
    (notes,) = home.records.glob("*/read.jsonl")
    before = [json.loads(line)["file"] for line in notes.read_text().splitlines()[1:]]
    assert 0 < len(before) < 30
    os.utime(before[0])  # changed since, perhaps
    with notes.open("a") as file:
        file.write('{"file": "cut')
    read: list[Path] = []
    monkeypatch.setattr(prepare_module, "read_file", lambda path: read.append(path) or path.read_bytes())
    prepared = prepare(eyes, Settings(), home)
    assert not prepared.reused
    assert made(home) == [prepared.records.fingerprint]
    assert sorted(map(str, read)) == sorted({str(path) for path in (eyes / "images/train").iterdir()} - {*before[1:]})
    whole = prepare(eyes, Settings(), Home(tmp_path / "whole"))
    assert (prepared.records.manifest, prepared.audit) == (whole.records.manifest, whole.audit)
    assert {path.name for path in prepared.records.folder.iterdir()} == {
        path.name for path in whole.records.folder.iterdir()
    }


def test_data_that_are_refused_after_long_reading_are_not_read_again(
    eyes: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "_LONG_S", 0.0)
    cv2.imwrite(str(eyes / "images/train/SYN_003.jpg"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(DataError, match="shows no retina"):
        prepare(eyes, SMALL, home)
    read: list[Path] = []
    monkeypatch.setattr(prepare_module, "read_file", lambda path: read.append(path) or path.read_bytes())
    prepared = prepare(eyes, SMALL, home, skip_bad=True)
    assert read == []
    assert made(home) == [prepared.records.fingerprint]
    whole = prepare(eyes, SMALL, Home(tmp_path / "whole"), skip_bad=True)
    assert (prepared.records.manifest, prepared.audit) == (whole.records.manifest, whole.audit)


def test_photographs_that_are_added_or_changed_are_the_only_ones_that_are_read_again(
    eyes: Path, home: Home, relabel: Relabel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = sorted((eyes / "images/train").iterdir())
    added, changed = photographs[4].rename(tmp_path / "added.jpg"), photographs[7]
    relabel(lambda lines: [line for line in lines if not line.startswith(photographs[4].stem)])
    first = prepare(eyes, SMALL, home).records
    added.rename(photographs[4])
    relabel(lambda lines: [*lines, f"{photographs[4].stem},2,0"])
    Image.open(changed).rotate(90).save(changed)
    read: list[Path] = []
    monkeypatch.setattr(prepare_module, "read_file", lambda path: read.append(path) or path.read_bytes())
    second = prepare(eyes, SMALL, home)
    assert sorted(read) == [photographs[4], changed]
    assert second.records.fingerprint != first.fingerprint
    whole = prepare(eyes, SMALL, Home(tmp_path / "whole"))
    assert (second.records.manifest, second.audit) == (whole.records.manifest, whole.audit)
    read.clear()
    prepare(eyes, SMALL.replace({"images.image_px": 48}), home)
    assert len(read) == 30, "other settings, other pictures"


def test_a_half_written_folder_of_a_living_process_is_left_alone(eyes: Path, home: Home) -> None:
    mine = home.records / f".partial-{os.uname().nodename}-{os.getpid()}-00000000"
    mine.mkdir(parents=True)
    prepare(eyes, SMALL, home)
    assert mine.is_dir()


def test_idrid_is_split_as_promised_in_little_room(idrid: Path, tmp_path: Path) -> None:
    prepared = prepare(idrid, Settings(), Home(tmp_path))
    assert {side: found["n"] for side, found in prepared.records.counts.items()} == {
        "train": 263, "validation": 66, "test": 82,
    }  # fmt: skip
    assert Counter(picture.how for picture in prepared.audit.duplicates) == {"bytes": 5}
    assert [picture.files for picture in prepared.audit.duplicates if picture.contradicts_itself_in_class] == [
        ("images/train/IDRiD_021.jpg", "images/train/IDRiD_391.jpg")
    ]
    assert [finding.file for finding in prepared.audit.left_out] == [
        "images/train/IDRiD_021.jpg", "images/train/IDRiD_391.jpg",
    ]  # fmt: skip
    assert prepared.audit.bad == () and prepared.audit.patients == 0
    assert prepared.audit.not_used == ()
    assert prepared.records.record_bytes / 411 < 42_000
    again = prepare(idrid, Settings(), Home(tmp_path))
    assert again.reused
    assert read_eyes(open_records(again.records.folder), "train").images.shape == (263, 256, 256, 3)
    assert dataclasses.asdict(again.audit) == dataclasses.asdict(prepared.audit)


def spoilt(path: Path) -> None:
    """Put the photograph far out of focus."""
    picture = cv2.imread(str(path))
    assert picture is not None
    cv2.imwrite(str(path), cv2.GaussianBlur(picture, (0, 0), 6))


def test_photographs_below_the_least_quality_are_left_out_with_their_reason(eyes: Path, home: Home) -> None:
    spoilt(eyes / "images/train/SYN_004.jpg")
    whole = prepare(eyes, SMALL, home)
    worst = whole.audit.lowest_quality[0]
    assert worst.file == "images/train/SYN_004.jpg" and worst.reason == "is out of focus, or blurred"
    assert sum(whole.audit.quality) == 30 and whole.audit.left_out == ()
    chosen = SMALL.replace({"data.least_quality": whole.audit.lowest_quality[1].score})
    prepared = prepare(eyes, chosen, home)
    assert not prepared.reused and prepared.records.data_fingerprint != whole.records.data_fingerprint
    ((file, reason),) = prepared.audit.left_out
    assert file == worst.file and reason == f"its quality is {worst.score:.2f}: it {worst.reason}"
    kept = prepared.records.eyes("train", "validation", "test")
    assert len(kept) == prepared.audit.n_usable == 29
    assert "SYN_004" not in {eye.name for eye in kept}
    assert prepare(eyes, chosen, home).reused


def test_the_same_photographs_are_left_out_at_every_image_size(eyes: Path, home: Home) -> None:
    scores = sorted(eye.quality.score for eye in prepare(eyes, SMALL, home).records.eyes("train", "validation", "test"))
    chosen = SMALL.replace({"data.least_quality": (scores[3] + scores[4]) / 2})
    left_out = [prepare(eyes, chosen.replace({"images.image_px": side}), home).audit.left_out for side in (32, 96, 256)]
    assert 2 <= len(left_out[0]) <= 6
    assert all(each == left_out[0] for each in left_out)


def test_a_photograph_to_leave_out_that_is_not_there_is_refused(eyes: Path, home: Home) -> None:
    name = sorted(path.stem for path in (eyes / "images/train").iterdir())[0]
    prepare(eyes, SMALL.replace({"training.leave_out": name}), home)
    with pytest.raises(DataError, match="training.leave_out names 'nobody', which is no photograph of"):
        prepare(eyes, SMALL.replace({"training.leave_out": f"{name},nobody"}), home)
