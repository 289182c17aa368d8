"""Who carries journals to MLflow? One process a machine: `python -m drsearch.tracking.sender HOME`.

It also sends what dead workers left, so workers never wait for MLflow and need not import it. How far a
journal was sent stands in `sent.json` beside it.
"""

import argparse
import contextlib
import fcntl
import logging as python_logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

from drsearch.files import fault, full_place, is_full, sentence
from drsearch.home import Home
from drsearch.log import start_logging
from drsearch.tracking.availability import check_available, is_served, set_up_client
from drsearch.tracking.checkpoint_bundle import is_superseded
from drsearch.tracking.events import RunStart
from drsearch.tracking.journal import Journal
from drsearch.tracking.sent import (
    Sent,
    journal_state,
    note_refusal,
    read_sent,
    run_folders,
    unsent,
    write_sent,
)
from drsearch.tracking.tracker import Tracker, TrackerRefused, TrackerUnavailable

if TYPE_CHECKING:
    from drsearch.tracking.remote_runs import RemoteRuns
_LOOK_EVERY_S = 0.5
_FIRST_BACKOFF_S = 1.0
_LONGEST_BACKOFF_S = 30.0
_QUIET_S = 3.0  # of waiting that nothing is said of
_RESTART_S = 10.0  # between two starts at least: one that ends at once would be started again and again


class JournalSender:
    """Brings what is new in the journals of a home to a tracker; one at a time a home (`sender_lock`)."""

    def __init__(self, home: Home, tracker: Tracker, remote: "RemoteRuns | None" = None) -> None:
        self._home = home
        self._tracker = tracker
        self._remote = remote
        self._done: dict[Path, tuple[int, int]] = {}
        self._failed: set[Path] = set()

    def send_new(self) -> int:
        """Send all that is new; the number of events sent.

        A journal that is refused, or cannot be read, is named in a warning and left until it changes.

        Raises:
            TrackerUnavailable: If the tracker does not answer; all that were sent are noted.
        """
        n_sent = 0
        # Those that failed come last, so that one that always fails keeps none of the others waiting.
        for folder in sorted(run_folders(self._home), key=lambda folder: (folder in self._failed, folder)):
            state = journal_state(folder)
            if self._done.get(folder) == state:
                continue
            try:
                n_sent += self._deliver(folder)
                self._failed.discard(folder)
                note_refusal(folder, "")
            except (TrackerUnavailable, OSError):
                self._failed.add(folder)
                raise
            except (TrackerRefused, ValueError) as wrong:
                logging.warning("%s stays unsent: %s", folder, wrong)
                note_refusal(folder, str(wrong))
                if is_superseded(folder):
                    continue  # until a later attempt has it, whose first word may be all that was said before
            self._done[folder] = state
        return n_sent

    def _deliver(self, folder: Path) -> int:
        journal, sent = Journal(folder), read_sent(folder)
        if sent is not None and not journal.ends_line_at(sent.offset):
            sent = Sent(sent.run_id)  # lines were lost with the power, or on a full disk: send all again
        events, offset = journal.read(sent.offset if sent else 0)
        if not events:
            return 0
        if sent is None:
            if not isinstance(events[0], RunStart):
                raise ValueError(f"{journal.path} does not begin with a RunStart.")
            # Noted before anything is sent: who asks for the run's id need not wait for its pictures.
            sent = Sent(self._tracker.open(events[0]))
            write_sent(folder, sent)
        if self._remote is not None:  # before what these events say: see checkpoint_bundle.py
            self._remote.upload_bundle(folder, sent.run_id)
        self._tracker.send(sent.run_id, events, folder)
        write_sent(folder, Sent(sent.run_id, offset))
        return len(events)


def send_new(home: Home, tracker: Tracker, remote: "RemoteRuns | None" = None) -> int:
    """Send all that is new in the journals of `home`; the number of events sent.

    Nothing is sent while another process is at it: it sends them.

    Raises:
        TrackerUnavailable: If the tracker does not answer.
    """
    with sender_lock(home) as mine:
        return JournalSender(home, tracker, remote).send_new() if mine else 0


def sync(home: Home) -> int:
    """Send all that is new in the journals of `home` to its MLflow, now; the number of events sent.

    Raises:
        TrackerUnavailable: If MLflow does not answer.
    """
    check_available(home.tracking_uri)
    return send_new(home, _tracker(home, home.tracking_uri), _remote(home.tracking_uri))


def experiments(home: Home) -> list[str]:
    """The experiments that the runs of a home belong to."""
    one_run_each = {folder.parent: folder for folder in run_folders(home)}  # a study's runs lie side by side
    starts = [event for folder in one_run_each.values() for event in Journal(folder).read()[0][:1]]
    return sorted({start.experiment for start in starts if isinstance(start, RunStart)})


@contextmanager
def sender_lock(home: Home) -> Iterator[bool]:
    """Whether this process may send for `home` now. The lock goes with its process, however that ends."""
    home.runs.mkdir(parents=True, exist_ok=True)
    with open(home.runs / "sender.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


class SenderProcess:
    """A sender that was started: `start_sender`."""

    def __init__(self, home: Home, process: "subprocess.Popen[bytes]") -> None:
        self._home = home
        self._process = process

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process.poll() is None

    def stop(self, timeout_s: float = 60.0) -> bool:
        """Let it send what is left and end it; whether everything in the home was sent.

        What is left stays in the journals, for the next sender of this home.
        """
        deadline = time.monotonic() + timeout_s
        self._process.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_QUIET_S)
            if self.running:
                logging.info("waiting up to %.0f s until MLflow has what is left to send", timeout_s)
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Another sender of this home, if there is one, has had the journals all the time.
        while (left := unsent(self._home)) and _someone_sends(self._home) and time.monotonic() < deadline:
            time.sleep(0.1)
        return not left


class SupervisedSender:
    """The sender of a home while a study runs there: another takes over where it dies, as every process may."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._handle: SenderProcess | None = None
        self._began = 0.0

    def ensure_running(self) -> None:
        """See that a sender runs; to be called now and then."""
        if self._handle is not None:
            if self._handle.running or time.monotonic() - self._began < _RESTART_S:
                return
            logging.warning("the process that sends to MLflow was killed; another goes on")
        self._began = time.monotonic()
        self._handle = start_sender(self._home, self._home.tracking_uri)

    def stop(self, timeout_s: float) -> bool:
        """`SenderProcess.stop`; true where none was ever started."""
        return self._handle is None or self._handle.stop(timeout_s)


def start_sender(home: Home, tracking_uri: str) -> SenderProcess:
    """Start the sender of a home; it ends with `stop`, or when the process that started it is gone.

    It ignores Ctrl-C, SIGHUP and SIGUSR1, which reach every process of a terminal or of a Slurm step: what the workers
    say while they end is sent too.
    Its warnings go to standard error.
    """
    command = [sys.executable, "-P", "-m", "drsearch.tracking.sender", str(home.path), "--parent", str(os.getpid())]
    # By the environment: a command line, and a password in it, can be read by everyone on the machine.
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return SenderProcess(home, process)


def main(arguments: Sequence[str] | None = None) -> int:
    """Send until SIGTERM or until the parent is gone, then once more."""
    parser = argparse.ArgumentParser(prog="python -m drsearch.tracking.sender", description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("tracking_uri", nargs="?", help="default: MLFLOW_TRACKING_URI, or the home's own store")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="end when it is no longer the parent")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for meant_for_parent in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(meant_for_parent, signal.SIG_IGN)  # what is said while that ends is sent too
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    start_logging()
    # A store that is full or locked is told of in a sentence below; MLflow's own traceback says no more.
    python_logging.getLogger("mlflow.store.db.utils").setLevel(python_logging.CRITICAL)
    home = Home(options.home.resolve())
    _Loop(home, options.tracking_uri or home.tracking_uri, stop, options.parent).run()
    return 0


class _Loop:
    """Look, send, wait; the waits grow while MLflow is away."""

    def __init__(self, home: Home, tracking_uri: str, stop: threading.Event, parent: int) -> None:
        self._home = home
        self._tracking_uri = tracking_uri
        self._stop = stop
        self._parent = parent
        self._sender: JournalSender | None = None
        self._backoff_s = 0.0

    def run(self) -> None:
        while True:
            with sender_lock(self._home) as mine:
                if mine:
                    self._send_until_over()
                    return
            if self._over():
                return
            time.sleep(_LOOK_EVERY_S)

    def _send_until_over(self) -> None:
        while True:
            last = self._over()  # asked before sending: what was said until then is sent below
            self._send()
            if last:
                break
            self._wait(self._backoff_s or _LOOK_EVERY_S)
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
                self._sender = JournalSender(
                    self._home, _tracker(self._home, self._tracking_uri), _remote(self._tracking_uri)
                )
                os.nice(10)  # training goes first, now that MLflow is loaded: runs should not appear late
            n_sent = self._sender.send_new()
        except (TrackerUnavailable, OSError) as wrong:
            fault_here = "" if isinstance(wrong, TrackerUnavailable) else fault(wrong, self._home.path).rstrip(".")
            if not isinstance(wrong, TrackerUnavailable) and not fault_here:
                raise
            if not self._backoff_s and is_full(wrong):
                where = full_place(wrong, self._home.path)
                logging.warning("%s; runs go on, and are sent when there is space.", sentence(where))
            elif not self._backoff_s:
                logging.warning("%s; runs go on, and are sent when it is back.", fault_here or wrong)
            self._backoff_s = min(_LONGEST_BACKOFF_S, max(_FIRST_BACKOFF_S, 2 * self._backoff_s))
            return
        if self._backoff_s:
            logging.info("MLflow is back; %d events sent.", n_sent)
            self._backoff_s = 0.0

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._over() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))  # Event.wait would lock out the signal that ends it

    def _over(self) -> bool:
        return self._stop.is_set() or os.getppid() != self._parent


def _tracker(home: Home, tracking_uri: str) -> Tracker:
    set_up_client()
    from drsearch.tracking.mlflow_tracker import MlflowTracker

    return MlflowTracker(tracking_uri, None if is_served(tracking_uri) else home.artifacts)


def _remote(tracking_uri: str) -> "RemoteRuns | None":
    from drsearch.tracking.remote_runs import RemoteRuns

    return RemoteRuns(tracking_uri) if is_served(tracking_uri) else None


def _someone_sends(home: Home) -> bool:
    with sender_lock(home) as mine:
        return not mine


if __name__ == "__main__":
    sys.exit(main())
