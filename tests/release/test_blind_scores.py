"""The lesion-blind baseline of a record set: computed once, without a look at the test split."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from drsearch.data.prepare import prepare
from drsearch.data.records import RecordSet, count_test_evaluations, read_eyes, read_in_pieces, read_test_eyes
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.release.blind_scores import blind_outcome, model_beside_blind
from drsearch.settings import Settings


@pytest.fixture(scope="session")
def red_records(eyes: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> RecordSet:
    """The eyes four times, on one side in the light of another camera where they are referable; four eyes a shard."""
    folder = tmp_path_factory.mktemp("red")
    (folder / "images/train").mkdir(parents=True)
    (folder / "labels").mkdir()
    with (eyes / "labels/train.csv").open() as table:
        header, *rows = list(csv.reader(table))
    drawn, labels = np.random.default_rng(1), [header]
    for copy in range(4):
        for row in rows:
            image = cv2.imread(str(eyes / f"images/train/{row[0]}.jpg")).astype(np.float64)
            light = drawn.normal(0, 0.02, 3) + (0.6 if int(row[1]) > 1 else 0.9, 0.9, 0.9)
            name = f"{row[0]}{copy}"
            image = cv2.flip(image, copy - 1) if copy < 3 else image
            cv2.imwrite(str(folder / f"images/train/{name}.jpg"), (image * light).clip(0, 255).astype(np.uint8))
            labels.append([name, *row[1:]])
    with (folder / "labels/train.csv").open("w", newline="") as table:
        csv.writer(table).writerows(labels)
    with pytest.MonkeyPatch.context() as shards:
        shards.setattr("drsearch.data.prepare.SHARD_EYES", 4)
        return prepare(open_dataset([folder]), settings, Home(folder / "home")).records


def test_a_camera_that_tells_the_label_is_found_and_kept_with_the_records(red_records: RecordSet) -> None:
    outcome = blind_outcome(red_records)
    assert outcome.scores is not None
    assert outcome.scores.auc.value > 0.95
    assert outcome.scores.n == red_records.counts["validation"]["n"]
    assert outcome.n_train == red_records.counts["train"]["n"]
    kept = red_records.folder / "blind_baseline.json"
    before = kept.stat().st_mtime_ns
    assert blind_outcome(red_records) == outcome
    assert kept.stat().st_mtime_ns == before
    assert f"AUC {outcome.scores.auc}" in outcome.text
    assert json.loads(json.dumps(outcome.to_json()))["scores"]["auc"]["value"] == outcome.scores.auc.value


@pytest.mark.parametrize("torn", ["{", "7", '{"version": 1, "scores": {"auc": 1}}'])
def test_a_torn_file_is_made_anew(red_records: RecordSet, tmp_path: Path, torn: str) -> None:
    folder = shutil.copytree(red_records.folder, tmp_path / "copy")
    copy = RecordSet(folder, red_records.manifest)
    (folder / "blind_baseline.json").write_text(torn)
    assert blind_outcome(copy) == blind_outcome(red_records)


def test_pieces_are_the_split_and_a_part_of_it_is_spread_over_it(red_records: RecordSet) -> None:
    whole = read_eyes(red_records, "train")
    pieces = list(read_in_pieces(red_records, "train", 10**6))
    assert sum((piece.names for piece in pieces), ()) == whole.names
    assert np.array_equal(np.concatenate([piece.images for piece in pieces]), whole.images)
    few = [piece.names[0] for piece in read_in_pieces(red_records, "train", 3 * 64)]
    n = len(pieces)
    assert few == [pieces[place].names[0] for place in (0, n // 3, 2 * n // 3)]
    assert len(list(read_in_pieces(red_records, "train", 1))) == 1


def test_a_model_is_shown_beside_it_on_the_test_eyes(red_records: RecordSet, tmp_path: Path) -> None:
    home = Home(tmp_path)
    eyes = read_test_eyes(red_records, home, "a test of drsearch")
    right, guessed = 0.2 + 0.6 * eyes.labels, np.random.default_rng(0).random(len(eyes.labels))
    beside = model_beside_blind(red_records, eyes, right)
    assert not isinstance(beside, str)
    assert beside.auc.difference.value == pytest.approx(1 - beside.scores.auc.value)
    poor = model_beside_blind(red_records, eyes, guessed)
    assert not isinstance(poor, str)
    assert poor.caution
    assert count_test_evaluations(red_records, home) == 1


def test_a_split_without_a_class_has_a_reason_instead(eyes: Path, settings: Settings, tmp_path: Path) -> None:
    folder = shutil.copytree(eyes, tmp_path / "healthy")
    table = folder / "labels/train.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *(row for row in rows if row.split(",")[1] in "01")]) + "\n")
    dataset = open_dataset([folder])
    records = prepare(dataset, settings, Home(tmp_path / "home"), skip_bad=True, for_training=False).records
    outcome = blind_outcome(records)
    assert outcome.scores is None
    assert outcome.why_not == "the train eyes have no RDR"
    assert blind_outcome(records) == outcome
    assert outcome.text == "lesion-blind baseline: none: the train eyes have no RDR"
    seen = read_eyes(records, "validation")
    assert model_beside_blind(records, seen, np.full(len(seen.labels), 0.5)) == "the scored eyes have no RDR"
