"""What the mean over the symmetries of the square is, for images and for batches."""

import numpy as np
import pytest
from numpy.typing import NDArray

from drsearch.model.fit import set_seeds
from drsearch.model.predictor import Predictor
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import ModelSettings

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def predictors() -> tuple[Predictor, Predictor]:
    set_seeds(0)
    model = build_resnet(ModelSettings(width=4, stages=1), 32)
    return Predictor(model), Predictor(model, batch_size=24, symmetries=8)


def views(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """All quarter turns of images and of their mirror images."""
    return [
        np.ascontiguousarray(np.rot90(either, turns, (1, 2)))
        for either in (images, images[:, :, ::-1])
        for turns in range(4)
    ]


def test_eight_symmetries_give_the_mean_over_all_turned_and_mirrored_views(
    predictors: tuple[Predictor, Predictor],
) -> None:
    plain, symmetric = predictors
    each = np.stack([plain(view) for view in views(IMAGES)])
    assert np.ptp(each, axis=0).min() > 1e-4, "each view is seen otherwise"
    np.testing.assert_allclose(symmetric(IMAGES), each.mean(axis=0), atol=1e-6)


def test_an_eye_gets_the_same_however_it_lies(predictors: tuple[Predictor, Predictor]) -> None:
    symmetric = predictors[1]
    for view in views(IMAGES):
        np.testing.assert_allclose(symmetric(view), symmetric(IMAGES), atol=1e-6)
    assert symmetric(IMAGES[:0]).shape == (0,)
