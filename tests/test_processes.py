"""How many threads does work in threads take?"""

import threading
import time
from collections.abc import Callable

import pytest

from drsearch.processes import in_threads


class Work:
    """Counts how many threads are in it at once."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait, self._counting = wait, threading.Lock()
        self.now = self.most = self.done = 0

    def __call__(self, item: int) -> int:
        with self._counting:
            self.now += 1
            self.most = max(self.most, self.now)
        self._wait()
        with self._counting:
            self.now -= 1
            self.done += 1
        return 10 * item


def test_work_that_waits_is_done_by_more_and_more_threads_in_order() -> None:
    work = Work(lambda: time.sleep(0.02))
    assert list(in_threads(work, range(1200), 2, most=32)) == [10 * item for item in range(1200)]
    assert 8 < work.most <= 32


def test_a_disk_that_gives_no_more_is_not_asked_by_more_threads() -> None:
    one_at_a_time = threading.Lock()

    def read() -> None:
        with one_at_a_time:
            time.sleep(0.005)

    work = Work(read)
    assert len(list(in_threads(work, range(500), 2, most=64))) == 500
    assert work.most <= 8


def test_no_more_threads_than_to_begin_with_unless_asked() -> None:
    work = Work(lambda: time.sleep(0.01))
    assert len(list(in_threads(work, range(200), 2))) == 200
    assert work.most == 2


def test_what_is_not_taken_is_not_done() -> None:
    work = Work(lambda: time.sleep(0.005))
    results = in_threads(work, range(10_000), 2, most=64)
    assert [next(results) for _ in range(3)] == [0, 10, 20]
    results.close()  # type: ignore[attr-defined]
    assert work.done < 100


def test_an_error_of_the_work_arrives_in_its_turn() -> None:
    def work(item: int) -> int:
        return 1 // (item - 5)

    results = in_threads(work, range(10), 2, most=64)
    assert [next(results) for _ in range(5)] == [1 // (item - 5) for item in range(5)]
    with pytest.raises(ZeroDivisionError):
        next(results)
