"""What of a home can go, and what stays?"""

import os
import socket
from pathlib import Path

import pytest
from mlflow import MlflowClient

from drsearch.data.prepare import prepare
from drsearch.data.records import map_eyes
from drsearch.datasets.given import open_dataset
from drsearch.files import lock
from drsearch.home import Home
from drsearch.processes import this_process
from drsearch.settings import Settings
from drsearch.study.cleaning import Kept, find_kept, remove
from drsearch.study.definition import StudyDefinition, images_key, open_study, study_folder
from drsearch.tracking.tags import RECORDS_FINGERPRINT_TAG
from drsearch.trials.storage import open_storage

UID = "a" * 32


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Home(tmp_path / "home")


def can_go(found: list[Kept]) -> dict[str, set[str]]:
    return {each.kind: {path.name for path, _ in each.unneeded} for each in found if each.unneeded}


def test_what_is_made_again_can_go_and_what_studies_and_versions_need_stays(eyes: Path, home: Home) -> None:
    settings = {px: Settings().replace({"images.image_px": px}) for px in (32, 40, 48)}
    records = {px: prepare(open_dataset([eyes]), each, home).records for px, each in settings.items()}
    of_study, of_version, of_nobody = (each.fingerprint for each in records.values())
    map_eyes(records[32], home, "train")
    storage = open_storage(home.storage_url)
    definition = StudyDefinition(
        UID, "space.py", "", settings[32], "eyes", "/eyes", "0" * 64, {images_key(settings[32].images): of_study}, {}
    )
    open_study(storage, "mine", definition, 2)
    client = MlflowClient(home.local_tracking_uri, home.local_tracking_uri)
    client.create_registered_model("retinopathy")
    client.create_model_version("retinopathy", str(home.artifacts), tags={RECORDS_FINGERPRINT_TAG: of_version})
    runs = study_folder(home, "mine", UID)
    for trial in ("trial-0000", "trial-0001"):
        (runs / trial / "checkpoint").mkdir(parents=True)
        (runs / trial / "checkpoint" / "latest.npz").write_bytes(b"x" * 100)
    (runs / "trial-0000" / "outcome.json").write_text("{}")
    (home.features / "net-1").mkdir(parents=True)

    (runs / "trial-0001" / "owner").write_text(f"1@{this_process()}")
    while_running = can_go(find_kept(storage, home))
    assert not {"features of frozen backbones", "records"} & while_running.keys()
    assert while_running["checkpoints"] == {"checkpoint"}
    (runs / "trial-0001" / "owner").unlink()

    found = find_kept(storage, home)
    assert can_go(found) == {
        "decoded images": {of_study},
        "features of frozen backbones": {"net-1"},
        "records": {of_nobody},
        "checkpoints": {"checkpoint"},
    }
    n_bytes = sum(each.unneeded_bytes for each in found)
    assert remove(found, home) == n_bytes > 0
    assert can_go(find_kept(storage, home)) == {}
    assert {path.name for path in home.records.iterdir()} == {of_study, of_version}
    assert [path.parent.name for path in runs.rglob("checkpoint")] == ["trial-0001"]


def test_records_stay_where_a_study_of_another_database_may_need_them(eyes: Path, home: Home) -> None:
    prepare(open_dataset([eyes]), Settings().replace({"images.image_px": 32}), home)
    (home.runs / "elsewhere-01234567" / "trial-0000").mkdir(parents=True)
    (records,) = [each for each in find_kept(None, home) if each.kind == "records"]
    assert not records.unneeded and "elsewhere-01234567 is in another database" in records.why


def test_records_stay_where_their_photographs_are_gone(eyes: Path, home: Home, tmp_path: Path) -> None:
    moved = tmp_path / "eyes"
    moved.symlink_to(eyes)
    prepare(open_dataset([moved]), Settings().replace({"images.image_px": 32}), home)
    assert "records" in can_go(find_kept(None, home))
    moved.unlink()
    (description,) = home.records.glob("*/data.toml")
    description.write_text(description.read_text().replace(str(eyes), str(moved)))
    assert "records" not in can_go(find_kept(None, home))


def test_what_a_killed_preparation_has_read_can_go_and_what_a_living_one_reads_stays(home: Home) -> None:
    machine, (dead, living) = socket.gethostname(), (2**22 + 1, os.getpid())
    for pid in (dead, living):
        folder = home.records / f".partial-{machine}-{pid}-01234567"
        folder.mkdir(parents=True)
        (folder / "spool").write_bytes(b"x" * 100)
    found = find_kept(None, home)
    assert can_go(found) == {"half-made records": {f".partial-{machine}-{dead}-01234567"}}
    assert remove(found, home) == 100
    assert [path.name for path in home.records.iterdir()] == [f".partial-{machine}-{living}-01234567"]


def test_images_that_are_being_decoded_stay(home: Home) -> None:
    folder = home.decoded / "0123456789abcdef"
    folder.mkdir(parents=True)
    with (folder / "train-0.lock").open("w") as waiting:
        lock(waiting)
        assert remove(find_kept(None, home), home) == 0
        assert folder.is_dir()
    remove(find_kept(None, home), home)
    assert not folder.exists()
