"""Deletes a study, except the runs that registered versions need for their lineage."""

import contextlib
import functools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from drsearch.data.records import count_test_evaluations, open_records
from drsearch.errors import RecordsError, StudyError
from drsearch.home import Home
from drsearch.study.cancel import ask_to_stop
from drsearch.study.definition import delete_study, load_study
from drsearch.study.status import StudyStatus, study_status
from drsearch.tracking.availability import check_available
from drsearch.tracking.mlflow_client import delete_runs, first_run, open_client, search_runs, search_versions
from drsearch.tracking.sender import sync
from drsearch.tracking.sent import run_id_of, unsent
from drsearch.tracking.tags import KEY_TAG, KIND_TAG, PARENT_RUN_TAG, RUN_ID_TAG, STUDY_ID_TAG, has_tag, member_runs
from drsearch.tracking.tracker import TrackerUnavailable
from drsearch.trials.attributes import RUN_ID
from drsearch.trials.retrying import Storage
from drsearch.trials.trials import inheritors


@dataclass(frozen=True)
class Removal:
    """The plan for deleting a study.

    Attributes:
        status: The study's status.
        n_files: Files in its folder: journals, checkpoints, weights, pictures, logs.
        n_bytes: Their size.
        unsent: Runs with events that never reached MLflow, and would be lost.
        runs: Ids of its MLflow runs that would be deleted.
        kept_runs: Ids of its MLflow runs that registered versions need.
        versions: Registered versions that come from it, `name version n`.
        experiment: Its MLflow experiment; None if there is none.
        shared: Whether the experiment also holds runs of another study, of the same name in another database.
        records: Folders of its record sets.
        test_evaluations: Of their test splits.
        features: Folders of stored features, which are of frozen backbones and belong to no study.
    """

    status: StudyStatus
    n_files: int
    n_bytes: int
    unsent: int
    runs: tuple[str, ...]
    kept_runs: tuple[str, ...]
    versions: tuple[str, ...]
    experiment: Experiment | None
    shared: bool
    records: tuple[Path, ...]
    test_evaluations: int
    features: tuple[Path, ...] = ()


class Remover:
    """Deletes studies of one database and home.

    Args:
        storage: The study database.
        home: The home with the journals, and with the MLflow that knows the registered versions.
    """

    def __init__(self, storage: Storage, home: Home) -> None:
        self._storage, self._home = storage, home

    @functools.cached_property
    def _client(self) -> MlflowClient:
        return open_client(self._home.tracking_uri)  # when it is needed: a refusal does not wait for MLflow

    def plan(self, name: str) -> Removal:
        """The plan for deleting a study; nothing is deleted yet.

        Raises:
            StudyError: If there is no such study, somebody is at it, another study inherited trials from it, or MLflow
                does not answer.
        """
        status = self._status(name)
        with _answering(name):
            return self._plan(status)

    def _plan(self, status: StudyStatus) -> Removal:
        check_available(self._home.tracking_uri)
        left = unsent(self._home)
        if left:
            sync(self._home)
            left = unsent(self._home)
        experiment = self._client.get_experiment_by_name(status.name)
        registered = list(search_versions(self._client))
        mine, shared = set[str](), False
        if experiment is not None:
            mine, shared = self._runs(experiment.experiment_id, status)
            uid = status.definition.uid
            mine |= {run_id for each in registered if each.tags.get(STUDY_ID_TAG) == uid for run_id in _needs(each)}
        versions = [each for each in registered if mine & _needs(each)]
        needed = {run_id for version in versions for run_id in _needs(version)} & mine
        tags = [self._client.get_run(run_id).data.tags for run_id in needed]
        needed |= {tag[PARENT_RUN_TAG] for tag in tags if PARENT_RUN_TAG in tag}
        if versions and experiment is not None:  # the study's own run holds the space, the audit and the pages
            studies = search_runs(self._client, [experiment.experiment_id], has_tag(KIND_TAG, "study"))
            needed |= {run.info.run_id for run in studies if _is_of(run, status)}
        sizes = list(_file_sizes(status.folder))
        records, n_evaluations = self._records(status)
        return Removal(
            status=status,
            n_files=len(sizes),
            n_bytes=sum(sizes),
            unsent=sum(status.folder in folder.parents for folder in left),
            runs=tuple(sorted(mine - needed)),
            kept_runs=tuple(sorted(mine & needed)),
            versions=tuple(f"{each.name} version {each.version}" for each in reversed(versions)),
            experiment=experiment,
            shared=shared,
            records=records,
            test_evaluations=n_evaluations,
            features=tuple(sorted(self._home.features.glob("*"))),
        )

    def carry_out(self, removal: Removal) -> str:
        """Delete a study as planned; after a crash, the same command deletes the rest.

        Returns:
            The new name of its experiment, whose old name is free for another study; empty if there is none.

        Raises:
            StudyError: If the study runs by now.
        """
        name = removal.status.name
        study, _ = load_study(self._storage, name)
        ask_to_stop(study)  # a worker that joins now stays out
        self._status(name)
        with _answering(name):
            called = self._clear_experiment(removal)
        if removal.status.folder.exists():
            shutil.rmtree(removal.status.folder)
        delete_study(self._storage, name)
        return str(called)

    def _status(self, name: str) -> StudyStatus:
        study, definition = load_study(self._storage, name)
        status = study_status(study, definition, self._storage, self._home)
        if status.state == "running":
            raise StudyError(f"study {name!r} is running; end it first: drsearch cancel {name}")
        for other, n in inheritors(self._storage, definition.uid).items():
            raise StudyError(
                f"study {name!r} stays: study {other!r} inherited {n} of its trials, whose runs and weights lie here; "
                f"delete that one first: drsearch delete {other}"
            )
        return status

    def _clear_experiment(self, removal: Removal) -> str:
        experiment = removal.experiment
        whole = experiment is not None and not removal.shared and not removal.kept_runs
        if experiment is not None and not whole:  # those of a whole experiment go with it, in one request
            self._delete_runs(experiment.experiment_id, removal)
        if experiment is None or removal.shared:
            return experiment.name if experiment is not None else ""
        # MLflow keeps the name of a deleted experiment taken, and a study of that name could not be told there.
        called = f"{experiment.name} (deleted {datetime.now():%Y-%m-%d %H:%M:%S})"
        self._client.rename_experiment(experiment.experiment_id, called)
        if whole:
            self._client.delete_experiment(experiment.experiment_id)
        return str(called)

    def _runs(self, experiment_id: str, status: StudyStatus) -> tuple[set[str], bool]:
        """The ids of a study's MLflow runs, and whether its experiment holds others.

        MLflow takes 5 ms to read a run of a trial, so those of trials are known from the database and the journals.
        """
        # The run of an inherited trial is another study's.
        own = [trial for trial in status.progress.trials if trial.inherited_from is None]
        attempts = [attempt for trial in own for attempt in trial.attempts]
        known = {str(attempt.user_attrs[RUN_ID]) for attempt in attempts if RUN_ID in attempt.user_attrs}
        known |= {run_id for folder in status.folder.glob("*/") if (run_id := run_id_of(folder))}
        others = list(search_runs(self._client, [experiment_id], f"tags.`{KIND_TAG}` != 'trial'"))
        mine = {str(run.info.run_id) for run in others if _is_of(run, status)}
        of_nobody = first_run(self._client, experiment_id, f"tags.`{KEY_TAG}` IS NULL")
        return known | mine, len(mine) < len(others) or of_nobody is not None

    def _delete_runs(self, experiment_id: str, removal: Removal) -> None:
        delete_runs(self._client, removal.runs)
        # Few are left, so that they can be looked at: of trials whose worker died before it knew the run's id.
        left = list(search_runs(self._client, [experiment_id], has_tag(KIND_TAG, "trial")))
        mine = {str(run.info.run_id) for run in left if _is_of(run, removal.status)}
        delete_runs(self._client, sorted(mine - set(removal.kept_runs)))

    def _records(self, status: StudyStatus) -> tuple[tuple[Path, ...], int]:
        folders = [self._home.records / fingerprint for fingerprint in status.definition.records.values()]
        evaluations: dict[str, int] = {}
        for folder in folders:
            try:
                records = open_records(folder)
            except RecordsError:  # on another machine, or removed by hand
                continue
            evaluations[records.test_fingerprint] = count_test_evaluations(records, self._home)
        return tuple(folder for folder in folders if folder.exists()), sum(evaluations.values())


def _is_of(run: Run, status: StudyStatus) -> bool:
    return str(run.data.tags.get(KEY_TAG, "")).startswith(f"{status.definition.uid}/")


def _file_sizes(folder: Path) -> Iterator[int]:
    """The bytes of each file below a folder: 10,000 trials have more than 100,000."""
    for parent, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # it has just gone
                yield os.lstat(f"{parent}/{file}").st_size


@contextmanager
def _answering(name: str) -> Iterator[None]:
    """Refuse to delete anything while MLflow does not answer: it alone knows which runs must stay."""
    try:
        yield
    except (TrackerUnavailable, MlflowException) as wrong:
        reason = (str(wrong).splitlines() or [""])[0]
        raise StudyError(
            f"study {name!r} stays, since MLflow alone knows which of its runs registered versions need: {reason}"
        ) from wrong


def _needs(version: ModelVersion) -> set[str]:
    """The ids of the runs that a version names."""
    named = {str(run_id) for run_id in (version.run_id, version.tags.get(RUN_ID_TAG)) if run_id}
    return named | member_runs(version.tags)
