"""What does one process of `benchmarks.scale` do? It runs trials that only sleep and report, drsearch's way or bare.

It imports no TensorFlow: 64 of them fit on a small machine.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import sqlalchemy
import sqlalchemy.event

from drsearch.settings import Settings
from drsearch.study.budget import n_trials_of
from drsearch.study.definition import trial_seed
from drsearch.tracking.events import Metrics, RunEnd, RunStart
from drsearch.tracking.journal import Journal
from drsearch.trials.attributes import DRAWN, RUN_ID
from drsearch.trials.claim import claim
from drsearch.trials.heartbeat import Heartbeat
from drsearch.trials.pruners import may_prune, pruner_for
from drsearch.trials.retrying import with_retries
from drsearch.trials.samplers import Samplers
from drsearch.trials.storage import open_storage
from drsearch.trials.trial_view import TrialView

SETTINGS = Settings().replace({"study.sampler": "tpe", "study.pruner": "median", "study.pruner_warmup_epochs": 10})
EPOCHS = 10


def draw(trial: optuna.Trial) -> float:
    """Four settings, as `search_spaces/resnet.py` draws the like; the value that the trial will come to."""
    rate = trial.suggest_float("training.learning_rate", 1e-4, 1e-2, log=True)
    dropout = trial.suggest_float("model.dropout", 0.0, 0.5)
    width = trial.suggest_categorical("model.width", [8, 16, 32])
    trial.suggest_categorical("training.optimizer", ["adam", "adamw"])
    return rate * 10 + dropout + width / 100


class Drsearch:
    """A worker's way through the search: claim, draw, report, prune check, journal, tell; it trains nothing."""

    def __init__(self, url: str, study: str, folder: Path) -> None:
        self._storage, self._name, self._folder = open_storage(url), study, folder
        self._study = optuna.load_study(study_name=study, storage=self._storage)
        self._view, self._samplers = TrialView(self._storage), Samplers(SETTINGS, None)  # TPE needs no space

    def trial(self, sleep_s: float) -> None:
        """One trial from claim to tell."""
        claimed = claim(self._study, self._storage, n_trials_of(self._study))
        assert claimed is not None
        number, frozen = claimed
        with Heartbeat(self._storage, frozen._trial_id):
            sampler, pruner = self._samplers.sampler(number, trial_seed(0, number)), pruner_for(SETTINGS)
            study = optuna.load_study(study_name=self._name, storage=self._view, sampler=sampler, pruner=pruner)
            attempt = optuna.Trial(study, frozen._trial_id)
            value = draw(attempt)
            attempt.set_user_attr(DRAWN, True)
            journal = Journal(self._folder / f"trial-{number:06d}")
            journal.append([RunStart(f"{self._name}/{number}", self._name, f"trial {number}", params=SETTINGS.flat())])
            attempt.set_user_attr(RUN_ID, "0" * 32)
            for epoch in range(1, EPOCHS + 1):
                time.sleep(sleep_s)
                journal.append([Metrics(epoch, {"val_auc": value, "val_loss": 1 - value})])
                attempt.report(value, epoch)
                if may_prune(SETTINGS, epoch):
                    attempt.should_prune()
            journal.append([RunEnd("FINISHED")])
            with_retries(lambda: study.tell(attempt, value, skip_if_finished=True))


class Bare:
    """Optuna's own ask and tell, with the same sampler and pruner, and nothing around it."""

    def __init__(self, url: str, study: str, _folder: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler, pruner = optuna.samplers.TPESampler(), pruner_for(SETTINGS)
        self._study = optuna.load_study(study_name=study, storage=url, sampler=sampler, pruner=pruner)

    def trial(self, sleep_s: float) -> None:
        """One trial from ask to tell."""
        trial = self._study.ask()
        value = draw(trial)
        for epoch in range(1, EPOCHS + 1):
            time.sleep(sleep_s)
            trial.report(value, epoch)
            trial.should_prune()
        self._study.tell(trial, value)


def rate(worker: Drsearch | Bare, sleep_s: float, seconds: float) -> float:
    """Trials per second of a worker, by those that end within so many seconds, up to the end of the last of them.

    A first trial is not counted: what a process does once is no part of a trial.
    """
    worker.trial(sleep_s)
    began, n, last = time.monotonic(), 0, 0.0
    while True:
        worker.trial(sleep_s)
        if (ended := time.monotonic() - began) > seconds:
            return n / last if n else 0.0
        n, last = n + 1, ended


def count_statements() -> Callable[[], int]:
    """How many SQL statements this thread has sent from now on; heartbeats are another's, and come by the clock."""
    here, n = threading.get_ident(), [0]

    def count(*_: object) -> None:
        n[0] += threading.get_ident() == here

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", count)
    return lambda: n[0]


def main() -> None:
    """Run trials, and print what came of it as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["drsearch", "optuna"])
    parser.add_argument("--storage", required=True)
    parser.add_argument("--study", required=True)
    parser.add_argument("--trials", type=int, default=0, help="so many, timed after one that is not")
    parser.add_argument("--seconds", type=float, default=0.0, help="as many as end in this time after the start")
    parser.add_argument("--sleep", type=float, default=0.0, help="seconds an epoch")
    parser.add_argument("--ready", type=Path, help="made when this process is ready; it starts when `go` is beside it")
    options = parser.parse_args()
    make: Callable[[str, str, Path], Drsearch | Bare] = Drsearch if options.way == "drsearch" else Bare
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        worker = make(options.storage, options.study, Path(folder))
        if options.ready:
            options.ready.touch()
            while not (options.ready.parent / "go").exists():
                time.sleep(0.05)
            print(json.dumps({"rate": rate(worker, options.sleep, options.seconds)}))
            return
        worker.trial(0.0)
        first_s = time.perf_counter() - began
        seconds, statements = [], []
        counted = count_statements()
        for _ in range(options.trials):
            started, before = time.perf_counter(), counted()
            worker.trial(options.sleep)
            seconds.append(time.perf_counter() - started)
            statements.append(counted() - before)
        print(json.dumps({"seconds": seconds, "first_s": first_s, "statements": statements}))


if __name__ == "__main__":
    sys.exit(main())
