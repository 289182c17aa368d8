"""Scores of a registered model on a split; photographs and patients that it was trained on are refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from drsearch.data.duplicates import same_pictures
from drsearch.data.records import EyeEntry, Eyes, RecordSet, count_test_evaluations, joined, read_eyes, read_test_eyes
from drsearch.errors import DataError
from drsearch.home import Home
from drsearch.measure.blind_baseline import BesideBlind
from drsearch.measure.kappa import Graded, kappa_interval
from drsearch.measure.patients import patient_groups, patient_scores
from drsearch.measure.scores import Interval, OneClassScores, Scores, one_class_scores, scores
from drsearch.release.blind_scores import blind_caution, blind_json, blind_text, model_beside_blind
from drsearch.release.card_figures import Evaluated
from drsearch.settings import TaskSettings

if TYPE_CHECKING:
    from drsearch.serving.grader import Grader

Split = Literal["train", "validation", "test", "all"]
_N_NAMED = 5
_NO_SPLIT = "it is fitted on the train split, which is among these eyes"
THIRDS = ("low", "middle", "high")
"""Thirds of the eyes by their quality."""
_FEWEST = 12  # eyes that are divided into thirds


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores of a model on a split.

    Attributes:
        split: The split.
        scores: Of eyes, with 95 % intervals; for eyes of one class, only the scores that are defined.
        patients: The same of patients, who are referable if an eye is; None if no patient is known.
        grades: The same of the eyes of each grade.
        kappa: Quadratic weighted kappa of the grades that the model gives, see `quadratic_kappa`; None if it was
            trained without `training.levels_weight`, or the eyes have no more than two grades.
        sources: The same of the eyes of each data set, where several are pooled.
        qualities: The same of the thirds of the eyes by quality, see `THIRDS`; empty for fewer than 12 eyes.
        quality_ranges: The lowest and the highest quality score of each third.
        n_gradable: Eyes whose quality is not below what the model was trained on: the others get no grade from it. The
            scores count all eyes, so that models are compared on the same.
        blind: The model beside the lesion-blind baseline of the same record set; a text that says why there is none.
        task: Which eyes are referable.
        eyes: The eyes of the split.
        test_evaluations: Of this test split from this home, this one included; 0 for other splits.
    """

    split: Split
    scores: Scores | OneClassScores
    patients: Scores | OneClassScores | None
    grades: Mapping[int, Scores | OneClassScores]
    kappa: Interval | None
    sources: Mapping[str, Scores | OneClassScores]
    qualities: Mapping[str, Scores | OneClassScores]
    quality_ranges: Mapping[str, tuple[float, float]]
    n_gradable: int
    blind: BesideBlind | str
    task: TaskSettings
    eyes: Eyes
    test_evaluations: int

    @property
    def imageability(self) -> float:
        """The share of the eyes that the model grades, 0 to 1."""
        return self.n_gradable / self.scores.n

    def quality_metrics(self, prefix: str) -> dict[str, float]:
        """Imageability, and the scores of the thirds by quality, as a run's metrics: `test_low_quality_auc`.

        Args:
            prefix: Begins the names: `test_`.
        """
        numbers = {f"{prefix}imageability": self.imageability}
        for third, of_third in self.qualities.items():
            for score in ("auc", "sensitivity", "specificity"):
                interval = getattr(of_third, score)
                if interval is not None:
                    numbers |= interval.metrics(f"{prefix}{third}_quality_{score}")
        return numbers

    def to_json(self) -> dict[str, Any]:
        """The scores as `--json` prints them, those of patients as `patients`: null if no patient is known."""
        patients = self.patients.to_json() if self.patients is not None else None
        return {
            **self.scores.to_json(),
            "patients": patients,
            "grades": {str(grade): of_grade.to_json() for grade, of_grade in self.grades.items()},
            "kappa": self.kappa.to_json() if self.kappa is not None else None,
            "sources": {source: of_source.to_json() for source, of_source in self.sources.items()},
            "qualities": {
                third: {
                    "from": self.quality_ranges[third][0],
                    "to": self.quality_ranges[third][1],
                    **of_third.to_json(),
                }
                for third, of_third in self.qualities.items()
            },
            "imageability": {"graded": self.n_gradable, "n": self.scores.n, "share": self.imageability},
            "blind": blind_json(self.blind),
            "referable": self.task.words,
            "test_evaluations": self.test_evaluations,
        }

    def for_card(self, data: str, data_fingerprint: str) -> Evaluated:
        """What the model card of the version keeps of it.

        Args:
            data: Name of the data set.
            data_fingerprint: Of its photographs, grades and split.
        """
        return Evaluated(
            data,
            data_fingerprint,
            self.split,
            self.scores,
            self.patients,
            {str(grade): of_grade for grade, of_grade in self.grades.items()},
            self.qualities,
            self.sources,
            self.n_gradable,
            blind_text(self.blind),
            blind_caution(self.blind),
            self.test_evaluations,
            self.kappa,
        )

    def __repr__(self) -> str:
        values = ", ".join(f"{name} {interval or 'not defined'}" for name, interval in self.scores.labelled)
        of = f" of {self.patients.n} patients" if self.patients is not None else ""
        return f"<Evaluation on {self.scores.n} {self.split} eyes{of}: {values}>"


def evaluate(grader: "Grader", records: RecordSet, split: Split, home: Home, why: str) -> Evaluation:
    """Score a model on a split of a record set, at its own threshold.

    Args:
        grader: The model.
        records: Prepared with the model's `images.*`.
        split: `all` is the whole set.
        home: Where test evaluations are counted.
        why: The purpose, recorded with a test evaluation.

    Returns:
        The scores, and the eyes.

    Raises:
        DataError: If the split is empty, or the model was trained on some of its photographs or patients.
    """
    listed, eyes = unseen_eyes(grader, records, split, home, why)
    probabilities = grader.probabilities(eyes.images)
    threshold = grader.serving.threshold
    qualities = np.array([eye.quality.score for eye in listed])
    thirds = quality_thirds(qualities)
    return Evaluation(
        split,
        _scores(eyes, probabilities, threshold),
        patient_scores(eyes.labels, probabilities, eyes.patients, threshold),
        {
            int(grade): _scores(eyes.some(eyes.grades == grade), probabilities[eyes.grades == grade], threshold)
            for grade in np.unique(eyes.grades)
        },
        _kappa(grader, eyes),
        _by_source(eyes, probabilities, threshold),
        {third: _scores(eyes.some(which), probabilities[which], threshold) for third, which in thirds.items()},
        {third: (float(qualities[which].min()), float(qualities[which].max())) for third, which in thirds.items()},
        sum(grader.quality_limits.reason(eye.quality) is None for eye in listed),
        _NO_SPLIT if split in ("all", "train") else model_beside_blind(records, eyes, probabilities),
        records.task,
        eyes,
        n_test_evaluations(records, split, home),
    )


def unseen_eyes(
    grader: "Grader", records: RecordSet, split: Split, home: Home, why: str, allow_seen: bool = False
) -> tuple[tuple[EyeEntry, ...], Eyes]:
    """Read the eyes of a split that a model has not seen; of the test split, this is a test evaluation.

    Args:
        grader: The model.
        records: Prepared with the model's `images.*`.
        split: `all` is the whole set.
        home: Where test evaluations are counted.
        why: The purpose, recorded with a test evaluation.
        allow_seen: Read eyes that it has seen, too.

    Returns:
        The entries and the eyes, in one order.

    Raises:
        DataError: If the split is empty, or the model was trained on some of its photographs or patients.
    """
    listed = split_eyes(records, split)
    if not listed:
        raise DataError(f"the {split} split has no photograph: add some, or evaluate with --split all.")
    seen = seen_eyes(listed, records.left_out(), grader.trained_on, f"pictures of split {split!r}")
    if seen and not allow_seen:
        raise DataError(f"the model was trained on {seen}; evaluate it on eyes that it has not seen.")
    eyes = _read(records, split, home, why)
    assert eyes.names == tuple(eye.name for eye in listed), "one listing, one order"
    return listed, eyes


def split_eyes(records: RecordSet, split: Split) -> tuple[EyeEntry, ...]:
    """The lines about the eyes of a split; `all` is the whole set."""
    return records.eyes("train", "validation", "test") if split == "all" else records.eyes(split)


def n_test_evaluations(records: RecordSet, split: Split, home: Home) -> int:
    """How often the test split of a record set was evaluated from this home; 0 for a split that holds none of it."""
    return count_test_evaluations(records, home) if split in ("test", "all") else 0


def _scores(eyes: Eyes, probabilities: NDArray[np.float64], threshold: float) -> Scores | OneClassScores:
    score = scores if len(np.unique(eyes.labels)) == 2 else one_class_scores
    return score(eyes.labels, probabilities, threshold, groups=patient_groups(eyes.patients))


def _kappa(grader: "Grader", eyes: Eyes) -> Interval | None:
    if len(np.unique(eyes.grades)) <= 2 or (predicted := grader.grades(eyes.images)) is None:
        return None
    return kappa_interval(eyes.labels, Graded(eyes.grades, predicted), patient_groups(eyes.patients))


def quality_thirds(qualities: NDArray[np.float64]) -> dict[str, NDArray[np.intp]]:
    """The places of the eyes of each third by quality, ties in the order of the eyes; empty for fewer than 12 eyes.

    Args:
        qualities: The score of each eye, shape `(n,)`.

    Example:
        >>> {third: which.tolist() for third, which in quality_thirds(np.arange(12)[::-1] / 12).items()}
        {'low': [8, 9, 10, 11], 'middle': [4, 5, 6, 7], 'high': [0, 1, 2, 3]}
    """
    if len(qualities) < _FEWEST:
        return {}
    parts = np.array_split(np.argsort(qualities, kind="stable"), len(THIRDS))
    return {third: np.sort(part) for third, part in zip(THIRDS, parts, strict=True)}


def _by_source(eyes: Eyes, probabilities: NDArray[np.float64], threshold: float) -> dict[str, Scores | OneClassScores]:
    sources = np.array(eyes.sources)
    if len(set(eyes.sources)) < 2:
        return {}
    return {
        source: _scores(eyes.some(sources == source), probabilities[sources == source], threshold)
        for source in dict.fromkeys(eyes.sources)
    }


def _read(records: RecordSet, split: Split, home: Home, why: str) -> Eyes:
    if split == "test":
        return read_test_eyes(records, home, why)
    if split == "all":
        return joined(read_eyes(records, "train"), read_eyes(records, "validation"), _read(records, "test", home, why))
    return read_eyes(records, split)


def seen_eyes(eyes: Sequence[EyeEntry], left_out: Sequence[EyeEntry], trained_on: Sequence[EyeEntry], what: str) -> str:
    """Which eyes a model has seen in its training, and which are of patients whom it has seen.

    A photograph is told by its bytes or its thumbnail. Patients have numbers that mean something only within a record
    set, so the patients that a model has seen are those of the photographs that it has seen.

    Args:
        eyes: Of a split of a record set.
        left_out: Photographs of the record set that are in no split.
        trained_on: The eyes that the model was trained on, of whatever record set.
        what: The word for the eyes.

    Returns:
        Numbers and names, which go on after `was trained on`; empty if the model has seen none of the eyes.
    """
    same = _seen(eyes, trained_on)
    patients = {eyes[i].patient for i in same} | {left_out[i].patient for i in _seen(left_out, trained_on)}
    names = sorted({eyes[i].name for i in same})
    others = sorted({eye.name for i, eye in enumerate(eyes) if eye.patient in patients - {""} and i not in same})
    texts = [f"{len(names)} of the {len(eyes)} {what} ({_some_of(names)})"] if names else []
    if others:
        of = "more" if names else f"of the {len(eyes)} {what}"
        texts.append(f"the patients of {len(others)} {of} ({_some_of(others)})")
    return " and on ".join(texts)


def _seen(eyes: Sequence[EyeEntry], trained_on: Sequence[EyeEntry]) -> set[int]:
    """The places of the eyes whose photograph a model was trained on: the same bytes or the same thumbnail."""
    hashes = {eye.sha256 for eye in trained_on}
    seen = {i for i, eye in enumerate(eyes) if eye.sha256 in hashes}
    others = [i for i in range(len(eyes)) if i not in seen]
    if not others or not trained_on:
        return seen
    thumbnails = np.stack([eyes[i].thumbnail for i in others]), np.stack([eye.thumbnail for eye in trained_on])
    return seen | {others[i] for i, _ in same_pictures(*thumbnails)}


def _some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return f"{', '.join(names[:_N_NAMED])}{more}"
