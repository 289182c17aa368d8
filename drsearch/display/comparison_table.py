"""What `drsearch compare` prints: scores side by side, paired differences, and how often the models disagree."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from drsearch.display.output import liner

if TYPE_CHECKING:
    from drsearch.release.compare import Versions


def print_comparison(out: Console, versions: "Versions") -> None:
    """Print scores, differences from the first model, the baseline, and the number of eyes on which they disagree.

    Args:
        out: Where to.
        versions: The comparison.
    """
    from drsearch.release.blind_scores import blind_caution, blind_text
    from drsearch.release.same_eyes import SCORES, TITLES

    line, names = liner(out), versions.names
    title = f"{len(versions.eyes.names)} test eyes of {versions.data}, 95 % intervals"
    minus = [f"{name} minus {names[0]}" for name in names[1:]]
    table = Table("", *names, *minus, title=title, title_justify="left")
    for score in SCORES:
        values = [str(each.interval(score)) for each in versions.scored]
        differences = [f"{versions.difference(place, score):+.3f}" for place in range(len(minus))]
        table.add_row(TITLES.get(score, score), *values, *differences)
    out.print(table)
    for name, blind in zip(names, versions.beside_blind, strict=True):
        line(f"{blind_text(blind, name)}")
        if caution := blind_caution(blind):
            line(f"{name}: {caution}")
    n = versions.test_evaluations
    line(f"they disagree on {len(versions.disagreeing)} of {len(versions.eyes.names)} eyes")
    line(f"{n} test evaluation{'s' if n > 1 else ''} of this test split so far")
