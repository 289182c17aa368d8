import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from drsearch.data.decode import read_photograph
from drsearch.data.images import eye_image
from drsearch.data.records import RecordSet, read_eyes
from drsearch.data.retina import retina_mask
from drsearch.errors import PhotographError, RegistryError
from drsearch.release.files import Serving
from drsearch.release.grader import Grader


def test_a_photograph_gets_what_its_record_gets(grader: Grader, records: RecordSet, eyes: Path) -> None:
    found = read_eyes(records, "validation")
    photographs = [(eyes / f"images/train/{name}.jpg").read_bytes() for name in found.names]
    said = grader.grade(photographs)
    assert [verdict.probability for verdict in said] == grader.probabilities(found.images).tolist()
    assert {verdict.label for verdict in said} <= {"NRDR", "RDR"}


def test_the_threshold_itself_is_referable(grader: Grader) -> None:
    labels = [grader.verdict(probability).label for probability in (0.0, 0.4999, 0.5, 1.0)]
    assert labels == ["NRDR", "NRDR", "RDR", "RDR"]


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
    drawn = grader.explain(larger.tobytes())
    assert drawn.dtype == np.uint8 and drawn.shape == original.shape
    retina = eye_image(larger.tobytes(), grader.serving.images).retina
    left, right = round(retina.left * original.shape[1]), round(retina.right * original.shape[1])
    coloured = np.abs(drawn.astype(int) - original).max(axis=2)
    assert coloured[:, left:right].max() > 20
    assert coloured[:, :left].max() == coloured[:, right:].max() == 0
    corners = ~retina_mask(original[:, left:right])
    assert corners.mean() > 0.05 and coloured[:, left:right][corners].max() == 0


def test_a_photograph_of_nothing_is_refused(grader: Grader) -> None:
    black = cv2.imencode(".png", np.zeros((178, 268, 3), np.uint8))[1].tobytes()
    for ask in (lambda: grader.grade([black]), lambda: grader.explain(black)):
        with pytest.raises(PhotographError, match="shows no retina"):
            ask()


@pytest.mark.parametrize("name", ["model.keras", "serving.json", "trained_on.json"])
def test_a_model_that_drsearch_did_not_register_is_refused(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    for file in files.values():
        shutil.copy(file, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RegistryError) as refused:
        Grader(tmp_path)
    assert str(refused.value) == f"{tmp_path}: no {name} there; name a model that drsearch registered."
