"""A cross-validation through the command line: interrupted, resumed, with a repeat more, and what MLflow has of it."""

import csv
import json
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from scipy import stats
from services import HANG_S, when
from tags_page import undocumented_metrics

import drsearch
from drsearch.errors import StudyError
from drsearch.model.mean_network import mean_answers
from drsearch.training.outcome import read_outcome

NUMBERS = {"images.image_px": 32, "model.width": 4, "model.stages": 1, "training.epochs": 20,
           "training.checkpoint_every_epochs": 2, "study.gradcam_eyes": 2}  # fmt: skip
SMALL = [text for name, value in NUMBERS.items() for text in ("--set", f"{name}={value}")]


def command(desk: Any, repeats: int) -> list[str]:
    return ["cross-validate", str(desk.eyes), "--folds", "2", "--repeats", str(repeats), "--study", "judged", *SMALL]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, fresh_desk: Callable[[Path], Any]) -> tuple[Any, Any, Any]:
    """The desk, and what was printed: of one repeat, after Ctrl-C in its first fold; and of two."""
    desk = fresh_desk(tmp_path_factory.mktemp("judged"))
    process = desk.start(*command(desk, 1))
    when(lambda: list(desk.home.glob("runs/judged-*/trial-0000/checkpoint/latest.npz")), "a checkpoint", process)
    process.send_signal(signal.SIGINT)
    _, complained = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, complained
    assert "cross-validation 'judged' is not finished (interrupted); the same command resumes it." in complained
    return desk, desk.json(*command(desk, 1)), desk.json(*command(desk, 2))


def test_every_eye_of_all_splits_judges_once_a_repeat(judged: tuple[Any, Any, Any]) -> None:
    desk, one, two = judged
    (folder,) = desk.home.glob("runs/judged-*/judged-0004")
    with open(folder / "predictions.csv") as file:
        rows = list(csv.DictReader(file))
    table = (desk.eyes / "labels/train.csv").read_text().splitlines()[1:]
    assert {row["name"] for row in rows} == {line.split(",")[0] for line in table}
    assert set(Counter((row["name"], row["repeat"]) for row in rows).values()) == {1}
    assert one["eyes"] == two["eyes"] == len(table)
    assert (one["repeats"], two["repeats"], two["test_split_included"]) == (1, 2, True)
    (counted,) = desk.home.glob("test-evaluations/*.jsonl")
    assert len(counted.read_text().splitlines()) == 1


def test_more_repeats_leave_the_first_as_it_is(judged: tuple[Any, Any, Any]) -> None:
    _, one, two = judged
    assert one["judged"] == two["judged"][:2]
    assert [(fold["repeat"], fold["fold"]) for fold in two["judged"]] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_threshold_and_epoch_come_from_inner_eyes_that_are_not_judged(judged: tuple[Any, Any, Any]) -> None:
    desk, _, two = judged
    for fold in two["judged"]:
        assert fold["inner"]["threshold"] == fold["outer"]["threshold"]
        (outcome,) = desk.home.glob(f"runs/judged-*/trial-{fold['trial']:04d}/outcome.json")
        said = json.loads(outcome.read_text())["outcome"]
        best = max(said["history"][1::2], key=lambda epoch: epoch["validation"]["auc"])
        assert fold["epoch"] == said["epoch"] == best["epoch"]
        assert fold["inner"]["n"] + fold["n_train"] + fold["outer"]["n"] == two["eyes"]
        assert len(said["judged"]["labels"]) == fold["outer"]["n"]


def test_mlflow_has_one_experiment_with_the_folds_and_the_figures(judged: tuple[Any, Any, Any]) -> None:
    desk, one, two = judged
    client = MlflowClient(desk.tracking_uri, desk.tracking_uri)
    experiment = client.get_experiment_by_name("judged")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert Counter(run.data.tags["drsearch.kind"] for run in runs) == {"trial": 4, "study": 1, "judged": 2}
    assert {run.info.status for run in runs} == {"FINISHED"}
    run = client.get_run(two["run_id"])
    assert run.data.metrics["out_of_fold_auc"] == pytest.approx(two["out_of_fold"]["auc"]["value"])
    assert run.data.metrics["optimism_accuracy"] == pytest.approx(two["optimism"]["accuracy"]["value"])
    assert [point.step for point in client.get_metric_history(two["run_id"], "fold_auc")] == [1, 2, 3, 4]
    assert undocumented_metrics(set(run.data.metrics)) == set()
    files = {file.path for file in client.list_artifacts(two["run_id"], "folds")}
    expected = {f"folds/{name}" for name in ("doubtful.csv", "folds.csv", "predictions.csv", "report.json", "roc.png")}
    if two["doubtful_labels"]:
        expected.add("folds/doubtful.html")
    assert files == expected
    assert "No eye chose anything" in run.data.tags["mlflow.note.content"]
    assert one["run_id"] != two["run_id"]


def test_a_fold_is_repeated_from_its_settings_file(judged: tuple[Any, Any, Any], tmp_path: Path) -> None:
    desk, _, two = judged
    (settings,) = desk.home.glob("runs/judged-*/trial-0001/settings.gin")
    again = desk.json("train", "--data", str(desk.eyes), "--config", str(settings))
    assert again["value"] == pytest.approx(two["judged"][1]["inner"]["auc"]["value"], abs=1e-6)
    assert again["epoch"] == two["judged"][1]["epoch"]


def test_other_settings_under_its_name_and_settings_of_a_search_are_refused(judged: tuple[Any, Any, Any]) -> None:
    desk, *_ = judged
    other = desk.run(*command(desk, 2), "--set", "training.batch_size=2")
    assert (other.returncode, "was begun with training.batch_size = 4" in other.stderr) == (2, True)
    inner = desk.run(*command(desk, 2), "--set", "search.folds=3")
    assert inner.returncode == 2
    assert "an outer fold is judged by one network, or by the mean of the networks of its inner folds" in inner.stderr


def test_two_settings_are_compared_on_the_same_eyes_and_folds(judged: tuple[Any, Any, Any]) -> None:
    desk, one, two = judged
    shorter = [*command(desk, 1)[:-1], "training.epochs=2", "--study", "shorter"]
    said = desk.json(*shorter, "--against", "judged")
    assert (said["difference"]["minus"], said["difference"]["folds"], said["difference"]["repeats"]) == ("judged", 2, 1)
    for name, over_eyes in said["difference"]["over_eyes"].items():
        score, other = (each["out_of_fold"][name]["value"] for each in (said, one))
        assert said["difference"]["other_out_of_fold"][name]["value"] == pytest.approx(other)
        assert over_eyes["value"] == pytest.approx(score - other)
        gains = np.subtract(*([fold["outer"][name]["value"] for fold in each["judged"]] for each in (said, one)))
        over_folds = said["difference"]["over_folds"][name]
        assert over_folds["value"] == pytest.approx(gains.mean())
        # two folds: Student's t of one degree of freedom, variance (1/2 + 1) as of Nadeau and Bengio
        half = stats.t.ppf(0.975, 1) * np.sqrt(1.5) * gains.std(ddof=1)
        assert over_folds["high"] - over_folds["value"] == pytest.approx(half)
    both = desk.json(*command(desk, 2), "--against", "shorter")
    for name, over_eyes in both["difference"]["over_eyes"].items():  # the repeat that both have
        assert over_eyes["value"] == pytest.approx(-said["difference"]["over_eyes"][name]["value"])
    assert {**both, "difference": None} == two


def test_a_comparison_with_what_cannot_be_paired_is_refused_before_any_training(judged: tuple[Any, Any, Any]) -> None:
    desk, *_ = judged
    thirds = ["cross-validate", str(desk.eyes), "--folds", "3", "--study", "thirds", *SMALL]
    for arguments, why in {
        (*thirds, "--against", "thirds"): "that is this cross-validation; name another one",
        (*thirds, "--against", "nobody"): "no study 'nobody' in this database; there are: ",
        (*thirds, "--against", "judged"): "it dealt the eyes into other folds; give its --folds, data.split and",
    }.items():
        refused = desk.run(*arguments)
        assert (refused.returncode, why in refused.stderr) == (2, True), refused.stderr
    assert not list(desk.home.glob("runs/thirds-*"))


def test_a_study_without_out_of_fold_predictions_is_not_compared_with(
    judged: tuple[Any, Any, Any], begin: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, settings, why in (
        ("searched", {}, "study 'searched' is no cross-validation"),
        ("unfinished", {"search.outer_folds": 2}, "has no predictions of a cross-validation; give the command of 'unf"),
    ):
        monkeypatch.setenv("DRSEARCH_HOME", str(begin(name, **settings).home.path))
        with pytest.raises(StudyError, match=why):
            drsearch.cross_validate(judged[0].eyes, NUMBERS, study="mine", against=name, progress=False)


def test_python_gives_the_same_as_tables(judged: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    desk, _, two = judged
    monkeypatch.setenv("DRSEARCH_HOME", str(desk.home))
    same = drsearch.cross_validate(desk.eyes, NUMBERS, folds=2, repeats=2, study="judged", progress=False)
    assert same.scores.auc.value == two["out_of_fold"]["auc"]["value"]
    assert len(same.predictions) == 2 * two["eyes"]
    assert same.folds["auc"].tolist() == [fold["outer"]["auc"]["value"] for fold in two["judged"]]
    assert "<CrossValidation judged: AUC" in repr(same)
    assert same.difference is None and same.differences.empty


SPACE = """
SETTINGS = {settings}


def space(hp):
    hp.{draw}
"""


def search(desk: Any, name: str, draw: str) -> list[str]:
    settings = {**NUMBERS, "training.epochs": 2, "study.sampler": "grid"}
    (desk.folder / f"{name}.py").write_text(SPACE.format(settings=settings, draw=draw))
    return ["cross-validate", str(desk.eyes), "--folds", "2", "--repeats", "1", "--space", f"{name}.py"]


def test_each_outer_fold_searches_anew_and_its_best_trial_is_judged(judged: tuple[Any, Any, Any]) -> None:
    desk, *_ = judged
    said = desk.json(*search(desk, "rates", 'Choice("training.learning_rate", [1e-2, 1e-5])'), "--workers", "2")
    assert [fold["study"] for fold in said["judged"]] == [f"cross-validation-rates-fold{n}" for n in (1, 2)]
    for fold in said["judged"]:
        trials = desk.json("trials", fold["study"])["trials"]
        best = max(trials, key=lambda trial: trial["value"])
        assert len(trials) == 2
        assert (fold["trial"], fold["params"]) == (best["trial"], best["params"])
        assert fold["epoch"] == best["best_epoch"]
    again = desk.json(*search(desk, "rates", 'Choice("training.learning_rate", [1e-2, 1e-5])'))
    assert again == said
    against = desk.json(*command(desk, 1), "--against", "cross-validation-rates")
    assert against["difference"]["other_out_of_fold"]["auc"] == said["out_of_fold"]["auc"]
    refused = desk.run("cross-validate", str(desk.eyes), "--trials", "3")
    assert (refused.returncode, "without --space there is nothing to search" in refused.stderr) == (2, True)


def test_a_space_of_one_point_is_a_setting(judged: tuple[Any, Any, Any]) -> None:
    desk, *_ = judged
    said = desk.json(*search(desk, "fixed", 'Fixed("training.learning_rate", 1e-2)'))
    assert [(fold["study"], fold["trial"]) for fold in said["judged"]] == [
        ("cross-validation-fixed", n) for n in (0, 1)
    ]


def test_the_mean_of_a_folds_inner_networks_answers_its_eyes_and_single_networks_stand_beside(
    judged: tuple[Any, Any, Any],
) -> None:
    desk, *_ = judged
    inner = ("search.folds=2", "registry.networks=folds", "training.epochs=2")
    said = desk.json(
        *command(desk, 1)[:-1], "training.epochs=2", *(f"--set={text}" for text in inner), "--study", "means"
    )
    assert said["networks"] == 2
    for fold in said["judged"]:
        (folder,) = desk.home.glob(f"runs/means-*/trial-{fold['trial']:04d}")
        each = [read_outcome(folder / f"fold{number}") for number in (1, 2)]
        mean = read_outcome(folder)
        assert mean is not None and mean.judged is not None and mean.predictions is not None
        assert fold["inner"]["n"] == fold["n_train"] == said["eyes"] - fold["outer"]["n"]
        assert len(mean.predictions.labels) == fold["n_train"]
        answers = np.array([one.judged.probabilities for one in each if one and one.judged])
        np.testing.assert_allclose(mean.judged.probabilities, mean_answers(answers), atol=1e-5)
    for name, gain in said["single"]["gain_of_mean"].items():
        one, mean_score = said["single"]["out_of_fold"][name]["value"], said["out_of_fold"][name]["value"]
        assert gain["value"] == pytest.approx(mean_score - one) and gain["low"] <= gain["value"] <= gain["high"]
    run = MlflowClient(desk.tracking_uri, desk.tracking_uri).get_run(said["run_id"])
    assert undocumented_metrics(set(run.data.metrics)) == set()
    assert "each judged by the mean of 2 networks" in run.data.tags["mlflow.note.content"]
