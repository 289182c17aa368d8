"""Data sets named by hand, described, edited and pooled."""

from dataclasses import replace
from pathlib import Path

import pytest

from drsearch.datasets.boxes import BoxTable
from drsearch.datasets.description import DataSource, Description, Part, read_source_file
from drsearch.datasets.given import Naming, open_dataset, parsed_grades, read_again
from drsearch.datasets.read import Dataset
from drsearch.errors import DataError


def clinic(root: Path, table: str, *photographs: str) -> Path:
    """A folder that has no layout of its own: photographs in sub-folders, and one table."""
    for photograph in photographs:
        (root / photograph).parent.mkdir(parents=True, exist_ok=True)
        (root / photograph).touch()
    (root / "grades.csv").write_text(table)
    return root


def read(path: Path, **named: object) -> Dataset:
    return open_dataset([path], Naming(**named))  # type: ignore[arg-type]  # texts, and a mapping of grades


COLUMNS = {"image_column": "File", "grade_column": "DR"}


def test_any_table_is_read_by_naming_its_columns(tmp_path: Path) -> None:
    rows = ["a;7;OD;No DR;0;good;train", "B.PNG;7;OS;severe ;yes;good;test", "1.1;8;L;;;bad;"]
    table = "\n".join(["File;Who;Side;DR;DME;Quality;Use", *rows])
    clinic(tmp_path, table, "x/a.jpg", "y/b.png", "y/1.1.jpg")
    dataset = read(
        tmp_path,
        **COLUMNS,
        patient_column="Who",
        eye_column="Side",
        edema_column="DME",
        quality_column="Quality",
        split_column="Use",
        grades={"no dr": 0, "Severe": 3},
    )
    rows = {p.name: (p.grade, p.patient, p.eye, p.edema, p.gradable, p.published_split) for p in dataset.photographs}
    assert rows == {
        "a": (0, "7", "right", False, True, "train"),
        "b": (3, "7", "left", True, True, "test"),
        "1.1": (None, "8", "left", None, False, "train"),
    }
    assert [p.name for p in dataset.ungradable] == ["1.1"]
    assert not (dataset.invalid_grades or dataset.unlabelled or dataset.labels_without_photograph or dataset.not_used)
    assert dataset.patients_by == "column 'Who'"


@pytest.mark.parametrize(
    ("text", "grade"),
    [("2", 2), ("2.0", 2), ("2,0", 2), ('"2"', 2), (" 2 ", 2), ("2.5", None), ("5", None), ("", None), ("two", None)],
)
def test_a_number_is_a_grade_however_a_spreadsheet_writes_it(text: str, grade: int | None, tmp_path: Path) -> None:
    clinic(tmp_path, f"File\tDR\na\t{text}\n", "a.jpg")
    (photograph,) = read(tmp_path, **COLUMNS).photographs
    assert photograph.grade == grade
    assert photograph.has_invalid_grade == (grade is None)


@pytest.mark.parametrize(
    ("written", "file"),
    [
        ("a", "a.jpg"), ("a.jpg", "a.JPG"), ("A.JPEG", "a.jpg"), ("a.tif", "a.png"), ("985.1", "985.1.jpg"),
        ("985.1.jpg", "985.1.jpg"), (r"\train\1\1_l1.jpg", "1_l1.jpg"), ("deep/er/a.jpg", "er/a.jpg"),
        ("x/a.jpg", "x/a.jpg"),
    ],
)  # fmt: skip
def test_an_id_finds_its_photograph(written: str, file: str, tmp_path: Path) -> None:
    clinic(tmp_path, f"File,DR\n{written},1\n", f"photographs/{file}", "photographs/other/b.jpg")
    dataset = read(tmp_path, **COLUMNS)
    assert [p.file for p in dataset.photographs if p.label] == [f"photographs/{file}"]
    assert not dataset.labels_without_photograph


def test_a_path_tells_two_photographs_of_one_name_apart(tmp_path: Path) -> None:
    clinic(tmp_path, "File,DR\nx/1.png,1\ny/1.png,3\n", "x/1.png", "y/1.png")
    assert {p.name: p.grade for p in read(tmp_path, **COLUMNS).photographs} == {"x-1": 1, "y-1": 3}


def test_an_id_that_fits_two_photographs_is_a_question(tmp_path: Path) -> None:
    clinic(tmp_path, "File,DR\na,1\n", "small/a.jpg", "large/a.jpg")
    with pytest.raises(DataError) as refused:
        read(tmp_path, **COLUMNS)
    assert str(refused.value) == (
        f"{tmp_path}/grades.csv, line 2: a may be large/a.jpg or small/a.jpg; keep one of them, or name the folder of"
        " the photographs."
    )


def test_a_table_without_titles_has_numbers_for_columns(tmp_path: Path) -> None:
    clinic(tmp_path, "a.jpg 0\nb.jpg 4\n", "a.jpg", "b.jpg")
    dataset = read(tmp_path, image_column="1", grade_column="2")
    assert {p.name: p.grade for p in dataset.photographs} == {"a": 0, "b": 4}


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"image_column": "File", "grade_column": "Retina"},
         "{root}/grades.csv has no column 'Retina': its first line is 'File, DR'; give its columns these titles, or"
         " name those that it has."),
        ({"image_column": "Fil", "grade_column": "DR"},
         "{root}/grades.csv has no column 'Fil': its first line is 'File, DR'; did you mean 'File'?"),
        ({"labels": "grades.csv"},
         "grades.csv begins with 'File', 'DR': name its columns with --image-column and --grade-column."),
        ({"labels": "grades.csv", "image_column": "File"},
         "grades.csv begins with 'File', 'DR': name its columns with --grade-column."),
        ({"labels": "none.csv", **COLUMNS}, "none.csv is not there; {root} has grades.csv."),
        ({"layout": "EyePACS"}, "{root} is not laid out as 'EyePACS': it has no layout that drsearch knows."),
        ({"image_column": "1", "grade_column": "3"},
         "{root}/grades.csv has 2 columns, and column '3' was asked for; the columns of a table without titles are"
         " numbered from 1."),
    ],
)  # fmt: skip
def test_what_cannot_be_read_as_named_is_refused_with_what_is_there(
    named: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    clinic(tmp_path, "File,DR\na,1\n", "a.jpg")
    with pytest.raises(DataError) as refused:
        read(tmp_path, **named)
    assert str(refused.value) == sentence.format(root=tmp_path)


def test_a_description_can_be_kept_edited_and_given_in_the_place_of_the_folder(tmp_path: Path) -> None:
    clinic(tmp_path / "clinic", "File,DR\na,1\nb,4\nc,2\n", "a.jpg", "b.jpg", "c.jpg")
    dataset = read(tmp_path / "clinic", **COLUMNS)
    assert dataset.given == ()
    description = replace(dataset.source.sets[0], folder="clinic", exclude=("b",), licence="CC BY 4.0")
    (tmp_path / "data.toml").write_text(DataSource("clinic", (description,)).to_toml())
    again = open_dataset([tmp_path / "data.toml"])
    assert [(p.name, p.excluded) for p in again.photographs] == [
        ("a", ""), ("b", "excluded by the description of the data set"), ("c", ""),
    ]  # fmt: skip
    assert again.given == (tmp_path / "data.toml",)
    assert read_again(again) == again


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("layout = 1\n[[parts]]\n", "layout = 1; expected a text in quotes."),
        ('layout = "x"\n[[parts]]\n', "has no name; `drsearch describe FOLDER` writes a whole file."),
        ('layout = "x"\nname = "x"\n', "has no [[parts]]: write one for every table of labels."),
        ('layout = "x"\nname = "x"\nlicense = "MIT"\n[[parts]]\n', "license is unknown; did you mean licence?"),
        ('layout = "x"\nname = "x"\n[grades]\nmild = 7\n[[parts]]\n',
         "grades = {'mild': 7}; expected a table, each entry 0 to 4 or 'ungradable', 'excluded'."),
        ("layout", "is no TOML file"),
    ],
)  # fmt: skip
def test_a_description_with_a_fault_is_refused_with_the_key(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "data.toml").write_text(text)
    with pytest.raises(DataError) as refused:
        open_dataset([tmp_path / "data.toml"])
    assert sentence in str(refused.value)


def test_every_key_of_a_description_reads_back(tmp_path: Path) -> None:
    part = Part(
        ("a", "b"), "t.csv", False, "1", ("2", "3"), "，", "4", "(.+)_", "5", "6", ("7",), "8", "test", "left", "other"
    )
    description = Description(
        "by hand", "x", (part, Part()), {"": "ungradable", "mild, “odd”": 1}, ("2",), ("0",), {"Public": "validation"},
        {"1": "right"}, ("pairs", "names"), "pairs.csv", ("a", "b"), "Davis", ("A note.\nOf two lines.",), "https://x.org",
        "CC0", "/data/x",
        (BoxTable("b.csv", ("a",), "i", "k", ("x", "y", "u", "v"), "corners", {"HE": "haemorrhage"}, (640, 480)),
         BoxTable("c.csv")),
    )  # fmt: skip
    for source in (DataSource("x", (description,)), DataSource("all", (description, replace(description, name="y")))):
        (tmp_path / "data.toml").write_text(source.to_toml())
        assert read_source_file(tmp_path / "data.toml") == source


def test_pooled_sets_keep_the_source_of_every_eye_and_their_patients_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        root = tmp_path / name
        for file in ("images/train/1_left.jpg", "images/train/1_right.jpg"):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).touch()
        (root / "labels").mkdir()
        (root / "labels/train.csv").write_text("Image name,Retinopathy grade\n1_left,0\n1_right,2\nlost,1\n")
    pooled = open_dataset([tmp_path / "one", tmp_path / "two"], Naming(name="pooled"))
    assert pooled.name == "pooled"
    assert [(p.name, p.source, p.patient) for p in pooled.photographs] == [
        ("one-1_left", "one", "1_*"), ("one-1_right", "one", "1_*"),
        ("two-1_left", "two", "1_*"), ("two-1_right", "two", "1_*"),
    ]  # fmt: skip
    assert pooled.labels_without_photograph == ("one/labels/train.csv: lost", "two/labels/train.csv: lost")
    assert pooled.patients_by == "names such as 12_left and 12_right"
    (tmp_path / "two/labels/train.csv").write_text("Image name,Retinopathy grade,patient\n1_left,0,A\n")
    (tmp_path / "two/images/train/1_right.jpg").unlink()
    pooled = open_dataset([tmp_path / "one", tmp_path / "two"])
    assert pooled.patients_by == "names such as 12_left and 12_right of one and column 'patient' of two"
    with pytest.raises(DataError, match="two data sets are named 'one'"):
        open_dataset([tmp_path / "one", tmp_path / "one"])


def test_pairs_of_photographs_are_one_patient(tmp_path: Path) -> None:
    clinic(tmp_path, "File,DR\na,1\nb,4\nc,2\n", "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "pairs.csv").write_text("left;right\na.jpg;B.JPG\n")
    source = read(tmp_path, **COLUMNS, labels="grades.csv").source
    description = replace(source.sets[0], patients=("pairs",), pairs="pairs.csv")
    (tmp_path / "data.toml").write_text(DataSource("x", (description,)).to_toml())
    dataset = open_dataset([tmp_path / "data.toml"])
    assert [p.patient for p in dataset.photographs] == ["a", "a", ""]
    assert dataset.patients_by == "the pairs of pairs.csv"
    assert not dataset.not_used


def test_grades_of_a_command_line() -> None:
    assert parsed_grades("No DR=0, a=b=4,x=excluded") == {"No DR": 0, "a=b": 4, "x": "excluded"}
    for wrong in ("No DR", "No DR=5", "=x", "mild=one"):
        with pytest.raises(DataError, match="write TEXT=GRADE"):
            parsed_grades(wrong)


def test_folders_that_are_named_as_splits_divide_a_set_that_is_named_by_hand(tmp_path: Path) -> None:
    clinic(tmp_path, "File,DR\na,1\nb,4\nc,2\nd,0\n", "set/train/a.jpg", "set/Valid/b.jpg", "set/test/x/c.jpg", "d.jpg")
    dataset = read(tmp_path, **COLUMNS, labels="grades.csv")
    assert {p.name: p.published_split for p in dataset.photographs} == {
        "a": "train", "b": "validation", "c": "test", "d": "train",
    }  # fmt: skip
