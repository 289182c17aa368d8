"""Whoever launches a study from Python hears of each trial that is over, and can stop the study."""

import signal
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest

from drsearch.data.synthetic import synthesize
from drsearch.home import Home
from drsearch.settings import Settings
from drsearch.space.search_space import load_space
from drsearch.study.preparation import define, prepare_all
from drsearch.tracking.events import RunEnd, Tags
from drsearch.tracking.journal import Journal
from drsearch.tracking.tags import REASON_TAG
from drsearch.trials.trials import Trial
from drsearch.workers.launcher import launch_study
from drsearch.workers.supervisor import Supervisor

SPACE = """
SETTINGS = {
    "study.sampler": "grid",
    "study.gradcam_eyes": 1,
    "images.image_px": 32,
    "model.stages": 1,
    "model.width": 2,
    "training.epochs": 2,
    "training.checkpoint_every_epochs": 1,
}

def space(hp):
    hp.Choice("training.learning_rate", [0.01, 0.02, 0.03, 0.04, 0.05, 0.06])
"""


class Enough(Exception):
    """What a callback may raise."""


@pytest.fixture
def launched(tmp_path: Path) -> Any:
    """Opens the same study, as each call of the same command does."""
    (tmp_path / "rates.py").write_text(SPACE)
    space, home, data = load_space(tmp_path / "rates.py"), Home(tmp_path / "home"), tmp_path / "eyes"
    synthesize(data, 30, 1)
    settings = Settings().replace(space.settings)
    prepared = prepare_all(data, space, settings, home, skip_bad=False)

    def launch() -> Supervisor:
        wanted = define(space, settings, data, prepared)
        return launch_study("rates", space, wanted, home, home.storage_url, prepared[0].records.audit_path)

    return launch


def last_end(launcher: Supervisor) -> tuple[str, str]:
    """How the study's own run ended: MLflow's status, and the reason."""
    events, _ = Journal(launcher.folder / "study").read()
    tags = [event.values for event in events if isinstance(event, Tags)][-1]
    return [event.status for event in events if isinstance(event, RunEnd)][-1], tags[REASON_TAG]


def test_a_callback_hears_of_each_trial_once_and_can_stop_the_study(launched: Any) -> None:
    over: list[tuple[int, str]] = []
    launcher = launched()

    def stop_after_the_first(trial: Trial) -> None:
        assert threading.current_thread() is threading.main_thread()
        over.append((trial.number, trial.state))
        launcher.request_stop()
        launcher.request_stop()  # does no harm

    first = launcher.run(1, on_trial=stop_after_the_first)
    counts = first.counts()
    assert (first.stopped, first.spent) == ("", "stopped by a callback")
    assert (counts["running"], counts["complete"] + counts["waiting"]) == (0, 6)
    assert counts["complete"] in (1, 2), "a trial that ran on came to its end, and no further one began"
    assert sorted(over) == [(trial.number, "complete") for trial in first.trials]
    assert last_end(launcher) == ("FINISHED", "stopped by a callback")

    launcher, n_before = launched(), counts["complete"]

    def refuse(_trial: Trial) -> None:
        raise Enough("no more")

    with pytest.raises(Enough, match="no more") as raised:
        launcher.run(1, on_trial=refuse)
    assert "refuse" in [frame.name for frame in traceback.extract_tb(raised.tb)]
    assert last_end(launcher) == ("KILLED", "on_trial raised Enough: no more")

    launcher, handler = launched(), signal.getsignal(signal.SIGINT)
    over.clear()
    results: list[Any] = []

    def run_to_the_end() -> None:
        results.append(launcher.run(2, on_trial=lambda trial: over.append((trial.number, trial.state))))

    elsewhere = threading.Thread(target=run_to_the_end)  # where Python hears no signals
    elsewhere.start()
    elsewhere.join()
    assert signal.getsignal(signal.SIGINT) is handler
    assert results[0].counts()["complete"] == 6 and (results[0].stopped, results[0].spent) == ("", "")
    assert len({number for number, _ in over}) == len(over) <= 6 - n_before - 1
    assert last_end(launcher) == ("FINISHED", "")
