"""Who judges in which fold? Every eye once a repeat, the same picture in one fold, the same for all settings."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from drsearch.data.quality import Quality
from drsearch.data.records import EyeEntry, Eyes
from drsearch.errors import DataError
from drsearch.model.fit import EpochResult, Measures
from drsearch.settings import DataSettings, SearchSettings
from drsearch.training.cross_validation import (
    TrialFolds,
    assign_folds,
    mean_history,
    n_trainings,
    repeat_seed,
    split_folds,
    spread,
)

N_TRAIN, N = 24, 30


def entries() -> list[EyeEntry]:
    """30 different pictures of grades 0 to 4, the last two of which show what the first two show."""
    rng = np.random.default_rng(0)
    thumbnails = rng.integers(0, 256, (N, 64, 64), dtype=np.uint8)
    thumbnails[-2:] = thumbnails[:2]
    hashes = [f"{i:064d}" for i in range(N)]
    hashes[-2:] = hashes[:2]
    sides = ["train"] * N_TRAIN + ["validation"] * (N - N_TRAIN)
    quality = Quality(1, 1, 1, 1, "")
    return [
        EyeEntry(f"eye{i:02d}", sides[i], i % 5, int(i % 5 >= 2), hashes[i], thumbnails[i], quality)  # type: ignore[arg-type]
        for i in range(N)
    ]


def eyes_of(some: list[EyeEntry]) -> Eyes:
    grades = np.array([eye.grade for eye in some])
    images = np.zeros((len(some), 4, 4, 3), np.uint8)
    return Eyes(
        tuple(eye.name for eye in some), images, grades, (grades >= 2).astype(np.int64), *2 * [("",) * len(some)]
    )


def trial_folds(search: SearchSettings, **data: Any) -> TrialFolds:
    all_ = entries()
    return split_folds(eyes_of(all_[:N_TRAIN]), eyes_of(all_[N_TRAIN:]), all_, DataSettings(**data), search)


def test_the_eyes_of_a_patient_are_in_one_fold_of_every_repeat() -> None:
    patients = [str(1 + i // 4) if i < 20 else "" for i in range(N)]
    eyes = [dataclasses.replace(eye, patient=patient) for eye, patient in zip(entries(), patients, strict=True)]
    repeats = assign_folds(eyes, DataSettings(), SearchSettings(folds=3, repeats=4))
    assert len({tuple(fold_of.tolist()) for fold_of in repeats}) > 1
    for fold_of in repeats:
        for patient in set(patients) - {""}:
            assert len({fold for fold, of in zip(fold_of.tolist(), patients, strict=True) if of == patient}) == 1


@pytest.mark.parametrize("way", ["blocks", "random"])
def test_every_eye_judges_once_and_trains_in_all_other_folds(way: str) -> None:
    trainings = [trial_folds(SearchSettings(folds=3), split=way).fold(number) for number in range(3)]
    assert [fold.name for fold in trainings] == ["fold1", "fold2", "fold3"]
    judges = [name for fold in trainings for name in fold.validation.names]
    assert sorted(judges) == [f"eye{i:02d}" for i in range(N)]
    for fold in trainings:
        assert not set(fold.train.names) & set(fold.validation.names)
        assert len(fold.train.names) + len(fold.validation.names) == N
        assert np.bincount(fold.validation.grades, minlength=5).tolist() == pytest.approx([2] * 5, abs=1)


def test_the_same_picture_is_in_one_fold() -> None:
    for repeats in assign_folds(entries(), DataSettings(), SearchSettings(folds=5, repeats=3)):
        assert repeats[0] == repeats[N - 2] and repeats[1] == repeats[N - 1]


def test_each_repeat_deals_anew_and_has_another_seed() -> None:
    search = SearchSettings(folds=2, repeats=2)
    trainings = [trial_folds(search).fold(number) for number in range(n_trainings(search))]
    assert [fold.name for fold in trainings] == ["repeat1/fold1", "repeat1/fold2", "repeat2/fold1", "repeat2/fold2"]
    assert [fold.repeat for fold in trainings] == [0, 0, 1, 1]
    assert set(trainings[0].validation.names) != set(trainings[2].validation.names)
    assert repeat_seed(7, 0) == 7 and len({repeat_seed(7, repeat) for repeat in range(20)}) == 20


def test_repeats_alone_keep_the_splits() -> None:
    folds = trial_folds(SearchSettings(repeats=3))
    for number in range(3):
        fold = folds.fold(number)
        assert fold.name == f"repeat{number + 1}"
        assert len(fold.train.names) == N_TRAIN and len(fold.validation.names) == N - N_TRAIN


def test_folds_do_not_depend_on_the_order_in_which_the_eyes_come() -> None:
    shuffled = np.random.default_rng(1).permutation(N)
    (first,) = assign_folds(entries(), DataSettings(), SearchSettings(folds=4))
    (again,) = assign_folds([entries()[i] for i in shuffled], DataSettings(), SearchSettings(folds=4))
    assert np.array_equal(first[shuffled], again)


def test_more_folds_than_eyes_of_a_class_are_refused() -> None:
    few = [eye for eye in entries() if eye.grade >= 2] + [eye for eye in entries() if eye.grade == 0][:2]
    with pytest.raises(DataError) as refused:
        assign_folds(few, DataSettings(), SearchSettings(folds=5))
    assert str(refused.value) == (
        "of 5 folds one has no NRDR photograph (2 of 20 are): "
        "add photographs of the rarer class, or ask for fewer with search.folds."
    )


def test_the_curve_of_a_trial_is_the_mean_of_its_parts() -> None:
    def curve(*aucs: float) -> list[EpochResult]:
        return [
            EpochResult(i + 1, 0.1, 2.0, Measures(1.0, 0.5, auc), Measures(1.0, 0.5, auc, {"brier": auc / 2}))
            for i, auc in enumerate(aucs)
        ]

    mean = mean_history([curve(0.5, 0.7), curve(0.7, 0.8)])
    assert [result.validation.auc for result in mean] == pytest.approx([0.6, 0.75])
    assert [result.validation.by_name()["brier"] for result in mean] == pytest.approx([0.3, 0.375])
    assert [(result.epoch, result.seconds) for result in mean] == [(1, 4.0), (2, 4.0)]
    assert spread([0.5, 0.7]) == pytest.approx(0.1414, abs=1e-4)
    assert spread([0.5]) == 0.0
