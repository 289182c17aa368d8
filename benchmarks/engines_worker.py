"""Trials that only sleep, on a Ray cluster of this machine: drsearch's loop in actors of Ray, or Ray Tune by itself.

python -m benchmarks.engines_worker drsearch --workers 8 --storage postgresql://...
python -m benchmarks.engines_worker tune --workers 8
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import optuna

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported: nothing is sent to its makers
os.environ.setdefault("RAY_worker_niceness", "0")

import ray
from ray import tune
from ray.tune.schedulers import MedianStoppingRule
from ray.tune.search.optuna import OptunaSearch

from benchmarks.scale import SLEEP_S, WINDOW_S
from benchmarks.scale_worker import EPOCHS, Drsearch, draw, rate

OBJECT_STORE_BYTES = 200 * 2**20


class Worker:
    """An actor: the loop of a worker of drsearch, whose trials sleep."""

    def __init__(self, storage: str) -> None:
        self._worker = Drsearch(storage, "s", Path(tempfile.mkdtemp()))

    def ready(self) -> None:
        """Return when the actor is there."""

    def rate(self) -> float:
        """Trials per second of this worker."""
        return rate(self._worker, SLEEP_S, WINDOW_S)


def by_drsearch(n_workers: int, storage: str) -> float:
    """Trials per second, once all actors are there."""
    actors: list[Any] = [ray.remote(Worker).options(num_cpus=1).remote(storage) for _ in range(n_workers)]
    ray.get([actor.ready.remote() for actor in actors])
    return float(sum(ray.get([actor.rate.remote() for actor in actors])))


def sleeping(config: dict[str, Any]) -> None:
    """A trial of Ray Tune: what `Drsearch.trial` does, without a journal, a claim and a heartbeat."""
    value = config["training.learning_rate"] * 10 + config["model.dropout"] + config["model.width"] / 100
    for _ in range(EPOCHS):
        time.sleep(SLEEP_S)
        tune.report({"value": value})


class Window(tune.Callback):  # type: ignore[misc]
    """Notes when trials end, from when as many have ended as there are workers."""

    def __init__(self, n_workers: int) -> None:
        self._first = n_workers
        self.began = float("inf")
        self.ends: list[float] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Begin when as many have ended as there are workers; note the time of each after that."""
        now = time.monotonic()
        self._first -= 1
        if self._first == 0:
            self.began = now
        if self.began < now < self.began + WINDOW_S:
            self.ends.append(now - self.began)


class Over(tune.Stopper):  # type: ignore[misc]
    """Stops when the window is over."""

    def __init__(self, window: Window) -> None:
        self._window = window

    def __call__(self, trial_id: str, result: Any) -> bool:
        """No trial by itself."""
        return False

    def stop_all(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._window.began + WINDOW_S


def by_tune(n_workers: int, folder: str) -> float:
    """Trials per second, with Optuna's TPE and the median rule, as Ray's pages show it."""
    window = Window(n_workers)
    search = OptunaSearch(draw_all, metric="value", mode="max", sampler=optuna.samplers.TPESampler())
    tune.Tuner(
        tune.with_resources(sleeping, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=MedianStoppingRule(metric="value", mode="max", grace_period=EPOCHS),
            num_samples=100_000,
            max_concurrent_trials=n_workers,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=folder, callbacks=[window], stop=Over(window), verbose=0),
    ).fit()
    return len(window.ends) / window.ends[-1]


def draw_all(trial: optuna.Trial) -> None:
    """Draw the settings of `benchmarks.scale_worker`."""
    draw(trial)


def main() -> None:
    """Run one way, and print its trials per second as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=["drsearch", "tune"])
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--storage", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ray.init(
            num_cpus=options.workers,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
        )
        try:
            if options.way == "drsearch":
                found = by_drsearch(options.workers, options.storage)
            else:
                found = by_tune(options.workers, folder)
        finally:
            ray.shutdown()
    print(json.dumps({"rate": found}))


if __name__ == "__main__":
    main()
