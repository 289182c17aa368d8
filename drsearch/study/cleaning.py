"""What lies in a home, and deletes what is made again by itself when it is wanted."""

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from mlflow.exceptions import MlflowException

from drsearch.data.mapped_images import remove_mapped, temporary_folder
from drsearch.data.prepare import unfinished
from drsearch.data.records import MANIFEST, open_records
from drsearch.datasets.description import read_source_file
from drsearch.errors import DataError, RecordsError
from drsearch.home import TRAININGS, Home
from drsearch.processes import is_dead
from drsearch.run_folder import CHECKPOINT_FOLDER, OUTCOME_FILE, OWNER_FILE
from drsearch.study.definition import folder_name, read_definition
from drsearch.study.status import study_names
from drsearch.tracking.mlflow_client import open_client, search_versions
from drsearch.tracking.tags import RECORDS_FINGERPRINT_TAG
from drsearch.tracking.tracker import TrackerUnavailable
from drsearch.training.run_lock import process_of
from drsearch.trials.retrying import Storage


@dataclass(frozen=True)
class Kept:
    """Files of one kind.

    Attributes:
        kind: In the words of the table.
        n_bytes: Of all of them.
        unneeded: Folders and files that can go, with their bytes.
        why: What happens without those that can go, and why the others stay.
    """

    kind: str
    n_bytes: int
    unneeded: tuple[tuple[Path, int], ...]
    why: str

    @property
    def unneeded_bytes(self) -> int:
        """Bytes of what can go."""
        return sum(n_bytes for _, n_bytes in self.unneeded)

    def to_json(self) -> dict[str, Any]:
        """The kind as JSON values."""
        paths = [str(path) for path, _ in self.unneeded]
        return {
            "kind": self.kind, "bytes": self.n_bytes, "can_go_bytes": self.unneeded_bytes, "can_go": paths,
            "why": self.why,
        }  # fmt: skip


def find_kept(storage: Storage | None, home: Home) -> list[Kept]:
    """What takes space in a home, and what of it can go; nothing is deleted.

    Args:
        storage: The study database, whose studies keep their records; None where there is none.
        home: The home.

    Returns:
        One item per kind, in the order of the table.
    """
    half_read = _sizes(unfinished(home.records))
    decoded = _sizes([*home.decoded.glob("*"), *temporary_folder().glob("*")])
    features, running = _sizes(home.features.glob("*")), _is_running(home)
    records = _sizes(path.parent for path in home.records.glob(f"[!.]*/{MANIFEST}"))
    needed, why = (None, "stay while a training runs") if running else _needed_records(storage, home)
    unneeded = [] if needed is None else [each for each in records if _is_unneeded(each[0], needed)]
    runs = _sizes(home.runs.glob("*"))
    checkpoints = _sizes(home.runs.rglob(CHECKPOINT_FOLDER))
    ended = tuple(each for each in checkpoints if (each[0].parent / OUTCOME_FILE).is_file())
    rest = _sizes([home.artifacts, *home.path.glob("*.db*")])
    return [
        Kept("decoded images", _sum(decoded), decoded, "the next training decodes them again"),
        Kept(
            "features of frozen backbones",
            _sum(features),
            () if running else features,
            "stay while a training runs" if running else "the next training computes them again",
        ),
        Kept("records", _sum(records), tuple(unneeded), why),
        Kept(
            "half-made records", _sum(half_read), half_read, "the same `drsearch prepare` reads every photograph again"
        ),
        Kept("checkpoints", _sum(checkpoints), ended, "those of trainings that go on stay"),
        Kept("runs", _sum(runs) - _sum(checkpoints), (), "`drsearch delete STUDY` deletes those of a study"),
        Kept("MLflow and studies", _sum(rest), (), "registered versions and what is known of every run"),
    ]


def remove(found: Iterable[Kept], home: Home) -> int:
    """Delete what can go.

    Args:
        found: From `find_kept`.
        home: The home.

    Returns:
        Bytes that were deleted; what a process holds just now stays.
    """
    n_bytes = 0
    for path, size in (each for kind in found for each in kind.unneeded):
        if path.parent in (home.decoded, temporary_folder()):
            n_bytes += size if remove_mapped(path) else 0
        else:
            shutil.rmtree(path)
            n_bytes += size
    return n_bytes


def _needed_records(storage: Storage | None, home: Home) -> tuple[set[str] | None, str]:
    """The fingerprints that studies and registered versions need, None for all; and the reason in words."""
    loaded = [optuna.load_study(study_name=name, storage=storage) for name in (study_names(storage) if storage else ())]
    known = [(study.study_name, each) for study in loaded if (each := read_definition(study)) is not None]
    folders = {folder_name(name, each.uid) for name, each in known}
    foreign = [path.name for path in home.runs.glob("*") if path.is_dir() and path.name not in folders | {TRAININGS}]
    if foreign:
        return None, f"stay: the study of {foreign[0]} is in another database; name it with --storage"
    try:
        client = open_client(home.tracking_uri)
        of_versions = {str(each.tags.get(RECORDS_FINGERPRINT_TAG)) for each in search_versions(client)}
    except (TrackerUnavailable, MlflowException):
        return None, "stay: MLflow does not answer, and it alone knows what registered versions need"
    of_studies = {fingerprint for _, definition in known for fingerprint in definition.records.values()}
    return of_versions | of_studies, "those of studies and registered versions stay; `drsearch prepare` makes others"


def _is_unneeded(folder: Path, needed: set[str]) -> bool:
    """Whether nobody needs a record set, and the photographs that it was made of are there."""
    with contextlib.suppress(DataError, RecordsError, OSError):
        source = read_source_file(open_records(folder).description_path)
        return folder.name not in needed and all(Path(each.folder).is_dir() for each in source.sets)
    return False


def _is_running(home: Home) -> bool:
    """Whether a process owns the folder of a training that has not ended."""
    for path in home.runs.glob(f"*/*/{OWNER_FILE}"):
        process = process_of(path.read_text())
        if not (path.parent / OUTCOME_FILE).is_file() and process.count(":") > 1 and not is_dead(process):
            return True
    return False


def _sum(sizes: Iterable[tuple[Path, int]]) -> int:
    return sum(n_bytes for _, n_bytes in sizes)


def _sizes(paths: Iterable[Path]) -> tuple[tuple[Path, int], ...]:
    return tuple((path, _size(path)) for path in sorted(paths))


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; a file that has just gone counts nothing."""
    n_bytes = 0
    for file in [path] if path.is_file() else path.rglob("*"):
        with contextlib.suppress(OSError):
            n_bytes += file.stat().st_size if file.is_file() else 0
    return n_bytes
