"""Public data sets whose grades are in tables: how each is recognised, and how it is read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from drsearch.datasets.description import Description, Grade, Part, PublishedSplit


@dataclass(frozen=True)
class TablePart:
    """A table of a public data set.

    Attributes:
        part: How it is read; `labels` and `images` are filled in. Its image column and its grade columns must be
            there; other columns are read where they are there.
        tables: Where the table lies in the set's folder, in the patterns of `FolderTree.tables`; the first that fits.
        images: Where its photographs lie.
        elsewhere: Whether photographs that lie elsewhere, and are found by their names, may be of this layout.
        also: Titles that the table must have, too.
        names: What a photograph must be named like, a regular expression for small letters.
    """

    part: Part
    tables: tuple[str, ...]
    images: tuple[str, ...]
    also: tuple[str, ...] = ()
    names: str = ".+"
    elsewhere: bool = True

    @property
    def titles(self) -> tuple[str, ...]:
        """The titles by which the table is recognised; none where it has none."""
        return (self.part.image_column, *self.part.grade_column, *self.also) if self.part.titles else ()


@dataclass(frozen=True)
class PublicSet:
    """A public data set.

    Attributes:
        description: What is known of it before its files are seen; without parts.
        parts: Its tables; one of them must be there with photographs.
        without_pairs: What to say where the table of pairs is missing; empty where the set has no such table.
    """

    description: Description
    parts: tuple[TablePart, ...]
    without_pairs: str = ""


_ICDR: Mapping[str, Grade] = {str(grade): grade for grade in range(5)}
_NO_PATIENTS = "Patients are not published: photographs of one patient may lie in several splits."
_EYEPACS_NAMES = r"\d+_(left|right)"
_APTOS_NAMES = r"[0-9a-f]{12}"

_APTOS_DIVISION: tuple[tuple[PublishedSplit, tuple[str, ...], tuple[str, ...]], ...] = (
    ("train", ("train 1.csv",), ("train images",)),
    ("validation", ("valid.csv",), ("val images",)),
    ("test", ("test.csv",), ("test images",)),
)

APTOS = PublicSet(
    Description(
        layout="APTOS 2019",
        name="aptos-2019",
        parts=(),
        patients=(),
        notes=(_NO_PATIENTS, "The photographs of the competition's test set have no published grades."),
        source="https://www.kaggle.com/c/aptos2019-blindness-detection",
    ),
    (
        TablePart(
            Part(image_column="id_code", grade_column=("diagnosis",)),
            tables=("train.csv", "*"),
            images=("train images",),
            names=_APTOS_NAMES,
        ),
    ),
)

_APTOS_DIVIDED = PublicSet(
    replace(
        APTOS.description,
        layout="APTOS 2019, divided",
        notes=(_NO_PATIENTS, "The competition's training set, divided into three by those who copied it."),
        source="https://www.kaggle.com/datasets/mariaherrerot/aptos2019",
    ),
    tuple(
        TablePart(
            Part(image_column="id_code", grade_column=("diagnosis",), split=split),
            tables=tables,
            images=images,
            names=_APTOS_NAMES,
        )
        for split, tables, images in _APTOS_DIVISION
    ),
)

_EYEPACS = Description(
    layout="EyePACS",
    name="eyepacs",
    parts=(),
    splits={"Public": "validation", "Private": "test"},
    patients=("names",),
    notes=(
        "Many photographs cannot be graded, and no column says which: see `--least-quality`.",
        "The test half has its grades in the forum's retinopathy_solution.csv: `Public` is read as validation and"
        " `Private` as test, as in most papers.",
    ),
    source="https://www.kaggle.com/c/diabetic-retinopathy-detection",
)
_EYEPACS_PART = Part(image_column="image", grade_column=("level",))
_RESIZED_SOURCE = "https://www.kaggle.com/datasets/tanlikesmath/diabetic-retinopathy-resized"


def _eyepacs_resized(layout: str, tables: tuple[str, ...], images: str) -> PublicSet:
    return PublicSet(
        replace(_EYEPACS, layout=layout, splits={}, notes=_EYEPACS.notes[:1], source=_RESIZED_SOURCE),
        (TablePart(_EYEPACS_PART, tables=tables, images=(images,), names=_EYEPACS_NAMES, elsewhere=False),),
    )


_EYEPACS_SETS = (
    _eyepacs_resized("EyePACS, resized and cropped", ("trainlabels cropped.csv",), "resized train cropped"),
    _eyepacs_resized("EyePACS, resized", ("trainlabels.csv",), "resized train"),
    PublicSet(
        replace(
            _EYEPACS,
            layout="EyePACS and APTOS 2019, resized",
            name="eyepacs-aptos-2019",
            notes=(
                *_EYEPACS.notes,
                "Each of the two sets is a source of its own; APTOS 2019 names no patients.",
                "The photographs of 2019's test set have no published grades.",
            ),
            source="https://www.kaggle.com/datasets/benjaminwarner/resized-2015-2019-blindness-detection-images",
        ),
        (
            TablePart(
                replace(_EYEPACS_PART, split="train", source="eyepacs"),
                tables=("labels/trainlabels15.csv", "trainlabels15.csv"),
                images=("resized train 15",),
                names=_EYEPACS_NAMES,
            ),
            TablePart(
                replace(_EYEPACS_PART, split_column="Usage", split="test", source="eyepacs"),
                tables=("labels/testlabels15.csv", "testlabels15.csv"),
                images=("resized test 15",),
                names=_EYEPACS_NAMES,
            ),
            TablePart(
                Part(image_column="id_code", grade_column=("diagnosis",), source="aptos-2019"),
                tables=("labels/trainlabels19.csv", "trainlabels19.csv"),
                images=("resized train 19",),
                names=_APTOS_NAMES,
            ),
        ),
    ),
    PublicSet(
        _EYEPACS,
        (
            TablePart(
                replace(_EYEPACS_PART, split="train"),
                tables=("trainlabels.csv", "train*.csv"),
                images=("train",),
                names=_EYEPACS_NAMES,
            ),
            TablePart(
                replace(_EYEPACS_PART, split_column="Usage", split="test"),
                tables=("retinopathy solution.csv", "testlabels.csv", "test.csv"),
                images=("test",),
                names=_EYEPACS_NAMES,
            ),
        ),
    ),
)

_MESSIDOR_2 = Description(
    layout="Messidor-2",
    name="messidor-2",
    parts=(),
    edema=("1",),
    ungradable=("0",),
    patients=("pairs",),
    notes=(
        "The photographs and the pairs come from ADCIS, the adjudicated grades from another place"
        " (Kaggle, google-brain/messidor2-dr-grades).",
        "A table trainLabels.csv that lies in some copies is of EyePACS, and is not used.",
        "It contains photographs of Messidor: do not train on one and test on the other.",
    ),
    source="https://www.adcis.net/en/third-party/messidor2/",
)


def _messidor_2(image_column: str, grade_column: str) -> PublicSet:
    return PublicSet(
        _MESSIDOR_2,
        (
            TablePart(
                Part(
                    image_column=image_column,
                    grade_column=(grade_column,),
                    edema_column="adjudicated_dme",
                    quality_column=("adjudicated_gradable",),
                ),
                tables=("messidor data.csv", "*"),
                images=("images", "*/images"),
                also=("adjudicated_gradable",),
            ),
        ),
        without_pairs="Without the table of pairs (messidor-2.csv with the columns left and right, from ADCIS) patients"
        " are unknown: put it there, so that both eyes of a patient lie in one split.",
    )


_MESSIDOR_1_BASES = tuple(f"base{centre}{number}" for centre in (1, 2, 3) for number in (1, 2, 3, 4))
_MESSIDOR_1 = PublicSet(
    Description(
        layout="Messidor",
        name="messidor",
        parts=(),
        grades={"0": 0, "1": 1, "2": 2, "3": 3},
        edema=("2",),
        patients=(),
        scale="0-3 by numbers of microaneurysms and haemorrhages and by new vessels, not ICDR; read as grades 0 to 3",
        notes=(
            "Grade 3 has severe and proliferative retinopathy: there is no grade 4, and referable from grade 2 on is"
            " a convention.",
            "Macular edema is risk 2: hard exudates within one disc diameter of the fovea.",
            "Messidor-2 contains these photographs: do not train on one and test on the other.",
            _NO_PATIENTS,
        ),
        source="https://www.adcis.net/en/third-party/messidor/",
    ),
    tuple(
        TablePart(
            Part(
                image_column="Image name",
                grade_column=("Retinopathy grade",),
                edema_column="Risk of macular edema",
            ),
            tables=(f"{base}/*{base}*", f"*{base}*"),
            images=(base,),
            also=("Ophthalmologic department",),
        )
        for base in _MESSIDOR_1_BASES
    ),
)

_IDRID_PART = Part(
    image_column="Image name",
    grade_column=("Retinopathy grade",),
    edema_column="Risk of macular edema",
)
_IDRID = PublicSet(
    Description(
        layout="IDRiD",
        name="idrid",
        parts=(),
        edema=("2",),
        patients=(),
        notes=(
            "The test set uses names of the training set again, for other eyes.",
            "Macular edema is risk 2: hard exudates within one disc diameter of the macula's centre.",
            "The photographs of A. Segmentation have numbers of their own and no grades.",
            _NO_PATIENTS,
        ),
        source="Porwal et al. (2018), Data 3(3), 25, doi:10.3390/data3030025",
        licence="CC BY 4.0",
    ),
    (
        TablePart(
            replace(_IDRID_PART, split="train"),
            tables=("2. groundtruths/*training labels.csv",),
            images=("1. original images/a. training set",),
        ),
        TablePart(
            replace(_IDRID_PART, split="test"),
            tables=("2. groundtruths/*testing labels.csv",),
            images=("1. original images/b. testing set",),
        ),
    ),
)

IDRID_NAMES = r"idrid_\d+"

IDRID_BOX_KINDS: Mapping[str, str] = {
    "haemorrhage_or_microaneurysm": "hard_exudate",
    "hard_exudate": "haemorrhage_or_microaneurysm",
}
"""What the texts of CODRAS, the table of boxes of IDRiD's training set, mean: they are exchanged there.

Of its 1,574 boxes that are called haemorrhages or microaneurysms, 96 % show what is brighter than the surrounding
retina, by 38 of 255 levels of green on average; of its 1,100 that are called hard exudates, 76 % show what is darker.
"""

IDRID_BOX_NOTE = (
    "The table of boxes calls bright lesions haemorrhages or microaneurysms and red ones hard exudates: they are read"
    " the other way round, see 'kinds'."
)

_DDR_PART = Part(titles=False, image_column="1", grade_column=("2",))
_DDR_NAMES = r"\d{3}-\d{4}-\d{3}|\d{17}"
_DDR = PublicSet(
    Description(
        layout="DDR",
        name="ddr",
        parts=(),
        grades={**_ICDR, "5": "ungradable"},
        patients=(),
        scale="ICDR 0-4; 5 is ungradable",
        notes=(
            "The last number of names such as 007-0004-000 does not count copies: equal beginnings are no duplicates.",
            _NO_PATIENTS,
        ),
        source="https://github.com/nkicsl/DDR-dataset",
    ),
    (
        TablePart(replace(_DDR_PART, split="train"), tables=("train.txt",), images=("train",), names=_DDR_NAMES),
        TablePart(replace(_DDR_PART, split="validation"), tables=("valid.txt",), images=("valid",), names=_DDR_NAMES),
        TablePart(replace(_DDR_PART, split="test"), tables=("test.txt",), images=("test",), names=_DDR_NAMES),
    ),
)

_DDR_ONE_TABLE = PublicSet(
    replace(
        _DDR.description,
        layout="DDR, one table",
        grades={},
        scale="ICDR 0-4; ungradable photographs are left out",
        notes=(*_DDR.description.notes, "The published splits are lost in this copy."),
        source="https://www.kaggle.com/datasets/mariaherrerot/ddrdataset",
    ),
    (
        TablePart(
            Part(image_column="id_code", grade_column=("diagnosis",)),
            tables=("dr grading.csv",),
            images=("dr grading",),
            names=_DDR_NAMES,
        ),
    ),
)

_DEEPDRID_PART = Part(
    image_column="image_id",
    grade_column=("left_eye_DR_Level", "right_eye_DR_Level"),
    patient_column="patient_id",
)
_DEEPDRID = PublicSet(
    Description(
        layout="DeepDRiD",
        name="deepdrid",
        parts=(),
        grades={**_ICDR, "5": "ungradable"},
        patients=("column", "names"),
        scale="ICDR 0-4; 5 is ungradable",
        notes=(
            "The paths in its tables do not exist on disk: photographs are found by image_id.",
            "Some rows have their grade in the column of the other eye (patient 56): the column that is filled counts.",
            "Overall quality 0 (not good enough for a diagnosis) is not used, since these photographs have a grade;"
            ' write quality_column = ["Overall quality"] and ungradable = ["0"] to leave them out.',
            "Some photographs have a white surround or red words in a corner.",
        ),
        source="https://github.com/deepdrdoc/DeepDRiD",
    ),
    (
        TablePart(
            replace(_DEEPDRID_PART, split="train"),
            tables=("regular fundus training/regular fundus training.csv",),
            images=("regular fundus training/images", "regular fundus training"),
        ),
        TablePart(
            replace(_DEEPDRID_PART, split="validation"),
            tables=("regular fundus validation/regular fundus validation.csv",),
            images=("regular fundus validation/images", "regular fundus validation"),
        ),
        TablePart(
            Part(image_column="image_id", grade_column=("DR_Levels",), split="test"),
            tables=("online challenge1&2 evaluation/challenge1 labels.*",),
            images=("online challenge1&2 evaluation/images", "online challenge1&2 evaluation"),
        ),
    ),
)

_FGADR = PublicSet(
    Description(
        layout="FGADR",
        name="fgadr",
        parts=(),
        patients=(),
        notes=(
            "Whether several photographs are of one patient is not documented.",
            "The masks of lesions are not used.",
        ),
        source="Zhou et al. (2021), IEEE Transactions on Medical Imaging 40(3), 818-828, doi:10.1109/TMI.2020.3037771",
    ),
    (
        TablePart(
            Part(titles=False, image_column="1", grade_column=("2",)),
            tables=("dr seg grading label.csv",),
            images=("original images",),
        ),
    ),
)

_BRSET = PublicSet(
    Description(
        layout="BRSET",
        name="brset",
        parts=(),
        edema=("1",),
        eyes={"1": "right", "2": "left"},
        patients=("column",),
        notes=(
            "DR_ICDR is read; DR_SDRG beside it is the Scottish scale.",
            "Columns of quality (focus, illumination, image_field, artifacts; quality in older versions) are not used:"
            " every photograph has a grade.",
        ),
        source="https://physionet.org/content/brazilian-ophthalmological/",
    ),
    (
        TablePart(
            Part(
                image_column="image_id",
                grade_column=("DR_ICDR",),
                patient_column="patient_id",
                eye_column="exam_eye",
                edema_column="macular_edema",
            ),
            tables=("labels brset.csv", "labels.csv", "*"),
            images=("fundus photos",),
            also=("patient_id", "exam_eye"),
        ),
    ),
)

_MBRSET = PublicSet(
    Description(
        layout="mBRSET",
        name="mbrset",
        parts=(),
        grades={**_ICDR, "": "ungradable"},
        edema=("yes", "1"),
        patients=("column",),
        scale="ICDR 0-4; an empty grade is ungradable",
        notes=(
            "Photographs by a handheld camera, about four per patient.",
            "985.1.jpg is damaged in the published set.",
        ),
        source="https://physionet.org/content/mbrset/",
    ),
    (
        TablePart(
            Part(
                image_column="file",
                grade_column=("final_icdr",),
                patient_column="patient",
                eye_column="laterality",
                edema_column="final_edema",
            ),
            tables=("labels mbrset.csv", "*"),
            images=("images",),
            also=("patient", "laterality"),
        ),
    ),
)

_ODIR_GRADES: Mapping[str, Grade] = {
    "mild nonproliferative retinopathy": 1,
    "moderate non proliferative retinopathy": 2,
    "suspected moderate non proliferative retinopathy": 2,
    "severe nonproliferative retinopathy": 3,
    "proliferative diabetic retinopathy": 4,
    "severe proliferative diabetic retinopathy": 4,
    "diabetic retinopathy": "excluded",
    "suspected diabetic retinopathy": "excluded",
    "suspicious diabetic retinopathy": "excluded",
    "hypertensive retinopathy,diabetic retinopathy": "excluded",
    "low image quality": "ungradable",
    "no fundus image": "ungradable",
    "image offset": "ungradable",
    "anterior segment image": "ungradable",
    "optic disk photographically invisible": "ungradable",
    "*": 0,
}
_ODIR_FOLDERS = ("", "odir 5k/", "odir 5k/odir 5k/")
_ODIR = PublicSet(
    Description(
        layout="ODIR-5K",
        name="odir-5k",
        parts=(),
        grades=_ODIR_GRADES,
        patients=("column", "names"),
        scale="diagnostic keywords of each eye, mapped to ICDR 0-4; all that do not name the retinopathy are grade 0",
        notes=(
            "Retinopathy without a stage is excluded: it has no grade.",
            "Photographs of low quality without retinopathy are ungradable.",
            "The flag D is the patient's, not the eye's, and is not used.",
            "preprocessed_images has the same eyes, smaller; it is read only where Training Images is missing.",
            "The photographs of Testing Images have no published grades.",
        ),
        source="https://odir2019.grand-challenge.org/",
    ),
    tuple(
        TablePart(
            Part(
                image_column=f"{side.capitalize()}-Fundus",
                grade_column=(f"{side.capitalize()}-Diagnostic Keywords",),
                grade_separator="\uff0c",
                patient_column="ID",
                eye=side,
            ),
            tables=(*(f"{folder}data.xlsx" for folder in _ODIR_FOLDERS), "*annotations*", "full df.csv", "*"),
            images=(*(f"{folder}training images" for folder in _ODIR_FOLDERS), "preprocessed images"),
            also=("ID",),
        )
        for side in ("left", "right")
    ),
)


def _rfmid_part(name: str, split: PublishedSplit) -> TablePart:
    return TablePart(
        Part(image_column="ID", grade_column=("DR",), split=split),
        tables=tuple(f"{folder}*rfmid {name} label*.csv" for folder in ("2. groundtruths/", "", "*set/", "*set/*set/")),
        images=(f"1. original images/?. {name} set",),
        also=("Disease_Risk", "ARMD"),
    )


_RFMID = PublicSet(
    Description(
        layout="RFMiD",
        name="rfmid",
        parts=(),
        grades={"0": 0, "1": 2},
        patients=(),
        scale="diabetic retinopathy yes or no, not graded: no is read as grade 0, yes as grade 2",
        notes=(
            "Yes is retinopathy of any stage, mild too: `referable` in all results means just this. With"
            " `task.referable_from = 3` the set cannot be used.",
            "The numbers of the photographs start again at 1 in each split.",
            _NO_PATIENTS,
        ),
        source="Pachade et al. (2021), Data 6(2), 14, doi:10.3390/data6020014",
    ),
    (_rfmid_part("training", "train"), _rfmid_part("validation", "validation"), _rfmid_part("testing", "test")),
)


def _sustech(grade_column: str) -> PublicSet:
    return PublicSet(
        Description(
            layout="SUSTech-SYSU",
            name="sustech-sysu",
            parts=(),
            grades={**_ICDR, "5": "excluded"},
            patients=(),
            scale="ICDR 0-4; 5 (treated by laser, or other) is excluded: it is no grade",
            notes=(
                "The international scale is read; the other scales beside it are not used.",
                _NO_PATIENTS,
            ),
            source="Lin et al. (2020), Scientific Data 7, 409, doi:10.1038/s41597-020-00755-0",
        ),
        (
            TablePart(
                Part(image_column="Fundus_images", grade_column=(grade_column,)),
                tables=("labels.csv", "drlabels.csv", "*"),
                images=("originalimages", "original images"),
            ),
        ),
    )


_JICHI = PublicSet(
    Description(
        layout="Jichi",
        name="jichi",
        parts=(),
        grades={"ndr": 0, "sdr": 2, "ppdr": 3, "pdr": 4},
        patients=("names",),
        scale="Davis scale, mapped to ICDR: ndr is grade 0, sdr 2, ppdr 3, pdr 4",
        notes=(
            "sdr (simple retinopathy) has mild and moderate retinopathy; it is read as grade 2, since haemorrhages and"
            " exudates are more than microaneurysms. Write sdr = 1 to count it as not referable.",
            "The grade of the single photograph is read, not that of the composed figure.",
            "The first number of a name, as in 4_7_L, is taken for the patient.",
        ),
        source="Takahashi et al. (2017), PLoS ONE 12(6), e0179790, doi:10.1371/journal.pone.0179790",
    ),
    (
        TablePart(
            Part(
                image_column="Image", grade_column=("Davis_grading_of_one_figure",), patient_pattern=r"(\d+)_\d+_[LR]"
            ),
            tables=("list.csv", "*"),
            images=("documents", "images"),
        ),
    ),
)

PUBLIC_SETS = (
    *_EYEPACS_SETS,
    _APTOS_DIVIDED,
    APTOS,
    _messidor_2("image_id", "adjudicated_dr_grade"),
    _messidor_2("id_code", "diagnosis"),
    _MESSIDOR_1,
    _IDRID,
    _DDR,
    _DDR_ONE_TABLE,
    _DEEPDRID,
    _FGADR,
    _BRSET,
    _MBRSET,
    _ODIR,
    _RFMID,
    _sustech("DR_grade_International_Clinical_DR_Severity_Scale"),
    _sustech("DR_grade(International_Clinical_DR_Severity_Scale)"),
    _JICHI,
)
"""In the order in which they are tried: of two that read the same table and photographs the first counts."""
