"""Changes the champion so that one of several decisions at once is carried out, and the others change nothing.

MLflow sets an alias without asking for its old value. But its database refuses a second value for a run's parameter, on
all machines. So a decision first writes its own run into the parameter `drsearch.next_decision` of the run that changed
the champion before it: its claim. The first decision about a model creates an experiment with its run in a tag, since
MLflow gives an experiment's name only once.
"""

import time
from dataclasses import dataclass

from absl import logging
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from drsearch.errors import RegistryError
from drsearch.release.registry import CHAMPION, ModelVersion, Registry
from drsearch.tracking.tags import BY_TAG, MODEL_TAG, NEXT_DECISION, NOTE_TAG, VERSION_NUMBER_TAG

EXPERIMENT = "drsearch-decisions"
"""The MLflow experiment of all decisions: of its own, so that the pages of a study show trainings alone."""

_PATIENCE_S = 20.0


class Overtaken(RegistryError):
    """Another decision was faster; this one changed nothing."""


@dataclass(frozen=True)
class ChampionState:
    """The champion when a decision begins.

    Attributes:
        champion: The version in use; None if there is none.
        last: The run of the last change, on which the next one is claimed; empty before the first change.
    """

    champion: ModelVersion | None
    last: str


class Claims:
    """The chain of changes of champions.

    Args:
        registry: Holds the alias.
        client: Of the same MLflow.
    """

    def __init__(self, registry: Registry, client: MlflowClient) -> None:
        self._registry, self._client = registry, client

    def state(self, name: str) -> ChampionState:
        """The present champion of a model, and the last change.

        Waits for a change that another process is carrying out; one that does not end in 20 seconds counts as dead, and
        its run is closed.

        Args:
            name: The registered model.

        Returns:
            What the next change starts from.

        Raises:
            RegistryError: If there is no such model.
        """
        self._registry.check_model(name)
        last, following = "", self._first(name)
        while following:
            run = self._client.get_run(following)
            last, following = following, run.data.params.get(NEXT_DECISION, "")
        if last:
            self._wait_for(run)
        return ChampionState(self._registry.with_alias(name, CHAMPION), last)

    def change(self, state: ChampionState, version: ModelVersion, run_id: str) -> None:
        """Make a version the champion.

        Args:
            state: What the decision started from.
            version: The new champion.
            run_id: The decision's run.

        Raises:
            Overtaken: If the champion was changed since, or is being changed.
        """
        self._claim(version.name, state.last, run_id)
        self._set_alias(state, version, run_id)

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
                    f"the run {last} of the last decision was deleted in MLflow, and the next decision needs it; "
                    f"restore it with `mlflow runs restore --run-id {last}`."
                ) from wrong
            if winner in (None, run_id):
                raise
            raise self._overtaken_by(winner) from None

    def _claim_first(self, name: str, run_id: str) -> None:
        note = f"The first champion of {name} was decided in run {run_id}. Keep this: decisions count on from here."
        try:
            self._client.create_experiment(f"{EXPERIMENT}/{name}", tags={NEXT_DECISION: run_id, NOTE_TAG: note})
        except MlflowException as wrong:
            if not (winner := self._first(name)):
                raise
            raise self._overtaken_by(winner) from wrong

    def _first(self, name: str) -> str:
        """The run of a model's first change; empty before that."""
        experiment = self._client.get_experiment_by_name(f"{EXPERIMENT}/{name}")
        if experiment is None:
            return ""
        if experiment.lifecycle_stage == "deleted" or NEXT_DECISION not in experiment.tags:
            raise RegistryError(
                f"decisions on {name} count from the experiment {experiment.name}, which was deleted or made outside "
                f"drsearch; restore it (mlflow experiments restore -x {experiment.experiment_id}), or rename one that "
                "drsearch did not make."
            )
        return str(experiment.tags[NEXT_DECISION])

    def _set_alias(self, state: ChampionState, version: ModelVersion, run_id: str) -> None:
        """Set the alias while this decision holds the claim; changes outside drsearch are checked before and after."""
        name = version.name
        now, run = self._registry.with_alias(name, CHAMPION), self._client.get_run(run_id)
        if winner := run.data.params.get(NEXT_DECISION):  # this process stood still, and was taken for dead
            raise self._overtaken_by(winner)
        if _number(now) != _number(state.champion):
            raise Overtaken(
                f"the champion of {name} is {_text(now)} now and was {_text(state.champion)} when this began; it was "
                "changed outside drsearch. Nothing was changed here; decide again."
            )
        self._registry.set_alias(version, CHAMPION)
        after = self._registry.with_alias(name, CHAMPION)
        if _number(after) != version.version:
            raise Overtaken(
                f"the champion of {name} was set to {version.version}, and is {_text(after)} now: somebody changed it "
                "outside drsearch in the same moment; look who did, and decide again."
            )

    def _overtaken_by(self, run_id: str) -> Overtaken:
        tags = self._client.get_run(run_id).data.tags
        return Overtaken(
            f"{tags.get(BY_TAG, 'somebody')} decided on version {tags.get(VERSION_NUMBER_TAG)} of "
            f"{tags.get(MODEL_TAG)} meanwhile; nothing was changed here. Look at `drsearch history "
            f"{tags.get(MODEL_TAG)}`, and decide again."
        )

    def _wait_for(self, run: Run) -> None:
        until = time.monotonic() + _PATIENCE_S
        while run.info.status == "RUNNING" and time.monotonic() < until:
            time.sleep(0.5)
            run = self._client.get_run(run.info.run_id)
        if run.info.status == "RUNNING":
            logging.warning("the decision of run %s was never finished; going on after it", run.info.run_id)
            self._client.set_terminated(run.info.run_id, "KILLED")


def _number(version: ModelVersion | None) -> int | None:
    return version.version if version is not None else None


def _text(version: ModelVersion | None) -> str:
    return f"version {version.version}" if version is not None else "none"
