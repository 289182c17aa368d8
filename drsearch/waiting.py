"""Waiting that can be ended, and pauses that grow from one try to the next."""

import time
from collections.abc import Callable, Iterator


def growing_pauses(first_s: float = 1.0, longest_s: float = 30.0) -> Iterator[float]:
    """Yield pauses between tries in seconds, without end: each is twice as long as the one before.

    Args:
        first_s: The first pause.
        longest_s: Pauses do not grow beyond this.

    Example:
        >>> from itertools import islice
        >>> list(islice(growing_pauses(longest_s=5.0), 4))
        [1.0, 2.0, 4.0, 5.0]
    """
    pause_s = first_s
    while True:
        yield min(longest_s, pause_s)
        pause_s *= 2


def pause(seconds: float, is_over: Callable[[], bool]) -> bool:
    """Sleep, but not longer than until `is_over`.

    Sleeps in short steps: `threading.Event.wait` would keep Python from handling the signal that ends the wait.

    Args:
        seconds: How long.
        is_over: Whether to stop waiting; called several times per second.

    Returns:
        Whether `is_over` is true.
    """
    until = time.monotonic() + seconds
    while not is_over() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
    return is_over()
