"""A trial is one trial to samplers and pruners, however many attempts it took."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from studies import add_waiting_trials

from drsearch.processes import this_process
from drsearch.settings import Settings
from drsearch.trials.attributes import DRAWN, MAX_RETRIES, TRIAL, WORKER
from drsearch.trials.claim import claim
from drsearch.trials.pruners import pruner_for
from drsearch.trials.reconcile import reconcile
from drsearch.trials.storage import open_storage
from drsearch.trials.trial_view import TrialView

DEAD = this_process().rsplit(":", 2)[0] + ":999999999:0"
EPOCHS = 9
SETTINGS = Settings().replace(
    {"training.epochs": EPOCHS, "study.pruner_warmup_epochs": 1, "study.pruner_startup_trials": 2}
)


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    return open_storage(f"sqlite:///{tmp_path / 'studies.db'}")


@pytest.fixture
def study(storage: Any) -> optuna.Study:
    study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
    study.set_user_attr(MAX_RETRIES, 2)
    return study


def begin_attempt(
    study: optuna.Study, storage: Any, n: int, pruner: optuna.pruners.BasePruner
) -> tuple[int, optuna.Trial]:
    claimed = claim(study, storage, n)
    assert claimed is not None
    seen = optuna.load_study(
        study_name="s", storage=TrialView(storage), pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=1)
    )
    return claimed[0], optuna.Trial(seen, claimed[1]._trial_id)


def die(study: optuna.Study, storage: Any, trial: optuna.Trial) -> None:
    """Let an attempt look as if its process were gone, and its trial wait again."""
    trial.set_user_attr(DRAWN, True)
    storage.set_trial_user_attr(trial._trial_id, WORKER, DEAD)
    reconcile(study, storage, lambda _: set())


def value(trial: int, epoch: int) -> float:
    return [0.55, 0.8, 0.6, 0.7, 0.58, 0.9, 0.52, 0.65][trial] + 0.001 * epoch


def run(study: optuna.Study, storage: Any, settings: Settings, n: int, deaths: bool) -> list[tuple[str, int]]:
    """Run `n` trials one after another, each dying halfway if asked; how each ended, and at which epoch."""
    add_waiting_trials(study, n)
    ended: dict[int, tuple[str, int]] = {}
    reported: dict[int, int] = {}
    while len(ended) < n:
        trial, attempt = begin_attempt(study, storage, n, pruner_for(settings))
        first, dies = reported.get(trial, 0) == 0, False
        attempt.suggest_float("x", 0, 1)
        for epoch in range(reported.get(trial, 0) + 1, EPOCHS + 1):
            if deaths and first and epoch == 3:
                dies = True
                break
            attempt.report(value(trial, epoch), epoch)
            reported[trial] = epoch
            if attempt.should_prune():
                attempt.study.tell(attempt, state=TrialState.PRUNED)
                ended[trial] = ("pruned", epoch)
                break
        if dies:
            die(study, storage, attempt)
        elif trial not in ended:
            attempt.study.tell(attempt, value(trial, EPOCHS))
            ended[trial] = ("complete", EPOCHS)
    return [ended[trial] for trial in range(n)]


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband"])
def test_a_pruner_decides_alike_whether_or_not_trials_died_on_the_way(tmp_path: Path, pruner: str) -> None:
    ways = []
    for deaths in (False, True):
        storage = open_storage(f"sqlite:///{tmp_path / f'{deaths}.db'}")
        study = optuna.create_study(storage=storage, study_name="s", direction="maximize")
        study.set_user_attr(MAX_RETRIES, 2)
        ways.append(run(study, storage, SETTINGS.replace({"study.pruner": pruner}), 8, deaths))
        assert len(study.trials) == (8 if not deaths else 8 + sum(epoch > 2 for _, epoch in ways[0]))
    assert ways[0] == ways[1]
    assert {"pruned", "complete"} == {state for state, _ in ways[0]}


def test_a_study_has_one_trial_a_trial_with_the_trials_number(study: optuna.Study, storage: Any) -> None:
    add_waiting_trials(study, 2)
    _, first = begin_attempt(study, storage, 2, optuna.pruners.NopPruner())
    x = first.suggest_float("x", 0, 1)
    die(study, storage, first)
    trial, again = begin_attempt(study, storage, 2, optuna.pruners.NopPruner())
    assert (trial, again.number, again.suggest_float("x", 0, 1)) == (0, 0, x)
    again.study.tell(again, 0.5)
    assert [attempt.number for attempt in study.trials] == [0, 1, 2]
    assert [(attempt.number, attempt.state.name) for attempt in again.study.trials] == [(0, "COMPLETE"), (1, "WAITING")]
    assert again.study.best_trial.value == 0.5


def test_a_generation_counts_a_trial_that_was_taken_up_again_once(study: optuna.Study, storage: Any) -> None:
    sampler = optuna.samplers.NSGAIISampler(population_size=2, seed=0)
    add_waiting_trials(study, 4)
    generations = []
    for number in range(5):
        claimed = claim(study, storage, 4)
        assert claimed is not None
        seen = optuna.load_study(study_name="s", storage=TrialView(storage), sampler=sampler)
        attempt = optuna.Trial(seen, claimed[1]._trial_id)
        attempt.suggest_float("x", 0, 1)
        if number == 1:
            die(study, storage, attempt)
            continue
        seen.tell(attempt, 0.5)
        generations.append(storage.get_trial(attempt._trial_id).system_attrs["NSGAIISampler:generation"])
    assert generations == [0, 0, 1, 1]


def test_finished_trials_are_absorbed_at_once_up_to_the_first_unfinished_one(study: optuna.Study, storage: Any) -> None:
    for number, state in enumerate(["COMPLETE", "FAIL", "COMPLETE", "WAITING", "COMPLETE"]):
        value = 0.5 if state == "COMPLETE" else None
        study.add_trial(
            optuna.create_trial(state=optuna.trial.TrialState[state], value=value, user_attrs={TRIAL: number})
        )
    view = TrialView(storage)
    for _ in range(2):
        assert [trial.number for trial in view.get_all_trials(study._study_id)] == [0, 1, 2, 3, 4]
        assert view._finished[study._study_id].n_attempts == 3
