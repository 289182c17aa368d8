"""Are out-of-fold scores what plain loops count, and do their intervals respect what belongs together?"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from drsearch.errors import MetricError
from drsearch.measure.out_of_fold import (
    RUN_LENGTH,
    Repeat,
    drawn_together,
    mean_difference,
    out_of_fold_scores,
    repeat_scores,
)
from drsearch.measure.scores import scores


def made_up(n: int, n_folds: int, seed: int) -> tuple[NDArray[np.int64], Repeat]:
    rng = np.random.default_rng(seed)
    labels, folds = np.arange(n) % 2, np.arange(n) // 2 % n_folds
    chances = np.clip(rng.normal(0.4 + 0.2 * labels + 0.3 * folds, 0.25), 0, 1)
    return labels, Repeat(folds, chances, chances >= 0.4 + 0.3 * folds)


@given(st.integers(2, 5), st.integers(0, 1000))
def test_the_area_counts_pairs_of_one_fold_and_the_shares_count_decisions(n_folds: int, seed: int) -> None:
    labels, repeat = made_up(24, n_folds, seed)
    pairs = [
        (high > low) + 0.5 * (high == low)
        for k, f, high in zip(labels, repeat.fold, repeat.probabilities, strict=True)
        if k
        for m, g, low in zip(labels, repeat.fold, repeat.probabilities, strict=True)
        if not m and f == g
    ]
    found = repeat_scores(labels, repeat)
    assert found["auc"] == pytest.approx(sum(pairs) / len(pairs))
    assert found["accuracy"] == pytest.approx(np.mean(repeat.called == labels))
    assert found["sensitivity"] == pytest.approx(np.mean(repeat.called[labels == 1]))
    assert found["specificity"] == pytest.approx(1 - np.mean(repeat.called[labels == 0]))


def test_one_fold_scores_as_a_validation_split_does() -> None:
    labels, repeat = made_up(60, 1, 3)
    one = scores(labels, repeat.probabilities, 0.4)
    found = out_of_fold_scores(labels, [repeat])
    for name, interval in found.intervals.items():
        expected = getattr(one, name)
        assert (interval.value, interval.low, interval.high) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )


def test_repeats_are_averaged_by_their_scores_and_not_by_their_probabilities() -> None:
    labels, first = made_up(60, 3, 1)
    _, second = made_up(60, 3, 2)
    both = out_of_fold_scores(labels, [first, second])
    for name, interval in both.intervals.items():
        values = [repeat_scores(labels, each)[name] for each in (first, second)]
        assert interval.value == pytest.approx(np.mean(values))
        assert interval.low <= interval.value <= interval.high


def test_eyes_that_are_alike_give_wider_intervals_when_they_are_drawn_together() -> None:
    labels, repeat = made_up(40, 2, 5)
    eyes = np.repeat(np.arange(40), 5)  # five photographs of each eye that agree
    many = Repeat(repeat.fold[eyes], repeat.probabilities[eyes], repeat.called[eyes])
    alone, together = out_of_fold_scores(labels[eyes], [many]), out_of_fold_scores(labels[eyes], [many], eyes)
    for name, interval in together.intervals.items():
        narrow = alone.intervals[name]
        assert interval.high - interval.low > 1.5 * (narrow.high - narrow.low)
    assert (alone.n_groups, together.n_groups) == (200, 40)


def test_a_model_minus_itself_is_exactly_nothing_and_the_difference_is_paired() -> None:
    labels, repeat = made_up(60, 3, 1)
    worse = Repeat(repeat.fold, np.roll(repeat.probabilities, 1), np.roll(repeat.called, 1))
    model, other = (out_of_fold_scores(labels, [each], np.arange(60) // 4) for each in (repeat, worse))
    same = model.minus(model, "auc")
    assert (same.value, same.low, same.high) == (0, 0, 0)
    difference = model.minus(other, "accuracy")
    assert difference.value == pytest.approx(model.accuracy.value - other.accuracy.value)
    assert difference.low < difference.value < difference.high


def test_a_fold_of_one_class_is_refused() -> None:
    with pytest.raises(MetricError, match="Fold 1 has eyes of one class only"):
        out_of_fold_scores([0, 1, 1], [Repeat(np.array([0, 0, 1]), np.array([0.1, 0.2, 0.3]), np.zeros(3, bool))])


@given(st.lists(st.tuples(st.sampled_from(["", "", "P", "Q"]), st.sampled_from(["a", "b"])), min_size=1, max_size=80))
def test_what_is_drawn_together_is_a_patient_or_a_run_of_one_data_set(eyes: list[tuple[str, str]]) -> None:
    patients = [f"{source}{patient}" if patient else "" for patient, source in eyes]
    sources = [source for _, source in eyes]
    names = [f"{i * 37 % 101:03}" for i in range(len(eyes))]
    groups = drawn_together(names, patients, sources).tolist()
    for group in set(groups):
        members = [i for i, each in enumerate(groups) if each == group]
        assert len({(patients[i], sources[i]) for i in members}) == 1
        if not patients[members[0]]:
            assert len(members) <= RUN_LENGTH
            first, last = min(names[i] for i in members), max(names[i] for i in members)
            strangers = [i for i in range(len(eyes)) if first < names[i] < last and groups[i] != group]
            assert all(patients[i] or sources[i] != sources[members[0]] for i in strangers)
    for patient in set(patients) - {""}:
        assert len({group for group, whose in zip(groups, patients, strict=True) if whose == patient}) == 1


def test_the_mean_difference_is_nadeau_and_bengios() -> None:
    values = [0.05, 0.02, 0.03, 0.06, 0.04, 0.01]
    mean, deviation = np.mean(values), np.std(values, ddof=1)
    half = stats.t.ppf(0.975, 5) * deviation * math.sqrt(1 / 6 + 1 / 2)
    found = mean_difference(values, 3)
    assert (found.value, found.low, found.high) == pytest.approx((mean, mean - half, mean + half))
    assert mean_difference([0.1], 2).high == math.inf
