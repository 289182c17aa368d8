"""The Plotly figures of a report that a study's own pages do not have: the data, the best model, learning curves."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from drsearch.grades import CLASS_NAMES, GRADES
from drsearch.measure.calibration import reliability
from drsearch.measure.curves import Band
from drsearch.measure.patients import patient_groups
from drsearch.measure.predictive_values import PredictiveValues
from drsearch.measure.scores import CHANCE, Interval
from drsearch.release.eye_answers import EyeAnswer
from drsearch.reports.study_facts import Curve
from drsearch.study.chart_style import BLUE, GREEN, GREY, ORANGE, of_trial
from drsearch.training.objective import Objective

_WASH = "rgba(40, 120, 189, 0.18)"
_ORANGE_WASH = "rgba(217, 99, 15, 0.16)"
_COOL, _WARM = ("#a9cbea", "#6fa8dc", "#3d7fc0", "#2a5d94"), ("#f3c169", "#ea9a3e", "#d9630f", "#a8430a")
_DASHED = {"color": GREY, "width": 1.5, "dash": "dot"}
_PAIR_PX = 400  # height of figures beside each other
_DRAWN_EYES = 1000  # at most, of a kind: more points cannot be told apart, and a larger page opens slowly
_SHARE = {"range": [-0.01, 1.01], "tickformat": ".0%"}


def grades_per_split(counts: Mapping[str, Mapping[str, Mapping[str, int]]], referable_from: int) -> go.Figure:
    """How many photographs of each grade the splits have: referable grades in warm colours.

    Args:
        counts: Of the manifest.
        referable_from: The first referable grade.
    """
    colours = [*_COOL[:referable_from], *_WARM[: len(GRADES) - referable_from]]
    splits = list(counts)
    bars = [
        go.Bar(
            name=f"grade {grade}",
            y=splits,
            x=[counts[split]["grades"][str(grade)] for split in splits],
            orientation="h",
            marker_color=colours[grade],
            hovertemplate="%{y}: %{x} photographs<extra>grade " + str(grade) + "</extra>",
        )
        for grade in GRADES
    ]
    figure = go.Figure(bars).update_layout(barmode="stack", height=260, legend_traceorder="normal")
    return figure.update_yaxes(autorange="reversed").update_xaxes(title="photographs")


def quality_histogram(quality: Sequence[int]) -> go.Figure:
    """How many photographs have each quality.

    Args:
        quality: Counts from 0 to 1, in steps of equal width.
    """
    width = 1 / len(quality)
    places = [(i + 0.5) * width for i in range(len(quality))]
    bars = go.Bar(x=places, y=list(quality), width=0.9 * width, marker_color=BLUE, name="photographs")
    return go.Figure(bars).update_layout(
        height=260, xaxis={"title": "quality, 0 (worst) to 1", "range": [0, 1]}, yaxis_title="photographs"
    )


def learning_curves(curves: Mapping[int, Curve], pruned: set[int], best: int | None, objective: Objective) -> go.Figure:
    """The objective in each epoch of trials: the best trial thick, pruned ones dashed up to where they ended.

    Args:
        curves: By trial.
        pruned: Numbers of the pruned trials.
        best: Number of the best trial.
        objective: What the values are.
    """
    figure = go.Figure()
    for number in sorted(curves, key=lambda number: (number == best, number not in pruned)):
        kind = "best trial" if number == best else "pruned" if number in pruned else "other good trials"
        line = {
            "best trial": {"color": ORANGE, "width": 3.5},
            "pruned": {"color": GREY, "width": 1.5, "dash": "dot"},
            "other good trials": {"color": BLUE, "width": 2},
        }[kind]
        epochs, values = zip(*curves[number], strict=True)
        figure.add_trace(
            go.Scatter(
                x=epochs,
                y=values,
                mode="lines+markers" if len(epochs) == 1 else "lines",
                line=line,
                name=kind,
                legendgroup=kind,
                showlegend=kind not in {trace.name for trace in figure.data},
                meta=of_trial(number),
                hovertemplate=f"trial {number}, epoch %{{x}}<br>{objective.name} %{{y:.4f}}<extra></extra>",
            )
        )
    return figure.update_layout(xaxis_title="epoch", yaxis_title=objective.label)


def training_curves(curves: Mapping[str, Curve], metric: str, unit: str) -> go.Figure:
    """A metric of train and validation eyes in each epoch; of several networks all.

    Args:
        curves: By metric: `train_auc`, `val_auc`, or of a fold `fold2/val_auc`.
        metric: `loss` or `auc`.
        unit: On the axis.
    """
    figure = go.Figure()
    for split, name, colour in (("train", "train eyes", GREY), ("val", "validation eyes", BLUE)):
        for key, curve in curves.items():
            if not curve or key.rpartition("/")[2] != f"{split}_{metric}":
                continue
            epochs, values = zip(*curve, strict=True)
            figure.add_trace(
                go.Scatter(
                    x=epochs,
                    y=values,
                    mode="lines",
                    line={"color": colour, "width": 2},
                    name=name,
                    legendgroup=name,
                    showlegend=name not in {trace.name for trace in figure.data},
                    hovertemplate="epoch %{x}: %{y:.4f}<extra>" + (key.rpartition("/")[0] or name) + "</extra>",
                )
            )
    return figure.update_layout(xaxis_title="epoch", yaxis_title=unit, height=320)


def confusion(counts: Sequence[Sequence[int]]) -> go.Figure:
    """The confusion matrix: counts, and shares of the true class.

    Args:
        counts: Rows the true and columns the predicted class, each NRDR then RDR.
    """
    table = np.asarray(counts)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    cells = go.Heatmap(
        z=shares,
        x=[f"called {name}" for name in CLASS_NAMES],
        y=[f"is {name}" for name in CLASS_NAMES],
        zmin=0,
        zmax=1,
        colorscale="Blues",
        showscale=False,
        xgap=4,
        ygap=4,
        text=[
            [f"{n}<br>{100 * share:.0f} %" for n, share in zip(*rows, strict=True)]
            for rows in zip(table, shares, strict=True)
        ],
        texttemplate="%{text}",
        textfont_size=18,
        hoverinfo="skip",
    )
    figure = go.Figure(cells).update_layout(height=_PAIR_PX, margin_t=36)
    return figure.update_yaxes(autorange="reversed", showgrid=False).update_xaxes(showgrid=False, side="bottom")


def roc(answers: Sequence[EyeAnswer], threshold: float, band: Band) -> go.Figure:
    """The ROC curve with its 95 % band, and the point at a threshold.

    Args:
        answers: Of eyes of both classes.
        threshold: An eye is called RDR from this probability on.
        band: From `curve_bands`.
    """
    labels, probabilities, _ = arrays(answers)
    called, truth = probabilities >= threshold, labels == 1
    point = (float(called[~truth].mean()), float(called[truth].mean()))
    figure = _banded(band, "model")
    figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=_DASHED, name="chance", hoverinfo="skip"))
    return _unit_square(_with_point(figure, point, threshold), "1 − specificity", "sensitivity", ("right", "bottom"))


def precision_recall(answers: Sequence[EyeAnswer], threshold: float, band: Band) -> go.Figure:
    """Precision against sensitivity with its 95 % band, and the point at a threshold.

    Args:
        answers: Of eyes of both classes.
        threshold: An eye is called RDR from this probability on.
        band: From `curve_bands`.
    """
    labels, probabilities, _ = arrays(answers)
    share = float(labels.mean())
    called, truth = probabilities >= threshold, labels == 1
    figure = _banded(band, "model")
    name = "calling every eye RDR"
    figure.add_trace(go.Scatter(x=[0, 1], y=[share, share], mode="lines", line=_DASHED, name=name, hoverinfo="skip"))
    if called.any():
        figure = _with_point(figure, (float(called[truth].mean()), float(truth[called].mean())), threshold)
    return _unit_square(figure, "sensitivity (recall)", "PPV among these eyes (precision)", ("left", "bottom"))


def calibration(answers: Sequence[EyeAnswer]) -> go.Figure:
    """The share of referable eyes against the probability that the model gave, in 10 bins.

    Args:
        answers: Of eyes.
    """
    labels, probabilities, _ = arrays(answers)
    chance, share, eyes = zip(*reliability(labels, probabilities), strict=True)
    figure = go.Figure(
        [
            go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=_DASHED, name="as it should be", hoverinfo="skip"),
            go.Scatter(
                x=chance,
                y=share,
                mode="lines+markers",
                line={"color": BLUE, "width": 2},
                marker={"size": [7 + 3 * n**0.5 for n in eyes], "opacity": 0.75, "line": {"width": 0}},
                customdata=eyes,
                name="model",
                hovertemplate="said %{x:.2f}, is %{y:.2f}<br>%{customdata} eyes<extra></extra>",
            ),
        ]
    )
    return _unit_square(
        figure, "probability of RDR that the model gives", "share of RDR among these eyes", ("left", "top")
    )


def probabilities_by_grade(answers: Sequence[EyeAnswer], threshold: float) -> go.Figure:
    """The probability of every eye, by its grade; eyes with the wrong class stand out.

    Of each kind at most 1,000 are drawn, by chance: the legend says of how many.

    Args:
        answers: Of eyes.
        threshold: An eye is called RDR from this probability on.
    """
    random, figure = np.random.default_rng(0), go.Figure()
    for name, colour, symbol, some in (
        ("right", BLUE, "circle", [answer for answer in answers if answer.is_right]),
        ("wrong", ORANGE, "x", [answer for answer in answers if not answer.is_right]),
    ):
        n = len(some)
        if n > _DRAWN_EYES:
            some = [some[i] for i in np.sort(random.choice(n, _DRAWN_EYES, replace=False))]
            name = f"{name} ({_DRAWN_EYES:,} of {n:,})"
        figure.add_trace(
            go.Scatter(
                x=[answer.grade + 0.6 * (random.random() - 0.5) for answer in some],
                y=[answer.probability for answer in some],
                text=[answer.eye for answer in some],
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 7, "opacity": 0.8},
                name=name,
                hovertemplate="%{text}: %{y:.3f}<extra></extra>",
            )
        )
    figure.add_hline(y=threshold, line=_DASHED)
    figure.update_layout(height=_PAIR_PX, yaxis={"title": "probability of RDR", "range": [-0.02, 1.02]})
    return figure.update_xaxes(title="grade", tickvals=list(GRADES), range=[-0.5, 4.5], showgrid=False)


def other_thresholds(answers: Sequence[EyeAnswer], threshold: float) -> go.Figure:
    """Sensitivity and specificity at every threshold.

    Args:
        answers: Of eyes of both classes.
        threshold: The model's own, which is marked.
    """
    labels, probabilities, _ = arrays(answers)
    steps = np.unique(probabilities)
    if len(steps) > _DRAWN_EYES:
        steps = np.quantile(steps, np.linspace(0, 1, _DRAWN_EYES), method="nearest")
    grid = np.unique(np.concatenate([np.linspace(0, 1, 201), steps]))
    below = [
        np.searchsorted(np.sort(some), grid) / len(some)
        for some in (probabilities[labels == 1], probabilities[labels == 0])
    ]
    figure = go.Figure(
        [
            go.Scatter(x=grid, y=1 - below[0], name="sensitivity", line={"color": BLUE, "width": 2}),
            go.Scatter(x=grid, y=below[1], name="specificity", line={"color": ORANGE, "width": 2}),
        ]
    )
    figure.update_traces(mode="lines", hovertemplate="%{y:.0%} at %{x:.3f}")
    figure.add_vline(x=threshold, line=_DASHED)
    figure.update_layout(height=_PAIR_PX, hovermode="x unified", yaxis={"title": "share of eyes", **_SHARE})
    return figure.update_xaxes(title="threshold (probability of RDR)", range=[0, 1])


def intervals(rows: Sequence[tuple[str, Interval, bool]], axis: str, reference: float | None = None) -> go.Figure:
    """Values with their 95 % intervals, one below the other.

    Args:
        rows: Name, value, and whether it stands out.
        axis: Title of the axis.
        reference: Where a dotted line stands.
    """
    values = [interval for _, interval, _ in rows]
    colours = [ORANGE if stands_out else BLUE for *_, stands_out in rows]
    figure = go.Figure()
    for (name, interval, _), colour in zip(rows, colours, strict=True):
        figure.add_trace(
            go.Scatter(
                x=[interval.value],
                y=[name],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [max(0.0, interval.high - interval.value)],
                    "arrayminus": [max(0.0, interval.value - interval.low)],
                    "thickness": 2.5,
                    "width": 0,
                    "color": colour,
                },
                mode="markers",
                marker={"color": colour, "size": 11},
                hovertemplate=f"{name}: {interval}<extra></extra>",
                showlegend=False,
            )
        )
    if reference is not None:
        figure.add_vline(x=reference, line=_DASHED)
    low = min(*(value.low for value in values), reference if reference is not None else 1.0)
    figure.update_xaxes(title=axis, range=[max(-0.02, low - 0.05), 1.02])
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    return figure.update_layout(height=90 + 46 * len(rows), margin={"t": 12})


def auc_beside(rows: Sequence[tuple[str, Interval, bool]]) -> go.Figure:
    """AUCs with their intervals, and chance.

    Args:
        rows: As for `intervals`.
    """
    return intervals(rows, "AUC on the test eyes", CHANCE)


def predictive_value_curves(at: Sequence[PredictiveValues], start: PredictiveValues) -> go.Figure:
    """PPV and NPV against prevalence, with their 95 % bands; the first shape is a line at the chosen prevalence.

    Args:
        at: Both at every prevalence of the slider.
        start: Both where the slider stands first.
    """
    figure, x = go.Figure(), [each.prevalence for each in at]
    for name, of, colour, wash in (
        ("NPV", [each.negative for each in at], GREEN, "rgba(26, 154, 120, 0.16)"),
        ("PPV", [each.positive for each in at], ORANGE, _ORANGE_WASH),
    ):
        band = Band(*(np.array(values) for values in (x, *zip(*((v.value, v.low, v.high) for v in of), strict=True))))
        figure.add_traces(_band_traces(band, name, colour, wash))
    figure.add_vline(x=start.prevalence, line={"color": GREY, "width": 2})
    figure.update_layout(height=320, hovermode="x unified", yaxis={"title": "share", **_SHARE})
    return figure.update_xaxes(title="prevalence: share of referable eyes", tickformat=".0%", range=[0, x[-1]])


def arrays(
    answers: Sequence[EyeAnswer],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64] | None]:
    """Labels, probabilities and patients, as `curve_bands` takes them.

    Args:
        answers: Of eyes.
    """
    groups = patient_groups(tuple(answer.patient for answer in answers))
    labels = np.array([answer.label for answer in answers])
    return labels, np.array([answer.probability for answer in answers]), groups


def _banded(band: Band, name: str) -> go.Figure:
    return go.Figure(_band_traces(band, name, BLUE, _WASH))


def _band_traces(band: Band, name: str, colour: str, wash: str) -> list[go.Scatter]:
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": name}
    return [
        go.Scatter(x=band.x, y=band.low, showlegend=False, **edge),
        go.Scatter(x=band.x, y=band.high, fill="tonexty", fillcolor=wash, showlegend=False, **edge),
        go.Scatter(
            x=band.x,
            y=band.y,
            mode="lines",
            line={"color": colour, "width": 2.5},
            name=name,
            legendgroup=name,
            hovertemplate="%{y:.3f} at %{x:.3f}",
        ),
    ]


def _with_point(figure: go.Figure, point: tuple[float, float], threshold: float) -> go.Figure:
    return figure.add_trace(
        go.Scatter(
            x=[point[0]],
            y=[point[1]],
            mode="markers",
            marker={"color": ORANGE, "size": 12, "line": {"color": "white", "width": 1.5}},
            name=f"threshold {threshold:.3f}",
            hovertemplate="%{y:.3f} at %{x:.3f}",
        )
    )


def _unit_square(figure: go.Figure, across: str, up: str, legend: tuple[str, str]) -> go.Figure:
    """A figure of two shares, with its legend in a corner: `right` or `left`, `top` or `bottom`."""
    side, end = legend
    x, y = 0.98 if side == "right" else 0.02, 0.98 if end == "top" else 0.02
    figure.update_layout(height=_PAIR_PX, margin_t=16)
    figure.update_layout(legend={"orientation": "v", "x": x, "y": y, "xanchor": side, "yanchor": end})
    figure.update_yaxes(title=up, range=[-0.01, 1.01])
    return figure.update_xaxes(title=across, range=[-0.01, 1.01])
