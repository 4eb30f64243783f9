"""Waiting for a condition, with a deadline, instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_S = 0.05
#: The shortest session of a worker that the broker of the tests allows, in seconds.
SESSION_S = 3


def eventually(look: Callable[[], T], *, within: float = 30.0, every: float = INTERVAL_S) -> T:
    """Return the first true value of `look`, which may raise AssertionError for "not yet".

    After `within` seconds the last AssertionError is raised, or one that shows the last value. What takes long to look
    at should be looked at less often than `every` 50 ms: others need the processors.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            value = look()
            failure = AssertionError(f"still {value!r} after {within:g} s")
        except AssertionError as error:
            failure = error
        else:
            if value:
                return value
        if time.monotonic() > deadline:
            raise failure
        time.sleep(every)
