"""Tables for people."""

import io
import itertools
from types import SimpleNamespace

import pytest
from rich.console import Console

from drsearch.display import output
from drsearch.display.output import counting, print_lines
from drsearch.display.tables import column, table


def test_lines_of_a_table_are_whole_where_they_are_wider_than_the_console() -> None:
    out = Console(file=io.StringIO(), width=40)
    lines = table([column("name", ["a b " * 10]), column("note", ["c d " * 10])])
    print_lines(out, lines)
    written = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert written == [line.plain for line in lines]


@pytest.mark.parametrize(("quiet", "every_s", "n"), [(False, 0.0, 2), (False, 60.0, 0), (True, 0.0, 0)])
def test_without_a_terminal_a_long_count_is_a_line_now_and_then_with_rate_and_time_left(
    quiet: bool, every_s: float, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "LINE_EVERY_S", every_s)
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=itertools.count(0, 0.5).__next__))
    out = Console(file=io.StringIO(), width=40, quiet=quiet)
    with counting(out, "photographs under stress") as count:
        for done in range(4):
            count(done, 3)
    written = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    lines = ["1 of 3, 1 a second, about 2 s left", "2 of 3, 1.3 a second, about 1 s left"]
    assert written == [f"photographs under stress: {line}" for line in lines][:n]


def test_what_an_earlier_command_has_done_has_no_part_in_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=iter([0.0, 100.0, 102.0]).__next__))
    out = Console(file=io.StringIO(), width=80)
    with counting(out, "photographs") as count:
        count(91, 101)
        count(95, 101)
    written = out.file.getvalue()  # type: ignore[attr-defined]
    assert written == "photographs: 95 of 101, 2 a second, about 3 s left\n"
