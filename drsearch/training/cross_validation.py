"""Which trainings judge one setting, where one is not enough? The parts of a trial: folds, repeats, or both.

Every trial of a study has the same parts, on the same eyes, so that two settings are compared part by part.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drsearch.data.audit import picture_groups
from drsearch.data.patients import kept_together
from drsearch.data.records import EyeEntry, Eyes, joined
from drsearch.data.splits import folds
from drsearch.settings import DataSettings, SearchSettings

if TYPE_CHECKING:
    from drsearch.model.training import EpochResult, Measures


@dataclass(frozen=True)
class Part:
    """One training of a trial.

    Attributes:
        name: Before its metrics, and of its folder: `fold2`, `repeat1`, `repeat1/fold2`; empty for a trial's only one.
        repeat: From 0; decides its seed.
        train: The eyes it trains on.
        validation: The eyes that judge it.
    """

    name: str
    repeat: int
    train: Eyes
    validation: Eyes


@dataclass(frozen=True)
class TrialFolds:
    """Eyes dealt to the parts of a trial, which are cut out one at a time: each holds the pictures once more.

    Attributes:
        search: Folds and repeats.
        train: The train split.
        validation: The validation split.
        fold_of: For every repeat the fold of each eye of both splits; empty where there is one fold.
    """

    search: SearchSettings
    train: Eyes
    validation: Eyes
    fold_of: tuple[NDArray[np.int64], ...]

    def part(self, number: int) -> Part:
        """The part of a number, from 0: the folds of the first repeat come first."""
        repeat, fold = divmod(number, self.search.folds)
        names = [f"repeat{repeat + 1}"] if self.search.repeats > 1 else []
        if self.search.folds == 1:
            return Part("/".join(names), repeat, self.train, self.validation)
        both, judges = joined(self.train, self.validation), self.fold_of[repeat] == fold
        return Part("/".join([*names, f"fold{fold + 1}"]), repeat, both.some(~judges), both.some(judges))


def split_folds(
    train: Eyes, validation: Eyes, entries: Sequence[EyeEntry], data: DataSettings, search: SearchSettings
) -> TrialFolds:
    """Deal the eyes of both splits into folds; the first repeat's as `data.split` says, others at random.

    Args:
        train: The train split.
        validation: The validation split.
        entries: What the manifest says of both, in the same order.
        data: Way and seed.
        search: Folds and repeats.

    Raises:
        DataError: If a fold would lack one of the two classes.
    """
    return TrialFolds(search, train, validation, assign_folds(entries, data, search))


def assign_folds(
    entries: Sequence[EyeEntry], data: DataSettings, search: SearchSettings
) -> tuple[NDArray[np.int64], ...]:
    """For every repeat the fold of each eye; the same picture and patient always in one. Empty where there is one fold.

    Raises:
        DataError: If a fold would lack one of the two classes.
    """
    if search.folds == 1:
        return ()
    by_name = sorted(range(len(entries)), key=lambda i: entries[i].name)  # as `split` takes them
    eyes = [entries[i] for i in by_name]
    pictures = picture_groups([eye.sha256 for eye in eyes], np.array([eye.look for eye in eyes], dtype=np.uint8))
    groups = kept_together(pictures, [eye.patient for eye in eyes])
    dealt = []
    for repeat in range(search.repeats):
        way = data if repeat == 0 else dataclasses.replace(data, split="random", seed=data.seed + repeat)
        fold_of = np.empty(len(entries), np.int64)
        fold_of[by_name] = folds([eye.grade for eye in eyes], groups, search.folds, way)
        dealt.append(fold_of)
    return tuple(dealt)


def n_trainings(search: SearchSettings) -> int:
    """Trainings a trial."""
    return search.folds * search.repeats


def folds_or_repeats(search: SearchSettings) -> str:
    """What the parts of a trial are called."""
    return "repeats" if search.folds == 1 else "folds"


def repeat_seed(trial_seed: int, repeat: int) -> int:
    """The seed of a part: the trial's own in the first repeat, and another in each further one."""
    return trial_seed if repeat == 0 else int(np.random.SeedSequence([trial_seed, repeat]).generate_state(1)[0]) >> 1


def mean_history(histories: "Sequence[Sequence[EpochResult]]") -> "tuple[EpochResult, ...]":
    """Epoch by epoch the mean over parts; seconds are summed."""
    from drsearch.model.training import EpochResult

    return tuple(
        EpochResult(
            epoch=of_parts[0].epoch,
            learning_rate=of_parts[0].learning_rate,
            seconds=sum(each.seconds for each in of_parts),
            train=_mean([each.train for each in of_parts]),
            validation=_mean([each.validation for each in of_parts]),
        )
        for of_parts in zip(*histories, strict=True)
    )


def _mean(measures: "Sequence[Measures]") -> "Measures":
    from drsearch.model.training import Measures

    names = [item.name for item in dataclasses.fields(Measures)]
    return Measures(**{name: float(np.mean([getattr(each, name) for each in measures])) for name in names})


def spread(values: Sequence[float]) -> float:
    """Standard deviation of a sample; 0 of a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
