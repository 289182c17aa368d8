"""The network of the best epoch: its file, scores and pictures in the run."""

import io
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from drsearch.data.images import retina_in_square
from drsearch.data.mapped_images import Images
from drsearch.data.records import Eyes
from drsearch.measure.curve_metrics import metric_interval
from drsearch.measure.explainers import explainer
from drsearch.measure.figures import confusion_figure, png, roc_figure
from drsearch.measure.heat_maps import heat_map_figure
from drsearch.measure.kappa import Graded
from drsearch.measure.lesion_layer import LESION_MAP, has_lesion_map
from drsearch.measure.patients import error_of_mean, patient_groups
from drsearch.measure.scores import SCORE_NAMES, TRIAL_THRESHOLD, Interval, Scores, scores
from drsearch.metrics import KAPPA
from drsearch.model.fit import EpochResult
from drsearch.model.grade_levels import GradePredictor
from drsearch.model.mean_network import weights_only
from drsearch.model.predictor import Predictor
from drsearch.run_folder import MODEL_FILE
from drsearch.settings import StudySettings
from drsearch.tracking.artifact_guide import README_FILE, training_guide
from drsearch.tracking.events import Artifact, Event, Image
from drsearch.tracking.markdown import note_table, pictures
from drsearch.tracking.metric_names import BEST_EPOCH, best_metric
from drsearch.tracking.tags import SCORE_TAG_PREFIX
from drsearch.training.outcome import Predictions
from drsearch.training.plan import Plan

COSTS = ("model_parameters", "model_latency_ms")

_FOLD_METRICS = (BEST_EPOCH, *(best_metric(f"val_{name}") for name in ("loss", *SCORE_NAMES)))
"""A fold logs no intervals: the spread over the folds stands for them."""

_MAPS = {"gradcam": "gradcam", "lesions": LESION_MAP}
"""Maps of the best epoch: in the keys of images, and how each is made."""

_PICTURE_STEP = 0
"""Step at which final pictures are logged; MLflow's pages open at step 0."""


class BestNetwork:
    """The network of the best epoch, with its scores on the validation eyes.

    Args:
        model: The network.
        validation: The eyes that judge it; in a refit they have trained it, and are only explained.
        probabilities: Of RDR, of these eyes, shape `(n,)`.
        result: The best epoch.
        plan: The training's.

    Attributes:
        scores: On the validation eyes; None in a refit.
        error: Standard error of the objective; NaN in a refit.
        predictions: For the validation eyes, averaged over the views of `registry.symmetries`, as the registered model
            will answer; None in a refit.
        metrics: What the run logs at its end, by name.
    """

    def __init__(
        self,
        *,
        model: keras.Model,
        validation: Eyes,
        probabilities: NDArray[np.float32],
        result: EpochResult,
        plan: Plan,
    ) -> None:
        self._model, self._validation, self._study = model, validation, plan.settings.study
        self._images, self._probabilities = plan.settings.images, probabilities
        self._symmetries = plan.settings.registry.symmetries
        self.scores: Scores | None = None
        self.error = math.nan
        self.predictions: Predictions | None = None
        self.metrics = {BEST_EPOCH: float(result.epoch), **costs(model, validation, self._study)}
        if not plan.is_refit:
            groups = patient_groups(validation.patients)
            self.scores = scores(validation.labels, probabilities, groups=groups)
            self.predictions = (
                Predictions(tuple(validation.labels.tolist()), tuple(probabilities.tolist()), validation.patients)
                if self._symmetries == 1
                else answers(model, validation, self._symmetries)
            )
            self.metrics |= self.scores.metrics("best_", best_metric("val_")) | {
                best_metric("val_loss"): result.validation.loss
            }
            graded, own = None, plan.own.objective
            if KAPPA in self._study.judged_by:
                graded = Graded(validation.grades, GradePredictor(model)(validation.images))
            for metric in self._study.metrics:
                if interval := metric_interval(
                    metric, validation.labels, probabilities, groups, own=own, graded=graded
                ):
                    self.metrics |= interval.metrics(best_metric(f"val_{metric.name}"))
            self.error = _standard_error(self._study.objective, self.metrics, validation, probabilities)

    @property
    def fold_metrics(self) -> dict[str, float]:
        """The metrics that a run with several networks logs for each."""
        others = {best_metric(f"val_{metric.name}") for metric in self._study.metrics}
        return {name: value for name, value in self.metrics.items() if name in {*_FOLD_METRICS, *others}}

    def save(self, folder: Path) -> list[Event]:
        """The event of the network's file, which this writes into a folder."""
        return save_network(self._model, folder)

    def save_for_mean(self, file: Path) -> list[Event]:
        """No event, but a file of the network without its optimizer, of which a mean of networks is made later."""
        weights_only(self._model).save(file)
        return []

    def draw(self, folder: Path) -> list[Event]:
        """The events of scores and pictures, whose files this writes into a folder."""
        (folder / README_FILE).write_text(training_guide())
        events: list[Event] = [Artifact(README_FILE)]
        if self.scores is not None:
            threshold = self.scores.threshold
            (folder / "validation_scores.json").write_text(json.dumps(self.scores.to_json(), indent=2) + "\n")
            _write_png(folder / "confusion.png", confusion_figure(self.scores.confusion, threshold, "validation"))
            _write_png(folder / "roc.png", roc_figure(self._validation.labels, self._probabilities, threshold))
            files = ("validation_scores.json", "confusion.png", "roc.png")
            events += [Artifact(name, "validation") for name in files]
            events += [Image(f"validation/{name}", _PICTURE_STEP, f"{name}.png") for name in ("confusion", "roc")]
        return events + self._heat_maps(folder)

    def _heat_maps(self, folder: Path) -> list[Event]:
        chosen = fixed_eyes(self._validation, self._study.gradcam_eyes)
        if not len(chosen):
            return []
        images = self._validation.images[chosen]
        inside = np.stack([retina_in_square(image, self._images) for image in images])
        names, grades = [self._validation.names[i] for i in chosen], self._validation.grades[chosen]
        events: list[Event] = []
        for kind, method in _MAPS.items():
            if method == LESION_MAP and not has_lesion_map(self._model):
                continue
            maps, chances = explainer(self._model, method).maps(images, inside)
            for name, grade, image, cam, chance in zip(names, grades, images, maps, chances, strict=True):
                file = f"{kind}-{name}.png"
                _write_png(folder / file, heat_map_figure(image, cam, chance, TRIAL_THRESHOLD, method))
                events.append(Image(f"{kind}/grade {grade} {name}", _PICTURE_STEP, file))
            buffer, halves = io.BytesIO(), maps.astype(np.float16)
            np.savez_compressed(buffer, maps=halves, names=names, grades=grades, probabilities=chances)
            (folder / f"{kind}.npz").write_bytes(buffer.getvalue())
            events.append(Artifact(f"{kind}.npz", "validation"))
        return events


def answers(network: keras.Model, eyes: Eyes, symmetries: int) -> Predictions:
    """The predictions for some eyes, as the registered model would answer.

    Args:
        network: Single, or a mean.
        eyes: None that it trained on.
        symmetries: Views of an eye over which its probability is averaged.
    """
    probabilities = Predictor(network, symmetries=symmetries)(eyes.images)
    return Predictions(tuple(eyes.labels.tolist()), tuple(probabilities.tolist()), eyes.patients)


def score_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """The scores of the best epoch in words, by the names of their metrics: MLflow's tables print all digits of those.

    Example:
        >>> score_tags({"best_val_auc": 0.78612, "best_val_auc_low": 0.673, "best_val_auc_high": 0.8829})
        {'best_val_auc': '0.786 [0.673, 0.883]'}
        >>> score_tags({"best_val_auc": 0.78612, "best_val_auc_std": 0.031})
        {'best_val_auc': '0.786 (SD 0.031)'}
    """
    names = [name for name in metrics if name.startswith(SCORE_TAG_PREFIX)]
    return {name: _in_words(metrics, name) for name in names if not name.endswith(("_low", "_high", "_std"))}


def _in_words(metrics: Mapping[str, float], name: str) -> str:
    if interval := Interval.from_metrics(metrics, name):
        return str(interval)
    deviation = f" (SD {metrics[f'{name}_std']:.3f})" if f"{name}_std" in metrics else ""
    return f"{metrics[name]:.3f}{deviation}"


def save_network(network: keras.Model, folder: Path) -> list[Event]:
    """The event of a network's file, which this writes into a folder."""
    network.save(folder / MODEL_FILE)
    return [Artifact(MODEL_FILE, "model")]


def costs(model: keras.Model, eyes: Eyes, study: StudySettings) -> dict[str, float]:
    """The size of a network, and where an objective asks for it the time that it takes for one of some eyes."""
    latency = {"model_latency_ms": latency_ms(Predictor(model), eyes.images)} if "latency" in study.judged_by else {}
    return {"model_parameters": float(model.count_params()), **latency}


def _standard_error(
    objective: str, metrics: Mapping[str, float], eyes: Eyes, probabilities: NDArray[np.float32]
) -> float:
    """Standard error of the objective: from the interval's width, and of the loss from its spread over patients."""
    if (interval := Interval.from_metrics(metrics, best_metric(objective))) is None:
        of_label = np.where(eyes.labels == 1, probabilities, 1 - probabilities)
        losses = -np.log(np.clip(of_label.astype(np.float64), 1e-7, 1.0))
        return error_of_mean(losses, patient_groups(eyes.patients))
    return (interval.high - interval.low) / (2 * 1.96)


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    path.write_bytes(png(image))  # OpenCV's imwrite hides a full disk


def fixed_eyes(eyes: Eyes, n: int) -> NDArray[np.int64]:
    """Indices of the eyes that every run explains: `n` spread evenly over the grades, the same for the same records."""
    by_grade = sorted(range(len(eyes.names)), key=lambda i: (eyes.grades[i], eyes.names[i]))
    places = np.linspace(0, len(by_grade) - 1, min(n, len(by_grade))).round().astype(int)
    return np.array([by_grade[place] for place in places], dtype=np.int64)


def run_note(plan: Plan, best_epoch: int, n_epochs: int, scores: Scores | None, violated: str = "") -> str:
    """The description of a run in MLflow, Markdown: its scores, and the command that repeats it.

    Args:
        plan: The training's.
        best_epoch: Counted from 1.
        n_epochs: How many epochs were trained.
        scores: On the validation eyes; None in a refit.
        violated: Constraints that it does not keep, with its values.
    """
    lines = [f"Best epoch: {best_epoch} of {n_epochs}" + (f", AUC {scores.auc}." if scores else ".")]
    if violated:
        lines += ["", f"**Violates the study's constraints: {violated}.**"]
    if scores is not None:
        rows = [(name, str(interval)) for name, interval in scores.labelled]
        lines += ["", *note_table(("", f"validation ({scores.n})"), rows), ""]
        lines.append("95 % intervals.")
        if scores.caution:
            lines += ["", f"**{scores.caution}**"]
    lines += ["", *plan.head[:1], *(f"`{line}`" for line in plan.head[1:])]
    if scores is not None:
        lines += ["", pictures("validation/confusion.png", "validation/roc.png")]
    return "\n".join(lines)


def latency_ms(predict: Predictor, images: Images, times: int = 100) -> float:
    """The milliseconds that a network takes for one eye, on the cores of this process.

    The shortest of all times: other processes on the machine only lengthen them (as Python's `timeit` advises).

    Args:
        predict: The network; its views of an eye are counted in.
        images: RGB, shape `(n, h, w, 3)`, asked one after another.
        times: How often.
    """
    seconds = []
    for i in range(times):
        began = time.perf_counter()
        predict(images[i % len(images)][None])
        seconds.append(time.perf_counter() - began)
    return min(seconds) * 1000
