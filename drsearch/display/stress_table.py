"""A model under stress as a table for people, with a bar per condition."""

from rich.console import Console

from drsearch.display.output import is_live, print_lines
from drsearch.display.tables import column, fitting, table
from drsearch.measure.scores import Interval
from drsearch.release.stress import Stress

_BAR = 12  # characters from an AUC of one half to 1
_WANTED_FIRST = (0, 1, 3, 8, 9, 4, 5, 2, 6, 7)  # of the columns, where not all have room


def print_stress(out: Console, title: str, result: Stress) -> None:
    """Print the figures of each condition, and how they differ from those of the photographs as they are.

    Args:
        out: Where to.
        title: Above the table.
        result: The figures.
    """
    rows = (result.undamaged, *result.conditions)
    columns = [
        column("", [row.label for row in rows]),
        column("AUC", [_value(row.auc) for row in rows]),
        column(f"0.5{'':{_BAR - 4}}1", [_bar(row.auc) for row in rows]),
        column("change, paired", [_change(row.auc_change) for row in rows]),
        column("accuracy", [_value(row.accuracy) for row in rows]),
        column("change, paired", [_change(row.accuracy_change) for row in rows]),
        column("ECE", [_value(row.ece) for row in rows]),
        column("change, paired", [_change(row.ece_change) for row in rows]),
        column("not gradable", [str(row.not_gradable) for row in rows], "right"),
        column("refused", [str(row.refused) for row in rows], "right"),
    ]
    width = out.width if is_live(out) else None
    places = fitting([columns[i] for i in _WANTED_FIRST], width)
    out.print(title, soft_wrap=True, markup=False)
    print_lines(out, table([columns[i] for i in sorted(_WANTED_FIRST[place] for place in places)]))
    out.print(
        "ECE: expected calibration error. Changes are from the same photographs as they are, with 95 % intervals. "
        "A photograph that is not gradable is scored all the same; a refused one shows no retina any more.",
        soft_wrap=True,
        markup=False,
    )


def _bar(area: Interval | None) -> str:
    return "█" * round(_BAR * 2 * max(0.0, area.value - 0.5)) if area else ""


def _value(interval: Interval | None) -> str:
    return f"{interval.value:.3f}" if interval else ""


def _change(interval: Interval | None) -> str:
    return f"{interval:+.2f}" if interval else ""
