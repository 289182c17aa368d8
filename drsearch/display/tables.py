"""Tables that fit a terminal: short names of settings, aligned numbers, and as many columns as have room."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.text import Text

from drsearch.settings import Value

_GAP = 2
_SHORT = 8  # so long a heading stays on one line


def short_names(names: Sequence[str]) -> dict[str, str]:
    """The shortest end of each name that no other name has.

    Example:
        >>> short_names(["training.epochs", "a.size", "b.size"])
        {'training.epochs': 'epochs', 'a.size': 'a.size', 'b.size': 'b.size'}
    """
    ends = {name: [".".join(name.split(".")[-n:]) for n in range(1, name.count(".") + 2)] for name in names}
    every = [end for each in ends.values() for end in each]
    return {name: next((end for end in each if every.count(end) == 1), name) for name, each in ends.items()}


def shown(value: Value | None) -> str:
    """A setting's value, a float with three digits.

    Example:
        >>> shown(0.0023308634), shown(16), shown("adam"), shown(None)
        ('0.00233', '16', 'adam', '')
    """
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


def settings_text(params: Mapping[str, Value], names: Mapping[str, str] | None = None) -> str:
    """Settings in one line.

    Args:
        params: Values by name.
        names: Short names; None: the shortest that tell `params` apart.

    Example:
        >>> settings_text({"training.learning_rate": 0.0023308634, "training.batch_size": 8})
        'learning_rate=0.00233 batch_size=8'
    """
    names = short_names(list(params)) if names is None else names
    return " ".join(f"{names[name]}={shown(value)}" for name, value in params.items())


@dataclass(frozen=True)
class Column:
    """A column of plain text, all of it of the same width.

    Attributes:
        name: In one line.
        heading: The name in lines that are no wider than the column.
        rows: One cell per row.
        width: In cells of the terminal.
    """

    name: str
    heading: tuple[str, ...]
    rows: tuple[str, ...]
    width: int


def column(name: str, cells: Sequence[str], align: Literal["left", "right", "point"] = "left") -> Column:
    """Lay out a column.

    Args:
        name: Of the column; broken into several lines where the cells are narrower.
        cells: One per row.
        align: `point` puts numbers with their decimal points under each other, and anything else to the left.

    Example:
        >>> column("learning_rate", ["0.5", "16", ""], "point").rows
        ('      0.5', '     16  ', '         ')
    """
    if align == "point":
        is_numeric = all(_is_number(cell) for cell in cells if cell)
        align = "right" if is_numeric else "left"
        cells = _with_points_in_line(cells) if is_numeric else cells
    pieces = re.findall(r"[^_. ]*[_. ]?", name) if len(name) > _SHORT else [name]
    width = max(cell_len(text) for text in [*(piece.rstrip() for piece in pieces), *cells])
    heading = [""]
    for piece in pieces:
        if heading[-1] and cell_len((heading[-1] + piece).rstrip()) > width:
            heading.append("")
        heading[-1] += piece

    def padded(text: str) -> str:
        room = " " * (width - cell_len(text))
        return room + text if align == "right" else text + room

    return Column(name, tuple(padded(line.rstrip()) for line in heading), tuple(map(padded, cells)), width)


def _with_points_in_line(cells: Sequence[str]) -> list[str]:
    parts = [re.fullmatch(r"([^.e]*)(.*)", cell) for cell in cells]
    after = max((len(part[2]) for part in parts if part), default=0)
    return [f"{part[1]}{part[2]:<{after}}" if part and part[0] else "" for part in parts]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def fitting(columns: Sequence[Column], width: int | None) -> list[int]:
    """Which columns have room beside each other, the first ones first.

    Args:
        columns: In the order in which they are wanted.
        width: Of the terminal; None for as many columns as there are.

    Returns:
        Their places in `columns`.
    """
    chosen, used = [], -_GAP
    for i, each in enumerate(columns):
        if width is None or used + _GAP + each.width <= width:
            chosen.append(i)
            used += _GAP + each.width
    return chosen


def table(columns: Sequence[Column]) -> list[Text]:
    """The lines of a table: the headings, bold, then the rows. They are never wrapped."""
    height = max((len(each.heading) for each in columns), default=0)
    heads = [(" " * each.width,) * (height - len(each.heading)) + each.heading for each in columns]
    return [_line(texts, "bold") for texts in zip(*heads, strict=True)] + [
        _line(texts) for texts in zip(*(each.rows for each in columns), strict=True)
    ]


def _line(texts: Sequence[str], style: str = "") -> Text:
    return Text((" " * _GAP).join(texts).rstrip(), style=style, no_wrap=True, overflow="ignore")
