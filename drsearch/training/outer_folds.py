"""The outer folds of a cross-validation: eyes that judge a setting, and choose nothing of it."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drsearch.data.duplicates import picture_groups
from drsearch.data.patients import kept_together
from drsearch.data.records import EyeEntry, Eyes, RecordSet, map_eyes, map_outer_eyes
from drsearch.data.splits import folds, inner_validation
from drsearch.home import Home
from drsearch.settings import DataSettings, SearchSettings
from drsearch.training.cross_validation import assign_folds


@dataclass(frozen=True)
class OuterFold:
    """What one outer fold keeps away, and how the other eyes are divided; masks of shape `(n,)`, disjoint.

    Attributes:
        repeat: From 0.
        fold: From 0.
        judged: The eyes that judge the network.
        train: The eyes that it trains on.
        validation: The eyes that choose its epoch, threshold and temperature, and in a search the setting.
    """

    repeat: int
    fold: int
    judged: NDArray[np.bool_]
    train: NDArray[np.bool_]
    validation: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """What people call it, counted from 1: `repeat 2, fold 3`."""
        return f"repeat {self.repeat + 1}, fold {self.fold + 1}"


def outer_fold(entries: Sequence[EyeEntry], data: DataSettings, search: SearchSettings) -> OuterFold:
    """The outer fold of number `search.outer_fold`: of n folds, number n + 1 is the first of the second repeat.

    Folds are stratified, duplicates and the eyes of a patient are in one fold. With `data.split = "blocks"` the folds
    of every repeat are contiguous by file name within a grade, and each repeat begins at another place: half a fold
    further on, a quarter, three quarters, ... (the sequence of van der Corput), so that the number of repeats changes
    no repeat. With `random` and `likeness`
    each repeat has a seed of its own.

    Args:
        entries: The manifest's entries of all eyes that are dealt.
        data: How eyes are split, and the seed.
        search: `search.outer_folds`, and the number of the fold from 1.

    Raises:
        DataError: If a fold would lack one of the two classes.
    """
    n, (repeat, fold) = search.outer_folds, divmod(search.outer_fold - 1, search.outer_folds)
    by_name = sorted(range(len(entries)), key=lambda i: entries[i].name)
    start = math.floor(_van_der_corput(repeat) * len(entries) / n)
    order = np.array([*by_name[start:], *by_name[:start]], np.int64)
    eyes = [entries[i] for i in order]
    pictures = picture_groups([eye.sha256 for eye in eyes], np.array([eye.thumbnail for eye in eyes], dtype=np.uint8))
    patients, sources = [eye.patient for eye in eyes], [eye.source for eye in eyes]
    grades, labels, groups = [eye.grade for eye in eyes], [eye.label for eye in eyes], kept_together(pictures, patients)
    way = data if data.split == "blocks" else dataclasses.replace(data, seed=data.seed + repeat)
    alike = [eye.alike for eye in eyes]
    fold_of = folds(grades, labels, groups, n, way, patients, sources, "--folds", alike)
    rest = np.flatnonzero(fold_of != fold)
    validates = inner_validation(
        [grades[i] for i in rest],
        [labels[i] for i in rest],
        groups[rest],
        way,
        [patients[i] for i in rest],
        [sources[i] for i in rest],
        [alike[i] for i in rest],
    )
    masks = np.zeros((3, len(entries)), np.bool_)
    for mask, places in zip(masks, (np.flatnonzero(fold_of == fold), rest[~validates], rest[validates]), strict=True):
        mask[order[places]] = True
    return OuterFold(repeat, fold, *masks)


def training_eyes(records: RecordSet, home: Home, search: SearchSettings) -> tuple[Eyes, Eyes, Eyes | None]:
    """The eyes of one training: train, validation, and those that an outer fold keeps away; None without one.

    Args:
        records: The record set.
        home: Keeps their decoded images, which all workers of this machine share.
        search: Whether there is an outer fold, and which.

    Raises:
        RecordsError: If a shard is missing, torn or altered.
        DataError: If an outer fold would lack one of the two classes.
    """
    if not search.outer_fold:
        return map_eyes(records, home, "train"), map_eyes(records, home, "validation"), None
    eyes, fold = map_outer_eyes(records, home), outer_fold(records.eyes(*records.outer_splits), records.data, search)
    return eyes.some(fold.train), eyes.some(fold.validation), eyes.some(fold.judged)


def training_entries(records: RecordSet, search: SearchSettings) -> tuple[EyeEntry, ...]:
    """The manifest's entries of the train and validation eyes of `training_eyes`, in this order.

    Raises:
        DataError: If an outer fold would lack one of the two classes.
    """
    if not search.outer_fold:
        return *records.eyes("train"), *records.eyes("validation")
    entries = records.eyes(*records.outer_splits)
    return _left(entries, outer_fold(entries, records.data, search))


def _left(entries: Sequence[EyeEntry], fold: OuterFold) -> tuple[EyeEntry, ...]:
    return tuple(entries[i] for side in (fold.train, fold.validation) for i in np.flatnonzero(side).tolist())


def deal_outer_folds(records: RecordSet, search: SearchSettings, repeats: int) -> list[NDArray[np.int64]]:
    """The outer fold of every eye, from 0, in each repeat.

    Folds on which no network could be trained or judged are refused.

    Args:
        records: The record set.
        search: `search.outer_folds`, and the inner folds and repeats.
        repeats: How often all eyes are dealt.

    Raises:
        DataError: If an outer fold, a side of its inner split or an inner fold would lack one of the two classes.
    """
    entries = records.eyes(*records.outer_splits)
    dealt = [np.zeros(len(entries), np.int64) for _ in range(repeats)]
    for number in range(1, search.outer_folds * repeats + 1):
        fold = outer_fold(entries, records.data, dataclasses.replace(search, outer_fold=number))
        assign_folds(_left(entries, fold), records.data, search)
        dealt[fold.repeat][fold.judged] = fold.fold
    return dealt


def _van_der_corput(number: int) -> float:
    """The sequence 0, 1/2, 1/4, 3/4, 1/8, ...: each value lies in the widest gap that those before it leave.

    Example:
        >>> [_van_der_corput(number) for number in range(5)]
        [0.0, 0.5, 0.25, 0.75, 0.125]
    """
    value, step = 0.0, 0.5
    while number:
        number, bit = divmod(number, 2)
        value, step = value + bit * step, step / 2
    return value
