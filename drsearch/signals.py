"""Signals that stop a process: Ctrl-C, SIGTERM, SIGHUP (a closed terminal) and SIGUSR1 (Slurm)."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_AT_ONCE = (signal.SIGINT, signal.SIGTERM)
_NOT_WHERE_IGNORED = (signal.SIGHUP, signal.SIGUSR1)  # nohup ignores SIGHUP, which stays ignored

_terminals: list[int] = []


def heard_signals() -> tuple[signal.Signals, ...]:
    """The signals that stop this process; SIGHUP is not among them under `nohup`."""
    return _AT_ONCE + tuple(each for each in _NOT_WHERE_IGNORED if signal.getsignal(each) != signal.SIG_IGN)


def stop_like_ctrl_c() -> None:
    """Raise KeyboardInterrupt at SIGTERM, SIGHUP and SIGUSR1, too, so that commands clean up."""
    _note_terminals()
    for number in heard_signals():
        if number != signal.SIGINT:
            signal.signal(number, _interrupt)


def on_hangup(stop: Callable[[], None]) -> None:
    """Call `stop` at SIGHUP and SIGUSR1, for code that handles Ctrl-C and SIGTERM itself."""

    def heard(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _let_go_of_terminal()
        stop()

    for each in heard_signals():
        if each not in _AT_ONCE:
            signal.signal(each, heard)


def write_to_stderr(text: str) -> None:
    """Write a line from a signal handler.

    Not with a logger: the signal may arrive while a logger writes, and Python refuses nested writes.
    """
    with suppress(OSError):
        os.write(2, f"drsearch: {text}\n".encode())


@contextmanager
def held_back(*numbers: int) -> Iterator[None]:
    """Hold signals back from this thread, until the end of the `with` block, and from processes started in it.

    Such a process gets them when it unblocks them (`signal.pthread_sigmask`): none reaches it before its handlers.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interrupts:
    """In its `with` block, the first signal asks to stop, and a second Ctrl-C or SIGTERM ends the process at once.

    SIGHUP and SIGUSR1 may arrive more than once, and before a SIGTERM: both the system and the shell send SIGHUP when a
    terminal is closed, and Slurm sends SIGTERM after the signal of `--signal`. Does nothing outside the main thread,
    where Python handles no signals.

    Args:
        ask: Called in the signal handler.
        say: Called there with a sentence for the person at the terminal.
    """

    def __init__(self, ask: Callable[[], None], say: Callable[[str], None] = write_to_stderr) -> None:
        self._ask, self._say = ask, say
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        _note_terminals()
        for number in heard_signals():
            self._before[number] = signal.signal(number, self._heard)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _let_go_of_terminal()
        once_more = " (Ctrl-C again: at once)" if number in _AT_ONCE else ""
        self._say(f"stopping at the end of the epoch, with a checkpoint{once_more}")
        self._ask()
        if number in _AT_ONCE:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGHUP:
        _let_go_of_terminal()
    raise KeyboardInterrupt


def _note_terminals() -> None:
    _terminals[:] = [descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor)] or _terminals


def _let_go_of_terminal() -> None:
    """Discard output to the terminal, which is closed: each write would be an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in _terminals:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
