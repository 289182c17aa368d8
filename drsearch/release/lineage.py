"""Where does a version come from, and what came of a study or a run? Read from tags, runs and records of decisions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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
)


@dataclass(frozen=True)
class Node:
    """One thing in a lineage, and what it comes from.

    Attributes:
        kind: `version`, `run`, `trial`, `study`, `data`, `audit`, `code`, `decision`, `model`.
        name: What it is called.
        facts: What is to know of it, by name.
        parts: What stands under it.
    """

    kind: str
    name: str
    facts: Mapping[str, str] = field(default_factory=dict)
    parts: tuple["Node", ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Texts, lists and dicts only, as `--json` prints them."""
        return {
            "kind": self.kind,
            "name": self.name,
            "facts": dict(self.facts),
            "parts": [part.to_json() for part in self.parts],
        }


class Lineage:
    """Reads lineages from a tracking URI.

    Args:
        home: Its MLflow is asked.
    """

    def __init__(self, home: Home) -> None:
        uri = home.tracking_uri
        self._client = open_client(uri)
        self._registry = Registry(uri)
        self._decisions = Decisions(self._registry, home)

    def of(self, what: str) -> Node:
        """The lineage of a version (`name/3`, `name@alias`, also with `models:/`), or what came of a study or a run.

        Args:
            what: A version, the name of a study or of a registered model, or the id of a run.

        Raises:
            RegistryError: If there is none of that name.
        """
        named = what.removeprefix("models:/")
        if match := re.fullmatch(r"([^/@]+)(?:@([^/@]+)|/(\d+))", named):
            name, alias, number = match.groups()
            return self._version(
                self._registry.named(name, alias) if alias else self._registry.version(name, int(number))
            )
        if re.fullmatch(r"[0-9a-f]{32}", named):
            return self._from_run(named)
        return self._from_name(named)

    def _from_run(self, run_id: str) -> Node:
        run = self._run(run_id)
        if run is None:
            raise RegistryError(f"MLflow has no run {run_id}; its page shows the id under the run's name.")
        made = [
            version
            for version in self._registry.versions()
            if run_id in (version.run_id, version.tags.get(TRIAL_RUN_TAG))
        ]
        return Node("run", str(run.info.run_name), {"run": run_id, **_facts(run)}, tuple(map(self._version, made)))

    def _from_name(self, name: str) -> Node:
        made = self._registry.versions(tags={STUDY_TAG: name}) if "'" not in name else []
        if not made and "'" not in name and (versions := self._registry.versions(name)):
            return Node("model", name, {"versions": str(len(versions))}, tuple(map(self._version, versions)))
        if not made:
            try:
                self._registry.version(name, 0)
            except RegistryError as wrong:
                raise RegistryError(
                    f"no version comes from a study {name!r}. Name a version (retinopathy@champion, retinopathy/3), a "
                    f"study with a registered model, or a run's id; {str(wrong).partition('; ')[2]}"
                ) from None
        return Node("study", name, {"versions": str(len(made))}, tuple(map(self._version, made)))

    def _version(self, version: ModelVersion) -> Node:
        tags = version.tags
        facts = {"aliases": ", ".join(version.aliases), "model": version.model_id}
        for name, tag in (
            ("threshold", THRESHOLD_TAG),
            ("temperature", TEMPERATURE_TAG),
            ("operating point", OPERATING_POINT_TAG),
        ):
            facts[name] = tags.get(tag, "")
        facts["test AUC"] = tags.get("test_auc", "")
        parts = [*self._runs(version), *self._study(version), self._data(version), self._code(version)]
        parts += self._parent(version)
        decided = self._decisions.history(version.name)
        parts += [
            Node("decision", each.outcome, _present({"run": each.run_id, "by": each.by, "reason": each.reason}))
            for each in decided
            if each.version == version.version
        ]
        return Node("version", f"{version.name}/{version.version}", _present(facts), tuple(parts))

    def _runs(self, version: ModelVersion) -> list[Node]:
        made_by = self._run(version.run_id)
        nodes = [
            Node("run", str(made_by.info.run_name), {"run": version.run_id, **_facts(made_by)})
            if made_by is not None
            else Node("run", "deleted in MLflow", {"run": version.run_id})
        ]
        trial, trial_run = version.tags.get(TRIAL_TAG, ""), version.tags.get(TRIAL_RUN_TAG, "")
        if trial:
            kind = version.tags.get(KIND_TAG)
            its_run = trial_run or (version.run_id if kind == "trial" else "")
            nodes.append(Node("trial", trial, _present({"run": its_run})))
        return nodes

    def _study(self, version: ModelVersion) -> list[Node]:
        name = version.tags.get(STUDY_TAG, "")
        if not name:
            return []
        made_by = self._run(version.run_id)
        run = None
        if made_by is not None:  # the experiment by its id: a deleted study's has another name
            run = first_run(self._client, made_by.info.experiment_id, has_tag(KIND_TAG, "study"))
        if run is None:
            return [Node("study", name)]
        run_id = run.info.run_id
        files = [file.path for folder in ("space", "data") for file in self._client.list_artifacts(run_id, folder)]
        under = tuple(
            Node("audit" if file.startswith("data/") else "space", file, {"artifact of run": run_id}) for file in files
        )
        return [Node("study", name, {"run": run_id, "experiment": run.info.experiment_id}, under)]

    def _data(self, version: ModelVersion) -> Node:
        made_by, source = self._run(version.run_id), {}
        if made_by is not None and made_by.inputs is not None and made_by.inputs.dataset_inputs:
            dataset = made_by.inputs.dataset_inputs[0].dataset
            source = {"name": dataset.name, "source": re.sub(r'^\{"uri": "(.*)"\}$', r"\1", dataset.source)}
        prints = {
            "photographs, grades and split": version.tags.get(DATA_FINGERPRINT_TAG, ""),
            "records": version.tags.get(RECORDS_FINGERPRINT_TAG, ""),
        }
        return Node("data", source.pop("name", "unnamed"), _present({**prints, **source}))

    def _parent(self, version: ModelVersion) -> list[Node]:
        number = version.tags.get(PARENT_VERSION_TAG, "")
        if not number:
            return []
        try:
            return [self._version(self._registry.version(version.name, int(number)))]
        except RegistryError:  # deleted since
            return [Node("version", f"{version.name}/{number}", {"state": "deleted in MLflow"})]

    def _code(self, version: ModelVersion) -> Node:
        made_by = self._run(version.run_id)
        tags = {**(made_by.data.tags if made_by is not None else {}), **version.tags}
        prefix = LIBRARY_TAG_PREFIX
        libraries = {key.removeprefix(prefix): tags[key] for key in sorted(tags) if key.startswith(prefix)}
        commit = tags.get(COMMIT_TAG, "")
        return Node("code", f"drsearch {tags.get(VERSION_TAG, '')}", _present({"commit": commit, **libraries}))

    def _run(self, run_id: str) -> Run | None:
        try:
            return self._client.get_run(run_id)
        except MlflowException as wrong:
            if wrong.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None


def _facts(run: Run) -> dict[str, str]:
    tags = run.data.tags
    return _present({"kind": tags.get(KIND_TAG, ""), "registered as": tags.get(REGISTERED_TAG, "")})


def _present(facts: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in facts.items() if value}
