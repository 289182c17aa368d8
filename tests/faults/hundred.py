"""A hundred faults at random moments of one study: is every trial there once, and the best the same? `make faults`.

A grid of 60 short trials is run twice with three workers: in peace, and with faults. A fault's moment is a seeded draw
of how far the study has come, so that all of them fall into it. Everything is real: signals to processes, a PostgreSQL
and an MLflow server that are stopped and started, a file system of some megabytes that is filled.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from harness import Bench, RunningStudy, children, kill, space_of
from optuna.trial import TrialState
from services import MlflowServer, PostgresServer, postgresql_binaries
from warm import COLD, Command

from drsearch.trials import heartbeat as heartbeat_module
from drsearch.trials.attributes import DIED
from drsearch.trials.heartbeat import HeartbeatMonitor
from drsearch.trials.reconcile import reconcile
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import Trial, read_trials

EPOCHS = 12
LONGER_THAN_A_COMMAND_WAITS_S = 35.0
SETTINGS = {
    "training.epochs": EPOCHS,
    "study.max_retries": 1000,  # many faults may fall on one trial
    "study.gradcam_eyes": 0,
}


@dataclass
class Fault:
    """One fault, and what it met."""

    kind: str
    at: float
    met: str = ""
    trial: int | None = None
    attempt: int | None = None
    outcome: str = ""


@dataclass
class Storm:
    """A study under faults."""

    study: RunningStudy
    launcher: Command
    workers: int
    database: PostgresServer | None
    mlflow: MlflowServer
    disk: Path | None
    draw: random.Random
    launched: int = 1
    database_was_down: bool = False
    stopped: list[tuple[float, psutil.Process]] = field(default_factory=list)

    def strike(self, fault: Fault) -> None:
        kinds: dict[str, Callable[[Fault], None]] = {
            "kill -9 a worker": self.kill_worker,
            "stop a worker for seconds": self.stop_worker,
            "stop a worker until its trial is given away": self.give_away,
            "kill -9 the sender": self.kill_sender,
            "kill -9 the launcher, same command again": self.kill_launcher,
            "Ctrl-C, same command again": self.interrupt,
            "database down for seconds": self.database_down,
            "MLflow down for seconds": self.mlflow_down,
            "disk full for seconds": self.fill_disk,
            "database's clock an hour off": self.shift_clock,
        }
        time.sleep(self.draw.uniform(0.0, 0.5))
        kinds[fault.kind](fault)

    def victim(self, fault: Fault) -> psutil.Process | None:
        """A worker that runs a trial: most are at loading TensorFlow while faults come thick, and lose nothing then."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.launcher.poll() is None:
            at_work = [
                (worker, trial)
                for trial in read_trials(self.study.optuna())
                for worker in self.study.workers(self.launcher)
                if trial.state == "running"
                and f":{worker.pid}:" in trial.last.user_attrs.get("drsearch.worker", "")
                and status(worker) not in ("gone", psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
            ]
            if at_work:
                worker, trial = self.draw.choice(at_work)
                fault.trial, fault.attempt = trial.number, len(trial.attempts) - 1
                fault.met = f"trial {trial.number} after epoch {self.study.epochs(trial.number)}"
                return worker
            self.look_after_stopped()
            time.sleep(0.2)
        fault.met = "no worker was at a trial"
        return None

    def kill_worker(self, fault: Fault) -> None:
        if (worker := self.victim(fault)) is not None:
            kill(worker)

    def stop_worker(self, fault: Fault) -> None:
        if (worker := self.victim(fault)) is not None:
            os.kill(worker.pid, signal.SIGSTOP)
            time.sleep(self.draw.uniform(0.5, 3.0))
            go_on(worker)
        fault.attempt = None

    def give_away(self, fault: Fault) -> None:
        worker = self.victim(fault)
        if worker is None:
            return
        os.kill(worker.pid, signal.SIGSTOP)
        if fault.trial is not None:
            known, monitor = self.study.optuna(), HeartbeatMonitor()
            trial_id = read_trials(known)[fault.trial].attempts[fault.attempt or 0]._trial_id
            heartbeat_module.GRACE_S = 1  # this process is an observer with less patience than the launcher
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline:
                reconcile(known, known._storage, lambda beats: monitor.silent({k: b for k, b in beats.items()
                                                                             if k == trial_id}))  # fmt: skip
                time.sleep(0.3)
        self.stopped.append((time.monotonic() + self.draw.uniform(2.0, 30.0), worker))

    def kill_sender(self, fault: Fault) -> None:
        fault.met = "the sender"
        senders = children(self.launcher, "drsearch.tracking.sender")
        while not senders and self.launcher.poll() is None:
            senders = children(self.launcher, "drsearch.tracking.sender")
        for sender in senders:
            kill(sender)

    def kill_launcher(self, fault: Fault) -> None:
        fault.met = "the launcher; its workers end by themselves"
        self.launcher.kill()
        self.launcher.communicate()
        self.launched += 1
        self.launcher = self.study.start(self.workers)

    def interrupt(self, fault: Fault) -> None:
        self.look_after_stopped(everything=True)
        self.launcher.send_signal(signal.SIGINT)
        began = time.monotonic()
        self.launcher.communicate(timeout=100)  # it would kill a worker that did not hear of it after two minutes
        assert self.launcher.returncode in (0, -signal.SIGINT), self.launcher.returncode  # it may be at its imports
        fault.met = f"the launcher, which ended after {time.monotonic() - began:.0f} s"
        self.launched += 1
        self.launcher = self.study.start(self.workers)

    def database_down(self, fault: Fault) -> None:
        assert self.database is not None
        # A command that begins while its database is away ends with a sentence; tests/trials/test_storage.py has that.
        while self.launcher.poll() is None and not children(self.launcher, "drsearch.workers.worker"):
            time.sleep(0.05)
        seconds = self.draw.uniform(0.5, 5.0)
        if is_first := not self.database_was_down:
            seconds += LONGER_THAN_A_COMMAND_WAITS_S
        self.database_was_down = True
        fault.met = f"{seconds:.1f} s"
        self.database.stop("immediate")
        time.sleep(seconds)
        said = self.study.said.read_text()  # later, perhaps, of a launcher that was interrupted at such a moment
        assert not is_first or "the study database was away at the end" not in said, said
        self.database.start()

    def mlflow_down(self, fault: Fault) -> None:
        seconds = self.draw.uniform(0.5, 5.0)
        fault.met = f"{seconds:.1f} s, and its start"
        self.mlflow.stop()
        time.sleep(seconds)
        self.mlflow.start(wait=False)

    def fill_disk(self, fault: Fault) -> None:
        assert self.disk is not None
        seconds = self.draw.uniform(1.0, 5.0)
        fault.met = f"{seconds:.1f} s"
        filling = self.disk / "filling"
        end = time.monotonic() + seconds
        with open(filling, "wb", buffering=0) as file:
            while time.monotonic() < end:
                try:
                    file.write(bytes(65536))
                except OSError:
                    time.sleep(0.05)
        filling.unlink()

    def shift_clock(self, fault: Fault) -> None:
        hours = self.draw.choice([-1, 1])
        fault.met = f"{hours:+d} h"
        with open_storage(self.study.bench.storage_url)._backend.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '{hours} hour'")

    def look_after_stopped(self, everything: bool = False) -> None:
        for until, worker in list(self.stopped):
            if everything or time.monotonic() > until:
                go_on(worker)
                self.stopped.remove((until, worker))


def status(worker: psutil.Process) -> str:
    try:
        return worker.status()
    except psutil.NoSuchProcess:
        return "gone"


def go_on(worker: psutil.Process) -> None:
    try:
        os.kill(worker.pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


def kinds_for(storm_has_database: bool, has_disk: bool) -> dict[str, int]:
    """How often each kind comes, beside the others."""
    kinds = {
        "kill -9 a worker": 30,
        "stop a worker for seconds": 10,
        "stop a worker until its trial is given away": 10,
        "kill -9 the sender": 8,
        "kill -9 the launcher, same command again": 6,
        "Ctrl-C, same command again": 10,
        "MLflow down for seconds": 8,
    }
    if storm_has_database:
        kinds |= {"database down for seconds": 8, "database's clock an hour off": 4}
    if has_disk:
        kinds |= {"disk full for seconds": 6}
    return kinds


def progress(study: RunningStudy, n_trials: int) -> float:
    done = sum(
        path.read_text().count('"event": "Metrics"')
        for path in study.bench.home.runs.glob(f"{study.name}-*/trial-*/journal.jsonl")
    )
    return done / (n_trials * (EPOCHS + 1))  # the last one holds the best epoch's numbers


def outcome(fault: Fault, trials: list[Trial]) -> str:
    if fault.trial is None:
        return "nothing lost"
    trial = trials[fault.trial]
    if fault.attempt is None:
        return f"went on; {trial.state}"
    struck = trial.attempts[fault.attempt]
    if struck.state is TrialState.FAIL and struck.user_attrs.get(DIED):
        return f"taken up again; {trial.state} in attempt {trial.attempts.index(trial.last) + 1}"
    return f"had come to its end; {trial.state}" if struck.state.is_finished() else f"?? {struck.state.name}"


def check(name: str, holds: bool, found: Any = "") -> bool:
    print(f"{'yes' if holds else 'NO '}  {name}{'' if holds else f': {found}'}", flush=True)
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ[COLD] = "1"  # workers, senders and servers start as for a user
    with tempfile.TemporaryDirectory(prefix="drsearch-faults-") as folder:
        return run(Path(folder), options)


def run(folder: Path, options: Any) -> int:
    place = folder / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True).returncode == 0
    binaries = postgresql_binaries()
    database = PostgresServer(binaries) if binaries is not None else None
    (folder / "mlflow").mkdir()
    mlflow = MlflowServer(folder / "mlflow")
    for what, there in (("PostgreSQL", database is not None), ("a small disk", mounted)):
        if not there:
            print(f"skipped: no {what} on this machine, and none of its faults")
    bench = Bench(place, mlflow.url, database.database() if database is not None else "")
    try:
        return storm(bench, database, mlflow, place if mounted else None, options)
    finally:
        for process in bench.started:
            if process.poll() is None:
                process.kill()
        mlflow.stop()
        if database is not None:
            database.close()
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def storm(bench: Bench, database: PostgresServer | None, mlflow: MlflowServer, disk: Path | None, options: Any) -> int:
    made = bench.command("synthesize", str(bench.eyes), "--images", "24", "--seed", "3")
    assert made.returncode == 0, made.stderr
    rates = [round(10 ** (-2 - 2 * i / options.trials), 9) for i in range(options.trials)]
    text = space_of(rates, SETTINGS)
    began = time.monotonic()
    peaceful = bench.study("peace", text)
    in_peace = peaceful.run(options.workers, timeout_s=3600)
    print(f"in peace: {time.monotonic() - began:.0f} s, best trial {in_peace['best']}", flush=True)

    draw = random.Random(options.seed)
    kinds = kinds_for(database is not None, disk is not None)
    drawn = draw.choices(list(kinds), list(kinds.values()), k=options.faults)
    faults = [Fault(kind, at) for kind, at in zip(drawn, sorted(draw.uniform(0, 0.9) for _ in drawn), strict=True)]
    study = bench.study("storm", text)
    began = time.monotonic()
    struck = Storm(study, study.start(options.workers), options.workers, database, mlflow, disk, draw)
    said_at = 0.0
    for number, fault in enumerate(faults, 1):
        while progress(study, options.trials) < fault.at and struck.launcher.poll() is None:
            struck.look_after_stopped()
            time.sleep(0.05)
        if struck.launcher.poll() is not None:
            fault.met = "the study was over"
            continue
        struck.strike(fault)
        if time.monotonic() - said_at > 20:
            said_at = time.monotonic()
            print(f"  {number} faults, {time.monotonic() - began:.0f} s, {fault.at:.0%}", file=sys.stderr, flush=True)
    while struck.launcher.poll() is None:
        struck.look_after_stopped(everything=True)
        time.sleep(0.2)
    told = study.end(struck.launcher, timeout_s=3600)
    took = time.monotonic() - began
    mlflow.wait()
    synced = bench.command("sync")
    trials = read_trials(study.optuna())
    for fault in faults:
        fault.outcome = outcome(fault, trials) if fault.met != "the study was over" else "not injected"
    print(f"in the storm: {took:.0f} s, {struck.launched} launchers, seed {options.seed}\n")
    return report(options, faults, trials, study, peaceful, told, in_peace, synced)


def report(
    options: Any, faults: list[Fault], trials: list[Trial], study: RunningStudy, peaceful: RunningStudy, told: Any,
    in_peace: Any, synced: "subprocess.CompletedProcess[str]",
) -> int:  # fmt: skip
    print("| fault | times | what followed |")
    print("|-|-|-|")
    for kind, n in Counter(fault.kind for fault in faults).most_common():
        followed = Counter(fault.outcome.partition(" in attempt")[0] for fault in faults if fault.kind == kind)
        print(f"| {kind} | {n} | {', '.join(f'{many} x {what}' for what, many in followed.most_common())} |")
    attempts = Counter(len(trial.attempts) for trial in trials)
    print(f"\nattempts per trial: {', '.join(f'{n} trials in {k}' for k, n in sorted(attempts.items()))}\n")
    for fault in faults:
        print(f"<!-- {fault.at:5.1%} {fault.kind}: {fault.met}: {fault.outcome} -->", file=sys.stderr)
    runs = study.runs()
    curves, wanted = study.curves(), peaceful.curves()
    ends = [[t for t in trial.attempts if t.state is TrialState.COMPLETE] for trial in trials]
    open_ends = (TrialState.WAITING, TrialState.RUNNING)
    left = {trial.number: [t.state.name for t in trial.attempts] for trial in trials
            if any(t.state in open_ends for t in trial.attempts)}  # fmt: skip
    results = [
        check("every fault was injected", all(fault.outcome != "not injected" for fault in faults)),
        check(f"{options.trials} trials, each ended once", [len(end) for end in ends] == [1] * options.trials, ends),
        check("no attempt is waiting or running", not left, left),
        check("drsearch sync found nothing that had not come, or sent it", synced.returncode == 0, synced.stderr),
        check("one run per trial and one for the study, all FINISHED", len(runs) == options.trials + 1
              and {run.info.status for run in runs.values()} == {"FINISHED"},
              {key: run.info.status for key, run in runs.items() if run.info.status != "FINISHED"}),
        check("every curve has every epoch once", all(
            [step for step, _ in curve] == list(range(1, EPOCHS + 1)) for curve in curves.values())),
        check("every point of every curve equals that in peace, bit for bit", curves == wanted,
              sorted(key for key in wanted if curves.get(key) != wanted[key])[:5]),
        check("every trial's value equals that in peace", told["trials"] == in_peace["trials"]),
        check(f"the best is the same: trial {in_peace['best']}", told["best"] == in_peace["best"], told["best"]),
    ]  # fmt: skip
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
