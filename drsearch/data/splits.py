"""Division of photographs into train, validation and test, and into folds."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from drsearch.datasets.description import PublishedSplit
from drsearch.errors import DataError
from drsearch.grades import CLASS_NAMES, GRADES
from drsearch.settings import DataSettings

SPLITS: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")

LEFT_OUT = ""
"""The split of a photograph whose picture or patient was published for another split, and is used there."""

_ORDERS = 32  # in which groups of photographs that are alike are tried


def split(
    grades: Sequence[int],
    labels: Sequence[int],
    groups: NDArray[np.int64],
    published: Sequence[PublishedSplit],
    settings: DataSettings,
    patients: Sequence[str] = (),
    sources: Sequence[str] = (),
    alike: Sequence[int] = (),
    *,
    both_classes: bool = True,
) -> NDArray[np.str_]:
    """The split of every photograph: stratified by the worst grade of each patient, who is always in one split.

    The test split is the published one where there is one, else `data.test_fraction` of the photographs published for
    training; validation is the published one, else `data.validation_fraction` of the rest. Of each grade a split takes
    the first patients (`blocks`, as the first fold of scikit-learn's `StratifiedKFold(shuffle=False)`) or seeded
    ones (`random`), as many as have that share of the photographs. What is too little for a patient is added to the
    next lower grade. A split that lacks a class, as in small sets with many photographs per patient, then takes a
    patient of another split that has more of that class. Several sources are divided one by one. With `likeness` whole
    groups of photographs that are alike are taken, so that the shares are near these and not the same; they are divided
    only where a split would lack a class.

    Args:
        grades: Grade of every photograph, n of them, in the order of their names.
        labels: Label of each, 1 for referable.
        groups: A number that is equal for photographs which belong in one split, shape (n,), see `kept_together`.
        published: Split for which each was published.
        settings: Fractions, way and seed.
        patients: The patient of each, empty where unknown, whose photographs count with the worst grade.
        sources: The data set of each photograph in a pooled set; none where there is one.
        alike: With `likeness`, the group of photographs that are alike of each, see `likeness_groups`.
        both_classes: Refuse a set of which a split lacks a class.

    Returns:
        `train`, `validation`, `test` or `LEFT_OUT`, shape (n,).

    Raises:
        DataError: If a split lacks one of the two classes, and no other division gives it to all.
    """
    label_of, strata = np.asarray(labels, np.int64), _strata(grades, labels, patients)
    whole = _whole(groups, alike, settings)
    sides = np.full(len(strata), "train", dtype="<U10")
    published_for = np.asarray(published, dtype="<U10")
    fractions = {"test": settings.test_fraction, "validation": settings.validation_fraction}
    for side in fractions:
        members = (published_for == side) & (sides == "train")
        if members.any():
            sides[np.isin(groups, groups[members]) & (sides == "train")] = LEFT_OUT
            sides[members] = side
    divided: list[set[str]] = []
    for source in each_source(sources, groups):
        carved = {side: part for side, part in fractions.items() if not (published_for[source] == side).any()}
        for side, fraction in carved.items():
            _carve(sides, side, fraction, strata, whole, settings, source)
        divided.append(set(carved))
        _give_each_both_classes(sides, ("train", *carved), label_of, groups, source)
    everywhere = [side for side in fractions if all(side in carved for carved in divided)]
    _give_each_both_classes(sides, ("train", *everywhere), label_of, groups, np.arange(len(sides)))
    if both_classes:
        check_classes({side: np.bincount(label_of[sides == side], minlength=2).tolist() for side in SPLITS})
    return sides


def _strata(grades: Sequence[int], labels: Sequence[int], patients: Sequence[str]) -> NDArray[np.int64]:
    """A number from 0 to 9 for each grade of each class, shape (n,): the patient's worst where the patient is known.

    With macular edema, a label does not follow from the grade.
    """
    strata = np.asarray(labels, np.int64) * len(GRADES) + np.asarray(grades, np.int64)
    worst: dict[str, int] = {}
    for patient, stratum in zip(patients, strata.tolist(), strict=False):  # no patients: none to go through
        worst[patient] = max(stratum, worst.get(patient, 0))
    for i, patient in enumerate(patients):
        if patient:
            strata[i] = worst[patient]
    return strata


def each_source(sources: Sequence[str], groups: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """The photographs of each source; a group that is in several counts with the source of its first photograph."""
    if not len(set(sources)) > 1:
        return [np.arange(len(groups))]
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    source_of = np.asarray(sources, dtype=object)[first][group]
    return [np.flatnonzero(source_of == source) for source in sorted(set(source_of))]


def folds(
    grades: Sequence[int],
    labels: Sequence[int],
    groups: NDArray[np.int64],
    n: int,
    settings: DataSettings,
    patients: Sequence[str] = (),
    sources: Sequence[str] = (),
    option: str = "search.folds",
    alike: Sequence[int] = (),
) -> NDArray[np.int64]:
    """The fold of every photograph: stratified by the worst grade of each patient, who is always in one fold.

    Args:
        grades: Grade of every photograph, in the order of their names.
        labels: Label of each, 1 for referable.
        groups: A number that is equal for photographs which belong in one fold, see `kept_together`.
        n: Number of folds, at least 2.
        settings: Way (`blocks`, `random` or `likeness`) and seed.
        patients: The patient of each, empty where unknown, whose photographs count with the worst grade.
        sources: The data set of each photograph in a pooled set, which are divided one by one; none where there is one.
        option: What asked for n folds.
        alike: With `likeness`, the group of photographs that are alike of each, see `likeness_groups`.

    Returns:
        0 to n - 1 for each photograph, int64.

    Raises:
        DataError: If a fold lacks one of the two classes, and no other division gives it to all.
    """
    label_of, strata = np.asarray(labels, np.int64), _strata(grades, labels, patients)
    whole = _whole(groups, alike, settings)
    names = [str(fold) for fold in range(n)]
    sides = np.full(len(strata), "train", dtype="<U10")
    for source in each_source(sources, groups):
        for fold in range(n - 1):
            _carve(sides, names[fold], 1 / (n - fold), strata, whole, settings, source)
        sides[source] = np.where(sides[source] == "train", names[-1], sides[source])
        _give_each_both_classes(sides, names, label_of, groups, source)
    _give_each_both_classes(sides, names, label_of, groups, np.arange(len(sides)))
    fold_of = sides.astype(np.int64)
    for fold in range(n):
        for label, name in enumerate(CLASS_NAMES):
            if not (label_of[fold_of == fold] == label).any():
                share = f"{int((label_of == label).sum())} of {len(labels)} are"
                raise DataError(
                    f"of {n} folds one has no {name} photograph ({share}): add photographs of the rarer class, or ask"
                    f" for fewer with {option}."
                )
    return fold_of


def inner_validation(
    grades: Sequence[int],
    labels: Sequence[int],
    groups: NDArray[np.int64],
    settings: DataSettings,
    patients: Sequence[str] = (),
    sources: Sequence[str] = (),
    alike: Sequence[int] = (),
) -> NDArray[np.bool_]:
    """Which photographs validate, of those that are left when an outer fold is kept away: divided as by `split`.

    Args:
        grades: Grade of every photograph, in the order in which `blocks` takes them.
        labels: Label of each, 1 for referable.
        groups: A number that is equal for photographs which belong together, see `kept_together`.
        settings: `data.validation_fraction`, way and seed.
        patients: The patient of each, empty where unknown, whose photographs count with the worst grade.
        sources: The data set of each photograph in a pooled set; none where there is one.
        alike: With `likeness`, the group of photographs that are alike of each, see `likeness_groups`.

    Returns:
        Shape `(n,)`; the others train.

    Raises:
        DataError: If either side lacks one of the two classes, and no other division gives it to both.
    """
    label_of, strata = np.asarray(labels, np.int64), _strata(grades, labels, patients)
    whole = _whole(groups, alike, settings)
    names = ("train", "validation")
    sides = np.full(len(strata), "train", dtype="<U10")
    for source in each_source(sources, groups):
        _carve(sides, "validation", settings.validation_fraction, strata, whole, settings, source)
        _give_each_both_classes(sides, names, label_of, groups, source)
    _give_each_both_classes(sides, names, label_of, groups, np.arange(len(sides)))
    check_classes({side: np.bincount(label_of[sides == side], minlength=2).tolist() for side in names})
    return np.asarray(sides == "validation")


def _whole(groups: NDArray[np.int64], alike: Sequence[int], settings: DataSettings) -> NDArray[np.int64]:
    """What is moved as a whole: groups of photographs that belong together, or with `likeness` those that are alike."""
    if settings.split != "likeness":
        return groups
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(alike, np.int64)[first][group]


def _give_each_both_classes(
    sides: NDArray[np.str_],
    names: Sequence[str],
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    source: NDArray[np.intp],
) -> None:
    """Move the smallest group that another split can do without to a split that lacks its class.

    This gives each of n splits both classes wherever that is possible, that is, where n groups have a photograph of
    either class: if one split has none of a class, another has two groups with it, and can do without one of them.
    Only the photographs of `source` are counted and moved, all of some groups.
    """
    side_of, labels, groups = sides[source], labels[source], groups[source]
    numbers, first, sizes = np.unique(groups, return_index=True, return_counts=True)
    for name in names:
        for label in np.unique(labels):
            if (labels[side_of == name] == label).any():
                continue
            candidates = np.isin(numbers, groups[np.isin(side_of, names) & (labels == label)])
            for i in np.lexsort((side_of[first] != "train", sizes)):  # of equal ones first those that train
                members, donor = groups == numbers[i], side_of == side_of[first[i]]
                if candidates[i] and np.unique(labels[donor & ~members]).size == np.unique(labels[donor]).size:
                    side_of[members] = name
                    break
    sides[source] = side_of


def _carve(
    sides: NDArray[np.str_],
    side: str,
    fraction: float,
    strata: NDArray[np.int64],
    groups: NDArray[np.int64],
    settings: DataSettings,
    source: NDArray[np.intp],
) -> None:
    """Move a share of a source's training photographs to another side, group by group while the quotas last.

    From the worst grade down: what is left of a quota, because the next group is larger, is added to the next one.
    """
    pool = source[sides[source] == "train"]
    n_strata = len(CLASS_NAMES) * len(GRADES)
    counts = np.bincount(strata[pool], minlength=n_strata).reshape(len(CLASS_NAMES), -1)
    left = quotas(counts, fraction).ravel()
    if settings.split == "likeness":
        for group in _nearest(_groups(pool, groups, settings), strata, left, settings.seed):
            sides[group] = side
        return
    of_stratum: dict[int, list[NDArray[np.intp]]] = {}
    for group in _groups(pool, groups, settings):
        of_stratum.setdefault(int(strata[group].max()), []).append(group)
    for stratum in reversed(range(n_strata)):
        for group in of_stratum.get(stratum, ()):
            wanted = np.bincount(strata[group], minlength=n_strata)
            if (wanted <= left).all():
                sides[group] = side
                left = left - wanted
        if stratum:
            left[stratum - 1] += left[stratum]


def _nearest(
    together: Sequence[NDArray[np.intp]], strata: NDArray[np.int64], wanted: NDArray[np.int64], seed: int
) -> list[NDArray[np.intp]]:
    """Groups that together come near the wanted photographs of each stratum.

    In each of some seeded orders, a group is taken if that brings the counts nearer (sum of squares); the nearest of
    these choices counts.

    Args:
        together: The photographs of each group.
        strata: The stratum of every photograph.
        wanted: Photographs of each stratum.
        seed: Of the orders.
    """
    counts = [np.bincount(strata[group], minlength=len(wanted)) for group in together]
    best, nearest = [], float((wanted**2).sum())
    for order in np.random.default_rng(seed).permuted(np.tile(np.arange(len(together)), (_ORDERS, 1)), axis=1):
        taken, missing = [], wanted
        for i in order.tolist():
            if ((missing - counts[i]) ** 2).sum() < (missing**2).sum():
                taken.append(i)
                missing = missing - counts[i]
        if (missing**2).sum() < nearest:
            best, nearest = taken, float((missing**2).sum())
    return [together[i] for i in best]


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
