"""The second targets that settings ask for: grades as levels, lesions as a map, macular edema."""

from collections.abc import Iterable, Sequence

import keras

from drsearch.data.pipeline import LabelledImages
from drsearch.datasets.boxes import Box
from drsearch.errors import TrialFailed
from drsearch.metrics import KAPPA
from drsearch.model.edema import edema_head, misfit_for_edema
from drsearch.model.grade_levels import levels_head, misfit_for_levels
from drsearch.model.lesion_map import lesions_head, misfit_for_lesions
from drsearch.model.second_head import SecondHead
from drsearch.settings import Settings, TrainingSettings


def second_heads(eyes: LabelledImages, training: TrainingSettings) -> tuple[SecondHead, ...]:
    """The heads that the settings ask for, in the order in which a network gets them: levels see what lesions show.

    Args:
        eyes: Train the network.
        training: `levels_weight`, `levels_loss`, `lesions_weight` and `edema_weight` are used.

    Raises:
        TrialFailed: If the eyes do not have a target.
    """
    heads = []
    if training.lesions_weight > 0:
        if misfit := misfit_of_boxes(training, eyes.boxes):
            raise TrialFailed(misfit)
        heads.append(lesions_head(eyes.boxes, eyes.grades, eyes.images.shape[1], training.lesions_weight))
    if training.levels_weight > 0:
        if misfit := misfit_of_grades(training, eyes.grades):
            raise TrialFailed(misfit)
        heads.append(levels_head(eyes.grades, training))
    if training.edema_weight > 0:
        if misfit := misfit_of_edema(training, eyes.edema):
            raise TrialFailed(misfit)
        heads.append(edema_head(eyes.edema, training.edema_weight))
    return tuple(heads)


def add_heads(model: keras.Model, heads: Sequence[SecondHead], training: TrainingSettings) -> keras.Model:
    """A network on the same weights that has these heads, where it does not yet; without heads the network itself.

    Raises:
        TrialFailed: If it has no place for them.
    """
    if misfit := misfit_of_network(training, model):
        raise TrialFailed(misfit)
    for head in heads:
        if all(layer.name != head.layer for layer in model.layers):
            model = head.add(model)
    return model


def misfit_of_settings(settings: Settings) -> str:
    """Why a metric or a second target does not go with the other settings, in words; empty if all do.

    Example:
        >>> misfit_of_settings(Settings().replace({"study.constraints": "kappa >= 0.6"})).partition(";")[0]
        'val_kappa is of grades, which a network does not know with training.levels_weight = 0.0'
        >>> misfit_of_settings(Settings().replace({"training.edema_weight": 0.5, "task.edema": True})).partition(";")[0]
        'training.edema_weight = 0.5: with task.edema = True the label of an eye says macular edema already'
    """
    weight = settings.training.levels_weight
    if settings.training.edema_weight > 0 and settings.task.edema:
        return (
            f"training.edema_weight = {settings.training.edema_weight}: with task.edema = True the label of an eye "
            "says macular edema already; leave one of them out"
        )
    if weight > 0 or KAPPA not in settings.study.judged_by:
        return ""
    return (
        f"{KAPPA} is of grades, which a network does not know with training.levels_weight = {weight}; write "
        "training.levels_weight = 0.5, or name another metric"
    )


def misfit_of_grades(training: TrainingSettings, grades: Iterable[int]) -> str:
    """Why the levels that the settings ask for cannot be learned of these grades, in words; empty if they can.

    Example:
        >>> misfit_of_grades(TrainingSettings(levels_weight=0.5), [0, 2, 2]).partition(",")[0]
        'training.levels_weight = 0.5: the train eyes have no grade but 0 and 2'
    """
    different = sorted({int(grade) for grade in grades})
    if training.levels_weight == 0 or len(different) > 2:
        return ""
    return (
        f"training.levels_weight = {training.levels_weight}: the train eyes have no grade but "
        f"{' and '.join(map(str, different))}, so levels say no more than the label; leave it at 0"
    )


def misfit_of_boxes(training: TrainingSettings, boxes: Iterable[Sequence[Box]]) -> str:
    """Why the lesion map that the settings ask for cannot be learned of these boxes, in words; empty if it can.

    Example:
        >>> misfit_of_boxes(TrainingSettings(lesions_weight=1.0), [(), ()]).partition(";")[0]
        'training.lesions_weight = 1.0: no train eye has a box around a red or a bright lesion'
    """
    if training.lesions_weight == 0 or any(box.colour for some in boxes for box in some):
        return ""
    return (
        f"training.lesions_weight = {training.lesions_weight}: no train eye has a box around a red or a bright lesion; "
        "add a table of boxes to the data set (docs/data.md), or write training.lesions_weight = 0"
    )


def misfit_of_edema(training: TrainingSettings, edema: Iterable[bool | None]) -> str:
    """Why the macular edema that the settings ask for cannot be learned of these eyes, in words; empty if it can.

    Example:
        >>> misfit_of_edema(TrainingSettings(edema_weight=0.5), [None, None]).partition(";")[0]
        'training.edema_weight = 0.5: no label of a train eye says whether it has macular edema'
        >>> misfit_of_edema(TrainingSettings(edema_weight=0.5), [False, None]).partition(";")[0]
        'training.edema_weight = 0.5: no train eye has macular edema'
    """
    if training.edema_weight == 0:
        return ""
    known = set(edema) - {None}
    wrong = f"training.edema_weight = {training.edema_weight}: "
    if not known:
        wrong += "no label of a train eye says whether it has macular edema; name its column with --edema-column, or "
        return wrong + "leave it at 0"
    if len(known) == 1:
        return wrong + f"{'every' if known == {True} else 'no'} train eye has macular edema; leave it at 0"
    return ""


def misfit_of_network(training: TrainingSettings, model: keras.Model) -> str:
    """Why a network has no place for the heads that the settings ask for, in words; empty if it has."""
    misfits = (
        misfit_for_lesions(model) if training.lesions_weight > 0 else "",
        misfit_for_levels(model) if training.levels_weight > 0 else "",
        misfit_for_edema(model) if training.edema_weight > 0 else "",
    )
    return next(filter(None, misfits), "")
