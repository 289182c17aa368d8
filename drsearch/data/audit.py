"""The findings about the photographs of a data set, each with the file's name."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

QUALITY_STEPS = 10
"""Steps of the score of quality that photographs are counted by."""


class Finding(NamedTuple):
    """One file, and why it cannot be used, or the text of its invalid grade."""

    file: str
    found: str


class QualityFinding(NamedTuple):
    """One photograph's score of quality, 0 to 1, and what is worst about it, where the score is low."""

    file: str
    score: float
    reason: str


@dataclass(frozen=True)
class SamePicture:
    """One picture that several files hold.

    Attributes:
        files: The files.
        grades: The grade of each; None where it has no valid one.
        labels: The label of each, 1 for referable; None where it has no valid grade.
        how: `bytes`: the files are identical; `pixels`: the same picture encoded or sized differently.
    """

    files: tuple[str, ...]
    grades: tuple[int | None, ...]
    labels: tuple[int | None, ...]
    how: Literal["bytes", "pixels"]

    @property
    def contradicts_itself(self) -> bool:
        """Whether its files have different grades."""
        return len({grade for grade in self.grades if grade is not None}) > 1

    @property
    def contradicts_itself_in_class(self) -> bool:
        """Whether its files are graded on both sides of the line between NRDR and RDR."""
        return len({label for label in self.labels if label is not None}) > 1


@dataclass(frozen=True)
class Audit:
    """Every finding about a data set, by kind; files are named as they lie in its folder.

    Attributes:
        n_photographs: Photographs found.
        n_usable: Those that are recorded.
        unreadable: Cannot be read whole.
        no_retina: No retina was found that can be graded.
        invalid_grade: The grade is none of the five; with its text.
        label_without_photograph: The table, and the name in it that no photograph has, as one text.
        unlabelled: No table names them.
        duplicates: The same picture in several files.
        ungradable: Their data set says that they cannot be graded; they are no part of training.
        left_out: Photographs that could be used by themselves, but are not recorded; with the reason.
        not_used: What looks like photographs or tables and is neither, and columns of tables that are not read.
        patients: Number of patients that are known, whose photographs lie in one split.
        patients_by: What names the patient: a column, or file names; empty without patients.
        of_unknown_patients: Number of recorded photographs whose patient is unknown.
        quality: Photographs by their score of quality: how many have 0 to 0.1, 0.1 to 0.2, ... 0.9 to 1.
        lowest_quality: Some photographs of the lowest quality, the worst first. They are recorded, unless
            `data.least_quality` leaves them out.
        unusual_crops: Some photographs whose retina is not where it is on others, the most unusual first; they are
            recorded.
    """

    n_photographs: int
    n_usable: int
    unreadable: tuple[Finding, ...] = ()
    no_retina: tuple[Finding, ...] = ()
    invalid_grade: tuple[Finding, ...] = ()
    label_without_photograph: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    duplicates: tuple[SamePicture, ...] = ()
    ungradable: tuple[str, ...] = ()
    left_out: tuple[Finding, ...] = ()
    not_used: tuple[str, ...] = ()
    patients: int = 0
    patients_by: str = ""
    of_unknown_patients: int = 0
    quality: tuple[int, ...] = (0,) * QUALITY_STEPS
    lowest_quality: tuple[QualityFinding, ...] = ()
    unusual_crops: tuple[Finding, ...] = ()

    @property
    def contradicting(self) -> tuple[SamePicture, ...]:
        """The duplicates whose files have different grades."""
        return tuple(picture for picture in self.duplicates if picture.contradicts_itself)

    @property
    def bad(self) -> tuple[str, ...]:
        """What `--skip-bad` leaves out, each once, in a few words."""
        seen = {file for file, _ in (*self.unreadable, *self.no_retina)}
        return (
            *(f"{file} ({reason})" for file, reason in (*self.unreadable, *self.no_retina)),
            *(f"{file} (grade {text!r})" for file, text in self.invalid_grade if file not in seen),
            *(f"{name} (label without photograph)" for name in self.label_without_photograph),
            *(f"{file} (photograph without label)" for file in self.unlabelled if file not in seen),
        )

    @property
    def patients_text(self) -> str:
        """How many patients are known, by what, and what follows for the splits.

        Example:
            >>> print(Audit(10, 10, patients=4, patients_by="column 'patient_id'", of_unknown_patients=2).patients_text)
            patients: 4, by column 'patient_id'; each is on one side of every split; unknown for 2 photographs
            >>> print(Audit(10, 10).patients_text)
            patients: unknown; both eyes of a patient may lie on two sides
        """
        if not self.patients:
            return "patients: unknown; both eyes of a patient may lie on two sides"
        text = f"patients: {self.patients}, by {self.patients_by}; each is on one side of every split"
        n = self.of_unknown_patients
        return text + (f"; unknown for {n} photographs" if n else "")

    def counts(self) -> dict[str, int]:
        """The number of findings of each kind."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["quality"], values["lowest_quality"]  # every photograph has one, and some are the lowest
        lists = {kind: len(findings) for kind, findings in values.items() if isinstance(findings, tuple)}
        patients = {"patients": self.patients, "of_unknown_patients": self.of_unknown_patients}
        return {**lists, "contradicting": len(self.contradicting), **patients}

    def to_json(self) -> dict[str, Any]:
        """The audit as JSON values; `contradicting` and `counts` are written for the reader."""
        written: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        for kind in ("unreadable", "no_retina", "invalid_grade", "left_out", "lowest_quality", "unusual_crops"):
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
            tuple(
                SamePicture(tuple(p["files"]), tuple(p["grades"]), tuple(p["labels"]), p["how"])
                for p in values["duplicates"]
            ),
            tuple(values["ungradable"]),
            findings("left_out"),
            tuple(values["not_used"]),
            values["patients"],
            values["patients_by"],
            values["of_unknown_patients"],
            tuple(values["quality"]),
            tuple(QualityFinding(**item) for item in values["lowest_quality"]),
            findings("unusual_crops"),
        )


def quality_counts(scores: Sequence[float]) -> tuple[int, ...]:
    """The number of scores in each tenth of 0 to 1.

    Example:
        >>> quality_counts([0.0, 0.05, 0.5, 1.0])
        (2, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    """
    steps = [min(int(score * QUALITY_STEPS), QUALITY_STEPS - 1) for score in scores]
    return tuple(steps.count(step) for step in range(QUALITY_STEPS))


def _picture_json(picture: SamePicture) -> dict[str, Any]:
    return {
        "files": list(picture.files),
        "grades": list(picture.grades),
        "labels": list(picture.labels),
        "how": picture.how,
        "contradicts_itself_in_class": picture.contradicts_itself_in_class,
    }


def same_picture_findings(
    files: Sequence[str],
    grades: Sequence[int | None],
    labels: Sequence[int | None],
    hashes: Sequence[str],
    groups: NDArray[np.int64],
) -> tuple[SamePicture, ...]:
    """The pictures that several files hold, in the order of their first file.

    Args:
        files: Names of the files, n of them.
        grades: The grade of each; None where it has no valid one.
        labels: The label of each; None where it has no valid grade.
        hashes: Hash of the bytes of each.
        groups: The number of the picture that each shows, shape (n,), see `picture_groups`.
    """
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(int(group), []).append(index)
    return tuple(
        SamePicture(
            tuple(files[i] for i in same),
            tuple(grades[i] for i in same),
            tuple(labels[i] for i in same),
            "bytes" if len({hashes[i] for i in same}) == 1 else "pixels",
        )
        for same in members.values()
        if len(same) > 1
    )
