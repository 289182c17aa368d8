"""Where text for people goes: consoles, lines, bars, and tables of scores."""

import importlib.util
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from drsearch.measure.scores import Interval, OneClassScores, Scores
    from drsearch.release.evaluate import Evaluation

LINE_EVERY_S = 15.0
"""Least pause between two lines that say how far a command is."""

_FILE_WIDTH = 120  # a file or a pipe has no width, and Rich's default of 80 columns cuts names short


def terminal(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console for people.

    Args:
        stderr: Write to standard error instead of standard output.
        quiet: Write nothing.
    """
    out = Console(stderr=stderr, quiet=quiet, highlight=False)
    if not out.is_terminal and not out.is_jupyter:
        out.width = _FILE_WIDTH
    return out


def is_live(out: Console) -> bool:
    """Whether text that was written can be written over: on a terminal, and in a notebook with ipywidgets."""
    if out.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    return out.is_terminal


def liner(out: Console) -> Callable[[str], None]:
    """A function that prints one line per call, however long: a line break would look like another message."""
    return lambda text: out.print(text, soft_wrap=True, markup=False)


def print_lines(out: Console, lines: Iterable[Text]) -> None:
    """Print the lines of a table whole, however wide, and wrap text at words."""
    with out:  # one output in a notebook
        for (no_wrap, overflow), alike in groupby(lines, lambda line: (line.no_wrap, line.overflow)):
            out.print(Text("\n").join(alike), crop=False, no_wrap=no_wrap, overflow=overflow)


@contextmanager
def counting(out: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work of known length, how many a second and the time left; plain lines where none can be written over.

    Args:
        out: Where to.
        what: What is counted, for example `photographs`.

    Yields:
        A function that takes how many are done, and of how many.
    """
    if not is_live(out):
        yield _CountLines(out, what)
        return
    from rich.progress import Progress, ProgressColumn, Task

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else _often(task.speed), style="progress.data.speed")

    columns = (*Progress.get_default_columns(), Rate())
    with Progress(*columns, console=out, transient=True, disable=out.quiet) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _CountLines:
    """Plain lines: how much is done, how many a second, and the time left, from `LINE_EVERY_S` on."""

    def __init__(self, out: Console, what: str) -> None:
        self._say, self._what = liner(out), what
        self._began = self._last = time.monotonic()
        self._before: int | None = None  # done by an earlier command

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._before is None:
            self._before = done if done > 1 else 0
            if self._before:
                self._began = now
        if self._before < done < total and now - self._last >= LINE_EVERY_S:
            self._last = now
            rate = (done - self._before) / max(1e-9, now - self._began)
            left = duration((total - done) / rate)
            self._say(f"{self._what}: {done:,} of {total:,}, {_often(rate)}, about {left} left")


def _often(rate: float) -> str:
    return f"{rate:,.0f} a second" if rate >= 10 else f"{rate:.2g} a second"


def duration(seconds: float) -> str:
    """Hours, minutes, seconds, as far as they matter.

    Example:
        >>> duration(59), duration(150), duration(7260), duration(float("nan"))
        ('59 s', '2 min 30 s', '2 h 01 min', '?')
    """
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else (f"{minutes} min {rest:02d} s" if minutes else f"{rest} s")


@contextmanager
def working(out: Console, what: str) -> Iterator[None]:
    """A spinner with the seconds so far, for work of unknown length; nothing where lines cannot be written over.

    Args:
        out: Where to.
        what: What is done, for example `loading retinopathy/3`.
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=out, transient=True, disable=out.quiet or not is_live(out)) as progress:
        progress.add_task(what, total=None)
        yield


def print_scores(out: Console, title: str, scores: "Scores | OneClassScores") -> None:
    """Print scores with their intervals and threshold, the confusion matrix, and what speaks against the model."""
    out.print(_intervals(title, scores.unit, scores.labelled))
    (tn, fp), (fn, tp) = scores.confusion
    confusion = Table(f"at {scores.threshold:.4g}", "called NRDR", "called RDR")
    confusion.add_row("NRDR", str(tn), str(fp))
    confusion.add_row("RDR", str(fn), str(tp))
    out.print(confusion)
    if scores.caution:
        out.print(scores.caution, soft_wrap=True, markup=False)


def print_patients(out: Console, scores: "Scores | OneClassScores | None") -> None:
    """Print the scores of patients, below those of eyes; without them, what that means for the intervals."""
    if scores is None:
        text = "patients: unknown; if both eyes of a patient are among these, the intervals are too narrow"
        out.print(text, soft_wrap=True, markup=False)
        return
    title = f"{scores.n} patients, referable if an eye is"
    rows = [row for row in scores.labelled if not row[0].startswith("accuracy")]
    out.print(_intervals(title, scores.unit, rows))


def print_kappa(out: Console, kappa: "Interval | None") -> None:
    """Print how the grades that a model gives agree with the true ones; nothing for a model that gives none."""
    if kappa is not None:
        text = f"five grades: quadratic kappa {kappa.value:.3f}, 95 % interval {kappa.low:.3f} to {kappa.high:.3f}"
        out.print(text, soft_wrap=True, markup=False)


def print_qualities(out: Console, evaluation: "Evaluation") -> None:
    """Print the scores of the thirds of the eyes by quality, and how many eyes the model grades."""
    names = ("AUC", "sensitivity", "specificity")
    table = Table("quality", "eyes", *names, title="by quality, with 95 % intervals", title_justify="left")
    for third, scores in evaluation.qualities.items():
        low, high = evaluation.quality_ranges[third]
        intervals = (scores.auc, scores.sensitivity, scores.specificity)
        cells = ("not defined" if each is None else f"{each:.2f}" for each in intervals)
        table.add_row(f"{third}, {low:.2f} to {high:.2f}", str(scores.n), *cells)
    if table.row_count:
        out.print(table)
    n, of = evaluation.n_gradable, evaluation.scores.n
    text = f"imageability: {n} of {of} eyes ({evaluation.imageability:.1%}) are graded by this model"
    out.print(text, soft_wrap=True, markup=False)


def print_blind(out: Console, text: str, caution: str) -> None:
    """Print how the model compares with the lesion-blind baseline, and what speaks against the model."""
    for line in (text, caution):
        if line:
            out.print(line, soft_wrap=True, markup=False)


def _intervals(title: str, unit: str, labelled: "Sequence[tuple[str, Interval | None]]") -> Table:
    table = Table("", "value", "95 % interval", title=title, title_justify="left")
    for name, interval in labelled:
        if interval is None:
            table.add_row(name, "not defined", f"all {unit} are of one class")
        else:
            table.add_row(name, f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}")
    return table
