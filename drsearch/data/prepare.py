"""From the photographs of a data set to a record set, or to the record set that was made of it before."""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
from absl import logging
from numpy.typing import NDArray

from drsearch.data.audit import Audit, Finding, QualityFinding, quality_counts, same_picture_findings
from drsearch.data.decode import Decoded
from drsearch.data.duplicates import picture_groups
from drsearch.data.images import (
    PICTURE_VERSION,
    THUMBNAIL_PX,
    EyeImage,
    boxes_in_square,
    decode_photograph,
    eye_of,
    square_of,
)
from drsearch.data.likeness import likeness_groups, look_of
from drsearch.data.patients import kept_together
from drsearch.data.quality import LOW, Quality
from drsearch.data.records import (
    AUDIT,
    DESCRIPTION,
    MANIFEST,
    SCHEMA_VERSION,
    SHARD_EYES,
    EyeEntry,
    RecordSet,
    Split,
    open_records,
    shard_entry,
    stored_images,
    write_eyes,
    write_shard,
)
from drsearch.data.retina import BORDER_PX, Retina
from drsearch.data.splits import SPLITS, check_classes, split
from drsearch.data.spool import KEPT_NOTES, NOTES, Notes, Spool, read_key
from drsearch.datasets.boxes import Box
from drsearch.datasets.read import Dataset, Photograph
from drsearch.errors import DataError, PhotographError, RecordsError
from drsearch.files import read_file, sync, write_whole
from drsearch.grades import CLASS_NAMES, GRADES
from drsearch.home import Home
from drsearch.processes import in_threads
from drsearch.settings import ImageSettings, Settings, TaskSettings

_PARTIAL = ".partial-"
_NOBODY = 0  # the process of a folder that no process has
_LONG_S = 30.0  # of reading: who then mends the data, or leaves out what is bad, does not want it to be read again
_WORST = 40  # photographs of the lowest quality, and of the most unusual crops, that an audit names
_OF_ONE_SIZE = 10  # photographs
_UNUSUAL = 0.05  # of the photograph's width or height, between a border and where it usually is
_NAMED = 3  # bad photographs that the one sentence names
_CLOSE = 0.06  # between scores; those of one photograph at several scales lie within 0.02 of each other on IDRiD
_THREADS = os.cpu_count() or 1
_MOST_THREADS = max(64, _THREADS)  # for a disk that is far away
_FOUND_OUT = ("sha256", "n_bytes", "problem", "size", "left_out", "look")


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did.

    Attributes:
        records: The record set.
        audit: The findings about its photographs.
        reused: Whether the records existed already.
        seconds: How long it took.
    """

    records: RecordSet
    audit: Audit
    reused: bool
    seconds: float


class UnusableData(DataError):
    """Some photographs or labels cannot be used.

    Args:
        sentence: The message.
        audit: All findings.
        audit_path: The file that holds them.
    """

    def __init__(self, sentence: str, audit: Audit, audit_path: Path) -> None:
        super().__init__(sentence)
        self.audit, self.audit_path = audit, audit_path


@dataclass(slots=True)
class _Item:
    """One photograph on its way into the records; every step fills in its result.

    Attributes:
        photograph: Its place, grade and patient, by the labels of the data set.
        label: 1 for referable, 0 for not; None where it has no valid grade.
        sha256: Of its bytes; empty where they cannot be read.
        n_bytes: How many bytes it has.
        problem: Why its bytes or pixels cannot be used; empty where they can.
        thumbnail: uint8, shape (THUMBNAIL_PX, THUMBNAIL_PX); None where there is a problem.
        quality: How well it shows its retina; None where there is a problem.
        retina: Its borders; None where there is a problem.
        size: Height and width of the photograph, pixels.
        boxes: Around its lesions, in fractions of the stored image's side.
        stored_at: Where its stored image begins in the spool, and how many bytes it has.
        picture: The number of the picture that it shows; -1 where there is a problem.
        split: The split whose shards hold it; empty where it is left out.
        left_out: Why it is left out, although it could be used by itself.
        look: Framing and light, see `look_of`; empty unless photographs are divided by likeness.
        alike: The group of photographs that are alike; 0 unless they are divided by likeness.
        identity: Bytes of its file and the time of its last change, before it was read; -1 where it is not there.
    """

    photograph: Photograph
    label: int | None
    sha256: str = ""
    n_bytes: int = 0
    problem: str = ""
    thumbnail: NDArray[np.uint8] | None = None
    quality: Quality | None = None
    retina: Retina | None = None
    size: tuple[int, int] = (0, 0)
    boxes: tuple[Box, ...] = ()
    stored_at: tuple[int, int] = (0, 0)
    picture: int = -1
    split: str = ""
    left_out: str = ""
    look: tuple[float, ...] = ()
    alike: int = 0
    identity: tuple[int, int] = (-1, -1)

    @property
    def file(self) -> str:
        """Its path within the data set, for messages."""
        return self.photograph.file

    @property
    def row(self) -> tuple[str, ...]:
        """What the labels say about it: its part in fingerprints."""
        photograph = self.photograph
        grade = f"invalid: {photograph.label}" if photograph.has_invalid_grade else str(photograph.grade)
        edema = str(photograph.edema)
        return photograph.name, photograph.source, photograph.published_split, grade, edema, photograph.patient

    @property
    def patient(self) -> str:
        """The patient, who is another one in every source; empty where the patient is unknown."""
        photograph = self.photograph
        return photograph.patient and f"{photograph.source}\0{photograph.patient}"

    @property
    def is_usable(self) -> bool:
        """Whether it shows a retina, has a grade, and is not left out."""
        return not (self.problem or self.left_out or self.photograph.grade is None)

    @property
    def grade_and_label(self) -> tuple[int, int]:
        """Grade and label of a photograph that can be used, and so has both."""
        assert self.photograph.grade is not None
        assert self.label is not None
        return self.photograph.grade, self.label

    @property
    def is_known_and_graded(self) -> bool:
        """Whether its patient and its grade are known, and it shows a retina."""
        return bool(self.patient) and not self.problem and self.photograph.grade is not None

    def note(self) -> dict[str, Any]:
        """What was found out by reading it, as JSON values."""
        return {
            **{name: getattr(self, name) for name in _FOUND_OUT},
            "thumbnail": None if self.thumbnail is None else base64.b64encode(self.thumbnail.tobytes()).decode(),
            "quality": None if self.quality is None else astuple(self.quality),
            "retina": None if self.retina is None else astuple(self.retina),
        }

    def recall(self, note: Mapping[str, Any]) -> None:
        """Take what `note` returned when it was read, and where its stored image lies."""
        for name in _FOUND_OUT:
            setattr(self, name, note[name])
        self.stored_at, self.size, self.look = tuple(note["at"]), tuple(note["size"]), tuple(note["look"])
        if note["thumbnail"] is not None:
            pixels = np.frombuffer(base64.b64decode(note["thumbnail"]), np.uint8)
            self.thumbnail = pixels.reshape(THUMBNAIL_PX, THUMBNAIL_PX)
            self.quality, self.retina = Quality(*note["quality"]), Retina(*note["retina"])

    def entry(self, split: Split | Literal[""], patients: dict[str, str]) -> EyeEntry:
        """Its line in `eyes.jsonl`."""
        assert self.thumbnail is not None
        assert self.quality is not None
        photograph, (grade, label) = self.photograph, self.grade_and_label
        return EyeEntry(
            photograph.name,
            split,
            grade,
            label,
            self.sha256,
            self.thumbnail,
            self.quality,
            patient=patients[self.patient],
            eye=photograph.eye,
            source=photograph.source,
            boxes=self.boxes,
            alike=self.alike,
            edema=photograph.edema,
        )


def prepare(
    dataset: Dataset,
    settings: Settings,
    home: Home,
    *,
    skip_bad: bool = False,
    for_training: bool = True,
    on_photograph: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Audit the photographs of a data set, crop, split and record them; or return the records made before.

    Records appear whole or not at all: they are written to a folder beside their place and renamed. Each photograph
    is read once and decoded in a thread; only names, checksums and thumbnails of the set are held in memory, some 4 kB
    per photograph.

    Args:
        dataset: The photographs and their labels.
        settings: `images.*`, `data.*` and `task.*` are used.
        home: Where records are kept, one folder per fingerprint.
        skip_bad: Leave out photographs that cannot be read whole, show no retina or have no valid grade, and labels
            that have no photograph.
        for_training: Refuse a set of which a split lacks one of the classes.
        on_photograph: Called with the number of photographs done, and of all.

    Returns:
        The record set with its audit.

    Raises:
        DataError: If something in it is bad and not skipped (`UnusableData`), a split would lack a class, macular edema
            is asked for and no label has it, or `data.fingerprint` names other data.
    """
    start = time.monotonic()
    _check_edema(dataset, settings.task)
    _check_left_out(dataset, settings.training.left_out)
    items = [_item(each, settings.task) for each in dataset.photographs if each.gradable and not each.excluded]
    home.records.mkdir(parents=True, exist_ok=True)
    existing = _find_records(dataset, items, settings, home)
    if existing is not None:
        records, audit = existing
        audit = _updated_audit(records, audit, dataset)
        _check_fingerprint(records.data_fingerprint, dataset, settings)
        _check_bad(audit, dataset, skip_bad, records.audit_path)
        if for_training:
            check_classes({side: [n[name] for name in CLASS_NAMES] for side, n in records.counts.items()})
    else:
        records, audit = _make_records(dataset, items, settings, home, skip_bad, for_training, on_photograph)
    _refused_audit(dataset, home).unlink(missing_ok=True)
    return Prepared(records, audit, existing is not None, time.monotonic() - start)


def _item(photograph: Photograph, task: TaskSettings) -> _Item:
    if photograph.grade is None:
        return _Item(photograph, None)
    return _Item(photograph, task.label(photograph.grade, bool(photograph.edema)))


def _check_left_out(dataset: Dataset, names: Sequence[str]) -> None:
    known = {photograph.name for photograph in dataset.photographs}
    if unknown := [name for name in names if name not in known]:
        raise DataError(
            f"training.leave_out names {unknown[0]!r}, which is no photograph of {dataset.place}; write the name of "
            "its file without ending, as a list of doubtful labels has it."
        )


def _check_edema(dataset: Dataset, task: TaskSettings) -> None:
    if task.edema and all(photograph.edema is None for photograph in dataset.photographs):
        raise DataError(
            f"task.edema = True, but no label of {dataset.place} says whether an eye has macular edema: name its column"
            " with --edema-column, or leave the setting out."
        )


# Records made before


def _find_records(
    dataset: Dataset, items: Sequence[_Item], settings: Settings, home: Home
) -> tuple[RecordSet, Audit] | None:
    """The whole records of the same photographs and settings, with their audit.

    Names and sizes are compared first: where no records can fit, each photograph is read only once, to be decoded.
    """
    listing = _listing(dataset, items, settings)
    for path in sorted(home.records.glob(f"[!.]*/{MANIFEST}")):
        try:
            records = open_records(path.parent)
            if records.manifest["listing"] != listing:
                continue
            for _ in in_threads(_read, items, _THREADS, _MOST_THREADS):
                pass
            if records.fingerprint == _fingerprints(dataset, items, settings)[0]:
                records.check()
                return records, Audit.from_json(json.loads(records.audit_path.read_text()))
        except (RecordsError, OSError, ValueError, KeyError) as error:
            logging.warning("%s is not used: %s", path.parent, error)
    return None


def _updated_audit(records: RecordSet, audit: Audit, dataset: Dataset) -> Audit:
    """The audit of the records with the other files as they are today, which are no part of the records."""
    if audit.not_used != dataset.not_used:
        audit = replace(audit, not_used=dataset.not_used)
        _write_json(records.audit_path, audit.to_json())
    return audit


def _listing(dataset: Dataset, items: Sequence[_Item], settings: Settings) -> str:
    rows = [(*item.row, _size(item.photograph.path)) for item in items]
    return _digest([rows, _outside(dataset), _shaping(settings), *_beside(items)])


def _beside(items: Sequence[_Item]) -> list[Any]:
    """The boxes of all photographs, and that macular edema is known, for the fingerprint of the records.

    That of the data has no part of them. Data without them have the fingerprint that they had before they were read.
    """
    boxes = [item.photograph.boxes for item in items]
    with_edema = any(item.photograph.edema is not None for item in items)
    return [boxes] * any(boxes) + ["edema"] * with_edema


def _outside(dataset: Dataset) -> list[Sequence[str]]:
    """What belongs to the audit and not to the records: it has a part in the fingerprint of records all the same."""
    ungradable = [photograph.file for photograph in dataset.ungradable]
    excluded = [photograph.file for photograph in dataset.photographs if photograph.excluded]
    return [dataset.labels_without_photograph, ungradable, excluded]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _shaping(settings: Settings) -> dict[str, dict[str, Any]]:
    """The settings that shape records."""
    data = {key: value for key, value in asdict(settings.data).items() if key != "fingerprint"}
    return {"images": asdict(settings.images), "data": data, "task": asdict(settings.task)}


def _fingerprints(dataset: Dataset, items: Sequence[_Item], settings: Settings) -> tuple[str, str]:
    """The fingerprint of the records, and that of the data alone, whatever `images.*` is."""
    shaping = _shaping(settings)
    rows = [(*item.row, item.sha256 or item.problem) for item in items]
    labelled = [row for row, item in zip(rows, items, strict=True) if item.photograph.grade is not None]
    return (
        _digest([SCHEMA_VERSION, PICTURE_VERSION, shaping, rows, _outside(dataset), *_beside(items)]),
        _digest([SCHEMA_VERSION, shaping["data"], shaping["task"], labelled]),
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


# Making records


def _make_records(
    dataset: Dataset,
    items: Sequence[_Item],
    settings: Settings,
    home: Home,
    skip_bad: bool,
    for_training: bool,
    on_photograph: Callable[[int, int], None] | None,
) -> tuple[RecordSet, Audit]:
    with _partial_folder(home.records, key := _spool_key(settings)) as partial:
        with contextlib.closing(Spool(partial, key)) as spool:
            _take_over(items, home.records, spool, key)
            _read_all(items, settings, spool, on_photograph)
            fingerprint, data_fingerprint = _fingerprints(dataset, items, settings)
            _check_fingerprint(data_fingerprint, dataset, settings)
            audit = _audit(dataset, items)
            if audit.bad and not skip_bad:
                _write_json(_refused_audit(dataset, home), audit.to_json())
            _check_bad(audit, dataset, skip_bad, _refused_audit(dataset, home))
            _split(dataset, items, settings, for_training)
            members = {side: [item for item in items if item.split == side] for side in SPLITS}
            patients = _patient_numbers(items)
            shards = _write_shards(partial, members, spool, patients)
        entries = [item.entry(side, patients) for side in SPLITS for item in members[side]]
        left_out = [item.entry("", patients) for item in items if item.left_out and item.is_known_and_graded]
        eyes = write_eyes(partial, [*entries, *left_out])
        spool.finish()
        recorded = [item for side in SPLITS for item in members[side]]
        audit = replace(audit, left_out=_left_out(dataset, items), n_usable=len(recorded))
        _write_json(partial / AUDIT, audit.to_json())
        write_whole(partial / DESCRIPTION, dataset.source.to_toml().encode(), replace=True)
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "fingerprint": fingerprint,
            "data_fingerprint": data_fingerprint,
            "test_fingerprint": _digest(sorted(item.sha256 for item in members["test"])),
            "listing": _listing(dataset, items, settings),
            "settings": _shaping(settings),
            "counts": {side: _counts(members[side]) for side in SPLITS},
            "split": _split_words(dataset, settings),
            "sources": _sources(dataset, members),
            "ungradable": len(dataset.ungradable),
            "source_bytes": sum(item.n_bytes for item in recorded),
            "record_bytes": sum(shard["bytes"] for shard in shards),
            "shards": shards,
            "eyes": eyes,
        }
        _write_json(partial / MANIFEST, manifest)
        for path in (*partial.iterdir(), partial):
            sync(path)
        _put_in_place(partial, home.records / fingerprint)
    return open_records(home.records / fingerprint), audit


def _read_all(
    items: Sequence[_Item], settings: Settings, spool: Spool, on_photograph: Callable[[int, int], None] | None
) -> None:
    """Read every photograph, and write its stored image to the spool, because splits are known only at the end.

    Those that are in the spool, and did not change since, are not read again.

    Photographs are decoded in threads, and cropped in this one. To crop is many short steps, and threads wait for each
    other at every one: where all did both, preparing took 8 % longer on 2 cores. Only where this thread falls behind,
    as it must with many cores, others crop, too.
    """
    waiting = threading.Semaphore(2 * _THREADS)

    def work(item: _Item) -> Decoded | bytes:
        decoded = _decode(item, settings.images)
        if decoded is None or waiting.acquire(blocking=False):
            return decoded or b""
        return _crop(item, decoded, settings)

    unread = [item for item in items if not _recall(item, spool, settings.images)]
    if n_known := len(items) - len(unread):
        logging.info("%d of %d photographs were read before, and are not read again", n_known, len(items))
    done = zip(unread, in_threads(work, unread, _THREADS, _MOST_THREADS), strict=True)
    for n, (item, result) in enumerate(done, start=n_known + 1):
        if isinstance(result, Decoded):
            waiting.release()
            result = _crop(item, result, settings)
        item.stored_at = spool.add(item.photograph.path, item.identity, item.note(), result)
        if on_photograph is not None:
            on_photograph(n, len(items))


def _spool_key(settings: Settings) -> str:
    """Of what shapes a stored image, and what is found out with it."""
    data = settings.data
    return _digest([PICTURE_VERSION, asdict(settings.images), data.least_quality, data.split == "likeness"])


def _take_over(items: Sequence[_Item], records: Path, spool: Spool, key: str) -> None:
    """Put into the spool what record sets of the same key hold of these photographs, unless they changed since."""
    for item in items:
        with contextlib.suppress(OSError):  # the reading of the photograph will say so
            status = item.photograph.path.stat()
            item.identity = status.st_size, status.st_mtime_ns
    unread = [item for item in items if spool.known(item.photograph.path, item.identity) is None]
    for path in sorted(records.glob(f"[!.]*/{KEPT_NOTES}"), key=lambda path: -path.stat().st_mtime):
        if not unread or read_key(path) != key:
            continue
        with path.open("rb") as file:
            notes, stored_of = Notes(file, key), defaultdict[str, list[_Item]](list)
            for item in unread:
                if note := notes.known(item.photograph.path, item.identity):
                    stored_of[note["sha256"]].append(item)
            try:
                for sha256, stored in stored_images(open_records(path.parent)):
                    for item in stored_of.pop(sha256, ()):
                        note = notes.known(item.photograph.path, item.identity)
                        assert note is not None
                        spool.add(item.photograph.path, item.identity, note, stored)
            except (RecordsError, OSError) as wrong:
                logging.warning("%s is not used: %s", path.parent, wrong)
        unread = [item for item in unread if spool.known(item.photograph.path, item.identity) is None]


def _recall(item: _Item, spool: Spool, settings: ImageSettings) -> bool:
    """Fill in what an earlier preparation has found out about a photograph; whether it had."""
    note = spool.known(item.photograph.path, item.identity)
    if note is None or not note["sha256"]:  # what could not be opened then may be now
        return False
    item.recall(note)
    if item.retina is not None:
        item.boxes = boxes_in_square(item.photograph.boxes, square_of(item.retina, *item.size, settings))
    return True


def _read(item: _Item) -> bytes | None:
    try:
        data = read_file(item.photograph.path)
    except OSError as error:
        item.sha256, item.n_bytes, item.problem = "", 0, f"cannot be opened: {error.strerror}"
        return None
    item.sha256, item.n_bytes, item.problem = hashlib.sha256(data).hexdigest(), len(data), ""
    return data


def _decode(item: _Item, settings: ImageSettings) -> Decoded | None:
    data = _read(item)
    if data is None:
        return None
    try:
        return decode_photograph(data, settings)
    except PhotographError as error:
        item.problem = str(error)
        return None


def _crop(item: _Item, decoded: Decoded, settings: Settings) -> bytes:
    """The stored image; empty where no retina is seen."""
    try:
        eye = eye_of(decoded, settings.images)
        quality = _quality(eye, decoded, settings.data.least_quality)
    except PhotographError as error:
        item.problem = str(error)
        return b""
    item.thumbnail, item.quality = eye.thumbnail, quality
    if settings.data.split == "likeness":
        item.look = look_of(decoded.photograph)
    item.retina, item.size = eye.retina, (eye.height, eye.width)
    square = square_of(eye.retina, eye.height, eye.width, settings.images)
    item.boxes = boxes_in_square(item.photograph.boxes, square)
    if quality.score < settings.data.least_quality:
        item.left_out = f"its quality is {quality.score:.2f}: it {quality.reason}"
    return eye.stored


def _quality(eye: EyeImage, decoded: Decoded, least: float) -> Quality:
    """The quality by which a photograph is kept or left out, so that it is the same whatever `images.*` is.

    The quality differs a little by the scale of decoding, so the smallest one decides where it is close.
    """
    if abs(eye.quality.score - least) > _CLOSE or not least:
        return eye.quality
    smallest = ImageSettings(image_px=BORDER_PX)
    return eye_of(decode_photograph(decoded.photograph, smallest), smallest).quality


def _audit(dataset: Dataset, items: Sequence[_Item]) -> Audit:
    """The findings. Every item gets the number of its picture, and the reason if its picture is graded both ways."""
    shown = [item for item in items if not item.problem]
    hashes = [item.sha256 for item in shown]
    pictures = picture_groups(hashes, np.array([item.thumbnail for item in shown], np.uint8))
    for item, picture in zip(shown, pictures.tolist(), strict=True):
        item.picture = picture
    grades, labels = [item.photograph.grade for item in shown], [item.label for item in shown]
    duplicates = same_picture_findings([item.file for item in shown], grades, labels, hashes, pictures)
    _leave_out_graded_both_ways(items)
    usable = [item for item in items if item.is_usable]
    patients = [item.patient for item in usable]
    problems = [Finding(item.file, item.problem) for item in items if item.problem]
    return Audit(
        n_photographs=len(dataset.photographs),
        n_usable=len(usable),
        unreadable=tuple(finding for finding in problems if not finding.found.startswith("shows ")),
        no_retina=tuple(finding for finding in problems if finding.found.startswith("shows ")),
        invalid_grade=tuple(Finding(photograph.file, text) for photograph, text in dataset.invalid_grades),
        label_without_photograph=dataset.labels_without_photograph,
        unlabelled=tuple(photograph.file for photograph in dataset.unlabelled),
        duplicates=duplicates,
        ungradable=tuple(photograph.file for photograph in dataset.ungradable),
        left_out=_left_out(dataset, items),
        not_used=dataset.not_used,
        patients=len(set(patients) - {""}),
        patients_by=dataset.patients_by if any(patients) else "",
        of_unknown_patients=patients.count(""),
        quality=quality_counts([item.quality.score for item in items if item.quality]),
        lowest_quality=_lowest_quality(items),
        unusual_crops=_unusual_crops(items),
    )


def _lowest_quality(items: Sequence[_Item]) -> tuple[QualityFinding, ...]:
    """The photographs of the lowest quality, the worst first."""
    measured = [(item.quality.score, item.file, item.quality.reason) for item in items if item.quality]
    return tuple(
        QualityFinding(file, round(score, 3), reason if score < LOW else "")
        for score, file, reason in sorted(measured)[:_WORST]
    )


def _left_out(dataset: Dataset, items: Sequence[_Item]) -> tuple[Finding, ...]:
    excluded = (Finding(each.file, each.excluded) for each in dataset.photographs if each.excluded)
    return (*excluded, *(Finding(item.file, item.left_out) for item in items if item.left_out))


def _unusual_crops(items: Sequence[_Item]) -> tuple[Finding, ...]:
    """The photographs whose borders are not where those of others are, the most unusual first.

    Compared are photographs of one size, as a camera takes them; all, where fewer than ten have that size.
    """
    cropped = [item for item in items if item.retina is not None]
    sizes = Counter(item.size for item in cropped)
    of_size: dict[tuple[int, int], list[_Item]] = {}
    for item in cropped:
        of_size.setdefault(item.size if sizes[item.size] >= _OF_ONE_SIZE else (0, 0), []).append(item)
    unusual: list[tuple[float, str, str]] = []
    for same in of_size.values():
        borders = np.array([astuple(item.retina) for item in same if item.retina is not None])
        usual = np.median(borders, axis=0)
        away = borders - usual
        for item, by_border in zip(same, away, strict=True):
            worst = int(np.argmax(np.abs(by_border)))
            if abs(by_border[worst]) > _UNUSUAL:
                name = ("left", "right", "upper", "lower")[worst]
                place, length = usual[worst] + by_border[worst], "width" if worst < 2 else "height"
                text = f"its {name} border is at {place:.0%} of its {length}, where {usual[worst]:.0%} is usual"
                unusual.append((-abs(float(by_border[worst])), item.file, text))
    return tuple(Finding(file, text) for _, file, text in sorted(unusual)[:_WORST])


def _leave_out_graded_both_ways(items: Sequence[_Item]) -> None:
    """Leave out photographs whose picture is graded NRDR and RDR, because nobody knows which is true.

    A picture that was published for several splits stays in the last of them, and the grades there count.
    """
    by_picture: dict[int, list[_Item]] = {}
    for item in items:
        if item.is_usable:
            by_picture.setdefault(item.picture, []).append(item)
    for same in by_picture.values():
        last = max((item.photograph.published_split for item in same), key=SPLITS.index)
        graded = {item.grade_and_label for item in same if item.photograph.published_split == last}
        if len({label for _, label in graded}) > 1:
            grades = " and ".join(str(grade) for grade, _ in sorted(graded))
            for item in same:
                item.left_out = f"the same picture is graded {grades}"


def _split(dataset: Dataset, items: Sequence[_Item], settings: Settings, for_training: bool) -> None:
    """Give every photograph that can be used its split, or the reason why it is left out of all."""
    usable = [item for item in items if item.is_usable]
    if not usable:
        raise DataError(f"{dataset.place} has no photograph that can be used.")
    pictures, patients = np.array([item.picture for item in usable]), [item.patient for item in usable]
    graded = [item.grade_and_label for item in usable]
    together, sources = kept_together(pictures, patients), [item.photograph.source for item in usable]
    if settings.data.split == "likeness":
        groups = likeness_groups([item.look for item in usable], together, sources)
        for item, alike in zip(usable, groups.tolist(), strict=True):
            item.alike = alike
    sides = split(
        [grade for grade, _ in graded],
        [label for _, label in graded],
        together,
        [item.photograph.published_split for item in usable],
        settings.data,
        patients,
        sources,
        [item.alike for item in usable],
        both_classes=for_training,
    )
    for item, side in zip(usable, sides.tolist(), strict=True):
        item.split = side
    split_of = {item.picture: item.split for item in usable if item.split}
    for item in usable:
        if not item.split:
            item.left_out = (
                f"the same picture is published for the {split_of[item.picture]} split"
                if item.picture in split_of
                else "its patient is published for another split"
            )


def _patient_numbers(items: Sequence[_Item]) -> dict[str, str]:
    """Numbers for patients, because entries go to MLflow with a model, and a table may hold the names of people."""
    patients = dict.fromkeys(item.patient for item in items if item.patient)
    return {"": "", **{patient: str(number) for number, patient in enumerate(patients, start=1)}}


def _write_shards(
    partial: Path, members: dict[Split, list[_Item]], spool: Spool, patients: dict[str, str]
) -> list[dict[str, Any]]:
    """Write the shards; what the manifest says of them."""

    def image_and_entry(item: _Item, side: Split) -> tuple[bytes, EyeEntry]:
        return spool.stored(item.stored_at), item.entry(side, patients)

    shards = []
    with ThreadPoolExecutor(1) as thread:  # hashes a shard and has the disk hold it while the next one is written
        for side, of_split in members.items():
            starts = range(0, len(of_split), SHARD_EYES)
            for number, start in enumerate(starts):
                path = partial / f"{side}-{number:05}-of-{len(starts):05}.tfrecord"
                inside = of_split[start : start + SHARD_EYES]
                write_shard(path, (image_and_entry(item, side) for item in inside))  # noqa: B023  # used up here
                shards.append(thread.submit(_finish_shard, path, side, len(inside)))
    return [shard.result() for shard in shards]


def _finish_shard(path: Path, side: Split, n: int) -> dict[str, Any]:
    sync(path)
    return shard_entry(path, side, n)


def _counts(items: Sequence[_Item]) -> dict[str, Any]:
    grades, labels = [item.grade_and_label[0] for item in items], [item.label for item in items]
    by_class = {name: labels.count(label) for label, name in enumerate(CLASS_NAMES)}
    return {"n": len(grades), **by_class, "grades": {str(grade): grades.count(grade) for grade in GRADES}}


def _split_words(dataset: Dataset, settings: Settings) -> dict[str, str]:
    """How each split was made, for the manifest."""
    data = settings.data
    published = {each.published_split for each in dataset.photographs}
    way = {
        "blocks": "contiguous by file name",
        "random": f"at random, seed {data.seed}",
        "likeness": f"groups of photographs that are alike, seed {data.seed}",
    }[data.split]
    fractions = {"test": data.test_fraction, "validation": data.validation_fraction}
    return {
        side: "as published" if side in published else f"{fraction:g} of the photographs published for training, {way}"
        for side, fraction in fractions.items()
    }


def _sources(dataset: Dataset, members: dict[Split, list[_Item]]) -> dict[str, dict[str, Any]]:
    """The counts of each data set that is pooled, by split."""
    sources = dict.fromkeys(photograph.source for photograph in dataset.photographs if photograph.source)
    return {
        source: {
            side: _counts([item for item in of if item.photograph.source == source]) for side, of in members.items()
        }
        for source in sources
    }


# Refusing


def _check_bad(audit: Audit, dataset: Dataset, skip_bad: bool, audit_path: Path) -> None:
    bad = audit.bad
    if not bad:
        return
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    what = (
        f"{len(bad)} of the photographs and labels in {dataset.place} cannot be used: {', '.join(bad[:_NAMED])}{more}"
    )
    if skip_bad:
        logging.warning("%s; going on without them.", what)
        return
    hint = f" ({dataset.hint})" if dataset.hint else ""
    raise UnusableData(
        f"{what}{hint}; mend or remove them, or go on without them with --skip-bad; all are named in {audit_path}.",
        audit,
        audit_path,
    )


def _refused_audit(dataset: Dataset, home: Home) -> Path:
    """Where the audit of a data set that is refused is kept."""
    places = [str(Path(description.folder).resolve()) for description in dataset.source.sets]
    return home.audits / f"{dataset.name[:64]}-{_digest(places)}.json"


def _check_fingerprint(data_fingerprint: str, dataset: Dataset, settings: Settings) -> None:
    wanted = settings.data.fingerprint
    if wanted and wanted != data_fingerprint:
        raise DataError(
            f"{dataset.place} is other data than these settings were run on: its fingerprint is {data_fingerprint},"
            f" data.fingerprint asks for {wanted}; give that data, or leave data.fingerprint empty."
        )


# Writing whole or not at all


def _write_json(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(values, indent=1) + "\n").encode(), replace=True)


@contextlib.contextmanager
def _partial_folder(records: Path, key: str) -> Iterator[Path]:
    """A folder that is removed at the end, unless it got another name, or Ctrl-C ends this process.

    It is a new one, or the one that a process of this machine left with photographs read for the same key: one that was
    killed, or that read for long and then refused its data. Others that were left are removed.
    """
    mine, name = f"{_PARTIAL}{socket.gethostname()}", uuid.uuid4().hex[:8]
    partial = records / f"{mine}-{os.getpid()}-{name}"
    for left in unfinished(records):
        if not partial.exists() and read_key(left / NOTES) == key:
            with contextlib.suppress(OSError):  # another process was faster
                left.rename(partial)
        else:
            shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(exist_ok=True)
    start = time.monotonic()
    try:
        yield partial
    except Exception as wrong:
        if isinstance(wrong, DataError) and time.monotonic() - start >= _LONG_S:
            partial.rename(records / f"{mine}-{_NOBODY}-{name}")
        else:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(partial, ignore_errors=True)


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


def unfinished(records: Path) -> Iterator[Path]:
    """The folders that preparations of this machine left half-written when they were killed or refused their data.

    Args:
        records: The folder of all record sets.
    """
    mine = f"{_PARTIAL}{socket.gethostname()}-"
    for folder in sorted(records.glob(f"{_PARTIAL}*")):
        pid = folder.name.removeprefix(mine).split("-")[0]
        if folder.name.startswith(mine) and pid.isdigit() and not psutil.pid_exists(int(pid)):
            yield folder
