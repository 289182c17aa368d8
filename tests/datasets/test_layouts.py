import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drsearch.datasets.description import Description
from drsearch.datasets.layouts import LAYOUTS, recognise, unrecognised
from drsearch.datasets.listing import list_folder
from drsearch.datasets.mockups import LAYOUTS as ALL_MOCKUPS
from drsearch.datasets.mockups import mockup
from drsearch.errors import DataError

BRSET = (
    "image_id,patient_id,camera,patient_age,comorbidities,diabetes_time,insulin_use,patient_sex,exam_eye,diabetes,"
    "nationality,optic_disc,vessels,macula,DR_SDRG,DR_ICDR,focus,illumination,image_field,artifacts,"
    "diabetic_retinopathy,macular_edema,scar,nevus,amd,vascular_occlusion,hypertensive_retinopathy,drusen,hemorrhage,"
    "retinal_detachment,myopic_fundus,increased_cup_disc,other"
)
BRSET_1_0_0 = (
    "image_id,patient_id,camera,patient_age,comorbidities,diabetes_time_y,insuline,patient_sex,exam_eye,diabetes,"
    "nationality,optic_disc,vessels,macula,DR_SDRG,DR_ICDR,focus,iluminaton,image_field,artifacts,quality,"
    "diabetic_retinopathy,macular_edema,scar,nevus,amd,vascular_occlusion,hypertensive_retinopathy,drusens"
)
MBRSET = (
    "patient,age,sex,dm_time,insulin,insulin_time,oraltreatment_dm,systemic_hypertension,insurance,educational_level,"
    "alcohol_consumption,smoking,obesity,vascular_disease,acute_myocardial_infarction,nephropathy,neuropathy,"
    "diabetic_foot,file,laterality,final_artifacts,final_quality,final_icdr,final_edema"
)
DEEPDRID = (
    "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,right_eye_DR_Level,patient_DR_Level,Clarity,"
    "Field definition,Artifact"
)
ODIR = (
    "ID,Patient Age,Patient Sex,Left-Fundus,Right-Fundus,Left-Diagnostic Keywords,Right-Diagnostic Keywords,"
    "N,D,G,C,A,H,M,O"
)
ODIR_ROW = "0,69,Female,0_left.jpg,0_right.jpg,cataract,moderate non proliferative retinopathy\uff0claser spot"
IDRID = "Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,\r\n"
MESSIDOR = "Image name,Ophthalmologic department,Retinopathy grade,Risk of macular edema \n"
CLASSES = ("No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR")
PARAGUAY = (
    "1. No DR signs", "2. Mild (or early) NPDR", "3. Moderate NPDR", "4. Severe NPDR", "5. Very Severe NPDR", "6. PDR",
    "7. Advanced PDR",
)  # fmt: skip
NPDR = ("nodr", "mild_npdr", "moderate_npdr", "severe_npdr", "pdr")
RFMID = (("a", "Training"), ("b", "Validation"), ("c", "Testing"))
HEX = "000c1434d8d7"


def row(titles: str, **cells: str) -> str:
    """A row under titles; columns that are not named have 0."""
    return ",".join(cells.get(title, "0") for title in titles.split(","))


def class_files(*folders: str, below: str = "", ending: str = ".png") -> dict[str, str]:
    return {f"{below}{folder}/{n:012x}{ending}": "" for n, folder in enumerate(folders)}


@dataclass(frozen=True)
class Case:
    """A folder, and what is known of the layout that it has.

    Attributes:
        files: Their texts by path; photographs are empty.
        images: The folders of photographs of each part.
        labels: The table of each part.
        of_first: Columns and the like of the first part.
        of_set: What is known of the whole set.
    """

    files: Mapping[str, str]
    images: tuple[str, ...]
    labels: tuple[str, ...] = ("",)
    of_first: Mapping[str, Any] = field(default_factory=dict)
    of_set: Mapping[str, Any] = field(default_factory=dict)


APTOS = {"train.csv": f"id_code,diagnosis\n{HEX},2\n", "test.csv": "id_code\n0005cfc8afb6\n"}
EYEPACS = {"trainLabels.csv": "image,level\n10_left,0\n10_right,3\n"}
CASES: dict[str, Case] = {
    "APTOS 2019": Case(
        {**APTOS, "sample_submission.csv": "id_code,diagnosis\n0005cfc8afb6,0\n", f"train_images/{HEX}.png": "",
         "test_images/0005cfc8afb6.png": ""},
        ("train_images",), ("train.csv",),
        {"image_column": "id_code", "grade_column": ("diagnosis",)}, {"patients": (), "grades": {}},
    ),
    "APTOS 2019, divided": Case(
        {"train_1.csv": f"id_code,diagnosis\n{HEX},2\n", "valid.csv": "id_code,diagnosis\n0005cfc8afb6,1\n",
         "test.csv": "id_code,diagnosis\n00a8624548a9,0\n,\n", f"train_images/train_images/{HEX}.png": "",
         "val_images/val_images/0005cfc8afb6.png": "", "test_images/test_images/00a8624548a9.png": ""},
        ("train_images", "val_images", "test_images"), ("train_1.csv", "valid.csv", "test.csv"), {"split": "train"},
    ),
    "EyePACS": Case(
        {**EYEPACS, "train/10_left.jpeg": "", "train/10_right.jpeg": "", "test/1_left.jpeg": "",
         "retinopathy_solution.csv": "image,level,Usage\n1_left,0,Private\n"},
        ("train", "test"), ("trainLabels.csv", "retinopathy_solution.csv"), {"split": "train"},
        {"splits": {"Public": "validation", "Private": "test"}, "patients": ("names",)},
    ),
    "EyePACS, resized": Case(
        {**EYEPACS, "resized_train/resized_train/10_left.jpeg": ""},
        ("resized_train",), ("trainLabels.csv",), {}, {"patients": ("names",)},
    ),
    "EyePACS, resized and cropped": Case(
        {"trainLabels_cropped.csv": ",Unnamed: 0,image,level\n0,0,10_left,0\n",
         "resized_train_cropped/resized_train_cropped/10_left.jpeg": ""},
        ("resized_train_cropped",), ("trainLabels_cropped.csv",), {"image_column": "image"},
    ),
    "EyePACS and APTOS 2019, resized": Case(
        {"labels/trainLabels15.csv": "image,level\n10_left,0\n", "labels/trainLabels19.csv": APTOS["train.csv"],
         "labels/testLabels15.csv": "image,level,Usage\n1_left,0,Public\n", "resized train 15/10_left.jpg": "",
         "resized test 15/1_left.jpg": "", f"resized train 19/{HEX}.jpg": "", "resized test 19/0005cfc8afb6.jpg": ""},
        ("resized train 15", "resized test 15", "resized train 19"),
        ("labels/trainLabels15.csv", "labels/testLabels15.csv", "labels/trainLabels19.csv"),
        {"source": "eyepacs", "split": "train"}, {"patients": ("names",)},
    ),
    "APTOS 2019, colored_images": Case(
        {"train.csv": "id_code,diagnosis\n" + "".join(f"{n:012x},{n}\n" for n in range(5)),
         **class_files(*CLASSES, below="colored_images/")},
        ("colored_images",), ("train.csv",), {"image_column": "id_code"}, {"grades": {}},
    ),
    "GDRBench": Case(
        {**class_files(*NPDR, below="images/APTOS/"), **class_files(*NPDR, below="masks/APTOS/"),
         **class_files(*NPDR, below="images/DEEPDR/", ending=".jpg"),
         "splits/APTOS_train.txt": "".join(f"APTOS/{NPDR[n]}/{n:012x}.png {n}\n" for n in range(4)),
         "splits/APTOS_crossval.txt": f"APTOS/pdr/{4:012x}.png 4\n"},
        ("images/APTOS", "images/APTOS", "images/DEEPDR"),
        ("splits/APTOS_train.txt", "splits/APTOS_crossval.txt", ""),
        {"titles": False, "image_column": "1", "grade_column": ("2",), "split": "train", "source": "aptos"},
        {"grades": {**{str(grade): grade for grade in range(5)}, **dict(zip(NPDR, range(5), strict=True))}},
    ),
    "Messidor-2": Case(
        {"messidor-2.csv": "left;right\n20051020_43808_0100_PP.png;IM000180.JPG\n", "messidor_readme.txt": "words",
         "messidor_data.csv": "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable\n"
         "20051020_43808_0100_PP.png,0,0,1\nIM000180.jpg,,,0\n", "IMAGES/20051020_43808_0100_PP.png": "",
         "IMAGES/IM000180.JPG": "", "trainLabels.csv": "image,level\n10_left,0\n"},
        ("IMAGES",), ("messidor_data.csv",),
        {"image_column": "image_id", "edema_column": "adjudicated_dme", "quality_column": ("adjudicated_gradable",)},
        {"pairs": "messidor-2.csv", "patients": ("pairs",), "ungradable": ("0",), "edema": ("1",)},
    ),
    "Messidor": Case(
        {f"{base}/Annotation_{base}.xls": f"{MESSIDOR}{base}_1.tif,Service,2,1\n" for base in ("Base11", "Base34")}
        | {"Base11/Base11_1.tif": "", "Base34/Base34_1.tif": ""},
        ("Base11", "Base34"), ("Base11/Annotation_Base11.xls", "Base34/Annotation_Base34.xls"),
        {"image_column": "Image name", "edema_column": "Risk of macular edema"}, {"edema": ("2",), "patients": ()},
    ),
    "IDRiD": Case(
        {"1. Original Images/a. Training Set/IDRiD_001.jpg": "", "1. Original Images/b. Testing Set/IDRiD_001.jpg": "",
         "2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv": IDRID + "IDRiD_001,3,2,,,\r\n",
         "2. Groundtruths/b. IDRiD_Disease Grading_Testing Labels.csv": IDRID + "IDRiD_001,4,0,,,\r\n"},
        ("1. Original Images/a. Training Set", "1. Original Images/b. Testing Set"),
        ("2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv",
         "2. Groundtruths/b. IDRiD_Disease Grading_Testing Labels.csv"),
        {"split": "train", "edema_column": "Risk of macular edema"}, {"edema": ("2",), "patients": ()},
    ),
    "DDR": Case(
        {f"DR_grading/{split}.txt": f"007-000{n}-000.jpg {n}\n20170323093305605.jpg 5\n"
         for n, split in enumerate(("train", "valid", "test"))}
        | {f"DR_grading/{split}/007-000{n}-000.jpg": "" for n, split in enumerate(("train", "valid", "test"))}
        | {"lesion_segmentation/train/image/007-0004-000.jpg": "", "lesion_segmentation/train/label/EX/0.tif": ""},
        ("DR_grading/train", "DR_grading/valid", "DR_grading/test"),
        ("DR_grading/train.txt", "DR_grading/valid.txt", "DR_grading/test.txt"),
        {"titles": False, "split": "train"}, {"patients": ()},
    ),
    "DDR, one table": Case(
        {"DR_grading.csv": "id_code,diagnosis\n007-0004-000.jpg,0\n", "DR_grading/DR_grading/007-0004-000.jpg": ""},
        ("DR_grading",), ("DR_grading.csv",), {"image_column": "id_code"},
    ),
    "DeepDRiD": Case(
        {"regular_fundus_images/regular-fundus-training/regular-fundus-training.csv":
         DEEPDRID + "\n1,1_l1,\\regular-fundus-training\\1\\1_l1.jpg,1,0,,0,10,6,0\n",
         "regular_fundus_images/regular-fundus-training/Images/1/1_l1.jpg": "",
         "regular_fundus_images/regular-fundus-validation/regular-fundus-validation.csv":
         DEEPDRID + "\n265,265_r1,\\regular-fundus-validation\\265\\265_r1.jpg,1,,2,2,10,6,0\n",
         "regular_fundus_images/regular-fundus-validation/Images/265/265_r1.jpg": "",
         "regular_fundus_images/Online-Challenge1&2-Evaluation/Challenge1_labels.csv": "image_id,DR_Levels\n347_l1,5\n",
         "regular_fundus_images/Online-Challenge1&2-Evaluation/Images/347/347_l1.jpg": "",
         "ultra-widefield_images/ultra-widefield-training/Images/1/1_1.jpg": ""},
        ("regular_fundus_images/regular-fundus-training/Images",
         "regular_fundus_images/regular-fundus-validation/Images",
         "regular_fundus_images/Online-Challenge1&2-Evaluation/Images"),
        ("regular_fundus_images/regular-fundus-training/regular-fundus-training.csv",
         "regular_fundus_images/regular-fundus-validation/regular-fundus-validation.csv",
         "regular_fundus_images/Online-Challenge1&2-Evaluation/Challenge1_labels.csv"),
        {"grade_column": ("left_eye_DR_Level", "right_eye_DR_Level"), "patient_column": "patient_id"},
        {"patients": ("column", "names")},
    ),
    "FGADR": Case(
        {"Seg-set/DR_Seg_Grading_Label.csv": "0000_1.png,2\n0001_1.png,4\n", "Seg-set/Original_Images/0000_1.png": "",
         "Seg-set/IRMA_Masks/0000_1.png": ""},
        ("Seg-set/Original_Images",), ("Seg-set/DR_Seg_Grading_Label.csv",),
        {"titles": False, "image_column": "1", "grade_column": ("2",)}, {"patients": ()},
    ),
    "BRSET": Case(
        {"labels.csv": f"{BRSET}\n{row(BRSET, image_id='img00001', patient_id='1', exam_eye='1')}\n",
         "fundus_photos/img00001.jpg": ""},
        ("fundus_photos",), ("labels.csv",),
        {"grade_column": ("DR_ICDR",), "patient_column": "patient_id", "eye_column": "exam_eye",
         "edema_column": "macular_edema"},
        {"eyes": {"1": "right", "2": "left"}, "edema": ("1",)},
    ),
    "mBRSET": Case(
        {"labels_mbrset.csv": f"{MBRSET}\n{row(MBRSET, file='1.1.jpg', final_icdr='', laterality='left')}\n",
         "images/1.1.jpg": ""},
        ("images",), ("labels_mbrset.csv",),
        {"image_column": "file", "patient_column": "patient", "eye_column": "laterality",
         "edema_column": "final_edema"},
        {"edema": ("yes", "1")},
    ),
    "ODIR-5K": Case(
        {"full_df.csv": f"{ODIR},filepath,labels,target,filename\n{ODIR_ROW},0,0,0,1,0,0,0,0,x,['N'],[1],0_right.jpg\n",
         "ODIR-5K/ODIR-5K/Training Images/0_left.jpg": "", "ODIR-5K/ODIR-5K/Training Images/0_right.jpg": "",
         "ODIR-5K/ODIR-5K/Testing Images/937_left.jpg": "", "preprocessed_images/0_left.jpg": "",
         "preprocessed_images/0_right.jpg": ""},
        ("ODIR-5K/ODIR-5K/Training Images",) * 2, ("full_df.csv",) * 2,
        {"image_column": "Left-Fundus", "grade_column": ("Left-Diagnostic Keywords",), "eye": "left",
         "patient_column": "ID", "grade_separator": "\uff0c"},
    ),
    "RFMiD": Case(
        {f"1. Original Images/{letter}. {name} Set/1.png": "" for letter, name in RFMID}
        | {f"2. Groundtruths/{letter}. RFMiD_{name}_Labels.csv": "ID,Disease_Risk,DR,ARMD,MH,DN\n1,1,1,0,0,0\n"
           for letter, name in RFMID},
        tuple(f"1. Original Images/{letter}. {name} Set" for letter, name in RFMID),
        tuple(f"2. Groundtruths/{letter}. RFMiD_{name}_Labels.csv" for letter, name in RFMID),
        {"grade_column": ("DR",), "split": "train"}, {"grades": {"0": 0, "1": 2}, "patients": ()},
    ),
    "SUSTech-SYSU": Case(
        {"Labels.csv": "Fundus_images,DR_grade_American_Academy_of_Ophthalmology,"
         "DR_grade_International_Clinical_DR_Severity_Scale\n0001.jpg,2,1\n", "originalImages/0001.jpg": "",
         "exudatesLabels/0001.xml": ""},
        ("originalImages",), ("Labels.csv",),
        {"grade_column": ("DR_grade_International_Clinical_DR_Severity_Scale",)}, {"patients": ()},
    ),
    "Paraguay": Case(
        class_files(*PARAGUAY, ending=".jpg"), (".",), ("",), {},
        {"grades": dict(zip(PARAGUAY, (0, 1, 2, 3, 3, 4, 4), strict=True))},
    ),
    "Jichi": Case(
        {"list.csv": "Image,Davis_grading_of_concatenated_figures,Davis_grading_of_one_figure\n1_1_L.jpg,sdr,ndr\n",
         "documents/1_1_L.jpg": ""},
        ("documents",), ("list.csv",),
        {"grade_column": ("Davis_grading_of_one_figure",), "patient_pattern": r"(\d+)_\d+_[LR]"},
        {"grades": {"ndr": 0, "sdr": 2, "ppdr": 3, "pdr": 4}},
    ),
    "flat": Case(
        {"images/train/a.jpg": "", "images/valid/b.jpg": "", "images/Test/c.jpg": "",
         "labels/train.csv": "Image name,Retinopathy grade,Risk of macular edema,Patient ID,Set\na,1,0,7,train\n",
         "labels/Val.csv": "Image name;Retinopathy grade\nb;2\n",
         "labels/test.csv": "image name,retinopathy grade\nc,0\n",
         "labels/lesion_boxes_train.csv": "image,lesion,cx,cy,w,h\na,haemorrhage,0,0,1,1\n"},
        ("images/train", "images/valid", "images/Test"), ("labels/train.csv", "labels/Val.csv", "labels/test.csv"),
        {"patient_column": "Patient ID", "split_column": "Set", "edema_column": "Risk of macular edema",
         "split": "train"},
        {"edema": ("2",), "patients": ("column", "names")},
    ),
    "class folders": Case(
        class_files("0", "1", "2", "3", "4"), (".",), ("",), {},
        {"grades": {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4}},
    ),
    "binary class folders": Case(
        {**class_files("0", "1", below="train/"), **class_files("0", "1", below="test/")},
        ("train", "test"), ("", ""), {"split": "train"}, {"grades": {"0": 0, "1": 2}},
    ),
}  # fmt: skip
OTHER_FORMS: dict[str, tuple[str, Case]] = {
    "Messidor-2, second header": ("Messidor-2", Case(
        {"messidor_data.csv": "id_code,diagnosis,adjudicated_dme,adjudicated_gradable\nIM000180.jpg,2,0,1\n",
         "IMAGES/IM000180.JPG": ""},
        ("IMAGES",), ("messidor_data.csv",), {"image_column": "id_code", "grade_column": ("diagnosis",)},
        {"pairs": "", "patients": ()},
    )),
    "BRSET 1.0.0": ("BRSET", Case(
        {"labels_brset.csv": f"{BRSET_1_0_0}\n{row(BRSET_1_0_0, image_id='img00001')}\n",
         "fundus_photos/img00001.jpg": ""},
        ("fundus_photos",), ("labels_brset.csv",), {"patient_column": "patient_id", "edema_column": "macular_edema"},
    )),
    "APTOS in other folders": ("APTOS 2019", Case(
        {"train.csv": APTOS["train.csv"], f"pictures/part 1/{HEX}.png": ""},
        ("pictures/part 1",), ("train.csv",),
    )),
    "APTOS beside samples of it": ("APTOS 2019", Case(
        {"train.csv": f"id_code,diagnosis\n{HEX},2\n0005cfc8afb6,1\n", f"all/a/{HEX}.png": "",
         "all/b/0005cfc8afb6.png": "", "examples/0005cfc8afb6.png": ""},
        ("all",), ("train.csv",),
    )),
    "RFMiD of the challenge": ("RFMiD", Case(
        {"Training_Set/Training_Set/RFMiD_Training_Labels.csv": "ID,Disease_Risk,DR,ARMD\n1,1,1,0\n",
         "Training_Set/Training_Set/Training/1.png": "",
         "Test_Set/Test_Set/RFMiD_Testing_Labels.csv": "ID,Disease_Risk,DR,ARMD\n1,1,1,0\n",
         "Test_Set/Test_Set/Test/1.png": ""},
        ("Training_Set/Training_Set/Training", "Test_Set/Test_Set/Test"),
        ("Training_Set/Training_Set/RFMiD_Training_Labels.csv", "Test_Set/Test_Set/RFMiD_Testing_Labels.csv"),
        {"split": "train"},
    )),
    "class folders by name and split": ("class folders", Case(
        {**class_files(*CLASSES, below="train/"), **class_files("No_DR", "Mild", below="val/")},
        ("train", "val"), ("", ""), {"split": "train"}, {"grades": dict(zip(CLASSES, range(5), strict=True))},
    )),
    "class folders, of which a split has only two": ("class folders", Case(
        {**class_files("0", "1", "2", below="train/"), **class_files("0", "1", below="test/")},
        ("train", "test"), ("", ""), {"split": "train"}, {"grades": {"0": 0, "1": 1, "2": 2}},
    )),
    "numbers and words": ("class folders", Case(
        class_files("0 - No DR", "1. Mild", "grade 2", "3_Severe", "4"), (".",), ("",), {},
        {"grades": {"0 - No DR": 0, "1. Mild": 1, "grade 2": 2, "3_Severe": 3, "4": 4}},
    )),
    "DR and No_DR": ("binary class folders", Case(
        {**class_files("DR", "No_DR", below="train/"), **class_files("DR", "No_DR", below="valid/")},
        ("train", "valid"), ("", ""), {"split": "train"}, {"grades": {"DR": 2, "No_DR": 0}},
    )),
    "SUSTech-SYSU, published titles": ("SUSTech-SYSU", Case(
        {"drLabels.csv": "Fundus_images,DR_grade(American_Academy_of_Ophthalmology),"
         "DR_grade(International_Clinical_DR_Severity_Scale)\n0001.jpg,2,5\n", "originalImages/0001.jpg": ""},
        ("originalImages",), ("drLabels.csv",),
        {"grade_column": ("DR_grade(International_Clinical_DR_Severity_Scale)",)},
    )),
    "several sets in class folders": ("pooled class folders", Case(
        {**class_files("0", "2", below="images/Aptos/"), **class_files("0", "3", below="images/Clinic/")},
        ("images/Aptos", "images/Clinic"), ("", ""), {"source": "aptos"},
    )),
}  # fmt: skip

MOCKUPS = {
    "aptos": ["APTOS 2019"],
    "aptos-folders": ["APTOS 2019, colored_images"],
    "binary-folders": ["binary class folders"],
    "brset": ["BRSET"],
    "class-folders": ["class folders"],
    "ddr": ["DDR"],
    "deepdrid": ["DeepDRiD"],
    "eyepacs": ["EyePACS"],
    "eyepacs-aptos": ["EyePACS and APTOS 2019, resized"],
    "eyepacs-resized": ["EyePACS, resized and cropped", "EyePACS, resized"],
    "fgadr": ["FGADR"],
    "gdrbench": ["GDRBench"],
    "idrid": ["IDRiD"],
    "idrid-nested": ["IDRiD"],
    "jichi": ["Jichi"],
    "mbrset": ["mBRSET"],
    "messidor1": ["Messidor"],
    "messidor2": ["Messidor-2"],
    "messidor2-kaggle": ["Messidor-2"],
    "odir": ["ODIR-5K"],
    "paraguay": ["Paraguay"],
    "rfmid": ["RFMiD"],
    "sustech": ["SUSTech-SYSU"],
}


def lay(root: Path, files: Mapping[str, str]) -> Path:
    """Write files; photographs are empty, since no layout is recognised by their pixels."""
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="")
    return root


def layouts(root: Path) -> list[Description]:
    return recognise(list_folder(root))


def check(description: Description, layout: str, case: Case, inside: str = "") -> None:
    assert description.layout == layout
    within = f"{inside}/" if inside else ""
    images = tuple((inside or ".") if images == "." else within + images for images in case.images)
    assert tuple(part.images for part in description.parts) == tuple((folder,) for folder in images)
    assert tuple(part.labels for part in description.parts) == tuple(file and within + file for file in case.labels)
    first = description.parts[0]
    assert {name: getattr(first, name) for name in case.of_first} == case.of_first
    expected = {**case.of_set, **({"pairs": within + case.of_set["pairs"]} if case.of_set.get("pairs") else {})}
    assert {name: getattr(description, name) for name in expected} == expected


@pytest.mark.parametrize("layout", CASES)
@pytest.mark.parametrize("inside", ["", "download", "archive/data"], ids=["itself", "in a folder", "in two folders"])
def test_a_layout_is_recognised_as_itself_and_as_nothing_else(layout: str, inside: str, tmp_path: Path) -> None:
    lay(tmp_path / inside, CASES[layout].files)
    (description,) = layouts(tmp_path)
    check(description, layout, CASES[layout], inside)


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_other_forms_of_a_layout_are_recognised(form: str, tmp_path: Path) -> None:
    layout, case = OTHER_FORMS[form]
    (description,) = layouts(lay(tmp_path, case.files))
    check(description, layout, case)


def test_every_layout_has_a_case_and_a_row_in_the_documentation() -> None:
    assert set(LAYOUTS) <= {*CASES, *(layout for layout, _ in OTHER_FORMS.values())}
    page = (Path(__file__).parents[2] / "docs/layouts.md").read_text(encoding="utf-8")
    rows = page.partition("## Layouts")[2].partition("\n## ")[0].splitlines()
    documented = {name for row in rows if row.startswith("| `") for name in re.findall("`(.+?)`", row.split("|")[1])}
    assert documented == {*LAYOUTS, "APTOS 2019, colored_images"}


@pytest.mark.parametrize("layout", CASES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**16))
def test_unrelated_files_change_nothing(layout: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = lay(tmp_path_factory.mktemp("set"), CASES[layout].files)
    before = layouts(root)
    draw = random.Random(seed)
    for _ in range(draw.randint(1, 5)):
        name = "".join(draw.choices("abcxyz _-.", k=6)).strip(" .") + draw.choice(
            [".csv", ".txt", ".xlsx", ".md", ".log"]
        )
        text = draw.choice(["", "a,b,c\n1,2,3\n", "image,lesion\nx,3\n", "name;level\n1;2\n", "no table at all"])
        lay(root, {draw.choice(["", "notes/", "code/src/"]) + f"zz {name}": text})
    assert layouts(root) == before


@pytest.mark.parametrize("layout", CASES)
def test_photographs_that_cannot_be_opened_are_recognised_too(layout: str, tmp_path: Path) -> None:
    root = lay(tmp_path, CASES[layout].files)
    for picture in list_folder(root).pictures:
        (root / picture).unlink()
        (root / picture).symlink_to("nowhere")
    (description,) = layouts(root)
    check(description, layout, CASES[layout])


PIECES = sorted({piece for case in CASES.values() for piece in case.files.items()})
DAMAGED = (
    b"",
    b"\0" * 9,
    b"PK\x03\x04 cut short",
    b"\xd0\xcf\x11\xe0",
    b"a,b\n1",
    "Image name\u2028,\n".encode("utf-16"),
)


@settings(max_examples=60)
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=25),
    damaged=st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(DAMAGED)), max_size=3),
    inside=st.sampled_from(["", "a/", "train/", "images/"]),
)
def test_whatever_lies_in_a_folder_what_is_recognised_is_there_or_one_sentence_is_said(
    pieces: list[tuple[str, str]],
    damaged: list[tuple[tuple[str, str], bytes]],
    inside: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("set")
    for path, text in pieces:
        if not any(parent.is_file() for parent in (root / inside / path).parents):
            lay(root, {inside + path: text})
    for (path, _), data in damaged:
        if (root / inside / path).is_file():
            (root / inside / path).write_bytes(data)
    listing = list_folder(root)
    try:
        descriptions = recognise(listing)
        said = "" if descriptions else unrecognised(listing)
    except DataError as refused:
        descriptions, said = [], str(refused)
    assert said.endswith(".") != bool(descriptions)
    assert len(said.splitlines()) == (not descriptions)
    assert len({each.layout for each in descriptions}) == len(descriptions)
    for description in descriptions:
        for part in description.parts:
            assert part.labels in ("", *listing.tables)
            assert all(listing.pictures_in(folder) for folder in part.images)
            columns = [part.image_column, *part.grade_column, part.patient_column, part.split_column, part.edema_column]
            titles = list(filter(None, columns))
            assert not titles or not part.titles or listing.table(part.labels).with_titles(titles)


def test_a_workbook_with_a_row_per_patient_is_odir(tmp_path: Path) -> None:
    lay(tmp_path, {"Training Images/0_left.jpg": "", "Training Images/0_right.jpg": ""})
    book = openpyxl.Workbook()
    for line in (ODIR, f"{ODIR_ROW},0,1,0,0,0,0,0,0"):
        book.active.append(line.split(","))
    book.save(tmp_path / "ODIR-5K_Training_Annotations(Updated)_V2.xlsx")
    (description,) = layouts(tmp_path)
    assert description.layout == "ODIR-5K"
    assert [part.eye for part in description.parts] == ["left", "right"]
    assert description.grades["moderate non proliferative retinopathy"] == 2
    assert description.grades["*"] == 0


def test_names_of_mirrors_are_recognised(tmp_path: Path) -> None:
    lay(tmp_path / "B.%20Disease%20Grading" / "B. Disease Grading", CASES["IDRiD"].files)
    lay(tmp_path / "A.%20Segmentation", {"1. Original Images/a. Training Set/IDRiD_01.jpg": ""})
    (description,) = layouts(tmp_path)
    check(description, "IDRiD", CASES["IDRiD"], "B.%20Disease%20Grading/B. Disease Grading")


def test_sets_that_lie_side_by_side_are_all_recognised(tmp_path: Path) -> None:
    for layout, case in CASES.items():
        lay(tmp_path / layout, case.files)
    assert sorted(each.layout for each in layouts(tmp_path)) == sorted(CASES)


def test_a_table_of_other_photographs_is_not_used(tmp_path: Path) -> None:
    lay(tmp_path, {**EYEPACS, **class_files("0", "1", below="train/"), **class_files("0", "1", below="test/")})
    (description,) = layouts(tmp_path)
    check(description, "binary class folders", CASES["binary class folders"])


def test_class_folders_that_are_divided_count_for_more_than_a_table(tmp_path: Path) -> None:
    files = {**class_files(*CLASSES, below="train/"), **class_files(*CLASSES, below="val/")}
    names = "".join(f"{n:012x},{n}\n" for n in range(5))
    (description,) = layouts(lay(tmp_path, {**files, "train.csv": f"id_code,diagnosis\n{names}"}))
    assert description.layout == "class folders"
    assert [part.split for part in description.parts] == ["train", "validation"]


def test_test_labels_without_a_column_for_their_halves_are_the_test_set(tmp_path: Path) -> None:
    (description,) = layouts(lay(tmp_path / "both", CASES["EyePACS"].files))
    assert [(part.split, part.split_column) for part in description.parts] == [("train", ""), ("", "Usage")]
    files = {**EYEPACS, "train/10_left.jpeg": "", "testLabels.csv": "image,level\n1_left,0\n", "test/1_left.jpeg": ""}
    (description,) = layouts(lay(tmp_path / "test", files))
    assert [(part.split, part.split_column) for part in description.parts] == [("train", ""), ("test", "")]


def test_two_forms_side_by_side_are_both_given(tmp_path: Path) -> None:
    lay(tmp_path, {**CASES["EyePACS, resized"].files, **CASES["EyePACS, resized and cropped"].files})
    assert [each.layout for each in layouts(tmp_path)] == ["EyePACS, resized and cropped", "EyePACS, resized"]


def test_two_tables_that_fit_equally_are_both_given(tmp_path: Path) -> None:
    case = CASES["Jichi"]
    lay(tmp_path, {"a.csv": case.files["list.csv"], "b.csv": case.files["list.csv"], "documents/1_1_L.jpg": ""})
    assert [each.layout for each in layouts(tmp_path)] == ["Jichi by a.csv", "Jichi by b.csv"]
    lay(tmp_path, case.files)  # the usual name decides
    assert [each.layout for each in layouts(tmp_path)] == ["Jichi"]


def test_equal_layouts_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        lay(tmp_path / folder, CASES["mBRSET"].files)
    assert [each.layout for each in layouts(tmp_path)] == ["mBRSET in one", "mBRSET in two"]


def test_class_folders_beside_their_table_are_read_where_the_table_is_not_complete(tmp_path: Path) -> None:
    (complete,) = layouts(lay(tmp_path / "a", CASES["APTOS 2019, colored_images"].files))
    assert complete.notes[0] == "The class folders of colored_images say the same as train.csv, and are not used."
    files = {**CASES["APTOS 2019, colored_images"].files, "train.csv": f"id_code,diagnosis\n{0:012x},0\n"}
    (description,) = layouts(lay(tmp_path / "b", files))
    assert description.parts[0].labels == ""
    assert description.grades == dict(zip(CLASSES, range(5), strict=True))
    assert description.notes[0].startswith("train.csv does not name all photographs, and is not used")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"images/train/a.jpg": "", "labels/grades.xlsx": "", "labels/README.txt": ""},
         "{root} has images/train but no labels/train.csv: the grades of its photographs are missing (labels has"
         " grades.xlsx)."),
        ({"images/train/a.jpg": "", "labels/train.csv": "Image name,Retinopathy grade\na,1\n", "images/test/b.jpg": ""},
         "{root} has images/test but no labels/test.csv: the grades of its photographs are missing."),
        ({"images/train/a.jpg": "", "labels/train.csv": "name,grade\n"},
         "{root}/labels/train.csv has no column 'Image name' and no column 'Retinopathy grade': its first line is"
         " 'name, grade'; give its columns these titles, or name them: --labels labels/train.csv --image-column TITLE"
         " --grade-column TITLE."),
        ({"images/train/a.jpg": "", "labels/train.csv": ""},
         "{root}/labels/train.csv is empty: the grades of the photographs are missing."),
        ({"images/val/a.jpg": "", "images/valid/b.jpg": ""},
         "{root}/images has val and valid: which one is meant? Keep one."),
        ({"images/train/a.jpg": "", "labels/train.csv": "", "labels/Training.csv": ""},
         "{root}/labels has Training.csv and train.csv: which one is meant? Keep one."),
        ({"images/train/a.jpg": "", "labels/train.csv": "Image name,Retinopathy grade,patient,subject\na,1,2,3\n"},
         "{root}/labels/train.csv has the columns 'patient' and 'subject': which one counts? Keep one."),
    ],
)  # fmt: skip
def test_a_fault_of_the_flat_layout_is_said(files: Mapping[str, str], sentence: str, tmp_path: Path) -> None:
    lay(tmp_path, files)
    with pytest.raises(DataError) as refused:
        layouts(tmp_path)
    assert str(refused.value) == sentence.format(root=tmp_path)


def test_a_table_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    lay(tmp_path, {"images/train/a.jpg": "", "labels/notes.txt": ""})
    os.mkfifo(tmp_path / "labels/train.csv")
    with pytest.raises(DataError) as refused:
        layouts(tmp_path)
    assert "labels/train.csv cannot be read: it is a named pipe, not a file" in str(refused.value)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"photos/a.jpg": "", "photos/b.jpg": "", "grades.csv": "id,dr grade,camera\na,1,x\n"},
         "it has 2 photographs in photos and the table grades.csv (begins with 'id', 'dr grade', 'camera'); name its"
         " columns with --labels grades.csv --image-column TITLE --grade-column TITLE."),
        ({"a.jpg": ""},
         "it has 1 photograph and no table; put a table of the grades there, or put the photographs into folders that"
         " are named 0 to 4."),
        ({"notes/a.csv": "", "b.csv": "x,y\n1,2\n"},
         "it has no photographs and the tables b.csv (begins with 'x', 'y'); notes/a.csv (empty); name its columns with"
         " --labels FILE --image-column TITLE --grade-column TITLE."),
        ({"labels.csv": BRSET.replace("DR_ICDR", "DR_ICDRR") + "\n", "fundus_photos/img00001.jpg": ""},
         "(labels.csv would be of BRSET if it had a column 'DR_ICDR'; its column 'dr_icdrr' is named most like it)."),
        ({**EYEPACS, "IMAGES/20051020_43808_0100_PP.png": ""},
         "(trainLabels.csv is a table as of EyePACS, but its photographs, such as '10_left', are not there)."),
        ({"messidor-2.csv": "left;right\na.png;b.png\n", "IMAGES/a.png": ""},
         "(messidor-2.csv has the pairs of Messidor-2, whose grades are published apart as messidor_data.csv: put that"
         " there, too)."),
        ({"train.csv": "id_code,diagnosis\nown 1,2\n", "photos/own 1.jpg": ""},
         "the table train.csv (begins with 'id_code', 'diagnosis'); name its columns with --labels train.csv"
         " --image-column id_code --grade-column diagnosis."),
        ({"list.csv": "Image,Davis_grading_of_one_figure\n1_1_L.jpg,ndr\n", "a/1_1_L.jpg": "", "b/1_1_L.jpg": ""},
         "(list.csv is a table as of Jichi, but its photographs, such as '1_1_L.jpg', lie in more than one folder: keep"
         " one of them)."),
        ({"train.csv": "id_code,diagnosis\n", "train_images.zip": ""},
         "it has no photographs and the table train.csv (begins with 'id_code', 'diagnosis'); unpack train_images.zip"
         " first (train.csv is a table as of APTOS 2019, but its photographs are not there)."),
        ({**class_files("normal", "mild", "glaucoma")},
         "(beside folders that are named as grades, such as mild, lies glaucoma, which is not: take it away or name it"
         " as its grade)."),
        ({"e_optha_EX/EX/E0019457/C0001273.jpg": ""},
         "(e_optha_EX is of e-ophtha, which has no grades of retinopathy)."),
    ],
)  # fmt: skip
def test_of_a_folder_without_layout_is_said_what_lies_there_and_what_to_name(
    files: Mapping[str, str], sentence: str, tmp_path: Path
) -> None:
    listing = list_folder(lay(tmp_path, files))
    assert recognise(listing) == []
    said = unrecognised(listing)
    assert said.startswith(f"{tmp_path} has no layout that drsearch knows: it has ")
    assert said.endswith(sentence)


@pytest.mark.parametrize("mock", MOCKUPS)
def test_a_mockup_is_recognised_as_itself_and_its_graded_photographs_are_found(mock: str, tmp_path: Path) -> None:
    drawn = mockup(mock, 48, 0)
    copies = (each.cropped for each in drawn.photographs if each.cropped)
    masks = (mask for each in drawn.photographs for mask in each.masks)
    for file in (*(each.file for each in drawn.photographs), *copies, *masks, *drawn.files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(drawn.files.get(file, b""))
    descriptions = layouts(tmp_path)
    assert [each.layout for each in descriptions] == MOCKUPS[mock]
    parts = descriptions[-1].parts
    read = {
        picture for part in parts for folder in part.images for picture in list_folder(tmp_path).pictures_in(folder)
    }
    assert {each.file for each in drawn.photographs if each.grade is not None} <= read
    assert read <= {each.file for each in drawn.photographs}  # neither copies nor masks


@pytest.mark.parametrize("name", ["sample_submission.csv", "sampleSubmission.csv"])
def test_the_zeros_of_an_example_answer_are_no_grades(name: str, tmp_path: Path) -> None:
    lay(tmp_path, {name: "id_code,diagnosis\n0123456789ab,0\n", "test_images/0123456789ab.png": ""})
    assert layouts(tmp_path) == []


def test_every_mockup_has_its_layout_here() -> None:
    assert set(MOCKUPS) == set(ALL_MOCKUPS)


def test_idrid_as_it_lies_here_is_the_flat_layout(idrid: Path) -> None:
    (description,) = layouts(idrid)
    assert description.layout == "flat"
    assert description.name == "idrid"
    assert description.parts[0].edema_column == "Risk of macular edema"
    assert description.edema == ("2",)
