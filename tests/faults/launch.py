"""Run a search as `drsearch run-study` does, without what comes after it.

`launch.py SPACE DATA STUDY WORKERS [STORAGE]`; what it came to is printed as one JSON object. `STUDIES_ON` in the
environment is what `--on` is.
"""

import functools
import json
import os
import sys
from pathlib import Path

from drsearch.api.access import open_studies
from drsearch.datasets.given import open_dataset
from drsearch.errors import DrsearchError
from drsearch.home import Home
from drsearch.log import start_logging
from drsearch.space.check import load_space
from drsearch.study.preparation import prepare_all
from drsearch.workers import supervisor
from drsearch.workers.launcher import launch_study
from drsearch.workers.ray_pool import RayPlace, RayPool
from drsearch.workers.worker_pool import WorkerPool


def main(space_file: str, data: str, study: str, workers: str, storage: str = "") -> int:
    start_logging()
    supervisor.MLFLOW_AWAY_S = 5.0
    home = Home.from_environment()
    space = load_space(Path(space_file))
    dataset = open_dataset([Path(data)])
    try:
        prepared = prepare_all(dataset, space, home, skip_bad=False)
        launcher = launch_study(study, space, dataset, prepared, home, storage or home.storage_url)
        open_studies(storage, home)  # as the command does, beside the launcher
        place = RayPlace.read(os.environ.get("STUDIES_ON", ""), None, None, None)
        make_pool = functools.partial(RayPool, place=place) if place is not None else WorkerPool
        result = launcher.run(int(workers), make_pool=make_pool)
    except DrsearchError as wrong:
        print(f"drsearch: {wrong}", file=sys.stderr)
        return 2
    attempts = {
        trial.number: {
            "state": trial.state,
            "value": trial.last.value,
            "reason": trial.reason,
            "params": trial.last.params,
        }
        for trial in result.trials
    }
    best = result.best.number if result.best else None
    print(json.dumps({"trials": attempts, "best": best, "stopped": result.stopped}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
