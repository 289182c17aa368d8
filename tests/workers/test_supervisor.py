"""Whoever launches a study from Python hears of each trial that is over, and can stop the study."""

import signal
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from services import when

from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.files import lock
from drsearch.home import Home
from drsearch.space.check import load_space
from drsearch.study.definition import load_study
from drsearch.study.preparation import prepare_all
from drsearch.tracking.events import RunEnd, Tags
from drsearch.tracking.journal import Journal
from drsearch.tracking.tags import REASON_TAG
from drsearch.trials import storage as storage_module
from drsearch.trials.retrying import outage
from drsearch.trials.storage import open_storage
from drsearch.trials.trials import Trial, read_trials
from drsearch.workers import supervisor
from drsearch.workers.launcher import launch_study
from drsearch.workers.supervisor import Supervisor

SPACE = """
SETTINGS = {
    "study.sampler": "grid",
    "study.gradcam_eyes": 1,
    "images.image_px": 32,
    "model.stages": 1,
    "model.width": 2,
    "training.epochs": 8,
    "training.checkpoint_every_epochs": 1,
}

def space(hp):
    hp.Choice("training.learning_rate", [i / 100 for i in range(1, 7)])
"""


class Enough(Exception):
    """What a callback may raise."""


@pytest.fixture
def launched(tmp_path: Path, warm_children: None) -> Any:
    """Opens the same study, as each call of the same command does."""
    (tmp_path / "rates.py").write_text(SPACE)
    space, home, data = load_space(tmp_path / "rates.py"), Home(tmp_path / "home"), tmp_path / "eyes"
    synthesize(data, 30, 1)
    prepared = prepare_all(open_dataset([data]), space, home, skip_bad=False)

    def launch(name: str = "rates", enqueued: Sequence[Any] = (), **changes: Any) -> Supervisor:
        on = space.on(space.settings.replace({key.replace("__", "."): value for key, value in changes.items()}))
        return launch_study(name, on, open_dataset([data]), prepared, home, home.storage_url, enqueued=enqueued)

    return launch


def last_end(launcher: Supervisor) -> tuple[str, str]:
    """How the study's own run ended: MLflow's status, and the reason."""
    events, _ = Journal(launcher.folder / "study").read()
    tags = [event.values for event in events if isinstance(event, Tags)][-1]
    return [event.status for event in events if isinstance(event, RunEnd)][-1], tags[REASON_TAG]


def test_a_callback_hears_of_each_trial_once_and_can_stop_the_study(launched: Any, tmp_path: Path) -> None:
    over: list[tuple[int, str]] = []
    n_begun: list[int] = []
    launcher = launched()

    def stop_after_the_first(trial: Trial) -> None:
        assert threading.current_thread() is threading.main_thread()
        over.append((trial.number, trial.state))
        n_begun.append(len(read_trials(load_study(open_storage(Home(tmp_path / "home").storage_url), "rates")[0])))
        launcher.request_stop()
        launcher.request_stop()  # does no harm

    first = launcher.run(1, on_trial=stop_after_the_first)
    counts = first.counts()
    assert (first.stopped, first.spent) == ("", "stopped by a callback")
    assert (counts["running"], counts["complete"] + counts["waiting"]) == (0, 6)
    assert len(first.trials) <= n_begun[0] + 1, "one may begin in the moment before the workers hear of it"
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


def test_a_study_that_hours_end_has_room_for_settings_to_try_first(launched: Any, tmp_path: Path) -> None:
    rates = [{"training.learning_rate": rate} for rate in (0.02, 0.05, 0.08)]
    for _ in range(2):  # settings that were enqueued before stay
        launched("timed", rates, study__sampler="tpe", study__hours=1.0)
    study, _ = load_study(open_storage(Home(tmp_path / "home").storage_url), "timed")
    assert [trial.last.system_attrs["fixed_params"] for trial in read_trials(study)] == rates


def test_a_trial_that_began_while_the_launcher_stopped_the_study_comes_to_its_end(
    launched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = launched()

    def before_it_began(study: optuna.Study) -> list[Trial]:
        """What a launcher reads that looks in the moment between the end of a trial and the beginning of the next."""
        trials = read_trials(study)
        return trials if launcher._budget.spent else [trial for trial in trials if trial.state != "running"]

    def stop_when_the_next_runs(_trial: Trial) -> None:
        if not launcher._budget.spent:
            while not any(trial.state == "running" for trial in read_trials(launcher._study)):
                time.sleep(0.01)
            launcher.request_stop()

    monkeypatch.setattr(supervisor, "read_trials", before_it_began)
    result = launcher.run(1, on_trial=stop_when_the_next_runs)
    assert result.spent == "stopped by a callback"
    assert [trial.state for trial in result.trials] == ["complete"] * len(result.trials)
    assert len(result.trials) > 1


def test_a_launcher_waits_for_its_database_as_long_as_it_takes(
    launched: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a process that has loaded a study before: a person does not wait for that longer than half a minute."""
    launcher = launched()
    monkeypatch.setattr(outage, "limit_s", 0.1)
    monkeypatch.setattr(storage_module, "_LOCK_S", 0.1)
    with open(tmp_path / "home" / "studies.db.lock", "a") as held:
        lock(held)

        def release() -> None:
            when(lambda: outage._away, "the launcher to notice")
            time.sleep(2)  # it asks again meanwhile
            held.close()

        elsewhere = threading.Thread(target=release)
        elsewhere.start()
        result = launcher.run(1)
        elsewhere.join()
    assert result.counts()["complete"] == 6 and result.stopped == ""
    assert last_end(launcher) == ("FINISHED", "")
    assert outage.limit_s == 0.1, "commands after it are limited as before"
