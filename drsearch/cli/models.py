"""Commands on models: train, evaluate, compare, card, explain, stress, predict."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markdown import Markdown

from drsearch.cli.app import command
from drsearch.cli.completion import among
from drsearch.cli.options import (
    Assignments,
    Configs,
    Data,
    Json,
    Layer,
    LeastQuality,
    Method,
    Model,
    SkipBad,
    given_settings,
)
from drsearch.cli.output import console, print_json, progress_on
from drsearch.display.output import (
    counting,
    liner,
    print_blind,
    print_kappa,
    print_patients,
    print_qualities,
    print_scores,
)
from drsearch.errors import DrsearchError, Interrupted

Answer = tuple[Path, dict[str, Any], Path | None]
"""Of a model for a photograph: the file, the answer by name, and the file of its heat map, if there is one."""

_NAMED = 5
"""Photographs that a message names at most."""

Split = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="test|validation|train|all",
        autocompletion=among("test", "validation", "train", "all"),
        help="Which photographs; all of them only for a data set that the model was not trained on.",
    ),
]


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
    least_quality: LeastQuality = None,
    as_json: Json = False,
) -> None:
    """Train one network without a study, e.g. to repeat a trial.

    settings.gin, with all settings of a trial, is among the artifacts of its MLflow run. The same command resumes a
    training that was interrupted.

    Example:
        drsearch train --data ~/IDRiD --config settings.gin
    """
    from dataclasses import asdict

    from drsearch.api.model import train as run

    out = console(as_json)
    training = run(
        data,
        given_settings(set_, least_quality),
        config=config,
        space=space,
        name=name,
        skip_bad=skip_bad,
        progress=progress_on(out),
    )
    result, outcome = training.result, training.outcome
    if outcome.scores is not None:
        print_scores(out, f"validation, epoch {outcome.epoch} of {len(outcome.history)}", outcome.scores)
    out.print(f"{outcome.state}{': ' + outcome.reason if outcome.reason else ''}; run {result.name} ({result.run_id})")
    values = {
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
    print_json(as_json, values)
    if outcome.state == "failed":
        raise DrsearchError(f"the training failed: {outcome.reason}")


@command("Models")
def evaluate(
    model: Model,
    data: Data,
    split: Split = "test",
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Score a registered model on a split, with 95 % intervals.

    Where patients are known, they are scored beside eyes: a patient is referable if an eye is. Photographs and patients
    that the model was trained on are refused. Every test evaluation is counted. Photographs that are all of one class
    have a sensitivity or a specificity, and no AUC.

    Example:
        drsearch evaluate retinopathy@champion --data ~/other-eyes --split all
    """
    from drsearch.api.model import evaluate as score
    from drsearch.release.blind_scores import blind_caution, blind_text

    out = console(as_json)
    evaluation = score(model, data, split, skip_bad=skip_bad, progress=progress_on(out))
    of, counted = _of(data, split), _counted(evaluation.test_evaluations)
    print_scores(out, f"{model} on {evaluation.scores.n} eyes {of}{counted}", evaluation.scores)
    print_patients(out, evaluation.patients)
    print_kappa(out, evaluation.kappa)
    for source, scores in evaluation.sources.items():
        print_scores(out, f"{scores.n} eyes of {source}", scores)
    print_qualities(out, evaluation)
    print_blind(out, blind_text(evaluation.blind), blind_caution(evaluation.blind))
    out.print(f"referable: {evaluation.task.words}", markup=False)
    print_json(as_json, {"model": model, "split": split, **evaluation.to_json()})


@command("Models")
def compare(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Registered versions; differences are from the first.")
    ],
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="Data set whose test split is used. Default: that of the first model. Repeatable.",
        ),
    ] = [],  # noqa: B006
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page.")] = Path("compare.html"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --out replace a file.")] = False,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Compare registered models on the same test eyes.

    Writes a page: scores and paired differences with 95 % intervals, ROC curves, the lesion-blind baseline, and the
    photographs of the eyes on which the models disagree. Nothing is decided; it counts as one test evaluation.

    Example:
        drsearch compare retinopathy/1 retinopathy/2 --out compare.html
    """
    from drsearch.api.model import compare as run
    from drsearch.display.comparison_table import print_comparison

    console_ = console(as_json)
    result = run(models, data or None, out=out, overwrite=overwrite, skip_bad=skip_bad, progress=console_)
    print_comparison(console_, result)
    liner(console_)(f"written to {out}")
    print_json(as_json, result.to_json())


@command("Models")
def card(
    model: Model,
    checklist: Annotated[
        str,
        typer.Option(
            "--checklist",
            metavar="tripod-ai|claim|stard-ai",
            help="Instead of the card, the items of a reporting guideline, filled in as far as drsearch knows.",
        ),
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it to this file instead, as Markdown.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --out replace a file.")] = False,
    as_json: Json = False,
) -> None:
    """Print the model card of a registered version.

    What it is, what it was made from, its scores with intervals, its failures, what it is not for. It is made when the
    version is registered, and gains what evaluate, explain and stress measure. With a checklist, what a person must
    still write is marked as such.

    Example:
        drsearch card retinopathy@champion --checklist tripod-ai --out tripod.md
    """
    from drsearch.api.model import model_card
    from drsearch.files import check_outputs, write_whole

    console_ = console(as_json)
    if out is not None:
        check_outputs([out.expanduser()], [], "--out", overwrite=overwrite)
    of_version = model_card(model)
    filled = of_version.checklist(checklist) if checklist else None
    text = (filled or of_version).markdown()
    if out is not None:
        out = out.expanduser()
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text.encode(), replace=overwrite)
        liner(console_)(f"{filled.text if filled else f'model card of {of_version.name}'}; written to {out}")
    elif console_.is_terminal:
        console_.print(Markdown(text))
    elif not as_json:
        print(text, end="")  # for a file, not for eyes: no wrapping
    print_json(as_json, filled.to_json() if filled else json.loads(of_version.to_json()))


@command("Models")
def explain(
    model: Model,
    data: Data,
    split: Split = "test",
    method: Method = "",
    layer: Layer = "",
    seen: Annotated[bool, typer.Option("--seen", help="Also of photographs that the model was trained on.")] = False,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Measure whether a registered model looks at lesions.

    In referable eyes that have boxes around lesions: how often the peak of the heat lies in a lesion, the share of
    heat in lesions by kind and by grade, against chance, untrained networks and the boxes of other eyes; deletion and
    insertion curves; maps of randomised weights. On the test split this is a test evaluation, and counted. Figures, a
    chart, and heat maps of six of the eyes are logged to the version's run.

    Example:
        drsearch explain retinopathy@champion --data ~/IDRiD --method hirescam
    """
    from drsearch.api.model import explain as measure
    from drsearch.display.explanation_table import print_explanation

    out = console(as_json)
    result = measure(
        model, data, split, method=method, layer=layer, seen=seen, skip_bad=skip_bad, progress=progress_on(out)
    )
    title = (
        f"{model}, {result.method}: {result.n} of {result.n_referable} referable eyes {_of(data, split)}, have boxes"
        f" around lesions{_counted(result.test_evaluations)}"
    )
    print_explanation(out, title, result)
    print_json(as_json, {"model": model, **result.to_json()})


@command("Models")
def stress(
    model: Model,
    data: Data,
    split: Split = "test",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write the chart, an HTML page.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Let --out replace a file.")] = False,
    skip_bad: SkipBad = False,
    as_json: Json = False,
) -> None:
    """Score a registered model on photographs that are made worse.

    Blur, exposure, colour cast, JPEG quality, rotation, a crop that is too tight and the resolution of the camera, at
    four strengths each. Refuses what evaluate refuses; on the test split this is a test evaluation, and counted. Chart
    and figures are logged to the version's run.

    Example:
        drsearch stress retinopathy@champion --data ~/IDRiD --out stress.html
    """
    from drsearch.api.model import stress as score
    from drsearch.display.stress_table import print_stress

    console_ = console(as_json)
    result = score(model, data, split, out=out, overwrite=overwrite, skip_bad=skip_bad, progress=progress_on(console_))
    of, counted = _of(data, split), _counted(result.test_evaluations)
    title = f"{model} on {result.undamaged.n} eyes {of}, threshold {result.threshold:.4g}{counted}"
    print_stress(console_, title, result)
    print_json(as_json, {"model": model, **result.to_json()})


@command("Models")
def predict(
    model: Model,
    images: Annotated[
        list[Path], typer.Argument(metavar="PHOTOGRAPH", help="Photographs as the camera wrote them, or their folder.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write a table (CSV), a row per photograph, and print its counts."),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            "--explain",
            metavar="PATH",
            help="Write the photograph with its heat map, and the map alone beside it: a new file, or a folder for "
            "several photographs.",
        ),
    ] = None,
    method: Method = "",
    layer: Layer = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --out and --explain replace files; photographs are never replaced.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Grade photographs: referable (RDR) or not (NRDR).

    RDR means that the probability reaches the threshold that is stored with the model. A photograph of lower quality
    than those that the model was trained on is not gradable. One that cannot be read or shows no retina is named, the
    others are graded, and the command ends with status 2.

    Example:
        drsearch predict retinopathy@champion eye.jpg --explain eye-cam.png
        drsearch predict retinopathy@champion photographs --out grades.csv
    """
    from drsearch.api.model import files_of, graded
    from drsearch.files import check_outputs

    terminal, paths = console(as_json), files_of(images)
    say, progress = liner(terminal), progress_on(terminal) if out is None else False
    if out is not None:
        out = out.expanduser()
        check_outputs([out], paths, "--out", overwrite=overwrite)
    given = graded(model, paths, explain=explain, method=method, layer=layer, overwrite=overwrite, progress=progress)
    if out is not None:
        rows = _into_table(out, given, len(paths), terminal, explained=explain is not None, overwrite=overwrite)
        counts = Counter(row.get("label") or "failed" for row in rows)
        say(f"{len(rows)} photographs: {', '.join(f'{n} {label}' for label, n in counts.items())}; written to {out}")
    else:
        rows = []
        for answer in given:
            rows.append(_row(*answer))
            for line in _lines(rows[-1]) if len(paths) > 1 or not rows[-1]["error"] else ():
                say(line)
    print_json(as_json, {"model": model, "predictions": rows})
    failed = [row for row in rows if row["error"]]
    if len(failed) == 1:
        raise DrsearchError(f"{failed[0]['image']}: {failed[0]['error'].removeprefix('the photograph ')}.")
    if failed:
        names = ", ".join(row["image"] for row in failed[:_NAMED])
        more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise DrsearchError(f"{len(failed)} of {len(rows)} photographs failed: {names}{more}.")


def _into_table(
    file: Path, given: Iterable[Answer], total: int, out: Console, *, explained: bool, overwrite: bool
) -> list[dict[str, Any]]:
    """Write answers as a table, CSV; after Ctrl-C those that there are by then."""
    from drsearch.api.model import answer_table
    from drsearch.files import write_whole

    answers: list[Answer] = []
    with contextlib.suppress(KeyboardInterrupt), counting(out, "photographs") as count:
        for answer in given:
            answers.append(answer)
            count(len(answers), total)
    if not answers:
        raise KeyboardInterrupt
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, answer_table(answers, explained=explained).to_csv().encode(), replace=overwrite)
    if len(answers) < total:
        raise Interrupted(f"{len(answers)} of {total} photographs were graded; their answers are in {file}.")
    return [_row(*answer) for answer in answers]


def _row(path: Path, answer: dict[str, Any], heat_map: Path | None) -> dict[str, Any]:
    """An answer as `--json` prints it."""
    row = {"image": str(path), "error": answer["error"], **answer}
    return row | ({"explanation": str(heat_map)} if heat_map else {})


def _of(data: Sequence[Path], split: str) -> str:
    return f"of {' and '.join(map(str, data))}, split {split}"


def _counted(n: int) -> str:
    """How often a test split was evaluated; empty where none was."""
    return f"; {n} test evaluation{'s' if n > 1 else ''} of this test split so far" if n else ""


def _lines(row: dict[str, Any]) -> Iterator[str]:
    """What is printed of a photograph."""
    image = row["image"]
    if row.get("reason"):
        yield f"{image}: {row['label']}: {row['reason']}"
    elif row.get("label"):
        heat_map = f"; heat map in {row['explanation']}" if "explanation" in row else ""
        probability, threshold = row["probability"], row["threshold"]
        yield f"{image}: {row['label']}, probability of RDR {probability:.3f}, threshold {threshold:.3f}{heat_map}"
    if row.get("warning"):
        yield f"{image}: warning: {row['warning']}"
    if row["error"]:
        yield f"{image}: {row['error']}"
