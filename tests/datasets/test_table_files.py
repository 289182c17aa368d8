from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from drsearch.datasets.table_files import TableFile
from drsearch.errors import DataError

PLAIN = "Image name,Retinopathy grade\nMüller 1,2\nb,0\n"
ROWS = (("Müller 1", "2"), ("b", "0"))


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
        PLAIN.replace("Image name", '"IMAGE  name "').replace("Müller 1", '"Müller 1"').encode(),
    ],
    ids=[
        "utf-8", "BOM", "Windows", "utf-16", "utf-16 little", "utf-16 big", "utf-16 big, BOM", "semicolons", "tabs",
        "bars", "CRLF", "sep=,", "sep=;", "heading", "quotes",
    ],
)  # fmt: skip
def test_a_table_is_read_as_spreadsheets_save_it(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(data)
    table = TableFile(tmp_path / "labels.csv").with_titles(["image name", "retinopathy  GRADE"])
    assert table is not None
    assert table.rows == ROWS
    assert table.column("image name") == 0


def test_a_workbook_is_read_from_the_sheet_that_has_the_titles(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["about"])
    sheet = book.create_sheet("Feuil1")
    for row in (["Image name", "Retinopathy grade", "seen"], ["Müller 1", 2, None], ["b", 0.0, 1.5]):
        sheet.append(row)
    book.save(tmp_path / "labels.xlsx")
    table = TableFile(tmp_path / "labels.xlsx").with_titles(["Image name"])
    assert table is not None
    assert table.rows == (("Müller 1", "2", ""), ("b", "0", "1.5"))


@pytest.mark.parametrize("text", ["007-0004-000.jpg 0\n2017.jpg 5\n", "007-0004-000.jpg\t0\n\n2017.jpg\t5"])
def test_a_table_without_titles_has_its_columns_by_number(text: str, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(text)
    table = TableFile(tmp_path / "train.txt").without_titles()
    assert (table.titles, table.rows) == (("1", "2"), (("007-0004-000.jpg", "0"), ("2017.jpg", "5")))


def test_unnamed_columns_before_the_titles_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",Unnamed: 0,image,level\n0,0,10_left,0\n1,1,10_right,2\n")
    table = TableFile(tmp_path / "t.csv").with_titles(["image", "level"])
    assert table is not None
    assert [row[table.column("level") or 0] for row in table.rows] == ["0", "2"]


def test_a_table_without_the_titles_is_none_and_shows_its_first_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image;level\na;1\n")
    table = TableFile(tmp_path / "t.csv")
    assert table.with_titles(["Image name"]) is None
    assert table.first_row == ("image", "level")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "cannot be read: it is a folder, not a file; put the table of labels there."),
        (lambda path: None, "cannot be read: No such file or directory; put the table of labels there."),
        (lambda path: path.write_text("a,b\nx,1" + "x" * 200_000), "cannot be read as a table (field larger than"),
        (lambda path: path.write_bytes(b"PK\x03\x04 and no more"), "cannot be read as a table (File is not a zip file"),
        (lambda path: path.write_bytes(b"\xd0\xcf\x11\xe0 and no more"), "cannot be read as a table ("),
    ],
)
def test_what_is_no_table_is_refused_in_a_sentence(make: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    make(tmp_path / "t.csv")
    with pytest.raises(DataError) as refused:
        TableFile(tmp_path / "t.csv").with_titles(["a"])
    assert str(refused.value).startswith(f"{tmp_path}/t.csv {reason}")
