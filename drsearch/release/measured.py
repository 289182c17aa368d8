"""Writes what was measured of a version on a data set to the version: metrics, a tag, its card, files and JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from drsearch.data.records import RecordSet
from drsearch.datasets.read import Dataset
from drsearch.release.card_figures import Figures
from drsearch.release.model_card import add_to_card
from drsearch.release.registry import ModelVersion, Registry
from drsearch.tracking.events import DatasetInput


class Measured(Protocol):
    """What was measured.

    Attributes:
        tag: Of the version; its last part names the folder of the artifacts, and the JSON in it.
    """

    tag: ClassVar[str]

    @property
    def text(self) -> str:
        """The answer in one line."""

    @property
    def on(self) -> str:
        """The split, and how it was measured if there are several ways: ends the name of the artifacts' folder."""

    def metrics(self) -> Mapping[str, Sequence[float]]:
        """The figures as a run's metrics, the value of each step from 0 on."""

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and dicts only."""

    def for_card(self, data: str, data_fingerprint: str) -> Figures:
        """What the model card of the version keeps, measured on a data set of this name and fingerprint."""


def log_measured(
    result: Measured,
    files: Mapping[str, bytes],
    registry: Registry,
    version: ModelVersion,
    records: RecordSet,
    dataset: Dataset,
) -> None:
    """Write figures to a version: metrics, a tag, its card, and among the artifacts of its run the files and JSON.

    Args:
        result: The figures.
        files: Chart and pictures, by name.
        registry: Where the version is registered.
        version: The version.
        records: Of the eyes; their fingerprint names the folder of the artifacts.
        dataset: Of the eyes.

    Raises:
        RegistryError: If MLflow does not let this user.
    """
    name = result.tag.rpartition(".")[2]
    registry.log_figures(
        version,
        result.metrics(),
        {result.tag: f"{dataset.name}, {result.text}"},
        {f"{name}.json": json.dumps(result.to_json(), indent=1).encode(), **files},
        f"{name}/{records.fingerprint}-{result.on}",
        DatasetInput(dataset.name, records.fingerprint, dataset.place, "testing"),
    )
    add_to_card(registry, version, result.for_card(dataset.name, records.data_fingerprint))
