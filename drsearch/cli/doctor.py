"""The command on the machine itself: doctor."""

from pathlib import Path
from typing import Annotated

import typer

from drsearch.cli.app import command
from drsearch.cli.options import Json, StorageUrl
from drsearch.cli.output import console, print_json, progress_on
from drsearch.display.output import working
from drsearch.errors import DrsearchError


@command("Studies")
def doctor(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FOLDER", help="Photographs that a study would use: are they recognised?"),
    ] = None,
    storage: StorageUrl = "",
    as_json: Json = False,
) -> None:
    """Check this machine: what is missing, and what to do.

    Libraries and their versions, what TensorFlow sees, cores, memory, disk, DRSEARCH_HOME, MLflow, the study database,
    and clocks. Nothing is changed. Ends with status 2 if something will not work.

    Example:
        drsearch doctor --data ~/IDRiD
    """
    from drsearch.api.doctor import Checkup, checks
    from drsearch.display.checkup_table import print_check

    out, done = console(as_json), []
    with working(progress_on(out), "checking"):
        for check in checks(data, storage):
            print_check(out, check)
            done.append(check)
    checkup = Checkup(tuple(done))
    print_json(as_json, checkup.to_json())
    if failed := checkup.failed:
        raise DrsearchError(f"{len(failed)} of {len(done)} checks fail: {', '.join(check.name for check in failed)}.")
