"""A training in the process of a command, shown on the terminal."""

from collections.abc import Callable

from absl import logging

from drsearch.data.records import RecordSet, joined
from drsearch.errors import Interrupted
from drsearch.home import Home
from drsearch.model.fit import EpochResult
from drsearch.signals import Interrupts
from drsearch.tracking.sender import start_sender
from drsearch.training.cross_validation import n_trainings, split_folds
from drsearch.training.listener import Listener, TrainingProgress
from drsearch.training.outcome import Outcome
from drsearch.training.outer_folds import training_entries, training_eyes
from drsearch.training.plan import Plan, Watch
from drsearch.training.resumable import run_folds, run_training

_SENT_S = 60.0


class ForegroundWatch(Watch):
    """The watch of a training in this process: it passes every epoch to a listener, and can stop the training.

    Args:
        what: `fine-tuning`, `refit` or `training`.
        listener: Hears of every epoch.
        plan: The training.
        cancelled: Whether to stop; called after every epoch.
    """

    def __init__(
        self, what: str, listener: Listener, plan: Plan, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        self._what, self._cancelled = what, cancelled
        self._epochs = plan.last_epoch * (n_trainings(plan.settings.search) if plan.build_fold else 1)
        self._of = "train" if plan.is_refit else "validation"
        self._stop = False
        self.listener = listener
        listener.trained(TrainingProgress(what, 0, self._epochs))

    def epoch(self, result: EpochResult) -> None:
        """Pass an epoch to the listener."""
        measures, split = getattr(result, self._of), self._of.removesuffix("idation")
        self.listener.trained(
            TrainingProgress(
                what=self._what,
                epoch=result.epoch,
                epochs=self._epochs,
                seconds=result.seconds,
                split=split,
                auc=measures.auc,
                accuracy=measures.accuracy,
            )
        )

    def stop_asked(self) -> bool:
        """Whether `stop` was called, or the study was cancelled."""
        return self._stop or self._cancelled()

    def stop(self) -> None:
        """Stop at the end of the running epoch."""
        self._stop = True


def train_and_send(plan: Plan, records: RecordSet, home: Home, watch: ForegroundWatch) -> Outcome:
    """Run a training in this process, while a sender process sends its run to MLflow.

    Args:
        plan: The training; of the folds and repeats of `search` where it builds the network of each.
        records: The eyes; a refit trains on train and validation split.
        home: Where everything lies.
        watch: Hears of every epoch.

    Returns:
        The outcome.

    Raises:
        Interrupted: After Ctrl-C, at the end of an epoch; the same call resumes there.
    """
    sender = start_sender(home)
    try:
        search = plan.settings.search
        train, validation, judged = training_eyes(records, home, search)
        if plan.is_refit:
            train = joined(train, validation)
        with Interrupts(watch.stop, watch.listener.stopping):
            if plan.build_fold is None:
                outcome = run_training(plan, train, validation, watch, judged)
            else:
                entries = training_entries(records, search)
                folds = split_folds(train, validation, entries, records.data, search, judged)
                outcome = run_folds(plan, folds, watch)
    finally:
        if not sender.stop(_SENT_S):
            logging.warning("not everything has reached MLflow yet; `drsearch sync` sends the rest")
    if outcome.state == "interrupted":
        raise Interrupted(f"{plan.start.name} {outcome.reason}; the same command resumes it.")
    return outcome
