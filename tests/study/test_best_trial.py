"""Which trial is registered, and when has nothing improved for long?"""

import math
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from drsearch.settings import Settings
from drsearch.study.best_trial import best_trial, front, pick_rule, since_improved, why_none
from drsearch.training.objective import Objective, objectives_of, violations
from drsearch.trials.attributes import ERROR
from drsearch.trials.trials import Trial

ONE = Settings()
TWO = Settings().replace({"study.second_objective": "parameters"})
LIMITED = Settings().replace({"study.constraints": "sensitivity >= 0.9, parameters <= 2000"})
MIDNIGHT = datetime(2026, 1, 1)


def trial(
    number: int,
    *values: float,
    error: float = 0.0,
    state: TrialState = TrialState.COMPLETE,
    at: int = 0,
    constraints: dict[str, float] | None = None,
) -> Trial:
    trial = create_trial(state=state, values=list(values) or None, user_attrs={ERROR: error}, constraints=constraints)
    trial.datetime_complete = MIDNIGHT + timedelta(minutes=at or number)
    return Trial(number, (trial,), 2)


def test_an_objective_knows_which_way_is_better() -> None:
    assert [(each.name, each.direction) for each in objectives_of(ONE)] == [("val_auc", "maximize")]
    two = TWO.replace({"study.objective": "val_loss"})
    assert [(each.name, each.direction) for each in objectives_of(two)] == [
        ("val_loss", "minimize"),
        ("parameters", "minimize"),
    ]
    auc, loss = Objective("val_auc"), Objective("val_loss")
    assert auc.is_better(0.6, 0.5) and not auc.is_better(0.4, 0.5)
    assert loss.is_better(0.4, 0.5) and not loss.is_better(0.6, 0.5)
    assert (auc.best([0.4, 0.6]), loss.best([0.4, 0.6]), auc.best([])) == (0.6, 0.4, None)


def test_nothing_is_better_than_its_equal_and_every_number_is_better_than_nan() -> None:
    for objective in (Objective("val_auc"), Objective("val_loss")):
        assert not objective.is_better(0.5, 0.5)
        assert objective.is_better(0.5, math.nan)
        assert not objective.is_better(math.nan, 0.5)


def test_with_one_objective_the_best_is_registered_and_of_equals_the_first() -> None:
    trials = [trial(0, 0.7), trial(1, 0.9), trial(2, 0.9), trial(3, state=TrialState.PRUNED)]
    best = best_trial(trials, ONE)
    assert best is not None and best.number == 1
    assert [member.number for member in front(trials, ONE)] == [1]
    least = best_trial(trials, Settings().replace({"study.objective": "val_loss"}))
    assert least is not None and least.number == 0
    assert best_trial(trials[3:], ONE) is None


@pytest.mark.parametrize(
    ("error", "pick", "number"),
    [(0.0, "one_standard_error", 0), (0.025, "one_standard_error", 1), (0.2, "one_standard_error", 2),
     (0.2, "best", 0), (math.nan, "one_standard_error", 0)],
)  # fmt: skip
def test_of_two_objectives_the_cheapest_within_one_standard_error_is_registered(
    error: float, pick: str, number: int
) -> None:
    trials = [
        trial(0, 0.90, 80_000, error=error),
        trial(1, 0.88, 20_000),
        trial(2, 0.75, 5_000),
        trial(3, 0.70, 30_000),
    ]
    chosen = best_trial(trials, TWO.replace({"study.pick": pick}))
    assert chosen is not None and chosen.number == number
    assert [member.number for member in front(trials, TWO)] == [0, 1, 2]


def test_the_rule_can_be_read() -> None:
    assert pick_rule(TWO) == "the smallest parameters within one standard error of the best val_auc"
    assert pick_rule(TWO.replace({"study.pick": "best"})) == "the best val_auc"
    screening = TWO.replace({"study.second_objective": "val_specificity_at_sensitivity_0.9"})
    assert pick_rule(screening) == (
        "the highest val_specificity_at_sensitivity_0.9 within one standard error of the best val_auc"
    )


def test_a_second_objective_that_is_to_be_high_is() -> None:
    settings = TWO.replace({"study.second_objective": "val_specificity_at_sensitivity_0.9"})
    trials = [trial(0, 0.90, 0.5, error=0.05), trial(1, 0.88, 0.7), trial(2, 0.87, 0.6), trial(3, 0.70, 0.9)]
    chosen = best_trial(trials, settings)
    assert chosen is not None and chosen.number == 1
    assert [member.number for member in front(trials, settings)] == [0, 1, 3]


def limited(number: int, auc: float, sensitivity: float, size: float) -> Trial:
    metrics = {"best_val_sensitivity": sensitivity, "model_parameters": size}
    return trial(number, auc, constraints=violations(metrics, LIMITED))


def test_only_trials_that_keep_all_constraints_are_registered() -> None:
    trials = [limited(0, 0.95, 0.8, 1000), limited(1, 0.93, 0.95, 4000), limited(2, 0.9, 0.9, 2000)]
    trials += [limited(3, 0.8, 1.0, 10)]
    best = best_trial(trials, LIMITED)
    assert best is not None and best.number == 2
    assert [member.number for member in front(trials, LIMITED)] == [2]
    assert why_none(trials, LIMITED) == ""
    assert since_improved(trials, LIMITED) == 1


def test_where_no_trial_keeps_all_constraints_the_nearest_is_named() -> None:
    trials = [limited(0, 0.95, 0.6, 1000), limited(1, 0.9, 0.81, 1000), limited(2, 0.9, 0.95, 4000)]
    trials += [trial(3, state=TrialState.PRUNED, constraints={"sensitivity >= 0.9": 0.01})]
    assert best_trial(trials, LIMITED) is None and front(trials, LIMITED) == []
    assert why_none(trials, LIMITED) == (
        "none of 3 complete trials keeps study.constraints = 'sensitivity >= 0.9, parameters <= 2000'; "
        "nearest is trial 1 with sensitivity 0.81 < 0.9"
    )
    assert why_none(trials[3:], LIMITED) == why_none([], ONE) == ""
    assert since_improved(trials, LIMITED) == 4


@given(st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.7]), st.integers(1, 5)), min_size=1, max_size=12))
def test_no_member_of_a_front_is_beaten_and_everybody_else_is(pairs: list[tuple[float, int]]) -> None:
    def beats(one: Trial, other: Trial) -> bool:
        mine, theirs = ((-s.values[0], s.values[1]) for s in (one, other))
        return mine[0] <= theirs[0] and mine[1] <= theirs[1] and (mine != theirs or one.number < other.number)

    trials = [trial(i, *pair) for i, pair in enumerate(pairs)]
    members = {member.number for member in front(trials, TWO)}
    for one in trials:
        assert (one.number in members) == (not any(beats(other, one) for other in trials if other is not one))
    assert best_trial(trials, TWO) is not None


@pytest.mark.parametrize(
    ("ends", "since"),
    [
        ([], 0),
        ([(0.5,)], 0),
        ([(0.5,), (0.6,), (0.6,), None, (0.4,)], 3),
        ([(0.6,), None, None, (0.7,)], 0),
    ],
)
def test_trials_since_the_last_improvement_are_counted_pruned_ones_too(ends: list[Any], since: int) -> None:
    trials = [
        trial(i, *(end or ()), state=TrialState.COMPLETE if end else TrialState.PRUNED) for i, end in enumerate(ends)
    ]
    assert since_improved(trials, ONE) == since


def test_trials_count_in_the_order_in_which_they_ended_and_failed_ones_do_not() -> None:
    trials = [trial(0, 0.5, at=9), trial(1, 0.9, at=1), trial(2, state=TrialState.FAIL, at=20), trial(3, 0.6, at=2)]
    assert since_improved(trials, ONE) == 2


def test_with_two_objectives_a_new_member_of_the_front_is_an_improvement() -> None:
    trials = [trial(0, 0.9, 80), trial(1, 0.9, 90), trial(2, 0.7, 10), trial(3, 0.6, 20)]
    assert since_improved(trials[:2], TWO) == 1
    assert since_improved(trials[:3], TWO) == 0
    assert since_improved(trials, TWO) == 1
