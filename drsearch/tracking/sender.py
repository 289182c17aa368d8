"""Sends journals to MLflow, in one process per machine: `python -m drsearch.tracking.sender HOME`.

Workers never wait for MLflow and need not import it, and the journals of dead workers are sent too. `sent.json` beside
a journal says how far it was sent.
"""

import argparse
import contextlib
import logging as python_logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

from drsearch.files import fault, full_place, is_full, lock, sentence
from drsearch.home import Home
from drsearch.log import start_logging
from drsearch.signals import held_back
from drsearch.tracking.availability import check_available, is_served, set_up_client
from drsearch.tracking.checkpoint_bundle import is_superseded
from drsearch.tracking.events import RunStart
from drsearch.tracking.journal import Journal
from drsearch.tracking.sent import Sent, journal_state, note_refusal, read_sent, run_folders, unsent, write_sent
from drsearch.tracking.tracker import Tracker, TrackerRefused, TrackerUnavailable
from drsearch.waiting import growing_pauses, pause

if TYPE_CHECKING:
    from drsearch.tracking.remote_runs import RemoteRuns
_LOOK_EVERY_S = 0.5
_QUIET_S = 3.0  # of waiting before a message says so
_RESTART_S = 10.0  # at least, between two starts: a process that ends at once would be started again and again
_FOR_PARENT = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""These reach every process of a terminal, or of a Slurm step."""


class JournalSender:
    """Sends the new events in the journals of a home to a tracker. Hold `sender_lock` while it works.

    Args:
        home: Holds the journals.
        tracker: Takes the events.
        remote: Takes the checkpoint bundles of runs that other machines may resume; None if no machine can.
    """

    def __init__(self, home: Home, tracker: Tracker, remote: "RemoteRuns | None" = None) -> None:
        self._home, self._tracker, self._remote = home, tracker, remote
        self._done: dict[Path, tuple[int, int]] = {}
        self._failed: set[Path] = set()

    @classmethod
    def to_mlflow(cls, home: Home, tracking_uri: str) -> "JournalSender":
        """A sender to an MLflow server or local store.

        Raises:
            TrackerUnavailable: If a database that MLflow opens itself does not answer.
        """
        set_up_client()
        from drsearch.tracking.mlflow_tracker import MlflowTracker
        from drsearch.tracking.remote_runs import RemoteRuns

        if is_served(tracking_uri):
            return cls(home, MlflowTracker(tracking_uri), RemoteRuns(tracking_uri))
        return cls(home, MlflowTracker(tracking_uri, home.artifacts))

    def send_new(self) -> int:
        """Send all new events.

        A journal that the tracker refuses, or that cannot be read, is left until it changes, with a warning.

        Returns:
            The number of events sent.

        Raises:
            TrackerUnavailable: If the tracker does not answer; what was sent before is noted.
        """
        n_sent = 0
        # Those that failed come last, so that one that always fails keeps none of the others waiting.
        for folder in sorted(run_folders(self._home), key=lambda folder: (folder in self._failed, folder)):
            state = journal_state(folder)
            if self._done.get(folder) == state:
                continue
            try:
                n_sent += self._send(folder)
                self._failed.discard(folder)
                note_refusal(folder, "")
            except (TrackerUnavailable, OSError):
                self._failed.add(folder)
                raise
            except (TrackerRefused, ValueError) as wrong:
                logging.warning("%s stays unsent: %s", folder, wrong)
                note_refusal(folder, str(wrong))
                if is_superseded(folder):
                    continue  # a later attempt may take the folder over, and its first act may be to send this journal
            self._done[folder] = state
        return n_sent

    def _send(self, folder: Path) -> int:
        journal, sent = Journal(folder), read_sent(folder)
        if sent is not None and not journal.ends_line_at(sent.offset):
            sent = Sent(sent.run_id)  # lines were lost with the power, or on a full disk: send all again
        events, offset = journal.read(sent.offset if sent else 0)
        if not events:
            return 0
        if sent is None:
            if not isinstance(events[0], RunStart):
                raise ValueError(f"{journal.path} does not begin with a RunStart.")
            # Noted before anything is sent: a process that needs the run's id does not wait for its images.
            sent = Sent(self._tracker.open(events[0]))
            write_sent(folder, sent)
        if self._remote is not None:  # before these events: see checkpoint_bundle.py
            self._remote.upload_bundle(folder, sent.run_id)
        self._tracker.send(sent.run_id, events, folder)
        write_sent(folder, Sent(sent.run_id, offset))
        return len(events)


def sync(home: Home) -> int:
    """Send all new events in the journals of a home to its MLflow; nothing while another process sends them.

    Returns:
        The number of events sent.

    Raises:
        TrackerUnavailable: If MLflow does not answer.
    """
    check_available(home.tracking_uri)
    with sender_lock(home) as mine:
        return JournalSender.to_mlflow(home, home.tracking_uri).send_new() if mine else 0


def experiments(home: Home) -> list[str]:
    """The experiments that the runs of a home belong to."""
    one_run_each = {folder.parent: folder for folder in run_folders(home)}  # a study's runs lie side by side
    starts = [event for folder in one_run_each.values() for event in Journal(folder).read()[0][:1]]
    return sorted({start.experiment for start in starts if isinstance(start, RunStart)})


@contextmanager
def sender_lock(home: Home) -> Iterator[bool]:
    """Take the right to send for a home, if no other process has it; the lock goes with its process.

    Yields:
        Whether this process has it.
    """
    home.runs.mkdir(parents=True, exist_ok=True)
    with open(home.runs / "sender.lock", "w") as file:
        try:
            lock(file, give_up=lambda: True)
        except TimeoutError:
            yield False
            return
        yield True


class SenderProcess:
    """The sender of a home in a process of its own.

    It ends with `stop`, or when the process that started it is gone. It ignores Ctrl-C, SIGHUP and SIGUSR1: what
    workers log while they end is sent too. Its warnings go to standard error.

    Args:
        home: Whose journals are sent.
        tracking_uri: Of MLflow; empty for the home's.
    """

    def __init__(self, home: Home, tracking_uri: str = "") -> None:
        self._home = home
        self._tracking_uri = tracking_uri or home.tracking_uri
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def ensure_running(self) -> None:
        """Start the process, or start it again if it was killed; call this now and then."""
        if self._process is None or not (self.running or time.monotonic() - self._started < _RESTART_S):
            self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        if self._process is not None:
            logging.warning("the process that sends to MLflow was killed; another goes on")
        self._started = time.monotonic()
        command = [sys.executable, "-P", "-m", __name__, str(self._home.path), "--parent", str(os.getpid())]
        # In the environment: everybody on the machine can read a command line, and a password in it.
        environment = {**os.environ, "MLFLOW_TRACKING_URI": self._tracking_uri}
        with held_back(*_FOR_PARENT, signal.SIGTERM):  # until it can do with them what it should
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        return self._process

    def stop(self, timeout_s: float = 60.0) -> bool:
        """Let the process send what is left, and end it. The next sender of this home sends what is left even then.

        Returns:
            Whether everything in the home was sent.
        """
        if self._process is None:
            return True
        deadline = time.monotonic() + timeout_s
        # One that was killed a moment ago was not started again yet.
        process = self._process if self.running or not unsent(self._home) else self._start()
        process.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_QUIET_S)
            if self.running:
                logging.info("waiting up to %.0f s until MLflow has what is left to send", timeout_s)
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Another sender of this home, if there is one, has had the journals all the time.
        while (left := unsent(self._home)) and _another_sends(self._home) and time.monotonic() < deadline:
            time.sleep(0.1)
        return not left


def start_sender(home: Home, tracking_uri: str = "") -> SenderProcess:
    """A running sender of a home; the arguments are those of `SenderProcess`."""
    sender = SenderProcess(home, tracking_uri)
    sender.ensure_running()
    return sender


def main(arguments: Sequence[str] | None = None) -> int:
    """Send until SIGTERM or until the parent is gone, then once more.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m drsearch.tracking.sender", description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("tracking_uri", nargs="?", help="default: MLFLOW_TRACKING_URI, or the home's own store")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="end when it is no longer the parent")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for meant_for_parent in _FOR_PARENT:
        signal.signal(meant_for_parent, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_FOR_PARENT, signal.SIGTERM))  # see `SenderProcess._start`
    start_logging()
    # One sentence below reports a store that is full or locked; MLflow's own traceback says no more.
    python_logging.getLogger("mlflow.store.db.utils").setLevel(python_logging.CRITICAL)
    home = Home(options.home.resolve())
    is_over = lambda: stop.is_set() or os.getppid() != options.parent  # noqa: E731
    while True:
        with sender_lock(home) as mine:
            if mine:
                _Loop(home, options.tracking_uri or home.tracking_uri).run(is_over)
                return 0
        if pause(_LOOK_EVERY_S, is_over):
            return 0


class _Loop:
    """Looks, sends and waits; the pauses grow while MLflow does not answer."""

    def __init__(self, home: Home, tracking_uri: str) -> None:
        self._home, self._tracking_uri = home, tracking_uri
        self._sender: JournalSender | None = None
        self._pauses: Iterator[float] | None = None  # while MLflow does not answer

    def run(self, is_over: Callable[[], bool]) -> None:
        is_last = False
        while not is_last:
            is_last = is_over()  # asked before sending: what was logged until then is sent below
            self._send()
            if not is_last:
                pause(next(self._pauses) if self._pauses else _LOOK_EVERY_S, is_over)
        if left := unsent(self._home):
            logging.warning(
                "%d run(s) are not wholly in MLflow, the first is %s; "
                "`drsearch sync`, or the next study in this home, sends the rest.",
                len(left),
                left[0],
            )

    def _send(self) -> None:
        try:
            if self._sender is None:
                self._sender = JournalSender.to_mlflow(self._home, self._tracking_uri)
                os.nice(10)  # training goes first, now that MLflow is loaded: runs should not appear late
            n_sent = self._sender.send_new()
        except (TrackerUnavailable, OSError) as wrong:
            text = self._explained(wrong)
            if self._pauses is None:
                logging.warning("%s", text)
                self._pauses = growing_pauses()
        else:
            if self._pauses is not None:
                logging.info("MLflow is back; %d events sent.", n_sent)
                self._pauses = None

    def _explained(self, wrong: OSError) -> str:
        """A sentence for an error that passes; any other error is raised again."""
        fault_here = "" if isinstance(wrong, TrackerUnavailable) else fault(wrong, self._home.path).rstrip(".")
        if not isinstance(wrong, TrackerUnavailable) and not fault_here:
            raise wrong
        if is_full(wrong):
            return f"{sentence(full_place(wrong, self._home.path))}; runs go on, and are sent when there is space."
        return f"{fault_here or wrong}; runs go on, and are sent when it is back."


def _another_sends(home: Home) -> bool:
    with sender_lock(home) as mine:
        return not mine


if __name__ == "__main__":
    sys.exit(main())
