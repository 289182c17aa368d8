"""What does a registered model say of a photograph straight from the camera?

A model's files are `model.keras`, `serving.json`, `trained_on.json` and `familiarity.json`. This reads them and
nothing else: no code comes out of an archive, and neither gin nor Optuna is needed.
"""

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from drsearch.data.decode import PhotographData, read_photograph
from drsearch.data.images import eye_image
from drsearch.data.records import EyeEntry
from drsearch.data.retina import retina_mask
from drsearch.errors import RegistryError
from drsearch.grades import CLASS_NAMES
from drsearch.measure.calibration import tempered
from drsearch.measure.familiarity import Familiarity
from drsearch.measure.gradcam import GradCam, overlay
from drsearch.model.predictor import Predictor
from drsearch.run_folder import MODEL_FILE
from drsearch.serving.model_files import FAMILIARITY_FILE, SERVING_FILE, TRAINED_ON_FILE, Serving


@dataclass(frozen=True)
class Verdict:
    """What a model says of one eye.

    Attributes:
        label: `NRDR` or `RDR`.
        probability: Of RDR, in 0..1, after the model's temperature.
        confidence: The probability of the class that `label` names, in 0..1; below 0.5 where the threshold calls an eye
            referable that more likely is not.
        threshold: The probability from which the model calls an eye `RDR`.
        distance: How far the photograph lies from the eyes that the model was trained on; 1 is the limit.
        warning: A sentence if the photograph lies beyond the limit, else None.
    """

    label: str
    probability: float
    confidence: float
    threshold: float
    distance: float
    warning: str | None


class Grader:
    """A registered model, ready to be asked, by several threads at once.

    Args:
        folder: Holds the model's files.

    Raises:
        RegistryError: If a file is missing or is not what drsearch writes: drsearch did not register this model.
    """

    def __init__(self, folder: Path) -> None:
        files = (MODEL_FILE, SERVING_FILE, TRAINED_ON_FILE, FAMILIARITY_FILE)
        if missing := [name for name in files if not (folder / name).is_file()]:
            raise RegistryError(
                f"{folder}: no {missing[0]} there; name a model that this version of drsearch registered."
            )
        self.serving = _read_serving(folder / SERVING_FILE)
        self.model = load_network(folder)
        _check_network(self.model, self.serving, folder)
        self.trained_on = _read_trained_on(folder / TRAINED_ON_FILE)
        self.familiarity = _read_familiarity(folder / FAMILIARITY_FILE, self.serving)
        self._predict = Predictor(self.model)
        self._gradcam: GradCam | None = None
        self._explaining = threading.Lock()  # of its network only one may be built

    def grade(self, photographs: Sequence[PhotographData]) -> list[Verdict]:
        """Say of every photograph whether the eye is referable.

        Args:
            photographs: JPEG, PNG or TIFF files as they come from the camera, or RGB pixels.

        Raises:
            PhotographError: If one cannot be read whole or shows no retina.
        """
        return self.verdicts(np.stack([self.image(photograph) for photograph in photographs]))

    def image(self, photograph: PhotographData) -> NDArray[np.uint8]:
        """What the network sees of a photograph: RGB, shape `(image_px, image_px, 3)`.

        Raises:
            PhotographError: If it cannot be read whole or shows no retina.
        """
        return eye_image(photograph, self.serving.images).image

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The probability of RDR of prepared images.

        Args:
            images: RGB, shape `(n, image_px, image_px, 3)`.

        Returns:
            Shape `(n,)`, in 0..1.
        """
        return tempered(self._predict(images), self.serving.temperature)

    def verdicts(self, images: NDArray[np.uint8]) -> list[Verdict]:
        """Say of prepared images whether the eyes are referable, at the model's own threshold.

        Args:
            images: RGB, shape `(n, image_px, image_px, 3)`.
        """
        probabilities, distances = self.probabilities(images), self.familiarity.distances(images)
        return [self._verdict(float(p), float(d)) for p, d in zip(probabilities, distances, strict=True)]

    def label(self, probability: float) -> str:
        """`RDR` where the probability reaches the model's threshold, else `NRDR`."""
        return CLASS_NAMES[int(probability >= self.serving.threshold)]

    def _verdict(self, probability: float, distance: float) -> Verdict:
        label = self.label(probability)
        confidence = probability if label == CLASS_NAMES[1] else 1 - probability
        warning = None
        if distance > 1:
            warning = (
                f"unlike the {self.familiarity.n_train} eyes that the model was trained on (distance {distance:.2f}, "
                "limit 1); do not rely on this answer"
            )
        return Verdict(label, probability, confidence, self.serving.threshold, distance, warning)

    def explain(self, photograph: PhotographData, longest_px: int | None = None) -> NDArray[np.uint8]:
        """The photograph, coloured where the model saw its class (Grad-CAM, Selvaraju et al. 2017).

        From violet (little) through green to yellow (most). What lies outside the retina is not coloured.

        Args:
            photograph: As for `grade`.
            longest_px: Longer side of the result at most; None: the photograph's own size.

        Returns:
            RGB, shape `(height, width, 3)`.

        Raises:
            PhotographError: If it cannot be read whole or shows no retina.
        """
        eye = eye_image(photograph, self.serving.images)
        called = self.label(self.probabilities(eye.image[None])[0])
        original = _at_most(read_photograph(photograph, longest_px), longest_px)
        height, width = original.shape[:2]
        rows = slice(round(eye.retina.top * height), round(eye.retina.bottom * height))
        columns = slice(round(eye.retina.left * width), round(eye.retina.right * width))
        inside = retina_mask(original[rows, columns])
        with self._explaining:
            self._gradcam = self._gradcam or GradCam(self.model)
            maps, _ = self._gradcam.maps(eye.image[None], inside[None], CLASS_NAMES.index(called))
        cam = np.zeros(original.shape[:2], np.float32)
        cam[rows, columns] = maps[0]
        return overlay(original, cam)


def load_network(folder: Path) -> keras.Model:
    """The network among a model's files, with its optimizer left out.

    Raises:
        RegistryError: If Keras refuses the archive in safe mode: it is damaged, or holds code.
    """
    file = folder / MODEL_FILE
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as wrong:  # Keras's readers raise whatever their parsing of a forged archive ends in
        why = " ".join(str(wrong).split()).partition(". ")[0]
        raise RegistryError(
            f"{file}: not opened, since it is damaged or holds code, which drsearch never runs ({why[:200]}); "
            "name a model that drsearch registered."
        ) from wrong


def _read_serving(file: Path) -> Serving:
    try:
        serving = Serving.from_json(file.read_text())
        fitting = 0 <= serving.threshold <= 1 and 0 < serving.temperature < math.inf
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as wrong:
        raise _not_ours(file) from wrong
    if not fitting:
        raise _not_ours(file)
    return serving


def _read_trained_on(file: Path) -> tuple[EyeEntry, ...]:
    try:
        return tuple(map(EyeEntry.from_json, json.loads(file.read_text())))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as wrong:
        raise _not_ours(file) from wrong


def _read_familiarity(file: Path, serving: Serving) -> Familiarity:
    try:
        familiarity = Familiarity.from_json(file.read_text())
    except ValueError as wrong:
        raise _not_ours(file) from wrong
    if familiarity.image_px != serving.images.image_px:
        raise _not_ours(file)
    return familiarity


def _check_network(model: keras.Model, serving: Serving, folder: Path) -> None:
    side = serving.images.image_px
    takes, gives = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    if takes != (None, side, side, 3) or gives != (None, len(CLASS_NAMES)):
        raise RegistryError(
            f"{folder / MODEL_FILE}: the network takes {takes} and gives {gives}, where {SERVING_FILE} asks for "
            f"{(None, side, side, 3)} and {(None, len(CLASS_NAMES))}; name a model that drsearch registered."
        )


def _not_ours(file: Path) -> RegistryError:
    return RegistryError(f"{file}: not as drsearch writes it; name a model that drsearch registered.")


def _at_most(picture: NDArray[np.uint8], longest_px: int | None) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    if longest_px is None or max(height, width) <= longest_px:
        return picture
    scale = longest_px / max(height, width)
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
