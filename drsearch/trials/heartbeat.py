"""Which trials give a sign of life?"""

import threading
import time
from collections.abc import Iterable
from typing import Any

import sqlalchemy
import sqlalchemy.event
import sqlalchemy.exc
from absl import logging

from drsearch.trials import retrying
from drsearch.trials.retrying import is_away

HEARTBEAT_S = 10
"""Seconds between the signs of life of a running trial."""

GRACE_S = 120
"""Seconds without one after which a trial is another's to take."""

Storage = Any
"""Optuna's cached `RDBStorage`, with heartbeats."""


def heartbeats(storage: Storage, trial_ids: Iterable[int]) -> dict[int, str]:
    """The last heartbeat of every trial, as the database wrote it down; empty for one that never beat."""
    wanted = list(trial_ids)
    if not wanted:
        return {}
    there = sqlalchemy.table("trial_heartbeats", sqlalchemy.column("trial_id"), sqlalchemy.column("heartbeat"))
    ask = sqlalchemy.select(there.c.trial_id, there.c.heartbeat).where(there.c.trial_id.in_(wanted))
    with storage._backend.engine.connect() as connection:
        found = {int(trial_id): str(beat) for trial_id, beat in connection.execute(ask)}
    return {trial_id: found.get(trial_id, "") for trial_id in wanted}


class Vigil:
    """Which running trials give no sign of life, by this process's own count of seconds?

    The clocks of the database and of other machines may jump, this machine may sleep, the database may be away: none of
    it makes a trial look dead. It is silent when its heartbeat stayed the same through `GRACE_S` seconds of looking.
    """

    def __init__(self) -> None:
        self._looked = time.monotonic()
        self._still: dict[int, tuple[str, float]] = {}

    def silent(self, beats: dict[int, str]) -> set[int]:
        """Of trials and their last heartbeats, those that are silent; ask again and again."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, HEARTBEAT_S), now
        self._still = {
            trial_id: (beat, self._still[trial_id][1] + passed)
            if self._still.get(trial_id, ("-", 0.0))[0] == beat
            else (beat, 0.0)
            for trial_id, beat in beats.items()
        }
        return {trial_id for trial_id, (_, seconds) in self._still.items() if seconds > GRACE_S}


class Heartbeat:
    """Signs of life for one trial, from a thread that an error of the database does not end.

    Optuna's own thread beats only inside `study.optimize`, and dies of the first database error.
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
                self._storage.record_heartbeat(self._trial_id)
            except Exception as wrong:  # whatever it is, the next beat may reach the database again
                if is_away(wrong):
                    retrying.patience.away(wrong)
                else:
                    logging.log_every_n_seconds(logging.WARNING, "a heartbeat was lost: %s", 60, wrong)
            else:
                retrying.patience.back()
