"""Commands that search: run-study, space, worker."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from drsearch.cli.app import command
from drsearch.cli.data import print_audit, print_counts
from drsearch.cli.options import Assignments, Configs, Data, Json, SkipBad, StorageUrl
from drsearch.cli.output import command_name, console, counting, liner, print_json, print_scores, warn_if_away
from drsearch.cli.tables import settings_text
from drsearch.errors import DrsearchError, Interrupted
from drsearch.home import Home

SpaceFile = Annotated[
    Path, typer.Argument(metavar="SPACE", help="Search space: a Python file, e.g. search_spaces/resnet.py.")
]

if TYPE_CHECKING:
    from drsearch.release.after_search import AfterSearchResult
    from drsearch.settings import Settings
    from drsearch.space.describe import Overview
    from drsearch.space.known_files import Known
    from drsearch.study.result import StudyResult
    from drsearch.study.warm_start import WarmStart


@command("Studies", "run-study")
def run_study(
    space: SpaceFile,
    data: Data,
    study: Annotated[
        str, typer.Option("--study", metavar="NAME", help="Study to start or resume. Default: the file name of SPACE.")
    ] = "",
    config: Configs = [],  # noqa: B006
    set_: Assignments = [],  # noqa: B006
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", help="Trials in total, earlier calls included.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", min=1, help="Worker processes on this machine; fastest: one per core."),
    ] = 1,
    storage: StorageUrl = "",
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help="Stop this call after so long, at a checkpoint. The setting study.hours limits all calls together.",
        ),
    ] = None,
    known: Annotated[
        Path | None,
        typer.Option(
            "--enqueue",
            metavar="FILE",
            help="Settings to try first: settings.gin of a run, or one JSON object per line.",
        ),
    ] = None,
    warm_start: Annotated[
        str,
        typer.Option("--warm-start", metavar="STUDY", help="Another study, whose finished trials are taken over."),
    ] = "",
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Search, then register, fine-tune and test the best model.

    The same command resumes a study that was interrupted; with a larger --trials it adds trials to a finished one.

    Example:
        drsearch run-study search_spaces/resnet.py --data ~/IDRiD --workers 2
    """
    out, home = console(as_json), Home.from_environment()
    name, url = study or space.stem, storage or home.storage_url
    assignments = [*set_, *([] if trials is None else [f"study.trials={trials}"])]
    starts = _check_without_tensorflow(home, space, data, name, config, assignments, url, known, warm_start)
    if warn_if_away(home, out):
        _check_experiments(home, name, url)

    from drsearch import config as gin_files
    from drsearch.cli.progress import study_view, training_view
    from drsearch.release.after_search import AfterSearch
    from drsearch.space.known_values import enqueued_params
    from drsearch.space.search_space import load_space
    from drsearch.study.preparation import define, prepare_all
    from drsearch.study.reconcile import launching
    from drsearch.study.validation import check_study
    from drsearch.workers.launcher import check_begins, launch_study

    read = load_space(space, lambda own: gin_files.load(config, assignments, own))
    settings = read.base
    check_study(settings)
    _check_enqueued(known, settings)
    enqueued = [enqueued_params(read, each) for each in starts]
    warm = check_begins(name, read, settings, data, url, warm_start)
    with counting(out, "photographs") as count:
        prepared = prepare_all(data, read, settings, home, skip_bad=skip_bad, on_photograph=count)
    print_audit(out, prepared[0].audit, skip_bad)
    print_counts(out, prepared[0])
    _print_carried(out, warm)
    launcher = launch_study(
        name,
        read,
        define(read, settings, data, prepared),
        home,
        url,
        prepared[0].records.audit_path,
        warm_start,
        enqueued,
    )
    with launching(launcher.folder):
        with study_view(out) as show:
            result = launcher.run(workers, show, timeout_s=timeout, say_stopping=show.stopping)
        if result.stopped in ("interrupted", "cancelled"):
            raise Interrupted(f"study {name!r} is {result.stopped}; the same command goes on where it stopped.")
        with training_view(out) as listener:
            model = AfterSearch(result, read, home, listener, launcher.cancelled).run()
    _print_result(out, result, model)
    print_json(as_json, _result_json(result, model))


@command("Studies", "space")
def show_space(space: SpaceFile, as_json: Json = False) -> None:
    """Check a search space; show its axes, grid size and ten draws.

    Nothing is trained, and no study is touched.

    Example:
        drsearch space search_spaces/resnet.py
    """
    from dataclasses import asdict

    from drsearch.space.source import read_source

    read_source(space)
    from drsearch.space.describe import overview  # loads TensorFlow
    from drsearch.space.search_space import load_space

    out = console(as_json)
    seen = overview(load_space(space))
    _print_space(out, space, seen)
    print_json(as_json, {"space": str(space), **asdict(seen)})


@command("Studies")
def worker(
    study: Annotated[str, typer.Option("--study", metavar="NAME", help="The study to join.")],
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", min=1, help="Worker processes here. Default: one per GPU, at least one."
        ),
    ] = None,
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """Run trials of a study that was started on another machine.

    Search space, settings and records come from the study's database and MLFLOW_TRACKING_URI; records are photographs
    of patients and are kept in DRSEARCH_HOME. Machines may join and leave at any time: Ctrl-C leaves at a checkpoint,
    from which another machine resumes the trial.

    Example:
        drsearch worker --study resnet --storage postgresql://user@host/optuna
    """
    from drsearch.cli.progress import study_view
    from drsearch.workers.join import join_study

    out = console(as_json)
    home = Home.from_environment()
    warn_if_away(home, out)
    joined = join_study(study, storage or home.storage_url, home)
    with study_view(out) as show:
        result = joined.run(workers, show, say_stopping=show.stopping)
    if result.stopped == "interrupted":
        raise Interrupted(f"left study {study!r}; the same command joins it again.")
    over = f"the study is over: {result.spent}" if result.spent else "all trials are over"
    why = "the study is cancelled" if result.stopped else over
    liner(out)(f"left study {study}: {why}")
    print_json(as_json, {"study": study, "left": why})


def _check_without_tensorflow(
    home: Home,
    space: Path,
    data: Path,
    name: str,
    config: list[str],
    assignments: list[str],
    storage_url: str,
    known: Path | None,
    warm_start: str,
) -> "list[Known]":
    """Refuse at once what needs no TensorFlow to be seen: that takes seconds to load.

    Returns:
        The settings that `--enqueue` names.
    """
    from drsearch import config as gin_files
    from drsearch.data.folder import read_folder
    from drsearch.settings import Settings
    from drsearch.space.known_files import read_known
    from drsearch.space.source import literal_settings, read_source

    source = read_source(space)
    written = literal_settings(space, source)
    settings = gin_files.load(config, assignments, Settings().replace(written or {}))
    read_folder(data, home.path)
    starts = read_known(known, gin_files.read) if known is not None else []

    from drsearch.study.definition import check_goes_on, check_name, load_study, wanted_study
    from drsearch.study.validation import check_study  # from here on Optuna, which takes less time
    from drsearch.trials.storage import may_hold_studies, open_storage

    check_name("--study", name)
    values = settings.flat()
    del values["model.hypermodel"]  # only the file itself, when it has run, tells it
    if written is None:  # nor these, where they are computed
        values.clear()
    else:
        check_study(settings)
    _check_enqueued(known, settings)
    if may_hold_studies(storage_url):
        opened = open_storage(storage_url)
        check_goes_on(opened, name, wanted_study(space, source, values, data))
        if warm_start:
            load_study(opened, warm_start)
    elif warm_start:
        raise DrsearchError(f"--warm-start {warm_start}: no such study; this database holds none.")
    return starts


def _check_enqueued(known: Path | None, settings: "Settings") -> None:
    if known is not None and settings.study.sampler == "grid":
        raise DrsearchError(f"--enqueue {known}: a grid runs each of its points once; give it to another sampler.")


def _check_experiments(home: Home, study: str, storage_url: str) -> None:
    """Refuse MLflow experiments that were deleted, or that this user may not write to."""
    from drsearch.tracking.remote_runs import check_experiments
    from drsearch.workers.remote import RECORDS_EXPERIMENT, is_shared

    check_experiments(home, study, *([RECORDS_EXPERIMENT] if is_shared(storage_url, home.tracking_uri) else []))


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
        for line in textwrap.wrap(settings_text(sample), out.width, initial_indent="  ", subsequent_indent="    "):
            out.print(line, soft_wrap=True, markup=False)


def _print_carried(out: Console, warm: "WarmStart | None") -> None:
    if warm is None:
        return
    left = f"; {warm.n_left} could not be this study's ({warm.why_left})" if warm.n_left else ""
    n = len(warm.trials)
    out.print(f"{n} finished trial{'s' if n != 1 else ''} carried from study {warm.study}{left}", soft_wrap=True)


def _print_result(out: Console, study: "StudyResult", result: "AfterSearchResult") -> None:
    from drsearch.measure.scores import Scores

    counts = ", ".join(f"{n} {state}" for state, n in study.counts().items() if n)
    objective = study.definition.settings["study.objective"]
    out.print(f"\nstudy {study.name}: {counts}; best is trial {result.best_trial} with {objective} {result.value:.4f}:")
    out.print(f"  {settings_text(result.params)}", markup=False)
    if study.spent:
        out.print(f"no more trials: {study.spent}; a larger budget goes on")
    if study.definition.settings["study.cost"] != "none":
        costs = "; ".join(f"trial {trial.number} {trial.values[0]:.4f} at {trial.values[1]:g}" for trial in study.front)
        out.print(f"Pareto front, {objective} at {study.definition.settings['study.cost']}: {costs}")
    out.print(f"model {result.model.name} version {result.model.version}")
    test = {key: value for key, value in result.test.items() if key != "test_evaluations"}
    n = result.test["test_evaluations"]
    print_scores(out, f"test split, test evaluations: {n}", Scores.from_json(test))
    out.print(f"\nnext:\n  {command_name()} ui")
    out.print(f"  {command_name()} promote {result.model.name} --version {result.model.version}")


def _result_json(study: "StudyResult", result: "AfterSearchResult") -> dict[str, Any]:
    return {
        "study": study.name,
        "trials": study.counts(),
        "stopped": study.stopped,
        "spent": study.spent,
        "front": [{"trial": trial.number, "values": list(trial.values)} for trial in study.front],
        "best": {"trial": result.best_trial, "value": result.value, "params": result.params, "run_id": result.run_id},
        "model": {"name": result.model.name, "version": result.model.version},
        "refit": result.refit,
        "finetune": result.finetune,
        "test": result.test,
    }
