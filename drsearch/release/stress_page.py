"""The chart of a model under stress, made with Plotly."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from drsearch.data.corruptions import CORRUPTIONS, Corruption
from drsearch.measure.scores import Interval
from drsearch.release.stress import Condition, Stress

_COLUMNS = 2  # as many as MLflow's pane has room for
_COLOURS = {"AUC": "#2a6fb0", "accuracy": "#d9822b", "calibration error": "#6b4fa0", "share graded": "#8a8a8a"}


def stress_page(result: Stress, title: str) -> bytes:
    """The chart as a page that holds Plotly itself (5 MB), as MLflow shows it.

    Args:
        result: The figures.
        title: Above the chart.
    """
    return str(stress_figure(result, title).to_html(include_plotlyjs=True)).encode()


def stress_figure(result: Stress, title: str) -> go.Figure:
    """AUC, accuracy, calibration error and share of graded photographs against strength, a panel per corruption.

    Args:
        result: The figures.
        title: Above the chart.
    """
    rows = -(-len(CORRUPTIONS) // _COLUMNS)
    titles = [f"{each.name}<br>{each.meaning}" for each in CORRUPTIONS]
    figure = make_subplots(rows, _COLUMNS, subplot_titles=titles, shared_yaxes=True, vertical_spacing=0.09)
    for place, corruption in enumerate(CORRUPTIONS):
        where = {"row": 1 + place // _COLUMNS, "col": 1 + place % _COLUMNS}
        conditions = _in_order(result, corruption)
        labels = ["as it is" if not each.corruption else f"{each.strength:g}{corruption.unit}" for each in conditions]
        for name, colour in _COLOURS.items():
            figure.add_trace(_line(name, colour, labels, conditions, show=place == 0), **where)
    figure.update_annotations(font_size=12)
    figure.update_yaxes(range=[0, 1.02])
    figure.update_xaxes(type="category")
    legend = {"orientation": "h", "x": 0, "y": 1.05, "yanchor": "bottom"}
    layout = {"template": "plotly_white", "height": 330 * rows, "margin": {"t": 150}, "legend": legend}
    return figure.update_layout(title={"text": title, "y": 0.98}, **layout)


def _in_order(result: Stress, corruption: Corruption) -> list[Condition]:
    """The photographs as they are, then from mild to severe; in their middle where there are two directions."""
    conditions = [result.undamaged, *result.of(corruption)]
    if min(corruption.strengths) < 0:
        conditions.sort(key=lambda condition: condition.strength)
    return conditions


def _line(name: str, colour: str, labels: list[str], conditions: list[Condition], show: bool) -> go.Scatter:
    values = [_interval(name, condition) for condition in conditions]
    return go.Scatter(
        name=name,
        legendgroup=name,
        showlegend=show,
        mode="lines+markers",
        line={"color": colour, "dash": "dot" if name == "share graded" else "solid"},
        x=labels,
        y=[value.value if value else None for value in values],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [value.high - value.value if value else 0 for value in values],
            "arrayminus": [value.value - value.low if value else 0 for value in values],
            "thickness": 1,
        },
    )


def _interval(name: str, condition: Condition) -> Interval | None:
    if name == "share graded":
        return Interval(condition.graded, condition.graded, condition.graded)
    return {"AUC": condition.auc, "accuracy": condition.accuracy, "calibration error": condition.ece}[name]
