"""The journal of one run, kept in step with the checkpoints of its trainings."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from absl import logging

from drsearch.files import DiskFull, when_space, write_whole
from drsearch.run_folder import CHECKPOINT_FOLDER, OUTCOME_FILE, SETTINGS_FILE, STAGING_FOLDER
from drsearch.settings import gin_text
from drsearch.tracking.checkpoint_bundle import pack
from drsearch.tracking.events import Artifact, Event, Resumed, RunEnd, Status, Tags, from_line, to_line
from drsearch.tracking.journal import Journal
from drsearch.tracking.tags import outcome_tags
from drsearch.training.outcome import Outcome, read_outcome
from drsearch.training.plan import GivenAway, Plan, State
from drsearch.training.run_lock import NotTheOwner, RunLock

T = TypeVar("T")


def run_end(state: State, reason: str) -> RunEnd:
    """The event that ends a run in this state."""
    status: dict[State, Status] = {"complete": "FINISHED", "failed": "FAILED"}
    return RunEnd(status.get(state, "KILLED"), tags=outcome_tags(state, reason))


class RunLog:
    """The journal of one run, to which only the owner of the run's folder appends.

    Events wait in memory until a checkpoint or an outcome that contains them is on disk; only then does the journal get
    them. So a run that resumes at a checkpoint repeats no event and loses none.

    Args:
        plan: The training, or the trial that has several.
        stop_asked: Whether to stop waiting for space on a full disk.
    """

    def __init__(self, plan: Plan, stop_asked: Callable[[], bool]) -> None:
        self.plan = plan
        self._journal = Journal(plan.folder)
        self._lock = RunLock(plan.folder)
        self._stop_asked = stop_asked
        self._pending: list[str] = []  # lines of the journal
        self._is_open = False
        # One folder per attempt: an attempt that lost the run must not overwrite its successor's files.
        self._staging = plan.folder / STAGING_FOLDER / plan.owner.replace("/", "-")

    def begin(self) -> None:
        """Take ownership of the folder, and start the run unless an earlier attempt did."""
        self.when_space(self._begin)

    def _begin(self) -> None:
        folder = self.plan.folder
        folder.mkdir(parents=True, exist_ok=True)
        with self._lock.take(self.plan.owner):
            shutil.rmtree(folder / STAGING_FOLDER, ignore_errors=True)
            if self._journal.whole_size() == 0:
                (folder / SETTINGS_FILE).write_text(gin_text(self.plan.settings, self.plan.head))
                for file in self.plan.files:
                    shutil.copy(file, folder)
                files = [SETTINGS_FILE, *(file.name for file in self.plan.files)]
                self._journal.append([self.plan.start, *map(Artifact, files)])
                self._is_open = True
            self._bundle()

    def reopen(self, n_epochs: int) -> None:
        """Log that the run resumes after so many epochs, unless this attempt started or reopened it already."""
        if not self._is_open:
            self._is_open = True
            resumed: list[Event] = [Resumed(), Tags(outcome_tags("", ""))]
            self.write(lambda: self._journal.append(resumed))
            logging.info("%s resumes after epoch %d", self.plan.start.name, n_epochs)

    def add(self, *events: Event) -> None:
        """Hold events back for the next commit."""
        self._pending += map(to_line, events)

    def commit(self, save: Callable[[dict[str, Any]], None]) -> None:
        """Save a checkpoint or an outcome, then append the pending events to the journal.

        Args:
            save: Writes the file, with the pending lines that it is given: `replay` takes them from there. It may be
                called again after a full disk.

        Raises:
            GivenAway: If another attempt owns the folder.
        """
        pending = {"journal_size": self._journal.whole_size(), "lines": self._pending}

        def write() -> None:
            save(pending)
            self._bundle()
            self._journal.append_lines(self._pending)

        self.write(write)
        self._pending.clear()

    def replay(self, pending: dict[str, Any]) -> None:
        """Append the checkpoint's pending lines that were not yet in the journal when the process died."""
        self.write(lambda: self._replay(pending))

    def _replay(self, pending: dict[str, Any]) -> None:
        since = self._journal.path.read_bytes()[pending["journal_size"] :].decode(errors="replace")
        logged = set(since.split("\n")[:-1])
        self._journal.append_lines([line for line in pending["lines"] if line not in logged])

    def outcome(self, folder: Path) -> Outcome | None:
        """The outcome that an earlier attempt wrote into a folder of this run; its events are in the journal then."""
        outcome = read_outcome(folder)
        if outcome is not None:
            pending = json.loads((folder / OUTCOME_FILE).read_text())
            self.when_space(lambda: self._end_again(pending))
        return outcome

    def _end_again(self, pending: dict[str, Any]) -> None:
        with self._lock.take(self.plan.owner):
            self._replay(pending)
            end, last = pending["lines"][-1], self._journal.path.read_bytes().splitlines()[-1]
            if isinstance(from_line(end), RunEnd) and last != end.encode():  # ended since, as interrupted
                self._journal.append_lines([end])

    def conclude(self, folder: Path, outcome: Outcome) -> None:
        """Write an outcome into a folder of this run, and commit: the training there is over.

        The staged files move into the run's folder; the training's checkpoints are deleted.

        Raises:
            GivenAway: If another attempt owns the run's folder.
        """

        def save(pending: dict[str, Any]) -> None:
            for staged in self._staging.glob("*"):
                os.replace(staged, self.plan.folder / staged.name)
            text = json.dumps(pending | {"outcome": outcome.to_json()})
            write_whole(folder / OUTCOME_FILE, text.encode(), replace=True)

        self.commit(save)
        for unneeded in (folder / CHECKPOINT_FOLDER, self._staging.parent):
            shutil.rmtree(unneeded, ignore_errors=True)

    def close(self, state: State, reason: str) -> None:
        """End the run here, without the pending events, which no checkpoint has."""
        with suppress(DiskFull):  # whoever reconciles the study closes it
            self.write(lambda: self._journal.append([run_end(state, reason)]))

    def stage(self, make: Callable[[Path], Sequence[Event]]) -> Sequence[Event]:
        """The events of files that `make` writes into an empty folder; `conclude` moves the files to the run's folder.

        Args:
            make: Called again after a full disk.
        """

        def fresh() -> Sequence[Event]:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging.mkdir(parents=True)
            return make(self._staging)

        return self.when_space(fresh)

    def when_space(self, write: Callable[[], T]) -> T:
        """The result of `write`, once the disk has space for it."""
        return when_space(write, self.plan.folder, self._stop_asked)

    def write(self, change: Callable[[], None]) -> None:
        """Change files while this attempt owns the folder and no other can take it, once the disk has space.

        Raises:
            GivenAway: If another attempt owns the folder.
        """

        def owned() -> None:
            with self._lock.hold(self.plan.owner):
                change()

        try:
            self.when_space(owned)
        except NotTheOwner:
            raise GivenAway(
                f"{self.plan.start.name} was given to another worker; this one writes nothing more."
            ) from None

    def _bundle(self) -> None:
        """Write the bundle with which other machines resume from here, before the journal has the pending events."""
        if self.plan.shared_as is not None:
            pack(self.plan.folder, self.plan.shared_as, self._pending)
