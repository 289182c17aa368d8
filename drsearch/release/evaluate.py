"""How good is a model on eyes it has not seen? Scores with intervals; eyes it was trained on are refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from drsearch.data.audit import same_pictures
from drsearch.data.records import EyeEntry, Eyes, RecordSet, count_test_evaluations, joined, read_eyes, read_test_eyes
from drsearch.errors import DataError
from drsearch.home import Home
from drsearch.measure.scores import OneClassScores, Scores, one_class_scores, scores

if TYPE_CHECKING:
    from drsearch.serving.grader import Grader

Split = Literal["train", "validation", "test", "all"]
_N_NAMED = 5


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on one split.

    Attributes:
        split: Which.
        scores: With their 95 % intervals; of eyes of one class what is defined there.
        eyes: Those judged.
        test_evaluations: How many there have been of this test split, this one included; 0 for other splits.
    """

    split: Split
    scores: Scores | OneClassScores
    eyes: Eyes
    test_evaluations: int


def evaluate(grader: "Grader", records: RecordSet, split: Split, home: Home, why: str) -> Evaluation:
    """Judge a model on a split of a record set, at its own threshold.

    Args:
        grader: The model.
        records: Prepared with the model's `images.*`.
        split: `all` is the whole set.
        home: Where test evaluations are counted.
        why: Is noted with the test evaluation.

    Raises:
        DataError: If the split is empty or holds pictures that the model was trained on.
    """
    wanted = records.eyes("train", "validation", "test") if split == "all" else records.eyes(split)
    if not wanted:
        raise DataError(f"the {split} split has no photograph: add some, or evaluate with --split all.")
    _refuse_known(wanted, grader.trained_on, split)
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


def _refuse_known(wanted: Sequence[EyeEntry], known: Sequence[EyeEntry], split: Split) -> None:
    names = same_eyes(wanted, known)
    if names:
        raise DataError(
            f"the model was trained on {len(names)} of the {len(wanted)} pictures of split {split!r}: "
            f"{some_of(names)}; evaluate it on eyes that it has not seen."
        )


def same_eyes(wanted: Sequence[EyeEntry], known: Sequence[EyeEntry]) -> list[str]:
    """Names of wanted eyes whose picture is known: by its bytes, or by its thumbnail where it was encoded again."""
    if not wanted or not known:
        return []
    hashes = {eye.sha256 for eye in known}
    found = {eye.name for eye in wanted if eye.sha256 in hashes}
    thumbnails = np.stack([eye.thumbnail for eye in wanted]), np.stack([eye.thumbnail for eye in known])
    return sorted(found | {wanted[i].name for i, _ in same_pictures(*thumbnails)})


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return f"{', '.join(names[:_N_NAMED])}{more}"
