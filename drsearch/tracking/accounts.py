"""Accounts and roles on a team's MLflow server, from a users file, by MLflow's REST API.

MLflow's own client of these routes (`mlflow.server.auth.client`) imports its whole server and needs `mlflow[auth]`;
this file calls the few that drsearch needs.
"""

import csv
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from drsearch.errors import DrsearchError
from drsearch.tracking.mlflow_client import first_line, get_or_create_experiment, open_client

ROLES: Mapping[str, str] = {
    "reader": "sees everything, changes nothing",
    "researcher": "makes experiments and changes those of its own; adds versions to any registered model",
    "registrar": "a researcher who may set `champion`",
}
"""Roles of users, each with its meaning."""
GONE = "gone"
"""The role that removes a user's account."""
SHARED: Mapping[str, tuple[str, ...]] = {
    "reader": (),
    "researcher": ("drsearch-records", "trainings"),
    "registrar": ("drsearch-records", "trainings", "drsearch-decisions"),
}
"""Experiments that everyone with a role may write to; any other belongs to the user who creates it."""

_GRANTS: Mapping[str, Mapping[str, str]] = {
    "reader": {},
    "researcher": {"workspace": "USE", "registered_model": "EDIT"},  # USE: may create new ones
    "registrar": {"workspace": "USE", "registered_model": "MANAGE"},
}
_WORKSPACE = "default"
_ADMIN = "admin"
_PASSWORD_CHARACTERS = 12  # MLflow's own limit
_COLUMNS = ("user", "role", "password")


class UsersError(DrsearchError, ValueError):
    """A users file that is not valid, or a server that refuses a change."""


@dataclass(frozen=True)
class User:
    """One line of a users file.

    Attributes:
        name: For signing in.
        role: One of `ROLES`, or `GONE`.
        password: Value of the variable that the file names; empty for a generated password.
    """

    name: str
    role: str
    password: str = ""


@dataclass(frozen=True)
class Change:
    """A change of a user's account.

    Attributes:
        name: For signing in.
        role: The user's role now; empty if it is none of `ROLES`.
        what: The change in words.
        password: A generated password, which is shown nowhere else; or empty.
    """

    name: str
    role: str
    what: str
    password: str = ""


def read_users(path: Path) -> tuple[User, ...]:
    """The users in a file.

    Args:
        path: CSV with the columns `user`, `role` and optionally `password`: the name of the environment variable that
            holds the password. The file itself has no passwords.

    Raises:
        UsersError: If the file cannot be read, or a line is not valid.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError) as wrong:
        raise UsersError(f"{path}: cannot be read ({wrong}); name a CSV file with the columns user, role.") from wrong
    if not rows:
        raise UsersError(f"{path}: names no user; write a first line `user,role`, and one line for each of them.")
    odd = set(rows[0]) - set(_COLUMNS)
    if odd or not {"user", "role"} <= rows[0].keys():
        raise UsersError(f"{path}: has the columns {', '.join(map(str, rows[0]))}; write {', '.join(_COLUMNS)}.")
    users = [_user(f"{path}, line {number}", row) for number, row in enumerate(rows, 2)]
    names = [user.name for user in users]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsersError(f"{path}: names {twice} twice; leave one of the lines.")
    return tuple(users)


def _user(where: str, row: Mapping[str, Any]) -> User:
    name, role, variable = ((row.get(column) or "").strip() for column in _COLUMNS)
    if not name:
        raise UsersError(f"{where}: has no user; write a name, or remove the line.")
    if name == _ADMIN:
        raise UsersError(f"{where}: the server itself creates {_ADMIN}; remove the line.")
    if role not in (*ROLES, GONE):
        raise UsersError(f"{where}: {name} has the role {role!r}; write one of {', '.join((*ROLES, GONE))}.")
    if not variable:
        return User(name, role)
    password = os.environ.get(variable, "")
    if len(password) < _PASSWORD_CHARACTERS and role != GONE:
        raise UsersError(
            f"{where}: the environment variable {variable} holds {len(password)} characters; "
            f"set it to a password of {_PASSWORD_CHARACTERS} or more."
        )
    return User(name, role, password)


class Users:
    """The accounts of an MLflow server, for an admin (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD).

    Args:
        tracking_uri: Of the server.

    Raises:
        UsersError: If the address is not a server's.
    """

    def __init__(self, tracking_uri: str) -> None:
        if not tracking_uri.startswith(("http://", "https://")):
            raise UsersError(f"{tracking_uri} is no server, and has no users; set MLFLOW_TRACKING_URI to the server's.")
        self._uri = tracking_uri
        self._client = open_client(tracking_uri)

    def apply(self, users: Sequence[User]) -> Iterator[Change]:
        """Change the accounts to those of a users file.

        Yields:
            The change of each user, once it is done; then the users that the file does not name.

        Raises:
            UsersError: If the server refuses.
        """
        with _translated(self._uri):
            roles = {name: self._role(name) for name in ROLES}
            roles_of = self._roles_by_user()
            for user in users:
                yield self._apply_to(user, roles, roles_of.get(user.name))
            for name in sorted(roles_of.keys() - {user.name for user in users} - {_ADMIN}):
                held = sorted(roles_of[name] & roles.keys())
                yield Change(name, ", ".join(held), f"is not in the file, and is left; write role {GONE} to remove it")

    def change_password(self, password: str) -> str:
        """Change the password of the user who is signed in.

        Returns:
            The user's name.

        Raises:
            UsersError: If nobody is signed in, or the server refuses.
        """
        name, current = (os.environ.get(f"MLFLOW_TRACKING_{what}", "") for what in ("USERNAME", "PASSWORD"))
        if not name or not current:
            raise UsersError("set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to what you sign in with now.")
        if len(password) < _PASSWORD_CHARACTERS:
            raise UsersError(f"the password has {len(password)} characters; take {_PASSWORD_CHARACTERS} or more.")
        with _translated(self._uri):
            self._set_password(name, password, current_password=current)
        return name

    def _apply_to(self, user: User, roles: Mapping[str, int], held: set[str] | None) -> Change:
        if user.role == GONE:
            if held is None:
                return Change(user.name, "", "is gone already")
            self._ask("DELETE", "2.0/mlflow/users/delete", username=user.name)
            return Change(user.name, "", "is removed")
        generated, what = "", "is so already"
        if held is None:
            generated = "" if user.password else secrets.token_urlsafe(15)
            self._ask("POST", "2.0/mlflow/users/create", username=user.name, password=user.password or generated)
            what = "is made"
        elif user.password:
            self._set_password(user.name, user.password)
        for role in sorted((held or set()) & roles.keys() - {user.role}):
            self._ask("DELETE", "3.0/mlflow/roles/unassign", username=user.name, role_id=roles[role])
            what = f"was {role}"
        if user.role not in (held or set()):
            self._ask("POST", "3.0/mlflow/roles/assign", username=user.name, role_id=roles[user.role])
        return Change(user.name, user.role, what, generated)

    def _role(self, name: str) -> int:
        """Create a role if needed, and give it exactly the permissions of `_GRANTS` and `SHARED`; returns its id."""
        wanted = {(kind, "*"): permission for kind, permission in _GRANTS[name].items()}
        shared = [get_or_create_experiment(self._client, experiment) for experiment in SHARED[name]]
        wanted |= {("experiment", str(experiment.experiment_id)): "EDIT" for experiment in shared}
        roles = self._ask("GET", "3.0/mlflow/roles/list", workspace=_WORKSPACE)["roles"]
        role = next((role for role in roles if role["name"] == name), None)
        if role is None:
            new = {"workspace": _WORKSPACE, "name": name, "description": ROLES[name]}
            role = self._ask("POST", "3.0/mlflow/roles/create", **new)["role"]
        of = "3.0/mlflow/roles/permissions"
        for grant in self._ask("GET", f"{of}/list", role_id=role["id"])["role_permissions"]:
            if wanted.get((grant["resource_type"], grant["resource_pattern"])) == grant["permission"]:
                del wanted[grant["resource_type"], grant["resource_pattern"]]
            else:
                self._ask("DELETE", f"{of}/remove", role_permission_id=grant["id"])
        for (kind, pattern), permission in wanted.items():
            to = {"role_id": role["id"], "resource_type": kind, "resource_pattern": pattern, "permission": permission}
            self._ask("POST", f"{of}/add", **to)
        return int(role["id"])

    def _roles_by_user(self) -> dict[str, set[str]]:
        """Names of users, each with the names of its roles."""
        users = self._ask("GET", "2.0/mlflow/users/list")["users"]
        return {user["username"]: {role["name"] for role in user["roles"]} for user in users}

    def _set_password(self, name: str, password: str, **current: str) -> None:
        self._ask("PATCH", "2.0/mlflow/users/update-password", username=name, password=password, **current)

    def _ask(self, method: str, route: str, **values: object) -> Any:
        how = "params" if method == "GET" else "json"
        endpoint = f"/api/{route}"
        answer = http_request(get_default_host_creds(self._uri), endpoint, method, max_retries=1, **{how: values})
        verify_rest_response(answer, endpoint)
        return answer.json() if answer.content else {}


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as wrong:
        text = str(wrong)
        if "error code 401" in text:
            raise UsersError(
                f"{uri} knows no such user and password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            ) from wrong
        if "error code 403" in text:
            raise UsersError(
                f"{uri} allows this to an admin only; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to one."
            ) from wrong
        if "error code 404" in text or "not found" in text.lower():
            raise UsersError(f"{uri} has no users: start it as docs/server.md says.") from wrong
        raise UsersError(f"{uri} does not take it: {first_line(wrong)}") from wrong
    except (OSError, requests.RequestException) as wrong:
        raise UsersError(f"{uri} does not answer: {first_line(wrong)}") from wrong
