from collections.abc import Callable
from pathlib import Path

import pytest

from drsearch.data.folder import read_folder
from drsearch.errors import DataError


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
    assert folder.file(folder.photographs[2]).endswith("1. Original Images/b. Testing Set/IDRiD_001.jpg")


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


def test_a_test_set_without_labels_is_unlabelled_photographs(tmp_path: Path) -> None:
    flat(tmp_path, "Image name,Retinopathy grade\na,1\n", "a.jpg")
    touch(tmp_path / "images/test", "z.jpg")
    assert [(p.name, p.published_split) for p in read_folder(tmp_path).unlabelled] == [("z", "test")]


def test_a_folder_of_no_known_layout_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        read_folder(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path} is no data set that drsearch knows: it has neither images/train and labels/train.csv nor"
        " 1. Original Images/a. Training Set (IDRiD as published, with or without the folder B. Disease Grading)."
    )


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda root: (root / "labels/train.csv").unlink(),
         "{root} has images/train but no labels/train.csv: the grades of its photographs are missing."),
        (lambda root: (root / "labels/train.csv").write_text("name,grade\n"),
         "{root}/labels/train.csv has no column 'Image name': its first line is 'name, grade'."),
        (lambda root: (root / "images/train/a.png").touch(),
         "{root}/images/train has a.jpg and a.png: which one is a? Keep one."),
        (lambda root: (root / "images/train/a.jpg").unlink(),
         "{root} holds no photographs: {root}/images/train is empty."),
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


def test_idrid_has_413_graded_photographs(idrid: Path) -> None:
    folder = read_folder(idrid)
    grades = [p.grade for p in folder.photographs]
    assert [grades.count(grade) for grade in range(5)] == [134, 20, 136, 74, 49]
