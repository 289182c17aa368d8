"""Networks of keras.applications by name: their scaling, sizes, weights and classifier."""

import inspect
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from drsearch.errors import SettingsError
from drsearch.measure.gradcam import GradCam
from drsearch.model.backbones import _scaled, build_network, check_backbone, check_weights
from drsearch.settings import APPLICATIONS, ModelSettings, Settings
from drsearch.space.build_model import what_is_wrong_with

PX = 64
IMAGES = np.random.default_rng(0).integers(0, 256, (3, PX, PX, 3)).astype(np.float32)


def settings_with(**values: Any) -> Settings:
    return Settings().replace({name.replace("_", ".", 1): value for name, value in values.items()})


@pytest.fixture(scope="module")
def theirs() -> keras.Model:
    """MobileNetV2 as a user of Keras has it, every weight drawn at random."""
    model = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(PX, PX, 3), pooling="avg")
    dice = np.random.default_rng(1)
    model.set_weights([w + 0.1 * dice.random(w.shape, np.float32) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def weights(theirs: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mine.weights.h5"
    theirs.save_weights(path)
    return path


@pytest.fixture(scope="module")
def ours(weights: Path) -> keras.Model:
    return build_network(ModelSettings(backbone="MobileNetV2", weights=str(weights), dropout=0.2), PX)


def test_every_network_of_keras_applications_is_a_backbone() -> None:
    theirs = {name for name in dir(keras.applications) if inspect.isfunction(getattr(keras.applications, name))}
    assert theirs == set(APPLICATIONS)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_images_are_scaled_as_preprocess_input_scales_them(name: str) -> None:
    preprocess = inspect.getmodule(getattr(keras.applications, name)).preprocess_input  # type: ignore[union-attr]
    images = keras.Input((PX, PX, 3))
    scaled = np.asarray(keras.Model(images, keras.layers.Identity()(_scaled(images, name)))(IMAGES))
    np.testing.assert_allclose(scaled, preprocess(IMAGES.copy()), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_images_too_small_for_a_backbone_are_refused_at_the_side_at_which_keras_refuses_them(name: str) -> None:
    with pytest.raises(ValueError, match="at least") as too_small:
        getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(20, 20, 3))
    (least,) = set(re.findall(r"(\d+)x\1", str(too_small.value)))
    check_backbone(settings_with(model_backbone=name, images_image_px=int(least)))
    with pytest.raises(SettingsError) as refused:
        check_backbone(settings_with(model_backbone=name, images_image_px=int(least) - 1))
    assert str(refused.value) == (
        f"images.image_px = {int(least) - 1}: {name} takes images of at least {least} pixels; "
        f"write images.image_px = {least} or more."
    )


def test_a_weights_file_gives_the_features_that_the_users_own_network_has(
    ours: keras.Model, theirs: keras.Model
) -> None:
    pooled = keras.Model(ours.input, ours.get_layer("pool").output)(IMAGES, training=False)
    expected = theirs(keras.applications.mobilenet_v2.preprocess_input(IMAGES.copy()), training=False)
    np.testing.assert_allclose(pooled, expected, rtol=1e-3)


def test_the_network_can_be_trained_explained_and_opened_by_keras_alone(ours: keras.Model, tmp_path: Path) -> None:
    assert what_is_wrong_with(ours, PX) is None
    assert GradCam(ours).layer_name == "out_relu"
    ours.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(opened(IMAGES), ours(IMAGES))


def test_a_network_that_was_trained_before_is_a_start(ours: keras.Model, tmp_path: Path) -> None:
    ours.save(tmp_path / "model.keras")
    start = ModelSettings(backbone="MobileNetV2", weights=str(tmp_path / "model.keras"), pooling="mean_max")
    again = build_network(start, PX)
    for layer in ours.layers:
        if layer.name not in ("dropout", "probabilities"):
            for theirs, mine in zip(layer.get_weights(), again.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(mine, theirs)


def test_channels_in_another_order_survive_saving(tmp_path: Path) -> None:
    images = keras.Input((PX, PX, 3))
    keras.Model(images, _scaled(images, "VGG16")).save(tmp_path / "scaling.keras")
    opened = keras.saving.load_model(tmp_path / "scaling.keras", safe_mode=True)
    np.testing.assert_allclose(opened(IMAGES), keras.applications.vgg16.preprocess_input(IMAGES.copy()), rtol=1e-6)


def test_weights_of_another_network_are_refused(weights: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        check_weights(settings_with(model_backbone="MobileNet", model_weights=str(weights)))
    assert str(refused.value).startswith(f"model.weights = {str(weights)!r} does not fit MobileNet (")
    assert str(refused.value).endswith(
        "; give a file that save_weights of keras.applications.MobileNet(include_top=False) has written."
    )


def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.weights.h5").write_text("404: not found")
    with pytest.raises(SettingsError, match="does not fit MobileNet"):
        check_weights(settings_with(model_backbone="MobileNet", model_weights=str(tmp_path / "torn.weights.h5")))


def test_without_a_network_the_way_to_imagenet_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setattr("urllib.request._opener", None)  # made by the first download, with the proxies of its time
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    with pytest.raises(SettingsError) as refused:
        check_weights(settings_with(model_backbone="MobileNet", model_weights="imagenet"))
    url = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/mobilenet_1_0_224_tf_no_top.h5"
    assert str(refused.value) == (
        "model.weights = 'imagenet': the weights of MobileNet are not on this machine and cannot be downloaded (URL "
        f"fetch failure on {url}: None -- [Errno 111] Connection refused); download {url} elsewhere, copy the file "
        "here, and give its path as model.weights."
    )


def test_settings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        check_backbone(settings_with(model_weights="imagenet"))
    assert str(refused.value) == (
        "model.weights = 'imagenet' is for a model.backbone of keras.applications, or for a space that defines "
        "build_model; the ResNet starts at random. Leave it at 'none'."
    )
    with pytest.raises(SettingsError, match="is no file here"):
        check_backbone(settings_with(model_backbone="VGG16", model_weights=str(tmp_path / "missing.weights.h5")))
