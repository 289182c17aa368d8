"""Heartbeats of running trials: each worker sends them, others see when they stop."""

import contextlib
import threading
import time
from collections.abc import Iterable

import sqlalchemy
from absl import logging

from drsearch.trials import retrying
from drsearch.trials.retrying import Storage, is_away, with_retries, without_retries

HEARTBEAT_S = 10
"""Seconds between the heartbeats of a running trial."""

GRACE_S = 120
"""Seconds without a heartbeat after which another worker may take the trial."""


def heartbeats(storage: Storage, trial_ids: Iterable[int]) -> dict[int, str]:
    """The last heartbeat per trial id, as the database stores it; empty for a trial that never sent one."""
    ids = list(trial_ids)
    if not ids:
        return {}
    table = sqlalchemy.table("trial_heartbeats", sqlalchemy.column("trial_id"), sqlalchemy.column("heartbeat"))
    query = sqlalchemy.select(table.c.trial_id, table.c.heartbeat).where(table.c.trial_id.in_(ids))

    def read() -> dict[int, str]:
        # Optuna's session of this thread: within a transaction, that of the transaction.
        with contextlib.closing(storage._backend.scoped_session()) as session:
            return {int(trial_id): str(beat) for trial_id, beat in session.execute(query)}

    return dict.fromkeys(ids, "") | with_retries(read)


class HeartbeatMonitor:
    """Tells which heartbeats have stopped, by this process's own count of seconds.

    The clocks of the database and of other machines may jump, this machine may sleep, the database may be away: none of
    them makes a trial look dead. A heartbeat has stopped when it stayed the same through `GRACE_S` seconds of looking.
    """

    def __init__(self) -> None:
        self._looked = time.monotonic()
        self._unchanged: dict[int, tuple[str, float]] = {}

    def silent(self, beats: dict[int, str]) -> set[int]:
        """The trial ids whose heartbeat has stopped; call this every few seconds.

        Args:
            beats: The last heartbeat per id of the running trials.
        """
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, HEARTBEAT_S), now
        self._unchanged = {
            trial_id: (beat, self._unchanged[trial_id][1] + passed)
            if self._unchanged.get(trial_id, ("-", 0.0))[0] == beat
            else (beat, 0.0)
            for trial_id, beat in beats.items()
        }
        return {trial_id for trial_id, (_, seconds) in self._unchanged.items() if seconds > GRACE_S}


class Heartbeat:
    """Sends the heartbeats of one trial, from a thread that no error of the database ends.

    Optuna's own thread beats only inside `study.optimize`, and dies of the first database error. After each beat the
    connections of this process are closed: while it trains it needs none.

    Args:
        storage: The study database.
        trial_id: The running trial.
    """

    def __init__(self, storage: Storage, trial_id: int) -> None:
        self._storage, self._trial_id = storage, trial_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT_S):
            try:
                with without_retries():  # waiting for the database would keep the trial's end waiting
                    self._storage.record_heartbeat(self._trial_id)
                self._storage.let_go()
            except Exception as wrong:  # whatever it is, the next beat may reach the database again
                if is_away(wrong):
                    retrying.outage.begins(wrong)
                else:
                    logging.log_every_n_seconds(logging.WARNING, "a heartbeat was lost: %s", 60, wrong)
            else:
                retrying.outage.ends()
