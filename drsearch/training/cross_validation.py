"""Folds and repeats: the trainings that judge one setting, where one is not enough.

Every trial of a study has the same folds and repeats, on the same eyes, so that two settings are compared fold by fold.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drsearch.data.duplicates import picture_groups
from drsearch.data.patients import kept_together
from drsearch.data.records import EyeEntry, Eyes, joined
from drsearch.data.splits import folds
from drsearch.settings import DataSettings, SearchSettings, Settings

if TYPE_CHECKING:
    from drsearch.model.fit import EpochResult, Measures


@dataclass(frozen=True)
class Fold:
    """One training of a run: its only one, or one of the folds and repeats of a trial.

    Attributes:
        train: The eyes it trains on.
        validation: The eyes that judge it.
        name: Prefix of its metrics: `fold2`, `repeat1`, `repeat1/fold2`; empty for a run's only training.
        index: Its place among the trial's trainings, from 0.
        repeat: From 0; decides its seed.
        judged: The eyes of an outer fold, which the best network answers at the end; None without one.
    """

    train: Eyes
    validation: Eyes
    name: str = ""
    index: int = 0
    repeat: int = 0
    judged: Eyes | None = None

    @property
    def is_only(self) -> bool:
        """Whether the run has no other training."""
        return not self.name

    @property
    def folder(self) -> str:
        """Where its checkpoints lie in the run's folder; empty for a run's only training."""
        return self.name.replace("/", "-")

    def without(self, names: Sequence[str]) -> "Fold":
        """The same, training without some photographs; they validate and judge all the same."""
        if not names:
            return self
        return dataclasses.replace(self, train=self.train.some(~np.isin(self.train.names, names)))

    def epochs_before(self, settings: Settings) -> int:
        """How many epochs the earlier folds and repeats of the trial have."""
        return self.index * settings.training.epochs

    def named(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The metrics, with the name of this training before theirs."""
        return {f"{self.name}/{name}" if self.name else name: value for name, value in metrics.items()}


@dataclass(frozen=True)
class TrialFolds:
    """The folds and repeats of a trial, cut out one at a time.

    Attributes:
        search: How many folds and repeats.
        train: The train split.
        validation: The validation split.
        fold_of: Per repeat the fold of each eye of both splits, shape `(n,)`; empty where there is one fold.
        judged: The eyes of an outer fold, which every network answers; None without one.
    """

    search: SearchSettings
    train: Eyes
    validation: Eyes
    fold_of: tuple[NDArray[np.int64], ...]
    judged: Eyes | None = None

    def fold(self, index: int) -> Fold:
        """The training at a place, from 0: the folds of the first repeat come first."""
        repeat, fold = divmod(index, self.search.folds)
        train, validation = self.train, self.validation
        if self.search.folds > 1:
            both, held_out = joined(train, validation), self.fold_of[repeat] == fold
            train, validation = both.some(~held_out), both.some(held_out)
        return Fold(train, validation, training_name(self.search, index), index, repeat, self.judged)

    def held_out(self, index: int) -> NDArray[np.int64]:
        """Which eyes judge the training at a place: indices into both splits, with one fold into validation alone."""
        repeat, fold = divmod(index, self.search.folds)
        if self.search.folds == 1:
            return np.arange(len(self.validation.labels))
        return np.flatnonzero(self.fold_of[repeat] == fold)


def split_folds(
    train: Eyes,
    validation: Eyes,
    entries: Sequence[EyeEntry],
    data: DataSettings,
    search: SearchSettings,
    judged: Eyes | None = None,
) -> TrialFolds:
    """The folds of both splits: of the first repeat as `data.split` says, of the others at random if that is `blocks`.

    Args:
        train: The train split.
        validation: The validation split.
        entries: The manifest's entries of both, in the same order.
        data: How eyes are split, and the seed.
        search: How many folds and repeats.
        judged: The eyes of an outer fold; None without one.

    Raises:
        DataError: If a fold would lack one of the two classes.
    """
    return TrialFolds(search, train, validation, assign_folds(entries, data, search), judged)


def assign_folds(
    entries: Sequence[EyeEntry], data: DataSettings, search: SearchSettings
) -> tuple[NDArray[np.int64], ...]:
    """The fold of each eye per repeat, shape `(n,)`; duplicates and the eyes of a patient are in the same fold.

    Args:
        entries: The manifest's entries of train and validation split.
        data: How eyes are split, and the seed.
        search: How many folds and repeats.

    Returns:
        One array per repeat; none where there is one fold.

    Raises:
        DataError: If a fold would lack one of the two classes.
    """
    if search.folds == 1:
        return ()
    by_name = sorted(range(len(entries)), key=lambda i: entries[i].name)  # as `split` takes them
    eyes = [entries[i] for i in by_name]
    pictures = picture_groups([eye.sha256 for eye in eyes], np.array([eye.thumbnail for eye in eyes], dtype=np.uint8))
    patients = [eye.patient for eye in eyes]
    groups = kept_together(pictures, patients)
    per_repeat = []
    for repeat in range(search.repeats):
        way = "random" if repeat and data.split == "blocks" else data.split
        fold_of = np.empty(len(entries), np.int64)
        fold_of[by_name] = folds(
            [eye.grade for eye in eyes],
            [eye.label for eye in eyes],
            groups,
            search.folds,
            dataclasses.replace(data, split=way, seed=data.seed + repeat),
            patients,
            [eye.source for eye in eyes],
            alike=[eye.alike for eye in eyes],
        )
        per_repeat.append(fold_of)
    return tuple(per_repeat)


def n_trainings(search: SearchSettings) -> int:
    """Number of trainings per trial."""
    return search.folds * search.repeats


def has_mean(settings: Settings) -> bool:
    """Whether the network of a trial is the mean of the networks of its folds and repeats; else it has none of them."""
    return settings.registry.networks != "one" and n_trainings(settings.search) > 1


def training_name(search: SearchSettings, index: int) -> str:
    """The name of a trial's training at a place, from 0; empty for its only one.

    Example:
        >>> training_name(SearchSettings(folds=5, repeats=2), 6), training_name(SearchSettings(folds=5), 1)
        ('repeat2/fold2', 'fold2')
    """
    repeat, fold = divmod(index, search.folds)
    names = [f"repeat{repeat + 1}"] if search.repeats > 1 else []
    return "/".join([*names, f"fold{fold + 1}"] if search.folds > 1 else names)


def folds_or_repeats(search: SearchSettings) -> str:
    """The word for the trainings of a trial.

    Example:
        >>> folds_or_repeats(SearchSettings(folds=5, repeats=2)), folds_or_repeats(SearchSettings(repeats=2))
        ('folds', 'repeats')
    """
    return "repeats" if search.folds == 1 else "folds"


def repeat_seed(trial_seed: int, repeat: int) -> int:
    """The seed of a repeat: the trial's own in the first, another one in each further repeat."""
    return trial_seed if repeat == 0 else int(np.random.SeedSequence([trial_seed, repeat]).generate_state(1)[0]) >> 1


def mean_history(histories: "Sequence[Sequence[EpochResult]]") -> "tuple[EpochResult, ...]":
    """The mean of several trainings, epoch by epoch; seconds are summed."""
    from drsearch.model.fit import EpochResult

    return tuple(
        EpochResult(
            epoch=results[0].epoch,
            learning_rate=results[0].learning_rate,
            seconds=sum(result.seconds for result in results),
            train=_mean([result.train for result in results]),
            validation=_mean([result.validation for result in results]),
        )
        for results in zip(*histories, strict=True)
    )


def _mean(measures: "Sequence[Measures]") -> "Measures":
    from drsearch.model.fit import Measures

    each = [one.by_name() for one in measures]
    return Measures.from_names({name: float(np.mean([one[name] for one in each])) for name in each[0]})


def spread(values: Sequence[float]) -> float:
    """The standard deviation of a sample; 0 for a single value.

    Example:
        >>> spread([0.5, 1.0, 1.5]), spread([0.7])
        (0.5, 0.0)
    """
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
