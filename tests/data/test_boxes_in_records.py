"""Boxes around lesions, from the photograph to the square of the records."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from drawn import drawn_eye

from drsearch.data import prepare as prepare_module
from drsearch.data.prepare import Prepared
from drsearch.data.records import joined, read_eyes
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.settings import Settings


def prepare(path: Path, settings: Settings, home: Home, **choices: Any) -> Prepared:
    return prepare_module.prepare(open_dataset([path], besides=home.path), settings, home, **choices)


@pytest.mark.parametrize("fit", ["squeeze", "pad"])
def test_boxes_lie_in_the_square_where_their_lesions_lie(fit: str, tmp_path: Path, home: Home) -> None:
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    drawn = {}
    for i, (left, top) in enumerate([(300, 200), (640, 90), (430, 560)]):
        picture = drawn_eye((0, 0, 0))
        picture[top : top + 60, left : left + 90] = (40, 220, 40)
        drawn[f"eye{i}"] = f"{(left + 45) / 1072:.6f},{(top + 30) / 712:.6f},{90 / 1072:.6f},{60 / 712:.6f}"
        cv2.imwrite(str(tmp_path / f"images/train/eye{i}.png"), picture[..., ::-1])
    rows = "".join(f"{name},{i}\n" for i, name in enumerate(drawn))
    (tmp_path / "labels/train.csv").write_text(f"Image name,Retinopathy grade\n{rows}")
    table = tmp_path / "labels/lesion_boxes_train.csv"
    table.write_text("image,lesion,cx,cy,w,h\n" + "".join(f"{name},green,{box}\n" for name, box in drawn.items()))
    settings = Settings().replace({"images.image_px": 128, "images.fit": fit, "data.test_fraction": 0.1})
    records = prepare(tmp_path, settings, home, for_training=False).records
    entries, read = records.eyes("train"), read_eyes(records, "train")
    assert tuple(read.boxes) == tuple(entry.boxes for entry in entries) and len(entries) > 0
    for image, (box,) in zip(read.images.astype(int), read.boxes, strict=True):
        rows_green, columns_green = np.nonzero(image[..., 1] - image[..., 0] > 60)
        sides = columns_green.min(), rows_green.min(), columns_green.max() + 1, rows_green.max() + 1
        assert np.abs(np.array(sides) / 128 - box[1:]).max() < 1.5 / 128
    table.write_text(table.read_text().replace("green", "red"))
    again = prepare(tmp_path, settings, home, for_training=False)
    assert not again.reused and again.records.data_fingerprint == records.data_fingerprint
    assert {box.kind for entry in again.records.eyes("train", "test") for box in entry.boxes} == {"red"}
    table.unlink()
    without = prepare(tmp_path, settings, home, for_training=False).records
    assert without.data_fingerprint == records.data_fingerprint and without.fingerprint != records.fingerprint
    assert tuple(read_eyes(without, "train").boxes) == ((),) * len(entries)


def test_boxes_of_idrid_lie_on_lesions_of_their_colour(idrid: Path, tmp_path: Path, home: Home) -> None:
    (tmp_path / "images/train").mkdir(parents=True)
    (tmp_path / "labels").mkdir()
    for name in [f"IDRiD_{number:03d}" for number in (1, 54, 60, 110, 119, 128, 160, 191, 237, 300)]:
        (tmp_path / f"images/train/{name}.jpg").symlink_to(idrid / f"images/train/{name}.jpg")
    for table in ("train.csv", "lesion_boxes_train.csv"):
        header, *rows = (idrid / "labels" / table).read_text().splitlines()
        kept = [row for row in rows if (tmp_path / f"images/train/{row.split(',')[0]}.jpg").exists()]
        (tmp_path / "labels" / table).write_text("\n".join([header, *kept]) + "\n")
    settings = Settings().replace({"images.image_px": 512, "images.fit": "pad"})
    records = prepare(tmp_path, settings, home, for_training=False).records
    eyes = joined(read_eyes(records, "train"), read_eyes(records, "validation"))
    excess: dict[str, list[float]] = {"red": [], "bright": []}
    for image, boxes in zip(eyes.images, eyes.boxes, strict=True):
        green = image[..., 1].astype(np.float32)
        green -= cv2.GaussianBlur(green, (0, 0), 12)
        for box in boxes:
            left, top, right, bottom = (round(512 * place) for place in box[1:])
            inside = green[top:bottom, left:right]
            if box.colour:
                low, middle, high = np.quantile(inside, (0.02, 0.5, 0.98))
                excess[box.colour].append(float(high + low - 2 * middle))
    assert len(excess["red"]) > 20 and len(excess["bright"]) > 20
    assert np.mean(excess["bright"]) > 5 > 0 > np.mean(excess["red"])
