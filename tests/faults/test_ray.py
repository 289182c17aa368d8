"""Do studies on a real Ray cluster come to what they come to here, whatever becomes of its nodes?"""

import json
import random
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from harness import RATES, Bench, RunningStudy, bench_at, children, kill, space_of
from services import HANG_S, MlflowServer, PostgresServer, when

from drsearch.processes import is_dead, this_machine
from drsearch.trials.attributes import REASON
from drsearch.trials.trials import read_trials

pytest.importorskip("ray", reason="pip install 'drsearch[ray]'")
from nodes import Nodes  # noqa: E402

pytestmark = pytest.mark.faults

EPOCH = 8
"""Where trials are held: a checkpoint."""


@pytest.fixture(scope="module")
def cluster(
    prepared: Bench, peace: Any, tmp_path_factory: pytest.TempPathFactory, mlflow_process: MlflowServer,
    postgresql_server: PostgresServer,
) -> Iterator[tuple[Bench, Nodes]]:  # fmt: skip
    """A launcher's machine, and a cluster that shares no home with it."""
    bench = bench_at(prepared, tmp_path_factory.mktemp("cluster"))
    bench.tracking_uri, bench.storage_url = mlflow_process.url, postgresql_server.database()
    nodes = Nodes(bench.folder / "nodes", bench.holds.environment())
    bench.on = nodes.address
    yield bench, nodes
    bench.close()
    nodes.stop()


def process_of(study: RunningStudy, trial: int) -> int:
    """The process that runs a trial; 0 if none does."""
    trials = read_trials(study.optuna())
    worker = trials[trial].last.user_attrs.get("drsearch.worker", "") if trial < len(trials) else ""
    return int(worker.rsplit(":", 2)[1]) if worker and not is_dead(worker) else 0


def test_ctrl_c_stops_workers_on_ray_at_a_checkpoint_and_the_study_goes_on_without_ray(
    bench: Bench, peace: Any
) -> None:
    study = bench.study("stopped", space_of(RATES))
    bench.holds.hold((0, EPOCH))
    launcher = bench.start("run-study", str(study.space), "--data", str(bench.eyes), "--on", "ray")
    when(lambda: bench.holds.reached((0, EPOCH)), "an epoch of a worker on Ray", launcher)
    launcher.send_signal(signal.SIGINT)
    _, said = launcher.communicate(timeout=HANG_S)
    assert launcher.returncode == 130, said
    study.nothing_runs()
    (trial,) = [trial for trial in read_trials(study.optuna()) if trial.attempts]
    assert "stopped" in trial.attempts[0].user_attrs[REASON], "by itself, not killed"

    study.release()
    assert study.run(workers=1) == peace["told"]
    assert study.curves() == peace["curves"]
    assert f"resumes after epoch {EPOCH}" in study.logs()


def test_trials_of_a_node_that_is_gone_go_on_from_their_checkpoints_on_a_node_that_is_added(
    cluster: tuple[Bench, Nodes], peace: Any
) -> None:
    bench, nodes = cluster
    nodes.add(2)
    study = bench.study("nodes", space_of(RATES))

    launcher = study.start_held((0, EPOCH), (1, EPOCH))
    placed = {trial: nodes.of(process_of(study, trial)) for trial in (0, 1)}
    assert set(placed.values()) == set(nodes.names), "one on each node"

    status = json.loads(bench.command("status", "nodes", "--storage", bench.storage_url, "--json").stdout)
    shown = {worker["trial"]: worker["worker"] for worker in status["workers"]}
    host = this_machine().partition("/")[0]
    assert shown == {trial: f"{host}:{process_of(study, trial)}" for trial in placed}
    assert psutil.Process(process_of(study, 0)).environ()["CUDA_VISIBLE_DEVICES"] == "0", "the GPU that Ray gave it"

    when(lambda: bench.has_checkpoint("nodes", 0), "the checkpoint of trial 0 in MLflow")
    nodes.kill(placed[0])
    (added,) = nodes.add()
    when(lambda: nodes.of(process_of(study, 0)) == added, "trial 0 on the new node", launcher)
    study.release()
    assert study.end(launcher) == peace["told"]
    assert study.curves() == peace["curves"]
    assert [len(trial.attempts) for trial in read_trials(study.optuna())] == [2, 1, 1]
    assert f"resumes after epoch {EPOCH}" in study.logs(), "logs of workers come back to the launcher"
    assert not list(bench.home.runs.glob("nodes-*/trial-*/journal.jsonl")), "trials ran on the nodes"
    study.accounted_for()
    study.nothing_runs()


@pytest.mark.slow
def test_two_studies_at_once_outlive_a_restart_of_the_head(cluster: tuple[Bench, Nodes], peace: Any) -> None:
    bench, nodes = cluster
    nodes.add(2 - min(2, len(nodes.names)))
    studies = [bench.study(name, space_of(RATES)) for name in ("left", "right")]
    bench.holds.hold((0, EPOCH))
    launchers = [study.start(workers=1) for study in studies]
    for study, launcher in zip(studies, launchers, strict=True):
        when(lambda study=study: study.has_run(0) and process_of(study, 0), "trial 0", launcher)  # type: ignore[misc]
    nodes.stop()
    nodes.start()
    nodes.add(2)
    bench.holds.release()
    for study, launcher in zip(studies, launchers, strict=True):
        assert study.end(launcher) == peace["told"]
        assert study.curves() == peace["curves"]
        study.accounted_for()
        study.nothing_runs()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2])
def test_faults_at_random_moments_change_no_result(seed: int, cluster: tuple[Bench, Nodes], prepared: Bench) -> None:
    bench, nodes = cluster
    draw, n_trials = random.Random(seed), 6
    nodes.add(3 - min(3, len(nodes.names)))
    space = space_of([0.003 / 2**i for i in range(n_trials)], {"study.max_retries": 1000})
    peaceful, study = prepared.study(f"peace-{seed}", space), bench.study(f"storm-{seed}", space)
    told = peaceful.run()

    launcher = study.start_held((0, 1), workers=3)
    study.release()
    kinds = ["worker", "actor", "node", "driver", "launcher", "Ctrl-C"]
    moments = sorted(draw.uniform(0, 0.9) * n_trials * 12 for _ in kinds)
    for kind, least in zip(draw.sample(kinds, len(kinds)), moments, strict=True):
        when(lambda least=least: n_epochs(study) >= least, f"{least:.0f} epochs", launcher)  # type: ignore[misc]
        at_work = when(lambda: [pid for i in range(n_trials) if (pid := process_of(study, i))], "a worker", launcher)
        if kind == "worker":
            kill(psutil.Process(draw.choice(at_work)))
        elif kind == "actor":
            kill(psutil.Process(psutil.Process(draw.choice(at_work)).ppid()))
        elif kind == "node":
            nodes.kill(draw.choice(nodes.names))
            nodes.add()
        elif kind == "driver":
            (driver,) = children(launcher, "drsearch.workers.ray_driver")
            kill(driver)
        else:
            launcher.send_signal(signal.SIGINT if kind == "Ctrl-C" else signal.SIGKILL)
            launcher.communicate(timeout=HANG_S)
            launcher = study.start(workers=3)
    assert study.end(launcher) == told
    assert study.curves() == peaceful.curves()
    study.accounted_for()
    study.nothing_runs()


def n_epochs(study: RunningStudy) -> int:
    """How many epochs the trials of a study have told it of."""
    return sum(len(trial.last.intermediate_values) for trial in read_trials(study.optuna()))
