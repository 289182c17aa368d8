"""Does nothing of an outer fold choose anything? Who judges, who trains, who validates, in every repeat."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsearch.data.quality import Quality
from drsearch.data.records import EyeEntry, RecordSet
from drsearch.errors import DataError
from drsearch.home import Home
from drsearch.settings import DataSettings, SearchSettings
from drsearch.training.outer_folds import OuterFold, deal_outer_folds, outer_fold, training_entries, training_eyes

QUALITY = Quality(1, 1, 1, 1, "")


def entries(
    grades: list[int], patients: list[str] | None = None, same: tuple[int, int] | None = None
) -> list[EyeEntry]:
    """Eyes of different pictures; two of them may show the same one."""
    thumbnails = np.random.default_rng(0).integers(0, 256, (len(grades), 64, 64), dtype=np.uint8)
    picture = list(range(len(grades)))
    if same is not None:
        picture[same[1]] = picture[same[0]]
    return [
        EyeEntry(f"eye{i:03d}", "train", grade, int(grade >= 2), f"{picture[i]:064d}", thumbnails[picture[i]], QUALITY,
                 patient=patients[i] if patients else "")
        for i, grade in enumerate(grades)
    ]  # fmt: skip


def folds_of(eyes: list[EyeEntry], n: int, repeats: int, **data: object) -> list[OuterFold]:
    return [
        outer_fold(eyes, DataSettings(**data), SearchSettings(outer_folds=n, outer_fold=number))  # type: ignore[arg-type]
        for number in range(1, n * repeats + 1)
    ]


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 4), min_size=10, max_size=30),
    st.lists(st.sampled_from(["", "A", "B", "C"]), min_size=50, max_size=50),
    st.tuples(st.integers(0, 9), st.integers(10, 19)),
    st.sampled_from(["blocks", "random"]),
    st.integers(2, 4),
)
def test_an_eye_its_patient_and_its_picture_judge_once_a_repeat_and_are_on_one_side(
    more: list[int], patients: list[str], same: tuple[int, int], way: str, n: int
) -> None:
    grades = [0, 2, 1, 3] * 10 + more
    of = [*patients[: len(grades)], *[""] * (len(grades) - 50)]
    of[same[0]] = of[same[1]]
    eyes = entries(grades, of, same)
    dealt = folds_of(eyes, n, 2, split=way)
    for repeat in (dealt[:n], dealt[n:]):
        assert np.array_equal(sum(fold.judged.astype(int) for fold in repeat), np.ones(len(eyes)))
    for fold in dealt:
        sides = np.stack([fold.judged, fold.train, fold.validation])
        assert np.array_equal(sides.sum(axis=0), np.ones(len(eyes)))
        side_of = sides.argmax(axis=0)
        assert side_of[same[0]] == side_of[same[1]]
        for patient in set(of) - {""}:
            assert len({side for side, whose in zip(side_of.tolist(), of, strict=True) if whose == patient}) == 1
        for side in sides:
            assert {eyes[i].label for i in np.flatnonzero(side)} == {0, 1}


def test_blocks_are_runs_of_names_and_each_repeat_begins_elsewhere() -> None:
    eyes = entries([0, 2] * 60)
    dealt = folds_of(eyes, 5, 4)
    starts = set()
    for number, fold in enumerate(dealt):
        places = np.flatnonzero(fold.judged)
        assert len(places) == 24
        if number < 5:
            assert places.tolist() == list(range(24 * number, 24 * number + 24))
        gaps = np.diff(np.append(places, places[0] + 120))
        assert sorted(gaps.tolist())[:-1] == [1] * 23, "one run, counted around the end"
        starts.add(int(places[(gaps.argmax() + 1) % 24]))
    assert len(starts) == 20, "no block of a repeat is one of another"


def test_a_fold_does_not_depend_on_the_order_of_the_eyes_or_on_how_many_repeats_there_are() -> None:
    eyes = entries([0, 2, 1, 4] * 12)
    shuffled = np.random.default_rng(1).permutation(len(eyes))
    for way in ("blocks", "random"):
        for one, other in zip(
            folds_of(eyes, 3, 2, split=way), folds_of([eyes[i] for i in shuffled], 3, 3, split=way), strict=False
        ):
            assert np.array_equal(one.judged[shuffled], other.judged)
            assert np.array_equal(one.validation[shuffled], other.validation)


def test_repeats_differ_and_inner_eyes_are_divided_by_the_settings() -> None:
    eyes = entries([0, 2, 1, 4] * 25)
    for way in ("blocks", "random"):
        dealt = folds_of(eyes, 5, 3, split=way, validation_fraction=0.25)
        assert len({fold.judged.tobytes() for fold in dealt}) == 15
        assert {int(fold.validation.sum()) for fold in dealt} == {20}
    assert dealt[7].name == "repeat 2, fold 3"


def test_more_folds_than_eyes_of_a_class_are_refused() -> None:
    eyes = entries([2] * 20 + [0] * 3)
    with pytest.raises(DataError) as refused:
        folds_of(eyes, 5, 1)
    assert str(refused.value) == (
        "of 5 folds one has no NRDR photograph (3 of 23 are): add photographs of the rarer class, or ask for fewer "
        "with --folds."
    )


def test_inner_eyes_of_one_class_on_a_side_are_refused() -> None:
    with pytest.raises(DataError, match="the validation split has no NRDR photograph"):
        folds_of(entries([0, 0, *[2] * 14]), 2, 1)


@pytest.mark.parametrize("outer_fold", [0, 2])
def test_inner_folds_are_of_the_eyes_that_an_outer_fold_leaves(records: RecordSet, home: Home, outer_fold: int) -> None:
    search = SearchSettings(folds=2, outer_folds=3, outer_fold=outer_fold)
    train, validation, judged = training_eyes(records, home, search)
    left = [entry.name for entry in training_entries(records, search)]
    assert left == [*train.names, *validation.names]
    assert (judged is not None) == bool(outer_fold) and not set(left) & set(judged.names if judged else ())


def test_more_inner_folds_than_eyes_of_a_class_are_refused_before_any_training(records: RecordSet) -> None:
    deal_outer_folds(records, SearchSettings(folds=2, outer_folds=2), 1)
    with pytest.raises(DataError, match="ask for fewer with search.folds"):
        deal_outer_folds(records, SearchSettings(folds=12, outer_folds=2), 1)
