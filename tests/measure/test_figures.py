"""Do the pictures show what they are given, the same every time?"""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drsearch.errors import MetricError
from drsearch.measure.figures import confusion_figure, png, roc_figure, search_figure


def is_picture(image: NDArray[np.uint8]) -> bool:
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.std() > 10


def test_a_confusion_figure_is_darkest_where_the_share_of_the_true_class_is_highest() -> None:
    figure = confusion_figure([[18, 2], [30, 70]], 0.5, "validation, epoch 40")
    assert is_picture(figure) and min(figure.shape[:2]) > 300
    blueness = figure[:, :, 2].astype(int) - figure[:, :, 0]
    height, width = blueness.shape
    dark = (blueness > 60).astype(np.uint8)
    assert dark[: height // 2, : width // 2].sum() > 2 * dark[: height // 2, width // 2 :].sum()
    np.testing.assert_array_equal(figure, confusion_figure([[18, 2], [30, 70]], 0.5, "validation, epoch 40"))


def test_a_confusion_figure_names_its_threshold() -> None:
    at_half, other = (confusion_figure([[18, 2], [30, 70]], at, "test") for at in (0.5, 0.3518))
    differs = np.flatnonzero((at_half != other).any(axis=(1, 2)))
    assert differs.size and differs.max() < 0.1 * len(at_half), "in the title"


def test_a_class_without_eyes_still_draws() -> None:
    assert is_picture(confusion_figure([[0, 0], [3, 4]], 0.5, "one class"))


def test_a_roc_figure_draws_the_curve_and_refuses_one_class() -> None:
    labels, probabilities = [0, 0, 1, 1, 1], [0.2, 0.6, 0.4, 0.8, 0.9]
    figure = roc_figure(labels, probabilities, 0.5)
    assert is_picture(figure)
    blue = (abs(figure.astype(int) - [0, 0x72, 0xB2]) < 12).all(axis=2)
    assert blue.sum() > 300
    with pytest.raises(MetricError):
        roc_figure([1, 1], [0.3, 0.4], 0.5)


def test_a_picture_keeps_nothing_of_the_one_drawn_before() -> None:
    few, many = [0, 0, 1, 1], [0, 1] * 40
    roc, confusion = roc_figure(few, [0.1, 0.4, 0.3, 0.9], 0.3), confusion_figure([[1, 1], [0, 2]], 0.5, "few")
    (
        roc_figure(many, np.linspace(0.9, 0.1, 80), 0.3),
        confusion_figure([[40, 999], [1000, 0]], 0.5, "a far longer title"),
    )
    np.testing.assert_array_equal(roc_figure(few, [0.1, 0.4, 0.3, 0.9], 0.3), roc)
    np.testing.assert_array_equal(confusion_figure([[1, 1], [0, 2]], 0.5, "few"), confusion)


def test_a_search_figure_follows_the_best_value_down_where_less_is_better() -> None:
    more, less = (search_figure([0, 2, 3], [0.5, 0.9, 0.7], "val_auc", less) for less in (False, True))
    assert is_picture(more)
    heights = [
        np.flatnonzero((abs(each.astype(int) - [0xD5, 0x5E, 0]) < 12).all(axis=2).any(axis=1)) for each in (more, less)
    ]
    assert np.ptp(heights[0]) > 100, "it rises to the best trial"
    assert np.ptp(heights[1]) < 10, "the first trial stays the best"


def test_a_png_reads_back_to_the_pixels() -> None:
    image = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    decoded = cv2.imdecode(np.frombuffer(png(image), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    np.testing.assert_array_equal(decoded[:, :, ::-1], image)
