"""Every sampler draws what the space says, the same for the same trial, and no two workers the same."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from scipy.stats import qmc

from drsearch.constraints import Constraint
from drsearch.settings import Settings
from drsearch.space.check import load_space
from drsearch.space.search_space import SearchSpace
from drsearch.study.definition import trial_seed
from drsearch.trials.attributes import TRIAL
from drsearch.trials.samplers import Samplers, axes_of, missing_package
from drsearch.trials.storage import open_storage
from drsearch.trials.trial_view import TrialView

SPACE = """
def space(hp):
    hp.Float("training.learning_rate", 1e-5, 1e-2, sampling="log")
    hp.Float("model.dropout", 0.0, 0.5)
    hp.Int("model.width", 4, 32, step=4)
    if hp.Choice("training.optimizer", ["adam", "sgd"]) == "sgd":
        hp.Float("training.weight_decay", 0.0, 0.1)
"""
SAMPLERS = ["random", "tpe", "qmc", "nsga2", "cmaes"]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    file = tmp_path_factory.mktemp("space") / "four.py"
    file.write_text(SPACE)
    return load_space(file)


def settings(sampler: str) -> Settings:
    return Settings().replace(
        {"study.sampler": sampler, "study.sampler_startup_trials": 3, "study.sampler_population": 4}
    )


def search(
    sampler: str,
    space: SearchSpace,
    n: int = 14,
    seed: int = 0,
    one_worker: bool = False,
    least_dropout: float | None = None,
) -> list[dict[str, Any]]:
    """`n` trials one after another, each by a new worker unless all are by one; the smallest dropout is best.

    With a least dropout, a smaller one violates a constraint.
    """
    by_one = Samplers(settings(sampler), space)
    study = optuna.create_study(study_name="s", direction="maximize", storage=optuna.storages.InMemoryStorage())
    drawn = []
    for trial in range(n):
        study.enqueue_trial({}, user_attrs={TRIAL: trial})
        trial_id = study.trials[-1]._trial_id
        study._storage.set_trial_state_values(trial_id, state=optuna.trial.TrialState.RUNNING)
        worker = by_one if one_worker else Samplers(settings(sampler), space)
        chosen = worker.sampler(trial, trial_seed(seed, trial))
        seen = optuna.load_study(study_name="s", storage=TrialView(study._storage), sampler=chosen)
        attempt = optuna.Trial(seen, trial_id)
        drawn.append(space.draw(attempt))
        if least_dropout is not None:
            limit = Constraint("dropout", is_least=True, limit=least_dropout)
            attempt.set_constraint(limit.text, limit.violation(float(drawn[-1]["model.dropout"])))
        seen.tell(attempt, -float(drawn[-1]["model.dropout"]))
    return drawn


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_sampler_that_knows_constraints_leaves_the_settings_that_violate_one(
    sampler: str, space: SearchSpace
) -> None:
    free = [draw["model.dropout"] for draw in search(sampler, space, n=60)]
    kept = [draw["model.dropout"] for draw in search(sampler, space, n=60, least_dropout=0.4)]
    assert np.mean(free[40:]) < 0.15, "the smallest is best"
    assert np.mean(np.array(kept[40:]) >= 0.4) > 0.5, "a fifth of the range keeps the limit"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_by_one_worker_repeats_and_no_trial_draws_what_another_drew(sampler: str, space: SearchSpace) -> None:
    if missing_package(sampler):
        pytest.skip(f"{missing_package(sampler)} is not installed")
    first = search(sampler, space)
    assert first == search(sampler, space)
    rates = {point["training.learning_rate"] for point in first}
    assert len(rates) == len(first) or sampler == "nsga2" and len(rates) > 4, "children inherit values"
    for point in first:
        Settings().replace(point)
        assert ("training.weight_decay" in point) == (point["training.optimizer"] == "sgd")


@pytest.mark.parametrize("seed", range(3))
def test_what_a_worker_knows_of_earlier_trials_changes_no_draw(seed: int, space: SearchSpace) -> None:
    assert search("tpe", space, n=24, seed=seed, one_worker=True) == search("tpe", space, n=24, seed=seed)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "cmaes"])
def test_samplers_that_look_at_results_find_better_points_than_they_began_with(
    sampler: str, space: SearchSpace
) -> None:
    if missing_package(sampler):
        pytest.skip(f"{missing_package(sampler)} is not installed")
    begun, ended = [], []
    for seed in range(3):
        dropouts = [point["model.dropout"] for point in search(sampler, space, 30, seed)]
        begun.append(np.mean(dropouts[:4]))
        ended.append(np.mean(dropouts[-6:]))
    assert np.mean(ended) < np.mean(begun)


def test_axes_are_those_that_every_branch_draws(space: SearchSpace) -> None:
    assert sorted(axes_of(space)) == ["model.dropout", "model.width", "training.learning_rate", "training.optimizer"]


def test_qmc_takes_the_points_of_one_sequence_by_the_trials_numbers(space: SearchSpace) -> None:
    drawn = search("qmc", space, 8)
    dropouts = np.array([point["model.dropout"] for point in drawn]) / 0.5
    assert np.bincount((dropouts * 8).astype(int), minlength=8).tolist() == [1] * 8, "eight points, one in each eighth"
    rates = (np.log10([point["training.learning_rate"] for point in drawn]) + 5) / 3
    assert qmc.discrepancy(np.stack([dropouts, rates], 1)) < 0.02
    # Optuna decides this in two methods of its own, which drsearch replaces: if they are gone, it says so here.
    assert {"infer_relative_search_space", "_find_sample_id"} <= set(vars(optuna.samplers.QMCSampler))


def test_a_worker_that_takes_the_fifth_trial_first_draws_the_same_point(tmp_path: Path, space: SearchSpace) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    study = optuna.create_study(study_name="s", direction="maximize", storage=storage)
    study.enqueue_trial({}, user_attrs={TRIAL: 4})
    storage.set_trial_state_values(study.trials[0]._trial_id, state=optuna.trial.TrialState.RUNNING)
    for sampler in ("qmc", "random"):
        chosen = Samplers(settings(sampler), space).sampler(4, trial_seed(0, 4))
        fresh = optuna.create_study(sampler=chosen, direction="maximize")
        assert space.draw(fresh.ask()) == search(sampler, space, 5)[4]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_package("tpe") == ""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert missing_package("cmaes") == "cmaes"
