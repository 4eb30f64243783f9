"""Reads that wait while their partition is handed over, restored or caught up with, and are answered when it is ready.

A read that finds its partition not ready is tried again when something has changed that it may depend on, and refused
when its time is over. Nothing is polled: whatever makes an answer possible calls `Changes.changed`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from streams.metrics import Metrics
from streams.views.http.access import Reader
from streams.views.http.problems import ProblemError, not_ready

Answer = TypeVar("Answer")

#: How reads that waited have ended.
ANSWERED, PASSED_ON, TIMED_OUT, REFUSED = "answered", "passed_on", "timed_out", "refused"


class Changes:
    """Wakes everybody who waits for whatever happens next to ownership, tables or other workers."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._next: asyncio.Future[None] | None = None

    @property
    def next(self) -> "asyncio.Future[None]":
        """What is done at the next change. Take it before looking at what may change: no change is missed then."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    def changed(self) -> None:
        """Wake all that wait."""
        if self._next is not None:
            self._next.set_result(None)
            self._next = None


class Waits:
    """Tries reads until they have an answer, each for so long and so many at a time."""

    def __init__(self, changes: Changes, wait_s: float, most: int, metrics: Metrics) -> None:
        """Let `most` reads wait for `wait_s` seconds; more are refused at once."""
        #: How many reads wait.
        self.waiting = 0
        self._changes = changes
        self._wait_s = wait_s
        self._most = most
        self._metrics = metrics

    async def answer(
        self,
        reader: Reader,
        attempt: Callable[[float], Awaitable[Answer]],
        elsewhere: Callable[[float], Awaitable[Answer | None]],
    ) -> Answer:
        """Return what `attempt` does, as soon as it does not raise that it has to wait; it is given the time limit.

        After each attempt in vain `elsewhere` is asked for another's answer. Raises ProblemError.
        """
        until = time.monotonic() + self._allowed(reader)
        waited = False
        while True:
            change = self._changes.next
            try:
                found = await attempt(until)
            except ProblemError as error:
                if not error.passing:
                    raise
                other = await elsewhere(until)
                if other is not None:
                    self._metrics.reads_waited.add(PASSED_ON)
                    return other
                await self._until(change, until, error)
                waited = True
            else:
                if waited:
                    self._metrics.reads_waited.add(ANSWERED)
                return found

    def _allowed(self, reader: Reader) -> float:
        """Return the seconds that a read may wait: as another worker says that asks, as the settings say otherwise."""
        if reader.wait_s is not None:
            return max(0.0, min(reader.wait_s, self._wait_s))
        # One that is asked for partitions by a worker that names no time knows nothing of waiting.
        return self._wait_s if reader.partitions is None else 0.0

    async def _until(self, change: "asyncio.Future[None]", until: float, error: ProblemError) -> None:
        """Return when there is a change. Raises the error if there is none in time, or too many wait."""
        left_s = until - time.monotonic()
        if left_s <= 0:
            if self._wait_s > 0:
                self._metrics.reads_waited.add(TIMED_OUT)
            raise error
        if self.waiting >= self._most:
            self._metrics.reads_waited.add(REFUSED)
            raise not_ready(f"{error.detail}, and {self.waiting} reads wait already", error.partitions) from None
        self.waiting += 1
        try:
            await asyncio.wait([change], timeout=left_s)
        finally:
            self.waiting -= 1
