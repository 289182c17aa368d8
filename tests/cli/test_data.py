"""What `describe` and `prepare` print about folders of any layout."""

import json
from pathlib import Path

import pytest
from conftest import Desk

from drsearch.data.mockups import synthesize_layout

SMALL = ("--set", "images.image_px=32")


@pytest.fixture
def at(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_description_is_printed_as_a_file_that_prepare_takes(at: Desk) -> None:
    synthesize_layout(at.folder / "mock", "mbrset", 24, seed=1, image_px=(268, 178))
    described = at.run("describe", "mock")
    assert (described.returncode, described.stderr) == (0, "")
    (at.folder / "data.toml").write_text(described.stdout)
    by_file, by_folder = (at.json("prepare", data, *SMALL) for data in ("data.toml", "mock"))
    assert by_file["fingerprint"] == by_folder["fingerprint"] and by_folder["reused"]
    assert Path(by_file["description"]).read_text() == described.stdout
    assert by_file["findings"]["ungradable"] > 0


def test_prepare_says_what_it_took_a_folder_for_and_what_is_to_be_known_about_it(at: Desk) -> None:
    synthesize_layout(at.folder / "mock", "messidor2", 24, seed=1, image_px=(268, 178))
    done = at.run("prepare", "mock", *SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Messidor-2: messidor_data.csv (image = image_id, grade = adjudicated_dr_grade, ")
    assert "patients: 12, by the pairs of messidor-2.csv; each is on one side of every split" in done.stdout
    assert "imageability: " in done.stdout


def test_two_layouts_that_fit_are_a_question_that_an_option_answers(at: Desk) -> None:
    synthesize_layout(at.folder / "mock", "eyepacs-resized", 24, seed=1, image_px=(268, 178))
    asked = at.run("describe", "mock")
    assert asked.returncode == 2
    assert asked.stderr == (
        f"drsearch: {at.folder}/mock can be read as 'EyePACS, resized and cropped' or 'EyePACS, resized': write which"
        " with --layout.\n"
    )
    answered = at.json("describe", "mock", "--layout", "eyepacs, resized and cropped")
    assert answered["words"][0].startswith("EyePACS, resized and cropped: trainLabels_cropped.csv (image = image")


def test_columns_that_are_named_by_hand_are_kept_for_other_commands(at: Desk) -> None:
    synthesize_layout(at.folder / "mock", "aptos", 24, seed=1, image_px=(268, 178))
    mock = at.folder / "mock"
    (mock / "train.csv").rename(mock / "clinic.csv")
    (mock / "sample_submission.csv").unlink()
    text = (mock / "clinic.csv").read_text().replace("id_code,diagnosis", "Bild;Grad").replace(",", ";")
    (mock / "clinic.csv").write_text(text)
    refused = at.run("prepare", "mock")
    assert refused.returncode == 2 and "clinic.csv" in refused.stderr and "'Bild', 'Grad'" in refused.stderr
    columns = ("--labels", "mock/clinic.csv", "--image-column", "bild", "--grade-column", "Grad")
    named = at.json("describe", "mock", *columns)
    assert "clinic.csv (image = bild, grade = Grad)" in named["words"][0]
    done = at.run("prepare", "mock", *columns, *SMALL, "--skip-bad")
    assert done.returncode == 0, done.stderr
    assert "other commands read it in this way by --data " in done.stdout


def test_pooled_sets_are_counted_apart(at: Desk) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        synthesize_layout(at.folder / name, "ddr", 30, seed=seed, image_px=(268, 178))
    done = at.json("prepare", "one", "two", "--name", "both", *SMALL)
    manifest = json.loads((Path(done["records"]) / "manifest.json").read_text())
    per_source = [sum(of["n"] for of in splits.values()) for splits in manifest["sources"].values()]
    assert list(manifest["sources"]) == ["one", "two"] and sum(per_source) == sum(
        n["n"] for n in done["counts"].values()
    )
    assert manifest["split"] == {"test": "as published", "validation": "as published"}
