"""What each choice of a study's best setting is worth, paired over folds and seeds."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drsearch.errors import StudyError
from drsearch.files import write_whole
from drsearch.home import Home
from drsearch.measure.out_of_fold import (
    OutOfFoldScores,
    Repeat,
    drawn_together,
    mean_difference,
    out_of_fold_scores,
)
from drsearch.measure.scores import TRIAL_THRESHOLD, Interval
from drsearch.release.candidate import Candidate
from drsearch.release.out_of_fold_report import network_outcomes, outcome_of
from drsearch.run_folder import STUDY_RUN
from drsearch.study.ablation import AblationPlan, Choice
from drsearch.tracking.events import Artifact, Resumed, RunEnd, Tags
from drsearch.tracking.journal import Journal
from drsearch.tracking.markdown import note_table
from drsearch.tracking.sender import sync
from drsearch.tracking.tags import NOTE_TAG, outcome_tags
from drsearch.tracking.tracker import TrackerUnavailable
from drsearch.training.cross_validation import assign_folds
from drsearch.training.objective import Objective


@dataclass(frozen=True)
class Worth:
    """What a choice is worth: the best setting minus the same with this choice put back.

    Attributes:
        choice: The choice.
        trial: The trial that trained the setting with it put back.
        value: The objective of that trial; None if it failed.
        gain: How much better the objective is with the choice, over folds and seeds, with a 95 % interval; above 0 the
            choice helps, also where the objective is to be small. None if the trial failed.
        auc: The difference of the AUC of the out-of-fold predictions, with a 95 % interval over eyes; None if the trial
            failed, or its eyes are others.
        reason: Why the trial failed; empty if it did not.
    """

    choice: Choice
    trial: int
    value: float | None = None
    gain: Interval | None = None
    auc: Interval | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The row as `--json` prints it."""
        return {
            "choice": self.choice.name,
            "best": self.choice.value,
            "default": self.choice.default,
            "trial": self.trial,
            "value": self.value,
            "gain": self.gain.to_json() if self.gain else None,
            "auc_gain": self.auc.to_json() if self.auc else None,
            "reason": self.reason or None,
        }


@dataclass(frozen=True)
class AblationReport:
    """What an ablation came to.

    Attributes:
        name: Of the ablation.
        study: The study whose best trial it is about.
        trial: The number of that trial.
        objective: What judged the trials.
        folds: Folds per repeat.
        repeats: Repeats.
        value: The objective of the best setting.
        rows: One per choice, the most worth first, failed ones last.
    """

    name: str
    study: str
    trial: int
    objective: str
    folds: int
    repeats: int
    value: float
    rows: tuple[Worth, ...]

    @property
    def about(self) -> str:
        """What was compared, in a sentence."""
        return (
            f"trial {self.trial} of study {self.study}, {self.objective} {self.value:.4f} over {self.folds} folds and "
            f"{self.repeats} repeat{'s' if self.repeats > 1 else ''}, minus the same with one choice put back"
        )

    def to_json(self) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return {
            "ablation": self.name,
            "study": self.study,
            "trial": self.trial,
            "objective": self.objective,
            "folds": self.folds,
            "repeats": self.repeats,
            "value": self.value,
            "choices": [row.to_json() for row in self.rows],
        }


def ablation_report(name: str, plan: AblationPlan, trials: Sequence[Candidate]) -> AblationReport:
    """Compare the trials of an ablation.

    Args:
        name: Of the ablation.
        plan: What its trials trained.
        trials: All of them, by number; the first is the best setting as it is.

    Raises:
        StudyError: If the training of the best setting failed, or files of a trial are missing.
    """
    whole, *others = trials
    if whole.trial.state != "complete":
        raise StudyError(
            f"ablation {name!r} has nothing to compare with: the best setting failed: {whole.trial.reason}"
        )
    objective, search = Objective(plan.settings.study.objective), plan.settings.search
    values, names, scores = _values(whole, objective), _eyes(whole), _scores(whole)
    rows = []
    for choice, trial in zip(plan.choices, others, strict=True):
        if trial.trial.state != "complete":
            rows.append(Worth(choice, trial.number, reason=trial.trial.reason))
            continue
        gains = [objective.loss(back) - objective.loss(best) for best, back in zip(values, _values(trial, objective),
                                                                                  strict=True)]  # fmt: skip
        auc = scores.minus(_scores(trial), "auc") if _eyes(trial) == names else None
        rows.append(Worth(choice, trial.number, trial.trial.value, mean_difference(gains, search.folds), auc))
    rows.sort(key=lambda row: -row.gain.value if row.gain else float("inf"))
    assert whole.trial.value is not None
    return AblationReport(
        name, plan.study, plan.trial, objective.name, search.folds, search.repeats, whole.trial.value, tuple(rows)
    )


def _values(trial: Candidate, objective: Objective) -> list[float]:
    """The objective of every fold and repeat, at the best epoch of the trial."""
    epoch = outcome_of(trial).epoch
    return [objective.value_of(outcome.history[epoch - 1]) for outcome in network_outcomes(trial)]


def _eyes(trial: Candidate) -> list[tuple[str, int]]:
    """Names and labels of the eyes that judge a trial, in the order of its folds."""
    return [(eye.name, eye.label) for eye in trial.records().eyes("train", "validation")]


def _scores(trial: Candidate) -> OutOfFoldScores:
    """The out-of-fold scores of a trial, each network at its own best epoch."""
    predictions, records = outcome_of(trial).predictions, trial.records()
    assert predictions is not None
    eyes, search = records.eyes("train", "validation"), trial.settings.search
    repeats, done = [], 0
    for fold_of in assign_folds(eyes, records.data, search):
        probabilities = np.empty(len(eyes))
        for fold in range(search.folds):
            held_out = np.flatnonzero(fold_of == fold)
            probabilities[held_out] = predictions.probabilities[done : done + held_out.size]
            done += held_out.size
        repeats.append(Repeat(fold_of, probabilities, probabilities >= TRIAL_THRESHOLD))
    groups = drawn_together(*zip(*((eye.name, eye.patient, eye.source) for eye in eyes), strict=True))
    return out_of_fold_scores([eye.label for eye in eyes], repeats, groups)


def log_ablation(report: AblationReport, page: str, folder: Path, home: Home) -> None:
    """Add the ablation's page to its own run in MLflow, its numbers and its text; `drsearch sync` sends what waits.

    Args:
        report: What the ablation came to.
        page: Shows it, HTML.
        folder: The folder of its study.
        home: Where everything lies.
    """
    run = folder / STUDY_RUN
    write_whole(run / "ablation.html", page.encode(), replace=True)
    write_whole(run / "ablation.json", (json.dumps(report.to_json(), indent=1) + "\n").encode(), replace=True)
    files = [Artifact(name, "study") for name in ("ablation.html", "ablation.json")]
    end = RunEnd("FINISHED", tags=outcome_tags("complete", ""))
    Journal(run).append([Resumed(), *files, Tags({NOTE_TAG: _note(report)}), end])
    with suppress(TrackerUnavailable):
        sync(home)


def ablation_cells(row: Worth) -> tuple[str, ...]:
    """A row of the table: choice, best, default, objective with the default, gain, gain of the out-of-fold AUC."""
    return (
        row.choice.name,
        _shown(row.choice.value),
        _shown(row.choice.default),
        f"{row.value:.4f}" if row.value is not None else "",
        format(row.gain, "+.3f") if row.gain else row.reason,
        format(row.auc, "+.3f") if row.auc else "",
    )


def ablation_columns(report: AblationReport) -> tuple[str, ...]:
    """The heads of `ablation_cells`."""
    return ("choice", "best", "default", f"{report.objective} with it", "gain (folds and seeds)", "AUC gain (eyes)")


def _note(report: AblationReport) -> str:
    table = note_table(ablation_columns(report), [ablation_cells(row) for row in report.rows])
    return "\n".join([f"Ablation: {report.about}.", "", *table, "", "95 % intervals; above 0 the choice helps."])


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
