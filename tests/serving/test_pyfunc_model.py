"""The registered model in use: in Python, behind `mlflow models serve`, behind `drsearch serve`."""

import ast
import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from picture_files import LOSSLESS, LOSSY
from services import HANG_S, free_port, when_healthy
from untrained import stocked_home

from drsearch.data.decode import read_photograph
from drsearch.errors import RegistryError
from drsearch.home import Home
from drsearch.release.registry import CHAMPION, Registry
from drsearch.serving.grader import Grader

ROOT = Path(__file__).parents[2]
NOT_NEEDED = ("gin", "optuna", "keras_tuner", "plotly", "typer")


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Path]) -> Home:
    """A home whose registry holds one version, the champion."""
    return stocked_home(tmp_path_factory.mktemp("served") / "home", files)


@pytest.fixture(scope="module", autouse=True)
def endings(stocked: Home) -> set[str]:
    """Of the files of the version, before Python keeps bytecode beside the modules that a test imports from there."""
    return {path.suffix for path in archive(stocked).rglob("*") if path.is_file()}


def environment(home: Home) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DRSEARCH_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "DRSEARCH_HOME": str(home.path), "MLFLOW_TRACKING_URI": home.tracking_uri, "PATH": path,
            "MLFLOW_DISABLE_TELEMETRY": "true"}  # fmt: skip


def archive(home: Home) -> Path:
    registry = Registry(home.tracking_uri)
    return Path(mlflow.artifacts.download_artifacts(registry.version("retinopathy", 1).uri))


def post(url: str, body: bytes, kind: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, body, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=HANG_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read())


# In Python


def test_mlflow_loads_it_and_it_takes_bytes_files_pixels_and_base64(
    stocked: Home, grader: Grader, eyes: Path, tmp_path: Path
) -> None:
    Registry(stocked.tracking_uri)
    model = mlflow.pyfunc.load_model(f"models:/retinopathy@{CHAMPION}")
    file = eyes / "images/train/SYN_002.jpg"
    data = file.read_bytes()
    given = [data, file, read_photograph(data), base64.b64encode(data).decode()]
    found = model.predict(pd.DataFrame({"photograph": given}))
    (verdict,) = grader.grade([data])
    columns = [
        "label", "probability", "confidence", "threshold", "distance", "warning", "quality", "reason", "error", "model"
    ]  # fmt: skip
    assert list(found.columns) == columns
    assert columns == [each.name for each in model.metadata.signature.outputs.inputs if each.name != "explanation"]
    assert set(found["threshold"]) == {0.5} and (found["distance"] <= 1).all()
    assert found["warning"].isna().all() and found["error"].isna().all()
    assert set(found["label"]) == {verdict.label} and set(found["model"]) == {"models:/retinopathy/1"}
    assert np.allclose(found["probability"], verdict.probability, atol=0.02)
    assert found["probability"][0] == found["probability"][1] == found["probability"][3]

    explained = model.predict(pd.DataFrame({"photograph": [data]}), params={"explain": True})
    shown, photograph = read_photograph(explained["explanation"][0]), read_photograph(data)
    assert shown.shape[1] == photograph.shape[1] and shown.shape[0] > photograph.shape[0], "words below"


def test_mlflow_gives_every_format_the_answer_of_the_plain_picture(
    stocked: Home, grader: Grader, photograph: bytes
) -> None:
    Registry(stocked.tracking_uri)
    eye = read_photograph(photograph)
    files = {kind: write(eye) for kind, write in (LOSSLESS | LOSSY).items()}
    table = pd.DataFrame({"photograph": [eye, *files.values()]})
    plain, *others = mlflow.pyfunc.load_model("models:/retinopathy/1").predict(table)["probability"]
    assert others == pytest.approx([verdict.probability for verdict in grader.grade(list(files.values()))], abs=1e-6)
    exact = dict(zip(files, others, strict=True))
    assert [exact[kind] for kind in LOSSLESS] == pytest.approx([plain] * len(LOSSLESS), abs=1e-6)


def test_text_is_never_taken_for_a_path_of_this_machine(stocked: Home, eyes: Path) -> None:
    Registry(stocked.tracking_uri)
    model = mlflow.pyfunc.load_model("models:/retinopathy/1")
    said = model.predict(pd.DataFrame({"photograph": [str(eyes / "images/train/SYN_002.jpg")]}))
    assert said["error"][0].startswith("the photograph is not base64") and said["label"][0] is None


def test_it_knows_the_version_as_which_it_was_loaded_and_else_its_id(stocked: Home, photograph: bytes) -> None:
    version = Registry(stocked.tracking_uri).version("retinopathy", 1)
    table = pd.DataFrame({"photograph": [photograph]})
    copied = archive(stocked)
    (copied / "registered_model_meta").unlink(missing_ok=True)  # MLflow writes it where it fetches a version to
    by_id = mlflow.pyfunc.load_model(f"models:/{version.model_id}").predict(table)
    by_version = mlflow.pyfunc.load_model(version.uri).predict(table)
    assert by_id["model"][0] == f"models:/{version.model_id}"
    assert by_version["model"][0] == version.uri


def test_a_name_stands_for_one_version(stocked: Home) -> None:
    registry = Registry(stocked.tracking_uri)
    for name in ("retinopathy@champion", "models:/retinopathy@champion", "retinopathy/1", "models:/retinopathy/1"):
        assert registry.find(name).uri == "models:/retinopathy/1"
    with pytest.raises(RegistryError) as refused:
        registry.find("retinopathy@nobody")
    assert str(refused.value) == (
        "retinopathy has no version @nobody; retinopathy has versions 1 and @champion (version 1)."
    )
    with pytest.raises(RegistryError, match="^retinopathy names no version of a model; write for example retin"):
        registry.find("retinopathy")


# What it is made of


def test_it_loads_from_its_own_code_without_what_only_training_needs(
    stocked: Home, photograph: bytes, tmp_path: Path
) -> None:
    (tmp_path / "eye.jpg").write_bytes(photograph)
    program = f"""
import sys
from pathlib import Path

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {NOT_NEEDED!r}:
            raise ImportError(name + " is not needed to serve")

sys.meta_path.insert(0, Missing())
import mlflow, pandas
model = mlflow.pyfunc.load_model({str(archive(stocked))!r})
print(model.predict(pandas.DataFrame({{"photograph": [Path("eye.jpg")]}})).to_json())
import drsearch.serving.grader
print(drsearch.serving.grader.__file__)
"""
    kept = {key: value for key, value in environment(stocked).items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    said, code = done.stdout.splitlines()[-2:]
    assert json.loads(said)["label"]["0"] in ("NRDR", "RDR")
    assert Path(code).is_relative_to(archive(stocked) / "code")


def test_its_requirements_are_what_it_imports_and_are_pinned(stocked: Home) -> None:
    of = packages_distributions()
    imported = foreign_imports("drsearch.serving.pyfunc_model") - sys.stdlib_module_names
    needed = {name if name in of[name] else of[name][0].lower() for name in imported - {"tensorflow"}}
    written = (archive(stocked) / "requirements.txt").read_text().split()
    assert all(line.count("==") == 1 for line in written)
    pinned = {line.partition("==")[0].lower() for line in written}
    assert pinned - {"tensorflow", "tensorflow-cpu"} == needed  # of these two one is installed
    assert len(pinned - needed) == 1


def foreign_imports(module: str) -> set[str]:
    """What a module of ours imports at its top or within, from elsewhere, those that it imports from us included."""
    ours, seen, foreign = [module], set(), set()
    while ours:
        name = ours.pop()
        path = ROOT / name.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in seen or not file.is_file():
            continue
        seen.add(name)
        for node in executed(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for found in names:
                parts = found.split(".")
                if parts[0] == "drsearch":
                    ours += [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
                else:
                    foreign.add(parts[0])
    return foreign


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Everything below a node but what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from executed(child)


def test_nothing_in_it_is_pickled(stocked: Home, endings: set[str]) -> None:
    files = {path.name: path for path in (archive(stocked) / "artifacts").iterdir()}
    assert files.keys() == {"model.keras", "serving.json", "trained_on.json", "familiarity.json"}
    with zipfile.ZipFile(files["model.keras"]) as network:
        assert set(network.namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
    of_pages = {".css", ".html", ".js"}
    assert endings <= {"", ".keras", ".json", ".py", ".typed", ".txt", ".yaml", ".toml", *of_pages}


# Behind MLflow's server and ours


@pytest.fixture(scope="module")
def of_mlflow(stocked: Home, warm_children: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port, log = free_port(), tmp_path_factory.mktemp("of-mlflow") / "log"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/retinopathy@{CHAMPION}"]
    command += ["--env-manager", "local", "--port", str(port)]
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command, env=environment(stocked), cwd=log.parent, stdout=file, stderr=file, start_new_session=True
        )
    try:
        when_healthy(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def ours(stocked: Home, warm_children: None) -> Iterator[str]:
    """`drsearch serve`, ended by Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "drsearch", "serve", f"retinopathy@{CHAMPION}", "--port", "0", "--json"],
        env=environment(stocked), cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    told = json.loads(process.stdout.readline() or "{}")
    assert told["model"] == "models:/retinopathy/1"
    yield told["url"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_mlflows_server_and_ours_say_the_same(of_mlflow: str, ours: str, eyes: Path) -> None:
    photographs = [base64.b64encode(path.read_bytes()).decode() for path in sorted(eyes.glob("images/train/*.jpg"))[:3]]
    records = {"dataframe_records": [{"photograph": data} for data in photographs]}
    split = {"dataframe_split": {"columns": ["photograph"], "data": [[data] for data in photographs]}}
    for told in (records, split, {**records, "params": {"explain": True}}):
        body = json.dumps(told).encode()
        (status, theirs), (code, said) = (
            post(f"{url}/invocations", body, "application/json") for url in (of_mlflow, ours)
        )
        assert (status, code) == (200, 200)
        assert [row.keys() for row in theirs["predictions"]] == [row.keys() for row in said["predictions"]]
        for one, other in zip(theirs["predictions"], said["predictions"], strict=True):
            assert one["label"] == other["label"] and one["model"] == other["model"] == "models:/retinopathy/1"
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-6)
            assert base64.b64decode(one.get("explanation", "")) == base64.b64decode(other.get("explanation", ""))


def test_both_servers_grade_the_good_photographs_of_a_batch_and_name_the_bad(
    of_mlflow: str, ours: str, photograph: bytes
) -> None:
    given = [base64.b64encode(data).decode() for data in (photograph, photograph[:-2000], b"", photograph)]
    body = json.dumps({"dataframe_records": [{"photograph": data} for data in given]}).encode()
    (status, theirs), (code, said) = (post(f"{url}/invocations", body, "application/json") for url in (of_mlflow, ours))
    assert (status, code) == (200, 200)
    assert [row["error"] for row in theirs["predictions"]] == [row["error"] for row in said["predictions"]]
    good, cut, empty, last = theirs["predictions"]
    assert good == last and good["error"] is None and good["label"] is not None
    assert cut["error"].startswith("the photograph cannot be read whole: ") and cut["probability"] is None
    assert empty["error"].startswith("the photograph is empty") and empty["label"] is None


# The page about it


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/serving.md").read_text(), re.DOTALL)


def check_heat_map(file: Path, photograph: bytes) -> None:
    """It is as wide as the photograph, and higher by the lines below it."""
    (height, width, _), (eye_height, eye_width, _) = (
        read_photograph(each).shape for each in (file.read_bytes(), photograph)
    )
    assert width == eye_width and eye_height < height < 2 * eye_height


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_the_pages_curl_commands_run_as_they_stand(ours: str, photograph: bytes, tmp_path: Path) -> None:
    (tmp_path / "eye.jpg").write_bytes(photograph)
    commands = "".join(block for block in blocks("sh") if "curl" in block).replace("http://127.0.0.1:5001", ours)
    done = subprocess.run(["sh", "-euc", commands], cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    assert '"label"' in done.stdout and '"status":"ok"' in done.stdout
    explained = json.loads((tmp_path / "answer.json").read_text())["predictions"][0]["explanation"]
    assert base64.b64decode(explained) == (tmp_path / "eye-cam.png").read_bytes()
    check_heat_map(tmp_path / "eye-cam.png", photograph)


def test_the_pages_python_runs_as_it_stands(
    stocked: Home,
    photograph: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Registry(stocked.tracking_uri)
    (tmp_path / "eye.jpg").write_bytes(photograph)
    monkeypatch.chdir(tmp_path)
    (program,) = blocks("python")
    exec(compile(program, "docs/serving.md", "exec"), {})
    assert "models:/retinopathy/1" in capsys.readouterr().out
    check_heat_map(tmp_path / "eye-cam.png", photograph)
