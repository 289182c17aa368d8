"""Scores of a registered model on a split; photographs and patients that it was trained on are refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from drsearch.data.duplicates import same_pictures
from drsearch.data.records import EyeEntry, Eyes, RecordSet, count_test_evaluations, joined, read_eyes, read_test_eyes
from drsearch.errors import DataError
from drsearch.home import Home
from drsearch.measure.patients import patient_groups, patient_scores
from drsearch.measure.scores import OneClassScores, Scores, one_class_scores, scores

if TYPE_CHECKING:
    from drsearch.serving.grader import Grader

Split = Literal["train", "validation", "test", "all"]
_N_NAMED = 5


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores of a model on a split.

    Attributes:
        split: The split.
        scores: Of eyes, with 95 % intervals; for eyes of one class, only the scores that are defined.
        patients: The same of patients, who are referable if an eye is; None if no patient is known.
        eyes: The eyes of the split.
        test_evaluations: Of this test split from this home, this one included; 0 for other splits.
    """

    split: Split
    scores: Scores | OneClassScores
    patients: Scores | OneClassScores | None
    eyes: Eyes
    test_evaluations: int

    def to_json(self) -> dict[str, Any]:
        """The scores as `--json` prints them, those of patients as `patients`: null if no patient is known."""
        patients = self.patients.to_json() if self.patients is not None else None
        return {**self.scores.to_json(), "patients": patients, "test_evaluations": self.test_evaluations}

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {interval or 'not defined'}" for name, interval in self.scores.labelled)
        return f"<Evaluation on {self.scores.n} {self.split} eyes: {values}>"


def evaluate(grader: "Grader", records: RecordSet, split: Split, home: Home, why: str) -> Evaluation:
    """Score a model on a split of a record set, at its own threshold.

    Args:
        grader: The model.
        records: Prepared with the model's `images.*`.
        split: `all` is the whole set.
        home: Where test evaluations are counted.
        why: The purpose, recorded with a test evaluation.

    Returns:
        The scores, and the eyes.

    Raises:
        DataError: If the split is empty, or the model was trained on some of its photographs or patients.
    """
    listed = records.eyes("train", "validation", "test") if split == "all" else records.eyes(split)
    if not listed:
        raise DataError(f"the {split} split has no photograph: add some, or evaluate with --split all.")
    if names := same_eyes(listed, grader.trained_on):
        raise DataError(
            f"the model was trained on {len(names)} of the {len(listed)} pictures of split {split!r}: "
            f"{some_of(names)}; evaluate it on eyes that it has not seen."
        )
    if names := eyes_of_seen_patients(listed, records, grader.trained_on):
        raise DataError(
            f"the model was trained on other photographs of the patients of {len(names)} of the {len(listed)} pictures "
            f"of split {split!r}: {some_of(names)}; evaluate it on patients that it has not seen."
        )
    eyes = _read(records, split, home, why)
    probabilities = grader.probabilities(eyes.images)
    n_evaluations = count_test_evaluations(records, home) if split in ("test", "all") else 0
    score = scores if len(np.unique(eyes.labels)) == 2 else one_class_scores
    threshold, groups = grader.serving.threshold, patient_groups(eyes.patients)
    return Evaluation(
        split,
        score(eyes.labels, probabilities, threshold, groups=groups),
        patient_scores(eyes.labels, probabilities, eyes.patients, threshold),
        eyes,
        n_evaluations,
    )


def _read(records: RecordSet, split: Split, home: Home, why: str) -> Eyes:
    if split == "test":
        return read_test_eyes(records, home, why)
    if split == "all":
        return joined(read_eyes(records, "train"), read_eyes(records, "validation"), _read(records, "test", home, why))
    return read_eyes(records, split)


def same_eyes(eyes: Sequence[EyeEntry], trained_on: Sequence[EyeEntry]) -> list[str]:
    """The names of the eyes whose photograph a model was trained on: the same bytes or the same thumbnail."""
    return sorted({eyes[i].name for i in _seen(eyes, trained_on)})


def eyes_of_seen_patients(eyes: Sequence[EyeEntry], records: RecordSet, trained_on: Sequence[EyeEntry]) -> list[str]:
    """The names of the eyes of patients of whom a model was trained on another photograph.

    The numbers of patients mean something only within a record set. So patients are told by the photographs of the
    record set that the model was trained on, in whatever split they are.

    Args:
        eyes: Of the record set.
        records: Where other photographs of their patients are looked for.
        trained_on: The eyes that the model was trained on, by whatever record set.

    Raises:
        RecordsError: If the record set's list of eyes is missing, torn or altered.
    """
    if not any(eye.patient for eye in eyes):
        return []
    everything = records.eyes("train", "validation", "test")
    seen = {everything[i].patient for i in _seen(everything, trained_on)} - {""}
    return sorted(eye.name for eye in eyes if eye.patient in seen)


def _seen(eyes: Sequence[EyeEntry], trained_on: Sequence[EyeEntry]) -> set[int]:
    """The places of the eyes whose photograph a model was trained on."""
    hashes = {eye.sha256 for eye in trained_on}
    seen = {i for i, eye in enumerate(eyes) if eye.sha256 in hashes}
    others = [i for i in range(len(eyes)) if i not in seen]
    if not others or not trained_on:
        return seen
    thumbnails = np.stack([eyes[i].thumbnail for i in others]), np.stack([eye.thumbnail for eye in trained_on])
    return seen | {others[i] for i, _ in same_pictures(*thumbnails)}


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return f"{', '.join(names[:_N_NAMED])}{more}"
