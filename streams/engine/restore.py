"""Restoring: reads each table's changelog into its store, in bulk, from the store's position on.

Faust's own recovery is not used: it swallows errors and reads record by record. Here an error ends the worker.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from openbsp.log import event
from streams.engine.errors import RestoreFailedError
from streams.engine.layout import marked
from streams.engine.outside import Clock, Thread
from streams.engine.source import Record, end_offsets, read
from streams.engine.stores import MARK_KEY, Store

logger = logging.getLogger(__name__)

_PROGRESS_S = 5.0
_STALLED_S = 60.0
_BULK = 10_000

At = tuple[str, int]


@dataclass(slots=True)
class Changelog:
    """A partition of a changelog, its store, and how to apply its records.

    From the offset `doubtful` on there may be records of a worker that had lost the partition by then, with less in
    them than in earlier ones: they are joined with the store's value. `join` takes the key and both values.
    """

    store: Store
    doubtful: int
    join: Callable[[bytes, bytes, bytes], bytes]
    _apart: int | None = None

    @property
    def position(self) -> int:
        """The offset up to which the changelog has been read."""
        return self.store.position if self._apart is None else self._apart

    def rebuild(self, first: int) -> None:
        """Join all of its records, from the first one on, with the store's values.

        The store keeps its position.
        """
        # Trap: that may be the only sign that the table is incomplete until this is noted. A takeover that is cut off
        # must not leave a store that looks as if it had read all that there was.
        self.doubtful = 0
        self._apart = first

    def reach(self, position: int) -> None:
        """Record how far it has been read."""
        if self._apart is None:
            self.store.save_position(position)
        else:
            self._apart = position

    def apply(self, record: Record) -> None:
        """Apply a record. Raises RestoreFailedError if it is not a changelog's."""
        store, key, value = self.store, record.key, record.value
        store.generation += 1
        if key is None:
            raise RestoreFailedError(f"{record.topic}[{record.partition}]@{record.offset}: no key")
        if key == MARK_KEY:
            mark, partitions = marked(value or b"")
            store.save_mark(mark)
            if partitions:
                store.save_partitions(partitions)
        elif value is None:
            store.delete(key)
        else:
            if record.offset >= self.doubtful:
                stored = store.get(key)
                if stored is not None and stored != value:
                    value = self.join(key, stored, value)
            store.put(key, value)


async def restore(
    consumer: Consumer,
    changelogs: Mapping[tuple[str, int], Changelog],
    *,
    thread: Thread,
    clock: Clock,
    going: Callable[[], bool] = lambda: True,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Bring each store up to the end of its changelog partition; return the number of records read.

    Consumer and stores are used in `thread` only; for the consumer a position without a record is an error. `progress`
    is called with the records read, and at most to be read. Returns early once `going()` is false. Raises
    RestoreFailedError when records stop coming before the end is reached, or are deleted before they are read.
    """
    starts, ends = await thread.run(_bounds, consumer, changelogs)
    waiting = {at for at, start in starts.items() if start < ends[at]}
    total = sum(ends[at] - starts[at] for at in waiting)
    if not waiting:
        return 0
    progress(0, total)
    logger.info(
        "restoring %d changelog partitions, at most %d records",
        len(waiting),
        total,
        extra=event("restore.started", records=total),
    )
    await thread.run(
        consumer.assign, [TopicPartition(topic, partition, starts[topic, partition]) for topic, partition in waiting]
    )
    count = 0
    reported = progressed = clock.monotonic()
    while waiting and going():
        records = await thread.run(_read_on, consumer, changelogs)
        # Trap: a broker that has just begun to lead may tell of an end before the end; the next one is told as well.
        waiting = {at for at in waiting if changelogs[at].position < ends[at]}
        count += records
        progress(count, total)
        now = clock.monotonic()
        if records:
            progressed = now
        elif now - progressed > _STALLED_S:
            raise RestoreFailedError(
                f"no changelog records for {_STALLED_S:.0f} s, still waiting for {sorted(waiting)}"
            )
        if now - reported > _PROGRESS_S:
            reported = now
            logger.info(
                "restored %d of at most %d records", count, total, extra=event("restore.progress", records=count)
            )
    await thread.run(consumer.unassign)
    logger.info("restored %d records", count, extra=event("restore.completed", records=count))
    return count


def _bounds(consumer: Consumer, changelogs: Mapping[At, Changelog]) -> tuple[dict[At, int], dict[At, int]]:
    """Return where reading begins and where it ends."""
    ends = end_offsets(consumer, list(changelogs))
    return {at: changelog.position for at, changelog in changelogs.items()}, ends


def _read_on(consumer: Consumer, changelogs: Mapping[At, Changelog]) -> int:
    """Apply the available records; return how many. Positions are those of the ends that were read."""
    try:
        found = read(consumer, _BULK, 0.2)
    except KafkaException as error:
        if error.args[0].code() != KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 the library has no other name for it
            raise
        problem = "records of a changelog were deleted while it was read; a restart judges what is left of it"
        raise RestoreFailedError(problem) from error
    for record in found.records:
        changelogs[record.topic, record.partition].apply(record)
    for topic, partition, end in found.ends:
        changelogs[topic, partition].reach(end)
    return len(found.records)
