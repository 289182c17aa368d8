"""Is docker-compose.yml one by its specification, and does it say what docs/server.md promises?"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import typer.main
import yaml
from services import PostgresServer, free_port, when
from shipped import ROOT, SCRIPTS

from drsearch.cli import app

TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text()
LASTING = {"postgres", "mlflow", "dashboard"}
ON_DEMAND = {"users", "study", "worker", "backup"}
BESIDE = Path(sys.executable).parent


def values(found: object) -> list[str]:
    """Every text within a value of the file."""
    if isinstance(found, dict):
        return [text for value in found.values() for text in values(value)]
    if isinstance(found, list):
        return [text for value in found for text in values(value)]
    return [str(found)]


def variables() -> dict[str, set[str]]:
    """The variables that the file reads, and what follows each: `:?sentence`, `:-default`, or nothing."""
    read: dict[str, set[str]] = {}
    for name, rest in re.findall(r"\$\{(\w+)([^}]*)\}", "\n".join(values(COMPOSE))):
        read.setdefault(name, set()).add(rest)
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if value is None:  # passed through, where it is set
                read.setdefault(name, set()).add("")
    return read


def test_the_file_is_one_by_the_compose_specification(tmp_path: Path) -> None:
    def check(path: Path) -> "subprocess.CompletedProcess[str]":
        command = [str(BESIDE / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(path)]
        return subprocess.run(command, capture_output=True, text=True)

    good = check(ROOT / "docker-compose.yml")
    assert good.returncode == 0, good.stdout
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(TEXT.replace("    mem_limit: 1g\n", "    memory_limit: 1g\n", 1))
    assert check(wrong).returncode == 1, "a key that compose does not know would be found"


@pytest.mark.parametrize("name", ["Dockerfile", "mlflow_server/Dockerfile"])
def test_hadolint_finds_nothing_in_a_dockerfile(name: str) -> None:
    done = subprocess.run([str(BESIDE / "hadolint"), str(ROOT / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["Dockerfile", "mlflow_server/Dockerfile"])
def test_a_dockerfile_copies_what_is_there_and_runs_as_nobody_in_particular(name: str) -> None:
    text = (ROOT / name).read_text()
    ignored = (ROOT / ".dockerignore").read_text()
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert f"!{source.partition('/')[0]}\n" in ignored, f".dockerignore keeps {source} out"
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "10001"


def test_every_service_is_there_and_nothing_else() -> None:
    assert SERVICES.keys() == LASTING | ON_DEMAND
    assert {name for name, service in SERVICES.items() if "profiles" in service} == ON_DEMAND


def test_what_a_service_waits_for_is_a_service_and_can_become_healthy() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} waits for {other}"
            assert how["condition"] == "service_healthy"
            assert SERVICES[other]["healthcheck"]["test"]
    assert all("healthcheck" in SERVICES[name] for name in LASTING)


def test_volumes_are_declared_and_used() -> None:
    named = {
        mount.partition(":")[0]
        for service in SERVICES.values()
        for mount in service.get("volumes", [])
        if isinstance(mount, str) and not mount.startswith(".")
    }
    assert named == COMPOSE["volumes"].keys()
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            if isinstance(mount, str) and mount.startswith("."):
                assert (ROOT / mount.partition(":")[0]).exists(), mount


def test_every_service_has_a_limit_of_memory_a_restart_policy_and_no_rights_to_spare() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"\d+[gm]", service["mem_limit"]), name
        assert service["restart"] in ("unless-stopped", "on-failure", "no"), name
        assert (service["restart"] == "unless-stopped") == (name in LASTING), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("user", "") not in ("root", "0"), name
    assert SERVICES["postgres"]["user"] == "postgres"


def test_only_loopback_is_published_unless_asked_for() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "postgres": ["${PUBLISH_ON:-127.0.0.1}:5432:5432"],
        "mlflow": ["${PUBLISH_ON:-127.0.0.1}:5000:5000"],
        "dashboard": ["127.0.0.1:8080:8080"],  # whatever PUBLISH_ON says: it has no users
    }


def test_every_variable_stands_in_the_example_and_the_other_way_round() -> None:
    assert set(re.findall(r"^(?:# )?([A-Z_0-9]+)=", EXAMPLE, re.MULTILINE)) == variables().keys()


def test_no_secret_has_a_default_and_one_that_is_missing_is_named_in_a_sentence() -> None:
    secrets = {name for name in variables() if re.search("PASSWORD|SECRET_KEY", name)} - {"AWS_SECRET_ACCESS_KEY"}
    assert len(secrets) == 6
    for name in secrets:
        (rest,) = variables()[name]
        assert re.fullmatch(r":\?write a .+ into \.env, see \.env\.example", rest), (name, rest)
        assert re.search(rf"^{name}=$", EXAMPLE, re.MULTILINE), f"{name} has a value in .env.example"
    for name, rests in variables().items():
        (rest,) = rests
        if name not in secrets and rest:
            assert re.search(rf"^{name}={re.escape(rest.removeprefix(':-'))}$", EXAMPLE, re.MULTILINE), name


def test_the_command_of_the_docs_fills_in_every_secret_at_random(tmp_path: Path) -> None:
    (command,) = [line.strip() for line in (ROOT / "docs/server.md").read_text().splitlines() if "openssl" in line]
    (tmp_path / ".env.example").write_text(EXAMPLE)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    filled = (tmp_path / ".env").read_text()
    assert [line.partition("=")[0] for line in filled.splitlines()] == [
        line.partition("=")[0] for line in EXAMPLE.splitlines()
    ]
    secrets = re.findall(r"^\w+=([0-9a-f]{48})$", filled, re.MULTILINE)
    assert len(secrets) == len(set(secrets)) == 6
    assert not re.search(r"^\w+=$", filled, re.MULTILINE)


def test_no_password_stands_in_an_address_or_on_a_command_line() -> None:
    for service in SERVICES.values():
        said = values(service.get("command", [])) + values(service.get("environment", {}))
        assert not any(re.search(r"://[^/@]*:[^/@]*@", text) for text in said)
        assert not any("PASSWORD" in text for text in values(service.get("command", [])))


def test_the_servers_variables_are_those_that_its_start_script_asks_for() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (SCRIPTS / "start.sh").read_text()))
    assert asked <= SERVICES["mlflow"]["environment"].keys()
    databases = set(re.findall(r"\$\{(\w+):\?", (SCRIPTS / "databases.sh").read_text()))
    assert databases <= SERVICES["postgres"]["environment"].keys()
    backed_up = set(re.findall(r'_variable\("(\w+)"', (SCRIPTS / "backup.py").read_text()))
    assert backed_up <= SERVICES["backup"]["environment"].keys()


@pytest.mark.parametrize("name", ["users", "study", "worker"])
def test_commands_are_such_as_drsearch_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRSEARCH_STORAGE", "postgresql://optuna@postgres/optuna")
    program, command, *arguments = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text) for text in SERVICES[name]["command"]]
    assert program == "drsearch"
    typer.main.get_command(app).commands[command].make_context(command, arguments).close()  # type: ignore[attr-defined]


def test_the_worker_is_the_one_of_the_recipe_for_other_machines() -> None:
    recipe = yaml.safe_load((ROOT / "docs/recipes/compose.yml").read_text())["services"]["worker"]
    worker = SERVICES["worker"]
    assert recipe["command"][:3] == worker["command"][:3]
    assert recipe["environment"].keys() == worker["environment"].keys()
    for key in ("volumes", "cpus", "init", "stop_grace_period", "restart", "image", "mem_limit"):
        assert recipe[key] == worker[key], key
    assert not {"container_name", "ports", "hostname"} & worker.keys(), "two of it could not run beside each other"


def test_the_dashboard_starts_on_a_database_that_holds_no_study_yet(postgresql: PostgresServer) -> None:
    shell, option, program, _ = SERVICES["dashboard"]["command"]
    port = free_port()
    program = program.replace("$$", "$").replace("0.0.0.0 --port 8080", f"127.0.0.1 --port {port}")
    own = {**os.environ, "PATH": f"{BESIDE}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen([shell, option, program, postgresql.database()], env=own) as process:
        try:
            when(lambda: answers(f"http://127.0.0.1:{port}/"), "the dashboard to answer", process)
        finally:
            process.kill()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).ok
    except requests.ConnectionError:
        return False
