"""Traces a version to its study, trial, data, code and decisions, and a study or a run to its versions."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import indent
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.release.decisions import Decisions
from drsearch.release.registry import ModelVersion, Registry
from drsearch.tracking.mlflow_client import first_run, open_client
from drsearch.tracking.tags import (
    COMMIT_TAG,
    DATA_FINGERPRINT_TAG,
    KIND_TAG,
    LIBRARY_TAG_PREFIX,
    MEMBERS_TAG,
    NETWORK_TAG,
    OPERATING_POINT_TAG,
    PARENT_VERSION_TAG,
    RECORDS_FINGERPRINT_TAG,
    REGISTERED_TAG,
    STUDY_TAG,
    TEMPERATURE_TAG,
    THRESHOLD_TAG,
    TRIAL_RUN_TAG,
    TRIAL_TAG,
    VERSION_TAG,
    has_tag,
    member_runs,
)

_ABOUT_DATA = {"data/audit.json": "audit", "data/data.toml": "description", "data/manifest.json": "records"}


@dataclass(frozen=True)
class Node:
    """A node of a lineage.

    Attributes:
        kind: `version`, `run`, `trial`, `network`, `study`, `space`, `data`, `audit`, `description`, `code`,
            `decision`, `model`.
        name: Its name, or an outcome.
        facts: Texts by name, such as `{"run": "810f76..."}`.
        parts: The nodes that it comes from, or for a study, run or model: its versions.
    """

    kind: str
    name: str
    facts: Mapping[str, str] = field(default_factory=dict)
    parts: tuple["Node", ...] = ()

    def __str__(self) -> str:
        facts = "".join(f"  {name} {value}" for name, value in self.facts.items() if value)
        return "\n".join([f"{self.kind} {self.name}{facts}", *(indent(str(part), "    ") for part in self.parts)])

    def to_json(self) -> dict[str, Any]:
        """Texts, lists and dicts only, as `--json` prints them."""
        return {
            "kind": self.kind,
            "name": self.name,
            "facts": dict(self.facts),
            "parts": [part.to_json() for part in self.parts],
        }


class Lineage:
    """Reads lineages from MLflow.

    Args:
        home: Names MLflow's address.
    """

    def __init__(self, home: Home) -> None:
        uri = home.tracking_uri
        self._client = open_client(uri)
        self._registry = Registry(uri)
        self._decisions = Decisions(self._registry, home)

    def of(self, what: str) -> Node:
        """The lineage of a version, or the versions of a study, a model or a run with their lineages.

        Args:
            what: A version (`name/3` or `name@alias`, also with `models:/`), the name of a study or of a registered
                model, or the id of a run.

        Returns:
            The root of the tree.

        Raises:
            RegistryError: If there is nothing of that name.
        """
        named = what.removeprefix("models:/")
        if re.fullmatch(r"[^/@]+(@[^/@]+|/\d+)", named):
            return self._version(self._registry.find(named))
        if re.fullmatch(r"[0-9a-f]{32}", named):
            return self._from_run(named)
        return self._from_name(named)

    def _from_run(self, run_id: str) -> Node:
        run = self._run(run_id)
        if run is None:
            raise RegistryError(f"MLflow has no run {run_id}; its page shows the id under the run's name.")
        versions = [each for each in self._registry.versions() if run_id in _runs(each)]
        node = _run_node(run_id, run)
        return Node(node.kind, node.name, node.facts, tuple(map(self._version, versions)))

    def _from_name(self, name: str) -> Node:
        of_study, of_model = [], []
        if "'" not in name:  # no name of MLflow's can be searched with one
            of_study = self._registry.versions(tags={STUDY_TAG: name})
            of_model = self._registry.versions(name) if not of_study else []
        if versions := of_study or of_model:
            kind = "study" if of_study else "model"
            return Node(kind, name, {"versions": str(len(versions))}, tuple(map(self._version, versions)))
        raise RegistryError(
            f"no version comes from a study {name!r}. Name a version (retinopathy@champion, retinopathy/3), a "
            f"study with a registered model, or a run's id; {self._registry.inventory(name)}."
        )

    def _version(self, version: ModelVersion) -> Node:
        tags, run = version.tags, self._run(version.run_id)
        facts = {
            "aliases": ", ".join(version.aliases),
            "model": version.model_id,
            "network": tags.get(NETWORK_TAG, ""),
            "threshold": tags.get(THRESHOLD_TAG, ""),
            "temperature": tags.get(TEMPERATURE_TAG, ""),
            "operating point": tags.get(OPERATING_POINT_TAG, ""),
            "test AUC": tags.get("test_auc", ""),
        }
        decisions = [
            _node("decision", each.outcome, {"run": each.run_id, "by": each.by, "reason": each.reason})
            for each in self._decisions.history(version.name)
            if each.version == version.version
        ]
        parts = [
            _run_node(version.run_id, run),
            *_trial(version),
            *_networks(version),
            *self._study(version, run),
            _data(version, run),
            _code(version, run),
            *self._parent(version),
            *decisions,
        ]
        return _node("version", f"{version.name}/{version.version}", facts, parts)

    def _study(self, version: ModelVersion, run: Run | None) -> list[Node]:
        name = version.tags.get(STUDY_TAG, "")
        if not name:
            return []
        study = None
        if run is not None:  # the experiment by its id: a deleted study's has another name
            study = first_run(self._client, run.info.experiment_id, has_tag(KIND_TAG, "study"))
        if study is None:
            return [Node("study", name)]
        run_id = study.info.run_id
        artifacts = [
            Node(_ABOUT_DATA.get(file.path, folder), file.path, {"artifact of run": run_id})
            for folder in ("space", "data")
            for file in self._client.list_artifacts(run_id, folder)
        ]
        return [_node("study", name, {"run": run_id, "experiment": study.info.experiment_id}, artifacts)]

    def _parent(self, version: ModelVersion) -> list[Node]:
        number = version.tags.get(PARENT_VERSION_TAG, "")
        if not number:
            return []
        try:
            return [self._version(self._registry.version(version.name, int(number)))]
        except RegistryError:  # deleted since
            return [Node("version", f"{version.name}/{number}", {"state": "deleted in MLflow"})]

    def _run(self, run_id: str) -> Run | None:
        try:
            return self._client.get_run(run_id)
        except MlflowException as wrong:
            if wrong.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None


def _node(kind: str, name: str, facts: Mapping[str, str], parts: Sequence[Node] = ()) -> Node:
    """A node without empty facts."""
    return Node(kind, name, {key: value for key, value in facts.items() if value}, tuple(parts))


def _run_node(run_id: str, run: Run | None) -> Node:
    if run is None:
        return Node("run", "deleted in MLflow", {"run": run_id})
    tags = run.data.tags
    facts = {"run": run_id, "kind": tags.get(KIND_TAG, ""), "registered as": tags.get(REGISTERED_TAG, "")}
    return _node("run", str(run.info.run_name), facts)


def _trial(version: ModelVersion) -> list[Node]:
    tags = version.tags
    if TRIAL_TAG not in tags:
        return []
    run_id = tags.get(TRIAL_RUN_TAG, "") or (version.run_id if tags.get(KIND_TAG) in ("trial", "mean") else "")
    return [_node("trial", tags[TRIAL_TAG], {"run": run_id})]


def _networks(version: ModelVersion) -> list[Node]:
    """The networks of which a version is the mean."""
    members = json.loads(version.tags.get(MEMBERS_TAG, "[]"))
    names = [" of ".join(filter(None, (each["network"], f"trial {each['trial']}"))) for each in members]
    return [Node("network", name, {"run": each["run"]}) for name, each in zip(names, members, strict=True)]


def _runs(version: ModelVersion) -> set[str | None]:
    """The ids of the runs that a version comes from."""
    return {version.run_id, version.tags.get(TRIAL_RUN_TAG), *member_runs(version.tags)}


def _data(version: ModelVersion, run: Run | None) -> Node:
    name, source = "unnamed", ""
    if run is not None and run.inputs is not None and run.inputs.dataset_inputs:
        dataset = run.inputs.dataset_inputs[0].dataset
        name, source = dataset.name, re.sub(r'^\{"uri": "(.*)"\}$', r"\1", dataset.source)
    facts = {
        "photographs, grades and split": version.tags.get(DATA_FINGERPRINT_TAG, ""),
        "records": version.tags.get(RECORDS_FINGERPRINT_TAG, ""),
        "source": source,
    }
    return _node("data", name, facts)


def _code(version: ModelVersion, run: Run | None) -> Node:
    tags = {**(run.data.tags if run is not None else {}), **version.tags}
    libraries = {
        tag.removeprefix(LIBRARY_TAG_PREFIX): tags[tag] for tag in sorted(tags) if tag.startswith(LIBRARY_TAG_PREFIX)
    }
    return _node("code", f"drsearch {tags.get(VERSION_TAG, '')}", {"commit": tags.get(COMMIT_TAG, ""), **libraries})
