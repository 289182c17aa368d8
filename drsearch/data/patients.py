"""Photographs of the same patient, by a column of the table or by their names."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

COLUMNS = frozenset(
    f"{who}{what}"
    for who in ("patient", "subject", "participant", "person")
    for what in ("", "id", "no", "nr", "number", "code", "name", "uid")
)
"""Titles of columns that name the patient, in small letters and without blanks, underscores and hyphens."""

_WORDS = re.compile(r"([^\s_.()\-]+)")
_SIDE = re.compile(r"(?P<number>\d+)?(?P<side>left|right|od|os|l|r)(?P<view>\d)?", re.IGNORECASE)


def patient_of_name(name: str) -> str:
    """The patient in the name of a photograph: the name without the word for the side; empty without such a word.

    The word is `left`, `right`, `OD`, `OS`, `L` or `R`, between blanks, underscores, hyphens, dots or the ends of the
    name, perhaps after a number (`12L`) or before a digit for the view (`12_l1`). Photographs are of one patient where
    all else in their names is equal, so a name that has such a word by chance joins nothing but its counterpart.

    Example:
        >>> patient_of_name("12_left") == patient_of_name("12_right") == "12_*"
        True
        >>> patient_of_name("IDRiD_001"), patient_of_name("img_L_003"), patient_of_name("12OD")
        ('', 'img_*_003', '12*')
    """
    parts = _WORDS.split(name)  # words at odd places
    sides = {at: match for at in range(1, len(parts), 2) if (match := _SIDE.fullmatch(parts[at]))}
    whole = {at: match for at, match in sides.items() if len(match["side"]) > 1}  # `L_12_left` is a left eye
    chosen = whole if len(whole) == 1 else sides
    if len(chosen) != 1:
        return ""
    ((at, match),) = chosen.items()
    rest = [*parts[:at], match["number"] or "", *parts[at + 1 :]]
    if not any(any(letter.isalnum() for letter in part) for part in rest):
        return ""
    # A digit after the side is a view only of somebody: `12_l1`, not the running number of `img_l1`.
    if match["view"] and not any(any(letter.isdigit() for letter in part) for part in rest):
        return ""
    return "".join([*parts[:at], match["number"] or "", "*", *parts[at + 1 :]])


def patients_of(names: Sequence[str], cells: Sequence[str]) -> list[str]:
    """The patient of every photograph; empty where it is unknown.

    Args:
        names: Of the photographs.
        cells: The patient column's text of each; empty without one. It counts for more than the name, and for the other
            eye where that has an empty cell.

    Example:
        >>> patients_of(["1_left", "1_right", "a", "2_left"], ["P1", "", "P7", ""])
        ['P1', 'P1', 'P7', '2_*']
    """
    by_name = [patient_of_name(name) for name in names]
    cell_of = {
        patient: cell for patient, cell in zip(reversed(by_name), reversed(cells), strict=True) if patient and cell
    }
    return [cell or cell_of.get(patient, patient) for patient, cell in zip(by_name, cells, strict=True)]


def kept_together(pictures: NDArray[np.int64], patients: Sequence[str]) -> NDArray[np.int64]:
    """The group of every photograph: photographs of one picture or patient have the same number.

    Groups are joined through others, as where a picture is stored again under another patient's name.

    Args:
        pictures: The number of the picture that each of n photographs shows, see `picture_groups`, shape (n,).
        patients: The patient of each; empty where it is unknown.

    Returns:
        int64, shape (n,).

    Example:
        >>> kept_together(np.array([0, 1, 2, 2, 3]), ["A", "A", "B", "", ""]).tolist()
        [0, 0, 1, 1, 2]
    """
    _, picture = np.unique(pictures, return_inverse=True)
    n = int(picture.max(initial=-1)) + 1
    number = {patient: n + i for i, patient in enumerate(sorted({patient for patient in patients if patient}))}
    if not number:
        return np.asarray(picture, dtype=np.int64)
    edges = [(int(picture[i]), number[patient]) for i, patient in enumerate(patients) if patient]
    size = n + len(number)
    graph = coo_array((np.ones(len(edges)), tuple(np.transpose(edges))), (size, size))
    _, component = connected_components(graph, directed=False)
    return np.asarray(component[picture], dtype=np.int64)
