"""Which file is meant by what a user gives as a search space?"""

import re
from pathlib import Path

import keras_tuner
import pytest

from drsearch.errors import SearchSpaceError
from drsearch.space.shipped import find_space, shipped_spaces
from drsearch.space.source import KNOWN, read_source

SHIPPED = Path(__file__).parents[2] / "search_spaces"
PAGE = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text()


def test_a_name_finds_the_space_that_comes_with_drsearch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_space("report_grid") == SHIPPED / "report_grid.py"
    (tmp_path / "report_grid").mkdir()  # a folder is no space
    assert find_space("report_grid") == SHIPPED / "report_grid.py"


def test_a_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet").write_text("def space(hp): ...\n")
    assert find_space("resnet") == Path("resnet")


@pytest.mark.parametrize("wrong", ["report_gird", "report_grid.py", "search_spaces/report_grid.py"])
def test_a_misspelt_name_gets_the_nearest(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SearchSpaceError) as refused:
        read_source(find_space(wrong))
    assert str(refused.value) == f"{wrong}: no such file; did you mean report_grid, which comes with drsearch?"


def test_the_page_of_the_language_lists_what_a_space_file_defines_draws_and_finds() -> None:
    (defined,) = re.findall(r"^A space file defines (.*), and what these use", PAGE, re.MULTILINE)
    functions = [f"`{name}({', '.join(parameters)})`" for name, parameters in KNOWN.items()]
    assert defined == ", ".join(["`SETTINGS`", *functions])
    methods = {name for name in dir(keras_tuner.HyperParameters) if re.match("[A-Z]|[a-z].*_scope$", name)}
    (table,) = re.findall(r"^\| method \|.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    listed = " ".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))
    assert methods - set(re.findall(r"\w+", listed)) == set()
    assert set(re.findall(r"^\| \[`(\w+)\.py`\]", PAGE, re.MULTILINE)) == {space.name for space in shipped_spaces()}
