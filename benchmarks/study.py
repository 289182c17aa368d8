"""How many trials per hour does a study make, beside KerasTuner's and Optuna's own loops?

python -m benchmarks.study [--rounds 1]

The same twelve trials, learning rate x batch size, on the photographs of IDRiD at 256 px: by `drsearch run-study
--workers 2`, by KerasTuner's GridSearch, and by Optuna with a plain Keras objective. What counts is from the start of
the command to the end of the last trial, imports included; the records are there before.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.rounds import Ratio, Result, Table, idrid, in_process, in_turn, ratio_of, run, timed
from benchmarks.spaces.twelve import BATCHES, RATES, SETTINGS
from drsearch.data.prepare import prepare
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.settings import Settings

SPACE = Path(__file__).parent / "spaces" / "twelve.py"
TRIALS = len(RATES) * len(BATCHES)


def measure(rounds: int) -> Result:
    """The three, in turn."""
    with tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as folder:
        home = Home(Path(folder))
        records = prepare(open_dataset([idrid()]), Settings(), home).records.folder
        names = iter(f"round{number}" for number in range(rounds))
        seconds = in_turn(
            {
                "drsearch, 2 workers": lambda: _drsearch(home, next(names)),
                "KerasTuner, GridSearch": lambda: _peer("keras_tuner", records),
                "Optuna, GridSampler, plain Keras": lambda: _peer("optuna", records),
            },
            rounds,
        )
    ours = "drsearch, 2 workers"
    rows = []
    for name, found in seconds.items():
        median = statistics.median(found)
        rows.append((name, f"{median:.0f}", f"{TRIALS / median * 3600:.0f}"))
    return Result(
        "How many trials per hour does a study make?",
        (
            Table(
                f"{TRIALS} trials of {SETTINGS['training.epochs']} epochs on {os.cpu_count()} cores",
                ("system", "seconds, imports included", "trials per hour"),
                tuple(rows),
            ),
        ),
        tuple(
            Ratio(f"{name} / drsearch, seconds for the same trials", ratio_of(seconds, name, ours), wanted=3.0)
            for name in seconds
            if name != ours
        ),
        notes=(
            "The trials are short, so what a trial costs beside its epochs weighs more here than in a real study. "
            "drsearch's trials also make Grad-CAM pictures, checkpoints and an MLflow run each.",
        ),
    )


def _peer(name: str, records: Path) -> float:
    def work() -> None:
        found = in_process("benchmarks.peers", name, str(records))
        assert found["trials"] == TRIALS, found

    return timed(work)


def _drsearch(home: Home, name: str) -> float:
    command = [sys.executable, "-m", "drsearch", "run-study", str(SPACE), "--data", str(idrid()), "--study", name]
    environment = {**os.environ, "DRSEARCH_HOME": str(home.path)}
    started = time.time()
    subprocess.run([*command, "--workers", "2", "--json"], check=True, capture_output=True, env=environment)
    ends = [_end(journal) for journal in home.runs.glob(f"{name}-*/trial-*/journal.jsonl")]
    assert len(ends) == TRIALS, ends
    return max(ends) - started


def _end(journal: Path) -> float:
    """When a trial ended, seconds since 1970."""
    last = json.loads(journal.read_text().splitlines()[-1])
    assert last["event"] == "RunEnd" and last["status"] == "FINISHED", last
    return float(last["at_ms"]) / 1000


if __name__ == "__main__":
    run("study", measure, rounds=1)
