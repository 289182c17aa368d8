"""The fit loop of trials and fine-tuning: one epoch after another, each repeatable from a checkpoint."""

import contextlib
import dataclasses
import json
import math
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from drsearch.data.pipeline import LabelledImages, copied_ahead, steps_per_epoch, training_batches
from drsearch.errors import MetricError, TrialFailed
from drsearch.files import open_whole
from drsearch.measure.curve_metrics import OwnMetric, metric_value
from drsearch.measure.kappa import Graded
from drsearch.measure.scores import accuracy, auc
from drsearch.metrics import KAPPA, Metric
from drsearch.model.fused_step import Fit, compiled_fit
from drsearch.model.grade_levels import GradePredictor
from drsearch.model.losses import build_loss
from drsearch.model.own import NOTHING, Own
from drsearch.model.predictor import RDR, Predictor
from drsearch.model.second_targets import add_heads, misfit_of_settings, second_heads
from drsearch.model.weight_average import WeightAverage
from drsearch.settings import Settings, TrainingSettings

_STEPS_A_CALL = 256


@dataclass(frozen=True)
class Measures:
    """Loss and scores of the predictions of one epoch.

    Attributes:
        loss: Mean cross-entropy per image, natural logarithm, whatever loss a step lowers; without the losses that
            layers and second targets add.
        accuracy: Share of images in their true class at the threshold 0.5.
        auc: Area under the ROC curve of the probability of RDR.
        others: Further metrics that settings of the study name, by name.
    """

    loss: float
    accuracy: float
    auc: float
    others: Mapping[str, float] = field(default_factory=dict)

    def by_name(self) -> dict[str, float]:
        """All of them by name."""
        return {"loss": self.loss, "accuracy": self.accuracy, "auc": self.auc, **self.others}

    @classmethod
    def from_names(cls, values: Mapping[str, float]) -> "Measures":
        """The measures of which `by_name` gave these values."""
        others = {name: value for name, value in values.items() if name not in ("loss", "accuracy", "auc")}
        return cls(values["loss"], values["accuracy"], values["auc"], others)


@dataclass(frozen=True)
class EpochResult:
    """One finished epoch.

    Attributes:
        epoch: Counted from 1.
        learning_rate: The one that the schedule gave for the whole epoch.
        seconds: Wall clock, training and validation together.
        train: From the predictions made while training: augmented images, weights as they were
            at each step, batch normalisation over the batch.
        validation: With the weights at the end of the epoch, or their moving average if `training.ema_decay` is set.
    """

    epoch: int
    learning_rate: float
    seconds: float
    train: Measures
    validation: Measures


@dataclass
class TrainingState:
    """The state that an epoch changes.

    Attributes:
        model: The network, with the weights that are judged.
        optimizer: Built for the network's trainable weights.
        training: Schedule and batch size.
        epoch: Epochs finished.
        fit: Takes steps, see `Fit`.
        predict: Returns the network's probabilities.
        seen: Probabilities of RDR of the validation eyes at the end of the last epoch, shape `(n,)`.
        average: The moving average that is judged instead of the last weights; None if the last weights are.
        grade: Returns the grades that the network gives, 0 to 4; None where nothing is measured on grades.
    """

    model: keras.Model
    optimizer: keras.Optimizer
    training: TrainingSettings
    epoch: int
    fit: Fit
    predict: Callable[[Any], NDArray[np.float32]]
    seen: NDArray[np.float32]
    average: WeightAverage | None
    grade: GradePredictor | None = None


@dataclass(frozen=True)
class TrainingData:
    """The data that an epoch reads.

    Attributes:
        batches: One iterator of `training_batches` for all epochs, standing at the next epoch's first batch.
        steps: Batches per epoch.
        validation: Eyes that measure the epoch.
        metrics: What is measured beside loss, accuracy and AUC.
        own_metric: Measures `own` among them.
    """

    batches: Iterator[Any]
    steps: int
    validation: LabelledImages
    metrics: tuple[Metric, ...] = ()
    own_metric: OwnMetric | None = None


def run_epoch(state: TrainingState, data: TrainingData) -> EpochResult:
    """Train one more epoch and measure it.

    Returns:
        The scores on training and validation eyes; `state` is changed.

    Raises:
        TrialFailed: If the loss is not finite.
        ResourceExhaustedError: If memory does not suffice.
    """
    started = time.perf_counter()
    epoch, training = state.epoch + 1, state.training
    rate = learning_rate(epoch, training)
    state.optimizer.learning_rate = rate
    with contextlib.nullcontext() if state.average is None else state.average.training():
        losses, labels, probabilities, *grades = _fit_epoch(state.fit, data)
    train = _measures(labels, probabilities, losses, epoch, training, data, Graded(*grades) if grades else None)
    seen, graded = state.predict(data.validation.images), None
    if state.grade is not None:
        graded = Graded(data.validation.grades, state.grade(data.validation.images))
    validation = _measures(
        data.validation.labels,
        seen,
        _cross_entropies(data.validation.labels, seen),
        epoch,
        training,
        data,
        graded,
    )
    state.epoch, state.seen = epoch, seen
    return EpochResult(epoch, rate, time.perf_counter() - started, train, validation)


def _fit_epoch(fit: Fit, data: TrainingData) -> list[NDArray[Any]]:
    """What all steps of an epoch return, one behind the other.

    A call keeps what its steps return in memory of its own, step by step. Between what a step allocates and frees
    again, thousands of these would keep the memory of a process from being used twice: so many steps make a new call.
    """
    calls = [min(_STEPS_A_CALL, data.steps - done) for done in range(0, data.steps, _STEPS_A_CALL)]
    parts = [[tensor.numpy() for tensor in fit(data.batches, tf.constant(n, tf.int32))] for n in calls]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


class Training:
    """A network, its optimizer and its data, trained epoch by epoch.

    Any Keras model that takes images of 0..255 and ends in a softmax over NRDR and RDR can
    be trained. It is compiled with the optimizer, so that the saved `.keras` holds both.

    Args:
        model: Training starts from its present weights. Heads of second targets (`training.levels_weight`,
            `training.lesions_weight`, `training.edema_weight`) are added if it has none.
        train: Eyes to fit; balanced and augmented here.
        validation: Eyes that measure every epoch, as they are.
        settings: `training` and `augmentation` are used, and the metrics that `study` names.
        own: The functions of a space file, which the settings may name.

    Raises:
        TrialFailed: If the network or the eyes do not suit a second target or a metric.
    """

    def __init__(
        self,
        model: keras.Model,
        train: LabelledImages,
        validation: LabelledImages,
        settings: Settings,
        own: Own = NOTHING,
    ) -> None:
        if misfit := misfit_of_settings(settings):
            raise TrialFailed(misfit)
        with_grades = KAPPA in settings.study.judged_by
        heads = second_heads(train, settings.training)
        model = add_heads(model, heads, settings.training)
        optimizer = build_optimizer(settings.training)
        optimizer.build(model.trainable_variables)
        # Before it is compiled: Keras would build an optimizer for the copy that takes the steps too.
        own_loss = own.build_loss(settings) if own.build_loss and settings.training.loss == "own" else None
        decay, loss = settings.training.ema_decay, build_loss(settings.training, train.labels, own_loss)
        average = WeightAverage(model, optimizer, decay) if decay > 0 else None
        fit = compiled_fit(
            model,
            optimizer,
            loss=loss,
            second_heads=heads,
            average=average,
            with_grades=with_grades,
            xla=settings.training.xla == "on",
        )
        predict = Predictor(model)
        model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")
        nothing_seen = np.empty(0, np.float32)
        grade = GradePredictor(model) if with_grades else None
        self._state = TrainingState(model, optimizer, settings.training, 0, fit, predict, nothing_seen, average, grade)
        self._own = own
        self._own_augment = own.augment if settings.augmentation.own else None
        self._of_augment: list[Exception] = []
        self._train, self._second_targets = train, [head.target for head in heads]
        self._validation = validation
        self._settings = settings
        self._data: TrainingData | None = None
        self._history: list[EpochResult] = []

    @property
    def model(self) -> keras.Model:
        """The network, with the weights reached so far, or with their moving average if `training.ema_decay` is set."""
        return self._state.model

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return self._state.epoch

    @property
    def seen(self) -> NDArray[np.float32]:
        """The probabilities of RDR that measured the last epoch run here, shape `(validation eyes,)`."""
        return self._state.seen

    @property
    def history(self) -> tuple[EpochResult, ...]:
        """Every finished epoch, those before a restored checkpoint too."""
        return tuple(self._history)

    def run_epoch(self) -> EpochResult:
        """Train one more epoch and measure it.

        Returns:
            The scores on training and validation eyes.

        Raises:
            TrialFailed: If the loss is not finite, or memory does not suffice.
            Exception: What the augmentation of a space file raises.
        """
        if self._data is None:
            self._data = self._data_from(self.epoch)
        try:
            result = run_epoch(self._state, self._data)
        except tf.errors.ResourceExhaustedError as wrong:
            raise TrialFailed(
                f"memory does not suffice in epoch {self.epoch + 1} for training.batch_size = "
                f"{self._settings.training.batch_size}; {self._what_fits()}"
            ) from wrong
        except tf.errors.OpError as wrong:
            if not self._of_augment:
                raise
            raise self._of_augment[0] from wrong  # TensorFlow keeps no more than its text
        self._history.append(result)
        return result

    def save(self, path: Path, extra: Mapping[str, Any]) -> None:
        """Write everything that the next epoch depends on to one `.npz` file, whole or not at all.

        Args:
            path: The checkpoint; an old one is replaced.
            extra: More values to save with it, as JSON can hold them.
        """
        about = {
            "epoch": self.epoch,
            "history": [dataclasses.asdict(result) for result in self._history],
            "extra": dict(extra),
        }
        arrays = {name: variable.numpy() for name, variable in self._variables().items()}
        with open_whole(path, replace=True) as file:
            np.savez(file, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)

    def restore(self, path: Path) -> dict[str, Any]:
        """Go to a checkpoint, an earlier or a later one; the epochs after it equal those of the training that saved it.

        Returns:
            The `extra` that it was saved with.

        Raises:
            TrialFailed: If the file is damaged, or belongs to another model or optimizer. Nothing is changed then.
        """
        about, arrays = read_checkpoint(path)
        variables = self._variables()
        if {name: array.shape for name, array in arrays.items()} != {
            name: tuple(variable.shape) for name, variable in variables.items()
        }:
            raise TrialFailed(
                f"{path} is a checkpoint of another model or optimizer; delete it to train from the first epoch"
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self._state.epoch = about["epoch"]
        self._history = [result_from(result) for result in about["history"]]
        self._data = None
        return dict(about["extra"])

    def _variables(self) -> dict[str, tf.Variable]:
        """Weights, batch statistics, states of random layers, the optimizer's, the last weights beside an average."""
        groups = {
            name: [variable.value for variable in owner.variables]
            for name, owner in (("model", self._state.model), ("optimizer", self._state.optimizer))
        }
        if self._state.average is not None:
            groups["last"] = self._state.average.last_weights
        # by number: Keras numbers unnamed layers through the life of a process, so their names may not come again
        return {
            f"{group}/{i:04d}": variable for group, variables in groups.items() for i, variable in enumerate(variables)
        }

    def _augment(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        assert self._own_augment is not None
        try:
            return self._own_augment(image, rng)
        except Exception as wrong:
            self._of_augment.append(wrong)
            raise

    def _what_fits(self) -> str:
        """The largest of the batch sizes 1, 2, 4 and so on of which a step fits into the memory, in words.

        The steps are taken by the network itself, whose training is over. TensorFlow waits ten seconds for memory
        before it gives up, so the sizes rise: one of them does not fit, at most.
        """
        self._data, fits, size = None, 0, 1
        with contextlib.suppress(tf.errors.ResourceExhaustedError):
            while size < self._settings.training.batch_size:
                smaller = dataclasses.replace(self._settings.training, batch_size=size)
                self._state.fit(iter(self._batches(self.epoch, smaller)), tf.constant(1, tf.int32))
                fits, size = size, 2 * size
        return f"a step of {fits} fits" if fits else "not even a step of one image fits, so a smaller network may"

    def _data_from(self, first_epoch: int) -> TrainingData:
        training, metrics = self._settings.training, self._settings.study.metrics
        dataset, steps = self._batches(first_epoch, training), steps_per_epoch(self._train.labels, training)
        batches = copied_ahead(dataset) if training.copy_ahead == "on" else iter(dataset)
        return TrainingData(batches, steps, self._validation, metrics, self._own.objective)

    def _batches(self, first_epoch: int, training: TrainingSettings) -> tf.data.Dataset:
        return training_batches(
            self._train.images,
            self._train.labels,
            training,
            self._settings.augmentation,
            first_epoch,
            self._second_targets,
            self._augment if self._own_augment is not None else None,
        )


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """A checkpoint's values `epoch`, `history` and `extra`, and its arrays by name.

    Raises:
        TrialFailed: If the file is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return json.loads(str(arrays.pop("about"))), arrays
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as wrong:
        raise TrialFailed(f"{path} is no whole checkpoint; delete it to train from the first epoch") from wrong


def build_optimizer(training: TrainingSettings) -> keras.Optimizer:
    """The optimizer named by `training.optimizer`, at the peak learning rate.

    Weight decay is decoupled for every optimizer (Loshchilov and Hutter 2019, arXiv:1711.05101), so that
    `adam` and `adamw` are one here; it leaves out biases and what batch normalisation learns.
    """
    optimizers = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
    }
    special = {"momentum": 0.9, "nesterov": True} if training.optimizer == "sgd" else {}
    optimizer = optimizers[training.optimizer](
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        global_clipnorm=training.clip_norm or None,
        **special,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer


def learning_rate(epoch: int, training: TrainingSettings) -> float:
    """The learning rate of an epoch, by `training.schedule` and `training.warmup_epochs`.

    Args:
        epoch: Counted from 1.
        training: Its `learning_rate` is reached in the epoch after the warm-up; `cosine` ends at 1 % of it in the
            last epoch.

    Example:
        >>> training = TrainingSettings(epochs=5, learning_rate=0.1, warmup_epochs=1, schedule="cosine")
        >>> [round(learning_rate(epoch, training), 3) for epoch in range(1, 6)]
        [0.05, 0.1, 0.075, 0.026, 0.001]
    """
    peak, warmup = training.learning_rate, training.warmup_epochs
    if epoch <= warmup:
        return peak * epoch / (warmup + 1)
    if training.schedule == "constant":
        return peak
    done = (epoch - warmup - 1) / max(1, training.epochs - warmup - 1)
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2)


def set_seeds(seed: int) -> None:
    """Make the weights of models built from now on, and their dropout, a function of `seed`."""
    keras.utils.set_random_seed(seed)


def set_threads(threads: int, cores: int) -> None:
    """Limit the cores of this process; call it before TensorFlow computes anything.

    Args:
        threads: Number of threads of one operation: `training.threads`. The last digits of results depend on it.
        cores: Number of operations that run at once, such as the gradients of a convolution with respect to its input
            and to its filter. No digit depends on it.

    Raises:
        RuntimeError: If TensorFlow has computed something already.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(cores)
    cv2.setNumThreads(1)  # images are changed one by one, in threads of tf.data


def _measures(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    losses: NDArray[np.floating[Any]],
    epoch: int,
    training: TrainingSettings,
    data: TrainingData,
    graded: Graded | None,
) -> Measures:
    loss = float(np.mean(losses, dtype=np.float64))
    if not math.isfinite(loss):
        raise TrialFailed(
            f"the loss is {loss} in epoch {epoch}; "
            f"a smaller training.learning_rate than {training.learning_rate} may help"
        )
    try:
        others = {
            each.name: metric_value(each, labels, probabilities, data.own_metric, graded) for each in data.metrics
        }
    except MetricError as wrong:
        raise TrialFailed(f"{wrong} in epoch {epoch}") from wrong
    return Measures(loss, accuracy(labels, probabilities), auc(labels, probabilities), others)


def _cross_entropies(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    of_label = np.where(labels == RDR, probabilities, 1 - probabilities.astype(np.float64))
    clipped: NDArray[np.float64] = np.clip(of_label, keras.config.epsilon(), 1.0)  # as Keras clips while training
    return -np.log(clipped)


def result_from(stored: Mapping[str, Any]) -> EpochResult:
    """The epoch whose fields `dataclasses.asdict` returned."""
    return EpochResult(
        **{**stored, "train": Measures(**stored["train"]), "validation": Measures(**stored["validation"])}
    )
