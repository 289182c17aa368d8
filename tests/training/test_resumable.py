"""A training that dies at any moment resumes to the same curve, and logs everything once."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from tags_page import undocumented_metrics

from drsearch.data.records import Eyes
from drsearch.datasets.boxes import Box
from drsearch.model.fit import EpochResult, Training
from drsearch.model.predictor import Predictor
from drsearch.model.resnet_v2 import build_resnet
from drsearch.settings import Settings
from drsearch.tracking.events import Artifact, Image, Metrics, RunEnd, RunStart, Tags
from drsearch.tracking.journal import Journal
from drsearch.training.best_network import fixed_eyes
from drsearch.training.objective import Objective
from drsearch.training.outcome import Outcome, read_outcome
from drsearch.training.plan import GivenAway, Plan, Pruned, Stopped
from drsearch.training.resumable import run_training

SETTINGS = Settings().replace(
    {
        "images.image_px": 32,
        "model.width": 4,
        "model.stages": 1,
        "training.epochs": 5,
        "training.batch_size": 4,
        "training.checkpoint_every_epochs": 2,
        "study.gradcam_eyes": 2,
    }
)


def eyes(n: int, seed: int) -> Eyes:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = rng.integers(0, 255, (n, 32, 32, 3), dtype=np.uint8)
    images[labels == 1, :12, :12, 0] = 255
    return Eyes(tuple(f"eye{i:02d}" for i in range(n)), images, labels * 3, labels, *2 * [("",) * n])


TRAIN, VALIDATION = eyes(12, 0), eyes(8, 1)


class Watch:
    """Looks on, and does what a test asks for after an epoch."""

    def __init__(self, after: dict[int, Callable[[], None]] | None = None, stop_at: int = 0) -> None:
        self._after, self._stop_at = after or {}, stop_at
        self._epoch = 0
        self.values: list[float] = []

    def epoch(self, result: EpochResult) -> None:
        self._epoch = result.epoch
        self._after.get(result.epoch, lambda: None)()

    def judged(self, epoch: int, value: float) -> None:
        self.values.append(value)

    def stop_asked(self) -> bool:
        return self._epoch == self._stop_at


def plan(folder: Path, owner: str = "first", settings: Settings = SETTINGS) -> Plan:
    start = RunStart(key=str(folder), experiment="e", name="trial")
    return Plan(
        folder=folder,
        start=start,
        settings=settings,
        build=lambda: build_resnet(settings.model, 32),
        owner=owner,
    )


def run(folder: Path, watch: Watch | None = None, owner: str = "first", settings: Settings = SETTINGS) -> Outcome:
    return run_training(plan(folder, owner, settings), TRAIN, VALIDATION, watch or Watch())


def logged_epochs(folder: Path) -> list[int]:
    events, _ = Journal(folder).read()
    return [event.step for event in events if isinstance(event, Metrics) and "val_loss" in event.values]


def ends(folder: Path) -> list[tuple[str, str, str]]:
    events, _ = Journal(folder).read()
    return [
        (event.status, event.tags["drsearch.outcome"], event.tags["drsearch.reason"])
        for event in events
        if isinstance(event, RunEnd)
    ]


def curve(outcome: Outcome) -> list[dict[str, object]]:
    return [{key: value for key, value in asdict(epoch).items() if key != "seconds"} for epoch in outcome.history]


class Killed(BaseException):
    """Stands for a process that is gone: nothing after it runs."""


def kill() -> None:
    raise Killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The same training left in peace."""
    return run(tmp_path_factory.mktemp("whole"))


def test_a_finished_training_logs_every_epoch_once_and_its_best_network(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    assert logged_epochs(tmp_path) == [1, 2, 3, 4, 5]
    assert ends(tmp_path) == [("FINISHED", "complete", "")]
    events, _ = Journal(tmp_path).read()
    pictures = {event.key: event.step for event in events if isinstance(event, Image)}
    metrics = {name for event in events if isinstance(event, Metrics) for name in event.values}
    assert undocumented_metrics(metrics) == set()
    assert sum(key.startswith("gradcam/") for key in pictures) == 2
    assert set(pictures.values()) == {0}
    artifacts = {event.file: event.folder for event in events if isinstance(event, Artifact)}
    guide = (tmp_path / "README.md").read_text()
    assert artifacts.pop("README.md") == ""
    assert all((folder and f"`{folder}/" in guide) or file in guide for file, folder in artifacts.items()), artifacts
    arrays = np.load(tmp_path / "gradcam.npz")
    assert arrays["maps"].shape == (2, *VALIDATION.images.shape[1:3]) and 0 < arrays["maps"].max() <= 1
    assert [f"gradcam/grade {grade} {name}" for grade, name in zip(arrays["grades"], arrays["names"], strict=True)] == [
        key for key in pictures if key.startswith("gradcam/")
    ]
    tags = {name: text for event in events if isinstance(event, Tags) for name, text in event.values.items()}
    assert outcome.scores is not None and tags["best_val_auc"] == str(outcome.scores.auc)
    assert outcome.epoch in (2, 4, 5), "only checkpointed epochs are judged"
    assert outcome.model is not None and outcome.model.exists()
    assert outcome.predictions is not None and outcome.predictions.labels == tuple(VALIDATION.labels.tolist())
    best = Predictor(keras.saving.load_model(outcome.model, compile=False))
    np.testing.assert_allclose(best(VALIDATION.images), outcome.predictions.probabilities, atol=1e-5)
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize(("judged", "epoch"), [("best", 2), ("last", 5)])
def test_the_last_epoch_judges_a_training_where_settings_say_so(
    judged: str, epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Objective, "is_better", lambda *_: False)  # so that epoch 2 is the best
    outcome = run(tmp_path, settings=SETTINGS.replace({"training.judged_epoch": judged}))
    assert outcome.epoch == epoch and outcome.value == outcome.history[epoch - 1].validation.auc
    assert outcome.model is not None and outcome.predictions is not None
    network = Predictor(keras.saving.load_model(outcome.model, compile=False))
    np.testing.assert_allclose(network(VALIDATION.images), outcome.predictions.probabilities, atol=1e-5)


def test_a_lesion_map_is_resumed_saved_and_shown_beside_grad_cam(tmp_path: Path) -> None:
    """An interrupted training resumes with the head that was added to its network."""
    boxes = tuple((Box("haemorrhage", 0, 0, 0.375, 0.375),) * label for label in TRAIN.labels)
    train = replace(TRAIN, boxes=boxes)
    settings = SETTINGS.replace({"training.lesions_weight": 1.0, "training.epochs": 3})
    for owner, stop_at in (("first", 1), ("second", 0)):
        watch = Watch(stop_at=stop_at)
        outcome = run_training(plan(tmp_path, owner, settings), train, VALIDATION, watch)
    assert outcome.state == "complete" and outcome.model is not None
    assert keras.saving.load_model(outcome.model, compile=False).get_layer("lesion_map").output.shape == (None, 4, 4, 2)
    keys = {event.key for event in Journal(tmp_path).read()[0] if isinstance(event, Image)}
    shown = {key.removeprefix("lesions/") for key in keys if key.startswith("lesions/")}
    assert shown == {key.removeprefix("gradcam/") for key in keys if key.startswith("gradcam/")} and len(shown) == 2


def test_a_training_in_bfloat16_is_resumed_and_its_saved_network_computes_in_it(tmp_path: Path) -> None:
    """Its weights and its answers are float32, and what is built later is not changed."""
    settings = SETTINGS.replace({"training.precision": "bfloat16"})
    whole = run(tmp_path / "whole", settings=settings)
    first = run(tmp_path / "resumed", Watch(stop_at=3), settings=settings)
    again = run(tmp_path / "resumed", owner="second", settings=settings)
    assert (whole.state, first.state) == ("complete", "interrupted") and curve(again) == curve(whole)
    assert whole.model is not None and whole.predictions is not None
    network = keras.saving.load_model(whole.model, compile=False)
    convolution, probabilities = network.get_layer("stem_conv"), network.get_layer("probabilities")
    assert (convolution.compute_dtype, probabilities.compute_dtype) == ("bfloat16", "float32")
    assert {weight.dtype for weight in network.trainable_weights} == {"float32"}
    answers = Predictor(network)(VALIDATION.images)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, whole.predictions.probabilities, atol=1e-5)
    assert keras.config.dtype_policy().name == "float32"


def test_a_chosen_metric_is_logged_every_epoch_and_judges_the_training(tmp_path: Path) -> None:
    names = ("val_brier", "val_sensitivity_at_specificity_0.75")
    settings = SETTINGS.replace({"study.objective": names[0], "study.second_objective": names[1]})
    outcome = run(tmp_path, Watch(stop_at=3), settings=settings)
    outcome = run(tmp_path, owner="second", settings=settings)
    events, _ = Journal(tmp_path).read()
    metrics = [event for event in events if isinstance(event, Metrics)]
    for name in (*names, "train_brier"):
        assert [event.step for event in metrics if name in event.values] == [1, 2, 3, 4, 5]
    assert undocumented_metrics({name for event in metrics for name in event.values}) == set()
    judged = {epoch.epoch: epoch.validation.others["brier"] for epoch in outcome.history if epoch.epoch in (2, 4, 5)}
    assert outcome.epoch == min(judged, key=lambda epoch: (judged[epoch], epoch))
    assert outcome.value == judged[outcome.epoch] == pytest.approx(outcome.metrics["best_val_brier"])
    assert outcome.metrics["best_val_brier_low"] < outcome.value < outcome.metrics["best_val_brier_high"]
    assert outcome.error > 0
    at_best = outcome.history[outcome.epoch - 1].validation.others
    assert outcome.metrics[f"best_{names[1]}"] == at_best["sensitivity_at_specificity_0.75"]
    assert read_outcome(tmp_path) == outcome


def test_kappa_of_the_grades_is_logged_with_an_interval_and_limits_a_training(tmp_path: Path) -> None:
    train, validation = (
        replace(some, grades=some.labels * (2 + np.arange(len(some.labels)) % 3)) for some in (TRAIN, VALIDATION)
    )
    values = {"training.levels_weight": 0.5, "study.constraints": "kappa >= 0.99", "training.epochs": 2}
    outcome = run_training(plan(tmp_path, settings=SETTINGS.replace(values)), train, validation, Watch())
    logged = [event for event in Journal(tmp_path).read()[0] if isinstance(event, Metrics)]
    for name in ("train_kappa", "val_kappa"):
        assert [event.step for event in logged if name in event.values] == [1, 2]
    kappa = outcome.history[outcome.epoch - 1].validation.others["kappa"]
    low, value, high = (outcome.metrics[f"best_val_kappa{end}"] for end in ("_low", "", "_high"))
    assert low <= value <= high and value == pytest.approx(kappa)
    (tag,) = [event.values["drsearch.violated"] for event in Journal(tmp_path).read()[0] if isinstance(event, Tags)]
    assert tag == f"kappa {kappa:.3g} < 0.99"


def test_an_interrupted_training_resumes_to_the_same_curve(tmp_path: Path, whole: Outcome) -> None:
    first = run(tmp_path, Watch(stop_at=3))
    assert (first.state, first.reason) == ("interrupted", "stopped at epoch 3 of 5")
    again = run(tmp_path, owner="second")
    assert curve(again) == curve(whole)
    assert (again.value, again.epoch) == (whole.value, whole.epoch)
    assert logged_epochs(tmp_path) == [1, 2, 3, 4, 5]
    assert [status for status, _, _ in ends(tmp_path)] == ["KILLED", "FINISHED"]


def test_what_a_dead_process_had_not_checkpointed_is_trained_again_and_logged_once(
    tmp_path: Path, whole: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A killed process closes nothing: no end may be written for it.
    monkeypatch.setattr("drsearch.training.run_log.RunLog.close", lambda *_: None)
    with pytest.raises(Killed):
        run(tmp_path, Watch({3: kill}))
    assert logged_epochs(tmp_path) == [1, 2]
    again = run(tmp_path, owner="second")
    assert curve(again) == curve(whole)
    assert logged_epochs(tmp_path) == [1, 2, 3, 4, 5]


def test_a_death_between_checkpoint_and_journal_loses_and_doubles_nothing(
    tmp_path: Path, whole: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr("drsearch.training.run_log.RunLog.close", lambda *_: None)
    with pytest.raises(Killed):
        run(tmp_path, Watch({1: lambda: sizes.append(Journal(tmp_path).size()), 3: kill}))
    os.truncate(Journal(tmp_path).path, sizes[0])  # the checkpoint of epoch 2 was written, its lines were not
    assert logged_epochs(tmp_path) == []
    again = run(tmp_path, owner="second")
    assert curve(again) == curve(whole)
    assert logged_epochs(tmp_path) == [1, 2, 3, 4, 5]


def test_a_death_while_a_checkpoint_is_written_beside_the_best_one_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Objective, "is_better", lambda *_: False)  # so that epoch 2 stays the best
    in_peace = run(tmp_path / "in peace")
    save = Training.save

    def save_or_die(training: Training, path: Path, extra: Mapping[str, Any]) -> None:
        if training.epoch == 4:
            kill()
        save(training, path, extra)

    with monkeypatch.context() as dying:
        dying.setattr("drsearch.training.run_log.RunLog.close", lambda *_: None)
        dying.setattr(Training, "save", save_or_die)
        with pytest.raises(Killed):
            run(tmp_path / "cut")
    assert [path.name for path in (tmp_path / "cut" / "checkpoint").iterdir()] == ["best-000002.npz"]
    again = run(tmp_path / "cut", owner="second")
    assert curve(again) == curve(in_peace)
    assert (again.epoch, again.value, again.predictions) == (2, in_peace.value, in_peace.predictions)
    assert logged_epochs(tmp_path / "cut") == [1, 2, 3, 4, 5]
    assert again.model is not None and again.predictions is not None
    best = Predictor(keras.saving.load_model(again.model, compile=False))
    np.testing.assert_allclose(best(VALIDATION.images), again.predictions.probabilities, atol=1e-5)


@pytest.mark.parametrize("n_whole_lines", [0, 1])
def test_a_commit_that_was_cut_within_its_lines_is_completed(
    tmp_path: Path, whole: Outcome, monkeypatch: pytest.MonkeyPatch, n_whole_lines: int
) -> None:
    monkeypatch.setattr("drsearch.training.run_log.RunLog.close", lambda *_: None)
    with pytest.raises(Killed):
        run(tmp_path, Watch({2: kill}))
    journal = Journal(tmp_path)
    lines = journal.path.read_bytes().splitlines(keepends=True)  # the last two are epochs 1 and 2
    journal.path.write_bytes(b"".join(lines[: -2 + n_whole_lines]) + lines[-2 + n_whole_lines][:30])
    again = run(tmp_path, owner="second")
    assert curve(again) == curve(whole)
    assert logged_epochs(tmp_path) == [1, 2, 3, 4, 5]


def test_a_run_whose_first_line_was_cut_is_opened_again(tmp_path: Path) -> None:
    Journal(tmp_path).path.write_bytes(b'{"event": "RunSta')
    run(tmp_path, Watch(stop_at=1))
    events, _ = Journal(tmp_path).read()
    assert isinstance(events[0], RunStart)
    assert logged_epochs(tmp_path) == [1]


@pytest.mark.parametrize("n_whole_lines", [0, 1, 3])
def test_a_death_while_the_end_was_logged_logs_it_once(tmp_path: Path, n_whole_lines: int) -> None:
    outcome = run(tmp_path)
    journal = Journal(tmp_path)
    complete, events = journal.path.read_bytes(), journal.read()[0]
    lines = complete.splitlines(keepends=True)
    first = next(i for i, event in enumerate(events) if isinstance(event, Metrics) and "best_epoch" in event.values)
    cut = first + n_whole_lines
    journal.path.write_bytes(b"".join(lines[:cut]) + lines[cut][:10])
    assert run(tmp_path, Watch({1: kill}), owner="second") == outcome
    assert journal.path.read_bytes() == complete


def test_an_outcome_is_given_back_without_training(tmp_path: Path) -> None:
    first = run(tmp_path)
    size = Journal(tmp_path).size()
    again = run(tmp_path, Watch({1: kill}), owner="second")
    assert again == first == read_outcome(tmp_path)
    assert Journal(tmp_path).size() == size


def test_one_whose_training_was_given_away_writes_nothing_more(tmp_path: Path) -> None:
    sizes: list[int] = []

    def give_away() -> None:
        (tmp_path / "owner").write_text("second")
        sizes.append(Journal(tmp_path).size())

    with pytest.raises(GivenAway) as given_away:
        run(tmp_path, Watch({1: give_away}))
    assert str(given_away.value) == "trial was given to another worker; this one writes nothing more."
    assert Journal(tmp_path).size() == sizes[0]
    assert list((tmp_path / "checkpoint").iterdir()) == []


def test_a_pruned_training_ends_with_the_reason_and_its_best_network(tmp_path: Path) -> None:
    class Pruner(Watch):
        def judged(self, epoch: int, value: float) -> None:
            raise Pruned(f"not good enough after {epoch} epochs")

    outcome = run(tmp_path, Pruner())
    assert (outcome.state, outcome.reason) == ("pruned", "not good enough after 2 epochs")
    assert ends(tmp_path) == [("KILLED", "pruned", "not good enough after 2 epochs")]
    assert outcome.model is not None


def test_a_loss_that_is_not_finite_fails_the_training_and_its_run_says_why(tmp_path: Path) -> None:
    outcome = run(
        tmp_path, settings=SETTINGS.replace({"training.learning_rate": 10.0, "training.optimizer": "sgd",
                                             "training.weight_decay": 1.0, "training.epochs": 60})
    )  # fmt: skip
    assert outcome.state == "failed"
    assert "smaller training.learning_rate" in outcome.reason
    assert ends(tmp_path) == [("FAILED", "failed", outcome.reason)]


def test_a_bug_keeps_its_traceback_and_its_run_ends(tmp_path: Path) -> None:
    def bug() -> None:
        raise ZeroDivisionError("one over nothing")

    with pytest.raises(ZeroDivisionError):
        run(tmp_path, Watch({1: bug}))
    assert ends(tmp_path) == [("FAILED", "failed", "ZeroDivisionError: one over nothing")]


def test_the_predictions_that_choose_a_threshold_are_those_that_the_registered_model_will_give(
    tmp_path: Path, whole: Outcome
) -> None:
    symmetric = run(tmp_path, settings=SETTINGS.replace({"registry.symmetries": 8}))
    assert symmetric.model is not None and symmetric.predictions is not None and whole.predictions is not None
    model = keras.saving.load_model(symmetric.model)
    expected = Predictor(model, symmetries=8)(VALIDATION.images)
    assert symmetric.predictions.probabilities == pytest.approx(expected.tolist(), abs=1e-6)
    assert symmetric.predictions.probabilities != whole.predictions.probabilities
    assert (symmetric.value, symmetric.scores) == (whole.value, whole.scores), "trials are judged as before"


def test_the_same_eyes_are_explained_whatever_the_order() -> None:
    shuffled = np.random.default_rng(0).permutation(8)
    other = Eyes(
        tuple(VALIDATION.names[i] for i in shuffled),
        VALIDATION.images[shuffled],
        VALIDATION.grades[shuffled],
        VALIDATION.labels[shuffled],
        VALIDATION.patients,
        VALIDATION.sources,
    )
    named = {VALIDATION.names[i] for i in fixed_eyes(VALIDATION, 3)}
    assert named == {other.names[i] for i in fixed_eyes(other, 3)}
    assert len(fixed_eyes(VALIDATION, 0)) == 0
    assert len(fixed_eyes(VALIDATION, 99)) == 8


def test_a_model_that_keras_cannot_build_fails_its_trial_and_a_bug_in_a_space_does_not(tmp_path: Path) -> None:
    import keras

    def too_small() -> keras.Model:
        seen = keras.Input((32, 32, 3))
        return keras.Model(seen, keras.layers.Conv2D(4, 33)(seen))

    def buggy() -> keras.Model:
        raise ValueError("a slip in the space file")

    failed = run_training(replace(plan(tmp_path / "a"), build=too_small), TRAIN, VALIDATION, Watch())
    assert failed.state == "failed"
    assert failed.reason.startswith("the model cannot be built: ")
    assert ends(tmp_path / "a") == [("FAILED", "failed", failed.reason)]
    with pytest.raises(ValueError, match="a slip in the space file"):
        run_training(replace(plan(tmp_path / "b"), build=buggy), TRAIN, VALIDATION, Watch())
    assert ends(tmp_path / "b") == [("FAILED", "failed", "ValueError: a slip in the space file")]


def test_a_watch_that_was_stopped_while_it_waited_interrupts_the_training(tmp_path: Path, whole: Outcome) -> None:
    class Waiting(Watch):
        def judged(self, epoch: int, value: float) -> None:
            raise Stopped(f"stopped at epoch {epoch}: the study database does not answer")

    stopped = run(tmp_path, Waiting())
    assert (stopped.state, stopped.reason) == (
        "interrupted",
        "stopped at epoch 2: the study database does not answer",
    )
    assert curve(run(tmp_path, owner="second")) == curve(whole)


def test_a_training_that_came_to_its_end_is_complete_though_its_process_died_then(
    tmp_path: Path, whole: Outcome
) -> None:
    run(tmp_path)
    died = {"drsearch.outcome": "interrupted", "drsearch.reason": "its process died"}
    Journal(tmp_path).append([RunEnd("KILLED", tags=died)])
    again = run(tmp_path, owner="second")
    assert curve(again) == curve(whole)
    assert [end[:2] for end in ends(tmp_path)] == [("FINISHED", "complete"), ("KILLED", "interrupted"),
                                                   ("FINISHED", "complete")]  # fmt: skip
    assert run(tmp_path, owner="third").state == "complete"
    assert len(ends(tmp_path)) == 3


def test_photographs_that_are_left_out_never_train_and_validate_all_the_same(tmp_path: Path) -> None:
    settings = SETTINGS.replace({"training.leave_out": "eye00, eye03"})
    without = run_training(plan(tmp_path / "a", settings=settings), TRAIN, VALIDATION, Watch())
    others = TRAIN.some(~np.isin(TRAIN.names, ["eye00", "eye03"]))
    fewer = run_training(plan(tmp_path / "b"), others, VALIDATION, Watch())
    assert [each.train for each in without.history] == [each.train for each in fewer.history]
    assert without.predictions == fewer.predictions
    assert len(without.predictions.labels) == len(VALIDATION.names)  # type: ignore[union-attr]


def test_the_eyes_of_an_outer_fold_are_answered_by_the_best_network_and_change_nothing(tmp_path: Path) -> None:
    judged = eyes(6, 2)
    with_fold = run_training(plan(tmp_path / "a"), TRAIN, VALIDATION, Watch(), judged)
    alone = run_training(plan(tmp_path / "b"), TRAIN, VALIDATION, Watch())
    assert with_fold.judged is not None and with_fold.model is not None
    assert (with_fold.predictions, with_fold.epoch) == (alone.predictions, alone.epoch)
    assert with_fold.judged.labels == tuple(judged.labels)
    answers = Predictor(keras.saving.load_model(with_fold.model))(judged.images)
    assert np.allclose(with_fold.judged.probabilities, answers, atol=1e-6)
    assert read_outcome(tmp_path / "a") == with_fold
