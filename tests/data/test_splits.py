from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drsearch.data import splits
from drsearch.data.splits import LEFT_OUT, SPLITS, check_classes
from drsearch.datasets.description import PublishedSplit
from drsearch.errors import DataError
from drsearch.settings import DataSettings

IDRID = [0] * 134 + [1] * 20 + [2] * 136 + [3] * 74 + [4] * 49


def referable(grades: Sequence[int]) -> list[int]:
    return [int(grade >= 2) for grade in grades]


def split(
    grades: Sequence[int], groups: NDArray[np.int64], published: Sequence[PublishedSplit], way: DataSettings, **kw: bool
) -> NDArray[np.str_]:
    return splits.split(grades, referable(grades), groups, published, way, **kw)


def folds(grades: Sequence[int], groups: NDArray[np.int64], n: int, way: DataSettings) -> NDArray[np.int64]:
    return splits.folds(grades, referable(grades), groups, n, way)


def quotas(counts: Sequence[int] | NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Of photographs per grade, where the label follows from the grade."""
    by_class = np.zeros((2, 5), np.int64)
    by_class[0, :2], by_class[1, 2:] = counts[:2], counts[2:]
    return splits.quotas(by_class, fraction).sum(axis=0)


def everything_train(n: int) -> list[PublishedSplit]:
    return ["train"] * n


def everything_test(n: int) -> list[PublishedSplit]:
    return ["test"] * n


def shuffled_idrid() -> list[int]:
    return [int(grade) for grade in np.random.default_rng(0).permutation(IDRID)]


@pytest.mark.parametrize("way", ["blocks", "random"])
def test_idrid_is_split_264_66_83(way: str) -> None:
    sides = split(shuffled_idrid(), np.arange(413), everything_train(413), DataSettings(split=way))
    assert Counter(sides.tolist()) == {"train": 264, "validation": 66, "test": 83}


def test_blocks_take_the_first_of_each_grade_for_testing_and_the_next_for_validation() -> None:
    grades = np.array(shuffled_idrid())
    sides = split(grades.tolist(), np.arange(413), everything_train(413), DataSettings())
    for grade, tested, validated in zip(range(5), (27, 4, 27, 15, 10), (22, 3, 21, 12, 8), strict=True):
        of_grade = sides[grades == grade].tolist()
        assert of_grade[:tested] == ["test"] * tested
        assert of_grade[tested : tested + validated] == ["validation"] * validated
        assert set(of_grade[tested + validated :]) == {"train"}


def test_a_random_split_repeats_with_its_seed_and_differs_with_another() -> None:
    grades, published = shuffled_idrid(), everything_train(413)
    first, again, other = (
        split(grades, np.arange(413), published, DataSettings(split="random", seed=seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_published_test_split_is_kept_and_its_pictures_leave_training() -> None:
    grades = [0, 2] * 20
    published = everything_train(30) + everything_test(10)
    groups = np.arange(40)
    groups[35] = groups[3]
    sides = split(grades, groups, published, DataSettings())
    assert sides[3] == LEFT_OUT
    assert sides[30:].tolist() == ["test"] * 10
    assert Counter(sides[:30].tolist()) == {"train": 23, "validation": 6, LEFT_OUT: 1}


def test_a_split_without_one_class_is_refused_with_the_counts() -> None:
    with pytest.raises(DataError) as refused:
        split([0] * 20 + [3], np.arange(21), everything_train(21), DataSettings())
    assert str(refused.value) == (
        "the validation split has no RDR photograph (train 13 NRDR and 1 RDR, validation 3 NRDR and 0 RDR,"
        " test 4 NRDR and 0 RDR): add photographs of the rarer class, or change data.test_fraction or"
        " data.validation_fraction."
    )


def test_a_set_without_one_class_is_refused_without_talk_of_fractions() -> None:
    with pytest.raises(DataError) as refused:
        split([0] * 20, np.arange(20), everything_train(20), DataSettings())
    assert str(refused.value) == (
        "none of the 20 photographs is RDR: add photographs of that class; to judge a model on these, run"
        " `drsearch evaluate --split all`."
    )
    assert Counter(split([0] * 20, np.arange(20), everything_train(20), DataSettings(), both_classes=False)) == {
        "train": 13, "validation": 3, "test": 4,
    }  # fmt: skip
    check_classes({"train": [1, 2], "test": [3, 4]})


def test_a_published_validation_split_is_kept_and_testing_is_carved_out_of_training() -> None:
    grades = [0, 2] * 20
    published = [*everything_train(30), *(["validation"] * 10)]
    groups = np.arange(40)
    groups[4] = groups[31]
    sides = split(grades, groups, published, DataSettings())  # type: ignore[arg-type]  # a list of literals
    assert sides[30:].tolist() == ["validation"] * 10
    assert sides[4] == LEFT_OUT
    assert Counter(sides[:30].tolist()) == {"train": 23, "test": 6, LEFT_OUT: 1}


def test_what_is_published_for_validation_and_testing_tests_only() -> None:
    published: list[PublishedSplit] = [*everything_train(20), *everything_test(10)]
    published += ["validation"] * 10
    groups = np.arange(40)
    groups[39] = groups[25]
    sides = split([0, 2] * 20, groups, published, DataSettings())
    assert sides[25] == "test" and sides[39] == LEFT_OUT
    assert Counter(sides.tolist()) == {"train": 20, "test": 10, "validation": 9, LEFT_OUT: 1}


def test_macular_edema_makes_a_stratum_of_its_own() -> None:
    labels = [0] * 60 + [1] * 40  # all of grade 0; forty have macular edema
    sides = splits.split([0] * 100, labels, np.arange(100), everything_train(100), DataSettings(split="random"))
    for side, n in (("test", 20), ("validation", 16), ("train", 64)):
        assert np.bincount(np.array(labels)[sides == side]).tolist() == pytest.approx([0.6 * n, 0.4 * n], abs=0.5)


@given(st.lists(st.integers(0, 60), min_size=5, max_size=5), st.floats(0.01, 0.5))
def test_quotas_add_up_and_stay_within_one_of_their_share_of_the_class(counts: list[int], fraction: float) -> None:
    found = quotas(np.array(counts), fraction)
    assert int(found.sum()) == int(sum(counts) * fraction + 0.5)
    assert (found >= 0).all() and (found <= np.array(counts)).all()
    for grades in (slice(0, 2), slice(2, 5)):
        assert abs(found[grades].sum() - sum(counts[grades]) * fraction) <= 1


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[list[int], NDArray[np.int64], list[PublishedSplit], DataSettings]:
    n = draw(st.integers(40, 120))
    grades = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    groups = np.array(draw(st.lists(st.integers(0, n), min_size=n, max_size=n)), dtype=np.int64)
    singles = draw(st.sampled_from([0.0, 0.5, 0.9]))  # most photographs are the only one of their picture
    groups[: int(n * singles)] = np.arange(n + 1, n + 1 + int(n * singles))
    sides: list[PublishedSplit] = ["train", "train", "train", "test"]
    if draw(st.booleans()):
        sides.append("validation")
    published = draw(st.lists(st.sampled_from(sides), min_size=n, max_size=n))
    if draw(st.booleans()):
        published = everything_train(n)
    way = DataSettings(split=draw(st.sampled_from(["blocks", "random"])), seed=draw(st.integers(0, 5)))
    return grades, groups, published, way


@st.composite
def few_patients(draw: st.DrawFn) -> tuple[list[int], NDArray[np.int64], DataSettings]:
    """Photographs of 2 to 9 patients, up to 12 of each, all of one class or of both."""
    of_patient = draw(
        st.lists(
            st.one_of(
                st.lists(st.integers(0, 1), min_size=1, max_size=12),
                st.lists(st.integers(2, 4), min_size=1, max_size=12),
                st.lists(st.integers(0, 4), min_size=1, max_size=12),
            ),
            min_size=2,
            max_size=9,
        )
    )
    grades = [grade for patient in of_patient for grade in patient]
    groups = np.repeat(np.arange(len(of_patient)), [len(patient) for patient in of_patient])
    way = DataSettings(split=draw(st.sampled_from(["blocks", "random"])), seed=draw(st.integers(0, 5)))
    return grades, groups, way


def can_be_divided(grades: list[int], groups: NDArray[np.int64], n: int) -> bool:
    """Whether n splits can have both classes each, without dividing a patient.

    A split needs a patient with both classes, or one of each class; a patient more takes no class away.
    """
    classes = [{grade >= 2 for grade in np.array(grades)[groups == group]} for group in np.unique(groups)]
    both = sum(len(of_patient) == 2 for of_patient in classes)
    return both + min(classes.count({True}), classes.count({False})) >= n


@given(few_patients())
@settings(max_examples=300)
def test_every_split_has_both_classes_wherever_patients_allow_it(
    case: tuple[list[int], NDArray[np.int64], DataSettings],
) -> None:
    grades, groups, way = case
    sides = split(grades, groups, everything_train(len(grades)), way, both_classes=False)
    both = [len({grade >= 2 for grade in np.array(grades)[sides == side]}) == 2 for side in SPLITS]
    assert all(both) == can_be_divided(grades, groups, 3)
    assert all(len(set(sides[groups == group])) == 1 for group in np.unique(groups))
    if all(both):
        assert split(grades, groups, everything_train(len(grades)), way).tolist() == sides.tolist()


@given(few_patients(), st.integers(2, 4))
@settings(max_examples=300)
def test_every_fold_has_both_classes_wherever_patients_allow_it(
    case: tuple[list[int], NDArray[np.int64], DataSettings], n: int
) -> None:
    grades, groups, way = case
    if not can_be_divided(grades, groups, n):
        with pytest.raises(DataError, match=f"^of {n} folds one has no "):
            folds(grades, groups, n, way)
        return
    fold_of = folds(grades, groups, n, way)
    for fold in range(n):
        assert {grade >= 2 for grade in np.array(grades)[fold_of == fold]} == {True, False}
    assert all(len(set(fold_of[groups == group])) == 1 for group in np.unique(groups))


@given(data_sets())
def test_no_picture_is_on_two_sides_and_every_eye_is_on_one(
    case: tuple[list[int], NDArray[np.int64], list[PublishedSplit], DataSettings],
) -> None:
    grades, groups, published, way = case
    try:
        sides = split(grades, groups, published, way)
    except DataError as refused:
        assert "split has no" in str(refused) or str(refused).startswith("none of the ")
        return
    for group in np.unique(groups):
        assert len(set(sides[groups == group]) - {LEFT_OUT}) == 1
    tests = np.array(published) == "test"
    claimed = np.isin(groups, groups[np.array(published) != "train"])
    assert set(sides[~claimed]) <= set(SPLITS)
    if tests.any():
        assert (sides[tests] == "test").all()
        assert (sides[~tests] != "test").all()
    validates = np.array(published) == "validation"
    if validates.any():
        assert set(sides[validates]) <= {"validation", LEFT_OUT}
        assert (sides[~validates] != "validation").all()
    if tests.any() or validates.any():
        return
    assert LEFT_OUT not in sides
    taken = np.bincount(np.array(grades)[sides == "test"], minlength=5)
    if len(np.unique(groups)) == len(groups):
        assert (taken == quotas(np.bincount(grades, minlength=5), way.test_fraction)).all()


@st.composite
def patients_with_several_eyes(draw: st.DrawFn) -> tuple[list[int], NDArray[np.int64], list[str], DataSettings]:
    """Photographs of 30 to 80 patients, up to 6 of each, from one to three sources; both classes are frequent."""
    n = draw(st.integers(30, 80))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    sizes = rng.integers(1, draw(st.integers(2, 7)), n)
    worst = rng.integers(0, 5, n)
    worst[:20] = np.tile([1, 3], 10)
    groups = np.repeat(np.arange(n), sizes)
    grades = np.maximum(0, worst[groups] - rng.integers(0, 5, len(groups)) * (rng.random(len(groups)) < 0.3))
    grades[np.cumsum(sizes) - 1] = worst  # an eye of each patient has the worst grade
    shuffled = rng.permutation(len(groups))
    sources = np.array(["a", "b", "c"])[rng.integers(0, draw(st.integers(1, 3)), n)][groups]
    way = DataSettings(split=draw(st.sampled_from(["blocks", "random"])), seed=draw(st.integers(0, 5)))
    return grades[shuffled].tolist(), groups[shuffled], sources[shuffled].tolist(), way


def patients_of(groups: NDArray[np.int64]) -> list[str]:
    return [f"P{group}" for group in groups]


def has_both_classes_to_give(grades: NDArray[np.int64], groups: NDArray[np.int64], n: int) -> bool:
    """Whether so many patients are of either class that each of n parts takes some by its quotas."""
    worst = np.array([grades[groups == group].max() for group in np.unique(groups)])
    return min((worst >= 2).sum(), (worst < 2).sum()) >= 6 * n


@given(patients_with_several_eyes())
@settings(max_examples=80)
def test_the_share_of_each_source_is_the_fraction_but_for_one_patient(
    case: tuple[list[int], NDArray[np.int64], list[str], DataSettings],
) -> None:
    grades, groups, sources, way = case
    labels = referable(grades)
    sides = splits.split(
        grades, labels, groups, everything_train(len(grades)), way, patients_of(groups), sources, both_classes=False
    )
    assert all(len(set(sides[groups == group])) == 1 for group in np.unique(groups))
    for source in set(sources):
        of_source = np.array(sources) == source
        if not has_both_classes_to_give(np.array(grades)[of_source], groups[of_source], 3):
            continue
        largest, n = int(np.bincount(groups[of_source]).max()), int(of_source.sum())
        tested = int((sides[of_source] == "test").sum())
        assert way.test_fraction * n - largest < tested <= way.test_fraction * n + 0.5
        rest, validated = n - tested, int((sides[of_source] == "validation").sum())
        assert way.validation_fraction * rest - largest < validated <= way.validation_fraction * rest + 0.5


@given(patients_with_several_eyes())
@settings(max_examples=50)
def test_a_patient_counts_with_the_worst_grade(
    case: tuple[list[int], NDArray[np.int64], list[str], DataSettings],
) -> None:
    grades, groups, _, way = case
    worst = np.array([max(np.array(grades)[groups == group]) for group in groups])
    results = []
    if not has_both_classes_to_give(np.array(grades), groups, 4):
        return
    for grade, patients in ((grades, patients_of(groups)), (worst.tolist(), [])):
        label, everything = referable(grade), everything_train(len(grade))
        divided = (
            splits.split(grade, label, groups, everything, way, patients),
            splits.folds(grade, label, groups, 4, way, patients),
        )
        results.append([each.tolist() for each in divided])
    assert results[0] == results[1]


@given(patients_with_several_eyes(), st.integers(2, 5))
@settings(max_examples=50)
def test_folds_hold_whole_patients_of_each_source_in_like_shares(
    case: tuple[list[int], NDArray[np.int64], list[str], DataSettings], n: int
) -> None:
    grades, groups, sources, way = case
    if not can_be_divided(grades, groups, n):
        return
    fold_of = splits.folds(grades, referable(grades), groups, n, way, patients_of(groups), sources)
    assert all(len(set(fold_of[groups == group])) == 1 for group in np.unique(groups))
    for fold in range(n):
        assert set(np.array(referable(grades))[fold_of == fold]) == {0, 1}
    for source in set(sources):
        of_source = np.array(sources) == source
        if has_both_classes_to_give(np.array(grades)[of_source], groups[of_source], n):
            shares = np.bincount(fold_of[of_source], minlength=n)
            assert np.abs(shares - of_source.sum() / n).max() <= 1 + np.bincount(groups[of_source]).max()


def test_a_source_with_a_published_test_split_keeps_it_and_another_is_divided() -> None:
    grades, sources = [0, 2] * 40, ["a"] * 40 + ["b"] * 40
    published = [*everything_train(30), *everything_test(10), *everything_train(40)]
    groups = np.arange(80)
    groups[45] = groups[3]  # a picture of both sources
    sides = splits.split(grades, referable(grades), groups, published, DataSettings(), sources=sources)
    assert Counter([*sides[:40].tolist(), sides[45]]) == {"train": 25, "validation": 6, "test": 10}
    assert (sides[30:40] == "test").all()
    assert Counter(sides[40:].tolist())["test"] == 8
    assert sides[45] == sides[3]


@st.composite
def alike_photographs(draw: st.DrawFn) -> tuple[list[int], NDArray[np.int64], list[int], DataSettings]:
    """Photographs of one or several per patient, in groups of alike ones."""
    n_patients = draw(st.integers(6, 40))
    per_patient = draw(st.lists(st.integers(1, 3), min_size=n_patients, max_size=n_patients))
    groups = np.repeat(np.arange(n_patients), per_patient)
    of_patient = draw(st.lists(st.integers(0, 5), min_size=n_patients, max_size=n_patients))
    grades = draw(st.lists(st.integers(0, 4), min_size=len(groups), max_size=len(groups)))
    way = DataSettings(split="likeness", seed=draw(st.integers(0, 5)))
    return grades, groups, [of_patient[group] for group in groups], way


@given(alike_photographs(), st.integers(2, 4))
@settings(max_examples=100)  # each division tries many orders
def test_alike_photographs_are_on_one_side_unless_a_side_would_lack_a_class(
    case: tuple[list[int], NDArray[np.int64], list[int], DataSettings], n: int
) -> None:
    grades, groups, alike, way = case
    labels, published = referable(grades), everything_train(len(grades))
    divided: list[NDArray[np.str_] | NDArray[np.int64]] = []
    if can_be_divided(grades, groups, 3):
        divided.append(splits.split(grades, labels, groups, published, way, alike=alike))
        assert np.array_equal(divided[0], splits.split(grades, labels, groups, published, way, alike=alike))
        assert set(divided[0]) == set(SPLITS)
    if can_be_divided(grades, groups, n):
        divided.append(splits.folds(grades, labels, groups, n, way, alike=alike))
        assert set(divided[-1]) == set(range(n))
    for sides in divided:
        for side in np.unique(sides):
            assert set(np.array(labels)[sides == side]) == {0, 1}
        for group in np.unique(groups):
            assert len(set(sides[groups == group])) == 1, "a patient is never divided"
        n_moved = sum(len(np.unique(sides[np.array(alike) == group])) - 1 for group in set(alike))
        assert n_moved <= 2 * len(np.unique(sides)), "at most a patient of either class per side was moved"


def test_alike_photographs_come_near_the_fractions_and_the_shares_of_the_grades() -> None:
    rng, grades = np.random.default_rng(0), shuffled_idrid()
    alike = rng.integers(0, 20, 413).tolist()
    seeds = [
        splits.split(
            grades, referable(grades), np.arange(413), everything_train(413), DataSettings(split="likeness", seed=seed),
            alike=alike,
        )
        for seed in range(3)
    ]  # fmt: skip
    for sides in seeds:
        counts = Counter(sides.tolist())
        assert abs(counts["test"] - 83) <= 15 and abs(counts["validation"] - 66) <= 15
        for side in SPLITS:
            assert np.mean(np.array(referable(grades))[sides == side]) == pytest.approx(259 / 413, abs=0.12)
        assert all(len(set(sides[np.array(alike) == group])) == 1 for group in range(20))
    assert len({tuple(sides) for sides in seeds}) == 3, "another seed, another split"


def test_alike_photographs_of_a_published_test_split_stay_where_they_are() -> None:
    grades, published = [0, 2] * 30, [*everything_train(40), *everything_test(20)]
    sides = splits.split(
        grades,
        referable(grades),
        np.arange(60),
        published,
        DataSettings(split="likeness"),
        alike=[i // 10 for i in range(60)],
    )
    assert sides[40:].tolist() == ["test"] * 20
    assert sorted(Counter(sides[:40].tolist()).items()) == [("train", 30), ("validation", 10)]
