"""What does the person at the terminal see of a running study? A live table; plain lines where it is no terminal."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from drsearch.search.study import Progress, WorkerStatus

_LINE_EVERY_S = 15.0


class View(Protocol):
    """Shows progress when it is given some."""

    def __call__(self, progress: Progress) -> None:
        """Show it."""


@contextmanager
def study_view(console: Console) -> Iterator[View]:
    """A live view on a terminal; elsewhere a line for every trial that ends, and one now and then."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        yield lambda progress: live.update(_picture(progress))


def _picture(progress: Progress) -> Group:
    done = sum(slot.is_over for slot in progress.slots)
    head = Text(_summary(progress), style="bold")
    bar = ProgressBar(total=max(1, progress.n_trials), completed=done, width=60)
    table = Table(box=None, pad_edge=False)
    for column in ("trial", "epoch", "s/epoch", progress.objective, "best", "this trial has left"):
        table.add_column(column, justify="right")
    for worker in progress.workers:
        table.add_row(
            str(worker.slot),
            f"{worker.epoch}/{worker.epochs}",
            f"{worker.seconds:.2f}",
            f"{worker.value:.4f}",
            f"{worker.best:.4f}",
            _duration(_left_s(worker)) if _is_known(worker) else "",
        )
    return Group(head, Padding(bar, (0, 0, 1, 0)), table)


def _summary(progress: Progress) -> str:
    states = [slot.state for slot in progress.slots]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed", "running")
                       if state in states)  # fmt: skip
    best = _best(progress)
    left = _study_left_s(progress)
    return (
        f"study {progress.name}: {counts or 'starting'} of {progress.n_trials}"
        + (f"; best {progress.objective} {best:.4f}" if best is not None else "")
        + (f"; about {_duration(left)} left" if left is not None else "")
    )


def _best(progress: Progress) -> float | None:
    values: list[float] = [
        slot.last.value for slot in progress.slots if slot.state == "complete" and slot.last.value is not None
    ]
    if not values:
        return None
    return min(values) if progress.objective == "val_loss" else max(values)


def _is_known(worker: WorkerStatus) -> bool:
    """Whether a trial's pace is known: its first epoch builds the graph, and takes several times as long."""
    return worker.epoch > 1


def _left_s(worker: WorkerStatus) -> float:
    return (worker.epochs - worker.epoch) * worker.seconds


def _study_left_s(progress: Progress) -> float | None:
    """Time left, from what running and finished trials took; None before anything is known."""
    known = [worker for worker in progress.workers if _is_known(worker)]
    if not known:
        return None
    running = [_left_s(worker) for worker in known]
    whole = [worker.epochs * worker.seconds for worker in known]
    waiting = sum(slot.state == "waiting" for slot in progress.slots)
    return (sum(running) + waiting * sum(whole) / len(whole)) / len(known)


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else (f"{minutes} min {rest:02d} s" if minutes else f"{rest} s")


class _Lines:
    """Plain lines: each trial when it ends, and a summary every quarter of a minute."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[int] = set()
        self._last = -math.inf

    def __call__(self, progress: Progress) -> None:
        for slot in progress.slots:
            if slot.is_over and slot.number not in self._told:
                self._told.add(slot.number)
                value = f" {progress.objective} {slot.last.value:.4f}" if slot.last.value is not None else ""
                carried = f" (trial {slot.carried['trial']} of study {slot.carried['study']})" if slot.carried else ""
                reason = f": {slot.reason}" if slot.reason else ""
                self._print(f"trial {slot.number}{carried} {slot.state}{value}{reason}")
        if time.monotonic() - self._last > _LINE_EVERY_S:
            self._last = time.monotonic()
            running = "; ".join(
                f"trial {w.slot} epoch {w.epoch}/{w.epochs} {progress.objective} {w.value:.4f}"
                for w in progress.workers
            )
            self._print(_summary(progress) + (f" ({running})" if running else ""))

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)
