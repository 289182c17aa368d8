"""Records decisions about champions, one MLflow run each, and carries them out."""

import getpass
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import LoggedModelInput
from mlflow.exceptions import MlflowException

from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.release.claims import EXPERIMENT, ChampionState, Claims, Overtaken
from drsearch.release.history import Decision
from drsearch.release.registry import ModelVersion, Registry
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
    NOTE_TAG,
    PREVIOUS_TAG,
    REASON_TAG,
    RULE_TAG,
    TEST_FINGERPRINT_TAG,
    VERSION_NUMBER_TAG,
    has_tag,
    provenance_tags,
)
from drsearch.tracking.tracker import TrackerUnavailable

_NOTE = (
    "Every decision about which version is the `champion`: promoted, refused, forced, rolled back, declined at the "
    "question, or overtaken by another. `drsearch history NAME` reads them."
)


def check_may_decide(home: Home, name: str) -> None:
    """Fail early if this user may not record decisions.

    Args:
        home: Its MLflow holds the decisions.
        name: The registered model, for the message.

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


@dataclass(frozen=True)
class Draft:
    """A decision before it is recorded.

    Attributes:
        version: The version that it is about.
        outcome: `promoted`, `forced`, `refused`, `declined` or `rolled back`.
        previous: The champion before; None if there was none.
        reason: Given by the person who decided; may be empty.
        rule: The conditions of the rule and whether they hold, a sentence each.
        note: The text of its page in MLflow, Markdown.
        metrics: Figures by name.
        files: Names of files in the folder that goes with the draft; PNG files are shown as pictures.
        tags: More tags of its run.
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


def who() -> str:
    """The person who decides: `user@machine`; on an MLflow server with users, the user there."""
    return f"{os.environ.get('MLFLOW_TRACKING_USERNAME') or getpass.getuser()}@{socket.gethostname()}"


class Decisions:
    """The decisions in an MLflow.

    Args:
        registry: Of the same MLflow.
        home: Names MLflow's address, and the folder of artifacts if that is local.
    """

    def __init__(self, registry: Registry, home: Home) -> None:
        uri = home.tracking_uri
        self.registry, self.home = registry, home
        self._client = open_client(uri)
        self.claims = Claims(registry, self._client)
        self._tracker = MlflowTracker(uri, None if is_served(uri) else home.artifacts)

    def record(self, draft: Draft, folder: Path = Path()) -> Decision:
        """Record a decision that changes nothing.

        Args:
            draft: The decision.
            folder: Holds the draft's files.

        Returns:
            The decision as MLflow has it.

        Raises:
            RegistryError: If MLflow does not let this user.
        """
        run_id = self._open(draft)
        self._close(run_id, draft, folder)
        return Decision.from_run(self._client.get_run(run_id))

    def carry_out(self, state: ChampionState, draft: Draft, folder: Path = Path()) -> Decision:
        """Make the draft's version the champion, and record why.

        Args:
            state: What the decision started from.
            draft: The decision.
            folder: Holds the draft's files.

        Returns:
            The decision as MLflow has it.

        Raises:
            Overtaken: If the champion was changed since, or is being changed; the run says so.
            RegistryError: If MLflow does not let this user change it.
        """
        run_id = self._open(draft)
        try:
            self.claims.change(state, draft.version, run_id)
        except Overtaken as lost:
            self._give_up(run_id, draft, "overtaken", str(lost), folder)
            raise
        except MlflowException as wrong:
            if not is_denied(wrong):
                raise
            why = f"MLflow does not let {who()} change the champion of {draft.version.name}; ask somebody who may"
            self._give_up(run_id, draft, "denied", why, folder)
            raise RegistryError(f"{why}. Nothing was changed; recorded as run {run_id}.") from wrong
        self._close(run_id, draft, folder)
        return Decision.from_run(self._client.get_run(run_id))

    def history(self, name: str) -> list[Decision]:
        """All decisions about a model, the oldest first.

        Args:
            name: The registered model.

        Returns:
            The decisions.

        Raises:
            RegistryError: If there is no such model.
        """
        self.registry.check_model(name)
        return self._search(has_tag(MODEL_TAG, name))

    def judged_on(self, test_fingerprint: str) -> int:
        """The number of decisions, about any model and on any machine, that used a test split."""
        return len(self._search(has_tag(TEST_FINGERPRINT_TAG, test_fingerprint)))

    def _search(self, wanted: str) -> list[Decision]:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return []
        runs = search_runs(self._client, [experiment.experiment_id], wanted, ["attributes.start_time ASC"])
        return [Decision.from_run(run) for run in runs]

    def _open(self, draft: Draft) -> str:
        name, number = draft.version.name, draft.version.version
        start = RunStart(
            key=f"decision/{uuid.uuid4().hex}",
            experiment=EXPERIMENT,
            name=f"version {number}: unfinished ({name})",
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
        self._rename(run_id, draft, draft.outcome)
        events: list[Event] = [Metrics(0, draft.metrics)] if draft.metrics else []
        events += [Artifact(file, "decision") for file in draft.files]
        events += [Image(f"decision/{Path(file).stem}", 0, file) for file in draft.files if file.endswith(".png")]
        events += [Tags({NOTE_TAG: draft.note})] if draft.note else []
        self._tracker.send(run_id, [*events, RunEnd("FINISHED", tags={DECISION_TAG: draft.outcome})], folder)

    def _give_up(self, run_id: str, draft: Draft, outcome: str, why: str, folder: Path) -> None:
        self._rename(run_id, draft, outcome)
        self._tracker.send(run_id, [RunEnd("KILLED", tags={DECISION_TAG: outcome, RULE_TAG: why})], folder)

    def _rename(self, run_id: str, draft: Draft, outcome: str) -> None:
        self._client.update_run(run_id, name=f"version {draft.version.version}: {outcome} ({draft.version.name})")
