"""Commands on the accounts of a team's MLflow server: users, password."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drsearch.cli.app import command
from drsearch.cli.options import Json
from drsearch.cli.output import console, print_json
from drsearch.display.output import liner

if TYPE_CHECKING:
    from drsearch.tracking.accounts import Change


@command("MLflow")
def users(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV file with the columns user, role and, optionally, password.")
    ],
    as_json: Json = False,
) -> None:
    """Set the accounts of an MLflow server from a file, as admin.

    Roles: reader (sees everything), researcher (own experiments, adds model versions), registrar (a researcher who
    may set the champion), gone (the account is removed). The column password names an environment variable that holds
    the password; without it a password is generated and printed once. A second call with the same file changes nothing.

    Example:
        drsearch users team.csv
    """
    from drsearch.api.server import set_users

    say = liner(console(as_json))

    def print_change(change: "Change") -> None:
        role = f", {change.role}," if change.role else ""
        once = f"; password {change.password} (to be changed: `drsearch password`)" if change.password else ""
        say(f"{change.name}{role} {change.what}{once}")

    changes = [
        {"user": change.name, "role": change.role or None, "change": change.what}
        | ({"password": change.password} if change.password else {})
        for change in set_users(file, print_change)
    ]
    print_json(as_json, {"users": changes})


@command("MLflow")
def password() -> None:
    """Change your own password on the MLflow server.

    You are the user that MLFLOW_TRACKING_USERNAME names. The new password is asked for twice.

    Example:
        drsearch password
    """
    from drsearch.api.access import open_home, reach_mlflow
    from drsearch.api.server import change_password

    reach_mlflow(open_home())  # before anything is asked
    name = change_password(typer.prompt("New password", hide_input=True, confirmation_prompt=True))
    liner(console(False))(f"{name} has a new password; set MLFLOW_TRACKING_PASSWORD to it.")
