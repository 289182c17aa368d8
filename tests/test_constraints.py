"""Limits of a study: what they may be, and how far a trial lies beyond them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsearch.constraints import Constraint, parse_constraints, violated
from drsearch.errors import SettingsError
from drsearch.metrics import COSTS, EXAMPLES
from drsearch.settings import Settings
from drsearch.training.objective import violations

LIMITS = st.builds(
    Constraint,
    st.sampled_from([*EXAMPLES, *COSTS]),
    st.booleans(),
    st.floats(1e-4, 1).map(lambda limit: float(f"{limit:.6g}")),
)


def test_the_limits_of_the_documentation_are_read() -> None:
    assert parse_constraints("sensitivity >= 0.9, parameters <= 300000") == (
        Constraint("val_sensitivity", True, 0.9),
        Constraint("parameters", False, 300_000),
    )
    assert parse_constraints("") == parse_constraints(" ") == ()


@given(LIMITS, st.floats(0, 2))
def test_a_violation_says_whether_and_how_far_a_value_lies_beyond_its_limit(limit: Constraint, value: float) -> None:
    violation = limit.violation(value)
    assert limit.value(violation) == pytest.approx(value, abs=1e-8)
    if abs(value - limit.limit) > 1e-6 * limit.limit:
        kept = value >= limit.limit if limit.is_least else value <= limit.limit
        assert (violation <= 0) == kept == (not violated({limit.text: violation}))
    assert parse_constraints(limit.text) == (limit,)


def test_a_mean_that_misses_its_limit_by_rounding_keeps_it() -> None:
    assert Constraint("val_sensitivity", True, 0.9).violation(sum([0.85, 0.95, 0.9, 0.9, 0.9]) / 5) <= 0


def test_values_beside_their_limits_are_told_apart() -> None:
    assert Constraint("val_auc", True, 0.9).excess(1e-6) == "auc 0.8999991 < 0.9"
    assert Constraint("parameters", False, 300_000).excess(1e-5) == "parameters 300003 > 300000"


def test_the_violations_of_a_trial_come_from_the_metrics_of_its_best_epoch() -> None:
    settings = Settings().replace({"study.constraints": "sensitivity >= 0.8, latency <= 20, loss <= 2"})
    metrics = {"best_val_sensitivity": 0.6, "model_latency_ms": 10.0, "best_val_loss": 0.5}
    seen = violations(metrics, settings)
    assert seen == {"sensitivity >= 0.8": 0.25, "latency <= 20": -0.5, "loss <= 2": -0.75}
    assert violated(seen) == "sensitivity 0.6 < 0.8"
    assert settings.study.judged_by == ("val_auc", "val_sensitivity", "latency", "val_loss")
    assert [metric.name for metric in settings.study.metrics] == ["sensitivity"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "sensitivity > 0.9",
            "'sensitivity > 0.9' is no limit; expected a metric, '>=' or '<=' and a number above 0, "
            "for example study.constraints = 'sensitivity >= 0.9, parameters <= 300000'.",
        ),
        ("sensitivity >= 0.9,", "'' is no limit; "),
        ("auc >= high", "'auc >= high' is no limit; "),
        ("auc >= 0", "'auc >= 0' is no limit; "),
        ("auc >= 1e", "'auc >= 1e' is no limit; "),
        ("sensitivty >= 0.9", "'sensitivty' is no metric; there are auc, accuracy, loss, "),
        (
            "sensitivity >= 90",
            "'sensitivity' is a share of at most 1, so 'sensitivity >= 90' says nothing; ",
        ),
    ],
)
def test_another_text_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings().replace({"study.constraints": text})
    assert str(refused.value).startswith(f"study.constraints = {text!r}: {said}")


def test_one_metric_has_one_least_and_one_most() -> None:
    assert len(parse_constraints("parameters >= 100, parameters <= 300")) == 2
    with pytest.raises(SettingsError, match="limits 'val_auc' twice; write the stricter limit"):
        parse_constraints("auc >= 0.8, val_auc >= 0.9")
