"""Is this a file that can be read without waiting for somebody?"""

import errno
import stat
from pathlib import Path

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
    """Do as `read_file`, without reading: it is a regular file, and may be opened.

    Raises:
        OSError: As `read_file`.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))
    with path.open("rb"):
        pass
