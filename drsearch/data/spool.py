"""What a preparation has read, on disk.

One that was killed goes on with the next photograph, and a later one reads only what is new.
"""

import contextlib
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

KEPT_NOTES = ".read.jsonl"
"""What a finished preparation leaves in its record set for the next one. It names files, and stays on this machine."""

NOTES = "read.jsonl"
"""The same in the folder of a preparation that goes on, or was killed."""

_IMAGES = "spool"


def read_key(notes: Path) -> str:
    """The key of a file of notes; empty if there is none."""
    try:
        with notes.open("rb") as file:
            return str(_parsed(file.readline()) or "")
    except OSError:
        return ""


def _parsed(line: bytes) -> Any:
    """The JSON value of a whole line; None for a torn one."""
    with contextlib.suppress(ValueError):
        return json.loads(line) if line.endswith(b"\n") else None
    return None


class Notes:
    """What was found out about photographs when they were read: a line of JSON each, after one with a key.

    Args:
        file: Of the notes; the caller closes it.
        key: Of the settings that shape a stored image; notes of another key are none.
        is_good: Whether a note counts.
    """

    def __init__(
        self, file: BinaryIO, key: str, is_good: Callable[[Mapping[str, Any]], bool] = lambda note: True
    ) -> None:
        self._file = file
        self._begins: dict[str, int] = {}  # of each photograph's line: the lines themselves would fill the memory
        self.n_bytes = 0
        file.seek(0)
        for line in file:
            note = _parsed(line)
            if note is None or not self.n_bytes and note != key:  # torn, or of other settings
                break
            if self.n_bytes and is_good(note):
                self._begins[note["file"]] = self.n_bytes
            self.n_bytes += len(line)

    def known(self, path: Path, identity: tuple[int, int]) -> Mapping[str, Any] | None:
        """What was noted about a photograph, `at` of `Spool.add` included; None if it was not read or has changed.

        Args:
            path: Of the photograph.
            identity: Its bytes and the time of its last change.
        """
        if (begins := self._begins.get(str(path))) is None:
            return None
        self._file.seek(begins)
        note: dict[str, Any] = json.loads(self._file.readline())
        return note if tuple(note["identity"]) == identity else None

    def begin(self, key: str) -> None:
        """Write the key into an empty file, which is open for that."""
        self.n_bytes = self._file.write(json.dumps(key).encode() + b"\n")

    def add(self, note: Mapping[str, Any]) -> None:
        """Add a note at the end of the file, which is open for that; `file` and `identity` are the photograph's."""
        line = json.dumps(note).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._begins[note["file"]] = self.n_bytes
        self.n_bytes += len(line)


class Spool:
    """Stored images in one file, and a line of JSON about each photograph in another. Close it with `close`.

    Args:
        folder: Of both files. Those that a killed preparation left there are taken over, as far as they are whole.
        key: Of the settings that shape an image; the files of another key begin anew.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        for path in set(folder.iterdir()) - {folder / _IMAGES, folder / NOTES}:  # of a preparation that was killed
            path.unlink()  # while it wrote shards
        self._images, self._file = ((folder / name).open("a+b") for name in (_IMAGES, NOTES))
        self._notes = Notes(self._file, key, self._is_on_disk)
        self._file.truncate(self._notes.n_bytes)
        if not self._notes.n_bytes:
            self._images.truncate(0)
            self._notes.begin(key)
        self._end = self._images.seek(0, 2)

    def _is_on_disk(self, note: Mapping[str, Any]) -> bool:
        self._images.seek(note["at"][0])
        return bool(zlib.crc32(self._images.read(note["at"][1])) == note["crc"])

    def known(self, path: Path, identity: tuple[int, int]) -> Mapping[str, Any] | None:
        """What was noted about a photograph, see `Notes.known`."""
        return self._notes.known(path, identity)

    def add(self, path: Path, identity: tuple[int, int], note: Mapping[str, Any], stored: bytes) -> tuple[int, int]:
        """Keep what was found out about a photograph, and its stored image.

        Args:
            path: Of the photograph.
            identity: Its bytes and the time of its last change, looked up before it was read.
            note: JSON values.
            stored: The stored image; empty where there is none.

        Returns:
            Where the stored image begins, and how many bytes it has.
        """
        at = self._end, len(stored)
        self._images.write(stored)
        self._images.flush()  # before the line that tells of it
        self._notes.add({**note, "file": str(path), "identity": identity, "at": at, "crc": zlib.crc32(stored)})
        self._end += len(stored)
        return at

    def stored(self, at: tuple[int, int]) -> bytes:
        """The stored image at a place that `add` returned."""
        self._images.seek(at[0])
        return self._images.read(at[1])

    def close(self) -> None:
        """Close both files, which stay."""
        self._images.close()
        self._file.close()

    def finish(self) -> None:
        """Close both files, delete the images, and keep the notes for the next preparation."""
        self.close()
        (self._folder / _IMAGES).unlink()
        (self._folder / NOTES).rename(self._folder / KEPT_NOTES)
