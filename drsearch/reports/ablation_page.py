"""The page of an ablation: what each choice of a study's best setting is worth."""

import plotly.graph_objects as go

import drsearch
from drsearch.release.ablation import AblationReport, ablation_cells, ablation_columns
from drsearch.reports.page import Section, figure, points, render, statements, table
from drsearch.reports.words import short
from drsearch.study.chart_style import BLUE, GREY, ORANGE


def ablation_page(report: AblationReport) -> str:
    """The page, HTML.

    Args:
        report: What the ablation came to.
    """
    alt = "; ".join(f"{row.choice.name}: {row.gain:+.3f}" for row in report.rows if row.gain)
    caption = "What each choice is worth, with its 95 % interval over folds and seeds: blue helps, orange harms."
    sections = [
        Section(
            "The answer",
            [
                statements(f"{report.about[0].upper()}{report.about[1:]}."),
                figure(ablation_figure(report), alt, caption),
            ],
        ),
        Section("Numbers", [table(ablation_columns(report), [ablation_cells(row) for row in report.rows])]),
        Section(
            "How to read it",
            [
                points(
                    "Each row compares the best setting with the same setting, where this choice alone is put back to "
                    "its default, on the same folds with the same seeds. Above 0 the choice helps.",
                    "Of rows that are not shown to help, nothing follows but that these eyes do not show it.",
                )
            ],
        ),
    ]
    facts = [
        ("Study", report.study),
        ("Trial", str(report.trial)),
        ("Folds", str(report.folds)),
        ("Repeats", str(report.repeats)),
    ]
    return render("Ablation", report.name, facts, sections, f"Holds no photograph. drsearch {drsearch.__version__}.")


def ablation_figure(report: AblationReport) -> go.Figure:
    """A bar per choice: what it is worth, with its interval; the most worth on top.

    Args:
        report: What the ablation came to.
    """
    rows = [row for row in report.rows if row.gain is not None][::-1]
    gains = [row.gain for row in rows if row.gain is not None]
    chart = go.Figure(
        go.Bar(
            orientation="h",
            y=[f"{row.choice.name}<br>{short(row.choice.value)}, not {short(row.choice.default)}" for row in rows],
            x=[gain.value for gain in gains],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [gain.high - gain.value for gain in gains],
                "arrayminus": [gain.value - gain.low for gain in gains],
                "color": GREY,
            },
            marker_color=[BLUE if gain.low > 0 else ORANGE if gain.high < 0 else GREY for gain in gains],
            text=[format(gain, "+.3f") for gain in gains],
            textposition="none",
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    chart.update_layout(height=100 + 60 * len(rows), title=report.about)
    chart.update_yaxes(automargin=True)
    return chart.update_xaxes(title=f"gain in {report.objective}", zeroline=True)
