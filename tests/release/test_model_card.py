"""The model card of a registered version: what it says, where it is, what it gains, and the checklists."""

import dataclasses
import json
import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from mlflow import MlflowClient
from registered import Made, make

from drsearch.data.records import open_records
from drsearch.errors import DrsearchError, RegistryError
from drsearch.measure.scores import Interval
from drsearch.release.checklist import CHECKLISTS
from drsearch.release.evaluate import evaluate
from drsearch.release.facts import markdown
from drsearch.release.model_card import (
    CARD_FILE,
    MOST_CHARACTERS,
    SECTIONS,
    ModelCard,
    add_to_card,
    read_card,
)
from drsearch.release.registry import ModelVersion, Registry
from drsearch.serving.grader import Grader
from drsearch.settings import Settings


@pytest.fixture(scope="module")
def made(eyes: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A study of one trial."""
    draws = [{"training.learning_rate": 0.01, "images.mask": 0.0}]
    return make(tmp_path_factory.mktemp("card"), eyes, settings.replace({"finetune.when": "never"}), draws)


@pytest.fixture(scope="module")
def registry(made: Made) -> Registry:
    return Registry(made.home.tracking_uri)


@pytest.fixture(scope="module")
def version(made: Made, registry: Registry) -> ModelVersion:
    return registry.version("retinopathy", made.result.model.version)


@pytest.fixture(scope="module")
def card(registry: Registry, version: ModelVersion) -> ModelCard:
    return read_card(registry, version)


def description(made: Made) -> str:
    client = MlflowClient(made.home.tracking_uri, made.home.tracking_uri)
    return client.get_model_version("retinopathy", "1").description


def test_the_card_says_what_the_study_its_records_and_its_scores_say(made: Made, card: ModelCard) -> None:
    records = open_records(next(path.parent for path in made.home.records.glob("[!.]*/manifest.json")))
    for split, counts in card.splits.items():
        of_records = records.counts[split]
        assert (counts.n, counts.referable) == (of_records["n"], of_records["RDR"])
        assert counts.grades == {str(grade): n for grade, n in of_records["grades"].items() if n}
    assert card.settings["model.width"] == 4 and "model.width" in card.changed
    assert card.test is not None and card.test.scores.to_json()["auc"] == made.result.test["auc"]
    assert {grade: of.to_json() for grade, of in card.test.grades.items()} == made.result.test["grades"]
    assert sum(of.n for of in card.test.grades.values()) == card.test.scores.n
    assert card.lineage["run"] == made.result.run_id and card.lineage["study"] == "rates"
    assert card.network.latency_ms > 0 and card.network.text in card.markdown()


def test_a_model_that_knows_the_five_grades_has_their_kappa(card: ModelCard) -> None:
    assert card.test is not None and "kappa" not in card.markdown()
    known = card.with_figures(dataclasses.replace(card.test, kappa=Interval(0.81, 0.72, 0.88)))
    assert "with a quadratic kappa of 0.810 [0.720, 0.880]." in known.markdown()
    assert ModelCard.from_json(known.to_json()) == known


def test_it_is_the_description_of_the_version_and_json_beside_the_model(
    made: Made, registry: Registry, version: ModelVersion, card: ModelCard
) -> None:
    assert description(made) == dataclasses.replace(card, version=0).description()
    assert len(description(made)) <= MOST_CHARACTERS
    assert description(made).startswith(f"The best checkpoint of trial 0, study `rates`: {card.network.text}.")
    assert ModelCard.from_json(json.dumps(json.loads(card.to_json()))) == card
    kept = registry.read_beside(version, CARD_FILE)
    assert kept is not None and dataclasses.replace(ModelCard.from_json(kept), version=1) == card


def test_a_long_card_gives_its_description_whole_sections_within_mlflows_limit(card: ModelCard) -> None:
    long = dataclasses.replace(card, selection="x" * MOST_CHARACTERS)
    text = long.description()
    assert len(text) <= MOST_CHARACTERS and "x" * 100 not in text
    assert "## Uses" in text and "## Training details" not in text and CARD_FILE in text.splitlines()[-1]


def test_the_licence_of_the_data_is_in_it(card: ModelCard) -> None:
    named = dataclasses.replace(card, data=(dataclasses.replace(card.data[0], licence="CC BY 4.0", source="clinic"),))
    assert "clinic" in named.markdown() and "CC BY 4.0" in named.markdown()
    assert "not named" in dataclasses.replace(card, data=(dataclasses.replace(card.data[0], licence=""),)).markdown()


def test_it_gains_what_is_measured_later_and_keeps_the_last_of_the_same_eyes(
    made: Made, registry: Registry, version: ModelVersion, card: ModelCard, tmp_path: Path
) -> None:
    assert "split validation" not in description(made)
    grader = Grader(registry.download(version.uri, tmp_path / "model"))
    records = open_records(made.home.records / grader.serving.fingerprint)
    for split in ("test", "validation"):
        judged = evaluate(grader, records, split, made.home, "a test of drsearch")  # type: ignore[arg-type]
        add_to_card(registry, version, judged.for_card(card.data_name, records.data_fingerprint))
    now = read_card(registry, version)
    assert [each.split for each in now.evaluated] == ["test", "validation"]
    assert now.test is not None and card.test is not None
    assert now.test.test_evaluations == card.test.test_evaluations + 1 and now.test.scores == card.test.scores
    assert "The test split was evaluated 2 times" in description(made) and "split validation" in description(made)


def test_a_version_without_a_card_is_refused_and_gains_nothing(
    registry: Registry, version: ModelVersion, card: ModelCard, made: Made, files: dict[str, Path]
) -> None:
    bare = registry.register("bare", version.run_id, files, {}, "by hand")
    assert card.test is not None
    add_to_card(registry, bare, card.test)
    with pytest.raises(RegistryError, match="models:/bare/1 has no model card: it was not registered by a study"):
        read_card(registry, bare)
    registry.write_beside(bare, {CARD_FILE: b'{"model": 3}'}, "torn")
    with pytest.raises(RegistryError, match="was written by another drsearch, or altered"):
        read_card(registry, bare)


def test_every_fact_of_a_card_stands_in_a_section(card: ModelCard) -> None:
    """`not_for` and its like cannot be lost by a name that is spelled in two ways."""
    named = {name for names in SECTIONS.values() for name in names}
    assert named >= set(card.facts())


ROWS = {"tripod-ai": (27, 52), "claim": (44, 44), "stard-ai": (40, 48)}


@pytest.mark.parametrize("name", CHECKLISTS)
def test_a_checklist_has_the_items_of_its_guideline_each_answered_or_marked(card: ModelCard, name: str) -> None:
    file = resources.files("drsearch") / "release" / "checklists" / f"{name}.toml"
    items = tomllib.loads(file.read_text(encoding="utf-8"))["items"]
    numbers = [item["number"] for item in items]
    assert (len({re.sub(r"\D", "", number) for number in numbers}), len(set(numbers))) == ROWS[name]
    known = {name for names in SECTIONS.values() for name in names}
    assert all(set(item.get("facts", ())) <= known for item in items)
    assert all(item.get("facts") or item.get("person") for item in items)
    filled = card.checklist(name)
    text = filled.markdown()
    for item in filled.items:
        _, _, rest = text.partition(f"**{item.number}. {item.topic}**")
        answer = (
            rest.partition("\n**")[0] if filled.status(item) == "filled in" else rest.partition("**To write:** ")[0]
        )
        assert rest, item.number
        assert (filled.status(item) == "to write") == (not answer.strip()), item.number
        assert filled.status(item) == "filled in" or filled.to_write(item)
    states = [filled.status(item) for item in filled.items]
    assert len(set(states)) == 3 and f"{states.count('to write')} to write" in filled.text
    assert [item["status"] for item in filled.to_json()["items"]] == states


def test_a_checklist_says_how_to_measure_what_was_not(card: ModelCard) -> None:
    (robustness,) = [item for item in card.checklist("claim").items if item.number == "30"]
    assert card.checklist("claim").status(robustness) == "to write"
    assert "`drsearch stress retinopathy/1 --data FOLDER`" in card.checklist("claim").to_write(robustness)


def test_the_score_table_of_a_checklist_is_that_of_the_card(card: ModelCard) -> None:
    lines = markdown([card.facts()["scores"]])
    assert "\n".join(lines) in card.checklist("stard-ai").markdown() and "\n".join(lines) in card.markdown()


def test_a_checklist_that_is_not_there_is_refused(card: ModelCard) -> None:
    with pytest.raises(DrsearchError) as refused:
        card.checklist("consort")
    assert str(refused.value) == "--checklist consort: write one of tripod-ai, claim, stard-ai."
