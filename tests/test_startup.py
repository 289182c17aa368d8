"""What the import of TensorFlow writes to standard error, and what the garbage collector does meanwhile."""

import subprocess
import sys
from pathlib import Path

import pytest

NOISE = r"""
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795861291.670926   19643 port.cc:153] oneDNN custom operations are on.
I0000 00:00:1795861291.809459   19643 cpu_feature_guard.cc:227] This TensorFlow binary is optimized.
To enable the following instructions: AVX2, in other operations, rebuild TensorFlow.
E0000 00:00:1795861291.8 9 cuda_fft.cc:485] Unable to register: Attempting to register factory for plugin cuFFT
""".lstrip()
WARNING = "W0000 00:00:1795861291.8 9 gpu_device.cc:2341] Cannot dlopen some GPU libraries.\n"
WRITE = "import os\nfor line in {!r}.splitlines(True):\n    os.write(2, line.encode())\n"


def run(tmp_path: Path, tensorflow: str, program: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that finds this source as TensorFlow."""
    (tmp_path / "tensorflow.py").write_text(tensorflow)
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    return subprocess.run([sys.executable, "-c", path + program], capture_output=True, text=True)


def test_start_up_lines_are_dropped_and_warnings_are_shown(tmp_path: Path) -> None:
    tensorflow = WRITE.format(NOISE + WARNING) + "import sys; print('of Python', file=sys.stderr)"
    done = run(tmp_path, tensorflow, "import drsearch, tensorflow, os; os.write(2, b'afterwards')")
    assert (done.returncode, done.stderr) == (0, WARNING + "of Python\nafterwards")


def test_lines_after_the_import_are_left_alone(tmp_path: Path) -> None:
    done = run(tmp_path, "", "import drsearch, tensorflow\n" + WRITE.format(NOISE))
    assert done.stderr == NOISE


def test_the_reason_of_an_abort_while_tensorflow_is_imported_is_shown(tmp_path: Path) -> None:
    fatal = "F0000 00:00:1795861291.8 9 cpu_feature_guard.cc:61] The TensorFlow library uses AVX instructions.\n"
    done = run(tmp_path, WRITE.format(NOISE + fatal) + "os.abort()", "import drsearch, tensorflow")
    assert done.returncode < 0
    assert done.stderr.startswith(fatal)


def test_a_broken_tensorflow_raises_as_without_drsearch(tmp_path: Path) -> None:
    done = run(tmp_path, "raise ImportError('libcudart is missing')", "import drsearch, tensorflow")
    assert "ImportError: libcudart is missing" in done.stderr


@pytest.mark.parametrize("given", [None, "0"])
def test_the_log_level_is_warnings_unless_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    if given is not None:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", given)
    level = "import os\nLEVEL = os.environ['TF_CPP_MIN_LOG_LEVEL']"
    done = run(tmp_path, level, "import drsearch, tensorflow; print(tensorflow.LEVEL)")
    assert done.stdout == f"{given or '1'}\n"


def test_the_collector_pauses_while_tensorflow_is_imported_and_leaves_its_objects_alone(tmp_path: Path) -> None:
    program = "import drsearch, tensorflow, gc; print(tensorflow.ENABLED, gc.isenabled(), gc.get_freeze_count() > 0)"
    assert run(tmp_path, "import gc\nENABLED = gc.isenabled()", program).stdout == "False True True\n"


def test_a_collector_that_is_switched_off_stays_off(tmp_path: Path) -> None:
    program = "import drsearch, gc; gc.disable(); import tensorflow; print(gc.isenabled(), gc.get_freeze_count())"
    assert run(tmp_path, "", program).stdout == "False 0\n"


def test_the_real_tensorflow_is_imported_without_a_line() -> None:
    program = "import drsearch, keras, tensorflow as tf; print(int(tf.constant(1) + 1))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_many_networks_in_one_process_are_no_reason_to_warn() -> None:
    program = """
import logging, sys, {}
import tensorflow as tf
for _ in range(8):
    tf.function(lambda x: x + 1)(tf.constant(1))
logging.getLogger("tensorflow").warning("another")
"""
    without, having = (
        subprocess.run([sys.executable, "-c", program.format(name)], capture_output=True, text=True).stderr
        for name in ("os", "drsearch")
    )
    assert "retracing" in without
    assert "retracing" not in having and "another" in having
