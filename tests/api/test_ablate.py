"""An ablation from Python: its table is what its trials say, and the same call repeats nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score

import drsearch
from drsearch.errors import StudyError

SMALL = {"images.image_px": 32, "model.width": 4, "model.stages": 1, "training.epochs": 2, "study.trials": 1,
         "training.checkpoint_every_epochs": 1, "study.gradcam_eyes": 0, "finetune.when": "never"}  # fmt: skip


def two(hp: Any) -> None:
    hp.Fixed("training.learning_rate", 0.01)
    hp.Fixed("images.normalisation", "local_mean")


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory, warm_children: None) -> Any:
    """The home, and what the same call gave twice."""
    folder = tmp_path_factory.mktemp("ablated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DRSEARCH_HOME", str(folder / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for seed in (1, 2):
            drsearch.synthesize(f"eyes {seed}", images=30, seed=seed)
        drsearch.run_study(two, ["eyes 1", "eyes 2"], settings=SMALL, progress=False)
        calls = [drsearch.ablate("two", folds=2, repeats=2, progress=False) for _ in range(2)]
        yield folder / "home", calls


def outcomes(home: Path) -> list[Any]:
    """The outcome of every trial, and of its trainings in their order."""
    folders = sorted(home.glob("runs/two-ablation-*/trial-*"))
    return [
        [json.loads((folder / name / "outcome.json").read_text())["outcome"]
         for name in (".", "repeat1-fold1", "repeat1-fold2", "repeat2-fold1", "repeat2-fold2")]
        for folder in folders
    ]  # fmt: skip


def test_a_choice_is_worth_what_the_trials_differ_by(ablated: Any) -> None:
    home, (one, _) = ablated
    whole, *others = outcomes(home)
    rows = {row.choice.name: row for row in one.report.rows}
    assert list(rows) == one.table.index.to_list() == sorted(rows, key=lambda name: -rows[name].gain.value)
    assert {(row.trial, name) for name, row in rows.items()} == {(1, "training.learning_rate"),
                                                                (2, "images.normalisation")}  # fmt: skip
    for row in rows.values():
        back = others[row.trial - 1]
        assert row.gain.value == pytest.approx(whole[0]["value"] - back[0]["value"])
        assert row.gain.low < row.gain.value < row.gain.high

        def mean_auc(trial: Any) -> float:
            each = [part["predictions"] for part in trial[1:]]
            pairs = [(np.array(one["labels"]), np.array(one["probabilities"])) for one in each]
            sizes = [int(labels.sum() * (1 - labels).sum()) for labels, _ in pairs]
            areas = [roc_auc_score(labels, chances) for labels, chances in pairs]
            return float(np.mean([np.average(areas[i : i + 2], weights=sizes[i : i + 2]) for i in (0, 2)]))

        assert row.auc.value == pytest.approx(mean_auc(whole) - mean_auc(back))


def test_the_same_call_trains_nothing_again(ablated: Any) -> None:
    home, (one, again) = ablated
    assert one.report == again.report
    again_trained = drsearch.load_study("two-ablation", f"sqlite:///{home}/studies.db").trials
    assert again_trained["attempts"].to_list() == [1, 1, 1]


def test_table_and_figure_are_in_mlflow_and_the_bars_are_the_gains(ablated: Any) -> None:
    home, (one, _) = ablated
    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("two-ablation")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.`drsearch.kind` = 'study'")
    names = {Path(file.path).name for file in client.list_artifacts(run.info.run_id, "study")}
    assert {"ablation.html", "ablation.json"} <= names
    assert run.info.status == "FINISHED" and "Ablation: trial 0 of study two" in run.data.tags["mlflow.note.content"]
    (bars,) = one.plot().data
    assert list(bars.x) == [row.gain.value for row in one.report.rows][::-1]


def test_a_study_that_is_not_there_is_refused(ablated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRSEARCH_HOME", str(ablated[0]))
    with pytest.raises(StudyError, match="no study 'three' in this database"):
        drsearch.ablate("three", progress=False)
