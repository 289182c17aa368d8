"""Scores of a registered model on a split; photographs that it was trained on are refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from drsearch.data.duplicates import same_pictures
from drsearch.data.records import EyeEntry, Eyes, RecordSet, count_test_evaluations, joined, read_eyes, read_test_eyes
from drsearch.errors import DataError
from drsearch.home import Home
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
        scores: With 95 % intervals; for eyes of one class, only the scores that are defined.
        eyes: The eyes of the split.
        test_evaluations: Of this test split from this home, this one included; 0 for other splits.
    """

    split: Split
    scores: Scores | OneClassScores
    eyes: Eyes
    test_evaluations: int

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
        DataError: If the split is empty, or the model was trained on some of its photographs.
    """
    listed = records.eyes("train", "validation", "test") if split == "all" else records.eyes(split)
    if not listed:
        raise DataError(f"the {split} split has no photograph: add some, or evaluate with --split all.")
    if names := same_eyes(listed, grader.trained_on):
        raise DataError(
            f"the model was trained on {len(names)} of the {len(listed)} pictures of split {split!r}: "
            f"{some_of(names)}; evaluate it on eyes that it has not seen."
        )
    eyes = _read(records, split, home, why)
    probabilities = grader.probabilities(eyes.images)
    n_evaluations = count_test_evaluations(records, home) if split in ("test", "all") else 0
    score = scores if len(np.unique(eyes.labels)) == 2 else one_class_scores
    return Evaluation(split, score(eyes.labels, probabilities, grader.serving.threshold), eyes, n_evaluations)


def _read(records: RecordSet, split: Split, home: Home, why: str) -> Eyes:
    if split == "test":
        return read_test_eyes(records, home, why)
    if split == "all":
        return joined(read_eyes(records, "train"), read_eyes(records, "validation"), _read(records, "test", home, why))
    return read_eyes(records, split)


def same_eyes(eyes: Sequence[EyeEntry], trained_on: Sequence[EyeEntry]) -> list[str]:
    """The names of the eyes whose photograph a model was trained on: the same bytes or the same thumbnail."""
    if not eyes or not trained_on:
        return []
    hashes = {eye.sha256 for eye in trained_on}
    names = {eye.name for eye in eyes if eye.sha256 in hashes}
    thumbnails = np.stack([eye.thumbnail for eye in eyes]), np.stack([eye.thumbnail for eye in trained_on])
    return sorted(names | {eyes[i].name for i, _ in same_pictures(*thumbnails)})


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return f"{', '.join(names[:_N_NAMED])}{more}"
