"""How much of each run has reached MLflow."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from drsearch.files import write_whole
from drsearch.home import Home
from drsearch.masking import masked
from drsearch.tracking.checkpoint_bundle import is_superseded
from drsearch.tracking.journal import JOURNAL_FILE, REFUSED_FILE, SENT_FILE, Journal


@dataclass(frozen=True)
class Sent:
    """How far a journal was sent.

    Attributes:
        run_id: The tracker's id of the run.
        offset: Bytes of the journal that were sent.
    """

    run_id: str
    offset: int = 0


def run_id_of(folder: Path) -> str | None:
    """The tracker's id of the run whose journal is in a folder; None until the sender has opened the run."""
    sent = read_sent(folder)
    return sent.run_id if sent else None


def adopt(folder: Path, run_id: str) -> None:
    """Note the run id of a journal that was fetched, and that nothing of it was sent from here."""
    write_sent(folder, Sent(run_id))


def is_sent(folder: Path) -> bool:
    """Whether all events in the journal of a folder have reached the tracker."""
    sent = read_sent(folder)
    return Journal(folder).whole_size() == (sent.offset if sent else 0)


def unsent(home: Home) -> list[Path]:
    """The folders of runs with events that were not sent yet."""
    return [folder for folder in run_folders(home) if not is_sent(folder)]


def why_unsent(folder: Path) -> str:
    """Why MLflow refuses the events of a run; empty if it does not."""
    try:
        return (folder / REFUSED_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def note_refusal(folder: Path, why: str) -> None:
    """Write the reason why MLflow refuses a run into its folder, for other processes; empty: it no longer does."""
    if why != why_unsent(folder):
        if why:
            (folder / REFUSED_FILE).write_text(masked(why), encoding="utf-8")
        else:
            (folder / REFUSED_FILE).unlink(missing_ok=True)


def run_folders(home: Home) -> list[Path]:
    """The folders of all runs of a home that this machine sends to MLflow."""
    folders = [path.parent for path in home.runs.glob(f"*/*/{JOURNAL_FILE}")]
    return [folder for folder in folders if not is_superseded(folder)]


def journal_state(folder: Path) -> tuple[int, int]:
    """A pair of numbers that changes whenever the journal does."""
    status = (folder / JOURNAL_FILE).stat()
    return status.st_size, status.st_mtime_ns


def read_sent(folder: Path) -> Sent | None:
    """How much of a run was sent; None if nothing was."""
    path = folder / SENT_FILE
    try:
        return Sent(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):  # a loss of power may leave it empty: all is sent again
        return None


def write_sent(folder: Path, sent: Sent) -> None:
    """Write down how much of a run was sent."""
    write_whole(folder / SENT_FILE, json.dumps(asdict(sent)).encode(), replace=True, durable=False)
