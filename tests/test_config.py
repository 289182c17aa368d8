"""Gin files in, settings out, and back."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from drsearch import config
from drsearch.errors import SettingsError
from drsearch.settings import Settings, gin_text
from drsearch.space.search_space import read_space

SPACES = sorted((Path(__file__).parents[1] / "search_spaces").glob("*.py"))

CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "training.learning_rate": st.floats(1e-8, 10, allow_nan=False),
        "training.epochs": st.integers(1, 100_000),
        "training.optimizer": st.sampled_from(["adam", "adamw", "sgd", "rmsprop"]),
        "augmentation.flip": st.booleans(),
        "study.trials": st.none() | st.integers(1, 1000),
        "data.fingerprint": st.text("0123456789abcdef", max_size=16),
    },
)


@pytest.mark.parametrize("file", sorted(config.SHIPPED.glob("*.gin")), ids=lambda file: file.name)
def test_every_shipped_file_loads_by_its_name(file: Path) -> None:
    assert config.load([file.name]) == config.load([str(file)])


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.stem)
def test_every_shipped_space_has_settings_that_hold(file: Path) -> None:
    assert read_space(file).settings


def test_the_space_of_best_choices_draws_best_gin_but_for_its_size() -> None:
    space = read_space(Path(__file__).parents[1] / "search_spaces/best_choices.py")
    best = config.load(["best.gin"])
    drawn = space.settings.replace(space.draw(FixedTrial({})))
    smaller = {"images.image_px", "training.epochs", "training.warmup_epochs", "study.sampler"}
    smaller |= {"registry.symmetries", "registry.operating_point"}  # of the registered model only
    assert {name for name, value in drawn.flat().items() if value != best.flat()[name]} == smaller


@settings(max_examples=40)
@given(CHANGES)
def test_printed_settings_read_back_to_the_same_values(tmp_path_factory: pytest.TempPathFactory, changes: dict) -> None:  # type: ignore[type-arg]
    wanted = Settings().replace(changes)
    file = tmp_path_factory.mktemp("gin") / "settings.gin"
    file.write_text(gin_text(wanted, ["A comment.", ""]))
    assert config.load([str(file)]) == wanted


def test_later_files_win_and_assignments_win_over_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a.gin", tmp_path / "b.gin"
    first.write_text("training.epochs = 5\ntraining.batch_size = 8\n")
    second.write_text("training.epochs = 6\n")
    loaded = config.load(
        [str(first), str(second)], config.assignments(["training.learning_rate=0.5", "training.optimizer=sgd"])
    )
    assert (loaded.training.epochs, loaded.training.batch_size) == (6, 8)
    assert (loaded.training.learning_rate, loaded.training.optimizer) == (0.5, "sgd")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "\nsearch.dice = 3",
            "line 2: 'search.dice' is no setting; search has 'folds', 'repeats', 'outer_folds' and 'outer_fold'.",
        ),
        ("trainin.epochs = 3", "line 1: 'trainin.epochs' is no setting; did you mean 'training.epochs'?"),
        ("best/training.epochs = 3", "best/training.epochs = ... has a scope, and there are none here; leave it out."),
        ("import nosuchpackage", "No module named 'nosuchpackage'"),
        ("include 'nowhere.gin'", "Unable to open file: nowhere.gin."),
        ("training.epochs = 'x'", "training.epochs = 'x': expected a whole number from 1 to 100000"),
        ("training.epochs = ", "Unable to parse value."),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "wrong.gin"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        config.load([str(file)])
    assert str(refused.value).startswith(f"{file}: {said}")


def test_a_missing_file_is_refused_with_those_that_are_shipped() -> None:
    with pytest.raises(SettingsError) as refused:
        config.load(["nowhere.gin"])
    assert str(refused.value) == (
        "nowhere.gin: no such gin file here, nor among those that come with drsearch "
        "(best.gin, quick.gin, report.gin, small.gin)."
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("training.epochs = 3".encode("utf-16"), "is no UTF-8 text but UTF-16, as some editors save it, or no text; "
         "save it as UTF-8."),
        (b"\n# caf\xe9", "line 2 is not UTF-8 (byte 0xe9); save the file as UTF-8."),
    ],
)  # fmt: skip
def test_a_file_that_is_no_utf_8_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "mine.gin"
    file.write_bytes(data)
    with pytest.raises(SettingsError) as refused:
        config.load([str(file)])
    assert str(refused.value) == f"{file}: {said}"
    with pytest.raises(SettingsError) as refused:
        config.load([str(tmp_path)])
    assert str(refused.value) == f"{tmp_path}: is a folder; name a text file."


def test_an_assignment_without_a_value_is_refused() -> None:
    with pytest.raises(SettingsError) as refused:
        config.assignments(["training.epochs"])
    assert str(refused.value) == "--set training.epochs: write section.field=value, for example training.epochs=40."
