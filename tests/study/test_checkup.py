"""Does `drsearch doctor` name what would not work, and what to do about it?"""

import json
import sys
from pathlib import Path

import pytest
from services import MlflowServer, PostgresServer, free_port

import drsearch
from drsearch.cli import main
from drsearch.home import Home
from drsearch.settings import Settings
from drsearch.study.checkup import (
    Check,
    check_clock,
    check_database,
    check_disk,
    check_home,
    check_libraries,
    check_mlflow,
    check_photographs,
)


def states(checks: "list[Check]") -> dict[str, str]:
    return {check.name: check.state for check in checks}


def test_a_home_that_is_a_file_fails_with_its_remedy_and_all_else_is_still_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").touch()
    monkeypatch.setenv("DRSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["drsearch", "doctor", "--data", str(tmp_path), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    written = capsys.readouterr()
    assert ended.value.code == 2
    assert written.err.splitlines()[-1] == "drsearch: 2 of 11 checks fail: home, data."
    assert "FAILS    home            /" in written.err
    said = json.loads(written.out)
    checks = {check["name"]: check for check in said["checks"]}
    assert said["ok"] is False
    assert checks["home"]["text"] == f"{tmp_path / 'home'} is a file"
    assert checks["home"]["remedy"] == "remove it, or set DRSEARCH_HOME to a folder of your own"
    assert checks["tensorflow"]["state"] == "ok" and "Keras 3." in checks["tensorflow"]["text"]
    assert checks["libraries"]["state"] == checks["disk"]["state"] == "ok"
    assert not list(tmp_path.glob("home/*")), "it creates nothing"


def test_python_gets_the_same_as_a_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRSEARCH_HOME", str(tmp_path / "home"))
    checkup = drsearch.Checkup((Check("home", "fails", "a", "b"), Check("disk", "ok", "c")))
    assert repr(checkup) == "<Checkup: 1 fails, 1 ok>"
    assert [check.name for check in checkup.failed] == ["home"]
    assert checkup.table.loc["home", "remedy"] == "b"
    assert "<td>b</td>" in checkup._repr_html_()


def test_a_library_of_another_version_than_the_tested_one_is_named(tmp_path: Path) -> None:
    tested = tmp_path / "constraints.txt"
    tested.write_text("# a comment\nnumpy==1.0\nno-such-library==3\n")
    libraries, versions = check_libraries(tested)
    assert libraries.state == "ok"
    assert versions.state == "warning" and "numpy 2." in versions.text and "(tested 1.0)" in versions.text
    assert "no-such-library" not in versions.text
    assert [check.name for check in check_libraries(tmp_path / "none")] == ["libraries"]


def test_space_for_a_study_is_counted_from_photographs_size_and_trials(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert check_home(home).state == "ok" and not home.path.exists()
    assert check_disk(home, Settings(), 0).state == "ok"
    much = check_disk(home, Settings().replace({"study.trials": 10_000_000}), 413)
    assert much.state == "fails" and "413 photographs at 256 px" in much.text


def test_a_folder_without_a_layout_fails(tmp_path: Path) -> None:
    check, n = check_photographs([tmp_path])
    assert (check.state, n) == ("fails", 0) and "docs/data.md" in check.remedy


def test_a_server_that_answers_is_asked_for_version_and_clock(
    mlflow_server: MlflowServer, postgresql: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    mlflow = list(check_mlflow(home))
    assert states(mlflow) == {"mlflow": "ok", "clock": "ok"}
    assert "MLflow 3." in mlflow[0].text
    database = list(check_database(home, postgresql.database()))
    assert states(database) == {"study database": "ok", "clock": "ok"}


def test_an_address_that_does_not_answer_fails_with_the_variable_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home, away = Home(tmp_path), f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{away}/401")  # digits of an address are no status of HTTP
    (mlflow,) = check_mlflow(home)
    assert mlflow.state == "fails" and "MLFLOW_TRACKING_URI" in mlflow.remedy and away in mlflow.text
    for storage in (f"postgresql://{away}/optuna", f"sqlite:///{tmp_path}/gone.db", "no address"):
        (database,) = check_database(home, storage)
        assert database.state == "fails" and storage in database.text
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    own = [*check_mlflow(home), *check_database(home, home.storage_url)]
    assert states(own) == {"mlflow": "ok", "study database": "ok"}
    assert not list(tmp_path.iterdir()), "it creates nothing"


def test_clocks_that_differ_are_a_warning() -> None:
    assert check_clock("MLflow's server", -3).state == "ok"
    late = check_clock("MLflow's server", -600)
    assert late.state == "warning" and "MLflow's server is 600 s behind" in late.text
