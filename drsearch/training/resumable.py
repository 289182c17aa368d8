"""Runs a training to its end, resuming at its last checkpoint if its process died.

Trials, `drsearch train`, refits and fine-tuning all come through here. A training's events are held back until a
checkpoint that contains them is on disk, and only then appended to the journal: a training that resumes at its
checkpoint repeats no event and loses none.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from drsearch.constraints import violated
from drsearch.data.records import Eyes
from drsearch.errors import TrialFailed
from drsearch.files import DiskFull
from drsearch.measure.scores import TRIAL_THRESHOLD
from drsearch.model.backbones import computing_in
from drsearch.model.features import FeaturesStopped
from drsearch.model.fit import EpochResult, Training, set_seeds
from drsearch.model.frozen import TwoStageTraining, training_of
from drsearch.model.mean_network import mean_answers, mean_network
from drsearch.run_folder import MODEL_FILE, fold_network
from drsearch.settings import Settings
from drsearch.tracking.events import Event, Metrics, Tags, now_ms
from drsearch.tracking.metric_names import BEST_EPOCH, BEST_THRESHOLD, best_metric
from drsearch.tracking.system_metrics import SystemMetrics
from drsearch.tracking.tags import NOTE_TAG, VIOLATED_TAG
from drsearch.training.best_network import COSTS, BestNetwork, answers, costs, run_note, save_network, score_tags
from drsearch.training.checkpoints import Checkpoints, is_checkpointed
from drsearch.training.cross_validation import (
    Fold,
    TrialFolds,
    folds_or_repeats,
    has_mean,
    mean_history,
    n_trainings,
    repeat_seed,
    spread,
    training_name,
)
from drsearch.training.objective import Objective, violations
from drsearch.training.outcome import Outcome, Predictions
from drsearch.training.plan import GivenAway, Plan, Pruned, State, Stopped, Watch
from drsearch.training.run_log import RunLog, run_end


def run_training(plan: Plan, train: Eyes, validation: Eyes, watch: Watch, judged: Eyes | None = None) -> Outcome:
    """Train to the end, resuming at the last checkpoint. On a full disk, wait for space.

    Args:
        plan: The training.
        train: The eyes it trains on.
        validation: The eyes that judge it; in a refit, eyes to explain.
        watch: Hears of every epoch; may prune or stop the training.
        judged: The eyes of an outer fold, which the best network answers at the end.

    Returns:
        The outcome: a new one, or that of an earlier attempt which came to the end.

    Raises:
        GivenAway: If another attempt took over; this one has written nothing since.
    """
    log = RunLog(plan, watch.stop_asked)
    return _logged(log, lambda: _run(log, Fold(train, validation, judged=judged), watch))


def run_folds(plan: Plan, folds: TrialFolds, watch: Watch) -> Outcome:
    """Train all folds and repeats in turn, resuming at the last checkpoint.

    Args:
        plan: The trial.
        folds: Its folds and repeats.
        watch: Hears of the epochs, which count on through the folds. It judges each fold when that ends: by its number,
            from 1, with the best value of its checkpointed epochs.

    Returns:
        The outcome: a new one, or that of an earlier attempt which came to the end.

    Raises:
        GivenAway: If another attempt took over; this one has written nothing since.
    """
    log = RunLog(plan, watch.stop_asked)
    return _logged(log, lambda: _run_folds(log, folds, watch))


def _logged(log: RunLog, body: Callable[[], Outcome]) -> Outcome:
    """The outcome of `body`, or of an earlier attempt; the run gets an end, whatever happens."""
    try:
        if outcome := log.outcome(log.plan.folder):
            return outcome
        log.begin()
        return body()
    except GivenAway:
        raise
    except DiskFull as full:
        return Outcome("interrupted", str(full))
    except TrialFailed as failure:
        log.close("failed", str(failure))
        return Outcome("failed", str(failure))
    except BaseException as bug:  # a bug keeps its traceback, and its run still says that it ended
        log.close("failed", f"{type(bug).__name__}: {bug}")
        raise


def _run(log: RunLog, fold: Fold, watch: Watch) -> Outcome:
    plan = log.plan
    settings = plan.settings.replace({"training.seed": repeat_seed(plan.settings.training.seed, fold.repeat)})
    fold = fold.without(settings.training.left_out)
    set_seeds(settings.training.seed)
    try:
        training = training_of(
            _built(plan, fold.index), fold.train, fold.validation, settings, plan.features, plan.own, watch.stop_asked
        )
    except FeaturesStopped as stopped:
        return _interrupted(log, fold.epochs_before(plan.settings), str(stopped))
    checkpoints = Checkpoints(log, fold, training)
    checkpoints.resume()
    state, reason = _train(checkpoints, watch)
    return _finish(checkpoints, state, reason)


def _run_folds(log: RunLog, folds: TrialFolds, watch: Watch) -> Outcome:
    finished: list[Outcome] = []
    n = n_trainings(folds.search)
    for number in range(1, n + 1):
        fold = folds.fold(number - 1)
        n_epochs = fold.epochs_before(log.plan.settings)
        outcome = log.outcome(log.plan.folder / fold.folder) or _run(log, fold, _FoldWatch(watch, n_epochs))
        keras.utils.clear_session()  # graphs of a finished fold would stay until the trial ends
        if outcome.state == "interrupted":
            return outcome
        finished.append(outcome)
        try:
            watch.judged(number, outcome.value)
        except Pruned as pruned:
            if number < n:
                return _finish_folds(log, folds, finished, "pruned", str(pruned))
        except Stopped as stopped:
            return _stop_between_folds(log, finished, str(stopped))
        if watch.stop_asked() and number < n:
            return _stop_between_folds(log, finished, f"stopped after {number} of {n} {folds_or_repeats(folds.search)}")
    return _finish_folds(log, folds, finished, "complete", "")


def _stop_between_folds(log: RunLog, folds: Sequence[Outcome], reason: str) -> Outcome:
    return _interrupted(log, sum(len(fold.history) for fold in folds), reason)


def _interrupted(log: RunLog, n_epochs: int, reason: str) -> Outcome:
    """End the run, for now, after so many epochs."""
    log.reopen(n_epochs)
    log.close("interrupted", reason)
    return Outcome("interrupted", reason)


class _FoldWatch(Watch):
    """Passes the epochs of one fold to the watch of the trial, which does not judge them.

    Args:
        watch: The trial's.
        epochs_before: How many epochs the earlier folds have.
    """

    def __init__(self, watch: Watch, epochs_before: int) -> None:
        self._watch, self._epochs_before = watch, epochs_before

    def epoch(self, result: EpochResult) -> None:
        self._watch.epoch(replace(result, epoch=self._epochs_before + result.epoch))

    def stop_asked(self) -> bool:
        return self._watch.stop_asked()


def _finish_folds(log: RunLog, folds: TrialFolds, finished: Sequence[Outcome], state: State, reason: str) -> Outcome:
    """Judge the setting by the mean over its folds, at its best or last epoch; a refit trains as many epochs."""
    log.reopen(sum(len(fold.history) for fold in finished))
    settings = log.plan.settings
    objective = Objective(settings.study.objective)
    history = mean_history([fold.history for fold in finished])
    best, *later = (result for result in history if is_checkpointed(result.epoch, settings))
    for result in later:
        is_last = settings.training.judged_epoch == "last"
        if is_last or objective.is_better(objective.value_of(result), objective.value_of(best)):
            best = result
    per_fold = [fold.history[best.epoch - 1] for fold in finished]
    metrics = {BEST_EPOCH: float(best.epoch), "trainings": float(len(finished)), BEST_THRESHOLD: TRIAL_THRESHOLD}
    for name, value in best.validation.by_name().items():
        metrics[best_metric(f"val_{name}")] = value
        metrics[best_metric(f"val_{name}_std")] = spread([result.validation.by_name()[name] for result in per_fold])
    metrics |= {name: value for name, value in finished[0].metrics.items() if name in COSTS}
    files: Sequence[Event] = []
    judged = None
    if is_mean := has_mean(settings) and state == "complete":
        mean = mean_network([keras.saving.load_model(file, compile=False) for file in _network_files(log, folds)])
        metrics |= costs(mean, folds.validation, settings.study)
        files = log.stage(lambda folder: save_network(mean, folder))
        if folds.judged is not None:
            judged = answers(mean, folds.judged, settings.registry.symmetries)
    at = now_ms()
    log.add(*(Metrics(result.epoch, curve_points(result), at) for result in history))
    tags = Tags({**score_tags(metrics), **_violated(metrics, settings)})
    log.add(Metrics(len(history), metrics, at), *files, tags, run_end(state, reason))
    outcome = Outcome(
        state=state,
        reason=reason,
        value=objective.value_of(best),
        epoch=best.epoch,
        history=history,
        model=log.plan.folder / MODEL_FILE if is_mean else None,
        error=spread([objective.value_of(result) for result in per_fold]) / math.sqrt(len(per_fold)),
        metrics=metrics,
        predictions=_of_mean(folds, finished) if is_mean else _pooled(finished),
        judged=judged,
    )
    log.conclude(log.plan.folder, outcome)
    for file in _network_files(log, folds):
        file.unlink(missing_ok=True)
    return outcome


def _violated(metrics: Mapping[str, float], settings: Settings) -> dict[str, str]:
    """The tag that names the constraints that these metrics do not keep; none where they keep all."""
    text = violated(violations(metrics, settings))
    return {VIOLATED_TAG: text} if text else {}


def _network_files(log: RunLog, folds: TrialFolds) -> list[Path]:
    names = (training_name(folds.search, index) for index in range(n_trainings(folds.search)))
    return [log.plan.folder / fold_network(name) for name in names]


def _of_mean(folds: TrialFolds, finished: Sequence[Outcome]) -> Predictions:
    """For every held-out eye once, the mean of the networks that did not train on it: one in each repeat."""
    each = [(folds.held_out(index), outcome.predictions) for index, outcome in enumerate(finished)]
    n = 1 + max(int(places.max()) for places, _ in each)
    labels, patients = np.zeros(n, np.int64), np.full(n, "", object)
    answers = np.zeros((folds.search.repeats, n))
    for index, (places, predictions) in enumerate(each):
        assert predictions is not None
        answers[index // folds.search.folds, places] = predictions.probabilities
        labels[places], patients[places] = predictions.labels, predictions.patients
    return Predictions(tuple(labels.tolist()), tuple(mean_answers(answers).tolist()), tuple(patients.tolist()))


def _pooled(folds: Sequence[Outcome]) -> Predictions:
    """The held-out predictions of all folds, one after another."""
    each = [fold.predictions for fold in folds if fold.predictions is not None]
    return Predictions(
        tuple(label for one in each for label in one.labels),
        tuple(p for one in each for p in one.probabilities),
        tuple(patient for one in each for patient in one.patients),
    )


def _built(plan: Plan, index: int) -> keras.Model:
    """The network of a plan, of the fold or repeat at a place.

    Raises:
        TrialFailed: If Keras cannot build it, or memory does not suffice.
    """
    try:
        with computing_in(plan.settings.training.precision):
            return plan.build() if plan.build_fold is None else plan.build_fold(index)
    except (tf.errors.ResourceExhaustedError, MemoryError) as wrong:
        raise TrialFailed("memory does not suffice for the model; a smaller one may fit") from wrong
    except (ValueError, tf.errors.InvalidArgumentError) as wrong:
        # Keras raises these for sizes that do not fit together; raised by our own code, or a space's, they are bugs.
        if not _raised_within(wrong, "keras", "tensorflow"):
            raise
        first_line = (str(wrong).strip().splitlines() or [type(wrong).__name__])[0]
        raise TrialFailed(f"the model cannot be built: {first_line}") from wrong


def _raised_within(wrong: BaseException, *packages: str) -> bool:
    """Whether an error comes from the code of one of these packages."""
    trace = wrong.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return str(name).partition(".")[0] in packages


def _train(checkpoints: Checkpoints, watch: Watch) -> tuple[State, str]:
    log, training = checkpoints.log, checkpoints.training
    last = log.plan.last_epoch
    system = SystemMetrics()
    while training.epoch < last:
        result = _epoch(training)
        log.add(*_epoch_metrics(log.plan, checkpoints.fold, result, system.sample()))
        checkpoint_due = is_checkpointed(result.epoch, log.plan.settings)
        if checkpoint_due:
            checkpoints.judge(result)
            checkpoints.commit()
        watch.epoch(result)
        if checkpoint_due:
            try:
                watch.judged(result.epoch, checkpoints.best_value)
            except Pruned as pruned:
                return "pruned", str(pruned)
            except Stopped as stopped:
                return "interrupted", str(stopped)
        if watch.stop_asked() and training.epoch < last:
            return "interrupted", f"stopped at epoch {training.epoch} of {last}"
    return "complete", ""


def _epoch(training: Training | TwoStageTraining) -> EpochResult:
    try:
        return training.run_epoch()
    except MemoryError as wrong:
        raise TrialFailed(f"memory does not suffice in epoch {training.epoch + 1}") from wrong


def _epoch_metrics(plan: Plan, fold: Fold, result: EpochResult, system: Mapping[str, float]) -> list[Event]:
    """The metrics of one epoch; those of the machine count the epochs of the whole run."""
    points = curve_points(result)
    if plan.is_refit:
        points = {name: value for name, value in points.items() if not name.startswith("val_")}
    if fold.is_only:
        return [Metrics(result.epoch, points | dict(system))]
    return [
        Metrics(result.epoch, fold.named(points)),
        Metrics(fold.epochs_before(plan.settings) + result.epoch, dict(system)),
    ]


def curve_points(result: EpochResult) -> dict[str, float]:
    """The metrics of one epoch, by name."""
    return {
        **{f"train_{name}": value for name, value in result.train.by_name().items()},
        **{f"val_{name}": value for name, value in result.validation.by_name().items()},
        "learning_rate": result.learning_rate,
        "epoch_seconds": result.seconds,
    }


def _finish(checkpoints: Checkpoints, state: State, reason: str) -> Outcome:
    log, fold, training = checkpoints.log, checkpoints.fold, checkpoints.training
    history = training.history
    outcome = Outcome(state, reason, checkpoints.best_value, checkpoints.best_epoch, history)
    if state == "interrupted":
        log.add(run_end(state, reason))
        checkpoints.commit()
        return outcome
    if training.epoch != checkpoints.best_epoch:
        training.restore(checkpoints.best_file)
    best = BestNetwork(
        model=training.model,
        validation=fold.validation,
        probabilities=np.array(checkpoints.best_probabilities, np.float32),
        result=history[checkpoints.best_epoch - 1],
        plan=log.plan,
    )
    # Of several networks the first one alone is explained, and all are saved where their mean is asked for.
    is_of_mean = not fold.is_only and has_mean(log.plan.settings)
    files = log.stage(
        lambda folder: [
            *(best.save(folder) if fold.is_only else []),
            *(best.save_for_mean(folder / fold_network(fold.name)) if is_of_mean else []),
            *(best.draw(folder) if fold.index == 0 else []),
        ]
    )
    log.add(Metrics(len(history), best.metrics if fold.is_only else fold.named(best.fold_metrics)), *files)
    if fold.is_only:
        tags = {} if log.plan.is_refit else _violated(best.metrics, log.plan.settings)
        note = run_note(log.plan, checkpoints.best_epoch, len(history), best.scores, tags.get(VIOLATED_TAG, ""))
        log.add(Tags({NOTE_TAG: note, **score_tags(best.metrics), **tags}), run_end(state, reason))
    outcome = replace(
        outcome,
        value=math.nan if log.plan.is_refit else checkpoints.best_value,
        model=log.plan.folder / MODEL_FILE if fold.is_only else None,
        scores=best.scores,
        error=best.error,
        metrics=best.metrics,
        predictions=best.predictions,
        judged=answers(training.model, fold.judged, log.plan.settings.registry.symmetries)
        if fold.judged is not None
        else None,
    )
    log.conclude(checkpoints.folder, outcome)
    return outcome
