"""What a search space looks like before anything is trained."""

from pathlib import Path

import optuna

from drsearch.space.check import load_space
from drsearch.space.describe import N_SAMPLES, Axis, overview


def test_axes_come_with_their_range_and_the_condition_that_an_if_or_a_scope_makes(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        'SETTINGS = {"training.weight_decay": 0.5}\n'
        "def space(hp):\n"
        '    with hp.name_scope("training"):\n'
        '        optimizer = hp.Choice("optimizer", ["adam", "adamw", "sgd"])\n'
        '        if optimizer == "adamw":\n'
        '            hp.Float("weight_decay", 0.0, 0.1, step=0.05)\n'
        '        elif optimizer == "adam":\n'
        '            if hp.Choice("schedule", ["constant", "cosine"]) == "cosine":\n'
        '                hp.Int("warmup_epochs", 0, 2)\n'
        '        hp.Float("learning_rate", 1e-3, 1e-1, sampling="log") if optimizer == "none" else None\n'
        '    hp.Boolean("augmentation.flip", parent_name="training.optimizer", parent_values=["adam", "sgd"])\n'
        '    hp.Fixed("training.epochs", 3)\n'
    )
    seen = overview(load_space(file))
    assert {axis.name: axis for axis in seen.axes} == {
        axis.name: axis
        for axis in (
            Axis("training.optimizer", "Choice", "adam, adamw, sgd", "", "adam"),
            Axis("training.weight_decay", "Float", "0 to 0.1, step 0.05", "training.optimizer = adamw", 0.5),
            Axis("training.schedule", "Choice", "constant, cosine", "training.optimizer = adam", "constant"),
            Axis("training.warmup_epochs", "Int", "0 to 2", "training.schedule = cosine", 0),
            Axis("augmentation.flip", "Boolean", "False, True", "training.optimizer in adam, sgd", True),
            Axis("training.epochs", "Fixed", "3", "", 300),
        )
    }
    assert (seen.grid_points, seen.at_least, seen.why_no_grid) == (3 + (1 + 3) * 2 + 2, False, "")
    assert len(seen.samples) == N_SAMPLES
    assert all(sample["training.epochs"] == 3 for sample in seen.samples)


def test_a_space_without_a_grid_says_which_line_is_continuous(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text('def space(hp):\n    hp.Float("model.dropout", 0.0, 0.5)\n')
    seen = overview(load_space(file))
    assert seen.grid_points is None
    assert seen.why_no_grid.startswith(f'{file}: hp.Float("model.dropout", 0.0, 0.5) is continuous')
    assert optuna.create_study().trials == []


def test_the_names_of_a_hypermodel_have_kerastuners_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import keras\n"
        'SETTINGS = {"images.image_px": 16}\n'
        "def space(hp): pass\n"
        "def build_model(hp, image_px, n_classes):\n"
        "    images = keras.Input((image_px, image_px, 3))\n"
        '    x = keras.layers.Conv2D(hp.Int("filters", 1, 2, default=2), 3)(images)\n'
        "    x = keras.layers.GlobalMaxPooling2D()(x)\n"
        '    return keras.Model(images, keras.layers.Dense(n_classes, activation="softmax")(x))\n'
    )
    seen = overview(load_space(file))
    assert seen.axes == (Axis("hypermodel.filters", "Int", "1 to 2", "", 2),)
    assert seen.grid_points == 2
