"""Markdown tables as MLflow's pages render them."""

from collections.abc import Sequence

_GAP = "\N{NO-BREAK SPACE}" * 4


def note_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table for the description of an experiment, a run or a version.

    MLflow needs two dashes per column, and renders no space between columns: cells get it here.

    Args:
        head: One cell per column.
        rows: As wide as the head; a `|` in a cell is escaped.
    """
    lines = [_line(head), "|---" * len(head) + "|"]
    return lines + [_line(row) for row in rows]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") + _GAP for cell in cells) + " |"
