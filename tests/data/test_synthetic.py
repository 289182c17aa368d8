"""Do the synthetic eyes look, read and repeat as promised?"""

import collections
import csv
import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drsearch.data.synthetic import GRADE_SHARES, SyntheticEye, draw_eye, photograph_names, synthesize
from drsearch.errors import DataError
from drsearch.grades import GRADES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eyes") / "synthetic"
    synthesize(out, 10, seed=3, image_px=(268, 178))
    return out


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pixels_in(eye: SyntheticEye, index: int) -> tuple[slice, slice]:
    box, (height, width) = eye.boxes[index], eye.image.shape[:2]
    rows = slice(int((box.cy - box.h / 2) * height), int(np.ceil((box.cy + box.h / 2) * height)))
    return rows, slice(int((box.cx - box.w / 2) * width), int(np.ceil((box.cx + box.w / 2) * width)))


def area_under_curve(of: NDArray[np.float64], grades: NDArray[np.int64]) -> float:
    positive, negative = of[grades >= 2][:, None], of[grades < 2][None, :]
    return float(np.mean(positive > negative))


def test_a_folder_has_the_flat_layout(folder: Path) -> None:
    names = [f"SYN_{number:03d}" for number in range(1, 11)]
    assert sorted(path.name for path in (folder / "images" / "train").iterdir()) == [f"{name}.jpg" for name in names]
    labels = (folder / "labels" / "train.csv").read_text()
    assert labels.startswith("Image name,Retinopathy grade,Risk of macular edema\nSYN_001,")
    assert [row["Image name"] for row in read_rows(folder / "labels" / "train.csv")] == names
    image = cv2.imread(str(folder / "images" / "train" / "SYN_001.jpg"))
    assert image is not None and image.shape == (178, 268, 3)


def test_every_eye_has_a_disc_box_and_only_referable_eyes_have_lesion_boxes(folder: Path) -> None:
    grades = {row["Image name"]: int(row["Retinopathy grade"]) for row in read_rows(folder / "labels" / "train.csv")}
    text = (folder / "labels" / "lesion_boxes_train.csv").read_text()
    assert text.startswith("image,lesion,cx,cy,w,h\nSYN_001,optic_disc,0.")
    found: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in read_rows(folder / "labels" / "lesion_boxes_train.csv"):
        found[row["image"]][row["lesion"]] += 1
        left, top = float(row["cx"]) - float(row["w"]) / 2, float(row["cy"]) - float(row["h"]) / 2
        right, bottom = float(row["cx"]) + float(row["w"]) / 2, float(row["cy"]) + float(row["h"]) / 2
        assert -1e-6 <= left < right <= 1 + 1e-6 and -1e-6 <= top < bottom <= 1 + 1e-6
    for name, grade in grades.items():
        assert found[name]["optic_disc"] == 1
        referable = grade >= 2
        assert (found[name]["hard_exudate"] > 0) == (found[name]["haemorrhage_or_microaneurysm"] > 0) == referable


def test_the_risk_of_macular_edema_follows_the_exudates(folder: Path) -> None:
    with_exudates = {
        row["image"]
        for row in read_rows(folder / "labels" / "lesion_boxes_train.csv")
        if row["lesion"] == "hard_exudate"
    }
    for row in read_rows(folder / "labels" / "train.csv"):
        assert (row["Risk of macular edema"] in ("1", "2")) == (row["Image name"] in with_exudates)


def test_a_seed_repeats_every_byte_and_another_seed_changes_every_photograph(folder: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "again", 10, seed=3, image_px=(268, 178))
    assert digests(tmp_path / "again") == digests(folder)
    synthesize(tmp_path / "other", 10, seed=4, image_px=(268, 178))
    other, first = digests(tmp_path / "other"), digests(folder)
    assert not set(other.values()) & set(first.values())


@pytest.mark.parametrize("n_images", [2, 10, 23])
def test_both_classes_are_there_in_the_shares_of_idrid(n_images: int, tmp_path: Path) -> None:
    grades = synthesize(tmp_path / "eyes", n_images, seed=0, image_px=(64, 64))
    assert {grade >= 2 for grade in grades} == {False, True}
    for grade in GRADES:
        assert abs(grades.count(grade) - n_images * GRADE_SHARES[grade]) < 1


def test_a_thousand_names_sort_as_they_count() -> None:
    names = photograph_names(1000)
    assert list(names) == sorted(names) and names[0] == "SYN_0001" and names[-1] == "SYN_1000"


@pytest.mark.parametrize("grade", GRADES)
def test_two_grades_of_one_seed_differ_in_lesions_only(grade: int) -> None:
    healthy = draw_eye(0, np.random.default_rng(5)).image.astype(int)
    eye = draw_eye(grade, np.random.default_rng(5)).image.astype(int)
    changed = np.abs(eye - healthy).max(axis=2) > 24
    assert changed.mean() < 0.08
    assert changed.any() == (grade >= 2)


def test_exudates_are_brighter_and_haemorrhages_darker_than_the_same_place_without() -> None:
    for seed in range(5):
        healthy = draw_eye(0, np.random.default_rng(seed)).image.astype(int)
        eye = draw_eye(3, np.random.default_rng(seed))
        change = eye.image[:, :, 1].astype(int) - healthy[:, :, 1]
        for index, box in enumerate(eye.boxes):
            if box.lesion == "hard_exudate":
                assert change[pixels_in(eye, index)].max() > 20
            if box.lesion == "haemorrhage_or_microaneurysm":
                assert change[pixels_in(eye, index)].min() < -8


def test_severe_eyes_have_more_lesions_than_moderate_ones() -> None:
    counts = [np.mean([len(draw_eye(grade, np.random.default_rng(s)).boxes) for s in range(5)]) for grade in (0, 2, 3)]
    assert counts[0] == 1 < counts[1] < counts[2]


def test_the_retina_is_round_bright_and_cut_at_top_and_bottom() -> None:
    for seed in range(6):
        green = draw_eye(0, np.random.default_rng(seed)).image[:, :, 0].astype(float)
        height, width = green.shape
        left, right = round(0.03 * width), round(0.97 * width)
        inside = green[height // 2 - 5 : height // 2 + 5, round(0.1 * width) : round(0.8 * width)].mean()
        assert green[:, :left].mean() < 0.5 * inside and green[:, right:].mean() < 0.5 * inside
        middle = slice(round(0.4 * width), round(0.5 * width))
        assert green[:4, middle].mean() > 40 and green[-4:, middle].mean() > 40


def test_brightness_and_colour_do_not_tell_the_classes_apart() -> None:
    grades = np.array([0, 2, 0, 3, 0, 4] * 12)
    means = np.array(
        [
            draw_eye(int(grade), np.random.default_rng([9, number]), image_px=(134, 89)).image.mean(axis=(0, 1))
            for number, grade in enumerate(grades)
        ]
    )
    for channel in (*means.T, means.mean(axis=1)):
        assert 0.35 < area_under_curve(channel, grades) < 0.65


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError) as refused:
        synthesize(tmp_path, 3, seed=0)
    assert str(refused.value) == (f"{tmp_path}: already holds something; name a folder that is empty or not there yet.")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_numbers_that_make_no_photograph_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        synthesize(tmp_path, 0, seed=0)
    assert str(refused.value) == "0 synthetic eyes were asked for; ask for at least 1."
    with pytest.raises(DataError) as refused:
        synthesize(tmp_path, 1, seed=-1)
    assert str(refused.value) == "The seed of synthetic eyes is -1; take 0 or more."
    with pytest.raises(DataError) as refused:
        synthesize(tmp_path, 1, seed=0, image_px=(536, 20))
    assert str(refused.value) == (
        "Synthetic eyes of 536 x 20 pixels were asked for; take at least 64 a side and a width of at most 2 heights."
    )


def test_an_interrupted_folder_is_empty_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> SyntheticEye:
        raise KeyboardInterrupt

    monkeypatch.setattr("drsearch.data.synthetic.draw_eye", stop)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path, 3, seed=0)
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "new", 3, seed=0)
    assert not list(tmp_path.iterdir())


def test_what_others_put_into_the_folder_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "images" / "train" / "SYN_001.jpg"

    def draw(*given: Any, **named: Any) -> SyntheticEye:
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_bytes(b"mine")
        return draw_eye(*given, **named)

    monkeypatch.setattr("drsearch.data.synthetic.draw_eye", draw)
    with pytest.raises(DataError) as refused:
        synthesize(tmp_path, 2, seed=0)
    assert str(refused.value) == f"{tmp_path}: something was put there meanwhile; name another folder."
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_bytes() == b"mine"
