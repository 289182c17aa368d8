"""Is every run closed whose process is gone, in MLflow too, once its study was looked at?"""

from collections.abc import Callable
from typing import Any

import optuna
from mlflow import MlflowClient
from studies import DEAD

from drsearch.processes import this_process
from drsearch.study.reconcile import launching, reconcile_study
from drsearch.tracking.events import Metrics, Resumed, RunEnd, RunStart
from drsearch.tracking.journal import Journal

Begin = Callable[..., Any]


def begin_run(begun: Any, kind: str, owner: str = "") -> Journal:
    folder = begun.folder / kind
    folder.mkdir(parents=True, exist_ok=True)
    if owner:
        (folder / "owner").write_text(owner)
    journal = Journal(folder)
    journal.append([RunStart(f"{begun.definition.uid}/{kind}", "mine", kind), Metrics(1, {"val_auc": 0.5})])
    return journal


def statuses(begun: Any) -> dict[str, tuple[str, str]]:
    client = MlflowClient(begun.home.local_tracking_uri)
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    return {
        run.info.run_name: (run.info.status, run.data.tags.get("drsearch.outcome", ""))
        for run in client.search_runs([experiment.experiment_id])
    }


def test_nothing_stays_running_once_a_study_was_looked_at(begin: Begin, monkeypatch: Any) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mine = begin()
    for trial, worker in enumerate((DEAD, DEAD, this_process())):
        attempt = mine.running(trial, worker)
        begin_run(mine, f"trial-{trial:04d}", f"{attempt.number}@{worker}")
    mine.complete(3, 0.7, 0.6, 0.8)
    begin_run(mine, "trial-0003").append([RunEnd("FINISHED", tags={"drsearch.outcome": "complete"})])
    begin_run(mine, "study")
    begin_run(mine, "finetune-0003", DEAD)

    trials = reconcile_study(mine.home, mine.storage, "mine")

    assert [trial.state for trial in trials] == ["waiting", "waiting", "running", "complete"]
    states = [attempt.state for attempt in mine.study.trials]
    assert states.count(optuna.trial.TrialState.RUNNING) == 1
    ends = {name: status for name, (status, _) in statuses(mine).items()}
    assert ends == {
        "trial-0000": "KILLED",
        "trial-0001": "KILLED",
        "trial-0002": "RUNNING",
        "trial-0003": "FINISHED",
        "study": "KILLED",
        "finetune-0003": "KILLED",
    }
    assert statuses(mine)["trial-0000"][1] == "interrupted"

    sizes = {folder.name: Journal(folder).size() for folder in mine.folder.iterdir()}
    reconcile_study(mine.home, mine.storage, "mine")
    assert {folder.name: Journal(folder).size() for folder in mine.folder.iterdir()} == sizes

    again = mine.running(0, this_process())
    (mine.folder / "trial-0000" / "owner").write_text(f"{again.number}@{this_process()}")
    taken_up = Journal(mine.folder / "trial-0000")
    taken_up.append([Resumed()])
    reconcile_study(mine.home, mine.storage, "mine")
    assert isinstance(taken_up.read()[0][-1], Resumed), "the attempt that goes on is left alone"


def test_the_run_of_a_study_is_left_open_while_a_launcher_is_at_it(begin: Begin) -> None:
    mine = begin()
    journal = begin_run(mine, "study")
    with launching(mine.folder):
        reconcile_study(mine.home, mine.storage, "mine")
    assert not isinstance(journal.read()[0][-1], RunEnd)
