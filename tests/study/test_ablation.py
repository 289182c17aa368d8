"""What an ablation trains: every choice of the best trial that is not the default, put back one at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from drsearch.errors import StudyError
from drsearch.settings import Settings
from drsearch.space.search_space import SearchSpace, read_space
from drsearch.study.ablation import AblationPlan, plan_ablation
from drsearch.study.definition import StudyDefinition
from drsearch.trials.attributes import TRIAL
from drsearch.trials.trials import Trial

SPACE = """
def space(hp):
    hp.Choice("images.image_px", [32, 48])
    if hp.Choice("training.optimizer", ["sgd", "adam"]) == "sgd":
        hp.Float("training.learning_rate", 0.01, 0.1)
    hp.Fixed("training.schedule", "cosine")
    hp.Boolean("augmentation.flip")
"""
INSIDE = """
import keras

def space(hp):
    hp.Choice("training.learning_rate", [0.01])

def build_model(hp, image_px, n_classes):
    inputs = keras.Input((image_px, image_px, 3))
    x = keras.layers.Conv2D(hp.Int("units", 2, 8), 3, padding="same")(inputs)
    if hp.Choice("head", ["plain", "dense"]) == "dense":
        x = keras.layers.Dense(hp.Int("wide", 2, 4))(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(x))
"""


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., tuple[AblationPlan, SearchSpace]]:
    """Plans the ablation of a study whose best trial drew given values; gives the plan and its space."""

    def make(source: str, drawn: dict[str, Any], **settings: Any) -> tuple[AblationPlan, SearchSpace]:
        file = tmp_path / "space.py"
        file.write_text(source)
        own = read_space(file, lambda _: Settings().replace({"images.image_px": 32, **settings}))
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
        study.enqueue_trial(drawn, user_attrs={TRIAL: 7})
        trial = study.ask()
        own.draw(trial)
        study.tell(trial, 0.9)
        definition = StudyDefinition("0" * 32, "space.py", source, own.settings, "eyes", "/eyes", "0" * 64, {}, {})
        planned = plan_ablation("mine", definition, Trial(7, tuple(study.trials), 2), folds=3, repeats=2)
        made = tmp_path / "ablation.py"
        made.write_text(planned.source)
        return planned, read_space(made, lambda _: planned.settings)

    return make


def drawn_by(space: SearchSpace, point: Any) -> dict[str, Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    study.enqueue_trial(dict(point))
    drawn = space.draw(study.ask())
    kept = study.trials[-1].params
    assert all(type(value) is type(drawn[name]) for name, value in kept.items()), "as a resumed trial reads them"
    return drawn


def test_each_choice_is_put_back_alone_whatever_it_was_drawn_under(plan: Callable[..., Any]) -> None:
    best = {"images.image_px": 48, "training.optimizer": "sgd", "training.learning_rate": 0.05,
            "augmentation.flip": False}  # fmt: skip
    planned, space = plan(SPACE, best)
    assert (planned.trial, planned.study) == (7, "mine")
    chosen = {each.name: (each.value, each.default) for each in planned.choices}
    assert chosen.pop("training.schedule") == ("cosine", "constant"), "what a space fixes is a choice too"
    assert chosen.pop("training.learning_rate") == (0.05, 0.001)
    assert chosen.pop("images.image_px") == (48, 32), "the default is that of the study's own settings"
    assert chosen == {"training.optimizer": ("sgd", "adam"), "augmentation.flip": (False, True)}
    whole, *others = [space.settings.replace(drawn_by(space, point)) for point in planned.points]
    assert {name: whole.flat()[name] for name in best} == best
    for choice, settings in zip(planned.choices, others, strict=True):
        assert settings == whole.replace({choice.name: choice.default})


def test_its_trials_are_judged_by_all_folds_and_by_one_number(plan: Callable[..., Any]) -> None:
    own = {"study.sampler": "nsga2", "study.second_objective": "parameters", "study.constraints": "auc >= 0.9",
           "study.hours": 2.0, "study.objective": "val_brier"}  # fmt: skip
    planned, _ = plan(SPACE, {"training.optimizer": "adam", "augmentation.flip": True}, **own)
    study, search = planned.settings.study, planned.settings.search
    assert (search.folds, search.repeats, study.trials) == (3, 2, len(planned.points))
    assert study.judged_by == ("val_brier",) and study.hours is None and study.pruner == "none"


def test_what_build_model_draws_is_put_back_to_its_own_default(plan: Callable[..., Any]) -> None:
    best = {"training.learning_rate": 0.01, "hypermodel.units": 5, "hypermodel.head": "dense", "hypermodel.wide": 3}
    planned, space = plan(INSIDE, best)
    chosen = {each.name: (each.value, each.default) for each in planned.choices}
    assert chosen == {
        "training.learning_rate": (0.01, 0.001),
        "hypermodel.units": (5, 2),
        "hypermodel.head": ("dense", "plain"),
        "hypermodel.wide": (3, 2),
    }
    drawn = [drawn_by(space, point) for point in planned.points]
    assert drawn[0] == best
    for choice, values in zip(planned.choices, drawn[1:], strict=True):
        assert values[choice.name] == choice.default
        kept = {name: value for name, value in best.items() if name not in (choice.name, "hypermodel.wide")}
        assert {name: values[name] for name in kept} == kept


def test_a_best_trial_at_the_defaults_is_refused(plan: Callable[..., Any]) -> None:
    source = 'def space(hp):\n    hp.Choice("training.learning_rate", [0.001, 0.01])\n'
    with pytest.raises(StudyError) as refused:
        plan(source, {"training.learning_rate": 0.001})
    assert str(refused.value) == (
        "study 'mine' has nothing to put back: the best trial, 7, has every setting that the space draws at its "
        "default."
    )
