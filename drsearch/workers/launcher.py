"""How is a study run to its end? Workers are started and watched, the sender too, until all trials are over."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from absl import logging

from drsearch.files import when_space
from drsearch.home import Home
from drsearch.run_folder import STUDY_RUN
from drsearch.settings import Settings, Value
from drsearch.signals import Interrupts, write_to_stderr
from drsearch.space.search_space import SearchSpace
from drsearch.study.budget import Hours, set_budgets, set_spent, what_is_spent
from drsearch.study.cancel import is_cancelled, let_go_on
from drsearch.study.definition import (
    StudyDefinition,
    check_goes_on,
    open_study,
    set_n_trials,
    study_folder,
    wanted_study,
)
from drsearch.study.notes import experiment_tags, study_note
from drsearch.study.plots import write_pages
from drsearch.study.reconcile import Closer, launching
from drsearch.study.result import StudyResult, total_trials
from drsearch.study.status import Progress
from drsearch.study.warm_start import carry, planned
from drsearch.tracking.events import Artifact, DatasetInput, Metrics, Resumed, RunEnd, RunStart, Status, Tags
from drsearch.tracking.journal import Journal
from drsearch.tracking.sender import KeptSender
from drsearch.tracking.sent import unsent
from drsearch.tracking.tags import (
    BEST_TRIAL_TAG,
    KIND_TAG,
    NOTE_TAG,
    STUDY_TAG,
    WARM_START_TAG,
    outcome_tags,
    provenance_tags,
)
from drsearch.trials.heartbeat import Storage, Vigil
from drsearch.trials.reconcile import reconcile
from drsearch.trials.retrying import StorageAway, end_patience
from drsearch.trials.storage import may_hold_studies, open_storage
from drsearch.trials.trials import Trial, enqueue, read_trials
from drsearch.workers.remote import is_shared, start_upload
from drsearch.workers.worker_pool import STOP_S, Crew

T = TypeVar("T")

_POLL_S = 0.5
_RECONCILE_S = 5.0
_SAY_AFTER_S = 3.0
MLFLOW_AWAY_S = 60.0
"""How long the end of a study waits for an MLflow that is away."""


def check_begins(
    name: str, space: SearchSpace, settings: Settings, data: Path, storage_url: str, warm_start: str = ""
) -> None:
    """Refuse, before photographs are prepared, what a `Launcher` would refuse whatever they are.

    Args:
        name: The study's name.
        space: Its space, checked.
        settings: What its trials start from.
        data: The folder of photographs.
        storage_url: The study database.
        warm_start: Another study, whose finished trials it begins with.

    Raises:
        SearchSpaceError: If a grid is asked of a space that has none.
        StudyError: If a study of this name has another definition, or could not begin with the other's trials.
    """
    total_trials(space, settings)
    if may_hold_studies(storage_url):
        storage = open_storage(storage_url)
        wanted = wanted_study(space.path, space.source, settings.flat(), data)
        check_goes_on(storage, name, wanted)
        planned(storage, name, warm_start, space, wanted)


class Launcher:
    """Runs one study with worker processes on this machine.

    Args:
        name: The study's name.
        space: Its space, checked.
        wanted: Its definition; an existing study of this name must have the same.
        home: Where everything lies.
        storage_url: The study database.
        audit: The audit of its records, kept with the study's run.
        warm_start: Another study, whose finished trials it begins with.
        enqueued: Values that its first trials draw.
    """

    def __init__(
        self,
        name: str,
        space: SearchSpace,
        wanted: StudyDefinition,
        home: Home,
        storage_url: str,
        audit: Path,
        warm_start: str = "",
        enqueued: Sequence[Mapping[str, Value]] = (),
    ) -> None:
        self._name, self._space, self._home, self._url, self._audit = name, space, home, storage_url, audit
        settings = wanted.base()
        total = total_trials(space, settings)
        self._grows = total is None
        self._n_trials = total or 0
        self._storage: Storage = open_storage(storage_url)
        self.warm_start = planned(self._storage, name, warm_start, space, wanted)
        if self.warm_start is not None and settings.study.sampler != "grid":
            self._n_trials += len(self.warm_start.trials)  # in a grid they are some of its points
        self._enqueued = enqueued
        self._study, self._definition = open_study(self._storage, name, wanted, self._n_trials)
        self._hours = Hours(self._study)
        self._spent, self._first_look = "", True
        self._settings = settings
        self._folder = study_folder(home, name, self._definition.uid)
        self._closer = Closer(self._folder, name, self._definition)
        self._vigil = Vigil()
        self._sender = KeptSender(home)
        self._known: list[Trial] = []
        self._stopped = ""
        self._began = time.monotonic()

    @property
    def folder(self) -> Path:
        """Where the study's journals and checkpoints lie on this machine."""
        return self._folder

    def cancelled(self) -> bool:
        """Whether somebody asked the study to stop since it runs."""
        return is_cancelled(self._study)

    def run(
        self,
        n_workers: int,
        timeout_s: float | None,
        show: Callable[[Progress], None],
        say_stopping: Callable[[str], None] = write_to_stderr,
    ) -> StudyResult:
        """Run the study until all trials are over, it is interrupted, or its time is up.

        Args:
            n_workers: Worker processes at once.
            timeout_s: Seconds after which running trials stop at a checkpoint; None for no limit.
            show: Called twice a second or so with the progress, and once more when the workers have ended.
            say_stopping: Called with a sentence, in the handler of a signal that asks to stop.

        Raises:
            StudyError: If a worker ended with an error that is no trial's own.
        """
        let_go_on(self._study)
        with launching(self._folder):
            return self._run(n_workers, timeout_s, show, say_stopping)

    def _run(
        self,
        n_workers: int,
        timeout_s: float | None,
        show: Callable[[Progress], None],
        say_stopping: Callable[[str], None],
    ) -> StudyResult:
        if self.warm_start is not None:
            carry(self._study, self._storage, self.warm_start, self._space)
        enqueue(self._study, self._storage, self._n_trials, self._enqueued)
        journal = self._with_space(self._begin_run)
        if is_shared(self._url, self._home.tracking_uri):
            start_upload(self._definition, self._home)
        crew = Crew(self._name, self._folder, self._home, self._url, n_workers, self._settings.training.threads)
        status: Status = "FAILED"
        reason = "the launcher ended unexpectedly"
        try:
            with Interrupts(self._interrupt, say_stopping):
                self._watch(crew, timeout_s, show)
            status, reason = ("KILLED", self._stopped) if self._stopped else ("FINISHED", self._spent)
        except StorageAway as away:
            status, reason = "KILLED", f"{self._stopped}; {away}"
        except BaseException as wrong:
            reason = f"{type(wrong).__name__}: {wrong}"
            end_patience()
            raise
        finally:
            crew.stop(self._sender.look_after)
            with contextlib.suppress(StorageAway):  # the next launcher, or `drsearch status`, does it
                self._reconcile()
                self._hours.note()
            trials = self._last_trials()
            show(self._progress(trials, crew))
            self._with_space(lambda: self._end_run(journal, trials, status, reason))
            if status == "FINISHED":
                self._await_mlflow()
            if not self._sender.stop(STOP_S):
                logging.warning("not everything has reached MLflow yet; `drsearch sync` sends the rest")
        return StudyResult(
            self._name, self._definition, self._folder, tuple(trials), self._n_trials, self._stopped, self._spent
        )

    def _watch(self, crew: Crew, timeout_s: float | None, show: Callable[[Progress], None]) -> None:
        reconciled = -_RECONCILE_S
        while True:
            self._sender.look_after()
            ended = crew.ended(self._trials)
            if ended or time.monotonic() - reconciled > _RECONCILE_S:
                self._with_space(self._reconcile)
                reconciled = time.monotonic()
            trials = self._keep_budgets(crew.size)
            show(self._progress(trials, crew))
            n_left = self._n_trials - sum(trial.is_over for trial in trials)
            if timeout_s is not None and time.monotonic() - self._began > timeout_s and not self._stopped:
                self._stopped = f"its {timeout_s:g} seconds were over"
                end_patience()
            if self.cancelled():
                self._stopped = "cancelled"
            if not n_left or self._stopped or self._is_over(trials):
                return
            if not self._spent:
                self._with_space(lambda n=n_left: crew.fill(n))  # type: ignore[misc]
            time.sleep(_POLL_S)

    def _await_mlflow(self) -> None:
        """Wait until the runs of the study are in MLflow, which registering needs; for `MLFLOW_AWAY_S` at most."""
        began, is_said = time.monotonic(), False
        while unsent(self._home) and (waited_s := time.monotonic() - began) < MLFLOW_AWAY_S:
            if waited_s > _SAY_AFTER_S and not is_said:
                logging.info("waiting up to %.0f s until the runs of the study are in MLflow", MLFLOW_AWAY_S)
                is_said = True
            self._sender.look_after()
            time.sleep(_POLL_S)

    def _reconcile(self) -> None:
        self._closer.close(reconcile(self._study, self._storage, self._vigil.silent))

    def _with_space(self, write: Callable[[], T]) -> T:
        return when_space(write, self._home.path, lambda: bool(self._stopped))

    def _keep_budgets(self, n_workers: int) -> list[Trial]:
        """Look whether a budget is spent, and let a study without a number of trials have some more until then.

        Returns:
            The study's trials as they are now.
        """
        trials = read_trials(self._study) if self._grows else self._trials()
        spent = what_is_spent(trials, self._hours.so_far(), self._settings)
        if self._first_look:
            set_budgets(self._study, self._settings)
            self._first_look = False
        if spent != self._spent:
            set_spent(self._study, spent)
            self._spent = spent
        if self._grows:
            begun = 1 + max((trial.number for trial in trials if trial.was_begun), default=-1)
            wanted = begun if spent else begun + 2 * n_workers
            if wanted != self._n_trials:
                set_n_trials(self._study, wanted)
                self._n_trials = wanted
                return self._trials()
        return [trial for trial in trials if trial.number < self._n_trials]

    def _is_over(self, trials: list[Trial]) -> bool:
        """Whether a budget is spent and nothing runs on: trials that run come to their end, unless time is up."""
        if not self._spent:
            return False
        return self._spent.startswith("study.hours") or not any(trial.state == "running" for trial in trials)

    def _interrupt(self) -> None:
        self._stopped = "interrupted"
        end_patience()

    def _trials(self) -> list[Trial]:
        self._known = [trial for trial in read_trials(self._study) if trial.number < self._n_trials]
        return self._known

    def _progress(self, trials: list[Trial], crew: Crew) -> Progress:
        objective = self._settings.study.objective
        elapsed_s = time.monotonic() - self._began
        return Progress(self._name, objective, tuple(trials), self._n_trials, tuple(crew.statuses(trials)), elapsed_s)

    def _begin_run(self) -> Journal:
        folder = self._folder / STUDY_RUN
        folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(folder)
        if journal.size():
            journal.append([Resumed()])
            return journal
        (folder / self._definition.space_file).write_text(self._definition.space_source, encoding="utf-8")
        (folder / "audit.json").write_bytes(self._audit.read_bytes())
        journal.append(
            [self._run_start(), Artifact(self._definition.space_file, "space"), Artifact("audit.json", "data")]
        )
        return journal

    def _run_start(self) -> RunStart:
        objective = self._settings.study.objective
        return RunStart(
            key=f"{self._definition.uid}/study",
            experiment=self._name,
            name=f"study {self._name}",
            tags={KIND_TAG: "study", STUDY_TAG: self._name, **provenance_tags()},
            params=self._settings.flat(),
            dataset=DatasetInput(
                name=self._definition.data_name,
                digest=self._definition.data_fingerprint,
                source=self._definition.data_source,
                context="search",
            ),
            experiment_tags=experiment_tags(self._definition, objective),
        )

    def _last_trials(self) -> list[Trial]:
        with contextlib.suppress(StorageAway):
            self._known = self._trials()
        return self._known

    def _end_run(self, journal: Journal, trials: list[Trial], status: Status, reason: str) -> None:
        pages = write_pages(trials, self._settings, journal.folder)
        result = StudyResult(
            self._name, self._definition, self._folder, tuple(trials), self._n_trials, self._stopped, self._spent
        )
        numbers = {f"trials_{state}": float(n) for state, n in result.counts().items()}
        tags = outcome_tags("complete" if status == "FINISHED" else "stopped", reason)
        tags[NOTE_TAG] = study_note(result)
        if self.warm_start is not None:
            tags[WARM_START_TAG] = self.warm_start.study
        if result.best is not None:
            numbers[f"best_{self._settings.study.objective}"] = result.best.values[0]
            tags[BEST_TRIAL_TAG] = str(result.best.number)
        n_over = sum(trial.is_over for trial in trials)
        journal.append([Artifact(page, "study") for page in pages])
        journal.append([Metrics(n_over, numbers), Tags(tags), RunEnd(status)])
