"""Quadratic weighted kappa: as scikit-learn's, and by counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from drsearch.errors import MetricError
from drsearch.measure.kappa import Graded, _kappas, kappa_interval, quadratic_kappa

EYES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=20)


@given(EYES, st.data())
def test_it_is_that_of_scikit_learn_for_eyes_and_for_every_resample(
    eyes: list[tuple[int, int]], data: st.DataObject
) -> None:
    grades, predicted = np.array(eyes).T
    counts = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(eyes), max_size=len(eyes))))
    drawn = np.repeat(np.arange(len(eyes)), counts)
    value = _kappas(Graded(grades, predicted), counts[None].astype(float))[0]
    if len({*grades[drawn], *predicted[drawn]}) < 2:
        assert np.isnan(value)
    else:
        theirs = cohen_kappa_score(grades[drawn], predicted[drawn], labels=range(5), weights="quadratic")
        assert value == pytest.approx(theirs)
        assert quadratic_kappa(Graded(grades[drawn], predicted[drawn])) == pytest.approx(value)


def test_the_interval_lies_around_it_and_is_wider_where_the_eyes_of_a_patient_are_alike() -> None:
    random = np.random.default_rng(0)
    grades = np.repeat(random.integers(0, 5, 40), 2)
    graded = Graded(grades, np.clip(grades + np.repeat(random.integers(-1, 2, 40), 2), 0, 4))
    by_eyes, by_patients = (kappa_interval(grades >= 2, graded, groups) for groups in (None, np.arange(80) // 2))
    assert by_eyes.value == by_patients.value == quadratic_kappa(graded)
    assert 0 < by_eyes.low < by_eyes.value < by_eyes.high < 1
    assert by_patients.high - by_patients.low > by_eyes.high - by_eyes.low


def test_eyes_of_one_grade_that_all_get_it_are_refused() -> None:
    with pytest.raises(MetricError, match="Kappa is undefined, since the 3 eyes have one grade and get the same"):
        quadratic_kappa(Graded(np.array([2, 2, 2]), np.array([2, 2, 2])))
