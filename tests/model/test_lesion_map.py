"""Boxes around lesions as a second target: where they lie, what is learned of them, and what is refused."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from numpy.typing import NDArray

from drsearch.data.augmentation import UNCHANGED, Augmenter, Change
from drsearch.datasets.boxes import Box
from drsearch.errors import MetricError, TrialFailed
from drsearch.measure.explainers import explainer, own_method
from drsearch.measure.gradcam import GradCam, enlarged
from drsearch.model.fit import Training, set_seeds
from drsearch.model.lesion_map import lesion_loss, lesion_target
from drsearch.model.mean_network import mean_network
from drsearch.model.predictor import Predictor
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import AugmentationSettings, Settings

PX = 64
SMALL = Settings().replace(
    {
        "images.image_px": PX,
        "model.width": 4,
        "model.stages": 2,
        "training.learning_rate": 0.01,
        "training.batch_size": 8,
        "training.lesions_weight": 1.0,
        "study.gradcam_eyes": 2,
    }
)
KINDS = ("haemorrhage", "hard_exudate")


@dataclass(frozen=True)
class Eyes:
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    grades: NDArray[np.int64]
    boxes: tuple[tuple[Box, ...], ...]


def _eyes(n: int) -> Eyes:
    """Every second eye has a dark and a bright lesion of 8 px."""
    rng = np.random.default_rng(0)
    images = rng.integers(100, 130, (n, PX, PX, 3), np.uint8)
    labels = np.arange(n) % 2
    boxes: list[tuple[Box, ...]] = [()] * n
    for i in np.flatnonzero(labels):
        for kind, level, row in zip(KINDS, (20, 230), (0, 4), strict=True):
            x, y = 8 * rng.integers(0, 8), 8 * (row + rng.integers(0, 4))
            images[i, y : y + 8, x : x + 8] = level
            boxes[i] += (Box(kind, x / PX, y / PX, (x + 8) / PX, (y + 8) / PX),)
    return Eyes(images, labels, 2 * labels, tuple(boxes))


def _training(eyes: Eyes, changes: dict[str, Any] | None = None, network: keras.Model | None = None) -> Training:
    chosen = SMALL.replace(changes or {})
    set_seeds(0)
    return Training(network or build_resnet(chosen.model, PX), eyes, eyes, chosen)


def test_a_cell_is_the_share_of_it_that_boxes_of_a_colour_cover() -> None:
    boxes = (
        Box("haemorrhage", 0, 0, 0.25, 0.125),
        Box("hard_exudate", 12 / 64, 8 / 64, 16 / 64, 16 / 64),
        Box("optic_disc", 0.5, 0.5, 1, 1),
    )
    target = lesion_target([boxes, (), ()], np.array([2, 0, 3]), PX)
    expected = np.zeros((8, 8, 2), np.float32)
    expected[0, :2, 0], expected[1, 1, 1] = 1, 0.5
    np.testing.assert_allclose(target(0, UNCHANGED), expected, atol=1 / 255)
    assert not target(1, UNCHANGED).any()
    assert np.all(target(2, UNCHANGED) == -1), "a diseased eye without any box says nothing of its lesions"


@given(
    change=st.builds(
        Change,
        flip_x=st.booleans(),
        flip_y=st.booleans(),
        zoom=st.floats(0.6, 1.5),
        shear_deg=st.floats(-20, 20),
        rotation_deg=st.floats(-180, 180),
        shift_x=st.floats(-0.3, 0.3),
        shift_y=st.floats(-0.3, 0.3),
    ),
    corner=st.tuples(st.integers(10, 30), st.integers(10, 30)),
    size=st.tuples(st.integers(2, 24), st.integers(2, 24)),
    image_px=st.sampled_from([64, 100]),
)
@settings(max_examples=50)
def test_boxes_move_as_the_picture_does(
    change: Change, corner: tuple[int, int], size: tuple[int, int], image_px: int
) -> None:
    (left, top), (across, down) = corner, size
    image, moved = np.zeros((2, image_px, image_px, 3), np.uint8)
    image[top : top + down, left : left + across] = 255
    Augmenter(AugmentationSettings()).apply(image, change, moved)
    box = Box("exudates", *(np.array([left, top, left + across, top + down]) / image_px))
    cells = lesion_target([(box,)], np.array([2]), image_px)(0, change)
    assert not cells[..., 0].any()
    seen = cv2.resize(moved[..., 0], cells.shape[:2], interpolation=cv2.INTER_AREA) / 255
    around = 2 * (across + down) * change.zoom + 4
    pixels_a_cell = (image_px / len(cells)) ** 2
    assert np.abs(cells[..., 1] - seen).sum() * pixels_a_cell <= 0.75 * around, "but for the pixels of the border"


def test_the_loss_is_the_formula_written_plainly_and_unknown_eyes_do_not_count() -> None:
    rng = np.random.default_rng(1)
    targets, outputs = rng.random((3, 4, 4, 2), np.float32), rng.random((3, 4, 4, 2), np.float32)
    targets[1] = -1
    t, p = (each[[0, 2]].astype(np.float64) for each in (targets, outputs))
    entropy = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    dice = [1 - (2 * (t * p)[..., c].sum() + 1) / ((t + p)[..., c].sum() + 1) for c in (0, 1)]
    loss = float(lesion_loss(tf.constant(targets), tf.constant(outputs)))
    assert loss == pytest.approx(2 * entropy + np.mean(dice), rel=1e-4)
    assert float(lesion_loss(tf.constant(targets[1:2]), tf.constant(outputs[1:2]))) == 0


def test_it_learns_where_lesions_are_and_what_colour_they_have(tmp_path: Path) -> None:
    eyes = _eyes(16)
    training = _training(eyes)
    for _ in range(30):
        result = training.run_epoch()
    mapped = keras.Model(training.model.inputs[0], training.model.get_layer("lesion_map").output)
    maps = np.asarray(mapped(eyes.images.astype(np.float32), training=False))
    assert maps.shape == (16, 8, 8, 2)
    hits = 0
    for cells, boxes in zip(maps, eyes.boxes, strict=True):
        for colour, box in enumerate(boxes):
            row, column = np.unravel_index(cells[..., colour].argmax(), (8, 8))
            hits += box.left <= (column + 0.5) / 8 <= box.right and box.top <= (row + 0.5) / 8 <= box.bottom
    assert hits >= 13, "of 16 lesions"
    assert result.validation.auc == 1.0

    training.model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert opened.output_shape == (None, 2)
    assert np.array_equal(Predictor(opened)(eyes.images), training.seen)
    plainly = np.asarray(opened(eyes.images.astype(np.float32)))[:, 1]  # as Keras's users call it
    assert plainly == pytest.approx(training.seen, abs=1e-5)
    camera = GradCam(opened)
    assert camera.layer_name == "post_relu"
    cams, chances = camera.maps(eyes.images[:4], np.ones((4, PX, PX), bool))
    assert cams.max() == 1 and chances == pytest.approx(training.seen[:4], abs=1e-5)
    shown, chances = explainer(opened, "lesion_map").maps(eyes.images[:4], np.ones((4, PX, PX), bool))
    assert chances == pytest.approx(training.seen[:4], abs=1e-5)
    assert shown[0].max() < 0.5 < shown[1].max() <= 1, "probabilities: a healthy eye stays dark"
    ways = [own_method(opened), own_method(opened, "stem_conv"), own_method(build_resnet(SMALL.model, PX))]
    assert ways == ["lesion_map", "gradcam", "gradcam"]
    with pytest.raises(MetricError, match="--layer stem_conv: lesion_map is a layer itself"):
        explainer(opened, "lesion_map", "stem_conv")
    with pytest.raises(MetricError, match=r"resnet_v2 has no map of lesions: train it with training.lesions_weight"):
        explainer(build_resnet(SMALL.model, PX), "lesion_map")
    on = _training(eyes, network=opened)
    assert on.model is opened
    on.run_epoch()


def test_a_mean_of_networks_has_the_mean_of_their_maps_where_each_has_one(tmp_path: Path) -> None:
    images, inside = _eyes(4).images, np.ones((4, PX, PX), bool)
    networks = [_training(_eyes(4)).model]
    set_seeds(1)
    networks += [_training(_eyes(4), network=build_resnet(SMALL.model, PX)).model]
    each = [explainer(network, "lesion_map").maps(images, inside) for network in networks]
    mean_network(networks).save(tmp_path / "mean.keras")
    opened = keras.saving.load_model(tmp_path / "mean.keras", safe_mode=True)
    maps, chances = explainer(opened, "lesion_map").maps(images, inside)
    assert not np.allclose(each[0][0], each[1][0], atol=1e-4), "else it would show nothing"
    assert maps.max() <= max(one.max() for one, _ in each)
    cells = [
        keras.Model(one.inputs[0], one.get_layer("lesion_map").output)(images.astype(np.float32)) for one in networks
    ]
    mean = np.asarray(cells[0] + cells[1]).max(axis=3) / 2
    for i in range(4):
        np.testing.assert_allclose(maps[i], enlarged(mean[i], inside[i]), atol=1e-5)
    assert chances == pytest.approx(Predictor(opened)(images), abs=1e-5)
    with pytest.raises(MetricError, match="mean_of_2_networks has no map of lesions"):
        explainer(mean_network([networks[0], build_resnet(SMALL.model, PX)]), "lesion_map")


def test_the_classifier_sees_the_strongest_and_the_mean_of_each_map() -> None:
    model = _training(_eyes(4), {"training.levels_weight": 0.0}).model
    seen = keras.Model(model.inputs[0], [model.get_layer("lesion_map").output, model.layers[-1].input])
    maps, vector = (np.asarray(each) for each in seen(_eyes(4).images.astype(np.float32)))
    assert vector.shape == (4, 8 + 2 + 2)
    np.testing.assert_allclose(vector[:, -4:-2], maps.max(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(vector[:, -2:], maps.mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("image_px", "stages", "strides"), [(100, 3, (8, 16, 32)), (64, 1, (8,)), (128, 4, (8, 16, 32))]
)
def test_features_of_an_eighth_to_a_32nd_of_the_image_make_the_map(
    image_px: int, stages: int, strides: tuple[int, ...]
) -> None:
    eyes = Eyes(
        np.zeros((3, image_px, image_px, 3), np.uint8), np.array([0, 1, 1]), np.array([0, 2, 3]), _eyes(2).boxes * 2
    )
    chosen = SMALL.replace({"model.stages": stages})
    model = Training(build_resnet(chosen.model, image_px), eyes, eyes, chosen).model
    assert {layer.name for layer in model.layers if layer.name.startswith("lesion_from")} == {
        f"lesion_from_{stride}" for stride in strides
    }
    side = -(-image_px // 8)
    assert model.get_layer("lesion_map").output.shape == (None, side, side, 2)


def _nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((PX, PX, 3)), layers.Conv2D(4, 3, strides=16, activation="relu")])
    return keras.Sequential(
        [keras.Input((PX, PX, 3)), inner, layers.GlobalMaxPooling2D(), layers.Dense(2, activation="softmax")]
    )


def test_what_has_no_place_for_a_map_and_data_without_boxes_are_refused() -> None:
    with pytest.raises(TrialFailed, match="the network has no layer with 8 x 8 places, an eighth of its images"):
        _training(_eyes(4), network=_nested())
    images = keras.Input((PX, PX, 3))
    apart = keras.Model(images, layers.Softmax()(layers.Dense(2)(layers.GlobalAveragePooling2D()(images))))
    with pytest.raises(TrialFailed, match="the network does not end in a Dense layer with softmax"):
        _training(_eyes(4), network=apart)
    eyes = _eyes(4)
    with pytest.raises(TrialFailed, match="training.lesions_weight = 1.0: no train eye has a box around a red or a"):
        _training(Eyes(eyes.images, eyes.labels, eyes.grades, ((),) * 4))
