"""Commands that search, and judge: run-study, cross-validate, ablate, space, spaces, worker."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from drsearch.cli.app import command
from drsearch.cli.completion import space_files, studies
from drsearch.cli.options import Assignments, Configs, Data, Json, LeastQuality, SkipBad, StorageUrl, given_settings
from drsearch.cli.output import command_name, console, print_json, progress_on
from drsearch.display.output import liner, print_blind, print_patients, print_scores, working
from drsearch.display.tables import settings_text

SpaceFile = Annotated[
    Path,
    typer.Argument(
        metavar="SPACE",
        autocompletion=space_files,
        help="Search space: a Python file, or a name that `drsearch spaces` lists.",
    ),
]

if TYPE_CHECKING:
    from drsearch.release.after_search import AfterSearchResult
    from drsearch.space.describe import Overview
    from drsearch.study.result import StudyResult


@command("Studies", "run-study")
def run_study(
    space: SpaceFile,
    data: Data,
    study: Annotated[
        str,
        typer.Option(
            "--study",
            metavar="NAME",
            autocompletion=studies,
            help="Study to start or resume. Default: the file name of SPACE.",
        ),
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
    on: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="RAY",
            help="Run the workers on a Ray cluster: ray (that of RAY_ADDRESS, else a new one on this machine), "
            "or ray://head:10001. Default: no Ray.",
            show_default=False,
        ),
    ] = "",
    cpus_per_worker: Annotated[
        float | None,
        typer.Option("--cpus-per-worker", metavar="N", min=0.1, help="CPUs that Ray keeps for a worker. Default: 1."),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            "--gpus-per-worker",
            metavar="N",
            min=0,
            help="GPUs that Ray keeps for a worker; 0.25: four share one. Default: 1 where the cluster has any.",
        ),
    ] = None,
    memory_per_worker: Annotated[
        float | None,
        typer.Option(
            "--memory-per-worker", metavar="GB", min=0, help="Memory that Ray keeps for a worker. Default: no claim."
        ),
    ] = None,
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
        typer.Option(
            "--warm-start",
            metavar="STUDY",
            autocompletion=studies,
            help="Another study, whose finished trials are inherited.",
        ),
    ] = "",
    skip_bad: SkipBad = False,
    least_quality: LeastQuality = None,
    as_json: Json = False,
) -> None:
    """Search, then register, fine-tune and test the best model.

    The same command resumes a study that was interrupted; with a larger --trials it adds trials to a finished one.

    Example:
        drsearch run-study resnet --data ~/IDRiD --workers 2
    """
    from drsearch.api.study import run_study as run

    out = console(as_json)
    ended = run(
        space,
        data,
        study=study,
        trials=trials,
        workers=workers,
        on=on,
        cpus_per_worker=cpus_per_worker,
        gpus_per_worker=gpus_per_worker,
        memory_per_worker=memory_per_worker,
        settings=given_settings(set_, least_quality),
        config=config,
        storage=storage,
        timeout=timeout,
        enqueue=known or (),
        warm_start=warm_start,
        skip_bad=skip_bad,
        progress=progress_on(out),
    )
    assert ended.results is not None
    _print_result(out, *ended.results)
    print_json(as_json, _result_json(*ended.results))


@command("Studies", "cross-validate")
def cross_validate(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER", help="Photographs and labels; or a file of `drsearch describe`. Several are pooled."
        ),
    ],
    config: Configs = [],  # noqa: B006
    set_: Assignments = [],  # noqa: B006
    folds: Annotated[int, typer.Option("--folds", metavar="N", min=2, max=50, help="Outer folds.")] = 5,
    repeats: Annotated[
        int, typer.Option("--repeats", metavar="N", min=1, max=50, help="How often all eyes are dealt into folds.")
    ] = 3,
    space: Annotated[
        Path | None,
        typer.Option("--space", metavar="FILE", help="Search space; each outer fold searches it anew."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", metavar="N", min=1, help="Trials per outer fold, with --space.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", min=1, help="Worker processes on this machine; fastest: one per core."),
    ] = 1,
    study: Annotated[
        str,
        typer.Option(
            "--study", metavar="NAME", help="Cross-validation to start or resume. Default: by --space or --config."
        ),
    ] = "",
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="NAME",
            autocompletion=studies,
            help="Another cross-validation of the same eyes and folds, to compare with.",
        ),
    ] = "",
    storage: StorageUrl = "",
    skip_bad: SkipBad = False,
    least_quality: LeastQuality = None,
    as_json: Json = False,
) -> None:
    """Judge a setting on eyes that chose nothing of it.

    One network per outer fold and repeat: it trains on some of the other eyes, and the rest of them chooses its epoch,
    threshold and temperature; with --space the setting, too. The same command resumes a cross-validation that was
    interrupted; with more --repeats it adds some.

    Example:
        drsearch cross-validate ~/IDRiD --config small.gin --repeats 1 --workers 2
    """
    from drsearch.api.cross_validate import cross_validate as judge
    from drsearch.display.out_of_fold_tables import print_out_of_fold, print_out_of_fold_difference

    out = console(as_json)
    judged = judge(
        data,
        given_settings(set_, least_quality),
        config=config,
        folds=folds,
        repeats=repeats,
        space=space,
        trials=trials,
        workers=workers,
        study=study,
        against=against,
        storage=storage,
        skip_bad=skip_bad,
        progress=progress_on(out),
    )
    print_out_of_fold(out, judged.report, judged.page)
    if judged.difference is not None:
        print_out_of_fold_difference(out, judged.difference)
    out.print(f"run {judged.run_id}; next:\n  {command_name()} ui")
    difference = judged.difference and judged.difference.to_json()
    print_json(as_json, {**judged.report.to_json(), "run_id": judged.run_id, "difference": difference})


@command("Studies")
def ablate(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", autocompletion=studies, help="The study whose best trial is looked at."),
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", metavar="FOLDER", help="Its photographs. Default: where they lay when it began."),
    ] = None,
    folds: Annotated[
        int, typer.Option("--folds", metavar="N", min=2, max=50, help="Folds of the train and validation eyes.")
    ] = 5,
    repeats: Annotated[
        int, typer.Option("--repeats", metavar="N", min=1, max=50, help="Trainings on all folds, with other seeds.")
    ] = 3,
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", min=1, help="Worker processes on this machine; fastest: one per core."),
    ] = 1,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Ablation to start or resume. Default: STUDY-ablation.")
    ] = "",
    storage: StorageUrl = "",
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Say what each choice of a study's best setting is worth.

    The best setting, and the same with each of its choices put back to the default, are trained on the same folds and
    compared fold by fold. The same command resumes an ablation that was interrupted.

    Example:
        drsearch ablate resnet --workers 2
    """
    from drsearch.api.ablate import ablate as run
    from drsearch.display.ablation_table import print_ablation

    out = console(as_json)
    done = run(
        study,
        data or None,
        folds=folds,
        repeats=repeats,
        workers=workers,
        name=name,
        storage=storage,
        skip_bad=skip_bad,
        progress=progress_on(out),
    )
    print_ablation(out, done.report)
    print_json(as_json, done.report.to_json())


@command("Studies", "space")
def show_space(space: SpaceFile, as_json: Json = False) -> None:
    """Check a search space; show axes, grid size and ten draws.

    Nothing is trained, and no study is touched.

    Example:
        drsearch space resnet
    """
    from dataclasses import asdict

    from drsearch.api.space import describe_space

    out = console(as_json)
    with working(progress_on(out), f"drawing from {space}"):
        seen = describe_space(space)
    _print_space(out, space, seen)
    print_json(as_json, {"space": str(space), **asdict(seen)})


@command("Studies")
def spaces(as_json: Json = False) -> None:
    """List the search spaces that come with drsearch.

    Each is a Python file: copy it to change it.

    Example:
        drsearch spaces
    """
    from drsearch.api.space import spaces as shipped

    out = console(as_json)
    listed = shipped()
    table = Table.grid(padding=(0, 2))
    for space in listed:
        table.add_row(space.name, f"{space.summary}\nwhat for: {space.what_for}\nminutes: {space.minutes}\n")
    out.print(table, markup=False)
    out.print(
        f"{listed[0].path.parent}; next:\n  {command_name()} space {listed[0].name}", soft_wrap=True, markup=False
    )
    print_json(as_json, {"spaces": [{**vars(space), "path": str(space.path)} for space in listed]})


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
    from drsearch.api.study import join_study

    out = console(as_json)
    why = join_study(study, workers=workers, storage=storage, progress=progress_on(out))
    liner(out)(f"left study {study}: {why}")
    print_json(as_json, {"study": study, "left": why})


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


def _print_result(out: Console, study: "StudyResult", result: "AfterSearchResult") -> None:
    from drsearch.measure.scores import Scores, scores_of_json
    from drsearch.tracking.tags import NETWORK_TAG

    counts = ", ".join(f"{n} {state}" for state, n in study.counts().items() if n)
    objective, second = study.definition.settings.study.objective, study.definition.settings.study.second_objective
    out.print(f"\nstudy {study.name}: {counts}; best is trial {result.best_trial} with {objective} {result.value:.4f}:")
    out.print(f"  {settings_text(result.params)}", markup=False)
    if study.spent:
        out.print(f"no more trials: {study.spent}; a larger budget adds trials")
    if second != "none":
        members = "; ".join(
            f"trial {trial.number} {trial.values[0]:.4f} at {trial.values[1]:g}" for trial in study.front
        )
        out.print(f"Pareto front, {objective} at {second}: {members}")
    network = result.model.tags.get(NETWORK_TAG, "")
    out.print(f"model {result.model.name} version {result.model.version}" + (f": {network}" if network else ""))
    n, patients = result.test["test_evaluations"], result.test.get("patients")
    print_scores(out, f"test split, test evaluations: {n}", Scores.from_json(result.test))
    print_patients(out, scores_of_json(patients) if patients else None)
    if blind := result.test.get("blind"):  # an older drsearch noted none
        print_blind(out, blind["text"], blind["caution"])
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
