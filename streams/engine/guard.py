"""Guards the logs that only the owner of a partition may write: changelogs, and what is derived from its tables.

A worker that was paused in the middle of sending may continue when it wakes up, after another has taken over; its old
state would then be the last of its key. The new owner detects foreign records by gaps in the offsets of its own ones.
The keys in the gaps are written again, from the tables, which have the newer state.

The offset up to which a log is known to be clean is committed together with the positions, as their note. So nothing is
forgotten when the owner ends before it could repair a log: its successor distrusts everything after that offset.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from confluent_kafka import Consumer, TopicPartition

from openbsp.kafka.connection import Config
from openbsp.log import event
from streams.engine.outside import Outside
from streams.engine.source import end_offsets, read, reader

logger = logging.getLogger(__name__)

At = tuple[str, int]
T = TypeVar("T")

#: Suffix of a log's name, in notes: its first offset when its last owner took over.
FIRST = "@first"

_SILENT_READS = 100
_BULK = 10_000


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets of a log, from `start` up to but not including `end`, that the owner did not write.

    One from the beginning on is owed whole: with all keys that the table has.
    """

    topic: str
    partition: int
    start: int
    end: int


class Logs(Protocol):
    """Inspects logs."""

    async def ends(self, logs: list[At]) -> Mapping[At, int]:
        """Return the end of each log."""

    async def keys(self, gap: Gap) -> set[bytes]:
        """Return the keys of the records in a gap."""


class Guard:
    """Computes where each guarded log has to end if no other worker writes to it."""

    def __init__(self, logs: Logs) -> None:
        """Guard nothing yet."""
        self._logs = logs
        self._ends: dict[At, int] = {}
        self._gaps: list[Gap] = []
        #: Logs that were cut, and the end of own records before their former end since the last repair; 0: none.
        self._cut: dict[At, int] = {}

    def begin(self, ends: Mapping[At, int]) -> None:
        """Guard these logs from these offsets on, and no others: later records are not trusted."""
        self._ends = dict(ends)
        self._gaps = []
        self._cut = {}

    def owe(self, logs: Iterable[At]) -> None:
        """Report nothing of these logs as verified before they have been repaired."""
        self._gaps.extend(Gap(*at, 0, 0) for at in logs)

    def written(self, topic: str, partition: int, offset: int) -> bool:
        """Record an own record that is acknowledged; records of a log come in order.

        Returns whether it is the first to show that the log was cut: acknowledged records are lost, so all is owed.
        """
        at = (topic, partition)
        expected = self._ends.get(at)
        if expected is None:
            return False
        if offset < expected:
            # Trap: stores elsewhere may have read up to the former end, so they skip what is written before it. It
            # stays the end until all keys have been written behind it: docs/decisions/0250.
            return self._is_cut(at, offset)
        if offset > expected:
            self._gaps.append(Gap(topic, partition, expected, offset))
        self._ends[at] = offset + 1
        return False

    def _is_cut(self, at: At, offset: int) -> bool:
        known = at in self._cut
        self._cut[at] = offset + 1
        # Trap: what was lost of a gap can be read no more, also of what was written since the first cut.
        if not known or any((gap.topic, gap.partition) == at and gap.end > offset for gap in self._gaps):
            self._gaps = [gap for gap in self._gaps if (gap.topic, gap.partition) != at]
            # Also what is left: a tombstone may be lost of a key that the table has no more.
            self._gaps.append(Gap(*at, 0, offset))
        if known:
            return False
        logger.error(
            "%s[%d] had %d records, and the next one has offset %d: acknowledged records are lost. All of its keys are "
            "written once more, from the table",
            *at,
            self._ends[at],
            offset,
            extra=event("engine.log_cut"),
        )
        return True

    def end(self, topic: str, partition: int) -> int | None:
        """Return the offset after the last own record of a log, None if it is not guarded."""
        return self._ends.get((topic, partition))

    @property
    def gaps(self) -> list[Gap]:
        """Foreign records that are not repaired yet."""
        return list(self._gaps)

    def verified(self) -> dict[At, int]:
        """Return for each log the offset before which (exclusive) no old record is the last of its key."""
        verified = dict(self._ends)
        for gap in self._gaps:
            at = (gap.topic, gap.partition)
            verified[at] = min(verified[at], gap.start)
        return verified

    def repaired(self, gaps: Iterable[Gap]) -> None:
        """Drop gaps whose keys have been rewritten and acknowledged; a log that was cut stays owed: see `written`."""
        for gap in gaps:
            if gap not in self._gaps:
                continue  # its log was cut meanwhile
            self._gaps.remove(gap)
            at = (gap.topic, gap.partition)
            if gap.start == 0 and (end := self._cut.pop(at, 0)):
                self._cut[at] = 0
                # Trap: tombstones before the former end have to be repeated, too, and the table has not their keys.
                self._gaps.append(Gap(*at, 0, max(end, gap.end)))

    async def look(self, idle: Callable[[], bool]) -> None:
        """Compare the ends of the logs with the broker's; `idle` is whether all own writes are acknowledged."""
        before = dict(self._ends)
        if not before or not idle():
            return
        ends = await self._logs.ends(list(before))
        if not idle() or self._ends != before:
            return
        for at, end in ends.items():
            if end > before[at]:
                self._gaps.append(Gap(*at, before[at], end))
                self._ends[at] = end

    async def keys(self, gaps: Iterable[Gap]) -> dict[At, set[bytes]]:
        """Return the keys of the records in gaps, by log."""
        keys: dict[At, set[bytes]] = {}
        for gap in gaps:
            found = await self._logs.keys(gap)
            keys.setdefault((gap.topic, gap.partition), set()).update(found)
        return keys


class KafkaLogs:
    """Inspects the logs of a cluster."""

    def __init__(self, outside: Outside, connection: Config, group: str) -> None:
        """Connect at first use; `group` names the connection, nothing is committed."""
        self._outside = outside
        self._connection = connection
        self._group = group

    async def ends(self, logs: list[At]) -> Mapping[At, int]:
        """Return the end of each log. Raises KafkaException."""
        return await self._outside.threads.run(self._ask, lambda consumer: end_offsets(consumer, logs))

    async def keys(self, gap: Gap) -> set[bytes]:
        """Return the keys of the records in a gap, except marks. Raises TimeoutError, KafkaException."""
        return await self._outside.threads.run(self._ask, lambda consumer: _keys(consumer, gap))

    def _ask(self, question: Callable[[Consumer], T]) -> T:
        consumer = reader(self._outside.clients, self._connection, self._group)
        try:
            return question(consumer)
        finally:
            consumer.close()


def _keys(consumer: Consumer, gap: Gap) -> set[bytes]:
    consumer.assign([TopicPartition(gap.topic, gap.partition, gap.start)])
    keys: set[bytes] = set()
    silent = 0
    while silent < _SILENT_READS:
        found = read(consumer, _BULK, 0.1)
        silent = 0 if found.records else silent + 1
        keys |= {record.key for record in found.records if record.offset < gap.end and record.key}
        if found.reaches(gap.end):
            return keys
    raise TimeoutError(f"{gap} could not be read")


def note(verified: Mapping[str, int]) -> str:
    """Return verified ends, by topic, as the note of a committed position."""
    return json.dumps(dict(verified), separators=(",", ":"), sort_keys=True)


def noted(text: str) -> dict[str, int]:
    """Return verified ends from a note; none from another program's commit."""
    try:
        ends = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(ends, dict) or not all(type(end) is int for end in ends.values()):
        return {}
    return ends
