"""What a preparation has read so far, on disk: one that was killed goes on with the next photograph."""

import contextlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_IMAGES, _NOTES = "spool", "read.jsonl"


def read_key(folder: Path) -> str:
    """The key of the spool in a folder; empty if there is none."""
    try:
        with (folder / _NOTES).open("rb") as notes:
            return str(_parsed(notes.readline()) or "")
    except OSError:
        return ""


def _parsed(line: bytes) -> Any:
    """The JSON value of a whole line; None for a torn one."""
    with contextlib.suppress(ValueError):
        return json.loads(line) if line.endswith(b"\n") else None
    return None


class Spool:
    """Stored images in one file, and a line of JSON about each photograph in another. Close it with `close`.

    Args:
        folder: Of both files. Those that a killed preparation left there are taken over, as far as they are whole.
        key: Of the settings that shape an image; the files of another key begin anew.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._paths = folder / _IMAGES, folder / _NOTES
        for path in set(folder.iterdir()) - set(self._paths):  # of a preparation that was killed while it wrote shards
            path.unlink()
        self._images, self._notes = (path.open("a+b") for path in self._paths)
        self._known = self._read(key)

    def _read(self, key: str) -> dict[str, int]:
        """Where the line of each photograph begins: the lines themselves would fill the memory."""
        known: dict[str, int] = {}
        whole = 0
        self._notes.seek(0)
        for line in self._notes:
            note = _parsed(line)
            if note is None or not whole and note != key:  # torn, or of other settings
                break
            if whole:
                self._images.seek(note["at"][0])
                if zlib.crc32(self._images.read(note["at"][1])) == note["crc"]:  # else it never reached the disk
                    known[note["file"]] = whole
            whole += len(line)
        self._notes.truncate(whole)
        if not whole:
            self._images.truncate(0)
            self._notes.write(json.dumps(key).encode() + b"\n")
        self._end = self._images.seek(0, 2)
        return known

    def known(self, path: Path, identity: tuple[int, int]) -> Mapping[str, Any] | None:
        """What was noted about a photograph, `at` of `add` included; None if it was not read, or has changed since.

        Args:
            path: Of the photograph.
            identity: Its bytes and the time of its last change.
        """
        if (begins := self._known.get(str(path))) is None:
            return None
        self._notes.seek(begins)
        note: dict[str, Any] = json.loads(self._notes.readline())
        return note if tuple(note["identity"]) == identity else None

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
        line = {"file": str(path), "identity": identity, "at": at, "crc": zlib.crc32(stored), **note}
        self._images.write(stored)
        self._images.flush()  # before the line that tells of it
        self._notes.write(json.dumps(line).encode() + b"\n")
        self._notes.flush()
        self._end += len(stored)
        return at

    def stored(self, at: tuple[int, int]) -> bytes:
        """The stored image at a place that `add` returned."""
        self._images.seek(at[0])
        return self._images.read(at[1])

    def close(self) -> None:
        """Close both files, which stay."""
        self._images.close()
        self._notes.close()

    def remove(self) -> None:
        """Close both files, and delete them."""
        self.close()
        for path in self._paths:
            path.unlink()
