"""A study takes over what it could have run itself: a grid that grows runs only its new points."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from studies import add_waiting_trials

from drsearch.errors import StudyError
from drsearch.settings import Value
from drsearch.space.check import load_space
from drsearch.space.search_space import SearchSpace
from drsearch.study.budget import total_trials
from drsearch.study.definition import StudyDefinition, images_key, load_study, open_study, trial_seed
from drsearch.study.result import StudyResult
from drsearch.study.warm_start import inherit, planned
from drsearch.trials.attributes import FINAL, INHERITED, REASON, RUN_ID, TRIAL
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import inheritors, read_trials

SPACE = """
SETTINGS = {"study.sampler": "grid", "training.epochs": 4}


def space(hp):
    if hp.Choice("training.optimizer", ["adam", "sgd"]) == "adam":
        hp.Choice("training.learning_rate", [0.01, 0.001])
"""
GROWN = SPACE.replace('"sgd"]', '"rmsprop", "sgd"]').replace("[0.01, 0.001]", "[0.01, 0.003, 0.001]")


class Studies:
    """Studies on one database, each with a space and finished trials that nobody trained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = open_storage(f"sqlite:///{folder / 'studies.db'}")

    def space(self, source: str, **over: Value) -> SearchSpace:
        file = self.folder / "mine.py"
        file.write_text(source)
        changes = {name.replace("__", "."): value for name, value in over.items()}
        return load_space(file, lambda own: own.replace(changes))

    def definition(self, name: str, space: SearchSpace, data: str = "0123456789abcdef") -> StudyDefinition:
        return StudyDefinition(
            uid=(name * 32)[:32],
            space_file="mine.py",
            space_source=space.source,
            settings=space.settings,
            data_name="eyes",
            data_source="/data/eyes",
            data_fingerprint=data,
            records={images_key(space.settings.images): "fedcba9876543210"},
            code={},
        )

    def run(self, name: str, space: SearchSpace, values: Mapping[int, float | None]) -> optuna.Study:
        """A study whose trials ended with these values; None for one that was pruned."""
        study, _ = open_study(self.storage, name, self.definition(name, space), len(values))
        for trial, value in values.items():
            attempt = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=trial)).ask(fixed_distributions={})
            if space.settings.study.sampler == "grid":
                attempt.study.enqueue_trial(space.grid()[trial])
                attempt = attempt.study.ask()
            space.draw(attempt)
            study.add_trial(
                optuna.create_trial(
                    state=TrialState.COMPLETE if value is not None else TrialState.PRUNED,
                    params=attempt.params,
                    distributions=attempt.distributions,
                    value=value,
                    intermediate_values={2: value or 0.1},
                    user_attrs={TRIAL: trial, RUN_ID: f"run-{trial}", REASON: ""},
                )
            )
        return study

    def begin(self, name: str, space: SearchSpace, source: str, **more: Any) -> optuna.Study:
        """What the launcher does before any worker starts."""
        wanted = self.definition(name, space, **more)
        warm = planned(self.storage, name, source, space, wanted)
        extra = len(warm.trials) if warm and space.settings.study.sampler != "grid" else 0
        n = total_trials(space) + extra
        study, _ = open_study(self.storage, name, wanted, n)
        if warm is not None:
            inherit(study, self.storage, warm, space)
        add_waiting_trials(study, n, space.grid() if space.settings.study.sampler == "grid" else None)
        return study


@pytest.fixture
def studies(tmp_path: Path) -> Studies:
    return Studies(tmp_path)


def test_a_study_knows_who_carries_its_trials_however_often_they_were_carried_on(studies: Studies) -> None:
    space = studies.space(SPACE)
    studies.run("old", space, {0: 0.7, 1: None})
    studies.begin("new", space, "old")
    studies.begin("newest", space, "new")
    studies.run("alone", space, {0: 0.5})
    uid = load_study(studies.storage, "old")[1].uid
    assert inheritors(studies.storage, uid) == {"new": 2, "newest": 2}
    assert inheritors(studies.storage, load_study(studies.storage, "newest")[1].uid) == {}


def states(study: optuna.Study) -> list[str]:
    return [trial.state for trial in read_trials(study)]


def test_a_grid_that_grows_runs_only_its_new_points(studies: Studies) -> None:
    studies.run("old", studies.space(SPACE), {0: 0.7, 1: None, 2: 0.8})
    grown = studies.space(GROWN)
    study = studies.begin("new", grown, "old")
    assert states(study) == ["complete", "waiting", "pruned", "waiting", "complete"]
    trials = read_trials(study)
    waiting = [trial.last.system_attrs["fixed_params"] for trial in trials if trial.state == "waiting"]
    assert waiting == [grown.grid()[1], grown.grid()[3]]
    assert [trial.last.params for trial in trials if trial.inherited_from] == [grown.grid()[i] for i in (0, 2, 4)]
    assert (trials[4].last.value, trials[4].last.intermediate_values, trials[4].last.user_attrs[RUN_ID]) == (
        0.8, {2: 0.8}, "run-2"
    )  # fmt: skip
    assert trials[4].inherited_from == {"study": "old", "uid": "old" * 10 + "ol", "trial": 2, "seed": trial_seed(0, 2)}


def test_repeating_it_and_dying_in_the_middle_of_it_carry_nothing_twice(studies: Studies) -> None:
    studies.run("old", studies.space(SPACE), {0: 0.7, 1: 0.6, 2: 0.8})
    grown = studies.space(GROWN)
    wanted = studies.definition("new", grown)
    warm = planned(studies.storage, "new", "old", grown, wanted)
    assert warm is not None
    study, _ = open_study(studies.storage, "new", wanted, 5)
    inherit(study, studies.storage, dataclasses.replace(warm, trials={0: warm.trials[0]}), grown)
    study.set_user_attr("drsearch.warm_start", {"study": "old", "trials": {str(k): v for k, v in warm.trials.items()}})
    for _ in range(2):
        again = studies.begin("new", grown, "")  # the option may be left out: the study knows
        assert states(again) == ["complete", "waiting", "complete", "waiting", "complete"]
    assert len(again.get_trials()) == 5
    optuna.delete_study(study_name="old", storage=studies.storage)
    assert states(studies.begin("new", grown, "")) == states(again), "the other study is not asked for any more"


def test_carried_trials_teach_the_sampler_and_come_on_top_of_the_trials_asked_for(studies: Studies) -> None:
    studies.run("old", studies.space(SPACE), {0: 0.7, 1: 0.6, 2: 0.8})
    ours = SPACE.replace('"grid"', '"tpe"').replace('"sgd"]', '"rmsprop", "sgd"]')
    ours = ours.replace('Choice("training.learning_rate", [0.01, 0.001])', 'Float("training.learning_rate", 1e-4, 0.1)')
    space = studies.space(ours, study__trials=2)
    study = studies.begin("new", space, "old")
    assert states(study) == ["complete"] * 3 + ["waiting"] * 2
    result = StudyResult(
        "new", studies.definition("new", space), studies.folder / "new-newnewne", tuple(read_trials(study)), 5, ""
    )
    assert result.counts() == {"complete": 0, "pruned": 0, "failed": 0, "waiting": 2, "running": 0, "inherited": 3}
    assert result.best is not None and result.best.last.value == 0.8
    assert result.trial_folder(2) == studies.folder / "old-oldoldol" / "trial-0002"
    assert result.trial_folder(3) == studies.folder / "new-newnewne" / "trial-0003"
    taught = optuna.create_study(direction="maximize")
    taught.add_trials([trial.last for trial in read_trials(study) if trial.inherited_from])
    assert "training.optimizer" in space.draw(taught.ask()), "Optuna takes the distributions for the space's own"


def test_a_setting_that_the_new_space_draws_is_found_where_the_old_had_it_fixed(studies: Studies) -> None:
    studies.run("old", studies.space(SPACE), {0: 0.7, 1: 0.6, 2: 0.8})
    study = studies.begin("new", studies.space(SPACE + '    hp.Choice("training.batch_size", [2, 4])\n'), "old")
    sizes = [trial.last.params["training.batch_size"] for trial in read_trials(study) if trial.inherited_from]
    assert sizes == [4, 4, 4]
    assert states(study).count("waiting") == 3


def test_what_the_new_study_could_not_have_run_stays_behind_and_is_named(studies: Studies) -> None:
    studies.run("old", studies.space(SPACE), {0: 0.7, 1: 0.6, 2: 0.8})
    fewer = studies.space(SPACE.replace("[0.01, 0.001]", "[0.01]"))
    warm = planned(studies.storage, "new", "old", fewer, studies.definition("new", fewer))
    assert warm is not None
    assert warm.trials == {0: 0, 1: 2}
    assert (warm.n_left, warm.why_left) == (
        1, "trial 1: training.learning_rate = 0.001, and the space draws it from [0.01]"
    )  # fmt: skip


def test_failed_trials_are_run_again(studies: Studies) -> None:
    study = studies.run("old", studies.space(SPACE), {0: 0.7})
    study.add_trial(optuna.create_trial(state=TrialState.FAIL, user_attrs={TRIAL: 1, FINAL: True, REASON: "nan"}))
    assert states(studies.begin("new", studies.space(SPACE), "old")) == ["complete", "waiting", "waiting"]


def test_trials_that_were_carried_before_keep_where_they_began(studies: Studies) -> None:
    studies.run("old", studies.space(SPACE), {0: 0.7, 1: 0.6, 2: 0.8})
    studies.begin("new", studies.space(GROWN), "old")
    third = studies.begin("third", studies.space(GROWN.replace("0.003", "0.03")), "new")
    assert [trial.inherited_from["study"] for trial in read_trials(third) if trial.inherited_from] == ["old"] * 3
    assert INHERITED == "drsearch.inherited"


@pytest.mark.parametrize(
    ("over", "more", "said"),
    [
        (
            {"training__epochs": 9},
            {},
            "--warm-start old: none of its 1 finished trials could be this study's (trial 0: training.epochs = 4 "
            "there, and 9 here); begin without it, or give the settings as they were there.",
        ),
        (
            {"study__objective": "val_loss"},
            {},
            "--warm-start old: it has study.objective = 'val_auc', and this study 'val_loss', so its values mean "
            "something else; --enqueue FILE starts from its settings.",
        ),
        (
            {},
            {"data": "1111111111111111"},
            "--warm-start old: it was run on other data (0123456789ab of /data/eyes, here 111111111111), so its "
            "results cannot be inherited; --enqueue FILE starts from its settings.",
        ),
    ],
    ids=["settings", "objective", "data"],
)
def test_results_that_mean_something_else_are_not_carried(
    studies: Studies, over: dict[str, Any], more: dict[str, str], said: str
) -> None:
    studies.run("old", studies.space(SPACE), {0: 0.7})
    with pytest.raises(StudyError) as refused:
        studies.begin("new", studies.space(GROWN, **over), "old", **more)
    assert str(refused.value) == said
    assert "new" not in [each.study_name for each in optuna.get_all_study_summaries(studies.storage)]


def test_a_study_that_has_begun_is_not_warm_started(studies: Studies) -> None:
    studies.run("old", studies.space(SPACE), {0: 0.7})
    studies.run("other", studies.space(SPACE), {0: 0.7})
    space = studies.space(GROWN)
    studies.begin("cold", space, "")
    studies.begin("warm", space, "old")
    for name, source, said in (
        ("cold", "old", "study 'cold' was begun without --warm-start; "),
        ("warm", "other", "study 'warm' was begun with --warm-start old; "),
    ):
        with pytest.raises(StudyError) as refused:
            studies.begin(name, space, source)
        assert str(refused.value) == (f"{said}give it as it was, or --study OTHER --warm-start {source} to begin one.")


def test_another_network_under_the_same_values_is_not_carried(studies: Studies) -> None:
    network = """
import keras
def build_model(hp, image_px, n_classes):
    images = keras.Input((image_px, image_px, 3))
    x = keras.layers.Conv2D(hp.Choice("filters", [2, 3]), 3, activation="relu")(images)
    x = keras.layers.GlobalMaxPooling2D()(x)
    return keras.Model(images, keras.layers.Dense(n_classes, activation="softmax")(x))
"""
    head = 'SETTINGS = {"study.sampler": "grid", "images.image_px": 16}\ndef space(hp):\n    pass\n'
    studies.run("old", studies.space(head + network), {0: 0.7, 1: 0.6})
    study = studies.begin("new", studies.space(head + network.replace("[2, 3]", "[2, 3, 4]")), "old")
    assert states(study) == ["complete", "complete", "waiting"]
    with pytest.raises(StudyError) as refused:
        studies.begin("third", studies.space(head + network.replace('"relu"', '"elu"')), "old")
    assert str(refused.value) == (
        "--warm-start old: build_model of mine.py is not what it was there, beyond what it draws, so equal values make "
        "another training; --enqueue FILE starts from its settings."
    )
