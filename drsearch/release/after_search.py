"""The main job: from a folder of photographs to a registered, fine-tuned, tested model."""

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from drsearch.data.records import RecordSet, open_records, read_eyes
from drsearch.errors import StudyError
from drsearch.files import lock
from drsearch.home import Home
from drsearch.measure.familiarity import Familiarity, fit_familiarity
from drsearch.measure.figures import confusion_figure, roc_figure
from drsearch.measure.scores import CHANCE, Scores
from drsearch.processes import this_process
from drsearch.release.evaluate import Evaluation, evaluate
from drsearch.release.finetune import finetune_settings, underfits
from drsearch.release.operating_point import operation
from drsearch.release.registry import SEARCH_BEST, ModelVersion, Registry
from drsearch.run_folder import MODEL_FILE, REGISTERED_FOLDER, finetune_run, refit_run
from drsearch.serving.grader import Grader, load_network
from drsearch.serving.model_files import Serving, model_files
from drsearch.space.search_space import SearchSpace
from drsearch.study.best_trial import pick_rule
from drsearch.study.definition import trial_key
from drsearch.study.result import StudyResult
from drsearch.tracking.events import RunStart
from drsearch.tracking.markdown import note_table
from drsearch.tracking.mlflow_client import is_away, outage
from drsearch.tracking.reach import check_answers, is_served
from drsearch.tracking.sent import run_id_of, why_unsent
from drsearch.tracking.tags import (
    DATA_FINGERPRINT_TAG,
    KIND_TAG,
    LIBRARY_TAG_PREFIX,
    OPERATING_POINT_TAG,
    PARENT_MODEL_TAG,
    PARENT_RUN_TAG,
    PARENT_VERSION_TAG,
    RECORDS_FINGERPRINT_TAG,
    REFIT_EPOCHS_TAG,
    RUN_ID_TAG,
    STUDY_TAG,
    TEMPERATURE_TAG,
    TEST_CAUTION_TAG,
    THRESHOLD_TAG,
    TRIAL_RUN_TAG,
    TRIAL_TAG,
    VALIDATION_CAUTION_TAG,
    provenance_tags,
)
from drsearch.tracking.tracker import TrackerAway
from drsearch.training.cross_validation import folds_or_repeats, n_trainings
from drsearch.training.foreground import ForegroundWatch, train_and_send
from drsearch.training.listener import SILENT, Listener
from drsearch.training.objective import Objective
from drsearch.training.outcome import Outcome, read_outcome
from drsearch.training.plan import Plan
from drsearch.workers.worker import dataset_input

T = TypeVar("T")

_AWAY_S = 60.0
_AGAIN_S = 2.0
_FAMILIAR_EYES = 5000


@dataclass
class JobState:
    """How far the steps after the search have come; kept on disk after each, so that a rerun repeats none.

    Attributes:
        trial: The best trial, whose steps these are.
        refit: With folds or repeats the run and the epochs of the refit, as `--json` prints it; empty otherwise.
        search_version: The version registered from it.
        finetune: What became of fine-tuning, as `--json` prints it; empty before.
        version: The version that counts: fine-tuned, or from the search.
        test: Test scores, as `--json` prints them; empty before.
    """

    trial: int
    refit: dict[str, Any] = field(default_factory=dict)
    search_version: int = 0
    finetune: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    test: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobResult:
    """What the main job came to.

    Attributes:
        best_trial: Its number.
        value: Its objective.
        params: What the space drew for it.
        run_id: Its MLflow run.
        refit: The run and the epochs of the refit on train and validation; empty without folds and repeats.
        model: The version that counts, with the test scores in its tags.
        finetune: What became of fine-tuning.
        test: Test scores with intervals, and how often the test split was looked at.
    """

    best_trial: int
    value: float
    params: dict[str, Any]
    run_id: str
    refit: dict[str, Any]
    model: ModelVersion
    finetune: dict[str, Any]
    test: dict[str, Any]


class Job:
    """The steps after the search: refit, register, fine-tune, test; each is done once, however often asked.

    Args:
        study: The finished search.
        space: Its space.
        home: Where everything lies.
        listener: Told what is done now.
        cancelled: Asked after every epoch of fine-tuning whether to stop.
    """

    def __init__(
        self,
        study: StudyResult,
        space: SearchSpace,
        home: Home,
        listener: Listener = SILENT,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        best = study.best
        if best is None:
            reasons = "; ".join(f"trial {trial.number}: {trial.reason}" for trial in study.trials if trial.reason)
            raise StudyError(
                f"no trial of study {study.name!r} is complete, so there is no model to register "
                f"({reasons or 'none has come to its end; the same command goes on'})."
            )
        self._study, self._home, self._best, self._cancelled = study, home, best, cancelled
        self._listener, self._say = listener, listener.say
        self._space = space
        self._drawn = space.draw(best.last)
        self._settings = study.definition.trial_settings(best.number, self._drawn)
        if best.carried:
            self._settings = self._settings.replace({"training.seed": best.carried["seed"]})
        self._folder = study.trial_folder(best.number)
        self._needs_refit = n_trainings(self._settings.search) > 1
        self._state_file = study.folder / "job.json"
        self._state = self._read_state()
        self._registry = Registry(home.tracking_uri)
        self._name = self._settings.registry.model_name

    def run(self) -> JobResult:
        """Do what is not done yet.

        Raises:
            StudyError: If the best trial's run has not reached MLflow.
        """
        if is_served(self._home.tracking_uri):
            self._bring_home()
        run_id = run_id_of(self._folder)
        outcome = read_outcome(self._folder)
        if self._best.carried and (run_id is None or outcome is None):
            raise StudyError(
                f"the best trial of study {self._study.name!r} was carried from study {self._best.carried['study']!r}, "
                f"and its files are not in {self._folder}; bring that folder back, and give the same command again."
            )
        if run_id is None or outcome is None:
            raise StudyError(
                f"the best trial of study {self._study.name!r} is not in MLflow, so it cannot be registered: "
                f"{self._why_unsent()}. When that is mended, `drsearch sync` and then the same command register it."
            )
        with _one_at_a_time(self._study.folder):
            self._state = self._read_state()  # another launcher of this study may have done some of it
            steps = lambda: self._steps(run_id, outcome)  # noqa: E731
            return wait_for_mlflow(steps, self._study.name, self._home.tracking_uri, self._say)

    def _why_unsent(self) -> str:
        if why := why_unsent(self._folder):
            return why.rstrip(".")
        try:
            check_answers(self._home.tracking_uri)
        except TrackerAway as wrong:
            return str(wrong)
        return "its files have not arrived on this machine yet" if run_id_of(self._folder) else "it was not sent yet"

    def _steps(self, run_id: str, outcome: Outcome) -> JobResult:
        if not self._state.search_version:
            self._refuse_constant(outcome)
        if self._needs_refit and not self._state.refit:
            self._state.refit = self._refit(run_id, outcome)
            self._keep_state()
        searched = self._register_search(run_id, outcome)
        version = self._finetune(searched, outcome)
        self._test(version)
        return JobResult(
            self._best.number,
            outcome.value,
            self._drawn,
            run_id,
            self._state.refit,
            self._registry.version(self._name, self._state.version),
            self._state.finetune,
            self._state.test,
        )

    def _refuse_constant(self, outcome: Outcome) -> None:
        """Refuse to register a network that answers the same for every eye.

        Raises:
            StudyError: If the best trial's does; with folds or repeats, if all of its networks do.
        """
        numbers = outcome.numbers
        if outcome.scores is not None:
            is_constant = outcome.scores.is_constant
        else:
            is_constant = numbers["best_val_auc"] == CHANCE and numbers["best_val_auc_std"] == 0
        if is_constant:
            raise StudyError(
                f"the best trial of study {self._study.name!r}, trial {self._best.number}, answers the same for every "
                f"validation eye (AUC {CHANCE:g}), so no model is registered. Give the same command more trials "
                "(--trials), or begin another study with more epochs, another learning rate, or study.objective = "
                "'val_auc', which ranks such a network last."
            )

    def _judged_scores(self, outcome: Outcome) -> Scores:
        """Scores of the eyes that judged the setting, at the threshold that its version gets."""
        assert outcome.predictions is not None
        return operation(outcome.predictions, self._settings).scores

    def _bring_home(self) -> None:
        """Have the best trial's outcome and network here, wherever it was trained."""
        from drsearch.tracking.remote_runs import Depot

        study = self._study
        with suppress(TrackerAway):  # what is missing then is said by `run`
            key, experiment = study.definition.trial_key(self._best.number), study.name
            if carried := self._best.carried:  # it is a trial of another study
                key, experiment = trial_key(carried["uid"], carried["trial"]), carried["study"]
            Depot(self._home.tracking_uri).fetch(experiment, key, self._folder)

    def _records(self) -> RecordSet:
        return open_records(self._home.records / self._study.definition.records_for(self._settings.images))

    def _register_search(self, run_id: str, outcome: Outcome) -> ModelVersion:
        if not self._state.search_version:
            if caution := self._judged_scores(outcome).caution:
                self._say(f"on validation: {caution}")
            self._say(f"registering trial {self._best.number} as {self._name}")
            if self._needs_refit:
                tags = {KIND_TAG: "refit", TRIAL_RUN_TAG: run_id}
                made = self._register(self._state.refit["run_id"], self._refit_folder / MODEL_FILE, outcome, tags)
            else:
                assert outcome.model is not None
                made = self._register(run_id, outcome.model, outcome, {KIND_TAG: "trial"})
            self._registry.set_alias(made, SEARCH_BEST)
            self._state.search_version = self._state.version = made.version
            self._keep_state()
        return self._registry.version(self._name, self._state.search_version)

    @property
    def _refit_folder(self) -> Path:
        return self._study.folder / refit_run(self._best.number)

    def _refit(self, trial_run: str, outcome: Outcome) -> dict[str, Any]:
        """Train the best setting on train and validation eyes, as long as its folds say; goes on where it stopped."""
        word = folds_or_repeats(self._settings.search)
        self._say(
            f"refitting trial {self._best.number} on train and validation eyes for {outcome.epoch} epochs, "
            f"the best number in its {word}"
        )
        start = RunStart(
            key=f"{self._study.definition.uid}/{refit_run(self._best.number)}",
            experiment=self._study.name,
            name=f"refit of trial {self._best.number}",
            tags={
                KIND_TAG: "refit",
                STUDY_TAG: self._study.name,
                TRIAL_TAG: str(self._best.number),
                TRIAL_RUN_TAG: trial_run,
                REFIT_EPOCHS_TAG: str(outcome.epoch),
                **provenance_tags(),
            },
            params=self._settings.flat(),
            dataset=dataset_input(self._study.definition, self._settings),
        )
        head = (f"Refit of trial {self._best.number}, study {self._study.name}: {outcome.epoch} epochs of these.",)
        build = lambda: self._space.build(self._settings)  # noqa: E731
        plan = Plan(
            folder=self._refit_folder,
            start=start,
            settings=self._settings,
            build=build,
            head=head,
            owner=this_process(),
            until=outcome.epoch,
        )
        fitted = train_and_send(
            plan, self._records(), self._home, ForegroundWatch("refit", self._listener, plan, self._cancelled)
        )
        run_id = run_id_of(self._refit_folder)
        if fitted.state != "complete" or run_id is None:
            what = fitted.reason or "it has not reached MLflow; when it answers, give the same command again"
            raise StudyError(f"the refit of trial {self._best.number} is not done: {what}.")
        return {"run_id": run_id, "epochs": outcome.epoch}

    def _register(self, run_id: str, model: Path, judged: Outcome, tags: dict[str, str]) -> ModelVersion:
        records = self._records()
        trained_on = records.eyes("train", "validation") if tags[KIND_TAG] == "refit" else records.eyes("train")
        data = dataclasses.replace(self._settings.data, fingerprint="")
        assert judged.predictions is not None
        asked = operation(judged.predictions, self._settings)
        serving = Serving(
            self._settings.images,
            data,
            asked.point.threshold,
            asked.temperature,
            records.fingerprint,
            asked.chosen,
        )
        files = model_files(
            model.parent / REGISTERED_FOLDER,
            model,
            serving.to_json(),
            json.dumps([eye.to_json() for eye in trained_on]),
            self._familiarity(records).to_json(),
        )
        lineage = {
            STUDY_TAG: self._study.name,
            TRIAL_TAG: str(self._best.number),
            RUN_ID_TAG: run_id,
            DATA_FINGERPRINT_TAG: records.data_fingerprint,
            RECORDS_FINGERPRINT_TAG: records.fingerprint,
            THRESHOLD_TAG: f"{asked.point.threshold:.4f}",
            TEMPERATURE_TAG: f"{asked.temperature:.4f}",
            OPERATING_POINT_TAG: self._settings.registry.operating_point,
            **({VALIDATION_CAUTION_TAG: asked.scores.caution} if asked.scores.caution else {}),
            # Libraries are with the run, and pinned in the model: here they would bury what tells versions apart.
            **{name: value for name, value in provenance_tags().items() if not name.startswith(LIBRARY_TAG_PREFIX)},
        }
        # There already where a process died after registering, before it could write that down.
        if there := self._registry.versions(self._name, {RUN_ID_TAG: run_id, STUDY_TAG: self._study.name}):
            return there[0]
        return self._registry.register(self._name, run_id, files, lineage | tags, self._note(judged, tags[KIND_TAG]))

    def _familiarity(self, records: RecordSet) -> Familiarity:
        """What the training eyes look like; of a refit too, the validation eyes only choose the limit."""
        train, validation = (_some(read_eyes(records, split).images) for split in ("train", "validation"))
        return fit_familiarity(train, validation)

    def _note(self, judged: Outcome, kind: str, test: Evaluation | None = None) -> str:
        """The version's description, in Markdown."""
        made = {"finetune": "fine-tuned from", "refit": "refitted on train and validation eyes from"}.get(
            kind, "the best checkpoint of"
        )
        assert judged.predictions is not None
        asked = operation(judged.predictions, self._settings)
        held_out = (
            "validation" if judged.scores is not None else f"held out in {folds_or_repeats(self._settings.search)}"
        )
        lines = [
            f"{made[0].upper()}{made[1:]} trial {self._best.number}, study `{self._study.name}`.",
            "",
        ]
        on_test = [str(interval) for _, interval in test.scores.labelled] if test else [""] * 4
        rows = [
            (name, str(interval), tested)
            for (name, interval), tested in zip(asked.scores.labelled, on_test, strict=True)
        ]
        tested = f"test ({test.scores.n})" if test else "test"
        lines += note_table(("", f"{held_out} ({asked.scores.n})", tested), rows)
        lines += ["", f"Asked at {asked.chosen}."]
        cautions = {held_out: asked.scores.caution, "test": test.scores.caution if test else ""}
        for where, caution in cautions.items():
            if caution:
                lines += ["", f"**On {where}: {caution}**"]
        lines += ["", "95 % intervals. Validation chose model and threshold: it flatters both."]
        if self._settings.study.cost != "none":
            front = f"the Pareto front of {self._settings.study.objective} against {self._settings.study.cost}"
            lines += ["", f"Of {front} this is {pick_rule(self._settings)}."]
        return "\n".join(lines)

    def _finetune(self, searched: ModelVersion, outcome: Outcome) -> ModelVersion:
        if not self._state.finetune:
            self._state.finetune = self._tune(searched, outcome)
            self._state.version = self._state.finetune.get("version") or searched.version
            self._keep_state()
        return self._registry.version(self._name, self._state.version)

    def _tune(self, searched: ModelVersion, outcome: Outcome) -> dict[str, Any]:
        stage = self._settings.finetune
        if self._needs_refit:
            why = "no eyes are left to judge it by: the refit was trained on the validation eyes too"
            self._say(f"no fine-tuning (finetune.when = {stage.when!r}): {why}")
            return {"when": stage.when, "ran": False, "why": why}
        underfitting, why = underfits(outcome.history, stage.underfit_below_accuracy)
        told = {"when": stage.when, "underfitting": underfitting, "why": why}
        if stage.when == "never" or (stage.when == "underfitting" and not underfitting):
            self._say(f"no fine-tuning (finetune.when = {stage.when!r}): {why}")
            return told | {"ran": False}
        self._say(f"fine-tuning version {searched.version} for {stage.epochs} epochs: {why}")
        tuned, run_id = self._train_on(searched)
        if tuned.state != "complete" or tuned.model is None or tuned.scores is None:
            return told | {"ran": True, "run_id": run_id, "better": False, "why_not": tuned.reason}
        objective = Objective(self._settings.study.objective)
        better = objective.is_better(tuned.value, outcome.value) and not tuned.scores.is_constant
        told |= {"ran": True, "run_id": run_id, "value": tuned.value, "before": outcome.value, "better": better}
        if not better:
            self._say(f"fine-tuning did not help on validation: {tuned.value:.4f}, before {outcome.value:.4f}")
            return told
        tags = {KIND_TAG: "finetune", PARENT_VERSION_TAG: str(searched.version)}
        made = self._register(run_id, tuned.model, tuned, tags)
        self._say(f"fine-tuned on validation to {tuned.value:.4f} from {outcome.value:.4f}: version {made.version}")
        return told | {"version": made.version}

    def _train_on(self, parent: ModelVersion) -> tuple[Outcome, str]:
        """The fine-tuning stage, from the registered model; goes on where an earlier call stopped."""
        folder = self._study.folder / finetune_run(self._best.number)
        settings = finetune_settings(self._settings)
        records = self._records()
        fetched = self._registry.download(parent.uri, folder / "parent")

        def build() -> keras.Model:
            return load_network(fetched)

        start = RunStart(
            key=f"{self._study.definition.uid}/{finetune_run(self._best.number)}",
            experiment=self._study.name,
            name=f"fine-tune of version {parent.version}",
            tags={
                KIND_TAG: "finetune",
                STUDY_TAG: self._study.name,
                PARENT_MODEL_TAG: parent.uri,
                PARENT_RUN_TAG: parent.run_id,
                **provenance_tags(),
            },
            params=settings.flat(),
            dataset=dataset_input(self._study.definition, settings),
        )
        plan = Plan(
            folder=folder,
            start=start,
            settings=settings,
            build=build,
            head=(f"Fine-tuning of {parent.uri}.",),
            owner=this_process(),
        )
        watch = ForegroundWatch("fine-tuning", self._listener, plan, self._cancelled)
        outcome = train_and_send(plan, records, self._home, watch)
        run_id = run_id_of(folder)
        if run_id is None:
            raise StudyError("the fine-tuning has not reached MLflow; when it answers, give the same command again.")
        self._registry.log_parent(run_id, parent)
        return outcome, run_id

    def _test(self, version: ModelVersion) -> None:
        """Look at the test split, once, and write the scores to the version."""
        if self._state.test:
            return
        self._say(f"judging version {version.version} on the test split")
        folder = self._study.folder / "test"
        grader = Grader(self._registry.download(version.uri, folder / "model"))
        judged = evaluate(grader, self._records(), "test", self._home, f"end of study {self._study.name}")
        on_validation = read_outcome(self._folder_of(version))
        assert on_validation is not None
        assert isinstance(judged.scores, Scores), "a study has records of which each split has both classes"
        if caution := judged.scores.caution:
            self._say(f"on the test split: {caution}")
        self._registry.log_scores(
            version,
            judged.scores.metrics("test_", "test_") | {"test_unfamiliar": _unfamiliar(judged, grader)},
            {TEST_CAUTION_TAG: caution} if caution else {},
            _pictures(judged, grader, folder),
            self._note(on_validation, version.tags[KIND_TAG], judged),
        )
        self._state.test = {**judged.scores.to_json(), "looks": judged.looks}
        self._keep_state()

    def _folder_of(self, version: ModelVersion) -> Path:
        fine_tuned = version.tags[KIND_TAG] == "finetune"
        return self._study.folder / finetune_run(self._best.number) if fine_tuned else self._folder

    def _read_state(self) -> JobState:
        if self._state_file.exists():
            state = JobState(**json.loads(self._state_file.read_text()))
            if state.trial == self._best.number:
                return state
        return JobState(self._best.number)

    def _keep_state(self) -> None:
        part = self._state_file.with_suffix(".part")
        part.write_text(json.dumps(dataclasses.asdict(self._state), indent=2))
        os.replace(part, self._state_file)


def wait_for_mlflow(steps: Callable[[], T], study: str, tracking_uri: str, say: Callable[[str], None]) -> T:
    """The result of steps that are called again, for a minute, while MLflow does not answer.

    Args:
        steps: Each is done once, however often they are called.
        study: Whose model they register and judge.
        tracking_uri: Of MLflow.
        say: Told once what is waited for.

    Raises:
        StudyError: If MLflow stays away.
    """
    until = math.inf
    while True:
        try:
            return steps()
        except Exception as wrong:
            if not is_away(wrong):
                raise
            text = outage(wrong, tracking_uri)
            if time.monotonic() > until:
                raise StudyError(
                    f"study {study!r} is complete, but its model is not yet registered and judged: {text}; when it "
                    "answers, the same command goes on there."
                ) from wrong
            if until == math.inf:
                say(f"{text}; waiting {_AWAY_S:.0f} s for it")
                until = time.monotonic() + _AWAY_S
        time.sleep(_AGAIN_S)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    with open(folder / "job.lock", "a") as file:
        lock(file)
        yield


def _unfamiliar(judged: Evaluation, grader: Grader) -> float:
    """Share of the eyes that would get a warning."""
    return float(np.mean(grader.familiarity.distances(judged.eyes.images) > 1))


def _pictures(judged: Evaluation, grader: Grader, folder: Path) -> list[Path]:
    probabilities = grader.probabilities(judged.eyes.images)
    pictures = {
        "confusion.png": confusion_figure(judged.scores.confusion, judged.scores.threshold, "test"),
        "roc.png": roc_figure(judged.eyes.labels, probabilities, grader.serving.threshold),
    }
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    scores_file = folder / "scores.json"
    scores_file.write_text(json.dumps({**judged.scores.to_json(), "looks": judged.looks}, indent=2))
    return [*(folder / name for name in pictures), scores_file]


def _some(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Evenly chosen images: more than `_FAMILIAR_EYES` would not change what they have in common."""
    return images[:: 1 + len(images) // _FAMILIAR_EYES]
