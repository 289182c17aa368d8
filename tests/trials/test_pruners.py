"""What each pruner makes of what trials report."""

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from drsearch.settings import Settings
from drsearch.trials.pruners import may_prune, pruner_for, pruner_name, why_pruned


def settings(**values: Any) -> Settings:
    return Settings().replace({f"study.{name}": value for name, value in values.items()})


def study_of(settings: Settings, *curves: dict[int, float]) -> optuna.Study:
    study = optuna.create_study(direction="maximize", pruner=pruner_for(settings))
    for curve in curves:
        study.add_trial(
            optuna.create_trial(state=TrialState.COMPLETE, value=list(curve.values())[-1], intermediate_values=curve)
        )
    return study


def pruned_at(study: optuna.Study, curve: dict[int, float]) -> int | None:
    trial = study.ask()
    for step, value in curve.items():
        trial.report(value, step)
        if trial.should_prune():
            return step
    return None


GOOD = {epoch: 0.8 + epoch / 1000 for epoch in range(5, 45, 5)}
BAD = {epoch: 0.5 for epoch in range(5, 45, 5)}
STILL_GOOD = {epoch: 0.9 for epoch in range(5, 45, 5)}


def test_by_itself_only_a_trial_with_folds_or_repeats_is_pruned() -> None:
    assert pruner_name(Settings()) == "none"
    assert pruner_name(Settings().replace({"search.folds": 5})) == "wilcoxon"
    assert pruner_name(Settings().replace({"search.repeats": 3})) == "wilcoxon"
    assert pruner_name(Settings().replace({"search.folds": 5, "study.second_objective": "parameters"})) == "none"
    assert pruned_at(study_of(Settings(), *[GOOD] * 8), BAD) is None


@pytest.mark.parametrize(
    ("pruner", "more", "at"),
    [
        ("median", {}, 10),
        ("percentile", {}, 10),
        ("median", {"pruner_warmup_epochs": 30}, 30),
        ("median", {"pruner_startup_trials": 9}, None),
        ("patient", {}, 25),
        ("patient", {"pruner_patience_epochs": 10}, 15),
    ],
)
def test_one_that_is_worse_than_the_others_is_pruned_after_the_warmup(
    pruner: str, more: dict[str, Any], at: int | None
) -> None:
    assert pruned_at(study_of(settings(pruner=pruner, **more), *[GOOD] * 8), BAD) == at


def test_patience_waits_while_a_trial_still_gets_better() -> None:
    rising = {epoch: 0.4 + epoch / 1000 for epoch in range(5, 45, 5)}
    assert pruned_at(study_of(settings(pruner="median"), *[GOOD] * 8), rising) == 10
    assert pruned_at(study_of(settings(pruner="patient"), *[GOOD] * 8), rising) is None
    assert pruned_at(study_of(settings(pruner="patient"), *[GOOD] * 8), STILL_GOOD) is None


def test_patience_knows_that_a_loss_should_fall() -> None:
    falling, level = ({epoch: 0.9 - slope * epoch for epoch in range(5, 45, 5)} for slope in (0.001, 0.0))
    for curve, at in ((falling, None), (level, 25)):
        chosen = settings(pruner="patient", objective="val_loss")
        study = optuna.create_study(direction="minimize", pruner=pruner_for(chosen))
        good = {epoch: 0.3 for epoch in range(5, 45, 5)}
        for _ in range(6):
            study.add_trial(optuna.create_trial(value=0.3, intermediate_values=good))
        assert pruned_at(study, curve) == at


@pytest.mark.parametrize("pruner", ["none", "median", "percentile", "patient"])
@pytest.mark.parametrize("warmup", [0, 7, 20])
def test_where_a_pruner_is_not_asked_it_would_not_have_pruned(pruner: str, warmup: int) -> None:
    chosen = settings(pruner=pruner, pruner_warmup_epochs=warmup, pruner_patience_epochs=1)
    study = study_of(chosen, *[GOOD] * 8)
    trial = study.ask()
    for epoch in BAD:
        trial.report(BAD[epoch] - epoch / 1000, epoch)
        assert may_prune(chosen, epoch) or not trial.should_prune()


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband"])
def test_halving_lets_one_in_so_many_past_each_rung(pruner: str) -> None:
    chosen = settings(pruner=pruner, pruner_warmup_epochs=5, pruner_reduction_factor=2).replace({"training.epochs": 40})
    study = study_of(chosen)
    ends = []
    for i in range(40):
        value = ((i * 17) % 40) / 40
        curve = {epoch: value for epoch in range(5, 45, 5)}
        ends.append((value, pruned_at(study, curve)))
        study.tell(study.trials[-1].number, value if ends[-1][1] is None else None,
                   state=TrialState.COMPLETE if ends[-1][1] is None else TrialState.PRUNED)  # fmt: skip
    cut = [at for _, at in ends if at is not None]
    assert 10 < len(cut) < 40
    assert set(cut) <= {5, 10, 20, 40}
    finished, gone = ([value for value, at in ends if (at is None) is done] for done in (True, False))
    assert sum(finished) / len(finished) > sum(gone) / len(gone)


def test_folds_that_are_all_worse_than_the_best_trials_are_enough_after_three() -> None:
    chosen = Settings().replace({"search.folds": 5})
    best = {1: 0.8, 2: 0.82, 3: 0.79, 4: 0.81, 5: 0.8}
    study = study_of(chosen, best)
    assert pruned_at(study, {fold: value - 0.1 for fold, value in best.items()}) == 3
    assert pruned_at(study, {fold: value + 0.1 for fold, value in best.items()}) is None
    assert pruned_at(study, {1: 0.9, 2: 0.81, 3: 0.8, 4: 0.8, 5: 0.81}) is None
    strict = study_of(chosen.replace({"study.pruner_p_threshold": 0.1}), best)
    assert pruned_at(strict, {fold: value - 0.1 for fold, value in best.items()}) == 4


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"study.pruner": "median"},
            "the median pruner: val_auc 0.612 after 15 epochs is not better than most trials' so far",
        ),
        (
            {"study.pruner": "percentile"},
            "the percentile pruner: val_auc 0.612 after 15 epochs is not in the best 25 % of trials",
        ),
        (
            {"study.pruner": "hyperband"},
            "the hyperband pruner: val_auc 0.612 after 15 epochs is not among the best 1 in 3 at its rung",
        ),
        (
            {"study.pruner": "patient"},
            "the patient pruner: val_auc 0.612 has stood still for 20 epochs, and after 15 is not better than most "
            "trials' so far",
        ),
        (
            {"search.folds": 20},
            "the wilcoxon pruner: val_auc 0.612 after 15 of 20 folds, in which the best trial was better",
        ),
        (
            {"search.repeats": 20},
            "the wilcoxon pruner: val_auc 0.612 after 15 of 20 repeats, in which the best trial was better",
        ),
    ],
)
def test_a_pruned_trial_says_why(changes: dict[str, Any], reason: str) -> None:
    assert why_pruned(Settings().replace(changes), 0.6123, 15) == reason
