"""What a shell completes, and what `--quiet` leaves out."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from drsearch.cli import main
from drsearch.cli.completion import gin_files, model_names, models, settings, space_files
from drsearch.data.synthetic import synthesize
from drsearch.trials.storage import open_storage


def completed(line: str, home: Path) -> str:
    """What zsh is told for a command line, and which heavy libraries that loaded."""
    heavy = "[name for name in ('tensorflow', 'keras', 'mlflow', 'optuna', 'sqlalchemy', 'cv2') if name in sys.modules]"
    program = f"import sys, atexit; atexit.register(lambda: print({heavy})); from drsearch.cli import main; main()"
    environment = {**os.environ, "_DRSEARCH_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": f"drsearch {line}"}
    command = [sys.executable, "-c", f"import sys; sys.argv = ['drsearch']; {program}"]
    environment |= {"DRSEARCH_HOME": str(home), "DRSEARCH_STORAGE": ""}
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


def test_studies_are_completed_without_loading_anything_heavy(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db")
    for name in ("first", "fine", "other"):
        storage.create_new_study([0], name)
    said = completed("trials fi", tmp_path)
    assert '"fine"' in said and '"first"' in said and "other" not in said
    assert said.splitlines()[-1] == "[]"


def test_settings_are_completed_with_their_values() -> None:
    assert settings("training.sch") == ["training.schedule="]
    assert settings("training.schedule=co") == ["training.schedule=constant", "training.schedule=cosine"]
    assert settings("training.epochs=") == settings("no.such=") == []


def test_shipped_files_come_before_those_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick-own.gin").touch()
    (tmp_path / "quick.txt").touch()
    assert gin_files("quick") == ["quick.gin", "quick-own.gin"]
    (tmp_path / "report_own.py").touch()
    assert space_files("report_") == ["report_grid", "report_tpe", "report_own.py"]


def test_models_are_completed_by_alias_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRSEARCH_HOME", str(tmp_path))
    assert models("") == model_names("") == []
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db", f"sqlite:///{tmp_path}/mlflow.db")
    client.create_registered_model("retinopathy")
    run = client.create_run(client.create_experiment("a", str(tmp_path))).info.run_id
    for _ in range(3):
        client.create_model_version("retinopathy", str(tmp_path), run)
    client.delete_model_version("retinopathy", "3")
    client.set_registered_model_alias("retinopathy", "champion", "1")
    assert models("ret") == ["retinopathy@champion", "retinopathy/2", "retinopathy/1"]
    assert model_names("") == ["retinopathy"] and model_names("x") == []
    with sqlite3.connect(tmp_path / "mlflow.db", isolation_level="EXCLUSIVE") as busy:
        busy.execute("BEGIN EXCLUSIVE")
        assert models("ret") == [], "a database that is written to does not hold the shell up"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert models("ret") == []


def test_quiet_prints_results_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    synthesize(tmp_path / "eyes", 12, 1, image_px=(268, 178))
    monkeypatch.setenv("DRSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", sys.argv)
    outputs = {}
    for option in ("--quiet", "--verbose", "-q", "-v"):
        sys.argv = ["drsearch", option, "prepare", str(tmp_path / "eyes"), "--set", "images.image_px=32"]
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        outputs[option] = capsys.readouterr().out
    assert "audit of 12 photographs" in outputs["--quiet"] and "labels/train.csv" not in outputs["--quiet"]
    assert "labels/train.csv" in outputs["-v"] and "labels/train.csv" not in outputs["-q"]
