"""Are the photographs of a mock-up where its tables say, and do they show what the tables say?"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from drsearch.data.mockups import synthesize_layout
from drsearch.data.prepare import prepare
from drsearch.data.splits import SPLITS
from drsearch.data.synthetic import draw_eye
from drsearch.datasets.given import Naming, open_dataset
from drsearch.datasets.mockups import LAYOUTS, Mockup
from drsearch.errors import DataError
from drsearch.home import Home
from drsearch.settings import Settings

Drawn = Callable[[str], tuple[Path, Mockup]]
READ_AS = {"eyepacs-resized": "EyePACS, resized"}
"""The layout that is meant, where a mock-up can be read in two ways."""

SIGNATURES = {"png": b"\x89PNG", "tif": (b"II*\0", b"MM\0*"), "jpg": b"\xff\xd8\xff", "jpeg": b"\xff\xd8\xff"}


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def digests(folder: Path) -> dict[str, str]:
    return {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in sorted(files_in(folder))}


def read(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return np.asarray(image)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_has_its_files_and_no_other(mockup_folder: Drawn, layout: str) -> None:
    folder, data_set = mockup_folder(layout)
    expected = set(data_set.files)
    for photograph in data_set.photographs:
        expected |= {photograph.file, *photograph.masks} | ({photograph.cropped} - {""})
    assert files_in(folder) == expected
    assert all((folder / file).read_bytes() == data for file, data in data_set.files.items())
    for photograph in data_set.photographs:
        start = (folder / photograph.file).read_bytes()[:4]
        assert start.startswith(SIGNATURES[photograph.file.rpartition(".")[2].lower()])
    pictures = [(folder / photograph.file).read_bytes() for photograph in data_set.photographs]
    assert len(set(pictures)) == len(pictures)


def test_the_same_seed_draws_the_same_bytes(mockup_folder: Drawn, tmp_path: Path) -> None:
    for layout in ("odir", "messidor1"):
        folder, data_set = mockup_folder(layout)
        synthesize_layout(tmp_path / layout, layout, len(data_set.photographs), seed=0, image_px=(206, 137))
        assert digests(tmp_path / layout) == digests(folder)


def test_what_cannot_be_graded_is_darker_and_has_no_edges(mockup_folder: Drawn) -> None:
    folder, data_set = mockup_folder("mbrset")
    edges: dict[bool, list[float]] = {True: [], False: []}
    for photograph in data_set.photographs:
        image = read(folder / photograph.file)
        edges[photograph.grade == "ungradable"].append(float(cv2.Laplacian(image, cv2.CV_64F).std()))
    assert max(edges[True]) < min(edges[False]) / 3


def test_a_cropped_copy_is_the_same_picture_without_its_borders(mockup_folder: Drawn) -> None:
    folder, data_set = mockup_folder("eyepacs-resized")
    for photograph in data_set.photographs:
        whole, cropped = read(folder / photograph.file), read(folder / photograph.cropped)
        assert cropped.shape[1] < whole.shape[1]
        match = cv2.matchTemplate(whole, cropped, cv2.TM_CCOEFF_NORMED)
        assert match.max() > 0.99


def test_masks_are_white_where_the_lesions_are(mockup_folder: Drawn) -> None:
    folder, data_set = mockup_folder("fgadr")
    for photograph in data_set.photographs:
        shares = [float((read(folder / mask) > 0).mean()) for mask in photograph.masks]
        if photograph.lesions_of >= 2:
            assert min(shares) > 0
        else:
            assert max(shares) == 0


def test_the_disc_of_a_right_eye_lies_on_the_right_and_edema_is_as_asked() -> None:
    for seed in range(6):
        for side in ("left", "right"):
            for edema_risk in (1, 2):
                eye = draw_eye(3, np.random.default_rng(seed), image_px=(206, 137), side=side, edema_risk=edema_risk)
                assert (eye.boxes[0].cx > 0.463) == (side == "right")  # the retina's centre
                assert eye.edema_risk == edema_risk


def test_eyes_of_a_person_are_more_alike_in_colour_than_those_of_others(mockup_folder: Drawn) -> None:
    folder, data_set = mockup_folder("brset")
    colours: dict[int, list[NDArray[np.float64]]] = {}
    for photograph in data_set.photographs:
        image = read(folder / photograph.file)
        colours.setdefault(photograph.person, []).append(np.median(image[20:66, 30:90], axis=(0, 1)))
    pairs = [np.array(pair) for pair in colours.values() if len(pair) == 2]
    within = np.mean([np.abs(pair[0] - pair[1]).mean() for pair in pairs])
    between = np.mean([np.abs(a[0] - b[0]).mean() for a in pairs for b in pairs if a is not b])
    assert within < between / 2


def test_an_interrupted_mockup_leaves_nothing(tmp_path: Path) -> None:
    def stop(number: int, _of: int) -> None:
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize_layout(tmp_path / "mock", "ddr", 24, 0, image_px=(206, 137), on_photograph=stop)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(DataError, match="already holds something"):
        synthesize_layout(tmp_path, "ddr", 24, 0)
    assert files_in(tmp_path) == {"mine"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mockup_becomes_records_with_its_grades_splits_and_patients(
    mockup_folder: Drawn, home: Home, layout: str
) -> None:
    folder, data_set = mockup_folder(layout)
    dataset = open_dataset([folder], Naming(layout=READ_AS.get(layout, "")))
    prepared = prepare(dataset, Settings().replace({"images.image_px": 32}), home)
    by_sha256 = {hashlib.sha256((folder / each.file).read_bytes()).hexdigest(): each for each in data_set.photographs}
    eyes = [(by_sha256[entry.sha256], entry) for entry in prepared.records.eyes(*SPLITS)]
    graded = {each.file: each.grade for each in data_set.photographs if isinstance(each.grade, int)}
    assert {truth.file: entry.grade for truth, entry in eyes} == graded
    counts = prepared.records.counts
    assert sum(split["n"] for split in counts.values()) == len(graded)
    assert all(split["NRDR"] and split["RDR"] for split in counts.values())

    published: dict[str, set[str]] = {}  # of several sets in one folder each has splits of its own
    for truth, entry in eyes:
        published.setdefault(entry.source, set()).add(truth.split)
    patients: dict[str, set[tuple[str, str]]] = {}
    for truth, entry in eyes:
        divided = {"train", "validation", "test"} - (published[entry.source] - {"train"})
        assert entry.split in ({truth.split} if truth.split in ("validation", "test") else divided)
        assert entry.eye in ("", truth.eye)
        assert bool(entry.patient) == bool(truth.patient)
        if truth.patient:
            patients.setdefault(truth.patient, set()).add((entry.patient, entry.split))
    assert all(len(one) == 1 for one in patients.values()), "a patient lies in two splits"
    assert len(set.union(set(), *patients.values())) == len(patients), "two patients are taken for one"

    audit = prepared.audit
    assert (audit.bad, audit.duplicates) == ((), ())
    assert set(audit.ungradable) == {each.file for each in data_set.photographs if each.grade == "ungradable"}
    assert {each.file for each in audit.left_out} == {
        each.file for each in data_set.photographs if each.grade == "excluded"
    }
