"""Who may do what on a team's MLflow server? A file says it, and this brings the server to it, by MLflow's own API.

MLflow's own client of these routes (`mlflow.server.auth.client`) imports its whole server and takes `mlflow[auth]`: the
few that are needed are asked here.
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
"""What a user may be, and what each means."""
GONE = "gone"
"""The role of a user whose account is to be removed."""
SHARED: Mapping[str, tuple[str, ...]] = {
    "reader": (),
    "researcher": ("drsearch-records", "trainings"),
    "registrar": ("drsearch-records", "trainings", "drsearch-decisions"),
}
"""Experiments that everyone of a role writes to; the others belong to whoever makes them."""

_GRANTS: Mapping[str, Mapping[str, str]] = {
    "reader": {},
    "researcher": {"workspace": "USE", "registered_model": "EDIT"},  # USE: may make what is not there yet
    "registrar": {"workspace": "USE", "registered_model": "MANAGE"},
}
_WORKSPACE = "default"
_ADMIN = "admin"
_PASSWORD_CHARACTERS = 12  # MLflow's own limit
_COLUMNS = ("user", "role", "password")


class UsersError(DrsearchError, ValueError):
    """Users that cannot be made as asked: by the file, or by the server."""


@dataclass(frozen=True)
class User:
    """One line of a users file.

    Attributes:
        name: By which they sign in.
        role: One of `ROLES`, or `GONE`.
        password: What the file's variable holds; empty where one is to be made.
    """

    name: str
    role: str
    password: str = ""


@dataclass(frozen=True)
class Change:
    """What was done about a user.

    Attributes:
        name: By which they sign in.
        role: That they have now; empty if they have none of ours.
        what: In words.
        password: One that was made, and is told nowhere else.
    """

    name: str
    role: str
    what: str
    password: str = ""


def read_users(path: Path) -> tuple[User, ...]:
    """The users that a file names.

    Args:
        path: CSV with the columns `user`, `role` and, where wanted, `password`: the name of the environment variable
            that holds it. No password stands in the file.

    Raises:
        UsersError: If it cannot be read, or a line is not as it should be.
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
        raise UsersError(f"{where}: {_ADMIN} is made by the server itself; remove the line.")
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
    """The accounts of an MLflow server, seen as an admin (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD).

    Args:
        tracking_uri: Of the server.

    Raises:
        UsersError: If it is no server.
    """

    def __init__(self, tracking_uri: str) -> None:
        if not tracking_uri.startswith(("http://", "https://")):
            raise UsersError(f"{tracking_uri} is no server, and has no users; set MLFLOW_TRACKING_URI to the server's.")
        self._uri = tracking_uri
        self._client = open_client(tracking_uri)

    def bring(self, users: Sequence[User]) -> Iterator[Change]:
        """Bring the server to what a file says; what is so already is left alone.

        Yields:
            What was done about each user, when it is done; then those whom the file does not name.

        Raises:
            UsersError: If the server refuses.
        """
        with _translated(self._uri):
            roles = {name: self._role(name) for name in ROLES}
            there = self._there()
            for user in users:
                yield self._bring_one(user, roles, there.get(user.name))
            for name in sorted(there.keys() - {user.name for user in users} - {_ADMIN}):
                held = sorted(there[name] & roles.keys())
                yield Change(name, ", ".join(held), f"is not in the file, and is left; write role {GONE} to remove it")

    def change_password(self, password: str) -> str:
        """Give the user who is signed in another password; their name.

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

    def _bring_one(self, user: User, roles: Mapping[str, int], held: set[str] | None) -> Change:
        if user.role == GONE:
            if held is None:
                return Change(user.name, "", "is gone already")
            self._ask("DELETE", "2.0/mlflow/users/delete", username=user.name)
            return Change(user.name, "", "is removed")
        made, what = "", "is so already"
        if held is None:
            made = "" if user.password else secrets.token_urlsafe(15)
            self._ask("POST", "2.0/mlflow/users/create", username=user.name, password=user.password or made)
            what = "is made"
        elif user.password:
            self._set_password(user.name, user.password)
        for role in sorted((held or set()) & roles.keys() - {user.role}):
            self._ask("DELETE", "3.0/mlflow/roles/unassign", username=user.name, role_id=roles[role])
            what = f"was {role}"
        if user.role not in (held or set()):
            self._ask("POST", "3.0/mlflow/roles/assign", username=user.name, role_id=roles[user.role])
        return Change(user.name, user.role, what, made)

    def _role(self, name: str) -> int:
        """The id of a role that has just the grants it should have."""
        wanted = {(kind, "*"): permission for kind, permission in _GRANTS[name].items()}
        wanted |= {("experiment", self._experiment(shared)): "EDIT" for shared in SHARED[name]}
        roles = self._ask("GET", "3.0/mlflow/roles/list", workspace=_WORKSPACE)["roles"]
        role = next((role for role in roles if role["name"] == name), None)
        if role is None:
            told = {"workspace": _WORKSPACE, "name": name, "description": ROLES[name]}
            role = self._ask("POST", "3.0/mlflow/roles/create", **told)["role"]
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

    def _experiment(self, name: str) -> str:
        return str(get_or_create_experiment(self._client, name).experiment_id)

    def _there(self) -> dict[str, set[str]]:
        """The names of the roles that every user has."""
        told = self._ask("GET", "2.0/mlflow/users/list")["users"]
        return {user["username"]: {role["name"] for role in user["roles"]} for user in told}

    def _set_password(self, name: str, password: str, **current: str) -> None:
        self._ask("PATCH", "2.0/mlflow/users/update-password", username=name, password=password, **current)

    def _ask(self, method: str, route: str, **said: object) -> Any:
        how = "params" if method == "GET" else "json"
        endpoint = f"/api/{route}"
        answer = http_request(get_default_host_creds(self._uri), endpoint, method, max_retries=1, **{how: said})
        verify_rest_response(answer, endpoint)
        return answer.json() if answer.content else {}


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as wrong:
        said = str(wrong)
        if "error code 401" in said:
            raise UsersError(
                f"{uri} knows no such user and password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            ) from wrong
        if "error code 403" in said:
            raise UsersError(
                f"{uri} allows this to an admin only; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to one."
            ) from wrong
        if "error code 404" in said or "not found" in said.lower():
            raise UsersError(f"{uri} has no users: start it as docs/server.md says.") from wrong
        raise UsersError(f"{uri} does not take it: {first_line(wrong)}") from wrong
    except (OSError, requests.RequestException) as wrong:
        raise UsersError(f"{uri} does not answer: {first_line(wrong)}") from wrong
