"""How does a folder of photographs become a record set?"""

import hashlib
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
import psutil
from absl import logging
from numpy.typing import NDArray

from drsearch.data.audit import Audit, Finding, picture_groups, same_picture_findings
from drsearch.data.decode import Decoded
from drsearch.data.files import read_file
from drsearch.data.folder import Folder, Photograph, read_folder
from drsearch.data.images import PICTURE_VERSION, THUMBNAIL_PX, decode_photograph, eye_of
from drsearch.data.patients import kept_together
from drsearch.data.records import (
    AUDIT,
    MANIFEST,
    SCHEMA_VERSION,
    SHARD_EYES,
    EyeEntry,
    RecordSet,
    Split,
    open_records,
    shard_entry,
    write_eyes,
    write_shard,
)
from drsearch.data.splits import SPLITS, check_classes, split
from drsearch.errors import DataError, PhotographError, RecordsError
from drsearch.grades import CLASS_NAMES, GRADES, label_of
from drsearch.home import Home
from drsearch.settings import ImageSettings, Settings

_PARTIAL = ".partial-"
_NAMED = 3  # bad photographs that the one sentence names
_THREADS = os.cpu_count() or 1
_Done = TypeVar("_Done")


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did.

    Attributes:
        records: The record set.
        audit: What was found about its photographs.
        reused: Whether the records were there already.
        seconds: How long it took.
    """

    records: RecordSet
    audit: Audit
    reused: bool
    seconds: float


class UnusableData(DataError):
    """Some photographs or labels cannot be used.

    Attributes:
        audit: What was found.
        audit_path: The file that holds it.
    """

    def __init__(self, sentence: str, audit: Audit, audit_path: Path) -> None:
        super().__init__(sentence)
        self.audit, self.audit_path = audit, audit_path


@dataclass(frozen=True, slots=True)
class _Seen:
    """One photograph after reading: where its stored image lies in the spool, or why there is none."""

    sha256: str
    n_bytes: int
    reason: str
    at: int = 0
    stored_bytes: int = 0


class _Unlooked(NamedTuple):
    """One photograph between its two steps; nothing decoded where it is bad."""

    seen: _Seen
    decoded: Decoded | None


class _Looked(NamedTuple):
    """One photograph after both: the stored image and the look are missing where it is bad."""

    seen: _Seen
    stored: bytes
    look: NDArray[np.uint8] | None


@dataclass(frozen=True)
class _Prints:
    """The fingerprints of a data set with its settings."""

    fingerprint: str
    data_fingerprint: str


def prepare(
    data: Path,
    settings: Settings,
    home: Home,
    *,
    skip_bad: bool = False,
    for_training: bool = True,
    on_photograph: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Audit the photographs of a folder, crop, split and record them; or find the records made before.

    Records appear whole or not at all: they are written to a folder beside their place and renamed. Each photograph
    is read once and decoded in a thread; of the set only names, checksums and thumbnails are held in memory, some 4 kB
    per photograph.

    Args:
        data: A folder that `read_folder` knows.
        settings: `images.*` and `data.*` are used.
        home: Where records are kept, one folder a fingerprint.
        skip_bad: Go on without photographs that cannot be read whole, show no retina or have no valid grade, and
            without labels that have no photograph.
        for_training: Refuse a set of which a split lacks one of the classes.
        on_photograph: Told how many photographs are done, of how many.

    Raises:
        DataError: If the folder is no data set, something in it is bad and not skipped (`UnusableData`), a split would
            lack a class, or `data.fingerprint` asks for other data.
    """
    start = time.monotonic()
    folder = read_folder(data, home.path)
    home.records.mkdir(parents=True, exist_ok=True)
    _remove_stale(home.records)
    found = _find_prepared(folder, settings, home)
    if found is None:
        records, audit = _make(folder, settings, home, skip_bad, for_training, on_photograph)
    else:
        records, audit = found
        audit = _brought_up_to_date(records, audit, folder)
        _check_asked(records.data_fingerprint, folder, settings)
        _check_bad(audit, folder, skip_bad, lambda: records.audit_path)
        if for_training:
            check_classes({side: [n[name] for name in CLASS_NAMES] for side, n in records.counts.items()})
    _refused_audit(folder, home).unlink(missing_ok=True)
    return Prepared(records, audit, found is not None, time.monotonic() - start)


# Records made before


def _find_prepared(folder: Folder, settings: Settings, home: Home) -> tuple[RecordSet, Audit] | None:
    """The whole records of the same photographs and settings.

    Names and sizes are compared first: where no records can fit, each photograph is read only once, to be decoded.
    """
    listing = _listing(folder, settings)
    for path in sorted(home.records.glob(f"[!.]*/{MANIFEST}")):
        try:
            records = open_records(path.parent)
            if records.manifest["listing"] != listing:
                continue
            if records.fingerprint != _fingerprints(folder, settings, _hashes(folder)).fingerprint:
                continue
            records.check()
            return records, Audit.from_json(json.loads(records.audit_path.read_text()))
        except (RecordsError, OSError, ValueError, KeyError) as wrong:
            logging.warning("%s is not used: %s", path.parent, wrong)
    return None


def _brought_up_to_date(records: RecordSet, audit: Audit, folder: Folder) -> Audit:
    """The audit with what is not used today, which is no part of the records."""
    if audit.not_used != folder.not_used:
        audit = replace(audit, not_used=folder.not_used)
        _write_json(records.audit_path, audit.to_json())
    return audit


def _listing(folder: Folder, settings: Settings) -> str:
    rows = [(*row, _size(photograph)) for row, photograph in zip(_rows(folder), folder.photographs, strict=True)]
    return _digest([rows, folder.labels_without_photograph, _shaping(settings)])


def _size(photograph: Photograph) -> int:
    try:
        return photograph.path.stat().st_size
    except OSError:
        return -1


def _rows(folder: Folder) -> list[tuple[str, str, str, str]]:
    """Name, published split, the text of the grade and the patient of every photograph."""
    texts = {photograph: f"invalid: {text}" for photograph, text in folder.invalid_grades}
    return [(p.name, p.published_split, texts.get(p, str(p.grade)), p.patient) for p in folder.photographs]


def _shaping(settings: Settings) -> dict[str, dict[str, Any]]:
    """The settings that shape records."""
    data = {key: value for key, value in asdict(settings.data).items() if key != "fingerprint"}
    return {"images": asdict(settings.images), "data": data}


def _hashes(folder: Folder) -> list[str]:
    return list(_in_threads(lambda photograph: _read_bytes(photograph)[1], folder.photographs))


def _read_bytes(photograph: Photograph) -> tuple[bytes | None, str]:
    """The bytes of a photograph and their SHA-256; None and the reason where the system does not give them."""
    try:
        data = read_file(photograph.path)
    except OSError as wrong:
        return None, f"cannot be opened: {wrong.strerror}"
    return data, hashlib.sha256(data).hexdigest()


def _fingerprints(folder: Folder, settings: Settings, hashes: Sequence[str]) -> _Prints:
    rows = [(*row, sha256) for row, sha256 in zip(_rows(folder), hashes, strict=True)]
    shaping = _shaping(settings)
    labelled = [row for row, photograph in zip(rows, folder.photographs, strict=True) if photograph.grade is not None]
    return _Prints(
        _digest([SCHEMA_VERSION, PICTURE_VERSION, shaping, rows, folder.labels_without_photograph]),
        _digest([SCHEMA_VERSION, shaping["data"], labelled]),
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


# Making records


def _make(
    folder: Folder,
    settings: Settings,
    home: Home,
    skip_bad: bool,
    for_training: bool,
    on_photograph: Callable[[int, int], None] | None,
) -> tuple[RecordSet, Audit]:
    partial = home.records / f"{_PARTIAL}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    partial.mkdir()
    try:
        with (partial / "spool").open("w+b") as spool:
            seen, looks = _read_all(folder, settings.images, spool, on_photograph)
            prints = _fingerprints(folder, settings, [one.sha256 for one in seen])
            _check_asked(prints.data_fingerprint, folder, settings)
            audit, usable, pictures = _audit(folder, seen, looks)
            _check_bad(audit, folder, skip_bad, lambda: _write_refused(audit, folder, home))
            if not usable:
                raise DataError(f"{folder.path} has no photograph that can be used.")
            members = _members(folder, usable, pictures, settings, for_training)
            audit = _with_left_out(audit, folder, usable, pictures, members)
            # Numbers, because entries go to MLflow with a model, and a table may hold the names of people.
            told = dict.fromkeys(photograph.patient for photograph in folder.photographs if photograph.patient)
            number = {"": "", **{patient: str(i) for i, patient in enumerate(told, start=1)}}

            def entry(i: int, side: Split) -> EyeEntry:
                photograph = folder.photographs[i]
                patient = number[photograph.patient]
                return EyeEntry(photograph.name, side, _grade(photograph), seen[i].sha256, looks[i], patient)

            def image_and_entry(i: int, side: Split) -> tuple[bytes, EyeEntry]:
                return _from_spool(spool, seen[i]), entry(i, side)

            shards = _write_shards(partial, members, image_and_entry)
        (partial / "spool").unlink()
        eyes = write_eyes(partial, (entry(i, side) for side in SPLITS for i in members[side]))
        manifest = _manifest(folder, settings, prints, seen, members, shards, eyes)
        _write_json(partial / AUDIT, audit.to_json())
        _write_json(partial / MANIFEST, manifest)
        _sync(partial)
        _put_in_place(partial, home.records / prints.fingerprint)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_records(home.records / prints.fingerprint), audit


def _read_all(
    folder: Folder, settings: ImageSettings, spool: BinaryIO, on_photograph: Callable[[int, int], None] | None
) -> tuple[list[_Seen], NDArray[np.uint8]]:
    """Read every photograph, and give its thumbnail: uint8, shape (n, THUMBNAIL_PX, THUMBNAIL_PX),
    black where there is none.

    The stored images go to the spool, because splits are known only at the end.
    """
    seen: list[_Seen] = []
    looks = np.zeros((len(folder.photographs), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    for one, stored, look in _look_at_all(folder.photographs, settings):
        if look is not None:
            looks[len(seen)] = look
        seen.append(replace(one, at=spool.tell(), stored_bytes=len(stored)))
        spool.write(stored)
        if on_photograph is not None:
            on_photograph(len(seen), len(folder.photographs))
    return seen, looks


def _in_threads(work: Callable[[Photograph], _Done], photographs: Sequence[Photograph]) -> Iterator[_Done]:
    """The work on each photograph, in order, a few ahead of the one that is asked for: decoders give the GIL away."""
    ahead: deque[Future[_Done]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            for photograph in photographs:
                ahead.append(threads.submit(work, photograph))
                if len(ahead) > 4 * _THREADS:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _look_at_all(photographs: Sequence[Photograph], settings: ImageSettings) -> Iterator[_Looked]:
    """Decode photographs in threads, and look at them in this one.

    Looking is many short steps, and threads wait for each other at every one: where all did both, preparing took 8 %
    longer on 2 cores. Only where this thread falls behind, as it must with many cores, others look, too.
    """
    waiting = threading.Semaphore(2 * _THREADS)

    def decode(photograph: Photograph) -> _Unlooked | _Looked:
        unlooked = _decode(photograph, settings)
        return unlooked if waiting.acquire(blocking=False) else _look_at(unlooked, settings)

    for found in _in_threads(decode, photographs):
        if isinstance(found, _Unlooked):
            waiting.release()
            yield _look_at(found, settings)
        else:
            yield found


def _decode(photograph: Photograph, settings: ImageSettings) -> _Unlooked:
    data, sha256 = _read_bytes(photograph)
    if data is None:
        return _Unlooked(_Seen(sha256, 0, sha256), None)
    try:
        return _Unlooked(_Seen(sha256, len(data), ""), decode_photograph(data, settings))
    except PhotographError as wrong:
        return _Unlooked(_Seen(sha256, len(data), str(wrong)), None)


def _look_at(unlooked: _Unlooked, settings: ImageSettings) -> _Looked:
    seen, decoded = unlooked
    if decoded is None:
        return _Looked(seen, b"", None)
    try:
        eye = eye_of(decoded, settings)
    except PhotographError as wrong:
        return _Looked(replace(seen, reason=str(wrong)), b"", None)
    return _Looked(seen, eye.stored, eye.thumbnail)


def _audit(
    folder: Folder, seen: Sequence[_Seen], looks: NDArray[np.uint8]
) -> tuple[Audit, list[int], NDArray[np.int64]]:
    """The audit, which photographs can be used, and the picture that each of all shows (-1: none)."""
    photographs = folder.photographs
    files = [folder.file(photograph) for photograph in photographs]
    shown = [i for i, one in enumerate(seen) if not one.reason]
    pictures = np.full(len(seen), -1, np.int64)
    pictures[shown] = picture_groups(
        [seen[i].sha256 for i in shown], looks if len(shown) == len(seen) else looks[shown]
    )
    duplicates = same_picture_findings(
        [files[i] for i in shown],
        [photographs[i].grade for i in shown],
        [seen[i].sha256 for i in shown],
        pictures[shown],
    )
    graded = [i for i in shown if photographs[i].grade is not None]
    left_out = _graded_both_ways(folder, graded, pictures)
    usable = [i for i in graded if i not in left_out]
    several = Counter(photographs[i].patient for i in usable if photographs[i].patient)
    n_patients = sum(n > 1 for n in several.values())
    reasons = [Finding(file, one.reason) for file, one in zip(files, seen, strict=True) if one.reason]
    audit = Audit(
        n_photographs=len(photographs),
        n_usable=len(usable),
        unreadable=tuple(finding for finding in reasons if not finding.found.startswith("shows ")),
        no_retina=tuple(finding for finding in reasons if finding.found.startswith("shows ")),
        invalid_grade=tuple(Finding(folder.file(photograph), text) for photograph, text in folder.invalid_grades),
        label_without_photograph=folder.labels_without_photograph,
        unlabelled=tuple(folder.file(photograph) for photograph in folder.unlabelled),
        duplicates=duplicates,
        left_out=tuple(Finding(files[i], reason) for i, reason in left_out.items()),
        not_used=folder.not_used,
        patients=n_patients,
        patients_by=folder.patients_by if n_patients else "",
    )
    return audit, usable, pictures


def _graded_both_ways(folder: Folder, graded: Sequence[int], pictures: NDArray[np.int64]) -> dict[int, str]:
    """Photographs whose picture is graded NRDR and RDR, so that nobody knows which is true; with the reason.

    A picture that was published for several splits stays in the last of them, and the grades there count.
    """
    members: dict[int, list[int]] = {}
    for i in graded:
        members.setdefault(int(pictures[i]), []).append(i)
    left_out: dict[int, str] = {}
    for same in members.values():
        sides = [SPLITS.index(folder.photographs[i].published_split) for i in same]
        grades = {_grade(folder.photographs[i]) for i, side in zip(same, sides, strict=True) if side == max(sides)}
        if len(set(map(label_of, grades))) > 1:
            reason = f"the same picture is graded {' and '.join(map(str, sorted(grades)))}"
            left_out |= dict.fromkeys(same, reason)
    return dict(sorted(left_out.items()))


def _with_left_out(
    audit: Audit,
    folder: Folder,
    usable: Sequence[int],
    pictures: NDArray[np.int64],
    members: Mapping[Split, Sequence[int]],
) -> Audit:
    """The audit with the photographs whose picture or patient was published for another split, too."""
    recorded = {i for side in members.values() for i in side}
    split_of = {int(pictures[i]): side for side, numbers in members.items() for i in numbers}
    left_out = [
        Finding(
            folder.file(folder.photographs[i]),
            f"the same picture is published for the {split_of[int(pictures[i])]} split"
            if int(pictures[i]) in split_of
            else "its patient is published for another split",
        )
        for i in usable
        if i not in recorded
    ]
    return replace(audit, left_out=(*audit.left_out, *left_out), n_usable=len(recorded))


def _check_bad(audit: Audit, folder: Folder, skip_bad: bool, keep: Callable[[], Path]) -> None:
    bad = audit.bad
    if not bad:
        return
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    what = f"{len(bad)} of the photographs and labels in {folder.path} cannot be used: {', '.join(bad[:_NAMED])}{more}"
    if skip_bad:
        logging.warning("%s; going on without them.", what)
        return
    path = keep()
    hint = f" ({folder.hint})" if folder.hint else ""
    raise UnusableData(
        f"{what}{hint}; mend or remove them, or go on without them with --skip-bad; all are named in {path}.",
        audit,
        path,
    )


def _refused_audit(folder: Folder, home: Home) -> Path:
    """Where the audit of a data set that is refused is kept."""
    path = folder.path.resolve()
    return home.audits / f"{path.name[:64]}-{_digest(str(path))}.json"


def _write_refused(audit: Audit, folder: Folder, home: Home) -> Path:
    path = _refused_audit(folder, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_json(path, audit.to_json())
    return path


def _check_asked(data_fingerprint: str, folder: Folder, settings: Settings) -> None:
    asked = settings.data.fingerprint
    if asked and asked != data_fingerprint:
        raise DataError(
            f"{folder.path} is other data than these settings were run on: its fingerprint is {data_fingerprint},"
            f" data.fingerprint asks for {asked}; give that data, or leave data.fingerprint empty."
        )


def _members(
    folder: Folder, usable: Sequence[int], pictures: NDArray[np.int64], settings: Settings, for_training: bool
) -> dict[Split, list[int]]:
    """The photographs of every split, by their numbers."""
    photographs = [folder.photographs[i] for i in usable]
    sides = split(
        [_grade(photograph) for photograph in photographs],
        kept_together(pictures[usable], [photograph.patient for photograph in photographs]),
        [photograph.published_split for photograph in photographs],
        settings.data,
        both_classes=for_training,
    )
    return {side: [i for i, found in zip(usable, sides, strict=True) if found == side] for side in SPLITS}


def _grade(photograph: Photograph) -> int:
    """The grade of one that can be used, and so has one."""
    assert photograph.grade is not None
    return photograph.grade


def _write_shards(
    partial: Path,
    members: Mapping[Split, Sequence[int]],
    image_and_entry: Callable[[int, Split], tuple[bytes, EyeEntry]],
) -> list[dict[str, Any]]:
    entries = []
    with ThreadPoolExecutor(1) as thread:  # hashes a shard and has the disk hold it while the next one is written
        for side, numbers in members.items():
            starts = range(0, len(numbers), SHARD_EYES)
            for number, start in enumerate(starts):
                path = partial / f"{side}-{number:05}-of-{len(starts):05}.tfrecord"
                inside = numbers[start : start + SHARD_EYES]
                write_shard(path, (image_and_entry(i, side) for i in inside))  # noqa: B023  # used up here
                entries.append(thread.submit(_finish_shard, path, side, len(inside)))
    return [entry.result() for entry in entries]


def _finish_shard(path: Path, side: Split, n: int) -> dict[str, Any]:
    _sync_one(path)
    return shard_entry(path, side, n)


def _from_spool(spool: BinaryIO, one: _Seen) -> bytes:
    spool.seek(one.at)
    return spool.read(one.stored_bytes)


def _manifest(
    folder: Folder,
    settings: Settings,
    prints: _Prints,
    seen: Sequence[_Seen],
    members: Mapping[Split, Sequence[int]],
    shards: Sequence[dict[str, Any]],
    eyes: dict[str, Any],
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "fingerprint": prints.fingerprint,
        "data_fingerprint": prints.data_fingerprint,
        "test_fingerprint": _digest(sorted(seen[i].sha256 for i in members["test"])),
        "listing": _listing(folder, settings),
        "settings": _shaping(settings),
        "counts": {side: _counts([_grade(folder.photographs[i]) for i in members[side]]) for side in SPLITS},
        "source_bytes": sum(seen[i].n_bytes for side in SPLITS for i in members[side]),
        "record_bytes": sum(shard["bytes"] for shard in shards),
        "shards": list(shards),
        "eyes": eyes,
    }


def _counts(grades: Sequence[int]) -> dict[str, Any]:
    labels = [label_of(grade) for grade in grades]
    by_class = {name: labels.count(label) for label, name in enumerate(CLASS_NAMES)}
    return {"n": len(grades), **by_class, "grades": {str(grade): grades.count(grade) for grade in GRADES}}


# Writing whole or not at all


def _write_json(path: Path, values: Any) -> None:
    whole = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    whole.write_text(json.dumps(values, indent=1) + "\n")
    whole.replace(path)


def _sync(folder: Path) -> None:
    """Have the disk hold every file before the folder gets its name."""
    for path in (*folder.iterdir(), folder):
        _sync_one(path)


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put_in_place(partial: Path, place: Path) -> None:
    """Give the finished folder its name, unless another process was faster; what is not whole there makes way."""
    if place.exists():
        try:
            open_records(place).check()
            return
        except RecordsError:
            place.rename(partial / "replaced")
    try:
        partial.rename(place)
    except OSError:
        open_records(place).check()
    shutil.rmtree(place / "replaced", ignore_errors=True)


def _remove_stale(records: Path) -> None:
    """Remove what killed processes of this machine left half-written."""
    mine = f"{_PARTIAL}{socket.gethostname()}-"
    for folder in records.glob(f"{_PARTIAL}*"):
        pid = folder.name.removeprefix(mine).split("-")[0]
        if folder.name.startswith(mine) and pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
