"""Names of metrics in settings."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsearch.errors import SettingsError
from drsearch.metrics import EXAMPLES, epoch_metric
from drsearch.settings import Settings


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_a_metric_and_may_be_an_objective(name: str) -> None:
    metric = epoch_metric(name)
    assert metric is not None and f"val_{metric.name}" == name
    assert Settings().replace({"study.objective": name}).study.objective == name
    assert Settings().replace({"study.second_objective": name}).study.objectives[1] == name


@given(st.integers(1, 99), st.integers(1, 99))
def test_levels_are_read_from_the_name(low: int, high: int) -> None:
    metric = epoch_metric(f"val_sensitivity_at_specificity_{low / 100:g}")
    assert metric is not None and metric.levels == (low / 100,)
    metric = epoch_metric(f"val_partial_auc_at_specificity_{low / 100:g}_to_{high / 100:g}")
    assert (metric and metric.levels) == ((low / 100, high / 100) if low < high else None)


@pytest.mark.parametrize(
    "name",
    ["auc", "val_auk", "val_sensitivity_at_specificity", "val_sensitivity_at_specificity_90", "val_auc_0.9",
     "train_auc", "val_sensitivity_at_specificity_0.90", "val_sensitivity_at_specificity_1",
     "val_partial_auc_at_specificity_0.8", "val_partial_auc_at_specificity_0.9_to_0.8", "parameters", "none", ""],
)  # fmt: skip
def test_another_name_is_refused_with_those_that_may_be(name: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings().replace({"study.objective": name})
    assert str(refused.value).startswith(f"study.objective = {name!r}: expected 'val_auc', 'val_accuracy', ")
    assert str(refused.value).endswith("(with any levels between 0 and 1), for example study.objective = 'val_auc'.")


@pytest.mark.parametrize(
    ("changes", "metrics"),
    [
        ({}, []),
        ({"study.objective": "val_loss", "study.second_objective": "parameters"}, []),
        ({"study.objective": "val_brier", "study.second_objective": "val_auc"}, ["brier"]),
        ({"study.second_objective": "val_specificity_at_sensitivity_0.9"}, ["specificity_at_sensitivity_0.9"]),
    ],
)
def test_settings_know_what_is_measured_beside_the_usual(changes: dict[str, Any], metrics: list[str]) -> None:
    assert [each.name for each in Settings().replace(changes).study.metrics] == metrics
