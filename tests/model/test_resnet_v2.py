from pathlib import Path

import keras
import numpy as np
import pytest

from drsearch.model.fit import set_seeds
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import ModelSettings

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)


def _conv(size: int, inward: int, outward: int, bias: bool = False) -> int:
    return size * size * inward * outward + (outward if bias else 0)


def _norm(width: int) -> int:
    return 4 * width  # gamma, beta, moving mean, moving variance


def _block(inward: int, width: int) -> int:
    return (
        _norm(inward)
        + _conv(1, inward, width)
        + _conv(3, inward, width)
        + _norm(width)
        + _conv(3, width, width, bias=True)
    )


def test_the_default_network_has_the_weights_counted_by_hand() -> None:
    stem = _conv(7, 3, 16) + _norm(16)  # 2352 + 64
    blocks = [_block(16, 16), _block(16, 32), _block(32, 64)]
    head = 64 * 2 + 2
    assert blocks == [5008, 14560, 57792]
    assert stem + sum(blocks) + head == 79_906
    assert build_resnet(ModelSettings(), 256).count_params() == 79_906


def test_the_layers_are_those_of_the_design_in_order() -> None:
    model = build_resnet(ModelSettings(), 256)
    block = ["bn1", "relu1", "conv1", "bn2", "relu2", "shortcut", "conv2", "add"]
    names = {layer.name for layer in model.layers}
    expected = ["images", "rescale", "stem_conv", "stem_bn", "stem_relu", "stem_pool"]
    expected += [f"stage{stage}_block1_{part}" for stage in (1, 2, 3) for part in block]
    expected += ["post_relu", "pool", "probabilities"]
    assert names == set(expected)
    assert model.get_layer("post_relu").input is model.get_layer("stage3_block1_add").output  # no BN between
    for stage in (1, 2, 3):
        shortcut, conv1 = (model.get_layer(f"stage{stage}_block1_{part}") for part in ("shortcut", "conv1"))
        assert shortcut.input is conv1.input is model.get_layer(f"stage{stage}_block1_relu1").output
        assert (shortcut.kernel_size, shortcut.strides) == ((1, 1), (2, 2))
        assert (conv1.kernel_size, conv1.strides) == ((3, 3), (2, 2))


def test_mean_and_maximum_of_every_channel_are_weighed_side_by_side() -> None:
    model = build_resnet(ModelSettings(stages=1, pooling="mean_max"), 64)
    tapped = keras.Model(model.inputs, [model.get_layer(name).output for name in ("post_relu", "pools")])
    features, pooled = (np.asarray(values) for values in tapped([IMAGES]))
    expected = np.concatenate([features.mean(axis=(1, 2)), features.max(axis=(1, 2))], axis=1)
    np.testing.assert_allclose(pooled, expected, rtol=1e-5)
    assert model.get_layer("probabilities").kernel.shape == (32, 2)


def _tapped(model: keras.Model, *names: str, training: bool = False) -> list[np.ndarray]:
    """The outputs of some layers for two images."""
    outputs = keras.Model(model.inputs, [model.get_layer(name).output for name in names])([IMAGES], training=training)
    return [np.asarray(output) for output in outputs]


def test_a_soft_maximum_lies_between_mean_and_maximum_and_stands_large_values() -> None:
    set_seeds(0)
    model = build_resnet(ModelSettings(stages=1, pooling="log_sum_exp"), 64)
    features, _ = _tapped(model, "post_relu", "probabilities")
    pooled = np.asarray(keras.Model(model.inputs, model.get_layer("probabilities").input)([IMAGES]))
    expected = np.log(np.exp(5 * features.astype(np.float64)).mean(axis=(1, 2))) / 5
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-5)
    low, high = features.mean(axis=(1, 2)), features.max(axis=(1, 2))
    assert (pooled >= low - 1e-5).all() and (pooled <= high + 1e-5).all() and (pooled > low + 0.01).any()
    model.get_layer("stage1_block1_conv2").bias.assign(np.full(16, 1e4))
    assert np.isfinite(np.asarray(model(IMAGES))).all()


def test_attention_is_a_mean_of_the_places_by_weights_that_differ_from_image_to_image() -> None:
    set_seeds(0)
    model = build_resnet(ModelSettings(stages=1, pooling="attention"), 64)
    features, shares, pooled = _tapped(model, "post_relu", "attention", "pool")
    assert shares.shape == (2, 64, 1) and shares.min() > 0
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(pooled, (features.reshape(2, 64, 16) * shares).sum(axis=1), rtol=1e-4)
    assert not np.allclose(shares[0], shares[1])


@pytest.mark.parametrize("width", [16, 12, 5])
def test_group_normalisation_is_of_each_image_by_itself(width: int) -> None:
    model = build_resnet(ModelSettings(width=width, stages=2, normalisation="group"), 64)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    together = np.asarray(model(IMAGES, training=True))
    alone = np.concatenate([np.asarray(model(image[None], training=False)) for image in IMAGES])
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    assert not model.non_trainable_variables  # no statistics that could lag behind


def test_squeeze_and_excitation_weighs_the_channels_of_the_residual_of_every_block() -> None:
    model = build_resnet(ModelSettings(squeeze_excitation=True), 64)
    plain = build_resnet(ModelSettings(), 64)
    more = [(16 * 4 + 4) + (4 * 16 + 16), (32 * 8 + 8) + (8 * 32 + 32), (64 * 16 + 16) + (16 * 64 + 64)]
    assert model.count_params() == plain.count_params() + sum(more)
    residual, shares, total, shortcut = _tapped(
        model, "stage1_block1_conv2", "stage1_block1_excite2", "stage1_block1_add", "stage1_block1_shortcut"
    )
    assert shares.shape == (2, 1, 1, 16) and ((shares > 0) & (shares < 1)).all()
    np.testing.assert_allclose(total, shortcut + residual * shares, rtol=1e-4, atol=1e-5)


def test_stochastic_depth_skips_blocks_of_single_images_more_often_the_deeper() -> None:
    set_seeds(0)
    model = build_resnet(ModelSettings(width=4, stages=2, blocks_per_stage=2, drop_path=0.4), 64)
    rates = [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])
    names = [f"stage2_block2_{part}" for part in ("conv2", "add")]
    skipped = set()
    for _ in range(20):
        before, residual, total = _tapped(model, "stage2_block1_add", *names, training=True)
        for i in range(2):
            is_skipped = np.array_equal(total[i], before[i])
            skipped.add(is_skipped)
            if not is_skipped:
                np.testing.assert_allclose(total[i], before[i] + residual[i] / 0.6, rtol=1e-4, atol=1e-5)
    assert skipped == {True, False}
    before, residual, total = _tapped(model, "stage2_block1_add", *names)
    np.testing.assert_allclose(total, before + residual, rtol=1e-5)


def test_every_stage_halves_the_picture_and_doubles_the_width() -> None:
    model = build_resnet(ModelSettings(), 256)
    shapes = {
        name: model.get_layer(name).output.shape[1:]
        for name in ("stem_conv", "stem_pool", "stage1_block1_add", "stage2_block1_add", "post_relu", "pool")
    }
    assert shapes == {
        "stem_conv": (128, 128, 16),
        "stem_pool": (64, 64, 16),
        "stage1_block1_add": (32, 32, 16),
        "stage2_block1_add": (16, 16, 32),
        "post_relu": (8, 8, 64),
        "pool": (64,),
    }
    assert model.output.shape == (None, 2)


def test_only_the_first_block_of_a_stage_projects_its_shortcut() -> None:
    model = build_resnet(ModelSettings(width=8, stages=2, blocks_per_stage=3), 64)
    projected = [layer.name for layer in model.layers if layer.name.endswith("_shortcut")]
    assert projected == ["stage1_block1_shortcut", "stage2_block1_shortcut"]
    second = model.get_layer("stage2_block2_add")
    assert second.input[0] is model.get_layer("stage2_block1_add").output
    assert second.output.shape == (None, 4, 4, 16)


def test_a_black_and_a_white_image_are_scaled_inside_the_network() -> None:
    scaled = build_resnet(ModelSettings(width=4, stages=1), 32).get_layer("rescale")(np.array([0.0, 255.0]))
    assert np.asarray(scaled) == pytest.approx([0.0, 1.0])


def test_probabilities_add_up_to_one_for_each_image() -> None:
    probabilities = np.asarray(build_resnet(ModelSettings(), 64)(IMAGES))
    assert probabilities.dtype == np.float32
    assert probabilities.sum(axis=1) == pytest.approx([1.0, 1.0], abs=1e-6)


def test_one_seed_gives_one_network_and_another_gives_another() -> None:
    def weights(seed: int) -> np.ndarray:
        set_seeds(seed)
        return np.concatenate([weight.ravel() for weight in build_resnet(ModelSettings(), 32).get_weights()])

    assert np.array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


def test_dropout_stands_before_the_classifier_where_asked() -> None:
    model = build_resnet(ModelSettings(dropout=0.3), 64)
    assert [layer.name for layer in model.layers[-3:]] == ["pool", "dropout", "probabilities"]
    assert model.get_layer("dropout").rate == 0.3


@pytest.mark.parametrize(
    "settings",
    [
        ModelSettings(dropout=0.1),
        ModelSettings(pooling="mean_max", normalisation="group"),
        ModelSettings(pooling="log_sum_exp", squeeze_excitation=True),
        ModelSettings(pooling="attention", drop_path=0.2),
    ],
)
def test_the_saved_network_opens_without_drsearch_code(tmp_path: Path, settings: ModelSettings) -> None:
    model = build_resnet(settings, 64)
    model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert all(type(operation).__module__.startswith("keras.") for operation in opened.operations)
    assert np.array_equal(np.asarray(opened(IMAGES)), np.asarray(model(IMAGES)))


@pytest.mark.parametrize("image_px", [16, 33, 100])
def test_small_and_odd_sides_build(image_px: int) -> None:
    model = build_resnet(ModelSettings(stages=6, width=1), image_px)
    assert model.get_layer("post_relu").output.shape[1:] == (1, 1, 32)
