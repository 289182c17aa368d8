"""The command line: what it says of mistakes, and what it does not load."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import warm

from drsearch import __version__
from drsearch.trials.storage import open_storage

SHIPPED = ", ".join(sorted(path.stem for path in (Path(__file__).parents[1] / "search_spaces").glob("*.py")))


def drsearch(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DRSEARCH_"))}
    command = [sys.executable, "-m", "drsearch", *arguments]
    return warm.run(command, {**kept, "DRSEARCH_HOME": str(home)}, home)


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from drsearch.cli import main\n"
        "for command in (['--help'], ['-h'], ['run-study', '-h'], ['predict', '--help']):\n"
        "    sys.argv = ['drsearch', *command]\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "print([name for name in ('tensorflow', 'keras', 'mlflow', 'optuna', 'sklearn', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "run-study" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare", "nowhere"], "drsearch: nowhere is no folder."),
        (
            ["prepare", ".", "--set", "images.image_pxl=3"],
            "drsearch: 'images.image_pxl' is no setting; did you mean 'images.image_px'?",
        ),
        (
            ["run-study", "nowhere.py", "--data", "."],
            f"drsearch: nowhere.py: no such file; the search spaces that come with drsearch are {SHIPPED}.",
        ),
        (
            ["run-study", "report_gird", "--data", "."],
            "drsearch: report_gird: no such file; did you mean report_grid, which comes with drsearch?",
        ),
        (
            ["predict", "retinopathy@champion", "gone.jpg"],
            "drsearch: gone.jpg: cannot be read (No such file or directory).",
        ),
        (
            ["predict", "retinopathy@champion", "eye.jpg"],
            "drsearch: HOME holds no runs and no models; `drsearch run-study` makes them, DRSEARCH_HOME names another "
            "folder, and MLFLOW_TRACKING_URI a server.",
        ),
    ],
)
def test_a_mistake_gets_one_sentence_and_status_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "eye.jpg").touch()
    done = drsearch(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == said.replace("HOME holds", f"{tmp_path} holds")
    assert "Traceback" not in done.stderr


def test_json_is_all_that_stands_on_standard_output(tmp_path: Path) -> None:
    done = drsearch(tmp_path, "synthesize", "eyes", "--images", "12", "--seed", "1", "--json")
    assert json.loads(done.stdout)["images"] == 12
    assert "12 photographs" in done.stderr
    done = drsearch(tmp_path, "prepare", "eyes", "--set", "images.image_px=32", "--json")
    told = json.loads(done.stdout)
    assert sum(counts["n"] for counts in told["counts"].values()) == 12
    assert told["blind_baseline"]["n_train"] == told["counts"]["train"]["n"]
    assert "lesion-blind baseline" in done.stderr
    assert {
        "source_bytes",
        "record_bytes",
        "duplicates",
        "unreadable",
        "seconds",
        "records",
        "fingerprint",
    } <= told.keys()


def test_synthesize_draws_public_layouts_and_names_the_nearest(tmp_path: Path) -> None:
    done = drsearch(tmp_path, "synthesize", "mock", "--layout", "messidor2", "--images", "30", "--json")
    told = json.loads(done.stdout)
    assert (told["layout"], sum(told["grades"].values())) == ("messidor2", 29)
    assert "1 without a grade" in done.stderr
    assert (tmp_path / "mock" / "messidor-2.csv").read_bytes().startswith(b"left;right\n")
    done = drsearch(tmp_path, "synthesize", "other", "--layout", "mesidor2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "drsearch: No layout is called 'mesidor2'; did you mean 'messidor2'?\n"
    assert not (tmp_path / "other").exists()


def test_a_photograph_cut_short_stops_prepare_and_skip_bad_goes_on(tmp_path: Path) -> None:
    drsearch(tmp_path, "synthesize", "eyes", "--images", "30", "--seed", "1")
    eye = tmp_path / "eyes" / "images" / "train" / "SYN_004.jpg"
    eye.write_bytes(eye.read_bytes()[:5000])
    done = drsearch(tmp_path, "prepare", "eyes", "--set", "images.image_px=32", "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert done.stderr.splitlines()[-1] == f"drsearch: {told['refused']}" and told["audit"] in told["refused"]
    assert json.loads(Path(told["audit"]).read_text())["unreadable"][0]["file"] == "images/train/SYN_004.jpg"
    assert "SYN_004.jpg" in done.stderr.splitlines()[-1]
    assert "--skip-bad" in done.stderr.splitlines()[-1]
    assert not [path for path in (tmp_path / "records").iterdir() if path.name[0] != "."]
    done = drsearch(tmp_path, "prepare", "eyes", "--set", "images.image_px=32", "--skip-bad", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["unreadable"] == 1


def test_the_version_is_told_without_a_command(tmp_path: Path) -> None:
    done = drsearch(tmp_path, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"drsearch {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["nope"], ["run-study"], ["prepare", "--nope"]])
def test_a_command_line_that_is_off_gets_its_usage_and_status_2(tmp_path: Path, arguments: list[str]) -> None:
    done = drsearch(tmp_path, *arguments, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage:" in done.stderr and "Traceback" not in done.stderr


def test_looking_at_studies_loads_no_network_library(tmp_path: Path) -> None:
    open_storage(f"sqlite:///{tmp_path / 'studies.db'}")
    program = (
        "import sys; from drsearch.cli import main\n"
        "for command in (['status'], ['status', 'no'], ['trials', 'no'], ['cancel', 'no'], ['delete', 'no'],\n"
        "                ['report', 'no'], ['ui', 'no', '--dashboard']):\n"
        f"    sys.argv = ['drsearch', *command, '--storage', 'sqlite:///{tmp_path / 'studies.db'}']\n"
        "    try: main()\n"
        "    except SystemExit: pass\n"
        "import drsearch.reports.study_report  # of a study that is there\n"
        "print([name for name in ('tensorflow', 'keras', 'keras_tuner') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DRSEARCH_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr.count("no study 'no' in this database; there are: none.") == 6


@pytest.mark.parametrize("arguments", [["status"], ["trials", "mine"], ["cancel", "mine"], ["delete", "mine"]])
def test_where_there_is_no_study_yet_none_is_made(tmp_path: Path, arguments: list[str]) -> None:
    done = drsearch(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"drsearch: {tmp_path} holds no study; `drsearch run-study` begins one, --storage names a database."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    done = drsearch(tmp_path, "trials", "mine", "--storage", f"sqlite:///{tmp_path / 'a' / 'b.db'}")
    assert done.returncode == 2
    assert done.stderr == (
        f"drsearch: --storage sqlite:///{tmp_path / 'a' / 'b.db'}: there is no such file; "
        "`drsearch run-study` makes one.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_ends_a_command_with_130_and_a_word_after_it_cleaned_up(name: str) -> None:
    done = signalled(name)
    assert (done.returncode, done.stdout, done.stderr) == (130, "cleaned up\n", "drsearch: interrupted\n")


def test_nohup_keeps_a_command_from_hearing_that_the_terminal_was_closed() -> None:
    done = signalled("SIGHUP", ignored=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\ncleaned up\n", "")


def signalled(name: str, ignored: bool = False) -> "subprocess.CompletedProcess[str]":
    """A command that gets a signal."""
    program = (
        "import os, signal; from drsearch import cli\n"
        # A shell lets what it starts in the background ignore Ctrl-C.
        f"if {name == 'SIGINT'}: signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"if {ignored}: signal.signal(signal.{name}, signal.SIG_IGN)\n"
        "@cli.app.command()\ndef wait() -> None:\n"
        f"    try:\n        os.kill(os.getpid(), signal.{name}); print('went on')\n"
        "    finally: print('cleaned up')\n"
        "import sys; sys.argv = ['drsearch', 'wait']\ncli.main()"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def test_a_fault_of_the_file_system_gets_one_sentence_and_status_2(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file where the home must be")
    program = (
        "import os, resource, sys; from drsearch.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "for command in (['prepare', 'eyes'], ['sync'], ['synthesize', 'new', '--images', '12']):\n"
        "    sys.argv = ['drsearch', *command]\n"
        "    if command[0] == 'synthesize': del os.environ['DRSEARCH_HOME']\n"
        "    try: main()\n"
        "    except SystemExit as ended: print(ended.code)"
    )
    drsearch(tmp_path, "synthesize", "eyes", "--images", "12", "--seed", "1")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DRSEARCH_HOME": str(home)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "2\n2\n2\n"
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("drsearch: ")]
    assert said[:2] == [f"drsearch: DRSEARCH_HOME is {home}, which is a file; remove it, or name a folder."] * 2
    assert "the file would be larger than the limit on file sizes; raise it (ulimit -f)" in said[2]
