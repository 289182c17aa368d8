"""Reading and writing files: a full disk is waited for, any other fault becomes one sentence with its path.

Files are written whole or not at all, and never in the place of another file without being told to.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from absl import logging

from drsearch.errors import DrsearchError
from drsearch.waiting import growing_pauses, pause

T = TypeVar("T")

_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
_LOCK_SAID_S = 3.0


class DiskFull(DrsearchError, OSError):
    """The disk is full, and whoever waited for space was asked to stop."""


def is_full(wrong: BaseException) -> bool:
    """Whether an error, or one that it came from, says that no space is left: HDF5 and SQLite have words of their own.

    Example:
        >>> is_full(OSError(errno.ENOSPC, "No space left on device")), is_full(ValueError("full of hope"))
        (True, False)
    """
    error: BaseException | None = wrong
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(words in str(error) for words in _FULL_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def sentence(where: Path | str) -> str:
    """The sentence about a full disk, without its end."""
    return f"the disk that holds {where} is full"


_OWNER = "give the user who runs this the right to it, or name another place"
# A path must be known for these: without one, the error may as well be a bug.
_OF_A_PATH = {
    errno.EACCES: f"permission denied; {_OWNER}",
    errno.EPERM: f"permission denied; {_OWNER}",
    errno.ENOTDIR: "a part of this path is a file where a folder must be; remove the file, or name another place",
    errno.EISDIR: "is a folder where a file must be; remove it, or name another place",
    errno.EEXIST: "is a file where a folder must be; remove it, or name another place",
    errno.ENAMETOOLONG: "the name is too long for this disk; take a shorter one",
    errno.ELOOP: "is a link that leads to itself; remove it",
}
# These come from the machine, whatever the program does.
_OF_THE_MACHINE = {
    errno.EROFS: "the disk is read-only; name a place that can be written",
    errno.EFBIG: "the file would be larger than the limit on file sizes; raise it (ulimit -f)",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; close some, or raise the limit (fs.file-max)",
    errno.EIO: "the disk answers with an input/output error; look at the system's log",
    errno.ESTALE: "the network disk has lost the file; mount it anew",
}
# What HDF5, SQLite and TensorFlow say instead of a number.
_WORDS = {
    "Permission denied": errno.EACCES,
    "Read-only file system": errno.EROFS,
    "File too large": errno.EFBIG,
    "Too many open files": errno.EMFILE,
    "Input/output error": errno.EIO,
}
_NAMED = re.compile(r"name = '([^']+)'|^(/[^;:]+); ")
_READ_ONLY_DATABASE = "attempt to write a readonly database"  # SQLite
_NO_TEMPORARY = "No usable temporary directory found"


def fault(wrong: BaseException, home: Path | None = None) -> str:
    """The sentence about an error of the file system that its user can mend; empty for every other error.

    Args:
        wrong: The error; its causes count too.
        home: Where the program writes, for errors that do not say where they happened.

    Example:
        >>> fault(PermissionError(errno.EACCES, "Permission denied", "/home/ann/eyes"))[:34]
        '/home/ann/eyes: permission denied;'
        >>> fault(OSError("no number and no path")), fault(ValueError("x"))
        ('', '')
    """
    if is_full(wrong):
        return f"{sentence(full_place(wrong, home))}; make space, and give the same command again."
    error: BaseException | None = wrong
    while error is not None:
        if text := _fault(error, home):
            return text
        error = error.__cause__ or error.__context__
    return ""


def _fault(error: BaseException, home: Path | None) -> str:
    if isinstance(error, OSError) and _NO_TEMPORARY in str(error):
        return f"no temporary file can be written ({', '.join(_temporary_places())}); make space or set TMPDIR."
    if _READ_ONLY_DATABASE in str(error):
        return f"{home or 'a database'}: permission denied to write the database there; {_OWNER}."
    number, path = None, ""
    if isinstance(error, OSError) and error.errno is not None:
        number, path = error.errno, os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    elif isinstance(error, OSError) or not isinstance(error, ArithmeticError | LookupError | TypeError):
        number = next((number for words, number in _WORDS.items() if words in str(error)), None)
        if named := _NAMED.search(str(error)):
            path = named[1] or named[2]
    if number == errno.ENOENT and os.path.islink(path):
        return f"{path}: is a link to {os.readlink(path)}, which is not there; bring that back, or remove the link."
    if number in _OF_THE_MACHINE:
        return f"{path or home or 'a file'}: {_OF_THE_MACHINE[number]}."
    if number in _OF_A_PATH and path and not (number == errno.EEXIST and os.path.isdir(path)):
        return f"{path}: {_OF_A_PATH[number]}."
    return ""


def full_place(wrong: BaseException, home: Path | None) -> Path | str:
    """The place whose disk is full.

    Args:
        wrong: An error for which `is_full` is true; mostly it does not say where it happened.
        home: Where the program writes; the folder of temporary files is another candidate.
    """
    error: BaseException | None = wrong
    while error is not None:
        if isinstance(error, OSError) and isinstance(error.filename, str):
            written = str(error.filename2 or error.filename)  # of a copy, the second
            inside = home is not None and Path(written).is_relative_to(home)
            return home if home is not None and inside else written
        error = error.__cause__ or error.__context__
    places = [*([home] if home else []), *map(Path, _temporary_places())]
    return min(places, key=_space)


def _temporary_places() -> list[str]:
    return [tempfile.tempdir] if tempfile.tempdir else [os.environ.get("TMPDIR", "") or "/tmp"]


def _space(place: Path) -> int:
    try:
        status = os.statvfs(place)
    except OSError:
        return sys.maxsize
    return status.f_bavail * status.f_frsize


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_file(path: Path) -> bytes:
    """The bytes of a regular file; nothing else is opened, because a named pipe or a device can block for ever.

    Raises:
        OSError: If the file cannot be read, or is a folder, a named pipe, a socket or a device.
    """
    check_file(path)
    return path.read_bytes()


def check_file(path: Path) -> None:
    """Refuse what is no regular file, or may not be opened.

    Raises:
        OSError: As `read_file`.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))
    with path.open("rb"):
        pass


def lock(file: IO[Any], exclusive: bool = True, give_up: Callable[[], bool] = lambda: False) -> None:
    """Wait for the lock on an open file, and say so if that takes long; it goes when the file is closed.

    Args:
        file: Its name tells which lock is waited for.
        exclusive: Whether nobody else may have it, not even shared.
        give_up: Whether to wait no longer; asked whenever another process has the lock.

    Raises:
        TimeoutError: If `give_up` said so; no lock is held then.
        KeyboardInterrupt: Where Ctrl-C is not handled otherwise; no lock is held then.
    """
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    began, said = time.monotonic(), False
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if give_up():
                raise TimeoutError(f"another process holds {file.name}") from None
            if not said and time.monotonic() - began > _LOCK_SAID_S:
                said = True
                logging.warning(
                    "waiting for %s, which another process holds (`fuser -v %s` names it)", file.name, file.name
                )
            time.sleep(0.02)
        else:
            return


def when_space(write: Callable[[], T], where: Path, stop_asked: Callable[[], bool]) -> T:
    """The result of `write`, tried again with growing pauses while the disk is full: one warning, then patience.

    Args:
        write: Leaves nothing half-written behind that a second call would not put right.
        where: What it writes into.
        stop_asked: Whether to give up waiting; asked several times per second.

    Raises:
        DiskFull: If it was asked to stop while the disk was full.
    """
    pauses, waited = growing_pauses(), False
    while True:
        try:
            result = write()
        except Exception as wrong:
            if not is_full(wrong):
                raise
            text = sentence(full_place(wrong, where))
            if not waited:
                logging.warning("%s; waiting for space", text)
            waited = True
            if pause(next(pauses), stop_asked):
                raise DiskFull(f"{text}; make space, and the same command resumes it.") from wrong
        else:
            if waited:
                logging.info("there is space again in %s", where)
            return result


class OutputError(DrsearchError, OSError):
    """A file that cannot be written where it was asked for."""


def write_whole(path: Path, data: bytes, *, replace: bool = False, durable: bool = True) -> None:
    """Write a file that has its name only once all of it is written.

    A link in its place is replaced, not followed.

    Args:
        path: The file; its folder exists.
        data: All of it.
        replace: Whether a file that exists may be replaced.
        durable: Wait until the disk holds it, so that a loss of power does not leave an empty file.

    Raises:
        FileExistsError: If there is one and `replace` is false; it is as it was.
        OSError: If it cannot be written; nothing is left behind.
    """
    with open_whole(path, replace=replace, durable=durable) as file:
        file.write(data)


@contextlib.contextmanager
def open_whole(path: Path, *, replace: bool = False, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for writing that has its name only once the block has ended.

    Args:
        path: The file; its folder exists.
        replace: Whether a file that exists may be replaced.
        durable: Wait until the disk holds it, so that a loss of power does not leave an empty file.

    Yields:
        A binary file. If the block raises, nothing is left behind.

    Raises:
        FileExistsError: If there is a file and `replace` is false; it is as it was.
        OSError: If it cannot be written; nothing is left behind.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")  # not made of the name, which may be as long as can be
    try:
        with open(part, "xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if not replace:
            _claim(part, path)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the disk holds a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _claim(part: Path, path: Path) -> None:
    """Give the finished file its name if no other file has it, in one step: two processes may ask at once."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        open(path, "xb").close()


def check_outputs(outputs: Sequence[Path], inputs: Sequence[Path], option: str, *, overwrite: bool) -> None:
    """Refuse places of output before any work is done.

    Args:
        outputs: The files to be; their folders need not exist.
        inputs: The files that are read, by `outputs` of the same index where there is one each.
        option: Named in the message.
        overwrite: Whether files that exist may be replaced; an input never may.

    Raises:
        OutputError: If a place is an input by whatever name or link, is a file that exists, is a folder, is meant for
            two outputs (on some file systems, names differ by more than case), or cannot be written to.
    """
    read = {_identity(path): path for path in inputs if path.exists()}
    planned: dict[tuple[Path, str], int] = {}
    for number, path in enumerate(outputs):
        if path.exists() and (photograph := read.get(_identity(path))) is not None:
            raise OutputError(f"{option} {path}: would overwrite the photograph {photograph}; name another place.")
        if path.is_dir():
            raise OutputError(f"{option} {path}: is a folder; name a file.")
        if os.path.lexists(path) and not overwrite:
            raise OutputError(f"{option} {path}: exists already; name another place, or add --overwrite.")
        key = path.parent.resolve(), unicodedata.normalize("NFC", path.name).casefold()
        if (first := planned.setdefault(key, number)) != number:
            raise OutputError(
                f"{option}: {inputs[first]} and {inputs[number]} would both be written to {path}; "
                "give them in two commands, with a folder each."
            )
        _check_folder(path.parent, option)


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _check_folder(folder: Path, option: str) -> None:
    """Refuse a folder that cannot be written to, or cannot be made."""
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        raise OutputError(f"{option}: {folder} is no folder; name another place.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{option}: {folder} cannot be written to; name another place.")
