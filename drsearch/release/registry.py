"""Registered models in MLflow: versions, aliases, tags and files."""

import contextlib
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModelInput, LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

import drsearch
from drsearch.errors import RegistryError
from drsearch.files import fault
from drsearch.measure.scores import SCORE_NAMES, Interval
from drsearch.serving import pyfunc_model
from drsearch.tracking.events import DatasetInput, now_ms
from drsearch.tracking.mlflow_client import is_denied, is_unavailable, open_client, search_versions
from drsearch.tracking.tags import REGISTERED_TAG, has_tag

CHAMPION = "champion"
SEARCH_BEST = "search-best"

_SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "photograph")]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "label", required=False),  # not there for what cannot be graded
            ColSpec(DataType.double, "probability", required=False),
            ColSpec(DataType.double, "confidence", required=False),
            ColSpec(DataType.double, "threshold"),
            ColSpec(DataType.double, "distance", required=False),
            ColSpec(DataType.string, "warning", required=False),
            ColSpec(DataType.double, "quality", required=False),
            ColSpec(DataType.string, "reason", required=False),
            ColSpec(DataType.string, "error", required=False),
            ColSpec(DataType.string, "model"),
            ColSpec(DataType.binary, "explanation", required=False),
        ]
    ),
    params=ParamSchema([ParamSpec("explain", DataType.boolean, False)]),
)
_REQUIRED = ("absl-py", "keras", "numpy", "opencv-python-headless", "pandas", "pillow", "pydicom", "pyyaml",
             "psutil", "scikit-learn", "scipy", "simplejpeg", "tensorflow-cpu", "tensorflow")  # fmt: skip


@dataclass(frozen=True)
class ModelVersion:
    """A version of a registered model.

    Attributes:
        name: The registered model.
        version: The version's number.
        model_id: MLflow's logged model behind it.
        run_id: The run that made it.
        tags: Study, trial, data, threshold and test scores.
        aliases: Aliases that point to it.
    """

    name: str
    version: int
    model_id: str
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @property
    def uri(self) -> str:
        """The address of the version, `models:/name/3`."""
        return f"models:/{self.name}/{self.version}"

    @property
    def scores(self) -> dict[str, Interval]:
        """The test scores by name, from the tags; empty for a version without test scores.

        Example:
            >>> tags = {"test_auc": "0.9300", "test_auc_low": "0.8800", "test_auc_high": "0.9700"}
            >>> print(ModelVersion("retinopathy", 3, "", "", tags, ()).scores["auc"])
            0.930 [0.880, 0.970]
        """
        intervals = {name: Interval.from_metrics(self.tags, f"test_{name}") for name in SCORE_NAMES}
        return {name: interval for name, interval in intervals.items() if interval is not None}


class Registry:
    """MLflow's model registry.

    Args:
        tracking_uri: MLflow's address.
    """

    def __init__(self, tracking_uri: str) -> None:
        mlflow.set_tracking_uri(tracking_uri)
        self._client = open_client(tracking_uri)

    def register(
        self,
        name: str,
        run_id: str,
        files: Mapping[str, Path],
        tags: Mapping[str, str],
        description: str,
        beside: Mapping[str, bytes] | None = None,
    ) -> ModelVersion:
        """Register the model of a run as a new version.

        Args:
            name: The registered model; created if there is none of that name.
            run_id: The run that made the model.
            files: The model's files, from `model_files`.
            tags: Of the version and of the logged model.
            description: Of the version, Markdown.
            beside: Content of files that lie beside the model's, by name; they can be replaced.

        Returns:
            The version.
        """
        run = self._client.get_run(run_id)
        logged = self._client.create_logged_model(
            experiment_id=run.info.experiment_id,
            name=name,
            source_run_id=run_id,
            tags=dict(tags),
            params={key: value for key, value in run.data.params.items() if value is not None},
            model_type="classifier",
        )
        with _package() as code, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input example was not provided")  # the signature is given
            mlflow.pyfunc.log_model(
                name=name,
                python_model=str(Path(pyfunc_model.__file__)),
                artifacts={key: str(path) for key, path in files.items()},
                code_paths=[str(code)],
                signature=_SIGNATURE,
                pip_requirements=list(_requirements()),
                model_id=logged.model_id,
            )
        self._put_beside(logged.model_id, beside or {})
        self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        with contextlib.suppress(MlflowException):  # it is there already
            self._client.create_registered_model(name, description=_MODEL_NOTE)
        version = self._client.create_model_version(
            name,
            f"models:/{logged.model_id}",
            run_id=run_id,
            tags=dict(tags),
            description=description,
            model_id=logged.model_id,
        )
        self._client.set_tag(run_id, REGISTERED_TAG, f"{name}/{version.version}")
        return self.version(name, int(version.version))

    def version(self, name: str, number: int) -> ModelVersion:
        """A version by its number.

        Raises:
            RegistryError: If there is no such version; the message lists the existing ones.
        """
        try:
            version = self._client.get_model_version(name, str(number))
        except MlflowException as wrong:
            raise RegistryError(f"{name} has no version {number}; {self.inventory(name)}.") from wrong
        aliases = self._client.get_registered_model(name).aliases
        return ModelVersion(
            name=name,
            version=int(version.version),
            model_id=str(version.source).removeprefix("models:/"),
            run_id=str(version.run_id),
            tags=dict(version.tags),
            aliases=tuple(sorted(alias for alias, target in aliases.items() if int(target) == number)),
        )

    def versions(self, name: str = "", tags: Mapping[str, str] | None = None) -> list[ModelVersion]:
        """The versions of a model, or of all models, by name and number.

        Args:
            name: The registered model; empty: any.
            tags: Values of tags that the versions must have.

        Returns:
            The versions.
        """
        filters = [f"name = '{name}'"] if name else []
        filters += [has_tag(tag, value) for tag, value in (tags or {}).items()]
        numbers = [(each.name, int(each.version)) for each in search_versions(self._client, " and ".join(filters))]
        return [self.version(*each) for each in sorted(numbers)]

    def check_model(self, name: str) -> None:
        """Refuse the name of a model that has no version.

        Raises:
            RegistryError: If there is no such model; the message lists the existing ones.
        """
        if "'" in name or not self.versions(name):
            raise RegistryError(f"{name}: no such model; {self.inventory(name)}.")

    def with_alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version that an alias points to; None if there is no such alias."""
        try:
            return self.version(name, int(self._client.get_model_version_by_alias(name, alias).version))
        except MlflowException:
            return None

    def named(self, name: str, alias: str) -> ModelVersion:
        """The version that an alias points to.

        Raises:
            RegistryError: If there is no such alias; the message lists versions and aliases.
        """
        version = self.with_alias(name, alias)
        if version is None:
            raise RegistryError(f"{name} has no version @{alias}; {self.inventory(name)}.")
        return version

    def set_alias(self, model: ModelVersion, alias: str) -> None:
        """Point an alias to a version, and no longer to another one."""
        self._client.set_registered_model_alias(model.name, alias, str(model.version))

    def log_scores(
        self,
        model: ModelVersion,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> None:
        """Write test scores to a version: to its run, its logged model and its tags.

        Args:
            model: The version.
            metrics: The scores by name; they also become tags, with four digits.
            tags: More tags.
            files: Content of each file of the run's artifacts in `test/`, by name.
        """
        at = now_ms()
        points = [Metric(name, value, at, 0, model_id=model.model_id) for name, value in metrics.items()]
        self._client.log_batch(model.run_id, metrics=points)
        for tag, text in {**{name: f"{value:.4f}" for name, value in metrics.items()}, **tags}.items():
            self._client.set_model_version_tag(model.name, str(model.version), tag, text)
        self._log_files(model.run_id, files, "test")

    def log_figures(
        self,
        model: ModelVersion,
        metrics: Mapping[str, Sequence[float]],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
        folder: str,
        data: DatasetInput,
    ) -> None:
        """Write figures about a version, of whatever data set: to its run, its logged model and its tags.

        Args:
            model: The version.
            metrics: By name, the value of each step from 0 on.
            tags: Of the version.
            files: Content of each file of the run's artifacts, by name.
            folder: Of these artifacts.
            data: The data set that the metrics are of.

        Raises:
            RegistryError: If MLflow does not let this user.
        """
        at, on = now_ms(), {"dataset_name": data.name, "dataset_digest": data.digest}
        points = [
            Metric(name, value, at, step, model_id=model.model_id, **on)
            for name, values in metrics.items()
            for step, value in enumerate(values)
        ]
        try:
            self._client.log_batch(model.run_id, metrics=points)
            for tag, text in tags.items():
                self._client.set_model_version_tag(model.name, str(model.version), tag, text)
            self._log_files(model.run_id, files, folder)
        except MlflowException as wrong:
            if not is_denied(wrong):
                raise
            raise RegistryError(f"MLflow does not let this user write to {model.uri}; ask a registrar.") from wrong

    def holds_photographs(self, model: ModelVersion) -> bool:
        """Whether photographs may be logged to a version's run: not with `study.gradcam_eyes = 0`."""
        params: Mapping[str, str] = self._client.get_run(model.run_id).data.params
        return params.get("study.gradcam_eyes") != "0"

    def _log_files(self, run_id: str, files: Mapping[str, bytes], folder: str) -> None:
        with tempfile.TemporaryDirectory() as place:
            for name, content in files.items():
                file = Path(place) / name
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(content)
            self._client.log_artifacts(run_id, place, folder)

    def write_beside(self, model: ModelVersion, files: Mapping[str, bytes], description: str) -> None:
        """Replace files that lie beside a version's model, and its description.

        Args:
            model: The version.
            files: Content of each file, by name.
            description: Of the version, Markdown.

        Raises:
            RegistryError: If MLflow does not let this user.
        """
        try:
            self._client.update_model_version(model.name, str(model.version), description)
            self._put_beside(model.model_id, files)
        except MlflowException as wrong:
            if not is_denied(wrong):
                raise
            raise RegistryError(f"MLflow does not let this user write to {model.uri}; ask a registrar.") from wrong

    def _put_beside(self, model_id: str, files: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as place:
            for name, content in files.items():
                (Path(place) / name).write_bytes(content)
                self._client.log_model_artifact(model_id, str(Path(place) / name))

    def read_beside(self, model: ModelVersion, name: str) -> bytes | None:
        """The content of a file that lies beside a version's model; None if there is none.

        Args:
            model: The version.
            name: Of the file.
        """
        if name not in {Path(file.path).name for file in self._client.list_logged_model_artifacts(model.model_id)}:
            return None
        with tempfile.TemporaryDirectory() as place:
            file = mlflow.artifacts.download_artifacts(artifact_uri=f"{model.uri}/{name}", dst_path=place)
            return Path(file).read_bytes()

    def log_parent(self, run_id: str, parent: ModelVersion) -> None:
        """Log a version as the model that a run starts from."""
        self._client.log_inputs(run_id, models=[LoggedModelInput(parent.model_id)])

    def find(self, model: str) -> ModelVersion:
        """The version that a name stands for now.

        Args:
            model: `name@alias` or `name/3`, also after `models:/`.

        Returns:
            The version.

        Raises:
            RegistryError: If it names no version; the message lists the existing ones.
        """
        match = re.fullmatch(r"([^/@]+)(?:@([^/@]+)|/(\d+))", model.removeprefix("models:/"))
        if match is None:
            name = re.split("[/@]", model.removeprefix("models:/"))[0]
            raise RegistryError(
                f"{model} names no version of a model; write for example {name}@champion or {name}/3. "
                f"{self.inventory(name).capitalize()}."
            )
        name, alias, number = match.groups()
        return self.named(name, alias) if alias else self.version(name, int(number))

    def download(self, uri: str, into: Path) -> Path:
        """Download a model's files.

        Args:
            uri: `models:/name/3`, `models:/name@alias`, or the same without `models:/`.
            into: An empty folder.

        Returns:
            The folder with `model.keras` and its companions.

        Raises:
            RegistryError: If there is no such model, or its files are missing.
        """
        uri = uri if ":/" in uri else f"models:/{uri}"
        try:
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=f"{uri}/artifacts", dst_path=str(into)))
        except (MlflowException, OSError) as wrong:
            if is_unavailable(wrong) or fault(wrong):
                raise
            name = uri.removeprefix("models:/").partition("@")[0].partition("/")[0]
            why = self._why_no_files(uri) or f"no such model; {self.inventory(name)}"
            raise RegistryError(f"{uri}: {why}.") from wrong

    def _why_no_files(self, uri: str) -> str:
        """Where the files of a registered version should be; empty if there is no such version."""
        try:
            model = self._client.get_logged_model(self.find(uri).model_id)
        except (MlflowException, RegistryError, ValueError):
            return ""
        return f"it is registered, and its files are not at {model.artifact_location}; bring that folder back"

    def inventory(self, name: str) -> str:
        """The versions and aliases of a model in words; if there is no such model, the names of all models."""
        try:
            model = self._client.get_registered_model(name)
        except MlflowException:
            names = sorted(each.name for each in self._client.search_registered_models())
            return "registered models: " + (", ".join(names) or "none yet, `drsearch run-study` registers one")
        versions = sorted(int(each.version) for each in search_versions(self._client, f"name = '{name}'"))
        aliases = ", ".join(f"@{alias} (version {number})" for alias, number in sorted(model.aliases.items()))
        return f"{name} has versions {', '.join(map(str, versions)) or 'none'}" + (f" and {aliases}" if aliases else "")


_MODEL_NOTE = (
    "Referable diabetic retinopathy (RDR) against not referable (NRDR), from fundus photographs; each version says "
    "which grades are referable. "
    "`search-best` is the best of the study that finished last; `champion` is the one in use."
)


@contextlib.contextmanager
def _package() -> Iterator[Path]:
    """A copy of drsearch's own code, which is stored with a model."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "drsearch"
        shutil.copytree(Path(drsearch.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "configs"))
        yield copy


def _requirements() -> Iterator[str]:
    """The libraries that grading a photograph needs, pinned to the installed versions."""
    yield f"mlflow=={mlflow.__version__}"
    for name in _REQUIRED:
        with contextlib.suppress(metadata.PackageNotFoundError):  # one tensorflow of two; pydicom is an extra
            yield f"{name}=={metadata.version(name)}"
