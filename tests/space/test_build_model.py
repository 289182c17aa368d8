"""A network of the space's own: drawn, built, trained, opened again; what cannot be a trial's is refused."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import optuna
import pytest

from drsearch.data.records import Eyes
from drsearch.errors import SearchSpaceError, SettingsError, TrialFailed
from drsearch.measure.gradcam import GradCam
from drsearch.model.fit import EpochResult, set_seeds
from drsearch.settings import Settings
from drsearch.space.build_model import changed_choices, own_code, what_is_wrong_with
from drsearch.space.check import check_backbone_weights, load_space
from drsearch.space.search_space import SearchSpace
from drsearch.tracking.events import RunStart
from drsearch.training.outcome import Outcome
from drsearch.training.plan import Plan
from drsearch.training.resumable import run_training
from drsearch.training.single import check_network

HEAD = """
import keras
from keras import layers
SETTINGS = {"images.image_px": 32, "training.epochs": 3, "training.checkpoint_every_epochs": 1,
            "training.batch_size": 4, "study.gradcam_eyes": 1}


def space(hp):
    hp.Choice("training.learning_rate", [0.01, 0.001])


"""
NETWORK = """
def build_model(hp, image_px, n_classes):
    images = keras.Input((image_px, image_px, 3))
    x = layers.Conv2D(hp.Choice("filters", [2, 4]), 3, strides=2)(layers.Rescaling(1 / 255)(images))
    if hp.Boolean("deep"):
        with hp.name_scope("second"):
            x = layers.Conv2D(hp.Int("filters", 2, 3), 3, strides=2)(x)
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(layers.ReLU()(x)))
    return keras.Model(images, layers.Dense(n_classes, activation="softmax")(x))
"""


def write(folder: Path, network: str, head: str = HEAD) -> Path:
    file = folder / "mine.py"
    file.write_text(head + network)
    return file


def body(*lines: str) -> str:
    return "def build_model(hp, image_px, n_classes):\n" + "".join(f"    {line}\n" for line in lines)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    return load_space(write(tmp_path_factory.mktemp("space"), NETWORK))


def settings_of(space: SearchSpace, hypermodel: str) -> Settings:
    return space.settings.replace({"model.hypermodel": hypermodel, "training.seed": 7})


def test_levels_are_refused_where_the_network_has_no_place_for_them(tmp_path: Path) -> None:
    head = HEAD.replace('"study.gradcam_eyes"', '"training.levels_weight": 0.5, "study.gradcam_eyes"')
    load_space(write(tmp_path, NETWORK, head))
    apart = NETWORK.replace('layers.Dense(n_classes, activation="softmax")(x)', "layers.Softmax()(layers.Dense(2)(x))")
    with pytest.raises(SearchSpaceError, match="build_model: the network does not end in a Dense layer with softmax"):
        load_space(write(tmp_path, apart, head))


def test_names_drawn_in_build_model_are_kept_apart_and_their_grid_is_exact(space: SearchSpace) -> None:
    points = space.grid()
    assert len(points) == 2 * 2 * (1 + 2)
    assert points[0] == {"training.learning_rate": 0.01, "hypermodel.filters": 2, "hypermodel.deep": False}
    assert points[2] == {
        "training.learning_rate": 0.01, "hypermodel.filters": 2, "hypermodel.deep": True, "hypermodel.second/filters": 3
    }  # fmt: skip
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()
    assert space.draw(trial) == trial.params


def test_a_trials_settings_build_its_network_again(space: SearchSpace) -> None:
    settings = settings_of(space, '{"filters": 4, "deep": true, "second/filters": 3}')
    set_seeds(7)
    first = space.build(settings)
    set_seeds(7)
    second = space.build(settings)
    assert [layer.filters for layer in first.layers if isinstance(layer, keras.layers.Conv2D)] == [4, 3]
    for ours, theirs in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def eyes(n: int) -> Eyes:
    images = np.random.default_rng(0).integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)
    return Eyes(
        tuple(f"eye{i:02d}" for i in range(n)), images, np.arange(n) % 2 * 3, np.arange(n) % 2, *2 * [("",) * n]
    )


class StopAt:
    """Looks on, and asks to stop after an epoch."""

    def __init__(self, epoch: int) -> None:
        self._stop_at, self._epoch = epoch, 0

    def epoch(self, result: EpochResult) -> None:
        self._epoch = result.epoch

    def judged(self, epoch: int, value: float) -> None: ...

    def stop_asked(self) -> bool:
        return self._epoch == self._stop_at


def run(space: SearchSpace, settings: Settings, folder: Path, stop_at: int = 0, owner: str = "first") -> Outcome:
    start = RunStart(key=str(folder), experiment="e", name="trial")
    plan = Plan(folder=folder, start=start, settings=settings, build=lambda: space.build(settings), owner=owner)
    return run_training(plan, eyes(8), eyes(6), StopAt(stop_at))


def test_it_goes_on_from_a_checkpoint_to_the_same_curve_and_opens_without_its_code(
    space: SearchSpace, tmp_path: Path
) -> None:
    settings = settings_of(space, '{"filters": 2, "deep": false}')
    whole = run(space, settings, tmp_path / "whole")
    assert run(space, settings, tmp_path / "cut", stop_at=2).state == "interrupted"
    again = run(space, settings, tmp_path / "cut", owner="second")
    curves = [[asdict(epoch) | {"seconds": 0} for epoch in each.history] for each in (whole, again)]
    assert curves[0] == curves[1]
    opened = keras.saving.load_model(again.model, compile=False, safe_mode=True)
    maps, _ = GradCam(opened).maps(eyes(2).images, np.ones((2, 32, 32), bool))
    assert maps.shape == (2, 32, 32)


def test_a_dry_walk_loads_no_weights_and_a_trial_does(tmp_path: Path) -> None:
    noted = NETWORK.replace("n_classes):\n", 'n_classes):\n    SEEN.append(hp.get("model.weights"))\n', 1)
    file, weights = write(tmp_path, "SEEN = []\n" + noted), tmp_path / "mine.weights.h5"
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file, lambda own: own.replace({"model.weights": str(weights)}))
    assert str(refused.value) == (
        f"{file}: model.weights = {str(weights)!r} is no file here; give none, imagenet, or the path of a file of "
        "weights that every worker can read."
    )
    weights.write_bytes(b"")
    space = load_space(file, lambda own: own.replace({"model.weights": str(weights)}))
    assert set(space._module.SEEN) == {"none"}
    space.build(settings_of(space, '{"filters": 2, "deep": false}'))
    assert space._module.SEEN[-1] == str(weights)


def test_what_is_drawn_first_under_a_name_holds_for_a_hypermodel_of_kerastuner(tmp_path: Path) -> None:
    network = body(
        'hp.Fixed("conv2d_num_filters", 4)',
        'hp.Fixed("sep_num_filters", 8)',
        'hp.Choice("num_residual_blocks", [1, 2])',
        'hp.Fixed("learning_rate", 0.5)',
        'hp.Int("num_dense_layers", 1, 2)',
        "model = HyperXception(classes=n_classes, input_shape=(image_px, image_px, 3)).build(hp)",
        "return keras.Model(model.input, model.output)",
    )
    space = load_space(write(tmp_path, "from keras_tuner.applications import HyperXception\n" + network))
    walked = space.walk(lambda _name, hyperparameter: hyperparameter.default)
    assert walked["hypermodel.conv2d_num_filters"] == 4
    assert {"hypermodel.activation", "hypermodel.pooling", "hypermodel.dropout_rate"} <= walked.keys()
    drawn = {name.removeprefix("hypermodel."): value for name, value in walked.items() if name.startswith("hyper")}
    model = space.build(settings_of(space, json.dumps(drawn)))
    assert model.output_shape == (None, 2)
    assert model.count_params() < 3000


IMAGES = "images = keras.Input((image_px, image_px, 3))"
POOLED = "x = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(images))"
SOFTMAX = 'return keras.Model(images, layers.Dense(n_classes, activation="softmax")(x))'
DRAWN = 'hp.Choice("k", [1, 2])'

REFUSED = [
    ([DRAWN, "return 3"], "build_model returns int, and not a built keras.Model."),
    (
        [DRAWN, "return keras.Sequential([layers.Conv2D(2, 3)])"],
        "build_model returns a Sequential that is not built: begin it with keras.Input((image_px, image_px, 3)).",
    ),
    (
        ["class Net(keras.Model):", "    def call(self, x): return x", "net = Net()",
         "net(keras.ops.zeros((1, image_px, image_px, 3)))", "return net"],
        "build_model uses Net of drsearch_space_mine, which a registered model could not open without that code; "
        "use Keras's own layers (not Lambda) and functions.",
    ),
    (
        [IMAGES, POOLED, "m = " + SOFTMAX.removeprefix("return "), 'm.compile("adam", "mse")', "return m"],
        "build_model returns a compiled model, whose loss, optimizer and metrics would not be used: trials train with "
        "cross-entropy and training.*; leave compile() out, or of a hypermodel that compiles itself return "
        "keras.Model(model.input, model.output).",
    ),
    (
        [IMAGES, POOLED, 'return keras.Model(images, layers.Dense(3, activation="softmax")(x))'],
        "build_model returns a model from (None, 32, 32, 3) to (None, 3); images are (None, 32, 32, 3), and the answer "
        "is (None, 2), a softmax over NRDR and RDR.",
    ),
    (
        [IMAGES, POOLED, 'return keras.Model(images, layers.Dense(n_classes, activation="sigmoid", name="top")(x))'],
        re.compile(r"build_model answers \[[\d.]+, [\d.]+\] to an image of noise, which are no probabilities; end in a "
                   r"softmax\."),
    ),
    (
        [IMAGES, "x = layers.GlobalAveragePooling2D()(layers.Lambda(lambda x: x / 255)(images))", SOFTMAX],
        "build_model uses Lambda of keras.src.layers.core.lambda_layer, which a registered model could not open "
        "without that code; use Keras's own layers (not Lambda) and functions.",
    ),
    (
        ["class Mine(layers.Layer):", "    def call(self, x): return x", IMAGES,
         "x = layers.GlobalAveragePooling2D()(Mine()(images))", SOFTMAX],
        "build_model uses Mine of drsearch_space_mine, which a registered model could not open without that code; "
        "use Keras's own layers (not Lambda) and functions.",
    ),
    (
        [IMAGES, "x = layers.Flatten()(images)", SOFTMAX.replace(")(x))", ')(x), name="flat")')],
        "build_model returns a model that cannot be explained: flat: Grad-CAM needs a layer with output (n, height, "
        "width, channels); there is none.",
    ),
    (
        ['hp.Float("training.weight_decay", 0.0, 0.1)', "return 3"],
        'hp.Float("training.weight_decay", 0.0, 0.1) draws the setting \'training.weight_decay\' in build_model. '
        "Draw it in space(hp); build_model reads it with hp.get('training.weight_decay').",
    ),
    (
        ['hp.Choice("a=b", [1, 2])', "return 3"],
        "hp.Choice(\"a=b\", [1, 2]) draws 'a=b', which MLflow does not take as a name; "
        "use up to 180 letters, digits, '_', '-', '.', ':', '/' and blanks.",
    ),
    (
        ['hp.Int("n", 1, 9, step=3, sampling="log")', "return 3"],
        'hp.Int("n", 1, 9, step=3, sampling="log") asks for steps on a log scale, which Optuna cannot draw. '
        "Write hp.Choice('n', [1, 3, 9]), or drop `step`.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "said"), REFUSED, ids=[str(said)[:50] for _, said in REFUSED])
def test_a_network_that_cannot_be_a_trials_is_refused(
    tmp_path: Path, lines: list[str], said: "str | re.Pattern[str]"
) -> None:
    file = write(tmp_path, body(*lines))
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    text = str(refused.value).removeprefix(f"{file}: ")
    assert said.fullmatch(text) if isinstance(said, re.Pattern) else text == said


def network(end: Callable[[Any], Any], **convolution: Any) -> keras.Model:
    images = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, **convolution)(images))
    return keras.Model(images, end(pooled))


L = keras.layers
SAME = "answers [0.5, 0.5] to every image: what it answers does not depend on the image"
NO_PROBABILITIES = r"answers \[.*\] to an image of noise, which are no probabilities; end in a softmax"


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda x: L.BatchNormalization()(L.Dense(2)(x)), NO_PROBABILITIES),
        (lambda x: L.Reshape((2,))(L.Dense(2)(x)), NO_PROBABILITIES),
        (lambda x: L.Dense(2, activation="sigmoid", kernel_initializer="zeros")(x), NO_PROBABILITIES),
        (lambda x: L.Softmax(axis=0)(L.Dense(2)(x)), NO_PROBABILITIES),
        (lambda x: L.Softmax()(L.Dense(2)(x)) * 100, NO_PROBABILITIES),  # per cent
        (lambda x: keras.ops.log(-L.Dense(2, activation="softmax")(x)), r"answers \[.*nan.*\] to an image of noise"),
        (lambda x: L.Dense(2, activation="softmax")(x * 0), re.escape(SAME)),
        (
            lambda x: L.Dense(2, activation=lambda y: keras.ops.softmax(y))(x),
            "uses the function <lambda> of tests.space.test_build_model, which .*",
        ),
        (
            lambda x: L.Dense(2, activation=own_softmax)(x),
            "uses the function own_softmax of tests.space.test_build_model, which .*",
        ),
        (
            lambda x: L.Dense(2, "softmax", kernel_initializer=OwnStart())(x),
            "uses OwnStart of tests.space.test_build_model, which .*",
        ),
    ],
)
def test_a_network_is_judged_by_what_it_answers_and_by_its_parts(end: Callable[[Any], Any], said: str) -> None:
    wrong = what_is_wrong_with(network(end), 32)
    assert wrong is not None and re.fullmatch(said, wrong)


def own_softmax(x: Any) -> Any:
    return keras.ops.softmax(x)


class OwnStart(keras.initializers.Initializer):  # type: ignore[misc]  # Keras is untyped
    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        return keras.ops.ones(shape, dtype)


@pytest.mark.parametrize(
    "model",
    [
        network(lambda x: keras.ops.softmax(L.Dense(2)(x))),
        network(lambda x: L.Activation("softmax")(L.Dense(2)(x))),
        network(lambda x: L.Dense(2, activation="softmax", kernel_initializer="zeros")(x)),
        network(lambda x: L.Dense(2, activation=keras.activations.softmax)(x), activation=keras.ops.relu),
        network(
            lambda x: L.Dense(2, "softmax")(x), activation="relu", kernel_initializer=keras.initializers.Constant(-1)
        ),
        network(lambda x: keras.ops.concatenate([1 - (y := L.Dense(1, "sigmoid")(x)), y], axis=1)),
        keras.Sequential([L.Input((32, 32, 3)), L.Conv2D(2, 3), L.Flatten(), L.Dense(2, "softmax", dtype="float16")]),
    ],
)
def test_a_softmax_may_be_written_in_any_way(model: keras.Model) -> None:
    before = model.get_weights()
    assert what_is_wrong_with(model, 32) is None
    for kept, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_a_network_that_ends_in_an_operation_opens_again_and_is_explained(tmp_path: Path) -> None:
    model = network(lambda x: keras.ops.softmax(L.Dense(2)(x)))
    model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    maps, chances = GradCam(opened).maps(eyes(2).images, np.ones((2, 32, 32), bool))
    assert np.isfinite(maps).all() and ((chances >= 0) & (chances <= 1)).all()


def test_a_network_that_no_try_can_build_is_refused_with_kerass_words(tmp_path: Path) -> None:
    file = write(tmp_path, body(DRAWN, IMAGES, "x = layers.Conv2D(2, 33)(images)", SOFTMAX))
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    said = str(refused.value)
    assert said.startswith(f"{file}: build_model built no network in ")
    assert "tries at images.image_px = 32; the network of mine.py cannot be built: " in said


def test_a_network_that_one_setting_cannot_build_ends_that_trial_alone(tmp_path: Path) -> None:
    network = NETWORK.replace('hp.Choice("filters", [2, 4]), 3', '2, hp.Choice("size", [3, 33])')
    space = load_space(write(tmp_path, network))
    assert {"hypermodel.size": 33, "training.learning_rate": 0.01} in space.grid()
    with pytest.raises(TrialFailed) as failed:
        space.build(settings_of(space, '{"size": 33, "deep": false}'))
    assert str(failed.value).startswith("the network of mine.py cannot be built: ")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([DRAWN, "1 / 0"], "line 14, `1 / 0`, raises ZeroDivisionError: division by zero."),
        (
            ["class Mine(layers.Layer):", "    def __init__(self): pass", IMAGES, "Mine()(images)"],
            "line 16, `Mine()(images)`, raises RuntimeError: In layer 'Mine', you forgot to call `super().__init__()`",
        ),
        ([IMAGES, DRAWN, "layers.Dens(3)"], "line 15, `layers.Dens(3)`, raises AttributeError: "),
    ],
)
def test_what_build_model_raises_is_named_with_its_line(tmp_path: Path, lines: list[str], said: str) -> None:
    file = write(tmp_path, body(*lines))
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    assert str(refused.value).startswith(f"{file}: {said}")


def test_a_setting_of_the_resnet_is_not_searched_beside_another_network(tmp_path: Path) -> None:
    file = write(tmp_path, NETWORK, HEAD + '    hp.Choice("model.width", [4, 8])\n')
    file.write_text(file.read_text().replace("\n\n\n    hp.Choice", "\n    hp.Choice"))
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    assert str(refused.value) == (
        f"{file}: hp.Choice(\"model.width\", [4, 8]) draws 'model.width', which is a setting of the ResNet, and "
        "build_model makes the network here. Draw the network's own in build_model."
    )


def test_weights_for_the_resnet_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file, lambda own: own.replace({"model.weights": "imagenet"}))
    assert str(refused.value) == (
        f"{file}: model.weights = 'imagenet' is for a model.backbone of keras.applications, or for a space that "
        "defines build_model; the ResNet starts at random. Leave it at 'none'."
    )


def test_a_backbone_by_name_beside_build_model_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, NETWORK)
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file, lambda own: own.replace({"model.backbone": "MobileNetV2"}))
    assert str(refused.value) == (
        f"{file}: model.backbone = 'MobileNetV2' has no effect, since build_model makes the network here; leave one of "
        "them out."
    )


def test_a_backbone_that_is_drawn_is_checked_before_the_first_trial(tmp_path: Path) -> None:
    drawn = '    hp.Choice("model.backbone", ["resnet", "MobileNetV2", "Xception"])\n'
    file = write(tmp_path, drawn)
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file, lambda own: own.replace({"images.image_px": 64}))
    assert str(refused.value) == (
        f"{file}: images.image_px = 64: Xception takes images of at least 71 pixels; "
        "write images.image_px = 71 or more."
    )
    (tmp_path / "torn.weights.h5").write_text("")
    file.write_text(file.read_text().replace('"resnet", "MobileNetV2", "Xception"', '"MobileNetV2"'))
    torn = {"images.image_px": 32, "model.weights": str(tmp_path / "torn.weights.h5")}
    space = load_space(file, lambda own: own.replace(torn))
    with pytest.raises(SearchSpaceError, match=r"torn.weights.h5' does not fit MobileNetV2"):
        check_backbone_weights(space)


def test_a_single_training_asks_for_the_file_that_makes_its_network(space: SearchSpace) -> None:
    with pytest.raises(SettingsError) as refused:
        check_network(settings_of(space, "{}"), None)
    assert str(refused.value) == (
        "model.hypermodel is set: these are the settings of a trial whose network was made by build_model of a space. "
        "Give that file with --space FILE; the study's run keeps it under space/."
    )
    with pytest.raises(SettingsError) as refused:
        check_network(Settings(), space)
    assert str(refused.value) == (
        f"--space {space.path}: the settings name nothing of it: model.hypermodel is empty, which is the ResNet; give "
        "the settings.gin of a trial of that space, or leave --space out."
    )
    check_network(settings_of(space, "{}"), space)
    check_network(Settings(), None)


def test_settings_of_another_hypermodel_are_refused(space: SearchSpace) -> None:
    with pytest.raises(SettingsError) as refused:
        space.build(settings_of(space, '{"filters": 2}'))
    assert str(refused.value) == (
        f"model.hypermodel = '{{\"filters\": 2}}' says nothing of 'deep', which {space.path} draws in build_model; "
        "give the file and the settings of one trial."
    )


def test_other_choices_are_the_same_network_and_other_code_is_another() -> None:
    same = HEAD.replace("0.001", "0.1") + NETWORK.replace("[2, 4]", "[2, 4, 8]")
    assert own_code(HEAD + NETWORK) == own_code(same)
    assert own_code(HEAD + NETWORK) != own_code(HEAD + NETWORK.replace("ReLU", "PReLU"))


def test_choices_that_changed_are_named() -> None:
    assert changed_choices(NETWORK, NETWORK) == ""
    assert changed_choices(NETWORK, NETWORK.replace("[2, 4]", "[2, 4, 8]")) == (
        ", in which 'filters' has the choices [2, 4] (now [2, 4, 8]), and Optuna does not let the choices of a stored "
        "study change"
    )
