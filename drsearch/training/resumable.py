"""How is a training run so that it can die at any moment, go on elsewhere, and be told to MLflow once?

Trials, `drsearch train`, refits and fine-tuning all come through here. What a training has to say is
held back until a checkpoint that contains it is on disk, and only then appended to the
journal: a training that goes on from its checkpoint says nothing twice and leaves nothing out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from drsearch.data.records import Eyes
from drsearch.errors import TrialFailed
from drsearch.files import DiskFull
from drsearch.measure.scores import TRIAL_THRESHOLD
from drsearch.model.training import EpochResult, Training, set_seeds
from drsearch.run_folder import MODEL_FILE
from drsearch.tracking.events import Metrics, RunEnd, Tags, now_ms
from drsearch.tracking.system_metrics import SystemMetrics
from drsearch.tracking.tags import NOTE_TAG, outcome_tags
from drsearch.training.best_network import COSTS, BestNetwork, run_note
from drsearch.training.cross_validation import (
    Part,
    TrialFolds,
    folds_or_repeats,
    mean_history,
    n_trainings,
    repeat_seed,
    spread,
)
from drsearch.training.objective import Objective
from drsearch.training.outcome import Outcome, Predictions, objective_of
from drsearch.training.plan import GivenAway, Plan, Pruned, State, Stopped, Watch
from drsearch.training.recorder import Recorder, curve_points, is_checkpointed, run_end


def run_training(plan: Plan, train: Eyes, validation: Eyes, watch: Watch) -> Outcome:
    """Run a training to its end, or on from its checkpoint, telling its journal.

    Where the disk is full, it waits for space.

    Raises:
        GivenAway: If another attempt took over; nothing was written since.
    """
    recorder = Recorder(plan, watch.stop_asked)
    return _guarded(recorder, lambda: _run(recorder, Part("", 0, train, validation), watch))


def run_folds(plan: Plan, dealt: TrialFolds, watch: Watch) -> Outcome:
    """Run all trainings of a trial one after another, or on from the checkpoint of the one it had come to.

    The watch sees epochs as they follow each other through all parts, and judges each part when it ends: by its number,
    from 1, with the best value of its checkpointed epochs.

    Raises:
        GivenAway: If another attempt took over; nothing was written since.
    """
    recorder = Recorder(plan, watch.stop_asked)
    return _guarded(recorder, lambda: _run_parts(recorder, dealt, watch))


def _guarded(recorder: "Recorder", body: Callable[[], Outcome]) -> Outcome:
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


def _run(recorder: "Recorder", part: Part, watch: Watch) -> Outcome:
    plan = recorder.plan
    settings = plan.settings.replace({"training.seed": repeat_seed(plan.settings.training.seed, part.repeat)})
    set_seeds(settings.training.seed)
    training = Training(_built(plan), part.train, part.validation, settings)
    recorder.resume(training)
    state, reason = _train(recorder, training, watch)
    return _finish(recorder, training, part.validation, state, reason)


def _run_parts(recorder: "Recorder", dealt: TrialFolds, watch: Watch) -> Outcome:
    finished: list[Outcome] = []
    n = n_trainings(dealt.search)
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
            return _left(recorder, f"stopped after {number} of {n} {folds_or_repeats(dealt.search)}")
    return _finish_parts(recorder, finished, "complete", "")


def _left(recorder: "Recorder", reason: str) -> Outcome:
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


def _finish_parts(recorder: "Recorder", parts: Sequence[Outcome], state: State, reason: str) -> Outcome:
    """Judge the setting by the checkpointed epoch that is best in the mean over its parts: a refit trains as long."""
    recorder.enter("", 0)
    recorder.resume(None)
    settings = recorder.plan.settings
    objective = settings.study.objective
    history = mean_history([part.history for part in parts])
    kept, *later = (result for result in history if is_checkpointed(result.epoch, settings))
    for result in later:
        if Objective(objective).is_better(objective_of(result, objective), objective_of(kept, objective)):
            kept = result
    at_kept = [part.history[kept.epoch - 1] for part in parts]
    numbers = {"best_epoch": float(kept.epoch), "parts": float(len(parts)), "best_threshold": TRIAL_THRESHOLD}
    for name, value in asdict(kept.validation).items():
        numbers[f"best_val_{name}"] = value
        numbers[f"best_val_{name}_std"] = spread([getattr(each.validation, name) for each in at_kept])
    numbers |= {name: value for name, value in parts[0].numbers.items() if name in COSTS}
    error = spread([objective_of(each, objective) for each in at_kept]) / math.sqrt(len(at_kept))
    at = now_ms()
    recorder.add(*(Metrics(result.epoch, curve_points(result), at) for result in history))
    recorder.add(Metrics(len(history), numbers, at), run_end(state, reason))
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


def _train(recorder: "Recorder", training: Training, watch: Watch) -> tuple[State, str]:
    last = recorder.plan.last_epoch
    system = SystemMetrics()
    while training.epoch < last:
        result = _epoch(training)
        recorder.tell_epoch(result, system.sample())
        checkpoint_due = is_checkpointed(result.epoch, recorder.plan.settings)
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


def _finish(recorder: "Recorder", training: Training, validation: Eyes, state: State, reason: str) -> Outcome:
    history = training.history
    if state == "interrupted":
        recorder.add(RunEnd("KILLED", tags=outcome_tags("interrupted", reason)))
        recorder.commit(training)
        return Outcome(state, reason, recorder.best_value, recorder.best_epoch, history, None, None)
    if training.epoch != recorder.best_epoch:
        training.restore(recorder.best_file)
    judged_by = np.array(recorder.best_probabilities, np.float32)
    epoch = history[recorder.best_epoch - 1]
    kept = recorder.when_space(
        lambda: BestNetwork(training.model, validation, judged_by, epoch, recorder, recorder.fresh_staging())
    )
    recorder.add(*kept.entries(len(history)))
    if not recorder.part:
        recorder.add(Tags({NOTE_TAG: run_note(recorder.plan, epoch.epoch, len(history), kept.scores)}))
        recorder.add(run_end(state, reason))
    model = None if recorder.part else recorder.plan.folder / MODEL_FILE
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
