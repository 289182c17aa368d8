"""How a data set lies on disk: its tables, columns, folders and grades, as a TOML file that people keep and edit.

layout = "Messidor-2"
name = "messidor-2"
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
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

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
        split: The split that all photographs of this part were published for; empty: none, drsearch divides them.
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
