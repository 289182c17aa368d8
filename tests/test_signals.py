"""Which signals ask to stop, and which end at once?"""

import os
import pty
import signal
import subprocess
import sys
import threading

from services import HANG_S

from drsearch.signals import Interrupts

PROGRAM = """
import os, signal, sys
from drsearch.signals import Interrupts
asked = []
with Interrupts(lambda: asked.append(1)):
    for name in sys.argv[1].split(","):
        os.kill(os.getpid(), getattr(signal, name))
print(len(asked), flush=True)
"""
ASKS = "drsearch: stopping at the end of the epoch, with a checkpoint"


def after(*signals: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", PROGRAM, ",".join(signals)], capture_output=True, text=True)


def test_a_closed_terminal_and_slurm_ask_as_often_as_they_like_and_sigterm_may_follow() -> None:
    done = after("SIGHUP", "SIGHUP", "SIGUSR1", "SIGTERM")
    assert (done.returncode, done.stdout) == (0, "4\n")
    assert done.stderr.splitlines() == [ASKS, ASKS, ASKS, f"{ASKS} (Ctrl-C again: at once)"]


def test_sigterm_once_more_ends_at_once() -> None:
    done = after("SIGTERM", "SIGTERM")
    assert (done.returncode, done.stdout) == (-15, "")


def test_output_to_a_terminal_that_was_closed_is_no_error() -> None:
    ours, terminal = pty.openpty()
    program = (
        "import os, signal, sys; from drsearch.signals import Interrupts\n"
        "with Interrupts(lambda: None):\n"
        "    print('ready', flush=True); sys.stdin.readline(); os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print('to nobody', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=terminal, stderr=subprocess.PIPE
    )
    os.close(terminal)
    said = b""
    while b"\n" not in said:  # Python may write the end of a line by itself
        said += os.read(ours, 100)
    assert said.startswith(b"ready")
    os.close(ours)  # from here on, a write is an input/output error
    _, complained = process.communicate(b"\n", timeout=HANG_S)
    assert (process.returncode, complained.decode()) == (0, f"{ASKS}\n")


def test_signals_are_left_alone_in_another_thread() -> None:
    before = signal.getsignal(signal.SIGINT)
    handlers = []

    def enter() -> None:
        with Interrupts(lambda: None):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [before] and signal.getsignal(signal.SIGINT) is before
