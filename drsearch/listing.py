"""How are studies and their trials listed? As tables for people, as CSV for programs."""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

from drsearch.live import duration
from drsearch.search.standing import Standing, TrialRow, place

if TYPE_CHECKING:
    from drsearch.release.removal import Removal

_N_VERSIONS = 8


def studies_table(looks: Sequence[Standing]) -> Table:
    """One line a study."""
    table = Table(box=None, pad_edge=False)
    for column in ("study", "state", "trials", "best", "workers", "left", "last change"):
        table.add_column(column, justify="right" if column == "workers" else "left", overflow="fold")
    for look in looks:
        table.add_row(look.name, look.state, counted(look), best(look), *_now(look), _ago(look.changed))
    return table


@contextmanager
def studies_view(console: Console) -> Iterator[Callable[[Sequence[Standing]], bool]]:
    """A live table of all studies on a terminal; elsewhere a line whenever one of them has changed."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, refresh_per_second=4) as live:

        def show(looks: Sequence[Standing]) -> bool:
            live.update(studies_table(looks))
            return False

        yield show


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, str] = {}

    def __call__(self, looks: Sequence[Standing]) -> bool:
        for look in looks:
            text = f"study {look.name} is {look.state}: {counted(look)} trials" + (
                f"; best {best(look)}" if look.best else ""
            )
            if self._said.get(look.name) != text:
                self._said[look.name] = text
                self._console.print(text, soft_wrap=True, markup=False)
        return False


def study_lines(look: Standing) -> list[str]:
    """What a study came to, in a few lines."""
    lines = [
        f"study {look.name} is {look.state}: {counted(look)} trials" + (f"; {_left(look)} left" if _left(look) else ""),
        f"space {look.definition.space_file}, data {look.definition.data_name}, begun {_ago(look.begun)}, "
        f"last change {_ago(look.changed)}",
    ]
    if look.best is not None:
        drawn = ", ".join(f"{name} = {value}" for name, value in look.best.params.items())
        lines.append(f"best is trial {look.best.number} with {best(look)} ({drawn})")
    lines += [f"worker {place(worker)} is between two trials" for worker in look.idle]
    return lines


def counted(look: Standing) -> str:
    """How many trials a study has, and in what states."""
    states = ", ".join(f"{n} {state}" for state, n in look.counts().items() if n)
    return f"{states or 'none begun'} of {look.progress.n_trials}"


def best(look: Standing) -> str:
    """The best trial's objective, with its interval."""
    return f"{look.progress.objective} {with_interval(look.best)}" if look.best else ""


def with_interval(row: TrialRow) -> str:
    """A value and its 95 % interval."""
    if row.value is None or math.isnan(row.value):
        return ""
    interval = f" [{row.low:.3f}, {row.high:.3f}]" if row.low is not None and row.high is not None else ""
    return f"{row.value:.4f}{interval}"


def trials_table(rows: Sequence[TrialRow], objective: str) -> Table:
    """One line a trial; parameters by the last word of their names where that tells them apart."""
    names = _params(rows)
    last = [name.rpartition(".")[2] for name in names]
    shown = [short if last.count(short) == 1 else name for name, short in zip(names, last, strict=True)]
    table = Table(box=None, pad_edge=False)
    numbers = ("trial", "kept", "epochs", "tries", "time")
    for column in ("trial", "state", objective, "kept", "epochs", "tries", "time", *shown):
        table.add_column(column, justify="right" if column in (*numbers, *shown) else "left")
    table.add_column("run and reason", overflow="fold", ratio=1)
    for row in rows:
        table.add_row(
            str(row.number),
            row.state,
            with_interval(row),
            str(row.kept_epoch or ""),
            str(row.epochs or ""),
            str(row.attempts or ""),
            duration(row.seconds) if row.seconds else "",
            *(_value(row.params.get(name)) for name in names),
            "  ".join(filter(None, (row.run_id[:8], row.reason))),
        )
    return table


def write_csv(rows: Sequence[TrialRow], out: TextIO) -> None:
    """All trials with every column by its full name; what a trial has not is empty."""
    names = _params(rows)
    columns = ("trial", "state", "value", "low", "high", "kept_epoch", "epochs", "attempts", "seconds", "run_id",
               "worker", "reason")  # fmt: skip
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*columns, *names])
    for row in rows:
        told = row.to_json()
        cells = [*(told[column] for column in columns), *(row.params.get(name) for name in names)]
        writer.writerow(["" if cell is None else cell for cell in cells])


def removal_lines(removal: "Removal") -> list[str]:
    """What goes and what stays when a study is deleted."""
    look = removal.standing
    runs, kept = len(removal.runs), len(removal.kept_runs)
    goes = [
        f"study {look.name} in its database: {counted(look)} trials",
        f"{removal.n_bytes / 1e6:.1f} MB in {removal.n_files} files, checkpoints and weights among them: {look.folder}",
        f"{runs} of its {runs + kept} MLflow runs; MLflow keeps deleted runs until `mlflow gc`",
    ]
    if removal.unsent:
        goes.append(f"what {removal.unsent} of its runs have to say and MLflow does not take")
    stays = []
    if removal.versions:
        more = f" and {len(removal.versions) - _N_VERSIONS} more" if len(removal.versions) > _N_VERSIONS else ""
        stays.append(
            f"{', '.join(removal.versions[:_N_VERSIONS])}{more}, with the {kept} runs that lead back from there"
        )
    stays.append(f"records: {', '.join(map(str, removal.records)) or 'none on this machine'}")
    stays.append(f"the count of looks at the test split: {removal.looks}")
    return [*_list("goes", goes), *_list("stays", stays)]


def _list(head: str, lines: Sequence[str]) -> list[str]:
    return [f"{head if i == 0 else '':6} {line}" for i, line in enumerate(lines)]


def _params(rows: Sequence[TrialRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.params))


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "" if value is None else str(value)


def _now(look: Standing) -> tuple[str, str]:
    """Workers alive, and the time left."""
    return str(len(look.progress.workers) + len(look.idle) or ""), _left(look)


def _left(look: Standing) -> str:
    return f"about {duration(look.left_s)}" if look.left_s is not None else ""


def _ago(when: datetime | None) -> str:
    if when is None:
        return "never"
    seconds = (datetime.now() - when).total_seconds()
    return f"{duration(max(0.0, seconds))} ago" if seconds < 86_400 else f"{when:%Y-%m-%d %H:%M}"
