"""The state of one assignment: what is merged, what is not written yet, and what may be committed.

A position becomes committable only with the checkpoint that holds every write that the earlier input caused, so commits
are never ahead of the broker's acknowledgements.
"""

import asyncio
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TypeVar

from streams.engine.outside import Clock
from streams.engine.source import Record
from streams.engine.table import Contents, TablePartition
from streams.engine.writer import Checkpoint, Positions, Writer

At = tuple[str, int]
T = TypeVar("T")

_ROOM_S = 0.002
_SETTLE_S = 0.001


class Assignment:
    """All partitions that this worker owns from one rebalance to the next."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        *,
        sources: Sequence[str],
        partitions: Iterable[int],
        positions: Mapping[At, int],
        ends: Mapping[At, int],
        coalesce_ms: int,
        in_flight_records: int,
        in_flight_s: float,
        turn_s: float = 0.02,
        flushed: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Start reading at `positions`; `ends` are the ends of the sources (topics) at that moment.

        Nothing more is written while more than `in_flight_records` are not acknowledged, or one has waited for more
        than `in_flight_s` seconds. Other tasks (reads, commits, the lease) run after `turn_s` seconds of work.
        `flushed` is called with how long changes have waited to be written.
        """
        self.partitions = frozenset(partitions)
        #: The contents, by table (its changelog's name) and partition.
        self.contents: Mapping[str, Mapping[int, Contents]] = {}
        self.rows: Mapping[str, Mapping[int, TablePartition]] = {}
        self._writer = writer
        self._clock = clock
        self._sources = tuple(sources)
        self.ends = ends
        self._coalesce_s = coalesce_ms / 1000
        self._in_flight_records = in_flight_records
        self._in_flight_s = in_flight_s
        self._flushed = flushed
        self._turn_s = turn_s
        self._turn_began = clock.monotonic()
        #: Offsets up to which events are processed; their effects are in the tables or wait to be flushed.
        self._positions: Positions = {}
        #: Where reading began, later the ends reached: an end can be beyond the last record.
        self._reached: Positions = dict(positions)
        self._changed_since: float | None = None
        #: Whether all that was written is waited for: nobody else may write now.
        self.settling = False
        #: Set while nothing is half done: no batch is in progress, and nothing is being flushed.
        self._idle = asyncio.Event()
        self._idle.set()
        #: Set once the partitions are revoked: events not begun are left to the next owner.
        self.ending = asyncio.Event()
        self.processed = 0

    async def begin(self) -> None:
        """Begin a batch once nothing else is in progress: the state may be inconsistent until `end`."""
        while not self._idle.is_set():
            await self._idle.wait()
        self._idle.clear()

    async def end(self, ends: Iterable[tuple[str, int, int]], *, complete: bool, changed: bool) -> None:
        """End a batch that was processed, or given up; after it the `ends` of partitions were reached."""
        try:
            if complete:
                for topic, partition, offset in ends:
                    self._reached[topic, partition] = offset
                if changed:
                    await self.in_turns(self._publishing())
                    if self._changed_since is None:
                        self._changed_since = self._clock.monotonic()
                if self._due:
                    await self.in_turns(self._flushing())
        finally:
            self._idle.set()

    def done(self, event: Record) -> None:
        """Record that an event is processed: its effects are written, or will be with the next flush."""
        self._positions[event.topic, event.partition] = event.offset + 1
        self.processed += 1
        if self._coalesce_s == 0:
            self.flush()

    def finish(self, events: Sequence[Record]) -> None:
        """Record that events are processed; not while ending, as they may have been left then."""
        if self.ending.is_set():
            return
        positions = self._positions
        for event in events:
            if positions.get((event.topic, event.partition), 0) <= event.offset:
                self.done(event)

    async def breathe(self) -> None:
        """Let other tasks run if they have waited for long enough, and wait until more may be written."""
        if self._clock.monotonic() - self._turn_began >= self._turn_s:
            self._writer.poll()
            await asyncio.sleep(0)
            # Trap: one batch can cause more writes than a broker takes before the first of them time out.
            while self._crowded:
                await asyncio.sleep(_ROOM_S)
                self._writer.poll()
            self._turn_began = self._clock.monotonic()

    async def in_turns(self, steps: Generator[None, None, T]) -> T:
        """Take all steps, let other tasks run between them, and return the result."""
        # Trap: the writes of a batch of thousands of events take seconds, in which no read would be answered and no
        # commit made: the lease would be lost.
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            await self.breathe()

    async def room(self) -> None:
        """Wait until the broker has acknowledged enough for more to be written; not once it is ending."""
        while self._crowded and not self.ending.is_set():
            await asyncio.sleep(_ROOM_S)
            self._writer.poll()

    @property
    def changed(self) -> bool:
        """Return whether anything waits to be written."""
        return self._changed_since is not None

    def position(self, topic: str, partition: int) -> int:
        """Return the offset up to which (exclusive) a source partition is in the tables."""
        at = (topic, partition)
        return max(self._positions.get(at, 0), self._reached.get(at, 0))

    def merged(self, topic: str, partition: int) -> int:
        """Return the offset after the last processed event of a source partition, 0 before the first."""
        return self._positions.get((topic, partition), 0)

    def caught_up(self, partition: int) -> bool:
        """Return whether all that former owners can have read of a partition is in the tables."""
        return all(self.position(topic, partition) >= self.ends.get((topic, partition), 0) for topic in self._sources)

    async def rewrite(self, table: str, partition: int, topic: str, keys: Iterable[bytes]) -> Checkpoint | None:
        """Between two batches: rewrite keys of a table's log, which ends the checkpoint that is returned.

        None once it is ending: nothing is written then.
        """
        rows, contents = self.rows[table][partition], self.contents[table][partition]
        # Trap: in the middle of a removal the tables still have entries that are already deleted from the log.
        await self.begin()
        try:
            if self.ending.is_set():
                return None
            # Trap: facts must not be written before the records that they cause.
            await self.flush_in_turns()
            if topic == rows.changelog:
                rows.write_mark()
            for key in keys:
                contents.rewrite(topic, key)
            return await self.in_turns(self._flushing())
        finally:
            self._idle.set()

    async def close(self) -> None:
        """Stop processing, write all changes, and wait until everything is acknowledged."""
        self.ending.set()
        await self.settle()

    async def flush_if_due(self) -> None:
        """Write changes if they have waited for long enough; safe to call at any time."""
        if self._idle.is_set() and self._due:
            await self.begin()
            try:
                await self.in_turns(self._flushing())
            finally:
                self._idle.set()

    def flush(self) -> Checkpoint:
        """Write all changes at once, and return the checkpoint that ends with them."""
        steps = self._flushing()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                checkpoint: Checkpoint = end.value
                return checkpoint

    async def settle(self) -> None:
        """Between two batches: write all changes, and wait until everything is acknowledged."""
        await self.begin()
        try:
            await self.acknowledged()
        finally:
            self._idle.set()

    async def flush_in_turns(self) -> None:
        """In the middle of a batch: write all changes."""
        await self.in_turns(self._flushing())

    async def acknowledged(self) -> None:
        """In the middle of a batch: write all changes, and wait until everything is acknowledged."""
        await self.flush_in_turns()
        # Trap: whoever else writes meanwhile, a timer for minutes, would put off the end.
        self.settling = True
        try:
            while not self._writer.idle:
                await asyncio.sleep(_SETTLE_S)
                self._writer.poll()
        finally:
            self.settling = False

    @property
    def _crowded(self) -> bool:
        """Whether the broker has more to acknowledge than it soon will, or all of it is waited for."""
        writer = self._writer
        return self.settling or writer.outstanding > self._in_flight_records or writer.waited_s > self._in_flight_s

    @property
    def _due(self) -> bool:
        since = self._changed_since
        if since is None:
            return False
        # A broker with many partitions takes few records with each request: the longer it needs, the fewer it is sent.
        wait_s = max(self._coalesce_s, min(self._writer.waited_s, self._in_flight_s / 2))
        return self._clock.monotonic() - since >= wait_s

    def _publishing(self) -> Generator[None, None, None]:
        for contents in self._all():
            yield from contents.publishing()

    def _flushing(self) -> Generator[None, None, Checkpoint]:
        yield from self._publishing()
        if self._changed_since is not None:
            self._flushed(self._clock.monotonic() - self._changed_since)
        oldest: int | None = None
        for contents in self._all():
            received_at = yield from contents.flushing()
            if received_at is not None:
                oldest = received_at if oldest is None else min(oldest, received_at)
        self._changed_since = None
        return self._writer.checkpoint(self._positions, oldest)

    def _all(self) -> Iterable[Contents]:
        return (contents for table in self.contents.values() for contents in table.values())
