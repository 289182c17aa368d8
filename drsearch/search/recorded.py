"""How is a training run so that it can die at any moment, go on elsewhere, and be told to MLflow once?

Trials, `drsearch train`, refits and fine-tuning all come through here. What a training has to say is
held back until a checkpoint that contains it is on disk, and only then appended to the
journal: a training that goes on from its checkpoint says nothing twice and leaves nothing out.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import keras
import numpy as np
import tensorflow as tf
from absl import logging
from numpy.typing import NDArray

from drsearch.data.records import Eyes
from drsearch.data.retina import retina_mask
from drsearch.disk import DiskFull, when_space
from drsearch.errors import DrsearchError, TrialFailed
from drsearch.measure.figures import confusion_figure, png, roc_figure
from drsearch.measure.gradcam import GradCam, overlay
from drsearch.measure.scores import TRIAL_THRESHOLD, Interval, Scores, scores
from drsearch.model.prediction import Predictor
from drsearch.model.training import EpochResult, Measures, Training, set_seeds
from drsearch.search.objectives import Objective
from drsearch.search.ownership import NotTheOwner, Ownership
from drsearch.search.parts import Dealt, Part, mean_history, n_parts, part_seed, parts_word, spread
from drsearch.settings import Settings, gin_text
from drsearch.tracking.entries import (
    Artifact,
    Entry,
    Image,
    Metrics,
    Resumed,
    RunEnd,
    RunStart,
    Status,
    Tags,
    from_line,
    now_ms,
    to_line,
)
from drsearch.tracking.handover import pack
from drsearch.tracking.journal import Journal
from drsearch.tracking.notes import note_table
from drsearch.tracking.system_metrics import SystemMetrics

T = TypeVar("T")

_PICTURE_STEP = 0
"""Of the kept network's pictures, in every run: MLflow's pages open there, whatever epoch a run came to."""

State = Literal["complete", "pruned", "failed", "interrupted"]


class Pruned(Exception):
    """Raised by a watch: this training is not worth going on with. Control flow, no error."""


class GivenAway(DrsearchError):
    """This training was given to another process meanwhile; the one that hears it writes nothing more."""


class Stopped(DrsearchError):
    """Raised by a watch: it was asked to stop while it waited for something; the training goes on some other time."""


class Watch(Protocol):
    """Who looks on while a training runs, and may end it."""

    def epoch(self, result: EpochResult) -> None:
        """An epoch is over."""

    def judged(self, epoch: int, value: float) -> None:
        """A checkpointed epoch is over, and `value` is the best of them so far.

        Raises:
            Pruned: To end the training here.
            GivenAway: If it is another's by now.
            Stopped: To stop here, as if `stop_asked` had said so.
        """

    def stop_asked(self) -> bool:
        """Whether to stop at this epoch, to go on some other time."""


@dataclass(frozen=True)
class Plan:
    """One training to record.

    Attributes:
        folder: Where its journal, files and checkpoints lie.
        start: How its run begins.
        settings: All of them; `training.seed` is this training's own.
        build: Makes the network, after the seeds are set.
        head: Lines of comment for the settings file of the run.
        owner: Names this attempt; a later attempt on the same folder takes over.
        until: The epoch that is this training's last and is kept, whatever `training.epochs` says: a refit, which
            trains on the eyes that would validate it too, so that nothing is told of them. None for any other.
        shared_as: Number of this attempt where other machines may go on with it; None where none can.
    """

    folder: Path
    start: RunStart
    settings: Settings
    build: Callable[[], keras.Model]
    head: tuple[str, ...]
    owner: str
    until: int | None = None
    shared_as: int | None = None

    @property
    def is_refit(self) -> bool:
        """Whether no eyes are left to validate."""
        return self.until is not None

    @property
    def last_epoch(self) -> int:
        """The epoch with which it ends."""
        return self.until or self.settings.training.epochs


@dataclass(frozen=True)
class Predictions:
    """What kept networks say of eyes that did not train them.

    Attributes:
        labels: 0 or 1; an eye that several networks judge stands here several times.
        probabilities: Of RDR.
    """

    labels: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a training.

    Attributes:
        state: How it ended.
        reason: Why, unless it is complete; one sentence.
        value: The objective at the kept epoch, NaN if there is none; the mean over folds and repeats.
        epoch: The kept epoch, counted from 1; 0 if there is none.
        history: Every finished epoch; with folds or repeats their mean.
        model: The saved network of the kept epoch, with its optimizer; None unless complete or pruned, and where
            there are several.
        scores: Validation scores of the kept network, with their intervals; None where there are several, or no eyes
            to validate.
        error: Standard error of the value.
        numbers: What the run says of the kept network, by metric.
        predictions: Of the validation eyes, by the kept network; with folds or repeats of every fold's held-out eyes,
            by the network that fold kept. None where no eyes validate.
    """

    state: State
    reason: str
    value: float
    epoch: int
    history: tuple[EpochResult, ...]
    model: Path | None
    scores: Scores | None
    error: float = math.nan
    numbers: Mapping[str, float] = field(default_factory=dict)
    predictions: Predictions | None = None


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome of a training that ended, complete or pruned, in this folder."""
    file = folder / "outcome.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text())["outcome"]
    history = tuple(
        EpochResult(**{**epoch, "train": Measures(**epoch["train"]), "validation": Measures(**epoch["validation"])})
        for epoch in found["history"]
    )
    model = folder / "model.keras"
    return Outcome(
        found["state"],
        found["reason"],
        found["value"],
        found["epoch"],
        history,
        model if model.exists() else None,
        Scores.from_json(found["scores"]) if found["scores"] is not None else None,
        found["error"],
        found["numbers"],
        Predictions(*map(tuple, found["predictions"].values())) if found["predictions"] is not None else None,
    )


def objective_of(result: EpochResult, objective: str) -> float:
    """The value of `study.objective` in an epoch: `val_auc`, `val_accuracy` or `val_loss`."""
    return float(getattr(result.validation, objective.removeprefix("val_")))


def fixed_eyes(eyes: Eyes, n: int) -> NDArray[np.int64]:
    """Which eyes are explained in every run: `n` spread evenly over the grades, the same for the same records."""
    by_grade = sorted(range(len(eyes.names)), key=lambda i: (eyes.grades[i], eyes.names[i]))
    places = np.linspace(0, len(by_grade) - 1, min(n, len(by_grade))).round().astype(int)
    return np.array([by_grade[place] for place in places], dtype=np.int64)


def record_training(plan: Plan, train: Eyes, validation: Eyes, watch: Watch) -> Outcome:
    """Run a training to its end, or on from its checkpoint, telling its journal.

    Where the disk is full, it waits for space.

    Raises:
        GivenAway: If another attempt took over; nothing was written since.
    """
    recorder = _Recorder(plan, watch.stop_asked)
    return _guarded(recorder, lambda: _run(recorder, Part("", 0, train, validation), watch))


def record_parts(plan: Plan, dealt: Dealt, watch: Watch) -> Outcome:
    """Run all trainings of a trial one after another, or on from the checkpoint of the one it had come to.

    The watch sees epochs as they follow each other through all parts, and judges each part when it ends: by its number,
    from 1, with the best value of its checkpointed epochs.

    Raises:
        GivenAway: If another attempt took over; nothing was written since.
    """
    recorder = _Recorder(plan, watch.stop_asked)
    return _guarded(recorder, lambda: _run_parts(recorder, dealt, watch))


def _guarded(recorder: "_Recorder", body: Callable[[], Outcome]) -> Outcome:
    """What `body` comes to, or an earlier attempt came to; the run ends, whatever becomes of it."""
    try:
        if told := recorder.outcome():
            return told
        recorder.begin()
        return body()
    except GivenAway:
        raise
    except DiskFull as full:
        return Outcome("interrupted", str(full), math.nan, 0, (), None, None)
    except TrialFailed as failure:
        recorder.close("FAILED", "failed", str(failure))
        return Outcome("failed", str(failure), math.nan, 0, (), None, None)
    except BaseException as bug:  # a bug keeps its traceback, and its run still says that it ended
        recorder.close("FAILED", "failed", f"{type(bug).__name__}: {bug}")
        raise


def _run(recorder: "_Recorder", part: Part, watch: Watch) -> Outcome:
    plan = recorder.plan
    settings = plan.settings.replace({"training.seed": part_seed(plan.settings.training.seed, part.repeat)})
    set_seeds(settings.training.seed)
    training = Training(_built(plan), part.train, part.validation, settings)
    recorder.resume(training)
    state, reason = _train(recorder, training, watch)
    return _finish(recorder, training, part.validation, state, reason)


def _run_parts(recorder: "_Recorder", dealt: Dealt, watch: Watch) -> Outcome:
    finished: list[Outcome] = []
    n = n_parts(dealt.search)
    for number in range(1, n + 1):
        part = dealt.part(number - 1)
        first_epoch = (number - 1) * recorder.plan.settings.training.epochs
        recorder.enter(part.name, first_epoch)
        outcome = recorder.outcome() or _run(recorder, part, _PartWatch(watch, first_epoch))
        keras.utils.clear_session()  # graphs of a finished part would stay until the trial ends
        if outcome.state == "interrupted":
            return outcome
        finished.append(outcome)
        try:
            watch.judged(number, outcome.value)
        except Pruned as pruned:
            if number < n:
                return _finish_parts(recorder, finished, "pruned", str(pruned))
        except Stopped as stopped:
            return _left(recorder, str(stopped))
        if watch.stop_asked() and number < n:
            return _left(recorder, f"stopped after {number} of {n} {parts_word(dealt.search)}")
    return _finish_parts(recorder, finished, "complete", "")


def _left(recorder: "_Recorder", reason: str) -> Outcome:
    """Leave a trial between two of its parts."""
    recorder.resume(None)
    recorder.close("KILLED", "interrupted", reason)
    return Outcome("interrupted", reason, math.nan, 0, (), None, None)


class _PartWatch:
    """Looks on at one part for the watch of the trial, which judges no epoch of it."""

    def __init__(self, watch: Watch, first_epoch: int) -> None:
        self._watch, self._first_epoch = watch, first_epoch
        self.stop_asked = watch.stop_asked

    def epoch(self, result: EpochResult) -> None:
        self._watch.epoch(replace(result, epoch=self._first_epoch + result.epoch))

    def judged(self, epoch: int, value: float) -> None:
        logging.debug("epoch %d: best %f", epoch, value)


def _finish_parts(recorder: "_Recorder", parts: Sequence[Outcome], state: State, reason: str) -> Outcome:
    """Judge the setting by the checkpointed epoch that is best in the mean over its parts: a refit trains as long."""
    recorder.enter("", 0)
    recorder.resume(None)
    settings = recorder.plan.settings
    objective = settings.study.objective
    history = mean_history([part.history for part in parts])
    kept, *later = (result for result in history if _checkpointed(result.epoch, settings))
    for result in later:
        if Objective(objective).is_better(objective_of(result, objective), objective_of(kept, objective)):
            kept = result
    at_kept = [part.history[kept.epoch - 1] for part in parts]
    numbers = {"kept_epoch": float(kept.epoch), "parts": float(len(parts)), "kept_threshold": TRIAL_THRESHOLD}
    for name, value in asdict(kept.validation).items():
        numbers[f"kept_val_{name}"] = value
        numbers[f"kept_val_{name}_std"] = spread([getattr(each.validation, name) for each in at_kept])
    numbers |= {name: value for name, value in parts[0].numbers.items() if name in _COSTS}
    error = spread([objective_of(each, objective) for each in at_kept]) / math.sqrt(len(at_kept))
    at = now_ms()
    recorder.add(*(Metrics(result.epoch, _curve_points(result), at) for result in history))
    recorder.add(Metrics(len(history), numbers, at), _end(state, reason))
    value = objective_of(kept, objective)
    outcome = Outcome(state, reason, value, kept.epoch, history, None, None, error, numbers, _pooled(parts))
    recorder.when_space(recorder.fresh_staging)
    recorder.conclude(outcome)
    return outcome


def _pooled(parts: Sequence[Outcome]) -> Predictions:
    """The held-out predictions of all parts, one after another."""
    each = [part.predictions for part in parts if part.predictions is not None]
    return Predictions(
        tuple(label for one in each for label in one.labels), tuple(p for one in each for p in one.probabilities)
    )


def _checkpointed(epoch: int, settings: Settings) -> bool:
    return epoch % settings.training.checkpoint_every_epochs == 0 or epoch == settings.training.epochs


def _built(plan: Plan) -> keras.Model:
    """The network of a plan.

    Raises:
        TrialFailed: If Keras cannot build it, or memory does not suffice.
    """
    try:
        return plan.build()
    except (tf.errors.ResourceExhaustedError, MemoryError) as wrong:
        raise TrialFailed("memory does not suffice for the model; a smaller one may fit") from wrong
    except (ValueError, tf.errors.InvalidArgumentError) as wrong:
        # Keras says so of sizes that do not fit together; the same words from our own code, or a space's, are a bug.
        if not _raised_within(wrong, "keras", "tensorflow"):
            raise
        said = (str(wrong).strip().splitlines() or [type(wrong).__name__])[0]
        raise TrialFailed(f"the model cannot be built: {said}") from wrong


def _raised_within(wrong: BaseException, *packages: str) -> bool:
    """Whether an error comes from one of these packages' own code."""
    trace = wrong.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return str(name).partition(".")[0] in packages


def _train(recorder: "_Recorder", training: Training, watch: Watch) -> tuple[State, str]:
    last = recorder.plan.last_epoch
    system = SystemMetrics()
    while training.epoch < last:
        result = _epoch(training)
        recorder.tell_epoch(result, system.sample())
        checkpoint_due = _checkpointed(result.epoch, recorder.plan.settings)
        if checkpoint_due:
            recorder.judge(training, result)
            recorder.commit(training)
        watch.epoch(result)
        if checkpoint_due:
            try:
                watch.judged(result.epoch, recorder.best_value)
            except Pruned as pruned:
                return "pruned", str(pruned)
            except Stopped as stopped:
                return "interrupted", str(stopped)
        if watch.stop_asked() and training.epoch < last:
            return "interrupted", f"stopped at epoch {training.epoch} of {last}"
    return "complete", ""


def _epoch(training: Training) -> EpochResult:
    try:
        return training.run_epoch()
    except MemoryError as wrong:
        raise TrialFailed(f"memory does not suffice in epoch {training.epoch + 1}") from wrong


def _curve_points(result: EpochResult) -> dict[str, float]:
    return {
        **{f"train_{name}": value for name, value in asdict(result.train).items()},
        **{f"val_{name}": value for name, value in asdict(result.validation).items()},
        "learning_rate": result.learning_rate,
        "epoch_seconds": result.seconds,
    }


def _finish(recorder: "_Recorder", training: Training, validation: Eyes, state: State, reason: str) -> Outcome:
    history = training.history
    if state == "interrupted":
        recorder.add(RunEnd("KILLED", tags={"drsearch.outcome": "interrupted", "drsearch.reason": reason}))
        recorder.commit(training)
        return Outcome(state, reason, recorder.best_value, recorder.best_epoch, history, None, None)
    if training.epoch != recorder.best_epoch:
        training.restore(recorder.best_file)
    judged_by = np.array(recorder.best_probabilities, np.float32)
    epoch = history[recorder.best_epoch - 1]
    kept = recorder.when_space(
        lambda: _Kept(training.model, validation, judged_by, epoch, recorder, recorder.fresh_staging())
    )
    recorder.add(*kept.entries(len(history)))
    if not recorder.part:
        recorder.add(Tags({"mlflow.note.content": _note(recorder.plan, epoch.epoch, len(history), kept.scores)}))
        recorder.add(_end(state, reason))
    model = None if recorder.part else recorder.plan.folder / kept.model_file
    value = math.nan if recorder.plan.is_refit else recorder.best_value
    outcome = Outcome(
        state,
        reason,
        value,
        recorder.best_epoch,
        history,
        model,
        kept.scores,
        kept.error,
        kept.numbers,
        kept.predictions,
    )
    recorder.conclude(outcome)
    return outcome


def _end(state: State, reason: str) -> RunEnd:
    status: dict[State, Status] = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
    return RunEnd(status[state], tags={"drsearch.outcome": state, "drsearch.reason": reason})


def _shown(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _note(plan: Plan, kept_epoch: int, n_epochs: int, scores: Scores | None) -> str:
    """What MLflow's page of a run says of it, Markdown: the figures that matter, and how to repeat it."""
    lines = [f"Kept: epoch {kept_epoch} of {n_epochs}" + (f", AUC {_shown(scores.auc)}." if scores else ".")]
    if scores is not None:
        rows = [(name, _shown(interval)) for name, interval in scores.labelled]
        lines += ["", *note_table(("", f"validation ({scores.n})"), rows), ""]
        lines.append("95 % intervals. The confusion matrix is in `validation/` of the artifacts.")
        if scores.caution:
            lines += ["", f"**{scores.caution}**"]
    return "\n".join([*lines, "", *plan.head[:1], *(f"`{line}`" for line in plan.head[1:])])


class _Recorder:
    """The journal of a run and the checkpoints of the training that it is at, kept in step.

    Args:
        plan: The training, or the trial that has several.
        stop_asked: Whether to give up waiting for space on a full disk.

    Attributes:
        part: Which of the run's trainings that is, by name; empty for an only one, and when all parts are over.
    """

    def __init__(self, plan: Plan, stop_asked: Callable[[], bool]) -> None:
        self.plan = plan
        self.journal = Journal(plan.folder)
        self._stop_asked = stop_asked
        self._pending: list[Entry] = []
        self._open = False
        self.enter("", 0)

    def enter(self, part: str, first_epoch: int) -> None:
        """Turn to a part of the run, before which `first_epoch` epochs were trained in other parts."""
        self.part, self._first_epoch = part, first_epoch
        self.best_epoch = 0
        self.best_value = math.nan
        self.best_probabilities: list[float] = []
        self._folder = self.plan.folder / part.replace("/", "-")
        self._checkpoints = self._folder / "checkpoint"
        self._latest = self._checkpoints / "latest.npz"
        self._outcome_file = self._folder / "outcome.json"

    @property
    def has_pictures(self) -> bool:
        """Whether this training's network is the one that is shown: the first, where there are several."""
        return self._first_epoch == 0

    def named(self, values: Mapping[str, float]) -> dict[str, float]:
        """Metrics under the name of the part."""
        return {f"{self.part}/{name}" if self.part else name: value for name, value in values.items()}

    @property
    def best_file(self) -> Path:
        """The checkpoint of the best epoch, once another follows it; until then it is the latest."""
        return self._checkpoints / f"best-{self.best_epoch:06d}.npz"

    def when_space(self, write: Callable[[], T]) -> T:
        """What `write` returns, once the disk has space for it."""
        return when_space(write, self.plan.folder, self._stop_asked)

    def begin(self) -> None:
        """Take the folder over, and open the run unless an earlier attempt did."""
        self.when_space(self._begin)

    def _begin(self) -> None:
        self.plan.folder.mkdir(parents=True, exist_ok=True)
        with Ownership(self.plan.folder).taken(self.plan.owner):
            shutil.rmtree(self._staging.parent, ignore_errors=True)
            self._open = self.journal.whole_size() == 0
            if self._open:
                (self.plan.folder / "settings.gin").write_text(gin_text(self.plan.settings, self.plan.head))
                self.journal.append([self.plan.start, Artifact("settings.gin")])
            self._hand_over()

    def resume(self, training: Training | None) -> None:
        """Go on from the latest checkpoint, if there is one; the run is open after this."""
        self._write(lambda: self._checkpoints.mkdir(parents=True, exist_ok=True))
        if training is not None and (checkpoint := self._newest()) is not None:
            extra = training.restore(checkpoint)
            self.best_epoch, self.best_value = extra["best_epoch"], extra["best_value"]
            self.best_probabilities = extra["best_probabilities"]
            self._write(lambda: self._say_again(extra["journal_size"], extra["lines"]))
        if self._open:
            return
        self._open = True
        resumed: list[Entry] = [Resumed(), Tags({"drsearch.outcome": "", "drsearch.reason": ""})]
        self._write(lambda: self.journal.append(resumed))
        epoch = self._first_epoch + (training.epoch if training is not None else 0)
        logging.info("%s goes on after epoch %d", self.plan.start.name, epoch)

    def _newest(self) -> Path | None:
        """The latest checkpoint; one that was set aside as the best, where its process died before it wrote another."""
        kept = [self._latest] if self._latest.exists() else sorted(self._checkpoints.glob("best-*.npz"))
        return kept[-1] if kept else None

    def _say_again(self, size: int, lines: list[str]) -> None:
        """Append what a checkpoint says, as far as its process did not before it died."""
        said = set(self.journal.path.read_bytes()[size:].decode(errors="replace").split("\n")[:-1])
        self.journal.append([from_line(line) for line in lines if line not in said])

    def outcome(self) -> Outcome | None:
        """The outcome, if an earlier attempt reached it; what it had to say is in the journal after this."""
        outcome = read_outcome(self._folder)
        if outcome is not None:
            told = json.loads(self._outcome_file.read_text())
            self.when_space(lambda: self._conclude_again(told["journal_size"], told["lines"]))
        return outcome

    def _conclude_again(self, size: int, lines: list[str]) -> None:
        with Ownership(self.plan.folder).taken(self.plan.owner):
            self._say_again(size, lines)
            last = self.journal.path.read_bytes().splitlines()[-1]
            if not self.part and last != lines[-1].encode():  # ended since, as interrupted
                self.journal.append([from_line(lines[-1])])

    def add(self, *entries: Entry) -> None:
        """Note entries for the next commit."""
        self._pending += entries

    def tell_epoch(self, result: EpochResult, system: Mapping[str, float]) -> None:
        """Note the numbers of an epoch; those of the machine by the epochs of the whole run."""
        points = _curve_points(result)
        if self.plan.is_refit:
            points = {name: value for name, value in points.items() if not name.startswith("val_")}
        if not self.part:
            self.add(Metrics(result.epoch, points | dict(system)))
            return
        self.add(Metrics(result.epoch, self.named(points)), Metrics(self._first_epoch + result.epoch, dict(system)))

    def judge(self, training: Training, result: EpochResult) -> None:
        """Take this epoch for the best if it is that of all checkpointed ones; the commit that follows keeps it."""
        objective = Objective(self.plan.settings.study.objective)
        value = objective_of(result, objective.name)
        if self.best_epoch == 0 or self.plan.is_refit or objective.is_better(value, self.best_value):
            self.best_epoch, self.best_value = result.epoch, value
            self.best_probabilities = training.seen.tolist()

    def commit(self, training: Training) -> None:
        """Checkpoint, then append what was noted since the last commit.

        Raises:
            GivenAway: If another attempt has taken the folder over.
        """

        def write() -> None:
            extra = self._noted() | {
                "best_epoch": self.best_epoch,
                "best_value": self.best_value,
                "best_probabilities": self.best_probabilities,
            }
            if 0 < self.best_epoch < training.epoch and not self.best_file.exists():
                os.replace(self._latest, self.best_file)
            training.save(self._latest, extra)
            for old in self._checkpoints.glob("best-*.npz"):
                if old != self.best_file:
                    old.unlink()
            self._hand_over()
            self.journal.append(self._pending)

        self._write(write)
        self._pending.clear()

    @property
    def _staging(self) -> Path:
        """Where this attempt makes what is told at the end: an attempt that was given away must not write over it."""
        return self.plan.folder / "staging" / self.plan.owner.replace("/", "-")

    def fresh_staging(self) -> Path:
        """The empty folder for what is told at the end."""
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(parents=True)
        return self._staging

    def conclude(self, outcome: Outcome) -> None:
        """Write the outcome down, then append what was noted: the training is over.

        Raises:
            GivenAway: If another attempt has taken the folder over.
        """
        told = {
            "state": outcome.state,
            "reason": outcome.reason,
            "value": outcome.value,
            "epoch": outcome.epoch,
            "history": [asdict(epoch) for epoch in outcome.history],
            "scores": outcome.scores.to_json() if outcome.scores is not None else None,
            "error": outcome.error,
            "numbers": dict(outcome.numbers),
            "predictions": asdict(outcome.predictions) if outcome.predictions is not None else None,
        }

        def write() -> None:
            for made in self._staging.iterdir():
                os.replace(made, self.plan.folder / made.name)
            unfinished = self._outcome_file.with_suffix(".part")
            unfinished.write_text(json.dumps(self._noted() | {"outcome": told}))
            os.replace(unfinished, self._outcome_file)
            self._hand_over()
            self.journal.append(self._pending)

        self._write(write)
        self._pending.clear()
        for done_with in (self._checkpoints, self._staging.parent):  # the kept network is in model.keras
            shutil.rmtree(done_with, ignore_errors=True)

    def _hand_over(self) -> None:
        """Let other machines go on from here, before the journal says so."""
        if self.plan.shared_as is not None:
            pack(self.plan.folder, self.plan.shared_as, [to_line(entry) for entry in self._pending])

    def _noted(self) -> dict[str, Any]:
        return {"journal_size": self.journal.whole_size(), "lines": [to_line(entry) for entry in self._pending]}

    def close(self, status: Status, outcome: str, reason: str) -> None:
        """End the run here, leaving out what no checkpoint holds."""
        end = RunEnd(status, tags={"drsearch.outcome": outcome, "drsearch.reason": reason})
        with suppress(DiskFull):  # whoever reconciles the study closes it
            self._write(lambda: self.journal.append([end]))

    def _write(self, write: Callable[[], None]) -> None:
        """Write while the folder is this attempt's and cannot be taken, once the disk has space."""

        def mine() -> None:
            with Ownership(self.plan.folder).kept(self.plan.owner):
                write()

        try:
            self.when_space(mine)
        except NotTheOwner:
            raise GivenAway(
                f"{self.plan.start.name} was given to another worker; this one writes nothing more."
            ) from None


_COSTS = ("kept_parameters", "kept_latency_ms")
_SCORES = ("accuracy", "auc", "sensitivity", "specificity")
_TIMED = 100


class _Kept:
    """What is told about the kept network: its file, scores on the validation eyes, pictures.

    Args:
        model: The network.
        validation: The eyes that judge it.
        probabilities: Of RDR, of these eyes.
        epoch: The kept one.
        recorder: Whose network it is.
        folder: Where the files are made.
    """

    model_file = "model.keras"

    def __init__(
        self,
        model: keras.Model,
        validation: Eyes,
        probabilities: NDArray[np.float32],
        epoch: EpochResult,
        recorder: "_Recorder",
        folder: Path,
    ) -> None:
        self._model, self._validation, self._probabilities = model, validation, probabilities
        self._plan, self._recorder, self._folder = recorder.plan, recorder, folder
        if not recorder.part:
            model.save(folder / self.model_file)
        self.scores = None if self._plan.is_refit else scores(validation.labels, probabilities)
        self.error = math.nan if self.scores is None else self._error(self.scores)
        self.predictions: Predictions | None = None
        if self.scores is not None:
            self.predictions = Predictions(tuple(validation.labels.tolist()), tuple(probabilities.tolist()))
        self.numbers = {"kept_epoch": float(epoch.epoch), "kept_parameters": float(model.count_params())}
        if self.scores is not None:
            self.numbers |= _numbers(self.scores) | {"kept_val_loss": epoch.validation.loss}
        if self._plan.settings.study.cost == "latency":
            self.numbers["kept_latency_ms"] = latency_ms(model, validation)
        self._maps: dict[str, str] = {}
        if not recorder.has_pictures:
            return
        if self.scores is not None:
            self._write_json("validation_scores.json", self.scores.to_json())
            threshold = self.scores.threshold
            self._write_png("confusion.png", confusion_figure(self.scores.confusion, threshold, "validation"))
            self._write_png("roc.png", roc_figure(validation.labels, probabilities, threshold))
        self._maps = self._explain()

    def entries(self, step: int) -> list[Entry]:
        """Everything that is told at the end, at `step`: numbers of the kept epoch, and pictures."""
        at = now_ms()
        entries: list[Entry] = [Metrics(step, self._recorder.named(self._told()), at)]
        if not self._recorder.part:
            entries.append(Artifact(self.model_file, "model"))
        if self._recorder.has_pictures and self.scores is not None:
            files = ("validation_scores.json", "confusion.png", "roc.png")
            entries += [Artifact(name, "validation") for name in files]
            entries += [Image(f"validation/{name}", _PICTURE_STEP, f"{name}.png", at) for name in ("confusion", "roc")]
        return entries + [Image(key, _PICTURE_STEP, file, at) for key, file in self._maps.items()]

    def _told(self) -> dict[str, float]:
        """The numbers; of a part the values alone: a run has many parts, and their spread is their doubt."""
        if not self._recorder.part:
            return self.numbers
        values = ("kept_epoch", *(f"kept_val_{name}" for name in ("loss", *_SCORES)))
        return {name: value for name, value in self.numbers.items() if name in values}

    def _error(self, found: Scores) -> float:
        """Standard error of the objective: from the interval's width, and of the loss from its spread over eyes."""
        objective = self._plan.settings.study.objective
        if objective == "val_loss":
            of_label = np.where(self._validation.labels == 1, self._probabilities, 1 - self._probabilities)
            losses = -np.log(np.clip(of_label.astype(np.float64), 1e-7, 1.0))
            return spread(losses.tolist()) / math.sqrt(len(losses))
        interval = getattr(found, objective.removeprefix("val_"))
        return float(interval.high - interval.low) / (2 * 1.96)

    def _explain(self) -> dict[str, str]:
        """Where the network looks on some eyes: the pictures' files by key."""
        chosen = fixed_eyes(self._validation, self._plan.settings.study.gradcam_eyes)
        if not len(chosen):
            return {}
        images = self._validation.images[chosen]
        maps, _ = GradCam(self._model).maps(images, np.stack([retina_mask(image) for image in images]))
        drawn = {}
        for i, image, cam in zip(chosen, images, maps, strict=True):
            name = self._validation.names[i]
            file = f"gradcam-{name}.png"
            self._write_png(file, overlay(image, cam))
            drawn[f"gradcam/grade {self._validation.grades[i]} {name}"] = file
        return drawn

    def _write_png(self, name: str, image: NDArray[np.uint8]) -> None:
        (self._folder / name).write_bytes(png(image))  # OpenCV's imwrite hides a full disk

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        (self._folder / name).write_text(json.dumps(value, indent=2) + "\n")


def _numbers(found: Scores) -> dict[str, float]:
    (tn, fp), (fn, tp) = np.asarray(found.confusion).tolist()
    numbers = {"kept_true_nrdr": tn, "kept_false_rdr": fp, "kept_false_nrdr": fn, "kept_true_rdr": tp}
    numbers["kept_threshold"] = found.threshold
    for name in _SCORES:
        interval = getattr(found, name)
        numbers |= {
            f"kept_val_{name}": interval.value,
            f"kept_val_{name}_low": interval.low,
            f"kept_val_{name}_high": interval.high,
        }
    return {name: float(value) for name, value in numbers.items()}


def latency_ms(model: keras.Model, eyes: Eyes) -> float:
    """Milliseconds that a network takes for one eye on the cores that it was trained on.

    The shortest of 100: other trials on the machine only ever add to it (as Python's `timeit` advises).
    """
    predict = Predictor(model)
    seconds = []
    for i in range(_TIMED):
        began = time.perf_counter()
        predict(eyes.images[i % len(eyes.images)][None])
        seconds.append(time.perf_counter() - began)
    return min(seconds) * 1000
