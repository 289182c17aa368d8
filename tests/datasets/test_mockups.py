"""Do mock-ups have the names, headers and traps of the published files?"""

import collections
import csv
import io
import re

import openpyxl
import pytest
import xlrd
from hypothesis import given
from hypothesis import strategies as st

from drsearch.datasets.mockups import LAYOUTS, SMALLEST_MOCKUP, MockPhotograph, Mockup, mockup
from drsearch.datasets.workbooks import xls, xlsx
from drsearch.errors import DataError

LAYOUT = pytest.mark.parametrize("layout", LAYOUTS)
CELLS = st.one_of(
    st.integers(-(2**31), 2**31),
    st.text(st.characters(exclude_categories=("Cs", "Cc"), max_codepoint=0xFFFD), min_size=1, max_size=12),
)

FIRST_LINES = {
    ("aptos", "train.csv"): "id_code,diagnosis",
    ("aptos", "test.csv"): "id_code",
    ("aptos", "sample_submission.csv"): "id_code,diagnosis",
    ("eyepacs", "trainLabels.csv"): "image,level",
    ("eyepacs", "retinopathy_solution.csv"): "image,level,Usage",
    ("eyepacs-resized", "trainLabels.csv"): "image,level",
    ("eyepacs-resized", "trainLabels_cropped.csv"): ",Unnamed: 0,image,level",
    ("eyepacs-aptos", "labels/trainLabels15.csv"): "image,level",
    ("eyepacs-aptos", "labels/testLabels15.csv"): "image,level,Usage",
    ("eyepacs-aptos", "labels/trainLabels19.csv"): "id_code,diagnosis",
    ("aptos-folders", "train.csv"): "id_code,diagnosis",
    (
        "messidor2",
        "messidor_data.csv",
    ): "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable",
    ("messidor2", "messidor-2.csv"): "left;right",
    (
        "messidor2-kaggle",
        "messidor_data.csv",
    ): "id_code,diagnosis,adjudicated_dme,adjudicated_gradable",
    ("messidor2-kaggle", "messidor-2.csv"): "left;right",
    (
        "idrid",
        "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv",
    ): "Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,",
    (
        "idrid",
        "B. Disease Grading/2. Groundtruths/b. IDRiD_Disease Grading_Testing Labels.csv",
    ): "Image name,Retinopathy grade,Risk of macular edema ",
    (
        "idrid-nested",
        "B.%20Disease%20Grading/B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv",
    ): "Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,",
    (
        "deepdrid",
        "regular_fundus_images/regular-fundus-training/regular-fundus-training.csv",
    ): "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,right_eye_DR_Level,patient_DR_Level,Clarity,"
    "Field definition,Artifact",
    (
        "deepdrid",
        "regular_fundus_images/Online-Challenge1&2-Evaluation/Challenge1_labels.csv",
    ): "image_id,DR_Levels",
    ("brset", "labels.csv"): (
        "image_id,patient_id,camera,patient_age,comorbidities,diabetes_time,insulin_use,patient_sex,exam_eye,diabetes,"
        "nationality,optic_disc,vessels,macula,DR_SDRG,DR_ICDR,focus,illumination,image_field,artifacts,"
        "diabetic_retinopathy,macular_edema,scar,nevus,amd,vascular_occlusion,hypertensive_retinopathy,drusen,"
        "hemorrhage,retinal_detachment,myopic_fundus,increased_cup_disc,other"
    ),
    ("mbrset", "labels_mbrset.csv"): (
        "patient,age,sex,dm_time,insulin,insulin_time,oraltreatment_dm,systemic_hypertension,insurance,"
        "educational_level,alcohol_consumption,smoking,obesity,vascular_disease,acute_myocardial_infarction,"
        "nephropathy,neuropathy,diabetic_foot,file,laterality,final_artifacts,final_quality,final_icdr,final_edema"
    ),
    ("odir", "full_df.csv"): (
        "ID,Patient Age,Patient Sex,Left-Fundus,Right-Fundus,Left-Diagnostic Keywords,Right-Diagnostic Keywords,"
        "N,D,G,C,A,H,M,O,filepath,labels,target,filename"
    ),
    ("jichi", "list.csv"): "Image,Davis_grading_of_one_figure,Davis_grading_of_concatenated_figures",
    ("sustech", "Labels.csv"): (
        "Fundus_images,DR_grade_American_Academy_of_Ophthalmology,DR_grade_International_Clinical_DR_Severity_Scale"
    ),
}

NAMES = {
    "aptos": r"train_images/[0-9a-f]{12}\.png|test_images/[0-9a-f]{12}\.png",
    "aptos-folders": r"colored_images/(No_DR|Mild|Moderate|Severe|Proliferate_DR)/[0-9a-f]{12}\.png",
    "binary-folders": r"(train|test)/[01]/\d+_(left|right)\.jpeg",
    "brset": r"fundus_photos/img\d{5}\.jpg",
    "class-folders": r"[0-4]/eye\d{4}\.jpg",
    "ddr": r"DR_grading/(train|valid|test)/(007-\d{4}-\d{3}|\d{17})\.jpg",
    "deepdrid": r"regular_fundus_images/(regular-fundus-training|regular-fundus-validation"
    r"|Online-Challenge1&2-Evaluation)/Images/(\d+)/\2_[lr][12]\.jpg",
    "eyepacs": r"(train|test)/\d+_(left|right)\.jpeg",
    "eyepacs-aptos": r"resized (train|test) (15/\d+_(left|right)|19/[0-9a-f]{12})\.jpg",
    "eyepacs-resized": r"resized_train/resized_train/\d+_(left|right)\.jpeg",
    "fgadr": r"Seg-set/Original_Images/\d{4}_\d\.png",
    "gdrbench": r"images/(APTOS|MESSIDOR)/(nodr|mild_npdr|moderate_npdr|severe_npdr|pdr)/\w+\.(png|jpg)",
    "idrid": r"B\. Disease Grading/1\. Original Images/(a\. Training|b\. Testing) Set/IDRiD_\d{3}\.jpg",
    "idrid-nested": r"B\.%20Disease%20Grading/B\. Disease Grading/1\. Original Images/(a\. Training|b\. Testing) Set/"
    r"IDRiD_\d{3}\.jpg",
    "jichi": r"documents/\d+_[12]_[LR]\.jpg",
    "mbrset": r"images/\d+\.[1-4]\.jpg",
    "messidor1": r"Base[1-3][1-4]/200510\d\d_\d{5}_0100_PP\.tif",
    "messidor2": r"IMAGES/(200510\d\d_\d{5}_0100_PP\.png|IM\d{6}\.JPG)",
    "messidor2-kaggle": r"IMAGES/(200510\d\d_\d{5}_0100_PP\.png|IM\d{6}\.JPG)",
    "odir": r"ODIR-5K/Training Images/\d+_(left|right)\.jpg",
    "paraguay": r"(1\. No DR signs|2\. Mild \(or early\) NPDR|3\. Moderate NPDR|4\. Severe NPDR|5\. Very Severe NPDR"
    r"|6\. PDR|7\. Advanced PDR)/\d{3}\.jpg",
    "rfmid": r"1\. Original Images/(a\. Training|b\. Validation|c\. Testing) Set/\d+\.png",
    "sustech": r"originalImages/\d{4}\.jpg",
}


def rows(data_set: Mockup, file: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(data_set.files[file].decode("utf-8"), newline=""), delimiter=delimiter))


def by_file(data_set: Mockup) -> dict[str, MockPhotograph]:
    return {photograph.file: photograph for photograph in data_set.photographs}


@pytest.mark.parametrize(("layout", "file"), FIRST_LINES, ids=lambda value: value)
def test_tables_begin_with_the_published_header(layout: str, file: str) -> None:
    end = b"\r\n" if layout.startswith("idrid") else b"\n"
    data = mockup(layout, 30, seed=0).files[file]
    assert data.partition(end)[0].decode("ascii") == FIRST_LINES[layout, file]


@LAYOUT
def test_photographs_have_the_published_names(layout: str) -> None:
    for photograph in mockup(layout, 60, seed=0).photographs:
        assert re.fullmatch(NAMES[layout], photograph.file), photograph.file


@LAYOUT
@given(n=st.integers(SMALLEST_MOCKUP, 150), seed=st.integers(0, 2**32))
def test_a_mockup_of_any_size_has_both_classes_in_each_published_split(layout: str, n: int, seed: int) -> None:
    data_set = mockup(layout, n, seed)
    files = [photograph.file for photograph in data_set.photographs]
    files += [photograph.cropped for photograph in data_set.photographs if photograph.cropped]
    assert len(data_set.photographs) == n
    assert len({file.lower() for file in files}) == len(files)
    classes = collections.defaultdict(set)
    sides = collections.defaultdict(set)
    for photograph in data_set.photographs:
        if isinstance(photograph.grade, int):
            classes[photograph.split].add(photograph.grade >= 2)
        if photograph.patient:
            sides[photograph.patient].add(photograph.split)
        assert (photograph.edema_risk > 0) == (photograph.lesions_of >= 2)
    assert all(found == {False, True} for found in classes.values())
    assert all(len(splits) == 1 for splits in sides.values())


@LAYOUT
def test_the_seed_alone_decides(layout: str) -> None:
    assert mockup(layout, 30, seed=5) == mockup(layout, 30, seed=5)
    if layout not in ("class-folders", "paraguay"):  # where nothing is drawn by lot but the eyes
        assert mockup(layout, 30, seed=5) != mockup(layout, 30, seed=6)


def test_aptos_has_photographs_without_labels_and_a_table_of_zeros() -> None:
    data_set = mockup("aptos", 40, seed=0)
    unlabelled = [p for p in data_set.photographs if p.grade is None]
    assert unlabelled and all(p.file.startswith("test_images/") for p in unlabelled)
    assert {row[1] for row in rows(data_set, "sample_submission.csv")[1:]} == {"0"}
    truth = by_file(data_set)
    for name, grade in rows(data_set, "train.csv")[1:]:
        assert truth[f"train_images/{name}.png"].grade == int(grade)


def test_eyepacs_names_both_eyes_of_a_patient_by_one_number_and_the_solution_tells_the_halves() -> None:
    data_set = mockup("eyepacs", 60, seed=0)
    truth = by_file(data_set)
    for name, grade, usage in rows(data_set, "retinopathy_solution.csv")[1:]:
        photograph = truth[f"test/{name}.jpeg"]
        assert photograph.grade == int(grade)
        assert photograph.split == {"Public": "validation", "Private": "test"}[usage]
    eyes = collections.defaultdict(set)
    for photograph in data_set.photographs:
        eyes[photograph.patient].add(photograph.eye)
    assert sum(sides == {"left", "right"} for sides in eyes.values()) >= 28


def test_the_cropped_table_of_the_resized_eyepacs_has_two_index_columns() -> None:
    data_set = mockup("eyepacs-resized", 30, seed=0)
    assert rows(data_set, "trainLabels_cropped.csv")[1][:2] == ["0", "0"]
    assert all(p.cropped.startswith("resized_train_cropped/resized_train_cropped/") for p in data_set.photographs)


def test_gdrbench_lists_path_and_label_a_line() -> None:
    data_set = mockup("gdrbench", 40, seed=0)
    assert set(data_set.files) == {f"splits/{s}_{p}.txt" for s in ("APTOS", "MESSIDOR") for p in ("train", "crossval")}
    truth = by_file(data_set)
    for data in data_set.files.values():
        for line in data.decode().splitlines():
            path, label = line.split(" ")
            assert truth[f"images/{path}"].grade == int(label)
            assert truth[f"images/{path}"].masks == {f"masks/{path}": "retina"}


@pytest.mark.parametrize("layout", ["messidor2", "messidor2-kaggle"])
def test_messidor2_has_pairs_another_case_and_ungradable_photographs(layout: str) -> None:
    data_set = mockup(layout, 60, seed=0)
    on_disk = {photograph.file.removeprefix("IMAGES/"): photograph for photograph in data_set.photographs}
    pairs = rows(data_set, "messidor-2.csv", ";")[1:]
    assert len(pairs) == 30
    assert all(on_disk[left].patient == on_disk[right].patient for left, right in pairs)
    table = rows(data_set, "messidor_data.csv")[1:]
    assert [row[0] for row in table if row[0] not in on_disk]  # .jpg, where the disk has .JPG
    assert {row[0] for row in table} == {file.replace(".JPG", ".jpg") for file in on_disk}
    ungradable = [row[1:] for row in table if row[3] == "0"]
    assert ungradable and all(row == ["", "", "0"] for row in ungradable)
    assert len(ungradable) == sum(p.grade == "ungradable" for p in data_set.photographs)


def test_messidor1_has_twelve_old_excel_files_with_a_trailing_blank() -> None:
    data_set = mockup("messidor1", 40, seed=0)
    assert len(data_set.files) == 12
    truth = by_file(data_set)
    for file, data in data_set.files.items():
        sheet = xlrd.open_workbook(file_contents=data).sheet_by_name("Feuil1")
        base = file.split("/")[0]
        assert file == f"{base}/Annotation_{base}.xls"
        assert sheet.row_values(0) == [
            "Image name",
            "Ophthalmologic department",
            "Retinopathy grade",
            "Risk of macular edema ",
        ]
        for at in range(1, sheet.nrows):
            name, _, grade, edema_risk = sheet.row_values(at)
            photograph = truth[f"{base}/{name}"]
            assert (photograph.grade, photograph.edema_risk) == (grade, edema_risk)
            assert photograph.grade in (0, 1, 2, 3)


def test_ddr_has_lines_without_header_separated_by_a_blank_and_grade_5() -> None:
    data_set = mockup("ddr", 60, seed=0)
    for part in ("train", "valid", "test"):
        lines = data_set.files[f"DR_grading/{part}.txt"].decode("ascii").splitlines()
        assert all(re.fullmatch(r"[\d-]+\.jpg [0-5]", line) for line in lines)
        assert any(line.endswith(" 5") for line in lines)


def test_deepdrid_has_backslashes_four_photographs_a_patient_and_a_swapped_one() -> None:
    data_set = mockup("deepdrid", 48, seed=0)
    table = rows(data_set, "regular_fundus_images/regular-fundus-training/regular-fundus-training.csv")[1:]
    swapped = set()
    for patient, name, path, _, left, right, worst, *_ in table:
        assert path == f"\\regular-fundus-training\\{patient}\\{name}.jpg"
        assert bool(left) != bool(right) and int(left or right) <= int(worst)
        if bool(left) != name.startswith(f"{patient}_l"):
            swapped.add(patient)
    assert len(swapped) == 1
    assert [row[1] for row in table[:4]] == ["1_l1", "1_l2", "1_r1", "1_r2"]


def test_mbrset_has_a_dot_in_the_stem_and_empty_grades() -> None:
    table = rows(mockup("mbrset", 40, seed=0), "labels_mbrset.csv")
    of = {title: at for at, title in enumerate(table[0])}
    assert table[1][of["file"]] == "1.1.jpg"
    assert {row[of["final_quality"]] for row in table[1:]} == {"yes", "no"}
    assert all((row[of["final_icdr"]] == "") == (row[of["final_quality"]] == "no") for row in table[1:])


def test_odir_has_a_row_a_patient_in_the_workbook_and_an_eye_in_the_table() -> None:
    data_set = mockup("odir", 40, seed=0)
    book = openpyxl.load_workbook(io.BytesIO(data_set.files["ODIR-5K/data.xlsx"]), read_only=True)
    sheet = list(book["Sheet1"].iter_rows(values_only=True))
    table = rows(data_set, "full_df.csv")
    assert list(map(str, sheet[0])) == table[0][:15]
    assert (len(sheet), len(table)) == (21, 41)
    assert any("，" in row[5] + row[6] for row in table[1:])
    truth = by_file(data_set)
    for row in table[1:]:
        photograph = truth[f"ODIR-5K/Training Images/{row[-1]}"]
        assert photograph.patient == row[0]
        assert ("normal fundus" in row[5 if photograph.eye == "left" else 6]) == (photograph.grade == 0)


def test_rfmid_numbers_begin_again_in_each_split() -> None:
    data_set = mockup("rfmid", 40, seed=0)
    for letter, part in (("a", "Training"), ("b", "Validation"), ("c", "Testing")):
        table = rows(data_set, f"2. Groundtruths/{letter}. RFMiD_{part}_Labels.csv")
        assert table[0][:8] == ["ID", "Disease_Risk", "DR", "ARMD", "MH", "DN", "MYA", "BRVO"]
        assert [row[0] for row in table[1:]] == [str(number) for number in range(1, len(table))]


def test_fgadr_has_no_header() -> None:
    data_set = mockup("fgadr", 24, seed=0)
    first = rows(data_set, "Seg-set/DR_Seg_Grading_Label.csv")[0]
    assert first[0] == data_set.photographs[0].file.removeprefix("Seg-set/Original_Images/")


@pytest.mark.parametrize(("asked", "answer"), [("apto", "'aptos'"), ("EyePACS", "'eyepacs'"), ("xyz", "messidor1")])
def test_an_unknown_layout_is_answered_with_names(asked: str, answer: str) -> None:
    with pytest.raises(DataError, match=answer):
        mockup(asked, 40, seed=0)


def test_too_few_photographs_are_refused() -> None:
    with pytest.raises(DataError, match="at least 24"):
        mockup("aptos", SMALLEST_MOCKUP - 1, seed=0)


@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=1, max_size=40))
def test_workbooks_hold_what_was_written(cells: list[list[str | int]]) -> None:
    sheet = xlrd.open_workbook(file_contents=xls("Feuil1", cells)).sheet_by_name("Feuil1")
    assert [sheet.row_values(at)[: len(row)] for at, row in enumerate(cells)] == cells
    book = openpyxl.load_workbook(io.BytesIO(xlsx("Sheet1", cells)))
    read = [[cell for cell in row if cell is not None] for row in book["Sheet1"].iter_rows(values_only=True)]
    assert read == cells


def test_a_long_workbook_is_read_whole() -> None:
    """Its table of sectors takes more than one sector."""
    cells: list[list[str | int]] = [[f"image{at}.tif", at] for at in range(3000)]
    sheet = xlrd.open_workbook(file_contents=xls("Feuil1", cells)).sheet_by_index(0)
    assert [sheet.row_values(at) for at in range(sheet.nrows)] == cells
