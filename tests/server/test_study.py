"""Does a researcher's study run against the shipped server, from its first trial to the registry?"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from shipped import SECRETS, ShippedServer

from drsearch.cli import main
from drsearch.home import Home
from drsearch.release.registry import Registry
from drsearch.study.checkup import check_mlflow


def test_a_researchers_study_runs_and_the_others_see_it(
    shipped: ShippedServer,
    fresh_desk: Callable[[Path], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    desk = fresh_desk(tmp_path)
    own = {
        "DRSEARCH_HOME": str(desk.home),
        "DRSEARCH_STORAGE": shipped.storage,
        "PGPASSWORD": SECRETS["OPTUNA_DATABASE_PASSWORD"],
        "MLFLOW_TRACKING_URI": shipped.url,
    }
    less = [f"--set={one}" for one in ("finetune.when=never", "registry.model_name=eyes", "training.epochs=2")]
    told = shipped.drsearch_json(*desk.study("--trials", "1", *less), "--json", user="alice", **own)
    assert told["study"] == "two_rates"

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "rita")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", shipped.passwords["rita"])
    client = MlflowClient(shipped.url)
    experiment = client.get_experiment_by_name("two_rates")
    runs = client.search_runs([experiment.experiment_id], "tags.`drsearch.kind` = 'trial'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert client.get_registered_model("eyes").aliases == {"search-best": "1"}

    # A reader follows the link and fetches the model; only a registrar promotes.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shipped.url)
    monkeypatch.setenv("DRSEARCH_HOME", str(desk.home))

    def command(user: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", shipped.passwords.get(user, ""))
        monkeypatch.setattr("sys.argv", ["drsearch", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return (int(left.value.code or 0), *capsys.readouterr())

    code, said, _ = command("rita", "ui", "two_rates")
    assert code == 0 and f"{shipped.url}/#/experiments/{experiment.experiment_id}/runs" in said
    monkeypatch.setenv("PGPASSWORD", SECRETS["OPTUNA_DATABASE_PASSWORD"])
    code, _, said = command("rita", "worker", "--study", "two_rates", "--storage", shipped.storage)
    assert code == 2 and said.splitlines()[-1] == f"drsearch: {shipped.url} refuses it to rita: Permission denied"
    fetched = Registry(shipped.url).download("models:/eyes/1", tmp_path / "fetched")
    assert (fetched / "model.keras").is_file()
    promote = ("promote", "eyes", "--version", "1", "--yes")
    for user in ("rita", "alice"):
        code, _, said = command(user, *promote)
        assert code == 2
        assert said.splitlines()[-1] == (
            f"drsearch: MLflow does not let {user}@{socket.gethostname()} write down decisions on eyes; ask a "
            "registrar. Nothing was changed."
        )
    assert command("eve", *promote)[2] == (
        f"drsearch: {shipped.url} knows no such user and password; set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD.\n"
    )
    assert "set MLFLOW_TRACKING_USERNAME" in next(check_mlflow(Home(desk.home))).remedy
    # Three trials' worth of training sees nothing yet: the gate refuses, and a registrar may overrule it.
    assert command("regina", *promote)[0] == 2
    assert client.get_registered_model("eyes").aliases == {"search-best": "1"}
    forced = command("regina", *promote, "--force", "--reason", "to try the server")
    assert forced[0] == 0, forced
    assert client.get_registered_model("eyes").aliases["champion"] == "1"

    # Nothing that a run shows or holds has a password in it.
    said = "".join(str(run.to_dictionary()) for run in client.search_runs([experiment.experiment_id]))
    said += str(dict(experiment.tags)) + "".join(
        path.read_bytes().decode("latin-1") for path in shipped.artifacts.rglob("*") if path.is_file()
    )
    said += "".join(path.read_bytes().decode("latin-1") for path in desk.home.rglob("*") if path.is_file())
    for secret in (
        *SECRETS.values(),
        *shipped.passwords.values(),
        *(value for name, value in own.items() if "PASS" in name),
    ):
        assert secret not in said
