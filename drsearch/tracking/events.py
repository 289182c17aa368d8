"""What a run can log: events, small frozen values, one line of JSON each.

A worker appends them to its journal (`journal.py`); the sender reads them there and sends them to a tracker
(`tracker.py`). Times are milliseconds since 1970, as in MLflow. They are set when an event is created and travel with
it, so that sending an event twice changes nothing.
"""

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from drsearch.masking import masked

Status = Literal["FINISHED", "KILLED", "FAILED"]
Param = bool | int | float | str | None


def now_ms() -> int:
    """The time now, as events carry it: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class DatasetInput:
    """The data set that a run uses.

    Attributes:
        name: For people, for example the folder's name.
        digest: Fingerprint; trackers may cut it (MLflow keeps 36 characters).
        source: Path of the data.
        context: What the run uses it for: `training`, `search` or `testing`.
    """

    name: str
    digest: str
    source: str
    context: str = "training"


@dataclass(frozen=True)
class RunStart:
    """The first event of every journal.

    Attributes:
        key: Unique among all runs; becomes the tag `drsearch.key`, by which the sender finds the run.
        experiment: Name of the experiment; it is created if it does not exist.
        name: Name of the run.
        tags: Tags of the run.
        params: Parameters of the run; never changed.
        started_ms: When the run began.
        dataset: The data set that it uses.
        experiment_tags: Tags of the experiment, set whenever a run of it begins.
    """

    key: str
    experiment: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Param] = field(default_factory=dict)
    started_ms: int = field(default_factory=now_ms)
    dataset: DatasetInput | None = None
    experiment_tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Resumed:
    """The run goes on after an end: it is running again."""

    at_ms: int = field(default_factory=now_ms)


@dataclass(frozen=True)
class Metrics:
    """Metrics of one step (an epoch); each name occurs once per step."""

    step: int
    values: Mapping[str, float]
    at_ms: int = field(default_factory=now_ms)


@dataclass(frozen=True)
class Image:
    """An image of one step; MLflow compares images with the same key across runs and steps.

    Attributes:
        key: Letters, digits, `_ - . /` and blanks; the part before the last slash names a section in MLflow.
        step: The epoch.
        file: PNG or JPEG, relative to the journal's folder.
        at_ms: When it was created.
    """

    key: str
    step: int
    file: str
    at_ms: int = field(default_factory=now_ms)


@dataclass(frozen=True)
class Artifact:
    """A file for the run's artifacts: `file` relative to the journal's folder, `folder` within the artifacts."""

    file: str
    folder: str = ""

    def __post_init__(self) -> None:
        if self.folder.split("/")[0] == "images":
            raise ValueError(
                f"artifact folder {self.folder!r}: one file there hides every picture of the run in MLflow; "
                "choose another name."
            )


@dataclass(frozen=True)
class Tags:
    """Tags that are set after the run began; a later value wins."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class RunEnd:
    """The run is over; `tags` say why."""

    status: Status
    at_ms: int = field(default_factory=now_ms)
    tags: Mapping[str, str] = field(default_factory=dict)


Event = RunStart | Resumed | Metrics | Image | Artifact | Tags | RunEnd
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (RunStart, Resumed, Metrics, Image, Artifact, Tags, RunEnd)
}


def to_line(event: Event) -> str:
    """An event as one line of JSON, without its newline and without the passwords of addresses.

    NaN and infinities are written and read as Python's own JSON does.

    Example:
        >>> to_line(Metrics(step=3, values={"val_auc": 0.5}, at_ms=7))
        '{"event": "Metrics", "step": 3, "values": {"val_auc": 0.5}, "at_ms": 7}'
    """
    return masked(json.dumps({"event": type(event).__name__, **dataclasses.asdict(event)}, ensure_ascii=False))


def from_line(line: str) -> Event:
    """The event that `to_line` wrote.

    Raises:
        ValueError: If `to_line` did not write this line.

    Example:
        >>> from_line(to_line(Resumed(at_ms=7)))
        Resumed(at_ms=7)
    """
    try:
        values: dict[str, Any] = json.loads(line)
        kind = _KINDS[values.pop("event")]
        if kind is RunStart and values["dataset"] is not None:
            values["dataset"] = DatasetInput(**values["dataset"])
        event: Event = kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise ValueError(f"not a line of a run's journal: {line[:80]!r}") from wrong
    return event
