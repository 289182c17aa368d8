"""A study seen, cancelled from another terminal, run on, and deleted, through the command line."""

import csv
import io
import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from services import HANG_S, when
from warm import Command

LONG = ("--set", "images.image_px=32", "--set", "model.width=4", "--set", "training.epochs=20")


def cancelled(desk: Any, process: Command) -> Any:
    """What `cancel` told, after the study ended as it should."""
    told = desk.json("cancel", "two_rates")
    said, complained = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, (said, complained)
    assert complained.splitlines()[-1] == ("drsearch: study 'two_rates' is cancelled; the same command resumes it.")
    return told


def epochs(desk: Any) -> int:
    """Epochs that the first trial has done."""
    return int(desk.json("trials", "two_rates")["trials"][0]["epochs"])


def test_a_study_is_seen_cancelled_run_on_and_deleted(tmp_path: Path, fresh_desk: Callable[[Path], Any]) -> None:
    desk = fresh_desk(tmp_path)
    desk.hold((0, 2))
    process = desk.start(*desk.study(*LONG))
    try:
        when(lambda: desk.holds.reached((0, 2)), "a checkpoint", process)
        seen = desk.json("status", "two_rates")
        assert (seen["state"], seen["n_trials"], seen["trials"]["running"]) == ("running", 2, 1)
        assert {worker["epochs"] for worker in seen["workers"]} == {20}
        refused = desk.run("delete", "two_rates", "--yes")
        assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
            2,
            "drsearch: study 'two_rates' is running; end it first: drsearch cancel two_rates",
        )
        told = cancelled(desk, process)
        assert (told["state"], {trial["trial"] for trial in told["stopped"]}) == ("cancelled", {0})
        assert told["stopped"][0]["reason"].startswith("stopped at epoch ")
        client = MlflowClient(desk.tracking_uri)
        experiment_id = client.get_experiment_by_name("two_rates").experiment_id
        assert {run.info.status for run in client.search_runs([experiment_id])} == {"KILLED"}
        rows = list(csv.DictReader(io.StringIO(desk.run("trials", "two_rates", "--csv").stdout)))
        assert [(row["state"], row["attempts"]) for row in rows] == [("waiting", "1"), ("waiting", "0")]

        desk.holds.release()
        desk.hold((0, 6))
        process = desk.start(*desk.study(*LONG))
        when(lambda: desk.holds.reached((0, 6)), "the trial to go on", process)
        assert epochs(desk) > int(rows[0]["epochs"]), "from where it stopped"
        cancelled(desk, process)
    finally:
        process.kill()
        process.communicate()

    asked = desk.run("delete", "two_rates")
    assert (asked.returncode, asked.stderr.splitlines()[-1]) == (
        2,
        "drsearch: nothing was deleted; --yes deletes without asking.",
    )
    gone = desk.json("delete", "two_rates", "--yes")
    assert (gone["versions"], gone["runs_kept"], gone["runs_deleted"]) == ([], 0, 2)
    assert desk.json("status") == {"studies": []}
    assert not list(desk.home.glob("runs/two_rates-*"))
    assert client.get_experiment(experiment_id).lifecycle_stage == "deleted"


def test_watching_without_a_terminal_ends_with_the_study_or_with_ctrl_c(desk: Any, told: Any) -> None:
    seen = desk.run("status", "two_rates", "--watch")
    assert (seen.returncode, seen.stderr) == (0, "")
    assert seen.stdout.splitlines()[0].startswith("trial 0 complete val_auc ")
    assert seen.stdout.splitlines()[-3] == "study two_rates is complete: 2 complete of 2 trials"
    assert seen.stdout.splitlines()[-1].startswith("best is trial ")
    assert json.loads(desk.run("status", "two_rates", "--watch", "--json").stdout)["state"] == "complete"
    watching = subprocess.Popen(
        desk.command("status", "--watch"),
        env=desk.environment(),
        cwd=desk.folder,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )
    try:
        assert watching.stdout is not None
        line = watching.stdout.readline()
        assert line.startswith("study two_rates is complete: 2 complete of 2 trials; best val_auc ")
        watching.send_signal(signal.SIGINT)
        assert watching.communicate(timeout=HANG_S)[0] == ""
        assert watching.returncode == 0
    finally:
        watching.kill()
        watching.wait()


def test_ui_opens_the_best_trials_in_a_browser_and_ends_with_ctrl_c(desk: Any, told: Any, tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    environment = desk.environment() | {"BROWSER": f"{browser} %s"}
    process = Command(desk.command("ui", "two_rates", "--port", "0"), environment, desk.folder)
    try:
        when(lambda: "its report: " in process.said(), "the links", process)
        link = opened.read_text()
        page, _, view = link.partition("/#/experiments/")
        lines = process.said().splitlines()
        assert lines[0].startswith(f"MLflow: {page}/")
        assert lines[1] == f"the best trials side by side: {link}"
        assert lines[2].startswith(f"its report: {page}/")
        with urllib.request.urlopen(f"{page}/health", timeout=HANG_S) as answer:
            assert answer.status == 200
        experiment = MlflowClient(desk.tracking_uri).get_experiment(view.partition("/")[0])
        key = view.partition("viewStateShareKey=")[2].partition("&")[0]
        assert experiment.name == "two_rates" and f"mlflow.sharedViewState.{key}" in experiment.tags
        process.send_signal(signal.SIGINT)
        _, complained = process.communicate(timeout=HANG_S)
        assert (process.returncode, complained) == (0, "")
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{page}/health", timeout=HANG_S)
    finally:
        process.kill()
        process.wait()
