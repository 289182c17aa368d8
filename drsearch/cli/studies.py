"""Commands on studies there are: status, trials, cancel, delete."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from drsearch.cli.app import command
from drsearch.cli.options import Json, StorageUrl, Study, Yes
from drsearch.cli.output import confirmed, console, liner, open_studies, print_json, print_lines
from drsearch.errors import DrsearchError
from drsearch.home import Home

if TYPE_CHECKING:
    from drsearch.study.status import Standing


@command("Studies")
def status(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help="One study in detail. Default: all, one line each.", show_default=False),
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
    from drsearch.cli.progress import repeat, study_view
    from drsearch.cli.study_tables import studies_view
    from drsearch.study.status import look_at_all

    out, home = console(as_json), Home.from_environment()
    opened = open_studies(storage, home, only_look=not study)
    said: set[str] = set()

    def say_once(text: str) -> None:
        if text not in said:
            said.add(text)
            liner(out)(text)

    def look_at_it() -> "Standing":
        return _reconciled(opened, study, home, say_once)

    def tell() -> bool:
        if not study:
            _print_studies(out, look_at_all(opened, home), as_json)
            return False
        look = look_at_it()
        _print_study(out, look, as_json)
        return look.state == "complete"

    if not watch:
        tell()
    elif as_json:
        repeat(tell)
    elif study:
        last: list[Standing] = []
        with study_view(out) as show:

            def show_it() -> bool:
                last[:] = [look_at_it()]
                show(last[0].progress)
                return last[0].state == "complete"

            repeat(show_it)
        if last and last[0].state == "complete":
            _print_study(out, last[0], as_json)
    else:
        with studies_view(out) as show_all:
            repeat(lambda: show_all(look_at_all(opened, home)))


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
    """List the trials of a study: value, best epoch, settings, run.

    The value is the objective at the best epoch, with its 95 % interval. Settings that are the same in all trials are
    named below the table, and so are columns that have no room; a file or a pipe gets all columns.

    Example:
        drsearch trials resnet --best 10
        drsearch trials resnet 7
    """
    from drsearch.cli.study_tables import trial_lines, trials_lines, write_csv
    from drsearch.study.status import sort_trials, trial_rows

    home = Home.from_environment()
    opened = open_studies(storage, home, only_look=True)
    rows, objective, less_is_better = trial_rows(opened, study, home)
    if number is not None:
        if number >= len(rows):
            raise DrsearchError(f"study {study!r} has no trial {number}; its trials are 0 to {len(rows) - 1}.")
        rows = [rows[number]]
    rows = sort_trials(rows, "value" if best else sort, less_is_better)
    if best:
        rows = [row for row in rows if row.value is not None][:best]
    out = console(False)
    if as_csv:
        write_csv(rows, sys.stdout)
    elif number is not None and not as_json:
        print_lines(out, trial_lines(rows[0], objective, study))
    elif not as_json:
        width = out.width if out.is_terminal and not wide else None
        print_lines(out, trials_lines(rows, objective, study, width, sort))
    print_json(as_json, {"study": study, "objective": objective, "trials": [row.to_json() for row in rows]})


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
    from drsearch.study.cancel import cancel as stop
    from drsearch.study.status import reason_of

    out, home = console(as_json), Home.from_environment()
    opened = open_studies(storage, home)
    look = _reconciled(opened, study, home, liner(out))
    told: list[dict[str, Any]] = []
    if look.state in ("running", "stopped"):
        say = liner(out)
        say(f"study {study} is asked to stop at the next checkpoint; Ctrl-C ends only the waiting here")
        for trial in stop(opened, study, home, look.folder):
            told.append({"trial": trial.number, "state": trial.state, "reason": reason_of(trial) or None})
            say(f"trial {trial.number} is {trial.state}" + (f": {reason_of(trial)}" if reason_of(trial) else ""))
        look = _reconciled(opened, study, home, liner(out))
    goes_on = "" if look.state == "complete" else "; the same run-study command goes on where it stopped"
    n_stopped = f"{len(told)} trial{'s' if len(told) != 1 else ''} stopped"
    out.print(f"study {study} is {look.state}, {n_stopped}{goes_on}", soft_wrap=True)
    print_json(as_json, {"study": study, "state": look.state, "stopped": told})


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
    from drsearch.cli.study_tables import removal_lines
    from drsearch.study.delete import Remover

    out, home = console(as_json), Home.from_environment()
    remover = Remover(open_studies(storage, home), home)
    removal = remover.plan(study)
    for line in removal_lines(removal):
        liner(out)(line)
    if not yes and not confirmed(out, f"Delete study {study}?"):
        raise DrsearchError("nothing was deleted; --yes deletes without asking.")
    experiment = remover.carry_out(removal)
    liner(out)(f"study {study} is deleted" + (f"; its experiment is {experiment!r} now" if experiment else ""))
    told = {"runs_deleted": len(removal.runs), "runs_kept": len(removal.kept_runs), "versions": removal.versions}
    print_json(as_json, {"study": study, "bytes": removal.n_bytes, "experiment": experiment or None, **told})


def _reconciled(storage: Any, study: str, home: Home, say: Callable[[str], None]) -> "Standing":
    """A study, after what dead processes left of it was put right and told to MLflow, if this user may do that."""
    from drsearch.study.definition import load_study
    from drsearch.study.reconcile import reconcile_study
    from drsearch.study.status import look
    from drsearch.tracking.tracker import TrackerUnavailable
    from drsearch.trials.storage import may_write

    found, definition = load_study(storage, study)
    before = look(found, definition, storage, home)
    if not may_write(storage, home):
        say(f"you may not write to {home.path}: what crashed processes left is shown as it is")
        return before
    try:
        reconcile_study(home, storage, study)
    except TrackerUnavailable as wrong:
        say(f"{wrong}; `drsearch sync` sends later what has not reached it.")
    now = look(found, definition, storage, home)
    for trial in now.progress.trials:
        if trial.number in before.abandoned:
            say(f"trial {trial.number} was left running by a process that is gone; it is {trial.state} now")
    return now


def _print_studies(out: Console, looks: "Sequence[Standing]", as_json: bool) -> None:
    from drsearch.cli.study_tables import studies_lines

    print_json(as_json, {"studies": [look.to_json() for look in looks]})
    if not as_json:
        print_lines(out, studies_lines(looks, out.width))
        for look in looks:
            if look.abandoned:
                liner(out)(
                    f"{len(look.abandoned)} trials of {look.name} were left by dead processes; "
                    f"`drsearch status {look.name}` puts them right"
                )


def _print_study(out: Console, look: "Standing", as_json: bool) -> None:
    from drsearch.cli.progress import worker_lines
    from drsearch.cli.study_tables import study_lines

    print_json(as_json, look.to_json())
    if not as_json:
        for line in study_lines(look):
            liner(out)(line)
        print_lines(out, worker_lines(look.progress.workers, look.progress.objective, out.width))
