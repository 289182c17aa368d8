"""A study in real processes, to be disturbed: launcher, workers and sender, and what Optuna and MLflow know of them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  # before a server is started beside us: it takes seconds
import optuna
import psutil
import warm
from holding import Holds
from mlflow import MlflowClient
from optuna.trial import TrialState
from services import HANG_S, when
from warm import Command

from drsearch.home import Home
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import read_trials

RATES = [3e-3, 1e-3, 3e-4]
"""The trials of a study to be disturbed."""

SETTINGS = {
    "study.sampler": "grid",
    "study.gradcam_eyes": 1,
    "images.image_px": 32,
    "model.width": 4,
    "model.stages": 1,
    "training.epochs": 24,
    "training.batch_size": 8,
    "training.threads": 1,
    "training.checkpoint_every_epochs": 2,
    "finetune.when": "never",
}
SPACE = """
import holding

SETTINGS = {settings}


def space(hp):
    hp.Choice("training.learning_rate", {rates})
"""


def space_of(rates: list[float], settings: dict[str, Any] | None = None) -> str:
    """A grid of learning rates, small and quick."""
    return SPACE.format(settings={**SETTINGS, **(settings or {})}, rates=rates)


@dataclass
class Bench:
    """A home with eyes and records, in which studies run.

    Attributes:
        folder: Of it all.
        tracking_uri: MLflow; empty for the home's own.
        storage_url: The study database; empty for the home's own.
        on: The Ray cluster on which studies run, as `--on` takes it; empty for workers that this machine starts.
        stderr_in: Where the standard error of launchers is kept; None for the folder.
    """

    folder: Path
    tracking_uri: str = ""
    storage_url: str = ""
    on: str = ""
    stderr_in: Path | None = None
    started: list[Command] = field(default_factory=list)
    storages: list[Any] = field(default_factory=list)

    @property
    def home(self) -> Home:
        return Home(self.folder / "home")

    @property
    def eyes(self) -> Path:
        return self.folder / "eyes"

    @property
    def holds(self) -> Holds:
        """Where trials of its studies wait for the test."""
        return Holds(self.folder / "holds")

    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DRSEARCH_"))}
        more = {"DRSEARCH_HOME": str(self.home.path), "MLFLOW_LOGGING_LEVEL": "WARNING"}
        more["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # results stand there
        more |= self.holds.environment()
        addresses = {"MLFLOW_TRACKING_URI": self.tracking_uri, "STUDIES_ON": self.on}
        return kept | more | {name: address for name, address in addresses.items() if address}

    def start(self, *arguments: str) -> Command:
        """Start `drsearch`."""
        self.started.append(Command([sys.executable, "-m", "drsearch", *arguments], self.environment(), self.folder))
        return self.started[-1]

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `drsearch` to its end."""
        return warm.run([sys.executable, "-m", "drsearch", *arguments], self.environment(), self.folder)

    def study(self, name: str, text: str) -> "RunningStudy":
        """A study of this name; its space is `text`."""
        file = self.folder / f"{name}.py"
        file.write_text(text)
        return RunningStudy(self, name, file)

    def forget(self) -> None:
        """Close the connections to study databases."""
        while self.storages:
            self.storages.pop()._backend.engine.dispose()

    def close(self) -> None:
        """Kill what a test that failed has left; workers and senders end with their launcher."""
        self.forget()
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def client(self) -> MlflowClient:
        return MlflowClient(self.tracking_uri or self.home.local_tracking_uri)

    def has_checkpoint(self, study: str, trial: int) -> bool:
        """Whether MLflow has a checkpoint of a trial, for other machines."""
        experiment = self.client().get_experiment_by_name(study)
        assert experiment is not None
        words = f"tags.`drsearch.trial` = '{trial}'"
        return any(
            "drsearch.bundle" in run.data.tags for run in self.client().search_runs([experiment.experiment_id], words)
        )


def bench_at(prepared: Bench, folder: Path) -> Bench:
    """A bench of its own, with the records and the MLflow store of another."""
    made = Bench(folder)
    made.home.path.mkdir()
    shutil.copytree(prepared.home.records, made.home.records)
    shutil.copy(prepared.home.path / "mlflow.db", made.home.path / "mlflow.db")
    made.eyes.symlink_to(prepared.eyes)
    return made


class RunningStudy:
    """One study, its launchers, and what is known of it afterwards."""

    def __init__(self, bench: Bench, name: str, space: Path) -> None:
        self.bench, self.name, self.space = bench, name, space
        self.said = (bench.stderr_in or bench.folder) / f"{name}.err"

    def start(self, workers: int = 2) -> Command:
        """Start a launcher; its standard error goes to the file `said`."""
        command = [sys.executable, str(Path(__file__).with_name("launch.py")), str(self.space), str(self.bench.eyes)]
        command += [self.name, str(workers), self.bench.storage_url]
        process = Command(command, self.bench.environment(), self.bench.folder, self.said)
        self.bench.started.append(process)
        return process

    def start_held(self, *epochs: tuple[int, int], workers: int = 2) -> Command:
        """Start a launcher, and return when trials wait at the end of these epochs: (trial, epoch)."""
        self.bench.holds.hold(*epochs)
        launcher = self.start(workers)
        when(lambda: self.bench.holds.reached(*epochs), f"trials to reach {epochs}", launcher)
        return launcher

    def release(self) -> None:
        """Let the trials that wait go on."""
        self.bench.holds.release()

    def end(self, process: Command, timeout_s: float = HANG_S) -> Any:
        """What a launcher told when it had come to its end well."""
        told, _ = process.communicate(timeout=timeout_s)
        assert process.returncode == 0, self.said.read_text()[-3000:]
        return json.loads(told)

    def run(self, workers: int = 2, timeout_s: float = HANG_S) -> Any:
        return self.end(self.start(workers), timeout_s)

    @property
    def folder(self) -> Path:
        """Where its journals lie."""
        return next(self.bench.home.runs.glob(f"{self.name}-*"))

    def trial_folder(self, number: int) -> Path:
        return self.folder / f"trial-{number:04d}"

    def epochs(self, number: int) -> int:
        """Epochs of a trial that its journal holds."""
        journals = list(self.bench.home.runs.glob(f"{self.name}-*/trial-{number:04d}/journal.jsonl"))
        return journals[0].read_text().count('"event": "Metrics"') if journals else 0

    def workers(self, launcher: Command) -> list[psutil.Process]:
        """Its worker processes."""
        return children(launcher, "drsearch.workers.worker")

    def sender(self, launcher: Command) -> psutil.Process:
        (process,) = when(lambda: children(launcher, "drsearch.tracking.sender"), "a sender")
        return process

    def worker_of(self, number: int) -> psutil.Process:
        """The process that runs a trial."""
        return psutil.Process(int((self.trial_folder(number) / "owner").read_text().rsplit(":", 2)[1]))

    def logs(self) -> str:
        """What its workers said."""
        return "".join(file.read_text(errors="replace") for file in sorted((self.folder / "workers").glob("*.log")))

    def optuna(self) -> optuna.Study:
        """The study, opened anew: a connection of before may be one to a server that went down since."""
        self.bench.forget()
        self.bench.storages.append(open_storage(self.bench.storage_url or self.bench.home.storage_url))
        return optuna.load_study(study_name=self.name, storage=self.bench.storages[-1])

    def runs(self) -> dict[str, Any]:
        """Its MLflow runs: of trials by number, of the study as `study`."""
        client = self.bench.client()
        experiment = client.get_experiment_by_name(self.name)
        assert experiment is not None
        found: dict[str, Any] = {}
        for run in client.search_runs([experiment.experiment_id]):
            key = run.data.tags.get("drsearch.trial", run.data.tags["drsearch.kind"])
            assert key not in found, f"two runs of trial {key}"
            found[key] = run
        return found

    def has_run(self, number: int) -> bool:
        """Whether MLflow has the run of a trial yet; the experiment comes with the first."""
        return self.bench.client().get_experiment_by_name(self.name) is not None and str(number) in self.runs()

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Train and validation loss of every trial by epoch, as MLflow has them."""
        client = self.bench.client()
        return {
            f"{key} {name}": [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, name)]
            for key, run in self.runs().items()
            if key != "study"
            for name in ("train_loss", "val_loss")
        }

    def nothing_runs(self) -> None:
        """Neither Optuna nor MLflow takes anything for running."""
        study = self.optuna()
        assert TrialState.RUNNING not in {trial.state for trial in study.trials}
        assert "RUNNING" not in {run.info.status for run in self.runs().values()}

    def accounted_for(self) -> None:
        """Every trial came to one end, by one of its attempts."""
        for trial in read_trials(self.optuna()):
            ends = [attempt for attempt in trial.attempts if attempt.state in (TrialState.COMPLETE, TrialState.PRUNED)]
            assert len(ends) == 1 or (trial.state == "failed" and not ends), trial
            assert TrialState.WAITING not in {attempt.state for attempt in trial.attempts}, trial


def children(launcher: Command, words: str) -> list[psutil.Process]:
    """The child processes of a launcher whose command has these words."""
    try:
        there = psutil.Process(launcher.pid).children()
    except psutil.NoSuchProcess:
        return []
    found = []
    for child in there:
        try:
            if words in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def kill(process: psutil.Process) -> None:
    """`kill -9`, of a process that may be gone."""
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
