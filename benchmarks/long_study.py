"""What do the commands take that look at a study of 10,000 trials, and delete it?

    python -m benchmarks.long_study [--rounds 1]

Three trials are run, the best is registered; the study database, MLflow's SQLite and the run folders get copies of one.
"""

import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from benchmarks.rounds import Result, Table, run, say, timed

N_TRIALS, N_RUN = 10_000, 3
STUDY = "long"
SPACE = """
SETTINGS = {
    "images.image_px": 32, "model.width": 4, "model.stages": 1, "training.epochs": 2, "training.threads": 1,
    "study.gradcam_eyes": 1, "finetune.when": "never",
}


def space(hp):
    hp.Float("training.learning_rate", 1e-4, 1e-2, sampling="log")
"""
RUN = {"run_uuid": "run_id"}
MLFLOW_TABLES = {
    "runs": {**RUN, "artifact_uri": "replace(artifact_uri, run_uuid, run_id)"},
    "tags": {
        **RUN,
        "value": "CASE key WHEN 'drsearch.trial' THEN copied "
        "WHEN 'drsearch.key' THEN replace(value, 'trial-0000', name) ELSE value END",
    },
    "params": RUN,
    "metrics": RUN,
    "latest_metrics": {**RUN, "value": "CASE key WHEN 'best_val_auc' THEN drawn ELSE value END"},
}
TRIAL = {"trial_id": "copied + 1"}
OPTUNA_TABLES = {
    "trials": {**TRIAL, "number": "copied"},
    "trial_params": {**TRIAL, "param_id": "NULL"},
    "trial_values": {**TRIAL, "trial_value_id": "NULL", "value": "drawn"},
    "trial_intermediate_values": {**TRIAL, "trial_intermediate_value_id": "NULL"},
    "trial_user_attributes": {
        **TRIAL,
        "trial_user_attribute_id": "NULL",
        "value_json": "CASE key WHEN 'drsearch.trial' THEN copied ELSE value_json END",
    },
}
"""The tables whose rows of a trial are copied, with what is other in a copy; the rest of a row stays as it is."""


class LongStudy:
    """A finished study of `N_TRIALS` trials, one of them registered, in a home of its own.

    Args:
        folder: Empty; photographs and home come into it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.home = folder, folder / "home"
        (folder / f"{STUDY}.py").write_text(SPACE)
        self.run("synthesize", "eyes", "--images", "60", "--seed", "1")
        self.run("run-study", f"{STUDY}.py", "--data", "eyes", "--trials", str(N_RUN))
        (first,) = self.home.glob("runs/*/trial-0000")
        run_id = json.loads((first / "sent.json").read_text())["run_id"]
        copies = [(number, f"trial-{number:04d}", uuid4().hex) for number in range(N_RUN, N_TRIALS)]
        self._copy_folders(first, run_id, copies)
        _copy_rows(self.home / "mlflow.db", MLFLOW_TABLES, f"run_uuid = '{run_id}'", copies)
        _copy_rows(self.home / "studies.db", OPTUNA_TABLES, "trial_id = 1", copies)

    def _copy_folders(self, first: Path, run_id: str, copies: Iterable[tuple[int, str, str]]) -> None:
        journal = (first / "journal.jsonl").read_text()
        (artifacts,) = self.home.glob(f"artifacts/*/{run_id}")
        for _, name, copy_id in copies:
            folder = shutil.copytree(first, first.with_name(name), copy_function=os.link)
            text = journal.replace("/trial-0000", f"/{name}")
            for file, written in (
                ("journal.jsonl", text),
                ("sent.json", json.dumps({"run_id": copy_id, "offset": len(text.encode())})),
            ):
                (folder / file).unlink()  # a link: the first trial's own would be written
                (folder / file).write_text(written)
            shutil.copytree(artifacts, artifacts.with_name(copy_id), copy_function=os.link)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command of drsearch."""
        environment = {**os.environ, "DRSEARCH_HOME": str(self.home)}
        environment.pop("MLFLOW_TRACKING_URI", None)
        command = [sys.executable, "-m", "drsearch", "--quiet", *arguments]
        return subprocess.Popen(command, env=environment, cwd=self._folder, stdout=subprocess.PIPE, text=True)

    def run(self, *arguments: str) -> None:
        """Run a command of drsearch to its end."""
        with self.start(*arguments) as process:
            process.communicate()
        if process.returncode:
            raise RuntimeError(f"drsearch {' '.join(arguments)} ended with status {process.returncode}")


def _copy_rows(
    database: Path, tables: Mapping[str, Mapping[str, str]], of_first: str, copies: Iterable[tuple[int, str, str]]
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TEMP TABLE copies (copied INTEGER, name TEXT, run_id TEXT, drawn REAL)")
        drawn = ((number, name, run_id, 0.5 * (number * 7919 % N_TRIALS) / N_TRIALS) for number, name, run_id in copies)
        connection.executemany("INSERT INTO copies VALUES (?, ?, ?, ?)", drawn)
        for table, others in tables.items():
            columns = [column for _, column, *_ in connection.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(others.get(column, f"{table}.{column}") for column in columns)
            for column in columns:  # both tables have some of these names
                values = re.sub(rf"(?<![.\w]){column}(?!\w)", f"{table}.{column}", values)
            names = ", ".join(columns)
            connection.execute(
                f"INSERT INTO {table} ({names}) SELECT {values} FROM {table}, copies WHERE {table}.{of_first}"
            )
        connection.commit()


def command_costs(study: LongStudy, *command: str) -> tuple[float, float]:
    """Seconds of a whole command, and its processor seconds."""
    before = _processor_s()
    seconds = timed(lambda: study.run(*command))
    return seconds, _processor_s() - before


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of those that have ended
    return used.ru_utime + used.ru_stime


def page_costs(study: LongStudy) -> tuple[float, float]:
    """Seconds until `drsearch ui` has told its links, and those in which MLflow then sorts all runs by their AUC."""
    began = time.perf_counter()
    with study.start("ui", STUDY, "--port", "0", "--no-browser") as process:
        assert process.stdout is not None
        told = ""
        while "side by side" not in told:
            told += (line := process.stdout.readline())
            if not line:
                raise RuntimeError(f"drsearch ui ended: {told}")
        opened_s = time.perf_counter() - began
        address = re.search(r"http://127\.0\.0\.1:\d+", told)
        assert address is not None, told
        experiment = _ask(f"{address[0]}/api/2.0/mlflow/experiments/get-by-name?experiment_name={STUDY}")
        question = {
            "experiment_ids": [experiment["experiment"]["experiment_id"]],
            "max_results": 100,
            "order_by": ["metrics.best_val_auc DESC"],
        }
        sorted_s = timed(lambda: _ask(f"{address[0]}/api/2.0/mlflow/runs/search", question))
        process.send_signal(signal.SIGINT)
    return opened_s, sorted_s


def _ask(url: str, question: object = None) -> dict[str, dict[str, str]]:
    data = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        found: dict[str, dict[str, str]] = json.load(answer)
    return found


def measure(rounds: int) -> Result:
    """A new study in each round, since the round ends with its deletion."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as folder:
            study = LongStudy(Path(folder))
            for command in (
                ("status",),
                ("trials", STUDY),
                ("report", STUDY),
                ("ui", STUDY),
                ("delete", STUDY, "--yes"),
            ):
                costs = page_costs(study) if command[0] == "ui" else command_costs(study, *command)
                found.setdefault(f"drsearch {' '.join(command)}", []).append(costs)
                say(f"round {number + 1}/{rounds}  {command[0]}: {costs[0]:.2f} s, {costs[1]:.2f} s")
    medians = {name: [round(statistics.median(each), 1) for each in zip(*all_costs, strict=True)]
               for name, all_costs in found.items()}  # fmt: skip
    opened_s, sorted_s = medians.pop(f"drsearch ui {STUDY}")
    return Result(
        question=f"What do the commands take that look at a study of {N_TRIALS:,} trials, and delete it?",
        tables=(
            Table(
                "A study in SQLite, one of its trials registered",
                ("whole command", "seconds", "of processor time"),
                tuple((name, *costs) for name, costs in medians.items()),
            ),
            Table(
                f"drsearch ui {STUDY}",
                ("seconds until it tells its links", "until MLflow has the first 100 runs by AUC"),
                ((opened_s, sorted_s),),
            ),
        ),
        notes=("How long a deletion waits for the disk (it has 130,000 files) differs more than all else.",),
    )


if __name__ == "__main__":
    run("long_study", measure, rounds=1)
