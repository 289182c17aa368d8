"""Do runs end in their journals when their processes are gone, and only then?"""

import multiprocessing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from services import HANG_S
from studies import add_waiting_trials

from drsearch.processes import this_process
from drsearch.settings import Settings
from drsearch.study.definition import StudyDefinition
from drsearch.study.reconcile import RunCloser, launching
from drsearch.tracking.events import Metrics, Resumed, RunEnd, RunStart
from drsearch.tracking.journal import Journal
from drsearch.training.run_lock import NotTheOwner, RunLock
from drsearch.trials.attributes import MAX_RETRIES, RUN_ID, WORKER
from drsearch.trials.claim import claim
from drsearch.trials.reconcile import fail_attempt, reconcile
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import Trial, read_trials

DEAD = this_process().rsplit(":", 2)[0] + ":999999999:0"
DEFINITION = StudyDefinition("0123456789abcdef", "s.py", "", Settings(), "eyes", "/eyes", "d", {}, {})


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    return open_storage(f"sqlite:///{tmp_path / 'studies.db'}")


@pytest.fixture
def study(storage: Any) -> optuna.Study:
    made = optuna.create_study(storage=storage, study_name="s")
    made.set_user_attr(MAX_RETRIES, 1)
    add_waiting_trials(made, 1)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "s-01234567"


def begin(study: optuna.Study, storage: Any, folder: Path, name: str = "trial-0000") -> int:
    """Claim the trial and open its run, as a worker does; the number of the attempt."""
    claimed = claim(study, storage, 1)
    assert claimed is not None
    with RunLock(folder / name).take(f"{claimed[1].number}@{this_process()}"):
        journal = Journal(folder / name)
        journal.append(
            [RunStart("k", "s", "trial 00"), Metrics(1, {"loss": 1.0})] if not journal.size() else [Resumed()]
        )
    return claimed[1].number


def die(study: optuna.Study, storage: Any) -> list[Trial]:
    storage.set_trial_user_attr(study.trials[-1]._trial_id, WORKER, DEAD)
    return reconcile(study, storage, lambda _: set())


def ends(folder: Path) -> list[tuple[str, str, str]]:
    entries, _ = Journal(folder).read()
    return [
        (entry.status, entry.tags["drsearch.outcome"], entry.tags["drsearch.reason"])
        for entry in entries
        if isinstance(entry, RunEnd)
    ]


def test_a_dead_workers_run_is_interrupted_and_at_last_failed(study: optuna.Study, storage: Any, folder: Path) -> None:
    closer, attempt = RunCloser(folder, "s", DEFINITION), folder / "trial-0000"
    number = begin(study, storage, folder)
    closer.close(read_trials(study))
    assert ends(attempt) == [], "its process lives"
    trials = die(study, storage)
    closer.close(trials)
    RunCloser(folder, "s", DEFINITION).close(trials)
    assert ends(attempt) == [("KILLED", "interrupted", "its process died")]
    with pytest.raises(NotTheOwner), RunLock(attempt).hold(f"{number}@{this_process()}"):
        pytest.fail("it was given away")

    begin(study, storage, folder)
    closer.close(trials)
    assert len(ends(attempt)) == 1, "what was known of the trial is old, and it runs again"
    closer.close(die(study, storage))
    reason = "its process died 2 times, perhaps because memory ran out"
    assert ends(attempt)[1:] == [("FAILED", "failed", reason)]
    assert [attempt.state for attempt in study.trials] == [TrialState.FAIL, TrialState.FAIL]


def test_a_trial_that_never_began_to_train_has_a_run_that_says_why_it_failed(
    study: optuna.Study, storage: Any, folder: Path
) -> None:
    closer = RunCloser(folder, "s", DEFINITION)
    for _ in range(2):
        claim(study, storage, 1)
        closer.close(die(study, storage))
    (closed,) = folder.glob("closed-*")
    entries, _ = Journal(closed).read()
    assert isinstance(entries[0], RunStart) and entries[0].key == "0123456789abcdef/trial-0000"
    assert ends(closed) == [("FAILED", "failed", "its process died 2 times, perhaps because memory ran out")]


def test_a_run_whose_journal_lies_on_another_machine_is_ended_from_here(
    study: optuna.Study, storage: Any, folder: Path
) -> None:
    claimed = claim(study, storage, 1)
    assert claimed is not None
    storage.set_trial_user_attr(claimed[1]._trial_id, RUN_ID, "r")
    closer = RunCloser(folder, "s", DEFINITION)
    trials = die(study, storage)
    closer.close(trials)
    closer.close(trials)
    (closed,) = folder.glob("closed-*")
    assert ends(closed) == [("KILLED", "interrupted", "its process died")]


def test_an_interrupted_trials_run_is_left_as_it_is(study: optuna.Study, storage: Any, folder: Path) -> None:
    begin(study, storage, folder)
    told = {"drsearch.outcome": "interrupted", "drsearch.reason": "stopped at epoch 1 of 9"}
    Journal(folder / "trial-0000").append([RunEnd("KILLED", tags=told)])
    fail_attempt(storage, study.trials[0]._trial_id, "stopped at epoch 1 of 9", final=False)
    RunCloser(folder, "s", DEFINITION).close(reconcile(study, storage, lambda _: set()))
    assert ends(folder / "trial-0000") == [("KILLED", "interrupted", "stopped at epoch 1 of 9")]


def test_a_fine_tuning_is_ended_when_its_process_is_gone(study: optuna.Study, folder: Path) -> None:
    closer, tuned = RunCloser(folder, "s", DEFINITION), folder / "finetune-0000"
    for owner, ended in ((this_process(), []), (DEAD, [("KILLED", "interrupted", "its process died")])):
        with RunLock(tuned).take(owner):
            Journal(tuned).append([Resumed() if Journal(tuned).size() else RunStart("f", "s", "fine-tune")])
        closer.close([])
        assert ends(tuned) == ended


def launch_and_hold(folder: Path, ready: Any, end: Any) -> None:
    with launching(folder):
        ready.set()
        end.wait()


def test_the_studys_run_is_open_as_long_as_it_has_a_launcher(folder: Path) -> None:
    spawning = multiprocessing.get_context("spawn")
    ready, end = spawning.Event(), spawning.Event()
    launcher = spawning.Process(target=launch_and_hold, args=(folder, ready, end))
    launcher.start()
    assert ready.wait(HANG_S)
    Journal(folder / "study").append([RunStart("k", "s", "study s")])
    RunCloser(folder, "s", DEFINITION).close([])
    assert ends(folder / "study") == []
    launcher.kill()
    launcher.join()
    RunCloser(folder, "s", DEFINITION).close([])
    assert ends(folder / "study") == [("KILLED", "stopped", "its launcher died")]
