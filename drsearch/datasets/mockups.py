"""Mock-ups of public data sets: which photographs, and which tables with which headers, lie where in each layout.

Names, headers and traps are those of the published files. Nothing here is a photograph or a label of theirs: eyes are
drawn, and grades, ages and qualities are made up.
"""

import csv
import difflib
import io
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from drsearch.datasets.workbooks import Row, xls, xlsx
from drsearch.errors import DataError

FLAT = "flat"
"""Name of the layout that is drsearch's own: `images/train`, `labels/train.csv`."""

SMALLEST_MOCKUP = 24
"""Photographs that a mock-up has at least, so that both classes are in each of its published splits."""

_GRADES = (0, 2, 0, 3, 2, 1, 4, 0, 2, 3)  # of patients, in turn: both classes from 2 patients on
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
_Side = Literal["left", "right"]
_Split = Literal["", "train", "validation", "test"]
_FOLDER_OF_GRADE = ("nodr", "mild_npdr", "moderate_npdr", "severe_npdr", "pdr")


@dataclass(frozen=True)
class MockPhotograph:
    """A photograph to be drawn, and the truth about it.

    Attributes:
        file: Where it lies in the data set's folder; its ending says the format.
        lesions_of: The grade, 0 to 4, whose lesions are drawn.
        grade: What the labels say, as an ICDR grade where their scale is another, grade 2 where they only say yes;
            `excluded` where they say what is no grade, None where they say nothing.
        person: Number of the person; the eyes of one person have one colour and one camera.
        eye: Which eye is drawn.
        edema_risk: Risk of macular edema, 0 to 2; 0 below grade 2, where no exudates are drawn.
        split: The split it is published for.
        patient: As the data set tells it, by a column, a pairs file or names; empty where it does not.
        is_square: Whether it was published as a square.
        cropped: Another file that shows the same picture cut down to the retina.
        masks: Files with masks, each with what is white in it: `retina`, or a lesion of a `LesionBox`.
    """

    file: str
    lesions_of: int
    grade: int | Literal["ungradable", "excluded"] | None
    person: int
    eye: _Side
    edema_risk: int
    split: _Split = ""
    patient: str = ""
    is_square: bool = False
    cropped: str = ""
    masks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mockup:
    """A data set without its pictures.

    Attributes:
        photographs: The photographs to be drawn.
        files: All other files, by name within the data set's folder.
    """

    photographs: tuple[MockPhotograph, ...]
    files: Mapping[str, bytes]


def mockup(layout: str, n_photographs: int, seed: int) -> Mockup:
    """Lay out a data set as it is published.

    Args:
        layout: One of `LAYOUTS`.
        n_photographs: Number of photographs, those without a grade among them.
        seed: The same seed gives the same names, grades and bytes.

    Raises:
        DataError: If there is no such layout, or the photographs are too few for it.
    """
    if layout not in _LAYOUT_OF:
        near = difflib.get_close_matches(layout.lower(), (FLAT, *LAYOUTS), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join((FLAT, *LAYOUTS))}."
        raise DataError(f"No layout is called {layout!r}; {hint}")
    if n_photographs < SMALLEST_MOCKUP:
        raise DataError(
            f"{n_photographs} photographs were asked for in the layout {layout}; ask for at least {SMALLEST_MOCKUP}, so"
            " that both classes are in each published split."
        )
    draft = _Draft(random.Random(f"{layout} {seed}"))
    _LAYOUT_OF[layout](draft, n_photographs)
    return Mockup(tuple(draft.photographs), draft.files)


@dataclass(frozen=True)
class _Eye:
    """An eye in front of a camera, before its data set gives it a name."""

    person: int  # from 1, over all parts of a data set
    side: _Side
    view: int  # from 1, where an eye is photographed more than once
    grade: int
    edema_risk: int


class _Draft:
    """A data set that is being laid out."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.photographs: list[MockPhotograph] = []
        self.files: dict[str, bytes] = {}
        self._n_persons = 0

    def eyes(self, n: int, of_person: int = 1, views: int = 1) -> list[_Eye]:
        """Eyes of new persons.

        Args:
            n: Number of photographs; the last person may have fewer than the others.
            of_person: Number of eyes per person. A second one has the grade of the first or the next one to it.
            views: Number of photographs per eye.
        """
        return list(itertools.islice(self._persons(of_person, views), n))

    def _persons(self, of_person: int, views: int) -> Iterator[_Eye]:
        for turn in itertools.count():
            self._n_persons += 1
            first = _GRADES[turn % len(_GRADES)]
            second = first if turn % 3 < 2 else first + 1 if first < 4 else 3
            sides = _SIDES if of_person == 2 else (self.rng.choice(_SIDES),)
            for side, grade in zip(sides, (first, second), strict=False):
                edema_risk = 0 if grade < 2 else self.rng.choice((1, 2))
                for view in range(1, views + 1):
                    yield _Eye(self._n_persons, side, view, grade, edema_risk)

    def photograph(
        self,
        eye: _Eye,
        file: str,
        split: _Split = "",
        *,
        grade: int | Literal["ungradable", "excluded", "as drawn"] | None = "as drawn",
        patient: str = "",
        is_square: bool = False,
        cropped: str = "",
        masks: Mapping[str, str] | None = None,
    ) -> None:
        says = eye.grade if grade == "as drawn" else grade
        self.photographs.append(
            MockPhotograph(
                file,
                eye.grade,
                says,
                eye.person,
                eye.side,
                eye.edema_risk,
                split,
                patient,
                is_square,
                cropped,
                masks or {},
            )  # fmt: skip
        )

    def table(self, file: str, rows: Iterable[Row], delimiter: str = ",", end: str = "\n") -> None:
        """A table as UTF-8; the first of the rows are its titles, where it has any."""
        text = io.StringIO()
        csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(rows)
        self.files[file] = text.getvalue().encode()

    def numbers(self, n: int, highest: int) -> list[int]:
        """Different numbers in rising order."""
        return sorted(self.rng.sample(range(highest), n))


def _divided(n: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers in these shares that add up to `n`, each at least 4."""
    sizes = [max(4, int(n * share)) for share in shares[1:]]
    return [n - sum(sizes), *sizes]


def _few(n: int) -> int:
    """How many photographs of `n` get what is rare in a data set."""
    return max(2, n // 20)


def _ungradable(draft: _Draft, eyes: Sequence[_Eye]) -> set[int]:
    """The places of a few eyes that cannot be graded; the first ones can, so that both classes are there."""
    return set(draft.rng.sample(range(len(eyes) // 2, len(eyes)), max(1, len(eyes) // 20)))


# One function per layout --------------------------------------------------------------------------------------------


def _aptos(draft: _Draft, n: int) -> None:
    labelled, unlabelled = draft.eyes(n - _few(n)), draft.eyes(_few(n))
    names = [draft.rng.randbytes(6).hex() for _ in range(n)]
    for eye, name in zip(labelled, names, strict=False):
        draft.photograph(eye, f"train_images/{name}.png")
    for eye, name in zip(unlabelled, names[len(labelled) :], strict=True):
        draft.photograph(eye, f"test_images/{name}.png", grade=None)
    graded = [(name, eye.grade) for eye, name in zip(labelled, names, strict=False)]
    draft.table("train.csv", [("id_code", "diagnosis"), *graded])
    draft.table("test.csv", [("id_code",), *((name,) for name in names[len(labelled) :])])
    draft.table("sample_submission.csv", [("id_code", "diagnosis"), *((name, 0) for name in names[len(labelled) :])])


def _eyepacs_names(draft: _Draft, eyes: Sequence[_Eye]) -> list[str]:
    """`10_left`, `10_right`, `13_left`: the number is the patient."""
    persons = sorted({eye.person for eye in eyes})
    number_of = dict(zip(persons, draft.numbers(len(persons), 40 * len(persons)), strict=True))
    return [f"{number_of[eye.person]}_{eye.side}" for eye in eyes]


def _number(name: str) -> str:
    return name.split("_")[0]


def _eyepacs(draft: _Draft, n: int) -> None:
    n_train, n_public, n_private = _divided(n, (0.5, 0.25, 0.25))
    eyes = draft.eyes(n_train, 2) + draft.eyes(n_public, 2) + draft.eyes(n_private, 2)
    names = _eyepacs_names(draft, eyes)
    train, solution = [], []
    for at, (eye, name) in enumerate(zip(eyes, names, strict=True)):
        if at < n_train:
            train.append((name, eye.grade))
            draft.photograph(eye, f"train/{name}.jpeg", "train", patient=_number(name))
        else:
            is_public = at < n_train + n_public
            solution.append((name, eye.grade, "Public" if is_public else "Private"))
            split: _Split = "validation" if is_public else "test"
            draft.photograph(eye, f"test/{name}.jpeg", split, patient=_number(name))
    draft.table("trainLabels.csv", [("image", "level"), *train])
    draft.table("retinopathy_solution.csv", [("image", "level", "Usage"), *solution])
    draft.table("sampleSubmission.csv", [("image", "level"), *((name, 0) for name, _, _ in solution)])


def _eyepacs_resized(draft: _Draft, n: int) -> None:
    eyes = draft.eyes(n, 2)
    names = _eyepacs_names(draft, eyes)
    for eye, name in zip(eyes, names, strict=True):
        cropped = f"resized_train_cropped/resized_train_cropped/{name}.jpeg"
        draft.photograph(eye, f"resized_train/resized_train/{name}.jpeg", patient=_number(name), cropped=cropped)
    rows = [(name, eye.grade) for eye, name in zip(eyes, names, strict=True)]
    draft.table("trainLabels.csv", [("image", "level"), *rows])
    cropped_rows = [(at, at, *row) for at, row in enumerate(rows)]
    draft.table("trainLabels_cropped.csv", [("", "Unnamed: 0", "image", "level"), *cropped_rows])


def _eyepacs_aptos(draft: _Draft, n: int) -> None:
    n_train, n_public, n_private, n_aptos, n_unlabelled = _divided(n, (0.4, 0.2, 0.2, 0.1, 0.1))
    eyes = draft.eyes(n_train, 2) + draft.eyes(n_public, 2) + draft.eyes(n_private, 2)
    names = _eyepacs_names(draft, eyes)
    train, test = [], []
    for at, (eye, name) in enumerate(zip(eyes, names, strict=True)):
        if at < n_train:
            train.append((name, eye.grade))
            draft.photograph(eye, f"resized train 15/{name}.jpg", "train", patient=_number(name))
        else:
            is_public = at < n_train + n_public
            test.append((name, eye.grade, "Public" if is_public else "Private"))
            split: _Split = "validation" if is_public else "test"
            draft.photograph(eye, f"resized test 15/{name}.jpg", split, patient=_number(name))
    aptos = [(draft.rng.randbytes(6).hex(), eye) for eye in draft.eyes(n_aptos)]
    for name, eye in aptos:
        draft.photograph(eye, f"resized train 19/{name}.jpg", "train")
    for eye in draft.eyes(n_unlabelled):
        draft.photograph(eye, f"resized test 19/{draft.rng.randbytes(6).hex()}.jpg", grade=None)
    draft.table("labels/trainLabels15.csv", [("image", "level"), *train])
    draft.table("labels/testLabels15.csv", [("image", "level", "Usage"), *test])
    draft.table("labels/trainLabels19.csv", [("id_code", "diagnosis"), *((name, eye.grade) for name, eye in aptos)])


def _aptos_folders(draft: _Draft, n: int) -> None:
    folders = ("No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR")
    rows: list[Row] = [("id_code", "diagnosis")]
    for eye in draft.eyes(n):
        name = draft.rng.randbytes(6).hex()
        draft.photograph(eye, f"colored_images/{folders[eye.grade]}/{name}.png", is_square=True)
        rows.append((name, eye.grade))
    draft.table("train.csv", rows)


def _gdrbench(draft: _Draft, n: int) -> None:
    ending = {"APTOS": "png", "MESSIDOR": "jpg"}
    lines: dict[str, list[str]] = {}
    for data_set, n_of_set in zip(ending, _divided(n, (0.5, 0.5)), strict=True):
        n_train, n_validation = _divided(n_of_set, (0.7, 0.3))
        for at, eye in enumerate(draft.eyes(n_train) + draft.eyes(n_validation)):
            name = draft.rng.randbytes(6).hex() if data_set == "APTOS" else _messidor_name(draft, at)
            within = f"{data_set}/{_FOLDER_OF_GRADE[eye.grade]}/{name}.{ending[data_set]}"
            split: _Split = "train" if at < n_train else "validation"
            masks = {f"masks/{within}": "retina"}
            draft.photograph(eye, f"images/{within}", split, is_square=True, masks=masks)
            listed = f"{data_set}_{'train' if at < n_train else 'crossval'}.txt"
            lines.setdefault(listed, []).append(f"{within} {eye.grade}\n")
    for file, listed_lines in lines.items():
        draft.files[f"splits/{file}"] = "".join(listed_lines).encode()


def _class_folders(draft: _Draft, n: int) -> None:
    for number, eye in enumerate(draft.eyes(n), start=1):
        draft.photograph(eye, f"{eye.grade}/eye{number:04d}.jpg")


def _binary_folders(draft: _Draft, n: int) -> None:
    n_train, n_test = _divided(n, (0.7, 0.3))
    eyes = draft.eyes(n_train, 2) + draft.eyes(n_test, 2)
    for at, (eye, name) in enumerate(zip(eyes, _eyepacs_names(draft, eyes), strict=True)):
        split: _Split = "train" if at < n_train else "test"
        is_referable = int(eye.grade >= 2)
        file = f"{split}/{is_referable}/{name}.jpeg"
        draft.photograph(eye, file, split, grade=2 * is_referable, patient=_number(name))


def _messidor_name(draft: _Draft, at: int) -> str:
    """`20051020_43808_0100_PP`: day, number, and what the clinic's program adds."""
    return f"200510{draft.rng.randint(10, 28)}_{43808 + 24 * at}_0100_PP"


def _messidor2(titles: tuple[str, ...]) -> Callable[[_Draft, int], None]:
    def lay_out(draft: _Draft, n: int) -> None:
        eyes = draft.eyes(n, 2)
        ungradable = _ungradable(draft, eyes)
        labels: list[Row] = [titles]
        pairs: dict[int, list[str]] = {}
        for at, eye in enumerate(eyes):
            is_png = eye.person <= eyes[-1].person * 0.6
            stem = _messidor_name(draft, at) if is_png else f"IM{180 + at:06d}"
            file = f"{stem}.png" if is_png else f"{stem}.JPG"
            pairs.setdefault(eye.person, []).append(file)
            says: Row = ("", "", 0) if at in ungradable else (eye.grade, int(eye.edema_risk == 2), 1)
            labels.append((file.replace(".JPG", ".jpg"), *says))
            grade: Literal["ungradable", "as drawn"] = "ungradable" if at in ungradable else "as drawn"
            draft.photograph(eye, f"IMAGES/{file}", grade=grade, patient=str(eye.person))
        draft.table("messidor_data.csv", labels)
        draft.table("messidor-2.csv", [("left", "right"), *(pair for pair in pairs.values() if len(pair) == 2)], ";")
        draft.files["messidor_readme.txt"] = b"Grades of Messidor-2, of drawn eyes.\n"

    return lay_out


def _messidor1(draft: _Draft, n: int) -> None:
    departments = ("Service Ophtalmologie Lariboisière", "CHU de St Etienne", "LaTIM - CHU de BREST")
    bases = [f"Base{clinic}{number}" for clinic in (1, 2, 3) for number in (1, 2, 3, 4)]
    rows: dict[str, list[Row]] = {
        base: [("Image name", "Ophthalmologic department", "Retinopathy grade", "Risk of macular edema ")]
        for base in bases
    }
    for at, eye in enumerate(draft.eyes(n)):
        base = bases[at % len(bases)]
        file, grade = f"{_messidor_name(draft, at)}.tif", min(3, eye.grade)
        rows[base].append((file, departments[bases.index(base) // 4], grade, eye.edema_risk))
        draft.photograph(eye, f"{base}/{file}", grade=grade)
    for base in bases:
        draft.files[f"{base}/Annotation_{base}.xls"] = xls("Feuil1", rows[base])


def _idrid(level: str) -> Callable[[_Draft, int], None]:
    def lay_out(draft: _Draft, n: int) -> None:
        titles = ("Image name", "Retinopathy grade", "Risk of macular edema ")
        empty = {"Training": ("",) * 9, "Testing": ()}
        parts: tuple[tuple[str, str, _Split], ...] = (("a", "Training", "train"), ("b", "Testing", "test"))
        for (letter, part, split), n_of_part in zip(parts, _divided(n, (0.8, 0.2)), strict=True):
            rows: list[Row] = [(*titles, *empty[part])]
            for number, eye in enumerate(draft.eyes(n_of_part), start=1):  # from 1 in both parts
                name = f"IDRiD_{number:03d}"
                draft.photograph(eye, f"{level}/1. Original Images/{letter}. {part} Set/{name}.jpg", split)
                rows.append((name, eye.grade, eye.edema_risk, *empty[part]))
            draft.table(f"{level}/2. Groundtruths/{letter}. IDRiD_Disease Grading_{part} Labels.csv", rows, end="\r\n")

    return lay_out


def _ddr(draft: _Draft, n: int) -> None:
    parts: tuple[tuple[str, _Split], ...] = (("train", "train"), ("valid", "validation"), ("test", "test"))
    for (part, split), n_of_part in zip(parts, _divided(n, (0.5, 0.25, 0.25)), strict=True):
        eyes = draft.eyes(n_of_part)
        ungradable, lines = _ungradable(draft, eyes), []
        for at, eye in enumerate(eyes):
            day = f"2017{draft.rng.randint(1, 12):02d}{draft.rng.randint(1, 28):02d}"
            camera = f"{day}{draft.rng.randrange(10**9):09d}"
            name = camera if at % 2 else f"007-{eye.person:04d}-{draft.rng.choice((0, 100, 200)):03d}"
            lines.append(f"{name}.jpg {5 if at in ungradable else eye.grade}\n")
            grade: Literal["ungradable", "as drawn"] = "ungradable" if at in ungradable else "as drawn"
            draft.photograph(eye, f"DR_grading/{part}/{name}.jpg", split, grade=grade)
        draft.files[f"DR_grading/{part}.txt"] = "".join(lines).encode()


def _deepdrid(draft: _Draft, n: int) -> None:
    titles = (
        "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,right_eye_DR_Level,patient_DR_Level,Clarity,"
        "Field definition,Artifact"
    ).split(",")
    root = "regular_fundus_images"
    parts: tuple[tuple[str, _Split], ...] = (
        ("regular-fundus-training", "train"),
        ("regular-fundus-validation", "validation"),
        ("Online-Challenge1&2-Evaluation", "test"),
    )
    for (part, split), n_of_part in zip(parts, _divided(n, (0.5, 0.25, 0.25)), strict=True):
        eyes = draft.eyes(n_of_part, 2, views=2)
        ungradable = {len(eyes) - 1} if split == "test" else set()
        worst: dict[int, int] = {}
        for eye in eyes:
            worst[eye.person] = max(eye.grade, worst.get(eye.person, 0))
        rows: list[Row] = [titles if split != "test" else ("image_id", "DR_Levels")]
        for at, eye in enumerate(eyes):
            name = f"{eye.person}_{eye.side[0]}{eye.view}"
            if split == "test":
                rows.append((name, 5 if at in ungradable else eye.grade))
            else:
                # The columns of the third patient's eyes are swapped, as those of patient 56 are in the published file.
                in_left = (eye.side == "left") != (eye.person == 3)
                grades = (eye.grade, "") if in_left else ("", eye.grade)
                quality = draft.rng.randint(0, 1)
                scores = (draft.rng.choice((1, 4, 6, 8, 10)), draft.rng.choice((4, 6, 8, 10)), draft.rng.randint(0, 4))
                path = f"\\{part}\\{eye.person}\\{name}.jpg"
                rows.append((eye.person, name, path, quality, *grades, worst[eye.person], *scores))
            grade: Literal["ungradable", "as drawn"] = "ungradable" if at in ungradable else "as drawn"
            file = f"{root}/{part}/Images/{eye.person}/{name}.jpg"
            draft.photograph(eye, file, split, grade=grade, patient=str(eye.person))
        draft.table(f"{root}/{part}/{'Challenge1_labels' if split == 'test' else part}.csv", rows)


def _fgadr(draft: _Draft, n: int) -> None:
    rows = []
    for at, eye in enumerate(draft.eyes(n)):
        file = f"{at:04d}_{draft.rng.randint(1, 3)}.png"
        masks = {
            f"Seg-set/HardExudate_Masks/{file}": "hard_exudate",
            f"Seg-set/Hemohedge_Masks/{file}": "haemorrhage_or_microaneurysm",
        }
        draft.photograph(eye, f"Seg-set/Original_Images/{file}", masks=masks, is_square=True)
        rows.append((file, eye.grade))
    draft.table("Seg-set/DR_Seg_Grading_Label.csv", rows)


def _brset(draft: _Draft, n: int) -> None:
    titles = (
        "image_id,patient_id,camera,patient_age,comorbidities,diabetes_time,insulin_use,patient_sex,exam_eye,diabetes,"
        "nationality,optic_disc,vessels,macula,DR_SDRG,DR_ICDR,focus,illumination,image_field,artifacts,"
        "diabetic_retinopathy,macular_edema,scar,nevus,amd,vascular_occlusion,hypertensive_retinopathy,drusen,"
        "hemorrhage,retinal_detachment,myopic_fundus,increased_cup_disc,other"
    ).split(",")
    rows: list[Row] = [titles]
    for number, eye in enumerate(draft.eyes(n, 2), start=1):
        draft.photograph(eye, f"fundus_photos/img{number:05d}.jpg", patient=str(eye.person))
        values: dict[str, str | int] = dict.fromkeys(titles, 0)
        values |= {"image_id": f"img{number:05d}", "patient_id": eye.person, "camera": "Canon CR", "comorbidities": "",
                   "patient_age": 40 + 7 * eye.person % 43, "diabetes_time": "", "insulin_use": "no",
                   "patient_sex": 1 + eye.person % 2, "exam_eye": 1 if eye.side == "right" else 2, "diabetes": "yes",
                   "nationality": "Brazil", "optic_disc": 1, "vessels": 1, "macula": 1, "DR_SDRG": eye.grade,
                   "DR_ICDR": eye.grade, "focus": 1, "illumination": 1, "image_field": 1, "artifacts": 1,
                   "diabetic_retinopathy": int(eye.grade > 0), "macular_edema": int(eye.edema_risk == 2)}  # fmt: skip
        rows.append([values[title] for title in titles])
    draft.table("labels.csv", rows)


def _mbrset(draft: _Draft, n: int) -> None:
    titles = (
        "patient,age,sex,dm_time,insulin,insulin_time,oraltreatment_dm,systemic_hypertension,insurance,"
        "educational_level,alcohol_consumption,smoking,obesity,vascular_disease,acute_myocardial_infarction,"
        "nephropathy,neuropathy,diabetic_foot,file,laterality,final_artifacts,final_quality,final_icdr,final_edema"
    ).split(",")
    eyes = draft.eyes(n, 2, views=2)
    ungradable = _ungradable(draft, eyes)
    rows: list[Row] = [titles]
    of_person: dict[int, int] = {}
    for at, eye in enumerate(eyes):
        number = of_person[eye.person] = of_person.get(eye.person, 0) + 1
        file = f"{eye.person}.{number}.jpg"
        is_ungradable = at in ungradable
        values: dict[str, str | int] = dict.fromkeys(titles, 0)
        values |= {"patient": eye.person, "age": 45 + 11 * eye.person % 37, "sex": eye.person % 2, "file": file,
                   "laterality": eye.side, "final_artifacts": "yes" if is_ungradable else "no",
                   "final_quality": "no" if is_ungradable else "yes",
                   "final_icdr": "" if is_ungradable else f"{eye.grade}.0",
                   "final_edema": "" if is_ungradable else "yes" if eye.edema_risk == 2 else "no"}  # fmt: skip
        rows.append([values[title] for title in titles])
        grade: Literal["ungradable", "as drawn"] = "ungradable" if is_ungradable else "as drawn"
        draft.photograph(eye, f"images/{file}", grade=grade, patient=str(eye.person))
    draft.table("labels_mbrset.csv", rows)


def _odir(draft: _Draft, n: int) -> None:
    keywords = (
        "normal fundus",
        "mild nonproliferative retinopathy",
        "moderate non proliferative retinopathy",
        "severe nonproliferative retinopathy",
        "proliferative diabetic retinopathy",
    )
    sheet_titles = (
        "ID,Patient Age,Patient Sex,Left-Fundus,Right-Fundus,Left-Diagnostic Keywords,Right-Diagnostic Keywords,"
        "N,D,G,C,A,H,M,O"
    ).split(",")
    eyes = draft.eyes(n - n % 2, 2) + draft.eyes(n % 2)
    text_of: dict[_Eye, str] = {}
    by_person: dict[int, list[_Eye]] = {}
    for at, eye in enumerate(eyes):
        before = "lens dust，" if at % 8 == 0 and not eye.grade else ""
        after = {1: "，laser spot", 5: "，cataract"}.get(at % 8, "") if eye.grade else ""
        text_of[eye] = f"{before}{keywords[eye.grade]}{after}"
        by_person.setdefault(eye.person, []).append(eye)
    sheet: list[Row] = [sheet_titles]
    full: dict[_Side, list[Row]] = {"right": [], "left": []}
    for person, own in by_person.items():
        files = {eye.side: f"{person}_{eye.side}.jpg" for eye in own}
        texts = {eye.side: text_of[eye] for eye in own}
        is_diabetic, is_cloudy = any(eye.grade for eye in own), any("cataract" in text for text in texts.values())
        flags = [int(not is_diabetic), int(is_diabetic), 0, int(is_cloudy), 0, 0, 0, 0]
        sex = "Female" if person % 2 else "Male"
        by_side = [of_side.get(side, "") for of_side in (files, texts) for side in _SIDES]
        row: Row = (person, 41 + 7 * person % 40, sex, *by_side, *flags)
        sheet.append(row)
        for eye in own:
            file = files[eye.side]
            published = f"../input/ocular-disease-recognition-odir5k/ODIR-5K/Training Images/{file}"
            target = [int(not eye.grade), int(bool(eye.grade)), 0, 0, 0, 0, 0, 0]
            full[eye.side].append((*row, published, f"['{'D' if eye.grade else 'N'}']", str(target), file))
            place, cropped = f"ODIR-5K/Training Images/{file}", f"preprocessed_images/{file}"
            draft.photograph(eye, place, patient=str(person), cropped=cropped)
    draft.table(
        "full_df.csv", [(*sheet_titles, "filepath", "labels", "target", "filename"), *full["right"], *full["left"]]
    )
    draft.files["ODIR-5K/data.xlsx"] = xlsx("Sheet1", sheet)


def _rfmid(draft: _Draft, n: int) -> None:
    titles = (
        "ID,Disease_Risk,DR,ARMD,MH,DN,MYA,BRVO,TSLN,ERM,LS,MS,CSR,ODC,CRVO,TV,AH,ODP,ODE,ST,AION,PT,RT,RS,CRS,EDN,RPEC,"
        "MHL,RP,CWS,CB,ODPM,PRH,MNF,HR,CRAO,TD,CME,PTCR,CF,VH,MCA,VS,BRAO,PLQ,HPED,CL"
    ).split(",")
    parts: tuple[tuple[str, str, _Split], ...] = (
        ("a", "Training", "train"),
        ("b", "Validation", "validation"),
        ("c", "Testing", "test"),
    )
    for (letter, part, split), n_of_part in zip(parts, _divided(n, (0.6, 0.2, 0.2)), strict=True):
        rows: list[Row] = [titles]
        for number, eye in enumerate(draft.eyes(n_of_part), start=1):
            has_retinopathy = int(eye.grade >= 2)
            rows.append((number, has_retinopathy, has_retinopathy, *(0 for _ in titles[3:])))
            file = f"1. Original Images/{letter}. {part} Set/{number}.png"
            draft.photograph(eye, file, split, grade=2 * has_retinopathy)
        draft.table(f"2. Groundtruths/{letter}. RFMiD_{part}_Labels.csv", rows)


def _sustech(draft: _Draft, n: int) -> None:
    rows: list[Row] = [
        (
            "Fundus_images",
            "DR_grade_American_Academy_of_Ophthalmology",
            "DR_grade_International_Clinical_DR_Severity_Scale",
        )
    ]
    eyes = draft.eyes(n)
    lasered = _ungradable(draft, eyes)
    for at, eye in enumerate(eyes):
        file = f"{at + 1:04d}.jpg"
        draft.photograph(eye, f"originalImages/{file}", grade="excluded" if at in lasered else "as drawn")
        level = 5 if at in lasered else eye.grade
        rows.append((file, level, level))
        if eye.grade >= 2:
            draft.files[f"exudatesLabels/{at + 1:04d}.xml"] = b"<annotation></annotation>\n"
    draft.table("Labels.csv", rows)


def _paraguay(draft: _Draft, n: int) -> None:
    folders = {
        0: ("1. No DR signs",),
        1: ("2. Mild (or early) NPDR",),
        2: ("3. Moderate NPDR",),
        3: ("4. Severe NPDR", "5. Very Severe NPDR"),
        4: ("6. PDR", "7. Advanced PDR"),
    }
    seen: dict[int, int] = {}
    for number, eye in enumerate(draft.eyes(n), start=1):
        nth = seen[eye.grade] = seen.get(eye.grade, -1) + 1
        draft.photograph(eye, f"{folders[eye.grade][nth % len(folders[eye.grade])]}/{number:03d}.jpg")


def _jichi(draft: _Draft, n: int) -> None:
    stages = {0: "ndr", 1: "sdr", 2: "sdr", 3: "ppdr", 4: "pdr"}  # Davis has one stage for mild and moderate
    rows: list[Row] = [("Image", "Davis_grading_of_one_figure", "Davis_grading_of_concatenated_figures")]
    seen: dict[int, int] = {}
    for eye in draft.eyes(n, 2):
        number = seen[eye.person] = seen.get(eye.person, 0) + 1
        file = f"{eye.person}_{number}_{eye.side[0].upper()}.jpg"
        draft.photograph(eye, f"documents/{file}", grade=2 if eye.grade == 1 else "as drawn", patient=str(eye.person))
        rows.append((file, stages[eye.grade], stages[eye.grade]))
    draft.table("list.csv", rows)


_LAYOUT_OF: dict[str, Callable[[_Draft, int], None]] = {
    "aptos": _aptos,
    "aptos-folders": _aptos_folders,
    "binary-folders": _binary_folders,
    "brset": _brset,
    "class-folders": _class_folders,
    "ddr": _ddr,
    "deepdrid": _deepdrid,
    "eyepacs": _eyepacs,
    "eyepacs-aptos": _eyepacs_aptos,
    "eyepacs-resized": _eyepacs_resized,
    "fgadr": _fgadr,
    "gdrbench": _gdrbench,
    "idrid": _idrid("B. Disease Grading"),
    "idrid-nested": _idrid("B.%20Disease%20Grading/B. Disease Grading"),
    "jichi": _jichi,
    "mbrset": _mbrset,
    "messidor1": _messidor1,
    "messidor2": _messidor2(("image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable")),
    "messidor2-kaggle": _messidor2(("id_code", "diagnosis", "adjudicated_dme", "adjudicated_gradable")),
    "odir": _odir,
    "paraguay": _paraguay,
    "rfmid": _rfmid,
    "sustech": _sustech,
}
LAYOUTS = tuple(_LAYOUT_OF)
"""The layouts of public data sets that can be laid out, by name."""
