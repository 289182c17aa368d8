"""A model that was never trained, and a home whose registry holds it: what it says is of no interest, only how."""

import json
from pathlib import Path

from mlflow import MlflowClient

from drsearch.data.records import RecordSet, read_eyes
from drsearch.home import Home
from drsearch.measure.familiarity import fit_familiarity
from drsearch.model.fit import set_seeds
from drsearch.model.resnet_v2 import build_resnet
from drsearch.release.registry import CHAMPION, Registry
from drsearch.serving.model_files import Serving, model_files
from drsearch.settings import Settings


def untrained_files(folder: Path, records: RecordSet, settings: Settings) -> dict[str, Path]:
    """The files of a model with the weights it began with, which counts the train split as seen."""
    set_seeds(3)
    build_resnet(settings.model, settings.images.image_px).save(folder / "model.keras")
    serving = Serving(settings.images, settings.data, settings.task, 0.5, 1.0, records.fingerprint)
    seen = json.dumps([eye.to_json() for eye in records.eyes("train")])
    familiarity = fit_familiarity(read_eyes(records, "train").images, read_eyes(records, "validation").images)
    return model_files(folder, folder / "model.keras", serving.to_json(), seen, familiarity.to_json())


def stocked_home(path: Path, files: dict[str, Path]) -> Home:
    """A new home whose registry holds one version, the champion."""
    home = Home(path)
    home.path.mkdir()
    registry, client = Registry(home.tracking_uri), MlflowClient(home.tracking_uri, home.tracking_uri)
    experiment = client.create_experiment("a study", home.artifacts.as_uri())
    version = registry.register("retinopathy", client.create_run(experiment).info.run_id, files, {}, "the first")
    registry.set_alias(version, CHAMPION)
    return home
