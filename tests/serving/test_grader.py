import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from picture_files import LOSSLESS
from PIL import Image

from drsearch.data.decode import read_photograph
from drsearch.data.images import eye_image
from drsearch.data.records import RecordSet, read_eyes
from drsearch.data.retina import retina_mask
from drsearch.errors import PhotographError, RegistryError
from drsearch.measure.calibration import tempered
from drsearch.model.predictor import Predictor
from drsearch.serving.grader import Grader
from drsearch.serving.model_files import Serving


def test_a_photograph_gets_what_its_record_gets(grader: Grader, records: RecordSet, eyes: Path) -> None:
    found = read_eyes(records, "validation")
    photographs = [(eyes / f"images/train/{name}.jpg").read_bytes() for name in found.names]
    said = grader.grade(photographs)
    assert [verdict.probability for verdict in said] == grader.probabilities(found.images).tolist()
    assert {verdict.label for verdict in said} <= {"NRDR", "RDR"}


def test_a_model_of_eight_symmetries_answers_an_eye_alike_however_it_lies(
    grader: Grader, records: RecordSet, files: dict[str, Path], tmp_path: Path
) -> None:
    for path in files.values():
        shutil.copy(path, tmp_path)
    symmetric = dataclasses.replace(grader.serving, symmetries=8, temperature=2.0)
    (tmp_path / "serving.json").write_text(symmetric.to_json())
    other, images = Grader(tmp_path), read_eyes(records, "validation").images
    assert other.serving == symmetric
    views = [np.rot90(either, turns, (1, 2)) for either in (images, images[:, ::-1]) for turns in range(4)]
    plain = [Predictor(grader.model)(np.ascontiguousarray(view)) for view in views]
    assert other.probabilities(images) == pytest.approx(tempered(np.mean(plain, axis=0), 2.0), abs=1e-6)
    assert [verdict.probability for verdict in other.verdicts(np.ascontiguousarray(views[5]))] == pytest.approx(
        other.probabilities(images).tolist(), abs=1e-6
    )


def test_a_model_that_was_registered_before_there_were_symmetries_has_one(grader: Grader) -> None:
    before = json.loads(grader.serving.to_json())
    del before["symmetries"]
    assert Serving.from_json(json.dumps(before)) == grader.serving


def test_limits_of_quality_come_from_the_serving_file_or_from_the_training_eyes(
    grader: Grader, files: dict[str, Path], tmp_path: Path
) -> None:
    for file in files.values():
        shutil.copy(file, tmp_path)
    assert grader.serving.quality_limits is None  # of an earlier drsearch
    found = grader.quality_limits
    assert found.n == len(grader.trained_on) > 0
    (tmp_path / "serving.json").write_text(dataclasses.replace(grader.serving, quality_limits=found).to_json())
    (tmp_path / "trained_on.json").write_text("not read for an answer")
    assert Grader(tmp_path).quality_limits == found


def test_the_training_eyes_are_known_when_the_folder_is_gone(
    grader: Grader, files: dict[str, Path], tmp_path: Path
) -> None:
    for file in files.values():
        shutil.copy(file, tmp_path)
    opened = Grader(tmp_path)
    shutil.rmtree(tmp_path)
    assert [eye.sha256 for eye in opened.trained_on] == [eye.sha256 for eye in grader.trained_on]


def test_the_threshold_itself_is_referable(grader: Grader) -> None:
    labels = [grader.label(probability) for probability in (0.0, 0.4999, 0.5, 1.0)]
    assert labels == ["NRDR", "NRDR", "RDR", "RDR"]


def test_a_verdict_names_the_threshold_that_decided(grader: Grader, files: dict[str, Path], photograph: bytes) -> None:
    other = Grader(files["model.keras"].parent)
    (before,) = grader.grade([photograph])
    other.serving = dataclasses.replace(grader.serving, threshold=min(1.0, before.probability + 1e-6))
    (after,) = other.grade([photograph])
    assert (before.threshold, after.threshold) == (0.5, other.serving.threshold)
    assert after.label == "NRDR" and after.confidence == pytest.approx(1 - after.probability)


def test_an_eye_has_no_warning_and_a_drawing_of_a_cat_has_one(grader: Grader, records: RecordSet) -> None:
    eyes = grader.verdicts(read_eyes(records, "validation").images)
    assert all(verdict.warning is None and verdict.distance <= 1 for verdict in eyes)
    (verdict,) = grader.grade([drawn_cat()])
    assert verdict.distance > 1
    assert verdict.warning == (
        f"unlike the {len(records.eyes('train'))} eyes that the model was trained on "
        f"(distance {verdict.distance:.2f}, limit 1); do not rely on this answer"
    )


def drawn_cat() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An orange cat on black: large, round, warm, and no retina."""
    cat, orange = np.zeros((400, 600, 3), np.uint8), (230, 140, 50)
    cv2.circle(cat, (300, 220), 150, orange, cv2.FILLED)
    for ear in ([(180, 140), (190, 30), (260, 90)], [(420, 140), (410, 30), (340, 90)]):
        cv2.fillPoly(cat, [np.array(ear)], orange)
    for x in (240, 360):
        cv2.ellipse(cat, (x, 190), (24, 16), 0, 0, 360, (70, 160, 60), cv2.FILLED)
        cv2.ellipse(cat, (x, 190), (6, 15), 0, 0, 360, (0, 0, 0), cv2.FILLED)
        for y in (230, 250, 270):
            cv2.line(cat, (300 + (x - 300) // 2, 250), (300 + 3 * (x - 300), y), (90, 50, 20), 3)
    cv2.fillPoly(cat, [np.array([(285, 235), (315, 235), (300, 252)])], (220, 120, 130))
    return cat


def test_temperature_divides_the_log_odds(grader: Grader, files: dict[str, Path], photograph: bytes) -> None:
    cooler = Grader(files["model.keras"].parent)
    cooler.serving = dataclasses.replace(grader.serving, temperature=2.0)
    (before,), (after,) = grader.grade([photograph]), cooler.grade([photograph])
    odds = np.sqrt(before.probability / (1 - before.probability))
    assert after.probability == pytest.approx(odds / (1 + odds), abs=1e-12)


def test_what_is_asked_of_a_model_reads_back_from_its_file(grader: Grader) -> None:
    assert Serving.from_json(grader.serving.to_json()) == grader.serving


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_an_explanation_lies_on_the_photograph_as_the_camera_took_it(
    grader: Grader, photograph: bytes, scale: float
) -> None:
    picture = cv2.cvtColor(read_photograph(photograph), cv2.COLOR_RGB2BGR)
    larger = cv2.imencode(".png", cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))[1]
    original = read_photograph(larger.tobytes())
    explained = grader.explain(larger.tobytes())
    (verdict,) = grader.grade([larger.tobytes()])
    assert (explained.probability, explained.threshold) == (verdict.probability, verdict.threshold)
    height, width = original.shape[:2]
    assert explained.cam.shape == (height, width) and explained.picture.dtype == np.uint8
    assert explained.picture.shape[1] == width and explained.picture.shape[0] > height, "a strip of words below"
    drawn = explained.picture[:height]
    retina = eye_image(larger.tobytes(), grader.serving.images).retina
    left, right = round(retina.left * original.shape[1]), round(retina.right * original.shape[1])
    coloured = np.abs(drawn.astype(int) - original).max(axis=2)
    assert coloured[:, left:right].max() > 20
    assert coloured[:, :left].max() == coloured[:, right:].max() == 0
    corners = ~retina_mask(original[:, left:right])
    assert corners.mean() > 0.05 and coloured[:, left:right][corners].max() == 0


def test_an_explanation_of_a_padded_and_masked_square_lies_within_the_circle_on_the_photograph(
    grader: Grader, files: dict[str, Path], photograph: bytes
) -> None:
    other = Grader(files["model.keras"].parent)
    images = dataclasses.replace(grader.serving.images, fit="pad", mask=0.4)
    other.serving = dataclasses.replace(grader.serving, images=images)
    original = read_photograph(photograph)
    coloured = np.abs(other.explain(photograph).picture[: len(original)].astype(int) - original).max(axis=2)
    height, width = original.shape[:2]
    retina = eye_image(photograph, images).retina
    side = max((retina.right - retina.left) * width, (retina.bottom - retina.top) * height)
    rows, columns = np.mgrid[:height, :width] + 0.5
    across, down = columns - (retina.left + retina.right) / 2 * width, rows - (retina.top + retina.bottom) / 2 * height
    distance = np.hypot(across, down) / side
    assert coloured[distance > 0.41].max() == 0
    assert coloured[distance < 0.4].max() > 20


def test_a_turned_and_framed_photograph_is_graded_and_explained_as_a_viewer_shows_it(
    grader: Grader, photograph: bytes
) -> None:
    """Explained where its retina lies: nothing outside is coloured, and the turn is undone in the explanation, too."""
    eye = read_photograph(photograph)
    shown = cv2.copyMakeBorder(eye, 60, 10, 20, 30, cv2.BORDER_CONSTANT, value=(210, 210, 210))
    exif = Image.Exif()
    exif[0x0112] = 8  # shown after a quarter turn to the left
    file = io.BytesIO()
    Image.fromarray(np.rot90(shown, -1)).save(file, "PNG", exif=exif)
    turned = file.getvalue()
    assert grader.grade([turned]) == grader.grade([shown])
    assert grader.grade([turned])[0].probability == pytest.approx(grader.grade([eye])[0].probability, abs=0.05)
    drawn = grader.explain(turned).picture
    assert np.array_equal(drawn, grader.explain(shown).picture)
    coloured = np.abs(drawn[: len(shown)].astype(int) - shown).max(axis=2)
    assert coloured[60:-10, 20:-30].max() > 20
    coloured[60:-10, 20:-30] = 0
    assert coloured.max() == 0


def test_an_explanation_is_the_same_for_a_picture_in_every_format_that_keeps_it(
    grader: Grader, photograph: bytes
) -> None:
    eye = read_photograph(photograph)
    drawn = grader.explain(eye).picture
    for kind in ("TIFF, 14 bits, alpha", "PNG, 12 bits", "WebP, lossless", "PPM", "DICOM"):
        assert np.array_equal(grader.explain(LOSSLESS[kind](eye)).picture, drawn), kind


def test_a_photograph_of_nothing_is_refused(grader: Grader) -> None:
    black = cv2.imencode(".png", np.zeros((178, 268, 3), np.uint8))[1].tobytes()
    for ask in (lambda: grader.grade([black]), lambda: grader.explain(black)):
        with pytest.raises(PhotographError, match="shows no retina"):
            ask()


@pytest.mark.parametrize("name", ["model.keras", "serving.json", "trained_on.json", "familiarity.json"])
def test_a_model_that_drsearch_did_not_register_is_refused(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    for file in files.values():
        shutil.copy(file, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RegistryError) as refused:
        Grader(tmp_path)
    assert str(refused.value) == f"{tmp_path}: no {name} there; name a model that this version of drsearch registered."
