"""Commands on models: train, evaluate, predict."""

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
    reach_mlflow,
    warn_if_away,
)
from drsearch.errors import DrsearchError
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
    from drsearch.search.source import read_source

    out, home = console(as_json), Home.from_environment()
    settings = gin_files.load(config, set_)
    if space is not None:
        read_source(space)
    read_folder(data)

    from drsearch.search.definition import check_name
    from drsearch.tracking.depot import check_experiments

    check_name("--name", name)
    if warn_if_away(home, out):
        check_experiments(home, TRAININGS)

    from dataclasses import asdict

    from drsearch.data.prepare import prepare as make
    from drsearch.live import training_view
    from drsearch.model.training import set_threads
    from drsearch.release.training import check_network
    from drsearch.release.training import train as train_once
    from drsearch.search.crew import cores
    from drsearch.search.space import read_space

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

    Photographs that the model was trained on are refused. Every test evaluation is counted.

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
    read_folder(data)
    reach_mlflow(home)
    with opened_model(model, home) as grader:
        settings = Settings(images=grader.serving.images, data=grader.serving.data)
        with counting(out, "photographs") as count:
            made = make(data, settings, home, skip_bad=skip_bad, for_training=False, on_photograph=count)
        judged = judge(grader, made.records, split, home, f"evaluate {model}")  # type: ignore[arg-type]  # checked above
    looked = f"; this test split has been looked at {judged.looks} times" if judged.looks else ""
    print_scores(out, f"{model} on {judged.scores.n} eyes of {data}, split {split}{looked}", judged.scores)
    print_json(as_json, {"model": model, "split": split, "looks": judged.looks, **judged.scores.to_json()})


@command("Models")
def predict(
    model: Model,
    images: Annotated[list[Path], typer.Argument(metavar="PHOTOGRAPH", help="Photographs as the camera wrote them.")],
    explain: Annotated[
        Path | None,
        typer.Option(
            "--explain",
            metavar="PATH",
            help="Write the photograph with its Grad-CAM heat map: a file, or a folder for several photographs.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Grade photographs: referable (RDR) or not (NRDR).

    RDR means that the probability reaches the threshold that is stored with the model.

    Example:
        drsearch predict retinopathy@champion eye.jpg --explain eye-cam.png
    """
    home = Home.from_environment()
    photographs = [(path, _read_bytes(path)) for path in images]
    reach_mlflow(home)
    from dataclasses import asdict

    from drsearch.errors import PhotographError

    out = console(as_json)
    found = []
    with opened_model(model, home) as grader:
        for path, data in photographs:
            try:
                verdict = grader.grade([data])[0]
                drawn = _explained(grader.explain(data), path, explain, len(images)) if explain else None
            except PhotographError as wrong:
                raise PhotographError(f"{path}: {wrong}") from wrong
            shown = f"  explained in {drawn}" if drawn else ""
            liner(out)(f"{path}: {verdict.label}, probability of RDR {verdict.probability:.3f}{shown}")
            told = {"image": str(path), **asdict(verdict)}
            found.append(told | ({"explanation": str(drawn)} if drawn else {}))
    print_json(as_json, {"model": model, "predictions": found})


def _read_bytes(path: Path) -> bytes:
    from drsearch.data.files import read_file

    try:
        return read_file(path)
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
