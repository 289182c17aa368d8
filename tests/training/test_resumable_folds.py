"""A trial with folds that dies in one of them resumes in it, to the same curves, and logs everything once."""

import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from tags_page import undocumented_metrics

from drsearch.data.records import Eyes, joined
from drsearch.model.fit import EpochResult
from drsearch.model.mean_network import mean_answers
from drsearch.model.predictor import Predictor
from drsearch.model.resnet_v2 import build_resnet
from drsearch.serving.grader import load_network
from drsearch.settings import Settings
from drsearch.tracking.checkpoint_bundle import read_info, unpack
from drsearch.tracking.events import Artifact, Event, Image, Metrics, Resumed, RunEnd, RunStart
from drsearch.tracking.journal import Journal
from drsearch.training.cross_validation import TrialFolds
from drsearch.training.objective import Objective
from drsearch.training.outcome import Outcome, read_outcome
from drsearch.training.plan import Plan, Pruned
from drsearch.training.resumable import run_folds, run_training

SETTINGS = Settings().replace(
    {
        "images.image_px": 32,
        "model.width": 4,
        "model.stages": 1,
        "training.epochs": 3,
        "training.batch_size": 8,
        "training.checkpoint_every_epochs": 2,
        "study.gradcam_eyes": 2,
        "search.folds": 3,
    }
)


def eyes(n: int, seed: int) -> Eyes:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = rng.integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)
    images[labels == 1, :12, :12, 0] = 255
    return Eyes(tuple(f"eye{seed}{i:02d}" for i in range(n)), images, labels * 3, labels, *2 * [("",) * n])


TRAIN, VALIDATION = eyes(8, 0), eyes(4, 1)
FOLDS = TrialFolds(SETTINGS.search, TRAIN, VALIDATION, (np.arange(12) // 4,))


class Killed(BaseException):
    """Stands for a process that is gone: nothing after it runs."""


class Watch:
    """Counts epochs through all folds; kills, stops or prunes where a test asks for it."""

    def __init__(self, kill_at: int = 0, stop_at: int = 0, prune_at: int = 0) -> None:
        self._kill_at, self._stop_at, self._prune_at = kill_at, stop_at, prune_at
        self.epochs: list[int] = []
        self.judgements: list[tuple[int, float]] = []

    def epoch(self, result: EpochResult) -> None:
        self.epochs.append(result.epoch)
        if result.epoch == self._kill_at:
            raise Killed

    def judged(self, epoch: int, value: float) -> None:
        self.judgements.append((epoch, value))
        if epoch == self._prune_at:
            raise Pruned(f"not good enough after {epoch} folds")

    def stop_asked(self) -> bool:
        return bool(self._stop_at) and bool(self.epochs) and self.epochs[-1] >= self._stop_at


def plan(
    folder: Path, owner: str = "first", until: int | None = None, settings: Settings = SETTINGS, shared: bool = False
) -> Plan:
    start = RunStart(key=str(folder), experiment="e", name="trial")
    return Plan(
        folder=folder,
        start=start,
        settings=settings,
        shared_as=1 if shared else None,
        build=lambda: build_resnet(SETTINGS.model, 32),
        owner=owner,
        until=until,
    )


def run(folder: Path, watch: Watch | None = None, owner: str = "first") -> Outcome:
    return run_folds(plan(folder, owner), FOLDS, watch or Watch())


def events(folder: Path) -> list[Event]:
    return Journal(folder).read()[0]


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every curve as MLflow would show it; what depends on the clock is left out."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for event in events(folder):
        if isinstance(event, Metrics):
            for name, value in event.values.items():
                if "seconds" not in name:
                    curves.setdefault(name, []).append((event.step, 0.0 if name.startswith("system/") else value))
    return curves


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome, Watch]:
    """The same trial left in peace; a pruner that would end it after the last fold comes too late."""
    folder, watch = tmp_path_factory.mktemp("whole"), Watch(prune_at=3)
    return folder, run(folder, watch), watch


def test_a_trial_logs_its_folds_curves_their_mean_and_its_spread_in_one_run(
    whole: tuple[Path, Outcome, Watch],
) -> None:
    folder, outcome, watch = whole
    curves = points(folder)
    assert undocumented_metrics(set(curves)) == set()
    aucs = np.array([[value for _, value in curves[f"fold{fold}/val_auc"]] for fold in (1, 2, 3)])
    assert [step for step, _ in curves["fold2/val_auc"]] == [1, 2, 3]
    assert curves["val_auc"] == [(epoch, pytest.approx(aucs[:, epoch - 1].mean())) for epoch in (1, 2, 3)]
    assert [step for step, _ in curves["system/cpu_utilization_percentage"]] == list(range(1, 10))
    best = 2 if aucs[:, 1].mean() >= aucs[:, 2].mean() else 3  # of the checkpointed epochs; of equals the earlier
    assert (outcome.state, outcome.epoch) == ("complete", best)
    assert outcome.value == pytest.approx(aucs[:, best - 1].mean())
    assert curves["best_val_auc"] == [(3, outcome.value)]
    assert curves["best_val_auc_std"] == [(3, pytest.approx(aucs[:, best - 1].std(ddof=1)))]
    assert outcome.error == pytest.approx(aucs[:, best - 1].std(ddof=1) / np.sqrt(3))
    assert watch.epochs == list(range(1, 10))
    assert watch.judgements == [(fold, pytest.approx(aucs[fold - 1, 1:].max())) for fold in (1, 2, 3)]
    assert [event.status for event in events(folder) if isinstance(event, RunEnd)] == ["FINISHED"]
    pictures = [event.key for event in events(folder) if isinstance(event, Image)]
    assert len(pictures) == len(set(pictures)) == 4 and sum(key.startswith("gradcam/") for key in pictures) == 2
    assert outcome.model is None and not list(folder.rglob("*.keras"))
    assert [path.name for path in folder.rglob("*.npz")] == ["gradcam.npz"], "no checkpoint"
    assert read_outcome(folder) == outcome
    assert outcome.predictions is not None, "each eye once, by the fold that held it out"
    held_out = sorted([*TRAIN.labels, *VALIDATION.labels])
    assert sorted(outcome.predictions.labels) == held_out and len(outcome.predictions.probabilities) == len(held_out)


@pytest.mark.parametrize(("judged", "epoch"), [("best", 2), ("last", 3)])
def test_the_last_epoch_judges_the_folds_where_settings_say_so(
    judged: str, epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Objective, "is_better", lambda *_: False)  # so that epoch 2 is the best
    settings = SETTINGS.replace({"training.judged_epoch": judged})
    outcome = run_folds(plan(tmp_path, settings=settings), FOLDS, Watch())
    assert outcome.epoch == epoch and outcome.value == outcome.history[epoch - 1].validation.auc


@pytest.mark.parametrize(("kill_at", "resumes_at"), [(4, 4), (8, 9)], ids=["no checkpoint yet", "after a checkpoint"])
def test_one_that_dies_in_a_fold_resumes_in_it_and_logs_everything_once(
    tmp_path: Path,
    whole: tuple[Path, Outcome, Watch],
    monkeypatch: pytest.MonkeyPatch,
    kill_at: int,
    resumes_at: int,
) -> None:
    monkeypatch.setattr("drsearch.training.run_log.RunLog.close", lambda *_: None)  # a killed process closes nothing
    with pytest.raises(Killed):
        run(tmp_path, Watch(kill_at=kill_at))
    watch = Watch()
    again = run(tmp_path, watch, "second")
    assert watch.epochs == list(range(resumes_at, 10))
    assert points(tmp_path) == points(whole[0])
    assert asdict(again)["metrics"] == asdict(whole[1])["metrics"]
    assert (again.value, again.epoch, again.error) == (whole[1].value, whole[1].epoch, whole[1].error)


def test_one_that_is_stopped_between_folds_waits_and_resumes(
    tmp_path: Path, whole: tuple[Path, Outcome, Watch]
) -> None:
    first = run(tmp_path, Watch(stop_at=3))
    assert (first.state, first.reason) == ("interrupted", "stopped after 1 of 3 folds")
    again = run(tmp_path, Watch(), "second")
    assert (again.state, again.value) == ("complete", whole[1].value)
    assert points(tmp_path) == points(whole[0])
    logged = events(tmp_path)
    assert [event.status for event in logged if isinstance(event, RunEnd)] == ["KILLED", "FINISHED"]
    assert sum(isinstance(event, Resumed) for event in logged) == 1


def test_a_cut_journal_is_completed_wherever_it_was_cut(
    tmp_path: Path, whole: tuple[Path, Outcome, Watch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drsearch.training.run_log.RunLog.close", lambda *_: None)
    with pytest.raises(Killed):
        run(tmp_path, Watch(kill_at=4))
    journal = Journal(tmp_path)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(lines[:-2]) + lines[-2][:30])  # the first fold's end was on its way
    run(tmp_path, Watch(), "second")
    assert points(tmp_path) == points(whole[0])


def test_a_pruned_trial_is_judged_by_the_folds_it_had(tmp_path: Path, whole: tuple[Path, Outcome, Watch]) -> None:
    outcome = run(tmp_path, Watch(prune_at=2))
    assert (outcome.state, outcome.reason) == ("pruned", "not good enough after 2 folds")
    assert outcome.metrics["trainings"] == 2
    assert "fold3/val_auc" not in points(tmp_path)
    ends = [event for event in events(tmp_path) if isinstance(event, RunEnd)]
    assert [(end.status, end.tags["drsearch.outcome"]) for end in ends] == [("KILLED", "pruned")]


def test_an_outcome_is_given_back_without_training(whole: tuple[Path, Outcome, Watch]) -> None:
    size = Journal(whole[0]).size()
    assert run(whole[0], Watch(kill_at=1), "second") == whole[1]
    assert Journal(whole[0]).size() == size


def test_a_refit_trains_its_epochs_keeps_the_last_and_logs_nothing_of_validation(tmp_path: Path) -> None:
    watch = Watch()
    outcome = run_training(plan(tmp_path, until=2), TRAIN, VALIDATION, watch)
    assert (outcome.state, outcome.epoch, outcome.scores) == ("complete", 2, None)
    assert np.isnan(outcome.value) and outcome.model is not None
    assert watch.epochs == [1, 2]
    assert not [name for name in points(tmp_path) if "val" in name]
    assert [step for step, _ in points(tmp_path)["train_loss"]] == [1, 2]
    pictures = [event.key for event in events(tmp_path) if isinstance(event, Image)]
    assert len(pictures) == 2 and all(key.startswith("gradcam/") for key in pictures)


MEAN = SETTINGS.replace({"registry.networks": "folds"})


@pytest.fixture(scope="module")
def mean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The same trial, whose network is to be the mean of its folds'."""
    folder = tmp_path_factory.mktemp("mean")
    return folder, run_folds(plan(folder, settings=MEAN, shared=True), FOLDS, Watch())


def test_the_mean_of_the_folds_networks_is_the_network_of_the_trial(
    mean: tuple[Path, Outcome], whole: tuple[Path, Outcome, Watch]
) -> None:
    folder, outcome = mean
    assert (outcome.value, outcome.epoch, outcome.history[0].train) == (
        whole[1].value,
        whole[1].epoch,
        whole[1].history[0].train,
    )
    assert outcome.model == folder / "model.keras" and outcome.scores is None
    assert [path.name for path in folder.rglob("*.keras")] == ["model.keras"]
    network = load_network(folder)
    assert (network.name, network.count_params()) == ("mean_of_3_networks", outcome.metrics["model_parameters"])
    networks = [layer for layer in network.layers if layer.name.startswith("network")]
    images = joined(TRAIN, VALIDATION).images
    answers = np.stack([Predictor(each)(images) for each in networks])
    np.testing.assert_allclose(Predictor(network)(images), mean_answers(answers), atol=1e-5)
    assert outcome.predictions is not None
    held_out = [answers[i // 4, i] for i in range(12)]
    np.testing.assert_allclose(outcome.predictions.probabilities, held_out, atol=1e-5)
    assert list(outcome.predictions.labels) == joined(TRAIN, VALIDATION).labels.tolist()
    assert [event.file for event in events(folder) if isinstance(event, Artifact)].count("model.keras") == 1
    assert undocumented_metrics(set(points(folder))) == set()
    with zipfile.ZipFile(folder / "bundle.zip") as bundle:
        kept = [name for name in bundle.namelist() if name.endswith((".keras", ".npz"))]
    assert kept == ["gradcam.npz"], "maps, and no network or checkpoint"
    assert read_info(folder / "bundle.zip").model


def test_a_mean_survives_a_death_and_a_move_to_another_machine(
    tmp_path: Path, mean: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drsearch.training.run_log.RunLog.close", lambda *_: None)
    here, there = tmp_path / "here", tmp_path / "there"
    with pytest.raises(Killed):
        run_folds(plan(here, settings=MEAN, shared=True), FOLDS, Watch(kill_at=8))
    unpack(here / "bundle.zip", there, None, 2)
    assert sorted(path.name for path in there.glob("*.keras")) == ["fold1.keras", "fold2.keras"]
    again = run_folds(plan(there, "second", settings=MEAN), FOLDS, Watch())
    assert again.predictions == mean[1].predictions
    images = TRAIN.images
    np.testing.assert_array_equal(Predictor(load_network(there))(images), Predictor(load_network(mean[0]))(images))


def test_the_eyes_of_an_outer_fold_are_answered_by_the_mean_and_by_each_network_after_a_death_too(
    tmp_path: Path, mean: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drsearch.training.run_log.RunLog.close", lambda *_: None)
    judged = eyes(6, 2)
    folds = replace(FOLDS, judged=judged)
    settings = MEAN.replace({"registry.symmetries": 8})
    with pytest.raises(Killed):
        run_folds(plan(tmp_path, settings=settings), folds, Watch(kill_at=8))
    outcome = run_folds(plan(tmp_path, "second", settings=settings), folds, Watch())
    assert (outcome.value, outcome.epoch) == (mean[1].value, mean[1].epoch), "the eyes that judge change nothing"
    network = load_network(tmp_path)
    networks = [layer for layer in network.layers if layer.name.startswith("network")]
    each = [read_outcome(tmp_path / f"fold{number}") for number in (1, 2, 3)]
    for answered, by in zip([outcome, *each], [network, *networks], strict=True):
        assert answered is not None and answered.judged is not None
        assert answered.judged.labels == tuple(judged.labels)
        answers = Predictor(by, symmetries=8)(judged.images)
        np.testing.assert_allclose(answered.judged.probabilities, answers, atol=1e-5)


def test_of_repeats_every_eye_gets_the_mean_of_all_that_did_not_see_it(tmp_path: Path) -> None:
    settings = SETTINGS.replace({"registry.networks": "folds", "search.folds": 1, "search.repeats": 2})
    folds = TrialFolds(settings.search, TRAIN, VALIDATION, ())
    outcome = run_folds(plan(tmp_path / "one", settings=settings), folds, Watch())
    assert outcome.predictions is not None
    answers = Predictor(load_network(tmp_path / "one"))(VALIDATION.images)
    np.testing.assert_allclose(outcome.predictions.probabilities, answers, atol=1e-5)
    settings = settings.replace({"search.folds": 2})
    fold_of = (np.arange(12) % 4 // 2, np.arange(12) // 6)
    outcome = run_folds(
        plan(tmp_path / "two", settings=settings), TrialFolds(settings.search, TRAIN, VALIDATION, fold_of), Watch()
    )
    networks = [layer for layer in load_network(tmp_path / "two").layers if layer.name.startswith("network")]
    each = np.stack([Predictor(network)(joined(TRAIN, VALIDATION).images) for network in networks])
    unseen = [[each[2 * repeat + fold[i], i] for i in range(12)] for repeat, fold in enumerate(fold_of)]
    assert outcome.predictions is not None
    np.testing.assert_allclose(outcome.predictions.probabilities, mean_answers(np.array(unseen)), atol=1e-5)


def test_a_pruned_trial_has_no_mean_and_leaves_no_networks(tmp_path: Path) -> None:
    outcome = run_folds(plan(tmp_path, settings=MEAN), FOLDS, Watch(prune_at=2))
    assert (outcome.state, outcome.model, list(tmp_path.rglob("*.keras"))) == ("pruned", None, [])
