from pathlib import Path

import optuna
import pytest
from keras import Sequential

from drsearch.data.prepare import Prepared
from drsearch.errors import StudyError
from drsearch.home import Home
from drsearch.measure.scores import Interval, Scores
from drsearch.model import EpochResult
from drsearch.model.training import Measures
from drsearch.release.job import Job, TrainingWatch, define, prepare_all
from drsearch.release.job import test_numbers as numbers_of
from drsearch.release.listener import Nobody, TrainingProgress
from drsearch.search.recorded import Plan
from drsearch.search.slots import FINAL, REASON, SLOT, Slot
from drsearch.search.space import SearchSpace, load_space
from drsearch.search.study import StudyResult
from drsearch.settings import Settings
from drsearch.tracking.entries import RunStart


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    file = tmp_path / "sizes.py"
    file.write_text('def space(hp):\n    hp.Choice("images.image_px", [32, 48])\n')
    return load_space(file)


@pytest.fixture
def prepared(eyes: Path, space: SearchSpace, settings: Settings, home: Home) -> list[Prepared]:
    return prepare_all(eyes, space, settings, home, skip_bad=False)


def test_every_image_size_that_the_space_may_ask_for_is_prepared_with_one_split(
    prepared: list[Prepared], space: SearchSpace, settings: Settings, eyes: Path
) -> None:
    assert {each.records.images.image_px for each in prepared} == {32, 48}
    assert len({each.records.data_fingerprint for each in prepared}) == 1
    study = define(space, settings, eyes, prepared)
    for each in prepared:
        assert study.records_for(each.records.images) == each.records.fingerprint
    assert study.data_fingerprint == prepared[0].records.data_fingerprint
    assert study.base() == settings


def test_a_study_without_a_complete_trial_has_no_model_and_says_why(
    prepared: list[Prepared], space: SearchSpace, settings: Settings, eyes: Path, home: Home
) -> None:
    failed = optuna.trial.create_trial(
        state=optuna.trial.TrialState.FAIL,
        user_attrs={SLOT: 0, FINAL: True, REASON: "the loss is nan in epoch 1"},
    )
    slots = (Slot(0, (failed,), max_retries=2),)
    study = StudyResult("sizes", define(space, settings, eyes, prepared), home.runs / "sizes", slots, len(slots), "")
    with pytest.raises(StudyError) as refused:
        Job(study, space, home)
    assert str(refused.value) == (
        "no trial of study 'sizes' is complete, so there is no model to register (trial 0: the loss is nan in epoch 1)."
    )


def test_test_scores_become_numbers_with_their_intervals_and_the_four_cells() -> None:
    interval = Interval(0.5, 0.25, 0.75)
    numbers = numbers_of(Scores(interval, interval, interval, interval, ((1, 2), (3, 4)), 10))
    assert {name: value for name, value in numbers.items() if name.startswith("test_auc")} == {
        "test_auc": 0.5,
        "test_auc_low": 0.25,
        "test_auc_high": 0.75,
    }
    assert [numbers[f"test_{cell}"] for cell in ("true_nrdr", "false_rdr", "false_nrdr", "true_rdr")] == [1, 2, 3, 4]
    assert len(numbers) == 16


def test_a_listener_is_told_of_every_epoch_of_a_training_in_this_process(tmp_path: Path) -> None:
    told: list[TrainingProgress] = []

    class Listener(Nobody):
        def trained(self, progress: TrainingProgress) -> None:
            told.append(progress)

    plan = Plan(tmp_path, RunStart("k", "e", "n"), Settings().replace({"training.epochs": 12}), Sequential, (), "me")
    watch = TrainingWatch("fine-tuning", Listener(), plan)
    for epoch in range(1, 13):
        measures = Measures(loss=0.7, accuracy=0.5, auc=0.625)
        watch.epoch(EpochResult(epoch, 0.001, 1.0, measures, measures))
    assert [progress.epoch for progress in told] == list(range(13))
    assert told[0] == TrainingProgress("fine-tuning", 0, 12)
    assert told[2] == TrainingProgress("fine-tuning", 2, 12, 1.0, "val", 0.625, 0.5)
    assert not watch.stop_asked()
    watch.stop()
    assert watch.stop_asked()
