"""One self-contained HTML page: sections, tables, pictures, and Plotly figures that share one copy of Plotly.

A page loads nothing: its style, its script, its pictures and Plotly itself are in the file. Plotly is stored compressed
(2 MB instead of 4.8) and unpacked by the browser. A page follows the reader's light or dark scheme, and prints.

Figures are linked by trial: a trial that is chosen in one figure, or in a table, is marked in all of them. How a trace
takes part is said in `study/chart_style.py`.
"""

import base64
import functools
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.io import to_json
from plotly.offline import get_plotlyjs

from drsearch.study.chart_style import BLUE, GREEN, GREY, ORANGE, PURPLE

_WITHOUT_FRAME = {"showline": False, "zeroline": False, "ticks": "", "automargin": True, "title": {"standoff": 8}}
_TEMPLATE = {
    "layout": {
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": [BLUE, ORANGE, GREEN, PURPLE, GREY],
        "xaxis": _WITHOUT_FRAME,
        "yaxis": _WITHOUT_FRAME,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)"},
        "margin": {"l": 56, "r": 16, "t": 36, "b": 48},
        "hoverlabel": {"align": "left"},
        "coloraxis": {"colorbar": {"thickness": 12, "outlinewidth": 0}},
    }
}


@dataclass(frozen=True)
class Picture:
    """A picture of a page.

    Attributes:
        content: The file, JPEG or PNG.
        alt: What it shows, for readers who cannot see it.
        caption: Below it.
        note: A second line of the caption, dimmed.
    """

    content: bytes
    alt: str
    caption: str = ""
    note: str = ""

    @property
    def uri(self) -> str:
        """The picture as an address that holds its content."""
        kind = "png" if self.content.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class Section:
    """A section of a page, with its entry in the table of contents.

    Attributes:
        title: Its heading.
        parts: What the functions of this module give, in order.
    """

    title: str
    parts: Sequence[Markup]

    @property
    def anchor(self) -> str:
        """The name by which links reach it.

        Example:
            >>> Section("The best model", []).anchor
            'the-best-model'
        """
        return "-".join("".join(letter if letter.isalnum() else " " for letter in self.title.lower()).split())


def text(*paragraphs: str) -> Markup:
    """Paragraphs; text that is `Markup` is taken as HTML."""
    return _part("text", paragraphs)


def heading(title: str) -> Markup:
    """A heading within a section."""
    return _part("heading", title)


def points(*items: str) -> Markup:
    """A list of points."""
    return _part("points", items)


def notice(content: str) -> Markup:
    """A sentence that nobody should miss."""
    return _part("notice", content)


def statements(*lines: str) -> Markup:
    """The few lines for which the page was opened, large."""
    return _part("statements", lines)


def tiles(values: Sequence[tuple[str, str, str]]) -> Markup:
    """Large figures side by side.

    Args:
        values: Name, value and what stands below it.
    """
    return _part("tiles", values)


def commands(lines: str) -> Markup:
    """Lines for a terminal."""
    return _part("commands", lines)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", trials: Sequence[int] | None = None
) -> Markup:
    """A table; columns of numbers are aligned to the right.

    Args:
        columns: Their heads.
        rows: Texts, one per column.
        caption: Above it.
        trials: The trial of each row, which a click on its first cell marks on the whole page.
    """
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
    return _part("table", columns, rows, caption, trials, numeric)


def figure(chart: go.Figure, alt: str, caption: str = "", name: str = "") -> Markup:
    """A Plotly figure.

    Args:
        chart: The figure; its title is left out, since the caption says what it shows.
        alt: What it shows and its most important numbers, for readers who cannot see it.
        caption: Below it.
        name: By which scripts find it.
    """
    drawn = chart.to_plotly_json()
    layout = {name: value for name, value in drawn["layout"].items() if name not in ("template", "title", "width")}
    if (
        len({trace.get("legendgroup") or trace.get("name") for trace in drawn["data"] if trace.get("showlegend", True)})
        < 2
    ):
        layout |= {"showlegend": False, "margin": {"t": 12, **layout.get("margin", {})}}
    data = to_json({"data": drawn["data"], "layout": layout}, validate=False)
    return _part("figure", _json(data), int(layout.get("height", 380)), alt, caption, name)


def beside(*parts: Markup) -> Markup:
    """Parts next to each other where the page is wide enough."""
    return _part("beside", parts)


def pictures(shown: Sequence[Picture], width_px: int = 180) -> Markup:
    """Pictures in rows.

    Args:
        shown: The pictures.
        width_px: Of each, at least.
    """
    return _part("pictures", shown, width_px)


def folded(summary: str, *parts: Markup) -> Markup:
    """Parts that a click on a summary opens; print shows them."""
    return _part("folded", summary, parts)


def slider(
    name: str, label: str, rows: Sequence[Mapping[str, Any]], start: int, sentence: str, chart: Markup
) -> Markup:
    """Texts that a reader chooses among with a slider.

    Args:
        name: Of the slider.
        label: Of the slider.
        rows: The texts of each position by name; `position` is the label of the slider, and `x` where the vertical
            line of the chart stands.
        start: The position at first, from 0.
        sentence: HTML in which `<output data-row="NAME">` shows the text NAME.
        chart: A `figure` with a vertical line as its first shape; empty for none.
    """
    return _part("slider", name, label, _json(json.dumps(rows)), rows, start, Markup(sentence), chart)


def render(
    kind: str,
    title: str,
    facts: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    foot: str,
    trials: Mapping[int, str] | None = None,
) -> str:
    """The page.

    Args:
        kind: Of page, above the title: `Study report`.
        title: The heading.
        facts: Names and values below the heading.
        sections: The sections.
        foot: The last lines: who may see it, what made it.
        trials: What the page says of each trial when it is chosen, by number.

    Returns:
        HTML.
    """
    return _environment().get_template("page.html").render(
        kind=kind,
        title=title,
        facts=facts,
        sections=sections,
        foot=foot,
        trials=_json(json.dumps(trials or {})),
        template=_json(json.dumps(_TEMPLATE)),
        plotly=_packed_plotly(),
    )  # fmt: skip


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("drsearch.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _part(name: str, *values: Any) -> Markup:
    """What a macro of `parts.html` makes."""
    return Markup(getattr(_environment().get_template("parts.html").module, name)(*values))


@functools.cache
def _packed_plotly() -> Markup:
    packed = gzip.compress(get_plotlyjs().encode(), mtime=0)
    return Markup(base64.b64encode(packed).decode())


def _json(data: str) -> Markup:
    """JSON that can stand in a script element."""
    return Markup(data.replace("<", "\\u003c"))


def _is_number(cell: str) -> bool:
    """Whether a cell is a number, alone or with its interval or unit; an empty cell may be."""
    first = cell.split()[0].rstrip("%").replace(",", "") if cell.strip() else "0"
    try:
        return not math.isnan(float(first))
    except ValueError:
        return first in ("-", "–")
