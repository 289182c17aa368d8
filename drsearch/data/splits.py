"""Division of photographs into train, validation and test, and into folds."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from drsearch.data.tables import PublishedSplit
from drsearch.errors import DataError
from drsearch.grades import CLASS_NAMES, GRADES
from drsearch.settings import DataSettings

SPLITS: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")

LEFT_OUT = ""
"""The split of a photograph whose picture or patient was published for another split, and is used there."""


def split(
    grades: Sequence[int],
    labels: Sequence[int],
    groups: NDArray[np.int64],
    published: Sequence[PublishedSplit],
    settings: DataSettings,
    *,
    both_classes: bool = True,
) -> NDArray[np.str_]:
    """The split of every photograph: stratified by grade, the same picture and patient always in one split.

    The test split is the published one where there is one, else `data.test_fraction` of the photographs published for
    training; validation is the published one, else `data.validation_fraction` of the rest. Of each grade a split takes
    the first photographs (`blocks`, as the first fold of scikit-learn's `StratifiedKFold(shuffle=False)`) or seeded
    ones (`random`). A split that lacks a class, as in small sets with many photographs per patient, then takes a
    patient of another split that has more of that class.

    Args:
        grades: Grade of every photograph, n of them, in the order of their names.
        labels: Label of each, 1 for referable.
        groups: A number that is equal for photographs which belong in one split, shape (n,), see `kept_together`.
        published: Split for which each was published.
        settings: Fractions, way and seed.
        both_classes: Refuse a set of which a split lacks a class.

    Returns:
        `train`, `validation`, `test` or `LEFT_OUT`, shape (n,).

    Raises:
        DataError: If a split lacks one of the two classes, and no other division gives it to all.
    """
    label_of, strata = np.asarray(labels, np.int64), _strata(grades, labels)
    sides = np.full(len(strata), "train", dtype="<U10")
    published_for = np.asarray(published, dtype="<U10")
    carved: dict[str, float] = {}
    for side, fraction in (("test", settings.test_fraction), ("validation", settings.validation_fraction)):
        members = (published_for == side) & (sides == "train")
        if (published_for == side).any():
            sides[np.isin(groups, groups[members]) & (sides == "train")] = LEFT_OUT
            sides[members] = side
        else:
            carved[side] = fraction
    for side, fraction in carved.items():
        _carve(sides, side, fraction, strata, groups, settings)
    _give_each_both_classes(sides, ("train", *carved), label_of, groups)
    if both_classes:
        check_classes({side: np.bincount(label_of[sides == side], minlength=2).tolist() for side in SPLITS})
    return sides


def _strata(grades: Sequence[int], labels: Sequence[int]) -> NDArray[np.int64]:
    """A number from 0 to 9 for each grade of each class: with macular edema, a label does not follow from the grade."""
    return np.asarray(labels, np.int64) * len(GRADES) + np.asarray(grades, np.int64)


def folds(
    grades: Sequence[int], labels: Sequence[int], groups: NDArray[np.int64], n: int, settings: DataSettings
) -> NDArray[np.int64]:
    """The fold of every photograph: stratified by grade, the same picture and patient always in one.

    Args:
        grades: Grade of every photograph, in the order of their names.
        labels: Label of each, 1 for referable.
        groups: A number that is equal for photographs which belong in one fold, see `kept_together`.
        n: Number of folds, at least 2.
        settings: Way (`blocks` or `random`) and seed.

    Returns:
        0 to n - 1 for each photograph, int64.

    Raises:
        DataError: If a fold lacks one of the two classes, and no other division gives it to all.
    """
    label_of, strata = np.asarray(labels, np.int64), _strata(grades, labels)
    sides = np.full(len(strata), "train", dtype="<U10")
    for fold in range(n - 1):
        _carve(sides, str(fold), 1 / (n - fold), strata, groups, settings)
    sides[sides == "train"] = str(n - 1)
    _give_each_both_classes(sides, [str(fold) for fold in range(n)], label_of, groups)
    fold_of = sides.astype(np.int64)
    for fold in range(n):
        for label, name in enumerate(CLASS_NAMES):
            if not (label_of[fold_of == fold] == label).any():
                share = f"{int((label_of == label).sum())} of {len(labels)} are"
                raise DataError(
                    f"of {n} folds one has no {name} photograph ({share}): add photographs of the rarer class, or ask"
                    " for fewer with search.folds."
                )
    return fold_of


def _give_each_both_classes(
    sides: NDArray[np.str_], names: Sequence[str], labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> None:
    """Move the smallest group that another split can do without to a split that lacks its class.

    This gives each of n splits both classes wherever that is possible, that is, where n groups have a photograph of
    either class: if one split has none of a class, another has two groups with it, and can do without one of them.
    """
    numbers, first, sizes = np.unique(groups, return_index=True, return_counts=True)
    for name in names:
        for label in np.unique(labels):
            if (labels[sides == name] == label).any():
                continue
            candidates = np.isin(numbers, groups[np.isin(sides, names) & (labels == label)])
            for i in np.lexsort((sides[first] != "train", sizes)):  # of equal ones first those that train
                members, donor = groups == numbers[i], sides == sides[first[i]]
                if candidates[i] and np.unique(labels[donor & ~members]).size == np.unique(labels[donor]).size:
                    sides[members] = name
                    break


def _carve(
    sides: NDArray[np.str_],
    side: str,
    fraction: float,
    strata: NDArray[np.int64],
    groups: NDArray[np.int64],
    settings: DataSettings,
) -> None:
    """Move a share of the training photographs to another side, group by group while the quotas last."""
    pool = np.flatnonzero(sides == "train")
    n_strata = len(CLASS_NAMES) * len(GRADES)
    left = quotas(np.bincount(strata[pool], minlength=n_strata).reshape(len(CLASS_NAMES), -1), fraction).ravel()
    for group in _groups(pool, groups, settings):
        wanted = np.bincount(strata[group], minlength=n_strata)
        if (wanted <= left).all():
            sides[group] = side
            left = left - wanted


def _groups(pool: NDArray[np.intp], groups: NDArray[np.int64], settings: DataSettings) -> list[NDArray[np.intp]]:
    """The photographs of each group, in the order in which groups are taken."""
    members: dict[int, list[int]] = {}
    for index in pool:
        members.setdefault(int(groups[index]), []).append(int(index))
    together = [np.asarray(same, dtype=np.intp) for same in members.values()]
    if settings.split == "random":
        order = np.random.default_rng(settings.seed).permutation(len(together))
        return [together[i] for i in order]
    return together


def quotas(counts: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """The number of photographs of each class and grade that a split takes, by largest remainder per class, then grade.

    Args:
        counts: Photographs of each class (rows) and grade (columns), shape (2, 5).
        fraction: Share of all that the split takes.

    Returns:
        int64, shape (2, 5), in total the fraction of the total, rounded.

    Example:
        >>> quotas(np.array([[134, 20, 0, 0, 0], [0, 0, 136, 74, 49]]), 0.2).tolist()
        [[27, 4, 0, 0, 0], [0, 0, 27, 15, 10]]
    """
    total = math.floor(counts.sum() * fraction + 0.5)
    of_class = _largest_remainder(counts.sum(axis=1), total)
    shares = zip(counts, of_class.tolist(), strict=True)
    return np.stack([_largest_remainder(of_grade, share) for of_grade, share in shares])


def _largest_remainder(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """`total` shared out in proportion to `counts`; the first of equals gets the odd one."""
    exact = counts * (total / max(int(counts.sum()), 1))
    shares: NDArray[np.int64] = np.floor(exact + 1e-9).astype(np.int64)
    odd = np.argsort(-(exact - shares).round(9), kind="stable")[: total - int(shares.sum())]
    shares[odd] += 1
    return shares


def check_classes(counts: Mapping[str, Sequence[int]]) -> None:
    """Refuse a set on which no model can be trained.

    Args:
        counts: Photographs of each split, NRDR and RDR.

    Raises:
        DataError: If the set, or one of its splits, lacks one of the two classes.
    """
    for label, name in enumerate(CLASS_NAMES):
        if not any(of_side[label] for of_side in counts.values()):
            n = sum(map(sum, counts.values()))
            raise DataError(
                f"none of the {n} photographs is {name}: add photographs of that class; to judge a model on these,"
                " run `drsearch evaluate --split all`."
            )
    for side, of_side in counts.items():
        for name, n in zip(CLASS_NAMES, of_side, strict=True):
            if n == 0:
                table = ", ".join(f"{side} {n[0]} NRDR and {n[1]} RDR" for side, n in counts.items())
                raise DataError(
                    f"the {side} split has no {name} photograph ({table}): add photographs of the rarer class,"
                    " or change data.test_fraction or data.validation_fraction."
                )
