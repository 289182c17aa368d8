"""Does a password in an address stay unseen, whatever prints it and wherever it is kept?"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import warm

from drsearch import masking
from drsearch.errors import DrsearchError
from drsearch.masking import hide, masked, without_user
from drsearch.tracking.events import Tags, to_line

PLANTED = "pl4nted-Secret"
MLFLOW = f"http://ann:{PLANTED}@127.0.0.1:9"
DATABASE = f"postgresql://ann:{PLANTED}@127.0.0.1:9/optuna"

COMMANDS = {
    "synthesize": ["eyes", "--images", "12", "--seed", "1"],
    "clean": [],
    "describe": ["eyes"],
    "doctor": [],
    "prepare": ["eyes", "--set", "images.image_px=32"],
    "space": ["nowhere.py"],
    "spaces": [],
    "run-study": ["space.py", "--data", "eyes"],
    "worker": ["--study", "mine"],
    "train": ["--data", "nowhere"],
    "status": [],
    "trials": ["mine"],
    "report": ["mine"],
    "cancel": ["mine"],
    "delete": ["mine", "--yes"],
    "predict": ["retinopathy@champion", "eyes/images/train/SYN_000.jpg"],
    "evaluate": ["retinopathy@champion", "--data", "eyes"],
    "compare": ["retinopathy/1", "retinopathy/2"],
    "card": ["retinopathy@champion"],
    "explain": ["retinopathy@champion", "--data", "eyes"],
    "stress": ["retinopathy@champion", "--data", "eyes"],
    "cross-validate": ["eyes", "--folds", "2", "--repeats", "1"],
    "ablate": ["mine", "--folds", "2"],
    "serve": ["retinopathy@champion", "--port", "0"],
    "promote": ["retinopathy", "--version", "1", "--yes"],
    "rollback": ["retinopathy", "--reason", "why"],
    "history": ["retinopathy"],
    "lineage": ["retinopathy/1"],
    "ui": ["--no-browser"],
    "sync": [],
    "users": ["nowhere.csv"],
    "password": [],
}
"""Every command, with arguments by which it comes to ask MLflow or the study database."""

SPACE = """
SETTINGS = {"images.image_px": 32, "study.sampler": "random"}


def space(hp):
    hp.Choice("training.learning_rate", [1e-3])
"""


@pytest.fixture(autouse=True)
def nothing_hidden_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_secrets", [])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:pass@host:5000/api is away", "http://***@host:5000/api is away"),
        ("https://a-token@host/x", "https://***@host/x"),
        ("postgresql+psycopg://ann:pass@host/db", "postgresql+psycopg://***@host/db"),
        (
            "postgresql://host/db?user=ann&password=pass&sslmode=x",
            "postgresql://host/db?user=ann&password=***&sslmode=x",
        ),
        ('{"a": "http://ann:pass@h", "b": "c@d"}', '{"a": "http://***@h", "b": "c@d"}'),
        ("write postgresql://user@host/optuna", "write postgresql://user@host/optuna"),
        ("http://host:5000/#/models/eyes@champion", "http://host:5000/#/models/eyes@champion"),
        ("ann@host wrote models:/eyes@champion", "ann@host wrote models:/eyes@champion"),
    ],
)
def test_user_information_is_masked_and_nothing_else(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_password_that_is_known_is_masked_wherever_a_library_puts_it() -> None:
    hide("postgresql://ann:pl%40nted/pass@host/db")
    assert masked("invalid port 'pl%40nted/pass@host'") == "invalid port '***@host'"
    assert masked("the password is pl@nted/pass, ann") == "the password is ***, ann"


def test_a_short_password_does_not_mask_the_words_of_messages() -> None:
    hide("http://ann:run@host")
    assert masked("no run from ann:run@host") == "no run from ***@host"


def test_links_have_no_user() -> None:
    assert without_user(f"{MLFLOW}/path") == "http://127.0.0.1:9/path"
    assert without_user("http://host") == "http://host"


def test_errors_and_journals_are_masked_for_whoever_uses_drsearch_from_python() -> None:
    assert str(DrsearchError(f"{MLFLOW} is away")) == "http://***@127.0.0.1:9 is away"
    assert PLANTED not in to_line(Tags({"drsearch.reason": f"{MLFLOW} is away"}))


def test_tracebacks_log_lines_and_threads_are_masked() -> None:
    program = (
        "import sys, threading; from absl import logging; from drsearch.log import start_logging; start_logging()\n"
        f"logging.warning('%s', {MLFLOW!r}); print({MLFLOW!r}); sys.stderr.write({DATABASE!r} + chr(10))\n"
        f"def fail(): raise ValueError({DATABASE!r})\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "try: fail()\n"
        f"except ValueError as wrong: raise KeyError({MLFLOW!r}) from wrong"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == "http://***@127.0.0.1:9\n"
    assert PLANTED not in done.stderr
    assert done.stderr.count("ValueError: postgresql://***@127.0.0.1:9/optuna") == 2
    assert done.stderr.count("http://***@127.0.0.1:9") == 2


def test_no_command_prints_or_keeps_the_password_of_an_address(tmp_path: Path) -> None:
    program = (
        "import json, sys; from typer.main import get_command; from drsearch.cli import app, main\n"
        "commands = json.loads(sys.argv[1])\n"
        "missing = set(get_command(app).commands) - commands.keys()\n"
        "assert not missing, f'name arguments for {missing}'\n"
        "for name, arguments in commands.items():\n"
        "    sys.argv = ['drsearch', '--verbose', name, *arguments]\n"
        "    try: main()\n"
        "    except SystemExit as ended: print(name, ended.code, file=sys.stderr, flush=True)"
    )
    (tmp_path / "space.py").write_text(SPACE)
    addresses = {"MLFLOW_TRACKING_URI": MLFLOW, "DRSEARCH_STORAGE": DATABASE}
    environment = {**os.environ, "DRSEARCH_HOME": str(tmp_path), **addresses}
    done = warm.run([sys.executable, "-c", program, json.dumps(COMMANDS)], environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert PLANTED not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("http://***@127.0.0.1:9 does not answer: connection refused") >= 10
    assert done.stderr.count("postgresql://***@127.0.0.1:9/optuna") >= 5
    assert "urllib3" not in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and PLANTED.encode() in path.read_bytes()]
