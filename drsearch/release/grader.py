"""What does a registered model say of a photograph straight from the camera?

A model's files are `model.keras`, `serving.json` and `trained_on.json`. This reads them and
nothing else: no code comes out of an archive, and neither gin nor Optuna is needed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from drsearch.data.images import EyeImage, eye_image, read_photograph
from drsearch.data.records import EyeEntry
from drsearch.errors import RegistryError
from drsearch.grades import CLASS_NAMES
from drsearch.measure.calibration import tempered
from drsearch.measure.gradcam import GradCam, overlay
from drsearch.model.prediction import Predictor
from drsearch.release.files import MODEL_FILE, SERVING_FILE, TRAINED_ON_FILE, Serving


@dataclass(frozen=True)
class Verdict:
    """What a model says of one eye.

    Attributes:
        label: `NRDR` or `RDR`.
        probability: Of RDR, in 0..1.
    """

    label: str
    probability: float


class Grader:
    """A registered model, ready to be asked.

    Args:
        folder: Holds the model's files.

    Raises:
        RegistryError: If a file is missing: drsearch did not register this model.
    """

    def __init__(self, folder: Path) -> None:
        missing = [name for name in (MODEL_FILE, SERVING_FILE, TRAINED_ON_FILE) if not (folder / name).is_file()]
        if missing:
            raise RegistryError(f"{folder}: no {missing[0]} there; name a model that drsearch registered.")
        self.serving = Serving.from_json((folder / SERVING_FILE).read_text())
        self.model: keras.Model = keras.saving.load_model(folder / MODEL_FILE, compile=False, safe_mode=True)
        self.trained_on = tuple(map(EyeEntry.from_json, json.loads((folder / TRAINED_ON_FILE).read_text())))
        self._predict = Predictor(self.model)
        self._gradcam: GradCam | None = None

    def grade(self, photographs: Sequence[bytes]) -> list[Verdict]:
        """Say of every photograph whether the eye is referable.

        Args:
            photographs: JPEG, PNG or TIFF files as they come from the camera.

        Raises:
            PhotographError: If one cannot be read whole or shows no retina.
        """
        eyes = [eye_image(data, self.serving.images).image for data in photographs]
        return [self.verdict(p) for p in self.probabilities(np.stack(eyes))]

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The probability of RDR of prepared images.

        Args:
            images: RGB, shape `(n, image_px, image_px, 3)`.

        Returns:
            Shape `(n,)`, in 0..1.
        """
        return tempered(self._predict(images), self.serving.temperature)

    def verdict(self, probability: float) -> Verdict:
        """The class at the model's own threshold."""
        return Verdict(CLASS_NAMES[int(probability >= self.serving.threshold)], float(probability))

    def explain(self, photograph: bytes) -> NDArray[np.uint8]:
        """The photograph with what spoke for its class in warm colours (Grad-CAM, Selvaraju et al. 2017).

        Returns:
            RGB at the photograph's own size, shape `(height, width, 3)`.

        Raises:
            PhotographError: If it cannot be read whole or shows no retina.
        """
        eye = eye_image(photograph, self.serving.images)
        self._gradcam = self._gradcam or GradCam(self.model)
        maps, _ = self._gradcam.maps(eye.image[None])
        original = read_photograph(photograph)
        return overlay(original, _on_original(maps[0], eye, original.shape[:2]))


def _on_original(cam: NDArray[np.float32], eye: EyeImage, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A map of the square image, laid where the square was cropped from."""
    height, width = shape
    left, right = round(eye.retina.left * width), round(eye.retina.right * width)
    whole = np.zeros((height, width), np.float32)
    whole[:, left:right] = cv2.resize(cam, (right - left, height), interpolation=cv2.INTER_LINEAR)
    return whole
