"""Markdown tables and pictures as MLflow's pages render them."""

from collections.abc import Sequence
from urllib.parse import quote

_GAP = "\N{NO-BREAK SPACE}" * 4

THIS_RUN = "THIS-RUN"
"""Stands in notes for the id of the run, which is known when they are sent."""


def pictures(*paths: str, run_id: str = THIS_RUN) -> str:
    """Pictures side by side in the description of a run.

    MLflow shows pictures that its own server gives, and none that are written out in the text.

    Args:
        paths: Of artifacts.
        run_id: Of their run.
    """
    return " ".join(f"![{path}](get-artifact?path={quote(path)}&run_uuid={run_id})" for path in paths)


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
