"""Can the code and the libraries of a result be told from its tags?"""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

import drsearch
from drsearch.provenance import git_commit, library_versions
from drsearch.tracking.tags import provenance_tags


def test_a_result_names_the_libraries_it_depends_on() -> None:
    found = library_versions()
    assert {"python", "keras", "optuna", "mlflow", "numpy"} <= found.keys()
    assert found["optuna"] == version("optuna")
    assert any(name.startswith("tensorflow") for name in found)


def test_tags_are_texts_that_name_version_and_commit() -> None:
    tags = provenance_tags()
    assert tags["drsearch.version"] == drsearch.__version__
    assert tags["version.keras"] == version("keras")
    assert tags.get("mlflow.source.git.commit", "") == git_commit()
    assert all(isinstance(value, str) for value in tags.values())


def test_the_commit_is_a_hash_that_says_whether_files_differ_from_it() -> None:
    if not (Path(drsearch.__file__).parents[1] / ".git").exists():
        pytest.skip("drsearch is not run from a checkout")
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|", git_commit())


def test_without_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drsearch, "__file__", str(tmp_path / "site-packages" / "drsearch" / "__init__.py"))
    git_commit.cache_clear()
    try:
        assert git_commit() == ""
        assert "mlflow.source.git.commit" not in provenance_tags()
    finally:
        git_commit.cache_clear()


def test_a_checkout_that_git_cannot_read_gives_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(drsearch, "__file__", str(tmp_path / "drsearch" / "__init__.py"))
    git_commit.cache_clear()
    try:
        assert git_commit() == ""
    finally:
        git_commit.cache_clear()
