"""What is refused before TensorFlow is loaded, photographs are prepared, or anything is written."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from services import HANG_S

from drsearch.datasets.given import open_dataset
from drsearch.home import TRAININGS, Home
from drsearch.settings import Settings
from drsearch.study.definition import open_study, wanted_study
from drsearch.tracking.events import RunEnd, RunStart
from drsearch.tracking.journal import Journal
from drsearch.tracking.sender import sync
from drsearch.trials.storage import open_storage

SPACE = "SETTINGS = {'training.epochs': 4}\n\n\ndef space(hp):\n    hp.Choice('training.learning_rate', [0.001])\n"

PROGRAM = """
import contextlib, io, json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        assert name not in ("tensorflow", "keras", "keras_tuner"), f"{name} is loaded"

sys.meta_path.insert(0, Blocked())
sys.modules["ray"] = None  # as without the extra
from drsearch.cli import main

ends = []
for command in json.load(sys.stdin):
    sys.argv = ["drsearch", *command]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            main()
    except SystemExit as end:
        ends.append([end.code, said.getvalue()])
    except AssertionError as wrong:
        ends.append([1, str(wrong)])
print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set (no photograph of it is opened), space files, a study, and experiments that were deleted."""
    folder = tmp_path_factory.mktemp("refusals")
    (folder / "eyes/images/train").mkdir(parents=True)
    (folder / "eyes/labels").mkdir()
    (folder / "eyes/images/train/a.jpg").write_bytes(b"a")
    (folder / "eyes/labels/train.csv").write_text("Image name,Retinopathy grade\na,0\n")
    (folder / "mine.py").write_text(SPACE)
    (folder / "again.py").write_text(SPACE.replace("0.001", "0.1"))
    (folder / "computed.py").write_text(SPACE.replace("{'training.epochs': 4}", "dict()"))
    (folder / "no_package.py").write_text("import nosuchpackage\n" + SPACE)
    (folder / "hook.py").write_text(SPACE + "\n\ndef augment(image): ...\n")
    (folder / "wide.gin").write_bytes("training.epochs = 3".encode("utf-16"))
    (folder / "known.jsonl").write_text("{")
    home = Home(folder / "home")
    settings = Settings().replace({"training.epochs": 4})
    wanted = wanted_study(folder / "mine.py", SPACE, settings, open_dataset([folder / "eyes"]))
    storage = open_storage(home.storage_url)
    open_study(storage, "begun", dataclasses.replace(wanted, data_fingerprint="0" * 16), 4)
    client = MlflowClient(home.tracking_uri)
    for name in ("gone", TRAININGS):
        client.delete_experiment(client.create_experiment(name))
    Journal(home.runs / "sent-1" / "trial-0000").append([RunStart("key", "sent", "a run"), RunEnd("FINISHED")])
    assert sync(home) == 2
    client.delete_experiment(client.get_experiment_by_name("sent").experiment_id)
    return folder


MINE = ["run-study", "mine.py", "--data", "eyes"]
NO_SETTING = "'training.epoch' is no setting; did you mean 'training.epochs'?"
WIDE = "wide.gin: is no UTF-8 text but UTF-16, as some editors save it, or no text; save it as UTF-8."
RESTORE = (
    "was deleted in MLflow; restore it with `MLFLOW_TRACKING_URI=sqlite:///{folder}/home/mlflow.db "
    "mlflow experiments restore --experiment-id "
)
REFUSED = {
    "space: no file": (
        ["space", "no.py"],
        "no.py: no such file; the search spaces that come with drsearch are backbone, ",
    ),
    "space: hook": (["space", "hook.py"], "hook.py: line 8 defines augment(image); write def augment(image, rng)."),
    "run-study: no space": (["run-study", "no.py", "--data", "eyes"], "no.py: no such file; "),
    "run-study: package": (
        ["run-study", "no_package.py", "--data", "eyes"],
        "no_package.py: line 1 imports nosuchpackage, ",
    ),
    "run-study: --set": ([*MINE, "--set", "training.epoch=3"], NO_SETTING),
    "run-study: --set, settings computed": (
        ["run-study", "computed.py", "--data", "eyes", "--set", "training.epoch=3"],
        NO_SETTING,
    ),
    "run-study: --config": ([*MINE, "--config", "wide.gin"], WIDE),
    "run-study: --trials": (
        [*MINE, "--trials", "0"],
        "study.trials = 0: expected a whole number of at least 1 or None",
    ),
    "run-study: --data": (["run-study", "mine.py", "--data", "no"], "no is no folder."),
    "run-study: --on, no Ray": (
        [*MINE, "--on", "ray"],
        "--on ray: Ray is not installed: pip install 'drsearch[ray]'.",
    ),
    "run-study: --on": (
        [*MINE, "--on", "head:6379"],
        "--on head:6379: write ray, or the address of a cluster, for example ray://head:10001.",
    ),
    "run-study: --gpus-per-worker": (
        [*MINE, "--gpus-per-worker", "0.25"],
        "--gpus-per-worker: only a Ray cluster is told it; add --on ray.",
    ),
    "run-study: --enqueue": ([*MINE, "--enqueue", "known.jsonl"], "--enqueue known.jsonl line 1: write one object, "),
    "run-study: --enqueue gin": ([*MINE, "--enqueue", "wide.gin"], WIDE),
    "run-study: --enqueue a grid": (
        [*MINE, "--set", "study.sampler=grid", "--enqueue", "ok.jsonl"],
        "--enqueue ok.jsonl: cannot be read; ",
    ),
    "run-study: settings at odds": (
        [*MINE, "--set", "study.pruner=wilcoxon"],
        "study.pruner = 'wilcoxon' compares trials fold by fold, ",
    ),
    "run-study: name": ([*MINE, "--study", "a/b"], "--study 'a/b' cannot name a folder and an experiment; "),
    "run-study: long name": ([*MINE, "--study", "a" * 101], f"--study '{'a' * 101}' cannot name a folder "),
    "run-study: --storage": ([*MINE, "--storage", "nonsense"], "--storage nonsense: no study database there"),
    "run-study: --storage in memory": (
        [*MINE, "--storage", "sqlite:///:memory:"],
        "--storage sqlite:///:memory:: a database in the memory of this process, which workers do not see; ",
    ),
    "run-study: --warm-start": ([*MINE, "--warm-start", "no"], "no study 'no' in this database; there are: begun."),
    "run-study: --warm-start, no database": (
        [*MINE, "--storage", "sqlite:///none.db", "--warm-start", "no"],
        "--warm-start no: no such study; this database holds none.",
    ),
    "run-study: other settings": (
        [*MINE, "--study", "begun", "--set", "training.epochs=5"],
        "study 'begun' was begun with training.epochs = 4, and this command has 5; ",
    ),
    "run-study: other space": (
        ["run-study", "again.py", "--data", "eyes", "--study", "begun"],
        "study 'begun' was begun with another text of mine.py, ",
    ),
    "run-study: other space, settings computed": (
        ["run-study", "computed.py", "--data", "eyes", "--study", "begun"],
        "study 'begun' was begun with another text of mine.py; ",
    ),
    "run-study: deleted experiment": ([*MINE, "--study", "gone"], f"experiment 'gone' {RESTORE}1`."),
    "train: --set": (["train", "--data", "eyes", "--set", "training.epoch=3"], NO_SETTING),
    "train: --data": (["train", "--data", "no"], "no is no folder."),
    "train: --space": (["train", "--data", "eyes", "--space", "no.py"], "no.py: no such file; "),
    "train: --name": (["train", "--data", "eyes", "--name", "../x"], "--name '../x' cannot name a folder "),
    "train: deleted experiment": (["train", "--data", "eyes"], f"experiment 'trainings' {RESTORE}2`."),
    "prepare: --data": (["prepare", "no"], "no is no folder."),
    "worker: --storage": (
        ["worker", "--study", "begun"],
        "--storage sqlite:///{folder}/home/studies.db: a file of one ",
    ),
    "evaluate: --split": (
        ["evaluate", "retinopathy/1", "--data", "eyes", "--split", "no"],
        "--split no: write one of train, validation, test, all.",
    ),
    "evaluate: --data": (["evaluate", "retinopathy/1", "--data", "no"], "no is no folder."),
    "evaluate: model": (["evaluate", "retinopathy/1", "--data", "eyes"], "retinopathy has no version 1; "),
    "explain: --split": (
        ["explain", "retinopathy/1", "--data", "eyes", "--split", "no"],
        "--split no: write one of train, validation, test, all.",
    ),
    "explain: model": (["explain", "retinopathy/1", "--data", "eyes"], "retinopathy has no version 1; "),
    "stress: --split": (
        ["stress", "retinopathy/1", "--data", "eyes", "--split", "no"],
        "--split no: write one of train, validation, test, all.",
    ),
    "stress: --out": (
        ["stress", "retinopathy/1", "--data", "eyes", "--out", "chart.png"],
        "--out chart.png: the page is HTML; name it .html.",
    ),
    "compare: --out": (
        ["compare", "retinopathy/1", "retinopathy/2", "--out", "page.png"],
        "--out page.png: the page is HTML; name it .html.",
    ),
    "compare: model": (["compare", "retinopathy/1", "retinopathy/2"], "retinopathy has no version 1; "),
    "card: model": (["card", "retinopathy/1"], "retinopathy has no version 1; "),
    "card: --out": (["card", "retinopathy/1", "--out", "mine.py"], "--out mine.py: exists already; "),
    "stress: model": (["stress", "retinopathy/1", "--data", "eyes"], "retinopathy has no version 1; "),
    "predict: photograph": (
        ["predict", "retinopathy/1", "no.jpg"],
        "no.jpg: cannot be read (No such file or directory).",
    ),
    "predict: model": (["predict", "retinopathy/1", "mine.py"], "retinopathy has no version 1; "),
    "predict: malformed model": (
        ["predict", "models:/a/b/c", "mine.py"],
        "models:/a/b/c names no version of a model; ",
    ),
    "promote: --set": (
        ["promote", "retinopathy", "--version", "1", "--yes", "--set", "gate.auc=1"],
        "'gate.auc' is no setting; ",
    ),
    "promote: version": (["promote", "retinopathy", "--version", "1", "--yes"], "retinopathy has no version 1; "),
    "sync: deleted experiment": (["sync"], f"experiment 'sent' {RESTORE}3`."),
    "serve: model": (["serve", "retinopathy@champion", "--port", "0"], "retinopathy has no version @champion; "),
}


@pytest.fixture(scope="module")
def ends(folder: Path) -> dict[str, tuple[int, str]]:
    """How each command ended, and what it said; one process gives them all, and may not load TensorFlow."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DRSEARCH_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([command for command, _ in REFUSED.values()]),
        env={**kept, "DRSEARCH_HOME": str(folder / "home")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return {name: (code, said) for name, (code, said) in zip(REFUSED, answers, strict=True)}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_named_before_tensorflow_is_loaded(
    name: str, ends: dict[str, tuple[int, str]], folder: Path
) -> None:
    code, said = ends[name]
    assert said.splitlines()[-1].startswith(f"drsearch: {REFUSED[name][1]}".replace("{folder}", str(folder)))
    assert code == 2


def test_a_refused_command_leaves_nothing_behind(ends: dict[str, tuple[int, str]], folder: Path) -> None:
    assert ends
    assert not (folder / "none.db").exists()
    assert not (folder / "home" / "records").exists()
    assert [path.name for path in (folder / "home" / "runs").glob("*/")] == ["sent-1"]
