"""Confusion matrix, ROC curve and reliability diagram as pictures.

Every picture is an RGB uint8 array `(height, width, 3)`; `png` makes a file's bytes of it. Colours are those of Okabe
and Ito (2008), which colour-blind readers tell apart.
"""

import functools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from drsearch.grades import CLASS_NAMES
from drsearch.measure.calibration import reliability
from drsearch.measure.curves import roc_curve

_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
_OF_MODELS = (_BLUE, _ORANGE, _GREEN)
_DPI = 120


def confusion_figure(confusion: ArrayLike, threshold: float, title: str) -> NDArray[np.uint8]:
    """The confusion matrix: counts, and shares of the true class.

    Args:
        confusion: Counts, shape `(2, 2)`, rows the true and columns the predicted class, each NRDR then RDR.
        threshold: An eye is called RDR from this probability on; printed above.
        title: Printed before it.
    """
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    scene = _confusion_scene()
    cells, *words = scene.moving
    cells.set_data(shares)
    for word, count, share in zip(words, counts.flat, shares.flat, strict=True):
        word.set(text=f"{count}\n{100 * share:.0f} %", color="white" if share > 0.5 else "black")
    return scene.drawn(f"{title}, threshold {threshold:.4g}")


def roc_figure(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> NDArray[np.uint8]:
    """The ROC curve, with the point at a threshold.

    Args:
        labels: 0 or 1, shape `(n,)`.
        probabilities: Of RDR, shape `(n,)`.
        threshold: An eye is called RDR from this probability on.

    Raises:
        MetricError: If a class is missing.
    """
    curve = roc_curve(labels, probabilities)
    called, truth = np.asarray(probabilities) >= threshold, np.asarray(labels) == 1
    scene = _roc_scene(f"threshold {threshold:.4g}")
    line, point = scene.moving
    line.set_data(curve.false_positive_rate, curve.true_positive_rate)
    point.set_data([called[~truth].mean()], [called[truth].mean()])
    return scene.drawn(f"AUC {curve.auc:.3f} on {truth.size} eyes")


def contest_roc_figure(labels: ArrayLike, models: Sequence[tuple[str, ArrayLike, float]]) -> NDArray[np.uint8]:
    """The ROC curves of models on the same eyes, each with the point at its own threshold.

    Args:
        labels: 0 or 1, shape `(n,)`.
        models: At most three: name, probabilities of RDR of shape `(n,)`, threshold.

    Raises:
        MetricError: If a class is missing.
    """
    truth = np.asarray(labels) == 1
    axes = _axes(4.6, 4.4, f"{truth.size} test eyes, points: own thresholds")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1)
    for (name, probabilities, threshold), colour in zip(models, _OF_MODELS, strict=False):
        curve, called = roc_curve(labels, probabilities), np.asarray(probabilities) >= threshold
        label = f"{name}, AUC {curve.auc:.3f}, at {threshold:.4g}"
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=colour, linewidth=2, label=label)
        axes.plot(called[~truth].mean(), called[truth].mean(), "o", color=colour, markersize=8, clip_on=False)
    _unit_square(axes)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity")
    axes.legend(loc="lower right", frameon=False)
    return _drawn(axes)


def folds_roc_figure(
    folds: Sequence[tuple[ArrayLike, ArrayLike]], point: tuple[float, float], title: str
) -> NDArray[np.uint8]:
    """The ROC curve of every fold, their mean at each specificity, and the point of the decisions.

    Args:
        folds: Labels and probabilities of RDR of each fold's eyes, of both classes.
        point: Specificity and sensitivity of the decisions, each network at its own threshold.
        title: Printed above.

    Source:
        Vertical averaging: Fawcett (2006), An introduction to ROC analysis, Pattern Recognition Letters 27, 861-874.
    """
    axes = _axes(4.6, 4.4, title)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1)
    grid = np.linspace(0, 1, 201)
    heights = []
    for labels, probabilities in folds:
        curve = roc_curve(labels, probabilities)
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=_BLUE, linewidth=0.7, alpha=0.35)
        heights.append(np.interp(grid, curve.false_positive_rate, curve.true_positive_rate))
    mean = np.concatenate([[0.0], np.mean(heights, axis=0)])
    axes.plot([0.0, *grid], mean, color=_BLUE, linewidth=2, label=f"mean of {len(heights)} folds")
    axes.plot(1 - point[0], point[1], "o", color=_ORANGE, markersize=8, clip_on=False, label="own thresholds")
    _unit_square(axes)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity")
    axes.legend(loc="lower right", frameon=False)
    return _drawn(axes)


def reliability_figure(labels: ArrayLike, models: Sequence[tuple[str, ArrayLike]]) -> NDArray[np.uint8]:
    """The reliability diagram: share of referable eyes against probability, in 10 bins; larger points have more eyes.

    Args:
        labels: 0 or 1, shape `(n,)`.
        models: At most three: name, probabilities of RDR of shape `(n,)`.
    """
    axes = _axes(4.6, 4.4, f"{np.asarray(labels).size} test eyes in 10 bins")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1)
    for (name, probabilities), colour in zip(models, _OF_MODELS, strict=False):
        chance, share, eyes = zip(*reliability(labels, probabilities), strict=True)
        axes.plot(chance, share, color=colour, linewidth=1, clip_on=False, label=name)
        axes.scatter(chance, share, s=20 + 10 * np.asarray(eyes), color=colour, alpha=0.6, clip_on=False)
    _unit_square(axes)
    axes.set(xlabel="probability of RDR", ylabel="share of RDR")
    axes.legend(loc="upper left", frameon=False)
    return _drawn(axes)


def search_figure(
    numbers: Sequence[int], values: Sequence[float], name: str, less_is_better: bool
) -> NDArray[np.uint8]:
    """The value of every trial of a study, and the best value so far.

    Args:
        numbers: Of the trials, ascending; at least one.
        values: Their values.
        name: Of the value.
        less_is_better: Whether the smallest is the best.
    """
    axes = _axes(6.4, 3.6, f"{name} of {len(values)} trials, and the best so far")
    best = (np.minimum if less_is_better else np.maximum).accumulate(values)
    axes.step(numbers, best, where="post", color=_ORANGE, linewidth=2)
    axes.plot(numbers, values, "o", color=_BLUE, markersize=6)
    axes.set(xlabel="trial", ylabel=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _drawn(axes)


def png(image: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file of an RGB picture, or of one in grey, shape `(height, width)`."""
    encoded, data = cv2.imencode(".png", image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert encoded
    return bytes(data)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """The bytes of a JPEG file of an RGB picture."""
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert encoded
    return bytes(data)


class _Scene:
    """Axes that are drawn once per process, and over them, picture by picture, the parts that differ.

    To draw axes, ticks and words anew is most of the time of a picture, and every trial ends with two.

    Args:
        axes: The parts that stay.
        moving: The parts that differ beside the title, to be changed in place.
    """

    def __init__(self, axes: Axes, *moving: Any) -> None:
        self.moving = moving
        self._axes = axes
        for artist in (axes.title, *moving):
            artist.set_animated(True)  # left out when the rest is drawn
        self._canvas = FigureCanvasAgg(axes.figure)
        self._canvas.draw()
        self._still = self._canvas.copy_from_bbox(axes.figure.bbox)

    def drawn(self, title: str) -> NDArray[np.uint8]:
        """The picture with the present state of the moving parts."""
        self._axes.title.set_text(title)
        self._canvas.restore_region(self._still)
        for artist in (self._axes.title, *self.moving):
            self._axes.draw_artist(artist)
        return _pixels(self._canvas)


@functools.cache
def _confusion_scene() -> _Scene:
    axes = _axes(4.2, 4.0, "")
    cells = axes.imshow(np.zeros((2, 2)), cmap="Blues", vmin=0, vmax=1)
    words = [axes.text(column, row, "", ha="center", va="center", fontsize=15) for row, column in np.ndindex(2, 2)]
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=CLASS_NAMES, yticklabels=CLASS_NAMES)
    axes.set(xlabel="predicted", ylabel="true")
    axes.spines[:].set_visible(False)
    return _Scene(axes, cells, *words)


@functools.lru_cache(maxsize=4)
def _roc_scene(point_label: str) -> _Scene:
    axes = _axes(4.2, 4.0, "")
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1, label="chance")
    (line,) = axes.plot([], [], color=_BLUE, linewidth=2, label="model")
    (point,) = axes.plot([], [], "o", color=_ORANGE, markersize=8, label=point_label, clip_on=False)
    _unit_square(axes)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity")
    axes.legend(loc="lower right", frameon=False)
    return _Scene(axes, line, point)


def _axes(width_inches: float, height_inches: float, title: str) -> Axes:
    # No pyplot: its figures live in a table of the process until closed, and trials run for days.
    figure = Figure(figsize=(width_inches, height_inches), dpi=_DPI)
    # All have tick labels of the same length. A layout that is searched for takes as long as the drawing, and a
    # title's place a fifth of it.
    figure.subplots_adjust(left=0.17, right=0.95, bottom=0.13, top=0.93)
    axes = figure.add_subplot()
    axes.set_title(title, y=1.0)
    return axes


def _unit_square(axes: Axes) -> None:
    """Both axes from 0 to 1."""
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], aspect="equal")


def _drawn(axes: Axes) -> NDArray[np.uint8]:
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    return _pixels(canvas)


def _pixels(canvas: FigureCanvasAgg) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
