"""What does not go together is refused in one sentence, with what to write."""

import importlib.util
from typing import Any

import pytest

from drsearch.errors import StudyError
from drsearch.settings import Settings
from drsearch.study.validation import check_study


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"study.pruner": "median", "study.second_objective": "latency"},
            "study.pruner = 'median' judges by one number, and study.second_objective = 'latency' asks for two; "
            "write study.pruner = 'none'.",
        ),
        (
            {"study.sampler": "cmaes", "study.constraints": "parameters <= 3e5"},
            "study.sampler = 'cmaes' knows no constraints, and study.constraints = 'parameters <= 3e5'; "
            "write study.sampler = 'tpe' or 'nsga2'.",
        ),
        (
            {"study.pruner": "median", "study.constraints": "auc >= 0.8"},
            "study.pruner = 'median' knows no constraints, and would prune trials that keep study.constraints = "
            "'auc >= 0.8' for others that do not; write study.pruner = 'none'.",
        ),
        (
            {"study.objective": "val_brier", "study.second_objective": "val_brier"},
            "study.second_objective = 'val_brier' is the first objective too; "
            "write another one, or study.second_objective = 'none'.",
        ),
        (
            {"study.sampler": "cmaes", "study.second_objective": "parameters"},
            "study.sampler = 'cmaes' knows one objective, and study.second_objective = 'parameters' asks for two; "
            "write study.sampler = 'tpe' or 'nsga2'.",
        ),
        (
            {"search.outer_folds": 5, "search.outer_fold": 2},
            "search.outer_folds = 5 and search.outer_fold = 2 keep eyes away to judge a cross-validation; leave both "
            "out, or give `drsearch cross-validate`.",
        ),
        (
            {"study.pruner": "wilcoxon"},
            "study.pruner = 'wilcoxon' compares trials fold by fold, and they have one; "
            "write search.folds = 5, or study.pruner = 'median'.",
        ),
        (
            {"study.pruner": "hyperband", "search.folds": 5},
            "study.pruner = 'hyperband' judges trials by their epochs, and with search.folds = 5 they are judged by "
            "folds; write study.pruner = 'wilcoxon' or 'none'.",
        ),
        (
            {"study.pruner": "median", "search.repeats": 3},
            "study.pruner = 'median' judges trials by their epochs, and with search.repeats = 3 they are judged by "
            "repeats; write study.pruner = 'wilcoxon' or 'none'.",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError) as refused:
        check_study(Settings().replace(changes))
    assert str(refused.value) == said


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"study.second_objective": "latency", "study.sampler": "nsga2"},
        {"search.folds": 5, "study.second_objective": "parameters"},
        {"search.folds": 5, "study.constraints": "sensitivity >= 0.9"},
        {"study.sampler": "nsga2", "study.constraints": "sensitivity >= 0.9"},
        {"search.folds": 5, "search.repeats": 2, "study.pruner": "none"},
        {"study.pruner": "hyperband"},
    ],
)
def test_settings_that_go_together_pass(changes: dict[str, Any]) -> None:
    check_study(Settings().replace(changes))


def test_a_sampler_whose_package_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StudyError) as refused:
        check_study(Settings().replace({"study.sampler": "cmaes"}))
    assert str(refused.value) == (
        "study.sampler = 'cmaes' needs the package cmaes: pip install 'drsearch[cmaes]', "
        "or write study.sampler = 'tpe'."
    )
