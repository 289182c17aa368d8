"""How do the notes on MLflow's pages lay out their figures? As Markdown tables that MLflow takes for tables."""

from collections.abc import Sequence

_GAP = "\N{NO-BREAK SPACE}" * 4


def note_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table for a note: of an experiment, a run or a version.

    MLflow takes lines for a table from two dashes a column on, and leaves no room between columns.

    Args:
        head: A column each.
        rows: As wide as the head; a `|` within a cell is kept.
    """
    lines = [_line(head), "|---" * len(head) + "|"]
    return lines + [_line(row) for row in rows]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") + _GAP for cell in cells) + " |"
