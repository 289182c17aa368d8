from pathlib import Path

import pytest

from drsearch.data.tables import Label, read_labels
from drsearch.errors import DataError

PLAIN = "Image name,Retinopathy grade\nMüller 1,2\nb,0\n"
READ = {"Müller 1": Label("2", "", None), "b": Label("0", "", None)}


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("cp1252"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", "|").encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        b"sep=,\n" + PLAIN.encode(),
        b"sep=;\r\n" + PLAIN.replace(",", ";").encode(),
        b"\n ,,\nGrades of our clinic\n" + PLAIN.encode(),
        PLAIN.replace("Image name", '"IMAGE  name "').replace("Müller 1", '"Müller 1.jpg"').encode(),
    ],
    ids=[
        "utf-8", "BOM", "Windows", "utf-16", "utf-16 little", "utf-16 big", "utf-16 big, BOM", "semicolons", "tabs",
        "bars", "CRLF", "sep=,", "sep=;", "heading", "quotes",
    ],
)  # fmt: skip
def test_a_table_is_read_as_spreadsheets_save_it(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(data)
    assert read_labels(tmp_path / "labels.csv").by_name == READ


def test_other_columns_are_told_where_something_is_written_in_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        ",Image name,Retinopathy grade,subject-id,Subset,Age,empty,\n"
        "0,a,1,P1,training,70,,\n1,b,2,P2,,71,,\n2,,3,,,,,\n"
    )
    labels = read_labels(tmp_path / "t.csv")
    assert labels.by_name == {"a": Label("1", "P1", "train"), "b": Label("2", "P2", None)}
    assert labels.not_used == ("number 1", "Age")
    assert labels.patient_column == "subject-id"
    assert labels.nameless == (4,)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "{path} is empty: the grades of the photographs are missing."),
        ("image;level\na;1\n",
         "{path} has no column 'Image name' and no column 'Retinopathy grade': its first line is 'image, level';"
         " give its columns these titles."),
        ("Image name,grade\na,1\n",
         "{path} has no column 'Retinopathy grade': its first line is 'Image name, grade'; give its columns these"
         " titles."),
        ("Image name,Retinopathy grade,retinopathy grade\na,1,2\n",
         "{path} has 2 columns 'Retinopathy grade'; keep one."),
        ("Image name,Retinopathy grade\na,1\nb,2,5\n",
         "{path}, line 3, has 3 cells for 2 columns: 'b, 2, 5'; put a cell with a separator in it in quotes, and give"
         " every column a title."),
        ("Image name,Retinopathy grade,split\na,1,fold 3\n",
         "{path}, line 2, has 'fold 3' in its column 'split': write train, validation or test, or give the column"
         " another title if it is something else."),
        ("Image name,Retinopathy grade,patient,subject\na,1,2,3\n",
         "{path} has the columns 'patient' and 'subject': which one counts? Keep one."),
        ("Image name,Retinopathy grade,patient\na,1,2\na,1,3\n",
         "{path} has two rows for a that differ in its patient or split; keep one."),
        ("PK\x03\x04", "{path} is an Excel workbook, whatever its name says; save it as CSV."),
        ("Image name,Retinopathy grade\na,1" + "x" * 200_000,
         "{path} is no CSV table (field larger than field limit (131072)); save it as CSV, UTF-8."),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_understood_is_refused_with_the_cure(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(DataError) as refused:
        read_labels(path)
    assert str(refused.value) == sentence.format(path=path)
