"""The work of one assignment: what is merged, what waits to be written, and what may be committed.

A position becomes committable only with the checkpoint that holds every write that the input before it caused, so what
is committed is never more than what the broker has acknowledged.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from streams.engine.outside import Clock
from streams.engine.source import Record
from streams.engine.table import Contents, TablePartition
from streams.engine.writer import Checkpoint, Positions, Writer

At = tuple[str, int]

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
        flushed: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Begin to read at `positions`; `ends` are where the sources (topics) ended at that moment.

        `flushed` is told for how long changes have waited to be written.
        """
        self.partitions = frozenset(partitions)
        #: What is kept, by table (its changelog's name) and partition.
        self.contents: Mapping[str, Mapping[int, Contents]] = {}
        self.rows: Mapping[str, Mapping[int, TablePartition]] = {}
        self._writer = writer
        self._clock = clock
        self._sources = tuple(sources)
        self._ends = ends
        self._coalesce_s = coalesce_ms / 1000
        self._in_flight_records = in_flight_records
        self._flushed = flushed
        #: Up to where events are dealt with; what led there is in the tables or waits to be flushed.
        self._positions: Positions = {}
        #: Where reading began, later the ends that were seen: an end can be beyond the last record.
        self._reached: Positions = dict(positions)
        self._changed_since: float | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        #: Set once the partitions are being taken away: what is not begun is for whoever is next.
        self.ending = asyncio.Event()
        self.processed = 0

    def begin(self) -> None:
        """Begin a batch: things may be half done until `end`."""
        self._idle.clear()

    def end(self, ends: Iterable[tuple[str, int, int]], *, complete: bool, changed: bool) -> None:
        """End a batch that has been processed, or given up; after it the `ends` of partitions were reached."""
        if complete:
            for topic, partition, offset in ends:
                self._reached[topic, partition] = offset
            if changed:
                self._publish()
                if self._changed_since is None:
                    self._changed_since = self._clock.monotonic()
        self._idle.set()
        if complete:
            self.flush_if_due()

    def done(self, event: Record) -> None:
        """Note that an event is dealt with: what follows from it is written, or is going to be with the next flush."""
        self._positions[event.topic, event.partition] = event.offset + 1
        self.processed += 1
        if self._coalesce_s == 0:
            self.flush()

    def finish(self, events: Sequence[Record]) -> None:
        """Note that events are dealt with; not while ending, for then they may have been left."""
        if self.ending.is_set():
            return
        positions = self._positions
        for event in events:
            if positions.get((event.topic, event.partition), 0) <= event.offset:
                self.done(event)

    async def breathe(self) -> None:
        """Let others have their turn, and take in what was acknowledged."""
        self._writer.poll()
        await asyncio.sleep(0)

    async def room(self) -> None:
        """Wait until the broker has acknowledged enough for more to be written; not once it is ending."""
        while self._writer.outstanding > self._in_flight_records and not self.ending.is_set():
            await asyncio.sleep(_ROOM_S)
            self._writer.poll()

    @property
    def changed(self) -> bool:
        """Whether something waits to be written."""
        return self._changed_since is not None

    def position(self, topic: str, partition: int) -> int:
        """Return the offset up to which (exclusive) a source partition is in the tables."""
        at = (topic, partition)
        return max(self._positions.get(at, 0), self._reached.get(at, 0))

    def merged(self, topic: str, partition: int) -> int:
        """Return the offset after the last event of a source partition that is dealt with, 0 before the first."""
        return self._positions.get((topic, partition), 0)

    def caught_up(self, partition: int) -> bool:
        """Return whether all that any worker can have read of a partition before this one did is in the tables."""
        return all(self.position(topic, partition) >= self._ends.get((topic, partition), 0) for topic in self._sources)

    def rewrite(self, contents: Contents, topic: str, keys: Iterable[bytes]) -> Checkpoint:
        """Write keys of a guarded log once more; return the checkpoint that ends with them."""
        # Trap: what the tables hold must not be written before what it leads to.
        self.flush()
        for key in keys:
            contents.rewrite(topic, key)
        return self.flush()

    async def undisturbed(self) -> bool:
        """Wait until no batch is in work, so until nothing is half done; False if it is ending.

        What is done after it without an await comes between two batches.
        """
        while not (self._idle.is_set() or self.ending.is_set()):
            await self._idle.wait()
        return not self.ending.is_set()

    async def close(self) -> None:
        """Process nothing more, write what has changed, and wait until everything is acknowledged."""
        self.ending.set()
        await self._idle.wait()
        await self.acknowledged()

    def flush_if_due(self) -> None:
        """Write what has changed if it has waited for long enough; safe to call at any time."""
        since = self._changed_since
        if self._idle.is_set() and since is not None and self._clock.monotonic() - since >= self._coalesce_s:
            self.flush()

    def flush(self) -> Checkpoint:
        """Write what has changed, and return the checkpoint that ends with it."""
        self._publish()
        if self._changed_since is not None:
            self._flushed(self._clock.monotonic() - self._changed_since)
        received = [contents.flush() for contents in self._all()]
        self._changed_since = None
        oldest = min((at for at in received if at is not None), default=None)
        return self._writer.checkpoint(self._positions, oldest)

    async def acknowledged(self) -> None:
        """Write what has changed, and wait until everything is acknowledged."""
        self.flush()
        while not self._writer.idle:
            await asyncio.sleep(_SETTLE_S)
            self._writer.poll()

    async def ebb(self) -> None:
        """Wait until the broker has acknowledged enough for more to be written, also while ending."""
        while self._writer.outstanding > self._in_flight_records:
            await asyncio.sleep(_ROOM_S)
            self._writer.poll()

    def _publish(self) -> None:
        for contents in self._all():
            contents.publish()

    def _all(self) -> Iterable[Contents]:
        return (contents for table in self.contents.values() for contents in table.values())
