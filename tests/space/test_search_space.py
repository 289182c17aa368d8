"""What a study may draw, and what is said of what it cannot."""

import re
from pathlib import Path
from typing import Any

import keras_tuner
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsearch.errors import SearchSpaceError
from drsearch.settings import Settings
from drsearch.space.build_model import PREFIX
from drsearch.space.check import load_space
from drsearch.space.hyperparameters import Draws, distribution_of, suggest

SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.py"))


def write(folder: Path, *lines: str) -> Path:
    file = folder / "mine.py"
    file.write_text("def space(hp):\n" + "".join(f"    {line}\n" for line in lines))
    return file


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_space_can_be_drawn_fifty_times(file: Path) -> None:
    space = load_space(file)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    for i in range(2 if space.has_hypermodel else 50):  # each draw builds a network
        trial = study.ask()
        drawn = space.draw(trial)
        assert space.settings.replace({name: value for name, value in drawn.items() if not name.startswith(PREFIX)})
        study.tell(trial, float(i % 7))


def test_the_reports_grid_has_its_eight_cells() -> None:
    points = load_space(SHIPPED[0].with_name("report_grid.py")).grid()
    assert [tuple(point.values()) for point in points] == [
        (rate, batch) for rate in (1e-2, 1e-3, 1e-4, 1e-5) for batch in (2, 4)
    ]


def test_the_sample_has_a_condition_and_a_hopeless_rate_that_is_judged_when_all_others_are_over() -> None:
    space = load_space(SHIPPED[0].with_name("sample.py"))
    points, study = space.grid(), space.settings.study
    rates = [point["training.learning_rate"] for point in points]
    hopeless = rates.count(1e-5)
    assert len(points) >= 8 and set(rates[-hopeless:]) == {1e-5}
    assert {"augmentation.rotation_deg" in point for point in points} == {True, False}
    # However many workers there are, enough trials are complete before the last one is judged.
    assert study.pruner == "median" and len(points) - hopeless > study.pruner_startup_trials


def test_conditions_are_drawn_only_where_they_hold_and_fixed_values_are_set(tmp_path: Path) -> None:
    space = load_space(
        write(
            tmp_path,
            "hp.Fixed('training.epochs', 7)",
            "if hp.Choice('training.optimizer', ['adam', 'adamw']) == 'adamw':",
            "    hp.Float('training.weight_decay', 1e-4, 1e-1, sampling='log')",
            "with hp.conditional_scope('training.optimizer', ['adam']):",
            "    hp.Boolean('augmentation.flip')",
            "hp.Int('model.stages', 1, 3, parent_name='training.optimizer', parent_values=['adamw'])",
        )
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        trial = study.ask()
        drawn = space.draw(trial)
        assert drawn["training.epochs"] == 7
        assert "training.epochs" not in trial.params
        assert ("training.weight_decay" in drawn) == (drawn["training.optimizer"] == "adamw")
        assert ("model.stages" in drawn) == (drawn["training.optimizer"] == "adamw")
        assert ("augmentation.flip" in drawn) == (drawn["training.optimizer"] == "adam")


def test_a_name_scope_is_the_section_of_a_setting(tmp_path: Path) -> None:
    space = load_space(
        write(
            tmp_path,
            "with hp.name_scope('training'):",
            "    hp.Choice('optimizer', ['adam', 'adamw'])",
            "    hp.Choice('weight_decay', [0.1, 0.2], parent_name='optimizer', parent_values=['adamw'])",
            "    assert hp.get('optimizer') in ('adam', 'adamw')",
            "hp.Boolean('augmentation.flip', parent_name='training.optimizer', parent_values=['adam'])",
        )
    )
    assert space.grid() == [
        {"training.optimizer": "adam", "augmentation.flip": False},
        {"training.optimizer": "adam", "augmentation.flip": True},
        {"training.optimizer": "adamw", "training.weight_decay": 0.1},
        {"training.optimizer": "adamw", "training.weight_decay": 0.2},
    ]


def test_a_space_reads_the_settings_that_it_does_not_draw(tmp_path: Path) -> None:
    file = write(tmp_path, "hp.Int('model.stages', 1, 2 if hp.get('images.image_px') > 64 else 1)")
    assert len(load_space(file).grid()) == 2
    assert len(load_space(file, lambda own: own.replace({"images.image_px": 32})).grid()) == 1


@pytest.mark.parametrize(
    "line",
    [
        "hp.Choice('x', [1, 2])",
        "hp.Choice('x', ['a', 'b'])",
        "hp.Boolean('x')",
        "hp.Int('x', 3, 9, step=2)",
        "hp.Int('x', 1, 64, sampling='log')",
        "hp.Float('x', 0.0, 1.0)",
        "hp.Float('x', 0.0, 1.0, step=0.25)",
        "hp.Float('x', 0.01, 1.0, sampling='log')",
    ],
)
def test_what_is_drawn_is_kept_as_the_distribution_that_we_say(line: str) -> None:
    """Inherited trials are stored with `distribution_of`: a difference would make Optuna refuse the next draw."""
    trial = optuna.create_study().ask()

    def draw(name: str, hyperparameter: keras_tuner.HyperParameters) -> object:
        value = suggest(trial, name, hyperparameter)
        assert trial.distributions[name] == distribution_of(hyperparameter)
        return value

    eval(line, {"hp": Draws(draw)})
    assert "x" in trial.params


@settings(max_examples=25)
@given(first=st.integers(1, 3), then=st.lists(st.integers(1, 3), min_size=3, max_size=3))
def test_a_grid_over_a_conditional_space_has_every_distinct_point_once(
    tmp_path_factory: pytest.TempPathFactory, first: int, then: list[int]
) -> None:
    widths = [8, 16, 24][:first]
    space = load_space(
        write(
            tmp_path_factory.mktemp("space"),
            f"width = hp.Choice('model.width', {widths})",
            f"hp.Int('training.warmup_epochs', 0, {then[0]}) if width == 8 else None",
            f"hp.Float('model.dropout', 0.0, 0.1 * {then[1]}, step=0.1) if width == 16 else None",
        )
    )
    points = [tuple(sorted(point.items())) for point in space.grid()]
    expected = {8: then[0] + 1, 16: then[1] + 1, 24: 1}
    assert len(points) == len(set(points)) == sum(expected[width] for width in widths)


def test_the_record_sets_of_all_images_are_known_beforehand(tmp_path: Path) -> None:
    space = load_space(
        write(
            tmp_path,
            "hp.Choice('images.image_px', [64, 128])",
            "hp.Choice('images.normalisation', ['none', 'clahe'])",
            "hp.Float('model.dropout', 0.0, 0.5)",
        )
    )
    variants = {(each.images.image_px, each.images.normalisation) for each in space.image_variants()}
    assert variants == {(64, "none"), (64, "clahe"), (128, "none"), (128, "clahe")}


def test_images_that_only_a_branch_draws_stay_as_they_were_in_the_others(tmp_path: Path) -> None:
    space = load_space(
        write(tmp_path, "if hp.Boolean('augmentation.flip'):", "    hp.Choice('images.image_px', [64, 128])")
    )
    space = space.on(Settings().replace({"images.image_px": 96}))
    assert {each.images.image_px for each in space.image_variants()} == {64, 96, 128}


def test_a_value_that_is_written_twice_is_one_point_of_the_grid(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, "hp.Choice('model.width', [4, 4, 8])"))
    assert space.grid() == [{"model.width": 4}, {"model.width": 8}]


def test_not_every_value_of_a_wide_range_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []
    replace = Settings.replace
    monkeypatch.setattr(Settings, "replace", lambda own, changes: (tried.append(changes), replace(own, changes))[1])
    load_space(write(tmp_path, "hp.Int('training.epochs', 1, 100_000)"))
    assert 0 < len(tried) < 3000


def test_a_long_choice_is_a_choice_like_any_other(tmp_path: Path) -> None:
    rates = [1e-4 * (1 + i) for i in range(50)]
    space = load_space(write(tmp_path, f"hp.Choice('training.learning_rate', {rates})"))
    assert space.grid() == [{"training.learning_rate": rate} for rate in rates]


REFUSED = [
    (
        'hp.Int("model.width", 1, 8, step=2, sampling="log")',
        'hp.Int("model.width", 1, 8, step=2, sampling="log") asks for steps on a log scale, which Optuna cannot draw. '
        "Write hp.Choice('model.width', [1, 2, 4, 8]), or drop `step`.",
    ),
    (
        'hp.Float("training.learning_rate", 1e-4, 1e-2, sampling="reverse_log")',
        'hp.Float("training.learning_rate", 1e-4, 1e-2, sampling="reverse_log") asks for sampling="reverse_log", which '
        "Optuna cannot draw. Write hp.Choice('training.learning_rate', [0.0001, 0.002575, 0.00505, 0.007525, 0.01]), "
        'or sampling="log".',
    ),
    (
        "hp.Choice('training.learning_rat', [0.1])",
        "hp.Choice('training.learning_rat', [0.1]) names no setting; did you mean 'training.learning_rate'?",
    ),
    (
        "hp.Choice('study.seed', [1, 2])",
        "hp.Choice('study.seed', [1, 2]) draws 'study.seed', which is a setting of the whole study and is not "
        "searched. Put it into SETTINGS, or give it with --set study.seed=...",
    ),
    (
        "hp.Choice('training.optimizer', ['adam', 'adagrad'])",
        "hp.Choice('training.optimizer', ['adam', 'adagrad']): training.optimizer = 'adagrad': expected one of 'adam', "
        "'adamw', 'sgd', 'rmsprop', for example training.optimizer = 'adam'.",
    ),
    (
        "if hp.Boolean('augmentation.flip'): hp.Choice('training.batch_size', [2, 4])\n"
        "    else: hp.Choice('training.batch_size', [8])",
        "hp.Choice('training.batch_size', [8]) draws 'training.batch_size' from the choices [8], and another branch "
        "from the choices [2, 4]; Optuna keeps one of them a name. "
        "Write one hp.Choice('training.batch_size', ...) with all values before the branches.",
    ),
    (
        "hp.Fixed('training.epoch', 3)",
        "hp.Fixed('training.epoch', 3) names no setting; did you mean 'training.epochs'?",
    ),
    (
        "hp.Fixed('training.epochs', -3)",
        "hp.Fixed('training.epochs', -3): training.epochs = -3: expected a whole number from 1 to 100000, "
        "for example training.epochs = 300.",
    ),
    (
        "if hp.Boolean('augmentation.flip'): hp.Int('model.width', 1, 8)\n"
        "    else: hp.Int('model.width', 1, 8, sampling='log')",
        "hp.Int('model.width', 1, 8, sampling='log') draws 'model.width' from whole numbers on a log scale, and "
        "another branch from whole numbers; Optuna keeps one of them a name. "
        "Write one hp.Choice('model.width', ...) with all values before the branches.",
    ),
    (
        "hp.Choice('training.optimizer', ['sgd', None, 'adam'])",
        "hp.Choice('training.optimizer', ['sgd', None, 'adam']) is refused: A `Choice` can contain only one type of "
        "value, found values: ['sgd', None, 'adam'] with types {TYPES}. Choices are of one type (text, number or truth "
        "value), never None. Write hp.Choice('training.optimizer', ['sgd', 'adam']).",
    ),
    (
        "hp.Choice('model.dropout', [0, 0.5])",
        "hp.Choice('model.dropout', [0, 0.5]) is refused: A `Choice` can contain only one type of value, found values: "
        "[0, 0.5] with types {TYPES}. Choices are of one type (text, number or truth value), never None. "
        "Write hp.Choice('model.dropout', [0.0, 0.5]).",
    ),
    (
        "hp.Choice('augmentation.flip', [True, False])",
        "hp.Choice('augmentation.flip', [True, False]): KerasTuner's Choice makes 1 and 0 of True and False. "
        "Write hp.Boolean('augmentation.flip').",
    ),
    (
        "hp.Choice('model.width', [4, 8]); hp.Choice('model.width', [16])",
        "hp.Choice('model.width', [16]) draws 'model.width' from the choices [16], and another branch from the "
        "choices [4, 8]; Optuna keeps one of them a name. "
        "Write one hp.Choice('model.width', ...) with all values before the branches.",
    ),
    (
        "with hp.name_scope('head'): hp.Choice('training.learning_rate', [0.1])",
        "hp.Choice('training.learning_rate', [0.1]) is 'head.training.learning_rate' within its hp.name_scope, which "
        "is no setting. A name scope is the section of a setting: write hp.name_scope('training') and in it "
        "'learning_rate', or 'training.learning_rate' outside of any.",
    ),
    (
        "with hp.conditional_scope('training.optimizer', ['adam']): hp.Boolean('augmentation.flip')",
        "hp.conditional_scope('training.optimizer', ['adam']) is refused: `HyperParameter` named: training.optimizer "
        "not defined. Draw 'training.optimizer' before the line, outside of other scopes, by this name.",
    ),
    (
        "hp.Boolean('augmentation.flip', parent_name='training.optimizer', parent_values=['adam'])",
        "hp.Boolean('augmentation.flip', parent_name='training.optimizer', parent_values=['adam']) is refused: "
        "`HyperParameter` named: training.optimizer not defined. "
        "Draw 'training.optimizer' before the line, outside of other scopes, by this name.",
    ),
    (
        "hp.Int('model.width', 8, hp.get('width'))",
        "hp.get('width') is refused: width does not exist. Draw it before the line, or name a setting.",
    ),
    ("pass", "space(hp) draws nothing; write for example hp.Choice('training.learning_rate', [0.001, 0.0001])."),
]


@pytest.mark.parametrize(("line", "said"), REFUSED, ids=[line[:40] for line, _ in REFUSED])
def test_what_cannot_be_drawn_is_refused_with_the_line_to_write(tmp_path: Path, line: str, said: str) -> None:
    file = write(tmp_path, line)
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    assert str(refused.value).startswith(f"{file}: ")
    text = re.sub(r"\{<class [^}]*\}", "{TYPES}", str(refused.value))  # a set: in any order
    assert said in text
    if said.startswith("hp."):
        assert text == f"{file}: {said}"


def test_a_continuous_axis_in_a_grid_is_refused_with_a_choice_that_loads(tmp_path: Path) -> None:
    file = write(tmp_path, "hp.Float('training.learning_rate', 1e-5, 1e-2, sampling='log')")
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file).grid()
    line = "hp.Choice('training.learning_rate', [1e-05, 5.623e-05, 0.0003162, 0.001778, 0.01])"
    assert f"which a grid cannot walk. Write {line}, or search" in str(refused.value)
    assert len(load_space(write(tmp_path, line)).grid()) == 5


def test_optuna_itself_still_refuses_steps_on_a_log_scale() -> None:
    """The day it learns to, our refusal is out of date."""
    with pytest.raises(ValueError, match="step"):
        optuna.create_study().ask().suggest_int("width", 1, 8, step=2, log=True)


def test_every_kind_of_hyperparameter_goes_through_the_method_that_we_override() -> None:
    """`_register` is KerasTuner's own; a version that goes another way must fail here, not draw its defaults."""
    seen: list[str] = []

    def draw(name: str, hyperparameter: keras_tuner.HyperParameters) -> float:
        seen.append(name)
        return float(hyperparameter.default)

    hp = Draws(draw)
    hp.Int("a", 1, 3)
    hp.Float("b", 0.0, 1.0)
    hp.Choice("c", [1, 2])
    hp.Boolean("d")
    hp.Fixed("e", 5)
    assert seen == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("line", "raised"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("[][3]", "IndexError: list index out of range"),
        ("open('/no/such/file')", "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/file'"),
        ("hp.choice('model.width', [4])", "AttributeError: hp has no 'choice'; did you mean 'Choice'?"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import json.nothing", "ModuleNotFoundError: No module named 'json.nothing'"),
    ],
)
def test_what_the_code_of_a_space_raises_is_named_with_its_line(tmp_path: Path, line: str, raised: str) -> None:
    file = write(tmp_path, "hp.Boolean('augmentation.flip')", line)
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    assert str(refused.value) == f"{file}: line 3, `{line}`, raises {raised}."


@pytest.mark.parametrize("line", ["1 / 0", "exit()", "from json import nothing", "raise RuntimeError"])
def test_a_file_that_cannot_be_run_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"import json\n{line}\n\n\ndef space(hp):\n    hp.Boolean('augmentation.flip')\n")
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    assert str(refused.value).startswith(f"{file}: line 2, `{line}`, raises ")


def test_settings_that_are_computed_are_checked_when_the_file_has_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("SETTINGS = dict(a=1)\n\n\ndef space(hp):\n    hp.Boolean('augmentation.flip')\n")
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    assert str(refused.value).startswith(f"{file}: SETTINGS: 'a' is no setting; its section may be 'images', ")


def test_an_error_of_whoever_answers_the_space_keeps_its_traceback(tmp_path: Path) -> None:
    def draw(_name: str, _hyperparameter: keras_tuner.HyperParameters) -> int:
        return {}["ours"]

    with pytest.raises(KeyError, match="ours"):
        load_space(write(tmp_path, "hp.Choice('model.width', [4])")).walk(draw)
