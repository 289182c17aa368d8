"""What a version answers for each eye of a split, as a table, and which eyes tell most about it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsearch.data.records import EyeEntry

ANSWERS_FILE, PICTURES_FOLDER = "predictions.csv", "eyes"
"""Names in the artifacts of a version's test."""

_MOST_WRONG = 200  # of the misclassified eyes, pictures are made of so many
_RIGHT_OF_A_KIND = 3


@dataclass(frozen=True)
class EyeAnswer:
    """A version's answer for one eye.

    Attributes:
        eye: Name of the photograph, without extension.
        grade: Of retinopathy, 0 to 4.
        label: 1 for referable (RDR), 0 for not (NRDR).
        probability: Of RDR.
        called: The class that the version gives at its threshold, 0 or 1.
        quality: How well the photograph shows its retina, 0 to 1.
        patient: A number for the patient within the record set; empty where unknown.
        source: Name of the data set that it comes from; empty where none are pooled.
    """

    eye: str
    grade: int
    label: int
    probability: float
    called: int
    quality: float
    patient: str
    source: str

    @property
    def is_right(self) -> bool:
        """Whether the eye is given its true class."""
        return self.called == self.label


def eye_answers(
    listed: Sequence[EyeEntry], probabilities: NDArray[np.float64], threshold: float
) -> tuple[EyeAnswer, ...]:
    """The answers of a version for some eyes.

    Args:
        listed: The eyes.
        probabilities: Of RDR, in the same order, shape `(n,)`.
        threshold: An eye is called RDR from this probability on.
    """
    return tuple(
        EyeAnswer(
            eye.name,
            eye.grade,
            eye.label,
            float(probability),
            int(probability >= threshold),
            eye.quality.score,
            eye.patient,
            eye.source,
        )
        for eye, probability in zip(listed, probabilities, strict=True)
    )


def answers_csv(answers: Sequence[EyeAnswer]) -> str:
    """The answers as a table with a head, as `read_answers` takes it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EyeAnswer)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(answer) for answer in answers)
    return text.getvalue()


def read_answers(text: str) -> tuple[EyeAnswer, ...]:
    """The answers that `answers_csv` wrote."""
    kinds: dict[str, Any] = {field.name: field.type for field in fields(EyeAnswer)}
    rows = csv.DictReader(io.StringIO(text))
    return tuple(EyeAnswer(**{name: kinds[name](value) for name, value in row.items()}) for row in rows)


def telling(answers: Sequence[EyeAnswer], threshold: float) -> list[int]:
    """The places of the eyes that tell most about a version.

    All misclassified eyes, missed ones first, and of each the surest first; then of both classes the surest and the
    most doubtful of the eyes that are right.

    Args:
        answers: All of a split.
        threshold: An eye is called RDR from this probability on.
    """
    by_doubt = sorted(range(len(answers)), key=lambda i: abs(answers[i].probability - threshold))
    wrong = [i for label in (1, 0) for i in reversed(by_doubt) if answers[i].label == label and not answers[i].is_right]
    right = [[i for i in by_doubt if answers[i].is_right and answers[i].label == label] for label in (1, 0)]
    some = [i for each in right for i in (*each[::-1][:_RIGHT_OF_A_KIND], *each[:_RIGHT_OF_A_KIND])]
    return list(dict.fromkeys([*wrong[:_MOST_WRONG], *some]))
