"""What the person at the terminal sees of a running study and of a training."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from rich.console import Console

from drsearch.display.progress import frame_lines, study_view, training_view
from drsearch.study.status import Progress, WorkerStatus
from drsearch.training.listener import TrainingProgress
from drsearch.trials.attributes import TRIAL
from drsearch.trials.trials import Trial

AXES = {
    "training.learning_rate": FloatDistribution(1e-5, 1),
    "training.optimizer": CategoricalDistribution(["adam", "sgd"]),
    "images.normalisation": CategoricalDistribution(["none", "local_mean"]),
}


def trial(number: int, state: TrialState, value: float | None = None, attributes: Mapping[str, object] = {}) -> Trial:  # noqa: B006
    params = {
        "training.learning_rate": 10.0 ** -(number % 5),
        "training.optimizer": "adam",
        "images.normalisation": ("none", "local_mean")[number % 2],
    }
    trial = optuna.create_trial(
        state=state, value=value, params=params, distributions=AXES, user_attrs={TRIAL: number, **attributes}
    )
    if state is TrialState.COMPLETE:
        trial.datetime_complete = datetime(2026, 1, 1) + timedelta(seconds=number)
        trial.datetime_start = trial.datetime_complete - timedelta(seconds=80)
    return Trial(number, (trial,), 2)


BEST_EPOCH = {"drsearch.best_epoch": {"epoch": 3, "epochs": 4, "low": 0.5, "high": 0.9}}
FAILED = {"drsearch.final": True, "drsearch.reason": "the loss is nan in epoch 3"}
WORKER = WorkerStatus(trial=2, epoch=10, epochs=40, seconds=2.0, value=0.6, best=0.7, worker="pc:17:1.5")


def progress(*workers: WorkerStatus) -> Progress:
    trials = (
        trial(0, TrialState.COMPLETE, 0.75, BEST_EPOCH),
        trial(1, TrialState.FAIL, None, FAILED),
        trial(2, TrialState.RUNNING),
        trial(3, TrialState.WAITING),
    )
    return Progress("mine", "val_auc", trials, 4, workers)


def shown(terminal: bool, *looks: Progress) -> str:
    out = io.StringIO()
    with study_view(Console(file=out, force_terminal=terminal, width=120, highlight=False)) as show:
        for look in looks:
            show(look)
    return out.getvalue()


def drawn(look: Progress, width: int = 80, height: int = 23, stopping: str = "") -> list[str]:
    return [line.plain for line in frame_lines(look, width, height, stopping)]


def test_without_a_terminal_every_trial_that_ends_is_a_line_once() -> None:
    look = progress(WORKER)
    text = shown(False, look, look)
    assert text.splitlines() == [
        "trial 0 complete val_auc 0.7500 (learning_rate=1 optimizer=adam normalisation=none)",
        "trial 1 failed: the loss is nan in epoch 3 (learning_rate=0.1 optimizer=adam normalisation=local_mean)",
        "study mine: 2 of 4 trials finished (1 complete, 1 failed), 1 running; best val_auc 0.7500; "
        "about 2 min 20 s left (trial 2 epoch 10/40 val_auc 0.6000)",
    ]


def test_a_first_epoch_tells_nothing_about_the_time_left() -> None:
    look = progress(WorkerStatus(trial=2, epoch=1, epochs=40, seconds=9.0, value=0.6, best=0.7))
    assert "left" not in shown(False, replace(look, trials=look.trials[1:]))


def test_a_study_that_begins_says_so() -> None:
    assert drawn(Progress("mine", "val_auc", (), 8, ()))[0] == ("study mine: 0 of 8 trials finished, none running yet")


def test_a_running_trial_shows_its_epoch_its_settings_and_the_time_it_has_left() -> None:
    lines = drawn(progress(WORKER))
    (row,) = [i for i, line in enumerate(lines) if "10/40" in line]
    assert lines[row].split() == [
        "2",
        "━━━─────────",
        "10/40",
        "0.6000",
        "0.7000",
        "1",
        "min",
        "00",
        "s",
        "pc:17",
        "2.00",
    ]
    assert lines[row + 1].strip() == "learning_rate=0.01 optimizer=adam normalisation=none"


def test_a_trial_of_which_nothing_was_heard_yet_is_starting() -> None:
    lines = drawn(progress())
    assert any(re.fullmatch(r" +2 +starting", line) for line in lines)
    assert any(line.strip().startswith("learning_rate=0.01") for line in lines)


def test_finished_trials_show_their_value_with_its_interval_and_the_settings_that_differ() -> None:
    lines = drawn(progress(WORKER))
    (complete,) = [line for line in lines if " complete " in line and "study" not in line]
    assert complete.split() == ["0", "complete", "0.7500", "[0.500,", "0.900]", "1", "none"]
    (failed,) = [line for line in lines if " failed " in line and "study" not in line]
    assert failed.split() == ["1", "failed", "0.1", "local_mean"]
    assert not any("optimizer" in line for line in lines if "=" not in line), "it is the same in all"


def test_of_many_finished_trials_there_are_the_best_and_the_latest() -> None:
    trials = tuple(trial(i, TrialState.COMPLETE, 0.5 + 0.01 * (i * 7 % 40)) for i in range(40))
    lines = drawn(Progress("mine", "val_auc", trials, 60, ()), height=14)
    assert len(lines) <= 14
    numbers = [int(line.split()[0]) for line in lines if re.match(r" +\d+  0\.", line)]
    values = [trials[number].value for number in numbers]
    between = next(i for i, line in enumerate(lines) if "the latest:" in line)
    n_best = sum(bool(re.match(r" +\d+  0\.", line)) for line in lines[:between])
    assert n_best >= 3
    assert values[:n_best] == sorted((trial.value for trial in trials if trial.value), reverse=True)[:n_best]
    assert numbers[n_best:] == [n for n in range(39, -1, -1) if n not in numbers[:n_best]][: len(numbers) - n_best]


@pytest.mark.parametrize("n_workers", [1, 2, 8, 64])
@pytest.mark.parametrize(("width", "height"), [(80, 23), (120, 39), (60, 9), (40, 3)])
def test_a_frame_is_never_wider_or_higher_than_the_terminal(n_workers: int, width: int, height: int) -> None:
    """Rich would draw what is too high a second time, and what is too wide on two lines."""
    workers = tuple(replace(WORKER, trial=100 + i) for i in range(n_workers))
    trials = (
        *(trial(i, TrialState.COMPLETE, 0.5) for i in range(50)),
        *(trial(100 + i, TrialState.RUNNING) for i in range(n_workers)),
    )
    lines = drawn(Progress("a-rather-long-name-of-a-study", "val_auc", trials, 200, workers), width, height, "stop")
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_a_terminal_gets_each_frame_over_the_last_and_the_last_one_stays_once() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24, highlight=False)
    with study_view(console) as show:
        show(progress(WORKER))
        show.stopping("stopping at the end of the epoch, with a checkpoint")
        show(progress())
    last = out.getvalue().rpartition("\x1b[2K")[2]
    assert "2 of 4 trials finished" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert last.count("study mine") <= 1
    assert "stopping at the end of the epoch" in out.getvalue()


def test_without_a_terminal_a_training_is_told_at_every_fifth_of_it() -> None:
    out = io.StringIO()
    with training_view(Console(file=out)) as listener:
        listener.say("fine-tuning version 1")
        for epoch in range(13):
            listener.trained(TrainingProgress("fine-tuning", epoch, 12, 1.0, "val", 0.625, 0.5))
    first, *rest = out.getvalue().splitlines()
    assert first == "fine-tuning version 1"
    assert [line.partition(":")[0] for line in rest] == [f"fine-tuning epoch {n}/12" for n in (2, 4, 6, 8, 10, 12)]
    assert rest[0] == "fine-tuning epoch 2/12: val_auc 0.6250, val_accuracy 0.5000 at 0.5"


def training(epochs: Sequence[TrainingProgress]) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, highlight=False)
    with training_view(console) as listener:
        for epoch in epochs:
            listener.trained(epoch)
            console.print(listener)  # as the live view draws it
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())


def test_a_training_at_a_terminal_has_a_bar_and_from_its_third_epoch_the_time_left() -> None:
    begun = TrainingProgress("refit", 0, 10)
    first = TrainingProgress("refit", 1, 10, 30.0, "train", 0.5, 0.5)  # builds the graph
    assert "refit ──────────────────── 0/10" in training([begun])
    assert "refit ━━────────────────── 1/10  train_auc 0.5000" in training([begun, first])
    assert "left" not in training([begun, first])
    second = replace(first, epoch=2, seconds=4.0)
    assert "2/10  train_auc 0.5000, train_accuracy 0.5000 at 0.5  about 32 s left" in training([begun, first, second])


def test_a_finished_training_leaves_one_line() -> None:
    whole = [TrainingProgress("training", n, 3, 1.0, "val", 0.75, 0.5) for n in range(4)]
    assert "training, 3 epochs: val_auc 0.7500, val_accuracy 0.5000 at 0.5 at the end" in training(whole)
