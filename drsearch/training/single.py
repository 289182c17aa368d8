"""One training without a study: repeats a trial from its settings file, or tries a setting."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import keras

from drsearch.data.records import RecordSet
from drsearch.datasets.read import Dataset, data_options
from drsearch.errors import SettingsError
from drsearch.home import TRAININGS, Home
from drsearch.model.backbones import build_network, check_backbone, check_weights
from drsearch.model.own import NOTHING, missing_function
from drsearch.model.second_targets import misfit_of_boxes, misfit_of_edema, misfit_of_grades, misfit_of_settings
from drsearch.processes import this_process
from drsearch.settings import Settings, gin_text
from drsearch.space.search_space import SearchSpace
from drsearch.tracking.events import DatasetInput, RunStart
from drsearch.tracking.sent import run_id_of
from drsearch.tracking.tags import KIND_TAG, provenance_tags
from drsearch.training.foreground import ForegroundWatch, train_and_send
from drsearch.training.listener import SILENT, Listener
from drsearch.training.outcome import Outcome, read_outcome
from drsearch.training.plan import Plan


@dataclass(frozen=True)
class TrainingResult:
    """The result of a single training.

    Attributes:
        name: Its run's.
        folder: Where its journal, files and model lie.
        outcome: How it ended.
        run_id: Its MLflow run; None if MLflow has not answered yet.
    """

    name: str
    folder: Path
    outcome: Outcome
    run_id: str | None


def check_network(settings: Settings, space: SearchSpace | None) -> None:
    """Refuse settings whose network or loss cannot be built, or judged as they say, before anything is prepared.

    Args:
        settings: All of them.
        space: The space whose functions the settings name; None for none.

    Raises:
        SettingsError: If a space with such a function is missing, or is given although the settings need none; if the
            images are too small for the backbone, or its weights are not there.
    """
    if settings.model.hypermodel and (space is None or not space.has_hypermodel):
        raise SettingsError(
            "model.hypermodel is set: these are the settings of a trial whose network was made by build_model of a "
            "space. Give that file with --space FILE; the study's run keeps it under space/."
        )
    if missing := missing_function(settings, space.own if space is not None else NOTHING):
        raise SettingsError(f"{missing}. Give that file with --space FILE; the study's run keeps it under space/.")
    if space is not None and not settings.need_space:
        raise SettingsError(
            f"--space {space.path}: the settings name nothing of it: model.hypermodel is empty, which is the ResNet; "
            "give the settings.gin of a trial of that space, or leave --space out."
        )
    if space is None:
        check_backbone(settings)
    if misfit := misfit_of_settings(settings):
        raise SettingsError(f"{misfit}.")


def check_targets(settings: Settings, records: RecordSet) -> None:
    """Refuse a second target that the train eyes do not have.

    Args:
        settings: `training.levels_weight`, `training.lesions_weight` and `training.edema_weight` are used.
        records: The eyes.

    Raises:
        SettingsError: If the eyes are graded yes or no, or have no boxes around lesions, or none has macular edema.
        RecordsError: If `eyes.jsonl` is missing, torn or altered.
    """
    grades = [int(grade) for grade, n in records.counts["train"]["grades"].items() if n]
    misfit = misfit_of_grades(settings.training, grades)
    if not misfit and settings.training.lesions_weight > 0:
        misfit = misfit_of_boxes(settings.training, (eye.boxes for eye in records.eyes("train")))
    if not misfit and settings.training.edema_weight > 0:
        misfit = misfit_of_edema(settings.training, (eye.edema for eye in records.eyes("train")))
    if misfit:
        raise SettingsError(f"{misfit}.")


def train(
    name: str,
    records: RecordSet,
    data: Dataset,
    settings: Settings,
    home: Home,
    listener: Listener = SILENT,
    space: SearchSpace | None = None,
) -> TrainingResult:
    """Train once. An interrupted call is resumed; a finished one is repeated as a run of its own.

    Args:
        name: The run's.
        records: The eyes.
        data: The data set that they came from.
        settings: All of them; `training.seed` decides the initial weights and the order.
        home: Where everything lies.
        listener: Hears of every epoch.
        space: The space whose functions the settings name; None for none.

    Returns:
        The result.

    Raises:
        SettingsError: If the eyes lack a second target; if the backbone's weights cannot be downloaded, or do not fit.
        Interrupted: After Ctrl-C, at the end of an epoch; the same call resumes there.
    """
    check_targets(settings, records)
    if space is None:
        check_weights(settings)
    settings = settings.replace({"data.fingerprint": records.data_fingerprint})
    digest = hashlib.sha256(gin_text(settings).encode()).hexdigest()[:8]
    folder = _unfinished(home.runs / TRAININGS, f"{name}-{digest}")
    start = RunStart(
        key=f"training/{home.path}/{folder.name}",
        experiment=TRAININGS,
        name=folder.name,
        tags={KIND_TAG: "training", **provenance_tags()},
        params=settings.flat(),
        dataset=DatasetInput(name=data.name, digest=records.fingerprint, source=data.place),
    )
    of = f" --space {space.path.name}" if space is not None else ""
    given = data_options(data.given or [records.description_path])
    head = ("One training. Repeat it:", f"drsearch train {given} --config settings.gin{of}")

    files = (records.description_path,)

    def build() -> keras.Model:
        return space.build(settings) if space is not None else build_network(settings.model, settings.images.image_px)

    plan = Plan(
        folder=folder,
        start=start,
        settings=settings,
        build=build,
        own=space.own if space is not None else NOTHING,
        head=head,
        files=files,
        owner=this_process(),
        features=home.features,
    )
    outcome = train_and_send(plan, records, home, ForegroundWatch("training", listener, plan))
    return TrainingResult(folder.name, folder, outcome, run_id_of(folder))


def _unfinished(parent: Path, name: str) -> Path:
    """The first of the folders `name`, `name-2`, `name-3`, ... that has no outcome."""
    number = 1
    while read_outcome(folder := parent / (name if number == 1 else f"{name}-{number}")) is not None:
        number += 1
    return folder
