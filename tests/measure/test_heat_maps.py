"""Does a heat map show the photograph, the map and what its colours mean?"""

from typing import Any

import numpy as np
import pytest

from drsearch.measure.gradcam import overlay
from drsearch.measure.heat_maps import heat_map_figure, heat_map_rows

PHOTOGRAPH = np.random.default_rng(0).integers(60, 90, (200, 300, 3), dtype=np.uint8)
MAP = np.zeros((200, 300), np.float32)
MAP[50:150, 100:200] = np.linspace(0.01, 1, 100, dtype=np.float32)


def test_a_heat_map_is_the_overlay_with_words_and_the_colours_of_its_scale_below() -> None:
    figure = heat_map_figure(PHOTOGRAPH, MAP, 0.873, 0.5)
    np.testing.assert_array_equal(figure[:200], overlay(PHOTOGRAPH, MAP))
    strip = figure[200:]
    assert strip.shape == (48, 300, 3)
    assert (strip == 255).all(axis=2).any(), "words"
    strongest = overlay(PHOTOGRAPH, MAP)[50:150, 199].mean(axis=0)
    assert np.abs(strip - strongest).max(axis=2).min() < 6, "its scale ends in the colour of the strongest place"


@pytest.mark.parametrize("other", [(0.874, 0.5), (0.873, 0.51), (0.873, 0.9), (0.873, 0.5, "lesion_map")])
def test_the_words_differ_with_probability_threshold_and_kind_of_map(other: tuple[Any, ...]) -> None:
    strips = [heat_map_figure(PHOTOGRAPH, MAP, *words)[200:] for words in ((0.873, 0.5), other)]
    assert (strips[0] != strips[1]).any()


def test_a_map_without_evidence_leaves_the_photograph_and_has_no_scale() -> None:
    figure = heat_map_figure(PHOTOGRAPH, np.zeros_like(MAP), 0.1, 0.5)
    np.testing.assert_array_equal(figure[:200], PHOTOGRAPH)
    assert np.ptp(figure[200:].astype(int), axis=2).max() == 0, "black and white only"


def test_a_small_picture_is_enlarged_so_that_its_words_can_be_read() -> None:
    figure = heat_map_figure(PHOTOGRAPH[:64, :64], MAP[64:128, 100:164], 0.9, 0.5)
    assert figure.shape == (256 + 48, 256, 3)


def test_rows_show_name_photograph_and_heat_map_of_each_eye() -> None:
    figure = heat_map_figure(PHOTOGRAPH, MAP, 0.873, 0.5)
    rows = heat_map_rows([PHOTOGRAPH] * 3, [figure] * 3, ["SYN_001", "SYN_002", "a name that is far too long " * 3], 2)
    block = 24 + 200 + 248
    assert rows.shape == (2 * block, 2 * 300, 3)
    for row, column in ((0, 0), (0, 1), (1, 0)):
        eye = rows[row * block : (row + 1) * block, column * 300 : (column + 1) * 300]
        assert eye[:24].max() > 200, "a name"
        np.testing.assert_array_equal(eye[24:224], PHOTOGRAPH)
        np.testing.assert_array_equal(eye[224:], figure)
