"""Are the scores what a plain loop would count, and do their intervals cover?"""

import importlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from drsearch.errors import MetricError
from drsearch.measure.scores import Interval, Scores, accuracy, auc, confusion_matrix, one_class_scores, scores


def made_up(n: int, seed: int, step: float = 1e-9) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return labels, np.clip(np.round(rng.normal(0.4 + 0.2 * labels, 0.25) / step) * step, 0, 1)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.2, 0.5, 0.5001, 0.9, 1.0])), min_size=2, max_size=30)
)
def test_scores_equal_plain_loops(eyes: list[tuple[int, float]]) -> None:
    eyes = [(0, 0.3), (1, 0.3), *eyes]
    labels, probabilities = zip(*eyes, strict=True)
    pairs = [(high > low) + 0.5 * (high == low) for k, high in eyes if k for m, low in eyes if not m]
    assert auc(labels, probabilities) == pytest.approx(sum(pairs) / len(pairs))
    assert accuracy(labels, probabilities) == pytest.approx(sum((p >= 0.5) == k for k, p in eyes) / len(eyes))
    expected = [[sum(1 for k, p in eyes if (k, p >= 0.5) == (row, bool(col))) for col in (0, 1)] for row in (0, 1)]
    assert confusion_matrix(labels, probabilities).tolist() == expected
    found = scores(labels, probabilities, resamples=20)
    assert found.sensitivity.value == pytest.approx(expected[1][1] / sum(expected[1]))
    assert found.specificity.value == pytest.approx(expected[0][0] / sum(expected[0]))


@pytest.mark.parametrize("step", [1e-9, 0.1])
def test_the_area_equals_scikit_learns_with_and_without_ties(step: float) -> None:
    labels, probabilities = made_up(300, seed=1, step=step)
    assert auc(labels, probabilities) == pytest.approx(roc_auc_score(labels, probabilities), abs=1e-12)


def test_intervals_equal_a_bootstrap_written_as_a_loop() -> None:
    labels, probabilities = made_up(41, seed=2, step=0.05)
    found = scores(labels, probabilities, resamples=4000, seed=0)
    rng = np.random.default_rng(1)
    eyes = [np.flatnonzero(labels == label) for label in (0, 1)]
    drawn = []
    for _ in range(4000):
        chosen = np.concatenate([rng.choice(of_class, of_class.size) for of_class in eyes])
        called, truth = probabilities[chosen] >= 0.5, labels[chosen] == 1
        row = [(called == truth).mean(), auc(labels[chosen], probabilities[chosen])]
        drawn.append([*row, called[truth].mean(), (~called[~truth]).mean()])
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    ours = (found.accuracy, found.auc, found.sensitivity, found.specificity)
    # 4000 resamples: an end of the interval wanders by about 0.006, and rates of 20 eyes move in steps of 0.05.
    np.testing.assert_allclose([score.low for score in ours], low, atol=0.051)
    np.testing.assert_allclose([score.high for score in ours], high, atol=0.051)
    assert found.auc.low == pytest.approx(low[1], abs=0.015) and found.auc.high == pytest.approx(high[1], abs=0.015)


def test_the_interval_of_the_area_covers_the_truth_about_95_times_in_100() -> None:
    truth = 0.7602499  # Phi(1 / sqrt 2): normal scores, one standard deviation apart
    covered = 0
    for seed in range(200):
        labels = np.repeat([0, 1], 50)
        drawn = np.random.default_rng(seed).normal(labels, 1.0)
        found = scores(labels, 1 / (1 + np.exp(-drawn)), resamples=300, seed=seed).auc
        covered += found.low <= truth <= found.high
    assert 180 <= covered <= 198


def test_a_seed_repeats_the_intervals_however_many_rows_are_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, probabilities = made_up(60, seed=3)
    first = scores(labels, probabilities, seed=7)
    assert scores(labels, probabilities, seed=7) == first
    assert scores(labels, probabilities, seed=8) != first
    module = importlib.import_module("drsearch.measure.scores")  # `drsearch.measure.scores` is also a function
    monkeypatch.setattr(module, "_CELLS_AT_ONCE", 60 * 7)
    assert scores(labels, probabilities, seed=7) == first


@settings(max_examples=30)
@given(st.integers(2, 60), st.integers(0, 1000), st.floats(0.05, 0.95))
def test_every_value_lies_in_its_interval_and_in_0_to_1(n: int, seed: int, threshold: float) -> None:
    found = scores(*made_up(n, seed), threshold=threshold, resamples=200, seed=seed)
    for score in (found.accuracy, found.auc, found.sensitivity, found.specificity):
        assert 0 <= score.low <= score.high <= 1 and 0 <= score.value <= 1
    assert sum(map(sum, found.confusion)) == found.n == n


def test_the_threshold_itself_is_called_referable() -> None:
    assert confusion_matrix([0, 1], [0.5, 0.5]).tolist() == [[0, 1], [0, 1]]
    assert confusion_matrix([0, 1], [0.5, 0.5], threshold=0.51).tolist() == [[1, 0], [1, 0]]


def test_scores_become_plain_numbers_for_json() -> None:
    found = scores([0, 0, 1, 1, 1], [0.1, 0.5, 0.5, 0.9, 0.2], resamples=50)
    told = json.loads(json.dumps(found.to_json()))
    assert told["accuracy"] == {"value": 0.6, "low": found.accuracy.low, "high": found.accuracy.high}
    assert (told["confusion"], told["n"]) == ([[1, 1], [1, 2]], 5)
    assert Scores.from_json(told) == found


def test_a_share_without_an_error_still_has_its_doubt_and_more_of_it_with_fewer_eyes() -> None:
    few = scores([0] * 4 + [1] * 4, [0.1] * 4 + [0.9] * 4)
    many = scores([0] * 400 + [1] * 400, [0.1] * 400 + [0.9] * 400)
    assert few.sensitivity.value == few.sensitivity.high == 1.0
    assert few.sensitivity.low == pytest.approx(4 / (4 + 1.959964**2), abs=1e-6)  # Wilson at its end: n / (n + z^2)
    assert few.accuracy.low == pytest.approx(8 / (8 + 1.959964**2), abs=1e-6)
    assert 0.98 < many.sensitivity.low < many.accuracy.low < 1
    nothing_found = scores([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4])
    assert nothing_found.sensitivity.value == nothing_found.sensitivity.low == 0.0 < nothing_found.sensitivity.high


def test_a_missing_class_is_refused_where_the_score_needs_it() -> None:
    with pytest.raises(MetricError) as refused:
        auc([0, 0], [0.1, 0.2])
    assert str(refused.value) == (
        "None of the 2 eyes is RDR, so AUC, sensitivity and specificity are undefined; score a set with both classes."
    )
    with pytest.raises(MetricError) as refused:
        scores([1], [0.1])
    assert str(refused.value) == (
        "None of the 1 eyes is NRDR, so AUC, sensitivity and specificity are undefined; score a set with both classes."
    )
    assert accuracy([0, 0], [0.1, 0.7]) == 0.5


@pytest.mark.parametrize("label", [0, 1])
def test_eyes_of_one_class_have_the_interval_that_they_have_among_both(label: int) -> None:
    drawn = np.random.default_rng(1).random(200)
    both = scores(np.r_[np.full(200, label), 1 - label], np.r_[drawn, 0.5], 0.3)
    found = one_class_scores(np.full(200, label), drawn, 0.3)
    among_both = both.sensitivity if label else both.specificity
    assert found.accuracy.value == among_both.value
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx((among_both.low, among_both.high), abs=0.02)
    assert (found.sensitivity, found.specificity)[label] is None and found.auc is None
    assert sum(found.confusion[label]) == found.n == 200 and sum(found.confusion[1 - label]) == 0
    json.dumps(found.to_json(), allow_nan=False)


def test_one_class_without_an_error_has_wilsons_interval() -> None:
    assert one_class_scores([1] * 10, [0.9] * 10).accuracy.low == pytest.approx(0.722, abs=0.001)


def test_both_classes_are_no_one_class() -> None:
    with pytest.raises(MetricError, match="both classes"):
        one_class_scores([0, 1], [0.1, 0.9])


def test_arrays_that_are_no_predictions_are_refused() -> None:
    with pytest.raises(MetricError) as refused:
        accuracy([0, 1], [[0.1, 0.9], [0.2, 0.8]])
    assert str(refused.value) == (
        "Labels of shape (2,) and probabilities of shape (2, 2) cannot be scored; "
        "pass one label and the probability of RDR for each of at least one eye."
    )
    with pytest.raises(MetricError) as refused:
        accuracy([0, 3], [0.1, 0.9])
    assert str(refused.value) == "A label is 3; labels are 0 (NRDR) or 1 (RDR)."
    with pytest.raises(MetricError) as refused:
        accuracy([0, 1], [0.1, float("nan")])
    assert str(refused.value) == "1 of 2 probabilities are not finite; the model that gave them is broken."


def test_scores_say_their_threshold_wherever_they_are_shown() -> None:
    labels, probabilities = made_up(40, seed=3)
    shown = scores(labels, probabilities, threshold=0.3518, resamples=20)
    assert [name for name, _ in shown.labelled] == [
        "AUC", "accuracy at 0.3518", "sensitivity at 0.3518", "specificity at 0.3518"
    ]  # fmt: skip
    assert [interval for _, interval in shown.labelled][1] == shown.accuracy
    assert shown.to_json()["threshold"] == 0.3518
    assert Scores.from_json(json.loads(json.dumps(shown.to_json()))) == shown


def test_scores_of_an_older_drsearch_are_refused_for_their_missing_threshold() -> None:
    older = scores([0, 1], [0.2, 0.8], resamples=20).to_json()
    del older["threshold"]
    with pytest.raises(MetricError, match="without their threshold; train anew"):
        Scores.from_json(older)


def test_a_model_that_does_not_tell_eyes_apart_is_cautioned_against() -> None:
    labels = np.arange(40) % 2
    same = scores(labels, np.full(40, 0.7))
    assert same.is_constant
    assert same.caution == "The model answers the same for each of the 40 eyes, so it cannot tell them apart."
    guessed = scores(labels, np.random.default_rng(0).uniform(size=40))
    assert not guessed.is_constant
    assert guessed.caution.endswith("is not shown to be better than chance (0.5) on these 40 eyes.")
    assert guessed.to_json()["caution"] == guessed.caution
    assert scores(labels, 0.2 + 0.6 * labels).caution == ""


def test_the_accuracy_of_a_model_that_calls_every_eye_the_same_has_a_width() -> None:
    labels = np.repeat([0, 1], [25, 41])
    accuracy_of = scores(labels, np.full(66, 0.2), resamples=100).accuracy
    assert accuracy_of.value == pytest.approx(25 / 66)
    # Wilson's interval of 25 of 66, from its formula
    z, share = 1.959964, 25 / 66
    middle, half = share + z**2 / 132, z * np.sqrt(share * (1 - share) / 66 + z**2 / (4 * 66**2))
    assert (accuracy_of.low, accuracy_of.high) == pytest.approx(
        ((middle - half) / (1 + z**2 / 66), (middle + half) / (1 + z**2 / 66)), abs=1e-6
    )


def test_scores_become_metrics_with_their_intervals_and_the_four_cells() -> None:
    interval = Interval(0.5, 0.25, 0.75)
    metrics = Scores(interval, interval, interval, interval, ((1, 2), (3, 4)), 10, 0.35).metrics("best_", "best_val_")
    assert {name: value for name, value in metrics.items() if name.startswith("best_val_auc")} == {
        "best_val_auc": 0.5,
        "best_val_auc_low": 0.25,
        "best_val_auc_high": 0.75,
    }
    assert [metrics[f"best_{cell}"] for cell in ("true_nrdr", "false_rdr", "false_nrdr", "true_rdr")] == [1, 2, 3, 4]
    assert metrics["best_threshold"] == 0.35 and len(metrics) == 17


def test_an_interval_is_read_back_from_metrics_or_tags_unless_a_number_is_missing() -> None:
    tags = {name: f"{value:.4f}" for name, value in Interval(0.5, 0.25, 0.75).metrics("test_auc").items()}
    assert Interval.from_metrics(tags, "test_auc") == Interval(0.5, 0.25, 0.75)
    assert Interval.from_metrics({"test_auc": 0.5, "test_auc_low": 0.25}, "test_auc") is None
