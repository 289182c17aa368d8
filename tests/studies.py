"""A study as its database has it, made without training anything."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from drsearch.home import Home
from drsearch.processes import this_process
from drsearch.settings import Settings
from drsearch.study.definition import StudyDefinition, images_key, open_study, study_folder
from drsearch.trials.attributes import BEST_EPOCH, REASON, TRIAL, WORKER
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import read_trials

DEAD = this_process().rsplit(":", 2)[0] + ":999999999:0.00"
ELSEWHERE = "another-machine:4711:1.00"
RATE = "training.learning_rate"


def add_waiting_trials(study: optuna.Study, n: int, points: Sequence[Mapping[str, Any]] | None = None) -> None:
    """Let the first `n` trials of a study wait in its database, each at its point if there are some.

    As after an interruption: otherwise a worker makes a trial when it takes it. Trials that exist stay.
    """
    existing = {trial.number for trial in read_trials(study)}
    for number in sorted(set(range(n)) - existing):
        study.enqueue_trial(dict(points[number]) if points else {}, user_attrs={TRIAL: number})


@dataclass(frozen=True)
class Begun:
    """A study, and ways to give it trials."""

    home: Home
    storage: Any
    study: optuna.Study
    definition: StudyDefinition

    @property
    def folder(self) -> Path:
        return study_folder(self.home, self.study.study_name, self.definition.uid)

    def ended(
        self,
        trial: int,
        state: TrialState,
        value: float | None = None,
        rate: float = 0.01,
        seconds: float = 60,
        constraints: dict[str, float] | None = None,
        **attrs: Any,
    ) -> None:
        """A trial that has come to an end."""
        attempt = optuna.create_trial(
            state=state,
            value=value,
            params={RATE: rate},
            distributions={RATE: FloatDistribution(1e-5, 1)},
            user_attrs={
                TRIAL: trial,
                WORKER: this_process(),
                **{f"drsearch.{key}": each for key, each in attrs.items()},
            },
            intermediate_values={5: value} if value is not None else {},
            constraints=constraints,
        )
        assert attempt.datetime_start is not None
        attempt.datetime_start -= timedelta(seconds=seconds)
        self.study.add_trial(attempt)

    def complete(
        self, trial: int, value: float, low: float, high: float, rate: float = 0.01, seconds: float = 60
    ) -> None:
        kept = {"epoch": 5, "epochs": 8, "low": low, "high": high}
        self.ended(trial, TrialState.COMPLETE, value, rate, seconds, **{BEST_EPOCH.removeprefix("drsearch."): kept})

    def interrupted(self, trial: int) -> None:
        """One that was stopped, and waits again."""
        self.ended(trial, TrialState.FAIL, seconds=30, **{REASON.removeprefix("drsearch."): "stopped at epoch 5 of 8"})
        self.waiting(trial)

    def waiting(self, trial: int) -> None:
        self.study.enqueue_trial({RATE: 0.25}, user_attrs={TRIAL: trial})

    def running(self, trial: int, worker: str, reported: dict[int, float] | None = None) -> FrozenTrial:
        self.study.add_trial(
            optuna.create_trial(
                state=TrialState.RUNNING,
                params={RATE: 0.01},
                distributions={RATE: FloatDistribution(1e-5, 1)},
                user_attrs={TRIAL: trial, WORKER: worker},
                intermediate_values=reported or {},
            )
        )
        attempt = self.study.trials[-1]
        self.storage.record_heartbeat(attempt._trial_id)
        return attempt


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Begun]:
    """Begins studies in one home."""
    home = Home(tmp_path / "home")
    storage = open_storage(home.storage_url)

    def make(name: str = "mine", n_trials: int = 4, **settings: Any) -> Begun:
        chosen = Settings().replace({"training.epochs": 8, **settings})
        wanted = StudyDefinition(
            uid=(name + "0" * 32)[:32],
            space_file="space.py",
            space_source="def space(hp): ...",
            settings=chosen,
            data_name="eyes",
            data_source="/eyes",
            data_fingerprint="0" * 64,
            records={images_key(chosen.images): "1" * 16},
            code={},
        )
        study, definition = open_study(storage, name, wanted, n_trials)
        return Begun(home, storage, study, definition)

    return make
