"""Who may become champion? The rule on figures that are known, and the whole way with real models and records."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from tags_page import undocumented_metrics

from drsearch.data.prepare import prepare
from drsearch.data.records import EyeEntry, RecordSet, count_test_evaluations, read_eyes
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.measure.calibration import calibration
from drsearch.measure.comparison import compare
from drsearch.measure.familiarity import fit_familiarity
from drsearch.measure.scores import scores
from drsearch.model.fit import set_seeds
from drsearch.model.resnet_v2 import build_resnet
from drsearch.release.champion import Promotion
from drsearch.release.contest import ScoredVersion, TrainedOnTestEyes, contest
from drsearch.release.decisions import Decisions
from drsearch.release.gate import Check, rule
from drsearch.release.registry import ModelVersion, Registry
from drsearch.serving.model_files import Serving, model_files
from drsearch.settings import GateSettings, Settings

LABELS = np.repeat([0, 1], 40)
GATE = GateSettings()
LENIENT = GateSettings(sensitivity_margin=1.0, auc_margin=1.0, first_auc=0.0)


def judged(number: int, separation: float, threshold: float = 0.5, seed: int = 0) -> ScoredVersion:
    said = 1 / (1 + np.exp(-np.random.default_rng(seed).normal(separation * (LABELS - 0.5), 1.0)))
    settings = Settings()
    version = ModelVersion("retinopathy", number, "m-1", "r-1", {}, ())
    serving = Serving(settings.images, settings.data, settings.task, threshold, 1.0, "")
    return ScoredVersion(version, serving, said, scores(LABELS, said, threshold), calibration(LABELS, said))


def asked(
    challenger: ScoredVersion, champion: ScoredVersion | None, gate: GateSettings = GATE
) -> list[tuple[bool, str]]:
    pair = None
    if champion is not None:
        cuts = challenger.serving.threshold, champion.serving.threshold
        pair = compare(LABELS, challenger.probabilities, champion.probabilities, cuts, resamples=50)
    before = champion.scores if champion is not None else None
    return [(check.passed, check.text) for check in rule(challenger.scores, before, pair, gate)]


def test_a_better_model_passes_and_a_worse_one_does_not() -> None:
    good, bad = judged(1, 3.0), judged(2, 1.0)
    assert [passed for passed, _ in asked(good, bad)] == [True, True]
    assert [passed for passed, _ in asked(bad, good)] == [False, False]


def test_a_threshold_that_misses_more_referable_eyes_fails_however_good_the_area_is() -> None:
    strict, usual = judged(2, 3.0, threshold=0.9), judged(1, 3.0)
    (lost, said), (area, _) = asked(strict, usual)
    assert (lost, area) == (False, True)
    found, before = strict.scores.sensitivity.value, usual.scores.sensitivity.value
    assert said == (
        f"sensitivity {found:.3f} at threshold 0.9, champion {before:.3f} at 0.5: {found - before:+.3f} (limit -0.05)"
    )


def test_few_eyes_cannot_show_that_a_different_model_is_not_worse() -> None:
    one, other = judged(1, 1.5, seed=1), judged(2, 1.5, seed=2)  # as good, but for chance
    (_, (passed, said)) = asked(one, other)
    assert not passed
    assert said.endswith(", the interval must lie above -0.05")
    assert asked(one, other, GateSettings(auc_margin=0.5))[1][0]


def test_an_interval_without_width_is_said_to_say_little() -> None:
    ((passed, said),) = asked(judged(1, 50.0), None)
    assert passed
    assert said.endswith("(the interval has no width: nothing varies on these 80 eyes, which says little about others)")


def test_the_first_champion_must_beat_chance_and_reach_the_sensitivity_that_is_asked() -> None:
    assert [passed for passed, _ in asked(judged(1, 2.0), None)] == [True]
    assert [passed for passed, _ in asked(judged(1, 0.0), None)] == [False]
    high = GateSettings(first_sensitivity=0.99)
    assert [passed for passed, _ in asked(judged(1, 2.0), None, high)] == [True, False]


def test_a_model_that_answers_the_same_for_every_eye_never_passes() -> None:
    same, worthless = judged(2, 3.0), judged(1, 0.0)
    said = np.full(80, 0.7)
    same = replace(same, probabilities=said, scores=scores(LABELS, said))
    for champion in (None, worthless):
        ((passed, why),) = asked(same, champion, LENIENT)
        assert not passed
        assert why == "the model answers the same for all 80 eyes: it cannot tell them apart"


class Shelf:
    """A home with records at two image sizes, and a registered model of each."""

    def __init__(self, home: Home, eyes: Path, records: RecordSet, files: dict[str, Path], settings: Settings) -> None:
        self.home, self.eyes, self.records, self.settings, self.files = home, eyes, records, settings, files
        shutil.copytree(records.folder, home.records / records.fingerprint)
        larger = settings.replace({"images.image_px": 48})
        self.larger = prepare(open_dataset([eyes]), larger, home).records
        self.registry = Registry(home.tracking_uri)
        self.client = MlflowClient(home.tracking_uri, home.tracking_uri)
        self.experiment = self.client.create_experiment("a study", (home.path / "artifacts").as_uri())
        set_seeds(4)
        network = home.path / "model.keras"
        build_resnet(settings.model, 48).save(network)
        serving = Serving(larger.images, larger.data, larger.task, 0.4, 1.5, self.larger.fingerprint)
        seen = json.dumps([eye.to_json() for eye in self.larger.eyes("train")])
        train, validation = (read_eyes(self.larger, split).images for split in ("train", "validation"))
        familiarity = fit_familiarity(train, validation).to_json()
        self.of_48 = model_files(home.path / "of-48", network, serving.to_json(), seen, familiarity)

    def add(self, files: dict[str, Path]) -> ModelVersion:
        run_id = self.client.create_run(self.experiment).info.run_id
        return self.registry.register("retinopathy", run_id, files, {}, "")

    def trained_on(self, more: tuple[EyeEntry, ...]) -> dict[str, Path]:
        """The small model, trained on other eyes."""
        serving = self.files["serving.json"].read_text()
        seen = json.dumps([eye.to_json() for eye in more])
        familiarity = self.files["familiarity.json"].read_text()
        return model_files(self.home.path / f"seen-{len(more)}", self.files["model.keras"], serving, seen, familiarity)


@pytest.fixture(scope="module")
def shelf(
    tmp_path_factory: pytest.TempPathFactory,
    eyes: Path,
    records: RecordSet,
    files: dict[str, Path],
    settings: Settings,
) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        made = Shelf(Home(tmp_path_factory.mktemp("gate")), eyes, records, files, settings)
        made.small, made.large = made.add(files), made.add(made.of_48)  # type: ignore[attr-defined]
        yield made


@pytest.fixture(autouse=True)
def local_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_models_of_different_images_are_judged_on_the_same_eyes_with_one_test_evaluation(shelf: Any) -> None:
    before = count_test_evaluations(shelf.records, shelf.home)
    found = contest(shelf.registry, shelf.large, shelf.small, GATE, shelf.home)
    assert found.test_evaluations == count_test_evaluations(shelf.records, shelf.home) == before + 1
    assert found.champion is not None and found.comparison is not None
    assert (found.challenger.serving.images.image_px, found.champion.serving.images.image_px) == (48, 32)
    assert len(found.labels) == shelf.records.counts["test"]["n"]
    assert found.challenger.scores == scores(found.labels, found.challenger.probabilities, 0.4)
    numbers = found.metrics()
    assert undocumented_metrics(set(numbers)) == set()
    assert (numbers["challenger_threshold"], numbers["champion_threshold"]) == (0.4, 0.5)
    assert found.table()[-1] == ("threshold", "0.4000", "0.5000", "")
    gap = numbers["challenger_auc"] - numbers["champion_auc"]
    assert numbers["difference_auc"] == pytest.approx(gap, abs=1e-12)


def test_a_model_that_was_trained_on_a_test_eye_is_refused_unseen_and_that_is_written_down(shelf: Any) -> None:
    touched = shelf.add(shelf.trained_on(shelf.records.eyes("train") + shelf.records.eyes("test")[:1]))
    before = count_test_evaluations(shelf.records, shelf.home)
    with pytest.raises(TrainedOnTestEyes) as refused:
        Promotion.begin("retinopathy", touched.version, LENIENT, shelf.home).judge()
    name = shelf.records.eyes("test")[0].name
    assert str(refused.value) == (
        f"version {touched.version} was trained on 1 of the {shelf.records.counts['test']['n']} test eyes ({name}), "
        "so that its scores there say nothing; judge it on other eyes with --data FOLDER."
    )
    assert count_test_evaluations(shelf.records, shelf.home) == before
    last = Decisions(shelf.registry, shelf.home).history("retinopathy")[-1]
    assert (last.version, last.outcome, last.test_evaluations) == (touched.version, "refused", None)


def test_a_champion_that_was_trained_on_test_eyes_is_no_measure(shelf: Any) -> None:
    champion = shelf.add(shelf.trained_on(shelf.records.eyes("train", "test")))
    found = contest(shelf.registry, shelf.small, champion, LENIENT, shelf.home)
    assert found.champion is None and not found.passed
    assert f"the champion, version {champion.version}, was trained on" in found.checks[0].text


def test_records_that_are_gone_are_asked_for_and_taken_from_the_photographs(shelf: Any, tmp_path: Path) -> None:
    elsewhere = replace(shelf.home, path=tmp_path)
    with pytest.raises(RegistryError) as refused:
        contest(shelf.registry, shelf.small, None, GATE, elsewhere)
    assert str(refused.value) == (
        f"{tmp_path / 'records'} does not hold record set {shelf.records.fingerprint}, from which version "
        f"{shelf.small.version} was trained; give the photographs with --data FOLDER."
    )
    shutil.copytree(shelf.records.folder, elsewhere.records / shelf.records.fingerprint)
    with pytest.raises(RegistryError, match="the champion reads images with images.image_px = 48, .* --data FOLDER"):
        contest(shelf.registry, shelf.small, shelf.large, GATE, elsewhere)
    found = contest(shelf.registry, shelf.small, shelf.large, GATE, elsewhere, open_dataset([shelf.eyes]))
    assert found.records.fingerprint == shelf.records.fingerprint
    assert found.comparison is not None


def test_a_promotion_becomes_a_run_with_table_figures_and_rule(shelf: Any) -> None:
    promotion = Promotion.begin("retinopathy", shelf.small.version, LENIENT, shelf.home)
    found = promotion.judge()
    passing = replace(found, checks=(Check(True, "it is a start"),))
    decision = promotion.decide(passing, reason="to begin with")
    assert decision.outcome == "promoted" and decision.changed
    run = shelf.client.get_run(decision.run_id)
    assert run.data.params["gate.auc_margin"] == "1.0"
    assert run.data.metrics["challenger_auc"] == found.challenger.scores.auc.value
    assert "| sensitivity" in run.data.tags["mlflow.note.content"]
    assert "Reason: to begin with" in run.data.tags["mlflow.note.content"]
    beside, sentences = found.to_json()["blind"], found.beside_blind()
    assert run.data.metrics["challenger_auc_over_blind_low"] == beside["auc_difference"]["low"] <= 0
    assert len(sentences) == 2 and sentences[1] == beside["caution"]  # it was never trained
    assert all(f"- {sentence}" in run.data.tags["mlflow.note.content"] for sentence in sentences)
    assert {file.path for file in shelf.client.list_artifacts(decision.run_id, "decision")} == {
        f"decision/{name}" for name in ("roc.png", "reliability.png", "decision.json")
    }
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.digest == shelf.records.fingerprint
    later = Promotion.begin("retinopathy", shelf.large.version, LENIENT, shelf.home)
    assert later.earlier_decisions(later.judge()) == 1
    with pytest.raises(RegistryError, match="is the champion already; nothing was changed"):
        Promotion.begin("retinopathy", shelf.small.version, LENIENT, shelf.home)


def test_the_rule_is_asked_before_the_person_and_only_force_overrules_it(shelf: Any) -> None:
    strict = GateSettings(sensitivity_margin=0.0, auc_margin=0.0, first_auc=1.0)
    version = shelf.add(shelf.files)
    promotion = Promotion.begin("retinopathy", version.version, strict, shelf.home)
    found = promotion.judge()
    assert not found.passed

    def ask_nobody() -> bool:
        raise AssertionError

    refused = promotion.decide(found, confirmed=ask_nobody)
    declined = promotion.decide(found, force=True, reason="try it", confirmed=lambda: False)
    assert [(each.outcome, each.changed) for each in (refused, declined)] == [("refused", False), ("declined", False)]
    assert promotion.state == promotion.decisions.claims.state("retinopathy")
    forced = promotion.decide(found, force=True, reason="it is needed")
    assert (forced.outcome, forced.changed, forced.version) == ("forced", True, version.version)
    assert shelf.registry.named("retinopathy", "champion") == shelf.registry.version("retinopathy", version.version)


def test_patients_are_compared_and_scored_where_they_are_known(shelf: Any, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs"
    synthesize(pairs, 60, seed=8, image_px=(268, 178))
    table = pairs / "labels/train.csv"
    text = table.read_text()
    for i, file in enumerate(sorted((pairs / "images/train").iterdir())):
        name = f"{1 + i // 2}_{('left', 'right')[i % 2]}"
        file.rename(file.with_stem(name))
        text = text.replace(file.stem, name)
    table.write_text(text)
    found = contest(
        shelf.registry, shelf.small, shelf.large, GATE, replace(shelf.home, path=tmp_path), open_dataset([pairs])
    )
    assert found.champion is not None and found.comparison is not None
    assert found.challenger.patients is not None and found.champion.patients is not None
    assert found.challenger.patients.n == len(found.labels) / 2
    assert found.comparison.by_patients
    assert "Obuchowski's p" in found.paired()[0] and "by patients" in found.paired()[1]
    numbers = found.metrics()
    assert undocumented_metrics(set(numbers)) == set()
    assert numbers["test_patients"] == found.challenger.patients.n
    assert numbers["champion_patient_sensitivity"] == found.champion.patients.sensitivity.value
    assert "sensitivity of patients" in [row[0] for row in found.table()]
    assert json.loads(json.dumps(found.to_json()))["challenger"]["patients"]["n"] == found.challenger.patients.n
