"""A search space that is a function."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import drsearch
from drsearch.api.space import source_of, space_file
from drsearch.errors import SearchSpaceError
from drsearch.home import Home

RATES = [1e-2, 1e-3]


def plain(hp: Any) -> None:
    hp.Choice("training.learning_rate", [1e-2, 1e-3])


def space(hp: Any) -> None:
    hp.Float("training.learning_rate", math.exp(-9), Path and 1e-2, sampling="log")


def of_a_variable(hp: Any) -> None:
    hp.Choice("training.learning_rate", RATES)


def of_a_default(hp: Any, rates: list[float] = RATES) -> None:
    hp.Choice("training.learning_rate", rates)


def helped(hp: Any) -> None:
    def draw() -> None:
        helper(hp)

    draw()


def helper(hp: Any) -> None:
    hp.Choice("training.batch_size", [2, 4])


def misspelt(hp: Any) -> None:
    hp.Choice("training.batch_size", rnage(3))  # type: ignore[name-defined]  # noqa: F821


def enclosing() -> Callable[[Any], None]:
    sizes = [2, 4]

    def enclosed(hp: Any) -> None:
        hp.Choice("training.batch_size", sizes)

    return enclosed


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("DRSEARCH_HOME", str(tmp_path / "home"))
    return Home.from_environment()


def test_a_function_is_a_space(home: Home) -> None:
    seen = drsearch.describe_space(plain)
    assert (seen.grid_points, [axis.name for axis in seen.axes]) == (2, ["training.learning_rate"])
    assert (home.path / "spaces" / "plain.py").read_text().count("def plain") == 1


def test_modules_and_what_comes_from_them_may_be_used(home: Home) -> None:
    text = space_file(space, home).read_text()
    assert "import math\n" in text and "from pathlib import Path\n" in text
    assert not drsearch.describe_space(space).grid_points


@pytest.mark.parametrize(
    ("function", "name", "what"),
    [
        (of_a_variable, "RATES", "a variable of this session"),
        (of_a_default, "RATES", "a variable of this session"),
        (enclosing(), "sizes", "a variable of the function around it"),
        (misspelt, "rnage", "which is not defined"),
    ],
)
def test_what_workers_do_not_have_is_refused_by_name(function: Any, name: str, what: str, home: Home) -> None:
    with pytest.raises(SearchSpaceError) as refused:
        drsearch.describe_space(function)
    assert str(refused.value) == (
        f"space: function {function.__name__} uses {name}, {what}, which the worker processes do not have; write its "
        "value into the function, or give the path of a space file."
    )
    assert not (home.path / "spaces").exists()


def test_a_function_of_an_installed_module_may_be_called() -> None:
    assert f"from {helper.__module__} import helper" in source_of(helped)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", [lambda hp: None, functools.partial(plain), 3, print])
def test_what_is_no_function_of_a_source_is_refused(what: Any) -> None:
    with pytest.raises(SearchSpaceError, match="is no path and no function; write `def space"):
        drsearch.describe_space(what)


def test_a_function_that_was_typed_into_a_prompt_has_no_source() -> None:
    names: dict[str, Any] = {}
    exec("def typed(hp):\n    hp.Choice('training.batch_size', [2])\n", names)
    with pytest.raises(SearchSpaceError, match="the source of function typed cannot be read; write it into a file"):
        drsearch.describe_space(names["typed"])
