"""Charts of a model's answers: right for few eyes, small for very many."""

import numpy as np
import pytest

from drsearch.release.eye_answers import EyeAnswer
from drsearch.reports import figures


def _answers(n: int) -> list[EyeAnswer]:
    random = np.random.default_rng(0)
    labels, noise = random.integers(0, 2, n), random.normal(0, 0.4, n)
    probabilities = np.clip(0.5 + 0.3 * (2 * labels - 1) + noise, 0, 1)
    return [
        EyeAnswer(f"eye {i}", 3 * int(label), int(label), float(probability), int(probability >= 0.5), 0.7, "", "")
        for i, (label, probability) in enumerate(zip(labels, probabilities, strict=True))
    ]


@pytest.mark.parametrize("n", [50, 20_000])
def test_sensitivity_and_specificity_are_those_at_each_threshold_that_is_drawn(n: int) -> None:
    answers = _answers(n)
    labels, probabilities, _ = figures.arrays(answers)
    sensitivity, specificity = figures.other_thresholds(answers, 0.5).data
    assert len(sensitivity.x) < 1300
    for at in (0, 1, len(sensitivity.x) // 2, len(sensitivity.x) - 1):
        called = probabilities >= sensitivity.x[at]
        assert sensitivity.y[at] == pytest.approx(called[labels == 1].mean())
        assert specificity.y[at] == pytest.approx(1 - called[labels == 0].mean())


def test_of_few_eyes_each_is_drawn_and_of_many_some_which_the_legend_says() -> None:
    few, many = (figures.probabilities_by_grade(_answers(n), 0.5).data for n in (50, 20_000))
    assert sum(len(trace.x) for trace in few) == 50
    assert [trace.name for trace in few] == ["right", "wrong"]
    wrong = sum(not answer.is_right for answer in _answers(20_000))
    assert [len(trace.x) for trace in many] == [1000, 1000]
    assert [trace.name for trace in many] == [f"right (1,000 of {20_000 - wrong:,})", f"wrong (1,000 of {wrong:,})"]
