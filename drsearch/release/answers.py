"""What is answered of photographs, in the same words by `drsearch serve`, by MLflow's server and in Python?"""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from drsearch.data.decode import Photograph
from drsearch.data.files import read_file
from drsearch.data.synthetic import draw_eye
from drsearch.errors import PhotographError

if TYPE_CHECKING:
    from drsearch.release.grader import Grader

EXPLANATION_PX = 1024
"""Longer side of an explanation at most: one of a whole photograph has 15 MB."""


@dataclass(frozen=True)
class Answer:
    """What is answered of one photograph.

    Attributes:
        label: `NRDR` or `RDR`.
        probability: Of RDR, in 0..1, after the model's temperature.
        confidence: The probability of the class that `label` names, in 0..1.
        model: Whose verdict it is: `models:/retinopathy/3`.
        explanation: PNG of the photograph with what spoke for `label` in warm colours; None where it was not asked for.
    """

    label: str
    probability: float
    confidence: float
    model: str
    explanation: bytes | None = None


class Answerer:
    """A registered model under its name.

    Args:
        grader: The model.
        model: What its answers call it.
    """

    def __init__(self, grader: "Grader", model: str) -> None:
        self.model = model
        self._grader = grader

    def warm_up(self) -> None:
        """Answer once for a synthetic eye, so that the first photograph takes as long as the next."""
        eye = draw_eye(2, np.random.default_rng(0)).image
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(eye, cv2.COLOR_RGB2BGR))[1].tobytes()
        for _ in range(2):  # TensorFlow goes over a graph again at its second call
            self.answers([jpeg], explain=True)

    def answers(self, photographs: Sequence[object], explain: bool = False) -> list[Answer]:
        """Grade photographs, and explain them where asked.

        Args:
            photographs: Each bytes of a JPEG, PNG or TIFF file, base64 of such bytes, a `pathlib.Path` to one, or
                RGB pixels (uint8, shape `(height, width, 3)`). Text is always base64 and never a path: otherwise
                whoever asks over the network could name files of this machine.
            explain: Whether to add the explanation.

        Raises:
            PhotographError: If one is no photograph, cannot be read whole or shows no retina; of several it says which.
        """
        if not photographs:
            return []
        images, explanations = [], []
        for number, given in enumerate(photographs, 1):
            with _naming(number, len(photographs)):
                photograph = _opened(given)
                images.append(self._grader.image(photograph))
                explanations.append(self._drawn(photograph) if explain else None)
        verdicts = map(self._grader.verdict, self._grader.probabilities(np.stack(images)))
        return [
            Answer(**asdict(verdict), model=self.model, explanation=explanation)
            for verdict, explanation in zip(verdicts, explanations, strict=True)
        ]

    def explanation(self, photograph: Photograph) -> bytes:
        """PNG of the photograph with what spoke for its class in warm colours, at most `EXPLANATION_PX` long.

        Raises:
            PhotographError: If the photograph cannot be read whole or shows no retina.
        """
        with _naming(1, 1):
            return self._drawn(photograph)

    def _drawn(self, photograph: Photograph) -> bytes:
        drawn = self._grader.explain(photograph, EXPLANATION_PX)
        return bytes(cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes())


@contextmanager
def _naming(number: int, n: int) -> Iterator[None]:
    """Says of a refusal which photograph it is about."""
    try:
        yield
    except PhotographError as wrong:
        raise PhotographError(f"{'the photograph' if n == 1 else f'photograph {number} of {n}'} {wrong}") from wrong


def _opened(given: object) -> Photograph:
    if isinstance(given, (bytes, bytearray, memoryview)):
        return bytes(given)
    if isinstance(given, np.ndarray):
        return given
    if isinstance(given, Path):
        try:
            return read_file(given)
        except OSError as wrong:
            raise PhotographError(f"cannot be read from {given} ({wrong.strerror})") from wrong
    if isinstance(given, str):
        try:
            return base64.b64decode("".join(given.split()), validate=True)
        except ValueError as wrong:
            raise PhotographError("is no base64; encode the file's bytes, as `base64 eye.jpg` does") from wrong
    raise PhotographError(f"is {type(given).__name__} and no photograph; give a file's bytes in base64")
