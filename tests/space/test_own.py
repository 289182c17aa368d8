"""A loss, an augmentation and a metric of the space's own: used in training, refused where they cannot work."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drsearch.data.records import Eyes
from drsearch.errors import SearchSpaceError, SettingsError, TrialFailed
from drsearch.measure.curve_metrics import metric_interval
from drsearch.metrics import Metric
from drsearch.model.fit import Training, set_seeds
from drsearch.model.own import NOTHING, Own
from drsearch.settings import Settings
from drsearch.space.build_model import functions_of, own_code
from drsearch.space.check import load_space
from drsearch.space.search_space import SearchSpace
from drsearch.training.single import check_network

HEAD = """
import numpy as np
import tensorflow as tf
SETTINGS = {"images.image_px": 32, "model.width": 2, "model.stages": 1, "training.batch_size": 4, OWN}


def space(hp):
    hp.Choice("training.learning_rate", [0.01, 0.001])


"""
LOSS = """
def build_loss(settings):
    def loss(labels, probabilities):
        return tf.reduce_sum(tf.abs(labels - probabilities), axis=1)
    return loss
"""
AUGMENT = """
def augment(image, rng):
    return np.roll(image, rng.integers(1, 5), axis=1)
"""

OBJECTIVE = """
def objective(labels, probabilities):
    return 1 - ((probabilities - labels) ** 2).mean()
"""
JUDGED = "'study.objective': 'val_own'"


def write(folder: Path, text: str, own: str = "'training.loss': 'own'") -> Path:
    file = folder / "mine.py"
    file.write_text(HEAD.replace("OWN", own) + text)
    return file


def loss(*lines: str) -> str:
    return "def build_loss(settings):\n    def loss(y, p):\n" + "".join(f"        {line}\n" for line in lines) + (
        "    return loss\n"
    )  # fmt: skip


def eyes(n: int) -> Eyes:
    images = np.random.default_rng(0).integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)
    return Eyes(
        tuple(f"eye{i:02d}" for i in range(n)), images, np.arange(n) % 2 * 3, np.arange(n) % 2, *2 * [("",) * n]
    )


def trained(space: SearchSpace, changes: dict[str, Any], own: Own | None = None) -> tuple[Any, list[NDArray[Any]]]:
    settings = space.settings.replace(changes)
    set_seeds(1)
    training = Training(space.build(settings), eyes(8), eyes(4), settings, space.own if own is None else own)
    result = training.run_epoch()
    return result, [np.asarray(weight) for weight in training.model.trainable_variables]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    own = "'training.loss': 'own', 'augmentation.own': True"
    return load_space(write(tmp_path_factory.mktemp("space"), LOSS + AUGMENT, own))


def test_a_loss_of_its_own_teaches_as_the_same_loss_by_name_does(tmp_path: Path) -> None:
    squares = loss("return tf.reduce_mean((y - p) ** 2, axis=1)")
    space = load_space(write(tmp_path, squares))
    (_, mine), (_, named) = trained(space, {}), trained(space, {"training.loss": "squared_error"})
    for one, other in zip(mine, named, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    _, plain = trained(space, {"training.loss": "cross_entropy"})
    assert any(not np.array_equal(one, other) for one, other in zip(mine, plain, strict=True))


def test_an_augmentation_of_its_own_changes_a_training_and_one_seed_repeats_it(both: SearchSpace) -> None:
    (first, weights), (again, same) = trained(both, {}), trained(both, {})
    assert first.train == again.train and all(map(np.array_equal, weights, same))
    other, _ = trained(both, {"augmentation.own": False})
    assert other.train != first.train


def test_settings_that_name_no_function_of_the_space_train_as_without_it(both: SearchSpace) -> None:
    changes = {"training.loss": "cross_entropy", "augmentation.own": False}
    (with_it, one), (without, other) = trained(both, changes), trained(both, changes, NOTHING)
    assert with_it.train == without.train and all(map(np.array_equal, one, other))


def test_an_error_of_an_augmentation_while_training_names_its_line(tmp_path: Path) -> None:
    late = "def augment(image, rng):\n    assert image.mean() < 1000 or 0\n    return image // LIMIT[0]\n"
    file = write(tmp_path, "LIMIT = [2]\n" + late, "'augmentation.own': True")
    space = load_space(file)
    space._module.LIMIT[0] = "two"
    with pytest.raises(SearchSpaceError, match=re.escape(f"{file}: line 14, `return image // LIMIT[0]`, raises ")):
        trained(space, {})


WRONG_LOSSES = [
    (loss("return tf.reduce_mean((y - p) ** 2)"), "returns a loss of shape () for n images, and (n,) is expected"),
    (loss("return (y - p) ** 2"), "returns a loss of shape (None, 2) for n images, and (n,) is expected"),
    (loss("return tf.reduce_sum(y - p, axis=0)"), "returns a loss of shape (2,) for 15 images, and one number"),
    (loss("return np.zeros(3)"), "returns a loss that is no tensor but ndarray"),
    (loss("return tf.cast(p[:, 0] * y[:, 1], tf.float64)"), "returns a loss of type float64, and float32 is expected"),
    (loss("return -tf.reduce_sum(y * tf.math.log(p), axis=1)"),
     "where the label is 0 and the probability of RDR is 0; a softmax may round to that, so clip it"),
    (loss("return tf.round(p[:, 0] - y[:, 0]) ** 2"), "cannot be differentiated"),
    (loss("return y[:, 0]"), "cannot be differentiated"),
    (loss("return 0 * p[:, 0]"), "returns a loss that does not depend on the probabilities"),
    (loss("return tf.reduce_sum(y * p, axis=1)"), "returns a loss that is no lower where label 0 is probable"),
    (loss("return p[:, 0] ** 2 + tf.random.uniform(tf.shape(p)[:1])"), "returns a loss that differs from call to call"),
    (loss("return y.shape.nonsense"), "returns a loss that fails: AttributeError: "),
    ("def build_loss(settings):\n    return 'focal'\n", "returns str, and not a function loss(labels, probabilities)"),
    ("def build_loss(settings):\n    return lambda y: y\n", "returns a loss that fails: TypeError: "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG_LOSSES, ids=[said[:60] for _, said in WRONG_LOSSES])
def test_a_loss_that_cannot_work_is_refused_before_a_study(tmp_path: Path, text: str, said: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    assert str(refused.value).startswith(f"{file}: build_loss ") and said in str(refused.value)


WRONG_AUGMENTS = [
    ("return image[:16]", "returns uint8 (16, 32, 3) of an image that is uint8 (32, 32, 3)"),
    ("return image / 255", "returns float64 (32, 32, 3) of an image that is uint8 (32, 32, 3)"),
    ("image += 1", "returns NoneType, and not the changed image"),
    ("return np.roll(image, np.random.randint(1, 9), 0)", "gives one image and one state of rng two results"),
    ("return np.zeros_like(image)", "returns the same for different images"),
]


@pytest.mark.parametrize(("line", "said"), WRONG_AUGMENTS, ids=[said for _, said in WRONG_AUGMENTS])
def test_an_augmentation_that_cannot_work_is_refused_before_a_study(tmp_path: Path, line: str, said: str) -> None:
    file = write(tmp_path, f"def augment(image, rng):\n    {line}\n", "'augmentation.own': True")
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    assert str(refused.value).startswith(f"{file}: augment {said}")


def test_a_metric_of_its_own_judges_a_trial_as_the_same_metric_by_name_does(tmp_path: Path) -> None:
    space = load_space(write(tmp_path, OBJECTIVE, JUDGED))
    result, _ = trained(space, {})
    brier, _ = trained(space, {"study.objective": "val_brier"})
    for mine, named in ((result.train, brier.train), (result.validation, brier.validation)):
        assert mine.others["own"] == pytest.approx(1 - named.others["brier"], abs=1e-6)
    own = space.own.objective
    labels, p = np.tile([0, 1, 1], 20), np.random.default_rng(0).uniform(size=60)
    mine, named = (metric_interval(Metric(kind, kind), labels, p, own=own) for kind in ("own", "brier"))
    assert mine is not None and named is not None
    ours, theirs = (mine.value, mine.low, mine.high), (1 - named.value, 1 - named.high, 1 - named.low)
    assert ours == pytest.approx(theirs, abs=0.005)


def test_a_metric_that_is_no_number_in_some_epoch_fails_the_trial(tmp_path: Path) -> None:
    text = OBJECTIVE.rstrip() + " if labels.size == 5 else np.nan\n"
    space = load_space(write(tmp_path, text, JUDGED))
    with pytest.raises(
        TrialFailed, match=r"^objective\(labels, probabilities\) of the space file returned nan in epoch 1"
    ):
        trained(space, {})


WRONG_METRICS = [
    ("return 'good'", "returns str, and not a number"),
    ("return float('nan')", "returns nan for five eyes that are all told apart"),
    ("return np.random.random()", "gives the same eyes two results"),
    ("return ((probabilities - labels) ** 2).mean()", "for the reverse; more must be better"),
]


@pytest.mark.parametrize(("line", "said"), WRONG_METRICS, ids=[said for _, said in WRONG_METRICS])
def test_a_metric_that_cannot_work_is_refused_before_a_study(tmp_path: Path, line: str, said: str) -> None:
    file = write(tmp_path, f"def objective(labels, probabilities):\n    {line}\n", JUDGED)
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    assert str(refused.value).startswith(f"{file}: objective ") and said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "own", "said"),
    [
        (OBJECTIVE, "", "defines objective, which judges no trial; write 'study.objective': 'val_own' into SETTINGS."),
        ("", JUDGED, "val_own is objective(labels, probabilities) of a space file; define it, or leave the setting "
                     "out."),
        (LOSS, "", "defines build_loss, which no trial uses; write 'training.loss': 'own' into SETTINGS, or draw it "
                   "in space(hp)."),
        (AUGMENT, "", "defines augment, which no trial uses; write 'augmentation.own': True into SETTINGS, or draw "
                      "it in space(hp)."),
        ("", "'training.loss': 'own'", "training.loss = 'own' is build_loss(settings) of a space file; define it, or "
                                       "leave the setting out."),
        ("", "'augmentation.own': True", "augmentation.own = True is augment(image, rng) of a space file; define it, "
                                         "or leave the setting out."),
    ],
)  # fmt: skip
def test_a_function_and_the_setting_that_names_it_need_each_other(
    tmp_path: Path, text: str, own: str, said: str
) -> None:
    file = write(tmp_path, text, own)
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    assert str(refused.value) == f"{file}: {said}"


def test_kappa_is_refused_where_a_trial_may_know_no_grades(tmp_path: Path) -> None:
    file = write(tmp_path, "", "'study.objective': 'val_kappa', 'training.levels_weight': 0.5")
    load_space(file)
    drawing = "def space(hp):\n    hp.Choice('training.levels_weight', [0.5, 0.0])"
    file.write_text(file.read_text().replace("def space(hp):", drawing))
    with pytest.raises(SearchSpaceError) as refused:
        load_space(file)
    sentence = (
        "val_kappa is of grades, which a network does not know with training.levels_weight = 0.0; write "
        "training.levels_weight = 0.5, or name another metric."
    )
    assert str(refused.value) == f"{file}: {sentence}"
    with pytest.raises(SettingsError) as refused_alone:
        check_network(Settings().replace({"study.objective": "val_kappa"}), None)
    assert str(refused_alone.value) == sentence


def test_a_space_may_draw_its_own_loss_among_others(tmp_path: Path) -> None:
    file = write(tmp_path, LOSS, "")
    drawn = file.read_text().replace(
        "def space(hp):", "def space(hp):\n    hp.Choice('training.loss', ['focal', 'own'])"
    )
    file.write_text(drawn)
    assert {point["training.loss"] for point in load_space(file).grid()} == {"focal", "own"}


def test_a_training_by_itself_asks_for_the_file_that_its_settings_name(both: SearchSpace) -> None:
    with pytest.raises(SettingsError) as refused:
        check_network(both.settings, None)
    assert str(refused.value) == (
        "training.loss = 'own' is build_loss(settings) of a space file. Give that file with --space FILE; the study's "
        "run keeps it under space/."
    )
    check_network(both.settings, both)
    with pytest.raises(SettingsError, match="the settings name nothing of it"):
        check_network(Settings(), both)


def test_another_text_of_a_function_is_other_code_and_other_settings_are_not() -> None:
    text = HEAD.replace("OWN", "") + LOSS + AUGMENT
    assert functions_of(text) == ["build_loss", "augment"] and functions_of(HEAD.replace("OWN", "")) == []
    assert own_code(text) == own_code(text.replace("0.001", "0.003").replace('"model.width": 2', '"model.width": 4'))
    assert own_code(text) != own_code(text.replace("tf.abs", "tf.square"))
