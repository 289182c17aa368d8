"""Options that several commands have: one word, one meaning."""

from pathlib import Path
from typing import Annotated

import typer

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
