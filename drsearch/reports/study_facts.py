"""What MLflow and the study database hold about a study, read for its report."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drsearch.data.audit import Audit
from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.release.card_figures import CHART, SHEET
from drsearch.release.eye_answers import ANSWERS_FILE, PICTURES_FOLDER, EyeAnswer, read_answers
from drsearch.release.model_card import ModelCard, read_card
from drsearch.release.registry import CHAMPION, ModelVersion, Registry
from drsearch.run_folder import CROPS_FOLDER
from drsearch.settings import Settings
from drsearch.study.definition import StudyDefinition, load_study
from drsearch.study.status import StudyStatus, TrialRow, study_status, trial_rows
from drsearch.tracking.mlflow_client import first_run, open_client, search_runs, translated_errors
from drsearch.tracking.tags import KIND_TAG, PARENT_RUN_TAG, STUDY_ID_TAG, TRIAL_TAG, has_tag
from drsearch.training.objective import Objective
from drsearch.trials.trials import Trial

_MOST_CURVES = 30  # of trials whose learning curves are read, beside the best
_BEST_CURVES = 5

Curve = Sequence[tuple[int, float]]
"""Epochs, and the value of a metric in each."""


@dataclass(frozen=True)
class FineTuning:
    """A fine-tuning of the study's model.

    Attributes:
        before: Metrics of the run that it started from, by name.
        after: Metrics of its own run.
        is_better: Whether its network was registered.
    """

    before: Mapping[str, float]
    after: Mapping[str, float]
    is_better: bool


@dataclass(frozen=True)
class VersionFacts:
    """What is known of the version that was registered from a study.

    Attributes:
        version: The version.
        metrics: Of the run that made it, by name.
        params: Parameters of that run.
        curves: Metrics of each epoch of that run, by name.
        test: `test/scores.json`; empty before the test split was evaluated.
        answers: For each test eye; empty where they were not logged.
        pictures: JPEG files of test eyes, by the eye's name: photograph and heat map side by side.
        explanations: Chart of `drsearch explain`, and heat maps of some eyes if they were logged, by split and method.
        finetuning: None without one.
        card: The model card; None for a version of an older drsearch.
    """

    version: ModelVersion
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    curves: Mapping[str, Curve]
    test: Mapping[str, Any]
    answers: Sequence[EyeAnswer]
    pictures: Mapping[str, bytes]
    explanations: Mapping[str, Sequence[bytes]]
    finetuning: FineTuning | None
    card: ModelCard | None

    @property
    def threshold(self) -> float:
        """An eye is called RDR from this probability on."""
        return float(self.test["threshold"])


@dataclass(frozen=True)
class StudyFacts:
    """What is known of a study.

    Attributes:
        status: State, counts, best trial.
        trials: Its trials, by number.
        rows: The same as rows of a table.
        definition: Space, settings, data and code.
        run_id: The study's own run in MLflow; empty before it is there.
        manifest: Counts of photographs, and how they were split; empty where it was not logged.
        audit: Findings about the data; None where they were not logged.
        crops: Pictures of eyes of each grade, by grade.
        curves: The objective in each epoch, by trial: of the best and of the pruned.
        model: The version that counts; None before one is registered.
        champion: The version in use, if it is another one.
        champion_answers: Its own for each test eye; empty where they were not logged.
    """

    status: StudyStatus
    trials: Sequence[Trial]
    rows: Sequence[TrialRow]
    definition: StudyDefinition
    run_id: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    audit: Audit | None = None
    crops: Mapping[int, bytes] = field(default_factory=dict)
    curves: Mapping[int, Curve] = field(default_factory=dict)
    model: VersionFacts | None = None
    champion: ModelVersion | None = None
    champion_answers: Sequence[EyeAnswer] = ()

    @property
    def name(self) -> str:
        """The study's name."""
        return self.status.name

    @property
    def settings(self) -> Settings:
        """The settings that every trial starts from."""
        return self.definition.settings


def read_study(storage: Any, name: str, home: Home) -> StudyFacts:
    """Read a study.

    Args:
        storage: The opened study database.
        name: The study's name.
        home: Names MLflow.

    Raises:
        StudyError: If there is no such study.
        TrackerUnavailable: If MLflow does not answer.
    """
    study, definition = load_study(storage, name)
    status = study_status(study, definition, storage, home)
    rows, _, _ = trial_rows(storage, name, home)
    facts: dict[str, Any] = {}
    with translated_errors(home.tracking_uri):
        client = open_client(home.tracking_uri)
        experiment, run = study_run(client, name)
        if run is not None:
            facts = _about_data(client, run.info.run_id)
        if experiment is not None:
            facts["model"] = _model(client, home, definition, experiment.experiment_id)
            objective = definition.settings.study.objective
            facts["curves"] = _trial_curves(client, experiment.experiment_id, rows, objective)
        champion = Registry(home.tracking_uri).with_alias(definition.settings.registry.model_name, CHAMPION)
        model = facts.get("model")
        if champion is not None and (model is None or champion.version != model.version.version):
            facts |= {"champion": champion, "champion_answers": _answers(_files(client, champion.run_id, "test"))}
    return StudyFacts(status, status.progress.trials, rows, definition, **facts)


def study_run(client: Any, name: str) -> tuple[Any, Any]:
    """The experiment of a study and the study's own run in MLflow; None where it is not there yet.

    Args:
        client: Of MLflow.
        name: The study's name.
    """
    experiment = client.get_experiment_by_name(name)
    return experiment, experiment and first_run(client, experiment.experiment_id, has_tag(KIND_TAG, "study"))


def _about_data(client: Any, run_id: str) -> dict[str, Any]:
    files = _files(client, run_id, "data")
    audit, manifest = files.get("audit.json"), files.get("manifest.json")
    crops = _files(client, run_id, CROPS_FOLDER)
    return {
        "run_id": run_id,
        "audit": Audit.from_json(json.loads(audit)) if audit else None,
        "manifest": json.loads(manifest) if manifest else {},
        "crops": {int(Path(name).stem.removeprefix("grade-")): content for name, content in crops.items()},
    }


def _model(client: Any, home: Home, definition: StudyDefinition, experiment_id: str) -> VersionFacts | None:
    registry = Registry(home.tracking_uri)
    versions = registry.versions(definition.settings.registry.model_name, {STUDY_ID_TAG: definition.uid})
    if not versions:
        return None
    version = max(versions, key=lambda version: version.version)
    run = client.get_run(version.run_id)
    test = _files(client, version.run_id, "test")
    folder = f"{PICTURES_FOLDER}/"
    epochs = [name for name in run.data.metrics if re.fullmatch(r"(.*/)?(train|val)_(loss|auc)", name)]
    return VersionFacts(
        version,
        metrics=run.data.metrics,
        params=run.data.params,
        curves={name: _curve(client, version.run_id, name) for name in epochs},
        test=json.loads(test.get("scores.json", b"{}")),
        answers=_answers(test),
        pictures={
            name.removeprefix(folder).removesuffix(".jpg"): content
            for name, content in test.items()
            if name.startswith(folder)
        },
        explanations=_explanations(client, version.run_id),
        finetuning=_finetuning(client, experiment_id, version),
        card=_card(registry, version),
    )


def _answers(test: Mapping[str, bytes]) -> Sequence[EyeAnswer]:
    answers = test.get(ANSWERS_FILE)
    return read_answers(answers.decode()) if answers else ()


def _explanations(client: Any, run_id: str) -> dict[str, list[bytes]]:
    """Without the heat maps at the photographs' own resolution, which are large."""
    pictures: dict[str, list[bytes]] = {}
    for folder in client.list_artifacts(run_id, "explain"):
        names = {file.path for file in client.list_artifacts(run_id, folder.path)}
        wanted = [path for path in (f"{folder.path}/{CHART}", f"{folder.path}/{SHEET}") if path in names]
        with tempfile.TemporaryDirectory() as place:
            files = [Path(client.download_artifacts(run_id, path, place)).read_bytes() for path in wanted]
        _, split, method = folder.path.rpartition("/")[2].split("-", 2)
        pictures[f"{split} eyes, {method}"] = files
    return pictures


def _card(registry: Registry, version: ModelVersion) -> ModelCard | None:
    try:
        return read_card(registry, version)
    except RegistryError:  # of an older drsearch
        return None


def _finetuning(client: Any, experiment_id: str, version: ModelVersion) -> FineTuning | None:
    for run in search_runs(client, [experiment_id], has_tag(KIND_TAG, "finetune")):
        parent = run.data.tags.get(PARENT_RUN_TAG, "")
        if parent and version.run_id in (run.info.run_id, parent):
            before = client.get_run(parent).data.metrics
            return FineTuning(before, run.data.metrics, version.run_id == run.info.run_id)
    return None


def _trial_curves(client: Any, experiment_id: str, rows: Sequence[TrialRow], objective: str) -> dict[int, Curve]:
    """The curves of the best trials, and of some of the pruned; rows are by number."""
    complete = [row for row in rows if row.state == "complete" and row.value is not None]
    complete.sort(key=lambda row: Objective(objective).loss(row.value or 0.0))
    pruned = [row for row in rows if row.state == "pruned"]
    shown = {row.number: row.run_id for row in (*complete[:_BEST_CURVES], *pruned[-_MOST_CURVES:])}
    if not all(shown.values()):  # some machine that trained has not said yet which run of MLflow is whose
        found = search_runs(client, [experiment_id], has_tag(KIND_TAG, "trial"))
        runs = {int(run.data.tags[TRIAL_TAG]): run.info.run_id for run in found}
        shown = {number: run_id or runs.get(number, "") for number, run_id in shown.items()}
    curves = {number: _curve(client, run_id, objective) for number, run_id in shown.items() if run_id}
    return {number: curve for number, curve in curves.items() if curve}


def _curve(client: Any, run_id: str, metric: str) -> Curve:
    points = {point.step: point.value for point in client.get_metric_history(run_id, metric)}
    return sorted(points.items())


def _files(client: Any, run_id: str, folder: str) -> dict[str, bytes]:
    """The content of the files of an artifact folder and its folders, by their path within it."""
    if not client.list_artifacts(run_id, folder):
        return {}
    with tempfile.TemporaryDirectory() as place:
        root = Path(client.download_artifacts(run_id, folder, place))
        return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}
