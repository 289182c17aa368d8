"""Is the mean of networks one network, for all that opens and asks it?"""

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from drsearch.model.fit import set_seeds
from drsearch.model.mean_network import mean_answers, mean_network, weights_only
from drsearch.model.predictor import Predictor
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import ModelSettings

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


def network(seed: int) -> keras.Model:
    set_seeds(seed)
    return build_resnet(ModelSettings(width=4, stages=1), 32)


@settings(max_examples=5)
@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=4))
def test_its_log_odds_are_the_mean_of_theirs(seeds: list[int]) -> None:
    networks = [network(seed) for seed in seeds]
    each = np.stack([Predictor(one)(IMAGES) for one in networks], dtype=np.float64)
    mean = expit(logit(each).mean(axis=0))
    np.testing.assert_allclose(Predictor(mean_network(networks))(IMAGES), mean, atol=1e-5)
    np.testing.assert_allclose(mean_answers(each), mean, atol=1e-12)


def test_a_network_that_is_certain_does_not_decide_alone_for_ever() -> None:
    image = keras.Input((32, 32, 3))
    flat = keras.layers.GlobalAveragePooling2D()(image)
    certain, doubting = (keras.Model(image, keras.layers.Dense(2, "softmax")(flat)) for _ in range(2))
    certain.layers[-1].set_weights([np.zeros((3, 2)), np.array([200.0, -200.0])])
    doubting.layers[-1].set_weights([np.zeros((3, 2)), np.array([-3.0, 3.0])])
    answers = Predictor(mean_network([certain, doubting, doubting, doubting]))(IMAGES)
    np.testing.assert_allclose(logit(answers), (np.log(1e-6) + 3 * 6) / 4, atol=1e-3)


def test_it_is_saved_and_opened_in_safe_mode_without_any_code(tmp_path: Path) -> None:
    nested = [mean_network([network(0), network(1)]), mean_network([network(2), network(3)])]
    mean = mean_network(nested)
    mean.save(tmp_path / "mean.keras")
    opened = keras.saving.load_model(tmp_path / "mean.keras", compile=False, safe_mode=True)
    assert (opened.input_shape, opened.output_shape) == ((None, 32, 32, 3), (None, 2))
    assert opened.count_params() == 4 * network(0).count_params()
    np.testing.assert_array_equal(Predictor(opened)(IMAGES), Predictor(mean)(IMAGES))


@pytest.mark.parametrize("sequential", [False, True])
def test_a_network_without_its_optimizer_answers_the_same_in_a_smaller_file(tmp_path: Path, sequential: bool) -> None:
    trained = network(0)
    if sequential:
        trained = keras.Sequential([keras.Input((32, 32, 3)), *trained.layers[1:2], keras.layers.Flatten(),
                                    keras.layers.Dense(2, "softmax")])  # fmt: skip
    trained.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    trained.optimizer.build(trained.trainable_variables)
    trained.save(tmp_path / "whole.keras")
    weights_only(trained).save(tmp_path / "weights.keras")
    opened = keras.saving.load_model(tmp_path / "weights.keras")
    np.testing.assert_array_equal(Predictor(opened)(IMAGES), Predictor(trained)(IMAGES))
    assert (tmp_path / "weights.keras").stat().st_size < (tmp_path / "whole.keras").stat().st_size
    assert trained.compiled and not opened.compiled
