"""Is a full disk known by whatever words it comes, and waited for? Does a file appear whole, and replace none?"""

import errno
import os
import socket
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy.exc
from absl import logging

from drsearch import files as disk
from drsearch.files import (
    DiskFull,
    OutputError,
    check_outputs,
    fault,
    full_place,
    is_full,
    read_file,
    when_space,
    write_whole,
)

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
    assert str(told.value) == f"the disk that holds {tmp_path} is full; make space, and the same command resumes it."


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


def test_a_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.png", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"new"
    (tmp_path / "usual").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_a_file_that_exists_is_replaced_only_when_asked(tmp_path: Path) -> None:
    place = tmp_path / ("n" * 255)
    place.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_whole(place, b"new")
    assert place.read_bytes() == b"old"
    write_whole(place, b"new", replace=True)
    assert place.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [place]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "eye.jpg", tmp_path / "link.png"
    target.write_bytes(b"eye")
    link.symlink_to(target)
    with pytest.raises(FileExistsError):
        write_whole(link, b"new")
    write_whole(link, b"new", replace=True)
    assert (target.read_bytes(), link.read_bytes()) == (b"eye", b"new")


def test_a_file_system_without_hard_links_loses_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_whole(tmp_path / "a.png", b"new")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a.png", b"newer")
    assert (tmp_path / "a.png").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_cannot_be_written_whole_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "a.png", b"new", replace=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.png", b"old")]


@pytest.fixture
def eye(tmp_path: Path) -> Path:
    made = tmp_path / "eye.jpg"
    made.write_bytes(b"eye")
    return made


def refused(outputs: list[Path], inputs: list[Path], overwrite: bool = False) -> str:
    with pytest.raises(OutputError) as wrong:
        check_outputs(outputs, inputs, "--explain", overwrite=overwrite)
    return str(wrong.value)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_written_to_by_whatever_name(eye: Path, overwrite: bool) -> None:
    symbolic, hard = eye.with_name("symbolic.png"), eye.with_name("hard.png")
    symbolic.symlink_to(eye)
    os.link(eye, hard)
    for place in (eye, symbolic, hard, eye.parent / "." / ".." / eye.parent.name / eye.name):
        assert refused([place], [eye], overwrite) == (
            f"--explain {place}: would overwrite the photograph {eye}; name another place."
        )
    assert "would overwrite" in refused([eye], [symbolic], overwrite)


def test_a_file_that_exists_needs_a_word(eye: Path) -> None:
    there, dangling = eye.with_name("cam.png"), eye.with_name("dangling.png")
    there.write_bytes(b"mine")
    dangling.symlink_to(eye.with_name("nowhere"))
    for place in (there, dangling):
        said = refused([place], [eye])
        assert said == f"--explain {place}: exists already; name another place, or add --overwrite."
        check_outputs([place], [eye], "--explain", overwrite=True)


def test_two_outputs_need_two_places(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    inputs = [tmp_path / "left/1.jpg", tmp_path / "right/1.jpg"]
    for second in ("out/1.png", "link/out/1.png", "out/../out/1.png"):
        assert refused([tmp_path / "out/1.png", tmp_path / second], inputs) == (
            f"--explain: {inputs[0]} and {inputs[1]} would both be written to {tmp_path / second}; "
            "give them in two commands, with a folder each."
        )
    assert "would both" in refused([tmp_path / "Ä.png", tmp_path / "ä.PNG"], inputs)
    check_outputs([tmp_path / "a/1.png", tmp_path / "b/1.png"], inputs, "--explain", overwrite=False)


def test_a_place_where_nothing_can_be_written_is_refused_first(eye: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = eye.with_name("folder")
    folder.mkdir()
    assert refused([folder], [eye]) == f"--explain {folder}: is a folder; name a file."
    assert refused([eye / "cam.png"], [eye]) == f"--explain: {eye} is no folder; name another place."
    check_outputs([folder / "new/deep/cam.png"], [eye], "--explain", overwrite=False)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert refused([folder / "new/cam.png"], [eye]) == (
        f"--explain: {folder} cannot be written to; name another place."
    )


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "it is a folder, not a file"),
        (os.mkfifo, "it is a named pipe, not a file"),
        (make_socket, "it is a socket, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a file"),
    ],
    ids=["folder", "pipe", "socket", "device"],
)
def test_only_regular_files_are_opened(make: Callable[[Path], None], reason: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError) as refused:
        read_file(tmp_path / "x")
    assert refused.value.strerror == reason


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link") == b"abc"
