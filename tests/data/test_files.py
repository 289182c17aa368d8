import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from drsearch.data.files import read_file


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
