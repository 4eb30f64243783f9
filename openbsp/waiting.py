"""Waiting for a condition by polling, until a deadline."""

import time
from collections.abc import Callable


def wait_until(done: Callable[[], bool], *, patience_s: float, every_s: float) -> bool:
    """Return whether `done` became true within so many seconds. It is checked at least once."""
    deadline = time.monotonic() + patience_s
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_s)
    return True
