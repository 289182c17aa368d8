"""Whose eye a photograph shows, and which one, by a column of the table or by its name."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

EYES: Mapping[str, Literal["left", "right"]] = {
    "left": "left",
    "l": "left",
    "os": "left",
    "right": "right",
    "r": "right",
    "od": "right",
}
"""The eye by its usual names in cells and in names of photographs, in small letters."""

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
    return patient_and_eye(name)[0]


def patient_and_eye(name: str) -> tuple[str, Literal["", "left", "right"]]:
    """The patient in the name of a photograph, see `patient_of_name`, and which eye it says.

    Example:
        >>> patient_and_eye("12_left"), patient_and_eye("7 OD"), patient_and_eye("IDRiD_001")
        (('12_*', 'left'), ('7 *', 'right'), ('', ''))
    """
    parts = _WORDS.split(name)  # words at odd places
    sides = {at: match for at in range(1, len(parts), 2) if (match := _SIDE.fullmatch(parts[at]))}
    whole = {at: match for at, match in sides.items() if len(match["side"]) > 1}  # `L_12_left` is a left eye
    chosen = whole if len(whole) == 1 else sides
    if len(chosen) != 1:
        return "", ""
    ((at, match),) = chosen.items()
    rest = [*parts[:at], match["number"] or "", *parts[at + 1 :]]
    if not any(any(letter.isalnum() for letter in part) for part in rest):
        return "", ""
    # A digit after the side is a view only of somebody: `12_l1`, not the running number of `img_l1`.
    if match["view"] and not any(any(letter.isdigit() for letter in part) for part in rest):
        return "", ""
    return "".join([*parts[:at], match["number"] or "", "*", *parts[at + 1 :]]), EYES[match["side"].lower()]


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
