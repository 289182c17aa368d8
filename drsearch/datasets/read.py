"""From a description to one row per photograph: its grade, patient, eye and published split."""

import difflib
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from drsearch.datasets.boxes import Box, BoxTable
from drsearch.datasets.description import SIDES, DataSource, Description, Grade, Part, PublishedSplit
from drsearch.datasets.listing import Listing, plain_name, readable
from drsearch.datasets.matching import PhotographIndex, why_unmatched, without_ending
from drsearch.datasets.patients import EYES, patient_and_eye, patients_of
from drsearch.datasets.table_files import Table, TableFile, plain_title
from drsearch.datasets.unused import unused
from drsearch.errors import DataError
from drsearch.grades import GRADES

_UNGRADABLE, _EXCLUDED, _ANY_OTHER = "ungradable", "excluded", "*"
_NAMED = 4  # titles or files that a message names


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph of a data set.

    Attributes:
        name: Its file's name without ending; after its folders where two of a data set have one name, and after the
            name of the data set where several are pooled, with hyphens between: it can name a file. The published train
            and test set of IDRiD use the same names.
        path: Where it lies.
        file: Its path within the folder of its data set, as messages give it.
        grade: 0 to 4; None where there is no label, no valid grade, or where it cannot be graded.
        published_split: The split for which it was published.
        patient: Whose eye it is; empty where that is unknown.
        eye: Which eye it is; empty where that is unknown.
        edema: Whether it has macular edema; None where no label says so.
        gradable: False where the data set says that it cannot be graded.
        excluded: Why it is no part of the data set, although it lies in its folder; empty for all others.
        label: The text of the grade in the table, or of the folder; None where no label names the photograph.
        source: Name of the data set that it comes from, where several are pooled; else empty.
        boxes: Around its lesions, in fractions of its width and height as a viewer shows it; empty where none is known.
    """

    name: str
    path: Path
    file: str
    grade: int | None
    published_split: PublishedSplit
    patient: str = ""
    eye: Literal["", "left", "right"] = ""
    edema: bool | None = None
    gradable: bool = True
    excluded: str = ""
    label: str | None = None
    source: str = ""
    boxes: tuple[Box, ...] = ()

    @property
    def has_invalid_grade(self) -> bool:
        """Whether its label is neither one of the five grades nor says that it cannot be graded."""
        return self.grade is None and self.gradable and not self.excluded and self.label is not None


@dataclass(frozen=True)
class Dataset:
    """The photographs and labels of a data set, or of several that are pooled.

    Attributes:
        source: How they were read.
        photographs: All of them, part by part, in the order of their files.
        labels_without_photograph: Names, each with the table that has it: `labels/train.csv: IDRiD_007`.
        not_used: Files that look like photographs or tables and are not read, and columns that are not read, each in a
            few words. A folder of which nothing is used is named once.
        patients_by: What names the patients: a column, pairs or file names; empty without patients.
        hint: Why labels and photographs may not match; empty where they match or no reason is seen.
        given: Paths of folders or description files that are read in this way; empty where columns were named by hand.
    """

    source: DataSource
    photographs: tuple[Photograph, ...]
    labels_without_photograph: tuple[str, ...]
    not_used: tuple[str, ...]
    patients_by: str
    hint: str
    given: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """Of the data set, or of all that are pooled."""
        return self.source.name

    @property
    def place(self) -> str:
        """The folders, as messages name them."""
        return " and ".join(description.folder for description in self.source.sets)

    @property
    def unlabelled(self) -> tuple[Photograph, ...]:
        """The photographs that no label names."""
        return tuple(each for each in self.photographs if each.label is None and not each.excluded)

    @property
    def invalid_grades(self) -> tuple[tuple[Photograph, str], ...]:
        """The photographs whose label is no grade, with its text."""
        return tuple((each, each.label or "") for each in self.photographs if each.has_invalid_grade)

    @property
    def ungradable(self) -> tuple[Photograph, ...]:
        """The photographs that the data set says cannot be graded."""
        return tuple(each for each in self.photographs if not each.gradable and not each.excluded)


def data_options(given: Iterable[str | Path]) -> str:
    """The options that name data sets to a command, each path quoted for a shell.

    Example:
        >>> data_options(["/eyes/IDRiD", "/eyes/my hospital"])
        "--data /eyes/IDRiD --data '/eyes/my hospital'"
    """
    return " ".join(f"--data {shlex.quote(str(path))}" for path in given)


def read_dataset(source: DataSource, listings: Mapping[str, Listing]) -> Dataset:
    """List the photographs of a data set with their labels; no photograph is opened.

    Args:
        source: How the set lies on disk; several are pooled.
        listings: The files of every set, by its folder.

    Returns:
        One row per photograph, and what could not be matched.

    Raises:
        DataError: If a folder or table cannot be read or understood, or a label fits two photographs.
    """
    sets = [_Reader(description, listings[description.folder]).read() for description in source.sets]
    photographs = [photograph for each in sets for photograph in each.photographs]
    if not photographs:
        elsewhere = "; ".join(line for each in sets for line in each.not_used[:_NAMED])
        more = f", but there are files that are not read: {elsewhere}" if elsewhere else ""
        raise DataError(f"{' and '.join(each.place for each in sets)} holds no photographs{more}.")
    if len(sets) == 1:
        return sets[0] if len({each.source for each in photographs}) > 1 else _of_one_source(sets[0])
    names = [description.name for description in source.sets]
    if len(set(names)) < len(names):
        raise DataError(f"two data sets are named {Counter(names).most_common(1)[0][0]!r}; name one in its data.toml.")
    pooled = tuple(
        replace(each, name=f"{each.source}-{each.name}", file=f"{each.source}/{each.file}") for each in photographs
    )
    named = list(zip(names, sets, strict=True))
    return Dataset(
        source,
        pooled,
        tuple(f"{name}/{line}" for name, each in named for line in each.labels_without_photograph),
        tuple(f"{name}/{line}" for name, each in named for line in each.not_used),
        _patients_of_all(named),
        next((each.hint for each in sets if each.hint), ""),
    )


def _patients_of_all(named: Sequence[tuple[str, "Dataset"]]) -> str:
    """What names the patients of several sets, and of which, unless it is the same for all."""
    ways: dict[str, list[str]] = {}
    for name, each in named:
        ways.setdefault(each.patients_by, []).append(name)
    if len(ways) == 1:
        return named[0][1].patients_by
    return " and ".join(f"{way} of {', '.join(names)}" for way, names in ways.items() if way)


def _of_one_source(dataset: Dataset) -> Dataset:
    """Without the name of the only source, so that records do not depend on the name of a folder."""
    return replace(dataset, photographs=tuple(replace(each, source="") for each in dataset.photographs))


@dataclass
class _Row:
    """What the labels say about one photograph."""

    text: str | None = None
    grade: Grade | None = None
    patient: str = ""
    eye: Literal["", "left", "right"] = ""
    edema: bool | None = None
    gradable: bool = True
    split: PublishedSplit | None = None
    source: str = ""


@dataclass
class _Reader:
    """Reads one data set by its description."""

    description: Description
    listing: Listing
    rows: dict[str, _Row] = field(default_factory=dict)
    boxes: dict[str, list[Box]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    not_used: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    by_pattern: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._grades = {_plain(text): grade for text, grade in self.description.grades.items()}
        self._ungradable = set(map(_plain, self.description.ungradable))
        self._edema = set(map(_plain, self.description.edema))
        self._eyes = {**EYES, **{_plain(text): eye for text, eye in self.description.eyes.items()}}
        self._splits = {**SIDES, **{_plain(text): split for text, split in self.description.splits.items()}}
        self._exclude = set(map(plain_name, self.description.exclude))

    def read(self) -> Dataset:
        columns: dict[str, set[str]] = {}
        for part in self.description.parts:
            images = self._images(part)
            self.used |= set(images)
            if part.labels:
                unread = self._read_table(part, images)
                columns[part.labels] = columns.get(part.labels, unread) & unread  # a table may have several parts
                self.used.add(part.labels)
            else:
                self._read_folders(part, images)
        boxes_elsewhere = [line for table in self.description.boxes for line in self._read_boxes(table)]
        self._name_unused(columns)
        self.not_used += boxes_elsewhere
        return self._dataset()

    def _images(self, part: Part) -> tuple[str, ...]:
        pictures: dict[str, None] = {}
        for folder in part.images:
            if folder != "." and folder not in self.listing.folders and not (self.listing.root / folder).is_dir():
                near = ", ".join(self.listing.folders[1 : _NAMED + 1])
                raise DataError(
                    f"{self.listing.root} has no folder {folder} for the photographs"
                    + (f"; it has {near}: mend 'images' in its description." if near else ".")
                )
            pictures |= dict.fromkeys(self.listing.pictures_in(folder))
        return tuple(pictures)

    # Tables

    def _read_table(self, part: Part, images: Sequence[str]) -> set[str]:
        """Read the rows of a table; the titles of its columns that are not empty and not read."""
        table = self._table(part.labels, self._columns(part), part.titles)
        at = {title: table.column(title) for title in self._columns(part)}
        index = PhotographIndex(images)
        n_titles = len(table.titles)
        written: set[int] = set()
        for line, cells in zip(table.lines, table.rows, strict=True):
            if any(cells[n_titles:]):
                raise DataError(
                    f"{self._path(part.labels)}, line {line}, has {len(cells)} cells for {n_titles} columns:"
                    f" {', '.join(cells)!r}; put a cell with a separator in it in quotes, and give every column a"
                    " title."
                )
            written |= {place for place in range(n_titles) if cells[place]}
            row = {title: cells[place] for title, place in at.items() if place is not None}
            name = row[part.image_column]
            if not name:
                if any(row[title] for title in part.grade_column):
                    self.missing.append(f"{part.labels}: line {line}, which has no name")
                continue
            self._take_row(part, line, row, index.find(name))
        used = {place for place in at.values() if place is not None}
        return {table.titles[place] or f"number {place + 1}" for place in written - used}

    def _take_row(self, part: Part, line: int, cells: Mapping[str, str], files: Sequence[str]) -> None:
        name = cells[part.image_column]
        if len(files) > 1:
            raise DataError(
                f"{self._path(part.labels)}, line {line}: {name} may be {readable(files[0])} or {readable(files[1])};"
                " keep one of them, or name the folder of the photographs."
            )
        if not files:
            self.missing.append(f"{part.labels}: {plain_name(without_ending(name))}")
            return
        row = self._row(part, line, cells)
        before = self.rows.get(files[0])
        self.rows[files[0]] = row if before is None else self._joined(part, files[0], before, row)

    def _row(self, part: Part, line: int, cells: Mapping[str, str]) -> _Row:
        texts = [cells[title] for title in part.grade_column]
        text = next((text for text in texts if text), "")
        edema = _plain(cells[part.edema_column]) if part.edema_column else ""
        eye = cells[part.eye_column] if part.eye_column else ""
        return _Row(
            text=text,
            grade=self._grade(text, part.grade_separator),
            patient=cells[part.patient_column] if part.patient_column else "",
            eye=self._eye(part, line, eye) if eye else part.eye,
            edema=edema in self._edema if edema else None,
            gradable=not any(_plain(cells[title]) in self._ungradable for title in part.quality_column),
            split=(part.split_column and self._split(part, line, cells[part.split_column])) or part.split or None,
            source=part.source,
        )

    def _joined(self, part: Part, file: str, first: _Row, second: _Row) -> _Row:
        """The row of a photograph that has two."""
        if first == second:
            return first
        if (first.patient, first.split) != (second.patient, second.split):
            raise DataError(
                f"{self._path(part.labels)} has two rows for {plain_name(file.rpartition('/')[2])} that differ in its"
                " patient or split; keep one."
            )
        if first.text == second.text:
            return replace(first, edema=first.edema or second.edema, gradable=first.gradable and second.gradable)
        return replace(first, text=f"{first.text} and {second.text}", grade=None)

    def _table(self, file: str, titles: Sequence[str], with_titles: bool) -> Table:
        """The table with these columns.

        Raises:
            DataError: If it is missing, or lacks a column: with the columns that it has and the nearest name.
        """
        tables = self.listing.table(file)
        if not with_titles:
            table = tables.without_titles()
            absent = [title for title in titles if table.column(title) is None]
            if absent:
                raise DataError(
                    f"{self._path(file)} has {len(table.titles)} columns, and column {absent[0]!r} was asked for; the"
                    " columns of a table without titles are numbered from 1."
                )
            return table
        found = tables.with_titles(titles)
        if found is None:
            raise DataError(lacking_columns(self._path(file), tables, titles))
        for title in titles:
            same = [each for each in found.titles if plain_title(each) == plain_title(title)]
            if len(same) > 1:
                raise DataError(f"{self._path(file)} has {len(same)} columns {title!r}; keep one.")
        return found

    def _columns(self, part: Part) -> list[str]:
        single = (part.patient_column, part.eye_column, part.edema_column, part.split_column)
        return [part.image_column, *part.grade_column, *part.quality_column, *filter(None, single)]

    def _path(self, file: str) -> str:
        return str(self.listing.root / file)

    # Boxes

    def _read_boxes(self, boxes: BoxTable) -> Iterator[str]:
        """Read a table of boxes; what is not used of it, in words.

        Raises:
            DataError: If it lacks a column, a row is no box within its photograph, or fits two photographs.
        """
        table = self._table(boxes.table, boxes.titles, with_titles=True)
        self.used.add(boxes.table)
        index = PhotographIndex(file for folder in boxes.images for file in self._images(Part(images=(folder,))))
        at = [place for title in boxes.titles if (place := table.column(title)) is not None]
        elsewhere: dict[str, None] = {}
        for line, cells in zip(table.lines, table.rows, strict=True):
            name, kind, *numbers = (cells[place] for place in at)
            where = f"{self._path(boxes.table)}, line {line},"
            files = index.find(name)
            if len(files) > 1:
                raise DataError(
                    f"{where} names {name}, which may be {readable(files[0])} or {readable(files[1])}: name its folder"
                    " as 'images' of [[boxes]]."
                )
            box = boxes.box(kind, numbers)
            if isinstance(box, str):
                raise DataError(f"{where} {box}.")
            if files:
                self.boxes.setdefault(files[0], []).append(box)
            else:
                elsewhere[name] = None
        example = next(iter(elsewhere), "")
        if elsewhere:
            plural = "s" if len(elsewhere) > 1 else ""
            yield f"{readable(boxes.table)}, boxes of {len(elsewhere)} photograph{plural} not here, e.g. {example}"

    # What cells mean

    def _grade(self, text: str, separator: str = "") -> Grade | None:
        """The grade of a cell or folder; None where it is none."""
        if separator:
            each = [self._grade(finding) for finding in text.split(separator)]
            if None in each:
                return None
            numbers = [grade for grade in each if isinstance(grade, int)]
            if max(numbers, default=0) > 0:
                return max(numbers)
            return _EXCLUDED if _EXCLUDED in each else _UNGRADABLE if _UNGRADABLE in each else 0
        plain = _plain(text)
        if not self._grades:
            return int(plain) if plain in set(map(str, GRADES)) else None
        return self._grades.get(plain, self._grades.get(_ANY_OTHER))

    def _eye(self, part: Part, line: int, cell: str) -> Literal["", "left", "right"]:
        eye = self._eyes.get(_plain(cell))
        if eye is None:
            raise DataError(
                f"{self._path(part.labels)}, line {line}, has {cell!r} in its column {part.eye_column!r}: write left or"
                " right, or say in the description under 'eyes' which one it is."
            )
        return eye

    def _split(self, part: Part, line: int, cell: str) -> PublishedSplit | None:
        if not cell:
            return None
        split = self._splits.get(_plain(cell))
        if split is None:
            raise DataError(
                f"{self._path(part.labels)}, line {line}, has {cell!r} in its column {part.split_column!r}: write"
                " train, validation or test, or give the column another title if it is something else."
            )
        if part.split not in ("", "train", split):
            raise DataError(
                f"{self._path(part.labels)}, line {line}, says {split}, but its photographs were published for"
                f" {part.split}: mend one of them."
            )
        return split

    @staticmethod
    def _split_of_folders(part: Part, file: str) -> PublishedSplit:
        """The split that a folder names, where nothing else does: `photographs/train/a.jpg`."""
        if part.split_column:
            return "train"
        within = next((folder for folder in part.images if file.startswith(f"{folder}/")), "")
        folders = file.removeprefix(f"{within}/").split("/")[:-1]
        return next((SIDES[folder.lower()] for folder in reversed(folders) if folder.lower() in SIDES), "train")

    # Folders that are grades

    def _read_folders(self, part: Part, images: Iterable[str]) -> None:
        for file in images:
            folders = file.split("/")[:-1]
            graded = [(folder, grade) for folder in reversed(folders) if (grade := self._grade(folder)) is not None]
            if graded:
                text, grade = graded[0]
                self.rows[file] = _Row(text, grade, eye=part.eye, split=part.split or None, source=part.source)

    # The result

    def _dataset(self) -> Dataset:
        photographs: list[Photograph] = []
        for part, file in self._files():
            if part.patient_pattern and (match := self._match(part.patient_pattern, _name(file))):
                self.by_pattern[len(photographs)] = match
            photographs.append(self._photograph(part, file))
        names = Counter((each.name, each.published_split) for each in photographs)
        photographs = [
            replace(each, name=without_ending(each.file).replace("/", "-"))
            if names[each.name, each.published_split] > 1
            else each
            for each in photographs
        ]
        patients, patients_by = self._patients(photographs)
        photographs = [replace(each, patient=patient) for each, patient in zip(photographs, patients, strict=True)]
        elsewhere = {_name(file): readable(file) for file in reversed(self.listing.pictures) if file not in self.used}
        unlabelled = [each.name for each in photographs if each.label is None and not each.excluded]
        hint = why_unmatched([line.partition(": ")[2] for line in self.missing], unlabelled, elsewhere)
        source = DataSource(self.description.name, (self.description,))
        return Dataset(source, tuple(photographs), tuple(self.missing), tuple(self.not_used), patients_by, hint)

    def _files(self) -> Iterator[tuple[Part, str]]:
        """Every photograph once, with the first part that it belongs to."""
        seen: set[str] = set()
        for part in self.description.parts:
            for file in self._images(part):
                if file not in seen:
                    seen.add(file)
                    yield part, file

    def _photograph(self, part: Part, file: str) -> Photograph:
        row = self.rows.get(file, _Row())
        name = _name(file)
        excluded = ""
        if {name, plain_name(file)} & self._exclude:
            excluded = "excluded by the description of the data set"
        elif row.grade == _EXCLUDED:
            excluded = f"its label {row.text!r} is excluded by the description of the data set"
        return Photograph(
            name=name,
            path=self.listing.root / file,
            file=readable(file),
            grade=row.grade if isinstance(row.grade, int) and row.gradable else None,
            published_split=row.split or part.split or self._split_of_folders(part, file),
            patient=row.patient,
            eye=row.eye or patient_and_eye(name)[1],
            edema=row.edema,
            gradable=row.gradable and row.grade != _UNGRADABLE,
            excluded=excluded,
            label=row.text,
            source=row.source or part.source or self.description.name,
            boxes=tuple(self.boxes.get(file, ())),
        )

    def _patients(self, photographs: Sequence[Photograph]) -> tuple[list[str], str]:
        """The patient of each photograph, and what names the patients."""
        patients, by = [""] * len(photographs), []
        for way in self.description.patients:
            before = patients
            if way == "column":
                titles = {part.patient_column for part in self.description.parts if part.patient_column}
                cells = [each.patient for each in photographs]
                patients = [patient or cell for patient, cell in zip(patients, cells, strict=True)]
                words = " and ".join(f"column {title!r}" for title in sorted(titles))
            elif way == "pairs":
                pairs = self._pairs(photographs)
                patients = [patient or pairs.get(at, "") for at, patient in enumerate(patients)]
                words = f"the pairs of {self.description.pairs}"
            else:
                patients = [patient or self.by_pattern.get(at, "") for at, patient in enumerate(patients)]
                names = ["" if at in self.by_pattern else _name(each.file) for at, each in enumerate(photographs)]
                patients = patients_of(names, patients)
                words = "their names" if self.by_pattern else "names such as 12_left and 12_right"
            if patients != before:
                by.append(words)
        return patients, " and ".join(by)

    def _match(self, pattern: str, name: str) -> str:
        try:
            match = re.match(pattern, name)
            return match[1] or "" if match else ""
        except (re.error, IndexError) as wrong:
            raise DataError(
                f"{self.description.folder}: patient_pattern = {pattern!r} is no regular expression with a group"
                f" for the patient ({wrong}); for example '(.+)_[LR]'."
            ) from wrong

    def _pairs(self, photographs: Sequence[Photograph]) -> dict[int, str]:
        """The examination of each photograph that a row of the pairs' table names, by its place."""
        self.used.add(self.description.pairs)
        place = {each.file: at for at, each in enumerate(photographs)}
        index = PhotographIndex(place)
        of_photograph: dict[int, str] = {}
        for cells in self.listing.table(self.description.pairs).without_titles().rows:
            places = sorted(place[file] for cell in cells if cell for file in index.find(cell))
            for at in places:
                of_photograph.setdefault(at, photographs[places[0]].name)
        return of_photograph

    def _name_unused(self, columns: Mapping[str, set[str]]) -> None:
        folders = {folder for part in self.description.parts for folder in part.images}
        used = self.used | ({self.description.pairs} - {""})
        self.not_used = unused(self.listing, used & set(self.listing.files), folders)
        for table, titles in columns.items():
            if titles:
                plural = "s" if len(titles) > 1 else ""
                self.not_used.append(f"{readable(table)}, column{plural} {', '.join(map(repr, sorted(titles)))}")


def lacking_columns(path: str, table: TableFile, wanted: Sequence[str]) -> str:
    """The sentence about a table that lacks columns: those it has, and the nearest names.

    Args:
        path: Of the table.
        table: The table.
        wanted: Titles that were asked for.
    """
    titles = table.first_row
    if not titles:
        return f"{path} is empty: the grades of the photographs are missing."
    plain = {plain_title(title): title for title in titles}
    lacking = [title for title in wanted if plain_title(title) not in plain]
    near = [plain[name] for title in lacking for name in difflib.get_close_matches(plain_title(title), plain, n=1)]
    nearest = f"; did you mean {near[0]!r}?" if near else "; give its columns these titles, or name those that it has."
    return (
        f"{path} has no column {' and no column '.join(map(repr, lacking))}: its first line is"
        f" {', '.join(titles)!r}{nearest}"
    )


def _name(file: str) -> str:
    """The name of a photograph: that of its file without ending."""
    return plain_name(without_ending(file.rpartition("/")[2]))


def _plain(text: str) -> str:
    """A text in the form in which cells are compared: small letters, whole numbers without the `.0` of spreadsheets.

    Example:
        >>> [_plain(text) for text in (" No_DR ", "2", "2.0", "2,0", '"2"', "1.1")]
        ['no_dr', '2', '2', '2', '2', '1.1']
    """
    plain = " ".join(text.strip().strip("\"'").split()).casefold()
    try:
        number = float(plain.replace(",", "."))
    except ValueError:
        return plain
    return str(int(number)) if number.is_integer() and abs(number) < 1e9 else plain
