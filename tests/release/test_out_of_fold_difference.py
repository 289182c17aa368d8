"""Which cross-validations can be compared in pairs?"""

import numpy as np
import pytest

from drsearch.errors import StudyError
from drsearch.measure.out_of_fold import Repeat
from drsearch.release.out_of_fold_difference import Answers, check_same_folds

EYES = (("a", 0), ("b", 1), ("c", 0), ("d", 1))
FIRST, SECOND = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])


def answers(*folds: np.ndarray) -> Answers:
    return Answers("other", EYES, tuple(Repeat(fold, np.full(4, 0.5), np.ones(4, bool)) for fold in folds))


def test_repeats_that_one_of_them_lacks_are_no_reason_to_refuse() -> None:
    check_same_folds(answers(FIRST), EYES, [FIRST, SECOND])
    check_same_folds(answers(FIRST, SECOND), EYES, [FIRST])


@pytest.mark.parametrize("eyes", [EYES[:3], EYES[::-1], (*EYES[:3], ("e", 1)), (*EYES[:3], ("d", 0))])
def test_other_eyes_and_other_labels_are_refused(eyes: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(StudyError, match=f"it judged 4 eyes, and {len(eyes)} are dealt here that are not all the same"):
        check_same_folds(answers(FIRST), eyes, [FIRST[: len(eyes)]])


def test_other_folds_of_any_repeat_that_both_have_are_refused() -> None:
    with pytest.raises(StudyError, match="it dealt the eyes into other folds"):
        check_same_folds(answers(FIRST, SECOND), EYES, [FIRST, FIRST])
