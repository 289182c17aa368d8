"""What was decided about a model, by whom and why? One MLflow run a decision; of two at once, one is carried out.

MLflow sets an alias without asking what it was. What it does refuse is a second value for a run's parameter, in its
database and so for all machines: whoever wants to change the champion first writes its own run into the parameter
`drsearch.next_decision` of the run of the last change (the first of all, into the tags of an experiment that can be
made once). One of several gets it, the others are told.
"""

import getpass
import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from absl import logging
from mlflow.entities import LoggedModelInput, Run
from mlflow.exceptions import MlflowException

from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.release.registry import CHAMPION, ModelVersion, Registry
from drsearch.tracking.availability import is_served
from drsearch.tracking.events import Artifact, DatasetInput, Event, Image, Metrics, RunEnd, RunStart, Tags
from drsearch.tracking.mlflow_client import is_denied, open_client, search_runs
from drsearch.tracking.mlflow_tracker import MlflowTracker
from drsearch.tracking.remote_runs import check_experiments
from drsearch.tracking.tags import (
    BY_TAG,
    DECISION_TAG,
    KIND_TAG,
    MODEL_TAG,
    NEXT_DECISION,
    NOTE_TAG,
    PREVIOUS_TAG,
    REASON_TAG,
    RULE_TAG,
    TEST_EVALUATIONS_TAG,
    TEST_FINGERPRINT_TAG,
    VERSION_NUMBER_TAG,
    has_tag,
    provenance_tags,
)
from drsearch.tracking.tracker import TrackerUnavailable

EXPERIMENT = "drsearch-decisions"
"""The MLflow experiment of all decisions: of its own, so that the pages of a study show trainings alone."""

CHANGES = ("promoted", "forced", "rolled back")
"""Outcomes that made a version the champion; the others are refused, declined, overtaken, denied and unfinished."""

_PATIENCE_S = 20.0
_NOTE = (
    "Every decision about which version is the `champion`: promoted, refused, forced, rolled back, declined at the "
    "question, or overtaken by another. `drsearch history NAME` reads them."
)


def check_may_decide(home: Home, name: str) -> None:
    """Refuse, before anything is judged, who may not write down decisions on a model.

    Raises:
        RegistryError: If MLflow does not let this user.
        TrackerRefused: If the experiment was deleted in MLflow; the text has the command that restores it.
    """
    try:
        check_experiments(home, EXPERIMENT)
    except MlflowException as wrong:
        if not is_denied(wrong):
            raise
        raise _not_let(name) from wrong


def _not_let(name: str) -> RegistryError:
    return RegistryError(
        f"MLflow does not let {who()} write down decisions on {name}; ask a registrar. Nothing was changed."
    )


class Overtaken(RegistryError):
    """Another decision was faster; nothing was changed by this one."""


@dataclass(frozen=True)
class ChampionState:
    """What a decision starts from.

    Attributes:
        champion: The version that is in use; None if there is none.
        last: The run on which the next change is claimed; empty before the first one.
    """

    champion: ModelVersion | None
    last: str


@dataclass(frozen=True)
class Draft:
    """What a decision is to say.

    Attributes:
        version: The version it is about.
        outcome: `promoted`, `forced`, `refused`, `declined` or `rolled back`.
        previous: The champion before; None if there was none.
        reason: Given by the person who decided; may be empty.
        rule: What was asked of the version and found, a sentence each.
        note: For MLflow's page, Markdown.
        metrics: Figures by name.
        files: Names of files in the folder that goes with the draft; PNGs are shown as pictures.
        tags: What else is to be found by.
        params: The rule's settings.
        dataset: The eyes that were judged.
    """

    version: ModelVersion
    outcome: str
    previous: ModelVersion | None
    reason: str = ""
    rule: tuple[str, ...] = ()
    note: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, float] = field(default_factory=dict)
    dataset: DatasetInput | None = None


@dataclass(frozen=True)
class Decision:
    """A decision as MLflow keeps it.

    Attributes:
        run_id: Its run.
        name: Of the registered model.
        at_ms: When, milliseconds since 1970 by the clock of who decided.
        outcome: What it came to.
        version: The version it was about.
        previous: The champion before; None if there was none.
        by: Who, `user@machine`.
        reason: Why, as given.
        rule: What was asked and found.
        looks: How often the test split had been looked at, by that machine's count; None where it was not.
        test_fingerprint: Of that test split; empty where none was looked at.
    """

    run_id: str
    name: str
    at_ms: int
    outcome: str
    version: int
    previous: int | None
    by: str
    reason: str
    rule: str
    looks: int | None
    test_fingerprint: str

    @property
    def changed(self) -> bool:
        """Whether it made the version the champion."""
        return self.outcome in CHANGES


def who() -> str:
    """Who decides here: `user@machine`; with a signed-in MLflow, its user."""
    return f"{os.environ.get('MLFLOW_TRACKING_USERNAME') or getpass.getuser()}@{socket.gethostname()}"


class Decisions:
    """The decisions behind a tracking URI.

    Args:
        registry: Where aliases stand.
        home: Names the tracking URI, and where artifacts lie if that is local.
    """

    def __init__(self, registry: Registry, home: Home) -> None:
        uri = home.tracking_uri
        self.registry, self.home = registry, home
        self._client = open_client(uri)
        self._tracker = MlflowTracker(uri, None if is_served(uri) else home.artifacts)

    def champion_state(self, name: str) -> ChampionState:
        """What a decision about a model starts from now.

        A change that another process is just making is waited for; one that does not end in 20 seconds is taken for
        dead, and its run is closed.

        Raises:
            RegistryError: If there is no such model.
        """
        self.registry.check_model(name)
        last, following = "", self._first(name)
        while following:
            run = self._client.get_run(following)
            last, following = following, run.data.params.get(NEXT_DECISION, "")
        if last:
            self._wait_for(run)
        return ChampionState(self.registry.with_alias(name, CHAMPION), last)

    def record(self, draft: Draft, folder: Path = Path()) -> Decision:
        """Write down a decision that changes nothing."""
        run_id = self._open(draft)
        self._close(run_id, draft, folder)
        return self._read(self._client.get_run(run_id))

    def carry_out(self, state: ChampionState, draft: Draft, folder: Path = Path()) -> Decision:
        """Make a version the champion, and write down why.

        Args:
            state: What the decision started from.
            draft: One of the outcomes that change something.
            folder: Holds the draft's files.

        Raises:
            Overtaken: If the champion was changed since, or is being changed; the run says so.
            RegistryError: If MLflow does not let this user change it.
        """
        run_id = self._open(draft)
        try:
            self._claim(draft.version.name, state.last, run_id)
            self._set_alias(state, draft.version, run_id)
        except Overtaken as lost:
            self._lose(run_id, draft, "overtaken", str(lost), folder)
            raise
        except MlflowException as wrong:
            if not is_denied(wrong):
                raise
            said = f"MLflow does not let {who()} change the champion of {draft.version.name}; ask somebody who may"
            self._lose(run_id, draft, "denied", said, folder)
            raise RegistryError(f"{said}. Nothing was changed; recorded as run {run_id}.") from wrong
        self._close(run_id, draft, folder)
        return self._read(self._client.get_run(run_id))

    def history(self, name: str) -> list[Decision]:
        """All decisions about a model, the oldest first.

        Raises:
            RegistryError: If there is no such model.
        """
        self.registry.check_model(name)
        return [self._read(run) for run in self._search(has_tag(MODEL_TAG, name))]

    def judged_on(self, test_fingerprint: str) -> int:
        """How many decisions, about any model and on any machine, were made on a test split."""
        return len(self._search(has_tag(TEST_FINGERPRINT_TAG, test_fingerprint)))

    def _search(self, wanted: str) -> list[Run]:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return []
        return list(search_runs(self._client, [experiment.experiment_id], wanted, ["attributes.start_time ASC"]))

    def _open(self, draft: Draft) -> str:
        name, number = draft.version.name, draft.version.version
        start = RunStart(
            key=f"decision/{uuid.uuid4().hex}",
            experiment=EXPERIMENT,
            name=f"{name} version {number}: unfinished",
            tags={
                KIND_TAG: "decision",
                MODEL_TAG: name,
                VERSION_NUMBER_TAG: str(number),
                DECISION_TAG: "unfinished",
                BY_TAG: who(),
                REASON_TAG: draft.reason,
                RULE_TAG: "; ".join(draft.rule),
                PREVIOUS_TAG: str(draft.previous.version) if draft.previous is not None else "",
                **draft.tags,
                **provenance_tags(),
            },
            params=draft.params,
            dataset=draft.dataset,
            experiment_tags={NOTE_TAG: _NOTE},
        )
        try:
            run_id = self._tracker.open(start)
        except TrackerUnavailable as wrong:
            if wrong.__cause__ is None or not is_denied(wrong.__cause__):
                raise
            raise _not_let(name) from wrong
        models = [LoggedModelInput(each.model_id) for each in (draft.version, draft.previous) if each is not None]
        try:
            self._client.log_inputs(run_id, models=models)
        except MlflowException as wrong:
            # A registrar may not write to what a researcher trained, nor let its page name this run; the tags do.
            if not is_denied(wrong):
                raise
        return run_id

    def _close(self, run_id: str, draft: Draft, folder: Path) -> None:
        self._name(run_id, draft, draft.outcome)
        events: list[Event] = [Metrics(0, draft.metrics)] if draft.metrics else []
        events += [Artifact(file, "decision") for file in draft.files]
        events += [Image(f"decision/{Path(file).stem}", 0, file) for file in draft.files if file.endswith(".png")]
        events += [Tags({NOTE_TAG: draft.note})] if draft.note else []
        self._tracker.send(run_id, [*events, RunEnd("FINISHED", tags={DECISION_TAG: draft.outcome})], folder)

    def _lose(self, run_id: str, draft: Draft, outcome: str, why: str, folder: Path) -> None:
        self._name(run_id, draft, outcome)
        tags = {DECISION_TAG: outcome, RULE_TAG: why}
        self._tracker.send(run_id, [RunEnd("KILLED", tags=tags)], folder)

    def _name(self, run_id: str, draft: Draft, outcome: str) -> None:
        self._client.update_run(run_id, name=f"{draft.version.name} version {draft.version.version}: {outcome}")

    def _first(self, name: str) -> str:
        """The run of a model's first change; empty before that."""
        experiment = self._client.get_experiment_by_name(f"{EXPERIMENT}/{name}")
        if experiment is None:
            return ""
        if experiment.lifecycle_stage == "deleted" or NEXT_DECISION not in experiment.tags:
            raise RegistryError(
                f"decisions on {name} count from the experiment {experiment.name}, which was deleted or made past "
                f"drsearch; restore it (mlflow experiments restore -x {experiment.experiment_id}), or rename one that "
                "drsearch did not make."
            )
        return str(experiment.tags[NEXT_DECISION])

    def _claim(self, name: str, last: str, run_id: str) -> None:
        if not last:
            return self._claim_first(name, run_id)
        try:
            self._client.log_param(last, NEXT_DECISION, run_id)
        except MlflowException as wrong:
            before = self._client.get_run(last)
            winner = before.data.params.get(NEXT_DECISION)
            if before.info.lifecycle_stage == "deleted":
                raise RegistryError(
                    f"the run {last} of the last decision was deleted in MLflow, and the next one leans on it; bring "
                    f"it back with `mlflow runs restore --run-id {last}`."
                ) from wrong
            if winner in (None, run_id):
                raise
            raise Overtaken(self._told_of(self._client.get_run(winner))) from None

    def _claim_first(self, name: str, run_id: str) -> None:
        """Take the first change of a model: no run of an earlier one can be written to, but an experiment's name is
        another thing that MLflow gives once, and its tags are set with it."""
        note = f"The first champion of {name} was decided in run {run_id}. Keep this: decisions count on from here."
        try:
            self._client.create_experiment(f"{EXPERIMENT}/{name}", tags={NEXT_DECISION: run_id, NOTE_TAG: note})
        except MlflowException as wrong:
            if not (winner := self._first(name)):
                raise
            raise Overtaken(self._told_of(self._client.get_run(winner))) from wrong

    def _told_of(self, run: Run) -> str:
        tags = run.data.tags
        return (
            f"{tags.get(BY_TAG, 'somebody')} decided on version {tags.get(VERSION_NUMBER_TAG)} of "
            f"{tags.get(MODEL_TAG)} meanwhile; nothing was changed here. Look at `drsearch history "
            f"{tags.get(MODEL_TAG)}`, and decide again."
        )

    def _set_alias(self, state: ChampionState, version: ModelVersion, run_id: str) -> None:
        """Set the alias while this decision holds the claim; what MLflow itself cannot exclude is looked for."""
        name = version.name
        now, run = self.registry.with_alias(name, CHAMPION), self._client.get_run(run_id)
        if following := run.data.params.get(NEXT_DECISION):  # this process stood still, and was taken for dead
            raise Overtaken(self._told_of(self._client.get_run(following)))
        if _number(now) != _number(state.champion):
            raise Overtaken(
                f"the champion of {name} is {_shown(now)} now and was {_shown(state.champion)} when this began; it "
                "was set past drsearch. Nothing was changed here; decide again."
            )
        self.registry.set_alias(version, CHAMPION)
        after = self.registry.with_alias(name, CHAMPION)
        if _number(after) != version.version:
            raise Overtaken(
                f"the champion of {name} was set to {version.version}, and is {_shown(after)} now: somebody set it "
                "past drsearch in the same moment; look who did, and decide again."
            )

    def _wait_for(self, run: Run) -> None:
        until = time.monotonic() + _PATIENCE_S
        while run.info.status == "RUNNING" and time.monotonic() < until:
            time.sleep(0.5)
            run = self._client.get_run(run.info.run_id)
        if run.info.status == "RUNNING":
            logging.warning("the decision of run %s was never finished; going on after it", run.info.run_id)
            self._client.set_terminated(run.info.run_id, "KILLED")

    def _read(self, run: Run) -> Decision:
        tags = run.data.tags
        return Decision(
            run_id=run.info.run_id,
            name=tags[MODEL_TAG],
            at_ms=int(run.info.start_time),
            outcome=tags[DECISION_TAG],
            version=int(tags[VERSION_NUMBER_TAG]),
            previous=int(tags[PREVIOUS_TAG]) if tags.get(PREVIOUS_TAG) else None,
            by=tags[BY_TAG],
            reason=tags.get(REASON_TAG, ""),
            rule=tags.get(RULE_TAG, ""),
            looks=int(tags[TEST_EVALUATIONS_TAG]) if TEST_EVALUATIONS_TAG in tags else None,
            test_fingerprint=tags.get(TEST_FINGERPRINT_TAG, ""),
        )


def champions(history: Sequence[Decision]) -> list[int | None]:
    """Who was champion after each decision, as drsearch knew it; None: nobody.

    Args:
        history: All decisions, the oldest first.
    """
    found: list[int | None] = []
    for decision in history:
        if decision.changed:
            found.append(decision.version)
        elif decision.outcome in ("refused", "declined"):  # it read the alias, whoever had set that
            found.append(decision.previous)
        else:
            found.append(found[-1] if found else decision.previous)
    return found


def previous_champion(history: Sequence[Decision], champion: int) -> int | None:
    """The version that was champion before the present one; None if there was none.

    Champions lie on a stack: a promotion puts one on top, rolling back takes the top away. So rolling back twice goes
    back two champions, not forth again.

    Args:
        history: All decisions, the oldest first.
        champion: The present one, whoever set it.
    """
    stack: list[int] = []

    def put(version: int) -> None:
        if not stack or stack[-1] != version:
            stack.append(version)

    for decision in history:
        if not decision.changed:
            continue
        if decision.previous is not None:  # differs from the top where somebody set it past drsearch
            put(decision.previous)
        if decision.outcome == "rolled back" and decision.version in stack:
            while stack[-1] != decision.version:
                stack.pop()
        else:
            put(decision.version)
    put(champion)
    return stack[-2] if len(stack) > 1 else None


def heading(version: ModelVersion, champion: ModelVersion | None, outcome: str, reason: str) -> str:
    """The first sentence of a decision's note, Markdown."""
    before = f"version {champion.version}" if champion is not None else "none"
    why = f" Reason: {reason}" if reason else ""
    return (
        f"**{version.name} version {version.version}: {outcome}** by {who()}, "
        f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}. {CHAMPION.capitalize()} before: {before}.{why}"
    )


def _number(version: ModelVersion | None) -> int | None:
    return version.version if version is not None else None


def _shown(version: ModelVersion | None) -> str:
    return f"version {version.version}" if version is not None else "none"
