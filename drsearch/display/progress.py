"""Live views of studies and trainings, and plain lines where lines cannot be written over."""

import math
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from drsearch.display.output import LINE_EVERY_S, duration, is_live
from drsearch.display.tables import column, fitting, settings_text, short_names, shown, table
from drsearch.signals import write_to_stderr
from drsearch.study.status import Progress, WorkerStatus, place, study_left_s
from drsearch.training.listener import Listener, TrainingProgress
from drsearch.training.objective import Objective
from drsearch.trials.attributes import BEST_EPOCH, WORKER
from drsearch.trials.trials import Trial

_BAR = 12
_INDENT = " " * 7
_STYLES = {"pruned": "dim", "failed": "red"}


class View(Protocol):
    """Shows progress when it is given some."""

    def __call__(self, progress: Progress) -> None:
        """Show it."""

    def stopping(self, text: str) -> None:
        """Show that the study was asked to stop; a signal handler may call this."""


@contextmanager
def study_view(console: Console) -> Iterator[View]:
    """A live view on a terminal; elsewhere a line for every trial that ends, and one now and then."""
    if not is_live(console):
        yield _Lines(console)
        return
    frame = _Frame()
    with _live(console, frame):
        yield frame


def _live(console: Console, frame: object, transient: bool = False) -> Live:
    """A view of a frame; what is written to standard error meanwhile appears above it, if that is a terminal too."""
    return Live(
        frame,  # type: ignore[arg-type]  # it renders itself
        console=console,
        refresh_per_second=4,
        transient=transient,
        redirect_stdout=False,
        redirect_stderr=sys.stderr.isatty(),
    )


@contextmanager
def training_view(console: Console) -> Iterator[Listener]:
    """A bar per training on a terminal; elsewhere a line at every fifth of it. Sentences are lines in both."""
    if not is_live(console):
        yield _TrainingLines(console)
        return
    bar = _TrainingBar(console)
    with _live(console, bar, transient=True):
        yield bar


class _TrainingLines(Listener):
    """Plain lines."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def stopping(self, text: str) -> None:
        if not self._console.quiet:
            write_to_stderr(text)

    def trained(self, progress: TrainingProgress) -> None:
        every = max(1, progress.epochs // 5)
        if progress.epoch and (progress.epoch % every == 0 or progress.epoch == progress.epochs):
            self.say(f"{progress.what} epoch {progress.epoch}/{progress.epochs}: {_measures(progress)}")


class _TrainingBar(_TrainingLines):
    """A bar with the last epoch's measures and the time left, below the sentences."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._progress: TrainingProgress | None = None
        self._seconds: list[float] = []
        self._stopping = ""

    def say(self, text: str) -> None:
        self._progress = None
        super().say(text)

    def stopping(self, text: str) -> None:
        self._stopping = text

    def trained(self, progress: TrainingProgress) -> None:
        if self._progress is None:
            self._seconds = []
        elif progress.epoch > self._progress.epoch and self._progress.epoch:
            self._seconds.append(progress.seconds)  # not of the first: it builds the graph
        self._progress = progress
        if progress.epoch == progress.epochs:
            self.say(f"{progress.what}, {progress.epochs} epochs: {_measures(progress)} at the end")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if (progress := self._progress) is None:
            return
        bar = _bar(progress.epoch / max(1, progress.epochs), 20)
        parts = [f"{progress.what} {bar} {progress.epoch}/{progress.epochs}"]
        if progress.epoch:
            parts.append(_measures(progress))
        if self._seconds:
            left = (progress.epochs - progress.epoch) * statistics.median(self._seconds)
            parts.append(f"about {duration(left)} left")
        yield from _wrapped("  ".join(parts), options.max_width, "")
        if self._stopping:
            yield from _wrapped(self._stopping, options.max_width, "yellow")


def _measures(progress: TrainingProgress) -> str:
    return f"{progress.split}_auc {progress.auc:.4f}, {progress.split}_accuracy {progress.accuracy:.4f} at 0.5"


def repeat(show: Callable[[], bool], every_s: float = 2.0) -> None:
    """Call `show` every two seconds until it returns True, or until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        while not show():
            time.sleep(every_s)


class _Frame:
    """The latest progress, drawn again at each refresh, never higher than the terminal."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._stopping = ""

    def __call__(self, progress: Progress) -> None:
        self._progress = progress

    def stopping(self, text: str) -> None:
        self._stopping = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._progress is not None:
            yield from frame_lines(self._progress, options.max_width, console.height - 1, self._stopping)


def frame_lines(progress: Progress, width: int, height: int, stopping: str = "") -> list[Text]:
    """A picture of a running study: how far it is, its running trials, the best and the latest finished ones.

    Args:
        progress: What to draw.
        width: Of the terminal.
        height: How many lines there are room for; what has no room is left out, the finished trials first.
        stopping: That it was asked to stop, in a sentence.
    """
    names = short_names(list(dict.fromkeys(name for trial in progress.trials for name in trial.last.params)))
    n_over = sum(trial.is_over for trial in progress.trials)
    head = _wrapped(_summary(progress), width, "bold")
    head.append(Text(_bar(n_over / max(1, progress.n_trials), min(60, width)), style="green"))
    if stopping:
        head += _wrapped(stopping, width, "yellow")
    running = _running_lines(progress, names, width, (height - len(head)) // 2)
    lines = [*head, Text(), *running] if running else head
    finished = _finished_lines(progress, names, width, height - len(lines) - 1)
    return [*lines, Text(), *finished] if finished else lines[:height]


def _running_lines(progress: Progress, names: dict[str, str], width: int, height: int) -> list[Text]:
    """The running trials, a row each; below it the trial's settings where the height allows it."""
    statuses = {worker.trial: worker for worker in progress.workers}
    running = [trial for trial in progress.trials if trial.state == "running"]
    rows = worker_lines(
        [statuses.get(trial.number) or _reported(trial) for trial in running], progress.objective, width
    )
    n_head = len(rows) - len(running)
    each = max(0, (height - n_head) // max(1, len(running)) - 1)
    lines = rows[:n_head]
    for row, trial in zip(rows[n_head:], running, strict=True):
        lines.append(row)
        text = settings_text(trial.last.params, names)
        lines += [
            Text(line, style="dim")
            for line in textwrap.wrap(
                text, width, initial_indent=_INDENT, subsequent_indent=_INDENT, max_lines=each, placeholder=" ..."
            )
            if each
        ]
    return lines


def _reported(trial: Trial) -> WorkerStatus:
    """How far a running trial is by what it has reported to the study, as nothing is heard of its worker."""
    reported = trial.last.intermediate_values
    epoch = max(reported, default=0)
    value = reported.get(epoch, math.nan)
    return WorkerStatus(trial.number, epoch, 0, math.nan, value, value, str(trial.last.user_attrs.get(WORKER, "")))


def worker_lines(workers: Sequence[WorkerStatus], objective: str, width: int | None) -> list[Text]:
    """A table of what each worker does; columns without room are left out."""
    if not workers:
        return []
    wanted = [
        column("trial", [str(worker.trial) for worker in workers], "right"),
        column("epoch", [_epochs(worker) for worker in workers], "right"),
        column(objective, [_shown(worker.value, 4) for worker in workers], "right"),
        column("best", [_shown(worker.best, 4) for worker in workers], "right"),
        column("time left", [duration(worker.left_s) if worker.has_pace else "" for worker in workers], "right"),
        column("worker", [place(worker.worker) for worker in workers]),
        column("s/epoch", [_shown(worker.seconds, 2) for worker in workers], "right"),
    ]
    return table([wanted[i] for i in fitting(wanted, width)])


def _epochs(worker: WorkerStatus) -> str:
    if not worker.epochs:
        return str(worker.epoch or "starting")
    epoch = str(worker.epoch).rjust(len(str(worker.epochs)))  # bars of trials with as many epochs stand in line
    return f"{_bar(worker.epoch / max(1, worker.epochs), _BAR)} {epoch}/{worker.epochs}"


def _finished_lines(progress: Progress, names: dict[str, str], width: int, height: int) -> list[Text]:
    """Finished trials: all, the best first, or where there are too many the best and then the latest."""
    objective = Objective(progress.objective)
    over = [trial for trial in progress.trials if trial.is_over]
    over.sort(
        key=lambda trial: (
            trial.state != "complete",
            bool(trial.violated),
            objective.loss(trial.value or 0.0),
            trial.number,
        )
    )
    heading = len(_finished_table(over, progress, names, width)) - len(over)
    room = height - heading
    if not over or room < 1:
        return []
    if len(over) <= room:
        return _finished_table(over, progress, names, width)
    n_best = max(1, (room - 1) // 2)
    rest = sorted(over[n_best:], key=lambda trial: (trial.last.datetime_complete or datetime.min, trial.number))
    chosen = over[:n_best] + rest[::-1][: max(0, room - 1 - n_best)]
    lines = _finished_table(chosen, progress, names, width)
    n_left = len(over) - len(chosen)
    between = Text(f"... {n_left} more; the latest:" if len(chosen) > n_best else f"... {n_left} more", style="dim")
    at = len(lines) - len(chosen) + n_best
    return [*lines[:at], between, *lines[at:]]


def _finished_table(trials: Sequence[Trial], progress: Progress, names: dict[str, str], width: int) -> list[Text]:
    drawn = [trial.last.params for trial in progress.trials if trial.last.params]
    varying = [name for name in names if len({shown(each.get(name)) for each in drawn}) > 1]
    states = [column("state", [trial.state for trial in trials])]
    violated = [trial.violated for trial in trials]
    wanted = [
        column("trial", [str(trial.number) for trial in trials], "right"),
        *(states if any(trial.state != "complete" for trial in trials) else []),
        column(progress.objective, [_value(trial) for trial in trials]),
        *([column("violates", violated)] if any(violated) else []),
        *(column(names[name], [shown(trial.last.params.get(name)) for trial in trials], "point") for name in varying),
    ]
    lines = table([wanted[i] for i in fitting(wanted, width)])
    for line, trial in zip(lines[len(lines) - len(trials) :], trials, strict=True):
        line.stylize(_STYLES.get(trial.state, ""))
    return lines


def _value(trial: Trial) -> str:
    """The objective of a trial with its interval; of a pruned one, its last report; of a failed one, the reason."""
    if trial.value is not None and trial.state == "complete":
        best_epoch = trial.last.user_attrs.get(BEST_EPOCH, {})
        return with_interval(trial.value, best_epoch.get("low"), best_epoch.get("high"))
    reported = trial.last.intermediate_values
    return f"{reported[max(reported)]:.4f}" if reported else ""


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A value and its 95 % interval, as far as they are known.

    Example:
        >>> with_interval(0.91234, 0.8, 0.95), with_interval(0.5, None, None), with_interval(None, None, None)
        ('0.9123 [0.800, 0.950]', '0.5000', '')
    """
    if value is None or math.isnan(value):
        return ""
    return f"{value:.4f} [{low:.3f}, {high:.3f}]" if low is not None and high is not None else f"{value:.4f}"


def _summary(progress: Progress) -> str:
    states = [trial.state for trial in progress.trials]
    ended = [f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed") if state in states]
    n_over = sum(trial.is_over for trial in progress.trials)
    counts = f" ({', '.join(ended)})" if ended != [f"{n_over} complete"] and ended else ""
    running = f", {states.count('running')} running" if "running" in states else "" if n_over else ", none running yet"
    parts = [f"study {progress.name}: {n_over} of {progress.n_trials} trials finished{counts}{running}"]
    complete = [trial for trial in progress.trials if trial.state == "complete" and not trial.violated]
    values = [trial.value for trial in complete if trial.value is not None]
    best = Objective(progress.objective).best(values)
    left = study_left_s(progress.trials, progress.n_trials, progress.workers)
    if best is not None:
        parts.append(f"best {progress.objective} {best:.4f}")
    if left is not None:
        parts.append(f"about {duration(left)} left")
    return "; ".join(parts)


def _wrapped(text: str, width: int, style: str) -> list[Text]:
    return [Text(line, style=style) for line in textwrap.wrap(text, width)]


def _bar(share: float, width: int) -> str:
    """A bar of plain characters, as a part of a line.

    Example:
        >>> _bar(0.5, 4)
        '━━──'
    """
    n = round(width * min(1.0, max(0.0, share)))
    return "━" * n + "─" * (width - n)


def _shown(value: float, n_digits: int) -> str:
    return f"{value:.{n_digits}f}" if math.isfinite(value) else ""


class _Lines:
    """Plain lines: each trial when it ends, and a summary every quarter of a minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[int] = set()
        self._last = (-math.inf, "")

    def stopping(self, text: str) -> None:
        if not self._console.quiet:
            write_to_stderr(text)

    def __call__(self, progress: Progress) -> None:
        for trial in progress.trials:
            if trial.is_over and trial.number not in self._told:
                self._told.add(trial.number)
                self._print(self._ended(trial, progress.objective))
        running = "; ".join(
            f"trial {w.trial} epoch {w.epoch}/{w.epochs} {progress.objective} {w.value:.4f}" for w in progress.workers
        )
        text = _summary(progress) + (f" ({running})" if running else "")
        if time.monotonic() - self._last[0] > LINE_EVERY_S and text != self._last[1]:
            self._last = (time.monotonic(), text)
            self._print(text)

    def _ended(self, trial: Trial, objective: str) -> str:
        value = f" {objective} {trial.value:.4f}" if trial.value is not None else ""
        violated = f", violates {trial.violated}" if trial.violated else ""
        source = trial.inherited_from
        origin = f" (trial {source['trial']} of study {source['study']})" if source else ""
        reason = f": {trial.reason}" if trial.reason else ""
        settings = f" ({settings_text(trial.last.params)})" if trial.last.params else ""
        return f"trial {trial.number}{origin} {trial.state}{value}{violated}{reason}{settings}"

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)
