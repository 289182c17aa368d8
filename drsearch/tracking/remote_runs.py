"""Checkpoint bundles and folders in the artifacts of an MLflow server, for other machines."""

import hashlib
import json
import shutil
import socket
import tempfile
from pathlib import Path

from absl import logging
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from drsearch.home import Home
from drsearch.run_folder import MODEL_FILE
from drsearch.tracking.availability import is_served
from drsearch.tracking.checkpoint_bundle import BUNDLE_FILE, mark_superseded, pack, read_info, unpack
from drsearch.tracking.mlflow_client import (
    first_run,
    get_or_create_experiment,
    is_unavailable,
    open_client,
    refuse_deleted,
    translated_errors,
)
from drsearch.tracking.sent import adopt
from drsearch.tracking.tags import ATTEMPT_TAG, BUNDLE_TAG, JOINED_TAG, KEY_TAG, NOTE_TAG, has_tag
from drsearch.tracking.tracker import TrackerRefused

_CHECKPOINTS = "checkpoint"


class RunTaken(TrackerRefused):
    """Another machine runs this trial by now."""


def check_experiments(home: Home, *names: str) -> None:
    """Fail early if runs of a home could not be written to these experiments; an unreachable server is ignored.

    Args:
        home: Names the MLflow server or local store.
        *names: Of the experiments; those that do not exist yet are ignored.

    Raises:
        TrackerRefused: If an experiment was deleted in MLflow; the text has the command that restores it.
        MlflowException: If this user may not write to an experiment.
    """
    if home.tracking_uri != home.local_tracking_uri or (home.path / "mlflow.db").exists():  # else do not create a store
        remote = RemoteRuns(home.tracking_uri)
        for name in names:
            remote.check_may_write(name)


class RemoteRuns:
    """Runs and folders in the artifacts of an MLflow server.

    Args:
        tracking_uri: Of the server.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._client = open_client(tracking_uri)

    def check_may_write(self, experiment: str) -> None:
        """Fail early if this user may not write to an experiment; an unreachable server is ignored.

        Raises:
            TrackerRefused: If the experiment was deleted.
            MlflowException: If this user may not write to it.
        """
        try:
            if (existing := self._client.get_experiment_by_name(experiment)) is None:
                return
            refuse_deleted(self._client, existing)
            if is_served(self._uri):
                self._client.set_experiment_tag(existing.experiment_id, JOINED_TAG, socket.gethostname())
        except Exception as wrong:
            if not is_unavailable(wrong):
                raise

    def upload_bundle(self, folder: Path, run_id: str) -> None:
        """Upload the bundle of a run in place of an earlier one, if there is a new bundle.

        Args:
            folder: The run's folder; nothing happens if it has no bundle.
            run_id: The run.

        Raises:
            RunTaken: If a later attempt runs the trial on another machine; the folder is marked as superseded.
            TrackerUnavailable: If the server does not answer.
        """
        if not (folder / BUNDLE_FILE).exists():
            return
        with translated_errors(self._uri), tempfile.TemporaryDirectory(prefix="drsearch-bundle-") as place:
            copy = Path(shutil.copyfile(folder / BUNDLE_FILE, Path(place) / BUNDLE_FILE))  # the worker may replace it
            info, run = read_info(copy), self._client.get_run(run_id)
            # Not atomic, which is enough: a later attempt starts minutes after the last heartbeat of this one.
            if (attempt := int(run.data.tags.get(ATTEMPT_TAG, -1))) > info.attempt:
                mark_superseded(folder, info.attempt)
                raise RunTaken(f"another machine goes on with it (attempt {attempt}, this was attempt {info.attempt}).")
            if attempt < info.attempt:
                self._client.set_tag(run_id, ATTEMPT_TAG, str(info.attempt))
            previous = json.loads(run.data.tags.get(BUNDLE_TAG, "{}"))
            if previous.get("file") == info.name:
                return
            if info.model:
                self._client.log_artifact(run_id, str(folder / MODEL_FILE), "model")
            copy = copy.rename(copy.with_name(info.name))
            self._client.log_artifact(run_id, str(copy), _CHECKPOINTS)
            self._client.set_tag(run_id, BUNDLE_TAG, json.dumps({"file": info.name, "sha256": _sha256(copy)}))
            if previous:
                self._remove(run, f"{_CHECKPOINTS}/{previous['file']}")

    def fetch_run(self, experiment: str, key: str, folder: Path, attempt: int | None = None) -> bool:
        """Put the last bundle of a run into a folder, unless the folder holds as much or more of the run.

        Args:
            experiment: Of the run.
            key: `RunStart.key` of the run.
            folder: Where the run's files go.
            attempt: The attempt that resumes the run here; MLflow takes nothing more from earlier attempts. None if
                nobody resumes it.

        Returns:
            Whether the folder was replaced.

        Raises:
            RunTaken: If a later attempt runs the trial.
            TrackerUnavailable: If the server does not answer, or a file did not arrive complete.
        """
        fetched = self._fetch(experiment, key, folder, attempt)
        if attempt is not None and not fetched and (folder / BUNDLE_FILE).exists():
            pack(folder, attempt)  # the bundle was an earlier attempt's, of which the sender here sends nothing more
        return fetched

    def _fetch(self, experiment: str, key: str, folder: Path, attempt: int | None) -> bool:
        with translated_errors(self._uri):
            run = self._find(experiment, key)
            if run is None:
                return False
            run_id = run.info.run_id
            if attempt is not None:
                if (latest := int(run.data.tags.get(ATTEMPT_TAG, -1))) > attempt:
                    raise RunTaken(f"attempt {latest} goes on with it elsewhere, this is attempt {attempt}.")
                self._client.set_tag(run_id, ATTEMPT_TAG, str(attempt))
            # Read after the attempt is set: no earlier attempt starts to replace the file from here on.
            state = json.loads(self._client.get_run(run_id).data.tags.get(BUNDLE_TAG, "{}"))
            if not state:
                return False
            with tempfile.TemporaryDirectory(prefix="drsearch-bundle-") as place:
                try:
                    file = self._download(run_id, f"{_CHECKPOINTS}/{state['file']}", Path(place))
                except MlflowException as wrong:
                    # A sender that read the attempt before it was set here may just be replacing the file.
                    raise OSError(f"{state['file']} of run {run_id} is not there") from wrong
                if _sha256(file) != state["sha256"]:
                    raise OSError(f"{state['file']} of run {run_id} did not arrive whole")
                info = read_info(file)
                if info.is_contained_in(folder):
                    return False
                model = self._download(run_id, f"model/{MODEL_FILE}", Path(place)) if info.model else None
                unpack(file, folder, model, attempt)
        adopt(folder, run_id)  # all of it is sent again: some of it the dead machine may not have sent
        logging.info("%s is fetched from MLflow", key)
        return True

    def upload_folder(self, experiment: str, key: str, folder: Path, note: str) -> bool:
        """Upload the files of a folder, but hidden ones, as a run of its own, unless they were uploaded before.

        Args:
            experiment: Of that run.
            key: By which `fetch_folder` finds them.
            folder: The files.
            note: Description of the experiment, Markdown.

        Returns:
            Whether they were uploaded now.

        Raises:
            TrackerUnavailable: If the server does not answer; `fetch_folder` ignores an incomplete upload.
        """
        with translated_errors(self._uri):
            if self._whole_folder(experiment, key) is not None:
                return False
            experiment_id = get_or_create_experiment(self._client, experiment, tags={NOTE_TAG: note}).experiment_id
            run = self._client.create_run(experiment_id, tags={KEY_TAG: key}, run_name=key)
            for file in sorted(folder.glob("[!.]*")):
                self._client.log_artifact(run.info.run_id, str(file), "files")
            self._client.set_terminated(run.info.run_id)  # FINISHED: whole
        return True

    def fetch_folder(self, experiment: str, key: str, into: Path) -> bool:
        """Download the files that `upload_folder` uploaded.

        Args:
            experiment: Of their run.
            key: Of the files.
            into: A folder that does not exist yet.

        Returns:
            Whether there are such files.

        Raises:
            TrackerUnavailable: If the server does not answer.
        """
        with translated_errors(self._uri):
            run = self._whole_folder(experiment, key)
            if run is None:
                return False
            with tempfile.TemporaryDirectory(prefix="drsearch-files-", dir=into.parent) as place:
                self._download(run.info.run_id, "files", Path(place)).rename(into)
        return True

    def _whole_folder(self, experiment: str, key: str) -> Run | None:
        return self._find(experiment, key, " AND attributes.status = 'FINISHED'")

    def _find(self, experiment: str, key: str, more: str = "") -> Run | None:
        if (existing := self._client.get_experiment_by_name(experiment)) is None:
            return None
        return first_run(self._client, existing.experiment_id, f"{has_tag(KEY_TAG, key)}{more}")

    def _download(self, run_id: str, path: str, into: Path) -> Path:
        return Path(self._client.download_artifacts(run_id, path, str(into)))

    def _remove(self, run: Run, path: str) -> None:
        try:
            get_artifact_repository(run.info.artifact_uri, tracking_uri=self._uri).delete_artifacts(path)
        except Exception as wrong:  # an old file does no harm
            logging.warning("%s of run %s could not be removed: %s", path, run.info.run_id, wrong)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
