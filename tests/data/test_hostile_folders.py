"""Whatever lies in a folder, `drsearch prepare` ends in records or in one sentence, and leaves nothing half-written."""

import functools
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rights import as_reader

import drsearch
from drsearch.data.mockups import synthesize_layout
from drsearch.data.records import open_records
from drsearch.data.synthetic import synthesize
from drsearch.datasets.given import open_dataset
from drsearch.datasets.mockups import mockup
from drsearch.datasets.workbooks import xls, xlsx
from drsearch.errors import DataError
from drsearch.home import Home

RECORDS = "records"
SIZE_PX = (206, 137)  # the smallest retina that is graded has 128 pixels
HANG_S = 120
LONGEST_SENTENCE = 2500

PROGRAM = """
import contextlib, io, json, pathlib, signal, sys
from drsearch.cli import main

signal.alarm(int(sys.argv[1]))  # a folder that is waited for has its traceback in the test's report
for folder in json.load(sys.stdin):
    sys.argv = ["drsearch", "prepare", folder, "--set", "images.image_px=32", "--json"]
    out, said, code = io.StringIO(), io.StringIO(), 0
    print(folder, end=" ", flush=True)
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException as wrong:
            code = repr(wrong)
    print(json.dumps([code, out.getvalue(), said.getvalue()]), flush=True)
"""


@dataclass(frozen=True)
class Desk:
    """Where a hostile folder is made.

    Attributes:
        folder: To be filled.
        eyes: Ten good photographs in the flat layout.
        aptos: Some more in the layout of APTOS 2019.
    """

    folder: Path
    eyes: Path
    aptos: Path

    def flat(self) -> Path:
        """The folder, as a copy of the good one in the flat layout."""
        return Path(shutil.copytree(self.eyes, self.folder, dirs_exist_ok=True))

    def as_aptos(self) -> Path:
        """The folder, as a copy of the good one in the layout of APTOS 2019."""
        return Path(shutil.copytree(self.aptos, self.folder, dirs_exist_ok=True))

    def write(self, files: dict[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    @property
    def picture(self) -> bytes:
        return (self.eyes / "images/train/SYN_001.jpg").read_bytes()


Make = Callable[[Desk], None]
HOSTILE: dict[str, tuple[Make, str]] = {}


def hostile(outcome: str) -> Callable[[Make], Make]:
    """Add a folder and what becomes of it: `RECORDS`, or a pattern for the sentence that refuses it."""

    def add(make: Make) -> Make:
        HOSTILE[make.__name__] = (make, outcome)
        return make

    return add


def labels(*rows: tuple[object, ...], title: str = "Retinopathy grade") -> str:
    return "".join(f"{','.join(map(str, row))}\n" for row in (("Image name", title), *rows))


# Nothing, or the wrong things, lie there -----------------------------------------------------------------------------


@hostile("no photographs and no table")
def empty(desk: Desk) -> None:
    desk.folder.mkdir()


@hostile("is no folder")
def missing(desk: Desk) -> None:
    pass


@hostile("is a file; give its folder")
def a_file_for_a_folder(desk: Desk) -> None:
    desk.folder.write_bytes(desk.picture)


@hostile("no photographs and the tables test.csv")
def only_tables(desk: Desk) -> None:
    desk.write({"train.csv": "id_code,diagnosis\n0123456789ab,2\n", "test.csv": "id_code\nba9876543210\n"})


@hostile("images/train but no labels/train.csv")
def only_photographs(desk: Desk) -> None:
    shutil.rmtree(desk.flat() / "labels")


@hostile("unpack train_images.zip first")
def an_archive_that_nobody_unpacked(desk: Desk) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("train_images/0123456789ab.png", b"")
    desk.write({"train.csv": "id_code,diagnosis\n0123456789ab,2\n", "train_images.zip": archive.getvalue()})


@hostile("10 photographs in Bilder/Übung and the table Befunde/Übung.csv .begins with 'Aufnahme', 'Stufe'")
def another_language(desk: Desk) -> None:
    folder = desk.flat()
    (folder / "images").rename(folder / "Bilder")
    (folder / "Bilder/train").rename(folder / "Bilder/Übung")
    table = (folder / "labels/train.csv").read_text().replace("Image name,Retinopathy grade", "Aufnahme,Stufe")
    desk.write({"Befunde/Übung.csv": table.encode("cp1252")})
    shutil.rmtree(folder / "labels")


@hostile("images/train but no labels/train.csv")
def labels_where_nobody_looks(desk: Desk) -> None:
    folder = desk.flat()
    (folder / "archive/2019/final").mkdir(parents=True)
    (folder / "labels").rename(folder / "archive/2019/final/csv")


@hostile("has no layout that drsearch knows: it has 24 photographs in d/d/")
def nested_thirty_deep(desk: Desk) -> None:
    shutil.copytree(desk.aptos, desk.folder.joinpath(*"d" * 30))


@hostile("can be read as 'APTOS 2019' or 'flat'")
def two_data_sets_side_by_side(desk: Desk) -> None:
    shutil.copytree(desk.eyes, desk.folder / "mine")
    shutil.copytree(desk.aptos, desk.folder / "aptos")


@hostile("all photographs lie in 0: add those of the other grades")
def class_folders_with_one_class(desk: Desk) -> None:
    desk.folder.mkdir()
    for number, picture in enumerate(sorted((desk.eyes / "images/train").iterdir())):
        (desk.folder / "0").mkdir(exist_ok=True)
        shutil.copy(picture, desk.folder / "0" / f"{number}.jpg")


@hostile(RECORDS)
def a_folder_of_macos_with_its_shadows(desk: Desk) -> None:
    folder = desk.flat()
    for picture in list((folder / "images/train").iterdir()):
        picture.with_name(f"._{picture.name}").write_bytes(b"\0\5\x16\7Mac OS X")
    desk.write({"__MACOSX/images/train/SYN_001.jpg": b"", ".DS_Store": b"Bud1", "images/Thumbs.db": b"\xd0\xcf"})


# What is named like a photograph or a table, and is none --------------------------------------------------------------


@hostile("SYN_001.jpg .cannot be opened: it is a folder")
def folders_named_like_photographs(desk: Desk) -> None:
    folder = desk.flat()
    for picture in sorted((folder / "images/train").iterdir())[:5]:
        picture.unlink()
        picture.mkdir()


@hostile("SYN_001.jpg .is empty; copy the file again")
def empty_photographs(desk: Desk) -> None:
    for picture in (desk.flat() / "images/train").iterdir():
        picture.write_bytes(b"")


@hostile("^drsearch: 2 of .*SYN_003.jpg .is no picture that drsearch reads")
def texts_named_like_photographs(desk: Desk) -> None:
    desk.flat()
    desk.write(
        {
            "images/train/SYN_003.jpg": "<!DOCTYPE html><html><title>Log in</title></html>",
            "images/train/SYN_004.jpg": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        }
    )


@hostile("SYN_002.jpg .cannot be opened: it is a named pipe.*SYN_003.jpg .cannot be opened: it is a socket")
def pipes_and_sockets(desk: Desk) -> None:
    folder = desk.flat()
    for name in ("SYN_002", "SYN_003"):
        (folder / f"images/train/{name}.jpg").unlink()
    os.mkfifo(folder / "images/train/SYN_002.jpg")
    with socket.socket(socket.AF_UNIX) as mine, warnings.catch_warnings():
        here = os.open(folder / "images/train", os.O_RDONLY)  # names of sockets must be short
        mine.bind(f"/proc/self/fd/{here}/SYN_003.jpg")
        os.close(here)


@hostile("labels/train.csv cannot be read: it is a named pipe")
def a_pipe_for_a_table(desk: Desk) -> None:
    table = desk.flat() / "labels/train.csv"
    table.unlink()
    os.mkfifo(table)


@hostile(RECORDS)
def a_pipe_beside_the_tables(desk: Desk) -> None:
    os.mkfifo(desk.flat() / "labels/notes.csv")


@hostile("^drsearch: 3 of .*SYN_002.jpg .cannot be opened: it is a device")
def devices(desk: Desk) -> None:
    folder = desk.flat()
    for name, device in (("SYN_002", "/dev/zero"), ("SYN_003", "/dev/random"), ("SYN_004", "/dev/stdin")):
        (folder / f"images/train/{name}.jpg").unlink()
        (folder / f"images/train/{name}.jpg").symlink_to(device)


@hostile("SYN_005.jpg .cannot be opened: No such file.*SYN_006.jpg .cannot be opened: Too many levels")
def links_that_lead_nowhere(desk: Desk) -> None:
    folder = desk.flat()
    picture = folder / "images/train/SYN_005.jpg"
    picture.unlink()
    picture.symlink_to("nowhere.jpg")
    (folder / "images/train/SYN_006.jpg").unlink()
    (folder / "images/train/SYN_006.jpg").symlink_to("SYN_006.jpg")


@hostile(RECORDS)
def links_that_lead_round_in_circles(desk: Desk) -> None:
    folder = desk.flat()
    (folder / "images/train/again").symlink_to(folder)
    (folder / "labels/up").symlink_to("..")


@hostile("images/train but no labels/train.csv")
def a_folder_for_a_table(desk: Desk) -> None:
    folder = desk.flat()
    (folder / "labels/train.csv").unlink()
    (folder / "labels/train.csv").mkdir()


@hostile("images/train cannot be opened: Permission denied")
def a_folder_that_may_not_be_opened(desk: Desk) -> None:
    (desk.flat() / "images/train").chmod(0)


@hostile("SYN_001.jpg .cannot be opened: Permission denied")
def a_photograph_that_may_not_be_read(desk: Desk) -> None:
    (desk.flat() / "images/train/SYN_001.jpg").chmod(0)


@hostile("labels/train.csv cannot be read: Permission denied")
def a_table_that_may_not_be_read(desk: Desk) -> None:
    (desk.flat() / "labels/train.csv").chmod(0)


@hostile("is not readable")
def a_data_set_that_may_not_be_opened(desk: Desk) -> None:
    desk.flat().chmod(0)


# Tables ---------------------------------------------------------------------------------------------------------------


@hostile("has no column 'Image name'")
def a_table_of_random_bytes(desk: Desk) -> None:
    desk.flat()
    desk.write({"labels/train.csv": bytes(range(256)) * 40})


@hostile("labels/train.csv is empty")
def an_empty_table(desk: Desk) -> None:
    desk.flat()
    desk.write({"labels/train.csv": ""})


@hostile("^drsearch: 10 of .*photograph without label")
def a_table_with_titles_only(desk: Desk) -> None:
    desk.flat()
    desk.write({"labels/train.csv": labels()})


@hostile("^drsearch: 20010 of .*labels are named like .Id00000., photographs without label like .SYN_001.")
def a_long_table_of_other_photographs(desk: Desk) -> None:
    desk.flat()
    rows = ((f"Id{number:05}", number % 5) for number in range(20_000))
    desk.write({"labels/train.csv": labels(*rows)})


@hostile("grade '5'")
def a_table_with_no_valid_grade(desk: Desk) -> None:
    desk.flat()
    desk.write({"labels/train.csv": labels(*((f"SYN_{number:03}", 5) for number in range(1, 11)))})


@hostile("SYN_002.jpg .grade '[0-4] and 0 and 4'")
def rows_of_one_photograph_with_two_grades(desk: Desk) -> None:
    table = desk.flat() / "labels/train.csv"
    table.write_text(table.read_text() + "SYN_002,0,0\nSYN_002,4,0\n")


@hostile("line 2: SYN_001 may be images/train/SYN_001.jpg or images/train/more/SYN_001.jpg")
def an_id_that_fits_two_files(desk: Desk) -> None:
    folder = desk.flat()
    (folder / "images/train/more").mkdir()
    shutil.copy(folder / "images/train/SYN_002.jpg", folder / "images/train/more/SYN_001.jpg")


@hostile("line 2: SYN_001 may be images/train/SYN_001.JPEG or images/train/SYN_001.jpg")
def an_id_that_fits_two_endings(desk: Desk) -> None:
    folder = desk.flat()
    shutil.copy(folder / "images/train/SYN_002.jpg", folder / "images/train/SYN_001.JPEG")


@hostile("label without photograph")
def a_table_in_three_encodings(desk: Desk) -> None:
    table = desk.flat() / "labels/train.csv"
    lines = table.read_text().splitlines()
    lines[2], lines[3] = lines[2].replace("SYN", "Müller"), lines[3].replace("SYN", "Škoda")
    mixed = "\n".join(lines[:3]).encode("utf-8") + b"\n" + lines[3].encode("utf-16") + b"\n"
    table.write_bytes(mixed + "\nÄ,1,0\n".encode("cp1252") + "\n".join(lines[4:]).encode())


@hostile("label without photograph.*SYN_003.jpg .photograph without label")
def a_table_with_nul_bytes(desk: Desk) -> None:
    table = desk.flat() / "labels/train.csv"
    table.write_bytes(table.read_bytes().replace(b"SYN_003", b"SYN_\0\0\0"))


@hostile("cannot be read as a table")
def a_quote_that_is_never_closed(desk: Desk) -> None:
    table = desk.flat() / "labels/train.csv"
    table.write_text(table.read_text().replace("SYN_002", '"SYN_002') + "x" * 200_000)


@hostile("has 2 columns 'Retinopathy grade'; keep one")
def a_column_twice(desk: Desk) -> None:
    table = desk.flat() / "labels/train.csv"
    table.write_text(table.read_text().replace("Risk of macular edema", "Retinopathy grade"))


@hostile(RECORDS)
def a_workbook_that_is_a_renamed_csv(desk: Desk) -> None:
    table = desk.as_aptos() / "train.csv"
    table.rename(table.with_suffix(".xlsx"))


@hostile(RECORDS)
def a_csv_that_is_a_renamed_workbook(desk: Desk) -> None:
    table = desk.as_aptos() / "train.csv"
    table.write_bytes(xlsx("Sheet1", [line.split(",") for line in table.read_text().splitlines()]))


@hostile("train.xls .which cannot be read.; name its columns with --labels FILE ")
def a_workbook_that_is_cut_short(desk: Desk) -> None:
    table = desk.as_aptos() / "train.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.unlink()
    desk.write({"train.xls": xls("Sheet1", rows)[:1500]})


@hostile(RECORDS)
def a_workbook_formatted_down_to_its_last_row(desk: Desk) -> None:
    table = desk.as_aptos() / "train.csv"
    book = openpyxl.Workbook()
    for line in table.read_text().splitlines():
        book.active.append(line.split(","))
    book.active["A300000"].number_format = "0.00"
    table.unlink()
    book.save(table.with_suffix(".xlsx"))


@hostile("first line is '<!DOCTYPE html>'")
def a_table_of_a_web_page(desk: Desk) -> None:
    desk.flat()
    desk.write({"labels/train.csv": "<!DOCTYPE html>\n<html><body>404, not found</body></html>\n"})


# Names ----------------------------------------------------------------------------------------------------------------


def renamed(desk: Desk, *names: str) -> None:
    """Give photographs other names, in the table, too."""
    folder = desk.flat()
    table = folder / "labels/train.csv"
    text = table.read_text()
    for number, name in enumerate(names, start=1):
        old = f"SYN_{number:03}"
        (folder / f"images/train/{old}.jpg").rename(folder / f"images/train/{name}.jpg")
        text = text.replace(old, '"' + name.replace('"', '""') + '"')
    table.write_text(text)


@hostile(RECORDS)
def names_with_quotes_commas_and_signs(desk: Desk) -> None:
    renamed(desk, 'a "quoted" eye', "b, the second", "c;d", "e'f", "$(rm -rf)", "%s %d {x}", "[bold]no", "\U0001f441")


@hostile(RECORDS)
def long_names(desk: Desk) -> None:
    renamed(desk, "x" * 251, "é" * 120)


@hostile(r"\\n")
def names_with_line_ends(desk: Desk) -> None:
    folder = desk.flat()
    for number, name in enumerate(("a\nb", "c\r\nd", "e\x1b[31mf", "g\th"), start=1):
        (folder / f"images/train/SYN_{number:03}.jpg").rename(folder / f"images/train/{name}.jpg")


@hostile(r"images/train/\\xfc\\xff.jpg .photograph without label")
def names_that_are_no_utf8(desk: Desk) -> None:
    folder = desk.flat()
    os.rename(folder / "images/train/SYN_001.jpg", os.fsencode(folder / "images/train") + b"/\xfc\xff.jpg")


# The tests ------------------------------------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder, with size and time of its last change."""
    paths = [folder, *folder.rglob("*")] if folder.is_dir() else [folder]
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths if os.path.lexists(path)}


def check_home(home: Home) -> int:
    """Nothing is half-written; how many record sets there are."""
    sets = list(home.records.iterdir()) if home.records.is_dir() else []
    for folder in sets:
        assert folder.name[0] != ".", f"{folder} was left half-written"
        open_records(folder).check()
    return len(sets)


def check_sentence(text: str) -> None:
    assert text.isprintable(), f"it is more than a line: {text!r}"
    assert text.rstrip()[-1] in ".?", f"it does not end as a sentence: {text}"
    assert len(text) <= LONGEST_SENTENCE, f"it has {len(text)} letters: {text}"


@pytest.fixture(scope="module")
def desk_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Desk]:
    root = tmp_path_factory.mktemp("hostile")
    synthesize(root / "good", 10, seed=1, image_px=SIZE_PX)
    synthesize_layout(root / "aptos", "aptos", 24, seed=1, image_px=SIZE_PX)
    return lambda name: Desk(root / "folders" / name, root / "good", root / "aptos")


@pytest.fixture(scope="module")
def ends(desk_of: Callable[[str], Desk]) -> dict[str, tuple[object, str, str, Home]]:
    """Of `drsearch prepare --json` on every folder: status, standard output, standard error, and the home."""
    prefix = as_reader()
    desks = {name: desk_of(name) for name in HOSTILE}
    root = next(iter(desks.values())).folder.parent
    root.mkdir()
    for name, (make, _) in HOSTILE.items():
        make(desks[name])
    home = Home(root.parent / "home")
    before = {name: tree(desk.folder) for name, desk in desks.items()}
    try:
        done = subprocess.run(
            [*prefix, sys.executable, "-c", PROGRAM, str(HANG_S)],
            input=json.dumps([str(desk.folder) for desk in desks.values()]),
            env={**os.environ, "DRSEARCH_HOME": str(home.path), "COLUMNS": "10000"},
            capture_output=True,
            text=True,
        )
    finally:
        after = {name: tree(desk.folder) for name, desk in desks.items()}
        for path in (path for desk in desks.values() for path in (desk.folder, *desk.folder.rglob("*"))):
            if path.exists() and not path.is_symlink() and not path.stat().st_mode & 0o400:
                path.chmod(0o700)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert after == before, "a data set was written to"
    results = [line.partition(" [") for line in done.stdout.splitlines()]
    found = {Path(folder).name: json.loads(f"[{result}") for folder, _, result in results}
    return {name: (code, answer, printed, home) for name, (code, answer, printed) in found.items()}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_ends_in_records_or_one_sentence(
    ends: dict[str, tuple[object, str, str, Home]], name: str
) -> None:
    code, answer, printed, _ = ends[name]
    outcome = HOSTILE[name][1]
    assert "Traceback" not in printed
    assert answer == "" or json.loads(answer), "standard output has more than one JSON object"
    if outcome == RECORDS:
        assert code == 0, printed
    else:
        assert code == 2, f"{code}: {printed}"
        sentence = printed.rstrip("\n").rpartition("\n")[2]
        assert sentence.startswith(("drsearch: ", "Error: "))
        check_sentence(sentence)
        assert re.search(outcome, sentence), sentence


def test_nothing_half_written_is_left(ends: dict[str, tuple[object, str, str, Home]]) -> None:
    home = next(iter(ends.values()))[3]
    prepared = [name for name, (code, _, _, _) in ends.items() if code == 0]
    assert 1 <= check_home(home) <= len(prepared)


# By chance ------------------------------------------------------------------------------------------------------------

FOLDERS = (
    "images train test valid labels 0 1 2 4 No_DR Mild pdr IMAGES Base11 DR_grading splits fundus_photos APTOS"
).split() + ["B. Disease Grading", "1. Original Images", "a. Training Set", "2. Groundtruths", "1. No DR signs", "é ü"]
PICTURES = (
    "SYN_001.jpg SYN_002.jpg 10_left.jpeg 10_right.jpeg 0123456789ab.png A.JPG a.jpg 1.1.jpg 1.jpg IM000180.JPG"
    " 007-0004-000.jpg img00001.jpg 1_1_R.jpg IDRiD_001.jpg eye.tif"
).split()
TABLES = (
    "train.csv trainLabels.csv labels.csv train.txt messidor-2.csv messidor_data.csv list.csv data.xlsx full_df.csv"
    " labels_mbrset.csv Annotation_Base11.xls APTOS_train.txt retinopathy_solution.csv README.txt data.toml"
).split()
TITLES = (
    "Image name|Retinopathy grade|id_code|diagnosis|image|level|Usage|left|right|image_id|patient_id|DR_ICDR|exam_eye"
    "|adjudicated_gradable|adjudicated_dr_grade|file|final_icdr|laterality|patient|split|ID|DR|Fundus_images|Image|"
).split("|")
STEMS = [name.rpartition(".")[0] for name in PICTURES]
CELLS = [*STEMS, *PICTURES, "0", "1", "2", "3.0", "4", "5", "", "pdr", "Private"]
_TABLE = st.tuples(
    st.lists(st.sampled_from(TITLES), min_size=1, max_size=4),
    st.lists(st.lists(st.sampled_from(CELLS), max_size=5), max_size=6),
    st.sampled_from([",", ";", "\t", " "]),
    st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
).map(lambda made: "\n".join(made[2].join(row) for row in (made[0], *made[1])).encode(made[3]))
_BYTES = st.one_of(st.binary(max_size=60), st.just(b""), st.just(b"PK\3\4"), st.just(b"\xd0\xcf\x11\xe0" + bytes(600)))
_FILE = st.one_of(
    st.tuples(st.sampled_from(PICTURES), st.one_of(st.just("picture"), st.just("picture"), _BYTES)),
    st.tuples(st.sampled_from(TABLES), st.one_of(_TABLE, _TABLE, _BYTES)),
)
TREES = st.lists(st.tuples(st.lists(st.sampled_from(FOLDERS), max_size=3), _FILE), max_size=10)
LAYOUTS_OF_TABLES = ("aptos", "messidor2", "messidor1", "deepdrid", "odir", "ddr", "mbrset")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRSEARCH_HOME", str(tmp_path_factory.mktemp("home")))
        yield Home.from_environment()


def check_outcome(folder: Path, home: Home, *, skip_bad: bool) -> None:
    try:
        drsearch.prepare(folder, settings={"images.image_px": 32}, skip_bad=skip_bad, progress=False)
    except DataError as refused:
        check_sentence(str(refused))
    check_home(home)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=TREES, skip_bad=st.booleans())
def test_any_folder_ends_in_records_or_one_sentence(
    desk_of: Callable[[str], Desk], home: Home, files: list[tuple[list[str], tuple[str, bytes | str]]], skip_bad: bool
) -> None:
    picture = desk_of("").picture
    with tempfile.TemporaryDirectory() as folder:
        for folders, (name, content) in files:
            path = Path(folder, *folders, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture if isinstance(content, str) else content)
        check_outcome(Path(folder), home, skip_bad=skip_bad)


@pytest.fixture(scope="module")
def mock_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, dict[str, bytes]]]:
    """The folder of a layout with photographs that are not opened, and its tables."""
    root = tmp_path_factory.mktemp("tables")

    @functools.cache
    def make(layout: str) -> tuple[Path, dict[str, bytes]]:
        data_set = mockup(layout, 24, seed=0)
        for photograph in data_set.photographs:
            (root / layout / photograph.file).parent.mkdir(parents=True, exist_ok=True)
            (root / layout / photograph.file).touch()
        for file, data in data_set.files.items():
            (root / layout / file).parent.mkdir(parents=True, exist_ok=True)
            (root / layout / file).write_bytes(data)
        return root / layout, dict(data_set.files)

    return make


@pytest.mark.parametrize("layout", LAYOUTS_OF_TABLES)
@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_to_a_table_ends_in_photographs_or_one_sentence(
    mock_of: Callable[[str], tuple[Path, dict[str, bytes]]], layout: str, data: st.DataObject
) -> None:
    folder, tables = mock_of(layout)
    file = data.draw(st.sampled_from(sorted(tables)))
    damaged = tables[file]
    for _ in range(data.draw(st.integers(1, 3))):
        first = data.draw(st.integers(0, len(damaged)))
        last = data.draw(st.integers(first, min(len(damaged), first + 40)))
        put = data.draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"\n", b",", b'"', b"\0", b"\r", b"5"])))
        damaged = damaged[:first] + put + damaged[last:]
    (folder / file).write_bytes(damaged)
    try:
        open_dataset([folder])
    except DataError as refused:
        check_sentence(str(refused))
    finally:
        (folder / file).write_bytes(tables[file])
