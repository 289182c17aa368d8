"""A worker process: it loads TensorFlow once and runs one waiting trial after another."""

import argparse
import dataclasses
import gc
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import FrameType

import keras
import optuna
from absl import logging
from optuna.trial import FrozenTrial, TrialState

from drsearch.data.records import Eyes, open_records
from drsearch.datasets.read import data_options
from drsearch.errors import DrsearchError
from drsearch.files import fault, is_full, when_space, write_whole
from drsearch.home import Home
from drsearch.log import start_logging
from drsearch.measure.scores import Interval
from drsearch.model.fit import EpochResult, set_threads
from drsearch.processes import this_process
from drsearch.run_folder import trial_run
from drsearch.settings import Settings, Value
from drsearch.space.build_model import PREFIX
from drsearch.space.search_space import SearchSpace, read_space
from drsearch.study.budget import EPOCHS, n_trials_of, spent
from drsearch.study.cancel import is_cancelled
from drsearch.study.definition import StudyDefinition, load_study, study_folder, trial_seed
from drsearch.tracking.events import DatasetInput, RunStart
from drsearch.tracking.metric_names import best_metric
from drsearch.tracking.sent import run_id_of
from drsearch.tracking.tags import KIND_TAG, STUDY_TAG, TRIAL_TAG, provenance_tags
from drsearch.training.cross_validation import n_trainings, split_folds
from drsearch.training.objective import Objective, objectives_of, violations
from drsearch.training.outcome import Outcome
from drsearch.training.outer_folds import training_entries, training_eyes
from drsearch.training.plan import GivenAway, Plan, Pruned, Stopped, Watch
from drsearch.training.resumable import run_folds, run_training
from drsearch.trials.attributes import BEST_EPOCH, DRAWN, ERROR, REASON, RUN_ID
from drsearch.trials.claim import claim
from drsearch.trials.heartbeat import Heartbeat
from drsearch.trials.pruners import may_prune, pruner_for, why_pruned
from drsearch.trials.reconcile import fail_attempt
from drsearch.trials.retrying import Storage, StorageAway, is_away, stop_retrying, stop_retrying_when, with_retries
from drsearch.trials.samplers import Samplers
from drsearch.trials.storage import open_storage
from drsearch.trials.trial_view import TrialView
from drsearch.trials.trials import all_over, read_trials
from drsearch.workers.remote import fetch_attempt, is_shared, wait_until_sent
from drsearch.workers.worker_pool import FORESEEN, STORAGE_VARIABLE

IDLE_S = 1.0
"""Pause before the next look for a waiting trial, while others run."""


def run_name(trial: int, drawn: dict[str, Value]) -> str:
    """The name of a trial's run: its number and the values drawn, by which it differs, and then their names.

    MLflow's columns show the first 20 characters or so.

    Example:
        >>> run_name(3, {"training.learning_rate": 0.00123, "model.width": 8})
        '03: 0.00123, 8 (learning_rate, width)'
        >>> run_name(3, {})
        'trial 03'
    """
    if not drawn:
        return f"trial {trial:02d}"
    values = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in drawn.values()]
    names = [name.rpartition(".")[2] for name in drawn]
    return f"{trial:02d}: {', '.join(values)} ({', '.join(names)})"[:90]


class Worker:
    """One process that runs trials of one study.

    Args:
        storage: The study's database.
        name: The study's name.
        home: The home with records and journals.
        index: Its number among the workers of its launcher.
        threads: Threads per operation.
        launcher: The id of its launcher, with which it ends.
    """

    def __init__(self, storage: Storage, name: str, home: Home, index: int, threads: int, launcher: int) -> None:
        self._storage, self._home, self._name, self._threads = storage, home, name, threads
        self._study, self._definition = load_study(storage, name)
        self._folder = study_folder(home, name, self._definition.uid)
        self._status_file = self._folder / "workers" / f"{index}-{os.getpid()}.json"
        self._stop = False
        self._launcher = launcher
        self._space = self._load_space()
        self._points = self._space.grid() if self._definition.settings.study.sampler == "grid" else None
        self._shared = is_shared(os.environ.get(STORAGE_VARIABLE, ""), home.tracking_uri)
        self._view = TrialView(storage)
        self._samplers = Samplers(self._definition.settings, self._space)
        self._eyes: dict[tuple[str, int], tuple[Eyes, Eyes, Eyes | None]] = {}

    def stop(self) -> None:
        """Stop at the end of the running epoch, and wait for no database."""
        self._stop = True
        stop_retrying()

    def stop_asked(self) -> bool:
        """Whether to stop: by `stop`, or because the launcher has ended."""
        return self._stop or os.getppid() != self._launcher

    def look_for_cancel(self) -> bool:
        """Whether to stop, after a look whether the study is cancelled."""
        if is_cancelled(self._study):
            self._stop = True
        return self._stop  # read last: `stop` may be called by a signal while the database is asked

    def run(self) -> None:
        """Run waiting trials until all are over, a budget is spent, or until asked to stop."""
        gc.freeze()  # a million objects of imported libraries, which the collection after a trial need not look at
        try:
            self._run()
        except StorageAway as away:
            logging.warning("%s This worker was asked to stop.", away)
        finally:
            self._status_file.unlink(missing_ok=True)

    def _run(self) -> None:
        while not (self.stop_asked() or self.look_for_cancel()):
            claimed = claim(self._study, self._storage, n_trials_of(self._study), self._points, self._is_spent)
            if claimed is not None:
                with Heartbeat(self._storage, claimed[1]._trial_id):
                    self._run_trial(*claimed)
                keras.utils.clear_session()  # collects the graphs of a finished trial, which hold themselves
            elif self._is_spent() or all_over(read_trials(self._study), n_trials_of(self._study)):
                return
            else:
                time.sleep(IDLE_S)

    def _is_spent(self) -> bool:
        return bool(spent(self._study, self._definition.settings))

    def _run_trial(self, trial: int, frozen: FrozenTrial) -> None:
        try:
            attempt, outcome = self._train(trial, frozen)
            self._tell(attempt, outcome)
        except (GivenAway, optuna.exceptions.UpdateFinishedTrialError):
            logging.warning("trial %d was given to another worker; this one lets it go", trial)
        except StorageAway:
            raise
        except BaseException as bug:
            # Neither a bug nor a full disk is the trial's fault: it waits.
            reason = f"{type(bug).__name__}: {bug}"
            fail_attempt(self._storage, frozen._trial_id, reason, final=False)
            if not is_away(bug):
                raise
            logging.warning("trial %d begins anew", trial)

    def _train(self, trial: int, frozen: FrozenTrial) -> tuple[optuna.Trial, Outcome]:
        attempt = self._opened(trial, frozen._trial_id)
        drawn = self._space.draw(attempt)
        attempt.set_user_attr(DRAWN, True)
        settings = self._definition.trial_settings(trial, drawn, self._threads)
        build = lambda: self._space.build(settings)  # noqa: E731  # called once, after the seeds are set
        # The number that Optuna gave: it names the attempt.
        plan = trial_plan(
            self._definition, self._name, self._folder, trial, frozen.number, drawn, settings, build, self._shared,
            self._home.features,
        )  # fmt: skip
        plan = dataclasses.replace(plan, own=self._space.own)
        if self._shared and not fetch_attempt(self._study, trial, frozen, plan, self._home, self.stop_asked):
            return attempt, Outcome("interrupted", "stopped before it began")
        watch = _TrialWatch(self, attempt, trial, settings, plan.folder, frozen.intermediate_values)
        outcome = self._record(plan, watch)
        if self._shared:
            wait_until_sent(plan.folder)
        watch.note_run_id()
        watch.note_best_epoch(outcome)
        return attempt, outcome

    def _opened(self, trial: int, trial_id: int) -> optuna.Trial:
        """The trial, with a sampler and a pruner that nobody used yet."""
        base = self._definition.settings
        study = optuna.load_study(
            study_name=self._name,
            storage=self._view,
            sampler=self._samplers.sampler(trial, trial_seed(base.study.seed, trial)),
            pruner=pruner_for(base),
        )
        return optuna.Trial(study, trial_id)

    def _tell(self, trial: optuna.Trial, outcome: Outcome) -> None:
        study, trial_id, base = trial.study, trial._trial_id, self._definition.settings
        if outcome.state in ("complete", "pruned"):
            for constraint, violation in violations(outcome.metrics, base).items():
                trial.set_constraint(constraint, violation)
        match outcome.state:
            case "complete":
                _, *others = objectives_of(base)
                values = [outcome.value, *(outcome.metrics[other.metric] for other in others)]
                if others:
                    trial.set_user_attr(ERROR, outcome.error)
                with_retries(lambda: study.tell(trial, values, skip_if_finished=True))
            case "pruned":
                trial.set_user_attr(REASON, outcome.reason)
                with_retries(lambda: study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True))
            case "failed" | "interrupted":
                fail_attempt(self._storage, trial_id, outcome.reason, final=outcome.state == "failed")

    def _record(self, plan: Plan, watch: "_TrialWatch") -> Outcome:
        train, validation, judged = self._read(plan.settings)
        if n_trainings(plan.settings.search) == 1:
            return run_training(plan, train, validation, watch, judged)
        records = open_records(self._home.records / self._definition.records_for(plan.settings.images))
        search = plan.settings.search
        entries = training_entries(records, search)
        return run_folds(plan, split_folds(train, validation, entries, records.data, search, judged), watch)

    def _read(self, settings: Settings) -> tuple[Eyes, Eyes, Eyes | None]:
        """The eyes of `training_eyes`; those of the last record set and outer fold are kept."""
        key = self._definition.records_for(settings.images), settings.search.outer_fold
        if key not in self._eyes:
            self._eyes = {key: training_eyes(open_records(self._home.records / key[0]), self._home, settings.search)}
        return self._eyes[key]

    def _load_space(self) -> SearchSpace:
        """The space as the study keeps it: the file may have changed since."""
        path = self._folder / "space" / self._definition.space_file

        def keep() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, self._definition.space_source.encode(), replace=True, durable=False)

        when_space(keep, self._folder, self.stop_asked)
        return read_space(path, lambda _: self._definition.settings)

    def show(self, **status: float | int | str | None) -> None:
        """Tell the launcher what this worker does, if the disk has space for it."""
        try:
            self._status_file.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"worker": this_process(), "at": time.time(), **status})
            write_whole(self._status_file, text.encode(), replace=True, durable=False)
        except OSError as wrong:
            if not is_full(wrong):
                raise


def trial_plan(
    definition: StudyDefinition,
    study_name: str,
    folder: Path,
    trial: int,
    attempt: int,
    drawn: dict[str, Value],
    settings: Settings,
    build: Callable[[], keras.Model],
    shared: bool = False,
    features: Path | None = None,
) -> Plan:
    """The training of one trial, and its run.

    Args:
        definition: The study's definition.
        study_name: Its name.
        folder: Its folder.
        trial: The trial's number.
        attempt: The number of the attempt, which names the owner of the trial's folder.
        drawn: The values drawn, by name.
        settings: The trial's settings.
        build: Builds the network.
        shared: Whether other machines can join, for which checkpoints go to MLflow.
        features: Keeps the features of frozen backbones.
    """
    start = RunStart(
        key=definition.trial_key(trial),
        experiment=study_name,
        name=run_name(trial, drawn | _own_fold(definition, settings)),
        tags={
            KIND_TAG: "trial",
            STUDY_TAG: study_name,
            TRIAL_TAG: str(trial),
            **provenance_tags(),
        },
        params=settings.flat() | {name: value for name, value in drawn.items() if name.startswith(PREFIX)},
        dataset=dataset_input(definition, settings),
    )
    space = f" --space {definition.space_file}" if settings.need_space else ""
    head = (
        f"Trial {trial} of study {study_name}. Repeat it:",
        f"drsearch train {data_options(definition.data_given)} --config settings.gin{space}",
    )
    return Plan(
        folder=folder / trial_run(trial),
        start=start,
        settings=settings,
        build=build,
        head=head,
        owner=f"{attempt}@{this_process()}",
        features=features,
        shared_as=attempt if shared else None,
    )


def _own_fold(definition: StudyDefinition, settings: Settings) -> dict[str, Value]:
    """The outer fold that is a trial's own, as a value drawn; empty where all trials of the study have the same."""
    own = settings.search.outer_fold
    return {} if own == definition.settings.search.outer_fold else {"search.outer_fold": own}


def dataset_input(definition: StudyDefinition, settings: Settings) -> DatasetInput:
    """The input of a run, as MLflow shows it."""
    digest = definition.records_for(settings.images)
    return DatasetInput(name=definition.data_name, digest=digest, source=definition.data_source)


class _TrialWatch(Watch):
    """Reports the progress of a training to Optuna and to the launcher."""

    def __init__(
        self,
        worker: Worker,
        attempt: optuna.Trial,
        trial: int,
        settings: Settings,
        folder: Path,
        reported: Collection[int],
    ) -> None:
        self._worker, self._attempt, self._trial, self._settings, self._folder = (
            worker,
            attempt,
            trial,
            settings,
            folder,
        )
        self._best = float("nan")
        self._last_s = math.inf
        self._reported = reported

    def epoch(self, result: EpochResult) -> None:
        objective = Objective(self._settings.study.objective)
        value = objective.value_of(result)
        if objective.is_better(value, self._best):
            self._best = value
        self._worker.show(
            trial=self._trial,
            epoch=result.epoch,
            epochs=self._settings.training.epochs * n_trainings(self._settings.search),
            seconds=min(result.seconds, self._last_s),
            value=value,
            best=self._best,
        )
        self._last_s = result.seconds

    def judged(self, epoch: int, value: float) -> None:
        try:
            self._report(epoch, value)
        except StorageAway as away:
            raise Stopped(f"stopped at epoch {epoch}: {away}") from away

    def _report(self, epoch: int, value: float) -> None:
        self.note_run_id()
        self._worker.look_for_cancel()
        several_objectives = self._settings.study.second_objective != "none"
        parts = n_trainings(self._settings.search)
        if parts > 1 or several_objectives:
            trained = epoch * self._settings.training.epochs if parts > 1 else epoch
            self._attempt.set_user_attr(EPOCHS, trained)
        if several_objectives:
            return  # Optuna takes no reports of them
        if epoch not in self._reported:  # an earlier attempt may have come as far
            self._attempt.report(value, epoch)
        if may_prune(self._settings, epoch) and self._attempt.should_prune():
            raise Pruned(why_pruned(self._settings, value, epoch))

    def stop_asked(self) -> bool:
        return self._worker.stop_asked()

    def note_run_id(self) -> None:
        """Write the trial's MLflow run to the study, once the sender has opened it."""
        if RUN_ID in self._attempt.user_attrs:
            return
        if (run_id := run_id_of(self._folder)) is not None:
            self._attempt.set_user_attr(RUN_ID, run_id)

    def note_best_epoch(self, outcome: Outcome) -> None:
        """Write the best epoch and its interval to the study, for `drsearch trials` on any machine.

        Of several trainings these are of their mean, which has no interval.
        """
        if outcome.scores is None and outcome.state != "complete":
            return
        best: dict[str, float] = {"epoch": outcome.epoch, "epochs": len(outcome.history)}
        if interval := Interval.from_metrics(outcome.metrics, best_metric(self._settings.study.objective)):
            best |= {"low": interval.low, "high": interval.high}
        self._attempt.set_user_attr(BEST_EPOCH, best)


def main(arguments: Sequence[str]) -> int:
    """Run a worker process, as the launcher starts it.

    Args:
        arguments: The command line.

    Returns:
        The exit status: `FORESEEN` if it ended with a sentence in its log.
    """
    parser = argparse.ArgumentParser(prog="python -m drsearch.workers.worker", description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--index", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--cores", required=True, type=int)
    parser.add_argument("--launcher", type=int, default=os.getppid(), help="end when it is no longer the parent")
    options = parser.parse_args(arguments)
    start_logging()
    for meant_for_launcher in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(meant_for_launcher, signal.SIG_IGN)  # which hears them too, and decides
    stop_retrying_when(lambda: os.getppid() != options.launcher)
    set_threads(options.threads, options.cores)
    try:
        worker = Worker(
            open_storage(os.environ[STORAGE_VARIABLE], wait=True),
            options.study,
            Home(options.home),
            options.index,
            options.threads,
            options.launcher,
        )

        def stop(_signal: int, _frame: FrameType | None) -> None:
            worker.stop()

        signal.signal(signal.SIGTERM, stop)
        worker.run()
    except DrsearchError as error:
        logging.error("%s", error)
        return FORESEEN
    except Exception as wrong:
        if not (text := fault(wrong, options.home)):
            raise
        logging.error("%s", text)
        return FORESEEN
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
