"""Tables as spreadsheets, scripts and people save them: CSV of any kind, XLS, XLSX, or a DataFrame."""

import csv
import functools
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from drsearch.errors import DataError
from drsearch.files import read_file

TABLES = (".csv", ".tsv", ".txt", ".xls", ".xlsx")
"""Endings of files that are read as tables, whatever their case."""

_DELIMITERS = ",;\t|"
_FIRST_ROWS = 5  # among which titles are looked for: spreadsheets put `sep=;`, blank lines or a heading before
_CELLS_SHOWN, _LETTERS_SHOWN = 60, 50  # in messages
_WORKBOOKS = {b"PK\x03\x04": "XLSX", b"\xd0\xcf\x11\xe0": "XLS"}


@dataclass(frozen=True)
class Table:
    """The rows of a table.

    Attributes:
        titles: Of the columns, as written, blanks collapsed; the numbers from 1 where the table has none.
        rows: The cells of every row that is not blank, without blanks around them; as many cells as titles, or more.
        lines: The line of the file in which each row ends.
    """

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def column(self, title: str) -> int | None:
        """The place of a column, by its title without regard to case; None without it."""
        plain = [plain_title(each) for each in self.titles]
        return plain.index(plain_title(title)) if plain_title(title) in plain else None


def plain_title(title: str) -> str:
    """A title in the form in which titles are compared: small letters, single blanks."""
    return " ".join(title.split()).lower()


class TableFile:
    """A file that holds a table; it is read when it is first asked for, and only once.

    Args:
        path: The file.

    Raises:
        DataError: From every method, if the file cannot be read or is no table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def with_titles(self, titles: Iterable[str]) -> Table | None:
        """The table whose first rows have one with all of these titles; None where none has them.

        Args:
            titles: At least one; compared by `plain_title`.
        """
        wanted = {plain_title(title) for title in titles}
        for rows, lines in self._readings:
            for at, row in enumerate(rows[:_FIRST_ROWS]):
                if wanted <= set(map(plain_title, row)):
                    return _table(row, rows[at + 1 :], lines[at + 1 :])
        return None

    def without_titles(self) -> Table:
        """The table, every row of which is a row of data."""
        rows, lines = self._likeliest
        return _table([str(number) for number in range(1, max(map(len, rows), default=0) + 1)], rows, lines)

    @property
    def first_row(self) -> tuple[str, ...]:
        """The first row, as messages show it, long cells and rows cut; empty where the table is."""
        rows, _ = self._likeliest
        cells = (" ".join(cell.split()) for cell in rows[0][:_CELLS_SHOWN]) if rows else ()
        return tuple(cell if len(cell) <= _LETTERS_SHOWN else f"{cell[:_LETTERS_SHOWN]}..." for cell in cells)

    @functools.cached_property
    def _likeliest(self) -> tuple[list[list[str]], list[int]]:
        """The reading in which most rows have the same number of cells, above one."""

        def even_rows(reading: tuple[list[list[str]], list[int]]) -> tuple[int, int]:
            widths = [len(row) for row in reading[0] if len(row) > 1]
            usual = max(set(widths), key=widths.count, default=0)
            return widths.count(usual), usual

        return max(self._readings, key=even_rows)

    @property
    def _readings(self) -> list[tuple[list[list[str]], list[int]]]:
        """The rows that are not blank and their lines, by every separator or from every sheet."""
        if isinstance(self._read, DataError):
            raise self._read
        return self._read

    @functools.cached_property
    def _read(self) -> list[tuple[list[list[str]], list[int]]] | DataError:
        """The readings, or why there are none: a damaged file is read only once, too."""
        try:
            return self._read_all()
        except DataError as wrong:
            return wrong

    def _read_all(self) -> list[tuple[list[list[str]], list[int]]]:
        data = self._bytes()
        try:
            workbook = _WORKBOOKS.get(data[:4])
            if workbook:
                return [_not_blank(sheet) for sheet in (_xlsx if workbook == "XLSX" else _xls)(data)]
            text = _text(data)
            readings = [_not_blank(_delimited(text, delimiter)) for delimiter in _DELIMITERS]
        except DataError:
            raise
        except Exception as wrong:  # readers of workbooks raise whatever damaged bytes lead to
            raise DataError(f"{self.path} cannot be read as a table ({wrong}); save it as CSV, UTF-8.") from wrong
        if not any(len(row) > 1 for rows, _ in readings for row in rows):
            readings.append(_not_blank(enumerate((line.split() for line in text.splitlines()), start=1)))
        return readings

    def _bytes(self) -> bytes:
        try:
            return read_file(self.path)
        except OSError as wrong:
            raise DataError(f"{self.path} cannot be read: {wrong.strerror}; put the table of labels there.") from wrong


def _table(titles: Sequence[str], rows: list[list[str]], lines: list[int]) -> Table:
    padded = (tuple(cell.strip() for cell in row) + ("",) * (len(titles) - len(row)) for row in rows)
    return Table(tuple(" ".join(title.split()) for title in titles), tuple(padded), tuple(lines))


def _not_blank(numbered: Iterable[tuple[int, list[str]]]) -> tuple[list[list[str]], list[int]]:
    rows = [(line, row) for line, row in numbered if any(cell.strip() for cell in row)]
    return [row for _, row in rows], [line for line, _ in rows]


def _delimited(text: str, delimiter: str) -> Iterable[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for row in reader:
        yield reader.line_num, row


def _text(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if data[1:2] == b"\0" or data[:1] == b"\0":
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")  # saved by a spreadsheet on Windows


def _xlsx(data: bytes) -> list[Iterable[tuple[int, list[str]]]]:
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    sheets = [
        [[_cell(value) for value in row] for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets
    ]
    return [enumerate(sheet, start=1) for sheet in sheets]


def _xls(data: bytes) -> list[Iterable[tuple[int, list[str]]]]:
    import xlrd

    book = xlrd.open_workbook(file_contents=data, logfile=io.StringIO())  # else it warns on standard output
    return [
        enumerate(([_cell(value) for value in sheet.row_values(at)] for at in range(sheet.nrows)), start=1)
        for sheet in book.sheets()
    ]


def _cell(value: object) -> str:
    """The text of a workbook's cell, which stores whole numbers as 2.0."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
