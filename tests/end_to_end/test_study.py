"""From a folder of photographs to a registered, fine-tuned, tested model, through the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

EPOCHS = [1, 2, 3, 4]
CURVES = ["train_loss", "train_accuracy", "train_auc", "val_loss", "val_accuracy", "val_auc", "learning_rate",
          "epoch_seconds", "system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"]  # fmt: skip


@pytest.fixture(scope="module")
def client(desk: Any, told: Any) -> MlflowClient:
    return MlflowClient(desk.tracking_uri, desk.tracking_uri)


@pytest.fixture(scope="module")
def runs(client: MlflowClient) -> dict[str, list[Run]]:
    experiment = client.get_experiment_by_name("two_rates")
    assert experiment is not None
    found: dict[str, list[Run]] = {}
    for run in client.search_runs([experiment.experiment_id]):
        found.setdefault(run.data.tags["drsearch.kind"], []).append(client.get_run(run.info.run_id))
    return found


def test_the_command_tells_the_study_the_best_trial_the_model_and_its_test_scores(told: Any) -> None:
    assert told["study"] == "two_rates"
    assert told["trials"] == {"complete": 2, "pruned": 0, "failed": 0, "waiting": 0, "running": 0}
    assert set(told["best"]["params"]) == {"training.learning_rate"}
    assert told["model"]["name"] == "retinopathy"
    assert told["finetune"]["ran"]
    for name in ("accuracy", "auc", "sensitivity", "specificity"):
        score = told["test"][name]
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    assert sum(map(sum, told["test"]["confusion"])) == told["test"]["n"]
    assert 0 <= told["test"]["threshold"] <= 1
    assert told["test"]["test_evaluations"] == 1
    blind = told["test"]["blind"]
    over = told["test"]["auc"]["value"] - blind["scores"]["auc"]["value"]
    assert blind["auc_difference"]["value"] == pytest.approx(over)


def test_the_runs_lie_flat_one_for_the_study_one_for_each_trial_one_for_fine_tuning(
    runs: dict[str, list[Run]],
) -> None:
    assert {kind: len(found) for kind, found in runs.items()} == {"study": 1, "trial": 2, "finetune": 1}
    assert {run.info.status for found in runs.values() for run in found} == {"FINISHED"}
    assert not any("mlflow.parentRunId" in run.data.tags for found in runs.values() for run in found)


def test_a_trial_has_every_epoch_of_every_curve_once(client: MlflowClient, runs: dict[str, list[Run]]) -> None:
    for run in runs["trial"]:
        for name in CURVES:
            assert [point.step for point in client.get_metric_history(run.info.run_id, name)] == EPOCHS, name


def test_a_trial_says_what_it_was_made_from(desk: Any, runs: dict[str, list[Run]]) -> None:
    prepared = desk.json("prepare", str(desk.eyes), "--set", "images.image_px=64")
    for run in runs["trial"]:
        assert run.data.params["training.epochs"] == "4"
        assert run.data.params["images.image_px"] == "64"
        assert run.inputs.dataset_inputs[0].dataset.digest == prepared["fingerprint"]
        assert {"drsearch.version", "version.keras", "version.optuna", "drsearch.study"} <= set(run.data.tags)
        assert {"best_val_auc", "best_val_auc_low", "best_val_auc_high", "best_true_rdr"} <= set(run.data.metrics)


def test_the_same_eyes_are_explained_in_every_trial(client: MlflowClient, runs: dict[str, list[Run]]) -> None:
    def keys(run: Run) -> set[str]:
        images = client.list_artifacts(run.info.run_id, "images")
        return {Path(image.path).name.partition("+")[0] for image in images if image.path.endswith(".png")}

    first, second = map(keys, runs["trial"])
    assert first == second
    assert sum("gradcam" in key for key in first) == 3
    assert any("confusion" in key for key in first)


def test_the_study_has_its_report_its_space_and_the_audit(client: MlflowClient, runs: dict[str, list[Run]]) -> None:
    (run,) = runs["study"]

    def names(folder: str) -> set[str]:
        return {Path(file.path).name for file in client.list_artifacts(run.info.run_id, folder)}

    assert names("study") == {"history.png"}
    assert {"README.md", "report.html"} <= names("")
    assert names("space") == {"two_rates.py", "settings.gin"}
    assert names("data") == {"audit.json", "data.toml", "manifest.json"}
    assert "grade-0.jpg" in names("crops")


def test_versions_lead_back_to_their_run_and_data(told: Any, client: MlflowClient, runs: dict[str, list[Run]]) -> None:
    first = client.get_model_version_by_alias("retinopathy", "search-best")
    assert first.run_id == told["best"]["run_id"]
    assert first.tags["drsearch.study"] == "two_rates"
    assert first.tags["drsearch.trial"] == str(told["best"]["trial"])
    assert first.tags["drsearch.data_fingerprint"]
    judged, blind = client.get_model_version("retinopathy", str(told["model"]["version"])), told["test"]["blind"]
    assert f"On test: {blind['text']}." in judged.description
    assert judged.tags["test_auc_over_blind"] == f"{blind['auc_difference']['value']:.4f}"
    assert judged.tags.get("drsearch.blind_caution", "") == blind["caution"]
    (tuned,) = runs["finetune"]
    assert tuned.data.tags["drsearch.parent_model"] == "models:/retinopathy/1"
    assert len(tuned.inputs.model_inputs) == 1


def test_the_same_command_again_trains_and_registers_nothing_more(desk: Any, told: Any, client: MlflowClient) -> None:
    before = len(client.search_model_versions("name = 'retinopathy'"))
    assert desk.json(*desk.study("--workers", "2")) == told
    assert len(client.search_model_versions("name = 'retinopathy'")) == before


def test_a_version_that_a_dying_process_could_not_note_down_is_not_registered_again(
    desk: Any, told: Any, client: MlflowClient
) -> None:
    (state,) = desk.home.glob("runs/*/after_search.json")
    kept = json.loads(state.read_text())
    state.write_text(json.dumps(kept | {"search_version": 0, "finetune": {}, "version": 0}))
    assert desk.json(*desk.study("--workers", "2"))["model"] == told["model"]
    assert json.loads(state.read_text()) == kept
    assert len(client.search_model_versions("name = 'retinopathy'")) == told["model"]["version"]


def test_another_setting_under_the_same_name_is_refused(desk: Any, told: Any) -> None:
    done = desk.run(*desk.study("--set", "training.epochs=3"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "drsearch: study 'two_rates' was begun with training.epochs = 4, and this command has 3; "
        "give it as it was, or --study OTHER to begin a new one."
    )


def test_the_settings_file_of_a_trial_repeats_its_curve(
    desk: Any, told: Any, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = told["best"]["run_id"]
    file = client.download_artifacts(run_id, "settings.gin", str(tmp_path))
    again = desk.json("train", "--data", str(desk.eyes), "--config", file)
    for name in ("loss", "auc", "accuracy"):
        first = [point.value for point in client.get_metric_history(run_id, f"val_{name}")]
        assert [epoch["validation"][name] for epoch in again["history"]] == first


def test_the_settings_file_of_a_trial_is_refused_on_other_eyes(
    desk: Any, told: Any, client: MlflowClient, tmp_path: Path
) -> None:
    file = client.download_artifacts(told["best"]["run_id"], "settings.gin", str(tmp_path))
    desk.json("synthesize", str(tmp_path / "others"), "--images", "30", "--seed", "8")
    done = desk.run("train", "--data", str(tmp_path / "others"), "--config", file)
    assert done.returncode == 2
    assert "data.fingerprint" in done.stderr


def test_a_model_is_promoted_asked_and_judged(desk: Any, told: Any, tmp_path: Path) -> None:
    own, version = desk.copied(tmp_path), told["model"]["version"]
    force = ("--force", "--reason", "four epochs know little")
    done = own.json("promote", "retinopathy", "--version", str(version), "--yes", *force)
    assert (done["name"], done["version"], done["previous"], done["champion"]) == ("retinopathy", version, None, None)
    assert done["outcome"] == ("promoted" if done["passed"] else "forced")
    for name in ("accuracy", "auc", "sensitivity", "specificity"):
        assert done["challenger"]["scores"][name] == told["test"][name]
    again = own.run("promote", "retinopathy", "--version", str(version), "--yes")
    assert (again.returncode, again.stderr.splitlines()[-1]) == (
        2,
        f"drsearch: version {version} of retinopathy is the champion already; nothing was changed.",
    )
    eye = desk.eyes / "images" / "train" / "SYN_001.jpg"
    drawn = tmp_path / "cam.png"
    said = own.json("predict", "models:/retinopathy@champion", str(eye), "--explain", str(drawn))
    assert said["predictions"][0]["label"] in ("NRDR", "RDR")
    assert drawn.stat().st_size > 10_000
    judged = own.json("evaluate", "models:/retinopathy@champion", "--data", str(desk.eyes))
    assert judged["test_evaluations"] == 3
    for name in ("accuracy", "auc", "confusion"):
        assert judged[name] == told["test"][name]
    refused = own.run("evaluate", "models:/retinopathy@champion", "--data", str(desk.eyes), "--split", "train")
    assert refused.returncode == 2
    assert "the model was trained on" in refused.stderr
    kept = own.json("history", "retinopathy")
    assert kept["champion"] == version
    assert [each["reason"] for each in kept["decisions"]] == ["four epochs know little"]
    alone = own.run("rollback", "retinopathy", "--reason", "to try", "--yes")
    assert alone.returncode == 2
    assert alone.stderr.startswith(f"drsearch: version {version} is the first champion of retinopathy;")


def test_a_version_leads_back_to_its_study_and_the_study_to_its_versions(desk: Any, told: Any) -> None:
    version = told["model"]["version"]
    tree = desk.json("lineage", f"retinopathy/{version}")
    under = {part["kind"]: part for part in tree["parts"]}
    assert under["study"]["name"] == "two_rates"
    assert {part["kind"] for part in under["study"]["parts"]} == {"space", "audit", "records", "description"}
    assert under["trial"]["name"] == str(told["best"]["trial"])
    assert under["data"]["facts"]["source"] == str(desk.eyes)
    assert 0 <= float(tree["facts"]["threshold"]) <= 1
    from_study = desk.json("lineage", "two_rates")
    from_run = desk.json("lineage", told["best"]["run_id"])
    assert {part["name"] for part in from_study["parts"]} >= {part["name"] for part in from_run["parts"]}
    assert from_run["parts"][0]["name"] == "retinopathy/1"


def test_mlflow_alone_can_ask_the_model(desk: Any, told: Any, tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import json, pathlib, sys, mlflow, pandas as pd\n"
        "model = mlflow.pyfunc.load_model('models:/retinopathy/1')\n"
        "table = pd.DataFrame({'photograph': [pathlib.Path(sys.argv[1]).read_bytes()]})\n"
        "print(json.dumps(model.predict(table).to_dict('records')))\n"
    )
    eye = desk.eyes / "images" / "train" / "SYN_001.jpg"
    done = subprocess.run(
        [sys.executable, "-c", program, str(eye)],
        env={**desk.environment(), "MLFLOW_TRACKING_URI": desk.tracking_uri, "PYTHONPATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    by_mlflow = json.loads(done.stdout.splitlines()[-1])[0]
    by_us = desk.json("predict", "models:/retinopathy/1", str(eye))["predictions"][0]
    assert by_mlflow["label"] == by_us["label"]
    assert by_mlflow["probability"] == pytest.approx(by_us["probability"], abs=1e-6)
