"""Do the maps show where the evidence is, for any model?"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray
from spotted import PX, everywhere, eye_with_spots, noise, pooled_apart, small_resnet, spot_finder

from drsearch.errors import MetricError
from drsearch.measure.gradcam import GradCam, overlay
from drsearch.model.mean_network import mean_network
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import ModelSettings


@pytest.fixture(autouse=True)
def fresh_keras() -> Iterator[None]:
    keras.utils.set_random_seed(0)
    yield
    keras.utils.clear_session()


def coarse() -> Any:
    """As `spot_finder`, with places of 8 x 8 pixels."""
    photograph = keras.Input((PX, PX, 3))
    x = layers.AveragePooling2D(8)(layers.Rescaling(1 / 255)(photograph))
    x = layers.Conv2D(2, 1, use_bias=False, activation="relu", name="places")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(photograph, layers.Dense(2, activation="softmax", name="classes")(x))
    for layer in ("places", "classes"):
        model.get_layer(layer).set_weights(spot_finder().get_layer(layer).get_weights())
    return model


def of_mean_and_maximum() -> Any:
    return build_resnet(ModelSettings(width=8, stages=1, pooling="mean_max"), PX)


def of_attention() -> Any:
    settings = ModelSettings(width=8, stages=1, pooling="attention", normalisation="group", squeeze_excitation=True)
    return build_resnet(settings, PX)


def of_soft_maximum() -> Any:
    return build_resnet(ModelSettings(width=8, stages=1, pooling="log_sum_exp", drop_path=0.2), PX)


def convolved_to_a_point() -> Any:
    """Its last places, 2 x 2, go through one more convolution."""
    photograph = keras.Input((PX, PX, 3))
    x = layers.Conv2D(16, 3, strides=16, padding="same", name="places")(layers.Rescaling(1 / 255)(photograph))
    x = layers.Conv2D(8, 1, strides=2, activation="relu")(x)
    return keras.Model(photograph, layers.Dense(2, activation="softmax")(layers.Flatten()(x)))


def plain_gradcam(model: Any, layer: str, images: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
    """The paper's formula, from the output of a named layer to the image size, pixel by pixel."""
    both = keras.Model(model.inputs, [model.get_layer(layer).output, model.outputs[0]])
    maps = []
    for image in images:
        with tf.GradientTape() as tape:
            features, chances = both([image[None].astype(np.float32)], training=False)
            score = tf.math.log(chances[0, label]) - tf.math.log(chances[0, 1 - label])
        gradient = tape.gradient(score, features).numpy()[0]
        cam = np.maximum((gradient.mean((0, 1)) * features.numpy()[0]).sum(-1), 0)
        large = np.zeros((PX, PX), np.float32)
        pixels_a_cell = PX / len(cam)
        cells = np.arange(len(cam)) + 0.5
        for y, x in np.ndindex(PX, PX):
            row, column = (y + 0.5) / pixels_a_cell - cells, (x + 0.5) / pixels_a_cell - cells
            weights = np.exp(-1.5 * (row[:, None] ** 2 + column**2) / (1 - pixels_a_cell**-2))
            large[y, x] = (weights * cam).sum() / weights.sum()
        maps.append(large / large.max() if large.max() > 0 else large)
    return np.stack(maps)


def test_a_map_lights_the_spot_that_spoke_for_the_class_and_no_other() -> None:
    images = np.stack([eye_with_spots((4, 4), (20, 20)), eye_with_spots((22, 3), (2, 25))])
    maps, probabilities = GradCam(spot_finder()).maps(images, everywhere(images))
    assert maps.shape == (2, PX, PX) and maps.dtype == np.float32 and (probabilities > 0.5).all()
    np.testing.assert_allclose(maps[0, 4:10, 4:10], 1.0)
    np.testing.assert_allclose(maps[1, 22:28, 3:9], 1.0)
    assert maps.sum() == pytest.approx(2 * 36)


def test_the_class_to_explain_can_be_asked_for() -> None:
    image = eye_with_spots((4, 4), (20, 20))[None]
    explainer = GradCam(spot_finder())
    referable, _ = explainer.maps(image, everywhere(image), label=1)
    healthy, _ = explainer.maps(image, everywhere(image), label=0)
    assert referable[0, 6, 6] == 1 and referable[0, 21, 21] == 0
    assert healthy[0, 21, 21] == 1 and healthy[0, 6, 6] == 0


def test_a_model_that_is_certain_is_explained_too() -> None:
    maps, probabilities = GradCam(spot_finder(certainty=60_000.0)).maps(
        eye_with_spots((4, 4), (20, 20))[None], everywhere(eye_with_spots((4, 4), (20, 20))[None])
    )
    assert probabilities[0] == 1.0
    assert maps[0, 6, 6] == 1


def test_a_softmax_that_is_a_layer_of_its_own_gives_the_same_map() -> None:
    model, image = spot_finder(), eye_with_spots((4, 4), (20, 20))[None]
    classes = model.get_layer("classes")
    classes.activation = keras.activations.linear
    apart = keras.Model(model.inputs, layers.Softmax()(classes(classes.input)))
    maps, probabilities = GradCam(apart).maps(image, everywhere(image))
    expected, chances = GradCam(spot_finder()).maps(image, everywhere(image))
    np.testing.assert_allclose(maps, expected, atol=1e-5)
    np.testing.assert_allclose(probabilities, chances, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (small_resnet, "post_relu"),
        (of_mean_and_maximum, "post_relu"),
        (of_attention, "post_relu"),
        (of_soft_maximum, "post_relu"),
        (convolved_to_a_point, "places"),
        (pooled_apart, "places"),
    ],
)
def test_maps_equal_the_formula_written_plainly(make: Callable[[], Any], layer: str) -> None:
    model, images = make(), noise(5)
    for label in (0, 1):
        maps, probabilities = GradCam(model, batch_size=2).maps(images, everywhere(images), label=label)
        np.testing.assert_allclose(maps, plain_gradcam(model, layer, images, label), atol=1e-4)
    np.testing.assert_allclose(probabilities, model.predict(images, verbose=0)[:, 1], atol=1e-6)


def test_a_map_of_nothing_is_all_zero() -> None:
    maps, probabilities = GradCam(spot_finder()).maps(
        np.zeros((3, PX, PX, 3), np.uint8), everywhere(np.zeros((3, PX, PX, 3), np.uint8))
    )
    assert (maps == 0).all() and probabilities.tolist() == [0.5, 0.5, 0.5]


def test_no_eyes_give_no_maps() -> None:
    maps, probabilities = GradCam(spot_finder()).maps(
        np.zeros((0, PX, PX, 3), np.uint8), everywhere(np.zeros((0, PX, PX, 3), np.uint8))
    )
    assert maps.shape == (0, PX, PX) and probabilities.shape == (0,)


def test_batches_of_every_length_share_one_trace() -> None:
    explainer = GradCam(small_resnet(), batch_size=4)
    for n in (9, 11, 12):
        explainer.maps(noise(n), everywhere(noise(n)))
    explainer.maps(noise(10), everywhere(noise(10)), label=1)
    assert explainer._explain_many.experimental_get_tracing_count() == 1


def test_what_lies_outside_the_retina_is_not_coloured_and_does_not_shine_into_it() -> None:
    corner, middle = eye_with_spots((0, 0), (20, 20)), eye_with_spots((12, 12), (26, 0))
    inside = np.ones((2, PX, PX), bool)
    inside[:, :8, :8] = False
    maps, _ = GradCam(spot_finder()).maps(np.stack([corner, middle]), inside)
    assert (maps[0] == 0).all(), "all that spoke for the class lies in the corner"
    np.testing.assert_allclose(maps[1, 12:18, 12:18], 1.0)
    maps, _ = GradCam(coarse()).maps(np.stack([corner + middle, corner]), inside)
    assert (maps[~inside] == 0).all()
    y, x = np.unravel_index(maps[0].argmax(), (PX, PX))
    assert (y // 8, x // 8) == (1, 1) and maps[0].max() == 1, "the corner was stronger, and is not retina"
    assert (maps[1] == 0).all()


def test_a_map_of_few_cells_is_smooth() -> None:
    images = np.stack([eye_with_spots((12, 12), (26, 0)), eye_with_spots((1, 20), (26, 0))])
    for size in (PX, 3 * PX):
        maps, _ = GradCam(coarse()).maps(images, np.ones((2, size, size), bool))
        assert maps.shape == (2, size, size) and maps.max(axis=(1, 2)).tolist() == [1, 1]
        steps = size // 4  # pixels of a cell
        for axis in (1, 2):  # a straight line between two cells would bend at their middles, a cell step at its border
            slope = np.diff(maps, axis=axis) * steps
            assert np.abs(slope).max() < 1.2
            assert np.abs(np.diff(slope, axis=axis)).max() * steps < 4


def test_evidence_that_is_everywhere_fills_the_retina_to_its_edge() -> None:
    rows, columns = np.mgrid[:PX, :PX] + 0.5
    disc = np.hypot(rows - PX / 2, columns - PX / 2) < PX / 2
    red = np.zeros((1, PX, PX, 3), np.uint8)
    red[..., 0] = 255
    maps, _ = GradCam(coarse()).maps(red, disc[None])
    np.testing.assert_allclose(maps[0], disc, atol=1e-5)


def test_few_eyes_are_explained_as_among_many() -> None:
    explainer = GradCam(small_resnet(), batch_size=4)
    for few, many in zip(
        explainer.maps(noise(9)[:3], everywhere(noise(9)[:3])),
        explainer.maps(noise(9), everywhere(noise(9))),
        strict=True,
    ):
        np.testing.assert_allclose(few, many[:3], atol=1e-5)


def test_a_frozen_model_and_a_reloaded_one_give_the_same_maps(tmp_path: Any) -> None:
    model, images = small_resnet(), noise(3)
    maps = [GradCam(model).maps(images, everywhere(images), label=label)[0] for label in (0, 1)]
    assert np.max(maps) == 1
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    reloaded.trainable = False
    again = [GradCam(reloaded).maps(images, everywhere(images), label=label)[0] for label in (0, 1)]
    np.testing.assert_allclose(again, maps, atol=1e-5)


def test_the_layer_is_the_last_with_places() -> None:
    assert GradCam(small_resnet()).layer_name == "post_relu"
    photograph = keras.Input((PX, PX, 3))
    x = layers.Conv2D(4, 3, name="last")(photograph)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)  # 4-D, but a single cell
    x = layers.Flatten()(layers.Conv2D(2, 1)(x))
    assert GradCam(keras.Model(photograph, layers.Softmax()(x))).layer_name == "last"


def test_sequential_and_nested_models_are_explained() -> None:
    inside = keras.Sequential([keras.Input((PX, PX, 3)), layers.Conv2D(4, 3), layers.ReLU()], name="inside")
    outside = [inside, layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")]
    explainer = GradCam(keras.Sequential([keras.Input((PX, PX, 3)), *outside]))
    assert explainer.layer_name == "inside"
    assert explainer.maps(noise(2), everywhere(noise(2)))[0].shape == (2, PX, PX)


def test_a_mean_of_networks_has_the_mean_of_their_maps_whatever_the_size_of_their_cells() -> None:
    images = np.stack([eye_with_spots((4, 4), (24, 24)), eye_with_spots((20, 8), (2, 22))])
    each = [GradCam(model).maps(images, everywhere(images), label=1)[0] for model in (spot_finder(), coarse())]
    maps, probabilities = GradCam(mean_network([spot_finder(), coarse()])).maps(images, everywhere(images), label=1)
    # Both see the same evidence: their maps, with totals that enlarging leaves nearly the same, count alike.
    mean = sum(one / one.sum(axis=(1, 2), keepdims=True) for one in each)
    np.testing.assert_allclose(maps, mean / mean.max(axis=(1, 2), keepdims=True), atol=0.01)
    np.testing.assert_allclose(probabilities, spot_finder().predict(images, verbose=0)[:, 1], atol=1e-6)


def test_a_mean_of_networks_is_explained_for_the_class_that_the_mean_predicts() -> None:
    images = np.stack([eye_with_spots((4, 4), (24, 24))])
    blind, against = spot_finder(certainty=0.0), spot_finder(certainty=-40.0)  # sure of NRDR, for the red spot
    (lone,), (kept,) = (GradCam(model).maps(images, everywhere(images))[0] for model in
                        (spot_finder(), mean_network([spot_finder(), blind])))  # fmt: skip
    np.testing.assert_allclose(kept, lone, atol=1e-6)
    explainer = GradCam(mean_network([spot_finder(), against, blind]))
    maps, probabilities = explainer.maps(images, everywhere(images))
    assert probabilities[0] < 0.5
    np.testing.assert_array_equal(maps, explainer.maps(images, everywhere(images), label=0)[0])
    assert maps[0, 6, 6] == 1


def test_a_mean_that_is_not_of_the_photograph_alone_is_explained_as_any_other_model() -> None:
    photograph = keras.Input((PX, PX, 3))
    x = layers.Conv2D(4, 3, name="places")(photograph)
    answers = [layers.Dense(2)(layers.GlobalAveragePooling2D()(x)) for _ in range(2)]
    assert GradCam(keras.Model(photograph, layers.Softmax()(layers.Average()(answers)))).layer_name == "places"


def test_half_precision_stays_finite() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        maps, probabilities = GradCam(small_resnet()).maps(noise(2), everywhere(noise(2)))
    finally:
        keras.config.set_dtype_policy("float32")
    assert maps.dtype == probabilities.dtype == np.float32 and np.isfinite(maps).all()


def test_a_model_without_places_is_refused() -> None:
    photograph = keras.Input((PX, PX, 3))
    classes = layers.Dense(2, activation="softmax")(layers.Flatten()(photograph))
    with pytest.raises(MetricError) as refused:
        GradCam(keras.Model(photograph, classes, name="flat"))
    assert str(refused.value) == (
        "flat: Grad-CAM needs a layer with output (n, height, width, channels); there is none."
    )


def test_a_model_without_a_graph_is_refused() -> None:
    class Own(keras.Model):  # type: ignore[misc]  # keras has no types
        pass

    with pytest.raises(MetricError) as refused:
        GradCam(Own(name="own"))
    assert str(refused.value) == "own: Grad-CAM needs a functional or sequential Keras model that has been built."


def test_an_overlay_leaves_what_the_map_leaves_and_colours_the_rest() -> None:
    image = np.full((8, 8, 3), 100, np.uint8)
    cam = np.zeros((8, 8), np.float32)
    cam[2, 3] = 1.0
    blend = overlay(image, cam)
    assert blend.dtype == np.uint8 and blend.shape == image.shape
    untouched = np.ones((8, 8), bool)
    untouched[2, 3] = False
    assert (blend[untouched] == 100).all()
    red, green, blue = blend[2, 3].tolist()  # viridis ends in yellow
    assert red > 150 and green > 150 and blue < 100
    little = overlay(image, np.full((8, 8), 0.1, np.float32))[0, 0].astype(int)
    assert little[2] > little[1], "it begins in violet"
