import numpy as np
import pytest

from drsearch.measure.calibration import tempered
from drsearch.release.operating_point import choose_threshold
from drsearch.settings import Settings
from drsearch.training.outcome import Predictions


def predictions(n: int = 60) -> Predictions:
    labels = np.arange(n) % 2
    said = 1 / (1 + np.exp(-np.random.default_rng(0).normal(6 * (labels - 0.5), 4.0)))
    return Predictions(tuple(labels.tolist()), tuple(said.tolist()))


def test_the_threshold_holds_for_probabilities_at_the_temperature_that_goes_with_it() -> None:
    seen = predictions()
    chosen = choose_threshold(seen, Settings())
    assert chosen.temperature > 1
    called = tempered(seen.probabilities, chosen.temperature) >= chosen.point.threshold
    labels = np.array(seen.labels) == 1
    assert chosen.scores.sensitivity.value == pytest.approx(called[labels].mean()) == chosen.point.sensitivity
    assert chosen.scores.specificity.value == pytest.approx((~called[~labels]).mean()) == chosen.point.specificity


def test_a_sensitivity_that_is_asked_for_is_reached_and_said() -> None:
    chosen = choose_threshold(
        predictions(), Settings().replace({"registry.operating_point": "sensitivity", "registry.sensitivity": 0.95})
    )
    assert chosen.point.sensitivity >= 0.95
    assert "(sensitivity of at least 0.95 on 60 validation eyes: " in chosen.text


def test_what_the_folds_say_stands_for_the_refit_and_is_named_so() -> None:
    chosen = choose_threshold(predictions(), Settings().replace({"search.folds": 3}))
    assert "(Youden's J on 60 held-out predictions of the folds: " in chosen.text


def test_views_over_which_probabilities_are_averaged_are_named() -> None:
    chosen = choose_threshold(predictions(), Settings().replace({"registry.symmetries": 8}))
    assert chosen.text.endswith(". Probabilities are means over 8 turned and mirrored views.")


def test_eyes_told_apart_without_an_error_keep_a_temperature_of_one() -> None:
    chosen = choose_threshold(Predictions((0, 0, 1, 1), (0.1, 0.2, 0.9, 0.95)), Settings())
    assert (chosen.temperature, chosen.point.threshold) == (1.0, pytest.approx(0.55))
    assert chosen.text.endswith("fits no temperature; 1 is kept).")
