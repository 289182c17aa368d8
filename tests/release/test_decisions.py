"""Is every decision written down, and is one of two at once carried out? On a real MLflow."""

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from services import HANG_S, when
from warm import Command

from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.release import claims, decisions
from drsearch.release.champion import Rollback
from drsearch.release.claims import Overtaken
from drsearch.release.decisions import Decisions, Draft
from drsearch.release.history import Decision, champions, previous_champion
from drsearch.release.registry import CHAMPION, ModelVersion, Registry


class Desk:
    """A registry with three versions that nobody ever asks anything, and what is decided about them."""

    def __init__(self, home: Home, name: str) -> None:
        self.home, self.name = home, name
        self.client = MlflowClient(home.tracking_uri, home.tracking_uri)
        self.registry = Registry(home.tracking_uri)
        self.decisions = Decisions(self.registry, home)
        self.client.create_registered_model(name)
        experiment = self.client.create_experiment(f"study of {name}")
        for _ in range(3):
            run_id = self.client.create_run(experiment).info.run_id
            logged = self.client.create_logged_model(experiment_id=experiment, source_run_id=run_id)
            self.client.create_model_version(name, f"models:/{logged.model_id}", run_id, model_id=logged.model_id)

    def version(self, number: int) -> ModelVersion:
        return self.registry.version(self.name, number)

    def draft(self, number: int, outcome: str = "promoted", reason: str = "") -> Draft:
        champion = self.registry.with_alias(self.name, CHAMPION)
        return Draft(self.version(number), outcome, champion, reason, ("holds: all",), metrics={"delong_p": 0.5})

    def promote(self, number: int, reason: str = "") -> Decision:
        state = self.decisions.claims.state(self.name)
        return self.decisions.carry_out(state, self.draft(number, "promoted", reason), self.home.path)

    @property
    def champion(self) -> int | None:
        found = self.registry.with_alias(self.name, CHAMPION)
        return found.version if found else None


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("decisions"))


@pytest.fixture
def desk(home: Home, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A model of its own for every test, in one store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Desk(home, request.node.name[:60])


def test_a_decision_is_a_run_that_says_what_who_when_and_why(desk: Desk) -> None:
    made = desk.promote(2, reason="a better camera")
    assert desk.champion == 2
    assert (made.outcome, made.version, made.previous, made.reason) == ("promoted", 2, None, "a better camera")
    run = desk.client.get_run(made.run_id)
    assert (run.info.status, run.data.tags["drsearch.kind"]) == ("FINISHED", "decision")
    assert run.data.metrics == {"delong_p": 0.5}
    assert run.data.tags["drsearch.by"].count("@") == 1
    assert desk.client.get_experiment(run.info.experiment_id).name == "drsearch-decisions"
    assert [model.model_id for model in run.inputs.model_inputs] == [desk.version(2).model_id]


def test_what_was_refused_changes_nothing_and_is_remembered(desk: Desk) -> None:
    desk.promote(1)
    desk.decisions.record(desk.draft(3, "refused"), desk.home.path)
    desk.promote(2)
    assert desk.champion == 2
    told = [(each.version, each.outcome, each.previous) for each in desk.decisions.history(desk.name)]
    assert told == [(1, "promoted", None), (3, "refused", 1), (2, "promoted", 1)]


def test_rolling_back_twice_goes_back_two_champions(desk: Desk) -> None:
    for number in (1, 2, 3):
        desk.promote(number)
    for expected in (2, 1):
        assert Rollback.begin(desk.name, desk.home).decide("worse in the clinic").version == expected == desk.champion
    with pytest.raises(RegistryError) as refused:
        Rollback.begin(desk.name, desk.home)
    assert str(refused.value) == (
        f"version 1 is the first champion of {desk.name}; there is none to go back to. "
        f"`drsearch promote {desk.name} --version N` makes another one champion."
    )


def test_a_champion_that_was_set_past_drsearch_can_be_rolled_back_to(desk: Desk) -> None:
    desk.client.set_registered_model_alias(desk.name, CHAMPION, "3")
    desk.promote(1)
    assert Rollback.begin(desk.name, desk.home).to.version == 3
    desk.client.set_registered_model_alias(desk.name, CHAMPION, "2")
    assert Rollback.begin(desk.name, desk.home).to.version == 1


@given(st.lists(st.one_of(st.integers(1, 4), st.none()), max_size=12))
def test_the_champion_before_is_what_a_stack_says(steps: list[int | None]) -> None:
    """A number promotes it, None rolls back."""
    stack: list[int] = []
    history: list[Decision] = []
    for step in steps:
        before = stack[-1] if stack else None
        if step is None:
            if len(stack) < 2:
                continue
            stack.pop()
        elif step == before:
            continue  # it is the champion already
        else:
            stack.append(step)
        outcome = "promoted" if step is not None else "rolled back"
        history.append(Decision("", "retinopathy", 0, outcome, stack[-1], before, "", "", "", None, ""))
    if stack:
        assert previous_champion(history, stack[-1]) == (stack[-2] if len(stack) > 1 else None)


def test_of_several_at_once_one_is_carried_out_and_the_others_are_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_PATIENCE_S", HANG_S)  # who is slow has not died
    for _ in range(3):
        standing = desk.decisions.claims.state(desk.name)
        drafts = [desk.draft(number) for number in (1, 2, 3) if number != desk.champion]
        ready, won, told = threading.Barrier(len(drafts)), [], []

        def go(
            draft: Draft, own: Decisions, gate: Any = ready, on: Any = standing, w: Any = won, t: Any = told
        ) -> None:
            gate.wait()
            try:
                w.append(own.carry_out(on, draft, desk.home.path).version)
            except Overtaken as lost:
                t.append(str(lost))

        threads = [threading.Thread(target=go, args=(draft, Decisions(desk.registry, desk.home))) for draft in drafts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [desk.champion]
        assert len(told) == len(drafts) - 1
        assert all(f"decided on version {desk.champion} of {desk.name} meanwhile" in text for text in told)
    history = desk.decisions.history(desk.name)
    names = {desk.client.get_run(each.run_id).info.run_name.split()[2] for each in history}
    assert names == {"promoted", "overtaken"}
    assert champions(history)[-1] == desk.champion
    outcomes = [each.outcome for each in history]
    assert (outcomes.count("promoted"), outcomes.count("overtaken")) == (3, len(outcomes) - 3)


RACER = """
import json, sys, time
from pathlib import Path
from drsearch.home import Home
from drsearch.release import claims
from drsearch.release.claims import Overtaken
from drsearch.release.decisions import Decisions, Draft
from drsearch.release.registry import Registry
claims._PATIENCE_S = 600  # who is slow has not died
home, name, number = Home(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
registry = Registry(home.tracking_uri)
decisions = Decisions(registry, home)
standing = decisions.claims.state(name)
draft = Draft(registry.version(name, number), "promoted", standing.champion)
(home.path / f"ready-{number}").touch()
while not (home.path / "go").exists():
    time.sleep(0.001)
try:
    print(json.dumps({"won": decisions.carry_out(standing, draft, home.path).version}))
except Overtaken as lost:
    print(json.dumps({"told": str(lost)}))
"""


def test_of_two_processes_that_promote_at_once_one_wins_on_a_server(
    mlflow_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    desk = Desk(Home(tmp_path), "raced for")
    racers = [
        Command([sys.executable, "-c", RACER, str(tmp_path), "raced for", number], os.environ, tmp_path)
        for number in ("1", "2")
    ]
    for number, racer in enumerate(racers, 1):
        when((tmp_path / f"ready-{number}").exists, "both to be ready", racer)
    (tmp_path / "go").touch()
    said = [json.loads(racer.communicate(timeout=HANG_S)[0]) for racer in racers]
    winners, losers = [each["won"] for each in said if "won" in each], [each for each in said if "told" in each]
    assert winners == [desk.champion]
    assert len(losers) == 1 and f"decided on version {desk.champion} of raced for meanwhile" in losers[0]["told"]


def test_a_decision_that_died_half_way_is_closed_and_the_next_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_PATIENCE_S", 0.1)
    began = desk.decisions.claims.state(desk.name)

    class Died(Exception):
        pass

    def dies(*_: object) -> None:
        raise Died

    slow = Decisions(desk.registry, desk.home)
    with monkeypatch.context() as patch:  # between its claim and the alias
        patch.setattr(slow.claims, "_set_alias", dies)
        with pytest.raises(Died):
            slow.carry_out(began, desk.draft(1), desk.home.path)
    (left,) = desk.decisions.history(desk.name)
    assert desk.promote(2).previous is None
    assert desk.champion == 2
    assert [each.outcome for each in desk.decisions.history(desk.name)] == ["unfinished", "promoted"]
    assert desk.client.get_run(left.run_id).info.status == "KILLED"
    with pytest.raises(Overtaken, match="decided on version 2 of .* meanwhile"):  # it was only slow
        slow.claims._set_alias(began, desk.version(1), left.run_id)
    assert desk.champion == 2


def test_a_champion_set_past_drsearch_meanwhile_is_not_replaced(desk: Desk) -> None:
    desk.promote(1)
    began = desk.decisions.claims.state(desk.name)
    desk.client.set_registered_model_alias(desk.name, CHAMPION, "3")
    with pytest.raises(Overtaken) as told:
        desk.decisions.carry_out(began, replace(desk.draft(2), previous=began.champion), desk.home.path)
    assert str(told.value) == (
        f"the champion of {desk.name} is version 3 now and was version 1 when this began; it was "
        "changed outside drsearch. Nothing was changed here; decide again."
    )
    assert desk.champion == 3
    assert desk.promote(2).previous == 3


def test_a_model_that_is_not_there_has_no_history(desk: Desk) -> None:
    with pytest.raises(RegistryError) as refused:
        desk.decisions.history("glaucoma")
    assert str(refused.value).startswith("glaucoma: no such model; registered models: ")


def test_who_may_not_decide_is_told_whom_to_ask_before_anything_is_judged(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise MlflowException("Permission denied", PERMISSION_DENIED)

    monkeypatch.setattr(decisions, "check_experiments", denied)
    with pytest.raises(RegistryError) as refused:
        decisions.check_may_decide(desk.home, "eyes")
    assert str(refused.value) == (
        f"MLflow does not let {decisions.who()} write down decisions on eyes; ask a registrar. Nothing was changed."
    )
