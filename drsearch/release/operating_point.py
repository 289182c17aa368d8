"""Threshold and temperature of a version, chosen on its validation eyes."""

from dataclasses import dataclass
from typing import cast

from drsearch.measure.calibration import fit_temperature, tempered
from drsearch.measure.operating_point import OperatingPoint, Rule, operating_point
from drsearch.measure.patients import patient_groups, patient_scores
from drsearch.measure.scores import OneClassScores, Scores, scores
from drsearch.settings import Settings
from drsearch.training.cross_validation import folds_or_repeats, n_trainings
from drsearch.training.outcome import Predictions


@dataclass(frozen=True)
class ChosenThreshold:
    """Threshold and temperature of a version.

    Attributes:
        temperature: Divides the log-odds.
        point: The threshold on probabilities at that temperature, with its sensitivity and specificity.
        scores: Of the validation eyes, at that threshold.
        patients: Of their patients, at that threshold; None if no patient is known.
        text: Both, how they were chosen, and over how many views probabilities are averaged.
    """

    temperature: float
    point: OperatingPoint
    scores: Scores
    patients: Scores | OneClassScores | None
    text: str


def choose_threshold(predictions: Predictions, settings: Settings) -> ChosenThreshold:
    """Choose temperature and threshold on eyes that did not train the network.

    Args:
        predictions: Of the validation eyes. With folds or repeats: of the networks that judged the setting, since the
            refit was trained on all of them.
        settings: `registry.*` and `search.*` are used.

    Returns:
        Both, and the scores at them.
    """
    temperature, remark = fit_temperature(predictions.labels, predictions.probabilities)
    probabilities = tempered(predictions.probabilities, temperature)
    rule = cast(Rule, settings.registry.operating_point)
    point = operating_point(predictions.labels, probabilities, rule, settings.registry.sensitivity)
    by = {
        "youden": "Youden's J",
        "sensitivity": f"sensitivity of at least {settings.registry.sensitivity:g}",
        "half": "registry.operating_point = 'half'",
    }[rule]
    eyes = f"{point.n} validation eyes"
    if n_trainings(settings.search) > 1:
        eyes = f"{point.n} held-out predictions of the {folds_or_repeats(settings.search)}"
    text = (
        f"Decision threshold {point.threshold:.4f} ({by} on {eyes}: sensitivity {point.sensitivity:.3f}, specificity "
        f"{point.specificity:.3f}). Temperature {temperature:.3f}{f' ({remark})' if remark else ''}."
    )
    if settings.registry.symmetries > 1:
        text += f" Probabilities are means over {settings.registry.symmetries} turned and mirrored views."
    groups = patient_groups(predictions.patients)
    of_eyes = scores(predictions.labels, probabilities, point.threshold, groups=groups)
    of_patients = patient_scores(predictions.labels, probabilities, predictions.patients, point.threshold)
    return ChosenThreshold(temperature, point, of_eyes, of_patients, text)
