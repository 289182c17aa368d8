"""Versions that are judged on the same test eyes, each as its network reads them."""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsearch.data.prepare import prepare
from drsearch.data.records import MANIFEST, Eyes, RecordSet, open_records
from drsearch.datasets.read import Dataset
from drsearch.errors import RecordsError, RegistryError
from drsearch.home import Home
from drsearch.measure.calibration import Calibration, calibration
from drsearch.measure.patients import patient_groups, patient_scores
from drsearch.measure.scores import SCORE_NAMES, Interval, OneClassScores, Scores, scores
from drsearch.release.evaluate import seen_eyes
from drsearch.release.registry import ModelVersion, Registry
from drsearch.serving.grader import Grader
from drsearch.serving.model_files import Serving
from drsearch.settings import ImageSettings, Settings
from drsearch.workers.remote import fetch_record_set

SCORES = (*SCORE_NAMES, "brier", "ece")
"""Scores of a version on such eyes; for Brier score and expected calibration error (`ece`), lower is better."""

TITLES = {"auc": "AUC", "brier": "Brier score", "ece": "calibration error"}
"""Names of scores for people, where they differ."""


@dataclass(frozen=True)
class ScoredVersion:
    """A version's answers for the test eyes, at its own temperature and threshold.

    Attributes:
        version: The version.
        serving: Its temperature, threshold and image settings.
        probabilities: Of RDR, shape `(eyes,)`.
        scores: With 95 % intervals.
        calibration: Brier score and expected calibration error, with 95 % intervals.
        patients: Scores of patients, who are referable if an eye is; None if no patient is known.
    """

    version: ModelVersion
    serving: Serving
    probabilities: NDArray[np.float64]
    scores: Scores
    calibration: Calibration
    patients: Scores | OneClassScores | None = None

    def interval(self, name: str) -> Interval:
        """The value and interval of one of `SCORES`."""
        interval: Interval = getattr(self.scores if name in SCORE_NAMES else self.calibration, name)
        return interval

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and dicts only, as `--json` prints them."""
        return {
            "version": self.version.version,
            "threshold": self.serving.threshold,
            "temperature": self.serving.temperature,
            "scores": {name: self.interval(name).to_json() for name in SCORES},
            "confusion": [list(row) for row in self.scores.confusion],
            "patients": self.patients.to_json() if self.patients is not None else None,
        }


@dataclass(frozen=True)
class Contender:
    """A version, its network, and the record set that holds the test eyes as this network reads them."""

    version: ModelVersion
    grader: Grader
    records: RecordSet

    def seen(self, records: RecordSet) -> str:
        """What of the test split this version was trained on, in words; empty if nothing."""
        return seen_eyes(records.eyes("test"), records.left_out(), self.grader.trained_on, "test eyes")

    def scored(self, eyes: Eyes) -> ScoredVersion:
        """Its answers for the test eyes, as it reads them."""
        probabilities, threshold = self.grader.probabilities(eyes.images), self.grader.serving.threshold
        groups = patient_groups(eyes.patients)
        return ScoredVersion(
            self.version,
            self.grader.serving,
            probabilities,
            scores(eyes.labels, probabilities, threshold, groups=groups),
            calibration(eyes.labels, probabilities, groups=groups),
            patient_scores(eyes.labels, probabilities, eyes.patients, threshold),
        )


class SameEyes:
    """The test eyes of one version, for it and for others.

    They are the test split of the records that the version was trained with, from this home or from the MLflow server.
    With `data` they are the test split of that data set, split as the version's own data was. Versions with different
    image settings (`images.*`) each get their own records of the same photographs.

    Args:
        registry: Where versions are downloaded from.
        version: The version.
        role: The word for it in messages.
        home: Where records lie.
        data: A data set to take the test eyes from.
        skip_bad: Leave out photographs of `data` that cannot be used.
        on_photograph: Called with the number of photographs of `data` that are done, and of all.

    Attributes:
        first: The version.

    Raises:
        RegistryError: If the records are neither here nor on the MLflow server.
    """

    def __init__(
        self,
        registry: Registry,
        version: ModelVersion,
        role: str,
        home: Home,
        data: Dataset | None = None,
        *,
        skip_bad: bool = False,
        on_photograph: Callable[[int, int], None] | None = None,
    ) -> None:
        self._registry, self._role, self._home = registry, role, home
        self._data, self._skip_bad, self._on_photograph = data, skip_bad, on_photograph
        grader = self._grader(version)
        self._serving = grader.serving
        records = self._prepared(data, grader.serving.images) if data else _records_of(version, grader.serving, home)
        self.first = Contender(version, grader, records)

    def with_version(self, version: ModelVersion, role: str) -> Contender:
        """Another version on the same eyes.

        Args:
            version: The version.
            role: The word for it in messages.

        Raises:
            RegistryError: If no record set here holds these eyes as it reads them.
        """
        grader = self._grader(version)
        images = grader.serving.images
        records = self._prepared(self._data, images) if self._data else self._same_eyes_for(grader.serving, role)
        return Contender(version, grader, records)

    def _grader(self, version: ModelVersion) -> Grader:
        with tempfile.TemporaryDirectory() as folder:
            return Grader(self._registry.download(version.uri, Path(folder)))

    def _prepared(self, data: Dataset, images: ImageSettings) -> RecordSet:
        settings = Settings(images=images, data=self._serving.data, task=self._serving.task)
        return prepare(data, settings, self._home, skip_bad=self._skip_bad, on_photograph=self._on_photograph).records

    def _same_eyes_for(self, other: Serving, role: str) -> RecordSet:
        """The record set that holds these test eyes as another version reads them."""
        records, home = self.first.records, self._home
        if other.images == records.images:
            return records
        fetch_record_set(other.fingerprint, home)  # often the same data at these images: look there too
        for manifest in sorted(home.records.glob(f"[!.]*/{MANIFEST}")):
            try:
                candidate = open_records(manifest.parent)
            except RecordsError:
                continue
            if candidate.images == other.images and candidate.test_fingerprint == records.test_fingerprint:
                return candidate
        raise RegistryError(
            f"{role} reads images with {_settings_of(other.images)} and {self._role} with "
            f"{_settings_of(records.images)}, and {home.records} holds the test photographs only as the latter; give "
            "them with --data FOLDER."
        )


def _records_of(version: ModelVersion, serving: Serving, home: Home) -> RecordSet:
    if not fetch_record_set(serving.fingerprint, home):
        raise RegistryError(
            f"{home.records} does not hold record set {serving.fingerprint}, from which version {version.version} was "
            "trained; give the photographs with --data FOLDER."
        )
    return open_records(home.records / serving.fingerprint)


def _settings_of(images: ImageSettings) -> str:
    return ", ".join(f"images.{name} = {value!r}" for name, value in asdict(images).items())
