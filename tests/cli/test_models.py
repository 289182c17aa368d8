"""`drsearch predict`: what it says of each photograph, and what it never writes to."""

import json
import os
import re
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from untrained import stocked_home, untrained_files

from drsearch.cli import main
from drsearch.data.decode import read_photograph
from drsearch.data.prepare import prepare
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.serving.answers import Answerer
from drsearch.settings import Settings

MODEL = "retinopathy@champion"


@dataclass(frozen=True)
class Terminal:
    """Types commands in a folder; `home` holds one registered version."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Status, standard output, standard error."""
        sys.argv = ["drsearch", *map(str, arguments)]
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        written = self.capsys.readouterr()
        return int(ended.value.code or 0), written.out, written.err

    def json(self, *arguments: object) -> tuple[int, list[dict[str, Any]]]:
        status, out, _ = self.run("predict", MODEL, *arguments, "--json")
        return status, json.loads(out)["predictions"]


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("predict") / "eyes"
    synthesize(out, 30, seed=0, image_px=(268, 178))
    return out


@pytest.fixture(scope="module")
def home(eyes: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    settings = Settings().replace({"images.image_px": 32, "model.width": 4, "model.stages": 1})
    records = prepare(open_dataset([eyes]), settings, Home(tmp_path_factory.mktemp("prepared"))).records
    files = untrained_files(tmp_path_factory.mktemp("model"), records, settings)
    return stocked_home(tmp_path_factory.mktemp("home") / "home", files)


@pytest.fixture
def terminal(
    home: Home, eyes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    for number in (1, 2, 3):
        shutil.copy(eyes / f"images/train/SYN_00{number}.jpg", tmp_path / f"{number}.jpg")
    monkeypatch.setenv("DRSEARCH_HOME", str(home.path))
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.chdir(tmp_path)
    return Terminal(tmp_path, capsys)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_photograph_gets_its_line_with_the_threshold_that_decided(terminal: Terminal) -> None:
    status, out, err = terminal.run("predict", MODEL, "1.jpg", "2.jpg")
    assert (status, err) == (0, "")
    for line, name in zip(out.splitlines(), ("1.jpg", "2.jpg"), strict=True):
        assert line.startswith(f"{name}: ") and "RDR, probability of RDR 0." in line
        assert line.endswith(", threshold 0.500")
    status, rows = terminal.json("1.jpg")
    assert status == 0
    assert list(rows[0]) == [
        "image", "error", "label", "probability", "confidence", "threshold", "distance", "warning", "quality",
        "reason", "model",
    ]  # fmt: skip
    assert (rows[0]["threshold"], rows[0]["warning"], rows[0]["error"]) == (0.5, None, None)
    assert 0 < rows[0]["distance"] <= 1


def test_bad_photographs_are_named_and_the_others_graded(terminal: Terminal) -> None:
    (terminal.folder / "cut.jpg").write_bytes((terminal.folder / "2.jpg").read_bytes()[:-2000])
    (terminal.folder / "text.jpg").write_text("no picture")
    os.mkfifo(terminal.folder / "pipe")
    bad = ["cut.jpg", "text.jpg", "pipe", "nowhere.jpg"]
    status, rows = terminal.json("1.jpg", *bad, "3.jpg", "--explain", "out")
    assert status == 2
    assert [row["image"] for row in rows] == ["1.jpg", *bad, "3.jpg"]
    first, cut, *others, last = rows
    assert first["error"] is None and last["error"] is None and last["label"] in ("NRDR", "RDR")
    assert cut["error"].startswith("the photograph cannot be read whole: ")
    assert [row["error"] for row in others] == [
        "the photograph is no picture that drsearch reads; save it as JPEG, PNG, TIFF or BMP",
        "the photograph cannot be read (it is a named pipe, not a file)",
        "the photograph cannot be read (No such file or directory)",
    ]
    assert sorted(path.name for path in (terminal.folder / "out").iterdir()) == [
        "1-map.png",
        "1.png",
        "3-map.png",
        "3.png",
    ]
    status, out, err = terminal.run("predict", MODEL, "1.jpg", *bad, "3.jpg")
    assert status == 2
    assert any(line.startswith("text.jpg: the photograph is no picture ") for line in out.splitlines())
    assert out.splitlines()[-1].startswith("3.jpg: ")
    assert err == f"drsearch: 4 of 6 photographs failed: {', '.join(bad)}.\n"


def test_all_photographs_of_a_folder_are_graded_into_a_table(terminal: Terminal) -> None:
    (terminal.folder / "clinic/new").mkdir(parents=True)
    for name in ("1.jpg", "2.jpg"):
        shutil.move(terminal.folder / name, terminal.folder / "clinic" / name)
    shutil.move(terminal.folder / "3.jpg", terminal.folder / "clinic/new/3.jpg")
    (terminal.folder / "clinic/notes.txt").write_text("no photograph")
    (terminal.folder / "clinic/cut.jpg").write_bytes(b"")
    names = ["clinic/1.jpg", "clinic/2.jpg", "clinic/cut.jpg", "clinic/new/3.jpg"]
    status, out, err = terminal.run("predict", MODEL, "clinic", "--out", "tables/grades.csv")
    assert (status, err.count("\n")) == (2, 1) and err.startswith("drsearch: clinic/cut.jpg: ")
    assert re.fullmatch(r"4 photographs: .*1 failed.*; written to tables/grades.csv\n", out)
    table = pd.read_csv(terminal.folder / "tables/grades.csv", index_col="photograph")
    assert list(table.index) == names
    _, rows = terminal.json("clinic")
    assert [row["image"] for row in rows] == names
    for row in rows:
        assert (
            table.loc[row["image"], "probability"] == pytest.approx(row.get("probability"), nan_ok=True) or row["error"]
        )
    assert table["label"].notna().sum() == 3 and isinstance(table.loc["clinic/cut.jpg", "error"], str)

    kept = contents(terminal.folder)
    status, _, err = terminal.run("predict", MODEL, "clinic", "--out", "tables/grades.csv")
    assert status == 2 and "tables/grades.csv: exists already" in err
    status, _, err = terminal.run("predict", MODEL, "tables")
    assert (status, err) == (2, "drsearch: tables holds no photographs; name a folder that does, or the files.\n")
    assert contents(terminal.folder) == kept


def test_after_ctrl_c_the_table_has_what_was_graded(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answerer.answers

    def interrupted(self: Answerer, photographs: list[Path]) -> Any:
        if photographs[0].name == "2.jpg":
            signal.raise_signal(signal.SIGINT)
        return answers(self, photographs)

    monkeypatch.setattr(Answerer, "answers", interrupted)
    status, _, err = terminal.run("predict", MODEL, "1.jpg", "2.jpg", "3.jpg", "--out", "grades.csv")
    assert (status, err) == (130, "drsearch: 1 of 3 photographs were graded; their answers are in grades.csv.\n")
    assert list(pd.read_csv(terminal.folder / "grades.csv")["photograph"]) == ["1.jpg"]


def test_what_is_no_eye_is_answered_with_a_warning(terminal: Terminal) -> None:
    disc = np.zeros((178, 268, 3), np.uint8)
    cv2.circle(disc, (134, 89), 80, (40, 110, 200), cv2.FILLED)  # BGR
    for x in (100, 168):
        cv2.circle(disc, (x, 70), 14, (20, 20, 60), cv2.FILLED)
    cv2.imwrite("disc.png", disc)
    status, out, _ = terminal.run("predict", MODEL, "disc.png")
    assert status == 0
    warning = out.splitlines()[-1]
    assert warning.startswith("disc.png: warning: unlike the ") and warning.endswith("do not rely on this answer")
    _, (row,) = terminal.json("disc.png")
    assert row["distance"] > 1 and f"disc.png: warning: {row['warning']}" == warning


def test_a_heat_map_lies_on_its_photograph_with_words_below_and_the_map_alone_beside(terminal: Terminal) -> None:
    height, width, _ = read_photograph((terminal.folder / "1.jpg").read_bytes()).shape
    for name in ("cam.png", "cam.JPG", "new/deep/cam.jpeg"):
        status, out, _ = terminal.run("predict", MODEL, "1.jpg", "--explain", name)
        assert status == 0 and out.endswith(f"; heat map in {name}\n")
        picture = read_photograph((terminal.folder / name).read_bytes())
        assert picture.shape[0] > height and picture.shape[1] == width
        file = terminal.folder / name
        grey = cv2.imread(str(file.with_name(f"{file.stem}-map.png")), cv2.IMREAD_UNCHANGED)
        assert grey is not None and grey.shape == (height, width) and grey.max() == 255
        (terminal.folder / "cam-map.png").unlink(missing_ok=True)  # of cam.png and of cam.JPG


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["1.jpg", "--explain", "1.jpg"], "--explain 1.jpg: would overwrite the photograph 1.jpg; name another place."),
        (["1.jpg", "--explain", "1.jpg", "--overwrite"],
         "--explain 1.jpg: would overwrite the photograph 1.jpg; name another place."),
        (["1.jpg", "--explain", "link.png", "--overwrite"],
         "--explain link.png: would overwrite the photograph 1.jpg; name another place."),
        (["left/1.png", "2.jpg", "--explain", "left", "--overwrite"],
         "--explain left/1.png: would overwrite the photograph left/1.png; name another place."),
        (["1.jpg", "--explain", "mine.png"],
         "--explain mine.png: exists already; name another place, or add --overwrite."),
        (["1.jpg", "left/1.png", "--explain", "out"],
         "--explain: 1.jpg and left/1.png would both be written to out/1.png; "
         "give them in two commands, with a folder each."),
        (["1.jpg", "1-map.jpg", "--explain", "out"],
         "--explain: 1-map.jpg and 1.jpg would both be written to out/1-map.png; "
         "give them in two commands, with a folder each."),
        (["1.jpg", "left/1.png", "--explain", "out", "--overwrite"],
         "--explain: 1.jpg and left/1.png would both be written to out/1.png; "
         "give them in two commands, with a folder each."),
        (["1.jpg", "2.jpg", "--explain", "mine.png"], "--explain: mine.png is no folder; name another place."),
        (["1.jpg", "--explain", "cam"], "--explain cam: is no folder, and no name of a picture; name it .png or .jpg."),
    ],
)  # fmt: skip
def test_nothing_is_overwritten_unasked_and_no_photograph_ever(
    terminal: Terminal, arguments: list[str], sentence: str
) -> None:
    (terminal.folder / "left").mkdir()
    os.link(terminal.folder / "1.jpg", terminal.folder / "link.png")
    shutil.copy(terminal.folder / "1.jpg", terminal.folder / "left/1.png")
    shutil.copy(terminal.folder / "1.jpg", terminal.folder / "1-map.jpg")
    (terminal.folder / "mine.png").write_bytes(b"mine")
    before = contents(terminal.folder)
    # No model of this name: what is refused is refused before the model is looked for.
    assert terminal.run("predict", "nothing@champion", *arguments) == (2, "", f"drsearch: {sentence}\n")
    assert contents(terminal.folder) == before


def test_a_heat_map_is_replaced_when_asked(terminal: Terminal) -> None:
    (terminal.folder / "mine.png").write_bytes(b"mine")
    status, rows = terminal.json("1.jpg", "--explain", "mine.png", "--overwrite")
    assert (status, rows[0]["explanation"]) == (0, "mine.png")
    assert (terminal.folder / "mine.png").read_bytes().startswith(b"\x89PNG")


def blurred(photograph: Path) -> Path:
    """A copy that is far out of focus."""
    picture = cv2.imread(str(photograph))
    assert picture is not None
    copy = photograph.with_name(f"blurred-{photograph.stem}.png")
    cv2.imwrite(str(copy), cv2.GaussianBlur(picture, (0, 0), 6))
    return copy


def test_a_photograph_below_the_quality_of_the_training_eyes_is_not_gradable(terminal: Terminal) -> None:
    good = terminal.folder / "1.jpg"
    bad = blurred(good)
    status, (row, first) = terminal.json(bad, good, "--explain", terminal.folder / "maps")
    assert status == 0
    assert (row["label"], row["probability"], row["confidence"], row["error"]) == ("not gradable", None, None, None)
    assert row["reason"].startswith("the photograph is out of focus, or blurred: its sharpness is 0.0")
    assert row["reason"].endswith("; take it again") and row["quality"] < 0.1
    assert first["reason"] is None and first["label"] in ("NRDR", "RDR")
    assert sorted(path.name for path in (terminal.folder / "maps").iterdir()) == ["1-map.png", "1.png"]
    status, out, _ = terminal.run("predict", MODEL, bad)
    assert status == 0 and "not gradable: the photograph is out of focus" in " ".join(out.split())


def test_stress_prints_a_line_per_condition_and_writes_its_chart(terminal: Terminal, eyes: Path) -> None:
    status, out, err = terminal.run("stress", MODEL, "--data", eyes, "--json", "--out", "charts/stress.html")
    assert status == 0
    told = json.loads(out)
    labels = ["as they are", *(condition["label"] for condition in told["conditions"])]
    lines = [line for line in err.splitlines() if any(line.startswith(f"{label} ") for label in labels)]
    assert [next(label for label in labels if line.startswith(f"{label} ")) for line in lines] == labels
    assert f"{told['undamaged']['auc']['value']:.3f}" in lines[0]
    assert "1 test evaluation of this test split so far" in err
    page = (terminal.folder / "charts/stress.html").read_text()
    assert "libjpeg" in page and f'<td class="number">{told["undamaged"]["auc"]["value"]:.3f} [' in page
    status, _, err = terminal.run("stress", MODEL, "--data", eyes, "--out", "charts/stress.html")
    assert status == 2 and "exists already; name another place, or add --overwrite" in err


def test_compare_refuses_one_model_alone(terminal: Terminal) -> None:
    for models in ([MODEL], [MODEL, "retinopathy/1"]):
        status, _, err = terminal.run("compare", *models)
        assert status == 2 and "compare: name two versions or more, each once; these are retinopathy/1" in err
    assert not (terminal.folder / "compare.html").exists()


def test_a_heat_map_can_be_made_in_other_ways_and_of_other_layers(terminal: Terminal) -> None:
    maps = {}
    for name, options in {
        "a": [], "b": ["--method", "hirescam"], "c": ["--layer", "stage1_block1_relu2"], "d": ["--method", "occlusion"]
    }.items():  # fmt: skip
        status, _, err = terminal.run("predict", MODEL, "1.jpg", "--explain", f"{name}.png", *options)
        assert (status, err) == (0, "")
        maps[(terminal.folder / f"{name}.png").read_bytes()] = name
    assert len(maps) == 4
    for options, words in (
        (["--explain", "e.png", "--method", "lime"], "--method lime: write one of gradcam, gradcam++, "),
        (
            ["--explain", "e.png", "--layer", "conv9"],
            "has no layer 'conv9' with places; the last ones of each size are",
        ),
        (["--method", "hirescam"], "name a file or a folder with --explain"),
    ):
        status, _, err = terminal.run("predict", MODEL, "1.jpg", *options)
        assert status == 2 and words in err and not (terminal.folder / "e.png").exists()


def test_explain_says_how_heat_lies_to_lesions_and_keeps_the_figures(terminal: Terminal, eyes: Path) -> None:
    status, out, err = terminal.run("explain", MODEL, "--data", eyes, "--json")
    assert status == 0
    told = json.loads(out)
    lesion = told["regions"][0]
    assert (lesion["name"], lesion["n"], told["method"]) == ("lesion", told["n"], "gradcam")
    assert f"{lesion['hit']['value']:.3f} [" in err and "shuffled pairs" in err and "deletion" in err
    assert f"gradcam: {told['n']} of {told['n_referable']} referable eyes" in err
    status, _, err = terminal.run("explain", MODEL, "--data", eyes, "--split", "train")
    assert status == 2 and "the model was trained on" in err
    status, out, _ = terminal.run("explain", MODEL, "--data", eyes, "--split", "train", "--seen", "--json")
    assert status == 0 and json.loads(out)["test_evaluations"] == 0
