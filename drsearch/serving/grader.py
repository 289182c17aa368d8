"""Grades photographs as the camera wrote them, with a registered model.

Reads only the model's files `model.keras`, `serving.json`, `trained_on.json` and `familiarity.json`: no code of an
archive runs, and neither gin nor Optuna is needed.
"""

import functools
import json
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from drsearch.data.decode import PhotographData, read_photograph
from drsearch.data.images import EyeImage, circle, eye_image, square_of
from drsearch.data.mapped_images import Images
from drsearch.data.records import EyeEntry
from drsearch.data.retina import retina_mask
from drsearch.errors import RegistryError
from drsearch.grades import CLASS_NAMES
from drsearch.measure.calibration import tempered
from drsearch.measure.explainers import Explainer, explainer, own_method
from drsearch.measure.familiarity import Familiarity
from drsearch.measure.heat_maps import heat_map_figure
from drsearch.model.grade_levels import GradePredictor, knows_grades
from drsearch.model.predictor import Predictor
from drsearch.run_folder import MODEL_FILE
from drsearch.serving.gradable import QualityLimits, quality_limits
from drsearch.serving.model_files import FAMILIARITY_FILE, SERVING_FILE, TRAINED_ON_FILE, Serving

T = TypeVar("T")


@dataclass(frozen=True)
class HeatMap:
    """What counts in a photograph for its class.

    Attributes:
        photograph: RGB, uint8, shape `(height, width, 3)`.
        cam: The map, float32, shape `(height, width)`: 0 outside the retina, and the strongest place 1; of `lesion_map`
            probabilities.
        probability: Of RDR, after the model's temperature.
        threshold: The probability from which the model calls an eye `RDR`.
        method: How the map was made.
        label: The class that the map explains, 0 or 1.
    """

    photograph: NDArray[np.uint8]
    cam: NDArray[np.float32]
    probability: float
    threshold: float
    method: str
    label: int

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The photograph under the map, with the answer and the scale of the colours below it: RGB."""
        return heat_map_figure(self.photograph, self.cam, self.probability, self.threshold, self.method, self.label)

    @property
    def grey(self) -> NDArray[np.uint8]:
        """The map alone, in grey, shape `(height, width)`: 255 where it is 1."""
        return np.asarray(np.round(255 * self.cam), np.uint8)


@dataclass(frozen=True)
class Verdict:
    """A model's grade of one eye.

    Attributes:
        label: `NRDR` or `RDR`.
        probability: Of RDR, in 0..1, after the model's temperature.
        confidence: The probability of the class that `label` names, in 0..1; below 0.5 if the probability of RDR lies
            between the threshold and 0.5.
        threshold: The probability from which the model calls an eye `RDR`.
        distance: How unlike the training eyes the photograph is; 1 is the limit.
        warning: A sentence if the distance is beyond the limit, else None.
    """

    label: str
    probability: float
    confidence: float
    threshold: float
    distance: float
    warning: str | None


class Grader:
    """A registered model; several threads may use it at once.

    Args:
        folder: Holds the model's files.

    Attributes:
        serving: Threshold, temperature and image settings.
        model: The network.
        familiarity: Tells photographs that are unlike the training eyes.

    Raises:
        RegistryError: If a file is missing or not as drsearch writes it: drsearch did not register this model.
    """

    def __init__(self, folder: Path) -> None:
        files = (MODEL_FILE, SERVING_FILE, TRAINED_ON_FILE, FAMILIARITY_FILE)
        if missing := [name for name in files if not (folder / name).is_file()]:
            raise RegistryError(
                f"{folder}: no {missing[0]} there; name a model that this version of drsearch registered."
            )
        self.serving = _parsed(folder / SERVING_FILE, Serving.from_json)
        self.model = load_network(folder)
        _check_network(self.model, self.serving, folder)
        self._trained_on = open(folder / TRAINED_ON_FILE, encoding="utf-8")  # noqa: SIM115  # until it is asked for
        weakref.finalize(self, self._trained_on.close)
        self.familiarity = _parsed(folder / FAMILIARITY_FILE, Familiarity.from_json)
        if self.familiarity.image_px != self.serving.images.image_px:
            raise _not_ours(folder / FAMILIARITY_FILE)
        self._predict = Predictor(self.model, symmetries=self.serving.symmetries)
        self._explainers: dict[tuple[str, str], Explainer] = {}
        self._explaining = threading.Lock()  # of each method and layer only one network may be built

    @functools.cached_property
    def trained_on(self) -> Sequence[EyeEntry]:
        """The eyes that the network was trained on.

        They may be many, so they are read when they are asked for; even then the folder may be gone.

        Raises:
            RegistryError: If their file is not as drsearch writes it.
        """
        return _parsed(Path(self._trained_on.name), _eyes, self._trained_on.read)

    @functools.cached_property
    def quality_limits(self) -> QualityLimits:
        """Tells photographs of a lower quality than the training eyes."""
        return self.serving.quality_limits or quality_limits([eye.quality for eye in self.trained_on])

    def grade(self, photographs: Sequence[PhotographData]) -> list[Verdict]:
        """Grade photographs.

        Args:
            photographs: Files as they come from the camera, in any format that `decode` reads, or RGB pixels.

        Returns:
            One verdict per photograph.

        Raises:
            PhotographError: If one cannot be read or shows no retina.
        """
        return self.verdicts(np.stack([self.image(photograph) for photograph in photographs]))

    def eye(self, photograph: PhotographData) -> EyeImage:
        """A photograph as the network sees it, with its quality.

        Raises:
            PhotographError: If it cannot be read or shows no retina.
        """
        return eye_image(photograph, self.serving.images)

    def image(self, photograph: PhotographData) -> NDArray[np.uint8]:
        """The square that the network sees of a photograph: RGB, shape `(image_px, image_px, 3)`.

        Raises:
            PhotographError: If it cannot be read or shows no retina.
        """
        return self.eye(photograph).image

    def probabilities(self, images: Images) -> NDArray[np.float64]:
        """The probabilities of RDR of prepared images.

        Args:
            images: RGB, shape `(n, image_px, image_px, 3)`.

        Returns:
            Shape `(n,)`, in 0..1.
        """
        return tempered(self._predict(images), self.serving.temperature)

    def grades(self, images: Images) -> NDArray[np.int64] | None:
        """The grades 0 to 4 that the network gives prepared images beside its answer.

        Args:
            images: RGB, shape `(n, image_px, image_px, 3)`.

        Returns:
            Shape `(n,)`; None if it was trained without `training.levels_weight`.
        """
        return GradePredictor(self.model, self.serving.symmetries)(images) if knows_grades(self.model) else None

    def verdicts(self, images: NDArray[np.uint8]) -> list[Verdict]:
        """Grade prepared images, at the model's own threshold.

        Args:
            images: RGB, shape `(n, image_px, image_px, 3)`.

        Returns:
            One verdict per image.
        """
        probabilities, distances = self.probabilities(images), self.familiarity.distances(images)
        return [self._verdict(float(p), float(d)) for p, d in zip(probabilities, distances, strict=True)]

    def label(self, probability: float) -> str:
        """The label of a probability: `RDR` from the model's threshold on, below it `NRDR`."""
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

    def explain(
        self,
        photograph: PhotographData,
        longest_px: int | None = None,
        method: str = "",
        layer: str = "",
        label: int | None = None,
    ) -> HeatMap:
        """A heat map of the regions of a photograph that count for a class.

        The map is of the photograph as it is, where its class is that of a mean over turned and mirrored views, too.

        Args:
            photograph: As for `grade`.
            longest_px: Maximum of the longer side of the result; None: the photograph's own size.
            method: How it is made, one of `METHODS`, or `lesion_map`; empty for `own_method`.
            layer: Of the network; empty for the last one with places.
            label: The class, 0 or 1; None for the class that the model calls the eye.

        Raises:
            MetricError: If there is no such method or layer.
            PhotographError: If it cannot be read or shows no retina.
        """
        method = method or own_method(self.model, layer)
        maker = self.explainer(method, layer)
        eye = eye_image(photograph, self.serving.images)
        probability = float(self.probabilities(eye.image[None])[0])
        if label is None:
            label = CLASS_NAMES.index(self.label(probability))
        original = _at_most(read_photograph(photograph, longest_px), longest_px)
        height, width = original.shape[:2]
        rows = slice(round(eye.retina.top * height), round(eye.retina.bottom * height))
        columns = slice(round(eye.retina.left * width), round(eye.retina.right * width))
        square = square_of(eye.retina, height, width, self.serving.images)
        top, left = round(square.top * height), round(square.left * width)
        sides = round(square.bottom * height) - top, round(square.right * width) - left
        part = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        inside = np.zeros(sides, bool)
        inside[part] = retina_mask(original[rows, columns]) & circle(*sides, self.serving.images)[part]
        with self._explaining:
            maps, _ = maker.maps(eye.image[None], inside[None], label)
        cam = np.zeros(original.shape[:2], np.float32)
        cam[rows, columns] = maps[0][part]
        return HeatMap(original, cam, probability, self.serving.threshold, method, label)

    def explainer(self, method: str = "", layer: str = "") -> Explainer:
        """What explains the network: made once for each method and layer.

        Raises:
            MetricError: If there is no such method or layer.
        """
        method = method or own_method(self.model, layer)
        with self._explaining:
            if (method, layer) not in self._explainers:
                self._explainers[method, layer] = explainer(self.model, method, layer)
            return self._explainers[method, layer]


def load_network(folder: Path) -> keras.Model:
    """The network of a model, without its optimizer.

    Args:
        folder: Holds the model's files.

    Returns:
        The network, not compiled.

    Raises:
        RegistryError: If Keras refuses the archive in safe mode: it is damaged, or contains code.
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


def _parsed(file: Path, parse: Callable[[str], T], read: Callable[[], str] | None = None) -> T:
    """The content of one of a model's files, which anybody may have written."""
    try:
        return parse((read or file.read_text)())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as wrong:
        raise _not_ours(file) from wrong


def _eyes(text: str) -> tuple[EyeEntry, ...]:
    return tuple(map(EyeEntry.from_json, json.loads(text)))


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
