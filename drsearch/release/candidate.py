"""The best trial of a study, as the candidate for registration: its settings, folders and outcome."""

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from drsearch.data.records import RecordSet, open_records
from drsearch.errors import StudyError
from drsearch.home import Home
from drsearch.measure.scores import CHANCE
from drsearch.run_folder import finetune_run, refit_run
from drsearch.settings import Settings
from drsearch.space.search_space import SearchSpace
from drsearch.study.best_trial import ranked, why_none
from drsearch.study.definition import trial_key
from drsearch.study.result import StudyResult
from drsearch.tracking.availability import check_available, is_served
from drsearch.tracking.events import RunStart
from drsearch.tracking.metric_names import best_metric
from drsearch.tracking.remote_runs import RemoteRuns
from drsearch.tracking.sent import run_id_of, why_unsent
from drsearch.tracking.tags import KIND_TAG, STUDY_TAG, provenance_tags
from drsearch.tracking.tracker import TrackerUnavailable
from drsearch.training.cross_validation import has_mean, n_trainings, training_name
from drsearch.training.outcome import Outcome, read_outcome
from drsearch.trials.trials import Trial
from drsearch.workers.worker import dataset_input


@dataclass(frozen=True)
class Candidate:
    """The best trial of a finished study.

    Attributes:
        study: The finished study.
        trial: Its best trial.
        space: Its search space.
        home: Where records and runs lie.
    """

    study: StudyResult
    trial: Trial
    space: SearchSpace
    home: Home

    @classmethod
    def of(cls, study: StudyResult, space: SearchSpace, home: Home) -> "Candidate":
        """The best trial of a study.

        Args:
            study: The finished study.
            space: Its search space.
            home: Where records and runs lie.

        Returns:
            The candidate.

        Raises:
            StudyError: If no trial is complete; the message has the reasons of the failed ones.
        """
        if why := why_none(study.trials, study.definition.settings):
            raise StudyError(
                f"no model of study {study.name!r} is registered: {why}. Give the same command more trials (--trials), "
                "or begin another study with weaker constraints."
            )
        if study.best is None:
            reasons = "; ".join(f"trial {trial.number}: {trial.reason}" for trial in study.trials if trial.reason)
            raise StudyError(
                f"no trial of study {study.name!r} is complete, so there is no model to register "
                f"({reasons or 'none is finished; the same command resumes the study'})."
            )
        return cls(study, study.best, space, home)

    @property
    def number(self) -> int:
        """The trial's number."""
        return self.trial.number

    @property
    def name(self) -> str:
        """The name of the registered model."""
        return self.settings.registry.model_name

    @cached_property
    def params(self) -> dict[str, Any]:
        """What the space drew for the trial, by setting."""
        return self.space.draw(self.trial.last)

    @cached_property
    def settings(self) -> Settings:
        """All settings of the trial; those of an inherited trial have the seed that it was trained with."""
        settings = self.study.definition.trial_settings(self.number, self.params)
        origin = self.trial.inherited_from
        return settings.replace({"training.seed": origin["seed"]}) if origin else settings

    @property
    def needs_refit(self) -> bool:
        """Whether several networks (folds or repeats) judged the trial, and neither one nor their mean is the model."""
        return n_trainings(self.settings.search) > 1 and not has_mean(self.settings)

    @property
    def is_mean(self) -> bool:
        """Whether the model is a mean of networks."""
        return self.settings.registry.networks != "one"

    def with_others(self) -> "list[Candidate]":
        """The trials whose networks the model may have: this one, and where several are averaged the next best too.

        All see photographs as this one does, since a model prepares a photograph once.
        """
        if self.settings.registry.networks != "trials":
            return [self]
        others = [replace(self, trial=trial) for trial in ranked(self.study.trials, self.study.definition.settings)]
        return [other for other in others if other.settings.images == self.settings.images]

    def networks(self, run_id: str) -> list[dict[str, Any]]:
        """The networks of the trial, as a version names them: trial, run and fold of each.

        Args:
            run_id: Of the trial.
        """
        search = self.settings.search
        names = [training_name(search, index) for index in range(n_trainings(search))]
        return [{"trial": self.number, "run": run_id, "network": name} for name in names]

    @property
    def folder(self) -> Path:
        """The trial's run folder."""
        return self.study.trial_folder(self.number)

    @property
    def refit_folder(self) -> Path:
        """The run folder of the refit."""
        return self.study.folder / refit_run(self.number)

    @property
    def finetune_folder(self) -> Path:
        """The run folder of the fine-tuning."""
        return self.study.folder / finetune_run(self.number)

    def records(self) -> RecordSet:
        """The record set that the trial was trained with."""
        return open_records(self.home.records / self.study.definition.records_for(self.settings.images))

    def run_start(self, kind: str, folder: Path, name: str, settings: Settings, tags: dict[str, str]) -> RunStart:
        """How the run of a training begins that follows the trial.

        Args:
            kind: `refit` or `finetune`.
            folder: The training's run folder.
            name: Of the run in MLflow.
            settings: Of the training.
            tags: Beside those of every run of the study.

        Returns:
            The start, with key, parameters and data set.
        """
        definition = self.study.definition
        return RunStart(
            key=f"{definition.uid}/{folder.name}",
            experiment=self.study.name,
            name=name,
            tags={KIND_TAG: kind, STUDY_TAG: self.study.name, **tags, **provenance_tags()},
            params=settings.flat(),
            dataset=dataset_input(definition, settings),
        )

    def trained(self) -> tuple[str, Outcome]:
        """The trial's MLflow run and its outcome, downloaded if another machine trained it.

        Returns:
            The id of the run, and the outcome.

        Raises:
            StudyError: If the run is not in MLflow, or the files are not here.
        """
        if is_served(self.home.tracking_uri):
            self._download()
        run_id, outcome = run_id_of(self.folder), read_outcome(self.folder)
        if run_id is not None and outcome is not None:
            return run_id, outcome
        if origin := self.trial.inherited_from:
            raise StudyError(
                f"trial {self.number} of study {self.study.name!r} was inherited from study {origin['study']!r}, "
                f"and its files are not in {self.folder}; bring that folder back, and give the same command again."
            )
        raise StudyError(
            f"trial {self.number} of study {self.study.name!r} is not in MLflow, so its network cannot be registered: "
            f"{self._why_unsent()}. When that is mended, `drsearch sync` and then the same command register it."
        )

    def _download(self) -> None:
        key, experiment = self.study.definition.trial_key(self.number), self.study.name
        if origin := self.trial.inherited_from:  # it is a trial of another study
            key, experiment = trial_key(origin["uid"], origin["trial"]), origin["study"]
        with suppress(TrackerUnavailable):  # `trained` says what is missing then
            RemoteRuns(self.home.tracking_uri).fetch_run(experiment, key, self.folder)

    def _why_unsent(self) -> str:
        if why := why_unsent(self.folder):
            return why.rstrip(".")
        try:
            check_available(self.home.tracking_uri)
        except TrackerUnavailable as wrong:
            return str(wrong)
        return "its files have not arrived on this machine yet" if run_id_of(self.folder) else "it was not sent yet"

    def check_tells_eyes_apart(self, outcome: Outcome) -> None:
        """Refuse to register a network that answers the same for every eye.

        Args:
            outcome: Of the trial.

        Raises:
            StudyError: If the trial's network does; with folds or repeats, if all of its networks do.
        """
        if is_constant(outcome):
            raise StudyError(
                f"the best trial of study {self.study.name!r}, trial {self.number}, answers the same for every "
                f"validation eye (AUC {CHANCE:g}), so no model is registered. Give the same command more trials "
                "(--trials), or begin another study with more epochs, another learning rate, or study.objective = "
                "'val_auc', which ranks such a network last."
            )


def is_constant(outcome: Outcome) -> bool:
    """Whether the network of a trial answers the same for every eye; with folds or repeats, whether all of them do."""
    if outcome.scores is not None:
        return outcome.scores.is_constant
    numbers = outcome.metrics
    return numbers[best_metric("val_auc")] == CHANCE and numbers[best_metric("val_auc_std")] == 0
