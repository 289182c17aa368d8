"""Boxes around lesions, as tables have them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsearch.datasets.boxes import Box, BoxTable, PackedBoxes
from drsearch.datasets.given import open_dataset
from drsearch.datasets.read import Dataset
from drsearch.errors import DataError

HEADER = "image,lesion,cx,cy,w,h\n"


def folder(root: Path, boxes: str, *names: str) -> Path:
    """A folder in the flat layout with a table of boxes."""
    (root / "images/train").mkdir(parents=True)
    (root / "labels").mkdir()
    for name in names:
        (root / f"images/train/{name}.jpg").touch()
    rows = "".join(f"{name},2\n" for name in names)
    (root / "labels/train.csv").write_text(f"Image name,Retinopathy grade\n{rows}")
    (root / "labels/lesion_boxes_train.csv").write_text(boxes)
    return root


def boxes_by_name(dataset: Dataset) -> dict[str, tuple[Box, ...]]:
    return {each.name: each.boxes for each in dataset.photographs}


def test_a_table_beside_the_labels_is_found_and_its_boxes_are_fractions_of_the_photograph(tmp_path: Path) -> None:
    table = f"{HEADER}a,Hard_Exudate,0.5,0.25,0.2,0.1\na.jpg,red lesion,0.1,0.5,0.2,0.5\nc,drusen,0.5,0.5,0.1,0.1\n"
    dataset = open_dataset([folder(tmp_path, table, "a", "b")])
    assert boxes_by_name(dataset) == {
        "a": (Box("hard_exudate", 0.4, 0.2, 0.6, 0.3), Box("red lesion", 0.0, 0.25, 0.2, 0.75)),
        "b": (),
    }
    assert dataset.not_used == ("labels/lesion_boxes_train.csv, boxes of 1 photograph not here, e.g. c",)
    assert "boxes by labels/lesion_boxes_train.csv" in dataset.source.sets[0].words


def test_boxes_of_a_table_in_pixels_fit_photographs_of_any_size(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", HEADER, "a")
    (root / "labels/lesion_boxes_train.csv").unlink()
    (root / "found.csv").write_text("file;what;x1;y1;x2;y2\na;EX;400;150;800;300\na;MA;0;0;40;30\n")
    toml = open_dataset([root]).source.to_toml() + (
        '[[boxes]]\ntable = "found.csv"\nimage_column = "file"\nkind_column = "what"\nform = "corners"\n'
        'columns = ["x1", "y1", "x2", "y2"]\nsize_px = [4000, 3000]\nkinds = { EX = "hard_exudate" }\n'
    )
    (tmp_path / "data.toml").write_text(toml)
    (boxes,) = boxes_by_name(open_dataset([tmp_path / "data.toml"])).values()
    assert boxes == (Box("hard_exudate", 0.1, 0.05, 0.2, 0.1), Box("ma", 0.0, 0.0, 0.01, 0.01))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a,exudate,0.5,x,0.1,0.1", r"line 3, has cx = '0.5', cy = 'x', w = '0.1', h = '0.1': write numbers\."),
        ("a,exudate,0.5,0.5,0,0.1", r"line 3, has .*: that is no box; its end must lie behind its beginning\."),
        ("a,exudate,0.5,0.5,nan,0.1", r"line 3, has .*: that is no box"),
        (
            "a,exudate,2100,1400,80,60",
            r"line 3, has .*: that box, in fractions of its size, lies outside",
        ),
        ("a,exudate,0.98,0.5,0.1,0.1", r"line 3, has .*lies outside its photograph"),
        ("a,,0.5,0.5,0.1,0.1", r"line 3, has no 'lesion': name what the box is around\."),
    ],
)
def test_a_row_that_is_no_box_is_refused_with_file_line_and_what_was_found(
    row: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words) as refused:
        open_dataset([folder(tmp_path, f"{HEADER}a,exudate,0.5,0.5,0.1,0.1\n{row}\n", "a")])
    assert str(tmp_path / "labels/lesion_boxes_train.csv") in str(refused.value)


def test_a_box_that_ends_a_little_outside_is_cut() -> None:
    box = BoxTable("t").box("hard_exudate", ["0.467351", "0.035639", "0.083955", "0.076896"])
    assert box == Box("hard_exudate", 0.425374, 0.0, 0.509329, 0.074087)


@given(st.floats(0, 0.98), st.floats(0, 0.98), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(1, 5000))
def test_the_three_forms_mean_the_same_box(x: float, y: float, w: float, h: float, side: int) -> None:
    w, h = min(w, 1 - x), min(h, 1 - y)
    forms = {"centre": (x + w / 2, y + h / 2, w, h), "corner": (x, y, w, h), "corners": (x, y, x + w, y + h)}
    for size_px in ((), (side, side)):
        for form, numbers in forms.items():
            cells = [repr(number * (side if size_px else 1)) for number in numbers]
            box = BoxTable("t", form=form, size_px=size_px).box("red", cells)  # type: ignore[arg-type]
            assert isinstance(box, Box)
            assert box[1:] == pytest.approx((x, y, x + w, y + h), abs=2e-6)


@pytest.mark.parametrize(
    ("kind", "colour"),
    [("haemorrhage_or_microaneurysm", "red"), ("Microaneurysms".lower(), "red"), ("hard_exudate", "bright"),
     ("cotton wool spot", "bright"), ("optic_disc", ""), ("layered", "")],
)  # fmt: skip
def test_lesions_are_red_or_bright_and_the_disc_is_none(kind: str, colour: str) -> None:
    assert Box(kind, 0, 0, 1, 1).colour == colour


@pytest.mark.parametrize(
    ("line", "words"),
    [("size_px = [10]", "size_px = .10.; write width and height"), ("size_px = [0, 5]", "a number of pixels above 0"),
     ('columns = ["x"]', "name the four columns"), ('forn = "corner"', "boxes.forn is unknown; did you mean form"),
     ('form = "middle"', "expected one of 'centre', 'corner', 'corners'")],
)  # fmt: skip
def test_a_description_with_a_fault_in_its_boxes_is_refused(line: str, words: str, tmp_path: Path) -> None:
    toml = open_dataset([folder(tmp_path / "set", HEADER, "a")]).source.to_toml()
    (tmp_path / "data.toml").write_text(f"{toml}{line}\n")
    with pytest.raises(DataError, match=words):
        open_dataset([tmp_path / "data.toml"])


def test_the_exchanged_names_of_idrids_boxes_are_put_right_and_said(tmp_path: Path) -> None:
    table = f"{HEADER}IDRiD_001,haemorrhage_or_microaneurysm,0.5,0.5,0.1,0.1\nIDRiD_001,optic_disc,0.5,0.5,0.1,0.1\n"
    dataset = open_dataset([folder(tmp_path, table, "IDRiD_001")])
    assert [box.kind for box in dataset.photographs[0].boxes] == ["hard_exudate", "optic_disc"]
    assert any("read the other way round" in note for note in dataset.source.sets[0].notes)


NUMBERS = st.floats(0, 1)
BOXES = st.lists(st.builds(Box, st.sampled_from(["haemorrhage", "hard_exudate", "optic_disc"]), *[NUMBERS] * 4))


@given(st.lists(BOXES))
def test_packed_boxes_are_the_boxes_to_the_last_bit(pictures: list[list[Box]]) -> None:
    packed, given_ = PackedBoxes(pictures), [tuple(boxes) for boxes in pictures]
    assert list(packed) == given_ and len(packed) == len(given_)
    assert list(PackedBoxes(packed)) == given_
    assert packed[1:] == tuple(given_[1:]) and [packed[-n - 1] for n in range(len(given_))] == given_[::-1]
    with pytest.raises(IndexError):
        packed[len(given_)]
