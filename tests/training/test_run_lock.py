"""Does a folder that was given away stay untouched by who had it, wherever that one was stopped?"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from services import HANG_S

from drsearch.processes import this_process
from drsearch.training import run_lock as ownership_module
from drsearch.training.run_lock import NotTheOwner, RunLock, attempt_of, process_of

HOLD = """
import sys
from pathlib import Path
from drsearch.training.run_lock import RunLock
from drsearch.processes import this_process

folder = Path(sys.argv[1])
me = f"1@{this_process()}"
with RunLock(folder).take(me):
    pass
with RunLock(folder).hold(me):
    print("held", flush=True)
    sys.stdin.read()
    (folder / "late").write_text("")
"""


def test_who_was_given_away_is_told_before_it_writes(tmp_path: Path) -> None:
    folder = RunLock(tmp_path / "run")
    with folder.take("1@a:1:1"):
        pass
    with folder.hold("1@a:1:1"):
        pass
    with folder.take("2@a:2:1"):
        pass
    with pytest.raises(NotTheOwner), folder.hold("1@a:1:1"):
        pytest.fail("it may not get here")


def test_a_folder_that_was_deleted_has_no_owner(tmp_path: Path) -> None:
    with pytest.raises(NotTheOwner), RunLock(tmp_path / "gone").hold("1@a:1:1"):
        pytest.fail("it may not get here")
    with RunLock(tmp_path / "gone").take_if(lambda _: True, "nobody") as taken:
        assert not taken


def test_a_folder_is_taken_only_from_whom_it_may_be_taken(tmp_path: Path) -> None:
    folder = RunLock(tmp_path)
    with folder.take("3@a:1:1"):
        pass
    with folder.take_if(lambda owner: attempt_of(owner) == 2, "nobody") as taken:
        assert not taken
    with folder.hold("3@a:1:1"):
        pass
    with folder.take_if(lambda owner: attempt_of(owner) == 3, "nobody") as taken:
        assert taken
    with pytest.raises(NotTheOwner), folder.hold("3@a:1:1"):
        pytest.fail("it may not get here")


def test_a_process_that_was_stopped_while_it_wrote_is_ended_by_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = subprocess.PIPE
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=pipe, stdout=pipe, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    os.kill(holder.pid, signal.SIGSTOP)
    with RunLock(tmp_path).take_if(lambda _: True, "nobody") as taken:
        assert not taken, "a launcher does not wait for it"
    monkeypatch.setattr(ownership_module, "_HELD_S", 0.2)
    with RunLock(tmp_path).take(f"2@{this_process()}"):
        assert holder.wait(HANG_S) == -signal.SIGKILL
    holder.communicate()
    assert not (tmp_path / "late").exists()


def test_owners_are_attempts_or_processes() -> None:
    assert (attempt_of("12@host/b-1:7:99"), process_of("12@host/b-1:7:99")) == (12, "host/b-1:7:99")
    assert (attempt_of("host/b-1:7:99"), process_of("host/b-1:7:99")) == (None, "host/b-1:7:99")
