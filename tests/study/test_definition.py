"""The same command goes on; another is refused with the difference."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from drsearch.errors import StudyError
from drsearch.settings import Settings
from drsearch.study.definition import StudyDefinition, images_key, load_study, open_study, trial_seed
from drsearch.trials.storage import open_storage


def definition(**changes: Any) -> StudyDefinition:
    settings = Settings()
    made = StudyDefinition(
        uid="u" * 32,
        space_file="mine.py",
        space_source="def space(hp): ...",
        settings=settings,
        data_name="eyes",
        data_source="/data/eyes",
        data_fingerprint="0123456789abcdef",
        records={images_key(settings.images): "fedcba9876543210"},
        code={"keras": "3"},
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    return open_storage(f"sqlite:///{tmp_path / 'studies.db'}")


def test_the_same_definition_goes_on_and_keeps_its_uid(storage: Any) -> None:
    open_study(storage, "s", definition(), 4)
    _, there = open_study(storage, "s", definition(uid="v" * 32), 8)
    assert there.uid == "u" * 32


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            definition(settings=Settings().replace({"training.epochs": 40})),
            "study 's' was begun with training.epochs = 300, and this command has 40; "
            "give it as it was, or --study OTHER to begin a new one.",
        ),
        (
            definition(space_source="def space(hp): pass"),
            "study 's' was begun with another text of mine.py; give it as it was, --study OTHER to begin a new one, or "
            "--warm-start s --study OTHER to begin one that has its finished trials already.",
        ),
        (
            definition(data_fingerprint="1111111111111111", data_source="/data/others"),
            "study 's' was begun on data 0123456789ab (/data/eyes), and /data/others is 111111111111; "
            "give it as it was, or --study OTHER to begin a new one.",
        ),
    ],
    ids=["settings", "space", "data"],
)
def test_another_definition_is_refused_with_the_difference(storage: Any, other: StudyDefinition, said: str) -> None:
    open_study(storage, "s", definition(), 4)
    with pytest.raises(StudyError) as refused:
        open_study(storage, "s", other, 4)
    assert str(refused.value) == said


def test_a_study_begun_before_a_setting_of_images_existed_goes_on(storage: Any) -> None:
    study, begun = open_study(storage, "eyes", definition(), 4)
    stored = study.user_attrs["drsearch.definition"]
    stored["records"] = {'{"image_px": 256, "normalisation": "none"}': "before"}
    for name in ("images.fit", "images.mask"):
        del stored["settings"][name]
    study.set_user_attr("drsearch.definition", stored)
    assert load_study(storage, "eyes")[1].records_for(begun.settings.images) == "before"


def test_other_code_and_another_total_are_no_other_study(storage: Any) -> None:
    open_study(storage, "s", definition(), 4)
    more = Settings().replace({"study.trials": 9})
    open_study(storage, "s", definition(code={"keras": "4"}, settings=more), 9)


def test_an_unknown_study_is_refused_with_those_that_are_there(storage: Any) -> None:
    open_study(storage, "mine", definition(), 4)
    with pytest.raises(StudyError) as refused:
        load_study(storage, "yours")
    assert str(refused.value) == "no study 'yours' in this database; there are: mine."


def test_a_name_that_cannot_name_a_folder_is_refused(storage: Any) -> None:
    with pytest.raises(StudyError) as refused:
        open_study(storage, "a/b", definition(), 4)
    assert str(refused.value) == (
        "--study 'a/b' cannot name a folder and an experiment; use up to 100 letters, digits, '.', '_' and '-', "
        "the first a letter or a digit."
    )


def test_seeds_are_of_the_study_and_the_number_and_differ() -> None:
    assert trial_seed(0, 3) == trial_seed(0, 3)
    assert len({trial_seed(study, trial) for study in range(5) for trial in range(50)}) == 250


def test_a_trials_settings_carry_its_seed_threads_and_data() -> None:
    settings = definition().trial_settings(2, {"training.learning_rate": 0.5}, threads=1)
    assert settings.training.learning_rate == 0.5
    assert settings.training.seed == trial_seed(0, 2)
    assert settings.training.threads == 1
    assert settings.data.fingerprint == "0123456789abcdef"


def test_budgets_may_change_from_call_to_call(storage: Any) -> None:
    open_study(storage, "s", definition(), 4)
    more = {"study.hours": 1.5, "study.epochs": 100, "study.patience_trials": 9}
    open_study(storage, "s", definition(settings=Settings().replace(more)), 4)


def test_a_second_objective_is_to_be_small(storage: Any) -> None:
    study, _ = open_study(
        storage, "s", definition(settings=Settings().replace({"study.second_objective": "latency"})), 4
    )
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "--storage nonsense: no study database there"),
        (
            "postgresql://me:secret@127.0.0.1:1/optuna",
            "--storage postgresql://***@127.0.0.1:1/optuna: no study database",
        ),
    ],
)
def test_a_storage_that_is_none_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(StudyError) as refused:
        open_storage(url)
    assert str(refused.value).startswith(said)
    assert "secret" not in str(refused.value)
