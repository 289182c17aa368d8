"""Commands on studies there are: status, trials, report, cancel, delete."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from drsearch.cli.app import command
from drsearch.cli.completion import studies
from drsearch.cli.options import Json, StorageUrl, Study, Yes
from drsearch.cli.output import confirmed, console, print_json, progress_on
from drsearch.display.output import liner, print_lines, working
from drsearch.errors import DrsearchError

if TYPE_CHECKING:
    from drsearch.study.delete import Removal
    from drsearch.study.status import StudyStatus
    from drsearch.trials.trials import Trial


@command("Studies")
def status(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            autocompletion=studies,
            help="One study in detail. Default: all, one line each.",
            show_default=False,
        ),
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Keep watching until the study is over, or Ctrl-C.")] = False,
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """Show how far studies are: trials, best value, time left.

    With STUDY it also cleans up after crashed processes: their trials wait again, and their MLflow runs are closed.

    Example:
        drsearch status resnet --watch
    """
    from drsearch.api.study import load_study, study_statuses
    from drsearch.display.progress import repeat, study_view
    from drsearch.display.study_tables import studies_view

    out = console(as_json)
    if not study:
        if not watch:
            _print_studies(out, study_statuses(storage), as_json)
        elif as_json:
            repeat(lambda: _print_studies(out, study_statuses(storage), as_json))
        else:
            with studies_view(out) as show_all:
                repeat(lambda: show_all(study_statuses(storage)))
        return
    one, say = load_study(study, storage), _once(liner(out))

    def print_status() -> bool:
        now = one.reconcile(say)
        _print_study(out, now, as_json)
        return now.state == "complete"

    if not watch:
        print_status()
    elif as_json:
        repeat(print_status)
    else:
        last: list[StudyStatus] = []
        with study_view(out) as show:

            def show_status() -> bool:
                last[:] = [one.reconcile(say)]
                show(last[0].progress)
                return last[0].state == "complete"

            repeat(show_status)
        if last and last[0].state == "complete":
            _print_study(out, last[0], as_json)


@command("Studies")
def trials(
    study: Study,
    number: Annotated[
        int | None, typer.Argument(metavar="N", min=0, help="Show this trial in full. Default: all, one line each.")
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            metavar="COLUMN",
            help="number, state, value (best first), epochs, attempts, seconds, or a setting, e.g. learning_rate.",
        ),
    ] = "number",
    best: Annotated[int | None, typer.Option("--best", metavar="N", min=1, help="Only the N best, best first.")] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Show all columns, however wide; for `less -S`.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: all columns, not rounded.")] = False,
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """List trials of a study: value, best epoch, settings, run.

    The value is the objective at the best epoch, with its 95 % interval. Settings that are the same in all trials are
    named below the table, and so are columns that have no room; a file or a pipe gets all columns.

    Example:
        drsearch trials resnet --best 10
        drsearch trials resnet 7
    """
    from drsearch.api.study import load_study
    from drsearch.display.study_tables import trial_lines, trials_lines, write_csv

    one = load_study(study, storage)
    rows = one.trial_rows("number" if number is not None else "value" if best else sort)
    if number is not None:
        if number >= len(rows):
            raise DrsearchError(f"study {study!r} has no trial {number}; its trials are 0 to {len(rows) - 1}.")
        rows = [rows[number]]
    if best:
        rows = [row for row in rows if row.value is not None][:best]
    out = console(False)
    if as_csv:
        write_csv(rows, sys.stdout)
    elif number is not None and not as_json:
        print_lines(out, trial_lines(rows[0], one.objective, study))
    elif not as_json:
        width = out.width if out.is_terminal and not wide else None
        print_lines(out, trials_lines(rows, one.objective, study, width, sort))
    if as_json:
        print_json(True, {"study": study, "objective": one.objective, "trials": [row.to_json() for row in rows]})


@command("Studies")
def report(
    study: Study,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="HTML file to write. Default: STUDY.html.", show_default=False),
    ] = None,
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """Write what a study came to, as one HTML file.

    It opens offline, prints, and is made from MLflow and the study database alone. The end of a study logs it to the
    study's run, too. It may hold photographs of patients.

    Example:
        drsearch report resnet --out resnet.html
    """
    from drsearch.api.study import report as write_report

    file = write_report(study, out or "", storage)
    console(as_json).print(f"report of study {study}: {file}", soft_wrap=True, markup=False)
    print_json(as_json, {"study": study, "report": str(file)})


@command("Studies")
def cancel(
    study: Study,
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """Stop a study on every machine, each trial at a checkpoint.

    The same run-study command resumes it; until then no worker takes a trial of it.

    Example:
        drsearch cancel resnet
    """
    from drsearch.api.study import load_study
    from drsearch.study.status import reason_of

    out = console(as_json)
    one, say = load_study(study, storage), liner(out)
    stopped: list[dict[str, Any]] = []

    def print_stopped(trial: "Trial") -> None:
        reason = reason_of(trial)
        stopped.append({"trial": trial.number, "state": trial.state, "reason": reason or None})
        say(f"trial {trial.number} is {trial.state}{f': {reason}' if reason else ''}")

    if one.reconcile(say).state in ("running", "stopped"):
        say(f"study {study} is asked to stop at the next checkpoint; Ctrl-C ends only the waiting here")
        one.cancel(print_stopped)
    state = one.reconcile(say).state
    goes_on = "" if state == "complete" else "; the same run-study command resumes it"
    n_stopped = f"{len(stopped)} trial{'s' if len(stopped) != 1 else ''} stopped"
    out.print(f"study {study} is {state}, {n_stopped}{goes_on}", soft_wrap=True)
    print_json(as_json, {"study": study, "state": state, "stopped": stopped})


@command("Studies")
def delete(
    study: Study,
    yes: Yes = False,
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """Delete a study and its checkpoints; registered models stay.

    It shows what goes and what stays, and asks. The MLflow runs of registered versions, the records and the count of
    test evaluations stay. A running study is refused. The study's name is free afterwards.

    Example:
        drsearch delete resnet
    """
    from drsearch.api.study import load_study
    from drsearch.display.study_tables import removal_lines

    out, plans = console(as_json), []
    with contextlib.ExitStack() as stack:

        def confirm(removal: "Removal") -> bool:
            plans.append(removal)
            for line in removal_lines(removal):
                liner(out)(line)
            is_wanted = yes or confirmed(out, f"Delete study {study}?")
            if is_wanted:
                stack.enter_context(working(progress_on(out), f"deleting {study}"))
            return is_wanted

        experiment = load_study(study, storage).delete(confirm)
    liner(out)(f"study {study} is deleted" + (f"; its experiment is {experiment!r} now" if experiment else ""))
    (removal,) = plans
    counts = {"runs_deleted": len(removal.runs), "runs_kept": len(removal.kept_runs), "versions": removal.versions}
    print_json(as_json, {"study": study, "bytes": removal.n_bytes, "experiment": experiment or None, **counts})


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Prints each sentence once, however often it comes."""
    printed: set[str] = set()

    def say_once(text: str) -> None:
        if text not in printed:
            printed.add(text)
            say(text)

    return say_once


def _print_studies(out: Console, statuses: "Sequence[StudyStatus]", as_json: bool) -> bool:
    """Print a line per study; False, since nobody can say when all studies are over."""
    from drsearch.display.study_tables import studies_lines

    print_json(as_json, {"studies": [status.to_json() for status in statuses]})
    if not as_json:
        print_lines(out, studies_lines(statuses, out.width))
        for status in statuses:
            if status.abandoned:
                liner(out)(
                    f"{len(status.abandoned)} trials of {status.name} were left by dead processes; "
                    f"`drsearch status {status.name}` puts them right"
                )
    return False


def _print_study(out: Console, status: "StudyStatus", as_json: bool) -> None:
    from drsearch.display.progress import worker_lines
    from drsearch.display.study_tables import study_lines

    print_json(as_json, status.to_json())
    if not as_json:
        for line in study_lines(status):
            liner(out)(line)
        print_lines(out, worker_lines(status.progress.workers, status.progress.objective, out.width))
