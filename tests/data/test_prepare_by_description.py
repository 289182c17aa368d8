"""What labels say beside grades, in the records: edema, photographs that cannot be graded, splits, sources."""

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import drsearch
from drsearch.data.prepare import Prepared, prepare
from drsearch.data.records import read_eyes
from drsearch.datasets.given import Naming, open_dataset
from drsearch.errors import DataError, SettingsError
from drsearch.home import Home
from drsearch.settings import Settings

SMALL = Settings().replace({"images.image_px": 32})


def rows_of(eyes: Path) -> list[dict[str, str]]:
    with (eyes / "labels/train.csv").open() as file:
        return list(csv.DictReader(file))


def clinic(eyes: Path, rows: list[dict[str, Any]]) -> Path:
    """The photographs of a synthetic set under a table of another clinic."""
    (eyes / "labels/train.csv").unlink()
    with (eyes / "clinic.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return eyes


def prepared(eyes: Path, home: Home, changes: dict[str, Any] | None = None, **named: str) -> Prepared:
    naming = Naming(labels="clinic.csv", image_column="file", grade_column="dr", **named)  # type: ignore[arg-type]
    return prepare(open_dataset([eyes], naming), SMALL.replace(changes or {}), home)


def test_photographs_that_nobody_could_grade_are_counted_and_stop_nothing(eyes: Path, home: Home) -> None:
    rows = [
        {"file": row["Image name"], "dr": "" if i < 5 else row["Retinopathy grade"], "gradable": int(i >= 5)}
        for i, row in enumerate(rows_of(eyes))
    ]
    (eyes / f"images/train/{rows[0]['file']}.jpg").write_bytes(b"no picture")  # nor is it read
    done = prepared(clinic(eyes, rows), home, quality_column="gradable")
    assert (done.records.n_ungradable, len(done.audit.ungradable), done.audit.bad) == (5, 5, ())
    recorded = {eye.name for eye in done.records.eyes("train", "validation", "test")}
    assert recorded == {row["file"] for row in rows[5:]}
    assert done.audit.n_photographs == len(rows)


def test_macular_edema_is_referable_where_the_settings_say_so(eyes: Path, home: Home) -> None:
    rows = [
        {"file": row["Image name"], "dr": row["Retinopathy grade"], "dme": "yes" if i % 3 == 0 else "no"}
        for i, row in enumerate(rows_of(eyes))
    ]
    clinic(eyes, rows)
    edema = {row["file"]: row["dme"] == "yes" for row in rows}
    without = prepared(eyes, home, edema_column="dme").records
    having = prepared(eyes, home, {"task.edema": True}, edema_column="dme").records
    assert without.fingerprint != having.fingerprint and without.data_fingerprint != having.data_fingerprint
    for records, counts in ((without, False), (having, True)):
        for eye in records.eyes("train", "validation", "test"):
            assert eye.label == int(eye.grade >= 2 or (counts and edema[eye.name]))
            assert eye.edema == edema[eye.name]
        read = read_eyes(records, "train").some(slice(2, 5))
        assert read.edema == tuple(edema[name] for name in read.names) and len(read.names) == 3
    assert having.task.words == "grade 2 or higher, or macular edema"


def test_macular_edema_without_a_column_of_it_is_refused(eyes: Path, home: Home) -> None:
    clinic(eyes, [{"file": row["Image name"], "dr": row["Retinopathy grade"]} for row in rows_of(eyes)])
    with pytest.raises(DataError) as refused:
        prepared(eyes, home, {"task.edema": True})
    assert str(refused.value) == (
        f"task.edema = True, but no label of {eyes} says whether an eye has macular edema: name its column with"
        " --edema-column, or leave the setting out."
    )


def test_another_grade_can_be_the_lowest_that_is_referable(eyes: Path, home: Home) -> None:
    for lowest in (2, 3):
        records = prepare(open_dataset([eyes]), SMALL.replace({"task.referable_from": lowest}), home).records
        listed = records.eyes("train", "validation", "test")
        assert [eye.label for eye in listed] == [int(eye.grade >= lowest) for eye in listed]
    with pytest.raises(SettingsError, match="task.referable_from = 0: expected a whole number from 1 to 4"):
        SMALL.replace({"task.referable_from": 0})


def test_splits_of_a_column_are_kept_and_the_manifest_says_how_each_was_made(eyes: Path, home: Home) -> None:
    rows = [
        {"file": row["Image name"], "dr": row["Retinopathy grade"], "use": "test" if i % 2 else "train"}
        for i, row in enumerate(rows_of(eyes))
    ]
    records = prepared(clinic(eyes, rows), home, split_column="use").records
    in_test = {eye.name for eye in records.eyes("test")}
    assert in_test == {row["file"] for row in rows if row["use"] == "test"}
    assert records.manifest["split"] == {
        "test": "as published",
        "validation": "0.2 of the photographs published for training, contiguous by file name",
    }


def test_pooled_sets_are_counted_by_source_and_their_description_makes_the_same_records(
    eyes: Path, home: Home, tmp_path: Path
) -> None:
    other = eyes.rename(tmp_path / "other")
    drsearch.synthesize(tmp_path / "second", images=40, seed=9)
    done = prepare(open_dataset([other, tmp_path / "second"], Naming(name="pooled")), SMALL, home)
    counts = Counter(eye.source for eye in done.records.eyes("train", "validation", "test"))
    assert counts == {source: sum(of["n"] for of in splits.values()) for source, splits in done.records.sources.items()}
    assert set(counts) == {"other", "second"}
    again = prepare(open_dataset([done.records.description_path]), SMALL, home)
    assert again.reused and again.records == done.records


def test_excluded_photographs_are_named_as_left_out(eyes: Path, home: Home, tmp_path: Path) -> None:
    dataset = open_dataset([eyes])
    description = replace(dataset.source.sets[0], exclude=("SYN_001",))
    (tmp_path / "data.toml").write_text(replace(dataset.source, sets=(description,)).to_toml())
    done = prepare(open_dataset([tmp_path / "data.toml"]), SMALL, home)
    assert ("images/train/SYN_001.jpg", "excluded by the description of the data set") in done.audit.left_out
    assert "SYN_001" not in {eye.name for eye in done.records.eyes("train", "validation", "test")}


def test_a_table_in_memory_is_read_as_one_on_disk_and_stays_readable(
    eyes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRSEARCH_HOME", str(tmp_path / "home"))
    frame = pd.DataFrame(rows_of(eyes)).rename(columns={"Image name": "file", "Retinopathy grade": "dr"})
    (eyes / "labels/train.csv").unlink()
    data = drsearch.prepare(
        eyes,
        labels=frame,
        image_column="file",
        grade_column="dr",
        name="mine",
        settings={"images.image_px": 32},
        progress=False,
    )
    assert repr(data).startswith("<Data mine: ")
    again = drsearch.prepare(data.records.description_path, settings={"images.image_px": 32}, progress=False)
    assert again.prepared.reused and again.fingerprint == data.fingerprint
    with pytest.raises(drsearch.DrsearchError, match="is read already; give its folder to name columns by hand"):
        drsearch.prepare(data, grade_column="dr")
