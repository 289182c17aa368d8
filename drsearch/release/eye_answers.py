"""What a version answers for each eye of a split: a table, and pictures of the eyes that tell most about it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.data.images import retina_in_square
from drsearch.data.records import EyeEntry, Eyes
from drsearch.measure.explainers import own_method
from drsearch.measure.figures import jpeg
from drsearch.measure.heat_maps import heat_map_figure
from drsearch.release.photograph_files import PhotographFiles
from drsearch.serving.grader import Grader

ANSWERS_FILE, PICTURES_FOLDER = "predictions.csv", "eyes"
"""Names in the artifacts of a version's test."""

_MOST_WRONG = 200  # of the misclassified eyes, pictures are made of so many
_RIGHT_OF_A_KIND = 3
_SIDE_PX, _LONGEST_PX = 320, 400  # of a square as the network sees it; of a photograph


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


def answer_pictures(
    grader: Grader,
    listed: Sequence[EyeEntry],
    eyes: Eyes,
    answers: Sequence[EyeAnswer],
    photographs: PhotographFiles | None = None,
) -> dict[str, bytes]:
    """JPEG files of the eyes that tell most: the photograph, and beside it the heat map of the class that it is called.

    Args:
        grader: The version.
        listed: The eyes of the split.
        eyes: Their images, in the same order.
        answers: The version's answers, in the same order.
        photographs: Their files; an eye that has none is shown as the network sees it.

    Returns:
        By file name.
    """
    files, method = dict[str, bytes](), own_method(grader.model)
    for place in telling(answers, grader.serving.threshold):
        answer = answers[place]
        photograph = photographs.find(listed[place]) if photographs is not None else None
        if photograph is not None:
            heat = grader.explain(photograph.path.read_bytes(), _LONGEST_PX, method, label=answer.called)
            picture, cam = heat.photograph, heat.cam
        else:
            image = eyes.images[place]
            inside = retina_in_square(image, grader.serving.images)
            maps, _ = grader.explainer(method).maps(image[None], inside[None], answer.called)
            picture, cam = _small(image), _small(maps[0])
        figure = heat_map_figure(picture, cam, answer.probability, grader.serving.threshold, method, beside=True)
        files[f"{answer.eye}.jpg"] = jpeg(figure)
    return files


def _small(picture: NDArray[Any]) -> NDArray[Any]:
    """A square, no larger than needed on a page."""
    side = min(_SIDE_PX, len(picture))
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA))
