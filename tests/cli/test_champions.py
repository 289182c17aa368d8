"""How commands name models, and what they say where there is none."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from drsearch.api.champion import whole_name
from drsearch.cli import app
from drsearch.cli.champions import _challenger, _tree
from drsearch.errors import DrsearchError
from drsearch.release.lineage import Node
from drsearch.release.registry import ModelVersion, Registry


@pytest.mark.parametrize(
    "command",
    [
        ["history", "retinopathy"],
        ["history", "models:/retinopathy"],
        ["rollback", "retinopathy", "--reason", "x", "--yes"],
        ["promote", "retinopathy", "--version", "1", "--yes"],
        ["lineage", "retinopathy@champion"],
        ["lineage", "0123456789abcdef0123456789abcdef"],
        ["serve", "retinopathy/1", "--port", "0"],
        ["predict", "retinopathy/1", "eye.jpg"],
        ["ui", "--no-browser"],
        ["ui", "resnet", "--no-browser"],
    ],
    ids=" ".join,
)
def test_an_empty_home_is_said_to_be_empty_and_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("DRSEARCH_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "eye.jpg").write_bytes(b"no picture, but a file")
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, DrsearchError)
    assert str(done.exception) == (
        f"{home} holds no runs and no models; `drsearch run-study` makes them, DRSEARCH_HOME names another folder, "
        "and MLFLOW_TRACKING_URI a server."
    )
    assert not home.exists()


def test_nothing_is_sent_from_an_empty_home_and_nothing_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("DRSEARCH_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = CliRunner().invoke(app, ["sync"])
    assert (done.exit_code, done.output) == (0, f"0 events sent to sqlite:///{home}/mlflow.db\n")
    assert not home.exists()


@pytest.mark.parametrize("name", ["retinopathy", "models:/retinopathy"])
def test_a_model_is_named_with_or_without_its_scheme(name: str) -> None:
    assert whole_name(name) == "retinopathy"


@pytest.mark.parametrize("name", ["retinopathy/3", "models:/retinopathy@champion"])
def test_a_version_where_a_model_is_asked_for_is_refused_with_the_name_to_write(name: str) -> None:
    with pytest.raises(DrsearchError, match=f"^{name} is one version, .*; write retinopathy.$"):
        whole_name(name)


class Versions(Registry):
    """Has every version; `search-best` is version 7."""

    def __init__(self) -> None:
        pass

    def version(self, name: str, number: int) -> ModelVersion:
        return ModelVersion(name, number, "", "", {}, ())

    def named(self, name: str, alias: str) -> ModelVersion:
        return self.version(name, {"search-best": 7}[alias])


@pytest.mark.parametrize(
    ("name", "version", "number"),
    [
        ("retinopathy", 2, 2),
        ("models:/retinopathy", 2, 2),
        ("retinopathy/3", None, 3),
        ("models:/retinopathy/3", 3, 3),
        ("retinopathy@search-best", None, 7),
    ],
)
def test_a_challenger_is_named_as_other_commands_name_a_version(name: str, version: int | None, number: int) -> None:
    found = Versions().find(_challenger(name, version))
    assert (found.name, found.version) == ("retinopathy", number)


@pytest.mark.parametrize(("name", "version"), [("retinopathy", None), ("retinopathy/3", 2), ("retinopathy/x", None)])
def test_a_challenger_without_one_version_is_refused(name: str, version: int | None) -> None:
    with pytest.raises(
        DrsearchError, match=f"^{name}: name one version to judge, for example retinopathy --version 2.$"
    ):
        _challenger(name, version)


def test_a_line_of_a_lineage_ends_between_two_facts() -> None:
    facts = {"run": "a" * 32, "kind": "finetune", "registered as": "retinopathy/2", "commit": "b" * 40}
    tree = _tree(Node("version", "retinopathy/2", facts, (Node("run", "fine-tune of version 1", facts),)))
    out = io.StringIO()
    Console(file=out, width=60).print(tree)
    assert max(map(len, out.getvalue().splitlines())) <= 60
    for name, value in facts.items():
        assert out.getvalue().count(f"{name} {value}") == 2
