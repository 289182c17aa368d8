"""The answer of a registered model to a photograph: the same over HTTP, from MLflow's server and in Python."""

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from drsearch.data.decode import PhotographData
from drsearch.data.quality import Quality
from drsearch.data.synthetic import draw_eye
from drsearch.errors import PhotographError
from drsearch.files import read_file
from drsearch.serving.gradable import NOT_GRADABLE

if TYPE_CHECKING:
    from drsearch.serving.grader import Grader

EXPLANATION_PX = 1024
"""Maximum of the longer side of an explanation; that of a whole photograph would have 15 MB."""


@dataclass(frozen=True)
class Answer:
    """The answer to one photograph.

    Attributes:
        label: `NRDR`, `RDR` or `not gradable`; None if the photograph cannot be read or shows no retina.
        probability: Of RDR, in 0..1, after the model's temperature. Probability, confidence, distance and explanation
            are None unless the label is a grade.
        confidence: The probability of the class that `label` names, in 0..1.
        threshold: The probability from which the model calls an eye `RDR`.
        distance: How unlike the training eyes the photograph is; 1 is the limit.
        warning: A sentence if the distance is beyond the limit, else None.
        quality: How well the photograph shows its retina, 0 to 1; None if it cannot be read or shows none.
        reason: Why the photograph is `not gradable`: its quality lies below what the model was trained on; else None.
        error: Why the photograph cannot be read or shows no retina, else None.
        model: The version that answered, `models:/retinopathy/3`.
        explanation: PNG of the photograph with its heat map (docs/explanations.md); None without `explain`.
    """

    label: str | None
    probability: float | None
    confidence: float | None
    threshold: float
    distance: float | None
    warning: str | None
    quality: float | None
    reason: str | None
    error: str | None
    model: str
    explanation: bytes | None = None

    def to_json(self) -> dict[str, Any]:
        """All fields but the explanation, as JSON values."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "explanation"}


class Answerer:
    """Answers photographs with a registered model.

    Args:
        grader: The model.
        model: Its name in the answers.

    Attributes:
        grader: The model.
        model: Its name in the answers.
    """

    def __init__(self, grader: "Grader", model: str) -> None:
        self.model = model
        self.grader = grader

    def warm_up(self) -> None:
        """Answer for a synthetic eye, so that the first photograph takes no longer than the next."""
        eye = draw_eye(2, np.random.default_rng(0)).image
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(eye, cv2.COLOR_RGB2BGR))[1].tobytes()
        image = self.grader.image(jpeg)
        for _ in range(2):  # TensorFlow optimises a graph again at its second call
            self.grader.verdicts(image[None])
            self._explanation(jpeg)

    def answers(self, photographs: Sequence[object], explain: bool = False) -> list[Answer]:
        """Grade photographs.

        Args:
            photographs: Each bytes of a file, base64 of such bytes, a `pathlib.Path` to one, or
                RGB pixels (uint8, shape `(height, width, 3)`). Text is always base64, never a path: otherwise a
                client could name files of this machine.
            explain: Whether to add an explanation to each answer.

        Returns:
            One answer per photograph, in their order. A photograph that cannot be read or shows no retina has an
            `error`; one whose quality lies below that of the training eyes is `not gradable`, with the `reason`; the
            others are graded.
        """
        images: dict[int, NDArray[np.uint8]] = {}
        qualities: dict[int, Quality] = {}
        explanations: dict[int, bytes] = {}
        errors: dict[int, str] = {}
        for number, item in enumerate(photographs):
            try:
                photograph = _opened(item)
                eye = self.grader.eye(photograph)
                if self.grader.quality_limits.reason(eye.quality) is None:
                    if explain:
                        explanations[number] = self._explanation(photograph)
                    images[number] = eye.image
                qualities[number] = eye.quality
            except PhotographError as wrong:
                errors[number] = f"the photograph {wrong}"
        verdicts = (
            dict(zip(images, self.grader.verdicts(np.stack(list(images.values()))), strict=True)) if images else {}
        )
        threshold, answers = self.grader.serving.threshold, []
        for number in range(len(photographs)):
            if number in errors:
                answers.append(_without_grade(None, threshold, None, None, errors[number], self.model))
                continue
            score = round(qualities[number].score, 3)
            if number in verdicts:
                verdict, png = asdict(verdicts[number]), explanations.get(number)
                answers.append(
                    Answer(**verdict, quality=score, reason=None, error=None, model=self.model, explanation=png)
                )
            else:
                reason = self.grader.quality_limits.reason(qualities[number])
                answers.append(_without_grade(NOT_GRADABLE, threshold, score, reason, None, self.model))
        return answers

    def answer(self, photograph: object, explain: bool = False) -> Answer:
        """Grade one photograph.

        Args:
            photograph: As in `answers`.
            explain: Whether to add an explanation.

        Returns:
            The answer, without `error`.

        Raises:
            PhotographError: If it is not a photograph, cannot be read or shows no retina.
        """
        (answer,) = self.answers([photograph], explain)
        if answer.error is not None:
            raise PhotographError(answer.error)
        return answer

    def explanation(self, photograph: object) -> tuple[bytes, Answer]:
        """The PNG of one photograph's explanation, and its answer.

        Args:
            photograph: As in `answers`.

        Raises:
            PhotographError: If it is not a photograph, cannot be read, shows no retina, or is not gradable.
        """
        answer = self.answer(photograph, explain=True)
        if answer.explanation is None:
            raise PhotographError(f"{NOT_GRADABLE}: {answer.reason}")
        return answer.explanation, answer

    def _explanation(self, photograph: PhotographData) -> bytes:
        image = cv2.cvtColor(self.grader.explain(photograph, EXPLANATION_PX).picture, cv2.COLOR_RGB2BGR)
        return bytes(cv2.imencode(".png", image)[1].tobytes())


def _without_grade(
    label: str | None, threshold: float, quality: float | None, reason: str | None, error: str | None, model: str
) -> Answer:
    return Answer(label, None, None, threshold, None, None, quality, reason, error, model)


def _opened(item: object) -> PhotographData:
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    if isinstance(item, np.ndarray):
        return item
    if isinstance(item, Path):
        try:
            return read_file(item)
        except OSError as wrong:
            raise PhotographError(f"cannot be read from {item} ({wrong.strerror})") from wrong
    if isinstance(item, str):
        try:
            return base64.b64decode("".join(item.split()), validate=True)
        except ValueError as wrong:
            raise PhotographError("is not base64; encode the file's bytes, as `base64 eye.jpg` does") from wrong
    raise PhotographError(f"is {type(item).__name__}, not a photograph; give a file's bytes in base64")
