"""Does a worker's memory grow from trial to trial, and how long is it between two trials?

python -m benchmarks.memory

Fifty trials in one worker, by `drsearch run-study`; both answers are read from the journals of the trials.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rounds import Ratio, Result, Table, idrid, run
from drsearch.home import Home

SPACE = Path(__file__).parent / "spaces" / "fifty.py"
SETTLED = 10
"""Trials after which caches are full: the slope is that of the trials after them."""


@dataclass(frozen=True)
class Trial:
    """One trial, by the clock of its journal: seconds since 1970, megabytes resident at its last epoch."""

    began: float
    first_epoch: float
    last_epoch_over: float
    over: float
    memory_mb: float


def measure(rounds: int) -> Result:
    """One study of fifty trials; more rounds would say the same again."""
    with tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as folder:
        home = Home(Path(folder))
        command = [sys.executable, "-m", "drsearch", "run-study", str(SPACE), "--data", str(idrid()), "--json"]
        environment = {**os.environ, "DRSEARCH_HOME": folder}
        subprocess.run(command, check=True, capture_output=True, env=environment)
        trials = sorted((_trial(path) for path in home.runs.glob("*/trial-*/journal.jsonl")), key=lambda t: t.began)
    memory = [trial.memory_mb for trial in trials]
    slope = float(np.polyfit(np.arange(len(memory) - SETTLED), memory[SETTLED:], 1)[0])
    pauses = [after.first_epoch - before.last_epoch_over for before, after in zip(trials, trials[1:], strict=False)]
    finishing = [trial.over - trial.last_epoch_over for trial in trials]
    return Result(
        "Does a worker's memory grow, and how long is it between two trials?",
        (
            Table(
                f"{len(trials)} trials in one worker, megabytes resident",
                ("after trial 1", f"after trial {SETTLED}", f"after trial {len(trials)}", f"slope after {SETTLED}"),
                (
                    (
                        f"{memory[0]:.0f}",
                        f"{memory[SETTLED - 1]:.0f}",
                        f"{memory[-1]:.0f}",
                        f"{slope:+.2f} MB per trial",
                    ),
                ),
            ),
            Table(
                "Seconds between two trials: from the last epoch of one to the first of the next",
                ("median", "range", "of it: pictures, scores and saving"),
                (
                    (
                        f"{statistics.median(pauses):.2f}",
                        f"{min(pauses):.2f} to {max(pauses):.2f}",
                        f"{statistics.median(finishing):.2f}",
                    ),
                ),
            ),
        ),
        (
            Ratio("memory after fifty trials / after ten", (memory[-1] / memory[SETTLED - 1],), "lower", 1.05, 0.03),
            Ratio("seconds between two trials", tuple(pauses[SETTLED:]), "lower", 0.5, 1.0),
        ),
        notes=("The first epoch traces the network; that time is the first epoch's and not counted here.",),
    )


def _trial(journal: Path) -> Trial:
    entries: list[dict[str, Any]] = [json.loads(line) for line in journal.read_text().splitlines()]
    epochs = [entry for entry in entries if entry["event"] == "Metrics" and "epoch_seconds" in entry["values"]]
    return Trial(
        entries[0]["started_ms"] / 1000,
        epochs[0]["at_ms"] / 1000 - epochs[0]["values"]["epoch_seconds"],
        epochs[-1]["at_ms"] / 1000,
        entries[-1]["at_ms"] / 1000,
        epochs[-1]["values"]["system/process_memory_megabytes"],
    )


if __name__ == "__main__":
    run("memory", measure, rounds=1)
