"""A cross-validation beside another one on the same eyes and folds, paired."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsearch.errors import StudyError
from drsearch.measure.out_of_fold import OutOfFoldScores, Repeat, mean_difference, out_of_fold_scores, repeat_scores
from drsearch.measure.scores import SCORE_NAMES, Interval
from drsearch.release.out_of_fold_report import PREDICTIONS, OutOfFoldReport
from drsearch.run_folder import judged_runs


@dataclass(frozen=True)
class Answers:
    """What the networks of a cross-validation answered for the eyes that were kept away from them.

    Attributes:
        name: Of the cross-validation.
        eyes: Name and label of every eye.
        repeats: The predictions of each repeat, eyes in the order of `eyes`.
    """

    name: str
    eyes: tuple[tuple[str, int], ...]
    repeats: tuple[Repeat, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """1 for referable, 0 for not, shape `(n,)`."""
        return np.array([label for _, label in self.eyes], np.int64)

    def fold_values(self, score: str) -> list[float]:
        """A score of every outer fold by itself."""
        return [
            repeat_scores(
                self.labels[fold], Repeat(repeat.fold[fold], repeat.probabilities[fold], repeat.called[fold])
            )[score]
            for repeat in self.repeats
            for fold in (np.flatnonzero(repeat.fold == number) for number in np.unique(repeat.fold))
        ]


@dataclass(frozen=True)
class OutOfFoldDifference:
    """The scores of a cross-validation minus those of another one, on the same eyes and folds.

    Attributes:
        name: Of the cross-validation.
        other: The name of the other.
        n_folds: Folds per repeat.
        n_repeats: Repeats that both have.
        scores: Out-of-fold scores of these repeats.
        other_scores: Those of the other.
        over_folds: The difference of each score, by name, with a 95 % interval over folds and seeds.
    """

    name: str
    other: str
    n_folds: int
    n_repeats: int
    scores: OutOfFoldScores
    other_scores: OutOfFoldScores
    over_folds: dict[str, Interval]

    @property
    def over_eyes(self) -> dict[str, Interval]:
        """The difference of each score, by name, with a 95 % interval over eyes."""
        return {name: self.scores.minus(self.other_scores, name) for name in SCORE_NAMES}

    @property
    def about(self) -> str:
        """What is compared, in a sentence without its full stop."""
        repeats = f"{self.n_repeats} repeat{'s' if self.n_repeats > 1 else ''}"
        return f"{self.name} minus {self.other}, paired: {self.scores.n} eyes, {self.n_folds} folds, {repeats}"

    def rows(self) -> list[dict[str, Any]]:
        """One row per score: of both, and the differences with the ends of their intervals."""
        return [
            {
                "score": name,
                "value": getattr(self.scores, name).value,
                "other": getattr(self.other_scores, name).value,
                **self.over_folds[name].metrics("over_folds"),
                **self.over_eyes[name].metrics("over_eyes"),
            }
            for name in SCORE_NAMES
        ]

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts and dicts only, as `--json` prints them."""
        return {
            "minus": self.other,
            "folds": self.n_folds,
            "repeats": self.n_repeats,
            "other_out_of_fold": self.other_scores.to_json(),
            "over_folds": {name: each.to_json() for name, each in self.over_folds.items()},
            "over_eyes": {name: each.to_json() for name, each in self.over_eyes.items()},
        }


def read_answers(name: str, study_folder: Path) -> Answers:
    """The answers of a finished cross-validation, of all repeats that it has.

    Args:
        name: Of the cross-validation.
        study_folder: The folder of its study, or of the study of its first fold.

    Raises:
        StudyError: If it is not finished, or was judged on another machine.
    """
    found = [folder / PREDICTIONS for folder in judged_runs(study_folder) if (folder / PREDICTIONS).is_file()]
    if not found:
        raise StudyError(
            f"--against {name}: {study_folder} has no predictions of a cross-validation; give the command of {name!r} "
            "again, on this machine: it finishes what is missing."
        )
    with open(found[-1], newline="") as file:
        return answers_of(name, list(csv.DictReader(file)))


def answers_of(name: str, rows: Sequence[dict[str, Any]]) -> Answers:
    """The answers that the rows of `OutOfFoldReport.predictions` or of its file give.

    Args:
        name: Of the cross-validation.
        rows: One per eye and repeat, in any type that the numbers are read from.
    """
    by_repeat: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_repeat.setdefault(int(row["repeat"]), []).append(row)
    repeats = tuple(
        Repeat(
            np.array([int(row["fold"]) - 1 for row in own], np.int64),
            np.array([float(row["probability"]) for row in own]),
            np.array([int(row["called"]) == 1 for row in own], np.bool_),
        )
        for own in by_repeat.values()
    )
    return Answers(name, tuple((row["name"], int(row["label"])) for row in by_repeat[1]), repeats)


def check_same_folds(other: Answers, eyes: Sequence[tuple[str, int]], folds: Sequence[NDArray[np.int64]]) -> None:
    """Refuse a cross-validation whose eyes or folds are others.

    Args:
        other: Its answers.
        eyes: Name and label of every eye that is dealt.
        folds: The fold of each eye, from 0, in every repeat.

    Raises:
        StudyError: With what differs.
    """
    if other.eyes != tuple(eyes):
        raise StudyError(
            f"--against {other.name}: it judged {len(other.eyes)} eyes, and {len(eyes)} are dealt here that are not "
            "all the same, or have other labels; give the same photographs, --skip-bad and --least-quality."
        )
    if any((one != of.fold).any() for one, of in zip(folds, other.repeats, strict=False)):
        raise StudyError(
            f"--against {other.name}: it dealt the eyes into other folds; give its --folds, data.split and data.seed."
        )


def difference(report: OutOfFoldReport, other: Answers) -> OutOfFoldDifference:
    """The scores of a cross-validation minus those of another one, in the repeats that both have.

    Args:
        report: What the cross-validation came to.
        other: The answers of the other one, of the same eyes and folds.
    """
    n = min(len(report.repeats), len(other.repeats))
    own = answers_of(report.name, report.predictions())
    own, other = (replace(each, repeats=each.repeats[:n]) for each in (own, other))
    over_folds = {}
    for name in SCORE_NAMES:
        pairs = zip(own.fold_values(name), other.fold_values(name), strict=True)
        over_folds[name] = mean_difference([mine - theirs for mine, theirs in pairs], report.n_folds)
    scores, other_scores = (out_of_fold_scores(each.labels, each.repeats, report.groups) for each in (own, other))
    return OutOfFoldDifference(report.name, other.name, report.n_folds, n, scores, other_scores, over_folds)
