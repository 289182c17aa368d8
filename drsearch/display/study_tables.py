"""Studies and trials as tables for people, and as CSV for programs."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from drsearch.display.output import duration, is_live
from drsearch.display.progress import with_interval
from drsearch.display.tables import column, fitting, settings_text, short_names, shown, table
from drsearch.study.status import StudyStatus, TrialRow, place

if TYPE_CHECKING:
    from drsearch.study.delete import Removal
    from drsearch.study.warm_start import WarmStart

_N_VERSIONS = 8
_N_REASONS = 5


def studies_lines(statuses: Sequence[StudyStatus], width: int | None) -> list[Text]:
    """A table with one line per study; columns without room are left out."""
    over = [sum(trial.is_over for trial in status.progress.trials) for status in statuses]
    workers = [len(status.progress.workers) + len(status.idle) for status in statuses]
    columns = [
        column("study", [status.name for status in statuses]),
        column("state", [status.state for status in statuses]),
        column(
            "trials", [f"{n}/{status.progress.n_trials}" for n, status in zip(over, statuses, strict=True)], "right"
        ),
        column("best", [best(status) for status in statuses]),
        column("time left", [duration(status.left_s) if status.left_s is not None else "" for status in statuses]),
        column("workers", [str(n or "") for n in workers], "right"),
        column("last change", [_ago(status.changed) for status in statuses]),
    ]
    return table([columns[i] for i in fitting(columns, width)])


@contextmanager
def studies_view(console: Console) -> Iterator[Callable[[Sequence[StudyStatus]], bool]]:
    """A live table of all studies on a terminal; elsewhere a line whenever one of them has changed."""
    if not is_live(console):
        yield _Lines(console)
        return
    with Live(console=console, refresh_per_second=4, redirect_stdout=False) as live:

        def show(statuses: Sequence[StudyStatus]) -> bool:
            live.update(Group(*studies_lines(statuses, console.width)))
            return False

        yield show


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: dict[str, str] = {}

    def __call__(self, statuses: Sequence[StudyStatus]) -> bool:
        for status in statuses:
            text = f"study {status.name} is {status.state}: {counted(status)} trials" + (
                f"; best {best(status)}" if status.best else ""
            )
            if self._printed.get(status.name) != text:
                self._printed[status.name] = text
                self._console.print(text, soft_wrap=True, markup=False)
        return False


def study_lines(status: StudyStatus) -> list[str]:
    """What a study came to, in a few lines."""
    lines = [
        f"study {status.name} is {status.state}: {counted(status)} trials"
        + (f"; {_left(status)} left" if _left(status) else ""),
        f"space {status.definition.space_file}, data {status.definition.data_name}, begun {_ago(status.begun)}, "
        f"last change {_ago(status.changed)}",
    ]
    if status.best is not None:
        lines.append(f"best is trial {status.best.number} with {best(status)}: {settings_text(status.best.params)}")
    if status.why_no_best:
        lines.append(status.why_no_best)
    lines += [f"worker {place(worker)} is between two trials" for worker in status.idle]
    return lines


def counted(status: StudyStatus) -> str:
    """How many trials a study has, and in what states."""
    states = ", ".join(f"{n} {state}" for state, n in status.counts().items() if n)
    return f"{states or 'none begun'} of {status.progress.n_trials}"


def best(status: StudyStatus) -> str:
    """The best trial's objective, with its interval."""
    return f"{status.progress.objective} {_value(status.best)}" if status.best else ""


def trials_lines(
    rows: Sequence[TrialRow], objective: str, study: str, width: int | None, before: str = ""
) -> list[Text]:
    """A table of trials, and below it what has no column.

    Args:
        rows: The trials.
        objective: Of the study.
        study: Its name, for the command that shows a trial in full.
        width: Of the terminal: columns that tell no trials apart, and those without room, are named below the table.
            None for all columns.
        before: A setting, or the last word of it, whose column comes before those of other settings.
    """
    params = _params(rows)
    names = short_names(params)
    params.sort(key=lambda name: before not in (name, name.rpartition(".")[2]))
    same = {} if width is None else _same_in_all(rows, names)
    retried = any(row.attempts > 1 for row in rows)
    columns = [
        column("trial", [str(row.number) for row in rows], "right"),
        column("state", [row.state for row in rows]),
        column(objective, [_value(row) for row in rows]),
        *([column("violates", [row.violated for row in rows])] if any(row.constraints for row in rows) else []),
        column("best epoch", [_best_epoch(row) for row in rows], "right"),
        *(column(names[name], [shown(row.params.get(name)) for row in rows], "point") for name in params),
        column("time", [duration(row.seconds) if row.seconds else "" for row in rows], "right"),
        *([column("tries", [str(row.attempts or "") for row in rows], "right")] if retried or width is None else []),
        column("run", [row.run_id[: 8 if width else None] for row in rows]),
        *([column("reason", [row.reason for row in rows])] if width is None else []),
    ]
    columns = [each for each in columns if each.name not in same]
    chosen = fitting(columns, width)
    lines = table([columns[i] for i in chosen])
    if width is None:
        return lines
    hidden = [each.name for i, each in enumerate(columns) if i not in chosen]
    return [*lines, *map(Text, _below(rows, study, same, hidden))]


def _same_in_all(rows: Sequence[TrialRow], names: Mapping[str, str]) -> dict[str, str]:
    """What does not tell trials apart, by the name of its column; nothing if fewer than two have settings."""
    drawn = [row.params for row in rows if row.params]
    if len(drawn) < 2:
        return {}
    values = {"state": {row.state for row in rows}}
    values |= {short: {shown(each.get(name)) for each in drawn} for name, short in names.items()}
    return {name: found.pop() for name, found in values.items() if len(found) == 1}


def _below(rows: Sequence[TrialRow], study: str, same: Mapping[str, str], hidden: Sequence[str]) -> list[str]:
    """What the table of trials has no column for."""
    lines = []
    if same:
        lines.append("the same in all: " + ", ".join(f"{name} {value}" for name, value in same.items()))
    if hidden:
        lines.append(f"no room for: {', '.join(hidden)}")
        lines.append(f"all columns: --wide; one trial in full: drsearch trials {study} N")
    reasons = [row for row in rows if row.reason and row.state != "pruned"]
    lines += [f"trial {row.number} is {row.state}: {row.reason}" for row in reasons[:_N_REASONS]]
    if len(reasons) > _N_REASONS:
        lines.append(f"... and {len(reasons) - _N_REASONS} more with a reason: drsearch trials {study} N")
    return ["", *lines] if lines else []


def trial_lines(row: TrialRow, objective: str, study: str) -> list[Text]:
    """One trial in full, a line per fact."""
    facts = {
        "trial": f"{row.number} of study {study}",
        "state": row.state,
        "reason": row.reason,
        objective: f"{_value(row)} (95 % interval)" if row.low is not None else _value(row),
        "violates": row.violated,
        **{text: f"{value:.10g}" for text, value in row.constraints.items()},
        "best epoch": _best_epoch(row).replace("/", " of "),
        "tries": str(row.attempts or ""),
        "time": duration(row.seconds) if row.seconds else "",
        "worker": row.worker,
        "run": row.run_id,
        **{name: str(value) for name, value in row.params.items()},
    }
    facts = {name: text for name, text in facts.items() if text}
    width = max(map(len, facts))
    return [Text.assemble((f"{name:<{width}}", "bold"), f"  {text}") for name, text in facts.items()]


def _value(row: TrialRow) -> str:
    return with_interval(row.value, row.low, row.high)


def _best_epoch(row: TrialRow) -> str:
    """The epoch whose weights are kept, of those that were trained; before there is one, these alone."""
    return f"{row.best_epoch}/{row.epochs}" if row.best_epoch else f"-/{row.epochs}" if row.epochs else ""


def write_csv(rows: Sequence[TrialRow], out: TextIO) -> None:
    """All trials with every column by its full name; what a trial has not is empty."""
    names, limits = _params(rows), list(dict.fromkeys(text for row in rows for text in row.constraints))
    columns = ("trial", "state", "value", "low", "high", "best_epoch", "epochs", "attempts", "seconds", "run_id",
               "worker", "reason")  # fmt: skip
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*columns, *(["violated"] if limits else []), *limits, *names])
    for row in rows:
        told = row.to_json()
        cells = [
            *(told[column] for column in columns),
            *([row.violated] if limits else []),
            *(row.constraints.get(text) for text in limits),
            *(row.params.get(name) for name in names),
        ]
        writer.writerow(["" if cell is None else cell for cell in cells])


def removal_lines(removal: "Removal") -> list[str]:
    """What goes and what stays when a study is deleted."""
    status = removal.status
    runs, kept = len(removal.runs), len(removal.kept_runs)
    goes = [
        f"study {status.name} in its database: {counted(status)} trials",
        f"{removal.n_bytes / 1e6:.1f} MB in {removal.n_files} files, checkpoints and weights among them: "
        f"{status.folder}",
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
    if removal.features:
        stays.append(f"features of frozen backbones: {', '.join(map(str, removal.features))}")
    stays.append(f"the count of test evaluations: {removal.test_evaluations}")
    return [*_list("goes", goes), *_list("stays", stays)]


def _list(head: str, lines: Sequence[str]) -> list[str]:
    return [f"{head if i == 0 else '':6} {line}" for i, line in enumerate(lines)]


def _params(rows: Sequence[TrialRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.params))


def _left(status: StudyStatus) -> str:
    return f"about {duration(status.left_s)}" if status.left_s is not None else ""


def _ago(when: datetime | None) -> str:
    if when is None:
        return "never"
    seconds = (datetime.now() - when).total_seconds()
    return f"{duration(max(0.0, seconds))} ago" if seconds < 86_400 else f"{when:%Y-%m-%d %H:%M}"


def print_warm_start(out: Console, warm: "WarmStart | None") -> None:
    """Print how many trials were taken over from another study, and why some were not."""
    if warm is None:
        return
    left = f"; {warm.n_left} could not be this study's ({warm.why_left})" if warm.n_left else ""
    n = len(warm.trials)
    out.print(f"{n} finished trial{'s' if n != 1 else ''} inherited from study {warm.study}{left}", soft_wrap=True)
