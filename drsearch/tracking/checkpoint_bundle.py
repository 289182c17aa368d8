"""The checkpoint bundle: a run's folder at a checkpoint, in one file, from which another machine resumes the run.

    worker -> bundle.zip, beside the journal -> sender -> the run's artifacts in MLflow -> another machine's worker

The worker writes the bundle before it appends the same events to the journal, and the sender uploads it before it sends
them: whatever events MLflow has, the bundle there has too. So a machine that resumes from it logs no epoch twice, and
sends, with the same times, the events that a dead machine had not sent.
"""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from drsearch.files import open_whole, write_whole
from drsearch.run_folder import CHECKPOINT_FOLDER, MODEL_FILE, OUTCOME_FILE, OWNER_FILE, OWNER_LOCK, STAGING_FOLDER
from drsearch.tracking.journal import JOURNAL_FILE, REFUSED_FILE, SENT_FILE, Journal

BUNDLE_FILE = "bundle.zip"
SUPERSEDED_FILE = "superseded"
"""In the folder of a run that another machine took over: the attempt of which nothing more is sent from here. Events of
a later attempt in the same folder are sent."""

_OWNERS = {OWNER_FILE, OWNER_LOCK}
_STAYS = {BUNDLE_FILE, SUPERSEDED_FILE, JOURNAL_FILE, MODEL_FILE, SENT_FILE, REFUSED_FILE, *_OWNERS}


@dataclass(frozen=True)
class BundleInfo:
    """Facts about a bundle, which it carries as its comment.

    Attributes:
        attempt: Number of the attempt that wrote it; later attempts have higher numbers.
        journal_bytes: Size of the journal in it.
        journal_sha256: Checksum of that journal, hexadecimal.
        model: Whether the run has a finished `model.keras`; it is among the run's artifacts, not in the bundle.
    """

    attempt: int
    journal_bytes: int
    journal_sha256: str
    model: bool

    @property
    def name(self) -> str:
        """The bundle's file name among the artifacts, different for every checkpoint of a run."""
        return f"{self.attempt:06d}-{self.journal_bytes:010d}-{self.journal_sha256[:8]}.zip"

    def is_contained_in(self, folder: Path) -> bool:
        """Whether the journal in a folder begins with the journal of the bundle."""
        journal = folder / JOURNAL_FILE
        if not journal.exists():
            return False
        with open(journal, "rb") as file:
            beginning = file.read(self.journal_bytes)
        return len(beginning) == self.journal_bytes and hashlib.sha256(beginning).hexdigest() == self.journal_sha256


def pack(folder: Path, attempt: int, lines: Iterable[str] = ()) -> None:
    """Write the bundle of a run, whole or not at all.

    Args:
        folder: The run's folder.
        attempt: Number of the attempt that runs the trial.
        lines: The lines that are appended to the journal next.
    """
    journal = Journal(folder)
    content = journal.path.read_bytes()[: journal.whole_size()] if journal.path.exists() else b""
    content += "".join(f"{line}\n" for line in lines).encode()
    info = BundleInfo(attempt, len(content), hashlib.sha256(content).hexdigest(), (folder / MODEL_FILE).exists())
    with (
        open_whole(folder / BUNDLE_FILE, replace=True, durable=False) as file,
        zipfile.ZipFile(file, "w") as archive,  # stored: weights do not compress
    ):
        archive.comment = json.dumps(asdict(info)).encode()
        archive.writestr(JOURNAL_FILE, content)
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and name.as_posix() not in _STAYS and not _is_over(folder, name):
                archive.write(path, name.as_posix())


def mark_superseded(folder: Path, attempt: int) -> None:
    """Note that the sender sends no more events of an attempt."""
    write_whole(folder / SUPERSEDED_FILE, str(attempt).encode(), replace=True, durable=False)


def is_superseded(folder: Path) -> bool:
    """Whether another machine took over from the attempt that last wrote a folder's bundle."""
    try:
        return read_info(folder / BUNDLE_FILE).attempt <= int((folder / SUPERSEDED_FILE).read_text())
    except FileNotFoundError:
        return False


def _is_over(folder: Path, name: Path) -> bool:
    """Whether a file is half-written, or a checkpoint or a fold's network of a training that is over."""
    if name.suffix in (".tmp", ".part") or name.parts[0] == STAGING_FOLDER:
        return True
    place = name.parents[1] if name.parent.name == CHECKPOINT_FOLDER else name.parent
    return (name.parent.name == CHECKPOINT_FOLDER or name.suffix == ".keras") and (
        folder / place / OUTCOME_FILE
    ).exists()


def read_info(file: Path) -> BundleInfo:
    """The facts that a bundle carries about itself.

    Raises:
        ValueError: If the file is not a complete bundle.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return BundleInfo(**json.loads(archive.comment))
    except (zipfile.BadZipFile, TypeError, ValueError) as wrong:
        raise ValueError(f"{file} is not a complete bundle ({wrong}).") from wrong


def unpack(file: Path, folder: Path, model: Path | None, attempt: int | None) -> None:
    """Replace the content of a folder by the run in a bundle.

    Removes the journal first and writes it last: a crash in between leaves a folder without a journal, which counts as
    empty.

    Args:
        file: The bundle.
        folder: The run's folder.
        model: The run's finished network, if it has one.
        attempt: Number of the attempt that resumes the run there; None if nobody resumes it.
    """
    incoming = folder.parent / ".incoming" / folder.name  # deeper than run folders, so that no sender sends it
    shutil.rmtree(incoming, ignore_errors=True)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(incoming)  # leaves out what would lead elsewhere
    if model is not None:
        shutil.copyfile(model, incoming / MODEL_FILE)
    if attempt is not None:
        pack(incoming, attempt)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JOURNAL_FILE).unlink(missing_ok=True)
    for old in folder.iterdir():
        if old.name not in _OWNERS:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    for new in sorted(incoming.iterdir(), key=lambda path: path.name == JOURNAL_FILE):
        new.rename(folder / new.name)
    shutil.rmtree(incoming, ignore_errors=True)
