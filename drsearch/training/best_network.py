"""What is logged about the network of the best epoch: its file, scores and pictures?"""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from drsearch.data.records import Eyes
from drsearch.data.retina import retina_mask
from drsearch.measure.figures import confusion_figure, png, roc_figure
from drsearch.measure.gradcam import GradCam, overlay
from drsearch.measure.scores import SCORE_NAMES, Scores, scores
from drsearch.model.prediction import Predictor
from drsearch.model.training import EpochResult
from drsearch.run_folder import MODEL_FILE
from drsearch.tracking.events import Artifact, Event, Image, Metrics, now_ms
from drsearch.tracking.markdown import note_table
from drsearch.training.cross_validation import spread
from drsearch.training.outcome import Predictions
from drsearch.training.plan import Plan
from drsearch.training.recorder import Recorder

_PICTURE_STEP = 0
"""Of the kept network's pictures, in every run: MLflow's pages open there, whatever epoch a run came to."""


def fixed_eyes(eyes: Eyes, n: int) -> NDArray[np.int64]:
    """Which eyes are explained in every run: `n` spread evenly over the grades, the same for the same records."""
    by_grade = sorted(range(len(eyes.names)), key=lambda i: (eyes.grades[i], eyes.names[i]))
    places = np.linspace(0, len(by_grade) - 1, min(n, len(by_grade))).round().astype(int)
    return np.array([by_grade[place] for place in places], dtype=np.int64)


def run_note(plan: Plan, best_epoch: int, n_epochs: int, scores: Scores | None) -> str:
    """What MLflow's page of a run says of it, Markdown: the figures that matter, and how to repeat it."""
    lines = [f"Best epoch: {best_epoch} of {n_epochs}" + (f", AUC {scores.auc}." if scores else ".")]
    if scores is not None:
        rows = [(name, str(interval)) for name, interval in scores.labelled]
        lines += ["", *note_table(("", f"validation ({scores.n})"), rows), ""]
        lines.append("95 % intervals. The confusion matrix is in `validation/` of the artifacts.")
        if scores.caution:
            lines += ["", f"**{scores.caution}**"]
    return "\n".join([*lines, "", *plan.head[:1], *(f"`{line}`" for line in plan.head[1:])])


COSTS = ("model_parameters", "model_latency_ms")
_TIMED = 100


class BestNetwork:
    """What is told about the kept network: its file, scores on the validation eyes, pictures.

    Args:
        model: The network.
        validation: The eyes that judge it.
        probabilities: Of RDR, of these eyes.
        epoch: The kept one.
        recorder: Whose network it is.
        folder: Where the files are made.
    """

    def __init__(
        self,
        model: keras.Model,
        validation: Eyes,
        probabilities: NDArray[np.float32],
        epoch: EpochResult,
        recorder: "Recorder",
        folder: Path,
    ) -> None:
        self._model, self._validation, self._probabilities = model, validation, probabilities
        self._plan, self._recorder, self._folder = recorder.plan, recorder, folder
        if not recorder.part:
            model.save(folder / MODEL_FILE)
        self.scores = None if self._plan.is_refit else scores(validation.labels, probabilities)
        self.error = math.nan if self.scores is None else self._error(self.scores)
        self.predictions: Predictions | None = None
        if self.scores is not None:
            self.predictions = Predictions(tuple(validation.labels.tolist()), tuple(probabilities.tolist()))
        self.numbers = {"best_epoch": float(epoch.epoch), "model_parameters": float(model.count_params())}
        if self.scores is not None:
            self.numbers |= self.scores.metrics("best_", "best_val_") | {"best_val_loss": epoch.validation.loss}
        if self._plan.settings.study.cost == "latency":
            self.numbers["model_latency_ms"] = latency_ms(model, validation)
        self._maps: dict[str, str] = {}
        if not recorder.has_pictures:
            return
        if self.scores is not None:
            self._write_json("validation_scores.json", self.scores.to_json())
            threshold = self.scores.threshold
            self._write_png("confusion.png", confusion_figure(self.scores.confusion, threshold, "validation"))
            self._write_png("roc.png", roc_figure(validation.labels, probabilities, threshold))
        self._maps = self._explain()

    def entries(self, step: int) -> list[Event]:
        """Everything that is told at the end, at `step`: numbers of the best epoch, and pictures."""
        at = now_ms()
        entries: list[Event] = [Metrics(step, self._recorder.named(self._told()), at)]
        if not self._recorder.part:
            entries.append(Artifact(MODEL_FILE, "model"))
        if self._recorder.has_pictures and self.scores is not None:
            files = ("validation_scores.json", "confusion.png", "roc.png")
            entries += [Artifact(name, "validation") for name in files]
            entries += [Image(f"validation/{name}", _PICTURE_STEP, f"{name}.png", at) for name in ("confusion", "roc")]
        return entries + [Image(key, _PICTURE_STEP, file, at) for key, file in self._maps.items()]

    def _told(self) -> dict[str, float]:
        """The numbers; of a part the values alone: a run has many parts, and their spread is their doubt."""
        if not self._recorder.part:
            return self.numbers
        values = ("best_epoch", *(f"best_val_{name}" for name in ("loss", *SCORE_NAMES)))
        return {name: value for name, value in self.numbers.items() if name in values}

    def _error(self, found: Scores) -> float:
        """Standard error of the objective: from the interval's width, and of the loss from its spread over eyes."""
        objective = self._plan.settings.study.objective
        if objective == "val_loss":
            of_label = np.where(self._validation.labels == 1, self._probabilities, 1 - self._probabilities)
            losses = -np.log(np.clip(of_label.astype(np.float64), 1e-7, 1.0))
            return spread(losses.tolist()) / math.sqrt(len(losses))
        interval = getattr(found, objective.removeprefix("val_"))
        return float(interval.high - interval.low) / (2 * 1.96)

    def _explain(self) -> dict[str, str]:
        """Where the network looks on some eyes: the pictures' files by key."""
        chosen = fixed_eyes(self._validation, self._plan.settings.study.gradcam_eyes)
        if not len(chosen):
            return {}
        images = self._validation.images[chosen]
        maps, _ = GradCam(self._model).maps(images, np.stack([retina_mask(image) for image in images]))
        drawn = {}
        for i, image, cam in zip(chosen, images, maps, strict=True):
            name = self._validation.names[i]
            file = f"gradcam-{name}.png"
            self._write_png(file, overlay(image, cam))
            drawn[f"gradcam/grade {self._validation.grades[i]} {name}"] = file
        return drawn

    def _write_png(self, name: str, image: NDArray[np.uint8]) -> None:
        (self._folder / name).write_bytes(png(image))  # OpenCV's imwrite hides a full disk

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        (self._folder / name).write_text(json.dumps(value, indent=2) + "\n")


def latency_ms(model: keras.Model, eyes: Eyes) -> float:
    """Milliseconds that a network takes for one eye on the cores that it was trained on.

    The shortest of 100: other trials on the machine only ever add to it (as Python's `timeit` advises).
    """
    predict = Predictor(model)
    seconds = []
    for i in range(_TIMED):
        began = time.perf_counter()
        predict(eyes.images[i % len(eyes.images)][None])
        seconds.append(time.perf_counter() - began)
    return min(seconds) * 1000
