"""Settings: names, ranges, and what is said of a wrong one."""

import dataclasses
from typing import Any

import pytest

from drsearch.errors import SettingsError
from drsearch.settings import SECTIONS, Settings, searchable_names, setting_doc, setting_names


def test_values_are_replaced_by_name_and_the_rest_stays() -> None:
    settings = Settings().replace({"training.learning_rate": 0.01, "model.width": 8})
    assert settings.training.learning_rate == 0.01
    assert settings.model.width == 8
    assert settings.replace({"training.learning_rate": 1e-3, "model.width": 16}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "training.learning_rate",
            "fast",
            "training.learning_rate = 'fast': expected a number above 0.0 and up to 10.0, "
            "for example training.learning_rate = 0.001.",
        ),
        (
            "training.epochs",
            0,
            "training.epochs = 0: expected a whole number from 1 to 100000, for example training.epochs = 300.",
        ),
        (
            "training.optimizer",
            "adagrad",
            "training.optimizer = 'adagrad': expected one of 'adam', 'adamw', 'sgd', 'rmsprop', "
            "for example training.optimizer = 'adam'.",
        ),
        (
            "augmentation.flip",
            1,
            "augmentation.flip = 1: expected True or False, for example augmentation.flip = True.",
        ),
        ("trainin.epochs", 3, "'trainin.epochs' is no setting; did you mean 'training.epochs'?"),
        (
            "learning_rate",
            3,
            "'learning_rate' is no setting; did you mean 'training.learning_rate' or 'finetune.learning_rate'?",
        ),
        ("model.patience_trials", 3, "'model.patience_trials' is no setting; did you mean 'study.patience_trials'?"),
        ("images.size", 3, "'images.size' is no setting; images has 'image_px', 'normalisation', 'fit' and 'mask'."),
        (
            "model.backbone",
            "resnet50v2",
            "model.backbone = 'resnet50v2': expected 'resnet' or a network of keras.applications; did you mean "
            "'ResNet50V2'?",
        ),
        ("registry.symmetries", 4, "registry.symmetries = 4: expected 1 or 8, for example registry.symmetries = 1."),
        (
            "search.dice",
            3,
            "'search.dice' is no setting; search has 'folds', 'repeats', 'outer_folds' and 'outer_fold'.",
        ),
        (
            "dice",
            3,
            "'dice' is no setting; its section may be 'images', 'data', 'task', 'augmentation', 'model', 'training', "
            "'study', 'search', 'finetune', 'registry' or 'gate'.",
        ),
    ],
)
def test_a_wrong_value_or_name_is_refused_in_one_sentence(name: str, value: Any, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings().replace({name: value})
    assert str(refused.value) == said


def test_nan_is_no_number() -> None:
    with pytest.raises(SettingsError):
        Settings().replace({"training.learning_rate": float("nan")})


def test_a_whole_number_will_do_for_a_number() -> None:
    assert Settings().replace({"augmentation.strength": 2}).augmentation.strength == 2.0


def test_study_split_and_seed_settings_are_not_searched() -> None:
    names = searchable_names()
    assert "training.learning_rate" in names
    assert not {"training.seed", "data.split", "study.sampler", "finetune.epochs"} & set(names)


def test_every_setting_says_what_it_means_and_its_default_is_allowed() -> None:
    for name in setting_names():
        assert setting_doc(name)
    for section in SECTIONS.values():
        assert dataclasses.is_dataclass(section)
        section()


def test_a_name_that_mlflow_would_refuse_is_refused_first() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings().replace({"registry.model_name": "eyes/best"})
    assert str(refused.value).startswith("registry.model_name = 'eyes/best': expected letters, digits")
