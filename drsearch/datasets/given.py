"""What a user gives as data, read: folders, description files, and columns that are named by hand."""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drsearch.datasets.description import DataSource, Description, Grade, Part, read_source_file
from drsearch.datasets.layouts import recognise, unrecognised
from drsearch.datasets.listing import Listing, list_folder
from drsearch.datasets.read import Dataset, read_dataset
from drsearch.errors import DataError

_BY_HAND = "named by hand"
_UNGRADABLE = ("0", "no", "false", "ungradable", "not gradable", "bad", "reject", "inadequate", "insufficient")


@dataclass(frozen=True)
class Naming:
    """What a user names by hand about a folder; what is empty is found by the layout of the folder.

    Attributes:
        labels: The table, within the folder or anywhere.
        image_column: Names the photograph, by title; by number from 1 in a table without titles.
        grade_column: Has the grade.
        patient_column: Names the patient.
        eye_column: Says which eye it is.
        edema_column: Has macular edema: 1, yes or true.
        quality_column: Says whether a photograph can be graded: 0, no, false, bad, reject and the like where it cannot.
        split_column: Names the split: train, validation or test.
        grades: The grade 0 to 4 of every text, `ungradable` or `excluded`.
        layout: Of several layouts that fit, the one that is meant.
        name: Of the data set.
    """

    labels: str = ""
    image_column: str = ""
    grade_column: str = ""
    patient_column: str = ""
    eye_column: str = ""
    edema_column: str = ""
    quality_column: str = ""
    split_column: str = ""
    grades: Mapping[str, Grade] = field(default_factory=dict)
    layout: str = ""
    name: str = ""


def open_dataset(data: Sequence[Path], naming: Naming | None = None, besides: Path | None = None) -> Dataset:
    """Read what a user gives as data; no photograph is opened.

    Args:
        data: Folders, or files that `drsearch describe` writes; several are pooled.
        naming: What the user names by hand; the columns belong to a single folder.
        besides: A folder that is no part of any data set, and is left out.

    Returns:
        The photographs with their labels, and how they were read.

    Raises:
        DataError: If a folder has no layout that is known, or several, or cannot be read.
    """
    naming = naming or Naming()
    data = [path.expanduser() for path in data]
    by_hand = dataclasses.replace(naming, name="") != Naming()
    if by_hand and (len(data) > 1 or data[0].suffix.lower() == ".toml"):
        what = "several data sets" if len(data) > 1 else f"{data[0]}, which says so itself"
        raise DataError(f"columns and layout are named for one folder, not for {what}; write them there.")
    sets: list[Description] = []
    listings: dict[str, Listing] = {}
    for path in data:
        for description in _descriptions(path, naming, besides, listings):
            sets.append(description)
            if description.folder not in listings:
                listings[description.folder] = _list(Path(description.folder), besides)
    if len(sets) == 1 and naming.name:
        sets = [dataclasses.replace(sets[0], name=naming.name)]
    sets = _with_names_of_their_own(sets)
    name = naming.name or (sets[0].name if len(sets) == 1 else "-".join(each.name for each in sets))
    dataset = read_dataset(DataSource(name, tuple(sets)), listings)
    return (
        dataset if naming != Naming() else dataclasses.replace(dataset, given=tuple(path.absolute() for path in data))
    )


def _with_names_of_their_own(sets: Sequence[Description]) -> list[Description]:
    """Data sets of which several have one name, as two parts of a public set do, after their folders."""
    names = Counter(each.name for each in sets)
    return [
        dataclasses.replace(each, name=_name_of(Path(each.folder))) if names[each.name] > 1 else each for each in sets
    ]


def read_again(dataset: Dataset, besides: Path | None = None) -> Dataset:
    """The same data set as it is now.

    Args:
        dataset: As it was read before.
        besides: A folder that is no part of any data set, and is left out.

    Raises:
        DataError: If it can no longer be read in this way.
    """
    listings = {each.folder: _list(Path(each.folder), besides) for each in dataset.source.sets}
    return dataclasses.replace(read_dataset(dataset.source, listings), given=dataset.given)


def _descriptions(
    path: Path, naming: Naming, besides: Path | None, listings: dict[str, Listing]
) -> tuple[Description, ...]:
    if path.suffix.lower() == ".toml" and not path.is_dir():
        return read_source_file(path).sets
    if path.is_file():
        raise DataError(f"{path} is a file; give its folder, and the table of labels as --labels {path.name}.")
    if not path.is_dir():
        raise DataError(f"{path} is no folder.")
    folder = str(path.absolute())
    listing = listings[folder] = _list(Path(folder), besides)
    description = _described(listing, naming)
    return (dataclasses.replace(description, folder=folder),)


def _list(folder: Path, besides: Path | None) -> Listing:
    try:
        return list_folder(folder, besides)
    except OSError as wrong:
        raise DataError(f"{folder} cannot be read: {wrong.strerror}; mend it or name another folder.") from wrong


def _described(listing: Listing, naming: Naming) -> Description:
    """How a folder lies on disk, as it is recognised or named by hand."""
    if naming.labels:
        return _by_hand(listing, naming, naming.labels)
    fitting = recognise(listing)
    if naming.layout:
        chosen = [each for each in fitting if each.layout.casefold() == naming.layout.casefold()]
        if not chosen:
            fits = " or ".join(repr(each.layout) for each in fitting) or "no layout that drsearch knows"
            raise DataError(f"{listing.root} is not laid out as {naming.layout!r}: it has {fits}.")
        fitting = chosen
    if len(fitting) > 1:
        layouts = " or ".join(repr(each.layout) for each in fitting)
        raise DataError(f"{listing.root} can be read as {layouts}: write which with --layout.")
    if fitting:
        return _with_columns(listing, fitting[0], naming)
    if naming.image_column and naming.grade_column:
        if len(listing.tables) != 1:
            tables = ", ".join(listing.tables[:8]) or "none"
            raise DataError(f"{listing.root} has these tables: {tables}; name that of the labels with --labels.")
        return _by_hand(listing, naming, listing.tables[0])
    raise DataError(unrecognised(listing))


def _by_hand(listing: Listing, naming: Naming, labels: str) -> Description:
    if not (naming.image_column and naming.grade_column):
        lacking = "--grade-column" if naming.image_column else "--image-column and --grade-column"
        titles = ", ".join(map(repr, listing.table(_table(listing, labels)).first_row[:30]))
        raise DataError(f"{labels} begins with {titles or 'nothing'}: name its columns with {lacking}.")
    part = _named_columns(Part(labels=_table(listing, labels)), naming)
    named = [part.image_column, *part.grade_column, part.patient_column, part.eye_column, part.edema_column]
    named += [*part.quality_column, part.split_column]
    wanted = [title for title in named if title]
    if all(title.isdigit() for title in wanted) and listing.table(part.labels).with_titles(wanted) is None:
        part = dataclasses.replace(part, titles=False)
    ungradable = _UNGRADABLE if naming.quality_column else ()
    scale = "as the grades say" if naming.grades else "ICDR 0-4"
    return Description(
        _BY_HAND, _name_of(listing.root), (part,), grades=naming.grades, ungradable=ungradable, scale=scale
    )


def _table(listing: Listing, labels: str) -> str:
    """A table within the folder, as it is named in it; any other by its whole path."""
    if labels in listing.files:
        return labels
    path = Path(labels).expanduser().absolute()
    inside = path.relative_to(listing.root).as_posix() if path.is_relative_to(listing.root) else str(path)
    if not path.exists():
        tables = ", ".join(listing.tables[:8])
        raise DataError(f"{labels} is not there" + (f"; {listing.root} has {tables}." if tables else "."))
    return inside


def _with_columns(listing: Listing, description: Description, naming: Naming) -> Description:
    """A recognised layout with the columns that are named by hand, in the tables that have them."""
    parts = []
    for part in description.parts:
        named = _named_columns(part, naming)
        changed = [
            title
            for item in ("image_column", "patient_column", "eye_column", "edema_column", "split_column")
            if (title := getattr(naming, item))
        ]
        changed += [title for title in (naming.grade_column, naming.quality_column) if title]
        has_them = part.labels and part.titles and listing.table(part.labels).with_titles(changed) if changed else None
        parts.append(named if has_them else part)
        if changed and not has_them and len(description.parts) == 1:
            parts[-1] = named  # the reader says which column the table lacks
    return dataclasses.replace(
        description,
        parts=tuple(parts),
        grades={**description.grades, **naming.grades},
        ungradable=description.ungradable or (_UNGRADABLE if naming.quality_column else ()),
    )


def _named_columns(part: Part, naming: Naming) -> Part:
    return dataclasses.replace(
        part,
        image_column=naming.image_column or part.image_column,
        grade_column=(naming.grade_column,) if naming.grade_column else part.grade_column,
        patient_column=naming.patient_column or part.patient_column,
        eye_column=naming.eye_column or part.eye_column,
        edema_column=naming.edema_column or part.edema_column,
        quality_column=(naming.quality_column,) if naming.quality_column else part.quality_column,
        split_column=naming.split_column or part.split_column,
    )


def _name_of(folder: Path) -> str:
    """A name for a data set from that of its folder: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-") or "eyes"


def parsed_grades(text: str) -> dict[str, Grade]:
    """The grades of texts, as `--grades` has them.

    Raises:
        DataError: If an entry is not of the form TEXT=GRADE.

    Example:
        >>> parsed_grades("No DR=0,Mild=1,blurred=ungradable")
        {'No DR': 0, 'Mild': 1, 'blurred': 'ungradable'}
    """
    grades: dict[str, Grade] = {}
    for entry in filter(None, text.split(",")):
        word, _, grade = entry.rpartition("=")
        grade = grade.strip()
        if grade in ("ungradable", "excluded"):
            grades[word.strip()] = "ungradable" if grade == "ungradable" else "excluded"
        elif grade in ("0", "1", "2", "3", "4") and "=" in entry:
            grades[word.strip()] = int(grade)
        else:
            raise DataError(f"--grades has {entry!r}; write TEXT=GRADE, the grade 0 to 4, ungradable or excluded.")
    return grades
