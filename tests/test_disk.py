"""Is a full disk known by whatever words it comes, and waited for?"""

import errno
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy.exc
from absl import logging

from drsearch import disk
from drsearch.disk import DiskFull, fault, full_place, is_full, when_space

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


HOME = Path("/data/home")


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (OSError(errno.EACCES, "x", "/a/b"), "/a/b: permission denied; "),
        (OSError(errno.ENOTDIR, "x", "/a/b"), "/a/b: a part of this path is a file where a folder must be; "),
        (OSError(errno.EISDIR, "x", "/a/b"), "/a/b: is a folder where a file must be; "),
        (OSError(errno.ENAMETOOLONG, "x", "/a/b"), "/a/b: the name is too long for this disk; "),
        (OSError(errno.EROFS, "x", "/a/b"), "/a/b: the disk is read-only; "),
        (OSError(errno.EFBIG, "x"), "/data/home: the file would be larger than the limit on file sizes; "),
        (OSError(errno.EMFILE, "x", "/a/b"), "/a/b: too many files are open; "),
        (OSError(errno.EIO, "x"), "/data/home: the disk answers with an input/output error; "),
        (
            OSError("(unable to open file: name = '/a/b.h5', error message = 'Permission denied')"),
            "/a/b.h5: permission ",
        ),
        (
            sqlite3.OperationalError("attempt to write a readonly database"),
            "/data/home: permission denied to write the ",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "no temporary file can be ",
        ),
    ],
)
def test_a_fault_of_the_file_system_is_one_sentence_with_its_path(wrong: Exception, text: str) -> None:
    assert fault(wrong, HOME).startswith(text)
    later = RuntimeError("could not be written")
    later.__cause__ = wrong
    assert fault(later, HOME) == fault(wrong, HOME)


@pytest.mark.parametrize(
    "bug",
    [
        OSError(errno.EACCES, "Permission denied"),  # of no path
        FileNotFoundError(errno.ENOENT, "x", "/data/home/forgotten"),
        FileExistsError(errno.EEXIST, "x", "/"),  # a folder that is one
        OSError(errno.EBADF, "Bad file descriptor"),
        KeyError("Permission denied"),
        ValueError("x"),
    ],
)
def test_what_may_be_a_bug_is_no_sentence(bug: Exception) -> None:
    assert fault(bug, HOME) == ""


def test_a_link_that_leads_nowhere_is_named_with_its_end(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/no/such/place")
    with pytest.raises(FileNotFoundError) as wrong:
        link.read_bytes()
    assert fault(wrong.value).startswith(f"{link}: is a link to /no/such/place, which is not there; ")


def test_of_a_copy_the_disk_that_was_written_is_named(tmp_path: Path) -> None:
    copied = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a"), None, "/elsewhere/tmp/b")
    assert full_place(copied, tmp_path) == "/elsewhere/tmp/b"
    assert full_place(OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a")), tmp_path) == tmp_path


def test_a_lock_that_others_hold_is_named_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(disk, "_LOCK_SAID_S", 0.0)
    with open(tmp_path / "a.lock", "w") as held, open(tmp_path / "a.lock", "w") as wanted:
        disk.lock(held)

        def let_go(text: str, *values: object) -> None:
            said.append(text % values)
            held.close()

        monkeypatch.setattr(logging, "warning", let_go)
        disk.lock(wanted)
    assert said == [
        f"waiting for {tmp_path / 'a.lock'}, which another process holds (`fuser -v {tmp_path / 'a.lock'}` names it)"
    ]
