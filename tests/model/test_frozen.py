"""A frozen backbone: its features, computed once, and trainings of the classifier alone and in two stages."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from drsearch.errors import SettingsError, TrialFailed
from drsearch.model.backbones import check_backbone, computing_in
from drsearch.model.features import FeaturesStopped, FeatureStore
from drsearch.model.fit import Training, set_seeds
from drsearch.model.frozen import HeadTraining, TwoStageTraining, training_of
from drsearch.model.predictor import Predictor, eight_views
from drsearch.model.resnet_v2 import classifier
from drsearch.release.finetune import finetune_settings
from drsearch.settings import Settings

PX = 32


SETTINGS = Settings().replace(
    {"images.image_px": PX, "model.backbone": "MobileNet", "model.trainable": "head", "training.epochs": 4,
     "training.head_epochs": 2, "training.batch_size": 8, "training.learning_rate": 0.01, "training.seed": 5,
     "training.unfrozen_rate": 0.1}
)  # fmt: skip


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


def network(settings: Settings) -> keras.Model:
    """A backbone of two convolutions, with the classifier that those of keras.applications get."""
    set_seeds(settings.training.seed)
    images = keras.Input((PX, PX, 3))
    x = layers.Rescaling(1 / 127.5, -1)(images)
    for n in (1, 2):
        x = layers.Conv2D(8 * n, 3, strides=2, name=f"conv{n}")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"conv{n}_bn")(x))
    return keras.Model(images, classifier(x, settings.model, 2), name="tiny")


def two_stages(settings: Settings) -> Settings:
    return settings.replace({"model.trainable": "two_stage"})


def backbone_weights(model: keras.Model) -> dict[str, NDArray[np.float32]]:
    return {w.path: w.numpy() for layer in model.layers if layer.name != "probabilities" for w in layer.weights}


def losses(training: Training | TwoStageTraining) -> list[tuple[float, float]]:
    return [(epoch.train.loss, epoch.validation.loss) for epoch in training.history]


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    model = network(SETTINGS)
    return keras.Model(model.input, model.get_layer("pool").output, name="tiny")


def test_features_are_those_of_the_eight_views_and_each_eye_is_computed_once(
    backbone: keras.Model, train_eyes: Any, tmp_path: Path
) -> None:
    images = train_eyes.images
    first = FeatureStore(backbone, 8, tmp_path).features(images[:5])
    expected = np.stack([backbone(view.astype(np.float32)) for view in eight_views(images)], axis=1)
    np.testing.assert_allclose(first, expected[:5], rtol=1e-4, atol=1e-5)
    (folder,) = tmp_path.iterdir()
    (file,) = folder.iterdir()
    written = file.stat().st_mtime_ns
    again = FeatureStore(backbone, 8, tmp_path).features(images[::-1])
    np.testing.assert_allclose(again, expected[::-1], rtol=1e-4, atol=1e-5)
    assert file.stat().st_mtime_ns == written
    sizes = sorted(len(np.load(each)["eyes"]) for each in folder.iterdir())
    assert sizes == [5, len(images) - 5]


def test_features_of_other_weights_or_views_are_kept_apart(
    backbone: keras.Model, eight_eyes: Any, tmp_path: Path
) -> None:
    FeatureStore(backbone, 1, tmp_path).features(eight_eyes.images)
    FeatureStore(backbone, 8, tmp_path).features(eight_eyes.images)
    kernel = backbone.weights[0]
    kernel.assign(before := kernel.numpy() + 1)
    try:
        FeatureStore(backbone, 1, tmp_path).features(eight_eyes.images)
    finally:
        kernel.assign(before - 1)
    assert len(list(tmp_path.iterdir())) == 3


def test_features_of_another_precision_are_kept_apart_and_stored_as_float32(
    backbone: keras.Model, eight_eyes: Any, tmp_path: Path
) -> None:
    with computing_in("bfloat16"):
        model = network(SETTINGS)
    in_bfloat16 = keras.Model(model.input, model.get_layer("pool").output, name="tiny")
    in_bfloat16.set_weights(backbone.get_weights())
    exact = FeatureStore(backbone, 1, tmp_path).features(eight_eyes.images)
    rounded = FeatureStore(in_bfloat16, 1, tmp_path).features(eight_eyes.images)
    assert rounded.dtype == np.float32 and not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded, exact, rtol=0.1, atol=0.05)
    assert len(list(tmp_path.iterdir())) == 2
    assert np.array_equal(FeatureStore(in_bfloat16, 1, tmp_path).features(eight_eyes.images), rounded)


def test_what_is_stored_once_serves_every_pooling(
    settings: Settings, train_eyes: Any, validation_eyes: Any, tmp_path: Path
) -> None:
    for pooling in ("mean", "mean_max", "log_sum_exp"):
        own = settings.replace({"model.pooling": pooling})
        training = HeadTraining(network(own), train_eyes, validation_eyes, own, tmp_path)
        training.run_epoch()
        answers = Predictor(training.model)(validation_eyes.images)
        np.testing.assert_allclose(answers, training.seen, atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_stop_is_heard_before_every_batch(backbone: keras.Model, eight_eyes: Any, tmp_path: Path) -> None:
    asked: list[int] = []

    def third() -> bool:
        asked.append(len(asked))
        return len(asked) == 3

    store = FeatureStore(backbone, 8, tmp_path, third)
    with pytest.raises(FeaturesStopped):
        store.features(eight_eyes.images)
    assert len(asked) == 3
    assert store.features(eight_eyes.images).shape[:2] == (8, 8)


def test_a_damaged_file_of_features_is_computed_again(backbone: keras.Model, eight_eyes: Any, tmp_path: Path) -> None:
    first = FeatureStore(backbone, 1, tmp_path).features(eight_eyes.images)
    (file,) = tmp_path.glob("*/*.npz")
    file.write_bytes(file.read_bytes()[:1000])
    np.testing.assert_array_equal(FeatureStore(backbone, 1, tmp_path).features(eight_eyes.images), first)


def test_the_classifier_alone_is_trained_and_the_whole_network_answers_the_same(
    settings: Settings, train_eyes: Any, validation_eyes: Any, tmp_path: Path
) -> None:
    model = network(settings)
    before = backbone_weights(model)
    training = training_of(model, train_eyes, validation_eyes, settings, tmp_path)
    for _ in range(4):
        training.run_epoch()
    assert isinstance(training, HeadTraining) and training.model is model
    assert training.history[-1].train.loss < training.history[0].train.loss
    for path, value in backbone_weights(model).items():
        np.testing.assert_array_equal(value, before[path])
    np.testing.assert_allclose(Predictor(model)(validation_eyes.images), training.seen, atol=1e-5)
    model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(Predictor(opened)(validation_eyes.images), Predictor(model)(validation_eyes.images))
    assert [w.path for w in opened.trainable_variables] == ["probabilities/kernel", "probabilities/bias"]


@pytest.mark.parametrize("trainable", ["head", "two_stage"])
def test_a_training_goes_on_from_any_checkpoint_to_the_same_curve(
    settings: Settings, trainable: str, train_eyes: Any, validation_eyes: Any, tmp_path: Path
) -> None:
    settings = settings.replace({"model.trainable": trainable})

    def begin() -> Training | TwoStageTraining:
        return training_of(network(settings), train_eyes, validation_eyes, settings, tmp_path / "features")

    whole = begin()
    for epoch in range(1, 5):
        whole.run_epoch()
        whole.save(tmp_path / f"{epoch}.npz", {"epoch": epoch})
    assert [result.epoch for result in whole.history] == [1, 2, 3, 4]
    answers = whole.seen
    for epoch in (1, 3):
        resumed = begin()
        assert resumed.restore(tmp_path / f"{epoch}.npz") == {"epoch": epoch}
        assert resumed.epoch == epoch
        while resumed.epoch < 4:
            resumed.run_epoch()
        np.testing.assert_allclose(losses(resumed), losses(whole), rtol=1e-5)
        np.testing.assert_allclose(resumed.seen, answers, atol=1e-5)
    (tmp_path / "4.npz").write_bytes(b"torn")
    with pytest.raises(TrialFailed, match="is no whole checkpoint"):
        begin().restore(tmp_path / "4.npz")


def test_the_second_stage_trains_all_but_batch_normalisation_at_a_lower_rate(
    settings: Settings, train_eyes: Any, validation_eyes: Any, tmp_path: Path
) -> None:
    settings = two_stages(settings)
    model = network(settings)
    start = backbone_weights(model)
    training = training_of(model, train_eyes, validation_eyes, settings, tmp_path / "features")
    training.run_epoch()
    training.run_epoch()
    training.save(tmp_path / "first.npz", {})
    answers = Predictor(model)(validation_eyes.images)
    for path, value in backbone_weights(model).items():
        np.testing.assert_array_equal(value, start[path])
    training.run_epoch()
    assert [result.learning_rate for result in training.history] == pytest.approx([0.01, 0.01, 0.001])
    changed = {path for path, value in backbone_weights(model).items() if not np.array_equal(value, start[path])}
    assert changed == {path for path in start if "_bn/" not in path}
    np.testing.assert_allclose(Predictor(model)(validation_eyes.images), training.seen, atol=1e-5)
    training.restore(tmp_path / "first.npz")
    assert training.epoch == 2
    np.testing.assert_allclose(Predictor(model)(validation_eyes.images), answers, atol=1e-6)
    assert {weight.path for weight in model.trainable_variables} == {"probabilities/kernel", "probabilities/bias"}


def test_fine_tuning_after_a_frozen_backbone_is_the_second_stage(
    settings: Settings, train_eyes: Any, validation_eyes: Any
) -> None:
    tuned = finetune_settings(settings)
    training = training_of(network(settings), train_eyes, validation_eyes, tuned, None)
    assert not any("_bn/" in weight.path for weight in training.model.trainable_variables)
    assert len(training.model.trainable_variables) == 6
    assert training.run_epoch().learning_rate == pytest.approx(1e-5)
    assert finetune_settings(Settings()).model.trainable == "all"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"model.backbone": "resnet", "model.weights": "none"},
            "model.trainable = 'head' is for a model.backbone of keras.applications; the ResNet starts at random. "
            "Leave it at 'all'.",
        ),
        (
            {"model.weights": "none"},
            "model.trainable = 'head' trains a classifier on what MobileNet knows already, and model.weights = 'none' "
            "is at random; give imagenet or a file of weights.",
        ),
        (
            {"model.pooling": "attention"},
            "model.trainable = 'head' keeps all but the classifier as it is, and model.pooling = 'attention' has "
            "weights to train; write another pooling, or model.trainable = 'all'.",
        ),
        (
            {"training.levels_weight": 0.5},
            "model.trainable = 'head' trains a classifier of the two classes alone, without training.levels_weight = "
            "0.5; leave it at 0, or write model.trainable = 'all'.",
        ),
        (
            {"training.edema_weight": 0.5},
            "model.trainable = 'head' trains a classifier of the two classes alone, without training.edema_weight = "
            "0.5; leave it at 0, or write model.trainable = 'all'.",
        ),
        (
            {"model.trainable": "two_stage", "training.head_epochs": 4},
            "training.head_epochs = 4: model.trainable = 'two_stage' trains the classifier alone for these, then all, "
            "for 4 epochs together (training.epochs); write 1 to 3.",
        ),
    ],
)
def test_what_cannot_be_frozen_is_refused(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    (tmp_path / "mine.weights.h5").touch()
    settings = SETTINGS.replace({"model.weights": str(tmp_path / "mine.weights.h5")})
    check_backbone(settings)
    with pytest.raises(SettingsError) as refused:
        check_backbone(settings.replace(values))
    assert str(refused.value) == said
