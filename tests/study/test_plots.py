"""Do a study's pages show the trials that count, and only what can be drawn from them?"""

from collections.abc import Callable

import plotly.graph_objects as go
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from drsearch.settings import Settings
from drsearch.study.plots import (
    drawn_trials,
    figures,
    heat_map,
    history,
    importance_ranges,
    importances,
    parallel_coordinates,
    slices,
)
from drsearch.training.objective import Objective
from drsearch.trials.attributes import TRIAL
from drsearch.trials.trials import Trial

RATE, BATCH, DECAY = "training.learning_rate", "training.batch_size", "training.weight_decay"
RATES, BATCHES, DECAYS = [0.01, 0.001], [4, 8], FloatDistribution(0.01, 0.1)
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


def trials_of(*trials: FrozenTrial) -> list[Trial]:
    return [Trial(number, (trial,), 2) for number, trial in enumerate(trials)]


def test_a_grid_gets_all_figures() -> None:
    trials = trials_of(cell(0.01, 4, 0.6), cell(0.01, 8, 0.7), cell(0.001, 4, 0.8), cell(0.001, 8, 0.65))
    made = {name: make() for name, make in figures(trials, GRID).items()}
    assert list(made) == ["history", "parallel_coordinates", "importances", "heat_map"]
    assert all("val_auc" in figure.to_json() for figure in made.values())


def test_a_study_that_is_no_grid_has_no_heat_map() -> None:
    trials = trials_of(cell(0.01, 4, 0.6), cell(0.001, 8, 0.7))
    assert "heat_map" not in list(figures(trials, TPE))


def test_without_a_finished_trial_there_is_no_figure() -> None:
    assert list(figures([], GRID)) == []
    failed = trials_of(cell(0.01, 4, None, TrialState.FAIL), cell(0.01, 8, None, TrialState.FAIL))
    assert list(figures(failed, GRID)) == []


def test_equal_values_leave_out_only_the_importances() -> None:
    trials = trials_of(*(cell(rate, batch, 0.5) for rate in RATES for batch in BATCHES))
    assert list(figures(trials, GRID)) == [
        "history",
        "parallel_coordinates",
        "heat_map",
    ]


def test_an_attempt_that_died_is_not_shown_beside_the_one_that_finished() -> None:
    died, finished = cell(0.01, 4, None, TrialState.FAIL), cell(0.01, 4, 0.6)
    trials = [Trial(0, (died, finished), 2), *trials_of(cell(0.001, 8, 0.7))]
    assert "history" in list(figures(trials, GRID))


# Four objectives, whose values say the same of the same trials: what a page shows must not depend on which it is.
MEANS = [("val_auc", lambda good: (good,)), ("val_loss", lambda good: (1 - good,)),
         ("val_auc", lambda good: (good, 9e4)), ("val_loss", lambda good: (1 - good, 9e4))]  # fmt: skip
every_objective = pytest.mark.parametrize(
    ("objective", "values"),
    [(Objective(name), values) for name, values in MEANS],
    ids=["maximised", "minimised", "maximised with a cost", "minimised with a cost"],
)
Values = Callable[[float], tuple[float, ...]]


def trial_of(values: tuple[float, ...], params: dict[str, float]) -> FrozenTrial:
    kinds = {RATE: CategoricalDistribution(RATES), BATCH: CategoricalDistribution(BATCHES), DECAY: DECAYS}
    return create_trial(values=values, params=params, distributions={name: kinds[name] for name in params})


def goodness_by_rate(values: Values) -> list[Trial]:
    """Four trials whose learning rate alone makes them good or bad; the last is the best, and a failed one precedes."""
    failed = create_trial(state=TrialState.FAIL)
    grid = [(0.01, 4, 0.60), (0.001, 4, 0.90), (0.01, 8, 0.62), (0.001, 8, 0.91)]
    return trials_of(failed, *(trial_of(values(good), {RATE: rate, BATCH: batch}) for rate, batch, good in grid))


def conditional(values: Values) -> list[Trial]:
    """Twelve trials: with a batch of 4 all are bad, and with one of 8 the weight decay, drawn there alone, decides."""
    bad = [trial_of(values(0.5 + i / 100), {RATE: RATES[i % 2], BATCH: 4}) for i in range(6)]
    decays = [0.011, 0.02, 0.03, 0.07, 0.08, 0.099]
    some = [trial_of(values(0.5 + 4 * d), {RATE: RATES[i % 2], BATCH: 8, DECAY: d}) for i, d in enumerate(decays)]
    return trials_of(*bad, *some)


def shares_of(figure: go.Figure) -> dict[str, float]:
    (bars,) = figure.data
    return dict(zip(bars.y, bars.x, strict=True))


def lines_of(figure: go.Figure) -> list[go.Scatter]:
    return [trace for trace in figure.data if trace.mode == "lines"]


def darkness(line: go.Scatter) -> float:
    """Contrast to white, from 1 (none) to 21; as WCAG 2 defines it."""
    levels = [int(level) / 255 for level in line.line.color.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


@every_objective
def test_the_history_has_every_value_under_its_number_and_the_best_so_far(objective: Objective, values: Values) -> None:
    each, best = history(goodness_by_rate(values), objective).data[:2]
    assert list(each.x) == [1, 2, 3, 4], "trial 0 failed"
    assert list(each.y) == [values(good)[0] for good in (0.60, 0.90, 0.62, 0.91)]
    assert list(best.y)[1:] == [values(good)[0] for good in (0.60, 0.90, 0.90, 0.91)]
    assert (each.name, best.mode) == (objective.name, "lines")


@every_objective
def test_the_better_a_trial_the_darker_its_line_and_the_best_lies_on_top(objective: Objective, values: Values) -> None:
    lines = lines_of(parallel_coordinates(goodness_by_rate(values), objective))
    shown = [float(line.customdata[0][1]) for line in lines]
    assert shown == pytest.approx([values(good)[0] for good in (0.60, 0.62, 0.90, 0.91)]), "the best is drawn last"
    dark = [darkness(line) for line in lines]
    assert dark == sorted(dark), "brightness alone tells them apart, whatever colours the reader sees"
    assert dark[0] > 1.5 and dark[-1] > 10 and all(line.opacity == 1 for line in lines)
    assert lines[-1].line.width > max(line.line.width for line in lines[:-1])


@every_objective
def test_the_setting_that_decides_has_all_the_importance(objective: Objective, values: Values) -> None:
    shares = shares_of(importances(goodness_by_rate(values), objective))
    assert shares == pytest.approx({RATE: 1.0, BATCH: 0.0}, abs=1e-6)


@every_objective
def test_a_setting_of_one_branch_is_shown_with_those_of_all(objective: Objective, values: Values) -> None:
    trials = conditional(values)
    shares = shares_of(importances(trials, objective))
    assert set(shares) == {RATE, BATCH, DECAY}
    assert shares[BATCH] > shares[DECAY] > 0.1 > shares[RATE]
    lines = lines_of(parallel_coordinates(trials, objective))
    assert len(lines) == len(trials), "trials of the other branch are shown too"
    assert "0.099" in [value for _, value in lines[-1].customdata], "the best trial has its decay"


def test_one_good_trial_among_equals_is_told_from_the_rest() -> None:
    params = [{RATE: rate, BATCH: batch} for rate in RATES for batch in BATCHES]
    grid = [trial_of((0.9 if i == 3 else 0.5,), each) for i, each in enumerate(params)]
    figure = importances(trials_of(*grid), Objective("val_auc"))
    assert "the best 1 of 4 trials" in figure.layout.title.text
    assert shares_of(figure) == pytest.approx({RATE: 0.5, BATCH: 0.5})


def test_two_trials_say_nothing_of_importances() -> None:
    trials = trials_of(cell(0.01, 4, 0.6), cell(0.001, 8, 0.8), cell(0.001, 4, 0.5, TrialState.PRUNED))
    assert list(figures(trials, TPE)) == ["history", "parallel_coordinates"]


@pytest.mark.parametrize(("objective", "best"), [("val_auc", 0.8), ("val_loss", 0.6)])
def test_a_cell_of_the_heat_map_is_the_best_over_further_axes(objective: str, best: float) -> None:
    trials = [cell(0.01, 4, 0.6), cell(0.01, 4, 0.8), cell(0.001, 8, 0.7)]
    figure = heat_map(trials, RATE, BATCH, Objective(objective))
    shown = figure.data[0]
    assert (list(shown.x), list(shown.y)) == (["0.001", "0.01"], ["4", "8"])
    assert [list(row) for row in shown.z] == [[None, best], [0.7, None]]
    assert shown.text[0][1] == f"{best:.3f}" and shown.text[0][0] == ""
    assert bool(shown.reversescale) == (objective == "val_loss"), "the best cell is the brightest"
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == (RATE, BATCH)


def test_trials_that_violate_a_constraint_are_shown_apart_and_are_never_the_best() -> None:
    trials = trials_of(
        *(
            create_trial(
                value=value,
                params={RATE: rate, BATCH: 4},
                distributions={RATE: CategoricalDistribution(RATES), BATCH: CategoricalDistribution(BATCHES)},
                constraints={"sensitivity >= 0.9": violation},
            )
            for value, rate, violation in [(0.7, 0.01, -0.1), (0.9, 0.001, 0.1), (0.8, 0.001, 0.0)]
        )
    )
    objective = Objective("val_auc")
    each, best, apart = history(trials, objective).data
    assert (list(each.y), list(best.y), list(apart.y)) == ([0.7, 0.8], [0.7, 0.7, 0.8], [0.9])
    lines = [line for line in lines_of(parallel_coordinates(trials, objective)) if line.customdata is not None]
    drawn = {float(line.customdata[0][1]): (line.line.dash, line.line.width) for line in lines}
    assert drawn == {0.7: ("solid", 1.5), 0.8: ("solid", 4), 0.9: ("dot", 1.5)}
    assert heat_map_of(trials) == [["0.800", "0.700"]]
    none = [Trial(one.number, (one.last,), 2) for one in trials if one.violated]
    assert history(none, objective).layout.title.text.endswith("; no trial keeps all constraints")


def heat_map_of(trials: list[Trial]) -> list[list[str]]:
    (cells,) = figures(trials, GRID)["heat_map"]().data
    return [list(row) for row in cells.text]


@every_objective
def test_every_line_point_and_cell_knows_its_trial(objective: Objective, values: Values) -> None:
    trials = goodness_by_rate(values)
    numbers = {round(trial.values[0], 4): trial.number for trial in trials if trial.values}
    lines = lines_of(parallel_coordinates(trials, objective))
    assert [line.meta["trial"] for line in lines] == [numbers[float(line.customdata[0][1])] for line in lines]
    assert all(len(line.x) == len(line.y) == len(line.customdata) == 3 for line in lines), "value, rate and batch"
    for chart in (history(trials, objective), *slices(trials, objective).values()):
        points = chart.data[0]
        assert [numbers[round(value, 4)] for value in points.y] == list(points.customdata)
    for trial in trials:
        trial.last.set_user_attr(TRIAL, trial.number)
    (cells,) = heat_map([trial.last for trial in trials[1:]], RATE, BATCH, objective).data
    assert [list(row) for row in cells.customdata] == [[2, 1], [4, 3]]


def test_importances_say_how_far_they_would_move_with_other_trials() -> None:
    rated = [(RATES[i % 2], BATCHES[i // 2 % 2], 0.6 + 0.3 * (i % 2) + i / 1000) for i in range(16)]
    trials = trials_of(*(trial_of((good,), {RATE: rate, BATCH: batch}) for rate, batch, good in rated))
    ranges = importance_ranges(trials, Objective("val_auc"))
    assert set(ranges) == {RATE, BATCH}
    assert 0 <= ranges[BATCH][0] <= ranges[BATCH][1] < ranges[RATE][0] <= ranges[RATE][1] <= 1
    few = importance_ranges(conditional(lambda good: (good,)), Objective("val_auc"))
    assert few[BATCH][1] - few[BATCH][0] > 0.5, "twelve trials do not tell which of two settings decides"


def test_of_very_many_trials_some_stand_for_all_and_each_best_so_far_is_among_them() -> None:
    values = [(7919 * number) % 1000 / 1000 for number in range(1000)]
    trials = trials_of(*(cell(0.01, 4, value) for value in values))
    objective = Objective("val_auc")
    drawn = [trial.number for trial in drawn_trials(trials, objective, 100)]
    bests = [number for number in range(1000) if values[number] > max(values[:number], default=-1)]
    assert set(bests) <= set(drawn) and set(range(0, 1000, 10)) <= set(drawn) and len(drawn) <= 100 + len(bests)
    assert drawn == sorted(drawn)
    assert drawn_trials(trials, objective, 1000) == trials
