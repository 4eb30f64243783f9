"""Guards the logs that only the owner of a partition may write: its changelogs and its state topics.

A worker that was stopped in the middle of sending may send on when it wakes up, after another has taken over; its old
state would then be the last of its key. The new owner sees that its own records are not alone: their offsets have
gaps. What stands in the gaps is written again, from the tables, which know better.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from avro.connection import Config
from streams.source import end_offsets, read, reader

logger = logging.getLogger(__name__)

At = tuple[str, int]

_STALLED_READS = 100


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets of a log, from `start` up to but not including `end`, that the owner did not write."""

    topic: str
    partition: int
    start: int
    end: int


class Guard:
    """Follows where each guarded log has to end if nobody else writes to it."""

    def __init__(self, connection: Config, group: str) -> None:
        """Guard nothing yet."""
        self._connection = connection
        self._group = group
        self._ends: dict[At, int] = {}
        self._gaps: list[Gap] = []

    def begin(self, ends: Mapping[At, int]) -> None:
        """Guard these logs from their ends on, and no others."""
        self._ends = dict(ends)
        self._gaps = []

    def written(self, topic: str, partition: int, offset: int) -> None:
        """Take note of an own record that is acknowledged; records of a log come in order."""
        at = (topic, partition)
        expected = self._ends.get(at)
        if expected is None:
            return
        if offset > expected:
            self._gaps.append(Gap(topic, partition, expected, offset))
        self._ends[at] = offset + 1

    def end(self, topic: str, partition: int) -> int | None:
        """Return the offset after the last own record of a log."""
        return self._ends.get((topic, partition))

    async def look(self, idle: Callable[[], bool]) -> None:
        """Compare the ends of the logs with those that the broker tells; `idle` tells whether no own write is open."""
        before = dict(self._ends)
        if not idle():
            return
        ends = await asyncio.to_thread(self._ask, list(before))
        if not idle() or self._ends != before:
            return
        for at, end in ends.items():
            if end > before[at]:
                self._gaps.append(Gap(*at, before[at], end))
                self._ends[at] = end

    async def foreign_keys(self) -> dict[At, set[bytes]]:
        """Return the keys of the records that others wrote since the last call, by log."""
        gaps, self._gaps = self._gaps, []
        if not gaps:
            return {}
        logger.warning("another worker has written to partitions of this one: %s", gaps)
        return await asyncio.to_thread(self._read, gaps)

    def _ask(self, logs: list[At]) -> dict[At, int]:
        consumer = reader(self._connection, self._group)
        try:
            return end_offsets(consumer, logs)
        finally:
            consumer.close()

    def _read(self, gaps: Iterable[Gap]) -> dict[At, set[bytes]]:
        keys: dict[At, set[bytes]] = {}
        consumer = reader(self._connection, self._group)
        try:
            for gap in gaps:
                keys.setdefault((gap.topic, gap.partition), set()).update(_keys(consumer, gap))
        finally:
            consumer.close()
        return keys


def _keys(consumer: Consumer, gap: Gap) -> set[bytes]:
    consumer.assign([TopicPartition(gap.topic, gap.partition, gap.start)])
    keys = set()
    for _ in range(_STALLED_READS):
        found = read(consumer, gap.end - gap.start, 0.1)
        keys |= {record.key for record in found.records if record.offset < gap.end and record.key}
        # Compaction may have taken the gap's last records, so the first offset after it ends the search too.
        if found.ends or any(record.offset >= gap.end - 1 for record in found.records):
            return keys
    raise TimeoutError(f"{gap} could not be read")
