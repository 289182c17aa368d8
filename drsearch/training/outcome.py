"""What came out of a training, and which of two values is the better?"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drsearch.measure.scores import Scores
from drsearch.model.training import EpochResult, Measures
from drsearch.run_folder import MODEL_FILE, OUTCOME_FILE
from drsearch.training.plan import State


@dataclass(frozen=True)
class Predictions:
    """What kept networks say of eyes that did not train them.

    Attributes:
        labels: 0 or 1; an eye that several networks judge stands here several times.
        probabilities: Of RDR.
    """

    labels: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a training.

    Attributes:
        state: How it ended.
        reason: Why, unless it is complete; one sentence.
        value: The objective at the best epoch, NaN if there is none; the mean over folds and repeats.
        epoch: The best epoch, counted from 1; 0 if there is none.
        history: Every finished epoch; with folds or repeats their mean.
        model: The saved network of the best epoch, with its optimizer; None unless complete or pruned, and where
            there are several.
        scores: Validation scores of the kept network, with their intervals; None where there are several, or no eyes
            to validate.
        error: Standard error of the value.
        numbers: What the run says of the kept network, by metric.
        predictions: Of the validation eyes, by the kept network; with folds or repeats of every fold's held-out eyes,
            by the network that fold kept. None where no eyes validate.
    """

    state: State
    reason: str
    value: float
    epoch: int
    history: tuple[EpochResult, ...]
    model: Path | None
    scores: Scores | None
    error: float = math.nan
    numbers: Mapping[str, float] = field(default_factory=dict)
    predictions: Predictions | None = None


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome of a training that ended, complete or pruned, in this folder."""
    file = folder / OUTCOME_FILE
    if not file.exists():
        return None
    found = json.loads(file.read_text())["outcome"]
    history = tuple(
        EpochResult(**{**epoch, "train": Measures(**epoch["train"]), "validation": Measures(**epoch["validation"])})
        for epoch in found["history"]
    )
    model = folder / MODEL_FILE
    return Outcome(
        found["state"],
        found["reason"],
        found["value"],
        found["epoch"],
        history,
        model if model.exists() else None,
        Scores.from_json(found["scores"]) if found["scores"] is not None else None,
        found["error"],
        found["numbers"],
        Predictions(*map(tuple, found["predictions"].values())) if found["predictions"] is not None else None,
    )


def objective_of(result: EpochResult, objective: str) -> float:
    """The value of `study.objective` in an epoch: `val_auc`, `val_accuracy` or `val_loss`."""
    return float(getattr(result.validation, objective.removeprefix("val_")))
