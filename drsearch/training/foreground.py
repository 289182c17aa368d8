"""How does a training run in the foreground of a command, with its lines on the terminal?"""

from collections.abc import Callable

from absl import logging

from drsearch.data.records import RecordSet, joined, read_eyes
from drsearch.errors import Interrupted
from drsearch.home import Home
from drsearch.model.training import EpochResult
from drsearch.signals import Interrupts
from drsearch.tracking.sender import start_sender
from drsearch.training.listener import Listener, TrainingProgress
from drsearch.training.outcome import Outcome
from drsearch.training.plan import Plan
from drsearch.training.resumable import run_training

_SENT_S = 60.0


class ForegroundWatch:
    """Tells a listener how a training in this process goes, and may be asked to stop it.

    Args:
        what: `fine-tuning`, `refit` or `training`.
        listener: Told of every epoch.
        plan: The training.
        cancelled: Asked after every epoch whether to stop.
    """

    def __init__(
        self, what: str, listener: Listener, plan: Plan, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        self._what, self._epochs, self._cancelled = what, plan.last_epoch, cancelled
        self._of = "train" if plan.is_refit else "validation"
        self._stop = False
        self.listener = listener
        listener.trained(TrainingProgress(what, 0, self._epochs))

    def epoch(self, result: EpochResult) -> None:
        """Tell of an epoch."""
        measures, split = getattr(result, self._of), self._of.removesuffix("idation")
        self.listener.trained(
            TrainingProgress(
                self._what, result.epoch, self._epochs, result.seconds, split, measures.auc, measures.accuracy
            )
        )

    def judged(self, epoch: int, value: float) -> None:
        """Nobody prunes here."""
        logging.debug("%s epoch %d: best %f", self._what, epoch, value)

    def stop_asked(self) -> bool:
        """Whether `stop` was called, or the study cancelled."""
        return self._stop or self._cancelled()

    def stop(self) -> None:
        """Stop at the end of the running epoch."""
        self._stop = True


def train_and_send(plan: Plan, records: RecordSet, home: Home, watch: ForegroundWatch) -> Outcome:
    """Run a training in this process, its run sent to MLflow meanwhile.

    Raises:
        Interrupted: After Ctrl-C, at the end of an epoch; the same call goes on from there.
    """
    sender = start_sender(home, home.tracking_uri)
    try:
        train, validation = read_eyes(records, "train"), read_eyes(records, "validation")
        if plan.is_refit:
            train = joined(train, validation)
        with Interrupts(watch.stop, watch.listener.stopping):
            outcome = run_training(plan, train, validation, watch)
    finally:
        if not sender.stop(_SENT_S):
            logging.warning("not everything has reached MLflow yet; `drsearch sync` sends the rest")
    if outcome.state == "interrupted":
        raise Interrupted(f"{plan.start.name} {outcome.reason}; the same command goes on from there.")
    return outcome
