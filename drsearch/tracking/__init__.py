"""What runs have to say, on its way from a worker to MLflow.

    worker -> entries -> journal (a file in the run's folder) -> sender (one process a machine) -> tracker

A worker needs `entries` and `journal` only; MLflow is imported by the sender alone.
"""

from drsearch.tracking.events import (
    Artifact,
    DatasetInput,
    Entry,
    Image,
    Metrics,
    Resumed,
    RunEnd,
    RunStart,
    Tags,
    now_ms,
)
from drsearch.tracking.journal import Journal
from drsearch.tracking.tracker import Tracker, TrackerAway, TrackerRefused

__all__ = [
    "Artifact",
    "DatasetInput",
    "Entry",
    "Image",
    "Journal",
    "Metrics",
    "Resumed",
    "RunEnd",
    "RunStart",
    "Tags",
    "Tracker",
    "TrackerAway",
    "TrackerRefused",
    "now_ms",
]
