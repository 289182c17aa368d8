"""How is a model asked once it is registered? At a temperature and a threshold that its validation eyes choose."""

from dataclasses import dataclass
from typing import cast

from drsearch.measure.calibration import fit_temperature, tempered
from drsearch.measure.operating_point import OperatingPoint, Rule, operating_point
from drsearch.measure.scores import Scores, scores
from drsearch.settings import Settings
from drsearch.training.cross_validation import folds_or_repeats, n_trainings
from drsearch.training.outcome import Predictions


@dataclass(frozen=True)
class Operation:
    """How a model is asked.

    Attributes:
        temperature: Divides the log-odds.
        point: The threshold on probabilities at that temperature, and what it does to the validation eyes.
        scores: Of the validation eyes, at that threshold.
        chosen: How both were chosen, in words.
    """

    temperature: float
    point: OperatingPoint
    scores: Scores
    chosen: str


def operation(predictions: Predictions, settings: Settings) -> Operation:
    """Choose temperature and threshold on eyes that did not train the network.

    Args:
        predictions: Of the validation eyes; with folds or repeats those of the networks that judged the setting, which
            stand for the refit: it has no eyes of its own left.
        settings: `registry.operating_point`, `registry.sensitivity` and `search.*` are used.
    """
    temperature, said = fit_temperature(predictions.labels, predictions.probabilities)
    cooled = tempered(predictions.probabilities, temperature)
    rule = cast(Rule, settings.registry.operating_point)
    point = operating_point(predictions.labels, cooled, rule, settings.registry.sensitivity)
    by = "Youden's J" if rule == "youden" else f"a sensitivity of at least {settings.registry.sensitivity:g}"
    eyes = f"{point.n} validation eyes"
    if n_trainings(settings.search) > 1:
        eyes = f"{point.n} held-out predictions of the {folds_or_repeats(settings.search)} that judged its setting"
    chosen = (
        f"threshold {point.threshold:.4f} by {by} on {eyes} (sensitivity {point.sensitivity:.3f}, specificity "
        f"{point.specificity:.3f} there), temperature {temperature:.3f} fitted on the same{': ' + said if said else ''}"
    )
    return Operation(temperature, point, scores(predictions.labels, cooled, point.threshold), chosen)
