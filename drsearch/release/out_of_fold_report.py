"""What a cross-validation came to: out-of-fold scores, what the inner scores flatter, the baseline, and its run."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drsearch.data.records import EyeEntry, map_outer_eyes, open_records
from drsearch.errors import StudyError
from drsearch.files import write_whole
from drsearch.measure.blind_baseline import blind_features, fit_blind_baseline
from drsearch.measure.calibration import tempered
from drsearch.measure.figures import folds_roc_figure, png
from drsearch.measure.label_errors import contradicted
from drsearch.measure.out_of_fold import (
    RUN_LENGTH,
    OutOfFoldScores,
    Repeat,
    drawn_together,
    mean_difference,
    out_of_fold_scores,
    repeat_scores,
)
from drsearch.measure.patients import patient_groups
from drsearch.measure.scores import SCORE_NAMES, TRIAL_THRESHOLD, Interval, Scores, scores
from drsearch.release.blind_scores import MOST_EYES
from drsearch.release.candidate import Candidate
from drsearch.release.operating_point import ChosenThreshold, choose_threshold
from drsearch.run_folder import judged_run
from drsearch.settings import Settings
from drsearch.tracking.availability import is_served
from drsearch.tracking.events import Artifact, DatasetInput, Event, Image, Metrics, RunEnd, RunStart, Tags
from drsearch.tracking.journal import Journal
from drsearch.tracking.markdown import note_table
from drsearch.tracking.remote_runs import RemoteRuns
from drsearch.tracking.sender import sync
from drsearch.tracking.sent import run_id_of
from drsearch.tracking.tags import KIND_TAG, NOTE_TAG, STUDY_TAG, outcome_tags, provenance_tags
from drsearch.tracking.tracker import TrackerUnavailable
from drsearch.training.cross_validation import n_trainings, spread, training_name
from drsearch.training.outcome import Outcome, read_outcome
from drsearch.training.outer_folds import OuterFold, outer_fold

PREDICTIONS = "predictions.csv"
"""The file of `OutOfFoldReport.predictions`, in the folder of the report."""

DOUBTFUL_PAGE = "doubtful.html"
"""The page of doubtful labels, in the folder of the report; it shows photographs of patients."""


@dataclass(frozen=True)
class JudgedFold:
    """One outer fold, and the network that it judges.

    Attributes:
        number: Counted on through the repeats, from 1.
        repeat: From 1.
        fold: Within its repeat, from 1.
        study: The study of the network.
        trial: Its trial.
        run_id: Its MLflow run; None if MLflow has not answered yet.
        params: What the space drew for it; empty where the setting was given.
        epoch: Its best epoch on the inner validation eyes; of a mean of networks, the best of their mean curve.
        temperature: Fitted on them.
        n_train: Eyes that it trained on; of a mean, all eyes of its inner folds.
        inner: Scores of the inner validation eyes, at the threshold that was chosen on them. Of a mean: of the inner
            folds, each eye answered by the networks that did not train on it.
        outer: Scores of the eyes that were kept away, at the same threshold.
    """

    number: int
    repeat: int
    fold: int
    study: str
    trial: int
    run_id: str | None
    params: Mapping[str, Any]
    epoch: int
    temperature: float
    n_train: int
    inner: Scores
    outer: Scores

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts and dicts only, as `--json` prints them."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "params": dict(self.params), "inner": self.inner.to_json(), "outer": self.outer.to_json()}


@dataclass(frozen=True)
class DoubtfulLabel:
    """An eye whose label every repeat contradicts.

    Attributes:
        name: Of the photograph.
        source: Its data set; empty where none are pooled.
        grade: As labelled.
        label: 1 for referable, 0 for not, as labelled.
        probability: Of RDR, mean over the repeats.
    """

    name: str
    source: str
    grade: int
    label: int
    probability: float


@dataclass(frozen=True)
class OutOfFoldReport:
    """What a cross-validation came to.

    Attributes:
        name: Of the cross-validation.
        n_folds: Folds per repeat.
        way: How eyes were dealt: `blocks` or `random`.
        eyes: The entries of all eyes that were dealt.
        judged: Every outer fold, by number.
        repeats: The predictions of each repeat, eyes in the order of `eyes`.
        blind: Those of the lesion-blind baseline, on the same folds, at threshold 0.5.
        test_included: Whether a test split that drsearch carved out was dealt, too.
        single: Where means of networks are judged, the predictions of their networks, each at its own threshold: one
            `Repeat` per repeat and place in the mean. Else empty.
    """

    name: str
    n_folds: int
    way: str
    eyes: tuple[EyeEntry, ...]
    judged: tuple[JudgedFold, ...]
    repeats: tuple[Repeat, ...]
    blind: tuple[Repeat, ...]
    test_included: bool
    single: tuple[Repeat, ...] = ()

    @property
    def n_networks(self) -> int:
        """How many networks answer an eye of a fold: 1, or those of which the mean answers."""
        return len(self.single) // len(self.repeats) or 1

    @property
    def labels(self) -> NDArray[np.int64]:
        """1 for referable, 0 for not, shape `(n,)`."""
        return np.array([eye.label for eye in self.eyes], np.int64)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """What the bootstrap draws together, shape `(n,)`, see `drawn_together`."""
        names, patients, sources = zip(*((eye.name, eye.patient, eye.source) for eye in self.eyes), strict=True)
        return drawn_together(names, patients, sources)

    @cached_property
    def scores(self) -> OutOfFoldScores:
        """Out-of-fold scores, means over the repeats, with 95 % intervals."""
        return out_of_fold_scores(self.labels, self.repeats, self.groups)

    @cached_property
    def blind_scores(self) -> OutOfFoldScores:
        """The same of the lesion-blind baseline."""
        return out_of_fold_scores(self.labels, self.blind, self.groups)

    @cached_property
    def single_scores(self) -> OutOfFoldScores | None:
        """What one of the networks scores, mean over all; None where no means of networks are judged."""
        return out_of_fold_scores(self.labels, self.single, self.groups) if self.single else None

    @cached_property
    def gains(self) -> dict[str, Interval]:
        """What the means of networks score more than one of them, paired, by name; empty where none are judged."""
        single = self.single_scores
        return {name: self.scores.minus(single, name) for name in SCORE_NAMES} if single else {}

    def fold_values(self, score: str) -> list[float]:
        """A score of every outer fold by itself."""
        return [getattr(fold.outer, score).value for fold in self.judged]

    def repeat_values(self, score: str) -> list[float]:
        """A score of every repeat by itself."""
        return [repeat_scores(self.labels, repeat)[score] for repeat in self.repeats]

    def inner_mean(self, score: str) -> float:
        """The mean of a score on the inner validation eyes."""
        return float(np.mean([getattr(fold.inner, score).value for fold in self.judged]))

    def optimism(self, score: str) -> Interval:
        """By how much the inner scores flatter: inner minus outer, paired by fold, with its 95 % interval."""
        differences = [getattr(fold.inner, score).value - getattr(fold.outer, score).value for fold in self.judged]
        return mean_difference(differences, self.n_folds)

    @cached_property
    def doubtful(self) -> tuple[DoubtfulLabel, ...]:
        """The eyes whose label every repeat contradicts, the most surely contradicted first, see `contradicted`."""
        mean = np.mean([repeat.probabilities for repeat in self.repeats], axis=0)
        found = np.flatnonzero(contradicted(self.labels, self.repeats))
        of_label = np.where(self.labels == 1, mean, 1 - mean)
        return tuple(
            DoubtfulLabel(
                self.eyes[i].name, self.eyes[i].source, self.eyes[i].grade, self.eyes[i].label, float(mean[i])
            )
            for i in sorted(found.tolist(), key=lambda i: of_label[i])
        )

    @property
    def drawn_words(self) -> str:
        """What the intervals draw, in words."""
        known = [eye.patient for eye in self.eyes if eye.patient]
        runs = f"runs of {RUN_LENGTH} neighbouring photographs"
        what = runs if not known else "patients" if len(known) == len(self.eyes) else f"patients, else {runs},"
        return f"intervals draw {self.scores.n_groups} groups of eyes: {what} together"

    @property
    def blind_text(self) -> str:
        """The baseline beside the model, one sentence without its full stop."""
        blind = self.blind_scores
        return (
            f"lesion-blind baseline on the same folds: AUC {blind.auc}, accuracy {blind.accuracy}; model minus "
            f"baseline, paired: AUC {self.scores.minus(blind, 'auc'):+.3f}"
        )

    @property
    def network_text(self) -> str:
        """What answers an eye in a repeat."""
        return "1 network" if self.n_networks == 1 else f"the mean of {self.n_networks} networks"

    def metrics(self) -> dict[str, float]:
        """The figures as a run's metrics."""
        values: dict[str, float] = {"trainings": float(len(self.judged)), "dealt_eyes": float(len(self.eyes))}
        for name, interval in self.scores.intervals.items():
            values |= interval.metrics(f"out_of_fold_{name}")
            values[f"out_of_fold_{name}_std"] = spread(self.fold_values(name))
            values[f"out_of_fold_{name}_std_of_repeats"] = spread(self.repeat_values(name))
            values[f"inner_{name}"] = self.inner_mean(name)
            values |= self.optimism(name).metrics(f"optimism_{name}")
        for name, gain in self.gains.items():
            values |= getattr(self.single_scores, name).metrics(f"out_of_fold_single_{name}")
            values |= gain.metrics(f"out_of_fold_{name}_over_single")
        for name in ("auc", "accuracy"):
            values |= getattr(self.blind_scores, name).metrics(f"out_of_fold_blind_{name}")
        return values | self.scores.minus(self.blind_scores, "auc").metrics("out_of_fold_auc_over_blind")

    def predictions(self) -> list[dict[str, Any]]:
        """One row per eye and repeat: its fold, the probability of RDR, and whether it is called RDR."""
        return [
            {
                "name": eye.name,
                "grade": eye.grade,
                "label": eye.label,
                "patient": eye.patient,
                "repeat": number,
                "fold": int(repeat.fold[i]) + 1,
                "probability": round(float(repeat.probabilities[i]), 6),
                "called": int(repeat.called[i]),
            }
            for number, repeat in enumerate(self.repeats, start=1)
            for i, eye in enumerate(self.eyes)
        ]

    def fold_rows(self) -> list[dict[str, Any]]:
        """One row per outer fold."""
        return [
            {
                "fold": fold.number,
                "repeat": fold.repeat,
                "eyes": fold.outer.n,
                "best_epoch": fold.epoch,
                "threshold": fold.outer.threshold,
                "temperature": fold.temperature,
                **{name: getattr(fold.outer, name).value for name in SCORE_NAMES},
                **{f"inner_{name}": getattr(fold.inner, name).value for name in SCORE_NAMES},
                **fold.params,
                "run_id": fold.run_id or "",
            }
            for fold in self.judged
        ]

    def to_json(self) -> dict[str, Any]:
        """Numbers, texts, lists and dicts only, as `--json` prints them."""
        optimism = {name: self.optimism(name) for name in SCORE_NAMES}
        return {
            "name": self.name,
            "folds": self.n_folds,
            "repeats": len(self.repeats),
            "split": self.way,
            "eyes": len(self.eyes),
            "test_split_included": self.test_included,
            "out_of_fold": self.scores.to_json(),
            "std_over_folds": {name: spread(self.fold_values(name)) for name in SCORE_NAMES},
            "std_over_repeats": {name: spread(self.repeat_values(name)) for name in SCORE_NAMES},
            "inner": {name: self.inner_mean(name) for name in SCORE_NAMES},
            "optimism": {name: _finite(interval) for name, interval in optimism.items()},
            "blind": {
                "out_of_fold": self.blind_scores.to_json(),
                "auc_difference": self.scores.minus(self.blind_scores, "auc").to_json(),
            },
            "networks": self.n_networks,
            "single": self.single_scores
            and {
                "out_of_fold": self.single_scores.to_json(),
                "gain_of_mean": {name: gain.to_json() for name, gain in self.gains.items()},
            },
            "doubtful_labels": [asdict(each) for each in self.doubtful],
            "judged": [fold.to_json() for fold in self.judged],
        }


def _finite(interval: Interval) -> dict[str, float | None]:
    """An interval as JSON, which has no infinity: None where one fold alone gives no ends."""
    return {name: value if np.isfinite(value) else None for name, value in interval.to_json().items()}


def out_of_fold_report(name: str, judges: Sequence[Candidate]) -> OutOfFoldReport:
    """Gather what the networks of all outer folds answered for the eyes that were kept away from them.

    Args:
        name: Of the cross-validation.
        judges: The trial of each outer fold, whole repeats.

    Raises:
        StudyError: If the files of a trial are not here, and MLflow does not give them.
    """
    judges = sorted(judges, key=lambda judge: judge.settings.search.outer_fold)
    first = judges[0]
    definition, n_folds = first.study.definition, first.settings.search.outer_folds
    records = open_records(first.home.records / definition.records_for(definition.settings.images))
    eyes = records.eyes(*records.outer_splits)
    features = blind_features(np.asarray(map_outer_eyes(records, first.home).images))
    labels = np.array([eye.label for eye in eyes], np.int64)
    n_repeats = len(judges) // n_folds
    n_networks = n_trainings(first.settings.search)
    answers, blind = ([_no_answers(len(eyes)) for _ in range(n_repeats)] for _ in range(2))
    single = [_no_answers(len(eyes)) for _ in range(n_repeats * n_networks if n_networks > 1 else 0)]
    judged = []
    for judge in judges:
        own = judge.records()
        fold = outer_fold(own.eyes(*own.outer_splits), own.data, judge.settings.search)
        one, probabilities = _judged(judge, eyes, fold)
        judged.append(one)
        _fill(answers[fold.repeat], fold, probabilities, one.outer.threshold)
        _fill(blind[fold.repeat], fold, _blind(features, labels, fold), TRIAL_THRESHOLD)
        for place, outcome in enumerate(network_outcomes(judge) if single else (), start=fold.repeat * n_networks):
            chosen, probabilities = _answered(outcome, judge.settings)
            _fill(single[place], fold, probabilities, chosen.point.threshold)
    return OutOfFoldReport(
        name,
        n_folds,
        records.data.split,
        eyes,
        tuple(judged),
        tuple(answers),
        tuple(blind),
        "test" in records.outer_splits,
        tuple(single),
    )


def _no_answers(n: int) -> Repeat:
    return Repeat(np.full(n, -1, np.int64), np.full(n, np.nan), np.zeros(n, np.bool_))


def _fill(repeat: Repeat, fold: OuterFold, probabilities: NDArray[np.float64], threshold: float) -> None:
    repeat.fold[fold.judged] = fold.fold
    repeat.probabilities[fold.judged] = probabilities
    repeat.called[fold.judged] = probabilities >= threshold


def _judged(judge: Candidate, entries: Sequence[EyeEntry], fold: OuterFold) -> tuple[JudgedFold, NDArray[np.float64]]:
    """The outer fold of a trial, and its probabilities of the eyes that were kept away."""
    outcome, left_out = outcome_of(judge), judge.settings.training.left_out
    assert outcome.judged is not None
    chosen, probabilities = _answered(outcome, judge.settings)
    of_patients = patient_groups(outcome.judged.patients)
    trains = fold.train | fold.validation if judge.settings.search.folds > 1 else fold.train
    judged = JudgedFold(
        number=judge.settings.search.outer_fold,
        repeat=fold.repeat + 1,
        fold=fold.fold + 1,
        study=judge.study.name,
        trial=judge.number,
        run_id=run_id_of(judge.folder),
        params=judge.params,
        epoch=outcome.epoch,
        temperature=chosen.temperature,
        n_train=sum(eye.name not in left_out for eye, is_in in zip(entries, trains, strict=True) if is_in),
        inner=chosen.scores,
        outer=scores(outcome.judged.labels, probabilities, chosen.point.threshold, groups=of_patients),
    )
    return judged, probabilities


def _answered(outcome: Outcome, settings: Settings) -> tuple[ChosenThreshold, NDArray[np.float64]]:
    """Threshold and temperature of a network, or of a mean, and its probabilities of the eyes that were kept away."""
    assert outcome.predictions is not None
    assert outcome.judged is not None
    chosen = choose_threshold(outcome.predictions, settings)
    return chosen, np.asarray(tempered(outcome.judged.probabilities, chosen.temperature), np.float64)


def outcome_of(judge: Candidate) -> Outcome:
    """The outcome of a trial, downloaded if another machine trained it.

    Raises:
        StudyError: If its files are not here, and MLflow does not give them.
    """
    if is_served(judge.home.tracking_uri) and read_outcome(judge.folder) is None:
        with suppress(TrackerUnavailable):  # the sentence below says what is missing then
            key = judge.study.definition.trial_key(judge.number)
            RemoteRuns(judge.home.tracking_uri).fetch_run(judge.study.name, key, judge.folder)
    outcome = read_outcome(judge.folder)
    if outcome is None:
        raise StudyError(
            f"trial {judge.number} of {judge.study.name!r} was trained, but its files are not in {judge.folder}; when "
            "MLflow has them (`drsearch sync` where it was trained), the same command goes on."
        )
    return outcome


def network_outcomes(judge: Candidate) -> list[Outcome]:
    """The outcome of every fold and repeat of a trial.

    Raises:
        StudyError: If a file is missing.
    """
    outcomes = []
    for training in (training_name(judge.settings.search, i) for i in range(n_trainings(judge.settings.search))):
        outcome = read_outcome(judge.folder / training.replace("/", "-"))
        if outcome is None:
            raise StudyError(
                f"{judge.folder} lacks the outcome of {training}; delete study {judge.study.name!r}, and begin it anew."
            )
        outcomes.append(outcome)
    return outcomes


def _blind(features: NDArray[np.float32], labels: NDArray[np.int64], fold: OuterFold) -> NDArray[np.float64]:
    """The baseline's probabilities of the eyes that a fold keeps away, fitted on its training eyes."""
    train = np.flatnonzero(fold.train)
    some = train[np.linspace(0, len(train) - 1, min(MOST_EYES, len(train))).round().astype(int)]
    return fit_blind_baseline(features[some], labels[some]).probabilities(features[fold.judged])


def log_report(
    report: OutOfFoldReport, first: Candidate, write_page: Callable[[Path], None]
) -> tuple[str | None, Path | None]:
    """Log the report as a run of its own in the experiment of the cross-validation, once per number of folds.

    Args:
        report: What the cross-validation came to.
        first: The trial of the first outer fold: its study names the data, and its folder holds the report.
        write_page: Writes the page of doubtful labels into a file; called if there are any.

    Returns:
        The id of the run, None if MLflow has not answered yet (`drsearch sync` sends it later); and the page, if any.
    """
    definition, home = first.study.definition, first.home
    folder = first.study.folder / judged_run(len(report.judged))
    journal = Journal(folder)
    if not journal.size():
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "report.json": json.dumps(report.to_json(), indent=1) + "\n",
            "folds.csv": _csv(report.fold_rows()),
            PREDICTIONS: _csv(report.predictions()),
            "doubtful.csv": _csv([asdict(each) for each in report.doubtful]),
        }
        for file, text in files.items():
            write_whole(folder / file, text.encode(), replace=True)
        if report.doubtful:
            write_page(folder / DOUBTFUL_PAGE)
            files |= {DOUBTFUL_PAGE: ""}
        write_whole(folder / "roc.png", png(_roc(report)), replace=True)
        start = RunStart(
            key=f"{definition.uid}/{folder.name}",
            experiment=report.name,
            name=f"{len(report.judged)} folds: cross-validation {report.name}",
            tags={KIND_TAG: "judged", STUDY_TAG: report.name, **provenance_tags()},
            params=definition.settings.flat(),
            dataset=DatasetInput(
                name=definition.data_name,
                digest=definition.data_fingerprint,
                source=definition.data_source,
                context="testing",
            ),
        )
        steps = [Metrics(fold.number, _fold_metrics(fold)) for fold in report.judged]
        pictures: list[Event] = [Artifact("roc.png", "folds"), Image("folds/roc", 0, "roc.png")]
        end = RunEnd("FINISHED", tags=outcome_tags("complete", ""))
        note = Tags({NOTE_TAG: _note(report)})
        artifacts = [Artifact(file, "folds") for file in files]
        journal.append([start, *steps, Metrics(0, report.metrics()), *artifacts, *pictures, note, end])
    with suppress(TrackerUnavailable):
        sync(home)
    return run_id_of(folder), folder / DOUBTFUL_PAGE if report.doubtful else None


def _fold_metrics(fold: JudgedFold) -> dict[str, float]:
    outer = {f"fold_{name}": getattr(fold.outer, name).value for name in SCORE_NAMES}
    return outer | {f"fold_inner_{name}": getattr(fold.inner, name).value for name in SCORE_NAMES}


def _roc(report: OutOfFoldReport) -> NDArray[np.uint8]:
    folds = [
        (report.labels[repeat.fold == fold], repeat.probabilities[repeat.fold == fold])
        for repeat in report.repeats
        for fold in range(report.n_folds)
    ]
    point = report.scores.specificity.value, report.scores.sensitivity.value
    return folds_roc_figure(folds, point, f"out of fold: AUC {report.scores.auc}")


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _note(report: OutOfFoldReport) -> str:
    """The text on the run's page, Markdown."""
    head = ("", "out of fold", "std over folds", "inner", "inner - outer")
    rows = [
        (name, str(interval), f"{spread(report.fold_values(name)):.3f}", f"{report.inner_mean(name):.3f}",
         format(report.optimism(name), "+.3f"))
        for name, interval in report.scores.intervals.items()
    ]  # fmt: skip
    per_fold = [
        (str(fold.number), str(fold.outer.n), str(fold.epoch), f"{fold.outer.threshold:.3f}",
         *(f"{getattr(fold.outer, name).value:.3f}" for name in SCORE_NAMES), f"{fold.inner.auc.value:.3f}")
        for fold in report.judged
    ]  # fmt: skip
    n = len(report.repeats)
    return "\n".join(
        [
            f"{report.n_folds} outer folds, {n} repeat{'s' if n > 1 else ''}, {len(report.eyes)} eyes, dealt by "
            f"{report.way}, each judged by {report.network_text}. No eye chose anything of what judged it.",
            "",
            *note_table(head, rows),
            *_single_table(report),
            "",
            f"95 % intervals; {report.drawn_words}. {report.blind_text}.",
            "",
            *note_table(("fold", "eyes", "best epoch", "threshold", *SCORE_NAMES, "inner auc"), per_fold),
            "",
            _doubtful_text(report),
            "",
            f"`folds/{PREDICTIONS}` has the probability of every eye in every repeat.",
        ]
    )


def _single_table(report: OutOfFoldReport) -> list[str]:
    """What averaging the networks of a fold is worth; no line where there is one."""
    if report.single_scores is None:
        return []
    single = report.single_scores.intervals
    rows = [(name, str(single[name]), format(gain, "+.3f")) for name, gain in report.gains.items()]
    return ["", *note_table(("", "one of the networks", "mean of networks - one"), rows)]


def _doubtful_text(report: OutOfFoldReport) -> str:
    if not report.doubtful:
        return "No label is contradicted by every repeat."
    names = ", ".join(each.name for each in report.doubtful[:10])
    more = f" and {len(report.doubtful) - 10} more" if len(report.doubtful) > 10 else ""
    return f"Labels that every repeat contradicts ({len(report.doubtful)}): {names}{more}; see `folds/{DOUBTFUL_PAGE}`."
