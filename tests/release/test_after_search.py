from pathlib import Path

import optuna
import pytest
import requests
from keras import Sequential, layers
from keras.initializers import Constant
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial

from drsearch.data.prepare import Prepared
from drsearch.data.records import read_eyes
from drsearch.datasets.given import open_dataset
from drsearch.errors import StudyError
from drsearch.home import Home
from drsearch.model.fit import EpochResult, Measures
from drsearch.release import after_search as module
from drsearch.release.after_search import AfterSearch, wait_for_mlflow
from drsearch.release.registry import Registry
from drsearch.settings import Settings
from drsearch.space.check import load_space
from drsearch.space.search_space import SearchSpace
from drsearch.study.preparation import define, prepare_all
from drsearch.study.result import StudyResult
from drsearch.tracking.events import RunStart, Tags
from drsearch.tracking.journal import Journal
from drsearch.tracking.sent import adopt
from drsearch.training.foreground import ForegroundWatch
from drsearch.training.listener import Listener, TrainingProgress
from drsearch.training.plan import Plan
from drsearch.training.resumable import run_training
from drsearch.trials.attributes import FINAL, REASON, TRIAL
from drsearch.trials.trials import Trial


@pytest.fixture
def space(tmp_path: Path, settings: Settings) -> SearchSpace:
    file = tmp_path / "sizes.py"
    file.write_text('def space(hp):\n    hp.Choice("images.image_px", [32, 48])\n')
    return load_space(file, lambda _: settings)


@pytest.fixture
def prepared(eyes: Path, space: SearchSpace, home: Home) -> list[Prepared]:
    return prepare_all(open_dataset([eyes]), space, home, skip_bad=False)


def test_every_image_size_that_the_space_may_ask_for_is_prepared_with_one_split(
    prepared: list[Prepared], space: SearchSpace, settings: Settings, eyes: Path
) -> None:
    assert {each.records.images.image_px for each in prepared} == {32, 48}
    assert len({each.records.data_fingerprint for each in prepared}) == 1
    study = define(space, open_dataset([eyes]), prepared)
    for each in prepared:
        assert study.records_for(each.records.images) == each.records.fingerprint
    assert study.data_fingerprint == prepared[0].records.data_fingerprint
    assert study.settings == settings


def test_a_study_without_a_complete_trial_has_no_model_and_says_why(
    prepared: list[Prepared], space: SearchSpace, settings: Settings, eyes: Path, home: Home
) -> None:
    failed = optuna.trial.create_trial(
        state=optuna.trial.TrialState.FAIL,
        user_attrs={TRIAL: 0, FINAL: True, REASON: "the loss is nan in epoch 1"},
    )
    trials = (Trial(0, (failed,), max_retries=2),)
    definition = define(space, open_dataset([eyes]), prepared)
    study = StudyResult("sizes", definition, home.runs / "sizes", trials, len(trials), "")
    with pytest.raises(StudyError) as refused:
        AfterSearch(study, space, home)
    assert str(refused.value) == (
        "no trial of study 'sizes' is complete, so there is no model to register (trial 0: the loss is nan in epoch 1)."
    )


def test_a_network_that_answers_the_same_for_every_eye_is_not_registered(
    prepared: list[Prepared], space: SearchSpace, settings: Settings, eyes: Path, home: Home
) -> None:
    """Its values before the softmax do not depend on the photograph: all its units are dead."""

    def dead() -> Sequential:
        filters = layers.Conv2D(4, 3, activation="relu", bias_initializer=Constant(-1e6))
        return Sequential(
            [layers.Input((32, 32, 3)), filters, layers.GlobalAveragePooling2D(), layers.Dense(2, "softmax")]
        )

    best = create_trial(
        value=0.5,
        params={"images.image_px": 32},
        distributions={"images.image_px": CategoricalDistribution([32, 48])},
        user_attrs={TRIAL: 0},
    )
    definition = define(space, open_dataset([eyes]), prepared)
    study = StudyResult("sizes", definition, home.runs / "sizes", (Trial(0, (best,), 2),), 1, "")
    plan = Plan(
        folder=study.trial_folder(0),
        start=RunStart("k", "sizes", "trial 0"),
        settings=settings,
        build=dead,
        head=("",),
        owner="me",
    )
    records = next(each.records for each in prepared if each.records.images.image_px == 32)
    watch = ForegroundWatch("trial", Listener(), plan)
    outcome = run_training(plan, read_eyes(records, "train"), read_eyes(records, "validation"), watch)
    adopt(plan.folder, "run")
    assert outcome.scores is not None and outcome.scores.is_constant
    with pytest.raises(StudyError) as refused:
        AfterSearch(study, space, home).run()
    assert str(refused.value) == (
        "the best trial of study 'sizes', trial 0, answers the same for every validation eye (AUC 0.5), so no model is "
        "registered. Give the same command more trials (--trials), or begin another study with more epochs, another "
        "learning rate, or study.objective = 'val_auc', which ranks such a network last."
    )
    assert Registry(home.tracking_uri).versions("retinopathy") == []
    tags = [entry.values for entry in Journal(plan.folder).read()[0] if isinstance(entry, Tags)]
    (note,) = [each["mlflow.note.content"] for each in tags if "mlflow.note.content" in each]
    assert "accuracy at 0.5" in note and "**The model answers the same for each of the" in note


def test_a_listener_is_told_of_every_epoch_of_a_training_in_this_process(tmp_path: Path) -> None:
    told: list[TrainingProgress] = []

    class Ear(Listener):
        def trained(self, progress: TrainingProgress) -> None:
            told.append(progress)

    plan = Plan(
        folder=tmp_path,
        start=RunStart("k", "e", "n"),
        settings=Settings().replace({"training.epochs": 12}),
        build=Sequential,
        owner="me",
    )
    watch = ForegroundWatch("fine-tuning", Ear(), plan)
    for epoch in range(1, 13):
        measures = Measures(loss=0.7, accuracy=0.5, auc=0.625)
        watch.epoch(EpochResult(epoch, 0.001, 1.0, measures, measures))
    assert [progress.epoch for progress in told] == list(range(13))
    assert told[0] == TrainingProgress("fine-tuning", 0, 12)
    assert told[2] == TrainingProgress("fine-tuning", 2, 12, 1.0, "val", 0.625, 0.5)
    assert not watch.stop_asked()
    watch.stop()
    assert watch.stop_asked()


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that pass in waiting, which nobody waits here."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "sleep", lambda passed: now.__setitem__(0, now[0] + passed))
    return now


def ask_nobody() -> None:
    requests.get("http://127.0.0.1:9", timeout=5)


def test_an_mlflow_that_comes_back_is_waited_for_with_one_sentence(seconds: list[float]) -> None:
    said: list[str] = []

    def steps() -> str:
        if seconds[0] < 20:
            ask_nobody()
        return "registered"

    assert wait_for_mlflow(steps, "mine", "http://host:5000", said.append) == "registered"
    assert said == ["MLflow at http://host:5000 does not answer: connection refused; waiting 60 s for it"]


def test_an_mlflow_that_stays_away_ends_the_waiting(seconds: list[float]) -> None:
    with pytest.raises(StudyError) as gone:
        wait_for_mlflow(ask_nobody, "mine", "http://ann:secret@host:5000", lambda _: None)
    assert str(gone.value) == (
        "study 'mine' is complete, but its model is not yet registered and tested: MLflow at http://***@host:5000 does "
        "not answer: connection refused; when it answers, the same command resumes there."
    )
    assert 60 < seconds[0] < 70


def test_a_bug_is_not_waited_for(seconds: list[float]) -> None:
    with pytest.raises(ZeroDivisionError):
        wait_for_mlflow(lambda: 1 // 0, "mine", "http://host:5000", lambda _: None)
    assert seconds == [0.0]
