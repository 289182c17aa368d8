"""Does a worker run what waits, as the study keeps it, and end when it should? Whole studies: tests/end_to_end."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
import warm
from services import free_port
from studies import add_waiting_trials

from drsearch.data.prepare import prepare
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.model.fit import EpochResult, Measures
from drsearch.model.resnet_v2 import build_resnet
from drsearch.processes import this_process
from drsearch.settings import Settings
from drsearch.study.definition import StudyDefinition, code_now, images_key, open_study, study_folder
from drsearch.tracking.events import RunEnd, RunStart
from drsearch.tracking.journal import Journal
from drsearch.tracking.tags import provenance_tags
from drsearch.training.outcome import read_outcome
from drsearch.trials import retrying
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import read_trials
from drsearch.workers.worker import Worker, _TrialWatch, run_name, trial_plan
from drsearch.workers.worker_pool import STORAGE_VARIABLE

SPACE = """
def space(hp):
    rate = hp.Choice("training.learning_rate", [0.003, 0.0003])
    if rate == 0.003:
        hp.Choice("model.dropout", [0.1])
"""
SETTINGS = Settings().replace(
    {
        "study.sampler": "grid",
        "study.gradcam_eyes": 1,
        "images.image_px": 32,
        "model.width": 4,
        "model.stages": 1,
        "training.epochs": 2,
        "training.checkpoint_every_epochs": 1,
    }
)
POINTS: list[dict[str, Any]] = [
    {"training.learning_rate": 0.003, "model.dropout": 0.1},
    {"training.learning_rate": 0.0003},
]


def definition(source: str, records: str, data: str) -> StudyDefinition:
    return StudyDefinition(
        uid="0123456789abcdef",
        space_file="two.py",
        space_source=SPACE,
        settings=SETTINGS,
        data_name="eyes",
        data_source=source,
        data_fingerprint=data,
        records={images_key(SETTINGS.images): records},
        code=code_now(),
    )


def start(home: Home, name: str, *more: str, storage_url: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "drsearch.workers.worker", "--study", name, "--home", str(home.path)]
    command += ["--index", "0", "--threads", "1", "--cores", "1", *more]
    return warm.run(command, {**os.environ, STORAGE_VARIABLE: storage_url or home.storage_url})


def test_a_runs_name_is_its_number_and_its_setting_in_a_few_words() -> None:
    drawn: dict[str, Any] = {"training.learning_rate": 0.00031234, "training.optimizer": "adamw", "model.width": 8}
    assert run_name(3, drawn) == "03: 0.000312, adamw, 8 (learning_rate, optimizer, width)"
    assert run_name(112, {}) == "trial 112"
    assert len(run_name(0, {f"training.setting_number_{i}": i for i in range(40)})) <= 90


def test_a_trials_plan_tells_where_it_comes_from(tmp_path: Path) -> None:
    made = dataclasses.replace(
        definition("/data/eyes", "fedcba98", "01234567"), data_given=["/data/eyes", "/data/more eyes"]
    )
    plan = trial_plan(
        made, "s", tmp_path, 7, 12, {"model.width": 4}, SETTINGS, lambda: build_resnet(SETTINGS.model, 32)
    )
    assert plan.folder == tmp_path / "trial-0007"
    assert plan.owner == f"12@{this_process()}"
    assert plan.start.key == "0123456789abcdef/trial-0007"
    assert (plan.start.experiment, plan.start.name) == ("s", "07: 4 (width)")
    told = {"drsearch.kind": "trial", "drsearch.study": "s", "drsearch.trial": "7", **provenance_tags()}
    assert plan.start.tags == told
    assert plan.start.params == SETTINGS.flat()
    assert plan.start.dataset is not None
    assert (plan.start.dataset.digest, plan.start.dataset.source) == ("fedcba98", "/data/eyes")
    assert plan.head == (
        "Trial 7 of study s. Repeat it:",
        "drsearch train --data /data/eyes --data '/data/more eyes' --config settings.gin",
    )
    assert plan.build().input_shape == (None, 32, 32, 3)


def test_the_slow_first_epoch_of_a_fold_is_not_taken_for_the_pace_of_those_to_come(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    worker: Any = SimpleNamespace(show=lambda **values: told.append(values))
    watch = _TrialWatch(worker, optuna.create_study().ask(), 0, SETTINGS, tmp_path, ())
    measures = Measures(0.5, 0.5, 0.5)
    for epoch, seconds in enumerate((9.0, 2.0, 3.0, 9.0, 2.0), start=1):  # a fold of three epochs, then another one
        watch.epoch(EpochResult(epoch, 0.1, seconds, measures, measures))
    assert [each["seconds"] for each in told] == [9.0, 2.0, 2.0, 3.0, 2.0]


def test_a_worker_runs_every_waiting_trial_and_ends(tmp_path: Path) -> None:
    synthesize(tmp_path / "eyes", 30, 1)
    home = Home(tmp_path / "home")
    records = prepare(open_dataset([tmp_path / "eyes"]), SETTINGS, home).records
    made = definition(str(tmp_path / "eyes"), records.fingerprint, records.data_fingerprint)
    storage = open_storage(home.storage_url)
    study, _ = open_study(storage, "s", made, 2)
    add_waiting_trials(study, 3, [*POINTS, POINTS[0]])  # a third, beyond the total: an earlier command had more

    done = start(home, "s")
    assert done.returncode == 0, done.stderr

    trials = read_trials(optuna.load_study(study_name="s", storage=open_storage(home.storage_url)))
    assert [trial.state for trial in trials] == ["complete", "complete", "waiting"]
    assert [trial.last.params for trial in trials[:2]] == POINTS
    folder = study_folder(home, "s", made.uid)
    for trial in trials[:2]:
        outcome = read_outcome(folder / f"trial-{trial.number:04d}")
        assert outcome is not None and outcome.value == trial.last.value
        assert trial.last.intermediate_values == pytest.approx(
            {n: np.max([epoch.validation.auc for epoch in outcome.history[:n]]) for n in (1, 2)}
        )
        entries, _ = Journal(folder / f"trial-{trial.number:04d}").read()
        assert isinstance(entries[0], RunStart) and isinstance(entries[-1], RunEnd)
        assert entries[0].params["training.learning_rate"] == POINTS[trial.number]["training.learning_rate"]
    assert not list((folder / "workers").glob("*.json")), "nobody is at it any more"


def test_a_worker_that_is_asked_to_stop_while_it_asks_the_database_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "outage", retrying.Outage())  # stop() ends that of a process
    home = Home(tmp_path)
    storage = open_storage(home.storage_url)
    open_study(storage, "s", definition("/data/eyes", "fedcba98", "01234567"), 2)
    worker = Worker(storage, "s", home, index=0, threads=1, launcher=os.getppid())
    assert not worker.look_for_cancel()

    @sqlalchemy.event.listens_for(storage._backend.engine, "before_cursor_execute")
    def a_signal_arrives(*_: object) -> None:
        worker.stop()

    assert worker.look_for_cancel()
    assert worker.stop_asked()


def test_a_worker_of_no_study_says_so_and_ends_with_two(tmp_path: Path) -> None:
    home = Home(tmp_path)
    done = start(home, "nowhere")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("no study 'nowhere' in this database; there are: none.")


def test_a_worker_whose_launcher_is_gone_does_not_wait_for_its_database(tmp_path: Path) -> None:
    away = f"postgresql://nobody@127.0.0.1:{free_port()}/optuna"
    done = start(Home(tmp_path), "s", "--launcher", "1", storage_url=away)
    assert done.returncode == 2
    assert "the study database does not answer; waiting" in done.stderr
    assert "the study database does not answer (" in done.stderr.splitlines()[-1]
