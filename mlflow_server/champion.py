"""Who may change what `champion` stands for? Registrars; MLflow alone lets everyone who may add a version.

MLflow calls `authenticate` before every request (`authorization_function` of its auth config). It asks MLflow's own
basic authentication, and then refuses what would give the alias, or the model behind it, to somebody without the role.
"""

import json
import posixpath
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from flask import Response, g, request
from mlflow.entities.model_registry import ModelVersion
from mlflow.server import auth
from mlflow.server.handlers import _get_model_registry_store
from mlflow.utils.workspace_context import ServerWorkspaceContext
from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME
from werkzeug.datastructures import Authorization

ALIAS = "champion"
ROLE = "registrar"
DECISIONS = "drsearch-decisions"
"""How the experiments are called in which decisions on champions are claimed and kept."""

_API = re.compile(r"/(?:ajax-)?api/[23]\.0/mlflow/(.+?)/?")
_ARTIFACTS = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/(?:artifacts|mpu/[^/]+)/?(.*)", re.DOTALL)
_ON_MODELS = {"registered-models/rename", "registered-models/delete", "model-versions/delete"}


def authenticate() -> Authorization | Response:
    """Who asks, or the refusal: what MLflow's `authorization_function` has to answer."""
    if "drsearch_answer" not in g:  # MLflow asks several times a request
        said = request.authorization
        # MLflow answers another scheme than basic with an error of its own, 500.
        other = said is not None and said.type != "basic"
        answer = auth.make_basic_auth_response() if other else auth.authenticate_request_basic_auth()
        if isinstance(answer, Authorization) and request.method != "GET" and _touches_champion():
            if not _is_registrar(answer.username):
                answer = Response(
                    f"Only a {ROLE} may change what `{ALIAS}` stands for; ask one, or an admin for the role.\n", 403
                )
        g.drsearch_answer = answer
    found: Authorization | Response = g.drsearch_answer
    return found


def _is_registrar(username: str | None) -> bool:
    user = auth.store.get_user(username)
    return user.is_admin or any(role.name == ROLE for role in auth.store.list_user_roles(user.id))


def _touches_champion() -> bool:
    if called := _API.fullmatch(request.path):
        what = called[1].split("/")
        if called[1] == "registered-models/alias":
            return ALIAS in _said("alias")
        if called[1] in ("experiments/create", "experiments/update"):
            names = _said("name") | _said("new_name")
            return any(name.startswith(DECISIONS) for name in names)
        if called[1] in _ON_MODELS:
            return any(version.name in _said("name") and _is_meant(version) for version, _ in _champions())
        return what[0] == "logged-models" and any(str(version.source)[8:] in what for version, _ in _champions())
    if called := _ARTIFACTS.fullmatch(request.path):
        return _reaches_champion(called[1])
    return False


def _is_meant(version: ModelVersion) -> bool:
    return not request.path.endswith("model-versions/delete") or str(version.version) in _said("version")


def _said(name: str) -> set[str]:
    """All that a request says under a name, wherever: MLflow reads the body or the query, and both must be good."""
    body = request.get_json(force=True, silent=True)
    if isinstance(body, str):  # MLflow takes JSON within JSON from old clients
        body = json.loads(body)
    said = [body.get(name)] if isinstance(body, dict) else []
    return {str(value) for value in [*said, *request.values.getlist(name)]}


def _reaches_champion(path: str) -> bool:
    """Whether an artifact path lies within a champion's files, or a removal takes a folder that holds them."""
    while (plain := unquote(path)) != path:  # MLflow decodes what is encoded twice
        path = plain
    asked = [part for part in posixpath.normpath(path.strip("/")).split("/") if part != "."]
    for _, location in _champions():
        theirs = urlsplit(location).path.strip("/").split("/")
        if asked[: len(theirs)] == theirs or (request.method == "DELETE" and theirs[: len(asked)] == asked):
            return True
    return False


def _champions() -> Iterator[tuple[ModelVersion, str]]:
    """Every version that is a champion, and where its files lie."""
    store, token = _get_model_registry_store(), None
    with ServerWorkspaceContext(DEFAULT_WORKSPACE_NAME):
        while True:
            page = store.search_registered_models(page_token=token)
            for model in page:
                if number := model.aliases.get(ALIAS):
                    version = store.get_model_version(model.name, number)
                    yield version, store.get_model_version_download_uri(model.name, number)
            token = page.token
            if not token:
                return
