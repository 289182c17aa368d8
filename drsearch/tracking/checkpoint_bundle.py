"""What does another machine need to go on with a run? Its folder as it was at a checkpoint, in one file.

    worker -> bundle.zip, beside the journal -> sender -> the run's artifacts in MLflow -> another machine's worker

The file is written before the journal says what it holds, and sent before what the journal says: whatever MLflow knows
of a run, the file that lies there knows too. A machine that goes on from it repeats nothing, and the journal in it says
again, with the same times, what a dead machine had not sent.
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
from drsearch.tracking.journal import JOURNAL_FILE, Journal

BUNDLE_FILE = "bundle.zip"
SUPERSEDED_FILE = "superseded"
"""In the folder of a run that was given away: the attempt of which nothing is sent from here any more. A later one may
have the folder since, on this machine, and what it says is sent."""

_OWNERS = {OWNER_FILE, OWNER_LOCK}
_STAYS = {BUNDLE_FILE, SUPERSEDED_FILE, JOURNAL_FILE, MODEL_FILE, "sent.json", "refused.txt", *_OWNERS}


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle says of itself.

    Attributes:
        attempt: Number of the attempt that wrote it: a later one has a higher number.
        journal_bytes: Size of the journal in it.
        journal_sha256: Of that journal, hexadecimal.
        model: Whether the run has a finished `model.keras`, which lies among its artifacts and not in the file.
    """

    attempt: int
    journal_bytes: int
    journal_sha256: str
    model: bool

    @property
    def name(self) -> str:
        """The file's name among the artifacts: no two checkpoints of a run have the same."""
        return f"{self.attempt:06d}-{self.journal_bytes:010d}-{self.journal_sha256[:8]}.zip"

    def is_contained_in(self, folder: Path) -> bool:
        """Whether the run in a folder is the one in the file, as far as that goes or further."""
        journal = folder / JOURNAL_FILE
        if not journal.exists():
            return False
        with open(journal, "rb") as file:
            begin = file.read(self.journal_bytes)
        return len(begin) == self.journal_bytes and hashlib.sha256(begin).hexdigest() == self.journal_sha256


def pack(folder: Path, attempt: int, lines: Iterable[str] = ()) -> None:
    """Write the bundle of a run, whole or not at all.

    Args:
        folder: The run's.
        attempt: Number of the attempt that runs it.
        lines: What goes to the journal next.
    """
    journal = Journal(folder)
    said = journal.path.read_bytes()[: journal.whole_size()] if journal.path.exists() else b""
    said += "".join(f"{line}\n" for line in lines).encode()
    info = BundleInfo(attempt, len(said), hashlib.sha256(said).hexdigest(), (folder / MODEL_FILE).exists())
    with (
        open_whole(folder / BUNDLE_FILE, replace=True, durable=False) as file,
        zipfile.ZipFile(file, "w") as archive,  # stored: weights do not compress
    ):
        archive.comment = json.dumps(asdict(info)).encode()
        archive.writestr(JOURNAL_FILE, said)
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and name.as_posix() not in _STAYS and not _is_over(folder, name):
                archive.write(path, name.as_posix())


def mark_superseded(folder: Path, attempt: int) -> None:
    """Note that nothing of an attempt is to be sent any more."""
    write_whole(folder / SUPERSEDED_FILE, str(attempt).encode(), replace=True, durable=False)


def is_superseded(folder: Path) -> bool:
    """Whether the attempt that wrote a folder last was given away."""
    try:
        return read_info(folder / BUNDLE_FILE).attempt <= int((folder / SUPERSEDED_FILE).read_text())
    except FileNotFoundError:
        return False


def _is_over(folder: Path, name: Path) -> bool:
    """Whether a file is half-written, or a checkpoint of a training that came to its end."""
    half_written = name.suffix in (".tmp", ".part") or name.parts[0] == STAGING_FOLDER
    return half_written or (
        name.parent.name == CHECKPOINT_FOLDER and (folder / name.parents[1] / OUTCOME_FILE).exists()
    )


def read_info(file: Path) -> BundleInfo:
    """What a bundle says of itself.

    Raises:
        ValueError: If it is none, or torn.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return BundleInfo(**json.loads(archive.comment))
    except (zipfile.BadZipFile, TypeError, ValueError) as wrong:
        raise ValueError(f"{file} is no whole bundle ({wrong}).") from wrong


def unpack(file: Path, folder: Path, model: Path | None, attempt: int | None) -> None:
    """Put the run that a bundle holds in the place of whatever is in a folder.

    The journal goes first and comes last: a folder without one, which a death in between leaves, is filled anew.

    Args:
        file: The bundle.
        folder: The run's.
        model: Its finished network, if it has one.
        attempt: Number of the attempt that goes on with it there; None if it is only looked at.
    """
    incoming = folder.parent / ".incoming" / folder.name  # a level deeper than runs lie: no sender takes it for one
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
