"""The page of `drsearch prepare --look`."""

import base64
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import drsearch
from drsearch.data.audit import Audit, Finding, QualityFinding
from drsearch.data.prepare import UnusableData
from drsearch.data.synthetic import draw_eye
from drsearch.display import contact_sheet
from drsearch.display.contact_sheet import SheetPhotograph, write_contact_sheet, write_doubtful_sheet


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photographs") / "eye.jpg"
    cv2.imwrite(str(path), draw_eye(2, np.random.default_rng(0), image_px=(268, 178)).image[..., ::-1])
    return path


def sections(page: Path) -> dict[str, list[str]]:
    """The names of photographs by the title of their section, in the order of the page."""
    parts = re.split(r"<h2>(.*?)</h2>", page.read_text())[1:]
    return {title: re.findall(r"<b>(.*?)</b>", body) for title, body in zip(parts[::2], parts[1::2], strict=True)}


def test_the_strange_come_first_each_with_its_reason_and_each_once(eye: Path, tmp_path: Path) -> None:
    audit = Audit(
        6, 5, no_retina=(Finding("a.jpg", "shows no retina: <cat>"),), left_out=(Finding("b.jpg", "graded 1 and 2"),),
        lowest_quality=(QualityFinding("d.jpg", 0.1, "is too dark"), QualityFinding("b.jpg", 0.2, "is pale")),
        unusual_crops=(Finding("c.jpg", "its left border is at 20%"), Finding("gone.jpg", "is at 30%")),
    )  # fmt: skip
    photographs = [SheetPhotograph(f"{name}.jpg", eye, "grade 2, train") for name in "abcdef"]
    page = tmp_path / "page.html"
    assert write_contact_sheet(page, "eyes & <more>", photographs, audit) == 6
    assert sections(page) == {
        "Refused (1)": ["a.jpg"], "Left out (1)": ["b.jpg"], "Lowest quality (1)": ["d.jpg"],
        "Unusual crops (1)": ["c.jpg"], "The others (2)": ["e.jpg", "f.jpg"],
    }  # fmt: skip
    text = page.read_text()
    assert "shows no retina: &lt;cat&gt;" in text and "<cat>" not in text and "eyes &amp; &lt;more&gt;" in text
    assert len(re.findall(r'src="data:image/jpeg;base64,', text)) == len(re.findall('<i style="left:', text)) == 6
    assert not re.search(r"https?:|<script|url\(", text)


def test_of_many_photographs_the_ordinary_ones_are_drawn_from_the_whole_set(
    eye: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheet, "MOST_PHOTOGRAPHS", 5)
    photographs = [SheetPhotograph(f"{i}.jpg", eye, "") for i in range(101)]
    audit = Audit(101, 101, no_retina=(Finding("7.jpg", "shows no retina"),))
    page = tmp_path / "page.html"
    assert write_contact_sheet(page, "eyes", photographs, audit) == 5
    assert sections(page) == {
        "Refused (1)": ["7.jpg"],
        "The others (4 of 100)": ["0.jpg", "34.jpg", "67.jpg", "100.jpg"],
    }
    assert "5 of 101 photographs" in page.read_text()


def test_the_page_is_written_for_data_that_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRSEARCH_HOME", str(tmp_path / "home"))
    drsearch.synthesize(tmp_path / "eyes", images=16)
    (tmp_path / "eyes/images/train/SYN_003.jpg").write_bytes(b"no picture")
    shutil.rmtree(tmp_path / "home", ignore_errors=True)
    small = {"images.image_px": 32}
    with pytest.raises(UnusableData) as refused:
        drsearch.prepare(tmp_path / "eyes", settings=small, look=True, progress=False)
    (page,) = (tmp_path / "home/audits").glob("*.html")
    assert page == refused.value.audit_path.with_suffix(".html")
    assert sections(page)["Refused (1)"] == ["SYN_003.jpg"]
    data = drsearch.prepare(tmp_path / "eyes", settings=small, skip_bad=True, look=True, progress=False)
    assert data.contact_sheet is not None and "16 photographs" in data.contact_sheet.read_text()
    assert data.contact_sheet.stem == data.records.data_fingerprint
    assert data.quality.score.is_monotonic_increasing and len(data.quality) == 15
    assert drsearch.prepare(tmp_path / "eyes", settings=small, skip_bad=True, progress=False).contact_sheet is None


def test_doubtful_labels_are_shown_in_their_order_and_large_enough_to_be_graded(eye: Path, tmp_path: Path) -> None:
    page = tmp_path / "doubtful.html"
    photographs = [SheetPhotograph(f"{name}.jpg", eye, f"labelled grade {name}") for name in "cab"]
    write_doubtful_sheet(page, "judged", [*photographs, SheetPhotograph("gone.jpg", tmp_path / "gone.jpg", "")])
    text = page.read_text()
    assert re.findall(r"<b>(.*?)</b>", text) == ["c.jpg", "a.jpg", "b.jpg", "gone.jpg"]
    pictures = [base64.b64decode(data) for data in re.findall(r'src="data:image/jpeg;base64,(.*?)"', text)]
    assert len(pictures) == 3
    assert cv2.imdecode(np.frombuffer(pictures[0], np.uint8), cv2.IMREAD_COLOR).shape[:2] == (178, 268)
    assert "photographs of patients" in text and not re.search(r"https?:|<script|url\(", text)
