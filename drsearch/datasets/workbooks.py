"""Writes tables as XLS and XLSX files: the same rows are always the same bytes."""

import io
import struct
import zipfile
from collections.abc import Iterable, Sequence
from html import escape

Row = Sequence[str | int]

_SECTOR = 512
_SMALLEST_STREAM = 4096  # bytes; shorter streams lie in a smaller grid, which this writer does not need
_FREE, _END, _TABLE = -1, -2, -3  # in the table of sectors: not used, last of a chain, the table itself
_BOF, _EOF, _CODEPAGE, _BOUNDSHEET, _NUMBER, _LABEL = 0x0809, 0x000A, 0x0042, 0x0085, 0x0203, 0x0204
_UTF_16 = 1200
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of ZIP files

# xlwt would write XLS, too; it has had no release since 2017, and one layout needs six kinds of records. openpyxl
# writes the time into every file, so that no two are the same.


def xlsx(sheet: str, rows: Iterable[Row]) -> bytes:
    """A workbook of one sheet, ECMA-376, with the texts in its cells."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" '
        f'ContentType="{kind}.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" '
        f'ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="{escape(sheet)}" '
        'sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>'
        + "".join(f"<row>{''.join(map(_xlsx_cell, row))}</row>" for row in rows)
        + "</sheetData></worksheet>",
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            declared = f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n{text}'
            archive.writestr(zipfile.ZipInfo(name, _FIRST_DAY), declared.encode())
    return data.getvalue()


def _xlsx_cell(value: str | int) -> str:
    if isinstance(value, int):
        return f"<c><v>{value}</v></c>"
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value, quote=False)}</t></is></c>'


def xls(sheet: str, rows: Iterable[Row]) -> bytes:
    """A workbook of one sheet in Excel's binary format of 1997, without fonts and styles: [MS-XLS] in [MS-CFB]."""
    cells = [_xls_cell(down, across, value) for down, row in enumerate(rows) for across, value in enumerate(row)]
    name = sheet.encode("utf-16-le")
    head = _record(_BOF, struct.pack("<HHHHII", 0x0600, 0x0005, 0, 1997, 0, 0x0600))
    head += _record(_CODEPAGE, struct.pack("<H", _UTF_16))
    place = len(head) + 4 + 8 + len(name) + 4  # of the sheet: behind the record that names it, and the end
    head += _record(_BOUNDSHEET, struct.pack("<IBBBB", place, 0, 0, len(sheet), 1) + name) + _record(_EOF, b"")
    body = _record(_BOF, struct.pack("<HHHHII", 0x0600, 0x0010, 0, 1997, 0, 0x0600)) + b"".join(cells)
    return _compound_file("Workbook", head + body + _record(_EOF, b""))


def _record(number: int, data: bytes) -> bytes:
    return struct.pack("<HH", number, len(data)) + data


def _xls_cell(row: int, column: int, value: str | int) -> bytes:
    if isinstance(value, int):
        return _record(_NUMBER, struct.pack("<HHHd", row, column, 0, value))
    return _record(_LABEL, struct.pack("<HHHHB", row, column, 0, len(value), 1) + value.encode("utf-16-le"))


def _compound_file(name: str, stream: bytes) -> bytes:
    """A file system with one file: header, table of sectors, directory, the file."""
    stream = stream.ljust(_SMALLEST_STREAM, b"\0")
    stream += b"\0" * (-len(stream) % _SECTOR)
    n_stream, per_table = len(stream) // _SECTOR, _SECTOR // 4
    n_tables = -(-(n_stream + 1) // (per_table - 1))  # each table has an entry for itself, too
    directory_at, stream_at = n_tables, n_tables + 1
    chain = [_TABLE] * n_tables + [_END] + [*range(stream_at + 1, stream_at + n_stream), _END]
    chain += [_FREE] * (n_tables * per_table - len(chain))
    header = struct.pack("<8s16xHHHHH6xIIiIIiIiI", bytes.fromhex("d0cf11e0a1b11ae1"), 0x3E, 3, 0xFFFE, 9, 6, 0,
                         n_tables, directory_at, 0, _SMALLEST_STREAM, _END, 0, _END, 0)  # fmt: skip
    header += struct.pack("<109i", *range(n_tables), *([_FREE] * (109 - n_tables)))
    directory = _entry("Root Entry", 5, 1, _END, 0) + _entry(name, 2, _FREE, stream_at, len(stream))
    directory += 2 * _entry("", 0, _FREE, 0, 0)
    return header + struct.pack(f"<{len(chain)}i", *chain) + directory + stream


def _entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
    text = f"{name}\0".encode("utf-16-le") if name else b""
    return struct.pack("<64sHBBiii36xiII", text, len(text), kind, 1, _FREE, _FREE, child, start, size, 0)
