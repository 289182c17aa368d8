"""What can a run say? Events: small frozen values, one line of JSON each.

A worker appends them to its journal (`journal.py`), the sender reads them there and gives
them to a tracker (`base.py`). Times are milliseconds since 1970, as MLflow keeps them; they
are set where an event is made and travel with it, so that sending an event twice changes nothing.
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
    """The time that events carry: milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class DatasetInput:
    """The data that a run was made from, by fingerprint.

    Attributes:
        name: What people call it, e.g. the folder's name.
        digest: The fingerprint; trackers may cut it (MLflow keeps 36 characters).
        source: Where it lies.
        context: What the run used it for.
    """

    name: str
    digest: str
    source: str
    context: str = "training"


@dataclass(frozen=True)
class RunStart:
    """The first event of every journal.

    Attributes:
        key: Unique among all runs; it becomes the tag `drsearch.key`, by which the run is found again.
        experiment: The experiment's name; made when it is not there.
        name: The run's name.
        tags: Of the run.
        params: Of the run; written once, never changed.
        started_ms: When the run began.
        dataset: What it was made from.
        experiment_tags: Set on the experiment whenever a run of it begins.
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
    """Numbers of one step (an epoch); a name is written once a step."""

    step: int
    values: Mapping[str, float]
    at_ms: int = field(default_factory=now_ms)


@dataclass(frozen=True)
class Image:
    """A picture of one step, to be compared with the same key of other runs and steps.

    Attributes:
        key: Letters, digits, `_ - . /` and blanks; what is before the last slash makes a section in MLflow.
        step: The epoch.
        file: A PNG or JPEG, relative to the journal's folder.
        at_ms: When it was made.
    """

    key: str
    step: int
    file: str
    at_ms: int = field(default_factory=now_ms)


@dataclass(frozen=True)
class Artifact:
    """A file to keep with the run: `file` relative to the journal's folder, `folder` within the run's artifacts."""

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
    """Tags that are known only later; a later value wins."""

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
    """One line of JSON, without its newline, and without the passwords of addresses.

    NaN and infinities are written as Python's own JSON has them, and read back the same.

    Example:
        >>> to_line(Metrics(step=3, values={"val_auc": 0.5}, at_ms=7))
        '{"event": "Metrics", "step": 3, "values": {"val_auc": 0.5}, "at_ms": 7}'
    """
    return masked(json.dumps({"event": type(event).__name__, **dataclasses.asdict(event)}, ensure_ascii=False))


def from_line(line: str) -> Event:
    """The event that `to_line` wrote.

    Raises:
        ValueError: If the line is none of its lines.

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
