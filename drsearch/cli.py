"""The command line: it parses, delegates, prints, and decides nothing.

Nothing heavy is imported above the commands: `drsearch --help` needs neither TensorFlow nor MLflow.
"""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from absl import logging
from rich.console import Console
from rich.table import Table

from drsearch import __version__
from drsearch.disk import is_full, sentence
from drsearch.errors import DrsearchError, Interrupted
from drsearch.home import Home

if TYPE_CHECKING:
    from drsearch.data.audit import Audit
    from drsearch.data.prepare import Prepared
    from drsearch.measure.scores import Scores
    from drsearch.release.job import JobResult
    from drsearch.release.registry import ModelVersion
    from drsearch.search.overview import Overview
    from drsearch.search.space import SearchSpace
    from drsearch.search.standing import Standing
    from drsearch.search.study import StudyResult
    from drsearch.search.warm_start import WarmStart
    from drsearch.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a folder of fundus photographs to a registered classifier of referable diabetic retinopathy. "
    "What is kept lies under DRSEARCH_HOME (default ./drsearch-home); MLFLOW_TRACKING_URI names another MLflow.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, and nothing else there.")]
Data = Annotated[Path, typer.Option("--data", help="Folder of the data set: IDRiD as published, or flat.")]
Configs = Annotated[
    list[str], typer.Option("--config", help="Gin file, or the name of a shipped one (report.gin); later ones win.")
]
Assignments = Annotated[
    list[str], typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="One setting; wins over every file.")
]
StorageUrl = Annotated[
    str,
    typer.Option(
        "--storage",
        envvar="DRSEARCH_STORAGE",  # a command line, and a password in it, can be read by everyone on the machine
        help="Study database; default: SQLite in DRSEARCH_HOME.",
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Go on without photographs and labels that cannot be used.")]

_N_NAMED = 8


def _print_version(asked: bool) -> None:
    """Answered while the line is parsed: without a command, click would ask for one first."""
    if asked:
        typer.echo(f"drsearch {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more to standard error.")] = False,
) -> None:
    """Set up logging; every command starts here."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    logging.use_absl_handler()
    logging.set_verbosity(logging.DEBUG if verbose else logging.INFO)


@app.command()
def prepare(
    data: Annotated[Path, typer.Argument(help="Folder of the data set: IDRiD as published, or flat.")],
    config: Configs = [],  # noqa: B006  # typer wants the default itself
    set_: Assignments = [],  # noqa: B006
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Audit a folder of photographs, split it, and write its records."""
    from drsearch import config as gin_files
    from drsearch.data.prepare import prepare as make

    out = _out(as_json)
    settings = gin_files.load(config, set_)
    with _counting(out, "photographs") as count:
        made = make(data, settings, Home.from_environment(), skip_bad=skip_bad, on_photograph=count)
    _print_audit(out, made.audit, skip_bad)
    _print_counts(out, made)
    _print_json(as_json, _prepared_json(made))


@app.command("run-study")
def run_study(
    space: Annotated[Path, typer.Argument(help="Search-space file, e.g. search_spaces/report_grid.py.")],
    data: Data,
    study: Annotated[str, typer.Option("--study", help="Name; the same name goes on. Default: the file's stem.")] = "",
    config: Configs = [],  # noqa: B006
    set_: Assignments = [],  # noqa: B006
    trials: Annotated[int | None, typer.Option("--trials", help="Trials in total, over all calls.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Worker processes on this machine.")] = 1,
    storage: StorageUrl = "",
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", help="Seconds of this call; then trials stop at a checkpoint. Over all calls: study.hours."
        ),
    ] = None,
    known: Annotated[
        Path | None,
        typer.Option("--enqueue", help="Settings to start from: settings.gin of a run, or a JSON object a line."),
    ] = None,
    warm_start: Annotated[
        str, typer.Option("--warm-start", help="Another study, whose finished trials count here and are not run again.")
    ] = "",
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Search, register the best model, fine-tune and test it. The same command goes on where it stopped."""
    _load_tensorflow()
    from drsearch import config as gin_files
    from drsearch.live import study_view
    from drsearch.release.job import Job, define, prepare_all
    from drsearch.search.checks import check_study
    from drsearch.search.closing import launching
    from drsearch.search.space import load_space
    from drsearch.search.study import Launcher

    out, home = _out(as_json), Home.from_environment()
    read = load_space(space, lambda own: gin_files.load(config, set_, own))
    settings = read.base
    if trials is not None:
        settings = settings.replace({"study.trials": trials})
    check_study(settings)
    enqueued = _enqueued(known, read, settings) if known is not None else []
    with _counting(out, "photographs") as count:
        prepared = prepare_all(data, read, settings, home, skip_bad=skip_bad, on_photograph=count)
    _print_audit(out, prepared[0].audit, skip_bad)
    _print_counts(out, prepared[0])
    name = study or space.stem
    launcher = Launcher(
        name,
        read,
        define(read, settings, data, prepared),
        home,
        storage or home.storage_url,
        prepared[0].records.audit_path,
        warm_start,
        enqueued,
    )
    with launching(launcher.folder):
        _print_carried(out, launcher.warm_start)
        with study_view(out) as show:
            result = launcher.run(workers, timeout, show)
        if result.stopped in ("interrupted", "cancelled"):
            raise Interrupted(f"study {name!r} is {result.stopped}; the same command goes on where it stopped.")
        job = Job(result, read, home, _line(out), launcher.cancelled).run()
    _print_job(out, result, job)
    _print_json(as_json, _job_json(result, job))


@app.command("space")
def show_space(
    space: Annotated[Path, typer.Argument(help="Search-space file, e.g. search_spaces/resnet.py.")],
    as_json: Json = False,
) -> None:
    """Check a search space and print it: axes, points of its grid, ten draws. Nothing is trained, no study touched."""
    _load_tensorflow()
    from dataclasses import asdict

    from drsearch.search.overview import overview
    from drsearch.search.space import load_space

    out = _out(as_json)
    seen = overview(load_space(space))
    _print_space(out, space, seen)
    _print_json(as_json, {"space": str(space), **asdict(seen)})


@app.command()
def status(
    study: Annotated[str, typer.Argument(help="Study to look at closely; default: all, one line each.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Go on looking until it is complete, or Ctrl-C.")] = False,
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """What the studies have come to, who is at them, and how long they will take.

    With STUDY it also puts right what dead processes left: their trials wait again, and their runs are closed.
    """
    from drsearch.listing import studies_view
    from drsearch.live import repeat, study_view
    from drsearch.search.standing import look_at_all

    out, home = _out(as_json), Home.from_environment()
    opened = _open_studies(storage, home)

    def tell() -> bool:
        if not study:
            _print_studies(out, look_at_all(opened, home), as_json)
            return False
        look = _reconciled(opened, study, home, out)
        _print_study(out, look, as_json)
        return look.state == "complete"

    if not watch:
        tell()
    elif as_json:
        repeat(tell)
    elif study:
        with study_view(out) as show:

            def show_it() -> bool:
                look = _reconciled(opened, study, home, out)
                show(look.progress)
                return look.state == "complete"

            repeat(show_it)
    else:
        with studies_view(out) as show_all:
            repeat(lambda: show_all(look_at_all(opened, home)))


@app.command()
def trials(
    study: Annotated[str, typer.Argument(help="Whose trials.")],
    sort: Annotated[
        str, typer.Option("--sort", help="number, state, value (best first), epochs, attempts, seconds or a parameter.")
    ] = "number",
    best: Annotated[int | None, typer.Option("--best", min=1, help="Only so many, the best first.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output: every column, not rounded.")] = False,
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """The trials of a study: objective with its 95 % interval, kept epoch, parameters, run, and why one ended early."""
    from drsearch.listing import trials_table, write_csv
    from drsearch.search.standing import read_trials, sort_trials

    home = Home.from_environment()
    rows, objective, less_is_better = read_trials(_open_studies(storage, home), study, home)
    rows = sort_trials(rows, "value" if best else sort, less_is_better)
    if best:
        rows = [row for row in rows if row.value is not None][:best]
    if as_csv:
        write_csv(rows, sys.stdout)
    elif not as_json:
        _out(False).print(trials_table(rows, objective))
    _print_json(as_json, {"study": study, "objective": objective, "trials": [row.to_json() for row in rows]})


@app.command()
def cancel(
    study: Annotated[str, typer.Argument(help="Study to stop, wherever it runs.")],
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """End a running study cleanly, on every machine: its trials stop at a checkpoint, and wait.

    The same `run-study` command goes on; until then no worker takes a trial of it.
    """
    from drsearch.search.control import cancel as stop
    from drsearch.search.standing import reason_of

    out, home = _out(as_json), Home.from_environment()
    opened = _open_studies(storage, home)
    look = _reconciled(opened, study, home, out)
    told: list[dict[str, Any]] = []
    if look.state in ("running", "stopped"):
        say = _line(out)
        say(f"study {study} is asked to stop at the next checkpoint; Ctrl-C ends only the waiting here")
        for slot in stop(opened, study, home, look.folder):
            told.append({"trial": slot.number, "state": slot.state, "reason": reason_of(slot) or None})
            say(f"trial {slot.number} is {slot.state}" + (f": {reason_of(slot)}" if reason_of(slot) else ""))
        look = _reconciled(opened, study, home, out)
    goes_on = "" if look.state == "complete" else "; the same run-study command goes on where it stopped"
    n_stopped = f"{len(told)} trial{'s' if len(told) != 1 else ''} stopped"
    out.print(f"study {study} is {look.state}, {n_stopped}{goes_on}", soft_wrap=True)
    _print_json(as_json, {"study": study, "state": look.state, "stopped": told})


@app.command()
def delete(
    study: Annotated[str, typer.Argument(help="Study to delete; a running one is refused.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """Delete a study with its checkpoints, after showing what goes and what stays.

    Registered versions stay, and the MLflow runs that they come from; so do records, and the count of looks at the
    test split. The study's name is free afterwards.
    """
    from drsearch.listing import removal_lines
    from drsearch.release.removal import Remover

    out, home = _out(as_json), Home.from_environment()
    remover = Remover(_open_studies(storage, home), home)
    removal = remover.plan(study)
    for line in removal_lines(removal):
        _line(out)(line)
    if not yes and not _confirmed(out, f"Delete study {study}?"):
        raise DrsearchError("nothing was deleted; --yes deletes without asking.")
    experiment = remover.carry_out(removal)
    _line(out)(f"study {study} is deleted" + (f"; its experiment is {experiment!r} now" if experiment else ""))
    told = {"runs_deleted": len(removal.runs), "runs_kept": len(removal.kept_runs), "versions": removal.versions}
    _print_json(as_json, {"study": study, "bytes": removal.n_bytes, "experiment": experiment or None, **told})


@app.command()
def worker(
    study: Annotated[str, typer.Option("--study", help="The study to join.")],
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Worker processes here. Default: one a GPU; one without any.")
    ] = None,
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """Join a study from another machine: run its trials until all are over. Ctrl-C leaves at a checkpoint.

    Everything else comes through the study's database and MLFLOW_TRACKING_URI: space, settings, records (photographs of
    patients, kept in DRSEARCH_HOME). Join and leave at any time; another machine goes on with what was left.
    """
    from drsearch.live import study_view
    from drsearch.search.join import Joined

    out = _out(as_json)
    home = Home.from_environment()
    joined = Joined(study, storage or home.storage_url, home)
    with study_view(out) as show:
        why = joined.run(workers, show)
    if not why:
        raise Interrupted(f"left study {study!r}; the same command joins it again.")
    _line(out)(f"left study {study}: {why}")
    _print_json(as_json, {"study": study, "left": why})


@app.command()
def train(
    data: Data,
    config: Configs = [],  # noqa: B006
    set_: Assignments = [],  # noqa: B006
    space: Annotated[
        Path | None, typer.Option("--space", help="Search space whose build_model makes the network, for its trials.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Name of the run.")] = "training",
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """One training, no study: repeat a trial from its settings file, or try something."""
    _load_tensorflow()
    from dataclasses import asdict

    from drsearch import config as gin_files
    from drsearch.data.prepare import prepare as make
    from drsearch.model.training import set_threads
    from drsearch.release.training import check_network
    from drsearch.release.training import train as train_once
    from drsearch.search.space import read_space

    out, home = _out(as_json), Home.from_environment()
    settings = gin_files.load(config, set_)
    network = read_space(space) if space is not None else None
    check_network(settings, network)
    with _counting(out, "photographs") as count:
        made = make(data, settings, home, skip_bad=skip_bad, on_photograph=count)
    settings = settings.replace({"training.threads": settings.training.threads or os.cpu_count() or 1})
    set_threads(settings.training.threads or 1)
    result = train_once(name, made.records, data, settings, home, _line(out), network)
    outcome = result.outcome
    if outcome.scores is not None:
        _print_scores(out, f"validation, epoch {outcome.epoch} of {len(outcome.history)}", outcome.scores)
    out.print(f"{outcome.state}{': ' + outcome.reason if outcome.reason else ''}; run {result.name} ({result.run_id})")
    told = {
        "run": result.name,
        "run_id": result.run_id,
        "state": outcome.state,
        "reason": outcome.reason,
        "epoch": outcome.epoch,
        "value": outcome.value,
        "history": [asdict(epoch) for epoch in outcome.history],
        "validation": outcome.scores.to_json() if outcome.scores else None,
        "model": str(outcome.model) if outcome.model else None,
    }
    _print_json(as_json, told)
    if outcome.state == "failed":
        raise DrsearchError(f"the training failed: {outcome.reason}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="models:/retinopathy/3 or models:/retinopathy@champion")],
    data: Data,
    split: Annotated[str, typer.Option("--split", help="test, validation, train, or all of a foreign set.")] = "test",
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Scores of a registered model on a split, with 95 % intervals; eyes it was trained on are refused."""
    _load_tensorflow()
    from typing import get_args

    from drsearch.data.prepare import prepare as make
    from drsearch.release.evaluate import Split
    from drsearch.release.evaluate import evaluate as judge
    from drsearch.settings import Settings

    if split not in get_args(Split):
        raise DrsearchError(f"--split {split}: write one of {', '.join(get_args(Split))}.")
    out, home = _out(as_json), Home.from_environment()
    with _opened(model, home) as grader:
        settings = Settings(images=grader.serving.images, data=grader.serving.data)
        with _counting(out, "photographs") as count:
            made = make(data, settings, home, skip_bad=skip_bad, on_photograph=count)
        judged = judge(grader, made.records, split, home, f"evaluate {model}")  # type: ignore[arg-type]  # checked above
    looked = f"; this test split has been looked at {judged.looks} times" if judged.looks else ""
    _print_scores(out, f"{model} on {judged.scores.n} eyes of {data}, split {split}{looked}", judged.scores)
    _print_json(as_json, {"model": model, "split": split, "looks": judged.looks, **judged.scores.to_json()})


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="models:/retinopathy/3 or models:/retinopathy@champion")],
    images: Annotated[list[Path], typer.Argument(help="Photographs as they come from the camera.")],
    explain: Annotated[
        Path | None, typer.Option("--explain", help="Write Grad-CAM on the original; a folder for several photographs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Grade photographs straight from the camera, and show what spoke for it."""
    _load_tensorflow()
    from drsearch.errors import PhotographError

    out = _out(as_json)
    found = []
    with _opened(model, Home.from_environment()) as grader:
        photographs = [(path, _read_bytes(path)) for path in images]
        for path, data in photographs:
            try:
                verdict = grader.grade([data])[0]
                drawn = _explained(grader.explain(data), path, explain, len(images)) if explain else None
            except PhotographError as wrong:
                raise PhotographError(f"{path}: {wrong}") from wrong
            shown = f"  explained in {drawn}" if drawn else ""
            _line(out)(f"{path}: {verdict.label}, probability of RDR {verdict.probability:.3f}{shown}")
            told = {"image": str(path), "label": verdict.label, "probability": verdict.probability}
            found.append(told | ({"explanation": str(drawn)} if drawn else {}))
    _print_json(as_json, {"model": model, "predictions": found})


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="Registered model, e.g. retinopathy.")],
    version: Annotated[int, typer.Option("--version", help="The version to become champion.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Show champion and challenger side by side, and make the challenger the champion."""
    from drsearch.release.registry import CHAMPION, Registry

    out, registry = _out(as_json), Registry(Home.from_environment().tracking_uri)
    challenger, champion = registry.version(name, version), registry.with_alias(name, CHAMPION)
    _print_contest(out, challenger, champion)
    if champion is not None and champion.version == version:
        out.print(f"version {version} is the champion already")
    elif not yes and not _confirmed(out, f"Make version {version} of {name} the champion?"):
        raise DrsearchError("nothing was changed; --yes promotes without asking.")
    else:
        registry.set_alias(challenger, CHAMPION)
        out.print(f"models:/{name}@{CHAMPION} is version {version} now")
    previous = champion.version if champion is not None else None
    _print_json(as_json, {"name": name, "version": version, "alias": CHAMPION, "previous": previous})


@app.command()
def synthesize(
    out_folder: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, laid out flat.")],
    images: Annotated[int, typer.Option("--images", min=1, help="How many photographs.")] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same photographs.")] = 0,
    as_json: Json = False,
) -> None:
    """Draw fundus-like photographs with lesions and their boxes, to try drsearch without a data set."""
    from drsearch.data.synthetic import synthesize as draw
    from drsearch.grades import GRADES

    out = _out(as_json)
    grades = draw(out_folder, images, seed)
    counts = {str(grade): grades.count(grade) for grade in GRADES}
    shown = ", ".join(f"{n} of grade {grade}" for grade, n in counts.items())
    out.print(f"{images} photographs in {out_folder}: {shown}")
    _print_json(as_json, {"folder": str(out_folder), "images": images, "seed": seed, "grades": counts})


@app.command()
def ui(
    study: Annotated[str, typer.Argument(help="Study to open; default: the one begun last.")] = "",
    port: Annotated[int, typer.Option("--port", help="Port on this machine; 0 takes a free one.")] = 5000,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the link in a browser.")] = True,
    with_optuna: Annotated[
        bool, typer.Option("--dashboard", help="Serve optuna-dashboard on the study database instead.")
    ] = False,
    storage: StorageUrl = "",
) -> None:
    """Serve MLflow on what is kept here, and print the link that compares a study's best trials. Ctrl-C ends it.

    Where MLFLOW_TRACKING_URI names a server, that one is up already, and only the link is printed.
    """
    import webbrowser

    from drsearch.tracking.ui import comparison_link, serve_ui

    out, home = _out(False), Home.from_environment()
    if with_optuna:
        from drsearch.search.dashboard import dashboard

        with dashboard(_open_studies(storage, home), study, port) as (link, wait):
            out.print(f"optuna-dashboard: {link}", soft_wrap=True)
            if browser:
                webbrowser.open(link)
            with contextlib.suppress(KeyboardInterrupt):
                wait()
        return
    if home.tracking_uri.startswith(("http://", "https://")):
        _line(out)(f"the best trials side by side: {comparison_link(home.tracking_uri.rstrip('/'), study)}")
        return
    with serve_ui(home, port) as server:
        link = server.chart_link(study)
        out.print(f"MLflow: {server.url}", soft_wrap=True)
        out.print(f"the best trials side by side: {link}", soft_wrap=True)
        if browser:
            webbrowser.open(link)
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()


@app.command()
def sync(as_json: Json = False) -> None:
    """Send to MLflow what has not reached it yet; each thing once, however often this is called."""
    from drsearch.tracking.sender import sync as send

    home = Home.from_environment()
    n = send(home)
    _out(as_json).print(f"{n} entries sent to {home.tracking_uri}")
    _print_json(as_json, {"sent": n})


def main() -> None:
    """Run the command line: 0 on success, 2 for what was foreseen (one sentence), 130 when interrupted."""
    try:
        code = app(standalone_mode=False)
        if code == 130:  # typer takes Ctrl-C itself, and returns this
            raise KeyboardInterrupt
        sys.exit(code)
    except (Interrupted, KeyboardInterrupt, typer.Abort) as stopped:
        print(f"drsearch: {str(stopped) or 'interrupted'}", file=sys.stderr)
        sys.exit(130)
    except DrsearchError as wrong:
        print(f"drsearch: {wrong}", file=sys.stderr)
        sys.exit(2)
    except Exception as wrong:
        _explain_usage(wrong)
        if is_full(wrong):
            where = getattr(wrong, "filename", None) or Home.from_environment().path
            print(f"drsearch: {sentence(where)}; make space, and give the same command again.", file=sys.stderr)
            sys.exit(2)
        raise


def _explain_usage(wrong: Exception) -> None:
    """What click itself has to say of a command line that is off; anything else is a bug and keeps its traceback."""
    show, code = getattr(wrong, "show", None), getattr(wrong, "exit_code", None)
    if callable(show) and isinstance(code, int):
        show()
        sys.exit(code)


def _out(as_json: bool) -> Console:
    """Where people read: standard output, or standard error when the JSON has the former."""
    out = Console(stderr=as_json, highlight=False)
    if not out.is_terminal:
        out.width = 120  # a file or a pipe has no width of its own, and 80 columns cut names short
    return out


def _line(out: Console) -> Callable[[str], None]:
    """Prints one line a call, however long: what follows a line break would look like another."""
    return lambda text: out.print(text, soft_wrap=True, markup=False)


def _open_studies(storage: str, home: Home) -> Any:
    """The study database, asked for what is there: none is made where there is none."""
    from drsearch.search.storage import open_storage

    if not storage and not (home.path / "studies.db").exists():
        raise DrsearchError(f"{home.path} holds no study; `drsearch run-study` begins one, --storage names a database.")
    return open_storage(storage or home.storage_url)


def _reconciled(storage: Any, study: str, home: Home, out: Console) -> "Standing":
    """A study, after what dead processes left of it was put right and told to MLflow."""
    from drsearch.search.closing import reconcile_study
    from drsearch.search.definition import load_study
    from drsearch.search.standing import look
    from drsearch.tracking.base import TrackerAway

    found, definition = load_study(storage, study)
    before = look(found, definition, storage, home)
    try:
        reconcile_study(home, storage, study)
    except TrackerAway as wrong:
        _line(out)(f"{wrong}; `drsearch sync` sends later what has not reached it.")
    now = look(found, definition, storage, home)
    for slot in now.progress.slots:
        if slot.number in before.abandoned:
            _line(out)(f"trial {slot.number} was left running by a process that is gone; it is {slot.state} now")
    return now


def _load_tensorflow() -> None:
    """Import TensorFlow without the lines on processor features that it writes whatever its log level is."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import tensorflow  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _command() -> str:
    """How this program is called from here, for the commands that it names."""
    if shutil.which("drsearch"):
        return "drsearch"
    if Path(sys.argv[0]).name == "__main__.py":  # python -m drsearch
        return f"{sys.executable} -m drsearch"
    return os.path.relpath(sys.argv[0])


def _print_json(as_json: bool, told: dict[str, Any]) -> None:
    if as_json:
        print(json.dumps(told))


@contextmanager
def _counting(out: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for work of known length; silent where the output is no terminal."""
    from rich.progress import Progress

    with Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _opened(model: str, home: Home) -> Iterator[Any]:
    """A registered model, fetched for as long as it is asked."""
    import tempfile

    from drsearch.release.grader import Grader
    from drsearch.release.registry import Registry

    with tempfile.TemporaryDirectory() as folder:
        yield Grader(Registry(home.tracking_uri).download(model, Path(folder)))


def _enqueued(file: Path, space: "SearchSpace", settings: "Settings") -> list[dict[str, Any]]:
    """The settings that a study is to start from, as its space draws them."""
    from drsearch import config as gin_files
    from drsearch.search.known import enqueued_params, known_lines, known_settings

    if settings.study.sampler == "grid":
        raise DrsearchError(f"--enqueue {file}: a grid runs each of its points once; give it to another sampler.")
    is_gin = file.suffix == ".gin" and file.is_file()
    known = [known_settings(file, gin_files.read(file))] if is_gin else known_lines(file)
    return [enqueued_params(space, each) for each in known]


def _print_space(out: Console, file: Path, seen: "Overview") -> None:
    table = Table("name", "kind", "range", "condition", "default", title=str(file), title_justify="left")
    for axis in seen.axes:
        table.add_row(axis.name, axis.kind, axis.values, axis.condition, str(axis.default))
    out.print(table)
    if seen.grid_points is None:
        out.print(f"no grid: {seen.why_no_grid}", soft_wrap=True, markup=False)
    else:
        out.print(f"grid: {'more than ' if seen.at_least else ''}{seen.grid_points} points")
    out.print(f"\n{len(seen.samples)} draws at random:")
    for sample in seen.samples:
        shown = (f"{name} = {value:.4g}" if isinstance(value, float) else f"{name} = {value}"
                 for name, value in sample.items())  # fmt: skip
        out.print(f"  {', '.join(shown)}", soft_wrap=True, markup=False)


def _print_carried(out: Console, warm: "WarmStart | None") -> None:
    if warm is None:
        return
    left = f"; {warm.n_left} could not be this study's ({warm.why_left})" if warm.n_left else ""
    n = len(warm.slots)
    out.print(f"{n} finished trial{'s' if n != 1 else ''} carried from study {warm.study}{left}", soft_wrap=True)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as wrong:
        raise DrsearchError(f"{path}: cannot be read ({wrong.strerror}); name a photograph.") from wrong


def _explained(picture: Any, photograph: Path, where: Path, n: int) -> Path:
    """Write an explanation: to the file named, or into the folder named where there are several photographs."""
    import cv2

    file = where / f"{photograph.stem}.png" if n > 1 or where.is_dir() else where
    file.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise DrsearchError(f"--explain {file}: cannot be written as a picture; name it .png or .jpg.")
    return file


def _confirmed(out: Console, question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    return out.input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _print_studies(out: Console, looks: "Sequence[Standing]", as_json: bool) -> None:
    from drsearch.listing import studies_table

    _print_json(as_json, {"studies": [look.to_json() for look in looks]})
    if not as_json:
        out.print(studies_table(looks))
        for look in looks:
            if look.abandoned:
                _line(out)(
                    f"{len(look.abandoned)} trials of {look.name} were left by dead processes; "
                    f"`drsearch status {look.name}` puts them right"
                )


def _print_study(out: Console, look: "Standing", as_json: bool) -> None:
    from drsearch.listing import study_lines
    from drsearch.live import worker_table

    _print_json(as_json, look.to_json())
    if not as_json:
        for line in study_lines(look):
            _line(out)(line)
        if look.progress.workers:
            out.print(worker_table(look.progress))


def _print_audit(out: Console, audit: "Audit", skipped: bool) -> None:
    """The findings as a table; every name stands in audit.json."""
    rows = [
        ("cannot be read whole", [f"{name}: {reason}" for name, reason in audit.unreadable]),
        ("shows no retina", [f"{name}: {reason}" for name, reason in audit.no_retina]),
        ("grade not 0 to 4", [f"{name}: {text!r}" for name, text in audit.invalid_grade]),
        ("label without photograph", list(audit.label_without_photograph)),
        ("photograph without label", list(audit.unlabelled)),
        ("the same picture", [_same(found.files, found.grades) for found in audit.duplicates]),
        ("of these, graded differently", [_same(found.files, found.grades) for found in audit.contradicting]),
        ("in train and test as published", [_same(found.files, found.grades) for found in audit.train_and_test]),
    ]
    table = Table(
        "finding", "count", "files", title=f"audit of {audit.n_photographs} photographs", title_justify="left"
    )
    for what, names in rows:
        if names:
            more = f"\n... and {len(names) - _N_NAMED} more in audit.json" if len(names) > _N_NAMED else ""
            table.add_row(what, str(len(names)), "\n".join(names[:_N_NAMED]) + more)
    if table.row_count:
        out.print(table)
    else:
        out.print(f"audit of {audit.n_photographs} photographs: nothing found")
    if skipped and audit.bad:
        out.print(f"gone on without {len(audit.bad)} of them (--skip-bad)")


def _same(files: tuple[str, ...], grades: tuple[Any, ...]) -> str:
    return " = ".join(f"{name} (grade {grade})" for name, grade in zip(files, grades, strict=True))


def _print_counts(out: Console, made: "Prepared") -> None:
    records = made.records
    table = Table("split", "photographs", "NRDR", "RDR", *(f"grade {grade}" for grade in range(5)))
    for split, counts in records.counts.items():
        table.add_row(
            split,
            str(counts["n"]),
            *(str(counts[name]) for name in ("NRDR", "RDR")),
            *(str(counts["grades"][str(grade)]) for grade in range(5)),
        )
    out.print(table)
    per_photograph = records.record_bytes / max(1, sum(counts["n"] for counts in records.counts.values())) / 1000
    done = "reused" if made.reused else f"written in {made.seconds:.1f} s"
    out.print(
        f"{records.source_bytes / 1e6:.1f} MB of photographs became {records.record_bytes / 1e6:.1f} MB of "
        f"records ({per_photograph:.1f} kB each), {done}: {made.records.folder}",
        soft_wrap=True,
    )


def _prepared_json(made: "Prepared") -> dict[str, Any]:
    records = made.records
    return {
        "counts": records.counts,
        "source_bytes": records.source_bytes,
        "record_bytes": records.record_bytes,
        "duplicates": len(made.audit.duplicates),
        "unreadable": len(made.audit.unreadable),
        "seconds": round(made.seconds, 3),
        "reused": made.reused,
        "records": str(records.folder),
        "audit": str(records.audit_path),
        "fingerprint": records.fingerprint,
    }


def _print_scores(out: Console, title: str, found: "Scores") -> None:
    table = Table("", "value", "95 % interval", title=title, title_justify="left")
    for name in ("accuracy", "auc", "sensitivity", "specificity"):
        interval = getattr(found, name)
        table.add_row(name, f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}")
    out.print(table)
    (tn, fp), (fn, tp) = found.confusion
    confusion = Table("", "called NRDR", "called RDR")
    confusion.add_row("NRDR", str(tn), str(fp))
    confusion.add_row("RDR", str(fn), str(tp))
    out.print(confusion)


def _print_job(out: Console, study: "StudyResult", job: "JobResult") -> None:
    from drsearch.measure.scores import Scores

    counts = ", ".join(f"{n} {state}" for state, n in study.counts().items() if n)
    objective = study.definition.settings["study.objective"]
    drawn = ", ".join(f"{name} = {value}" for name, value in job.params.items())
    out.print(
        f"\nstudy {study.name}: {counts}; best is trial {job.best_trial} with {objective} {job.value:.4f} ({drawn})"
    )
    if study.spent:
        out.print(f"no more trials: {study.spent}; a larger budget goes on")
    if study.definition.settings["study.cost"] != "none":
        costs = "; ".join(f"trial {slot.number} {slot.values[0]:.4f} at {slot.values[1]:g}" for slot in study.front)
        out.print(f"Pareto front, {objective} at {study.definition.settings['study.cost']}: {costs}")
    out.print(f"model {job.model.name} version {job.model.version}")
    test = {key: value for key, value in job.test.items() if key != "looks"}
    looks = job.test["looks"]
    _print_scores(out, f"test split, looked at {looks} time{'s' if looks != 1 else ''}", Scores.from_json(test))
    out.print(f"\nnext:\n  {_command()} ui")
    out.print(f"  {_command()} promote {job.model.name} --version {job.model.version}")


def _job_json(study: "StudyResult", job: "JobResult") -> dict[str, Any]:
    return {
        "study": study.name,
        "trials": study.counts(),
        "stopped": study.stopped,
        "spent": study.spent,
        "front": [{"trial": slot.number, "values": list(slot.values)} for slot in study.front],
        "best": {"trial": job.best_trial, "value": job.value, "params": job.params, "run_id": job.run_id},
        "model": {"name": job.model.name, "version": job.model.version},
        "refit": job.refit,
        "finetune": job.finetune,
        "test": job.test,
    }


def _print_contest(out: Console, challenger: "ModelVersion", champion: "ModelVersion | None") -> None:
    table = Table("", "challenger", "champion")
    table.add_row("version", str(challenger.version), str(champion.version) if champion else "none yet")
    rows = ("drsearch.study", "drsearch.trial", "drsearch.kind", "test_accuracy", "test_auc", "test_sensitivity",
            "test_specificity")  # fmt: skip
    for row in rows:
        table.add_row(
            row.removeprefix("drsearch."), _tag(challenger, row), _tag(champion, row) if champion is not None else ""
        )
    out.print(table)
    out.print("Differences within the intervals say nothing about which is better.")


def _tag(version: "ModelVersion", name: str) -> str:
    tags = version.tags
    if name not in tags:
        return "not tested"
    interval = f" [{tags[f'{name}_low']}, {tags[f'{name}_high']}]" if f"{name}_low" in tags else ""
    return tags[name] + interval
