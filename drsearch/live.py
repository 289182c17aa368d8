"""What does the person at the terminal see of a running study? A live table; plain lines where it is no terminal."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from drsearch.search.objectives import Objective
from drsearch.search.standing import Progress, place, study_left_s

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


def repeat(look: Callable[[], bool], every_s: float = 2.0) -> None:
    """Look again and again, until nothing is left to see or Ctrl-C."""
    with suppress(KeyboardInterrupt):
        while not look():
            time.sleep(every_s)


def _picture(progress: Progress) -> Group:
    done = sum(slot.is_over for slot in progress.slots)
    head = Text(_summary(progress), style="bold")
    bar = ProgressBar(total=max(1, progress.n_trials), completed=done, width=60)
    return Group(head, Padding(bar, (0, 0, 1, 0)), worker_table(progress))


def worker_table(progress: Progress) -> Table:
    """What each worker does."""
    table = Table(box=None, pad_edge=False)
    for column in ("worker", "trial", "epoch", "s/epoch", progress.objective, "best", "this trial has left"):
        table.add_column(column, justify="left" if column == "worker" else "right")
    for worker in progress.workers:
        table.add_row(
            place(worker.worker),
            str(worker.slot),
            f"{worker.epoch}/{worker.epochs}",
            _shown(worker.seconds, 2),
            _shown(worker.value, 4),
            _shown(worker.best, 4),
            duration(worker.left_s) if worker.has_pace else "",
        )
    return table


def _summary(progress: Progress) -> str:
    states = [slot.state for slot in progress.slots]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed", "running")
                       if state in states)  # fmt: skip
    best = _best(progress)
    left = study_left_s(progress.slots, progress.n_trials, progress.workers)
    return (
        f"study {progress.name}: {counts or 'starting'} of {progress.n_trials}"
        + (f"; best {progress.objective} {best:.4f}" if best is not None else "")
        + (f"; about {duration(left)} left" if left is not None else "")
    )


def _best(progress: Progress) -> float | None:
    values = [slot.value for slot in progress.slots if slot.state == "complete" and slot.value is not None]
    return Objective(progress.objective).best(values)


def _shown(value: float, n_digits: int) -> str:
    return f"{value:.{n_digits}f}" if math.isfinite(value) else ""


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
                value = f" {progress.objective} {slot.value:.4f}" if slot.value is not None else ""
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
