"""A study whose model is the mean of its best trial's folds: one version, which answers, explains and names them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial

from drsearch.data.records import read_eyes
from drsearch.datasets.given import open_dataset
from drsearch.errors import StudyError
from drsearch.home import Home
from drsearch.release.after_search import AfterSearch, AfterSearchResult
from drsearch.release.lineage import Lineage
from drsearch.release.registry import Registry
from drsearch.serving.grader import Grader
from drsearch.settings import Settings
from drsearch.space.check import load_space
from drsearch.study.delete import _needs
from drsearch.study.preparation import define, prepare_all
from drsearch.study.result import StudyResult
from drsearch.study.validation import check_study
from drsearch.tracking.events import RunStart
from drsearch.tracking.sent import adopt
from drsearch.training.cross_validation import split_folds
from drsearch.training.listener import Listener
from drsearch.training.outcome import Outcome
from drsearch.training.plan import Plan, Watch
from drsearch.training.resumable import run_folds
from drsearch.trials.attributes import TRIAL
from drsearch.trials.trials import Trial


@pytest.fixture(scope="module")
def made(
    eyes: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Home, AfterSearchResult, Outcome, list[str]]:
    """A study of one trial with three folds, and what was said while its model was registered."""
    folder = tmp_path_factory.mktemp("mean")
    home = Home(folder / "home")
    chosen = settings.replace(
        {"search.folds": 3, "registry.networks": "folds", "registry.symmetries": 8, "finetune.when": "always"}
    )
    (folder / "rates.py").write_text('def space(hp):\n    hp.Choice("training.learning_rate", [0.01])\n')
    space = load_space(folder / "rates.py", lambda _: chosen)
    prepared = prepare_all(open_dataset([eyes]), space, home, skip_bad=False)
    rates = CategoricalDistribution([0.01])
    best = create_trial(
        value=0.5, params={"training.learning_rate": 0.01}, distributions={"training.learning_rate": rates},
        user_attrs={TRIAL: 0},
    )  # fmt: skip
    definition = define(space, open_dataset([eyes]), prepared)
    study = StudyResult("rates", definition, home.runs / "rates", (Trial(0, (best,), 2),), 1, "")
    client = MlflowClient(home.tracking_uri, home.tracking_uri)
    experiment = client.create_experiment("rates", (home.path / "artifacts").as_uri())
    run_id = client.create_run(experiment, tags={"drsearch.kind": "trial"}, run_name="trial 0").info.run_id
    records = prepared[0].records
    train, validation = read_eyes(records, "train"), read_eyes(records, "validation")
    plan = Plan(
        folder=study.trial_folder(0),
        start=RunStart("k", "rates", "trial 0"),
        settings=definition.trial_settings(0, {"training.learning_rate": 0.01}),
        build=lambda: space.build(plan.settings),
        owner="me",
    )
    entries = records.eyes("train", "validation")
    outcome = run_folds(plan, split_folds(train, validation, entries, chosen.data, chosen.search), Watch())
    adopt(plan.folder, run_id)
    said: list[str] = []

    class Ear(Listener):
        def say(self, text: str) -> None:
            said.append(text)

    return home, AfterSearch(study, space, home, Ear()).run(), outcome, said


def test_one_version_is_registered_which_says_what_it_is(made: tuple[Home, AfterSearchResult, Outcome, Any]) -> None:
    home, result, _, said = made
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


def test_it_answers_and_explains_as_any_model_and_knows_all_eyes_that_it_has_seen(
    made: tuple[Home, AfterSearchResult, Outcome, Any], photograph: bytes, tmp_path: Path
) -> None:
    home, result, outcome, _ = made
    grader = Grader(Registry(home.tracking_uri).download(result.model.uri, tmp_path / "model"))
    assert {eye.split for eye in grader.trained_on} == {"train", "validation"}
    assert outcome.predictions is not None and len(outcome.predictions.labels) == len(grader.trained_on)
    (verdict,) = grader.grade([photograph])
    assert 0 < verdict.probability < 1 and verdict.threshold == grader.serving.threshold
    assert np.ptp(grader.explain(photograph)) > 0


def test_its_lineage_leads_to_every_network_and_each_of_their_runs_to_it(
    made: tuple[Home, AfterSearchResult, Outcome, Any],
) -> None:
    home, result, _, _ = made
    node = Lineage(home).of("retinopathy/1")
    networks = [part for part in node.parts if part.kind == "network"]
    assert [part.name for part in networks] == [f"fold{n} of trial 0" for n in (1, 2, 3)]
    assert {part.facts["run"] for part in networks} == {result.run_id}
    assert node.facts["network"].startswith("mean of 3 networks")
    assert [part.name for part in Lineage(home).of(result.run_id).parts] == ["retinopathy/1"]


def test_a_version_keeps_the_runs_of_its_networks_when_the_study_is_deleted(
    made: tuple[Home, AfterSearchResult, Outcome, Any],
) -> None:
    home, result, _, _ = made
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
