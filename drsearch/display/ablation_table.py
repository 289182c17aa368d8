"""What an ablation came to, as a table."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

from drsearch.display.output import liner

if TYPE_CHECKING:
    from drsearch.release.ablation import AblationReport


def print_ablation(out: Console, report: "AblationReport") -> None:
    """Print what each choice is worth, the most worth first."""
    from drsearch.release.ablation import ablation_cells, ablation_columns

    choice, *others = ablation_columns(report)
    table = Table(Column(choice, no_wrap=True), *(Column(name, overflow="fold") for name in others))
    for row in report.rows:
        table.add_row(*ablation_cells(row))
    say = liner(out)
    say(report.about)
    out.print(table)
    say("95 % intervals; above 0 the choice helps")
