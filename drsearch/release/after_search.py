"""The steps after the search: refit, register, fine-tune and test the best trial."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from drsearch.errors import StudyError
from drsearch.files import lock, write_whole
from drsearch.home import Home
from drsearch.model.mean_network import mean_answers, mean_network, network_of
from drsearch.processes import this_process
from drsearch.release.candidate import Candidate, is_constant
from drsearch.release.finetune import finetune_settings, underfits
from drsearch.release.registry import SEARCH_BEST, ModelVersion, Registry
from drsearch.release.version import evaluate_version, register_version, threshold_of
from drsearch.run_folder import MEAN_FOLDER, MODEL_FILE
from drsearch.serving.grader import load_network
from drsearch.space.search_space import SearchSpace
from drsearch.study.result import StudyResult
from drsearch.tracking.mlflow_client import is_unavailable, outage
from drsearch.tracking.sent import run_id_of
from drsearch.tracking.tags import (
    MEMBERS_TAG,
    PARENT_MODEL_TAG,
    PARENT_RUN_TAG,
    PARENT_VERSION_TAG,
    REFIT_EPOCHS_TAG,
    TRIAL_RUN_TAG,
    TRIAL_TAG,
)
from drsearch.training.cross_validation import folds_or_repeats
from drsearch.training.foreground import ForegroundWatch, train_and_send
from drsearch.training.listener import SILENT, Listener
from drsearch.training.objective import Objective
from drsearch.training.outcome import Outcome
from drsearch.training.plan import Plan
from drsearch.trials.trials import trials_text

T = TypeVar("T")

_AWAY_S = 60.0
_AGAIN_S = 2.0


@dataclass(frozen=True)
class StepsDone:
    """The steps that are done, on disk after each, so that a rerun repeats none.

    Attributes:
        trial: The best trial.
        members: The trials whose networks are averaged; none where those of one trial are the model.
        refit: Run and epochs of the refit, as `--json` prints it; empty before, and without folds or repeats.
        search_version: The version registered from the trial or its refit; 0 before.
        finetune: The result of fine-tuning, as `--json` prints it; empty before.
        version: The version that counts: fine-tuned, or from the search; 0 before.
        test: Test scores, as `--json` prints them; empty before.
    """

    trial: int
    members: list[int] = field(default_factory=list)
    refit: dict[str, Any] = field(default_factory=dict)
    search_version: int = 0
    finetune: dict[str, Any] = field(default_factory=dict)
    version: int = 0
    test: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AfterSearchResult:
    """The model of a study.

    Attributes:
        best_trial: The number of the best trial.
        value: Its objective.
        params: What the space drew for it.
        run_id: Its MLflow run.
        refit: Run and epochs of the refit on train and validation eyes; empty without folds or repeats.
        model: The version that counts; `model.scores` has its test scores.
        finetune: The result of fine-tuning.
        test: Test scores with intervals, and the number of test evaluations.
    """

    best_trial: int
    value: float
    params: dict[str, Any]
    run_id: str
    refit: dict[str, Any]
    model: ModelVersion
    finetune: dict[str, Any]
    test: dict[str, Any]


@dataclass(frozen=True)
class _Member:
    """A trial whose networks the model has."""

    candidate: Candidate
    run_id: str
    outcome: Outcome


class AfterSearch:
    """The steps after the search: refit, register, fine-tune, test. Each is done once, however often `run` is called.

    Args:
        study: The finished study.
        space: Its search space.
        home: Where everything lies.
        listener: Called with messages and with every epoch.
        cancelled: Called after every epoch of a training; True stops it.

    Raises:
        StudyError: If the study has no complete trial.
    """

    def __init__(
        self,
        study: StudyResult,
        space: SearchSpace,
        home: Home,
        listener: Listener = SILENT,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._best = Candidate.of(study, space, home)
        self._listener, self._say, self._cancelled = listener, listener.say, cancelled
        self._registry = Registry(home.tracking_uri)
        self._file = study.folder / "after_search.json"
        self._members: list[_Member] = []
        self._numbers: list[int] = []
        self._done = StepsDone(self._best.number)

    def run(self) -> AfterSearchResult:
        """Do the steps that are not done yet.

        Returns:
            The model of the study.

        Raises:
            StudyError: If the best trial is not in MLflow, or its network answers the same for every eye.
            Interrupted: After Ctrl-C, at the end of an epoch; the same call resumes there.
        """
        self._members = self._averaged()
        self._numbers = [each.candidate.number for each in self._members] if len(self._members) > 1 else []
        run_id, outcome = self._members[0].run_id, _mean_outcome([each.outcome for each in self._members])
        with open(self._file.with_suffix(".lock"), "a") as file:
            lock(file)
            self._done = self._read()  # another launcher of this study may have done some steps
            steps = lambda: self._steps(run_id, outcome)  # noqa: E731
            return wait_for_mlflow(steps, self._best.study.name, self._best.home.tracking_uri, self._say)

    def _averaged(self) -> list[_Member]:
        """The trials whose networks the model has."""
        n = self._best.settings.registry.best_trials if self._best.settings.registry.networks == "trials" else 1
        members = []
        for candidate in self._best.with_others():
            member = _Member(candidate, *candidate.trained())
            if n == 1 or not is_constant(member.outcome):
                members.append(member)
            if len(members) == n:
                break
        if n > 1 and len(members) < 2:
            raise StudyError(
                f"registry.networks = 'trials' averages the networks of several trials, and study "
                f"{self._best.study.name!r} has {len(members)} complete with the settings images.* of the best one, "
                f"trial {self._best.number}, whose network tells eyes apart; give the same command more trials "
                "(--trials)."
            )
        return members

    def _steps(self, run_id: str, outcome: Outcome) -> AfterSearchResult:
        if not self._done.search_version:
            self._best.check_tells_eyes_apart(outcome)
        if self._best.needs_refit and not self._done.refit:
            self._note(refit=self._refit(run_id, outcome))
        if not self._done.search_version:
            version = self._register(run_id, outcome)
            self._note(search_version=version.version, version=version.version)
        if not self._done.finetune:
            finetune = self._finetune(self._version(self._done.search_version), outcome)
            self._note(finetune=finetune, version=finetune.get("version") or self._done.search_version)
        if not self._done.test:
            self._note(test=self._test(self._version(self._done.version)))
        return AfterSearchResult(
            best_trial=self._best.number,
            value=outcome.value,
            params=self._best.params,
            run_id=run_id,
            refit=self._done.refit,
            model=self._version(self._done.version),
            finetune=self._done.finetune,
            test=self._done.test,
        )

    def _version(self, number: int) -> ModelVersion:
        return self._registry.version(self._best.name, number)

    def _refit(self, trial_run: str, outcome: Outcome) -> dict[str, Any]:
        """Train the best setting on train and validation eyes, for the best number of epochs in its folds."""
        best = self._best
        self._say(
            f"refitting trial {best.number} on train and validation eyes for {outcome.epoch} epochs, "
            f"the best number in its {folds_or_repeats(best.settings.search)}"
        )
        tags = {TRIAL_TAG: str(best.number), TRIAL_RUN_TAG: trial_run, REFIT_EPOCHS_TAG: str(outcome.epoch)}
        plan = Plan(
            folder=best.refit_folder,
            start=best.run_start("refit", best.refit_folder, f"refit of trial {best.number}", best.settings, tags),
            settings=best.settings,
            build=lambda: best.space.build(best.settings),
            own=best.space.own,
            head=(f"Refit of trial {best.number}, study {best.study.name}: {outcome.epoch} epochs of these.",),
            owner=this_process(),
            features=best.home.features,
            until=outcome.epoch,
        )
        refit, run_id = self._train("refit", plan)
        if refit.state != "complete":
            raise StudyError(f"the refit of trial {best.number} is not done: {refit.reason}.")
        return {"run_id": run_id, "epochs": outcome.epoch}

    def _train(self, what: str, plan: Plan) -> tuple[Outcome, str]:
        """Train, or resume where an earlier call stopped; returns the outcome and the run's id."""
        watch = ForegroundWatch(what, self._listener, plan, self._cancelled)
        outcome = train_and_send(plan, self._best.records(), self._best.home, watch)
        run_id = run_id_of(plan.folder)
        if run_id is None:
            raise StudyError(f"the {what} has not reached MLflow; when it answers, give the same command again.")
        return outcome, run_id

    def _register(self, run_id: str, outcome: Outcome) -> ModelVersion:
        best = self._best
        if caution := threshold_of(best, outcome).scores.caution:
            self._say(f"on validation: {caution}")
        self._say(f"registering trial {best.number} as {best.name}")
        kind, network, tags = "trial", outcome.model, {}
        if best.is_mean:
            members = [each for member in self._members for each in member.candidate.networks(member.run_id)]
            kind, network, tags = "mean", self._mean_file(), {MEMBERS_TAG: json.dumps(members)}
        elif best.needs_refit:
            kind, network, tags = "refit", best.refit_folder / MODEL_FILE, {TRIAL_RUN_TAG: run_id}
            run_id = self._done.refit["run_id"]
        assert network is not None
        version = register_version(
            self._registry, best, kind=kind, run_id=run_id, network=network, outcome=outcome, tags=tags
        )
        self._registry.set_alias(version, SEARCH_BEST)
        return version

    def _mean_file(self) -> Path:
        """The file of the mean: the best trial's own, or written here of those of several trials."""
        files = [member.outcome.model for member in self._members if member.outcome.model is not None]
        assert len(files) == len(self._members), "complete trials have their networks"
        if len(files) == 1:
            return files[0]
        self._say(f"averaging the networks of {trials_text(self._numbers)}")
        mean = mean_network([load_network(file.parent) for file in files])
        folder = self._best.study.folder / MEAN_FOLDER
        folder.mkdir(exist_ok=True)
        mean.save(folder / MODEL_FILE)
        return folder / MODEL_FILE

    def _finetune(self, parent: ModelVersion, outcome: Outcome) -> dict[str, Any]:
        """Fine-tune the registered version if the settings and its training say so, and register it if it is better."""
        settings = self._best.settings
        stage = settings.finetune
        why = ""
        if self._best.needs_refit:
            why = "no eyes are left to judge it by: the refit was trained on the validation eyes too"
        elif settings.registry.networks == "trials":
            why = "the model is a mean of the networks of several trials, and this stage trains those of one"
        if why:
            self._say(f"no fine-tuning (finetune.when = {stage.when!r}): {why}")
            return {"when": stage.when, "ran": False, "why": why}
        underfitting, why = underfits(outcome.history, stage.underfit_below_accuracy)
        report = {"when": stage.when, "underfitting": underfitting, "why": why}
        if stage.when == "never" or (stage.when == "underfitting" and not underfitting):
            self._say(f"no fine-tuning (finetune.when = {stage.when!r}): {why}")
            return report | {"ran": False}
        self._say(
            f"fine-tuning version {parent.version} for {stage.epochs} epochs (finetune.when = {stage.when!r}): {why}"
        )
        tuned, run_id = self._train("fine-tuning", self._finetune_plan(parent))
        self._registry.log_parent(run_id, parent)
        report |= {"ran": True, "run_id": run_id, "better": False}
        if tuned.state != "complete" or tuned.model is None:
            return report | {"why_not": tuned.reason}
        report |= {"value": tuned.value, "before": outcome.value}
        is_better = Objective(settings.study.objective).is_better(tuned.value, outcome.value)
        if not is_better or is_constant(tuned):
            self._say(f"fine-tuning did not help on validation: {tuned.value:.4f}, before {outcome.value:.4f}")
            return report
        version = register_version(
            self._registry,
            self._best,
            kind="finetune",
            run_id=run_id,
            network=tuned.model,
            outcome=tuned,
            tags={PARENT_VERSION_TAG: str(parent.version)},
        )
        self._say(f"fine-tuned on validation to {tuned.value:.4f} from {outcome.value:.4f}: version {version.version}")
        return report | {"better": True, "version": version.version}

    def _finetune_plan(self, parent: ModelVersion) -> Plan:
        best, folder = self._best, self._best.finetune_folder
        settings = finetune_settings(best.settings)
        files = self._registry.download(parent.uri, folder / "parent")
        tags = {PARENT_MODEL_TAG: parent.uri, PARENT_RUN_TAG: parent.run_id}
        return Plan(
            folder=folder,
            start=best.run_start("finetune", folder, f"fine-tune of version {parent.version}", settings, tags),
            settings=settings,
            build=lambda: load_network(files),
            build_fold=(lambda place: network_of(load_network(files), place)) if best.is_mean else None,
            own=best.space.own,
            head=(f"Fine-tuning of {parent.uri}.",),
            owner=this_process(),
        )

    def _test(self, version: ModelVersion) -> dict[str, Any]:
        self._say(f"evaluating version {version.version} on the test split")
        scores = evaluate_version(self._registry, self._best, version)
        if scores["caution"]:
            self._say(f"on the test split: {scores['caution']}")
        if scores["blind"]["caution"]:
            self._say(f"on the test split: {scores['blind']['caution']}")
        return scores

    def _read(self) -> StepsDone:
        if self._file.exists():
            done = StepsDone(**json.loads(self._file.read_text()))
            if done.trial == self._best.number and done.members == self._numbers:
                return done
        return StepsDone(self._best.number, self._numbers)

    def _note(self, **steps: Any) -> None:
        """Note finished steps on disk."""
        self._done = replace(self._done, **steps)
        write_whole(self._file, json.dumps(asdict(self._done), indent=2).encode(), replace=True)


def _mean_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of the best of several trials, with the predictions of the mean of their networks."""
    best, predictions = outcomes[0], [outcome.predictions for outcome in outcomes]
    if len(outcomes) == 1 or best.predictions is None:
        return best
    assert all(each and each.labels == best.predictions.labels for each in predictions), "trials judge the same eyes"
    answers = mean_answers(np.array([each.probabilities for each in predictions if each]))
    return replace(best, predictions=replace(best.predictions, probabilities=tuple(answers.tolist())))


def wait_for_mlflow(steps: Callable[[], T], study: str, tracking_uri: str, say: Callable[[str], None]) -> T:
    """Call `steps` again for a minute while MLflow does not answer.

    Args:
        steps: May be called any number of times.
        study: The study whose model is registered.
        tracking_uri: Of MLflow.
        say: Called once with what is waited for.

    Returns:
        What `steps` returns.

    Raises:
        StudyError: If MLflow stays away.
    """
    until = math.inf
    while True:
        try:
            return steps()
        except Exception as wrong:
            if not is_unavailable(wrong):
                raise
            text = outage(wrong, tracking_uri)
            if time.monotonic() > until:
                raise StudyError(
                    f"study {study!r} is complete, but its model is not yet registered and tested: {text}; when it "
                    "answers, the same command resumes there."
                ) from wrong
            if until == math.inf:
                say(f"{text}; waiting {_AWAY_S:.0f} s for it")
                until = time.monotonic() + _AWAY_S
        time.sleep(_AGAIN_S)
