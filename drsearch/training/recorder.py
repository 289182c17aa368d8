"""How do the journal of a run and its checkpoints stay in step?"""

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from absl import logging

from drsearch.files import DiskFull, when_space
from drsearch.model.training import EpochResult, Training
from drsearch.run_folder import (
    BEST_CHECKPOINTS,
    CHECKPOINT_FOLDER,
    LATEST_CHECKPOINT,
    OUTCOME_FILE,
    SETTINGS_FILE,
    STAGING_FOLDER,
    best_checkpoint,
)
from drsearch.settings import Settings, gin_text
from drsearch.tracking.checkpoint_bundle import pack
from drsearch.tracking.events import Artifact, Event, Metrics, Resumed, RunEnd, Status, Tags, to_line
from drsearch.tracking.journal import Journal
from drsearch.tracking.tags import outcome_tags
from drsearch.training.objective import Objective
from drsearch.training.outcome import Outcome, objective_of, read_outcome
from drsearch.training.plan import GivenAway, Plan, State
from drsearch.training.run_lock import NotTheOwner, RunLock

T = TypeVar("T")


def is_checkpointed(epoch: int, settings: Settings) -> bool:
    """Whether a training writes a checkpoint after this epoch (counted from 1)."""
    return epoch % settings.training.checkpoint_every_epochs == 0 or epoch == settings.training.epochs


def curve_points(result: EpochResult) -> dict[str, float]:
    """The metrics of one epoch, by name."""
    return {
        **{f"train_{name}": value for name, value in asdict(result.train).items()},
        **{f"val_{name}": value for name, value in asdict(result.validation).items()},
        "learning_rate": result.learning_rate,
        "epoch_seconds": result.seconds,
    }


def run_end(state: State, reason: str) -> RunEnd:
    """The event that ends a run in this state."""
    status: dict[State, Status] = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
    return RunEnd(status[state], tags=outcome_tags(state, reason))


class Recorder:
    """The journal of a run and the checkpoints of the training that it is at, kept in step.

    Args:
        plan: The training, or the trial that has several.
        stop_asked: Whether to give up waiting for space on a full disk.

    Attributes:
        part: Which of the run's trainings that is, by name; empty for an only one, and when all parts are over.
    """

    def __init__(self, plan: Plan, stop_asked: Callable[[], bool]) -> None:
        self.plan = plan
        self.journal = Journal(plan.folder)
        self._stop_asked = stop_asked
        self._pending: list[str] = []  # lines of the journal
        self._open = False
        self.enter("", 0)

    def enter(self, part: str, first_epoch: int) -> None:
        """Turn to a part of the run, before which `first_epoch` epochs were trained in other parts."""
        self.part, self._first_epoch = part, first_epoch
        self.best_epoch = 0
        self.best_value = math.nan
        self.best_probabilities: list[float] = []
        self._folder = self.plan.folder / part.replace("/", "-")
        self._checkpoints = self._folder / CHECKPOINT_FOLDER
        self._latest = self._checkpoints / LATEST_CHECKPOINT
        self._outcome_file = self._folder / OUTCOME_FILE

    @property
    def has_pictures(self) -> bool:
        """Whether this training's network is the one that is shown: the first, where there are several."""
        return self._first_epoch == 0

    def named(self, values: Mapping[str, float]) -> dict[str, float]:
        """Metrics under the name of the part."""
        return {f"{self.part}/{name}" if self.part else name: value for name, value in values.items()}

    @property
    def best_file(self) -> Path:
        """The checkpoint of the best epoch, once another follows it; until then it is the latest."""
        return self._checkpoints / best_checkpoint(self.best_epoch)

    def when_space(self, write: Callable[[], T]) -> T:
        """What `write` returns, once the disk has space for it."""
        return when_space(write, self.plan.folder, self._stop_asked)

    def begin(self) -> None:
        """Take the folder over, and open the run unless an earlier attempt did."""
        self.when_space(self._begin)

    def _begin(self) -> None:
        self.plan.folder.mkdir(parents=True, exist_ok=True)
        with RunLock(self.plan.folder).take(self.plan.owner):
            shutil.rmtree(self._staging.parent, ignore_errors=True)
            self._open = self.journal.whole_size() == 0
            if self._open:
                (self.plan.folder / SETTINGS_FILE).write_text(gin_text(self.plan.settings, self.plan.head))
                self.journal.append([self.plan.start, Artifact(SETTINGS_FILE)])
            self._hand_over()

    def resume(self, training: Training | None) -> None:
        """Go on from the latest checkpoint, if there is one; the run is open after this."""
        self._write(lambda: self._checkpoints.mkdir(parents=True, exist_ok=True))
        if training is not None and (checkpoint := self._newest()) is not None:
            extra = training.restore(checkpoint)
            self.best_epoch, self.best_value = extra["best_epoch"], extra["best_value"]
            self.best_probabilities = extra["best_probabilities"]
            self._write(lambda: self._say_again(extra["journal_size"], extra["lines"]))
        if self._open:
            return
        self._open = True
        resumed: list[Event] = [Resumed(), Tags(outcome_tags("", ""))]
        self._write(lambda: self.journal.append(resumed))
        epoch = self._first_epoch + (training.epoch if training is not None else 0)
        logging.info("%s goes on after epoch %d", self.plan.start.name, epoch)

    def _newest(self) -> Path | None:
        """The latest checkpoint; one that was set aside as the best, where its process died before it wrote another."""
        kept = [self._latest] if self._latest.exists() else sorted(self._checkpoints.glob(BEST_CHECKPOINTS))
        return kept[-1] if kept else None

    def _say_again(self, size: int, lines: list[str]) -> None:
        """Append what a checkpoint says, as far as its process did not before it died."""
        said = set(self.journal.path.read_bytes()[size:].decode(errors="replace").split("\n")[:-1])
        self.journal.append_lines([line for line in lines if line not in said])

    def outcome(self) -> Outcome | None:
        """The outcome, if an earlier attempt reached it; what it had to say is in the journal after this."""
        outcome = read_outcome(self._folder)
        if outcome is not None:
            told = json.loads(self._outcome_file.read_text())
            self.when_space(lambda: self._conclude_again(told["journal_size"], told["lines"]))
        return outcome

    def _conclude_again(self, size: int, lines: list[str]) -> None:
        with RunLock(self.plan.folder).take(self.plan.owner):
            self._say_again(size, lines)
            last = self.journal.path.read_bytes().splitlines()[-1]
            if not self.part and last != lines[-1].encode():  # ended since, as interrupted
                self.journal.append_lines(lines[-1:])

    def add(self, *events: Event) -> None:
        """Note events for the next commit."""
        self._pending += map(to_line, events)

    def tell_epoch(self, result: EpochResult, system: Mapping[str, float]) -> None:
        """Note the numbers of an epoch; those of the machine by the epochs of the whole run."""
        points = curve_points(result)
        if self.plan.is_refit:
            points = {name: value for name, value in points.items() if not name.startswith("val_")}
        if not self.part:
            self.add(Metrics(result.epoch, points | dict(system)))
            return
        self.add(Metrics(result.epoch, self.named(points)), Metrics(self._first_epoch + result.epoch, dict(system)))

    def judge(self, training: Training, result: EpochResult) -> None:
        """Take this epoch for the best if it is that of all checkpointed ones; the commit that follows keeps it."""
        objective = Objective(self.plan.settings.study.objective)
        value = objective_of(result, objective.name)
        if self.best_epoch == 0 or self.plan.is_refit or objective.is_better(value, self.best_value):
            self.best_epoch, self.best_value = result.epoch, value
            self.best_probabilities = training.seen.tolist()

    def commit(self, training: Training) -> None:
        """Checkpoint, then append what was noted since the last commit.

        Raises:
            GivenAway: If another attempt has taken the folder over.
        """

        def write() -> None:
            extra = self._noted() | {
                "best_epoch": self.best_epoch,
                "best_value": self.best_value,
                "best_probabilities": self.best_probabilities,
            }
            if 0 < self.best_epoch < training.epoch and not self.best_file.exists():
                os.replace(self._latest, self.best_file)
            training.save(self._latest, extra)
            for old in self._checkpoints.glob(BEST_CHECKPOINTS):
                if old != self.best_file:
                    old.unlink()
            self._hand_over()
            self.journal.append_lines(self._pending)

        self._write(write)
        self._pending.clear()

    @property
    def _staging(self) -> Path:
        """Where this attempt makes what is told at the end: an attempt that was given away must not write over it."""
        return self.plan.folder / STAGING_FOLDER / self.plan.owner.replace("/", "-")

    def fresh_staging(self) -> Path:
        """The empty folder for what is told at the end."""
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(parents=True)
        return self._staging

    def conclude(self, outcome: Outcome) -> None:
        """Write the outcome down, then append what was noted: the training is over.

        Raises:
            GivenAway: If another attempt has taken the folder over.
        """
        told = {
            "state": outcome.state,
            "reason": outcome.reason,
            "value": outcome.value,
            "epoch": outcome.epoch,
            "history": [asdict(epoch) for epoch in outcome.history],
            "scores": outcome.scores.to_json() if outcome.scores is not None else None,
            "error": outcome.error,
            "numbers": dict(outcome.numbers),
            "predictions": asdict(outcome.predictions) if outcome.predictions is not None else None,
        }

        def write() -> None:
            for made in self._staging.iterdir():
                os.replace(made, self.plan.folder / made.name)
            unfinished = self._outcome_file.with_suffix(".part")
            unfinished.write_text(json.dumps(self._noted() | {"outcome": told}))
            os.replace(unfinished, self._outcome_file)
            self._hand_over()
            self.journal.append_lines(self._pending)

        self._write(write)
        self._pending.clear()
        for done_with in (self._checkpoints, self._staging.parent):  # the kept network is in model.keras
            shutil.rmtree(done_with, ignore_errors=True)

    def _hand_over(self) -> None:
        """Let other machines go on from here, before the journal says so."""
        if self.plan.shared_as is not None:
            pack(self.plan.folder, self.plan.shared_as, self._pending)

    def _noted(self) -> dict[str, Any]:
        return {"journal_size": self.journal.whole_size(), "lines": self._pending}

    def close(self, status: Status, outcome: str, reason: str) -> None:
        """End the run here, leaving out what no checkpoint holds."""
        end = RunEnd(status, tags=outcome_tags(outcome, reason))
        with suppress(DiskFull):  # whoever reconciles the study closes it
            self._write(lambda: self.journal.append([end]))

    def _write(self, write: Callable[[], None]) -> None:
        """Write while the folder is this attempt's and cannot be taken, once the disk has space."""

        def mine() -> None:
            with RunLock(self.plan.folder).hold(self.plan.owner):
                write()

        try:
            self.when_space(mine)
        except NotTheOwner:
            raise GivenAway(
                f"{self.plan.start.name} was given to another worker; this one writes nothing more."
            ) from None
