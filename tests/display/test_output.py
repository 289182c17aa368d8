"""Tables for people."""

import io

from rich.console import Console

from drsearch.display.output import print_lines
from drsearch.display.tables import column, table


def test_lines_of_a_table_are_whole_where_they_are_wider_than_the_console() -> None:
    out = Console(file=io.StringIO(), width=40)
    lines = table([column("name", ["a b " * 10]), column("note", ["c d " * 10])])
    print_lines(out, lines)
    written = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert written == [line.plain for line in lines]
