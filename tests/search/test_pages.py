"""Do a study's pages show the trials that count, and only what can be drawn from them?"""

from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from drsearch.search.pages import heat_map, write_pages
from drsearch.search.slots import Slot
from drsearch.settings import Settings

RATE, BATCH = "training.learning_rate", "training.batch_size"
RATES, BATCHES = [0.01, 0.001], [4, 8]
GRID = Settings().replace({"study.sampler": "grid"})
TPE = Settings().replace({"study.sampler": "tpe"})


def cell(rate: float, batch: int, value: float | None, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    return create_trial(
        state=state,
        value=value,
        params={RATE: rate, BATCH: batch},
        distributions={RATE: CategoricalDistribution(RATES), BATCH: CategoricalDistribution(BATCHES)},
        intermediate_values={1: 0.5},
    )


def slots_of(*trials: FrozenTrial) -> list[Slot]:
    return [Slot(number, (trial,), 2) for number, trial in enumerate(trials)]


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def test_a_grid_gets_all_pages_and_each_stands_alone(study: optuna.Study, tmp_path: Path) -> None:
    slots = slots_of(cell(0.01, 4, 0.6), cell(0.01, 8, 0.7), cell(0.001, 4, 0.8), cell(0.001, 8, 0.65))
    pages = write_pages(study, slots, GRID, tmp_path)
    assert pages == ["history.html", "parallel_coordinates.html", "importances.html", "heat_map.html"]
    for page in pages:
        text = (tmp_path / page).read_text()
        assert "val_auc" in text and "Plotly" in text
        assert '<script src="http' not in text, "it is shown without a network too"


def test_a_study_that_is_no_grid_has_no_heat_map(study: optuna.Study, tmp_path: Path) -> None:
    slots = slots_of(cell(0.01, 4, 0.6), cell(0.001, 8, 0.7))
    assert "heat_map.html" not in write_pages(study, slots, TPE, tmp_path)


def test_without_a_finished_trial_there_is_no_page(study: optuna.Study, tmp_path: Path) -> None:
    assert write_pages(study, [], GRID, tmp_path) == []
    failed = slots_of(cell(0.01, 4, None, TrialState.FAIL), cell(0.01, 8, None, TrialState.FAIL))
    assert write_pages(study, failed, GRID, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_equal_values_leave_out_only_the_importances(study: optuna.Study, tmp_path: Path) -> None:
    slots = slots_of(cell(0.01, 4, 0.5), cell(0.001, 8, 0.5))
    assert write_pages(study, slots, GRID, tmp_path) == [
        "history.html",
        "parallel_coordinates.html",
        "heat_map.html",
    ]


def test_settings_that_only_a_branch_draws_and_pruned_trials_do_not_hinder(study: optuna.Study, tmp_path: Path) -> None:
    decay = "training.weight_decay"
    with_decay = create_trial(
        value=0.7,
        params={RATE: 0.01, decay: 0.02},
        distributions={RATE: CategoricalDistribution(RATES), decay: FloatDistribution(0.01, 0.1)},
    )
    pruned = cell(0.001, 4, 0.5, TrialState.PRUNED)
    slots = slots_of(with_decay, cell(0.01, 4, 0.6), cell(0.001, 8, 0.8), pruned)
    pages = write_pages(study, slots, TPE, tmp_path)
    assert pages[:2] == ["history.html", "parallel_coordinates.html"]


def test_an_attempt_that_died_is_not_shown_beside_the_one_that_finished(study: optuna.Study, tmp_path: Path) -> None:
    died, finished = cell(0.01, 4, None, TrialState.FAIL), cell(0.01, 4, 0.6)
    slots = [Slot(0, (died, finished), 2), *slots_of(cell(0.001, 8, 0.7))]
    assert "history.html" in write_pages(study, slots, GRID, tmp_path)
    assert study.trials == [], "the study itself is left as it is"


@pytest.mark.parametrize(("objective", "best"), [("val_auc", 0.8), ("val_loss", 0.6)])
def test_a_cell_of_the_heat_map_is_the_best_over_further_axes(objective: str, best: float) -> None:
    trials = [cell(0.01, 4, 0.6), cell(0.01, 4, 0.8), cell(0.001, 8, 0.7)]
    figure = heat_map(trials, RATE, BATCH, objective)
    shown = figure.data[0]
    assert (list(shown.x), list(shown.y)) == (["0.001", "0.01"], ["4", "8"])
    assert [list(row) for row in shown.z] == [[None, best], [0.7, None]]
    assert shown.text[0][1] == f"{best:.3f}" and shown.text[0][0] == ""
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == (RATE, BATCH)
