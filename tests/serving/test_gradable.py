import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsearch.data.quality import MEASURES, Quality
from drsearch.serving.gradable import MOST, quality_limits

measures = st.floats(0, 1)
qualities = st.builds(Quality, measures, measures, measures, measures, st.just("is pale"))


@given(st.lists(qualities, min_size=1, max_size=30))
def test_no_training_eye_of_few_is_refused_nor_one_that_is_good_by_every_measure(training: list[Quality]) -> None:
    limits = quality_limits(training)
    assert all(limits.reason(quality) is None for quality in training)
    assert limits.reason(Quality(MOST, MOST, MOST, MOST, "")) is None


def test_few_new_eyes_of_the_same_source_are_refused() -> None:
    rng = np.random.default_rng(0)
    eyes = [Quality(*row, "") for row in rng.beta(4, 4, (3000, len(MEASURES))).tolist()]
    shares = [
        np.mean([quality_limits(eyes[:n]).reason(eye) is not None for eye in eyes[1000:]]) for n in (50, 200, 1000)
    ]
    assert max(shares) < 0.03 and shares[-1] < 0.01


@pytest.mark.parametrize(
    ("worse", "words"),
    [
        ({"sharpness": 0.1}, "the photograph is dim: its sharpness is 0.10, below the limit of 0.30"),
        ({"field": 0.2, "contrast": 0.15}, "the photograph is dim: its contrast is 0.15, below the limit of 0.30"),
    ],
)
def test_the_reason_is_the_measure_that_is_furthest_below(worse: dict[str, float], words: str) -> None:
    limits = quality_limits([Quality(1, 1, 1, 1, "")] * 9)
    reason = limits.reason(Quality(**{**dict.fromkeys(MEASURES, 0.9), **worse}, reason="is dim"))
    assert reason == f"{words} by the 9 eyes that the model was trained on; take it again"


def test_a_measure_below_its_limit_is_named_though_another_is_worse() -> None:
    limits = quality_limits([Quality(0.9, 0.9, 0.9, 0.1, "")] * 9)
    reason = limits.reason(Quality(0.25, 0.9, 0.9, 0.2, "is pale"))
    assert reason is not None and reason.startswith("the photograph is out of focus, or blurred: its sharpness is 0.25")


def test_a_model_without_training_eyes_answers_everything() -> None:
    assert quality_limits([]).reason(Quality(0, 0, 0, 0, "is pale")) is None
