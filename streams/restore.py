"""Restoring: reads each table's changelog into its store, in bulk, from where the store was left.

Faust's own recovery is not used: it swallows errors and reads record by record. Here an error ends the worker.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, TopicPartition

from streams.errors import RestoreFailedError
from streams.source import Record, end_offsets, read
from streams.stores import MARK_KEY, Store

logger = logging.getLogger(__name__)

_PROGRESS_S = 5.0
_STALLED_S = 60.0
_BULK = 10_000


def restore(
    consumer: Consumer,
    stores: Mapping[tuple[str, int], Store],
    stop: threading.Event,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Bring each store up to the end of its changelog partition. Blocking; returns the number of records read.

    `progress` is told how many of at most how many records have been read.
    Raises RestoreFailedError when nothing comes any more before the end is reached. Returns early when `stop` is set.
    """
    ends = end_offsets(consumer, list(stores))
    # Trap: a changelog that was made anew is shorter than the store's position: begin again.
    starts = {at: store.position if store.position <= ends[at] else 0 for at, store in stores.items()}
    waiting = {at for at, start in starts.items() if start < ends[at]}
    total = sum(ends[at] - starts[at] for at in waiting)
    if not waiting:
        return 0
    progress(0, total)
    logger.info("restoring %d changelog partitions, at most %d records", len(waiting), total)
    consumer.assign([TopicPartition(topic, partition, starts[topic, partition]) for topic, partition in waiting])
    count = 0
    reported = progressed = time.monotonic()
    while waiting and not stop.is_set():
        found = read(consumer, _BULK, 0.2)
        for record in found.records:
            _apply(stores[record.topic, record.partition], record)
        for topic, partition, end in found.ends:
            stores[topic, partition].save_position(end)
            waiting.discard((topic, partition))
        count += len(found.records)
        progress(count, total)
        now = time.monotonic()
        if found.records:
            progressed = now
        elif now - progressed > _STALLED_S:
            raise RestoreFailedError(
                f"no changelog records for {_STALLED_S:.0f} s, still waiting for {sorted(waiting)}"
            )
        if now - reported > _PROGRESS_S:
            reported = now
            logger.info("restored %d of at most %d records", count, total)
    consumer.unassign()
    logger.info("restored %d records", count)
    return count


def _apply(store: Store, record: Record) -> None:
    if record.key is None:
        raise RestoreFailedError(f"{record.topic}[{record.partition}]@{record.offset}: no key")
    if record.key == MARK_KEY:
        store.save_mark(int.from_bytes(record.value or b""))
    elif record.value is None:
        store.delete(record.key)
    else:
        store.put(record.key, record.value)
