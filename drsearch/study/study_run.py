"""The MLflow run of a study itself: its space, what is known of its data, and its outcome."""

from collections.abc import Sequence
from pathlib import Path

from drsearch.files import write_whole
from drsearch.run_folder import SETTINGS_FILE, STUDY_RUN, trial_run
from drsearch.settings import Settings, gin_text
from drsearch.study.definition import StudyDefinition
from drsearch.study.notes import HISTORY_PICTURE, experiment_tags, study_note
from drsearch.study.result import StudyResult
from drsearch.tracking.artifact_guide import README_FILE, study_guide
from drsearch.tracking.events import Artifact, DatasetInput, Metrics, Resumed, RunEnd, RunStart, Status, Tags
from drsearch.tracking.journal import Journal
from drsearch.tracking.metric_names import best_metric
from drsearch.tracking.sent import run_id_of
from drsearch.tracking.tags import (
    BEST_TRIAL_TAG,
    KIND_TAG,
    NOTE_TAG,
    STUDY_TAG,
    WARM_START_TAG,
    outcome_tags,
    provenance_tags,
)
from drsearch.training.objective import Objective


class StudyRun:
    """Writes the journal of a study's own run.

    Args:
        name: The study's name.
        definition: Its definition.
        settings: Its settings, with the budgets of this call.
        folder: The study's folder.
        about_data: Files that say what its data are: the audit, and how the data set was read.
        contact_sheet: The page that `drsearch prepare --look` wrote of its photographs, if it did.
        warm_start: The study whose trials it inherits; empty for none.
        crops: Pictures of eyes of each grade.
    """

    def __init__(
        self,
        name: str,
        definition: StudyDefinition,
        settings: Settings,
        folder: Path,
        about_data: Sequence[Path],
        contact_sheet: Path,
        warm_start: str,
        crops: Sequence[Path] = (),
    ) -> None:
        self._name, self._definition, self._settings = name, definition, settings
        self._folder, self._about_data, self._warm_start = folder / STUDY_RUN, about_data, warm_start
        self._contact_sheet, self._crops = contact_sheet, crops

    def begin(self) -> None:
        """Begin the run, or resume the one of an earlier call."""
        self._folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(self._folder)
        if journal.size():
            journal.append([Resumed(), *self._new_contact_sheet()])
            return
        (self._folder / README_FILE).write_text(study_guide())
        (self._folder / self._definition.space_file).write_text(self._definition.space_source, encoding="utf-8")
        (self._folder / SETTINGS_FILE).write_text(gin_text(self._settings, ("All settings of the study.",)), "utf-8")
        for file in (*self._about_data, *self._crops):
            (self._folder / file.name).write_bytes(file.read_bytes())
        files = [
            Artifact(README_FILE),
            *(Artifact(file, "space") for file in (self._definition.space_file, SETTINGS_FILE)),
            *(Artifact(file.name, "data") for file in self._about_data),
            *(Artifact(file.name, "crops") for file in self._crops),
        ]
        journal.append([self._start(), *files, *self._new_contact_sheet()])

    def end(self, result: StudyResult, status: Status, reason: str) -> None:
        """Log the outcome of this call, and end the run.

        Args:
            result: The study as it is now.
            status: MLflow's status of the run.
            reason: Why the study ended or stopped; empty if all trials are over.
        """
        numbers = {f"trials_{state}": float(n) for state, n in result.counts().items()}
        tags = outcome_tags("complete" if status == "FINISHED" else "stopped", reason)
        best_run = run_id_of(self._folder.parent / trial_run(result.best.number)) if result.best is not None else None
        tags[NOTE_TAG] = study_note(result, best_run)
        if self._warm_start:
            tags[WARM_START_TAG] = self._warm_start
        if result.best is not None:
            numbers[best_metric(self._settings.study.objective)] = result.best.values[0]
            tags[BEST_TRIAL_TAG] = str(result.best.number)
        n_over = sum(trial.is_over for trial in result.trials)
        Journal(self._folder).append([*self._history(result), Metrics(n_over, numbers), Tags(tags), RunEnd(status)])

    def _history(self, result: StudyResult) -> list[Artifact]:
        """The picture of the trials' values, for the run's description; none without a complete trial."""
        from drsearch.measure.figures import png, search_figure  # matplotlib is not needed before

        complete = [trial for trial in result.trials if trial.state == "complete"]
        if not complete:
            return []
        objective = Objective(self._settings.study.objective)
        numbers, values = zip(*((trial.number, trial.values[0]) for trial in complete), strict=True)
        picture = search_figure(numbers, values, objective.name, objective.less_is_better)
        write_whole(self._folder / HISTORY_PICTURE, png(picture), replace=True)
        return [Artifact(HISTORY_PICTURE, "study")]

    def _new_contact_sheet(self) -> list[Artifact]:
        """The page of photographs, if it was written on demand and is not in the run yet."""
        copy = self._folder / "crops.html"
        if copy.is_file() or not self._contact_sheet.is_file():
            return []
        write_whole(copy, self._contact_sheet.read_bytes())
        return [Artifact(copy.name, "data")]

    def _start(self) -> RunStart:
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
            experiment_tags=experiment_tags(self._definition, self._settings.study.objective),
        )
