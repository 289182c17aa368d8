"""Whose trial is it, and what becomes of one whose process died?"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError
from studies import add_waiting_trials

from drsearch.processes import is_dead, this_process
from drsearch.trials import retrying
from drsearch.trials.attributes import DRAWN, MAX_RETRIES, REASON, TRIAL, WORKER
from drsearch.trials.claim import claim
from drsearch.trials.reconcile import fail_attempt, reconcile
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import all_over, read_trials

NOBODY_IS_SILENT = lambda beats: set()  # noqa: E731
DEAD = this_process().rsplit(":", 2)[0] + ":999999999:0"


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    return open_storage(f"sqlite:///{tmp_path / 'studies.db'}")


@pytest.fixture
def study(storage: Any) -> optuna.Study:
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    study.set_user_attr(MAX_RETRIES, 2)
    return study


def die(storage: Any, trial_id: int) -> None:
    """Let a claimed trial look as if its process were gone."""
    storage.set_trial_user_attr(trial_id, WORKER, DEAD)


def test_a_grids_points_are_the_trials_params(study: optuna.Study, storage: Any) -> None:
    points = [{"x": 1}, {"x": 2}]
    claimed = [claim(study, storage, 2, points), claim(study, storage, 2, points)]
    drawn = [optuna.Trial(study, attempt._trial_id).suggest_int("x", 0, 9) for _, attempt in filter(None, claimed)]
    assert drawn == [1, 2]


def test_every_trial_is_claimed_once_however_many_ask(tmp_path: Path, study: optuna.Study, storage: Any) -> None:
    add_waiting_trials(study, 12)

    def take_all(_: int) -> list[int]:
        storage = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
        mine = optuna.load_study(study_name="s", storage=storage)
        taken = []
        while (claimed := claim(mine, storage, 12)) is not None:
            taken.append(claimed[0])
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [trial for trials in pool.map(take_all, range(4)) for trial in trials]
    assert sorted(taken) == list(range(12))


def test_trials_are_made_when_they_are_taken_each_once_however_many_ask(tmp_path: Path, study: optuna.Study) -> None:
    def take_all(_: int) -> list[int]:
        storage = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
        mine = optuna.load_study(study_name="s", storage=storage)
        taken = []
        while (claimed := claim(mine, storage, 12)) is not None:
            taken.append(claimed[0])
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [trial for trials in pool.map(take_all, range(4)) for trial in trials]
    assert sorted(taken) == list(range(12))
    assert {attempt.state for attempt in study.trials} == {TrialState.RUNNING}, "none waits in the database"
    assert not all_over(read_trials(study), 12)


def test_a_grid_is_taken_point_by_point_and_one_that_grew_goes_on_with_its_new_points(
    study: optuna.Study, storage: Any
) -> None:
    def point_of(claimed: tuple[int, Any] | None) -> tuple[int, Any]:
        assert claimed is not None
        return claimed[0], claimed[1].system_attrs["fixed_params"]

    assert point_of(claim(study, storage, 2, [{"x": 1}, {"x": True}])) == (0, {"x": 1})
    grown = [{"x": 0}, {"x": 1}, {"x": True}]
    assert point_of(claim(study, storage, 3, grown)) == (1, {"x": 0})
    assert point_of(claim(study, storage, 3, grown)) == (2, {"x": True})
    assert claim(study, storage, 9, grown) is None


def test_a_worker_whose_answer_was_lost_finds_the_trial_that_it_made(
    study: optuna.Study, storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = storage.create_new_trial
    answers = [OperationalError("INSERT", {}, Exception("connection lost"))]

    def lose_the_answer(*arguments: Any) -> int:
        trial_id = create(*arguments)
        if answers:
            raise answers.pop()
        return int(trial_id)

    monkeypatch.setattr(retrying, "outage", retrying.Outage())  # a study that was stopped before waits no more
    monkeypatch.setattr(storage, "create_new_trial", lose_the_answer)
    monkeypatch.setattr("drsearch.trials.storage.time.sleep", lambda _: None)
    claimed = claim(study, storage, 5, is_spent=lambda: not answers)  # the budget was spent meanwhile
    assert claimed is not None and claimed[0] == 0
    assert len(study.trials) == 1


def test_no_trial_begins_when_a_budget_is_spent(study: optuna.Study, storage: Any) -> None:
    add_waiting_trials(study, 1)
    assert claim(study, storage, 5, is_spent=lambda: True) is None
    assert [trial.state for trial in study.trials] == [TrialState.WAITING]


def test_trials_beyond_the_total_are_left_alone(study: optuna.Study, storage: Any) -> None:
    add_waiting_trials(study, 3)
    assert claim(study, storage, 1) is not None
    assert claim(study, storage, 1) is None


def test_a_dead_workers_trial_waits_again_with_what_it_had_drawn_and_reported(
    study: optuna.Study, storage: Any
) -> None:
    add_waiting_trials(study, 1)
    claimed = claim(study, storage, 1)
    assert claimed is not None
    attempt = optuna.Trial(study, claimed[1]._trial_id)
    drawn = attempt.suggest_float("x", 0, 1)
    attempt.set_user_attr(DRAWN, True)
    attempt.report(0.5, 5)
    die(storage, claimed[1]._trial_id)
    (trial,) = reconcile(study, storage, NOBODY_IS_SILENT)
    assert trial.state == "waiting"
    again = claim(study, storage, 1)
    assert again is not None and again[0] == 0
    assert again[1].number != claimed[1].number
    assert again[1].params == {"x": drawn}
    assert again[1].intermediate_values == {5: 0.5}


def test_a_trial_that_dies_while_it_draws_draws_anew(study: optuna.Study, storage: Any) -> None:
    """What came after the first draw would else come from another place of the sampler's sequence."""
    add_waiting_trials(study, 1)
    claimed = claim(study, storage, 1)
    assert claimed is not None
    optuna.Trial(study, claimed[1]._trial_id).suggest_float("x", 0, 1)
    die(storage, claimed[1]._trial_id)
    reconcile(study, storage, NOBODY_IS_SILENT)
    again = claim(study, storage, 1)
    assert again is not None and again[1].params == {}


def test_a_trial_that_nobody_signed_for_waits_again_and_counts_as_no_death(study: optuna.Study, storage: Any) -> None:
    add_waiting_trials(study, 1)
    for _ in range(5):
        storage.set_trial_state_values(study.trials[-1]._trial_id, state=TrialState.RUNNING)
        (trial,) = reconcile(study, storage, lambda beats: set(beats))
        assert (trial.state, trial.deaths) == ("waiting", 0)


def test_reconciling_twice_queues_nothing_twice(study: optuna.Study, storage: Any) -> None:
    add_waiting_trials(study, 1)
    claimed = claim(study, storage, 1)
    assert claimed is not None
    die(storage, claimed[1]._trial_id)
    reconcile(study, storage, NOBODY_IS_SILENT)
    reconcile(study, storage, NOBODY_IS_SILENT)
    assert [attempt.state for attempt in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert study.trials[0].user_attrs[REASON] == "its process died"


def test_a_trial_that_kills_its_workers_fails_for_good_and_says_so(study: optuna.Study, storage: Any) -> None:
    add_waiting_trials(study, 1)
    for _ in range(3):
        claimed = claim(study, storage, 1)
        assert claimed is not None
        die(storage, claimed[1]._trial_id)
        (trial,) = reconcile(study, storage, NOBODY_IS_SILENT)
    assert trial.state == "failed"
    assert trial.reason == "its process died 3 times, perhaps because memory ran out"
    assert claim(study, storage, 1) is None


def test_an_interruption_is_no_death(study: optuna.Study, storage: Any) -> None:
    add_waiting_trials(study, 1)
    for _ in range(5):
        claimed = claim(study, storage, 1)
        assert claimed is not None
        fail_attempt(storage, claimed[1]._trial_id, "stopped at epoch 3 of 9", final=False)
        (trial,) = reconcile(study, storage, NOBODY_IS_SILENT)
        assert trial.state == "waiting"


def test_a_failed_trial_is_over_and_says_why(study: optuna.Study, storage: Any) -> None:
    add_waiting_trials(study, 1)
    claimed = claim(study, storage, 1)
    assert claimed is not None
    assert fail_attempt(storage, claimed[1]._trial_id, "the loss is nan in epoch 3", final=True)
    (trial,) = reconcile(study, storage, NOBODY_IS_SILENT)
    assert (trial.state, trial.reason, trial.is_over) == ("failed", "the loss is nan in epoch 3", True)


def test_a_trial_given_away_cannot_be_given_up_once_more(study: optuna.Study, storage: Any) -> None:
    add_waiting_trials(study, 1)
    claimed = claim(study, storage, 1)
    assert claimed is not None
    die(storage, claimed[1]._trial_id)
    reconcile(study, storage, NOBODY_IS_SILENT)
    assert not fail_attempt(storage, claimed[1]._trial_id, "too late", final=True)
    assert read_trials(study)[0].state == "waiting"


@pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.RUNNING])
def test_an_attempt_at_a_trial_that_another_has_ended_is_ended_too(
    state: TrialState, study: optuna.Study, storage: Any
) -> None:
    """Perhaps of a process that was stopped while it took a trial, and lost the lock before it wrote."""
    add_waiting_trials(study, 1)
    claimed = claim(study, storage, 1)
    assert claimed is not None
    study.add_trial(optuna.create_trial(state=state, user_attrs={TRIAL: 0, WORKER: this_process()}))
    study.tell(claimed[1].number, 0.9)
    (trial,) = reconcile(study, storage, NOBODY_IS_SILENT)
    assert (trial.state, trial.value, trial.deaths) == ("complete", 0.9, 0)
    assert [attempt.state for attempt in trial.attempts] == [TrialState.COMPLETE, TrialState.FAIL]
    assert trial.attempts[1].user_attrs[REASON] == "another attempt at this trial counts"


def test_a_running_trial_of_a_living_process_is_left_alone(study: optuna.Study, storage: Any) -> None:
    add_waiting_trials(study, 1)
    claim(study, storage, 1)
    (trial,) = reconcile(study, storage, NOBODY_IS_SILENT)
    assert trial.state == "running"
    assert trial.last.user_attrs[TRIAL] == 0


def test_processes_are_known_by_host_number_and_start() -> None:
    mine = this_process()
    assert not is_dead(mine)
    assert is_dead(DEAD)
    assert is_dead(mine.rsplit(":", 1)[0] + ":1"), "a number that is used again is another process"
    assert not is_dead("elsewhere/0-0:1:1"), "nothing is known of another host's processes"
