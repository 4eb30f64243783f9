"""Streams: what agents iterate over. Whole batches, acknowledged when everything that they caused is.

The engine reads all sources with one consumer and gives each batch to one agent after the other, so at any time only
one agent is in the middle of a change, and code that runs between two batches sees a consistent state.
"""

import asyncio
from collections.abc import AsyncIterator, Generator, Sequence
from typing import Any, TypeVar

from streams.engine.assignment import Assignment
from streams.engine.source import Record

T = TypeVar("T")


class Part:
    """One agent's part of a batch."""

    __slots__ = ("events", "finished", "work")

    def __init__(self, work: Assignment, events: list[Record]) -> None:
        """Wait for the agent."""
        self.work = work
        self.events = events
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Inbox:
    """An agent's interface to the engine: a queue of parts, and calls in the middle of one.

    Iteration may end early: once partitions are revoked, the rest of a batch is left to the next owner. An exception in
    the body ends the worker, with nothing of its slice acknowledged.
    """

    def __init__(self, queue: Any) -> None:
        """Take parts from a queue."""
        self._queue = queue
        self._work: Assignment | None = None

    async def slices(self, most: int) -> AsyncIterator[Sequence[Record]]:
        """Yield the events of each batch, in slices of at most `most`.

        A slice is acknowledged when the body has finished it.
        """
        while True:
            try:
                part: Part = await self._queue.get()
            except StopAsyncIteration:
                return  # Faust ends an agent like this
            self._work = work = part.work
            events = part.events
            for start in range(0, len(events), most):
                if work.ending.is_set():
                    break
                some = events[start : start + most]
                before = work.processed
                yield some
                if work.processed - before < len(some):
                    work.finish(some)
                await work.breathe()
            if not part.finished.done():
                part.finished.set_result(None)

    @property
    def work(self) -> Assignment:
        """The assignment of the part that was taken last."""
        if self._work is None:
            raise AssertionError("asked for outside of a batch")
        return self._work

    def done(self, event: Record) -> None:
        """Acknowledge an event before the rest of its slice: everything that it causes is written or set."""
        self.work.done(event)

    @property
    def ending(self) -> asyncio.Event:
        """Set once the partitions are revoked: the body may leave the rest of its slice."""
        return self.work.ending

    async def flush(self) -> None:
        """Write all changes now; other tasks run meanwhile."""
        await self.work.flush_in_turns()

    async def acknowledged(self) -> None:
        """Write all changes, and wait until the broker has acknowledged everything."""
        await self.work.acknowledged()

    async def in_turns(self, steps: Generator[None, None, T]) -> T:
        """Take all steps, let other tasks run between them, and return the result."""
        return await self.work.in_turns(steps)

    async def breathe(self) -> None:
        """Let other tasks run in the middle of a slice, if they have waited for long enough."""
        await self.work.breathe()
