"""A study run from Python: callbacks, tables, figures, the model, and what is printed."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import warm

import drsearch
from drsearch.api.study import Callback
from drsearch.errors import StudyError

SETTINGS = {
    "study.sampler": "random",
    "study.gradcam_eyes": 2,
    "images.image_px": 64,
    "model.stages": 1,
    "training.epochs": 2,
    "training.checkpoint_every_epochs": 1,
    "finetune.when": "never",
}


def rates(hp: Any) -> None:
    hp.Float("training.learning_rate", 1e-3, 1e-2, sampling="log")


class Bench:
    """A folder with eyes and a home, and what the calls of one study came to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[tuple[int, str, int]] = []
        self.ended = 0

    def run(self, trials: int, *callbacks: Callback) -> drsearch.Study:
        return drsearch.run_study(
            rates, "eyes", study="mine", trials=trials, settings=SETTINGS, callbacks=callbacks, progress=False
        )

    def note(self, study: drsearch.Study, trial: Any) -> None:
        self.seen.append((trial.number, trial.state, os.getpid()))

    def stop(self, study: drsearch.Study, trial: Any) -> None:
        study.stop()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, warm_children: None) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DRSEARCH_HOME", str(folder / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        drsearch.synthesize("eyes", images=60, seed=1)
        yield Bench(folder)


def test_a_callback_sees_each_trial_in_this_process_and_may_stop_the_study(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    study = bench.run(9, bench.note, bench.stop)
    ended = study.trials["state"].to_list().count("complete")
    assert ended in (1, 2), "the worker may have begun the second trial before the stop reached it"
    assert study.trials["state"].to_list() == ["complete"] * ended + ["waiting"] * (9 - ended)
    assert bench.seen == [(number, "complete", os.getpid()) for number in range(ended)]
    assert study.results is not None and study.results[0].spent == "stopped by a callback"
    assert study.model is not None and study.model.uri == "models:/retinopathy/1"
    assert capfd.readouterr() == ("", ""), "progress=False prints nothing"
    bench.ended = ended


def test_an_error_in_a_callback_ends_the_study_and_is_raised_with_its_traceback(bench: Bench) -> None:
    def wrong(study: drsearch.Study, trial: Any) -> None:
        raise ZeroDivisionError("in the callback")

    with pytest.raises(ZeroDivisionError, match="in the callback") as raised:
        bench.run(bench.ended + 1, wrong)
    assert raised.traceback[-1].name == "wrong"
    assert set(drsearch.load_study("mine").trials["state"]) == {"complete"}


def test_the_same_call_goes_on_and_calls_back_for_new_trials_only(bench: Bench) -> None:
    bench.seen.clear()
    study = bench.run(bench.ended + 2, bench.note)
    assert [number for number, _, _ in bench.seen] == [bench.ended + 1]
    assert study.trials["state"].to_list() == ["complete"] * (bench.ended + 2)
    with pytest.raises(StudyError, match="is not run by this process; cancel"):
        drsearch.load_study("mine").stop()


def test_the_tables_are_those_of_the_command_line(bench: Bench) -> None:
    command = [sys.executable, "-m", "drsearch", "trials", "mine", "--json"]
    printed = json.loads(warm.run(command, os.environ).stdout)["trials"]
    table = drsearch.load_study("mine").trials
    assert table.index.to_list() == list(range(len(printed)))
    for row in printed:
        one = table.loc[row["trial"]]
        assert (one["state"], one["value"], one["run_id"]) == (row["state"], row["value"], row["run_id"])
        assert one["training.learning_rate"] == row["params"]["training.learning_rate"]
    assert drsearch.studies().loc["mine"].to_dict() | {"changed": None} == {
        "state": "complete", "finished": len(printed), "trials": len(printed), "objective": "val_auc",
        "best": table["value"].max(),
        "changed": None,
    }  # fmt: skip


def test_the_best_trial_its_front_and_its_figures(bench: Bench) -> None:
    study = drsearch.load_study("mine")
    assert study.best is not None
    assert study.best.value == study.trials["value"].max() == study.front[0].value
    history = study.plot_history().data[0]
    assert sorted(history.y) == sorted(study.trials["value"])
    assert study.plot_parallel_coordinates().data
    if len(study.trials) < 4:
        with pytest.raises(StudyError, match="has no plot 'importances' yet; its complete trials allow: history, para"):
            study.importances()
    else:
        assert study.importances() == {"training.learning_rate": pytest.approx(1)}
    with pytest.raises(StudyError, match="has no plot 'heat_map' yet"):
        study.plot_heat_map()


def test_the_model_of_a_study_predicts_and_has_its_test_scores(bench: Bench) -> None:
    model = drsearch.load_study("mine").model
    assert model is not None
    auc = model.scores["auc"]
    assert 0 <= auc.low <= auc.value <= auc.high <= 1
    assert str(auc) == f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
    photographs = sorted(bench.folder.glob("eyes/**/*.jpg"))[:2]
    table = model.predict([*photographs, "nowhere.jpg"], explain="maps")
    assert table.index.to_list() == [*map(str, photographs), "nowhere.jpg"]
    assert set(table["label"][:2]) <= {"RDR", "NRDR"} and table["error"][:2].isna().all()
    assert table["label"].isna().iloc[2] and "cannot be read" in table["error"].iloc[2]
    maps = {f"{each.stem}{which}.png" for each in photographs for which in ("", "-map")}
    assert {path.name for path in Path("maps").iterdir()} == maps
    assert model.explain(photographs[0]).shape[2] == 3
    assert model.evaluate("eyes", progress=False).scores.n == 12


def test_a_prepared_data_set_brings_its_settings(bench: Bench) -> None:
    data = drsearch.prepare("eyes", settings={"images.image_px": 64}, progress=False)
    again = drsearch.prepare(data, settings={"data.seed": 3}, progress=False)
    assert (data.records.images.image_px, again.records.images.image_px) == (64, 64)
    assert data.counts["photographs"].sum() == 60 and data.fingerprint != again.fingerprint
    training = drsearch.train(data, {"training.epochs": 1}, progress=False)
    assert training.outcome.state == "complete" and training.history.index.to_list() == [1]


def test_a_refusal_to_promote_is_an_outcome_with_its_reason(bench: Bench) -> None:
    model = drsearch.load_study("mine").model
    assert model is not None
    refused = drsearch.promote(model, settings={"gate.first_auc": 0.999}, progress=False)
    assert (refused.outcome, refused.is_champion) == ("refused", False)
    assert "the interval must lie above 0.999" in repr(refused)
    declined = drsearch.promote(model, settings={"gate.first_auc": 0.0}, confirm=lambda *_: False, progress=False)
    assert declined.outcome == "declined" and drsearch.load_model(model.uri).version.aliases == ("search-best",)
    forced = drsearch.promote(model.uri, force=True, reason="a test", progress=False)
    assert forced.is_champion and forced.scores.loc["AUC", "champion"] == ""
    assert drsearch.history("retinopathy")["outcome"].to_list() == ["refused", "declined", forced.outcome]


def test_every_object_says_what_it_is(bench: Bench) -> None:
    study = drsearch.load_study("mine")
    model = drsearch.load_model("retinopathy@champion")
    data = drsearch.prepare("eyes", settings={"images.image_px": 64}, progress=False)
    assert repr(study).startswith(f"<Study mine: complete; {len(study.trials)} complete trials; best val_auc 0.")
    assert repr(model).startswith(f"<Model {model.version.name}/{model.version.version} @champion")
    assert repr(data).startswith("<Data eyes: ")
    for one in (study, model, data):
        assert "<table" in one._repr_html_() and "<script" not in one._repr_html_()


def test_a_new_study_of_a_deleted_ones_name_has_not_its_model(bench: Bench) -> None:
    def wrong(study: drsearch.Study, trial: Any) -> None:
        raise ZeroDivisionError

    drsearch.load_study("mine").delete()
    with pytest.raises(ZeroDivisionError):
        bench.run(1, wrong)
    assert drsearch.load_study("mine").model is None
    assert drsearch.load_model("retinopathy@champion").version.tags["drsearch.study"] == "mine"
