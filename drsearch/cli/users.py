"""Commands on the accounts of a team's MLflow server: users, password."""

from pathlib import Path
from typing import Annotated

import typer

from drsearch.cli.app import app
from drsearch.cli.options import Json
from drsearch.cli.output import console, liner, print_json
from drsearch.home import Home


@app.command()
def users(
    file: Annotated[Path, typer.Argument(help="CSV with the columns user, role and, where wanted, password.")],
    as_json: Json = False,
) -> None:
    """Bring the accounts of the MLflow server to what FILE says, as an admin; again changes nothing.

    Roles: reader (sees everything), researcher (own experiments, adds model versions), registrar (a researcher who
    may set `champion`), gone (the account is removed). The column password names an environment variable that holds
    one; without it a password is made, and printed this once.
    """
    from drsearch.tracking.users import Users, read_users

    say, told = liner(console(as_json)), []
    for change in Users(Home.from_environment().tracking_uri).bring(read_users(file)):
        role = f", {change.role}," if change.role else ""
        once = f"; password {change.password} (to be changed: `drsearch password`)" if change.password else ""
        say(f"{change.name}{role} {change.what}{once}")
        told.append(
            {"user": change.name, "role": change.role or None, "change": change.what}
            | ({"password": change.password} if change.password else {})
        )
    print_json(as_json, {"users": told})


@app.command()
def password() -> None:
    """Change the password of the user MLFLOW_TRACKING_USERNAME on the MLflow server; asked for twice."""
    from drsearch.tracking.users import Users

    accounts = Users(Home.from_environment().tracking_uri)
    name = accounts.change_password(typer.prompt("New password", hide_input=True, confirmation_prompt=True))
    liner(console(False))(f"{name} has a new password; set MLFLOW_TRACKING_PASSWORD to it.")
