"""Where everything that a user keeps lies: `DRSEARCH_HOME`, by default `./drsearch-home`."""

import os
from dataclasses import dataclass
from pathlib import Path

TRAININGS = "trainings"
"""The MLflow experiment of trainings that belong to no study, and the folder of their journals."""


@dataclass(frozen=True)
class Home:
    """The folder that holds records, runs, studies, `mlflow.db` and artifacts.

    Attributes:
        path: Absolute; made by whoever first writes into it.
    """

    path: Path

    @classmethod
    def from_environment(cls) -> "Home":
        """The home named by `DRSEARCH_HOME`, or `./drsearch-home`."""
        return cls(Path(os.environ.get("DRSEARCH_HOME") or "drsearch-home").resolve())

    @property
    def records(self) -> Path:
        """Record sets, one folder a fingerprint."""
        return self.path / "records"

    @property
    def audits(self) -> Path:
        """One file a data set that was refused: everything that is wrong with it."""
        return self.path / "audits"

    @property
    def runs(self) -> Path:
        """What runs have to say, until it is sent: `runs/<experiment>/<run>/journal.jsonl`."""
        return self.path / "runs"

    @property
    def test_evaluations(self) -> Path:
        """One file per test split, with a line per test evaluation."""
        return self.path / "test-evaluations"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts, where tracking is local."""
        return self.path / "artifacts"

    @property
    def storage_url(self) -> str:
        """The Optuna storage used without `--storage`."""
        return f"sqlite:///{self.path / 'studies.db'}"

    @property
    def local_tracking_uri(self) -> str:
        """The MLflow store used without `MLFLOW_TRACKING_URI`."""
        return f"sqlite:///{self.path / 'mlflow.db'}"

    @property
    def tracking_uri(self) -> str:
        """`MLFLOW_TRACKING_URI`, or the local store."""
        return os.environ.get("MLFLOW_TRACKING_URI") or self.local_tracking_uri
