"""What is wrong with the photographs of a data set, each named?"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from drsearch.grades import label_of

SAME_LOOK = 0.075
"""Root mean square difference of two looks, in units of the spread of the duller one, up to which they show the same
picture. In units of the spread, so that dim photographs are told apart as well as bright ones.

On IDRiD's 413 photographs the same picture stored again (JPEG of quality 50, half and one and a half times the size,
PNG, cropped close to the retina) is at most 0.038 from the first, and of two different photographs the closest are
0.158 apart: neighbours, the same eye photographed again.
"""

_BLOCK = 8  # a look's means over blocks of 8 x 8: 16 numbers to search among


class Finding(NamedTuple):
    """One file and what is to be said of it: why it cannot be read, or the text found where a grade should be."""

    file: str
    found: str


@dataclass(frozen=True)
class SamePicture:
    """One picture that several files hold.

    Attributes:
        files: The files.
        grades: The grade of each; None where it has no valid one.
        how: `bytes`: the files are identical; `pixels`: the same picture encoded or sized differently.
    """

    files: tuple[str, ...]
    grades: tuple[int | None, ...]
    how: Literal["bytes", "pixels"]

    @property
    def contradicts_itself(self) -> bool:
        """Whether its files have different grades."""
        return len(self._known) > 1

    @property
    def contradicts_itself_in_class(self) -> bool:
        """Whether its files are graded on both sides of the line between NRDR and RDR."""
        return len({label_of(grade) for grade in self._known}) > 1

    @property
    def _known(self) -> set[int]:
        return {grade for grade in self.grades if grade is not None}


@dataclass(frozen=True)
class Audit:
    """Every finding about a data set, by kind; files are named as they lie in its folder.

    Attributes:
        n_photographs: Photographs found.
        n_usable: Those that can be recorded.
        unreadable: Cannot be read whole.
        no_retina: No retina was found.
        invalid_grade: The grade is none of the five; with the text found.
        label_without_photograph: The table, and the name in it that no photograph has.
        unlabelled: No label speaks of them.
        duplicates: The same picture in several files.
        train_and_test: Pictures that were published for training and for testing: training goes without them.
    """

    n_photographs: int
    n_usable: int
    unreadable: tuple[Finding, ...] = ()
    no_retina: tuple[Finding, ...] = ()
    invalid_grade: tuple[Finding, ...] = ()
    label_without_photograph: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    duplicates: tuple[SamePicture, ...] = ()
    train_and_test: tuple[SamePicture, ...] = ()

    @property
    def contradicting(self) -> tuple[SamePicture, ...]:
        """The duplicates whose files have different grades."""
        return tuple(picture for picture in self.duplicates if picture.contradicts_itself)

    @property
    def bad(self) -> tuple[str, ...]:
        """What `--skip-bad` goes on without, each in a few words."""
        return (
            *(f"{file} ({reason})" for file, reason in (*self.unreadable, *self.no_retina)),
            *(f"{file} (grade {text!r})" for file, text in self.invalid_grade),
            *(f"{name} (label without photograph)" for name in self.label_without_photograph),
        )

    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind."""
        lists = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("n_photographs", "n_usable")
        }
        return {**{kind: len(found) for kind, found in lists.items()}, "contradicting": len(self.contradicting)}

    def to_json(self) -> dict[str, Any]:
        """The audit as JSON values; `contradicting` and `counts` are written for the reader."""
        written: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        for kind in ("unreadable", "no_retina", "invalid_grade"):
            written[kind] = [finding._asdict() for finding in getattr(self, kind)]
        for kind in ("duplicates", "train_and_test"):
            written[kind] = [_picture_json(picture) for picture in getattr(self, kind)]
        written["contradicting"] = [_picture_json(picture) for picture in self.contradicting]
        return {"counts": self.counts(), **written}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Audit":
        """The audit that `to_json` gave these values of."""

        def findings(kind: str) -> tuple[Finding, ...]:
            return tuple(Finding(**item) for item in values[kind])

        def pictures(kind: str) -> tuple[SamePicture, ...]:
            return tuple(SamePicture(tuple(p["files"]), tuple(p["grades"]), p["how"]) for p in values[kind])

        return cls(
            values["n_photographs"],
            values["n_usable"],
            findings("unreadable"),
            findings("no_retina"),
            findings("invalid_grade"),
            tuple(values["label_without_photograph"]),
            tuple(values["unlabelled"]),
            pictures("duplicates"),
            pictures("train_and_test"),
        )


def _picture_json(picture: SamePicture) -> dict[str, Any]:
    return {
        "files": list(picture.files),
        "grades": list(picture.grades),
        "how": picture.how,
        "contradicts_itself_in_class": picture.contradicts_itself_in_class,
    }


def same_pictures(looks: NDArray[np.uint8], others: NDArray[np.uint8] | None = None) -> list[tuple[int, int]]:
    """Which photographs show the same picture, re-encoded or resized as it may be.

    Candidates come from a search tree over the means of blocks. These lie no further apart than the looks themselves,
    so none is missed, and no time is spent on all pairs.

    Args:
        looks: `EyeImage.look` of every photograph, uint8, shape (n, LOOK_PX, LOOK_PX).
        others: Those to compare with, shape (m, LOOK_PX, LOOK_PX); None: with each other.

    Returns:
        Pairs (index in `looks`, index in `others`), rising; among themselves the first is the smaller.
    """
    among_themselves = others is None
    others = looks if others is None else others
    if not len(looks) or not len(others):
        return []
    means, spread = _means(looks), np.maximum(looks.reshape(len(looks), -1).std(axis=1), 1.0)
    # The root mean square of 16 numbers is a quarter of their distance.
    radius = SAME_LOOK * spread * np.sqrt(means.shape[1])
    near = cKDTree(_means(others)).query_ball_point(means, radius, return_sorted=True)
    return [
        (i, int(j))
        for i, found in enumerate(near)
        for j in found
        if (not among_themselves or i < j) and _difference(looks[i], others[j]) <= SAME_LOOK
    ]


def _means(looks: NDArray[np.uint8]) -> NDArray[np.float64]:
    n, height, width = looks.shape
    blocks = looks.reshape(n, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).mean(axis=(2, 4), dtype=np.float64)
    return np.asarray(blocks.reshape(n, -1), dtype=np.float64)


def _difference(look: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    distance = np.sqrt(np.mean((look.astype(np.float64) - other) ** 2))
    return float(distance / max(min(look.std(), other.std()), 1.0))


def picture_groups(hashes: Sequence[str], looks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The number of the picture that each photograph shows: equal for the same bytes or the same look.

    Args:
        hashes: Hash of every file's bytes, n of them.
        looks: Their looks, uint8, shape (n, LOOK_PX, LOOK_PX).

    Returns:
        int64, shape (n,), numbered from 0.
    """
    _, first, kind = np.unique(np.asarray(hashes), return_index=True, return_inverse=True)
    if not len(first):
        return np.zeros(0, np.int64)
    # Identical files are one before looks are compared: a thousand copies would be half a million pairs.
    pairs = np.asarray(same_pictures(looks[first]), dtype=np.int64).reshape(-1, 2)
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(first), len(first)))
    return np.asarray(connected_components(links, directed=False)[1][kind], dtype=np.int64)


def same_picture_findings(
    files: Sequence[str], grades: Sequence[int | None], hashes: Sequence[str], groups: NDArray[np.int64]
) -> tuple[SamePicture, ...]:
    """The pictures that several files hold, in the order of their first file."""
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(int(group), []).append(index)
    return tuple(
        SamePicture(
            tuple(files[i] for i in same),
            tuple(grades[i] for i in same),
            "bytes" if len({hashes[i] for i in same}) == 1 else "pixels",
        )
        for same in members.values()
        if len(same) > 1
    )
