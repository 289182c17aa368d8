"""What a registered model does where photographs are worse: blurred, too dark, turned, of a lesser camera."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from drsearch.data.corruptions import CORRUPTIONS, Corruption, opened
from drsearch.data.records import RecordSet
from drsearch.datasets.read import Dataset
from drsearch.errors import DataError, MetricError, PhotographError
from drsearch.home import Home
from drsearch.measure.calibration import calibration
from drsearch.measure.comparison import Comparison, compare
from drsearch.measure.patients import patient_groups
from drsearch.measure.scores import Interval, scores
from drsearch.processes import cores, in_threads
from drsearch.release.card_figures import Stressed, StressRow
from drsearch.release.evaluate import Split, n_test_evaluations, unseen_eyes
from drsearch.release.photograph_files import PhotographFiles
from drsearch.tracking.tags import STRESS_TAG

if TYPE_CHECKING:
    from drsearch.serving.grader import Grader

MEASURED = ("auc", "accuracy", "ece")
"""What is measured under each condition; more is better of the first two, less of the last."""


@dataclass(frozen=True)
class Condition:
    """A model on photographs that all have one corruption of one strength.

    The scores are of all photographs that show a retina, as `evaluate` counts them; where there are none, a class is
    missing among these.

    Attributes:
        corruption: Its name; empty for the photographs as they are.
        strength: In the unit of the corruption.
        label: Both in words.
        n: Photographs that are scored.
        refused: Photographs that cannot be read any more or show no retina: `predict` has an error for them.
        not_gradable: Scored photographs whose quality lies below what the model was trained on: `predict` gives none of
            them a grade.
        auc: With its 95 % interval, and so on.
        accuracy: At the model's own threshold.
        ece: Expected calibration error.
        accuracy_of_graded: Accuracy on the photographs that `predict` gives a grade; None if there are none.
        auc_change: Minus that of the same photographs as they are, paired; None for these.
        accuracy_change: Likewise.
        ece_change: Likewise.
    """

    corruption: str
    strength: float
    label: str
    n: int
    refused: int
    not_gradable: int
    auc: Interval | None
    accuracy: Interval | None
    ece: Interval | None
    accuracy_of_graded: float | None
    auc_change: Interval | None
    accuracy_change: Interval | None
    ece_change: Interval | None

    @property
    def graded(self) -> float:
        """The share of all photographs that `predict` gives a grade, 0 to 1."""
        return (self.n - self.not_gradable) / (self.n + self.refused)

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts and dicts only, as `--json` prints them."""
        values = {item.name: getattr(self, item.name) for item in fields(self)} | {"graded": self.graded}
        return {name: value.to_json() if isinstance(value, Interval) else value for name, value in values.items()}


@dataclass(frozen=True, repr=False)
class Stress:
    """A model under every corruption.

    Attributes:
        split: Of the eyes.
        undamaged: The photographs as they are: the scores of `evaluate`.
        conditions: Corruption by corruption, from mild to severe.
        threshold: The probability from which the model calls an eye RDR.
        test_evaluations: Of this test split from this home, this one included; 0 for other splits.
    """

    tag: ClassVar[str] = STRESS_TAG
    split: Split
    undamaged: Condition
    conditions: tuple[Condition, ...]
    threshold: float
    test_evaluations: int

    @property
    def on(self) -> str:
        """The split."""
        return self.split

    @property
    def worst(self) -> Condition | None:
        """The condition under which the AUC falls most; None where no condition has an AUC."""
        scored = [each for each in self.conditions if each.auc_change is not None]
        return min(scored, key=lambda each: each.auc_change.value if each.auc_change else 0.0, default=None)

    @property
    def text(self) -> str:
        """The AUC as it is and where it falls most, one line."""
        as_is = f"{self.undamaged.n} {self.split} eyes: AUC {self.undamaged.auc}"
        if self.worst is None:
            return as_is
        return f"{as_is}; lowest with {self.worst.label}: {self.worst.auc_change:+.3f}"

    def of(self, corruption: Corruption) -> tuple[Condition, ...]:
        """The conditions of a corruption, from mild to severe."""
        return tuple(each for each in self.conditions if each.corruption == corruption.name)

    def metrics(self) -> dict[str, list[float]]:
        """The figures as a run's metrics, such as `stress_blur_auc`: as they are, then from mild to severe.

        Where a figure is not defined the list is cut off.
        """
        metrics: dict[str, list[float]] = {}
        for corruption in CORRUPTIONS:
            conditions = (self.undamaged, *self.of(corruption))
            for name in MEASURED:
                row = itertools.takewhile(bool, (getattr(condition, name) for condition in conditions))
                metrics[f"stress_{corruption.name.lower()}_{name}"] = [interval.value for interval in row]
            metrics[f"stress_{corruption.name.lower()}_graded"] = [condition.graded for condition in conditions]
        return metrics

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and dicts only, as `--json` prints them."""
        return {
            "split": self.split,
            "threshold": self.threshold,
            "undamaged": self.undamaged.to_json(),
            "conditions": [condition.to_json() for condition in self.conditions],
            "strengths": {each.name: f"{each.meaning},{each.unit or ' number'}" for each in CORRUPTIONS},
            "test_evaluations": self.test_evaluations,
        }

    def for_card(self, data: str, data_fingerprint: str) -> Stressed:
        """What the model card of the version keeps of it.

        Args:
            data: Name of the data set.
            data_fingerprint: Of its photographs, grades and split.
        """
        conditions = [self.undamaged, *(self.of(corruption)[-1] for corruption in CORRUPTIONS)]
        rows = [StressRow(each.label, each.auc, each.auc_change, each.graded) for each in conditions]
        return Stressed(data, data_fingerprint, self.split, self.text, tuple(rows))

    def __repr__(self) -> str:
        return f"<Stress on {self.text}>"


def stress(
    grader: "Grader",
    records: RecordSet,
    dataset: Dataset,
    split: Split,
    home: Home,
    why: str,
    on_photograph: Callable[[int, int], None] | None = None,
) -> Stress:
    """Score a model on the photographs of a split under every corruption, each paired with the photographs as they are.

    A photograph is corrupted as it comes from its file, at its full size, so that crop, normalisation and storage are
    those of the corrupted photograph, as in `predict`. Nothing is drawn at random.

    Args:
        grader: The model.
        records: Prepared with the model's `images.*`.
        dataset: The photographs of the records.
        split: As for `evaluate`; of the test split, this is a test evaluation.
        home: Where test evaluations are counted.
        why: The purpose, recorded with a test evaluation.
        on_photograph: Called with the number of photographs done, and of all.

    Returns:
        The scores with their changes.

    Raises:
        DataError: If the split is empty, has one class, or holds photographs or patients that the model was trained on;
            or if a photograph was changed meanwhile.
    """
    files = PhotographFiles(dataset)
    listed, eyes = unseen_eyes(grader, records, split, home, why)
    if len(np.unique(eyes.labels)) < 2:
        raise DataError(f"the {split} split has eyes of one class; name eyes of both, which an AUC needs.")
    conditions = [(corruption, strength) for corruption in CORRUPTIONS for strength in corruption.strengths]
    chance = np.full((len(conditions), len(listed)), np.nan)
    graded = np.zeros(chance.shape, bool)
    corrupted = lambda eye: list(_corrupted(grader, files.of(eye).path.read_bytes()))  # noqa: E731
    for at, seen in enumerate(in_threads(corrupted, listed, cores())):
        rows = [row for row, each in enumerate(seen) if each is not None]
        if rows:
            images, gradable = zip(*(each for each in seen if each is not None), strict=True)
            chance[rows, at], graded[rows, at] = grader.probabilities(np.stack(images)), gradable
        if on_photograph is not None:
            on_photograph(at + 1, len(listed))
    as_is = grader.probabilities(eyes.images)
    as_is_graded = np.array([grader.quality_limits.reason(eye.quality) is None for eye in listed])
    judge = _Judge(eyes.labels, patient_groups(eyes.patients), as_is, grader.serving.threshold)
    return Stress(
        split,
        judge.condition("", 0.0, "as they are", as_is, as_is_graded),
        tuple(
            judge.condition(corruption.name, strength, corruption.label(strength), chance[row], graded[row])
            for row, (corruption, strength) in enumerate(conditions)
        ),
        grader.serving.threshold,
        n_test_evaluations(records, split, home),
    )


def _corrupted(grader: "Grader", photograph: bytes) -> Iterator[tuple[NDArray[np.uint8], bool] | None]:
    """What the network sees of a photograph under every condition, and whether it is graded; None if it is refused."""
    picture, retina = opened(photograph)
    for corruption in CORRUPTIONS:
        for strength in corruption.strengths:
            try:
                eye = grader.eye(corruption.of(picture, retina, strength))
            except PhotographError:
                yield None
            else:
                yield eye.image, grader.quality_limits.reason(eye.quality) is None


@dataclass(frozen=True)
class _Judge:
    """Scores conditions on the same eyes.

    Attributes:
        labels: 0 or 1, shape `(n,)`.
        groups: As `patient_groups` gives them.
        as_is: Probabilities of the photographs as they are, shape `(n,)`.
        threshold: The model's own.
    """

    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None
    as_is: NDArray[np.float64]
    threshold: float

    def condition(
        self, corruption: str, strength: float, label: str, chance: NDArray[np.float64], graded: NDArray[np.bool_]
    ) -> Condition:
        """The figures of one condition; a probability is not a number where the photograph is refused."""
        scored = ~np.isnan(chance)
        labels, now, before = self.labels[scored], chance[scored], self.as_is[scored]
        groups = self.groups[scored] if self.groups is not None else None
        both = len(np.unique(labels)) == 2
        measured = scores(labels, now, self.threshold, groups=groups) if both else None
        change = self._change(labels, now, before, groups) if both and corruption else None
        right = ((chance >= self.threshold) == self.labels)[graded]
        return Condition(
            corruption,
            strength,
            label,
            n=len(now),
            refused=int((~scored).sum()),
            not_gradable=int((scored & ~graded).sum()),
            auc=measured.auc if measured else None,
            accuracy=measured.accuracy if measured else None,
            ece=calibration(labels, now, groups=groups).ece if both else None,
            accuracy_of_graded=float(right.mean()) if right.size else None,
            auc_change=change.auc.difference if change else None,
            accuracy_change=change.accuracy if change else None,
            ece_change=change.ece if change else None,
        )

    def _change(
        self,
        labels: NDArray[np.int64],
        now: NDArray[np.float64],
        before: NDArray[np.float64],
        groups: NDArray[np.int64] | None,
    ) -> Comparison | None:
        """The paired differences; None where one eye or one patient of a class is left."""
        try:
            return compare(labels, now, before, (self.threshold, self.threshold), groups=groups)
        except MetricError:
            return None
