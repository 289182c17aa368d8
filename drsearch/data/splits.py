"""Who trains, who validates, who tests?"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from drsearch.data.folder import PublishedSplit
from drsearch.errors import DataError
from drsearch.grades import CLASS_NAMES, GRADES, label_of
from drsearch.settings import DataSettings

SPLITS: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")

LEFT_OUT = ""
"""The split of a photograph published for training whose picture was published for testing too."""


def split(
    grades: Sequence[int], groups: NDArray[np.int64], published: Sequence[PublishedSplit], settings: DataSettings
) -> NDArray[np.str_]:
    """The split of every photograph: stratified by grade, the same picture always on one side.

    The test split is the published one where there is one, else `data.test_fraction` of all; validation is
    `data.validation_fraction` of what is left. Of each grade a split takes the first photographs (`blocks`, as the
    first fold of scikit-learn's `StratifiedKFold(shuffle=False)`) or seeded ones (`random`).

    Args:
        grades: Grade of every photograph, n of them, in the order of their names.
        groups: Number of the picture that each shows, shape (n,), see `picture_groups`.
        published: Side on which each was published.
        settings: Fractions, way and seed.

    Returns:
        `train`, `validation`, `test` or `LEFT_OUT`, shape (n,).

    Raises:
        DataError: If a split would lack one of the two classes.
    """
    grade_of = np.asarray(grades, dtype=np.int64)
    sides = np.full(len(grade_of), "train", dtype="<U10")
    tests = np.asarray(published, dtype="<U5") == "test"
    if tests.any():
        sides[np.isin(groups, groups[tests])] = LEFT_OUT
        sides[tests] = "test"
    else:
        _carve(sides, "test", settings.test_fraction, grade_of, groups, settings)
    _carve(sides, "validation", settings.validation_fraction, grade_of, groups, settings)
    _check_classes(sides, grade_of)
    return sides


def folds(grades: Sequence[int], groups: NDArray[np.int64], n: int, settings: DataSettings) -> NDArray[np.int64]:
    """The fold of every photograph: stratified by grade, the same picture always in one.

    Args:
        grades: Grade of every photograph, in the order of their names.
        groups: Number of the picture that each shows, see `picture_groups`.
        n: How many folds, at least 2.
        settings: Way (`blocks` or `random`) and seed.

    Returns:
        0 to n - 1 for each photograph, int64.

    Raises:
        DataError: If a fold would lack one of the two classes.
    """
    grade_of = np.asarray(grades, dtype=np.int64)
    sides = np.full(len(grade_of), "train", dtype="<U10")
    for fold in range(n - 1):
        _carve(sides, str(fold), 1 / (n - fold), grade_of, groups, settings)
    sides[sides == "train"] = str(n - 1)
    found = sides.astype(np.int64)
    labels = np.array([label_of(int(grade)) for grade in grade_of], dtype=np.int64)
    for fold in range(n):
        for label, name in enumerate(CLASS_NAMES):
            if not (labels[found == fold] == label).any():
                raise DataError(
                    f"of {n} folds one has no {name} photograph ({int((labels == label).sum())} of {len(labels)} are): "
                    "add photographs of the rarer class, or ask for fewer with search.folds."
                )
    return found


def _carve(
    sides: NDArray[np.str_],
    side: str,
    fraction: float,
    grades: NDArray[np.int64],
    groups: NDArray[np.int64],
    settings: DataSettings,
) -> None:
    """Move a share of the training photographs to another side, picture by picture while the quotas last."""
    pool = np.flatnonzero(sides == "train")
    left = quotas(np.bincount(grades[pool], minlength=len(GRADES)), fraction)
    for picture in _pictures(pool, groups, settings):
        wanted = np.bincount(grades[picture], minlength=len(GRADES))
        if (wanted <= left).all():
            sides[picture] = side
            left = left - wanted


def _pictures(pool: NDArray[np.intp], groups: NDArray[np.int64], settings: DataSettings) -> list[NDArray[np.intp]]:
    """The photographs of each picture, in the order in which pictures are taken."""
    members: dict[int, list[int]] = {}
    for index in pool:
        members.setdefault(int(groups[index]), []).append(int(index))
    pictures = [np.asarray(same, dtype=np.intp) for same in members.values()]
    if settings.split == "random":
        order = np.random.default_rng(settings.seed).permutation(len(pictures))
        return [pictures[i] for i in order]
    return pictures


def quotas(counts: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """How many photographs of each grade a split takes, by largest remainder, the classes' shares first.

    Args:
        counts: Photographs of each grade, shape (5,).
        fraction: Share of all that the split takes.

    Returns:
        int64, shape (5,), in total the fraction of the total, rounded.

    Example:
        >>> quotas(np.array([134, 20, 136, 74, 49]), 0.2)
        array([27,  4, 27, 15, 10])
    """
    labels = np.array([label_of(grade) for grade in GRADES])
    total = math.floor(counts.sum() * fraction + 0.5)
    of_class = _largest_remainder(np.bincount(labels, weights=counts).astype(np.int64), total)
    taken = np.zeros(len(GRADES), np.int64)
    for label, share in enumerate(of_class):
        taken[labels == label] = _largest_remainder(counts[labels == label], int(share))
    return taken


def _largest_remainder(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """`total` shared out in proportion to `counts`; the first of equals gets the odd one."""
    exact = counts * (total / max(int(counts.sum()), 1))
    shares: NDArray[np.int64] = np.floor(exact + 1e-9).astype(np.int64)
    odd = np.argsort(-(exact - shares).round(9), kind="stable")[: total - int(shares.sum())]
    shares[odd] += 1
    return shares


def _check_classes(sides: NDArray[np.str_], grades: NDArray[np.int64]) -> None:
    labels = np.array([label_of(int(grade)) for grade in grades], dtype=np.int64)
    counts = {side: np.bincount(labels[sides == side], minlength=2) for side in SPLITS}
    for side, found in counts.items():
        for name, n in zip(CLASS_NAMES, found, strict=True):
            if n == 0:
                table = ", ".join(f"{side} {n[0]} NRDR and {n[1]} RDR" for side, n in counts.items())
                raise DataError(
                    f"the {side} split has no {name} photograph ({table}): add photographs of the rarer class,"
                    " or change data.test_fraction or data.validation_fraction."
                )
