"""Options and arguments that several commands have: one word, one meaning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from drsearch.cli import completion
from drsearch.settings import Value

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on standard output; all other text goes to standard error."),
]
Data = Annotated[
    list[Path],
    typer.Option(
        "--data",
        metavar="FOLDER",
        help="Photographs and labels, in a layout that `drsearch describe` recognises; or the file that it writes. "
        "Repeatable: several data sets are pooled.",
    ),
]
Configs = Annotated[
    list[str],
    typer.Option(
        "--config",
        metavar="FILE",
        autocompletion=completion.gin_files,
        help="Gin file, or a shipped one: best.gin, quick.gin, report.gin, small.gin. Repeatable; later ones win.",
    ),
]
Assignments = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        autocompletion=completion.settings,
        help="One setting, e.g. training.epochs=40. Repeatable; wins over every file.",
    ),
]
StorageUrl = Annotated[
    str,
    typer.Option(
        "--storage",
        metavar="URL",
        envvar="DRSEARCH_STORAGE",  # a command line, and a password in it, can be read by everyone on the machine
        help="Study database, e.g. postgresql://user@host/optuna. Default: SQLite in DRSEARCH_HOME.",
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out photographs and labels that cannot be used.")]
LeastQuality = Annotated[
    float | None,
    typer.Option(
        "--least-quality",
        metavar="SCORE",
        min=0,
        max=1,
        help="Leave out photographs of a lower quality score, 0 to 1; short for --set data.least_quality=SCORE.",
    ),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=completion.models,
        help="A registered version: retinopathy/3 or retinopathy@champion.",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="gradcam|gradcam++|hirescam|occlusion|lesion_map",
        autocompletion=completion.among("gradcam", "gradcam++", "hirescam", "occlusion", "lesion_map"),
        help="How heat maps are made; occlusion takes 256 answers per photograph. Default: lesion_map if the model has "
        "learned one, else gradcam.",
    ),
]
Layer = Annotated[
    str,
    typer.Option(
        "--layer",
        metavar="NAME",
        help="Layer whose places are explained, e.g. stage2_block1_add. Default: the last one with places.",
    ),
]
ModelName = Annotated[
    str,
    typer.Argument(metavar="NAME", autocompletion=completion.model_names, help="A registered model, e.g. retinopathy."),
]
Study = Annotated[
    str,
    typer.Argument(
        metavar="STUDY", autocompletion=completion.studies, help="Name of the study; `drsearch status` lists them."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def given_settings(set_: Sequence[str], least_quality: float | None) -> dict[str, Value]:
    """The settings of `--set` and `--least-quality`.

    Raises:
        SettingsError: If a text of `--set` is of another form, or names no setting.
    """
    from drsearch.config import assignments

    quality = {} if least_quality is None else {"data.least_quality": least_quality}
    return {**assignments(set_), **quality}
