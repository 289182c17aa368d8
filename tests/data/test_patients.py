from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from drsearch.data.patients import kept_together
from drsearch.data.splits import LEFT_OUT, folds, split
from drsearch.datasets.patients import patient_of_name, patients_of
from drsearch.errors import DataError
from drsearch.settings import DataSettings


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("12_left", "12_right"), ("10_L", "10_R"), ("P7_OD", "P7_OS"), ("Smith-Left", "Smith-Right"), ("12L", "12R"),
        ("left_12", "right_12"), ("1_l1", "1_r2"), ("1_l1", "1_l2"), ("img_l_003", "img_r_003"),
        ("12 (left)", "12 (right)"),
        ("3.OS.2019", "3.OD.2019"), ("L_12_left", "L_12_right"), ("0012od", "0012os"),
    ],
)  # fmt: skip
def test_two_eyes_are_known_by_their_names(first: str, second: str) -> None:
    assert patient_of_name(first) == patient_of_name(second) != ""


@pytest.mark.parametrize(
    "name",
    [
        "IDRiD_001", "SYN_001", "20051020_43808_0100_PP", "IM000180", "C0001273", "007-0004-000", "000c1434d8d7",
        "l", "left",
        "img_l1", "1.1", "a", "left_right_1", "leftover_1", "world",
    ],
)  # fmt: skip
def test_names_of_published_sets_without_eyes_tell_no_patient(name: str) -> None:
    assert patient_of_name(name) == ""


@pytest.mark.parametrize(
    ("first", "second"),
    [("1_left", "11_right"), ("1_left", "2_left"), ("img_l_003", "img_l_004"), ("a_1_left", "b_1_left")],
)
def test_two_patients_are_not_joined(first: str, second: str) -> None:
    assert patient_of_name(first) != patient_of_name(second)


def test_a_column_counts_for_more_than_names() -> None:
    assert patients_of(["1_left", "1_right"], ["A", "B"]) == ["A", "B"]
    assert patients_of(["1_left", "1_right", "2_left"], ["", "B", ""]) == ["B", "B", "2_*"]


@st.composite
def photographs(draw: st.DrawFn) -> tuple[list[int], list[int], list[str]]:
    n = draw(st.integers(20, 80))
    grades = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    pictures = draw(st.lists(st.integers(0, 2 * n), min_size=n, max_size=n))
    patients = draw(st.lists(st.sampled_from(["", "", *(f"P{i}" for i in range(n))]), min_size=n, max_size=n))
    return grades, pictures, patients


@given(photographs())
def test_no_picture_and_no_patient_is_on_two_sides_or_in_two_folds(
    case: tuple[list[int], list[int], list[str]],
) -> None:
    grades, pictures, patients = case
    groups = kept_together(np.array(pictures), patients)
    published, labels = ["train"] * len(grades), [int(grade >= 2) for grade in grades]
    divided = [
        split(grades, labels, groups, published, DataSettings(split=way), both_classes=False)  # type: ignore[arg-type]
        for way in ("blocks", "random")
    ]
    try:
        divided.append(folds(grades, labels, groups, 3, DataSettings()))
    except DataError:
        pass  # too few of one class
    for sides in divided:
        for keys in (pictures, patients):
            members = defaultdict(set)
            for key, side in zip(keys, sides.tolist(), strict=True):
                if key != "" and side != LEFT_OUT:
                    members[key].add(side)
            assert all(len(found) == 1 for found in members.values())


@given(photographs())
def test_only_those_are_kept_together_that_are_joined(case: tuple[list[int], list[int], list[str]]) -> None:
    _, pictures, patients = case
    n = len(pictures)
    joined = [
        (i, j)
        for i in range(n)
        for j in range(i + 1, n)
        if pictures[i] == pictures[j] or patients[i] == patients[j] != ""
    ]
    graph = coo_array((np.ones(len(joined)), tuple(np.array(joined, dtype=int).reshape(-1, 2).T)), (n, n))
    n_groups, component = connected_components(graph, directed=False)
    groups = kept_together(np.array(pictures), patients)
    assert len(set(groups.tolist())) == len(set(zip(groups.tolist(), component.tolist(), strict=True))) == n_groups
