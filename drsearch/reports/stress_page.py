"""The page of a model under stress: scores against the strength of every corruption."""

import plotly.graph_objects as go
from markupsafe import Markup

import drsearch
from drsearch.data.corruptions import CORRUPTIONS, Corruption
from drsearch.measure.scores import Interval
from drsearch.release.stress import Condition, Stress
from drsearch.reports.page import Section, beside, figure, points, render, statements, table
from drsearch.study.chart_style import BLUE, GREY, ORANGE, PURPLE

_COLOURS = {"AUC": BLUE, "accuracy": ORANGE, "calibration error": PURPLE, "share graded": GREY}


def stress_page(result: Stress, model: str, data: str) -> str:
    """The page, HTML.

    Args:
        result: The figures.
        model: The version.
        data: Name of the data set.
    """
    facts = [
        ("Data", data),
        ("Split", result.split),
        ("Threshold", f"{result.threshold:.4g}"),
        *([("Test evaluations of these eyes", str(result.test_evaluations))] if result.test_evaluations else []),
    ]
    sections = [
        Section("The answer", [statements(f"{result.text}.")]),
        Section("From mild to severe", [beside(*(_chart(result, each) for each in CORRUPTIONS))]),
        Section("All conditions", [_numbers(result)]),
        Section(
            "How to read it",
            [
                points(
                    "Every condition is applied to the photographs as they come from the camera; a change is paired "
                    "with the same photographs as they are. Intervals are 95 %.",
                    "Calibration error: the mean distance between the probability that the model gives and the share "
                    "of referable eyes; less is better.",
                    "Graded: photographs to which predict gives a grade. The others are of too low a quality, or show "
                    "no retina any more; the scores count all that show one.",
                )
            ],
        ),
    ]
    foot = f"Holds no photograph. drsearch {drsearch.__version__}."
    return render("Photographs made worse", model, facts, sections, foot)


def corruption_figure(result: Stress, corruption: Corruption) -> go.Figure:
    """AUC, accuracy, calibration error and share of graded photographs against the strength of a corruption.

    Args:
        result: The figures.
        corruption: The corruption.
    """
    conditions = [result.undamaged, *result.of(corruption)]
    if min(corruption.strengths) < 0:  # two directions: as they are in the middle
        conditions.sort(key=lambda condition: condition.strength)
    labels = ["as it is" if not each.corruption else f"{each.strength:g}{corruption.unit}" for each in conditions]
    chart = go.Figure([_line(name, labels, conditions) for name in _COLOURS])
    chart.update_layout(height=340, yaxis={"range": [-0.02, 1.02]})
    return chart.update_xaxes(type="category")


def _chart(result: Stress, corruption: Corruption) -> Markup:
    areas = "; ".join(f"{each.label}: {each.auc}" for each in (result.undamaged, *result.of(corruption)))
    return figure(corruption_figure(result, corruption), f"AUC, {areas}", f"{corruption.name}: {corruption.meaning}.")


def _line(name: str, labels: list[str], conditions: list[Condition]) -> go.Scatter:
    values = [_interval(name, condition) for condition in conditions]
    return go.Scatter(
        name=name,
        mode="lines+markers",
        line={"color": _COLOURS[name], "dash": "dot" if name == "share graded" else "solid"},
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


def _numbers(result: Stress) -> Markup:
    rows = [
        (
            each.label,
            str(each.auc or ""),
            f"{each.auc_change:+.3f}" if each.auc_change else "",
            str(each.accuracy or ""),
            str(each.ece or ""),
            f"{each.graded:.0%}",
        )
        for each in (result.undamaged, *result.conditions)
    ]
    return table(("photographs", "AUC", "change", "accuracy", "calibration error", "graded"), rows)
