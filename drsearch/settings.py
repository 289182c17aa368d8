"""Every setting of drsearch: its name, default, range and meaning, as frozen values.

A setting is named `section.field`, everywhere: in gin files, in `--set`, and as the name of
a hyperparameter in a search space. Sections check type and range when they are made.
"""

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from drsearch.constraints import Constraint, parse_constraints
from drsearch.errors import SettingsError
from drsearch.grades import GRADES
from drsearch.metrics import COSTS, OWN, Metric, check_metric, epoch_metric

Value = bool | int | float | str | None

SYMMETRIES = (1, 8)
"""Of a photograph that is graded: as it is, or in all quarter turns and mirrored."""

RESNET = "resnet"
"""The value of `model.backbone` that is drsearch's own network."""

APPLICATIONS = (
    "ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge",
    "DenseNet121", "DenseNet169", "DenseNet201",
    "EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3",
    "EfficientNetB4", "EfficientNetB5", "EfficientNetB6", "EfficientNetB7",
    "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3",
    "EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L",
    "InceptionResNetV2", "InceptionV3",
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large",
    "NASNetMobile", "NASNetLarge",
    "ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2",
    "VGG16", "VGG19", "Xception",
)  # fmt: skip
"""The networks of `keras.applications`, the other values of `model.backbone`."""


def _setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    searched: bool = True,
) -> Any:
    """A field with its meaning and its range: `low` and `high` inclusive, `above` exclusive."""
    metadata = {"doc": doc, "low": low, "above": above, "high": high, "choices": choices, "searched": searched}
    return field(default=default, metadata=metadata)


class _Section:
    """Checks type and range of every field of a section when it is made."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]  # every section is a dataclass
            value = getattr(self, item.name)
            object.__setattr__(self, item.name, _checked(f"{section_name(type(self))}.{item.name}", item, value))


def section_name(section: type) -> str:
    """The name under which a section's settings are written, from its class: `ImageSettings` is `images`."""
    return _NAMES[section]


def _checked(name: str, item: "dataclasses.Field[Any]", value: Any) -> Value:
    kind, optional = item.type, False
    if kind in (int | None, float | None):
        kind, optional = (int if kind == int | None else float), True
    if value is None and optional:
        return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind or not _in_range(value, item.metadata):
        wanted = _wanted(kind, item.metadata, optional)
        raise SettingsError(f"{name} = {value!r}: expected {wanted}, for example {name} = {item.default!r}.")
    return value  # type: ignore[no-any-return]


def _in_range(value: Any, metadata: Mapping[str, Any]) -> bool:
    if metadata["choices"] is not None:
        return value in metadata["choices"]
    if isinstance(value, (bool, str)):
        return True
    return (
        value == value
        and abs(value) != float("inf")
        and (metadata["low"] is None or value >= metadata["low"])
        and (metadata["above"] is None or value > metadata["above"])
        and (metadata["high"] is None or value <= metadata["high"])
    )


def _wanted(kind: Any, metadata: Mapping[str, Any], optional: bool) -> str:
    if metadata["choices"]:
        return "one of " + ", ".join(repr(choice) for choice in metadata["choices"])
    words = {bool: "True or False", int: "a whole number", float: "a number", str: "a text in quotes"}[kind]
    low, above, high = metadata["low"], metadata["above"], metadata["high"]
    if low is not None and high is not None:
        words += f" from {low} to {high}"
    elif above is not None and high is not None:
        words += f" above {above} and up to {high}"
    elif low is not None:
        words += f" of at least {low}"
    elif above is not None:
        words += f" above {above}"
    return words + (" or None" if optional else "")


@dataclass(frozen=True)
class ImageSettings(_Section):
    """What a photograph becomes before the network sees it; shapes the records."""

    image_px: int = _setting(256, "side of the square image, pixels", low=16, high=2048)
    normalisation: str = _setting(
        "none",
        "none, local_mean (4x - 4 blur(x) + 128, after Ben Graham 2015), clahe (contrast-limited equalisation), green "
        "(that channel alone, three times) or surface (divided by a polynomial fitted to the light)",
        choices=("none", "local_mean", "clahe", "green", "surface"),
    )
    fit: str = _setting(
        "squeeze",
        "how a retina that the photograph cuts becomes a square: squeeze it, or pad it to the square about its circle",
        choices=("squeeze", "pad"),
    )
    mask: float = _setting(
        0.0, "radius, share of the side, of a circle outside which all is made even; 0: none", low=0.0, high=0.75
    )


@dataclass(frozen=True)
class DataSettings(_Section):
    """How photographs are divided; never searched."""

    split: str = _setting(
        "blocks",
        "blocks: contiguous by file name within a grade; random: seeded; likeness: groups of alike photographs, seeded",
        choices=("blocks", "random", "likeness"),
    )
    test_fraction: float = _setting(
        0.2, "share carved out for testing where the set has no test split of its own", above=0.0, high=0.5
    )
    validation_fraction: float = _setting(
        0.2, "share of what is left that validates where the set has no validation split", above=0.0, high=0.5
    )
    seed: int = _setting(0, "seed of the split where it is random or by likeness", low=0)
    least_quality: float = _setting(
        0.0, "photographs of a lower quality score are left out; 0: none", low=0.0, high=1.0
    )
    fingerprint: str = _setting("", "the data that these settings were run on; empty: any")


@dataclass(frozen=True)
class TaskSettings(_Section):
    """Which eyes are referable; shapes the records, and is never searched.

    Source:
        Grade 2 or higher with macular edema: Abramoff et al. (2018), npj Digital Medicine 1, 39,
        doi:10.1038/s41746-018-0040-6. Grade 3 or higher is called vision-threatening: Ting et al. (2017), JAMA 318(22),
        doi:10.1001/jama.2017.18152.
    """

    referable_from: int = _setting(
        2, "lowest grade that is referable (RDR): 2, or 3 for vision-threatening retinopathy", low=1, high=4
    )
    edema: bool = _setting(False, "macular edema is referable too, whatever the grade; needs labels that have it")

    def label(self, grade: int, edema: bool = False) -> int:
        """The binary label of an eye: 1 (RDR) where it is referable, else 0 (NRDR).

        Args:
            grade: 0 to 4.
            edema: Whether it has macular edema.

        Raises:
            ValueError: If `grade` is not one of the five grades.

        Example:
            >>> [TaskSettings().label(grade) for grade in GRADES]
            [0, 0, 1, 1, 1]
            >>> TaskSettings(edema=True).label(0, edema=True)
            1
        """
        if grade not in GRADES:
            raise ValueError(f"grade {grade!r} is not one of {GRADES}")
        return int(grade >= self.referable_from or (self.edema and edema))

    @property
    def words(self) -> str:
        """Which eyes are referable, as pages say it.

        Example:
            >>> TaskSettings().words, TaskSettings(edema=True).words
            ('grade 2 or higher', 'grade 2 or higher, or macular edema')
        """
        grade = f"grade {self.referable_from}" + (" or higher" if self.referable_from < GRADES[-1] else "")
        return grade + (", or macular edema" if self.edema else "")


@dataclass(frozen=True)
class AugmentationSettings(_Section):
    """Random changes of training images: each is drawn uniformly from plus to minus its limit."""

    rotation_deg: float = _setting(20.0, "rotation, degrees", low=0.0, high=180.0)
    shift_fraction: float = _setting(0.05, "shift along each axis, fractions of the side", low=0.0, high=0.5)
    zoom_fraction: float = _setting(0.1, "zoom, fraction of the size", low=0.0, high=0.9)
    shear_deg: float = _setting(5.0, "shear, degrees", low=0.0, high=45.0)
    brightness_fraction: float = _setting(0.1, "added brightness, fraction of full scale", low=0.0, high=1.0)
    contrast_fraction: float = _setting(0.0, "contrast about the mean level, fraction of what it is", low=0.0, high=0.9)
    mixup: float = _setting(
        0.0,
        "alpha of the beta distribution of the shares in which two images and their labels are mixed; 0: none are",
        low=0.0,
        high=10.0,
    )
    cutmix: float = _setting(
        0.0,
        "alpha of the beta distribution of the share of an image that a box of another one covers, with its labels; "
        "0: none is pasted. Not together with mixup",
        low=0.0,
        high=10.0,
    )
    flip: bool = _setting(True, "mirror left and right, and top and bottom, each with probability 1/2")
    own: bool = _setting(False, "augment(image, rng) of the space file, after all others")
    strength: float = _setting(1.0, "multiplies every limit above; 0 turns augmentation off", low=0.0, high=5.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixup > 0 and self.cutmix > 0:
            raise SettingsError(
                f"augmentation.mixup = {self.mixup} and augmentation.cutmix = {self.cutmix}: an image is mixed in one "
                "way; set one of the two to 0."
            )


@dataclass(frozen=True)
class ModelSettings(_Section):
    """The simplified ResNetV2: `stages` stages of `blocks_per_stage` blocks, the width doubling by stage.

    `backbone` names another network in its place; `weights` is where that one starts, or the network of a space's own
    `build_model`, of which `hypermodel` keeps what was drawn.
    """

    backbone: str = _setting(RESNET, "resnet (width to drop_path are its own), or a network of "
                             "keras.applications by name, such as EfficientNetV2B0")  # fmt: skip
    width: int = _setting(16, "channels of the stem and the first stage", low=1, high=1024)
    stages: int = _setting(3, "stages, each halving the resolution", low=1, high=6)
    blocks_per_stage: int = _setting(1, "pre-activation residual blocks a stage", low=1, high=16)
    normalisation: str = _setting(
        "batch", "batch, or group (of channels within an image, whatever the batch)", choices=("batch", "group")
    )
    squeeze_excitation: bool = _setting(False, "weigh the channels of a block by their means over all places")
    drop_path: float = _setting(
        0.0,
        "stochastic depth: chance that the last block is skipped for an image; falling to the first",
        low=0.0,
        high=0.9,
    )
    pooling: str = _setting(
        "mean",
        "over all places: mean, mean_max (mean and maximum side by side), log_sum_exp (a soft maximum) or attention "
        "(a mean by learnt weights)",
        choices=("mean", "mean_max", "log_sum_exp", "attention"),
    )
    dropout: float = _setting(0.0, "dropout before the classifier", low=0.0, high=0.95)
    weights: str = _setting("none", "where a backbone of keras.applications or a space's build_model starts: none (at "
                            "random), imagenet, or a weights file")  # fmt: skip
    trainable: str = _setting(
        "all",
        "which weights of a backbone of keras.applications are trained: all, head (its classifier alone, on features "
        "that are computed once), or two_stage (training.head_epochs of head, then all but batch normalisation)",
        choices=("all", "head", "two_stage"),
    )
    hypermodel: str = _setting("", "what was drawn inside a space's build_model, as JSON; empty: the ResNet",
                               searched=False)  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backbone not in (names := (RESNET, *APPLICATIONS)):
            near = near_names(self.backbone, names)
            raise SettingsError(
                f"model.backbone = {self.backbone!r}: expected {RESNET!r} or a network of keras.applications; "
                + (f"did you mean {quoted(near, 'or')}?" if near else f"it has {quoted(APPLICATIONS, 'and')}.")
            )


@dataclass(frozen=True)
class TrainingSettings(_Section):
    """One training."""

    epochs: int = _setting(300, "passes over the training images", low=1, high=100_000)
    batch_size: int = _setting(4, "images a step", low=1, high=4096)
    learning_rate: float = _setting(1e-3, "peak learning rate", above=0.0, high=10.0)
    optimizer: str = _setting("adam", "adam, adamw, sgd (Nesterov momentum 0.9) or rmsprop",
                              choices=("adam", "adamw", "sgd", "rmsprop"))  # fmt: skip
    schedule: str = _setting("constant", "learning rate by epoch: constant, or cosine down to 1 %",
                             choices=("constant", "cosine"))  # fmt: skip
    head_epochs: int = _setting(10, "epochs of the first stage of model.trainable = 'two_stage'",
                                low=0)  # fmt: skip
    unfrozen_rate: float = _setting(0.01, "share of learning_rate at which the second stage of model.trainable = "
                                    "'two_stage' trains", above=0.0, high=1.0)  # fmt: skip
    warmup_epochs: int = _setting(0, "epochs of linear rise to the learning rate", low=0)
    weight_decay: float = _setting(0.0, "decoupled weight decay", low=0.0, high=1.0)
    loss: str = _setting(
        "cross_entropy",
        "what a step lowers: cross_entropy, focal (gamma 2, after Lin et al. 2017), squared_error (the Brier score) or "
        "own (build_loss of the space file)",
        choices=("cross_entropy", "focal", "squared_error", "own"),
    )
    clip_norm: float = _setting(0.0, "norm of all gradients together to which a longer one is cut; 0: none is cut",
                                low=0.0)  # fmt: skip
    label_smoothing: float = _setting(0.0, "share of a label that is spread evenly over both classes in training",
                                      low=0.0, high=0.9)  # fmt: skip
    levels_weight: float = _setting(0.0, "weight of a second loss, of the levels P(grade >= k), k = 1 to 4; 0: none is "
                                    "learned",
                                    low=0.0, high=100.0)  # fmt: skip
    levels_loss: str = _setting(
        "cross_entropy",
        "what the second loss of the levels is: cross_entropy of each, or squared_error of the grade that they sum to",
        choices=("cross_entropy", "squared_error"),
    )
    lesions_weight: float = _setting(0.0, "weight of a second loss, of a map of the boxes around lesions; 0: none is "
                                     "learned",
                                     low=0.0, high=100.0)  # fmt: skip
    edema_weight: float = _setting(0.0, "weight of a second loss, of whether an eye has macular edema, where labels "
                                   "say so; 0: none is learned",
                                   low=0.0, high=100.0)  # fmt: skip
    ema_decay: float = _setting(0.0, "share of a moving average of the weights that a step keeps; the average is "
                                "judged and saved instead of the last weights. 0: none",
                                low=0.0, high=0.99999)  # fmt: skip
    balance: str = _setting(
        "upsample",
        "how the classes count alike: upsample (repeat images of the smaller one), weights (in the loss), draws (as "
        "many images as there are, half of each class), or none",
        choices=("upsample", "weights", "draws", "none"),
    )
    leave_out: str = _setting("", "names of photographs that never train, with commas between; they judge all the same",
                              searched=False)  # fmt: skip
    judged_epoch: str = _setting("best", "whose weights are saved and judge a training: the best of the checkpointed "
                                 "epochs by study.objective, or the last one, which chooses nothing",
                                 choices=("best", "last"))  # fmt: skip
    checkpoint_every_epochs: int = _setting(5, "epochs between checkpoints; the last epoch is one too",
                                            low=1, searched=False)  # fmt: skip
    seed: int = _setting(0, "initial weights, order and augmentation", low=0, searched=False)
    threads: int | None = _setting(None, "that one operation computes with, which the last digits depend on; None: "
                                   "as many as a worker has cores. With batches of 2, 1 is faster",
                                   low=1, searched=False)  # fmt: skip

    input_threads: int | None = _setting(None, "that change pictures beside the step, which no digit depends on; None: "
                                         "half of a worker's cores", low=1, searched=False)  # fmt: skip
    precision: str = _setting("auto", "what a new network computes in: float32, bfloat16 (its weights stay float32) or "
                              "auto: float32, until bfloat16 was measured to pay on a GPU",
                              choices=("auto", "float32", "bfloat16"), searched=False)  # fmt: skip
    xla: str = _setting("auto", "whether XLA compiles a step: on, off or auto: off, until XLA was measured to pay on a "
                        "GPU",
                        choices=("auto", "on", "off"), searched=False)  # fmt: skip
    copy_ahead: str = _setting("auto", "whether batches are copied to the GPU while steps before them run, which no "
                               "digit depends on: on, off or auto: off, until it was measured to pay on a GPU",
                               choices=("auto", "on", "off"), searched=False)  # fmt: skip

    @property
    def left_out(self) -> tuple[str, ...]:
        """The names in `leave_out`."""
        return tuple(name for name in map(str.strip, self.leave_out.split(",")) if name)


@dataclass(frozen=True)
class StudySettings(_Section):
    """The search; never searched itself."""

    sampler: str = _setting(
        "tpe",
        "grid, random, tpe, qmc (scrambled Sobol), nsga2 or cmaes (needs drsearch[cmaes])",
        choices=("grid", "random", "tpe", "qmc", "nsga2", "cmaes"),
    )
    sampler_startup_trials: int = _setting(10, "finished trials before tpe looks at them; cmaes takes one", low=0)
    sampler_population: int = _setting(20, "trials a generation of nsga2", low=2)
    pruner: str = _setting(
        "auto",
        "auto (wilcoxon where search.folds or search.repeats are set, else none), none, median, percentile, "
        "successive_halving, hyperband, patient (median, once a trial stands still) or wilcoxon",
        choices=("auto", "none", "median", "percentile", "successive_halving", "hyperband", "patient", "wilcoxon"),
    )
    pruner_startup_trials: int = _setting(5, "complete trials before median, percentile or patient prunes any", low=0)
    pruner_warmup_epochs: int = _setting(
        10, "epochs before a trial may be pruned; of successive_halving and hyperband the first rung", low=0
    )
    pruner_percentile: float = _setting(25.0, "percent of trials that percentile lets go on", low=0.0, high=100.0)
    pruner_reduction_factor: int = _setting(
        3, "successive_halving and hyperband let one trial in so many past a rung", low=2
    )
    pruner_patience_epochs: int = _setting(20, "epochs without improvement before patient asks median", low=1)
    pruner_p_threshold: float = _setting(
        0.15, "wilcoxon prunes below this p; with fewer than 3 folds no p is", above=0.0, high=1.0
    )
    trials: int | None = _setting(
        None, "trials in total; None: the whole grid, else 20, or no end where another budget is set", low=1
    )
    hours: float | None = _setting(None, "hours in total, over all calls; then trials stop at a checkpoint", above=0.0)
    epochs: int | None = _setting(None, "epochs of all trials in total; then no trial begins", low=1)
    patience_trials: int | None = _setting(
        None, "finished trials in a row without a better one, after which no trial begins", low=1
    )
    objective: str = _setting(
        "val_auc",
        "what makes a trial better: val_auc, val_accuracy, val_sensitivity or val_specificity (at a threshold of 0.5), "
        "val_loss, val_brier, val_kappa (quadratic, of the grades; needs training.levels_weight), "
        "val_sensitivity_at_specificity_0.9, val_specificity_at_sensitivity_0.9, "
        "val_partial_auc_at_specificity_0.8_to_1 (with any levels), or val_own (objective of the space file)",
    )
    second_objective: str = _setting(
        "none",
        "none; parameters (weights) or latency (ms an eye, on the worker), to be small; or what study.objective may be",
    )
    constraints: str = _setting(
        "", "limits that the registered trial must keep, 'sensitivity >= 0.9, parameters <= 300000'; empty: none"
    )
    pick: str = _setting(
        "one_standard_error",
        "which member of the Pareto front is registered: of those within one_standard_error of the best objective the "
        "one with the best second objective, or the one with the best objective",
        choices=("one_standard_error", "best"),
    )
    seed: int = _setting(0, "seed of the sampler and, with its number, of every trial", low=0)
    max_retries: int = _setting(2, "times that a trial whose process died is taken up again", low=0)
    gradcam_eyes: int = _setting(6, "validation eyes explained in every trial, the same for all", low=0, high=64)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_metric("study.objective", self.objective)
        check_metric("study.second_objective", self.second_objective, ("none", *COSTS))
        parse_constraints(self.constraints)

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the objectives, in the order of a trial's values."""
        return (self.objective,) if self.second_objective == "none" else (self.objective, self.second_objective)

    @property
    def limits(self) -> tuple[Constraint, ...]:
        """The constraints, one by one."""
        return parse_constraints(self.constraints)

    @property
    def judged_by(self) -> tuple[str, ...]:
        """The names of all that judges a trial: objectives, and what constraints limit."""
        return tuple(dict.fromkeys((*self.objectives, *(limit.name for limit in self.limits))))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of an epoch that these settings name beside loss, accuracy and AUC, each once."""
        named = map(epoch_metric, self.judged_by)
        return tuple(dict.fromkeys(each for each in named if each and each.kind not in ("loss", "accuracy", "auc")))


@dataclass(frozen=True)
class SearchSettings(_Section):
    """How many trainings judge one setting; never searched itself."""

    folds: int = _setting(
        1,
        "stratified folds of the train and validation eyes that judge a setting; 1: the validation split",
        low=1,
        high=50,
    )
    repeats: int = _setting(1, "times that each is trained, with another seed and other folds", low=1, high=50)
    outer_folds: int = _setting(
        1, "folds of the whole data set of which one is kept away to judge; set by `drsearch cross-validate`", low=1,
        high=50,
    )  # fmt: skip
    outer_fold: int = _setting(
        0,
        "the outer fold that is kept away, counted on through the repeats from 1; 0: none, or each trial's own",
        low=0,
    )


@dataclass(frozen=True)
class FinetuneSettings(_Section):
    """The low-learning-rate stage from the best model, with a fresh Adam."""

    when: str = _setting("underfitting", "underfitting, always or never", choices=("underfitting", "always", "never"))
    learning_rate: float = _setting(1e-5, "learning rate of the fresh Adam", above=0.0, high=10.0)
    epochs: int = _setting(50, "passes over the training images", low=1, high=100_000)
    augmentation_strength: float = _setting(1.5, "times the trial's own augmentation strength", low=0.0, high=5.0)
    underfit_below_accuracy: float = _setting(
        0.95, "train accuracy, at a threshold of 0.5, under which a model may be underfitting", low=0.0, high=1.0
    )


@dataclass(frozen=True)
class RegistrySettings(_Section):
    """Where the best model goes."""

    model_name: str = _setting("retinopathy", "name of the registered model")
    operating_point: str = _setting(
        "youden",
        "how the threshold is chosen on the validation eyes: youden (highest sensitivity + specificity), sensitivity "
        "(the highest threshold that reaches registry.sensitivity) or half (0.5, which chooses nothing)",
        choices=("youden", "sensitivity", "half"),
    )
    sensitivity: float = _setting(
        0.9, "sensitivity on the validation eyes that the operating point 'sensitivity' reaches", above=0.0, high=1.0
    )
    networks: str = _setting(
        "one",
        "what is registered of a study: one network (with folds or repeats their refit), or the mean of the networks "
        "of the best trial's folds and repeats, or of the best trials",
        choices=("one", "folds", "trials"),
    )
    best_trials: int = _setting(5, "trials, the best ones, whose networks registry.networks = 'trials' averages", low=2)
    symmetries: int = _setting(
        1, "views of an eye over which its probability is averaged: 1, or 8 (turned and mirrored)", low=1, high=8
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.symmetries not in SYMMETRIES:
            raise SettingsError(
                f"registry.symmetries = {self.symmetries!r}: expected 1 or 8, for example registry.symmetries = 1."
            )
        if not re.fullmatch(r"[\w.-]+( [\w.-]+)*", self.model_name):
            raise SettingsError(
                f"registry.model_name = {self.model_name!r}: expected letters, digits, '_', '-', '.' and blanks, "
                "for example registry.model_name = 'retinopathy'."
            )


@dataclass(frozen=True)
class GateSettings(_Section):
    """What a version must show before it becomes the champion; asked on the test eyes by `drsearch promote`."""

    sensitivity_margin: float = _setting(
        0.05, "sensitivity that it may lose against the champion, each at its own threshold", low=0.0, high=1.0
    )
    auc_margin: float = _setting(
        0.05,
        "AUC by which it may be worse: the lower end of the 95 % interval of the difference must lie above minus this",
        low=0.0,
        high=1.0,
    )
    first_auc: float = _setting(
        0.5,
        "where there is no champion: the lower end of its AUC's 95 % interval must lie above this",
        low=0.0,
        high=1.0,
    )
    first_sensitivity: float = _setting(
        0.0, "where there is no champion: the sensitivity that it must reach", low=0.0, high=1.0
    )


_NAMES: dict[type, str] = {
    ImageSettings: "images",
    DataSettings: "data",
    TaskSettings: "task",
    AugmentationSettings: "augmentation",
    ModelSettings: "model",
    TrainingSettings: "training",
    StudySettings: "study",
    SearchSettings: "search",
    FinetuneSettings: "finetune",
    RegistrySettings: "registry",
    GateSettings: "gate",
}
SECTIONS: dict[str, type] = {name: section for section, name in _NAMES.items()}
SEARCHED_SECTIONS = ("images", "augmentation", "model", "training")
"""Sections whose settings a search space may draw."""


@dataclass(frozen=True)
class Settings:
    """All sections. `Settings()` is the report's training with everything at its default.

    Attributes:
        images: What a photograph becomes.
        data: How photographs are divided.
        task: Which eyes are referable.
        augmentation: Random changes of training images.
        model: The network.
        training: One training.
        study: The search.
        search: How many trainings judge one setting.
        finetune: The stage after the search.
        registry: Where the best model goes.
        gate: What a champion must show.

    Example:
        >>> settings = Settings().replace({"training.learning_rate": 0.01})
        >>> settings.training.learning_rate
        0.01
    """

    images: ImageSettings = field(default_factory=ImageSettings)
    data: DataSettings = field(default_factory=DataSettings)
    task: TaskSettings = field(default_factory=TaskSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    study: StudySettings = field(default_factory=StudySettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    registry: RegistrySettings = field(default_factory=RegistrySettings)
    gate: GateSettings = field(default_factory=GateSettings)

    @property
    def need_space(self) -> bool:
        """Whether a function of a space file takes part in the training: its network, loss, augmentation or metric."""
        named = self.training.loss == "own" or self.augmentation.own or OWN in self.study.judged_by
        return bool(self.model.hypermodel) or named

    def replace(self, values: Mapping[str, Any]) -> "Settings":
        """The same settings with some changed, by `section.field`.

        Raises:
            SettingsError: If a name is no setting (the nearest one is named) or a value is out of range.
        """
        by_section: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            check_name(name)
            section, _, key = name.partition(".")
            by_section.setdefault(section, {})[key] = value
        changed = {
            section: dataclasses.replace(getattr(self, section), **changes) for section, changes in by_section.items()
        }
        return dataclasses.replace(self, **changed)

    def flat(self) -> dict[str, Value]:
        """Every setting by its name `section.field`, in the order of the sections."""
        return {
            f"{section}.{item.name}": getattr(getattr(self, section), item.name)
            for section, kind in SECTIONS.items()
            for item in fields(kind)
        }


def gin_text(settings: Settings, head: Iterable[str] = ()) -> str:
    """The settings as a gin file that `--config` reads back to the same values, each with its meaning.

    Args:
        settings: What to print.
        head: Lines of comment to begin with.
    """
    lines = [f"# {line}".rstrip() for line in head]
    section = ""
    for name, value in settings.flat().items():
        if name.partition(".")[0] != section:
            section = name.partition(".")[0]
            lines.append("")
        lines.append(f"{name} = {value!r}  # {setting_doc(name)}")
    return "\n".join(lines).lstrip("\n") + "\n"


@functools.cache
def setting_names() -> tuple[str, ...]:
    """The names of all settings, `section.field`."""
    return tuple(f"{section}.{item.name}" for section, kind in SECTIONS.items() for item in fields(kind))


@functools.cache
def searchable_names() -> tuple[str, ...]:
    """The names of the settings that a search space may draw."""
    return tuple(
        f"{section}.{item.name}"
        for section in SEARCHED_SECTIONS
        for item in fields(SECTIONS[section])
        if item.metadata["searched"]
    )


def setting_doc(name: str) -> str:
    """What a setting means, in a few words."""
    section, _, key = name.partition(".")
    return next(str(item.metadata["doc"]) for item in fields(SECTIONS[section]) if item.name == key)


def setting_choices(name: str) -> tuple[str, ...]:
    """The values of a setting that has few; empty for every other setting and for what is no setting.

    Example:
        >>> setting_choices("training.schedule"), setting_choices("augmentation.flip"), setting_choices("study.trials")
        (('constant', 'cosine'), ('True', 'False'), ())
    """
    section, _, key = name.partition(".")
    for item in fields(SECTIONS[section]) if section in SECTIONS else ():
        if item.name == key:
            return ("True", "False") if item.type is bool else tuple(item.metadata["choices"] or ())
    return ()


def check_name(name: str) -> None:
    """Refuse a name that is no setting.

    Raises:
        SettingsError: With the nearest names that are settings, or all of its section.
    """
    if name not in setting_names():
        raise SettingsError(f"{name!r} is no setting; {name_to_write(name, setting_names())}")


def name_to_write(name: str, names: Sequence[str]) -> str:
    """What to write in the place of a name that is no setting: the end of a sentence.

    Args:
        name: Unknown.
        names: Settings, each `section.field`.

    Returns:
        A question with the names that read much like it; where none does, all fields of its section, or all sections.

    Example:
        >>> name_to_write("training.learning_rat", setting_names())
        "did you mean 'training.learning_rate'?"
        >>> name_to_write("data.dice", setting_names())
        "data has 'split', 'test_fraction', 'validation_fraction', 'seed', 'least_quality' and 'fingerprint'."
    """
    if near := near_names(name, names):
        return f"did you mean {quoted(near, 'or')}?"
    sections = list(dict.fromkeys(known.partition(".")[0] for known in names))
    section = near_names(name.partition(".")[0], sections) if "." in name else []
    if not section:
        return f"its section may be {quoted(sections, 'or')}."
    keys = [known.partition(".")[2] for known in names if known.partition(".")[0] == section[0]]
    return f"{section[0]} has {quoted(keys, 'and')}."


def quoted(names: Sequence[str], last_word: str) -> str:
    """Names in a sentence.

    Example:
        >>> quoted(["a", "b", "c"], "or")
        "'a', 'b' or 'c'"
    """
    *others, last = map(repr, names)
    return f"{', '.join(others)} {last_word} {last}" if others else last


_NEAR = 0.75
"""Two words read alike from this ratio on (`difflib`): 'epoch' and 'epochs' have 0.91, 'loss' and 'epochs' 0.4."""


def near_names(name: str, names: Iterable[str]) -> list[str]:
    """The names that read much like `name`, the best first; empty if none does.

    Of `section.field` the fields are compared. The section decides between several only where it is misspelt itself:
    `model.learning_rate` may mean that of any other section.

    Example:
        >>> near_names("trainin.epochs", ["study.epochs", "training.epochs"])
        ['training.epochs']
        >>> near_names("space", ["SETTINGS", "space"]), near_names("loss", ["SETTINGS", "space"])
        (['space'], [])
    """
    names = list(names)
    section, _, key = name.lower().rpartition(".")
    sections = {known.lower().rpartition(".")[0] for known in names}

    def likeness(known: str) -> tuple[float, float]:
        its_section, _, its_key = known.lower().rpartition(".")
        of_keys = _ratio(key, its_key)
        if section in ("", its_section) and len(key) > 3 and key in its_key.split("_"):
            of_keys = max(of_keys, _NEAR)  # 'batch' of 'batch_size'
        of_sections = 0.0 if not section or section in sections - {its_section} else _ratio(section, its_section)
        return of_keys, of_sections

    scores = {known: likeness(known) for known in names}
    best = max((score for score in scores.values() if score[0] >= _NEAR), default=None)
    return [known for known in names if scores[known] == best]


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
