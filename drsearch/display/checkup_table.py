"""What `drsearch doctor` prints: a row per check, as each of them ends."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from drsearch.study.checkup import Check

_STYLES = {"ok": "green", "warning": "yellow", "fails": "bold red"}


def print_check(out: Console, check: Check) -> None:
    """Print a check: its state, what was found, and below it what to do."""
    row = Table.grid(padding=(0, 2))
    row.add_column(width=7)
    row.add_column(width=14)
    row.add_column(overflow="fold")
    state = Text("FAILS" if check.state == "fails" else check.state, style=_STYLES[check.state])
    text = Text(check.text)
    if check.remedy:
        text.append(f"\n{check.remedy}", style="bold")
    row.add_row(state, check.name, text)
    out.print(row)
