"""A study of tiny networks that were trained in this process, and the model that it registers."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial

from drsearch.data.records import open_records, read_eyes
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.release.after_search import AfterSearch, AfterSearchResult
from drsearch.settings import Settings
from drsearch.space.check import load_space
from drsearch.study.preparation import define, prepare_all
from drsearch.study.result import StudyResult
from drsearch.tracking.events import RunStart
from drsearch.tracking.sent import adopt
from drsearch.training.cross_validation import split_folds
from drsearch.training.listener import Listener
from drsearch.training.outcome import Outcome
from drsearch.training.plan import Plan, Watch
from drsearch.training.resumable import run_folds, run_training
from drsearch.trials.attributes import TRIAL
from drsearch.trials.trials import Trial

RATES = [0.01, 0.003, 0.001]


@dataclass(frozen=True)
class Made:
    """What became of a study: its model, the outcomes of its trials, and what was said while it was registered."""

    home: Home
    again: Callable[[], AfterSearchResult]
    result: AfterSearchResult
    outcomes: tuple[Outcome, ...]
    said: list[str]


def make(folder: Path, eyes: Path, settings: Settings, draws: list[dict[str, Any]]) -> Made:
    """A study of trials of these draws, the first of which is the best one, and its model."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    home = Home(folder / "home")
    (folder / "rates.py").write_text(
        f'def space(hp):\n    hp.Choice("training.learning_rate", {RATES})\n    hp.Choice("images.mask", [0.0, 0.5])\n'
    )
    space = load_space(folder / "rates.py", lambda _: settings)
    prepared = prepare_all(open_dataset([eyes]), space, home, skip_bad=False)
    axes = {
        "training.learning_rate": CategoricalDistribution(RATES),
        "images.mask": CategoricalDistribution([0.0, 0.5]),
    }
    attempts = [
        create_trial(value=0.9 - 0.1 * number, params=draw, distributions=axes, user_attrs={TRIAL: number})
        for number, draw in enumerate(draws)
    ]
    definition = define(space, open_dataset([eyes]), prepared)
    trials = tuple(Trial(number, (attempt,), 2) for number, attempt in enumerate(attempts))
    study = StudyResult("rates", definition, home.runs / "rates", trials, len(trials), "")
    client = MlflowClient(home.tracking_uri, home.tracking_uri)
    experiment = client.create_experiment("rates", (home.path / "artifacts").as_uri())
    outcomes = []
    for number, draw in enumerate(draws):
        chosen = definition.trial_settings(number, draw)
        records = open_records(home.records / definition.records_for(chosen.images))
        train, validation = read_eyes(records, "train"), read_eyes(records, "validation")
        plan = Plan(
            folder=study.trial_folder(number),
            start=RunStart("k", "rates", f"trial {number}"),
            settings=chosen,
            build=lambda chosen=chosen: space.build(chosen),  # type: ignore[misc]
            owner="me",
        )
        if settings.search.folds > 1:
            folds = split_folds(train, validation, records.eyes("train", "validation"), settings.data, settings.search)
            outcomes.append(run_folds(plan, folds, Watch()))
        else:
            outcomes.append(run_training(plan, train, validation, Watch()))
        run = client.create_run(experiment, tags={"drsearch.kind": "trial"}, run_name=f"trial {number}")
        adopt(plan.folder, run.info.run_id)
    said: list[str] = []

    class Ear(Listener):
        def say(self, text: str) -> None:
            said.append(text)

    def again() -> AfterSearchResult:
        return AfterSearch(study, space, home, Ear()).run()

    return Made(home, again, again(), tuple(outcomes), said)
