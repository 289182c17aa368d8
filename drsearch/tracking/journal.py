"""A run's event log on disk: one file that processes only append to.

One process at a time writes a journal (the worker that runs the trial, or the launcher after that worker died); the
sender reads it.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from drsearch.files import lock
from drsearch.tracking.events import Event, from_line, to_line

JOURNAL_FILE = "journal.jsonl"
SENT_FILE = "sent.json"  # beside it: how much of it was sent (`sent.py`)
REFUSED_FILE = "refused.txt"  # beside it: why MLflow refuses it


class Journal:
    """The events of one run, in `folder/journal.jsonl`; the images and files that they name lie in `folder` too.

    Args:
        folder: The run's folder; the first `append` creates it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / JOURNAL_FILE

    def append(self, events: Iterable[Event]) -> None:
        """Append events: all are on disk when this returns, and none if it raises."""
        self.append_lines([to_line(event) for event in events])

    def append_lines(self, lines: Iterable[str]) -> None:
        """Append events that `to_line` has encoded, see `append`.

        First cuts off the incomplete last line of a killed writer; no sender has read it.
        """
        text = "".join(f"{line}\n" for line in lines).encode()
        if not text:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab", buffering=0) as file:
            lock(file)  # two launchers of one study have one journal for it
            whole = self.whole_size()
            if whole < self.size():
                file.truncate(whole)
            try:
                left = memoryview(text)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(whole)
                raise

    def size(self) -> int:
        """Bytes of the file; 0 if there is none."""
        return self.path.stat().st_size if self.path.exists() else 0

    def ends_line_at(self, offset: int) -> bool:
        """Whether an event ends before byte `offset`; False if the journal is shorter than that."""
        return offset == 0 or (self.path.exists() and self._bytes(offset - 1, 1) == b"\n")

    def read(self, offset: int = 0) -> tuple[list[Event], int]:
        """The events from byte `offset` on, and the offset behind them.

        Leaves a last line without newline for the next time: its writer is still writing, or dead.

        Raises:
            ValueError: If a complete line is not an event.
        """
        if not self.path.exists():
            return [], offset
        data = self._bytes(offset)
        data = data[: data.rfind(b"\n") + 1]
        # Not splitlines(): texts may hold U+2028, which it takes for the end of a line.
        return [from_line(line.decode()) for line in data.split(b"\n")[:-1]], offset + len(data)

    def _bytes(self, offset: int, n_bytes: int = -1) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(n_bytes)

    def whole_size(self) -> int:
        """Bytes up to the end of the last complete event: less than `size()` if the last line is incomplete."""
        end = self.size()
        while end > 0:
            start = max(0, end - 65536)
            newline = self._bytes(start, end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
        return 0
