"""What does it cost a trial to be tracked, checkpointed and explained?

python -m benchmarks.tracking [--rounds 3]
"""

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.rounds import Ratio, Result, Standing, Table, idrid, in_turn, ratio_of, run
from drsearch.data.prepare import prepare
from drsearch.home import Home
from drsearch.settings import Settings
from drsearch.tracking.ui import serve_ui

EPOCHS = 30


def measure(rounds: int) -> Result:
    """The same trial with none of it, with SQLite, and with an MLflow server on this machine."""
    with tempfile.TemporaryDirectory(prefix="drsearch-benchmark-") as folder, ExitStack() as stack:
        home = Home(Path(folder))
        records = str(prepare(idrid(), Settings(), home).records.folder)
        server = stack.enter_context(serve_ui(home, 0))

        def standing(way: str, uri: str = "") -> Standing:
            options = ("benchmarks.trial", way, records, "--epochs", str(EPOCHS))
            return stack.enter_context(Standing(*options, environment={"MLFLOW_TRACKING_URI": uri}))

        ways = {
            "no logging": standing("bare"),
            "everything, SQLite": standing("tracked"),
            "everything, MLflow server": standing("tracked", server.url),
        }
        seconds = in_turn(ways, rounds)
    bare = statistics.median(seconds["no logging"])
    return Result(
        "What does it cost a trial to be tracked, checkpointed and explained?",
        (
            Table(
                f"Seconds of a whole trial of {EPOCHS} epochs (256 px, batch 4)",
                ("", "median", "range", "more than none"),
                tuple(
                    (
                        name,
                        f"{statistics.median(found):.1f}",
                        f"{min(found):.1f} to {max(found):.1f}",
                        f"{100 * (statistics.median(found) / bare - 1):+.1f} %",
                    )
                    for name, found in seconds.items()
                ),
            ),
        ),
        tuple(
            Ratio(f"{name} / no logging", ratio_of(seconds, name, "no logging"), "lower", 1.03, 0.05)
            for name in list(seconds)[1:]
        ),
        notes=(
            "Everything: curves, system metrics, checkpoints every five epochs, scores with intervals, confusion "
            "matrix, ROC curve, six Grad-CAM pictures, the saved model. Sender and server share the two cores.",
        ),
    )


if __name__ == "__main__":
    run("tracking", measure, rounds=3)
