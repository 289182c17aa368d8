"""Known settings are taken as a space draws them, or refused in one sentence."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import add_waiting_trials

from drsearch.errors import SettingsError, StudyError
from drsearch.space.check import load_space
from drsearch.space.known_files import known_lines, known_settings
from drsearch.space.known_values import Misfit, enqueued_params, fit
from drsearch.space.search_space import SearchSpace
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import enqueue, read_trials

SPACE = """
SETTINGS = {"training.epochs": 5}


def space(hp):
    if hp.Choice("training.optimizer", ["adam", "adamw"]) == "adamw":
        hp.Float("training.weight_decay", 0.0, 0.1, step=0.05)
    hp.Float("training.learning_rate", 1e-4, 1.0, sampling="log")
    hp.Int("model.width", 4, 16, step=4)
    hp.Boolean("augmentation.flip")
    hp.Fixed("training.batch_size", 8)
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    file = tmp_path_factory.mktemp("space") / "mine.py"
    file.write_text(SPACE)
    return load_space(file)


@settings(max_examples=50)
@given(st.integers(0, 1000))
def test_whatever_a_space_draws_it_can_draw_again(space: SearchSpace, seed: int) -> None:
    import optuna

    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    drawn = space.draw(trial)
    fitted = fit(space, space.settings.replace(drawn).flat())
    assert fitted.drawn == drawn
    assert fitted.params == trial.params
    assert fitted.distributions == trial.distributions


def test_what_a_line_leaves_open_is_left_to_the_sampler(space: SearchSpace, tmp_path: Path) -> None:
    file = tmp_path / "known.jsonl"
    file.write_text('{"training.learning_rate": 1, "model.width": 8}\n\n{"training.optimizer": "adamw"}\n')
    assert [enqueued_params(space, known) for known in known_lines(file)] == [
        {"training.learning_rate": 1.0, "model.width": 8},
        {"training.optimizer": "adamw"},
    ]


LINES = [
    ("model.width = 8", "write one object, for example {\"training.learning_rate\": 0.001}."),
    ("[1]", "write one object, for example {\"training.learning_rate\": 0.001}."),
    ('{"model.width": null}', "write one object, for example {\"training.learning_rate\": 0.001}."),
    ('{"model.width": 6}', "model.width = 6, and the space draws it from 4 to 16 in steps of 4."),
    ('{"model.width": 8.5}', "model.width = 8.5, and the space draws it from 4 to 16 in steps of 4."),
    ('{"training.optimizer": "sgd"}', "training.optimizer = 'sgd', and the space draws it from ['adam', 'adamw']."),
    ('{"augmentation.flip": 1}', "augmentation.flip = 1, and the space draws it from [False, True]."),
    ('{"training.learning_rate": 2}', "training.learning_rate = 2, and the space draws it from 0.0001 to 1."),
    ('{"training.batch_size": 4}', "training.batch_size = 4, and the space fixes it at 8."),
    ('{"model.widht": 4}', "the space does not draw 'model.widht' with these; did you mean 'model.width'?"),
    (
        '{"training.weight_decay": 0.05}',
        "training.weight_decay is drawn only under conditions that are left open; give what they depend on too.",
    ),
    (
        '{"training.optimizer": "adam", "training.weight_decay": 0.05}',
        "the space does not draw 'training.weight_decay' with these; it draws 'augmentation.flip', 'model.width', "
        "'training.batch_size', 'training.learning_rate' and 'training.optimizer'.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("line", "said"), LINES, ids=[line for line, _ in LINES])
def test_a_line_that_the_space_cannot_draw_is_refused(space: SearchSpace, tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "known.jsonl"
    file.write_text('{"model.width": 4}\n' + line)
    with pytest.raises(SettingsError) as refused:
        for known in known_lines(file):
            enqueued_params(space, known)
    assert str(refused.value) == f"--enqueue {file} line 2: {said}"


def test_a_file_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        known_lines(tmp_path / "nowhere")
    assert str(refused.value) == (
        f"--enqueue {tmp_path / 'nowhere'}: cannot be read; name a .gin file, or a text file with a JSON object a line."
    )
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(SettingsError) as refused:
        known_lines(tmp_path / "empty")
    assert str(refused.value) == f"--enqueue {tmp_path / 'empty'}: holds no settings; write a JSON object a line."


def test_all_settings_of_a_run_start_a_study_that_has_the_others_alike(space: SearchSpace) -> None:
    drawn = {"training.optimizer": "adam", "training.learning_rate": 0.25, "model.width": 16, "augmentation.flip": True}
    run = space.settings.replace({**drawn, "training.batch_size": 8, "training.seed": 99, "study.seed": 3})
    assert enqueued_params(space, known_settings(Path("settings.gin"), run.flat())) == drawn
    with pytest.raises(SettingsError) as refused:
        known = known_settings(Path("settings.gin"), run.replace({"training.epochs": 300}).flat())
        enqueued_params(space, known)
    assert str(refused.value) == (
        "--enqueue settings.gin: training.epochs = 300, which this space does not draw, and this study has 5; "
        "leave the line out, or give --set training.epochs=300."
    )


def test_what_is_missing_is_a_misfit_unless_dice_may_choose(space: SearchSpace) -> None:
    with pytest.raises(Misfit, match=r"^the space draws training\.optimizer too$"):
        fit(space, {})


def test_known_settings_take_the_first_free_trials_once(tmp_path: Path) -> None:
    import optuna

    storage = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    study = optuna.create_study(storage=storage, study_name="s")
    first, second, third = {"model.width": 4}, {"model.width": 8}, {"model.width": 16}
    for _ in range(2):  # the same command again
        enqueue(study, storage, 3, [first, second])
        add_waiting_trials(study, 3)
    assert [trial.last.system_attrs["fixed_params"] for trial in read_trials(study)] == [first, second, {}]
    with pytest.raises(StudyError) as refused:
        enqueue(study, storage, 3, [first, second, third])
    assert str(refused.value) == (
        "--enqueue: settings that are new: 1, trials that the study has left for them: 0; --trials 4 makes room."
    )
    enqueue(study, storage, 4, [first, second, third])
    assert read_trials(study)[3].last.system_attrs["fixed_params"] == third
