"""A study with folds through the command line: a worker is killed in the last fold, the best setting refitted."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from services import HANG_S, when

MORE = ["--trials", "1", "--set", "search.folds=3", "--set", "training.epochs=12"]


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory, fresh_desk: Callable[[Path], Any]) -> tuple[Any, Any]:
    """The desk, and what the command told: its worker was killed once, in the third fold of a trial."""
    desk = fresh_desk(tmp_path_factory.mktemp("folds"))
    table = desk.eyes / "labels/train.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{head},patient_id", *(f"{row},P{i // 2}" for i, row in enumerate(rows))]) + "\n")
    desk.hold((0, 2 * 12 + 2))  # the third fold, at its first checkpoint
    process = desk.start(*desk.study("--json", *MORE))
    when(lambda: desk.holds.reached((0, 2 * 12 + 2)), "the third fold", process)
    assert list(desk.home.glob("runs/two_rates-*/trial-0000/fold3/checkpoint/latest.npz"))
    for child in psutil.Process(process.pid).children():
        if "drsearch.workers.worker" in " ".join(child.cmdline()):
            os.kill(child.pid, signal.SIGKILL)
    desk.holds.release()
    said, complained = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, complained
    return desk, json.loads(said)


@pytest.fixture(scope="module")
def client(folded: tuple[Any, Any]) -> MlflowClient:
    return MlflowClient(folded[0].tracking_uri, folded[0].tracking_uri)


@pytest.fixture(scope="module")
def runs(client: MlflowClient) -> dict[str, list[Run]]:
    experiment = client.get_experiment_by_name("two_rates")
    assert experiment is not None
    found: dict[str, list[Run]] = {}
    for run in client.search_runs([experiment.experiment_id]):
        found.setdefault(run.data.tags["drsearch.kind"], []).append(run)
    return found


def test_each_trial_is_one_run_with_every_folds_curves_once(client: MlflowClient, runs: dict[str, list[Run]]) -> None:
    assert {kind: len(found) for kind, found in runs.items()} == {"study": 1, "trial": 1, "refit": 1}
    assert {run.info.status for found in runs.values() for run in found} == {"FINISHED"}
    (run,) = runs["trial"]
    curves = {
        name: client.get_metric_history(run.info.run_id, name)
        for name in ("fold1/val_auc", "fold2/val_auc", "fold3/val_auc", "val_auc", "train_loss")
    }
    for name, curve in curves.items():
        assert [point.step for point in curve] == list(range(1, 13)), name
    at = int(run.data.metrics["best_epoch"]) - 1
    folds = [curves[f"fold{fold}/val_auc"][at].value for fold in (1, 2, 3)]
    assert run.data.metrics["best_val_auc"] == pytest.approx(mean(folds)) == curves["val_auc"][at].value
    assert run.data.metrics["best_val_auc_std"] == pytest.approx(stdev(folds))


def test_what_is_registered_was_refitted_on_train_and_validation_for_the_folds_epochs(
    folded: tuple[Any, Any], client: MlflowClient, runs: dict[str, list[Run]]
) -> None:
    desk, told = folded
    (refit,) = runs["refit"]
    assert told["refit"] == {"run_id": refit.info.run_id, "epochs": int(refit.data.metrics["best_epoch"])}
    losses = client.get_metric_history(refit.info.run_id, "train_loss")
    assert [point.step for point in losses] == list(range(1, told["refit"]["epochs"] + 1))
    assert not any("val" in name for name in refit.data.metrics)
    version = client.get_model_version_by_alias("retinopathy", "search-best")
    assert version.run_id == refit.info.run_id
    assert (version.tags["drsearch.kind"], version.tags["drsearch.trial_run"]) == ("refit", told["best"]["run_id"])
    assert "held out in folds" in version.description
    assert "held-out predictions of the folds" in version.description
    assert not told["finetune"]["ran"]
    (seen,) = desk.home.glob("runs/two_rates-*/refit-0000/registered/trained_on.json")
    assert {eye["split"] for eye in json.loads(seen.read_text())} == {"train", "validation"}


def test_patients_are_whole_in_folds_and_scored_beside_eyes(folded: tuple[Any, Any], client: MlflowClient) -> None:
    desk, told = folded
    (outcome,) = desk.home.glob("runs/two_rates-*/trial-0000/outcome.json")
    held_out = json.loads(outcome.read_text())["outcome"]["predictions"]["patients"]
    folds = [
        json.loads(file.read_text())["outcome"]["predictions"]["patients"]
        for file in sorted(outcome.parent.glob("fold*/outcome.json"))
    ]
    assert sorted(held_out) == sorted(patient for fold in folds for patient in fold)
    assert sum(len(set(fold)) for fold in folds) == len(set(held_out)) == len(held_out) / 2
    n_tested = 12 - len(set(held_out))
    assert told["test"]["patients"]["n"] == n_tested
    version = client.get_model_version_by_alias("retinopathy", "search-best")
    assert version.tags["test_patients"] == f"{n_tested:.4f}"
    assert version.tags["test_patient_sensitivity"] == f"{told['test']['patients']['sensitivity']['value']:.4f}"
    assert "Patients: 12, by column 'patient_id'; each is on one side of every split." in version.description
    assert f"| patients     | held out in folds ({len(set(held_out))})" in version.description.replace(
        "\N{NO-BREAK SPACE}", " "
    )
