"""The checkpoints of one training: the latest one, and that of the best epoch."""

import math
import os
from pathlib import Path
from typing import Any

from drsearch.model.fit import EpochResult, Training
from drsearch.model.frozen import TwoStageTraining
from drsearch.run_folder import BEST_CHECKPOINTS, CHECKPOINT_FOLDER, LATEST_CHECKPOINT, best_checkpoint
from drsearch.settings import Settings
from drsearch.training.cross_validation import Fold
from drsearch.training.objective import Objective
from drsearch.training.run_log import RunLog


def is_checkpointed(epoch: int, settings: Settings) -> bool:
    """Whether a training writes a checkpoint after this epoch (counted from 1)."""
    return epoch % settings.training.checkpoint_every_epochs == 0 or epoch == settings.training.epochs


class Checkpoints:
    """The checkpoints of one training of a run.

    Args:
        log: The run's.
        fold: The training.
        training: Its network and optimizer.

    Attributes:
        folder: Where its checkpoints and its outcome lie.
        best_epoch: The best of the checkpointed epochs, of equals the first, or the last one (`training.judged_epoch`);
            0 before there is one.
        best_value: The objective in that epoch.
        best_probabilities: Of RDR, of the validation eyes after that epoch.
    """

    def __init__(self, log: RunLog, fold: Fold, training: Training | TwoStageTraining) -> None:
        self.log, self.fold, self.training = log, fold, training
        self.folder = log.plan.folder / fold.folder
        self.best_epoch = 0
        self.best_value = math.nan
        self.best_probabilities: list[float] = []
        self._files = self.folder / CHECKPOINT_FOLDER
        self._latest = self._files / LATEST_CHECKPOINT

    @property
    def best_file(self) -> Path:
        """The checkpoint of the best epoch, once a later one is the latest."""
        return self._files / best_checkpoint(self.best_epoch)

    def resume(self) -> None:
        """Restore the training from its newest checkpoint, if it has one."""
        self.log.write(lambda: self._files.mkdir(parents=True, exist_ok=True))
        if (checkpoint := self._newest()) is not None:
            extra = self.training.restore(checkpoint)
            self.best_epoch, self.best_value = extra["best_epoch"], extra["best_value"]
            self.best_probabilities = extra["best_probabilities"]
            self.log.replay(extra)
        self.log.reopen(self.fold.epochs_before(self.log.plan.settings) + self.training.epoch)

    def _newest(self) -> Path | None:
        """The latest checkpoint, or the best one, if the process died before it wrote the next."""
        files = [self._latest] if self._latest.exists() else sorted(self._files.glob(BEST_CHECKPOINTS))
        return files[-1] if files else None

    def judge(self, result: EpochResult) -> None:
        """Note whether this epoch is the best of the checkpointed ones; the next commit saves its weights as such."""
        objective = Objective(self.log.plan.settings.study.objective)
        value = objective.value_of(result)
        is_last = self.log.plan.is_refit or self.log.plan.settings.training.judged_epoch == "last"
        if self.best_epoch == 0 or is_last or objective.is_better(value, self.best_value):
            self.best_epoch, self.best_value = result.epoch, value
            self.best_probabilities = self.training.seen.tolist()

    def commit(self) -> None:
        """Write a checkpoint, then append the events since the last one to the journal.

        Raises:
            GivenAway: If another attempt owns the run's folder.
        """

        def save(pending: dict[str, Any]) -> None:
            if 0 < self.best_epoch < self.training.epoch and not self.best_file.exists():
                os.replace(self._latest, self.best_file)
            best = {
                "best_epoch": self.best_epoch,
                "best_value": self.best_value,
                "best_probabilities": self.best_probabilities,
            }
            self.training.save(self._latest, pending | best)
            for old in self._files.glob(BEST_CHECKPOINTS):
                if old != self.best_file:
                    old.unlink()

        self.log.commit(save)
