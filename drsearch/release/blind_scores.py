"""The lesion-blind baseline of a record set: fitted on its train split, scored where models are."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drsearch.data.records import Eyes, RecordSet, read_in_pieces
from drsearch.errors import MetricError
from drsearch.files import write_whole
from drsearch.grades import CLASS_NAMES
from drsearch.measure.blind_baseline import (
    BesideBlind,
    BlindBaseline,
    beside_blind,
    blind_features,
    blind_scores,
    fit_blind_baseline,
)
from drsearch.measure.patients import patient_groups
from drsearch.measure.scores import Scores

MOST_EYES = 2048
"""Eyes of the train split, and of the validation split, that are used at most: more cost seconds and tell no more."""

_FILE, _VERSION = "blind_baseline.json", 1


@dataclass(frozen=True)
class BlindOutcome:
    """The lesion-blind baseline on the validation eyes of a record set.

    Attributes:
        scores: With 95 % intervals; None where there are none.
        n_train: Eyes that it was fitted on.
        why_not: Why there are no scores, in words that follow `none:`; empty where there are.
    """

    scores: Scores | None
    n_train: int = 0
    why_not: str = ""

    @property
    def text(self) -> str:
        """The scores in one line."""
        if self.scores is None:
            return f"lesion-blind baseline: none: {self.why_not}"
        return (
            f"lesion-blind baseline, from colours and an 8 x 8 picture: AUC {self.scores.auc}, accuracy "
            f"{self.scores.accuracy} on {self.scores.n} validation eyes; a model must be better than that"
        )

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and dicts only, as `--json` prints them."""
        scores = self.scores.to_json() if self.scores is not None else None
        return {"scores": scores, "n_train": self.n_train, "why_not": self.why_not}


def blind_outcome(records: RecordSet) -> BlindOutcome:
    """The baseline on the validation eyes; computed once and kept with the records.

    Args:
        records: The record set; its test split is not read.

    Raises:
        RecordsError: If a shard is missing, torn or altered.
    """
    path = records.folder / _FILE
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, MetricError):
        kept = json.loads(path.read_text())
        if kept.pop("version") == _VERSION:
            values = kept.pop("scores")
            return BlindOutcome(Scores.from_json(values) if values is not None else None, **kept)
    outcome = _computed(records)
    with contextlib.suppress(OSError):  # records that may only be read
        text = json.dumps({"version": _VERSION, **outcome.to_json()}, indent=1) + "\n"
        write_whole(path, text.encode(), replace=True)
    return outcome


def _computed(records: RecordSet) -> BlindOutcome:
    baseline = fitted_baseline(records)
    if isinstance(baseline, str):
        return BlindOutcome(None, why_not=baseline)
    features, labels, patients = _features(read_in_pieces(records, "validation", MOST_EYES))
    if why_not := _lacking(labels, "validation"):
        return BlindOutcome(None, why_not=why_not)
    scores = blind_scores(baseline, features, labels, patient_groups(patients))
    return BlindOutcome(scores, baseline.n_train)


def fitted_baseline(records: RecordSet) -> BlindBaseline | str:
    """The baseline of the train split, or in words why there is none.

    Raises:
        RecordsError: If a shard is missing, torn or altered.
    """
    features, labels, _ = _features(read_in_pieces(records, "train", MOST_EYES))
    return _lacking(labels, "train") or fit_blind_baseline(features, labels)


def model_beside_blind(records: RecordSet, eyes: Eyes, probabilities: ArrayLike) -> BesideBlind | str:
    """A model beside the baseline on eyes that were read anyway, or in words why they cannot be compared.

    Args:
        records: The record set of the eyes; the baseline is fitted on its train split.
        eyes: Of another split.
        probabilities: Of RDR, by the model, shape `(n,)`.

    Raises:
        RecordsError: If a shard is missing, torn or altered.
    """
    baseline = _lacking(eyes.labels, "scored") or fitted_baseline(records)
    if isinstance(baseline, str):
        return baseline
    try:
        groups = patient_groups(eyes.patients)
        return beside_blind(baseline, blind_features(np.asarray(eyes.images)), eyes.labels, probabilities, groups)
    except MetricError as few:
        return str(few)


def blind_text(blind: BesideBlind | str, model: str = "model") -> str:
    """What `model_beside_blind` found, one sentence without its full stop.

    Args:
        blind: The comparison, or why there is none.
        model: The word for the model.
    """
    return blind.text(model) if isinstance(blind, BesideBlind) else f"lesion-blind baseline: none: {blind}"


def blind_caution(blind: BesideBlind | str) -> str:
    """Why the model may have learned the camera, one sentence; empty if it is shown better, or cannot be compared."""
    return blind.caution if isinstance(blind, BesideBlind) else ""


def blind_json(blind: BesideBlind | str) -> dict[str, Any]:
    """What `model_beside_blind` found as numbers, texts, lists and dicts, as `--json` prints it."""
    if isinstance(blind, BesideBlind):
        return {**blind.to_json(), "text": blind_text(blind)}
    return {"scores": None, "auc_difference": None, "p": None, "caution": "", "text": blind_text(blind)}


def _features(pieces: Iterator[Eyes]) -> tuple[NDArray[np.float32], NDArray[np.int64], tuple[str, ...]]:
    """Features, labels and patients of eyes whose images need not be in memory together."""
    features, labels = [blind_features(np.empty((0, 1, 1, 3), np.uint8))], [np.empty(0, np.int64)]
    patients: list[str] = []
    for eyes in pieces:
        features.append(blind_features(np.asarray(eyes.images)))
        labels.append(eyes.labels)
        patients += eyes.patients
    return np.concatenate(features), np.concatenate(labels), tuple(patients)


def _lacking(labels: NDArray[np.int64], split: str) -> str:
    """Which class the eyes lack, in words; empty if none."""
    lacking = [name for label, name in enumerate(CLASS_NAMES) if label not in labels]
    return f"the {split} eyes have no {' and no '.join(lacking)}" if lacking else ""
