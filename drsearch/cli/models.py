"""Commands on models: train, evaluate, predict."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from drsearch.cli.app import command
from drsearch.cli.options import Assignments, Configs, Data, Json, Model, SkipBad
from drsearch.cli.output import (
    console,
    counting,
    liner,
    opened_model,
    print_json,
    print_scores,
    reach_runs,
    warn_if_away,
)
from drsearch.errors import DrsearchError, PhotographError
from drsearch.files import OutputError, check_outputs, write_whole
from drsearch.home import TRAININGS, Home


@command("Models")
def train(
    data: Data,
    config: Configs = [],  # noqa: B006
    set_: Assignments = [],  # noqa: B006
    space: Annotated[
        Path | None,
        typer.Option("--space", metavar="FILE", help="The search space, if its build_model made the trial's network."),
    ] = None,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the MLflow run.")] = "training",
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Train one network without a study, e.g. to repeat a trial.

    settings.gin, with all settings of a trial, is among the artifacts of its MLflow run. The same command resumes a
    training that was interrupted.

    Example:
        drsearch train --data ~/IDRiD --config settings.gin
    """
    from drsearch import config as gin_files
    from drsearch.data.folder import read_folder
    from drsearch.space.source import read_source

    out, home = console(as_json), Home.from_environment()
    settings = gin_files.load(config, set_)
    if space is not None:
        read_source(space)
    read_folder(data, home.path)

    from drsearch.study.definition import check_name
    from drsearch.tracking.remote_runs import check_experiments

    check_name("--name", name)
    if warn_if_away(home, out):
        check_experiments(home, TRAININGS)

    from dataclasses import asdict

    from drsearch.cli.progress import training_view
    from drsearch.data.prepare import prepare as make
    from drsearch.model.fit import set_threads
    from drsearch.processes import cores
    from drsearch.space.search_space import read_space
    from drsearch.training.single import check_network
    from drsearch.training.single import train as train_once

    network = read_space(space) if space is not None else None
    check_network(settings, network)
    with counting(out, "photographs") as count:
        made = make(data, settings, home, skip_bad=skip_bad, on_photograph=count)
    settings = settings.replace({"training.threads": settings.training.threads or cores()})
    set_threads(settings.training.threads or 1, cores())
    with training_view(out) as listener:
        result = train_once(name, made.records, data, settings, home, listener, network)
    outcome = result.outcome
    if outcome.scores is not None:
        print_scores(out, f"validation, epoch {outcome.epoch} of {len(outcome.history)}", outcome.scores)
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
    print_json(as_json, told)
    if outcome.state == "failed":
        raise DrsearchError(f"the training failed: {outcome.reason}")


@command("Models")
def evaluate(
    model: Model,
    data: Data,
    split: Annotated[
        str,
        typer.Option(
            "--split",
            metavar="test|validation|train|all",
            help="Which photographs; all of them only for a data set that the model was not trained on.",
        ),
    ] = "test",
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Score a registered model on a split, with 95 % intervals.

    Photographs that the model was trained on are refused. Every test evaluation is counted. Photographs that are all
    of one class have a sensitivity or a specificity, and no AUC.

    Example:
        drsearch evaluate retinopathy@champion --data ~/other-eyes --split all
    """
    from typing import get_args

    from drsearch.data.folder import read_folder
    from drsearch.data.prepare import prepare as make
    from drsearch.release.evaluate import Split
    from drsearch.release.evaluate import evaluate as judge
    from drsearch.settings import Settings

    out, home = console(as_json), Home.from_environment()
    if split not in get_args(Split):
        raise DrsearchError(f"--split {split}: write one of {', '.join(get_args(Split))}.")
    read_folder(data, home.path)
    reach_runs(home)
    with opened_model(model, home) as grader:
        settings = Settings(images=grader.serving.images, data=grader.serving.data)
        with counting(out, "photographs") as count:
            made = make(data, settings, home, skip_bad=skip_bad, for_training=False, on_photograph=count)
        judged = judge(grader, made.records, split, home, f"evaluate {model}")  # type: ignore[arg-type]  # checked above
    n = judged.test_evaluations
    counted = f"; {n} test evaluation{'s' if n > 1 else ''} of this test split so far" if n else ""
    print_scores(out, f"{model} on {judged.scores.n} eyes of {data}, split {split}{counted}", judged.scores)
    print_json(as_json, {"model": model, "split": split, "test_evaluations": n, **judged.scores.to_json()})


@command("Models")
def predict(
    model: Model,
    images: Annotated[list[Path], typer.Argument(metavar="PHOTOGRAPH", help="Photographs as the camera wrote them.")],
    explain: Annotated[
        Path | None,
        typer.Option(
            "--explain",
            metavar="PATH",
            help="Write the photograph with its Grad-CAM heat map: a new file, or a folder for several photographs.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --explain replace files; photographs are never replaced.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Grade photographs: referable (RDR) or not (NRDR).

    RDR means that the probability reaches the threshold that is stored with the model. A photograph that cannot be
    graded is named, the others are graded, and the command ends with status 2.

    Example:
        drsearch predict retinopathy@champion eye.jpg --explain eye-cam.png
    """
    heat_maps = _heat_maps(images, explain, overwrite) if explain else [None] * len(images)
    unreadable = [_unreadable(path) for path in images]
    out, rows = liner(console(as_json)), []
    with contextlib.ExitStack() as opened:
        if not all(unreadable):
            home = Home.from_environment()
            reach_runs(home)
            grader = opened.enter_context(opened_model(model, home))
            from drsearch.serving.answers import Answerer

            answerer = Answerer(grader, model)
        for path, error, heat_map in zip(images, unreadable, heat_maps, strict=True):
            row: dict[str, Any] = {"image": str(path), "error": error}
            if not error:
                row |= answerer.answers([path])[0].to_json()
            if heat_map and not row["error"]:
                try:
                    _write_heat_map(grader.explain(path.read_bytes()), heat_map, overwrite)
                    row["explanation"] = str(heat_map)
                except PhotographError as wrong:
                    row["error"] = f"the photograph {wrong}"
                except OSError as wrong:
                    row["error"] = f"the heat map cannot be written to {heat_map} ({wrong.strerror})"
            rows.append(row)
            for line in _lines(row) if len(images) > 1 or not row["error"] else ():
                out(line)
    print_json(as_json, {"model": model, "predictions": rows})
    failed = [row for row in rows if row["error"]]
    if len(failed) == 1:
        raise DrsearchError(f"{failed[0]['image']}: {failed[0]['error'].removeprefix('the photograph ')}.")
    if failed:
        names = ", ".join(row["image"] for row in failed)
        raise DrsearchError(f"{len(failed)} of {len(rows)} photographs failed, as said above: {names}.")


def _unreadable(path: Path) -> str | None:
    """Why a file cannot be a photograph, as far as can be told without reading it."""
    from drsearch.data.files import check_file

    try:
        check_file(path)
    except OSError as wrong:
        return f"the photograph cannot be read ({wrong.strerror})"
    return None


def _heat_maps(photographs: list[Path], where: Path, overwrite: bool) -> list[Path]:
    """The file of every photograph's heat map: the one that --explain names, or one in the folder that it names.

    Raises:
        OutputError: If one of them would replace a photograph, another file, or another heat map.
    """
    if len(photographs) > 1 or where.is_dir():
        files = [where / f"{photograph.stem}.png" for photograph in photographs]
    elif where.suffix.lower() in (".png", ".jpg", ".jpeg"):
        files = [where]
    else:
        raise OutputError(f"--explain {where}: is no folder, and no name of a picture; name it .png or .jpg.")
    check_outputs(files, photographs, "--explain", overwrite=overwrite)
    return files


def _write_heat_map(picture: Any, file: Path, overwrite: bool) -> None:
    import cv2

    file.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(file.suffix.lower(), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()
    write_whole(file, encoded, replace=overwrite)


def _lines(row: dict[str, Any]) -> Iterator[str]:
    """What is printed of a photograph."""
    image = row["image"]
    if row.get("label"):
        heat_map = f"; heat map in {row['explanation']}" if "explanation" in row else ""
        probability, threshold = row["probability"], row["threshold"]
        yield f"{image}: {row['label']}, probability of RDR {probability:.3f}, threshold {threshold:.3f}{heat_map}"
    if row.get("warning"):
        yield f"{image}: warning: {row['warning']}"
    if row["error"]:
        yield f"{image}: {row['error']}"
