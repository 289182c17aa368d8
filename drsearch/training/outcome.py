"""What became of a training, and its file `outcome.json`."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from drsearch.measure.scores import Scores
from drsearch.model.fit import EpochResult, Measures
from drsearch.run_folder import MODEL_FILE, OUTCOME_FILE
from drsearch.training.plan import State


@dataclass(frozen=True)
class Predictions:
    """Predictions for eyes that the network did not train on.

    Attributes:
        labels: 0 or 1; an eye that several networks judge appears once per network.
        probabilities: Of RDR, in the same order.
        patients: The patient of each, empty where unknown.
    """

    labels: tuple[int, ...]
    probabilities: tuple[float, ...]
    patients: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a training. Without a best epoch, only state and reason are given.

    Attributes:
        state: How it ended.
        reason: Why, unless it is complete; one sentence.
        value: The objective at the best epoch, NaN if there is none; the mean over folds and repeats.
        epoch: The best epoch, counted from 1; 0 if there is none.
        history: Every finished epoch; with folds or repeats their mean.
        model: The saved network of the best epoch, with its optimizer; None unless complete or pruned. Where there are
            several: their mean, where `registry.networks` asks for it and all are complete, else None.
        scores: Validation scores of that network, with intervals; None where there are several networks, or no eyes
            to validate.
        error: Standard error of the value.
        metrics: Of the best epoch, by name.
        predictions: For the validation eyes, by that network; with folds for every fold's held-out eyes, by the
            network of that fold. None where no eyes validate.
        judged: For the eyes of the outer fold that was kept away, by that network; None without an outer fold. Where
            there are several, by their mean; each network's own are in its own outcome.
    """

    state: State
    reason: str
    value: float = math.nan
    epoch: int = 0
    history: tuple[EpochResult, ...] = ()
    model: Path | None = None
    scores: Scores | None = None
    error: float = math.nan
    metrics: Mapping[str, float] = field(default_factory=dict)
    predictions: Predictions | None = None
    judged: Predictions | None = None

    def to_json(self) -> dict[str, Any]:
        """Everything but the network, as `read_outcome` takes it."""
        values = asdict(self) | {"scores": self.scores.to_json() if self.scores is not None else None}
        del values["model"]
        return values


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome of a training that ended, complete or pruned, in this folder; None if it has not."""
    file = folder / OUTCOME_FILE
    if not file.exists():
        return None
    values = json.loads(file.read_text())["outcome"]
    values["history"] = tuple(
        EpochResult(**epoch | {"train": Measures(**epoch["train"]), "validation": Measures(**epoch["validation"])})
        for epoch in values["history"]
    )
    model = folder / MODEL_FILE
    values["model"] = model if model.exists() else None
    if values["scores"] is not None:
        values["scores"] = Scores.from_json(values["scores"])
    for name in ("predictions", "judged"):
        if values.get(name) is not None:
            values[name] = Predictions(*map(tuple, values[name].values()))
    return Outcome(**values)
