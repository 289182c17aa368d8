"""How a data set lies on disk: its tables, columns, folders and grades, as a TOML file that people keep and edit.

For example Messidor-2 with the grades of Kaggle:

```toml
layout = "Messidor-2"
name = "messidor-2"
folder = "/data/messidor-2"
patients = ["pairs"]
pairs = "messidor-2.csv"
edema = ["1"]
ungradable = ["0"]

[[parts]]
labels = "messidor_data.csv"
images = ["IMAGES"]
image_column = "image_id"
grade_column = ["adjudicated_dr_grade"]
edema_column = "adjudicated_dme"
quality_column = ["adjudicated_gradable"]
```
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from drsearch.datasets.boxes import BoxTable
from drsearch.errors import DataError
from drsearch.files import read_file

PublishedSplit = Literal["train", "validation", "test"]
Grade = int | Literal["ungradable", "excluded"]

SIDES: Mapping[str, PublishedSplit] = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""The published split by its usual names in folders, tables and cells."""


@dataclass(frozen=True)
class Part:
    """A table with the photographs that it grades, or folders whose names are the grades.

    A column is named by its title; in a table without titles by its number from 1, as text. Folders and tables are
    named within the data set's folder, with `/` between.

    Attributes:
        images: Folders of the photographs, looked through with all folders in them; "." is the data set's own.
        labels: The table; empty where each photograph lies in a folder that is named as its grade: the innermost folder
            of its path within the data set that `Description.grades` names. Rows of a photograph that say the same are
            one.
        titles: Whether the table's first row has the titles.
        image_column: Names the photograph: its file with or without ending, or a path that ends in it.
        grade_column: Has the grade; of several columns the first that is not empty counts, for example one per eye.
        grade_separator: Stands between several findings in a cell, of which the highest grade above 0 counts, without
            one `excluded`, then `ungradable`, then 0; empty: each cell has one.
        patient_column: Names the patient.
        patient_pattern: Finds the patient in the name of a photograph without ending: what the first group of this
            regular expression matches at its beginning. It is the way `names` of this part, where the name fits.
        eye_column: Says which eye it is: `left`, `L`, `OS` or `right`, `R`, `OD`; other words by `Description.eyes`.
        edema_column: Has macular edema.
        quality_column: Say whether a photograph can be graded, by `Description.ungradable`.
        split_column: Names the split, as `train` does, or by `Description.splits`; it counts for more than `split`,
            which holds for empty cells. Only a part of the split `train`, or of none, may be divided by it.
        split: The split that all photographs of this part were published for; empty: none, drsearch divides them; but
            folders within `images` that are named `train`, `valid` or `test` count where there is no split column.
        eye: Which eye all photographs of this part show; empty: unknown, or by the column.
        source: Name of the data set they come from, where one folder holds several; empty: `Description.name`.
    """

    images: tuple[str, ...] = (".",)
    labels: str = ""
    titles: bool = True
    image_column: str = ""
    grade_column: tuple[str, ...] = ()
    grade_separator: str = ""
    patient_column: str = ""
    patient_pattern: str = ""
    eye_column: str = ""
    edema_column: str = ""
    quality_column: tuple[str, ...] = ()
    split_column: str = ""
    split: Literal["", "train", "validation", "test"] = ""
    eye: Literal["", "left", "right"] = ""
    source: str = ""


@dataclass(frozen=True)
class Description:
    """How a data set is read.

    Texts of cells and folder names are compared without case and outer blanks, and `2`, `2.0`, `2,0` and `"2"` are the
    same. A text that is not named by `grades` is an invalid grade, except where `grades` has an entry `*`.

    Attributes:
        layout: What the folder was recognised as; `named by hand` otherwise.
        name: Of the data set, in small letters: the source of its eyes where several sets are pooled.
        parts: Its tables and folders; at least one.
        grades: The grade 0 to 4 of every text, `ungradable`, or `excluded` for photographs that are no part of the set;
            the text "" is an empty cell, `*` any other text. Empty: the texts 0 to 4 are the grades.
        edema: Texts of the edema column that mean macular edema.
        ungradable: Texts of the quality columns that mean that a photograph cannot be graded.
        splits: The split of every text in the split column that is not a usual name.
        eyes: `left` or `right` for every text in the eye column that is not a usual name.
        patients: Ways in which patients are known, of which the first that tells counts: `column`, `pairs`, and `names`
            (`12_left` and `12_right` are of one patient). Empty: patients are unknown.
        pairs: Table whose rows name the photographs of one examination.
        exclude: Photographs that are left out, by name or by file within the folder.
        scale: What the grades mean, in a few words, and how they were mapped.
        notes: What a user must know about this data set, in sentences.
        source: Where the data set comes from, an address or a reference.
        licence: Its licence.
        folder: The folder of the data set; in a file, absolute or within the file's own folder.
        boxes: Tables of boxes around lesions. Boxes change neither pictures nor splits.
    """

    layout: str
    name: str
    parts: tuple[Part, ...]
    grades: Mapping[str, Grade] = field(default_factory=dict)
    edema: tuple[str, ...] = ("1", "yes", "true")
    ungradable: tuple[str, ...] = ()
    splits: Mapping[str, PublishedSplit] = field(default_factory=dict)
    eyes: Mapping[str, Literal["left", "right"]] = field(default_factory=dict)
    patients: tuple[Literal["column", "pairs", "names"], ...] = ("column", "names")
    pairs: str = ""
    exclude: tuple[str, ...] = ()
    scale: str = "ICDR 0-4"
    notes: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""
    folder: str = ""
    boxes: tuple[BoxTable, ...] = ()

    @property
    def words(self) -> str:
        """How the set is read, in one line: layout, tables with the meaning of their columns, photographs, patients."""
        parts = "; ".join(dict.fromkeys(map(_words, self.parts)))
        patients = {"pairs": f"the pairs of {self.pairs}", "names": "names such as 12_left"}
        if any(part.patient_column for part in self.parts):
            patients["column"] = "their column"
        known = [patients[way] for way in self.patients if way in patients]
        parts += "".join(f"; boxes by {each.table}" for each in self.boxes)
        return f"{self.layout}: {parts}; patients by {' or '.join(known)}" if known else f"{self.layout}: {parts}"

    def to_toml(self) -> str:
        """The text of a file that `read_description` reads; what is at its default is left out."""
        import tomli_w

        return tomli_w.dumps(_without_defaults(self), multiline_strings=True)


@dataclass(frozen=True)
class DataSource:
    """What is to be read: one data set, or several that are pooled.

    Attributes:
        name: Of the whole.
        sets: One description per data set.
    """

    name: str
    sets: tuple[Description, ...]

    def to_toml(self) -> str:
        """The text of a file that `read_source_file` reads."""
        if len(self.sets) == 1:
            return self.sets[0].to_toml()
        import tomli_w

        sets = [_without_defaults(each) for each in self.sets]
        return tomli_w.dumps({"name": self.name, "sets": sets}, multiline_strings=True)


def _words(part: Part) -> str:
    columns = {
        "image": part.image_column,
        "grade": " or ".join(part.grade_column),
        "patient": part.patient_column,
        "eye": part.eye_column,
        "macular edema": part.edema_column,
        "quality": " and ".join(part.quality_column),
        "split": part.split_column,
    }
    images = ", ".join("all folders" if folder == "." else folder for folder in part.images)
    published = f", published for {part.split}" if part.split else ""
    if not part.labels:
        return f"photographs in {images}, graded by the name of their folder{published}"
    meanings = ", ".join(f"{meaning} = {column}" for meaning, column in columns.items() if column)
    numbers = "" if part.titles else ", columns by number"
    return f"{part.labels} ({meanings}{numbers}) with the photographs in {images}{published}"


def _without_defaults(value: Any) -> dict[str, Any]:
    """A dataclass as TOML values, in the order of its fields, tables last."""
    written: dict[str, Any] = {}
    for item in fields(value):
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if (content := getattr(value, item.name)) != default:
            written[item.name] = content
    for key in set(_TABLES) & set(written):
        written[key] = [_without_defaults(each) for each in written[key]]
    plain = {key: list(content) if isinstance(content, tuple) else content for key, content in written.items()}
    return dict(sorted(plain.items(), key=lambda item: (isinstance(item[1], dict), item[0] in _TABLES)))


# Reading

_TABLES = {"parts": Part, "boxes": BoxTable}
"""Keys that hold tables, each written after its name in double brackets."""


def read_source_file(path: Path) -> DataSource:
    """Read a file that `DataSource.to_toml` wrote, or that a person did.

    Args:
        path: The file; folders in it are absolute, or lie within the file's own folder.

    Raises:
        DataError: If it cannot be read, has an unknown key, lacks one, or has a value of another kind.
    """
    try:
        values = tomllib.loads(read_file(path).decode("utf-8-sig"))
    except OSError as wrong:
        raise DataError(f"{path} cannot be read: {wrong.strerror}.") from wrong
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as wrong:
        raise DataError(f"{path} is no TOML file ({wrong}); `drsearch describe FOLDER` writes one.") from wrong
    listed = values.get("sets", [values])
    if not (isinstance(listed, list) and listed and all(isinstance(each, dict) for each in listed)):
        raise DataError(f"{path} has no data set in 'sets'; write [[sets]] before each.")
    sets = tuple(_description(path, each) for each in listed)
    name = values.get("name") if "sets" in values else sets[0].name
    if not isinstance(name, str) or set(values) - {"name", "sets"} and "sets" in values:
        raise DataError(f"{path}: beside its [[sets]] it has a 'name', a text in quotes, and nothing else.")
    return DataSource(name, sets)


def _description(path: Path, values: Mapping[str, Any]) -> Description:
    parts = values.get("parts")
    if not (isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts)):
        raise DataError(f"{path} has no [[parts]]: write one for every table of labels.")
    tables: dict[str, tuple[Any, ...]] = {}
    for key, kind in _TABLES.items():
        listed = values.get(key, [])
        if not (isinstance(listed, list) and all(isinstance(each, dict) for each in listed)):
            raise DataError(f"{path}: {key} = {listed!r}; write [[{key}]] before each.")
        tables[key] = tuple(kind(**_checked(path, f"{key}.", kind, each)) for each in listed)
    description = Description(**{**_checked(path, "", Description, {**values, "parts": (), "boxes": ()}), **tables})
    for table in description.boxes:
        if table.fault:
            raise DataError(f"{path}: boxes.{table.fault}.")
    folder = (path.parent / Path(description.folder).expanduser()).absolute()
    return replace(description, folder=str(folder))


def _checked(path: Path, prefix: str, kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a dataclass's fields, lists as tuples.

    Raises:
        DataError: If a key is unknown, missing or of another kind.
    """
    known = {item.name: item for item in fields(kind)}
    read: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1) or [", ".join(known)]
            raise DataError(f"{path}: {prefix}{key} is unknown; did you mean {near[0]}?")
        read[key] = tuple(value) if isinstance(value, list) else value
        if not _is_of(read[key], known[key].type):
            raise DataError(f"{path}: {prefix}{key} = {value!r}; {_expected(known[key].type)}.")
    needed = [name for name, item in known.items() if item.default is item.default_factory is MISSING]
    for name in needed:
        if name not in values:
            raise DataError(f"{path} has no {prefix}{name}; `drsearch describe FOLDER` writes a whole file.")
    return read


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a TOML value is of a field's type."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        return isinstance(value, tuple) and all(is_dataclass(inner[0]) or _is_of(each, inner[0]) for each in value)
    if origin is Mapping:
        return isinstance(value, dict) and all(_is_of(each, inner[1]) for each in value.values())
    if origin is Literal:
        return value in inner and not isinstance(value, bool)
    if origin is Annotated:  # a number of pixels
        return type(value) is int and value > 0
    if inner:  # a union
        return any(_is_of(value, each) for each in inner)
    return type(value) is kind and (kind is not int or 0 <= value <= 4)


def _expected(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        words = _expected(inner[0]).removeprefix("expected ")
        return "expected a list of texts in quotes" if inner[0] is str else f"expected a list, each {words}"
    if origin is Mapping:
        return f"expected a table, each entry {_expected(inner[1]).removeprefix('expected ')}"
    if origin is Literal:
        return f"expected one of {', '.join(repr(each) for each in inner)}"
    if origin is Annotated:
        return f"expected {inner[1]}"
    if inner:
        return " or ".join(_expected(each).removeprefix("expected one of ") for each in inner)
    return {str: "expected a text in quotes", bool: "expected true or false", int: "expected 0 to 4"}[kind]
