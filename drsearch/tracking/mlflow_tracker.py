"""Writes events to MLflow runs.

Everything here may be given twice. MLflow keeps one of two equal points itself (key, step, time and
value); params and pictures that are there already are looked up and not written again.
"""

import hashlib
import json
import posixpath
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from absl import logging
from mlflow.entities import Dataset, InputTag, Metric, RunTag
from mlflow.entities import DatasetInput as MlflowDatasetInput
from mlflow.entities import Param as MlflowParam
from mlflow.tracking.multimedia import compress_image_size
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_LOGGED_IMAGES
from PIL import Image as PilImage
from PIL import UnidentifiedImageError

from drsearch.tracking.events import Artifact, DatasetInput, Event, Image, Metrics, Resumed, RunEnd, RunStart, Tags
from drsearch.tracking.markdown import THIS_RUN
from drsearch.tracking.mlflow_client import first_run, get_or_create_experiment, open_client, translated_errors
from drsearch.tracking.tags import KEY_TAG, NOTE_TAG, has_tag

_Item = TypeVar("_Item")

# MLflow's own limits (mlflow/utils/validation.py); beyond them it raises, or warns at length.
_METRICS_PER_BATCH = 1000
_PARAMS_PER_BATCH = 100
_KEY_CHARACTERS = 250
_PARAM_CHARACTERS = 6000
_TAG_CHARACTERS = 8000
_EXPERIMENT_TAG_CHARACTERS = 20_000
_DATASET_NAME_CHARACTERS = 500
_DIGEST_CHARACTERS = 36


class MlflowTracker:
    """A `Tracker` for an MLflow server (`http://...`) or a local store (`sqlite:///...`).

    Args:
        tracking_uri: Of MLflow.
        artifact_root: Where artifacts of new experiments go, one folder per experiment; None leaves it to MLflow.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | None = None) -> None:
        self._uri = tracking_uri
        self._artifact_root = artifact_root
        self._client = open_client(tracking_uri)

    def open(self, start: RunStart) -> str:
        """The id of a run, created if needed: see `Tracker.open`."""
        with translated_errors(self._uri):
            experiment_id = self._experiment(start)
            run_id, known_params = self._run(experiment_id, start)
            params = [
                MlflowParam(_name(name), _cut(str(value), _PARAM_CHARACTERS)) for name, value in start.params.items()
            ]
            for batch in _batches([param for param in params if param.key not in known_params], _PARAMS_PER_BATCH):
                self._client.log_batch(run_id, params=batch)
            if start.dataset is not None:
                self._client.log_inputs(run_id, [_mlflow_dataset(start.dataset)])
        return run_id

    def send(self, run_id: str, events: Sequence[Event], folder: Path) -> None:
        """Write events of a run, see `Tracker.send`.

        Args:
            run_id: From `open`.
            events: New events of the run.
            folder: The paths of files in the events are relative to it.
        """
        with translated_errors(self._uri):
            self._send_metrics(run_id, [event for event in events if isinstance(event, Metrics)])
            self._send_images(run_id, [event for event in events if isinstance(event, Image)], folder)
            for event in events:
                if isinstance(event, Artifact) and _exists(folder / event.file):
                    self._client.log_artifact(run_id, str(folder / event.file), event.folder or None)
            self._send_tags(run_id, events)
            # After all else, so that an ended run is complete; and only the last, so that its state does not flicker.
            states = [event for event in events if isinstance(event, Resumed | RunEnd)]
            if states and isinstance(states[-1], RunEnd):
                self._client.set_terminated(run_id, states[-1].status, end_time=states[-1].at_ms)
            elif states:
                self._client.update_run(run_id, status="RUNNING")

    def _experiment(self, start: RunStart) -> str:
        tags = {_name(name): _cut(value, _EXPERIMENT_TAG_CHARACTERS) for name, value in start.experiment_tags.items()}
        location = self._location(start.experiment)
        return str(get_or_create_experiment(self._client, start.experiment, location, tags).experiment_id)

    def _location(self, experiment: str) -> str | None:
        if self._artifact_root is None:
            return None
        # The name for people, the hash because different names may become the same text.
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", experiment)[:60].strip(".-")
        return (self._artifact_root / f"{readable}-{hashlib.sha256(experiment.encode()).hexdigest()[:8]}").as_uri()

    def _run(self, experiment_id: str, start: RunStart) -> tuple[str, Mapping[str, str]]:
        """The id of the run with a key, and the parameters that it has already."""
        if (run := first_run(self._client, experiment_id, has_tag(KEY_TAG, start.key))) is not None:
            return str(run.info.run_id), run.data.params
        tags = {name: _cut(value, _TAG_CHARACTERS) for name, value in start.tags.items()}
        run = self._client.create_run(
            experiment_id, start.started_ms, {**tags, KEY_TAG: start.key}, run_name=start.name
        )
        return str(run.info.run_id), {}

    def _send_metrics(self, run_id: str, events: Sequence[Metrics]) -> None:
        points = [
            Metric(_name(name), value, event.at_ms, event.step)
            for event in events
            for name, value in event.values.items()
        ]
        for batch in _batches(points, _METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=batch)

    def _send_images(self, run_id: str, events: Sequence[Image], folder: Path) -> None:
        events = [event for event in events if _exists(folder / event.file)]
        if not events:
            return
        uploaded = {
            posixpath.basename(file.path): int(file.file_size or 0)
            for file in self._client.list_artifacts(run_id, "images")
            if not file.is_dir
        }
        with tempfile.TemporaryDirectory(prefix="drsearch-images-") as written:
            for event in events:
                _write_image(folder / event.file, Path(written), _stem(event, uploaded), uploaded)
            if any(Path(written).iterdir()):
                self._client.log_artifacts(run_id, written, "images")
        self._client.set_tag(run_id, MLFLOW_LOGGED_IMAGES, "True")

    def _send_tags(self, run_id: str, events: Sequence[Event]) -> None:
        tags: dict[str, str] = {}
        for event in events:
            if isinstance(event, Tags):
                tags.update(event.values)
            elif isinstance(event, RunEnd):
                tags.update(event.tags)
        if NOTE_TAG in tags:
            tags[NOTE_TAG] = tags[NOTE_TAG].replace(THIS_RUN, run_id)
        run_tags = [RunTag(_name(name), _cut(value, _TAG_CHARACTERS)) for name, value in tags.items()]
        for batch in _batches(run_tags, _PARAMS_PER_BATCH):
            self._client.log_batch(run_id, tags=batch)


def _batches(items: Sequence[_Item], n_items: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), n_items):
        yield items[start : start + n_items]


def _name(name: str) -> str:
    """`name` as MLflow accepts it: allowed characters only, and no path that leads elsewhere."""
    parts = re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))[:_KEY_CHARACTERS].rstrip("/") or "_"


def _cut(text: str, n_characters: int) -> str:
    return text if len(text) <= n_characters else text[: n_characters - 1] + "…"


def _mlflow_dataset(dataset: DatasetInput) -> MlflowDatasetInput:
    return MlflowDatasetInput(
        Dataset(
            name=_cut(dataset.name, _DATASET_NAME_CHARACTERS),
            digest=dataset.digest[:_DIGEST_CHARACTERS],
            source_type="local",
            source=json.dumps({"uri": dataset.source}),
        ),
        [InputTag(MLFLOW_DATASET_CONTEXT, dataset.context)],
    )


def _exists(path: Path) -> bool:
    if path.is_file():
        return True
    logging.warning("%s does not exist any more and is left out of its run.", path)
    return False


def _stem(event: Image, uploaded: Mapping[str, int]) -> str:
    """The file name of an image as `MlflowClient.log_image(key=, step=)` forms it, or the one that it has already.

    MLflow's page reads key, step and time from it; a single file with another name hides all images of the run.
    """
    key = re.sub(r"[^a-zA-Z0-9_\-. ~]", "_", event.key.replace("/", "~"))
    begin = f"{key}+step+{event.step}+timestamp+"
    names = sorted(name for name in uploaded if name.startswith(begin))
    if names:
        return re.sub(r"(\+compressed\.webp|\.png)$", "", names[0])
    return f"{begin}{event.at_ms}+{uuid.uuid4()}"


def _write_image(file: Path, folder: Path, stem: str, uploaded: dict[str, int]) -> None:
    """Write the image and its small copy into a folder, unless the run has them complete: sizes tell."""
    whole, small = folder / f"{stem}.png", folder / f"{stem}+compressed.webp"
    try:
        with PilImage.open(file) as image:
            image.load()
            if image.format == "PNG":
                shutil.copyfile(file, whole)
            else:
                image.save(whole)
            compress_image_size(image).save(small)
    except (UnidentifiedImageError, SyntaxError, ValueError) as wrong:
        logging.warning("%s is not a readable image and is left out of its run (%s).", file, wrong)
        whole.unlink(missing_ok=True)
        return
    for written in (whole, small):
        size = written.stat().st_size
        if uploaded.get(written.name) == size:
            written.unlink()
        uploaded[written.name] = size
