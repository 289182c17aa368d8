from pathlib import Path

import pytest

from drsearch.tracking.events import Event, Metrics, Tags, to_line
from drsearch.tracking.journal import Journal


def epochs(first: int, last: int) -> list[Event]:
    return [Metrics(epoch, {"loss": 1 / epoch}, at_ms=epoch) for epoch in range(first, last + 1)]


def test_entries_read_back_in_order_and_only_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "not" / "yet")
    journal.append(epochs(1, 2))
    first, offset = journal.read(0)
    journal.append(epochs(3, 3))
    second, end = journal.read(offset)
    assert first + second == epochs(1, 3)
    assert end == journal.size()
    assert journal.read(end) == ([], end)


def test_a_journal_without_entries_is_empty(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append([])
    assert journal.size() == 0
    assert journal.read(0) == ([], 0)


def test_unusual_line_ends_within_texts_do_not_cut_an_entry(tmp_path: Path) -> None:
    event = Tags({"note": "a\u2028b\x85c\rd\ne"})
    Journal(tmp_path).append([event])
    assert Journal(tmp_path).read(0)[0] == [event]


def test_a_torn_last_line_is_not_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(epochs(1, 2))
    whole = journal.size()
    with open(journal.path, "ab") as file:
        file.write(b'{"event": "Metr')
    assert journal.read(0) == (epochs(1, 2), whole)


@pytest.mark.parametrize("torn", [b'{"event": "Metr', b"x" * 200_000], ids=["short", "longer than a block"])
def test_appending_after_a_torn_line_repairs_the_journal(tmp_path: Path, torn: bytes) -> None:
    journal = Journal(tmp_path)
    journal.append(epochs(1, 2))
    with open(journal.path, "ab") as file:
        file.write(torn)
    journal.append(epochs(3, 3))
    assert journal.read(0)[0] == epochs(1, 3)


def test_a_first_line_that_is_torn_is_repaired_too(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.path.write_bytes(b'{"event"')
    journal.append(epochs(1, 1))
    assert journal.read(0)[0] == epochs(1, 1)


def test_an_entry_ends_at_every_offset_that_was_read_to_and_nowhere_else(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.ends_line_at(0) and not journal.ends_line_at(1)
    journal.append(epochs(1, 1))
    end = journal.read(0)[1]
    assert [offset for offset in range(end + 2) if journal.ends_line_at(offset)] == [0, end]


def test_encoded_lines_are_the_entries_that_they_encode(tmp_path: Path) -> None:
    Journal(tmp_path / "events").append(epochs(1, 3))
    Journal(tmp_path / "lines").append_lines(map(to_line, epochs(1, 3)))
    assert Journal(tmp_path / "lines").path.read_bytes() == Journal(tmp_path / "events").path.read_bytes()
