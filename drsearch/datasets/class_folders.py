"""Layouts in which a photograph's folder says its grade."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from glob import escape

from drsearch.datasets.description import SIDES, Description, Grade, Part, PublishedSplit
from drsearch.datasets.flat import by_split, name_of
from drsearch.datasets.folder_tree import FolderTree, cells, last_name, plain, stem
from drsearch.datasets.listing import readable
from drsearch.datasets.public_sets import APTOS

_GRADES: Mapping[str, int] = {
    **dict.fromkeys(("no dr", "nodr", "no dr signs", "no diabetic retinopathy", "normal", "healthy"), 0),
    **dict.fromkeys(("mild", "mild dr", "mild npdr"), 1),
    **dict.fromkeys(("moderate", "moderate dr", "moderate npdr"), 2),
    **dict.fromkeys(("severe", "severe dr", "severe npdr"), 3),
    **dict.fromkeys(("proliferate dr", "proliferative dr", "proliferative", "proliferate", "pdr"), 4),
}
_REFERABLE: Mapping[str, int] = {
    **dict.fromkeys(("no dr", "nodr", "nrdr", "non referable", "not referable"), 0),
    **dict.fromkeys(("dr", "rdr", "referable"), 2),
}
_PARAGUAY: Mapping[str, int] = {
    "1. no dr signs": 0,
    "2. mild (or early) npdr": 1,
    "3. moderate npdr": 2,
    "4. severe npdr": 3,
    "5. very severe npdr": 3,
    "6. pdr": 4,
    "7. advanced pdr": 4,
}
_GDRBENCH = {"nodr", "mild npdr", "moderate npdr", "severe npdr"}
_NUMBERED = re.compile(r"(?:class |grade |level )?(\d)(?:[ .:)]+(.+))?")


@dataclass(frozen=True)
class _Scale:
    """What the names of class folders mean.

    Attributes:
        layout: As descriptions name it.
        grades: By the `plain` names of folders.
        highest: The highest grade that a number can say.
        scale: In a few words.
        notes: What a user must know.
    """

    layout: str
    grades: Mapping[str, int]
    highest: int
    scale: str
    notes: tuple[str, ...]

    def grade(self, name: str) -> int | None:
        """The grade of a folder: `2`, `grade 2`, `moderate`, `3. moderate npdr`; None where its name says none."""
        numbered = _NUMBERED.fullmatch(name)
        if name in self.grades or not numbered:
            return self.grades.get(name)
        number, words = int(numbered[1]), numbered[2]
        if words:
            return self.grades.get(words)
        return (0, 2)[number] if number <= 1 and self.highest == 1 else number if number <= self.highest else None

    def grades_in(self, tree: FolderTree, folder: str) -> dict[str, Grade]:
        """The grade of every folder with photographs in one; empty where one of them has another name."""
        grades = {child.rpartition("/")[2]: self.grade(plain(child)) for child in tree.picture_folders(folder)}
        return {} if None in grades.values() else {name: grade for name, grade in grades.items() if grade is not None}


_ICDR = _Scale(
    "class folders",
    _GRADES,
    4,
    "ICDR 0-4, as the folders say",
    ("A folder's grade goes by its number or its words, not by alphabetical order.",),
)
_BINARY = _Scale(
    "binary class folders",
    _REFERABLE,
    1,
    "two classes: the first is read as grade 0, the second as grade 2",
    (
        "The folders only say which photographs are of the second class: such a set cannot be used with"
        " `task.referable_from` 3 or 4.",
        "Where the second class is retinopathy of any grade (`DR`), `referable` means just this in all results.",
    ),
)


def class_folders(tree: FolderTree, base: str) -> Iterator[Description]:
    """Folders that are named or numbered as the grades, also in one folder each for train, valid and test."""
    graded = {scale.layout: _graded(scale, tree, base) for scale in (_BINARY, _ICDR)}
    for scale in sorted(
        (_BINARY, _ICDR), key=lambda scale: -len(graded[scale.layout])
    ):  # 0 and 1 alone are two classes
        folders = graded[scale.layout]
        splits = {} if base in folders else by_split(tree, folders)
        grades = {name: grade for of in folders.values() for name, grade in of.items()}
        if len(set(grades.values())) > 1:
            yield Description(
                layout=scale.layout,
                name=name_of(tree, base),
                parts=tuple(Part(images=(folder,), split=split) for split, folder in splits.items())
                or (Part(images=(base,)),),
                grades=grades,
                scale=scale.scale,
                notes=scale.notes,
            )
            return


def _graded(scale: _Scale, tree: FolderTree, base: str) -> dict[str, dict[str, Grade]]:
    """The grades of class folders in a folder, or in those of its folders that are named as splits."""
    if grades := scale.grades_in(tree, base):
        return {base: grades}
    sides = (folder for folder in tree.picture_folders(base) if plain(folder) in SIDES)
    return {side: grades for side in sides if (grades := scale.grades_in(tree, side))}


def other_classes(tree: FolderTree, base: str) -> tuple[list[str], list[str]]:
    """The folders in one that are named as grades, and those with photographs that are not."""
    folders = tree.picture_folders(base)
    graded = [folder for folder in folders if _ICDR.grade(plain(folder)) is not None]
    return graded, [folder for folder in folders if folder not in graded]


def paraguay(tree: FolderTree, base: str) -> Iterator[Description]:
    """Seven classes, of which ICDR has five."""
    folders = {last_name(folder): _PARAGUAY.get(plain(folder)) for folder in tree.picture_folders(base)}
    grades: dict[str, Grade] = {name: grade for name, grade in folders.items() if grade is not None}
    if len(grades) < len(folders) or not any(plain(name)[:2] in ("5.", "7.") for name in grades):
        return
    yield Description(
        layout="Paraguay",
        name="paraguay",
        parts=(Part(images=(base,)),),
        grades=grades,
        patients=(),
        scale="seven classes, mapped to ICDR: very severe NPDR is grade 3, PDR and advanced PDR are grade 4",
        notes=("Patients are not published: photographs of one patient may lie in several splits.",),
        source="Castillo Benítez et al. (2021), Data in Brief 36, 107068, doi:10.1016/j.dib.2021.107068",
    )


def aptos_class_folders(tree: FolderTree, base: str) -> Iterator[Description]:
    """Copies of APTOS 2019 in class folders beside its table: both say the same, so only one of them is read."""
    (wanted,) = APTOS.parts
    tables = [
        (file, set(map(stem, cells(table, "id_code"))))
        for file in tree.tables(base, "train.csv")
        if (table := tree.titled(file, wanted.titles))
    ]
    for folder in tree.picture_folders(base) if tables else []:
        grades = _ICDR.grades_in(tree, folder)
        if not grades or plain(folder) in SIDES:
            continue
        file, named = tables[0]
        complete = tree.stems(folder) <= named
        note = (
            f"The class folders of {readable(folder)} say the same as {readable(file)}, and are not used."
            if complete
            else f"{readable(file)} does not name all photographs, and is not used: the class folders say the grades."
        )
        order = "The alphabetical order of the class folders is not the order of the grades."
        yield replace(
            APTOS.description,
            layout=f"APTOS 2019, {last_name(folder)}",
            parts=(replace(wanted.part, labels=file, images=(folder,)) if complete else Part(images=(folder,)),),
            grades={} if complete else grades,
            notes=(note, order, *APTOS.description.notes),
            source="https://www.kaggle.com/sovitrath",
        )


def pooled_class_folders(tree: FolderTree, base: str) -> Iterator[Description]:
    """Several sets, each with class folders (`images/APTOS/nodr`), and lists of their splits, as in GDRBench."""
    parts: list[Part] = []
    grades: dict[str, Grade] = {}
    divided: list[str] = []
    for folder in [folder for images in tree.folders(base, "images") for folder in tree.picture_folders(images)]:
        of_set = _ICDR.grades_in(tree, folder)
        if not of_set or plain(folder) in SIDES:
            return
        grades |= of_set
        listed = list(_listed(tree, base, folder))
        parts += listed or [Part(images=(folder,), source=last_name(folder).lower())]
        divided += [] if listed else [last_name(folder)]
    if len(set(grades.values())) < 2:
        return
    published = bool(_GDRBENCH & set(map(plain, grades)))
    notes = ["Each set in it is a source of its own: eyes are divided within each, and scores are given for each."]
    if published:
        notes.append("Its own protocol trains on some sets and tests on another; here every set is divided.")
    if divided:
        notes.append(f"Without complete lists of its splits, {' and '.join(divided)} is divided by drsearch.")
    yield Description(
        layout="GDRBench" if published else "pooled class folders",
        name="gdrbench" if published else name_of(tree, base),
        parts=tuple(parts),
        grades={**{str(grade): grade for grade in range(5)}, **grades} if divided else {},
        notes=tuple(notes),
        scale=_ICDR.scale,
        source="https://github.com/chehx/DGDR" if published else "",
    )


def _listed(tree: FolderTree, base: str, folder: str) -> Iterator[Part]:
    """The published lists of a set's train and validation split, where they name all its photographs."""
    lists: dict[PublishedSplit, list[str]] = {
        "train": tree.tables(base, f"splits/{escape(plain(folder))} train.txt"),
        "validation": tree.tables(base, f"splits/{escape(plain(folder))} crossval.txt"),
    }
    tables = [table for files in lists.values() for file in files if (table := tree.untitled(file))]
    if not tree.stems(folder) <= {stem(cell) for table in tables for cell in cells(table, "1")}:
        return
    for split, files in lists.items():
        for file in files:
            yield Part(
                images=(folder,),
                labels=file,
                titles=False,
                image_column="1",
                grade_column=("2",),
                split=split,
                source=last_name(folder).lower(),
            )
