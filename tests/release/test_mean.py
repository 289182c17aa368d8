"""A study whose model is the mean of its best trial's folds: one version, which answers, explains and names them."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from registered import Made, make

from drsearch.data.records import open_records, read_eyes
from drsearch.errors import StudyError
from drsearch.measure.calibration import fit_temperature, tempered
from drsearch.model.mean_network import mean_answers, network_of
from drsearch.model.predictor import Predictor
from drsearch.release.lineage import Lineage
from drsearch.release.registry import Registry
from drsearch.serving.gradable import quality_limits
from drsearch.serving.grader import Grader
from drsearch.settings import Settings
from drsearch.study.delete import _needs
from drsearch.study.validation import check_study
from drsearch.training.cross_validation import split_folds
from drsearch.training.objective import Objective
from drsearch.training.outcome import read_outcome


@pytest.fixture(autouse=True)
def own_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow puts the address of the home that was asked last into the environment."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def made(eyes: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A study of one trial with three folds, whose mean is registered."""
    chosen = {"search.folds": 3, "registry.networks": "folds", "registry.symmetries": 8, "finetune.when": "never"}
    draws = [{"training.learning_rate": 0.01, "images.mask": 0.0}]
    return make(tmp_path_factory.mktemp("mean"), eyes, settings.replace(chosen), draws)


@pytest.fixture(scope="module")
def of_trials(eyes: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A study of four trials, of which the mean of the best two of one kind of photograph is registered."""
    chosen = {"registry.networks": "trials", "registry.best_trials": 2, "finetune.when": "always"}
    draws = [
        {"training.learning_rate": rate, "images.mask": mask}
        for rate, mask in ((0.01, 0.0), (0.003, 0.5), (0.003, 0.0), (0.001, 0.0))
    ]
    return make(tmp_path_factory.mktemp("trials"), eyes, settings.replace(chosen), draws)


def test_one_version_is_registered_which_says_what_it_is(made: Made) -> None:
    home, result, said = made.home, made.result, made.said
    (version,) = Registry(home.tracking_uri).versions("retinopathy")
    assert version.version == result.model.version and version.aliases == ("search-best",)
    assert version.tags["drsearch.kind"] == "mean" and not result.refit
    members = json.loads(version.tags["drsearch.members"])
    assert members == [{"trial": 0, "run": result.run_id, "network": f"fold{n}"} for n in (1, 2, 3)]
    client = MlflowClient(home.tracking_uri, home.tracking_uri)
    note = client.get_model_version("retinopathy", "1").description
    assert note.startswith(f"The mean of the networks of trial 0, study `rates`: {version.tags['drsearch.network']}.")
    assert version.tags["drsearch.network"].startswith("mean of 3 networks, ")
    assert " ms per eye on " in note and "held-out predictions of the folds" in note
    assert result.finetune["ran"] is False and any("no fine-tuning" in line for line in said)
    assert 0 <= result.test["auc"]["value"] <= 1


def test_each_network_of_a_mean_is_fine_tuned_on_its_own_eyes_and_their_mean_is_the_next_version(
    eyes: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Objective, "is_better", lambda *_: True)  # so that it is registered
    chosen = {
        "search.folds": 2, "registry.networks": "folds", "training.epochs": 2, "finetune.when": "always",
        "finetune.epochs": 2, "finetune.learning_rate": 1e-3,
    }  # fmt: skip
    draws = [{"training.learning_rate": 0.01, "images.mask": 0.0}]
    tuned = make(tmp_path, eyes, settings.replace(chosen), draws)
    registry = Registry(tuned.home.tracking_uri)
    first, second = sorted(registry.versions("retinopathy"), key=lambda version: version.version)
    assert (second.tags["drsearch.kind"], second.tags["drsearch.parent_version"]) == ("finetune", "1")
    assert tuned.result.model.version == second.version and tuned.result.finetune["before"] == tuned.outcomes[0].value
    before, after = (Grader(registry.download(each.uri, tmp_path / each.uri[-1])) for each in (first, second))
    assert before.model.name == after.model.name == "mean_of_2_networks"
    assert {eye.split for eye in after.trained_on} == {"train", "validation"}
    folder = next((tuned.home.runs / "rates").glob("finetune-*"))
    mean = read_outcome(folder)
    assert mean is not None and mean.predictions is not None and mean.value == tuned.result.finetune["value"]
    records = open_records(tuned.home.records / after.serving.fingerprint)
    train, validation = read_eyes(records, "train"), read_eyes(records, "validation")
    search = settings.replace(chosen).search
    folds = split_folds(train, validation, records.eyes("train", "validation"), records.data, search)
    for place in range(2):
        own, held_out = network_of(after.model, place), folds.fold(place).validation.images
        answers = np.array(mean.predictions.probabilities)[folds.held_out(place)]
        np.testing.assert_allclose(Predictor(own)(held_out), answers, atol=1e-5)
        assert np.abs(Predictor(network_of(before.model, place))(held_out) - answers).max() > 1e-4
    assert tuned.again().model.version == second.version


def test_it_answers_and_explains_as_any_model_and_knows_all_eyes_that_it_has_seen(
    made: Made, photograph: bytes, tmp_path: Path
) -> None:
    home, result, (outcome,) = made.home, made.result, made.outcomes
    grader = Grader(Registry(home.tracking_uri).download(result.model.uri, tmp_path / "model"))
    assert {eye.split for eye in grader.trained_on} == {"train", "validation"}
    assert outcome.predictions is not None and len(outcome.predictions.labels) == len(grader.trained_on)
    assert grader.serving.quality_limits == quality_limits([eye.quality for eye in grader.trained_on])
    (verdict,) = grader.grade([photograph])
    assert 0 < verdict.probability < 1 and verdict.threshold == grader.serving.threshold
    assert np.ptp(grader.explain(photograph).cam) > 0


def test_its_lineage_leads_to_every_network_and_each_of_their_runs_to_it(
    made: Made,
) -> None:
    home, result = made.home, made.result
    node = Lineage(home).of("retinopathy/1")
    networks = [part for part in node.parts if part.kind == "network"]
    assert [part.name for part in networks] == [f"fold{n} of trial 0" for n in (1, 2, 3)]
    assert {part.facts["run"] for part in networks} == {result.run_id}
    assert node.facts["network"].startswith("mean of 3 networks")
    assert [part.name for part in Lineage(home).of(result.run_id).parts] == ["retinopathy/1"]


def test_a_version_keeps_the_runs_of_its_networks_when_the_study_is_deleted(
    made: Made,
) -> None:
    home, result = made.home, made.result
    version = MlflowClient(home.tracking_uri, home.tracking_uri).get_model_version("retinopathy", "1")
    version._tags["drsearch.members"] = json.dumps([{"trial": 4, "run": "another", "network": ""}])
    assert _needs(version) == {result.run_id, "another"}


def test_a_mean_of_one_network_is_refused_before_anything_is_trained(settings: Settings) -> None:
    with pytest.raises(StudyError) as refused:
        check_study(settings.replace({"registry.networks": "folds"}))
    assert str(refused.value) == (
        "registry.networks = 'folds' registers the mean of a trial's networks, and it has one; "
        "write search.folds = 5, or registry.networks = 'one'."
    )


def test_the_mean_of_the_best_trials_is_of_those_that_see_photographs_alike(of_trials: Made) -> None:
    registry = Registry(of_trials.home.tracking_uri)
    (version,) = registry.versions("retinopathy")
    members = json.loads(version.tags["drsearch.members"])
    assert [member["trial"] for member in members] == [0, 2], "trial 1 masks its photographs"
    assert len({member["run"] for member in members}) == 2 and members[0]["run"] == of_trials.result.run_id
    assert "averaging the networks of trials 0 and 2" in of_trials.said
    note = MlflowClient(of_trials.home.tracking_uri, of_trials.home.tracking_uri).get_model_version("retinopathy", "1")
    assert note.description.startswith(
        "The mean of the networks of trials 0 and 2, study `rates`: mean of 2 networks, "
    )
    nodes = [part.name for part in Lineage(of_trials.home).of("retinopathy/1").parts if part.kind == "network"]
    assert nodes == ["trial 0", "trial 2"]
    assert [part.name for part in Lineage(of_trials.home).of(members[1]["run"]).parts] == ["retinopathy/1"]


def test_threshold_and_temperature_of_a_mean_of_trials_are_those_of_its_own_answers(
    of_trials: Made, tmp_path: Path
) -> None:
    grader = Grader(Registry(of_trials.home.tracking_uri).download(of_trials.result.model.uri, tmp_path / "model"))
    assert {eye.split for eye in grader.trained_on} == {"train"}
    each = [of_trials.outcomes[number].predictions for number in (0, 2)]
    answers = mean_answers(np.array([one.probabilities for one in each if one]))
    temperature, _ = fit_temperature(each[0].labels if each[0] else (), answers)
    assert grader.serving.temperature == pytest.approx(temperature, abs=1e-6)
    records = open_records(of_trials.home.records / grader.serving.fingerprint)
    np.testing.assert_allclose(
        grader.probabilities(read_eyes(records, "validation").images), tempered(answers, temperature), atol=1e-4
    )


def test_the_same_trials_are_registered_once(of_trials: Made) -> None:
    assert of_trials.again().model.version == 1
    (of_trials.home.runs / "rates/after_search.json").unlink()  # as if the process had died after registering
    assert of_trials.again().model.version == 1


def test_a_mean_of_trials_needs_two(eyes: Path, settings: Settings, tmp_path: Path) -> None:
    draws = [{"training.learning_rate": 0.01, "images.mask": mask} for mask in (0.0, 0.5)]
    with pytest.raises(StudyError) as refused:
        make(tmp_path, eyes, settings.replace({"registry.networks": "trials", "training.epochs": 2}), draws)
    assert str(refused.value) == (
        "registry.networks = 'trials' averages the networks of several trials, and study 'rates' has 1 complete with "
        "the settings images.* of the best one, trial 0, whose network tells eyes apart; give the same command more "
        "trials (--trials)."
    )


def test_a_mean_of_trials_has_one_objective(settings: Settings) -> None:
    with pytest.raises(StudyError, match="asks for two; write registry.networks = 'one'"):
        check_study(
            settings.replace(
                {
                    "registry.networks": "trials",
                    "study.second_objective": "parameters",
                    "study.pruner": "none",
                }
            )
        )
