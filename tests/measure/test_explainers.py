"""Grad-CAM++, HiResCAM and occlusion: do they show the evidence, and are they what their papers say?"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray
from spotted import PX, everywhere, eye_with_spots, noise, pooled_apart, small_resnet, spot_finder

from drsearch.errors import MetricError
from drsearch.measure.explainers import METHODS, explainer
from drsearch.measure.gradcam import GradCam
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import ModelSettings


@pytest.fixture(autouse=True)
def fresh_keras() -> None:
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_lights_the_spot_that_spoke_for_the_class_and_no_other(method: str) -> None:
    images = np.stack([eye_with_spots((4, 4), (20, 20)), eye_with_spots((22, 3), (2, 25))])
    maps, probabilities = explainer(spot_finder(), method).maps(images, everywhere(images))
    assert maps.shape == (2, PX, PX) and (probabilities > 0.5).all()
    for one, (row, column), (other_row, other_column) in zip(maps, ((4, 4), (22, 3)), ((20, 20), (2, 25)), strict=True):
        peak = np.unravel_index(one.argmax(), one.shape)
        assert row <= peak[0] < row + 6 and column <= peak[1] < column + 6 and one.max() == 1
        assert one[other_row : other_row + 4, other_column : other_column + 4].max() < 0.2
    healthy, _ = explainer(spot_finder(), method).maps(images, everywhere(images), label=0)
    assert healthy[0, 20:24, 20:24].max() == 1


def test_the_maps_are_those_of_the_papers() -> None:
    model, images = small_resnet(), noise(2)
    both = keras.Model(model.inputs, [model.get_layer("post_relu").output, model.outputs[0]])
    with tf.GradientTape() as tape:
        features, chances = both([images.astype(np.float32)], training=False)
        score = tf.math.log(chances[:, 1]) - tf.math.log(chances[:, 0])
    gradient, features = tape.gradient(score, features).numpy().astype(float), features.numpy().astype(float)
    expected = {"hirescam": (gradient * features).sum(-1)}
    # Chattopadhay et al., equation 19, where the score is an exponential: its derivatives are powers of the gradient
    exponential = np.exp(score.numpy())[:, None, None, None]
    first, second, third = (exponential * gradient**power for power in (1, 2, 3))
    below = 2 * second + features.sum((1, 2), keepdims=True) * third
    alpha = np.divide(second, below, out=np.zeros_like(second), where=below != 0)
    weights = (alpha * np.maximum(first, 0)).sum((1, 2), keepdims=True)
    expected["gradcam++"] = (weights * features).sum(-1)
    side = features.shape[1]
    for method, cams in expected.items():
        maps, _ = explainer(model, method).maps(images, np.ones((2, side, side), bool), label=1)
        cams = np.maximum(cams, 0)
        assert cams.max() > 0
        np.testing.assert_allclose(maps, cams / cams.max((1, 2), keepdims=True), rtol=2e-3, atol=2e-3)


def test_hirescam_divides_the_class_score_among_places_before_a_mean_and_a_dense_layer() -> None:
    model, image = small_resnet(), noise(1)
    features = keras.Model(model.inputs, model.get_layer("post_relu").output)([image.astype(np.float32)]).numpy()[0]
    kernel = model.layers[-1].kernel.numpy()
    evidence = np.maximum(features @ (kernel[:, 1] - kernel[:, 0]), 0)
    (cam,), _ = explainer(model, "hirescam").maps(image, np.ones((1, *evidence.shape), bool), label=1)
    np.testing.assert_allclose(cam, evidence / evidence.max(), atol=1e-4)


@pytest.mark.parametrize(
    ("method", "layer"),
    [("gradcam", "stage1_block1_relu2"), ("gradcam++", "stage1_block1_add"), ("hirescam", "stage2_block1_conv1")],
)
def test_any_layer_can_be_explained(method: str, layer: str) -> None:
    model = build_resnet(ModelSettings(width=4, stages=2), PX)
    images = noise(2)
    maker = explainer(model, method, layer)
    maps, probabilities = maker.maps(images, everywhere(images), label=1)
    against, _ = maker.maps(images, everywhere(images), label=0)
    assert np.isfinite(maps).all() and np.maximum(maps, against).max() == 1 and (maps != against).any()
    np.testing.assert_allclose(probabilities, model(images.astype(np.float32)).numpy()[:, 1], atol=1e-6)
    assert GradCam(model, layer=layer).layer_name == layer


def test_what_is_not_there_is_named_with_what_is() -> None:
    model = build_resnet(ModelSettings(width=4, stages=2), PX)
    with pytest.raises(MetricError, match=r"no layer 'stage9' with places; .* post_relu \(2 x 2 places\)"):
        explainer(model, layer="stage9")
    with pytest.raises(MetricError, match="has no layer 'pool' with places"):
        explainer(model, layer="pool")
    with pytest.raises(MetricError, match="--method lime: write one of gradcam, "):
        explainer(model, "lime")
    with pytest.raises(MetricError, match="leave --layer out"):
        explainer(model, "occlusion", "post_relu")


def test_occlusion_explains_a_model_without_gradients_and_sees_what_a_patch_takes_away() -> None:
    photograph = keras.Input((PX, PX, 3))
    red = layers.Rescaling(1 / 255)(photograph)[..., 0]
    share = layers.Reshape((1,))(keras.ops.mean(keras.ops.cast(red > 0.5, "float32"), axis=(1, 2)))
    answer = layers.Dense(2, activation="softmax", name="classes")(share)
    model = keras.Model(photograph, answer)
    model.get_layer("classes").set_weights([np.array([[-40.0, 40.0]]), np.zeros(2)])
    image = eye_with_spots((8, 18), (2, 2))[None]
    (cam,), _ = explainer(model, "occlusion").maps(image, everywhere(image), label=1)
    lit = cam > 0.5
    rows, columns = np.nonzero(lit)
    assert 6 <= rows.min() and rows.max() < 16 and 16 <= columns.min() and columns.max() < 26


def test_nothing_outside_the_retina_is_lit_by_any_method() -> None:
    images: NDArray[np.uint8] = noise(1)
    inside = np.zeros((1, 64, 64), bool)
    inside[0, 16:48, 16:48] = True
    for method in METHODS:
        maps, _ = explainer(pooled_apart(), method).maps(images, inside, label=1)
        assert maps.shape == inside.shape and not maps[~inside].any()
