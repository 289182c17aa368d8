"""What does it cost a trial to be tracked, checkpointed and explained?

python -m benchmarks.tracking [--rounds 3]
"""

import functools
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import psutil

from benchmarks.rounds import Ratio, Result, Standing, Table, idrid, in_turn, ratio_of, run
from drsearch.data.prepare import prepare
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.settings import Settings
from drsearch.tracking.mlflow_server import start_ui

EPOCHS = 30
NONE = "no logging"


def measure(rounds: int) -> Result:
    """The same trial with none of it, with SQLite, and with an MLflow server on this machine."""
    beside: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as folder, ExitStack() as stack:
        home = Home(Path(folder))
        records = str(prepare(open_dataset([idrid()]), Settings(), home).records.folder)
        server = stack.enter_context(start_ui(home, 0))
        server.await_answer()

        options = ("benchmarks.trial", records, "--server", server.url, "--epochs", str(EPOCHS))
        trial = stack.enter_context(Standing(*options, environment={"MLFLOW_TRACKING_URI": ""}))
        ways = {NONE: "bare", "everything, SQLite": "sqlite", "everything, MLflow server": "server"}

        def whole(name: str) -> float:
            before = _cpu_s_of_others(trial.pid)
            took = trial(ways[name])
            others = _cpu_s_of_others(trial.pid) - before
            beside.setdefault(name, []).append(took["seconds"] - took["epochs"] + others)
            return took["seconds"]

        seconds = in_turn({name: functools.partial(whole, name) for name in ways}, rounds)
    bare = median(seconds[NONE])
    # what a round of each would take, were all epochs as long as those of a trial without logging
    counted = {name: [bare - median(beside[NONE]) + spent for spent in found] for name, found in beside.items()}
    return Result(
        "What does it cost a trial to be tracked, checkpointed and explained?",
        (
            Table(
                f"Seconds of a whole trial of {EPOCHS} epochs (256 px, batch 4)",
                ("", "median", "range", "beside the epochs", "range"),
                tuple(
                    (
                        name,
                        f"{median(found):.1f}",
                        f"{min(found):.1f} to {max(found):.1f}",
                        f"{median(beside[name]):.2f}",
                        f"{min(beside[name]):.2f} to {max(beside[name]):.2f}",
                    )
                    for name, found in seconds.items()
                ),
            ),
        ),
        tuple(
            Ratio(f"{name} / {NONE}{how}", ratio_of(found, name, NONE), "lower", 1.03, 0.05)
            for name in list(seconds)[1:]
            for how, found in ((", what is beside the epochs counted", counted), (", whole trials", seconds))
        ),
        notes=(
            "Everything: curves, system metrics, checkpoints every five epochs, scores with intervals, confusion "
            "matrix, ROC curve, six Grad-CAM pictures, the saved model. Sender and server share the two cores.",
            "Beside the epochs: all seconds of a trial that are not those of an epoch (building the network, "
            "checkpoints, journal, pictures, scores, saving), and every second that a core spent meanwhile on sender "
            "or server, as if training had stood still for it. The epochs of a trial on a shared machine differ "
            "by more than 3 % from one round to the next, logged or not: whole trials tell only differences larger "
            "than that.",
        ),
    )


def _cpu_s_of_others(training: int) -> float:
    """Seconds of a core that senders and server, processes of this one but that which trains, have spent."""
    others = [process for process in psutil.Process().children(recursive=True) if process.pid != training]
    return sum(times.user + times.system for times in (process.cpu_times() for process in others))


if __name__ == "__main__":
    run("tracking", measure, rounds=3)
