"""A budget is one for all calls: what was spent before counts, and more of it goes on."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial
from studies import add_waiting_trials

from drsearch.data.prepare import Prepared
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.settings import Settings
from drsearch.space.check import load_space
from drsearch.space.search_space import SearchSpace
from drsearch.study.budget import (
    EPOCHS,
    Hours,
    epochs_of,
    set_budgets,
    set_spent,
    spent,
    total_trials,
    union_s,
    what_is_spent,
)
from drsearch.study.plots import pareto
from drsearch.study.preparation import prepare_all
from drsearch.study.result import StudyResult
from drsearch.tracking.events import RunEnd
from drsearch.tracking.journal import Journal
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import Trial
from drsearch.workers.launcher import launch_study

SPACE = """
SETTINGS = {
    "study.sampler": "qmc", "study.second_objective": "parameters", "study.gradcam_eyes": 1, "images.image_px": 32,
    "model.stages": 1, "training.epochs": 2, "training.checkpoint_every_epochs": 1,
}


def space(hp):
    hp.Choice("model.width", [2, 4, 8])
    hp.Float("training.learning_rate", 1e-4, 1e-2, sampling="log")
"""


def trial(number: int, value: float | None, epochs: int, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    made = create_trial(state=state, value=value, intermediate_values=dict.fromkeys(range(1, epochs + 1), 0.5))
    made.datetime_complete = datetime(2026, 1, 1) + timedelta(minutes=number)
    return made


def trials(*values: float) -> list[Trial]:
    return [Trial(number, (trial(number, value, 10),), 2) for number, value in enumerate(values)]


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    return open_storage(f"sqlite:///{tmp_path / 's.db'}")


@pytest.fixture
def study(storage: Any) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name="s")


@pytest.mark.parametrize(
    ("budget", "hours", "said"),
    [
        ({}, 100.0, ""),
        ({"study.hours": 2.5}, 2.4, ""),
        ({"study.hours": 2.5}, 2.5, "study.hours = 2.5 are over"),
        ({"study.epochs": 41}, 0.0, ""),
        ({"study.epochs": 40}, 0.0, "study.epochs = 40 are trained"),
        ({"study.patience_trials": 3}, 0.0, ""),
        ({"study.patience_trials": 2}, 0.0, "no improvement in 2 trials (study.patience_trials = 2)"),
    ],
)
def test_what_is_spent_is_named(budget: dict[str, Any], hours: float, said: str) -> None:
    assert what_is_spent(trials(0.6, 0.7, 0.7, 0.5), hours, Settings().replace(budget)) == said


def test_epochs_of_a_trial_that_died_count_once() -> None:
    dead = trial(0, None, 6, TrialState.FAIL)
    assert epochs_of(Trial(0, (dead, trial(0, 0.5, 10)), 2)) == 10
    assert epochs_of(Trial(0, (dead, create_trial(state=TrialState.WAITING)), 2)) == 6
    folds = create_trial(value=0.5, intermediate_values={1: 0.5, 2: 0.5}, user_attrs={EPOCHS: 80})
    assert epochs_of(Trial(0, (folds,), 2)) == 80


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=8))
def test_time_covered_twice_counts_once(calls: list[tuple[int, int]]) -> None:
    covered = {second for begin, length in calls for second in range(begin, begin + length)}
    assert union_s([(begin, begin + length) for begin, length in calls]) == len(covered)


def test_hours_count_over_all_calls_and_nothing_between_them(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = {"clock": 1_000_000.0, "monotonic": 50.0}
    monkeypatch.setattr(time, "time", lambda: now["clock"])
    monkeypatch.setattr(time, "monotonic", lambda: now["monotonic"])

    def call(seconds: float, killed: bool = False) -> float:
        hours = Hours(study)
        hours.so_far()
        for _ in range(int(seconds) // 4):
            now["clock"] += 4
            now["monotonic"] += 4
            told = hours.so_far()
        if not killed:
            hours.note()
        return told * 3600

    assert call(100) == 100
    now["clock"] += 100_000  # a night
    assert call(40, killed=True) == 140
    now["clock"] += 3600
    assert call(20) == pytest.approx(160, abs=10), "a killed call loses what passed since its last note"


def test_a_clock_that_is_set_while_a_study_runs_costs_no_hours(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = Hours(study)
    monkeypatch.setattr(time, "time", lambda: 9e9)
    assert hours.so_far() < 0.01


def test_workers_hear_the_budgets_of_the_last_call_and_count_themselves(study: optuna.Study, storage: Any) -> None:
    first = Settings().replace({"study.epochs": 15})
    set_budgets(study, first)
    add_waiting_trials(study, 2)
    assert spent(study, first) == ""
    for number in range(2):
        running = optuna.Trial(study, study.trials[number]._trial_id)
        running.report(0.5, 10)
    assert spent(study, first) == "study.epochs = 15 are trained"
    set_budgets(study, Settings().replace({"study.epochs": 30}))
    assert spent(study, first) == ""
    set_spent(study, "study.hours = 1 are over")
    assert spent(study, first) == "study.hours = 1 are over"


@pytest.mark.parametrize(
    ("changes", "n"),
    [
        ({}, 20),
        ({"study.trials": 7}, 7),
        ({"study.hours": 1.0}, None),
        ({"study.epochs": 100, "study.trials": 7}, 7),
    ],
)
def test_a_study_without_a_number_of_trials_has_twenty_unless_another_budget_ends_it(
    tmp_path: Path, changes: dict[str, Any], n: int | None
) -> None:
    (tmp_path / "one.py").write_text('def space(hp):\n    hp.Choice("model.width", [2, 4])\n')
    space = load_space(tmp_path / "one.py")
    assert total_trials(space.on(Settings().replace(changes))) == n
    assert total_trials(space.on(Settings().replace({**changes, "study.sampler": "grid"}))) == 2


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, warm_children: None) -> SearchSpace:
    file = tmp_path_factory.mktemp("budget") / "widths.py"
    file.write_text(SPACE)
    return load_space(file)


def call(space: SearchSpace, data: Path, home: Home, prepared: list[Prepared], budget: dict[str, Any]) -> StudyResult:
    on = space.on(space.settings.replace(budget))
    launcher = launch_study("widths", on, open_dataset([data]), prepared, home, home.storage_url)
    return launcher.run(1)


def test_epochs_are_a_budget_of_all_calls_and_a_larger_one_goes_on(tmp_path: Path, space: SearchSpace) -> None:
    synthesize(tmp_path / "eyes", 30, 1)
    home = Home(tmp_path / "home")
    prepared = prepare_all(open_dataset([tmp_path / "eyes"]), space, home, skip_bad=False)

    first = call(space, tmp_path / "eyes", home, prepared, {"study.epochs": 3})
    assert (first.spent, first.stopped) == ("study.epochs = 3 are trained", "")
    assert first.counts() == {"complete": 2, "pruned": 0, "failed": 0, "waiting": 0, "running": 0}
    again = call(space, tmp_path / "eyes", home, prepared, {"study.epochs": 3})
    assert again.counts() == first.counts() and again.spent == first.spent
    more = call(space, tmp_path / "eyes", home, prepared, {"study.epochs": 6, "study.trials": 9})
    assert more.counts()["complete"] == 3

    ends = [entry for entry in Journal(more.folder / "study").read()[0] if isinstance(entry, RunEnd)]
    assert [end.status for end in ends] == ["FINISHED"] * 3
    title = pareto(more.front, space.settings).layout.title.text
    assert "the smallest parameters within one standard error of the best val_auc" in title
    assert more.best is not None and more.best in more.front
    assert all(trial.values[1] == int(trial.values[1]) > 0 for trial in more.front)
