import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from drsearch.datasets.given import open_dataset
from drsearch.datasets.read import Dataset
from drsearch.errors import DataError

TABLE = "Image name,Retinopathy grade\na,1\n"
NEARLY = "are nearly equal: give them the same name"


def read_folder(path: Path, besides: Path | None = None) -> Dataset:
    return open_dataset([path], besides=besides)


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def published(root: Path) -> None:
    """IDRiD as its publisher lays it out: empty columns at the end, a blank after a header, CRLF, a BOM."""
    images, tables = root / "1. Original Images", root / "2. Groundtruths"
    touch(images / "a. Training Set", "IDRiD_001.jpg", "IDRiD_002.jpg")
    touch(images / "b. Testing Set", "IDRiD_001.jpg")
    tables.mkdir()
    header = "Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,\r\n"
    train = "\ufeff" + header + "IDRiD_001,3,2,,,,,,,,,\r\nIDRiD_002,0,0,,,,,,,,,\r\n,,,,,,,,,,,\r\n"
    (tables / "a. IDRiD_Disease Grading_Training Labels.csv").write_bytes(train.encode())
    (tables / "b. IDRiD_Disease Grading_Testing Labels.csv").write_bytes((header + "IDRiD_001,4,0,,,\r\n").encode())


@pytest.mark.parametrize("level", ["", "B. Disease Grading"])
def test_idrid_as_published_is_read_with_and_without_its_upper_folder(level: str, tmp_path: Path) -> None:
    published(tmp_path / level)
    folder = read_folder(tmp_path)
    found = [(p.name, p.grade, p.published_split) for p in folder.photographs]
    assert found == [("IDRiD_001", 3, "train"), ("IDRiD_002", 0, "train"), ("IDRiD_001", 4, "test")]
    assert not (folder.unlabelled or folder.invalid_grades or folder.labels_without_photograph)
    assert [p.edema for p in folder.photographs] == [True, False, False]
    assert folder.not_used == ()
    assert folder.photographs[2].file.endswith("1. Original Images/b. Testing Set/IDRiD_001.jpg")


def flat(root: Path, table: str, *names: str) -> Path:
    touch(root / "images/train", *names)
    touch(root / "labels")
    (root / "labels/train.csv").write_text(table)
    return root


def test_names_in_the_table_may_have_an_extension_and_photographs_any_case(tmp_path: Path) -> None:
    table = "image NAME , Retinopathy Grade\na.jpg,1\nb,2\nc.d.PNG,2.0\n"
    folder = read_folder(flat(tmp_path, table, "a.JPG", "b.Jpeg", "c.d.png", "notes.txt", ".hidden.jpg"))
    assert [(p.name, p.grade) for p in folder.photographs] == [("a", 1), ("b", 2), ("c.d", 2)]


def test_what_does_not_match_is_named(tmp_path: Path) -> None:
    table = "Image name,Retinopathy grade\na,1\nb,5\nc,\nd,x\ne,-1\nf\ng,1\ng,2\nlost,3\n"
    folder = read_folder(flat(tmp_path, table, *(f"{name}.jpg" for name in "abcdefgh")))
    assert [(p.name, text) for p, text in folder.invalid_grades] == [
        ("b", "5"), ("c", ""), ("d", "x"), ("e", "-1"), ("f", ""), ("g", "1 and 2"),
    ]  # fmt: skip
    assert [p.name for p in folder.unlabelled] == ["h"]
    assert folder.labels_without_photograph == ("labels/train.csv: lost",)


@pytest.mark.parametrize("side", ["test", "valid"])
def test_a_published_split_without_its_table_is_refused_with_the_tables_that_are_there(
    side: str, tmp_path: Path
) -> None:
    flat(tmp_path, TABLE, "a.jpg")
    touch(tmp_path / "images" / side)
    assert len(read_folder(tmp_path).photographs) == 1  # an empty folder hides nothing
    touch(tmp_path / "images" / side, "z.jpg")
    touch(tmp_path / "labels", "others.xlsx", "README.txt")
    with pytest.raises(DataError) as refused:
        read_folder(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path} has images/{side} but no labels/{side}.csv: the grades of its photographs are missing"
        " (labels has others.xlsx)."
    )


@pytest.mark.parametrize("named", ["valid", "val", "Validation"])
def test_a_published_validation_split_is_read_whatever_it_is_called(named: str, tmp_path: Path) -> None:
    flat(tmp_path, TABLE, "a.jpg")
    touch(tmp_path / "images" / named, "b.jpg")
    (tmp_path / f"labels/{named}.csv").write_text("Image name,Retinopathy grade\nb,3\n")
    folder = read_folder(tmp_path)
    assert [(p.name, p.grade, p.published_split) for p in folder.photographs] == [
        ("a", 1, "train"), ("b", 3, "validation"),
    ]  # fmt: skip
    assert folder.not_used == ()


def test_a_column_of_splits_divides_the_training_set(tmp_path: Path) -> None:
    table = "Image name,Retinopathy grade,Split\na,1,train\nb,2,VAL\nc,0,test\nd,4,\n"
    folder = read_folder(flat(tmp_path, table, *(f"{name}.jpg" for name in "abcd")))
    assert [p.published_split for p in folder.photographs] == ["train", "validation", "test", "train"]
    assert folder.not_used == ()


def test_a_column_of_splits_that_contradicts_the_folder_is_refused(tmp_path: Path) -> None:
    flat(tmp_path, TABLE, "a.jpg")
    touch(tmp_path / "images/test", "z.jpg")
    (tmp_path / "labels/test.csv").write_text("Image name,Retinopathy grade,split\nz,1,train\n")
    with pytest.raises(DataError) as refused:
        read_folder(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path}/labels/test.csv, line 2, says train, but its photographs were published for test: mend one of"
        " them."
    )


def test_what_is_not_used_is_named_and_a_folder_of_it_once(tmp_path: Path) -> None:
    flat(tmp_path, "Image name,Retinopathy grade,Age\na,1,70\n", "a.jpg", "notes.docx", ".DS_Store")
    touch(tmp_path, "README.md", "LICENSE.txt", "extra.csv", "loose.png")
    touch(tmp_path / "images/more", *(f"{i}.jpg" for i in range(9)))
    touch(tmp_path / "A. Segmentation/1. Original Images/a. Training Set", "x.jpg", "y.jpg")
    touch(tmp_path / "A. Segmentation/2. All/1. Haemorrhages", "x_HE.tif", "list.txt")
    touch(tmp_path / ".cache", "z.jpg")
    assert sorted(read_folder(tmp_path).not_used) == [
        "A. Segmentation (3 pictures and 1 table, e.g. x.jpg)",
        "extra.csv",
        "images/more (9 pictures, e.g. 0.jpg)",
        "images/train/notes.docx",
        "labels/train.csv, column 'Age'",
        "loose.png",
    ]


def test_what_is_no_part_of_the_data_set_is_not_looked_at(tmp_path: Path) -> None:
    flat(tmp_path, TABLE, "a.jpg")
    touch(tmp_path / "drsearch-home/runs", "curve.png")
    assert read_folder(tmp_path, tmp_path / "drsearch-home").not_used == ()
    (tmp_path / "again").symlink_to(tmp_path)
    assert read_folder(tmp_path, tmp_path / "drsearch-home").not_used == ()


def test_names_match_whichever_way_their_letters_are_composed(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "Müller")
    assert name != "Müller"
    folder = read_folder(flat(tmp_path, "Image name,Retinopathy grade\nMüller,3\n", f"{name}.jpg"))
    assert [(p.name, p.grade) for p in folder.photographs] == [("Müller", 3)]
    assert not folder.labels_without_photograph


def test_a_file_name_that_is_no_utf_8_can_be_told(tmp_path: Path) -> None:
    flat(tmp_path, TABLE, "a.jpg")
    (tmp_path / "images/train" / os.fsdecode(b"M\xfcller.jpg")).touch()
    assert [p.name for p in read_folder(tmp_path).unlabelled] == ["M\\xfcller"]


@pytest.mark.parametrize(
    ("label", "photograph", "hint"),
    [
        ("img_1", "IMG_001", f"the label 'img_1' and the photograph 'IMG_001' {NEARLY}"),
        ("patient12", "patient13x",
         "of the photographs without label 'patient13x' is named most like the label 'patient12'"),
        ("abc", "xyz", "labels are named like 'abc', photographs without label like 'xyz'"),
    ],
)  # fmt: skip
def test_why_names_do_not_match_is_said(label: str, photograph: str, hint: str, tmp_path: Path) -> None:
    table = f"Image name,Retinopathy grade\n{label},3\n"
    assert read_folder(flat(tmp_path, table, f"{photograph}.jpg")).hint == hint


def test_a_label_whose_photograph_lies_elsewhere_is_told(tmp_path: Path) -> None:
    flat(tmp_path, "Image name,Retinopathy grade\na,1\nb,2\n", "a.jpg")
    touch(tmp_path / "images/sub", "b.png")
    assert read_folder(tmp_path).hint == ("a photograph of the name b lies at images/sub/b.png, which is not read")


def test_patients_are_told_by_a_column_or_by_names(tmp_path: Path) -> None:
    table = "Image name,Retinopathy grade,Patient ID\n1_left,1,A\n1_right,2,\n2,0,A\n"
    folder = read_folder(flat(tmp_path / "column", table, "1_left.jpg", "1_right.jpg", "2.jpg"))
    assert [p.patient for p in folder.photographs] == ["A", "A", "A"]
    assert folder.patients_by == "column 'Patient ID' and names such as 12_left and 12_right"
    folder = read_folder(
        flat(tmp_path / "names", "Image name,Retinopathy grade\n1_left,1\n2,0\n", "1_left.jpg", "2.jpg")
    )
    assert [p.patient for p in folder.photographs] == ["1_*", ""]
    assert folder.patients_by == "names such as 12_left and 12_right"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "it is a named pipe, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
        (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
    ],
    ids=["pipe", "device", "dangling link"],
)
def test_a_table_that_is_no_file_is_refused_at_once(make: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    table = flat(tmp_path, TABLE, "a.jpg") / "labels/train.csv"
    table.unlink()
    make(table)
    with pytest.raises(DataError) as refused:
        read_folder(tmp_path)
    assert str(refused.value) == f"{table} cannot be read: {reason}; put the table of labels there."


def test_a_folder_of_no_known_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no layout that drsearch knows: it has no photographs and no table"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: (root / "labels/train.csv").unlink(),
         "{root} has images/train but no labels/train.csv: the grades of its photographs are missing."),
        (lambda root: (root / "labels/train.csv").write_text("name,grade\n"),
         "{root}/labels/train.csv has no column 'Image name' and no column 'Retinopathy grade': its first line is"
         " 'name, grade'; give its columns these titles, or name them: --labels labels/train.csv --image-column TITLE"
         " --grade-column TITLE."),
        (lambda root: (root / "labels/Training.csv").touch(),
         "{root}/labels has Training.csv and train.csv: which one is meant? Keep one."),
        (lambda root: (root / "images/train/a.png").touch(),
         "{root}/labels/train.csv, line 2: a may be images/train/a.jpg or images/train/a.png; keep one of them, or name"
         " the folder of the photographs."),
    ],
)  # fmt: skip
def test_a_set_that_cannot_be_understood_is_refused(
    spoil: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    flat(tmp_path, "Image name,Retinopathy grade\na,1\n", "a.jpg")
    spoil(tmp_path)
    with pytest.raises(DataError) as refused:
        read_folder(tmp_path)
    assert str(refused.value) == sentence.format(root=tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        read_folder(tmp_path / "none")
    assert str(refused.value) == f"{tmp_path / 'none'} is no folder."
