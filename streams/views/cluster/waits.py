"""Reads that wait while their partition is reassigned, restored or catching up, and are answered when it is ready.

A read of a partition that is not ready is retried after each relevant change, and refused at its deadline. Nothing is
polled: every event that may enable an answer calls `Changes.changed`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from streams.metrics import Metrics
from streams.views.access import Reader
from streams.views.problems import ProblemError, not_ready

Answer = TypeVar("Answer")

#: Outcomes of reads that waited.
ANSWERED, PASSED_ON, TIMED_OUT, REFUSED = "answered", "passed_on", "timed_out", "refused"


class Changes:
    """Wakes all that wait for a change of ownership, tables or other workers."""

    def __init__(self) -> None:
        """Start with no waiter."""
        self._next: asyncio.Future[None] | None = None

    @property
    def next(self) -> "asyncio.Future[None]":
        """A future of the next change. Take it before checking the condition, so that no change is missed."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        return self._next

    def changed(self) -> None:
        """Wake all waiters."""
        if self._next is not None:
            self._next.set_result(None)
            self._next = None


class Waits:
    """Retries reads until they have an answer, each until its deadline, at most so many at a time."""

    def __init__(self, changes: Changes, wait_s: float, most: int, metrics: Metrics) -> None:
        """Let `most` reads wait for `wait_s` seconds; more are refused at once."""
        #: The number of waiting reads.
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
        """Return the result of `attempt`, retried while it raises that it is not ready; it is given the deadline.

        After each failed attempt `elsewhere` may supply another worker's answer. Raises ProblemError.
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
        """Return the seconds that a read may wait: set by the worker that asks, otherwise by the settings."""
        if reader.wait_s is not None:
            return max(0.0, min(reader.wait_s, self._wait_s))
        # A worker that names partitions and no time is of a version that does not wait.
        return self._wait_s if reader.partitions is None else 0.0

    async def _until(self, change: "asyncio.Future[None]", until: float, error: ProblemError) -> None:
        """Return at the next change. Raises the error if there is none in time, or too many wait."""
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
