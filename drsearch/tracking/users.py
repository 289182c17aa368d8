"""Who may do what on a team's MLflow server? A file says it, and this brings the server to it, by MLflow's own API.

MLflow's authentication is a part of its own: `pip install 'drsearch[server]'`.
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
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from drsearch.errors import DrsearchError

ROLES: Mapping[str, str] = {
    "reader": "sees everything, changes nothing",
    "researcher": "makes experiments and changes those of its own; adds versions to any registered model",
    "registrar": "a researcher who may set `champion`",
}
"""What a user may be, and what each means."""
GONE = "gone"
"""The role of a user whose account is to be removed."""
SHARED = ("drsearch-records", "trainings")
"""Experiments that every researcher writes to; the others belong to whoever makes them."""

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
        UsersError: If it is no server, or MLflow's authentication is not installed here.
    """

    def __init__(self, tracking_uri: str) -> None:
        if not tracking_uri.startswith(("http://", "https://")):
            raise UsersError(f"{tracking_uri} is no server, and has no users; set MLFLOW_TRACKING_URI to the server's.")
        try:
            from mlflow.server.auth.client import AuthServiceClient
        except ImportError as wrong:
            raise UsersError(
                "users cannot be told to MLflow, its authentication is not installed: pip install 'drsearch[server]'."
            ) from wrong
        self._uri = tracking_uri
        self._auth = AuthServiceClient(tracking_uri)
        self._client = MlflowClient(tracking_uri)

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

    def change_password(self, name: str, password: str) -> None:
        """Give a user another password; users may change their own.

        Raises:
            UsersError: If the server refuses.
        """
        if len(password) < _PASSWORD_CHARACTERS:
            raise UsersError(f"the password has {len(password)} characters; take {_PASSWORD_CHARACTERS} or more.")
        with _translated(self._uri):
            self._auth.update_user_password(name, password)

    def _bring_one(self, user: User, roles: Mapping[str, int], held: set[str] | None) -> Change:
        if user.role == GONE:
            if held is None:
                return Change(user.name, "", "is gone already")
            self._auth.delete_user(user.name)
            return Change(user.name, "", "is removed")
        made, what = "", "is so already"
        if held is None:
            made = "" if user.password else secrets.token_urlsafe(15)
            self._auth.create_user(user.name, user.password or made)
            what = "is made"
        elif user.password:
            self._auth.update_user_password(user.name, user.password)
        for role in sorted((held or set()) & roles.keys() - {user.role}):
            self._auth.unassign_role(user.name, roles[role])
            what = f"was {role}"
        if user.role not in (held or set()):
            self._auth.assign_role(user.name, roles[user.role])
        return Change(user.name, user.role, what, made)

    def _role(self, name: str) -> int:
        """The id of a role that has just the grants it should have."""
        wanted = {(kind, "*"): permission for kind, permission in _GRANTS[name].items()}
        if wanted:
            wanted |= {("experiment", self._experiment(shared)): "EDIT" for shared in SHARED}
        found = next((role for role in self._auth.list_roles(_WORKSPACE) if role.name == name), None)
        role = found or self._auth.create_role(_WORKSPACE, name, ROLES[name])
        for grant in self._auth.list_role_permissions(role.id):
            if wanted.get((grant.resource_type, grant.resource_pattern)) == grant.permission:
                del wanted[grant.resource_type, grant.resource_pattern]
            else:
                self._auth.remove_role_permission(grant.id)
        for (kind, pattern), permission in wanted.items():
            self._auth.add_role_permission(role.id, kind, pattern, permission)
        return int(role.id)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def _there(self) -> dict[str, set[str]]:
        """The names of the roles that every user has."""
        from mlflow.server.auth.routes import LIST_USERS  # AuthServiceClient has no method for it

        told = self._auth._request(LIST_USERS, "GET")["users"]
        return {user["username"]: {role["name"] for role in user["roles"]} for user in told}


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
        raise UsersError(f"{uri} does not take it: {(said.splitlines() or [''])[0][:300]}") from wrong
    except (OSError, requests.RequestException) as wrong:
        raise UsersError(f"{uri} does not answer: {(str(wrong).splitlines() or [''])[0][:200]}") from wrong
