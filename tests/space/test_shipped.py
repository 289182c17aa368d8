"""Which file is meant by what a user gives as a search space?"""

from pathlib import Path

import pytest

from drsearch.errors import SearchSpaceError
from drsearch.space.shipped import find_space
from drsearch.space.source import read_source

SHIPPED = Path(__file__).parents[2] / "search_spaces"


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
