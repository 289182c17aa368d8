"""A tracker that keeps every run in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from absl import logging

from drsearch.tracking.events import Artifact, DatasetInput, Event, Image, Metrics, Resumed, RunEnd, RunStart, Tags
from drsearch.tracking.tags import KEY_TAG
from drsearch.tracking.tracker import TrackerRefused


@dataclass
class MemoryRun:
    """One run as the tracker knows it; `images` and `artifacts` hold the files' bytes."""

    experiment: str
    name: str
    started_ms: int
    tags: dict[str, str]
    params: dict[str, str]
    dataset: DatasetInput | None
    status: str = "RUNNING"
    ended_ms: int | None = None
    points: dict[str, dict[tuple[int, int], float]] = field(default_factory=dict)
    images: dict[tuple[str, int], bytes] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)


class MemoryTracker:
    """A `Tracker` whose `runs` and `experiment_tags` can be looked at."""

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}
        self.experiment_tags: dict[str, dict[str, str]] = {}

    def open(self, start: RunStart) -> str:
        """See `Tracker.open`."""
        self.experiment_tags.setdefault(start.experiment, {}).update(start.experiment_tags)
        for run_id, run in self.runs.items():
            if run.tags[KEY_TAG] == start.key and run.experiment == start.experiment:
                return run_id
        run_id = f"run-{len(self.runs)}"
        self.runs[run_id] = MemoryRun(
            start.experiment,
            start.name,
            start.started_ms,
            {**start.tags, KEY_TAG: start.key},
            {name: str(value) for name, value in start.params.items()},
            start.dataset,
        )
        return run_id

    def send(self, run_id: str, events: Sequence[Event], folder: Path) -> None:
        """See `Tracker.send`."""
        if run_id not in self.runs:
            raise TrackerRefused(f"run {run_id} is not there; was it deleted?")
        for event in events:
            self._take(self.runs[run_id], event, folder)

    def _take(self, run: MemoryRun, event: Event, folder: Path) -> None:
        match event:
            case Metrics(step, values, at_ms):
                for name, value in values.items():
                    run.points.setdefault(name, {})[step, at_ms] = value
            case Image(key, step, file):
                if data := _bytes_of(folder / file):
                    run.images.setdefault((key, step), data)
            case Artifact(file, inside):
                if data := _bytes_of(folder / file):
                    run.artifacts["/".join(filter(None, (inside, Path(file).name)))] = data
            case Tags(values=tags):
                run.tags.update(tags)
            case Resumed():
                run.status, run.ended_ms = "RUNNING", None
            case RunEnd(status, at_ms, tags):
                run.status, run.ended_ms = status, at_ms
                run.tags.update(tags)


def _bytes_of(path: Path) -> bytes | None:
    if path.is_file():
        return path.read_bytes()
    logging.warning("%s does not exist any more and is left out of its run.", path)
    return None
