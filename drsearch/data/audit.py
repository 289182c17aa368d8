"""What is wrong with the photographs of a data set, each named?"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from drsearch.data.images import THUMBNAIL_PX
from drsearch.grades import label_of

SAME_THUMBNAIL = 0.075
"""Root mean square difference of two thumbnails up to which they show the same picture, in units of the spread of the
duller one, so that dim photographs are told apart as well as bright ones.

On IDRiD's 413 photographs the same picture stored again (JPEG of quality 50, half and one and a half times the size,
PNG, cropped to 4 pixels beside the retina) is at most 0.052 from the first at 256 px and 0.058 at 32, and of two
different photographs the closest are 0.159 apart: neighbours, the same eye photographed again.
"""

_BLOCK = 8  # a thumbnail's means over blocks of 8 x 8: 16 numbers to search among
_HORIZON = 2.1  # reaches; two of them and what the spread of two thumbnails of the same picture differs by
_AT_ONCE = 256


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
        n_usable: Those that are recorded.
        unreadable: Cannot be read whole.
        no_retina: No retina was found that can be graded.
        invalid_grade: The grade is none of the five; with the text found.
        label_without_photograph: The table, and the name in it that no photograph has.
        unlabelled: No label speaks of them.
        duplicates: The same picture in several files.
        left_out: Photographs with which nothing is wrong by themselves, but which are not recorded; with the reason.
        not_used: What looks like photographs or tables and is neither, and columns of tables that are not read.
        patients: How many patients have several photographs; those of a patient lie on one side.
        patients_by: How patients are told; empty where they are not.
    """

    n_photographs: int
    n_usable: int
    unreadable: tuple[Finding, ...] = ()
    no_retina: tuple[Finding, ...] = ()
    invalid_grade: tuple[Finding, ...] = ()
    label_without_photograph: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    duplicates: tuple[SamePicture, ...] = ()
    left_out: tuple[Finding, ...] = ()
    not_used: tuple[str, ...] = ()
    patients: int = 0
    patients_by: str = ""

    @property
    def contradicting(self) -> tuple[SamePicture, ...]:
        """The duplicates whose files have different grades."""
        return tuple(picture for picture in self.duplicates if picture.contradicts_itself)

    @property
    def bad(self) -> tuple[str, ...]:
        """What `--skip-bad` goes on without, each once, in a few words."""
        seen = {file for file, _ in (*self.unreadable, *self.no_retina)}
        return (
            *(f"{file} ({reason})" for file, reason in (*self.unreadable, *self.no_retina)),
            *(f"{file} (grade {text!r})" for file, text in self.invalid_grade if file not in seen),
            *(f"{name} (label without photograph)" for name in self.label_without_photograph),
            *(f"{file} (photograph without label)" for file in self.unlabelled if file not in seen),
        )

    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        lists = {kind: len(findings) for kind, findings in values.items() if isinstance(findings, tuple)}
        return {**lists, "contradicting": len(self.contradicting), "patients": self.patients}

    def to_json(self) -> dict[str, Any]:
        """The audit as JSON values; `contradicting` and `counts` are written for the reader."""
        written: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        for kind in ("unreadable", "no_retina", "invalid_grade", "left_out"):
            written[kind] = [finding._asdict() for finding in getattr(self, kind)]
        written["duplicates"] = [_picture_json(picture) for picture in self.duplicates]
        written["contradicting"] = [_picture_json(picture) for picture in self.contradicting]
        return {"counts": self.counts(), **written}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Audit":
        """The audit that `to_json` gave these values of."""

        def findings(kind: str) -> tuple[Finding, ...]:
            return tuple(Finding(**item) for item in values[kind])

        return cls(
            values["n_photographs"],
            values["n_usable"],
            findings("unreadable"),
            findings("no_retina"),
            findings("invalid_grade"),
            tuple(values["label_without_photograph"]),
            tuple(values["unlabelled"]),
            tuple(SamePicture(tuple(p["files"]), tuple(p["grades"]), p["how"]) for p in values["duplicates"]),
            findings("left_out"),
            tuple(values["not_used"]),
            values["patients"],
            values["patients_by"],
        )


def _picture_json(picture: SamePicture) -> dict[str, Any]:
    return {
        "files": list(picture.files),
        "grades": list(picture.grades),
        "how": picture.how,
        "contradicts_itself_in_class": picture.contradicts_itself_in_class,
    }


class _Thumbnails:
    """Thumbnails that can be searched for those near one of them.

    Candidates come from a search tree over the means of blocks and the contrast within blocks. These lie no further
    apart than the thumbnails themselves, so none is missed, and no time is spent on all pairs.
    """

    def __init__(self, thumbnails: NDArray[np.uint8]) -> None:
        self.flat = thumbnails.reshape(len(thumbnails), -1)
        blocks = thumbnails.reshape(-1, THUMBNAIL_PX // _BLOCK, _BLOCK, THUMBNAIL_PX // _BLOCK, _BLOCK)
        means = blocks.mean(axis=(2, 4), dtype=np.float64).reshape(len(thumbnails), -1)
        squares = np.einsum("ij,ij->i", self.flat, self.flat, dtype=np.int64) / self.flat.shape[1]
        variance = np.maximum(squares - means.mean(axis=1) ** 2, 0)
        within = np.sqrt(np.maximum(variance - means.var(axis=1), 0))
        # So that distances are root mean squares, as of thumbnails.
        self.points = np.column_stack([means / np.sqrt(means.shape[1]), within])
        # Levels beyond which nothing shows the same picture.
        self.reach = SAME_THUMBNAIL * np.maximum(np.sqrt(variance), 1.0)

    def tree(self) -> cKDTree:
        """Over `points`; not balanced, because thumbnails that are equal would be told apart at great cost."""
        return cKDTree(self.points, balanced_tree=False)

    def differences(self, thumbnail: NDArray[np.uint8], among: NDArray[np.intp]) -> NDArray[np.float64]:
        """Root mean square differences, in levels, of a thumbnail and some of these; few at a time, to save memory."""
        found = np.empty(len(among))
        for start in range(0, len(among), _AT_ONCE):
            apart = self.flat[among[start : start + _AT_ONCE]] - thumbnail.astype(np.float64)
            found[start : start + _AT_ONCE] = np.sqrt(np.mean(apart**2, axis=1))
        return found


def same_pictures(thumbnails: NDArray[np.uint8], others: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Which photographs show a picture of another set, re-encoded or resized as it may be.

    Args:
        thumbnails: `EyeImage.thumbnail` of every photograph, uint8, shape (n, THUMBNAIL_PX, THUMBNAIL_PX).
        others: Those to compare with, shape (m, THUMBNAIL_PX, THUMBNAIL_PX).

    Returns:
        Pairs (index in `thumbnails`, index in `others`), rising.
    """
    if not len(thumbnails) or not len(others):
        return []
    these, those = _Thumbnails(thumbnails), _Thumbnails(others)
    tree = those.tree()
    pairs = []
    for i in range(len(thumbnails)):
        near = np.sort(np.asarray(tree.query_ball_point(these.points[i], these.reach[i]), dtype=np.intp))
        same = those.differences(these.flat[i], near) <= np.minimum(these.reach[i], those.reach[near])
        pairs += [(i, int(j)) for j in near[same]]
    return pairs


def _pictures(thumbnails: _Thumbnails) -> NDArray[np.int64]:
    """The picture of every thumbnail: the number of the first thumbnail that shows it, directly or through others.

    Thumbnails of one picture are not compared again. Where many are alike, one answers for its neighbours: those around
    which (by the triangle inequality) no other picture lies within reach. A thousand alike take a few thousand
    comparisons.
    """
    picture = np.arange(len(thumbnails.points))
    n_near = thumbnails.tree().query_ball_point(thumbnails.points, thumbnails.reach, return_length=True)
    crowd = np.flatnonzero(n_near > 1)  # the others are near themselves only
    if not len(crowd):
        return picture
    tree = cKDTree(thumbnails.points[crowd], balanced_tree=False)
    answered_for = np.zeros(len(picture), np.bool_)
    for i in crowd:
        if answered_for[i]:
            continue
        horizon = _HORIZON * thumbnails.reach[i]
        near = crowd[tree.query_ball_point(thumbnails.points[i], horizon)]
        near = near[picture[near] != picture[i]]
        apart = thumbnails.differences(thumbnails.flat[i], near)
        same = apart <= np.minimum(thumbnails.reach[i], thumbnails.reach[near])
        joined = np.append(picture[near[same]], picture[i])
        picture[crowd[np.isin(picture[crowd], joined)]] = joined.min()
        ours = picture[near] == picture[i]
        gap = apart[~ours].min(initial=horizon)
        answered_for[near[ours & (apart + thumbnails.reach[near] < gap)]] = True
    return picture


def picture_groups(hashes: Sequence[str], thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The number of the picture that each photograph shows: equal for the same bytes or the same thumbnail.

    Args:
        hashes: Hash of every file's bytes, n of them.
        thumbnails: Their thumbnails, uint8, shape (n, THUMBNAIL_PX, THUMBNAIL_PX).

    Returns:
        int64, shape (n,), numbered from 0.
    """
    _, first, kind = np.unique(np.asarray(hashes, dtype=np.bytes_), return_index=True, return_inverse=True)
    if not len(first):
        return np.zeros(0, np.int64)
    pictures = _pictures(_Thumbnails(thumbnails[first]))  # identical files are one before thumbnails are compared
    return np.asarray(np.unique(pictures, return_inverse=True)[1][kind], dtype=np.int64)


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
