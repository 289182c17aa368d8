"""How do files reach other machines? Through the artifacts of an MLflow server: bundles, and whole folders."""

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
    """The run is another machine's by now."""


def check_experiments(home: Home, *names: str) -> None:
    """Refuse, before anything is done, experiments that the runs of a home could not be written to.

    Raises:
        TrackerRefused: If one was deleted in MLflow; the text has the command that restores it.
        MlflowException: If a server with users does not let this one write.
    """
    if home.tracking_uri != home.local_tracking_uri or (home.path / "mlflow.db").exists():  # else none is made here
        remote = RemoteRuns(home.tracking_uri)
        for name in names:
            remote.check_may_write(name)


class RemoteRuns:
    """Files behind an MLflow server.

    Args:
        tracking_uri: Of the server.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._client = open_client(tracking_uri)

    def check_active(self, experiment: str) -> None:
        """Refuse an experiment that was deleted.

        Raises:
            TrackerRefused: With the command that restores it.
            TrackerUnavailable: If MLflow does not answer.
        """
        with translated_errors(self._uri):
            if (found := self._client.get_experiment_by_name(experiment)) is not None:
                refuse_deleted(self._client, found)

    def check_may_write(self, experiment: str) -> None:
        """Have MLflow refuse now what it would refuse later; a server that does not answer says nothing.

        Raises:
            TrackerRefused: If the experiment was deleted.
            MlflowException: If a server with users does not let this one write.
        """
        try:
            found = self._client.get_experiment_by_name(experiment)
            if found is not None:
                refuse_deleted(self._client, found)
            if found is not None and is_served(self._uri):
                self._client.set_experiment_tag(found.experiment_id, JOINED_TAG, socket.gethostname())
        except Exception as wrong:
            if not is_unavailable(wrong):
                raise

    def upload_bundle(self, folder: Path, run_id: str) -> None:
        """Bring the bundle of a run to its artifacts, in the place of an earlier one, if there is a new one.

        Args:
            folder: The run's; one without a bundle is left alone.
            run_id: The run.

        Raises:
            RunTaken: If a later attempt goes on with the run elsewhere; the folder is marked.
            TrackerUnavailable: If the server does not answer.
        """
        if not (folder / BUNDLE_FILE).exists():
            return
        with translated_errors(self._uri), tempfile.TemporaryDirectory(prefix="drsearch-bundle-") as place:
            copy = Path(shutil.copyfile(folder / BUNDLE_FILE, Path(place) / BUNDLE_FILE))  # the worker may replace it
            told, run = read_info(copy), self._client.get_run(run_id)
            # Looked up and set in two steps: the later attempt began only after this one gave no sign for minutes.
            if (now := int(run.data.tags.get(ATTEMPT_TAG, -1))) > told.attempt:
                mark_superseded(folder, told.attempt)
                raise RunTaken(f"another machine goes on with it (attempt {now}, this was attempt {told.attempt}).")
            if now < told.attempt:
                self._client.set_tag(run_id, ATTEMPT_TAG, str(told.attempt))
            before = json.loads(run.data.tags.get(BUNDLE_TAG, "{}"))
            if before.get("file") == told.name:
                return
            if told.model:
                self._client.log_artifact(run_id, str(folder / MODEL_FILE), "model")
            copy = copy.rename(copy.with_name(told.name))
            self._client.log_artifact(run_id, str(copy), _CHECKPOINTS)
            state = {"file": told.name, "sha256": _sha256(copy)}
            self._client.set_tag(run_id, BUNDLE_TAG, json.dumps(state))
            if before:
                self._remove(run, f"{_CHECKPOINTS}/{before['file']}")

    def fetch_run(self, experiment: str, key: str, folder: Path, attempt: int | None = None) -> bool:
        """Bring a run into a folder as its last bundle has it, unless the folder is as far.

        Args:
            experiment: The run's.
            key: The run's `RunStart.key`.
            folder: Where it is to lie.
            attempt: The attempt that goes on with it here: earlier ones elsewhere can say no more; None to look only.

        Returns:
            Whether something was fetched.

        Raises:
            RunTaken: If a later attempt goes on with the run.
            TrackerUnavailable: If the server does not answer, or a file did not arrive whole.
        """
        fetched = self._fetch(experiment, key, folder, attempt)
        if attempt is not None and not fetched and (folder / BUNDLE_FILE).exists():
            pack(folder, attempt)  # the sender here took it for an earlier attempt's, and would send no more
        return fetched

    def _fetch(self, experiment: str, key: str, folder: Path, attempt: int | None) -> bool:
        with translated_errors(self._uri):
            run = self._find(experiment, key)
            if run is None:
                return False
            run_id = run.info.run_id
            if attempt is not None:
                if (now := int(run.data.tags.get(ATTEMPT_TAG, -1))) > attempt:
                    raise RunTaken(f"attempt {now} goes on with it elsewhere, this is attempt {attempt}.")
                self._client.set_tag(run_id, ATTEMPT_TAG, str(attempt))
            # Read after the earlier attempts were shut out: none begins to replace the file from here on.
            state = json.loads(self._client.get_run(run_id).data.tags.get(BUNDLE_TAG, "{}"))
            if not state:
                return False
            with tempfile.TemporaryDirectory(prefix="drsearch-bundle-") as place:
                try:
                    file = self._download(run_id, f"{_CHECKPOINTS}/{state['file']}", Path(place))
                except MlflowException as wrong:
                    # A sender that had asked before the earlier attempts were shut out may just be replacing it.
                    raise OSError(f"{state['file']} of run {run_id} is not there") from wrong
                if _sha256(file) != state["sha256"]:
                    raise OSError(f"{state['file']} of run {run_id} did not arrive whole")
                told = read_info(file)
                if told.is_contained_in(folder):
                    return False
                model = self._download(run_id, f"model/{MODEL_FILE}", Path(place)) if told.model else None
                unpack(file, folder, model, attempt)
        adopt(folder, run_id)  # its sender says all of it again: what a dead machine had not sent is among it
        logging.info("%s is fetched from MLflow", key)
        return True

    def upload_folder(self, experiment: str, key: str, folder: Path, note: str) -> bool:
        """Keep a folder's files under a key, once; whether it was done now.

        Args:
            experiment: Of the run that has them.
            key: How they are found again.
            folder: Whose files.
            note: What the experiment's page says.

        Raises:
            TrackerUnavailable: If the server does not answer; what had arrived is not found by anyone.
        """
        with translated_errors(self._uri):
            if self._whole_folder(experiment, key) is not None:
                return False
            made = get_or_create_experiment(self._client, experiment, tags={NOTE_TAG: note})
            run = self._client.create_run(made.experiment_id, tags={KEY_TAG: key}, run_name=key)
            self._client.log_artifacts(run.info.run_id, str(folder), "files")
            self._client.set_terminated(run.info.run_id)  # FINISHED: whole
        return True

    def fetch_folder(self, experiment: str, key: str, into: Path) -> bool:
        """Bring the files kept under a key into a new folder; False if there are none.

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
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            return None
        return first_run(self._client, found.experiment_id, f"{has_tag(KEY_TAG, key)}{more}")

    def _download(self, run_id: str, path: str, into: Path) -> Path:
        return Path(self._client.download_artifacts(run_id, path, str(into)))

    def _remove(self, run: Run, path: str) -> None:
        try:
            get_artifact_repository(run.info.artifact_uri, tracking_uri=self._uri).delete_artifacts(path)
        except Exception as wrong:  # an old file more does no harm
            logging.warning("%s of run %s could not be removed: %s", path, run.info.run_id, wrong)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
