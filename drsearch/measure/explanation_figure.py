"""The chart of what a model looks at."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from drsearch.measure.figures import _BLUE, _DPI, _GREEN, _GREY, _ORANGE, _drawn
from drsearch.measure.scores import Interval


def explanation_figure(
    rows: Sequence[tuple[str, Interval, Interval, float | None]],
    curves: Mapping[str, Sequence[float]],
    randomised: Sequence[tuple[float, Interval]],
) -> NDArray[np.uint8]:
    """Hits and heat with their intervals and chance, deletion and insertion curves, and the test by random weights.

    Args:
        rows: Name, share of hits, share of heat, and both by chance if that is known; at least one.
        curves: `share`, `deletion`, `insertion`, `deletion_other` and `insertion_other`, all of one length.
        randomised: Share of the layers with random weights, and the rank correlation of maps.

    Returns:
        RGB, uint8, shape `(height, width, 3)`.
    """
    figure = Figure(figsize=(11.5, 1.6 + 0.34 * max(len(rows), 8)), dpi=_DPI, layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.9, 1.2, 1])
    _draw_rows(left, rows)
    share = curves["share"]
    for name, colour in (("deletion", _ORANGE), ("insertion", _BLUE)):
        middle.plot(share, curves[name], color=colour, linewidth=2, label=name)
        middle.plot(share, curves[f"{name}_other"], color=colour, linestyle=":", label=f"{name}, another eye's map")
    middle.set(xlabel="share of the retina, strongest first", ylabel="probability of RDR", xlim=(0, 1), ylim=(0, 1))
    middle.legend(frameon=False, fontsize=8)
    places = [layers for layers, _ in randomised]
    _bars(right, places, [interval for _, interval in randomised], _GREEN, vertical=True)
    right.axhline(0, color=_GREY, linestyle=":", linewidth=1)
    right.set(xlabel="share of random layers", ylabel="rank correlation of maps", ylim=(-1, 1))
    return _drawn(left)


def _draw_rows(axes: Axes, rows: Sequence[tuple[str, Interval, Interval, float | None]]) -> None:
    places = np.arange(len(rows))[::-1].astype(float)
    _bars(axes, list(places + 0.14), [row[1] for row in rows], _BLUE, label="peak in it")
    _bars(axes, list(places - 0.14), [row[2] for row in rows], _ORANGE, label="share of heat")
    known = [(chance, place) for (*_, chance), place in zip(rows, places, strict=True) if chance is not None]
    axes.plot(*zip(*known, strict=True), "|", color=_GREY, markersize=16, label="chance: share of the retina")
    axes.set(yticks=places, yticklabels=[row[0] for row in rows], xlim=(0, 1), xlabel="share")
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _bars(
    axes: Axes,
    places: Sequence[float],
    intervals: Sequence[Interval],
    colour: str,
    label: str = "",
    vertical: bool = False,
) -> None:
    """Points with their intervals."""
    values = [each.value for each in intervals]
    errors = np.maximum([[each.value - each.low, each.high - each.value] for each in intervals], 0).T
    x, y, x_errors, y_errors = (places, values, None, errors) if vertical else (values, places, errors, None)
    axes.errorbar(x, y, xerr=x_errors, yerr=y_errors, fmt="o", color=colour, markersize=5, capsize=3, label=label)
