"""Streams: what agents iterate over. Whole batches, acknowledged when all that they caused is.

The engine reads all sources with one consumer and hands what it has read to one agent after the other, so at any time
one agent is in the middle of something, and what happens between two batches finds nothing half done.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from streams.engine.assignment import Assignment
from streams.engine.source import Record

#: Events between two turns of others, for agents that take them one by one.
_SLICE = 250


class Part:
    """What one agent gets of a batch."""

    __slots__ = ("events", "finished", "work")

    def __init__(self, work: Assignment, events: list[Record]) -> None:
        """Wait for the agent."""
        self.work = work
        self.events = events
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Inbox:
    """An agent's end of the engine: a queue of parts, and what the agent may ask for while it works on one.

    What is iterated over may be less than everything: once partitions are being taken away, the rest of a batch is left
    to the next owner. An exception in the body ends the worker, with nothing of its slice acknowledged.
    """

    def __init__(self, queue: Any) -> None:
        """Take parts from a queue."""
        self._queue = queue
        self._work: Assignment | None = None

    async def slices(self, most: int) -> AsyncIterator[Sequence[Record]]:
        """Yield the events of each batch, in slices of at most `most`.

        A slice is acknowledged when the body is done with it.
        """
        while True:
            try:
                part: Part = await self._queue.get()
            except StopAsyncIteration:
                return  # Faust ends an agent in this way
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
        """Acknowledge an event before the rest of its slice: all that follows from it is written or set."""
        self.work.done(event)

    @property
    def ending(self) -> asyncio.Event:
        """Set once the partitions are being taken away: the body may leave the rest of its slice."""
        return self.work.ending

    def flush(self) -> None:
        """Write what has changed now."""
        self.work.flush()

    async def acknowledged(self) -> None:
        """Write what has changed, and wait until the broker has acknowledged everything."""
        await self.work.acknowledged()

    async def breathe(self) -> None:
        """Let others have their turn in the middle of a slice, if they have waited for long enough."""
        await self.work.breathe()
