"""The folder for everything that drsearch stores: `DRSEARCH_HOME`, by default `./drsearch-home`."""

import os
from dataclasses import dataclass
from pathlib import Path

TRAININGS = "trainings"
"""The MLflow experiment of trainings that belong to no study, and the folder of their journals."""


@dataclass(frozen=True)
class Home:
    """The folder that holds records, runs, studies, `mlflow.db` and artifacts.

    Attributes:
        path: Absolute; the first process that writes into it creates it.
    """

    path: Path

    @classmethod
    def from_environment(cls) -> "Home":
        """The home named by `DRSEARCH_HOME`, or `./drsearch-home`."""
        return cls(Path(os.environ.get("DRSEARCH_HOME") or "drsearch-home").resolve())

    @property
    def records(self) -> Path:
        """The record sets, one folder per fingerprint."""
        return self.path / "records"

    @property
    def labels(self) -> Path:
        """The tables of labels that were given as DataFrames."""
        return self.path / "labels"

    @property
    def features(self) -> Path:
        """The features of eyes under frozen backbones, one folder per network; what is deleted is computed again."""
        return self.path / "features"

    @property
    def decoded(self) -> Path:
        """The decoded images of record sets, one folder per fingerprint; what is deleted is decoded again."""
        return self.path / "decoded"

    @property
    def audits(self) -> Path:
        """The audits of refused data sets, one file per data set."""
        return self.path / "audits"

    @property
    def contact_sheets(self) -> Path:
        """The pages of `drsearch prepare --look`, one file per fingerprint of the data."""
        return self.path / "contact-sheets"

    @property
    def runs(self) -> Path:
        """The run folders, with their journals: `runs/<experiment>/<run>/journal.jsonl`."""
        return self.path / "runs"

    @property
    def test_evaluations(self) -> Path:
        """The counts of test evaluations: one file per test split, with one line per evaluation."""
        return self.path / "test-evaluations"

    @property
    def artifacts(self) -> Path:
        """The artifacts of the local MLflow store."""
        return self.path / "artifacts"

    @property
    def storage_url(self) -> str:
        """The Optuna storage that is used without `--storage`."""
        return f"sqlite:///{self.path / 'studies.db'}"

    @property
    def local_tracking_uri(self) -> str:
        """The MLflow store that is used without `MLFLOW_TRACKING_URI`."""
        return f"sqlite:///{self.path / 'mlflow.db'}"

    @property
    def tracking_uri(self) -> str:
        """The address of MLflow: `MLFLOW_TRACKING_URI`, or the local store."""
        return os.environ.get("MLFLOW_TRACKING_URI") or self.local_tracking_uri
