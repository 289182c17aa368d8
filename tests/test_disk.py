"""Is a full disk known by whatever words it comes, and waited for?"""

import errno
from pathlib import Path

import pytest
import sqlalchemy.exc
from absl import logging

from drsearch import disk
from drsearch.disk import DiskFull, is_full, when_space

FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_known_by_its_number_its_words_and_its_causes() -> None:
    assert is_full(FULL)
    assert is_full(OSError(errno.EDQUOT, "over quota"))
    assert is_full(sqlalchemy.exc.OperationalError("INSERT", {}, Exception("database or disk is full")))
    caused = ValueError("cannot save")
    caused.__cause__ = RuntimeError("file write failed: error message = 'No space left on device'")
    assert is_full(caused)
    assert not is_full(OSError(errno.EACCES, "Permission denied"))


def test_space_is_waited_for_with_one_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    now = [0.0]
    monkeypatch.setattr(disk.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(disk.time, "monotonic", lambda: now[0])
    tries: list[float] = []

    def write() -> str:
        tries.append(now[0])
        if len(tries) < 5:
            raise FULL
        return "written"

    assert when_space(write, tmp_path, lambda: False) == "written"
    assert said == [f"the disk that holds {tmp_path} is full; waiting for space"]
    assert tries == [0.0, 1.0, 3.0, 7.0, 15.0]


def test_who_is_asked_to_stop_waits_no_more(tmp_path: Path) -> None:
    def write() -> None:
        raise FULL

    with pytest.raises(DiskFull) as told:
        when_space(write, tmp_path, lambda: True)
    assert str(told.value) == f"the disk that holds {tmp_path} is full; make space, and the same command goes on."


def test_another_error_is_raised_at_once(tmp_path: Path) -> None:
    def write() -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(PermissionError):
        when_space(write, tmp_path, lambda: False)
