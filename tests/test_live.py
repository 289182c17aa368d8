"""What the person at the terminal sees of a running study."""

import io
from dataclasses import replace
from datetime import timedelta

import optuna
from optuna.trial import TrialState
from rich.console import Console

from drsearch.live import study_view
from drsearch.search.slots import SLOT, Slot
from drsearch.search.standing import Progress, WorkerStatus


def slot(number: int, state: TrialState, value: float | None = None, **attributes: object) -> Slot:
    trial = optuna.create_trial(state=state, value=value, user_attrs={SLOT: number, **attributes})
    if state is TrialState.COMPLETE and trial.datetime_start is not None:
        trial.datetime_start -= timedelta(seconds=80)
    return Slot(number, (trial,), 2)


def progress(*workers: WorkerStatus) -> Progress:
    slots = (
        slot(0, TrialState.COMPLETE, 0.75),
        slot(1, TrialState.FAIL, **{"drsearch.final": True, "drsearch.reason": "the loss is nan in epoch 3"}),
        slot(2, TrialState.RUNNING),
        slot(3, TrialState.WAITING),
    )
    return Progress("mine", "val_auc", slots, 4, workers, 60.0)


def shown(terminal: bool, *looks: Progress) -> str:
    out = io.StringIO()
    with study_view(Console(file=out, force_terminal=terminal, width=120, highlight=False)) as show:
        for look in looks:
            show(look)
    return out.getvalue()


def test_without_a_terminal_every_trial_that_ends_is_a_line_once() -> None:
    look = progress(WorkerStatus(slot=2, epoch=10, epochs=40, seconds=2.0, value=0.6, best=0.7))
    text = shown(False, look, look)
    assert text.splitlines() == [
        "trial 0 complete val_auc 0.7500",
        "trial 1 failed: the loss is nan in epoch 3",
        "study mine: 1 complete, 1 failed, 1 running of 4; best val_auc 0.7500; about 2 min 20 s left "
        "(trial 2 epoch 10/40 val_auc 0.6000)",
    ]


def test_a_first_epoch_tells_nothing_about_the_time_left() -> None:
    look = progress(WorkerStatus(slot=2, epoch=1, epochs=40, seconds=9.0, value=0.6, best=0.7))
    assert "left" not in shown(False, replace(look, slots=look.slots[1:]))


def test_on_a_terminal_there_is_a_live_table() -> None:
    text = shown(True, progress(WorkerStatus(slot=2, epoch=10, epochs=40, seconds=2.0, value=0.6, best=0.7)))
    assert "best val_auc 0.7500" in text
    assert "10/40" in text
    assert "1 min 00 s" in text
