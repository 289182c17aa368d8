"""What happens to whoever tries to get in, by guesses, odd paths, forged headers? docs/security.md lists it."""

import json
import re
import sys
from pathlib import Path

import psutil
import pytest
import requests
import warm
from services import HANG_S
from shipped import ShippedServer

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
PUBLIC = {
    ("GET", "/health"),
    ("GET", "/static-files/<path:path>"),
    ("GET", "/api/3.0/mlflow/server-info"),
    ("GET", "/ajax-api/3.0/mlflow/server-info"),
}
WHAT_THE_SERVER_HAS = {"artifacts", "server.log", "users.csv"}
_ROUTES = """
import json
from mlflow.server import app as flask_app
from mlflow.server.auth import create_app

app = create_app()
found = [[rule.rule, sorted(rule.methods)] for rule in flask_app.url_map.iter_rules()]
routers = [app]
while routers:
    for route in getattr(routers.pop(), "routes", []):
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None:
            routers.append(inner)
        if getattr(route, "methods", None):
            found.append([route.path, sorted(route.methods)])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def routes(shipped: ShippedServer) -> list[tuple[str, str]]:
    """Every route of the server's own app, by method and path; its processes tell with which variables to make it."""
    server = psutil.Process(shipped.group)
    told = next(child.environ() for child in server.children(recursive=True) if "_MLFLOW_SGI_NAME" in child.environ())
    done = warm.run([sys.executable, "-c", _ROUTES], told, shipped.folder)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return sorted(
        {(method, path) for path, methods in found for method in methods if method not in ("HEAD", "OPTIONS")}
    )


def filled(path: str) -> str:
    """A path that a route answers to."""
    return re.sub(r"<[^>]*>|\{[^}]*\}", "1", path)


def raw(shipped: ShippedServer, method: str, path: str, user: str, data: bytes = b"") -> requests.Response:
    """A request whose path is sent as it is written: a client resolves `..` itself."""
    request = requests.Request(method, shipped.url, data=data, auth=(user, shipped.passwords[user])).prepare()
    request.url = shipped.url + path
    with requests.Session() as session:
        return session.send(request, timeout=HANG_S)


@pytest.mark.parametrize("auth", [None, ("nobody", "whatever-word")], ids=["nobody", "a user who is not there"])
def test_no_route_answers_strangers(
    shipped: ShippedServer, routes: list[tuple[str, str]], auth: tuple[str, str] | None
) -> None:
    assert len(routes) > 400, "the real app has many"
    assert ("PUT", "/api/2.0/mlflow-artifacts/artifacts/{artifact_path:path}") in routes, (
        "those of FastAPI are among them"
    )
    assert ("POST", "/api/2.0/mlflow/runs/create") in routes, "and those of Flask"
    answered = set()
    with requests.Session() as session:
        session.auth = auth
        for method, path in routes:
            told = session.request(method, shipped.url + filled(path), json={}, allow_redirects=False, timeout=HANG_S)
            if told.status_code != 401:
                answered.add((method, path))
    assert answered <= PUBLIC, "what tells nothing of anybody"


def test_wrong_passwords_open_nothing(shipped: ShippedServer) -> None:
    for password in ("", "a guess", shipped.passwords["bob"], shipped.passwords["alice"].upper(), "x" * 10_000):
        for path in (
            "/",
            "/api/2.0/mlflow/experiments/search",
            "/api/2.0/mlflow-artifacts/artifacts/x",
            "/get-artifact",
        ):
            told = shipped.ask("GET", path, None, auth=("alice", password))
            assert told.status_code in (400, 401, 431), (path, len(password), told.status_code)
    for header in ("Bearer x", "Basic", "Basic !!!", "Basic YWxpY2U=", "Negotiate x"):
        told = shipped.ask("GET", "/api/2.0/mlflow/experiments/search", None, headers={"Authorization": header})
        assert told.status_code in (400, 401), header


@pytest.fixture(scope="module")
def run_of_bob(shipped: ShippedServer) -> dict[str, str]:
    """A run with one artifact, in an experiment that alice may not change."""
    made = shipped.ask("POST", f"{API}/experiments/create", "bob", json={"name": "bob's eyes"}).json()
    said = {"experiment_id": made["experiment_id"], "start_time": 1}
    run: dict[str, str] = shipped.ask("POST", f"{API}/runs/create", "bob", json=said).json()["run"]["info"]
    path = f"{ARTIFACTS}/{place_of(run)}/eye.txt"
    assert shipped.ask("PUT", path, "bob", data=b"what bob wrote").status_code == 200
    return run


def place_of(run: dict[str, str]) -> str:
    return run["artifact_uri"].removeprefix("mlflow-artifacts:/")


@pytest.mark.parametrize(
    "path",
    [
        "{place}/eye.txt",
        "./{place}/eye.txt",
        "{place}/../artifacts/eye.txt",
        "{place}//eye.txt",
        "{encoded}",
        "{twice}",
        "workspaces/default/{mine}/../{experiment}/{run}/artifacts/eye.txt",
        "workspaces/default/{mine}/%2e%2e/{experiment}/{run}/artifacts/eye.txt",
        "workspaces/default/{mine}/%252e%252e/{experiment}/{run}/artifacts/eye.txt",
        "workspaces//default/{experiment}/{run}/artifacts/eye.txt",
        "workspaces/./default/{experiment}/{run}/artifacts/eye.txt",
        "workspaces%2Fdefault%2F{experiment}/{run}/artifacts/eye.txt",
        "x/../workspaces/default/{experiment}/{run}/artifacts/eye.txt",
        "workspaces/default//{experiment}/{run}/artifacts/eye.txt",
    ],
)
def test_an_artifact_of_another_cannot_be_written_by_an_odd_path(
    shipped: ShippedServer, run_of_bob: dict[str, str], path: str
) -> None:
    place = place_of(run_of_bob)
    once = "".join(f"%{ord(letter):02x}" for letter in f"{place}/eye.txt")
    asked = path.format(
        place=place, encoded=once, twice=once.replace("%", "%25"), mine="0",
        experiment=run_of_bob["experiment_id"], run=run_of_bob["run_id"],
    )  # fmt: skip
    for api in ("/api", "/ajax-api"):
        for method in ("PUT", "DELETE"):
            raw(shipped, method, f"{api}/2.0/mlflow-artifacts/artifacts/{asked}", "alice", b"what alice wrote")
    assert (shipped.artifacts / place / "eye.txt").read_bytes() == b"what bob wrote"


OUTSIDE = [
    "../server.log", "../../../../../../etc/passwd", "%2e%2e/server.log", "%252e%252e%252fserver.log",
    "..%2fserver.log",
    "/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "file:///etc/passwd", "..\\server.log", "./../server.log",
    "workspaces/../../server.log", "proc/self/environ", "/proc/self/environ", "x/%00/../../server.log",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_the_artifacts_is_read_or_written(
    shipped: ShippedServer, run_of_bob: dict[str, str], path: str
) -> None:
    before = shipped.log.stat().st_ino
    run_id = run_of_bob["run_id"]
    for user in ("bob", "admin"):
        for asked in (
            f"{ARTIFACTS}/{path}",
            f"/ajax-api/2.0/mlflow-artifacts/artifacts/{path}",
            f"{ARTIFACTS}?path={path}",
            f"{ARTIFACTS}/{place_of(run_of_bob)}/{path}",
            f"/get-artifact?run_id={run_id}&path={path}",
            f"{API}/artifacts/list?run_id={run_id}&path={path}",
        ):
            told = raw(shipped, "GET", asked, user)
            assert "root:" not in told.text and "PGPASSWORD" not in told.text and "Uvicorn" not in told.text, asked
            assert "server.log" not in told.text or told.status_code >= 400, asked
        for method, asked in (
            ("PUT", f"{ARTIFACTS}/{path}"),
            ("PUT", f"{ARTIFACTS}/{place_of(run_of_bob)}/{path}"),
            ("POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run_id}&path={path}"),
            ("DELETE", f"{ARTIFACTS}/{path}"),
        ):
            raw(shipped, method, asked, user, b"what should not be there")
    assert shipped.log.stat().st_ino == before
    assert b"what should not be there" not in shipped.log.read_bytes()
    assert "root:" in Path("/etc/passwd").read_text()
    assert {place.name for place in shipped.folder.iterdir()} <= WHAT_THE_SERVER_HAS


@pytest.mark.parametrize(
    "location", ["file:///proc/self", "/proc/self", "file:///", "mlflow-artifacts:/../..", "s3://x/y"]
)
def test_nobody_says_where_artifacts_lie(shipped: ShippedServer, run_of_bob: dict[str, str], location: str) -> None:
    # Where they could, the server would read its own variables, and the passwords in them, to whoever asks.
    for user in ("bob", "admin"):
        said = {"name": f"{user} {location}", "artifact_location": location}
        assert shipped.ask("POST", f"{API}/experiments/create", user, json=said).status_code == 400
        shipped.ask("POST", f"{API}/registered-models/create", user, json={"name": "somewhere"})
        if location.startswith("s3:"):
            continue  # docs/security.md: a version may name a bucket; what the server's key opens is for you to say
        version = {"name": "somewhere", "source": location, "run_id": run_of_bob["run_id"]}
        assert shipped.ask("POST", f"{API}/model-versions/create", user, json=version).status_code in (400, 403, 500)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:5000", "127.0.0.1", "localhost", "169.254.169.254", ""])
def test_a_forged_host_is_refused(shipped: ShippedServer, host: str) -> None:
    for path in ("/", f"{API}/experiments/search?max_results=1", f"{ARTIFACTS}/x"):
        told = shipped.ask("GET", path, "admin", headers={"Host": host})
        assert told.status_code in (400, 403), (host, path, told.status_code)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "file://"])
def test_a_page_from_elsewhere_changes_nothing(shipped: ShippedServer, origin: str) -> None:
    said = {"name": f"by {origin}"}
    told = shipped.ask("POST", f"{API}/experiments/create", "admin", json=said, headers={"Origin": origin})
    assert (told.status_code, told.text) == (403, "Cross-origin request blocked")
    read = shipped.ask("GET", f"{API}/experiments/search?max_results=1", "admin", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in read.headers, "a browser does not show it to the page"
    assert shipped.ask("GET", "/", "admin").headers["X-Frame-Options"] == "SAMEORIGIN"
