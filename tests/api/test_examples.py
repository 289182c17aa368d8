"""The examples in the docstrings of the public functions, run one after another in one folder as a user would."""

import doctest
from pathlib import Path

import pytest

import drsearch

IN_ORDER = [
    "synthesize", "prepare", "describe_data", "doctor", "spaces", "describe_space", "run_study", "load_study", "report",
    "studies", "load_model", "model_card", "evaluate", "explain", "stress", "train", "cross_validate", "promote",
    "history", "lineage", "sync", "ablate", "clean",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, warm_children: None) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("name", IN_ORDER)
def test_an_example_runs_as_it_stands(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DRSEARCH_HOME", str(folder / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(drsearch, name), name, globs={})
    assert example.examples
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not said, "".join(said)


def test_every_function_with_an_example_is_among_these() -> None:
    functions = [name for name in drsearch.__all__ if name[0].islower()]
    assert {name for name in functions if ">>>" in (getattr(drsearch, name).__doc__ or "")} == set(IN_ORDER)
