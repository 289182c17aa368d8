import dataclasses
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from drsearch.data.mapped_images import MappedImages, map_images, on_this_machine, temporary_folder
from drsearch.data.prepare import prepare
from drsearch.data.records import Eyes, RecordSet, joined, map_eyes, read_eyes
from drsearch.datasets.given import open_dataset
from drsearch.home import Home
from drsearch.settings import Settings

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)


@pytest.fixture
def records(eyes: Path, home: Home) -> RecordSet:
    return prepare(open_dataset([eyes]), Settings().replace({"images.image_px": 48}), home).records


def assert_same(one: Eyes, other: Eyes) -> None:
    for field in dataclasses.fields(Eyes):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        if field.name == "boxes":
            assert list(ours) == list(theirs)
        else:
            assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_mapped_eyes_are_those_of_the_records(records: RecordSet, home: Home) -> None:
    arrays = read_eyes(records, "train"), read_eyes(records, "validation")
    mapped = map_eyes(records, home, "train"), map_eyes(records, home, "validation")
    assert all(isinstance(each.images, MappedImages) for each in mapped)
    for one, other in zip(mapped, arrays, strict=True):
        assert_same(one, other)
    held_out = np.arange(len(joined(*arrays).names)) % 3 == 0
    assert_same(joined(*mapped).some(held_out), joined(*arrays).some(held_out))


def test_rows_are_read_as_those_of_an_array() -> None:
    halves = MappedImages.joined([MappedImages([IMAGES[:4]]), MappedImages([IMAGES[4:]])])
    some = np.array([5, 0, 3, 0])
    for mapped, array in ((halves, IMAGES), (halves.some(some), IMAGES[some])):
        assert len(mapped) == len(array) and mapped.shape == array.shape
        for which in (slice(1, 3), slice(None, None, 2), np.array([3, 1]), array[:, 0, 0, 0] > 99, slice(0, 0)):
            assert np.array_equal(mapped[which], array[which])
        assert np.array_equal(mapped[-1], array[-1]) and np.array_equal(np.stack(list(mapped)), array)
        with pytest.raises(IndexError):
            mapped[len(array)]


def test_workers_that_ask_at_once_decode_once(tmp_path: Path) -> None:
    made = []

    def images() -> Iterator[NDArray[np.uint8]]:
        made.append("once")
        yield from IMAGES

    with ThreadPoolExecutor(4) as threads:
        workers = [threads.submit(map_images, tmp_path / "a.npy", IMAGES.shape, images) for _ in range(4)]
        assert all(np.array_equal(worker.result(), IMAGES) for worker in workers)
    assert made == ["once"]


@pytest.mark.parametrize("altered", [b"", b"no file of ours", slice(0, -1)])
def test_a_file_that_is_not_whole_is_made_again(tmp_path: Path, altered: bytes | slice) -> None:
    path = tmp_path / "a.npy"
    map_images(path, IMAGES.shape, lambda: IMAGES)
    path.write_bytes(altered if isinstance(altered, bytes) else path.read_bytes()[altered])
    assert np.array_equal(map_images(path, IMAGES.shape, lambda: IMAGES), IMAGES)


def test_images_that_cannot_be_written_are_held_in_memory(
    records: RecordSet, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        mapped = map_eyes(records, home, "train")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(mapped.images, np.ndarray)
    assert_same(mapped, read_eyes(records, "train"))
    assert not list(home.decoded.rglob("*.npy")) and not list(home.decoded.rglob("*.part"))
    (message,) = [record.getMessage() for record in caplog.records if "each holds its own" in record.getMessage()]
    assert "File too large" in message


@pytest.mark.parametrize(("kind", "is_local"), [("ext4", True), ("nfs4", False), ("fuse.sshfs", False)])
def test_a_network_disk_is_not_mapped(
    tmp_path: Path, kind: str, is_local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disks(all: bool) -> list[Any]:
        return [SimpleNamespace(mountpoint=place, fstype=one) for place, one in (("/", "ext4"), (str(tmp_path), kind))]

    monkeypatch.setattr(psutil, "disk_partitions", disks)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / "home" / "decoded"
    assert on_this_machine(folder) == (folder if is_local else temporary_folder())
    if not is_local:
        assert temporary_folder().stat().st_mode & 0o777 == 0o700
        temporary_folder().chmod(0o755)
        with pytest.raises(PermissionError, match="TMPDIR"):
            on_this_machine(folder)
