"""How does a study stand, seen from outside?"""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState
from studies import DEAD, ELSEWHERE, RATE

from drsearch.errors import StudyError
from drsearch.processes import this_process
from drsearch.study.cancel import ask_to_stop
from drsearch.study.reconcile import launching
from drsearch.study.status import StudyStatus, all_statuses, sort_trials, study_left_s, study_status, trial_rows

Begin = Callable[..., Any]


def seen(begun: Any) -> StudyStatus:
    return study_status(begun.study, begun.definition, begun.storage, begun.home)


def say(begun: Any, worker: str, **said: float) -> None:
    """What a worker leaves for who looks on."""
    folder = begun.folder / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    status = {"worker": worker, "at": 0, "seconds": 2.0, "value": 0.6, "best": 0.7, "epochs": 8, **said}
    (folder / "0-4711.json").write_text(json.dumps(status))


def test_a_study_is_complete_when_all_its_trials_are_over(begin: Begin) -> None:
    mine = begin(n_trials=3)
    mine.complete(0, 0.75, 0.5, 0.9)
    mine.ended(1, TrialState.PRUNED, 0.5)
    assert seen(mine).state == "stopped"
    mine.ended(2, TrialState.FAIL, final=True, reason="the loss is nan in epoch 3")
    now = seen(mine)
    assert now.state == "complete"
    assert now.counts() == {"complete": 1, "pruned": 1, "failed": 1, "waiting": 0, "running": 0}
    assert now.best is not None and (now.best.number, now.best.value, now.best.low) == (0, 0.75, 0.5)


def test_a_study_whose_trials_violate_a_constraint_has_no_best_and_says_by_how_much(begin: Begin) -> None:
    mine = begin(n_trials=2, **{"study.constraints": "sensitivity >= 0.9"})
    mine.ended(0, TrialState.COMPLETE, 0.95, constraints={"sensitivity >= 0.9": 0.1})
    now = seen(mine)
    assert now.best is None
    assert (
        now.why_no_best
        == now.to_json()["why_no_best"]
        == (
            "none of 1 complete trials keeps study.constraints = 'sensitivity >= 0.9'; nearest is trial 0 with "
            "sensitivity 0.81 < 0.9"
        )
    )
    mine.ended(1, TrialState.COMPLETE, 0.75, constraints={"sensitivity >= 0.9": -0.1})
    now = seen(mine)
    assert now.best is not None and now.best.number == 1 and now.why_no_best == ""
    first, second = trial_rows(mine.storage, "mine", mine.home)[0]
    assert (first.violated, second.violated) == ("sensitivity 0.81 < 0.9", "")
    assert [row.constraints["sensitivity >= 0.9"] for row in (first, second)] == pytest.approx([0.81, 0.99])


def test_trials_that_nobody_has_taken_yet_wait(begin: Begin) -> None:
    mine = begin(n_trials=5)
    mine.complete(0, 0.75, 0.5, 0.9)
    assert seen(mine).counts()["waiting"] == 4
    rows, _, _ = trial_rows(mine.storage, "mine", mine.home)
    assert [(row.number, row.state) for row in rows] == [(0, "complete"), *((n, "waiting") for n in range(1, 5))]


def test_a_study_is_running_while_somebody_is_at_it_on_any_machine(begin: Begin) -> None:
    mine = begin()
    assert seen(mine).state == "stopped"
    with launching(mine.folder):
        assert seen(mine).state == "running"
    assert seen(mine).state == "stopped"
    mine.running(0, ELSEWHERE)
    assert seen(mine).state == "running"


def test_a_cancelled_study_says_so(begin: Begin) -> None:
    mine = begin()
    ask_to_stop(mine.study)
    assert seen(mine).state == "cancelled"


def test_a_trial_that_a_dead_process_left_waits_and_nobody_is_at_it(begin: Begin) -> None:
    mine = begin(n_trials=1)
    mine.running(0, DEAD)
    now = seen(mine)
    assert (now.state, now.abandoned, now.progress.workers) == ("stopped", (0,), ())
    assert now.counts()["waiting"] == 1


def test_a_worker_tells_how_far_it_is_and_one_elsewhere_is_known_by_its_reports(begin: Begin) -> None:
    mine = begin()
    mine.running(0, this_process())
    mine.running(1, ELSEWHERE, {2: 0.5, 4: 0.8})
    say(mine, this_process(), trial=0, epoch=3)
    here, there = seen(mine).progress.workers
    assert (here.trial, here.epoch, here.value, here.left_s) == (0, 3, 0.6, 10.0)
    assert (there.trial, there.epoch, there.epochs, there.best) == (1, 4, 8, 0.8)
    assert math.isnan(there.seconds)
    told = seen(mine).to_json()["workers"]
    assert told[1]["worker"] == "another-machine:4711"
    assert told[1]["epoch_seconds"] is None


def test_a_living_worker_between_two_trials_is_idle(begin: Begin) -> None:
    mine = begin()
    mine.complete(0, 0.7, 0.6, 0.8)
    say(mine, this_process(), trial=0, epoch=8)
    assert seen(mine).idle == (this_process(),)
    before_a_restart = this_process().partition("/")[0] + "/another-boot:4711:1"
    for gone in (DEAD, before_a_restart):
        say(mine, gone, trial=0, epoch=8)
        assert seen(mine).idle == ()


def test_the_time_left_is_what_trials_took_divided_among_the_workers(begin: Begin) -> None:
    mine = begin(n_trials=7)
    mine.complete(0, 0.7, 0.6, 0.8, seconds=100)
    mine.ended(1, TrialState.PRUNED, 0.5, seconds=20)
    mine.running(2, this_process())
    mine.running(3, ELSEWHERE, {2: 0.5})
    say(mine, this_process(), trial=2, epoch=6)
    now = seen(mine)
    # Three wait at 60 s; one has 2 epochs of 2 s left, and the other, whose pace nobody knows, 6 of 8 epochs.
    assert now.left_s == pytest.approx((3 * 60 + 4 + 45) / 2)
    assert study_left_s(now.progress.trials, 7, ()) is None


def test_all_studies_of_a_database_are_seen_the_last_begun_first(begin: Begin) -> None:
    first = begin("first")
    begin("second")
    looks = all_statuses(first.storage, first.home)
    assert [each.name for each in looks] == ["second", "first"]


def test_a_trial_tells_its_interval_attempts_and_why_it_waits(begin: Begin) -> None:
    mine = begin()
    mine.complete(0, 0.75, 0.5, 0.9, rate=0.003)
    mine.interrupted(1)
    rows, objective, less_is_better = trial_rows(mine.storage, "mine", mine.home)
    first, second = rows[:2]
    assert (objective, less_is_better) == ("val_auc", False)
    assert (first.value, first.low, first.high, first.best_epoch, first.epochs) == (0.75, 0.5, 0.9, 5, 8)
    assert first.params == {RATE: 0.003}
    assert first.seconds == pytest.approx(60, abs=1)
    assert (second.state, second.attempts, second.reason) == ("waiting", 1, "stopped at epoch 5 of 8")
    assert second.params == {RATE: 0.25}
    assert second.seconds == pytest.approx(30, abs=1)


def test_trials_are_sorted_by_any_column_the_best_value_first_and_what_has_none_last(begin: Begin) -> None:
    mine = begin()
    mine.waiting(0)
    mine.complete(1, 0.75, 0.5, 0.9, rate=0.3, seconds=10)
    mine.complete(2, 0.5, 0.5, 0.9, rate=0.1, seconds=30)
    mine.complete(3, 0.9, 0.5, 0.9, rate=0.2, seconds=20)
    rows, _, _ = trial_rows(mine.storage, "mine", mine.home)

    def order(by: str, less_is_better: bool = False) -> list[int]:
        return [row.number for row in sort_trials(rows, by, less_is_better)]

    assert order("value") == [3, 1, 2, 0]
    assert order("value", less_is_better=True) == [2, 1, 3, 0]
    assert order("learning_rate") == order(RATE) == [2, 3, 0, 1]
    assert order("seconds") == [0, 1, 3, 2]
    with pytest.raises(StudyError) as refused:
        sort_trials(rows, "lr", False)
    assert str(refused.value) == (
        "--sort lr: no such column. There are number, state, value, epochs, attempts, seconds, training.learning_rate."
    )


def test_a_trial_of_a_loss_has_no_interval_and_less_of_it_is_better(begin: Begin) -> None:
    mine = begin(**{"study.objective": "val_loss"})
    mine.ended(0, TrialState.COMPLETE, 0.3, kept={"epoch": 5, "epochs": 8})
    mine.ended(1, TrialState.COMPLETE, 0.2, kept={"epoch": 5, "epochs": 8})
    now = seen(mine)
    assert now.best is not None and (now.best.number, now.best.low) == (1, None)
    assert trial_rows(mine.storage, "mine", mine.home)[1:] == ("val_loss", True)
